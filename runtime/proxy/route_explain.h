/* SPDX-License-Identifier: MIT
 *
 * route_explain: why a request goes where it goes: every route of its host and what spoke against it.
 * The search is rp_route_walk, that of requests. Off the hot path: cost grows with the routes.
 */
#ifndef RP_PROXY_ROUTE_EXPLAIN_H
#define RP_PROXY_ROUTE_EXPLAIN_H

#include "base/buf.h"
#include "proxy/route.h"

enum rp_route_fate {
    RP_FATE_CHOSEN,
    RP_FATE_LATER,   /* it holds, the chosen one stands before it */
    RP_FATE_METHOD,  /* path and conditions fit */
    RP_FATE_COND,    /* `cond` is the first that does not hold */
    RP_FATE_UNKNOWN, /* `cond` could not be decided (limits of a regex), which counts as no */
    RP_FATE_PATH,
};

enum { RP_ROUTE_NOTES_MAX = 1000 }; /* routes that are named; the others are counted */

struct rp_route_note {
    const struct rp_route *route;
    uint8_t fate;  /* enum rp_route_fate */
    uint32_t cond; /* index in route->conds */
};

struct rp_route_story {
    const struct rp_conf_host *host; /* NULL: no host has the name, and none is the default */
    bool by_name;                    /* the host was found by its name, not as the default */
    struct rp_route_match match;     /* what rp_route_find says */
    struct rp_route_note
        *notes; /* in the order of the search; then those whose path does not fit */
    uint32_t notes_n;
    uint32_t left_out_n; /* routes of the host that have no note: there were too many */
};

/* head, client: as for rp_route_find. scratch holds the story. RP_E_CAP: it is full. */
RP_MUST rp_err rp_route_explain(const struct rp_conf *c, const struct rp_msg *head,
                                const struct rp_addr *client, struct rp_arena *scratch,
                                struct rp_route_story *out);
/* The story as one JSON object:
 *   host, by ("name", "default", "none"), chosen (id; null), miss ("no_route", "method_not_allowed",
 *   "misdirected"; null), undecided, left_out,
 *   routes: [ { id, pattern, methods, fate ("chosen", "later", "method", "cond", "unknown", "path"),
 *   cond (words) } ] */
void rp_route_story_json(const struct rp_route_story *s, struct rp_buf *out);

#endif
