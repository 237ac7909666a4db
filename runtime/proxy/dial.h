/* SPDX-License-Identifier: MIT
 *
 * dial: CONNECT (RFC 9110 §9.3.6). A route with `connect` makes a tunnel to where the client says, when
 * its list allows that; a route with an upstream makes one to a peer of it, whatever the client says.
 */
#ifndef RP_PROXY_DIAL_H
#define RP_PROXY_DIAL_H

#include "proxy/lifecycle.h"

/* Of a route with `connect`: the target's name, its addresses, a connection. */
enum rp_verdict rp_step_dial(struct rp_req *r);
/* The deadline of the step passed: e says which. */
enum rp_verdict rp_dial_timeout(struct rp_req *r, rp_err e);
/* r->up is connected for a CONNECT: answer 200. first: bytes that go before the client's (moved). */
enum rp_verdict rp_dial_done(struct rp_req *r, struct rp_chain *first);
/* Is r->res the answer that makes a tunnel of r->up? */
bool rp_dial_is_tunnel(const struct rp_req *r);
/* The response to a CONNECT is no tunnel: let go of what was connected. */
void rp_dial_refuse(struct rp_req *r);
/* Nobody waits for names any more. */
void rp_dial_cancel(struct rp_req *r);

#endif
