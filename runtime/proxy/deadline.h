/* SPDX-License-Identifier: MIT
 *
 * deadline: a request's own end of patience, from its client (grpc-timeout) or a hook
 * (req.deadline): waiting for an upstream ends then, and the upstream hears what is left.
 *
 * It stands in r->own, which most requests have not.
 */
#ifndef RP_PROXY_DEADLINE_H
#define RP_PROXY_DEADLINE_H

#include "proxy/request.h"

enum { RP_GRPC_TIMEOUT_BYTES = 9 }; /* of the longest: 8 digits and a unit */

/* The value of grpc-timeout: digits and one of H M S m u n. Milliseconds, rounded up. RP_E_INVALID
 */
RP_MUST rp_err rp_deadline_parse_grpc(rp_str s, rp_ms *out);
/* ms as such a value, rounded down; returns its length. */
size_t rp_deadline_put_grpc(rp_ms ms, char out[RP_GRPC_TIMEOUT_BYTES]);

/* ROUTE: the client's grpc-timeout is its request's deadline. */
void rp_deadline_take(struct rp_req *r);
/* Until then, in the loop's time; 0: none. RP_E_CAP */
RP_MUST rp_err rp_deadline_set(struct rp_req *r, rp_ms ends_ms);
/* SEND: the head that goes up says how long we shall wait: `most` for this try. RP_E_CAP */
RP_MUST rp_err rp_deadline_tell(struct rp_req *r, rp_ms most);
#ifndef RP_CDEF
static inline rp_ms rp_deadline_of(const struct rp_req *r)
{
    return RP_UNLIKELY(r->own != NULL) ? r->own->ends_ms : 0;
}
/* Nobody waits for it any more. */
bool rp_deadline_is_over(const struct rp_req *r);
/* A wait of *ms that means *failure: when the deadline comes first, it is the deadline's. */
void rp_deadline_cap(const struct rp_req *r, rp_ms *ms, rp_err *failure);
#endif

#endif
