/* SPDX-License-Identifier: MIT
 *
 * route_cond: does a condition of a route hold for a request?
 */
#ifndef RP_PROXY_ROUTE_COND_H
#define RP_PROXY_ROUTE_COND_H

#include "http/msg.h"
#include "proxy/conf.h"

struct rp_regex_ctx;

/* What conditions look at. */
struct rp_route_facts {
    const struct rp_msg *head;
    const struct rp_addr *client;
    struct rp_arena *scratch; /* for regexes on query arguments that need decoding */
    struct rp_regex_ctx *ctx;
    rp_err trouble; /* first condition that could not be answered; RP_OK none */
};

/* A header or argument that is there several times holds when one of them does. What cannot be
 * answered (regex limits, scratch cap) does not hold, negated or not, and is noted in `trouble`. */
bool rp_route_cond_holds(const struct rp_conf_cond *cond, struct rp_route_facts *facts);

#endif
