/* SPDX-License-Identifier: MIT
 *
 * route_tree: see route_tree.h. Adding patterns to a draft and packing it; the search is in route.c.
 */
#include "proxy/route_tree.h"

#include "proxy/conf_build.h"

_Static_assert(sizeof(struct rp_route_node) == 64, "a node fills one cache line");

struct rp_route_draft_node {
    const char *edge;
    uint32_t edge_n;
    struct rp_route_draft_node *children, *next; /* siblings, by the first byte of their edges */
    struct rp_route_draft_node *param;
    struct rp_route_draft_leaf *exact, *wild, *regexes;
};

/* ---- adding patterns ------------------------------------------------------------------------- */

static struct rp_route_draft_node *make_node(struct rp_route_draft *d, struct rp_arena *a,
                                             const char *edge, size_t edge_n)
{
    struct rp_route_draft_node *node = rp_arena_zalloc(a, sizeof *node);
    if (!node) return NULL;
    node->edge = edge;
    node->edge_n = (uint32_t)edge_n;
    d->nodes_n++;
    return node;
}

/* Where the child for this byte is, or has to be linked in. */
static struct rp_route_draft_node **find_child(struct rp_route_draft_node *node, char first)
{
    struct rp_route_draft_node **at = &node->children;
    while (*at && (uint8_t)(*at)->edge[0] < (uint8_t)first) at = &(*at)->next;
    return at;
}

/* Put a node in the middle of *at's edge, after n bytes. */
static struct rp_route_draft_node *split(struct rp_route_draft *d, struct rp_arena *a,
                                         struct rp_route_draft_node **at, uint32_t n)
{
    struct rp_route_draft_node *below = *at, *above = make_node(d, a, below->edge, n);
    if (!above) return NULL;
    above->next = below->next;
    above->children = below;
    below->next = NULL;
    below->edge += n;
    below->edge_n -= n;
    *at = above;
    return above;
}

static uint32_t common_n(const struct rp_route_draft_node *node, rp_str s)
{
    uint32_t n = 0;
    while (n < node->edge_n && n < s.len && node->edge[n] == s.ptr[n]) n++;
    return n;
}

/* The node for the bytes of s below `node`, made when it is not there. */
static struct rp_route_draft_node *walk(struct rp_route_draft *d, struct rp_arena *a,
                                        struct rp_route_draft_node *node, rp_str s)
{
    while (node && s.len > 0) {
        struct rp_route_draft_node **at = find_child(node, s.ptr[0]);
        uint32_t n = 0;
        RP_CHECK((uint8_t)s.ptr[0] < 128);
        if (!*at || (*at)->edge[0] != s.ptr[0]) {
            n = (uint32_t)RP_MIN(s.len, (size_t)RP_ROUTE_EDGE_MAX);
            struct rp_route_draft_node *child = make_node(d, a, s.ptr, n);
            if (!child) return NULL;
            child->next = *at;
            *at = child;
            node = child;
        } else {
            n = common_n(*at, s);
            node = n < (*at)->edge_n ? split(d, a, at, n) : *at;
        }
        s = rp_str_from(s, n);
    }
    return node;
}

static struct rp_route_draft_node *walk_param(struct rp_route_draft *d, struct rp_arena *a,
                                              struct rp_route_draft_node *node)
{
    if (!node->param) node->param = make_node(d, a, "", 0);
    return node->param;
}

/* All literals, and a param between each two; also one behind the last when the pattern says so. */
static struct rp_route_draft_node *walk_pattern(struct rp_route_draft *d, struct rp_arena *a,
                                                const struct rp_route_pattern *p)
{
    uint32_t params_n = p->kind == RP_ROUTE_REGEX ? 0 : p->names_n - (p->rest_named ? 1 : 0);
    struct rp_route_draft_node *node = d->root;
    for (uint32_t i = 0; node && i < p->literals_n; i++) {
        node = walk(d, a, node, p->literals[i]);
        if (node && i < params_n) {
            d->forks_n++; /* at most: others may have made it a fork already */
            node = walk_param(d, a, node);
        }
    }
    return node;
}

static struct rp_route_draft_leaf *leaf_at(struct rp_route_draft_leaf **at, struct rp_arena *a,
                                           const struct rp_route_pattern *p)
{
    if (*at) return *at;
    *at = rp_arena_zalloc(a, sizeof **at);
    if (*at) (*at)->pattern = p;
    return *at;
}

static struct rp_route_draft_leaf *regex_at(struct rp_route_draft_node *node, struct rp_arena *a,
                                            const struct rp_route_pattern *p)
{
    struct rp_route_draft_leaf **at = &node->regexes;
    while (*at && !rp_str_eq((*at)->pattern->text, p->text)) at = &(*at)->next;
    return leaf_at(at, a, p);
}

struct rp_route_draft_leaf *rp_route_draft_leaf(struct rp_route_draft *d, struct rp_arena *a,
                                                const struct rp_route_pattern *p)
{
    if (p->kind == RP_ROUTE_STAR) return leaf_at(&d->star, a, p);
    if (!d->root) d->root = make_node(d, a, "", 0);
    struct rp_route_draft_node *node = walk_pattern(d, a, p);
    if (!node) return NULL;
    if (p->kind == RP_ROUTE_EXACT) return leaf_at(&node->exact, a, p);
    d->forks_n++;
    return p->kind == RP_ROUTE_WILD ? leaf_at(&node->wild, a, p) : regex_at(node, a, p);
}

/* ---- packing ------------------------------------------------------------------------------- */

struct packer {
    struct rp_arena *keep;
    struct rp_route_tree *out;
    const struct rp_route_draft_node **queue; /* by node index */
    uint32_t queue_n, forks_n;
    bool full;
};

static struct rp_route_leaf *pack_leaf(struct packer *p, const struct rp_route_draft_leaf *draft)
{
    if (!draft || p->full) return NULL;
    size_t bytes = draft->routes_n * sizeof draft->routes[0];
    struct rp_route_leaf *leaf = rp_arena_zalloc(p->keep, sizeof *leaf + bytes);
    p->full = !leaf;
    if (!leaf) return NULL;
    leaf->regex = draft->pattern->regex;
    leaf->routes_n = draft->routes_n;
    if (bytes) memcpy(leaf->routes, draft->routes, bytes);
    return leaf;
}

static struct rp_route_leaf *pack_regexes(struct packer *p, const struct rp_route_draft_leaf *draft)
{
    struct rp_route_leaf *first = NULL, **at = &first;
    for (; draft && !p->full; draft = draft->next) {
        *at = pack_leaf(p, draft);
        if (*at) at = &(*at)->next;
    }
    return first;
}

static uint32_t enqueue(struct packer *p, const struct rp_route_draft_node *draft)
{
    p->queue[p->queue_n] = draft;
    return p->queue_n++;
}

static uint32_t pack_fork(struct packer *p, const struct rp_route_draft_node *draft)
{
    if (!draft->param && !draft->wild && !draft->regexes) return 0;
    struct rp_route_fork *fork = &p->out->forks[p->forks_n++];
    fork->regexes = pack_regexes(p, draft->regexes);
    fork->wild = pack_leaf(p, draft->wild);
    fork->param = draft->param ? enqueue(p, draft->param) : 0;
    return p->forks_n;
}

static void pack_node(struct packer *p, uint32_t index)
{
    const struct rp_route_draft_node *draft = p->queue[index];
    struct rp_route_node *node = &p->out->nodes[index];
    RP_CHECK(draft->edge_n <= RP_ROUTE_EDGE_MAX);
    node->edge_n = (uint8_t)draft->edge_n;
    if (draft->edge_n) memcpy(node->edge, draft->edge, draft->edge_n);
    node->children = p->queue_n;
    for (const struct rp_route_draft_node *child = draft->children; child; child = child->next) {
        uint8_t first = (uint8_t)child->edge[0];
        node->next_bytes[first >> 6] |= UINT64_C(1) << (first & 63);
        (void)enqueue(p, child); /* its place is known: they follow each other */
    }
    node->exact = pack_leaf(p, draft->exact);
    node->fork = pack_fork(p, draft);
}

/* n zeroed elements whose first lies at the start of a cache line. */
static void *alloc_lines(struct rp_arena *a, size_t n, size_t element_bytes)
{
    char *p = rp_arena_zalloc(a, n * element_bytes + 63);
    return p ? p + (63 & -(uintptr_t)p) : NULL;
}

rp_err rp_route_draft_pack(const struct rp_route_draft *d, struct rp_arena *keep,
                           struct rp_arena *scratch, struct rp_route_tree *out)
{
    struct packer p = {.keep = keep, .out = out};
    out->star = pack_leaf(&p, d->star);
    if (p.full) return RP_E_CAP;
    if (!d->root) return RP_OK;
    p.queue = rp_arena_zalloc(scratch, d->nodes_n * sizeof *p.queue);
    out->nodes = alloc_lines(keep, d->nodes_n, sizeof *out->nodes);
    out->forks = rp_arena_zalloc(keep, d->forks_n * sizeof *out->forks);
    if (!p.queue || !out->nodes || !out->forks) return RP_E_CAP;
    (void)enqueue(&p, d->root);
    for (uint32_t i = 0; i < p.queue_n && !p.full; i++) pack_node(&p, i);
    return p.full ? RP_E_CAP : RP_OK;
}
