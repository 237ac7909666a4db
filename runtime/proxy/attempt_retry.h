/* SPDX-License-Identifier: MIT
 *
 * attempt_retry: what becomes of a request whose try failed. For attempt.c.
 */
#ifndef RP_PROXY_ATTEMPT_RETRY_H
#define RP_PROXY_ATTEMPT_RETRY_H

#include "proxy/lifecycle.h"
#include "proxy/retry.h"

/* This try failed with e: another one, or the client hears of it. */
enum rp_verdict rp_attempt_failed(struct rp_req *r, rp_err e, enum rp_retry_stage stage);
/* A response head is in r->res: what it says about the peer is noted. True: it is not passed on, and
 * rp_attempt_repeat follows. */
bool rp_attempt_refuses(struct rp_req *r);
bool rp_attempt_is_unwanted(const struct rp_req *r); /* does the site rather try again? */
enum rp_verdict rp_attempt_repeat(struct rp_req *r);

#endif
