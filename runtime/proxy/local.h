/* SPDX-License-Identifier: MIT
 *
 * local: answers made without an upstream. rp_req_answer and rp_req_answer_error (request.h) live in
 * local.c too.
 */
#ifndef RP_PROXY_LOCAL_H
#define RP_PROXY_LOCAL_H

#include "proxy/request.h"

enum { RP_LOCAL_FIELDS = 256 }; /* most fields a response head may get */

RP_MUST rp_err rp_local_respond(struct rp_req *r);  /* the route's fixed answer */
RP_MUST rp_err rp_local_redirect(struct rp_req *r); /* the route's Location, {names} filled in */
RP_MUST rp_err rp_local_redirect_https(struct rp_req *r); /* 308 to the same URL on https */
/* All metrics, of a listener that is there for them; RP_E_NO_ROUTE: another path. */
RP_MUST rp_err rp_local_metrics(struct rp_req *r);
/* 405 with what the route takes instead. */
void rp_local_refuse_method(struct rp_req *r);
rp_err rp_local_options(struct rp_req *r); /* we are the last recipient of an OPTIONS: 204, Allow */
void rp_local_miss(struct rp_req *r);      /* 404, 405 with Allow, 421 by r->match */

#endif
