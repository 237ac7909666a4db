/* SPDX-License-Identifier: MIT
 *
 * bulk: long bodies that nobody looks at go from socket to socket by the kernel (net/splice).
 *
 * Only between HTTP/1 connections without TLS, for bodies whose end is known without looking at them,
 * on routes that neither filter nor buffer them. What is in a pipe is in hand like what is in a chain:
 * nothing more is read before the other side has taken it.
 */
#ifndef RP_PROXY_BULK_H
#define RP_PROXY_BULK_H

#include "proxy/lifecycle.h"

/* Response body into r->pipe. RP_OK (its end: r->up is let go); RP_AGAIN; RP_E_UP_TRUNCATED;
 * RP_E_BUSY: read instead, at most *most bytes, for those behind may go this way. */
RP_MUST rp_err rp_bulk_read(struct rp_req *r, size_t *most);
/* ... and from there (not NULL) to the client, when flush said RP_OK. As that. */
RP_MUST rp_err rp_bulk_flush(struct rp_req *r);

/* The same for the request body and r->body_pipe. RP_OK; RP_AGAIN; RP_E_BUSY; what read_body says. */
RP_MUST rp_err rp_bulk_read_body(struct rp_req *r, size_t *most);
/* As rp_up_flush. */
RP_MUST rp_err rp_bulk_flush_body(struct rp_req *r);

#ifndef RP_CDEF
/* A body so small that neither this nor whose turn it is has to be asked for it. */
static inline bool rp_bulk_is_trifle(const struct rp_req *r)
{
    return r->res.framing == RP_BODY_LENGTH && r->res.content_length < RP_REQ_HEAVY_BYTES;
}
#endif

#endif
