/* SPDX-License-Identifier: MIT
 *
 * route_tree: a radix tree by bytes over the literals of one host's patterns, in two forms: the
 * draft that routes are added to, and the packed one that is searched.
 *
 * A node stands for the bytes on its way from the root, {param} segments included. Nodes at which a
 * search may have to choose (forks) always lie just after a '/', so a path meets at most
 * RP_ROUTE_SEGMENTS_MAX of them on one way down.
 *
 * A search is as fast as the cache lines it touches are few: a node fills one line, its edge
 * included, and siblings lie side by side.
 */
#ifndef RP_PROXY_ROUTE_TREE_H
#define RP_PROXY_ROUTE_TREE_H

#include "proxy/conf.h"
#include "proxy/route_pattern.h"

/* ---- packed ------------------------------------------------------------------------------- */

enum { RP_ROUTE_EDGE_MAX = 31 };

/* Routes that match the same paths, in file order. */
struct rp_route_leaf {
    const struct rp_route_regex *regex; /* of a regex leaf */
    struct rp_route_leaf *next;         /* the folder's next regex, in file order */
    uint32_t routes_n;
    struct rp_route *routes[];
};

struct rp_route_node {
    uint64_t next_bytes[2];      /* bit b: a child's edge starts with byte b (paths are ASCII) */
    uint32_t children;           /* index of the first; the others follow by first byte */
    uint32_t fork;               /* index + 1 in forks; 0: none */
    struct rp_route_leaf *exact; /* the path ends here; NULL: no route */
    uint8_t edge_n;
    char edge[RP_ROUTE_EDGE_MAX]; /* literal bytes between the parent and this node */
};

struct rp_route_fork {
    struct rp_route_leaf *regexes; /* regexes whose folder this is */
    struct rp_route_leaf *wild;    /* any rest */
    uint32_t param;                /* node behind one segment; 0: none (that is the root) */
};

struct rp_route_tree {
    struct rp_route_node *nodes; /* the root first; NULL: no routes with a path */
    struct rp_route_fork *forks;
    struct rp_route_leaf *star; /* requests without a path */
};

struct rp_route_hosts;
struct rp_regex_ctx;
struct rp_router {
    struct rp_route_hosts *hosts;
    struct rp_conf_host *fallback; /* the default host; NULL: none */
    struct rp_route_tree *trees;   /* by host index */
    struct rp_regex_ctx *ctx;      /* match memory: the one thing here that a search writes to */
};

/* ---- draft ---------------------------------------------------------------------------------- */

struct rp_route_draft_leaf {
    struct rp_route **routes;
    uint32_t routes_n;
    uint64_t covered;                       /* methods that its unconditional routes take */
    bool covered_all;                       /* one of those takes any method */
    const struct rp_route_pattern *pattern; /* of the first route */
    struct rp_route_draft_leaf *next;       /* regexes: the folder's next one */
};

struct rp_route_draft_node;
struct rp_route_draft {
    struct rp_route_draft_node *root;
    struct rp_route_draft_leaf *star;
    uint32_t nodes_n, forks_n;
};

/* The leaf for a pattern, made when it is new. NULL at the arena's cap. */
struct rp_route_draft_leaf *rp_route_draft_leaf(struct rp_route_draft *d, struct rp_arena *a,
                                                const struct rp_route_pattern *p);
/* Pack the draft into *out, in `keep`; `scratch` is used meanwhile. RP_E_CAP. */
RP_MUST rp_err rp_route_draft_pack(const struct rp_route_draft *d, struct rp_arena *keep,
                                   struct rp_arena *scratch, struct rp_route_tree *out);

#endif
