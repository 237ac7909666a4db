/* SPDX-License-Identifier: MIT
 *
 * upstream: see upstream.h.
 */
#include "proxy/upstream.h"

#include "base/hash.h"
#include "base/log.h"
#include "net/tls_client.h"
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

/* Whom a peer is to be: its name, or its address. */
static rp_str name_of(const struct rp_conf_peer *peer, const struct rp_addr *a,
                      char buf[RP_ADDR_TEXT_BYTES])
{
    if (peer && peer->host.len) return peer->host;
    if (a->family == RP_ADDR_UNIX) return RP_STR_NONE;
    return rp_str_of(buf, rp_addr_put_ip(a, buf));
}

static struct rp_pool_slot *hold_slot(const struct rp_group *g, const struct rp_conf_peer *peer,
                                      const struct rp_addr *a)
{
    uint64_t key = g->pool_key;
    uint8_t id[RP_TLS_ID_BYTES];
    char buf[RP_ADDR_TEXT_BYTES];
    if (g->conf->tls) {
        rp_tls_client_id(g->conf->tls, name_of(peer, a, buf), id);
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
            fresh[i] = hold_slot(p->group, p->conf, &a);
        }
        drop_slots(p); /* after holding: what stays in use keeps its connections */
        memcpy(p->slots, fresh, n * sizeof(fresh[0]));
        p->slots_n = n;
    } else if (!p->looked_up || p->slots_n == 0) {
        rp_log(warn, "upstream name did not resolve name=%s upstream=%s", rp_log_esc(p->conf->host),
               rp_log_esc(p->group->conf->name));
    }
    p->looked_up = true;
    rp_timer_set(proxy->loop, &p->refresh, good ? REFRESH_MS : REFRESH_FAILED_MS);
    wake_waiting(proxy);
}

static void look_up(struct rp_timer *t)
{
    struct rp_peer *p = RP_CONTAINER(rp_peer, refresh, t);
    rp_err e = rp_dns_resolve(p->group->proxy->dns, p->conf->host, on_answer, p, &p->query);
    if (e != RP_OK) {
        p->looked_up = true;
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
    g->view[i].weight = p->conf->weight;
    g->view[i].backup = p->conf->backup;
    g->view[i].current_weight = &g->weights[i];
    rp_timer_init(&p->refresh, look_up);
    if (p->conf->host.len == 0) {
        p->slots[0] = hold_slot(g, p->conf, &p->conf->addr);
        p->slots_n = 1;
        p->looked_up = true;
    } else {
        look_up(&p->refresh);
    }
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
        g->view = rp_alloc(sizeof(struct rp_balance_peer) * (g->peers_n + 1));
        g->weights = rp_alloc(sizeof(int64_t) * (g->peers_n + 1));
        for (uint32_t k = 0; k < g->peers_n; k++) init_peer(g, k);
    }
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
    for (uint32_t i = 0; i < gs->groups_n; i++) {
        struct rp_group *g = &gs->groups[i];
        for (uint32_t k = 0; k < g->peers_n; k++) {
            struct rp_peer *p = &g->peers[k];
            if (p->query) rp_dns_cancel(p->query);
            rp_timer_clear(g->proxy->loop, &p->refresh);
            drop_slots(p);
        }
        rp_free(g->peers);
        rp_free(g->view);
        rp_free(g->weights);
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

/* ---- choosing ------------------------------------------------------------------------------ */

static bool was_tried(const struct rp_pick *k, const struct rp_peer *p)
{
    for (unsigned i = 0; i < RP_PICK_TRIED; i++) {
        if (k->tried[i] == p) return true;
    }
    return false;
}

/* Mark who may be chosen. rested: also peers that should rest (when there is nobody else). */
static int choose(const struct rp_pick *k, rp_ms now, bool rested)
{
    struct rp_group *g = k->group;
    for (uint32_t i = 0; i < g->peers_n; i++) {
        const struct rp_peer *p = &g->peers[i];
        g->view[i].usable =
            p->slots_n > 0 && !was_tried(k, p) && (rested || p->rest_until_ms <= now);
    }
    if (g->peers_n == 1) return g->view[0].usable ? 0 : -1; /* a turn of one leaves no trace */
    return rp_balance_round_robin(g->view, g->peers_n);
}

/* No usable peer: are names on their way, do none resolve, or is everything down? */
static rp_err why_none(const struct rp_group *g)
{
    bool any = false;
    for (uint32_t i = 0; i < g->peers_n; i++) {
        if (!g->peers[i].looked_up) return RP_AGAIN;
        any |= g->peers[i].slots_n > 0;
    }
    return any || g->peers_n == 0 ? RP_E_UP_NO_PEER : RP_E_UP_RESOLVE;
}

/* Addresses of a name take turns; those where connecting failed lately only when all did. */
static struct rp_pool_slot *next_addr(struct rp_peer *p, rp_ms now)
{
    for (uint32_t i = 0; i < p->slots_n; i++) {
        struct rp_pool_slot *s = p->slots[p->next_slot++ % p->slots_n];
        if (rp_connpool_rest_until(s) <= now) return s;
    }
    return p->slots[p->next_slot++ % p->slots_n];
}

static void use_peer(struct rp_pick *k, struct rp_peer *p, rp_ms now)
{
    k->peer = p;
    p->in_flight++;
    k->pool_slot = rp_connpool_ref(next_addr(p, now));
}

rp_err rp_upstream_pick(struct rp_proxy *p, struct rp_pick *k)
{
    struct rp_group *g = k->group;
    rp_ms now = rp_loop_now(p->loop);
    if (k->want_addr.family != RP_ADDR_NONE) {
        k->pool_slot = hold_slot(g, NULL, &k->want_addr);
        return RP_OK;
    }
    if (k->want_peer >= 0 && (uint32_t)k->want_peer < g->peers_n &&
        g->peers[k->want_peer].slots_n > 0) {
        use_peer(k, &g->peers[k->want_peer], now);
        return RP_OK;
    }
    int at = choose(k, now, false);
    if (at < 0) at = choose(k, now, true);
    if (at < 0) return why_none(g);
    use_peer(k, &g->peers[at], now);
    return RP_OK;
}

void rp_upstream_dress(const struct rp_pick *k, struct rp_conn *c)
{
    char buf[RP_ADDR_TEXT_BYTES];
    struct rp_tls_client *tls = k->group->conf->tls;
    if (!tls) return;
    rp_str name = name_of(k->peer ? k->peer->conf : NULL, rp_connpool_addr(k->pool_slot), buf);
    rp_conn_use_tls(c, tls, name, rp_connpool_memory(k->pool_slot));
}

/* A name with several addresses fails when each of them did: "localhost" may have two, of which one
 * is served. The next attempt takes the next address. */
static bool has_addrs_left(struct rp_pick *k, struct rp_peer *p)
{
    k->failed_addrs = k->failed_peer == p ? k->failed_addrs + 1 : 1;
    k->failed_peer = p;
    return k->failed_addrs < p->slots_n;
}

static void note_failure(struct rp_pick *k, struct rp_peer *p, rp_ms now)
{
    const struct rp_conf_upstream *c = p->group->conf;
    if (c->max_fails && p->slots_n > 1) rp_connpool_set_rest(k->pool_slot, now + c->fail_rest_ms);
    if (has_addrs_left(k, p)) return;
    p->fails++;
    for (unsigned i = 0; i < RP_PICK_TRIED; i++) {
        if (k->tried[i]) continue;
        k->tried[i] = p;
        break;
    }
    if (c->max_fails && p->fails >= c->max_fails && p->group->peers_n > 1) {
        p->rest_until_ms = now + c->fail_rest_ms;
    }
}

void rp_upstream_unpick(struct rp_proxy *p, struct rp_pick *k, bool failed)
{
    if (k->peer) {
        k->peer->in_flight--;
        if (failed) note_failure(k, k->peer, rp_loop_now(p->loop));
    }
    if (k->pool_slot) rp_connpool_drop(p->pool, k->pool_slot);
    k->pool_slot = NULL;
    k->peer = NULL;
}
