/* SPDX-License-Identifier: MIT
 *
 * meter: how many client connections a loop has, and who is told when one of them ends. Whoever
 * counts them elsewhere (caps over all workers) gives each a seat and hears of it again.
 *
 * Each counted connection holds a pass; closing the connection gives it back (conn.c), whatever its
 * owner was.
 */
#ifndef RP_NET_METER_H
#define RP_NET_METER_H

#include "net/addr.h"

enum { RP_METER_NET_BYTES = 16 };

struct rp_meter {
    uint32_t conns_n;
    void (*on_leave)(void *arg, uint32_t seat); /* NULL: nobody wants to know */
    void *arg;
};

/* All zero: not counted. */
struct rp_meter_pass {
    uint32_t seat; /* the counter's own; 0: none */
    bool counted;
};

/* Count a connection. */
void rp_meter_enter(struct rp_meter *m, struct rp_meter_pass *pass);
/* Give it back; a zero pass is accepted, and *pass is one afterwards. */
void rp_meter_leave(struct rp_meter *m, struct rp_meter_pass *pass);
/* Which client an address belongs to: an IPv4 address, or the first ip6_bits of an IPv6 one (whoever
 * has one address of those has them all). False for what is no IP. */
bool rp_meter_net(const struct rp_addr *a, uint32_t ip6_bits, uint8_t net[RP_METER_NET_BYTES]);

#endif
