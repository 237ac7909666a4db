/* SPDX-License-Identifier: MIT
 *
 * upstream: see upstream.h.
 */
#include "proxy/upstream.h"

#include "base/hash.h"
#include "base/log.h"
#include "net/tls_client.h"
#include "proxy/proxy.h"
#include "proxy/sticky.h"
#include "proxy/stream.h"

enum {
    REFRESH_MS = 30 * 1000,       /* between lookups of a name that resolves */
    REFRESH_FAILED_MS = 2 * 1000, /* ... of one that does not */
};

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
};

/* ---- names --------------------------------------------------------------------------------- */

static void drop_slots(struct rp_peer *p)
{
    struct rp_connpool *pool = p->group->proxy->pool;
    for (uint32_t i = 0; i < p->slots_n; i++) rp_connpool_drop(pool, p->slots[i]);
    p->slots_n = 0;
}

static void wake_waiting(struct rp_proxy *p)
{
    for (struct rp_req *r = p->live; r; r = r->next) {
        if (r->step == RP_STEP_PICK) rp_req_wake(r, RP_WAKE_UP);
    }
    rp_stream_wake_picking(p);
}

rp_str rp_peer_identity(const struct rp_conf_peer *peer, const struct rp_addr *a,
                        char buf[RP_ADDR_TEXT_BYTES])
{
    if (peer && peer->host.len) return peer->host;
    if (a->family == RP_ADDR_UNIX) return RP_STR_NONE;
    return rp_str_of(buf, rp_addr_put_ip(a, buf));
}

struct rp_pool_slot *rp_group_hold_slot(const struct rp_group *g, const struct rp_conf_peer *peer,
                                        const struct rp_addr *a)
{
    uint64_t key = g->pool_key;
    uint8_t id[RP_TLS_ID_BYTES];
    char buf[RP_ADDR_TEXT_BYTES];
    if (g->conf->tls) {
        rp_tls_client_id(g->conf->tls, rp_peer_identity(peer, a, buf), id);
        key = rp_hash_mix(key ^ rp_hash_bytes(rp_str_of((const char *)id, sizeof id)));
    }
    return rp_connpool_hold(g->proxy->pool, a, key);
}

static void on_answer(void *arg, const struct rp_dns_answer *answer)
{
    struct rp_peer *p = arg;
    struct rp_proxy *proxy = p->group->proxy;
    p->query = NULL;
    bool good = answer->status == RP_OK && answer->addrs_n > 0;
    if (good) {
        struct rp_pool_slot *fresh[RP_PEER_ADDRS];
        uint32_t n = (uint32_t)RP_MIN(answer->addrs_n, (size_t)RP_PEER_ADDRS);
        for (uint32_t i = 0; i < n; i++) {
            struct rp_addr a = answer->addrs[i];
            a.port = p->conf->addr.port;
            fresh[i] = rp_group_hold_slot(p->group, p->conf, &a);
        }
        drop_slots(p); /* after holding: what stays in use keeps its connections */
        memcpy(p->slots, fresh, n * sizeof(fresh[0]));
        p->slots_n = n;
    } else if (!p->looked_up || p->slots_n == 0) {
        rp_log(warn, "upstream name did not resolve name=%s upstream=%s", rp_log_esc(p->conf->host),
               rp_log_esc(p->group->conf->name));
    }
    p->looked_up = p->group->stale = true;
    rp_timer_set(proxy->loop, &p->refresh, good ? REFRESH_MS : REFRESH_FAILED_MS);
    wake_waiting(proxy);
}

static void look_up(struct rp_timer *t)
{
    struct rp_peer *p = RP_CONTAINER(rp_peer, refresh, t);
    rp_err e = rp_dns_resolve(p->group->proxy->dns, p->conf->host, on_answer, p, &p->query);
    if (e != RP_OK) {
        p->looked_up = p->group->stale = true;
        rp_timer_set(p->group->proxy->loop, &p->refresh, REFRESH_FAILED_MS);
        wake_waiting(p->group->proxy);
    }
}

/* ---- life ---------------------------------------------------------------------------------- */

static void init_peer(struct rp_group *g, uint32_t i)
{
    struct rp_peer *p = &g->peers[i];
    p->conf = &g->conf->peers[i];
    p->group = g;
    p->index = i;
    p->place = RP_PEER_UNPLACED;
    rp_timer_init(&p->refresh, look_up);
    if (p->conf->host.len == 0) {
        p->slots[0] = rp_group_hold_slot(g, p->conf, &p->conf->addr);
        p->slots_n = 1;
        p->looked_up = true;
    } else {
        look_up(&p->refresh);
    }
}

static void place_peer(struct rp_group *g, struct rp_peer *p)
{
    struct rp_proxy *proxy = g->proxy;
    bool fresh;
    rp_err e = rp_roster_hold(proxy->roster, proxy->roster_row, g->conf->name, p->conf->name,
                              &p->place, &fresh);
    if (e == RP_OK) {
        /* Nobody checks it any more: what was said of it does not hold. */
        if (!g->conf->health)
            (void)rp_roster_set_health(proxy->roster, p->place, RP_ROSTER_UNKNOWN,
                                       0); /* news or not */
        return;
    }
    p->place = RP_PEER_UNPLACED;
    rp_log(warn, "a peer's state is not shared between workers: %s upstream=%s peer=%s",
           rp_err_text(e), rp_log_esc(g->conf->name), rp_log_esc(p->conf->name));
}

void rp_groups_place(struct rp_groups *gs)
{
    for (uint32_t i = 0; i < gs->groups_n; i++) {
        struct rp_group *g = &gs->groups[i];
        g->epoch = 0;
        rp_sticky_open(g);
        for (uint32_t k = 0; k < g->peers_n; k++) place_peer(g, &g->peers[k]);
    }
}

void rp_groups_displace(struct rp_groups *gs)
{
    for (uint32_t i = 0; i < gs->groups_n; i++) {
        struct rp_group *g = &gs->groups[i];
        for (uint32_t k = 0; k < g->peers_n; k++) {
            uint32_t place = g->peers[k].place;
            if (place != RP_PEER_UNPLACED)
                rp_roster_drop(g->proxy->roster, g->proxy->roster_row, place);
            g->peers[k].place = RP_PEER_UNPLACED;
        }
    }
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
    gs->groups = rp_alloc(sizeof(struct rp_group) * (c->upstreams_n + 1));
    for (uint32_t i = 0; i < gs->groups_n; i++) {
        struct rp_group *g = &gs->groups[i];
        g->conf = c->upstreams[i];
        g->pool_key = rp_hash_bytes(g->conf->name);
        g->proxy = p;
        g->peers_n = g->conf->peers_n;
        g->peers = rp_alloc(sizeof(struct rp_peer) * (g->peers_n + 1));
        rp_group_open_view(g);
        for (uint32_t k = 0; k < g->peers_n; k++) init_peer(g, k);
    }
    rp_groups_place(gs);
    gs->next = p->groups;
    p->groups = gs;
    return gs;
}

void rp_groups_free(struct rp_groups **where)
{
    struct rp_groups *gs = *where;
    if (!gs) return;
    struct rp_groups **link = &gs->proxy->groups;
    while (*link != gs) link = &(*link)->next;
    *link = gs->next;
    rp_groups_displace(gs);
    for (uint32_t i = 0; i < gs->groups_n; i++) {
        struct rp_group *g = &gs->groups[i];
        for (uint32_t k = 0; k < g->peers_n; k++) {
            struct rp_peer *p = &g->peers[k];
            if (p->query) rp_dns_cancel(p->query);
            rp_timer_clear(g->proxy->loop, &p->refresh);
            drop_slots(p);
        }
        rp_free(g->peers);
        rp_group_close_view(g);
    }
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
