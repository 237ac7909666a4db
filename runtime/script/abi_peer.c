/* SPDX-License-Identifier: MIT
 *
 * abi_peer: what Lua may know and say about peers of upstreams: for checks, in the agent.
 */
#include "proxy/upstream.h"
#include "script/vm.h"

/* NULL: there is none, or this configuration is not in use yet. */
static const struct rp_peer *find(const struct rp_host *h, uint32_t upstream, uint32_t peer)
{
    if (!h->proxy) return NULL;
    const struct rp_group *g = rp_groups_at(rp_groups_find(h->proxy, h->conf), upstream);
    if (!g || peer >= g->peers_n) return NULL;
    return g->peers[peer];
}

int32_t rp_abi_peer_health(const struct rp_host_face *f, uint32_t upstream, uint32_t peer)
{
    const struct rp_host *h = (const struct rp_host *)(const void *)f;
    const struct rp_peer *p = find(h, upstream, peer);
    if (!p) return -1;
    if (p->place == RP_PEER_UNPLACED) return RP_ROSTER_UNKNOWN;
    return rp_roster_facts(h->proxy->roster, p->place).health;
}

bool rp_abi_peer_report(struct rp_host_face *f, uint32_t upstream, uint32_t peer, uint32_t health)
{
    const struct rp_host *h = rp_vm_of(f);
    const struct rp_peer *p = find(h, upstream, peer);
    if (!p || p->place == RP_PEER_UNPLACED || health > RP_ROSTER_FAILING) return false;
    return rp_roster_set_health(h->proxy->roster, p->place, (enum rp_roster_health)health,
                                rp_loop_now(h->proxy->loop));
}
