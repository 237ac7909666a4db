/* SPDX-License-Identifier: MIT
 *
 * route: the search: host map, then the host's tree. Order and meaning: route.h.
 *
 * The search goes down by literals and notes each fork it passes (regexes, {param}, wildcard); when
 * the way down ends it comes back to the last fork. Why that is bounded: in a tree a node is reached
 * in one way only, and that way fixes how much of the path is consumed, so no node is entered twice
 * for one path. Cost is at most the number of patterns whose beginning fits the path, whatever the
 * path is.
 */
#include "proxy/route.h"

#include "base/regex.h"
#include "proxy/route_cond.h"
#include "proxy/route_host.h"
#include "proxy/route_tree.h"

/* ---- one leaf ------------------------------------------------------------------------------- */

/* One search under way. */
struct search {
    struct rp_route_facts facts;
    struct rp_route_match *out;
    rp_str path;
    bool wrong_method;     /* some route's path and conditions fit, its methods do not */
    rp_route_leaf_fn each; /* rp_route_walk: gets the leaves, none is chosen; NULL: a search */
    void *each_arg;
};

static bool takes_any(const struct rp_route *r)
{
    return r->methods == 0 && r->other_methods_n == 0;
}

static bool has_other_method(const struct rp_route *r, rp_str method)
{
    for (uint32_t i = 0; i < r->other_methods_n; i++)
        if (rp_str_eq(r->other_methods[i], method)) return true;
    return false;
}

bool rp_route_takes(const struct rp_route *r, const struct rp_msg *head)
{
    if (takes_any(r)) return true;
    if (head->method == RP_M_OTHER) return has_other_method(r, head->method_text);
    return (r->methods >> head->method & 1) != 0;
}

static bool conds_hold(const struct rp_route *r, struct rp_route_facts *facts)
{
    for (uint32_t i = 0; i < r->conds_n; i++)
        if (!rp_route_cond_holds(&r->conds[i], facts)) return false;
    return true;
}

/* Take the first route of the leaf that holds. */
static bool choose(struct search *s, const struct rp_route_leaf *leaf)
{
    if (RP_UNLIKELY(s->each)) {
        s->each(s->each_arg, leaf);
        return false;
    }
    for (uint32_t i = 0; i < leaf->routes_n; i++) {
        struct rp_route *r = leaf->routes[i];
        bool method = rp_route_takes(r, s->facts.head);
        if (!conds_hold(r, &s->facts)) continue;
        if (method) {
            s->out->route = r;
            s->out->miss = RP_OK;
            s->out->params_n = r->params_n;
            return true;
        }
        s->wrong_method = true;
        s->out->allowed |= r->methods;
    }
    return false;
}

static bool choose_wild(struct search *s, const struct rp_route_leaf *leaf, size_t at,
                        uint32_t params_n)
{
    /* The routes of one leaf may or may not name the rest; a named one has room for it. */
    if (params_n < RP_ROUTE_PARAMS) s->out->params[params_n] = rp_str_from(s->path, at);
    return choose(s, leaf);
}

/* ---- regexes ------------------------------------------------------------------------------- */

static bool match_regex(struct search *s, const struct rp_route_regex *p)
{
    struct rp_regex_span spans[RP_REGEX_GROUPS_MAX + 1];
    bool hit = false;
    rp_err e = p->spans_n == 0
                   ? rp_regex_test(p->regex, s->facts.ctx, s->path, &hit)
                   : rp_regex_match(p->regex, s->facts.ctx, s->path, 0, spans, p->spans_n, &hit);
    if (e != RP_OK && s->facts.trouble == RP_OK) s->facts.trouble = e;
    if (e != RP_OK || !hit) return false;
    for (uint32_t i = 0; i < p->groups_n; i++) {
        struct rp_regex_span span = spans[p->groups[i]];
        s->out->params[i] = span.start == SIZE_MAX
                                ? RP_STR_NONE
                                : rp_str_of(s->path.ptr + span.start, span.end - span.start);
    }
    return true;
}

static bool choose_regex(struct search *s, const struct rp_route_leaf *leaf)
{
    for (; leaf; leaf = leaf->next)
        if (match_regex(s, leaf->regex) && choose(s, leaf)) return true;
    return false;
}

/* ---- the tree ------------------------------------------------------------------------------- */

enum stage { REGEXES, PARAM, WILD };

/* A fork passed on the way down, for coming back to. */
struct passed {
    const struct rp_route_fork *fork;
    size_t at;
    uint32_t params_n;
    uint8_t stage; /* enum stage: what is to be tried next */
};

static inline uint8_t first_stage(const struct rp_route_fork *fork)
{
    return fork->regexes ? REGEXES : fork->param ? PARAM : WILD;
}

struct way {
    const struct rp_route_tree *tree;
    uint32_t passed_n;
    struct passed passed[RP_ROUTE_SEGMENTS_MAX];
};

static inline unsigned count_bits(uint64_t x)
{
    x -= x >> 1 & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
    x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(x * UINT64_C(0x0101010101010101) >> 56);
}

/* The child whose edge starts with this byte. */
static inline const struct rp_route_node *find_child(const struct rp_route_tree *tree,
                                                     const struct rp_route_node *node, char next)
{
    unsigned byte = (uint8_t)next;
    if (byte > 127 || !(node->next_bytes[byte >> 6] >> (byte & 63) & 1)) return NULL;
    uint64_t below = node->next_bytes[byte >> 6] & ((UINT64_C(1) << (byte & 63)) - 1);
    unsigned rank = below ? count_bits(below) : 0;
    if (byte > 63 && node->next_bytes[0]) rank += count_bits(node->next_bytes[0]);
    return &tree->nodes[node->children + rank];
}

static inline bool edge_fits(const struct rp_route_node *node, rp_str path, size_t at)
{
    if (node->edge_n > path.len - at) return false;
    for (unsigned i = 1; i < node->edge_n; i++) /* the first byte led here; most edges are short */
        if (node->edge[i] != path.ptr[at + i]) return false;
    return true;
}

/* Where a way down begins. */
struct place {
    uint32_t node;
    uint32_t params_n;
    size_t at;
};

/* Go down by literals from there; true when the path's end has a route. */
static inline bool descend(struct search *s, struct way *way, const struct place *from)
{
    const struct rp_route_tree *tree = way->tree;
    const struct rp_route_node *node = &tree->nodes[from->node];
    size_t at = from->at;
    for (;;) {
        s->out->visited_n++;
        if (node->fork) {
            RP_CHECK(way->passed_n < RP_ROUTE_SEGMENTS_MAX);
            const struct rp_route_fork *fork = &tree->forks[node->fork - 1];
            way->passed[way->passed_n++] =
                (struct passed){fork, at, from->params_n, first_stage(fork)};
        }
        if (at == s->path.len) return node->exact && choose(s, node->exact);
        const struct rp_route_node *child = find_child(tree, node, s->path.ptr[at]);
        if (!child || !edge_fits(child, s->path, at)) return false;
        at += child->edge_n;
        node = child;
    }
}

/* Let the {param} at this fork take a segment; the way goes on behind it, at *to. */
static bool take_param(struct search *s, const struct passed *p, struct place *to)
{
    if (!p->fork->param) return false;
    size_t end = rp_str_find(s->path, '/', p->at);
    if (end == p->at) return false; /* a segment is not empty */
    s->out->params[p->params_n] = rp_str_of(s->path.ptr + p->at, end - p->at);
    *to = (struct place){.node = p->fork->param, .params_n = p->params_n + 1, .at = end};
    return true;
}

enum back { FOUND, DOWN, NOWHERE };

/* Back to the last fork that has something left to try. DOWN: there is a way at *to. */
static inline enum back come_back(struct search *s, struct way *way, struct place *to)
{
    while (way->passed_n > 0) {
        struct passed *p = &way->passed[way->passed_n - 1];
        const struct rp_route_fork *fork = p->fork;
        uint8_t stage = p->stage;
        p->stage = WILD;
        if (stage == REGEXES && choose_regex(s, fork->regexes)) return FOUND;
        if (stage != WILD && take_param(s, p, to)) return DOWN;
        way->passed_n--;
        if (fork->wild && choose_wild(s, fork->wild, p->at, p->params_n)) return FOUND;
    }
    return NOWHERE;
}

RP_APART static bool find_in_tree(struct search *s, const struct rp_route_tree *tree)
{
    /* The root has nothing of its own and one child: all patterns begin with a slash, as the path does. */
    struct place from = {.node = tree->nodes[0].children};
    const struct rp_route_node *first = &tree->nodes[from.node];
    struct way way;
    enum back back = DOWN;
    way.tree = tree;
    way.passed_n = 0;
    s->out->visited_n = 1;
    if (!edge_fits(first, s->path, 0)) return false;
    from.at = first->edge_n;
    while (back == DOWN) {
        if (descend(s, &way, &from)) return true;
        back = come_back(s, &way, &from);
    }
    return back == FOUND;
}

/* ---- all ------------------------------------------------------------------------------------ */

static bool find_in_host(struct search *s, const struct rp_route_tree *tree)
{
    if (s->path.len == 0 || s->path.ptr[0] != '/') return tree->star && choose(s, tree->star);
    return tree->nodes && find_in_tree(s, tree);
}

RP_NO_ARRAYS void rp_route_find(const struct rp_conf *c, const struct rp_msg *head,
                                const struct rp_addr *client, struct rp_arena *scratch,
                                struct rp_route_match *out)
{
    const struct rp_router *router = c->router;
    struct rp_conf_host *host = rp_route_hosts_find(router->hosts, head->host);
    if (!host) host = router->fallback;
    out->allowed = 0;
    out->params_n = 0;
    out->visited_n = 0;
    out->trouble = RP_OK;
    if (!host) {
        out->route = c->no_host;
        out->miss = RP_E_MISDIRECTED;
        return;
    }
    struct search s = {
        .facts = {.head = head, .client = client, .scratch = scratch, .ctx = router->ctx},
        .out = out,
        .path = head->uri.path,
    };
    if (!find_in_host(&s, &router->trees[host->index])) {
        out->route = host->no_route;
        out->params_n = 0;
        out->miss = s.wrong_method ? RP_E_METHOD_NOT_ALLOWED : RP_E_NO_ROUTE;
    } else {
        out->allowed = 0;
    }
    out->trouble = s.facts.trouble;
}

bool rp_route_holds(const struct rp_conf *c, const struct rp_conf_cond *conds, uint32_t n,
                    const struct rp_msg *head, const struct rp_addr *client,
                    struct rp_arena *scratch, rp_err *trouble)
{
    struct rp_route_facts facts = {.head = head,
                                   .client = client,
                                   .scratch = scratch,
                                   .ctx = c->router->ctx,
                                   .trouble = *trouble};
    bool holds = true;
    for (uint32_t i = 0; i < n && holds; i++) holds = rp_route_cond_holds(&conds[i], &facts);
    *trouble = facts.trouble;
    return holds;
}

const struct rp_conf_host *rp_route_walk(const struct rp_conf *c, const struct rp_msg *head,
                                         rp_route_leaf_fn each, void *arg, bool *by_name)
{
    const struct rp_router *router = c->router;
    const struct rp_conf_host *host = rp_route_hosts_find(router->hosts, head->host);
    *by_name = host != NULL;
    if (!host) host = router->fallback;
    if (!host) return NULL;
    struct rp_route_match unused;
    unused.visited_n = 0;
    struct search s = {
        .facts = {.head = head, .ctx = router->ctx},
        .out = &unused,
        .path = head->uri.path,
        .each = each,
        .each_arg = arg,
    };
    (void)find_in_host(&s, &router->trees[host->index]); /* false: nothing is chosen */
    return host;
}
