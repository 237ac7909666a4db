/* SPDX-License-Identifier: MIT
 *
 * route_pattern: the text of a route's path pattern, taken apart. Load time only.
 */
#ifndef RP_PROXY_ROUTE_PATTERN_H
#define RP_PROXY_ROUTE_PATTERN_H

#include "base/arena.h"

struct rp_conf_error;
struct rp_regex;

enum rp_route_kind {
    RP_ROUTE_EXACT, /* ends with its last literal or {param} */
    RP_ROUTE_WILD,  /* ends with "*" or {rest*}: takes the rest, also an empty one */
    RP_ROUTE_REGEX,
    RP_ROUTE_STAR, /* "*": requests without a path */
};

enum {
    RP_ROUTE_PATTERN_MAX = 4096, /* bytes */
    RP_ROUTE_SEGMENTS_MAX = 64,  /* slashes of a pattern; bounds the search's stack */
};

/* What the search needs of a regex pattern. */
struct rp_route_regex {
    struct rp_regex *regex;
    unsigned *groups; /* group number of each named group, in order */
    uint32_t groups_n;
    unsigned spans_n; /* spans to ask for; 0: nothing is captured */
};

struct rp_route_pattern {
    uint8_t kind;        /* enum rp_route_kind */
    bool rest_named;     /* RP_ROUTE_WILD: the rest is the last param */
    rp_str *literals;    /* in normal form; a {param} stands between each two */
    uint32_t literals_n; /* REGEX: one, the folder every match begins with; STAR: none */
    rp_str *names;       /* params in order; kept */
    uint32_t names_n;
    struct rp_route_regex *regex; /* REGEX; kept */
    rp_str text;                  /* as written; kept */
};

/* What is marked "kept" lies in `keep` (which frees the regex), all else in `draft`.
 * ret  RP_OK; RP_E_INVALID and *e with what is wrong and what to write; RP_E_CAP */
RP_MUST rp_err rp_route_pattern_make(struct rp_arena *keep, struct rp_arena *draft, rp_str text,
                                     struct rp_route_pattern **out, struct rp_conf_error *e);

#endif
