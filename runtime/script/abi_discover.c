/* SPDX-License-Identifier: MIT
 *
 * abi_discover: what Lua has to know before it says who the members of an upstream are: a generation
 * that is only tried must not change those of the one that serves.
 */
#include "script/vm.h"

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
    return follows(h->proxy->conf, rp_str_of(upstream, n)) ? RP_USE_WAITING : RP_USE_YES;
}
