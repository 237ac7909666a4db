/* SPDX-License-Identifier: MIT
 *
 * abi_discover: what Lua has to know before it says who the members of an upstream are: a generation
 * that is only tried must not change those of the one that serves.
 */
#include "script/vm.h"

#include "shm/found.h"

/* Would its workers see what is said of that upstream? */
static bool follows(const struct rp_conf *c, rp_str name)
{
    for (uint32_t i = 0; i < c->upstreams_n; i++) {
        if (rp_str_eq(c->upstreams[i]->name, name)) return c->upstreams[i]->live;
    }
    return false;
}

uint32_t rp_abi_conf_use(const struct rp_host_face *f, const char *upstream, size_t n)
{
    const struct rp_host *h = (const struct rp_host *)(const void *)f;
    if (h->retired) return RP_USE_OVER;
    if (!h->proxy) return RP_USE_WAITING;
    if (h->proxy->conf == h->conf) return RP_USE_YES;
    if (n == 0) return RP_USE_WAITING;
    return follows(h->proxy->conf, rp_str_of(upstream, n)) ? RP_USE_WAITING : RP_USE_YES;
}

static rp_str set_of(bool told)
{
    return told ? RP_STR(RP_FOUND_TOLD) : RP_STR(RP_FOUND_ROUTES);
}

rp_err rp_abi_found_put(struct rp_host_face *f, bool told, const char *text, size_t n)
{
    struct rp_host *h = rp_vm_of(f);
    bool changed;
    uint32_t use = rp_abi_conf_use(f, "", 0);
    if (use == RP_USE_WAITING) return RP_E_PHASE;
    if (use == RP_USE_OVER) return RP_E_STALE;
    if (!h->proxy->members[0]) return RP_E_NOT_FOUND;
    rp_err e = rp_members_put(h->proxy->members[0], set_of(told), rp_str_of(text, n), &changed);
    return e == RP_OK && !changed ? RP_END : e;
}

rp_err rp_abi_found_get(struct rp_host_face *f, bool told)
{
    rp_str name = set_of(told);
    return rp_abi_members_get(f, name.ptr, name.len);
}
