/* SPDX-License-Identifier: MIT
 *
 * abi_dns: names to addresses and services for hooks and tasks, from the cache that upstreams use, too. A lookup is
 * a hold: who is cancelled asks no more.
 */
#include "script/vm_net.h"

enum { MAGIC = 0x444e5320 };

struct rp_vm_name {
    uint32_t magic;
    struct rp_hold hold;
    struct rp_dns_query *query;
    struct rp_task *waiter;
    rp_err status;
    uint32_t addrs_n;
    uint32_t services_n;
    struct rp_addr *addrs; /* copies of the answer's */
    struct rp_dns_service *services;
};

static void let_go(struct rp_hold *hold)
{
    struct rp_vm_name *d = RP_CONTAINER(rp_vm_name, hold, hold);
    if (d->query) rp_dns_cancel(d->query);
    rp_task_forget_at(&d->waiter);
    d->magic = 0;
    rp_free(d->addrs);
    rp_free(d->services);
    rp_free(d);
}

static void *copy_of(const void *list, size_t n, size_t each)
{
    void *copy = n ? rp_alloc(n * each) : NULL;
    if (n) memcpy(copy, list, n * each);
    return copy;
}

static void on_answer(void *arg, const struct rp_dns_answer *answer)
{
    struct rp_vm_name *d = RP_AS(rp_vm_name, arg, MAGIC);
    d->query = NULL;
    d->status = answer->status;
    d->addrs_n = (uint32_t)answer->addrs_n; /* dns.c has the caps */
    d->addrs = copy_of(answer->addrs, d->addrs_n, sizeof d->addrs[0]);
    d->services_n = (uint32_t)answer->services_n;
    d->services = copy_of(answer->services, d->services_n, sizeof d->services[0]);
    rp_task_wake_at(&d->waiter);
}

double rp_abi_dns_start(struct rp_host_face *f, const char *name, size_t n, bool services)
{
    struct rp_host *h = rp_vm_of(f);
    if (!h->current || !h->proxy) return RP_E_PHASE;
    struct rp_vm_name *d = rp_alloc(sizeof *d);
    struct rp_dns *dns = h->proxy->dns;
    rp_str text = rp_str_of(name, n);
    d->magic = MAGIC;
    rp_err e = services ? rp_dns_resolve_services(dns, text, on_answer, d, &d->query)
                        : rp_dns_resolve(dns, text, on_answer, d, &d->query);
    if (e == RP_OK) e = rp_hold_open(h, &d->hold, RP_HOLD_NAME, let_go);
    if (e == RP_OK) return rp_hold_handle(&d->hold);
    let_go(&d->hold);
    return rp_vm_say(h, e, 0);
}

static struct rp_vm_name *find(struct rp_host_face *f, double handle)
{
    struct rp_hold *hold = rp_hold_find(rp_vm_of(f), handle, RP_HOLD_NAME);
    return hold ? RP_AS(rp_vm_name, RP_CONTAINER(rp_vm_name, hold, hold), MAGIC) : NULL;
}

rp_err rp_abi_dns_answer(struct rp_host_face *f, double handle)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_vm_name *d = find(f, handle);
    if (!d) return rp_vm_say(h, RP_E_STALE, 0);
    if (d->query) return rp_task_wait_at(h, &d->waiter);
    return d->status == RP_OK ? RP_OK : rp_vm_say(h, d->status, 0);
}

uint32_t rp_abi_dns_addr(struct rp_host_face *f, double handle, uint32_t i)
{
    struct rp_host *h = rp_vm_of(f);
    char text[RP_ADDR_TEXT_BYTES];
    const struct rp_vm_name *d = find(f, handle);
    if (!d || i >= d->addrs_n) return 0;
    rp_buf_clear(&h->text);
    rp_buf_add(&h->text, rp_str_of(text, rp_addr_put_ip(&d->addrs[i], text)));
    f->out = rp_buf_str(&h->text);
    return d->addrs[i].family == RP_ADDR_IP4 ? 4 : 6;
}

bool rp_abi_dns_service(struct rp_host_face *f, double handle, uint32_t i, uint32_t out[3])
{
    struct rp_vm_name *d = find(f, handle);
    if (!d || i >= d->services_n) return false;
    const struct rp_dns_service *s = &d->services[i];
    f->out = rp_str_of(s->name, s->name_n);
    out[0] = s->priority;
    out[1] = s->weight;
    out[2] = s->port;
    return true;
}

void rp_abi_dns_end(struct rp_host_face *f, double handle)
{
    struct rp_vm_name *d = find(f, handle);
    if (d) rp_hold_close(&d->hold);
}
