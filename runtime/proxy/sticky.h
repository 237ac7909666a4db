/* SPDX-License-Identifier: MIT
 *
 * sticky: clients that come back to the peer that they had, by a cookie of ours, by one of the
 * application that we put ours into (PREFIX: "TOKEN~value"), or by one that we remember (LEARN); or by a
 * header field in its place.
 *
 * A token is a keyed hash of upstream and peer: it tells a client nothing, and nobody who has not
 * the key can make one for a peer of his choice. What is learnt is what peers say in answers, never
 * what a client says: it lies in memory that all workers share, under a keyed hash, and what was used
 * longest ago makes room. Workers have the key from the roster, or, when the
 * site gives a secret, so have other instances.
 */
#ifndef RP_PROXY_STICKY_H
#define RP_PROXY_STICKY_H

#include "proxy/upstream.h"

enum { RP_STICKY_TOKEN = 32 }; /* hexadecimal digits */

enum { RP_STICKY_LEARNED_BYTES = 32 * 1024 * 1024 }; /* of sessions that are remembered */

#ifndef RP_CDEF
/* Do clients of the upstream come back to their peers? */
static inline bool rp_sticky_is_on(const struct rp_conf_upstream *c)
{
    return c->sticky_cookie.len > 0 || c->sticky_header.len > 0;
}
#endif

/* Tokens of the peers; nothing where the upstream does not want them. */
void rp_sticky_open(struct rp_group *g);
void rp_sticky_close(struct rp_group *g);

/* PICK: the peer that the request's cookie (or header) names; its id is 0: nobody. */
struct rp_peer_ref rp_sticky_find(const struct rp_req *r);
/* ... and take our words out of what goes upstream (PREFIX). RP_E_CAP. */
RP_MUST rp_err rp_sticky_strip(struct rp_req *r);

/* A response came from r->pick.peer: tell the client whom it had, unless its cookie says so; or put
 * that into the application's cookie, or remember it. RP_E_CAP. */
RP_MUST rp_err rp_sticky_tell(struct rp_req *r);

#endif
