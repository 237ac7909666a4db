/* SPDX-License-Identifier: MIT
 *
 * meter: how many client connections a worker has, in all and per client. A client is an IPv4
 * address or an IPv6 /64: whoever has one address of those has them all.
 *
 * Each counted connection holds a pass; closing the connection gives it back (conn.c), whatever its
 * owner was. Memory is bounded by the number of connections.
 */
#ifndef RP_NET_METER_H
#define RP_NET_METER_H

#include "base/pool.h"
#include "net/addr.h"

struct rp_meter_client;

struct rp_meter {
    struct rp_meter_client **slots; /* chains; NULL until the first client */
    uint32_t slots_n, clients_n;
    uint32_t conns_n;
    struct rp_pool pool;
};

/* All zero: nothing is counted. */
struct rp_meter_pass {
    struct rp_meter *meter;
    struct rp_meter_client *client; /* NULL: counted in all only */
};

void rp_meter_init(struct rp_meter *m);
void rp_meter_fini(struct rp_meter *m); /* every pass was given back */
/* Count one more connection. most: 0 is no limit. RP_E_CONNS_MANY when they are there already. */
RP_MUST rp_err rp_meter_enter(struct rp_meter *m, uint64_t most, struct rp_meter_pass *pass);
/* Count an entered connection for its client. RP_E_CONNS_CLIENT when that has `most` (not 0) already;
 * addresses that are no IP are not counted. */
RP_MUST rp_err rp_meter_join(struct rp_meter_pass *pass, const struct rp_addr *client,
                             uint64_t most);
/* Give it back; a zero pass is accepted, and *pass is one afterwards. */
void rp_meter_leave(struct rp_meter_pass *pass);

#endif
