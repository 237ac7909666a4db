/* SPDX-License-Identifier: MIT
 *
 * sticky: clients that come back to the peer that they had, by a cookie of ours.
 *
 * Its value is a keyed hash of upstream and peer: it tells a client nothing, and nobody who has not
 * the key can make one for a peer of his choice. Workers have the key from the roster, or, when the
 * site gives a secret, so have other instances.
 */
#ifndef RP_PROXY_STICKY_H
#define RP_PROXY_STICKY_H

#include "proxy/upstream.h"

enum { RP_STICKY_TOKEN = 32 }; /* hexadecimal digits */

/* Tokens of the peers; nothing where the upstream does not want them. */
void rp_sticky_open(struct rp_group *g);
void rp_sticky_close(struct rp_group *g);

/* PICK: the peer that the request's cookie names; its id is 0: nobody. */
struct rp_peer_ref rp_sticky_find(const struct rp_req *r);

/* A response came from r->pick.peer: tell the client whom it had, unless its cookie says so. RP_E_CAP. */
RP_MUST rp_err rp_sticky_tell(struct rp_req *r);

#endif
