/* SPDX-License-Identifier: MIT
 *
 * buffering: bodies of routes that ask for it pass through a spool: a request's before its
 * upstream is chosen, a response's so that the upstream is done before a slow client is.
 *
 * Nothing here is called for other routes. `spool` holds a request body from PICK on: then it is
 * the source of what goes upstream, as often as it takes. `res_spool` holds what was read of a
 * response and not given to the client; it goes when it is empty and complete.
 */
#ifndef RP_PROXY_BUFFERING_H
#define RP_PROXY_BUFFERING_H

#include "proxy/lifecycle.h"

/* PICK: read the whole request body. True: it is there (or there is none); false: *v says what to
 * do. */
bool rp_buffering_gather(struct rp_req *r, enum rp_verdict *v);
/* A hook wants the body that is in `spool` in r->body. RP_OK; RP_AGAIN;
 * RP_E_TOO_BIG; RP_E_SPILL. */
RP_MUST rp_err rp_buffering_collect(struct rp_req *r, uint64_t max);
/* The next piece is the first again; what a hook collected in part is forgotten. */
void rp_buffering_restart(struct rp_req *r);
/* One piece of `spool` to the upstream, as pump_once of attempt.c. */
RP_MUST rp_err rp_buffering_pump(struct rp_req *r);

/* The response head went out: what follows passes through a spool from now on. */
void rp_buffering_begin(struct rp_req *r);
/* Read what the upstream has; its end and its failure stand behind the bytes. */
void rp_buffering_fill(struct rp_req *r);
/* The client takes nothing: what is in memory may go to the file, and more be read. */
void rp_buffering_spill(struct rp_req *r);
/* Bytes for the client into r->out. RP_OK; RP_AGAIN; < 0. */
RP_MUST rp_err rp_buffering_take(struct rp_req *r, size_t most);

/* Wait for the file. */
enum rp_verdict rp_buffering_wait(struct rp_req *r);
/* Give back what is left. */
void rp_buffering_end(struct rp_req *r);

#endif
