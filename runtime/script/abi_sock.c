/* SPDX-License-Identifier: MIT
 *
 * abi_sock: stream sockets for hooks and tasks, over net/conn.
 *
 * RESOLVING -> RESOLVED -> CONNECTING -> OPEN -> FREE; FAILED from any, and then closed by its user
 * or its scope. A socket belongs to the scope that made it: another request that got hold of the
 * handle is told it is stale. Events only wake the one task that waits.
 */
#include <errno.h>

#include "net/dns.h"
#include "script/vm.h"

enum {
    ADDRS_MOST = 4,    /* addresses of one name that are tried */
    IN_MOST = 8 << 20, /* longest line or exact read */
    RECV_BYTES = 16 * 1024,
    HANDLE_GEN = RP_SOCKS_MOST,
};

enum state { FREE, RESOLVING, RESOLVED, CONNECTING, OPEN, FAILED };

struct rp_sock {
    uint32_t magic;
    uint32_t index, gen;
    struct rp_host *host;
    struct rp_scope *scope;
    struct rp_sock *next, *prev; /* the scope's list; free list */
    enum state state;
    struct rp_dns_query *query;
    struct rp_conn *conn;
    struct rp_task *waiter;
    struct rp_addr addrs[ADDRS_MOST];
    uint32_t addrs_n, addr_at;
    uint16_t port;
    rp_err fail;
    int os;
    struct rp_chain out;
    struct rp_buf in;
    size_t taken; /* bytes of `in` that the last read gave away */
};

/* ---- handles -------------------------------------------------------------------------------- */

static struct rp_sock *sock_new(struct rp_host *h)
{
    struct rp_sock *s = h->free_socks;
    if (s) {
        h->free_socks = s->next;
    } else {
        if (h->socks_n == RP_SOCKS_MOST) return NULL;
        if (h->socks_n == h->socks_room) {
            h->socks_room = h->socks_room ? h->socks_room * 2 : 16;
            h->socks = rp_realloc(h->socks, h->socks_room * sizeof(struct rp_sock *));
        }
        s = rp_alloc(sizeof *s);
        s->magic = RP_SOCK_MAGIC;
        s->index = h->socks_n;
        h->socks[h->socks_n++] = s;
    }
    uint32_t index = s->index, gen = s->gen + 1;
    *s = (struct rp_sock){.magic = RP_SOCK_MAGIC, .index = index, .gen = gen, .host = h};
    rp_chain_init(&s->out, h->proxy->mem);
    rp_buf_init(&s->in, IN_MOST);
    return s;
}

static double handle_of(const struct rp_sock *s)
{
    return (double)s->index + (double)s->gen * HANDLE_GEN;
}

static void enlist(struct rp_scope *scope, struct rp_sock *s)
{
    s->scope = scope;
    s->prev = NULL;
    s->next = scope->socks;
    if (s->next) s->next->prev = s;
    scope->socks = s;
}

static void sock_free(struct rp_sock *s)
{
    struct rp_host *h = s->host;
    if (s->query) rp_dns_cancel(s->query);
    if (s->conn) rp_conn_close(s->conn);
    rp_chain_clear(&s->out);
    rp_buf_fini(&s->in);
    if (s->prev) s->prev->next = s->next;
    else s->scope->socks = s->next;
    if (s->next) s->next->prev = s->prev;
    s->query = NULL;
    s->conn = NULL;
    s->waiter = NULL;
    s->scope = NULL;
    s->state = FREE;
    s->next = h->free_socks;
    h->free_socks = s;
}

/* The socket when it is the running task's; else NULL and the words are set. */
static struct rp_sock *find(struct rp_host_face *f, double handle)
{
    struct rp_host *h = rp_vm_of(f);
    f->out = RP_STR("the socket is closed, or belongs to another request");
    if (!(handle >= 0 && handle < 9007199254740992.0) || !h->current) return NULL;
    uint64_t n = (uint64_t)handle;
    uint32_t index = (uint32_t)(n % HANDLE_GEN);
    if (index >= h->socks_n) return NULL;
    struct rp_sock *s = h->socks[index];
    bool live = s->state != FREE && s->gen == (uint32_t)(n / HANDLE_GEN);
    return live && s->scope == h->current->scope ? s : NULL;
}

void rp_sock_forget_task(struct rp_scope *scope, const struct rp_task *t)
{
    for (struct rp_sock *s = scope->socks; s; s = s->next)
        if (s->waiter == t) s->waiter = NULL;
}

void rp_sock_close_all(struct rp_host *h, struct rp_scope *scope)
{
    (void)h;
    while (scope->socks) sock_free(scope->socks);
}

void rp_sock_fini(struct rp_host *h)
{
    for (uint32_t i = 0; i < h->socks_n; i++) rp_free(h->socks[i]);
    rp_free(h->socks);
}

/* ---- waiting and failing -------------------------------------------------------------------- */

static void wake(struct rp_sock *s)
{
    struct rp_task *t = s->waiter;
    s->waiter = NULL;
    if (t) rp_task_ready(t, true);
}

static rp_err wait_for(struct rp_sock *s)
{
    s->waiter = s->host->current;
    return RP_AGAIN;
}

static rp_str words(rp_err code, int os)
{
    switch (os) {
    case 0: return rp_str_z(rp_err_text(code));
    case ECONNREFUSED: return RP_STR("connection refused");
    case ECONNRESET:
    case EPIPE: return RP_STR("connection reset");
    case ENOENT: return RP_STR("no such unix socket");
    case EACCES: return RP_STR("permission denied");
    case EHOSTUNREACH:
    case ENETUNREACH: return RP_STR("unreachable");
    case ETIMEDOUT: return RP_STR("timed out");
    case EMFILE:
    case ENFILE: return RP_STR("out of file descriptors");
    default: return RP_STR("the system refused");
    }
}

static rp_err failed(struct rp_sock *s, rp_err code, int os)
{
    if (s->state != FAILED) {
        s->state = FAILED;
        s->fail = code;
        s->os = os;
    }
    if (s->conn) rp_conn_close(s->conn);
    s->conn = NULL;
    s->host->face.out = words(s->fail, s->os);
    return s->fail;
}

static rp_err conn_failed(struct rp_sock *s, rp_err code)
{
    return failed(s, code, rp_conn_face(s->conn)->fail.os);
}

/* ---- connecting ----------------------------------------------------------------------------- */

/* Bytes that nobody asks for yet stay in the kernel. */
static void on_event(struct rp_conn *c, unsigned events)
{
    (void)events;
    rp_conn_pause(c);
    wake(rp_conn_face(c)->owner);
}

static void on_answer(void *arg, const struct rp_dns_answer *answer)
{
    struct rp_sock *s = arg;
    s->query = NULL;
    s->state = RESOLVED;
    s->fail = answer->status;
    s->addrs_n = (uint32_t)RP_MIN(answer->addrs_n, (size_t)ADDRS_MOST);
    for (uint32_t i = 0; i < s->addrs_n; i++) {
        s->addrs[i] = answer->addrs[i];
        s->addrs[i].port = s->port;
    }
    wake(s);
}

static rp_err locate(struct rp_sock *s, rp_str host, uint32_t port)
{
    struct rp_addr *a = &s->addrs[0];
    s->state = RESOLVED;
    s->addrs_n = 1;
    s->port = (uint16_t)port;
    if (port == 0) {
        if (host.len == 0 || host.len >= sizeof a->unix_path) return RP_E_INVALID;
        a->family = RP_ADDR_UNIX;
        memcpy(a->unix_path, host.ptr, host.len);
        return RP_OK;
    }
    if (port > UINT16_MAX) return RP_E_INVALID;
    if (rp_addr_parse_ip(host, a) == RP_OK) {
        a->port = s->port;
        return RP_OK;
    }
    s->addrs_n = 0;
    s->state = RESOLVING;
    return rp_dns_resolve(s->host->proxy->dns, host, on_answer, s, &s->query);
}

double rp_abi_sock_connect(struct rp_host_face *f, const char *host, size_t n, uint32_t port)
{
    struct rp_host *h = rp_vm_of(f);
    if (!h->current || !h->proxy) return RP_E_PHASE;
    struct rp_sock *s = sock_new(h);
    if (!s) return RP_E_CAP;
    enlist(h->current->scope, s);
    rp_err e = locate(s, rp_str_of(host, n), port);
    if (e == RP_OK) return handle_of(s);
    sock_free(s);
    f->out = words(e, 0);
    return e;
}

/* Start with the next address. RP_AGAIN: under way. */
static rp_err connect_next(struct rp_sock *s)
{
    struct rp_conn_fail fail = {.code = s->fail != RP_OK ? s->fail : RP_E_NOT_FOUND};
    while (s->addr_at < s->addrs_n) {
        rp_err e = rp_conn_connect(s->host->proxy->loop, &s->addrs[s->addr_at++], &s->conn, &fail);
        if (e != RP_OK) continue;
        struct rp_conn_face *face = rp_conn_face(s->conn);
        face->owner = s;
        face->on_event = on_event;
        s->state = CONNECTING;
        return wait_for(s);
    }
    return failed(s, fail.code, fail.os);
}

static rp_err finish_connect(struct rp_sock *s)
{
    rp_err e = rp_conn_finish_connect(s->conn);
    if (e == RP_AGAIN) return wait_for(s);
    if (e == RP_OK) {
        s->state = OPEN;
        return RP_OK;
    }
    s->fail = e;
    int os = rp_conn_face(s->conn)->fail.os;
    rp_conn_close(s->conn);
    s->conn = NULL;
    return s->addr_at < s->addrs_n ? connect_next(s) : failed(s, e, os);
}

rp_err rp_abi_sock_connected(struct rp_host_face *f, double handle)
{
    struct rp_sock *s = find(f, handle);
    if (!s) return RP_E_STALE;
    switch (s->state) {
    case RESOLVING: return wait_for(s);
    case RESOLVED: return connect_next(s);
    case CONNECTING: return finish_connect(s);
    case OPEN: return RP_OK;
    case FREE:
    case FAILED: break;
    }
    return failed(s, s->fail, s->os);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static rp_err give(struct rp_sock *s, size_t n, size_t taken)
{
    s->host->face.out = rp_str_of(s->in.ptr ? s->in.ptr : "", n);
    s->taken = taken;
    return RP_OK;
}

/* RP_AGAIN: `in` does not hold what is asked for yet. */
static rp_err take(struct rp_sock *s, enum rp_abi_read how, size_t n)
{
    rp_str in = rp_buf_str(&s->in);
    switch (how) {
    case RP_READ_EXACTLY: return in.len >= n ? give(s, n, n) : RP_AGAIN;
    case RP_READ_ANY: return in.len ? give(s, RP_MIN(n, in.len), RP_MIN(n, in.len)) : RP_AGAIN;
    case RP_READ_LINE: {
        size_t end = in.len ? rp_str_find(in, '\n', 0) : in.len;
        if (end == in.len) return RP_AGAIN;
        return give(s, end > 0 && in.ptr[end - 1] == '\r' ? end - 1 : end, end + 1);
    }
    }
    return RP_E_INVALID;
}

static rp_err fill(struct rp_sock *s)
{
    char bytes[RECV_BYTES];
    size_t got;
    rp_err e = rp_conn_recv(s->conn, bytes, sizeof bytes, &got);
    if (e == RP_OK) rp_buf_add(&s->in, rp_str_of(bytes, got));
    return e == RP_OK && s->in.failed ? RP_E_TOO_BIG : e;
}

static struct rp_sock *find_open(struct rp_host_face *f, double handle, rp_err *e)
{
    struct rp_sock *s = find(f, handle);
    *e = RP_E_STALE;
    if (!s || s->state == OPEN) return s;
    *e = s->state == FAILED ? failed(s, s->fail, s->os) : RP_E_BUSY;
    return NULL;
}

rp_err rp_abi_sock_read(struct rp_host_face *f, double handle, uint32_t how, double n)
{
    rp_err e;
    struct rp_sock *s = find_open(f, handle, &e);
    if (!s) return e;
    if (!(n >= 0 && n <= IN_MOST)) {
        f->out = words(RP_E_TOO_BIG, 0);
        return RP_E_TOO_BIG;
    }
    rp_buf_consume(&s->in, s->taken);
    s->taken = 0;
    while ((e = take(s, (enum rp_abi_read)how, (size_t)n)) == RP_AGAIN) {
        e = fill(s);
        if (e == RP_AGAIN) {
            rp_conn_resume(s->conn);
            return wait_for(s);
        }
        if (e == RP_END) {
            f->out = RP_STR("closed");
            return e;
        }
        if (e != RP_OK) return conn_failed(s, e);
    }
    return e;
}

rp_err rp_abi_sock_flush(struct rp_host_face *f, double handle)
{
    rp_err e;
    struct rp_sock *s = find_open(f, handle, &e);
    if (!s) return e;
    e = rp_conn_send(s->conn, &s->out);
    if (e == RP_AGAIN) return wait_for(s);
    return e == RP_OK ? e : conn_failed(s, e);
}

rp_err rp_abi_sock_write(struct rp_host_face *f, double handle, const char *p, size_t n)
{
    rp_err e;
    struct rp_sock *s = find_open(f, handle, &e);
    if (!s) return e;
    rp_chain_add_copy(&s->out, rp_str_of(p, n));
    return rp_abi_sock_flush(f, handle);
}

void rp_abi_sock_close(struct rp_host_face *f, double handle)
{
    struct rp_sock *s = find(f, handle);
    if (s) sock_free(s);
}
