/* SPDX-License-Identifier: MIT
 *
 * upstream: an upstream's live state in one worker: peers with their addresses, round-robin weights,
 * failures and rest, in-flight counts. One rp_groups per generation; peers unchanged by a reload keep
 * their connections because the pool (connpool) is keyed by address and upstream, not by
 * generation.
 */
#ifndef RP_PROXY_UPSTREAM_H
#define RP_PROXY_UPSTREAM_H

#include "proxy/balance.h"
#include "proxy/connpool.h"
#include "proxy/request.h"

enum { RP_PEER_ADDRS = 16 }; /* addresses kept of one name */

struct rp_peer {
    const struct rp_conf_peer *conf;
    struct rp_group *group;
    uint32_t index;
    struct rp_pool_slot *slots[RP_PEER_ADDRS]; /* held; one for a literal address */
    uint32_t slots_n, next_slot;
    uint32_t in_flight;
    uint32_t fails;             /* consecutive connect failures */
    rp_ms rest_until_ms;        /* 0: not resting */
    struct rp_dns_query *query; /* name lookup under way */
    struct rp_timer refresh;
    bool looked_up; /* a first answer came, good or bad */
};

struct rp_group {
    const struct rp_conf_upstream *conf;
    struct rp_proxy *proxy;
    struct rp_peer *peers;
    struct rp_balance_peer *view; /* what the policy sees */
    int64_t *weights;
    uint32_t peers_n;
    uint64_t pool_key; /* whose connections may be used: everything that one is made with counts,
                        * with TLS also whom the peer must be (slot_key) */
};

/* Live state for a generation; starts name lookups. */
struct rp_groups *rp_groups_new(struct rp_proxy *p, const struct rp_conf *c);
void rp_groups_free(struct rp_groups **g); /* no request of that generation may live */
struct rp_group *rp_groups_at(struct rp_groups *g, uint32_t upstream);
struct rp_groups *rp_groups_find(struct rp_proxy *p, const struct rp_conf *c);
/* A text of that generation (known by its address) as a chunk, which all its answers share and which
 * may outlive it with them: borrowed, hold it. */
struct rp_chunk *rp_groups_share(struct rp_groups *g, rp_str text);

/* Choose a peer and an address for the next attempt by the group's policy, or what a balance hook
 * set. RP_OK: k->peer (NULL for a free address) and k->pool_slot are set; RP_AGAIN: names are still
 * being looked up, RP_WAKE_UP follows; RP_E_UP_NO_PEER, RP_E_UP_RESOLVE. */
RP_MUST rp_err rp_upstream_pick(struct rp_proxy *p, struct rp_pick *k);
/* A new connection to the address that was chosen: speak TLS where the upstream says so. */
void rp_upstream_dress(const struct rp_pick *k, struct rp_conn *c);
/* Let go of peer and address; failed: the connection could not be made. */
void rp_upstream_unpick(struct rp_proxy *p, struct rp_pick *k, bool failed);

#endif
