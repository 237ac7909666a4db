/* SPDX-License-Identifier: MIT
 *
 * flow: finding what belongs to a datagram: a table of flows by the client's address and, where a
 * socket is bound to no certain one, ours. Pure; the flows are the caller's.
 *
 * Keys come from the wire, and cost their sender nothing: the hash is keyed.
 */
#ifndef RP_PROXY_FLOW_H
#define RP_PROXY_FLOW_H

#include "net/addr.h"

struct rp_flow_key {
    uint8_t client[16], local[16];
    uint32_t scopes[2]; /* of link-local ones */
    uint16_t port, families;
};

/* One flow, embedded in its owner. */
struct rp_flow {
    struct rp_flow *next; /* in its slot */
    uint32_t hash;
    bool found; /* it is in the table */
    struct rp_flow_key key;
};

/* All zero: empty. */
struct rp_flows {
    struct rp_flow **slots;
    uint32_t slots_n, n;
};

void rp_flows_fini(struct rp_flows *t); /* empty */
void rp_flow_key_make(struct rp_flow_key *k, const struct rp_addr *client,
                      const struct rp_addr *local);
bool rp_flow_key_eq(const struct rp_flow_key *a, const struct rp_flow_key *b);
struct rp_flow *rp_flows_find(const struct rp_flows *t, const struct rp_flow_key *k);
/* f->key is set, and no flow of the table has the same. */
void rp_flows_add(struct rp_flows *t, struct rp_flow *f);
void rp_flows_remove(struct rp_flows *t, struct rp_flow *f); /* one that is not in: nothing */

#endif
