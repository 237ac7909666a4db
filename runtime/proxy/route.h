/* SPDX-License-Identifier: MIT
 *
 * route: host and path to a route. Pure after building; cost does not depend on the number of routes.
 *
 * Hosts: exact name, then the longest "*." wildcard, then the default host. Case and one final dot
 * do not matter. A request with no host at all (HTTP/1.0) goes to the default host.
 *
 * Patterns, matched against the normal form of the path (http/uri.h), case-sensitive:
 *   "/a/b"         this path alone
 *   "/a/{id}/b"    {id} is one whole segment, not an empty one
 *   "/a/" + "*"    "/a/" and everything below it, not "/a"
 *   "/a/{rest*}"   the same, and the rest (possibly empty) is a param
 *   "~^/a/(?<x>.)" PCRE2; named groups are params, one that took no part has ptr NULL
 *   "*"            a request without a path: OPTIONS *, CONNECT
 * A params value is a slice of the path: percent escapes stay in.
 *
 * Order: going through the path from the left, a literal beats a regex beats a {param} beats a
 * wildcard; so an exact path is first and the longest literal prefix wins. A regex stands at its
 * folder: the literal text it starts with up to the last slash ("~^/a/b[0-9]" at "/a/", "~\.php$" at
 * "/"), so that it beats wildcards of that folder and above and loses to those of deeper ones.
 * Regexes of one folder are tried in file order. When the better pattern's methods or conditions do
 * not hold, or its end does not fit, the next one is tried.
 * Among routes of one pattern: method and conditions, the first in file order that holds. GET brings
 * HEAD. A route that no request can reach is an error at load.
 */
#ifndef RP_PROXY_ROUTE_H
#define RP_PROXY_ROUTE_H

#include "http/msg.h"
#include "proxy/conf.h"

enum { RP_ROUTE_PARAMS = 16 };

struct rp_route_match {
    struct rp_route *route; /* never NULL: a real route, the host's no_route, or no_host */
    rp_err miss;            /* RP_OK; RP_E_NO_ROUTE, RP_E_METHOD_NOT_ALLOWED, RP_E_MISDIRECTED */
    uint64_t allowed;       /* methods bits of the path's routes, for Allow on 405 */
    rp_str params[RP_ROUTE_PARAMS]; /* slices of the path, same order as route->param_names */
    uint32_t params_n;
    uint32_t visited_n; /* tree nodes entered, for specs and explanations */
    rp_err trouble;     /* RP_E_CAP: a regex or condition hit a limit, so what it would
                                        have chosen is unknown; it counted as no match */
};

struct rp_router *rp_router_make(struct rp_conf *c, struct rp_conf_error *e); /* NULL: see e */
/* head: host, path (normal form), method, query, fields; client: after `trust`. scratch is used only
 * by query conditions that need decoding. Only the first params_n params are written.
 * cost: 60 to 120 ns for one in ten and one in a hundred thousand routes (spec/bench/route_bench.c),
 * plus conditions and regexes tried; no allocation but for such conditions */
void rp_route_find(const struct rp_conf *c, const struct rp_msg *head, const struct rp_addr *client,
                   struct rp_arena *scratch, struct rp_route_match *out);

/* Do all these conditions hold? What cannot be answered does not, and is noted in *trouble when that
 * is RP_OK. */
bool rp_route_holds(const struct rp_conf *c, const struct rp_conf_cond *conds, uint32_t n,
                    const struct rp_msg *head, const struct rp_addr *client,
                    struct rp_arena *scratch, rp_err *trouble);
/* Does it take the method? */
bool rp_route_takes(const struct rp_route *r, const struct rp_msg *head);
/* For explanations: the same search, which does not stop: each leaf (routes of one pattern, in file
 * order; route_tree.h) whose pattern fits the path, in the order in which rp_route_find looks at them.
 * The host; NULL when there is none. by_name: it was found by its name, not as the default. */
struct rp_route_leaf;
typedef void (*rp_route_leaf_fn)(void *arg, const struct rp_route_leaf *leaf);
const struct rp_conf_host *rp_route_walk(const struct rp_conf *c, const struct rp_msg *head,
                                         rp_route_leaf_fn each, void *arg, bool *by_name);

#endif
