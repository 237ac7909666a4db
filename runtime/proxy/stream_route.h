/* SPDX-License-Identifier: MIT
 *
 * stream_route: which upstream a stream goes to, by the names in its ClientHello. Pure.
 *
 * The first protocol of the client's ALPN list that has a rule wins; then the server name, exact
 * before "*." and longer "*." before shorter; then the stream's own upstream.
 */
#ifndef RP_PROXY_STREAM_ROUTE_H
#define RP_PROXY_STREAM_ROUTE_H

#include "proxy/conf.h"

/* sni: lower case; ptr NULL: none was sent. alpn: list as on the wire, checked (tls_hello.h).
 * NULL: refused. cost O(log rules) per protocol and label */
struct rp_conf_upstream *rp_stream_route_find(const struct rp_conf_stream *c, rp_str sni,
                                              rp_str alpn);
/* Put rules in the order that find needs; false when a name stands there twice (*twice). */
bool rp_stream_route_sort(struct rp_conf_stream_rule *rules, uint32_t n, rp_str *twice);

#endif
