/* SPDX-License-Identifier: MIT
 *
 * route_host: host names to hosts, exact and "*." wildcards.
 */
#ifndef RP_PROXY_ROUTE_HOST_H
#define RP_PROXY_ROUTE_HOST_H

#include "base/arena.h"

struct rp_conf_error;
struct rp_conf_host;
struct rp_route_hosts;

/* Empty, in the arena; at most names_max names. NULL at the arena's cap. */
struct rp_route_hosts *rp_route_hosts_make(struct rp_arena *a, uint32_t names_max);
/* "example.com", "*.example.com", "192.0.2.1", "[2001:db8::1]". host is kept.
 * ret  RP_E_INVALID and *e: no host name, or one that is there already; RP_E_CAP */
RP_MUST rp_err rp_route_hosts_add(struct rp_route_hosts *hosts, rp_str name,
                                  struct rp_conf_host *host, struct rp_conf_error *e);
/* Whose name is it: the exact one, else the longest wildcard; NULL when none. name: without port.
 * cost: one look-up, and one more for each number of labels that wildcards of the site have */
struct rp_conf_host *rp_route_hosts_find(const struct rp_route_hosts *hosts, rp_str name);

#endif
