/* SPDX-License-Identifier: MIT
 *
 * door: what happens to a connection between accept and its first byte of a request: caps on how many
 * there are, in all and per client, and the PROXY header that says who the client is.
 *
 * Who is refused gets 503 and a close (an HTTP client), or a close. At most 100 answers a second and
 * worker: a flood must not tie up descriptors; the rest is reset.
 */
#ifndef RP_PROXY_DOOR_H
#define RP_PROXY_DOOR_H

#include "proxy/server.h"

/* Count in this census as this worker, before the first connection; NULL: no caps. */
void rp_door_use(struct rp_proxy *p, struct rp_census *census, uint32_t worker);
/* A connection came in on s (own): rp_server_begin follows, or it is refused. */
void rp_door_open(struct rp_serve *s, struct rp_conn *c);
/* Close what waits at the door (drain, stop). */
void rp_door_close(struct rp_proxy *p);

#endif
