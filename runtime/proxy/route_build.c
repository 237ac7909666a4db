/* SPDX-License-Identifier: MIT
 *
 * route_build: frozen routes to a router; finds routes that no request can reach.
 */
#include "base/regex.h"
#include "proxy/conf_build.h"
#include "proxy/route.h"
#include "proxy/route_tree.h"

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

static bool takes_other(const struct rp_route_draft_leaf *leaf, rp_str method)
{
    for (uint32_t i = 0; i < leaf->routes_n; i++)
        if (leaf->routes[i]->conds_n == 0 && has_other_method(leaf->routes[i], method)) return true;
    return false;
}

/* Is every request of r taken by the unconditional routes that stand before it in its leaf? */
static bool is_shadowed(const struct rp_route_draft_leaf *leaf, const struct rp_route *r,
                        uint64_t said)
{
    if (leaf->covered_all) return true;
    if (takes_any(r) || (said & ~leaf->covered) != 0) return false;
    for (uint32_t i = 0; i < r->other_methods_n; i++)
        if (!takes_other(leaf, r->other_methods[i])) return false;
    return true;
}

/* The first of those routes, for the message. */
static const struct rp_route *shadow_of(const struct rp_route_draft_leaf *leaf,
                                        const struct rp_route *r, uint64_t said)
{
    for (uint32_t i = 0; i < leaf->routes_n; i++) {
        const struct rp_route *before = leaf->routes[i];
        if (before->conds_n > 0) continue;
        if (takes_any(before) || (before->methods & said) != 0) return before;
        if (r->other_methods_n > 0 && has_other_method(before, r->other_methods[0])) return before;
    }
    return r;
}

static rp_err fail_shadowed(const struct rp_route_draft_leaf *leaf, const struct rp_route *r,
                            uint64_t said, struct rp_conf_error *e)
{
    const struct rp_route *before = shadow_of(leaf, r, said);
    rp_err code = rp_conf_fail(e, RP_E_INVALID,
                               "route \"%.*s\" can never match: \"%.*s\" before it takes the same "
                               "requests",
                               RP_STR_ARG(r->id), RP_STR_ARG(before->id));
    if (e) {
        e->route = r->index;
        e->other_route = before->index;
    }
    return code;
}

struct builder {
    struct rp_conf *c;
    struct rp_conf_error *e;
    struct rp_route_draft *trees; /* by host index */
};

static rp_err add_route(struct builder *b, struct rp_route *r)
{
    struct rp_arena *a = &b->c->draft->arena;
    const struct rp_conf_draft_route *draft = &b->c->draft->routes[r->index];
    if (!draft->pattern) return RP_OK; /* a fallback */
    struct rp_route_draft_leaf *leaf = rp_route_draft_leaf(&b->trees[r->host], a, draft->pattern);
    if (!leaf) return rp_conf_full(b->e);
    if (is_shadowed(leaf, r, draft->said_methods))
        return fail_shadowed(leaf, r, draft->said_methods, b->e);
    struct rp_route **routes = rp_conf_grow(a, leaf->routes, leaf->routes_n, sizeof *routes);
    if (!routes) return rp_conf_full(b->e);
    leaf->routes = routes;
    leaf->routes[leaf->routes_n++] = r;
    if (r->conds_n == 0) {
        leaf->covered |= r->methods;
        leaf->covered_all |= takes_any(r);
    }
    return RP_OK;
}

static rp_err build_trees(struct builder *b, struct rp_router *router)
{
    struct rp_conf *c = b->c;
    struct rp_arena *draft = &c->draft->arena;
    b->trees = rp_arena_zalloc(draft, c->hosts_n * sizeof *b->trees);
    if (!b->trees) return rp_conf_full(b->e);
    for (uint32_t i = 0; i < c->routes_n; i++) {
        rp_err err = add_route(b, c->routes[i]);
        if (err != RP_OK) return err;
    }
    for (uint32_t i = 0; i < c->hosts_n; i++)
        if (rp_route_draft_pack(&b->trees[i], &c->arena, draft, &router->trees[i]) != RP_OK)
            return rp_conf_full(b->e);
    return RP_OK;
}

static void free_ctx(void *ctx)
{
    struct rp_regex_ctx *old = ctx;
    rp_regex_ctx_free(&old);
}

static struct rp_router *make_router(struct rp_conf *c)
{
    struct rp_router *router = rp_arena_zalloc(&c->arena, sizeof *router);
    if (!router) return NULL;
    router->hosts = c->draft->hosts;
    if (c->draft->default_host < c->hosts_n) router->fallback = c->hosts[c->draft->default_host];
    router->trees = rp_arena_zalloc(&c->arena, c->hosts_n * sizeof *router->trees);
    if (!router->trees) return NULL;
    router->ctx = rp_regex_ctx_new(NULL);
    if (router->ctx && rp_arena_defer(&c->arena, free_ctx, router->ctx) == RP_OK) return router;
    rp_regex_ctx_free(&router->ctx);
    return NULL;
}

struct rp_router *rp_router_make(struct rp_conf *c, struct rp_conf_error *e)
{
    struct builder b = {.c = c, .e = e};
    struct rp_router *router = make_router(c);
    if (!router) {
        (void)rp_conf_full(e); /* NULL says the rest */
        return NULL;
    }
    return build_trees(&b, router) == RP_OK ? router : NULL;
}
