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
/* Close what has not shaken hands (drain, stop), but for what already serves its early data. */
void rp_tls_door_close(struct rp_proxy *p);
/* Before the proxy is freed, behind close: whatever still shakes hands then is somebody else's. */
void rp_tls_door_forget(struct rp_proxy *p);

/* For guest.c: the question of a handshake is answered. e: RP_OK; < 0: the client is refused, for that. */
void rp_tls_door_decided(struct rp_shake *h, rp_err e);
/* A new generation: what hooks of the old one said is forgotten. */
void rp_tls_door_flip(struct rp_proxy *p);
void rp_tls_door_free(struct rp_proxy *p); /* closed before */
/* One line per handshake that waits for a hook. */
void rp_tls_door_dump(const struct rp_proxy *p, struct rp_buf *out);

/* A request that came in early data and must not be served as long as anybody may have sent it.
 * RP_OK: the handshake is over; RP_AGAIN: it is woken (RP_WAKE_BODY) when it is; RP_E_CLIENT_GONE. */
RP_MUST rp_err rp_tls_door_wait(struct rp_req *r);
void rp_tls_door_unwait(struct rp_req *r); /* it ends while it waits (r->shake) */

#endif
