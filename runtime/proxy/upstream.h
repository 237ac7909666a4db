/* SPDX-License-Identifier: MIT
 *
 * upstream: an upstream's live state in one worker: peers with their addresses and the view that its
 * policy has of them. What all workers know of a peer (failures, rest, requests under way, latency)
 * is in the roster. One rp_groups per generation; peers unchanged by a reload keep their connections
 * because the pool (connpool) is keyed by address and upstream, not by generation.
 */
#ifndef RP_PROXY_UPSTREAM_H
#define RP_PROXY_UPSTREAM_H

#include "proxy/balance.h"
#include "proxy/connpool.h"
#include "proxy/request.h"
#include "shm/roster.h"

enum { RP_PEER_ADDRS = 16 }; /* addresses kept of one name */

enum { RP_PEER_UNPLACED = 0x7fffffff };

enum { RP_PEER_LEFT = 0xffffffff };

/* It lives as long as it is in its group and as somebody uses it (refs): one that left while requests
 * are under way there keeps its place and its connections until they end. */
struct rp_peer {
    const struct rp_conf_peer *conf; /* of the site, or `live` */
    struct rp_group *group;
    uint32_t id;    /* never used again */
    uint32_t index; /* in the group; RP_PEER_LEFT: not any more */
    uint32_t refs;
    struct rp_pool_slot *slots[RP_PEER_ADDRS]; /* held; one for a literal address */
    uint32_t slots_n, next_slot;
    uint32_t place;             /* in the roster; RP_PEER_UNPLACED: it was full */
    struct rp_dns_query *query; /* name lookup under way */
    struct rp_timer refresh;
    bool looked_up;            /* a first answer came, good or bad */
    bool dual;                 /* its addresses are of both families, by turns */
    uint8_t from;              /* enum rp_roster_from */
    struct rp_conf_peer *live; /* ours, of one that is not of the site; its texts are ours, too */
    char *name_text, *more_text;
};

/* Requests that wait for a free seat, queue.h. */
struct rp_queue {
    struct rp_req *first, *last;
    uint32_t n;
};

struct rp_group {
    const struct rp_conf_upstream *conf;
    struct rp_proxy *proxy;
    struct rp_peer **peers;       /* those of the site, in its order, then others by name */
    struct rp_balance_view view;  /* what the policy sees, by the same indexes */
    uint64_t epoch;               /* of the roster when it was settled; 0: never */
    uint64_t live_epoch[2];       /* of members and orders when they were looked at */
    uint32_t live_version[2];     /* ... of our sets there */
    rp_ms settle_ms;              /* then again, whatever the roster says */
    char *tokens;                 /* of sticky clients, 32 digits a peer; NULL: none */
    struct rp_hedge_book *hedges; /* NULL: not looked up yet */
    struct rp_subset *subsets;    /* worked out so far, subset.h */
    uint32_t subsets_n;
    struct rp_queue queue;
    struct rp_timer look; /* of the queue */
    bool stale;           /* ... or now */
    bool alone;           /* settled: there is one peer, and nothing stands in its way */
    uint32_t peers_n;
    uint32_t gate;             /* in the roster, guard.h; RP_PEER_UNPLACED: it needs none */
    uint32_t active, retrying; /* users of a peer, and those that had one before */
    uint64_t pool_key; /* whose connections may be used: everything that one is made with counts,
                        * with TLS also whom the peer must be (slot_key) */
};

/* Live state for a generation; starts name lookups. */
struct rp_groups *rp_groups_new(struct rp_proxy *p, const struct rp_conf *c);
void rp_groups_free(struct rp_groups **g); /* no request of that generation may live */
struct rp_group *rp_groups_at(struct rp_groups *g, uint32_t upstream);
struct rp_groups *rp_groups_find(struct rp_proxy *p, const struct rp_conf *c);
uint32_t rp_groups_route_gate(const struct rp_groups *g, uint32_t route); /* as rp_group.gate */
struct rp_groups *rp_groups_next(const struct rp_groups *g); /* another generation's; NULL: none */
/* A text of that generation (known by its address) as a chunk, which all its answers share and which
 * may outlive it with them: borrowed, hold it. */
struct rp_chunk *rp_groups_share(struct rp_groups *g, rp_str text);

/* Peers come and go without a reload: bring the groups up to date, if there is news. */
void rp_groups_beat(struct rp_proxy *p);
/* Where that peer is now; -1: it left, or there is none. */
int rp_group_index_of(const struct rp_group *g, struct rp_peer_ref ref);
struct rp_peer_ref rp_group_ref(const struct rp_group *g, uint32_t index);
/* Index of the peer of that name, -1 when there is none. cost O(n) */
int rp_group_find(const struct rp_group *g, rp_str name);
/* Bring the group's peers and view up to date: indexes hold until the next call. */
void rp_group_settle(struct rp_group *g);

/* ---- upstream.c, upstream_live.c, upstream_pick.c and peer.c for each other ------------------- */

struct rp_pool_slot *rp_group_hold_slot(const struct rp_group *g, const struct rp_conf_peer *peer,
                                        const struct rp_addr *a);
rp_str rp_peer_identity(const struct rp_conf_peer *peer, const struct rp_addr *a,
                        char buf[RP_ADDR_TEXT_BYTES]); /* whom it is to be: its name or address */
/* A peer with its addresses, or their lookup under way; not placed yet. conf: of the site, NULL: the
 * caller fills `live`, then calls rp_peer_begin. */
struct rp_peer *rp_peer_new(struct rp_group *g, const struct rp_conf_peer *conf, uint8_t from);
void rp_peer_begin(struct rp_peer *p);
bool rp_peer_place(struct rp_peer *p); /* hold its place in the roster; false: it has none */
/* So many have none, of that group and perhaps of others: once for all of them. */
void rp_peers_tell_unplaced(const struct rp_group *g, uint32_t n);
void rp_peer_displace(struct rp_peer *p);
void rp_peer_leave(struct rp_peer *p); /* out of its group: it may be gone then */
void rp_peer_drop(struct rp_peer *p);
/* Wake requests and streams that wait for a peer. */
void rp_upstream_wake_waiting(struct rp_proxy *p);
void rp_group_open_view(struct rp_group *g);
void rp_group_close_view(struct rp_group *g);
/* True when members came or went. *again: they could not be read, and are to be looked at soon. */
bool rp_group_follow(struct rp_group *g, bool *again);
void rp_groups_place(struct rp_groups *gs); /* hold the peers' places in the roster */
void rp_groups_displace(struct rp_groups *gs);

/* ---- choosing --------------------------------------------------------------------------------- */

/* Choose a peer and an address for the next attempt by the group's policy, or what a balance hook
 * set. RP_OK: k->peer (NULL for a free address) and k->pool_slot are set; RP_AGAIN: names are still
 * being looked up, RP_WAKE_UP follows; RP_E_UP_NO_PEER, RP_E_UP_RESOLVE. */
RP_MUST rp_err rp_upstream_pick(struct rp_proxy *p, struct rp_pick *k);
/* A new connection to the address that was chosen: speak TLS where the upstream says so. */
void rp_upstream_dress(const struct rp_pick *k, struct rp_conn *c);
/* The chosen peer took a connection: failures in a row begin anew, when they are of connecting. */
void rp_upstream_connected(struct rp_proxy *p, const struct rp_pick *k);
/* It answered well, and not. */
void rp_upstream_blame(struct rp_proxy *p, struct rp_pick *k);
/* Is there another peer that could be asked? */
bool rp_upstream_has_other(struct rp_proxy *p, const struct rp_pick *k);
void rp_upstream_succeed(struct rp_proxy *p, const struct rp_pick *k);
/* Since its peer was chosen. */
uint64_t rp_upstream_spent_us(const struct rp_proxy *p, const struct rp_pick *k);
/* Its response head is there, so long after it was chosen; for groups of several. */
void rp_upstream_note_latency(struct rp_proxy *p, const struct rp_pick *k);
/* It is an outlier: let it rest. False: it may not, or does already. */
bool rp_upstream_eject(struct rp_proxy *p, struct rp_peer *peer, enum rp_roster_why why);
/* The user stays connected while its generation goes: it is the same peer's in the new one, with its seat;
 * where that has no such peer, nobody's. */
void rp_upstream_rehome(struct rp_proxy *p, struct rp_pick *k, const struct rp_conf *fresh);
/* Let go of peer and address. */
void rp_upstream_unpick(struct rp_proxy *p, struct rp_pick *k, enum rp_pick_end end);

#endif
