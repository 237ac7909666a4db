/* SPDX-License-Identifier: MIT
 *
 * upstream: see upstream.h.
 */
#include "proxy/upstream.h"

#include "base/hash.h"
#include "proxy/guard.h"
#include "proxy/proxy.h"
#include "proxy/sticky.h"

enum { SWEEP_AFTER_MS = 30 * 1000 }; /* a reload takes ten seconds at most from the first flip on */

struct shared_text {
    struct shared_text *next;
    const char *text;
    struct rp_chunk *chunk;
};

struct rp_groups {
    struct shared_text *texts;
    struct rp_proxy *proxy;
    const struct rp_conf *conf; /* identity only */
    struct rp_groups *next;
    struct rp_group *groups;
    uint32_t groups_n;
    uint32_t *route_gates; /* guard.h; NULL: no route has a circuit */
    uint32_t routes_n;
};

/* ---- life ----------------------------------------------------------------------------------- */

void rp_groups_place(struct rp_groups *gs)
{
    const struct rp_group *first = NULL;
    uint32_t unplaced = 0;
    for (uint32_t i = 0; i < gs->groups_n; i++) {
        struct rp_group *g = &gs->groups[i];
        g->epoch = 0;
        rp_sticky_open(g);
        rp_guard_place(g);
        for (uint32_t k = 0; k < g->peers_n; k++) {
            if (rp_peer_place(g->peers[k])) continue;
            if (!first) first = g;
            unplaced++;
        }
    }
    if (first) rp_peers_tell_unplaced(first, unplaced);
    gs->route_gates = rp_guard_place_routes(gs->proxy, gs->conf);
}

void rp_groups_displace(struct rp_groups *gs)
{
    for (uint32_t i = 0; i < gs->groups_n; i++) {
        struct rp_group *g = &gs->groups[i];
        rp_guard_displace(g);
        for (uint32_t k = 0; k < g->peers_n; k++) rp_peer_displace(g->peers[k]);
    }
    rp_guard_displace_routes(gs->proxy, &gs->route_gates, gs->routes_n);
}

void rp_proxy_use_roster(struct rp_proxy *p, struct rp_roster *roster, uint32_t row)
{
    for (struct rp_groups *gs = p->groups; gs; gs = gs->next) rp_groups_displace(gs);
    rp_roster_free(&p->roster_own);
    rp_roster_forget(roster, row);
    p->roster = roster;
    p->roster_row = row;
    for (struct rp_groups *gs = p->groups; gs; gs = gs->next) rp_groups_place(gs);
}

struct rp_groups *rp_groups_new(struct rp_proxy *p, const struct rp_conf *c)
{
    struct rp_groups *gs = rp_alloc(sizeof(*gs));
    gs->proxy = p;
    gs->conf = c;
    gs->groups_n = c->upstreams_n;
    gs->routes_n = c->routes_n;
    gs->groups = rp_alloc(sizeof(struct rp_group) * (c->upstreams_n + 1));
    for (uint32_t i = 0; i < gs->groups_n; i++) {
        struct rp_group *g = &gs->groups[i];
        g->conf = c->upstreams[i];
        g->pool_key = rp_hash_bytes(g->conf->name);
        g->proxy = p;
        g->peers_n = g->conf->peers_n;
        g->peers = rp_alloc(sizeof(struct rp_peer *) * (g->peers_n + 1));
        for (uint32_t k = 0; k < g->peers_n; k++) {
            g->peers[k] = rp_peer_new(g, &g->conf->peers[k], RP_ROSTER_SITE);
            g->peers[k]->index = k;
        }
        rp_group_open_view(g);
    }
    rp_groups_place(gs);
    if (p->groups) p->sweep_ms = rp_loop_now(p->loop) + SWEEP_AFTER_MS; /* a reload */
    gs->next = p->groups;
    p->groups = gs;
    for (uint32_t i = 0; i < gs->groups_n; i++) {
        bool again;
        (void)rp_group_follow(&gs->groups[i], &again); /* settled at the first choice anyway */
    }
    return gs;
}

void rp_groups_free(struct rp_groups **where)
{
    struct rp_groups *gs = *where;
    if (!gs) return;
    struct rp_groups **link = &gs->proxy->groups;
    while (*link != gs) link = &(*link)->next;
    *link = gs->next;
    const struct rp_hooks *hooks = gs->conf->hooks;
    if (hooks && hooks->leave_upstreams)
        hooks->leave_upstreams((struct rp_conf *)(uintptr_t)gs->conf);
    for (uint32_t i = 0; i < gs->groups_n; i++) {
        struct rp_group *g = &gs->groups[i];
        rp_guard_displace(g);
        for (uint32_t k = 0; k < g->peers_n; k++) {
            RP_CHECK(g->peers[k]->refs == 1); /* no request of that generation lives */
            rp_peer_leave(g->peers[k]);
        }
        rp_free(g->peers);
        rp_group_close_view(g);
    }
    rp_guard_displace_routes(gs->proxy, &gs->route_gates, gs->routes_n);
    for (struct shared_text *t = gs->texts, *next; t; t = next) {
        next = t->next;
        rp_chunk_drop(t->chunk);
        rp_free(t);
    }
    rp_free(gs->groups);
    rp_free(gs);
}

struct rp_chunk *rp_groups_share(struct rp_groups *g, rp_str text)
{
    struct shared_text *t = g->texts;
    while (t && t->text != text.ptr) t = t->next;
    if (t) return t->chunk;
    t = rp_alloc(sizeof *t);
    t->text = text.ptr;
    t->chunk = rp_chunk_new(g->proxy->mem, text.len);
    t->chunk->used = (uint32_t)text.len;
    memcpy(t->chunk->data, text.ptr, text.len);
    t->next = g->texts;
    g->texts = t;
    return t->chunk;
}

struct rp_groups *rp_groups_find(struct rp_proxy *p, const struct rp_conf *c)
{
    struct rp_groups *gs = p->groups;
    while (gs && gs->conf != c) gs = gs->next;
    return gs;
}

struct rp_group *rp_groups_at(struct rp_groups *g, uint32_t upstream)
{
    return g && upstream < g->groups_n ? &g->groups[upstream] : NULL;
}

uint32_t rp_groups_route_gate(const struct rp_groups *g, uint32_t route)
{
    return g && g->route_gates && route < g->routes_n ? g->route_gates[route] : RP_PEER_UNPLACED;
}

struct rp_groups *rp_groups_next(const struct rp_groups *g)
{
    return g->next;
}
