/* SPDX-License-Identifier: MIT
 *
 * tls_door: clients' TLS handshakes: between the door (caps, PROXY header) and the session. Each has a
 * deadline; with `limits.tls_rate` a worker begins so many a second, and the others wait their turn.
 *
 * A handshake that fails is counted; the log has one line a second at most, with how many it speaks
 * for. A plain HTTP request is answered 400 in plain HTTP.
 */
#ifndef RP_PROXY_TLS_DOOR_H
#define RP_PROXY_TLS_DOOR_H

#include "proxy/server.h"

/* Shake hands on a connection of a listener that ends TLS (own): rp_server_speak follows. */
void rp_tls_door_open(struct rp_serve *s, struct rp_conn *c);
/* Close what has not shaken hands (drain, stop). */
void rp_tls_door_close(struct rp_proxy *p);

#endif
