/* SPDX-License-Identifier: MIT
 *
 * abi_udp: datagrams with one place, for hooks and tasks, over net/dgram. FINDING -> OPEN, or FAILED.
 * A hold, as stream sockets are. What one call of the kernel brought is kept, and no more is asked
 * for before it was taken.
 */
#include "script/vm_net.h"

#include <errno.h>

#include "net/dgram.h"

enum {
    MAGIC = 0x55445020,
    QUEUE_MOST = RP_DGRAM_BATCH * RP_DGRAM_ROOM, /* bytes of what was brought */
    LENGTH_BYTES = 4,                            /* before each of them */
};

enum state { FINDING, OPEN, FAILED };

struct rp_vm_udp {
    uint32_t magic;
    struct rp_hold hold;
    struct rp_host *host;
    enum state state;
    struct rp_vm_target target;
    struct rp_task *waiter;
    struct rp_dgram *sock;
    rp_err fail;
    int os;
    struct rp_buf queue;
    size_t taken; /* bytes of it that the last receive gave away */
};

static void let_go(struct rp_hold *hold)
{
    struct rp_vm_udp *u = RP_CONTAINER(rp_vm_udp, hold, hold);
    rp_vm_target_stop(&u->target);
    rp_task_wake_at(&u->waiter); /* it is told that it is closed */
    if (u->sock) rp_dgram_close(u->sock);
    rp_buf_fini(&u->queue);
    u->magic = 0;
    rp_free(u);
}

static struct rp_vm_udp *find(struct rp_host_face *f, double handle)
{
    struct rp_hold *hold = rp_hold_find(rp_vm_of(f), handle, RP_HOLD_UDP);
    if (hold) return RP_AS(rp_vm_udp, RP_CONTAINER(rp_vm_udp, hold, hold), MAGIC);
    (void)rp_vm_say_why(rp_vm_of(f), RP_E_STALE, 0,
                        "the socket is closed, or belongs to another request");
    return NULL;
}

double rp_abi_udp_connect(struct rp_host_face *f, const char *host, size_t n, uint32_t port)
{
    struct rp_host *h = rp_vm_of(f);
    if (!h->current || !h->proxy) return RP_E_PHASE;
    struct rp_vm_udp *u = rp_alloc(sizeof *u);
    u->magic = MAGIC;
    u->host = h;
    rp_buf_init(&u->queue, QUEUE_MOST + RP_DGRAM_BATCH * LENGTH_BYTES);
    rp_err e = port == 0 ? RP_E_INVALID
                         : rp_vm_target_find(&u->target, h, rp_str_of(host, n), port, &u->waiter);
    if (e == RP_OK) e = rp_hold_open(h, &u->hold, RP_HOLD_UDP, let_go);
    if (e == RP_OK) return rp_hold_handle(&u->hold);
    let_go(&u->hold);
    return rp_vm_say(h, e, 0);
}

static void on_ready(struct rp_dgram *d)
{
    struct rp_vm_udp *u = RP_AS(rp_vm_udp, rp_dgram_owner(d), MAGIC);
    if (!u->waiter) rp_dgram_rest(d, true); /* until somebody asks */
    rp_task_wake_at(&u->waiter);
}

static rp_err failed(struct rp_vm_udp *u, rp_err e, int os)
{
    u->state = FAILED;
    u->fail = e;
    u->os = os;
    return rp_vm_say(u->host, e, os);
}

static rp_err wait_for(struct rp_vm_udp *u)
{
    rp_err e = rp_task_wait_at(u->host, &u->waiter);
    if (e != RP_AGAIN) return rp_vm_say(u->host, e, 0);
    if (u->sock) rp_dgram_rest(u->sock, false);
    return e;
}

rp_err rp_abi_udp_connected(struct rp_host_face *f, double handle)
{
    struct rp_vm_udp *u = find(f, handle);
    if (!u) return RP_E_STALE;
    struct rp_vm_target *t = &u->target;
    if (u->state != FINDING) return u->state == OPEN ? RP_OK : rp_vm_say(u->host, u->fail, u->os);
    if (t->query) return wait_for(u);
    rp_err e = t->status != RP_OK ? t->status : RP_E_NOT_FOUND;
    int os = 0;
    while (t->at < t->addrs_n) {
        e = rp_dgram_connect(u->host->proxy->loop, &t->addrs[t->at++], on_ready, u, &u->sock, &os);
        if (e != RP_OK) continue;
        u->state = OPEN;
        return RP_OK;
    }
    return failed(u, e, os);
}

static struct rp_vm_udp *find_open(struct rp_host_face *f, double handle, rp_err *e)
{
    struct rp_vm_udp *u = find(f, handle);
    *e = RP_E_STALE;
    if (!u || u->state == OPEN) return u;
    *e = rp_vm_say(u->host, u->state == FAILED ? u->fail : RP_E_BUSY, u->os);
    return NULL;
}

/* What was sent before and did not arrive is told once, by whichever call comes first. */
rp_err rp_abi_udp_send(struct rp_host_face *f, double handle, const char *p, size_t n)
{
    rp_err e;
    struct rp_vm_udp *u = find_open(f, handle, &e);
    if (!u) return e;
    rp_str one = rp_str_of(p, n);
    struct rp_dgram_sent sent = {0};
    if (n >= RP_DGRAM_ROOM) return rp_vm_say(u->host, RP_E_TOO_BIG, 0);
    e = rp_dgram_send(u->sock, NULL, NULL, &one, 1, &sent);
    if (e != RP_OK) return rp_vm_say(u->host, e, sent.os);
    if (sent.dropped_n) return rp_vm_say_why(u->host, RP_E_CAP, sent.os, "the kernel dropped it");
    return RP_OK;
}

static bool give(struct rp_vm_udp *u)
{
    uint32_t n;
    rp_str queue = rp_buf_str(&u->queue);
    if (queue.len == 0) return false;
    memcpy(&n, queue.ptr, LENGTH_BYTES);
    u->host->face.out = rp_str_of(queue.ptr + LENGTH_BYTES, n);
    u->taken = LENGTH_BYTES + n;
    return true;
}

rp_err rp_abi_udp_receive(struct rp_host_face *f, double handle)
{
    rp_err e;
    int os = 0;
    struct rp_vm_udp *u = find_open(f, handle, &e);
    if (!u) return e;
    struct rp_host *h = u->host;
    rp_buf_consume(&u->queue, u->taken);
    u->taken = 0;
    if (give(u)) return RP_OK;
    if (!h->datagrams) h->datagrams = rp_dgram_batch_new();
    e = rp_dgram_recv(u->sock, h->datagrams, &os);
    if (e == RP_AGAIN) return wait_for(u);
    if (e != RP_OK) return rp_vm_say(h, e, os);
    rp_buf_clear(&u->queue);
    for (uint32_t i = 0; i < h->datagrams->n; i++) {
        rp_str bytes = h->datagrams->items[i].bytes;
        uint32_t n = (uint32_t)bytes.len;
        rp_buf_add(&u->queue, rp_str_of((const char *)&n, LENGTH_BYTES));
        rp_buf_add(&u->queue, bytes);
    }
    return give(u) ? RP_OK : wait_for(u);
}

void rp_abi_udp_close(struct rp_host_face *f, double handle)
{
    struct rp_vm_udp *u = find(f, handle);
    if (u) rp_hold_close(&u->hold);
}
