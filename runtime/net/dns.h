/* SPDX-License-Identifier: MIT
 *
 * dns: names to addresses, and to services (SRV), without blocking the loop, with a small cache (TTL
 * floor, stale answers kept when a refresh fails, one query in flight per name).
 */
#ifndef RP_NET_DNS_H
#define RP_NET_DNS_H

#include "net/addr.h"
#include "net/loop.h"

struct rp_dns;
struct rp_dns_query;
enum { RP_DNS_NAME_MOST = 253 }; /* RFC 1035 §2.3.4: 255 bytes on the wire */
/* An SRV record (RFC 2782). */
struct rp_dns_service {
    uint16_t priority, weight, port;
    uint8_t name_n;
    char name[RP_DNS_NAME_MOST];
};
struct rp_dns_answer {
    rp_err status;               /* RP_OK, RP_E_NOT_FOUND, RP_E_TIMEOUT, RP_E_UP_RESOLVE */
    const struct rp_addr *addrs; /* borrowed until the callback returns; port 0 */
    size_t addrs_n;
    const struct rp_dns_service *services; /* of rp_dns_resolve_services; no order */
    size_t services_n;
    rp_ms ttl_ms; /* how long it holds from now on, within the options' bounds */
};
typedef void (*rp_dns_fn)(void *arg, const struct rp_dns_answer *answer);

struct rp_dns_options {
    const char *servers; /* "10.0.0.53,10.0.0.54:5353"; NULL: those of resolv.conf; copied */
    rp_ms timeout_ms;    /* of the first try; doubled for each further one */
    int tries;           /* per server */
    rp_ms ttl_least_ms, ttl_most_ms;
    rp_ms absent_ms;   /* how long "no such name" is believed */
    rp_ms stale_ms;    /* how long past its TTL an answer still serves when a refresh fails */
    rp_ms retry_ms;    /* no new refresh sooner than this after a failed one */
    size_t names_most; /* in the cache */
};
extern const struct rp_dns_options rp_dns_defaults;

/* System settings and the hosts file. o may be NULL: the defaults. NULL when c-ares refuses. */
struct rp_dns *rp_dns_new(struct rp_loop *l);
struct rp_dns *rp_dns_new_with(struct rp_loop *l, const struct rp_dns_options *o);
/* Open queries are cancelled, callbacks not called. Not from inside a callback; before the loop. */
void rp_dns_free(struct rp_dns **d);
/* Other options from now on (names_most stays); servers is copied. Queries that are open are asked of
 * the new servers. When c-ares refuses those, the old ones stay: RP_E_INVALID. */
RP_MUST rp_err rp_dns_adjust(struct rp_dns *d, const struct rp_dns_options *o);
/* Addresses of `name` (borrowed; an IP's text is one too), IPv4 and IPv6, in the order of RFC 6724.
 * The callback never runs before this returns. *out is valid until the callback or the cancel.
 * RP_E_INVALID for what cannot be a name, RP_E_CAP when the cache is full of open queries. */
RP_MUST rp_err rp_dns_resolve(struct rp_dns *d, rp_str name, rp_dns_fn fn, void *arg,
                              struct rp_dns_query **out);
/* The same for SRV records of a name such as "_http._tcp.example.com"; RP_E_NOT_FOUND also when the only
 * one is ".": decidedly no such service. */
RP_MUST rp_err rp_dns_resolve_services(struct rp_dns *d, rp_str name, rp_dns_fn fn, void *arg,
                                       struct rp_dns_query **out);
void rp_dns_cancel(struct rp_dns_query *q); /* the callback will not run */

#endif
