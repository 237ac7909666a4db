/* SPDX-License-Identifier: MIT
 *
 * trace: requests that carry the secret of the site's `trace` in a header: what hooks did to them is
 * noted, and told in a header of that name in the response and in the log of decisions. Nobody else's
 * header of that name goes on to hooks, routes or the upstream.
 */
#ifndef RP_PROXY_TRACE_H
#define RP_PROXY_TRACE_H

#include "proxy/request.h"

enum { RP_TRACE_TEXT_BYTES = 4096 }; /* of the response header */

#ifndef RP_CDEF
static inline bool rp_trace_is_on(const struct rp_conf *c)
{
    return RP_UNLIKELY(c->trace_token.len > 0);
}
#endif

/* Before anything else looks at the head of r. */
void rp_trace_look(struct rp_req *r);
/* Into the response head, which is about to be sent. */
void rp_trace_tell(struct rp_req *r);

#endif
