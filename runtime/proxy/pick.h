/* SPDX-License-Identifier: MIT
 *
 * pick: what one user of an upstream (a request, a stream) has chosen so far. rp_upstream_pick fills
 * it, rp_upstream_unpick lets go; both are in upstream.h.
 */
#ifndef RP_PROXY_PICK_H
#define RP_PROXY_PICK_H

#include "base/clock.h"
#include "net/addr.h"

enum { RP_PICK_TRIED_MOST = 8 };

struct rp_group;     /* an upstream's live state in this worker, upstream.h */
struct rp_peer;      /* one peer's live state, upstream.h */
struct rp_pool_slot; /* connpool.h */
struct rp_race;      /* eyeballs.h */

/* How the use of a peer ended. */
enum rp_pick_end {
    RP_PICK_WELL,
    RP_PICK_TRIED,  /* not this one again, for this user */
    RP_PICK_FAILED, /* ... and it counts against the peer */
    RP_PICK_DOWN,   /* ... which could not be reached at all */
};

/* A peer as one knows it who does not hold it. It may have left since, and its index may be another's:
 * rp_group_index_of tells. */
struct rp_peer_ref {
    uint32_t id;    /* never used again in this worker; 0: nobody */
    uint32_t index; /* where it was */
};

struct rp_pick {
    struct rp_group *group;         /* of the chosen upstream */
    struct rp_peer *peer;           /* held; NULL with want_addr */
    struct rp_pool_slot *pool_slot; /* held while an address is chosen; rp_connpool_addr tells it */
    struct rp_peer_ref tried[RP_PICK_TRIED_MOST]; /* peers that failed for this user */
    struct rp_peer_ref failed_peer;               /* the last that failed, and ... */
    uint32_t failed_addrs;    /* ... how many of its addresses did, one after the other */
    struct rp_race *race;     /* its addresses are being tried side by side; NULL: no */
    bool raced;               /* ... or were, and none of them is connected */
    uint64_t hash;            /* of what the user is known by, where the policy hashes */
    struct rp_peer_ref bound; /* the peer that a sticky client had */
    rp_ns since_ns;           /* the peer was chosen */
    bool again;               /* ... not for the first time */
    struct rp_peer_ref want;  /* set by a balance hook */
    rp_str subset;            /* what is wished of peers (subset.h); empty: nothing */
    struct rp_addr want_addr; /* address set by a balance hook (family NONE: none) */
};

#endif
