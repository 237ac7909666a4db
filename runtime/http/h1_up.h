/* SPDX-License-Identifier: MIT
 *
 * h1_up: an HTTP/1 connection to an upstream behind the border of up.h: one request out, its response
 * in, then idle or closed.
 *
 * States: CONNECTING -> IDLE -> BUSY -> IDLE ... Poisoned (not reusable) by anything unexpected:
 * bytes while idle, garbage behind a response, a request that was not sent whole. RFC 9112 §9.3.
 */
#ifndef RP_HTTP_H1_UP_H
#define RP_HTTP_H1_UP_H

#include "http/body_in.h"
#include "http/up.h"

/* Connect to an address. RP_E_UP_CONNECT with *fail when it failed at once. */
RP_MUST rp_err rp_h1_up_connect(struct rp_loop *l, struct rp_mem *m, const struct rp_addr *to,
                                struct rp_up **out, struct rp_conn_fail *fail);
/* The same on a connection (own) that was begun elsewhere, whether or not it has come about. */
struct rp_up *rp_h1_up_adopt(struct rp_conn *c, struct rp_mem *m);
/* Connected, and it turns out that another protocol is spoken there: its connection (own); the rest
 * is freed. */
struct rp_conn *rp_h1_up_release(struct rp_up *u);

#endif
