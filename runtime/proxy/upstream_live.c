/* SPDX-License-Identifier: MIT
 *
 * upstream_live: peers that come and go without a reload. A group's peers are those of the site, then
 * those of its provider, then those that the operator added, less those that he took out; a peer
 * that two of them name is there once, as the last of them describes it.
 *
 * Peers that stay are the same objects: they keep connections, place and the policy's memory of them.
 */
#include "base/hash.h"
#include "base/log.h"
#include "net/tls_client.h"
#include "proxy/member.h"
#include "proxy/proxy.h"
#include "proxy/sticky.h"
#include "proxy/subset.h"
#include "proxy/upstream.h"
#include "shm/found.h"
#include "shm/members.h"

enum { PROVIDER, OPERATOR }; /* indexes of rp_proxy.members */

/* ---- what is wanted ------------------------------------------------------------------------- */

struct wanted {
    rp_str name;
    const struct rp_conf_peer *conf; /* of the site; else */
    struct rp_member member;
    uint8_t from;
    bool gone;
    struct rp_peer *peer; /* that is there already */
};

struct wish {
    struct wanted *list;
    uint32_t n, room;
    uint32_t *map; /* 1 + index, by hash of the name; a power of two, at most half full */
    uint32_t map_n;
};

static uint32_t *map_at(const struct wish *w, rp_str name)
{
    uint32_t at = (uint32_t)rp_hash_bytes(name) & (w->map_n - 1);
    while (w->map[at] && !rp_str_eq(w->list[w->map[at] - 1].name, name))
        at = (at + 1) & (w->map_n - 1);
    return &w->map[at];
}

static struct wanted *find_wanted(const struct wish *w, rp_str name)
{
    uint32_t found = *map_at(w, name);
    return found ? &w->list[found - 1] : NULL;
}

static void grow_map(struct wish *w)
{
    rp_free(w->map);
    w->map_n = w->map_n ? w->map_n * 2 : 64;
    w->map = rp_alloc(sizeof *w->map * w->map_n);
    for (uint32_t i = 0; i < w->n; i++) *map_at(w, w->list[i].name) = i + 1;
}

/* The entry of that name, which may be a new one. */
static struct wanted *want(struct wish *w, rp_str name)
{
    if (w->n * 2 >= w->map_n) grow_map(w);
    uint32_t *at = map_at(w, name);
    if (*at) return &w->list[*at - 1];
    if (w->n == w->room) {
        w->room = w->room ? w->room * 2 : 64;
        w->list = rp_realloc(w->list, sizeof *w->list * w->room);
    }
    w->list[w->n] = (struct wanted){.name = name};
    *at = ++w->n;
    return &w->list[w->n - 1];
}

static void want_site(struct wish *w, const struct rp_conf_upstream *c)
{
    for (uint32_t i = 0; i < c->peers_n; i++) {
        struct wanted *x = want(w, c->peers[i].name);
        x->conf = &c->peers[i];
        x->from = RP_ROSTER_SITE;
    }
}

/* As for peers of the site (conf_tls.c): one without a name of its own, to be verified, would be anybody. */
static bool is_anybody(const struct rp_group *g, const struct rp_member *m)
{
    if (m->gone || m->addr.family != RP_ADDR_UNIX || m->identity.len || !g->conf->tls) return false;
    if (rp_tls_client_has_name(g->conf->tls)) return false;
    rp_log(warn,
           "a peer has no name to verify its certificate by, it is left out upstream=%s peer=%s",
           rp_log_esc(g->conf->name), rp_log_esc(m->name));
    return true;
}

static void want_set(const struct rp_group *g, struct wish *w, rp_str text, uint8_t from)
{
    struct rp_member m;
    while (rp_member_next(&text, &m)) {
        if (is_anybody(g, &m)) continue;
        struct wanted *x = find_wanted(w, m.name);
        if (x ? m.weak : m.gone) continue; /* described already; taken out, and not there */
        if (!x) x = want(w, m.name);
        x->gone = m.gone;
        if (m.gone) continue;
        x->conf = NULL;
        x->member = m;
        x->from = from;
    }
}

/* ---- the peer that it is about -------------------------------------------------------------- */

static rp_str put_text(char **at, rp_str s)
{
    char *to = *at;
    if (s.len) memcpy(to, s.ptr, s.len);
    *at += s.len;
    return rp_str_of(to, s.len);
}

/* What may change of a peer that stays: everything but its name. */
static void describe(struct rp_peer *p, const struct rp_member *m)
{
    struct rp_conf_peer *c = p->live;
    size_t pairs = sizeof(struct rp_conf_meta) * m->meta_n;
    char *more = rp_alloc(pairs + m->zone.len + m->identity.len + m->meta.len + 1),
         *old = p->more_text;
    char *at = more + pairs;
    c->weight = m->weight;
    c->tier = m->tier;
    c->backup = m->tier == RP_CONF_TIERS - 1;
    c->max_conns = m->max_conns;
    c->zone = put_text(&at, m->zone);
    c->identity = put_text(&at, m->identity);
    c->meta = (struct rp_conf_meta *)(void *)more;
    c->meta_n = m->meta_n;
    rp_str rest = put_text(&at, m->meta);
    for (uint32_t i = 0; i < m->meta_n; i++)
        (void)rp_member_pair(&rest, &c->meta[i].key, &c->meta[i].value); /* there are so many */
    p->more_text = more;
    rp_free(old);
}

static struct rp_peer *make_peer(struct rp_group *g, const struct wanted *x)
{
    if (x->conf) return rp_peer_new(g, x->conf, x->from);
    struct rp_peer *p = rp_peer_new(g, NULL, x->from);
    p->name_text = rp_strdup_n(x->name.ptr, x->name.len);
    struct rp_member named;
    RP_CHECK(rp_member_address(rp_str_of(p->name_text, x->name.len), &named) == RP_OK);
    p->live->name = named.name;
    p->live->host = named.host;
    p->live->addr = named.addr;
    describe(p, &x->member);
    rp_peer_begin(p);
    return p;
}

/* Can it go on as what is wanted now? One whose TLS identity differs has other connections, and one that
 * has no name of its own cannot outlive the site's. */
static bool can_stay(const struct rp_peer *p, const struct wanted *x)
{
    if (x->gone) return false;
    if (x->conf) return p->conf == x->conf;
    return p->conf == p->live && rp_str_eq(p->live->identity, x->member.identity);
}

/* ---- moving --------------------------------------------------------------------------------- */

static void take_in(struct rp_group *g, struct wish *w)
{
    for (uint32_t i = 0; i < g->peers_n; i++) {
        struct rp_peer *p = g->peers[i];
        struct wanted *x = find_wanted(w, p->conf->name);
        if (x && can_stay(p, x)) x->peer = p;
    }
}

/* Round robin's memory goes with the peer. */
static void keep_turn(struct rp_group *g, const struct rp_balance_view *old)
{
    for (uint32_t i = 0; i < g->peers_n; i++) {
        uint32_t was = g->peers[i]->index;
        if (was != RP_PEER_LEFT) g->view.peers[i].current = old->peers[was].current;
        if (was != RP_PEER_LEFT) g->view.peers[i].full_weight = old->peers[was].full_weight;
    }
    g->view.next = old->next;
}

static void replace(struct rp_group *g, struct rp_peer **peers, uint32_t n)
{
    struct rp_balance_view old = g->view;
    struct rp_peer **before = g->peers;
    uint32_t before_n = g->peers_n;
    g->peers = peers;
    g->peers_n = n;
    rp_group_open_view(g);
    keep_turn(g, &old);
    rp_balance_ring_free(&old);
    rp_balance_maglev_free(&old);
    rp_free(old.peers);
    rp_free(old.live);
    rp_free(old.sums);
    for (uint32_t i = 0; i < before_n; i++) before[i]->index = RP_PEER_LEFT;
    for (uint32_t i = 0; i < n; i++) peers[i]->index = i;
    for (uint32_t i = 0; i < before_n; i++)
        if (before[i]->index == RP_PEER_LEFT) rp_peer_leave(before[i]);
    rp_free(before);
    rp_sticky_open(g);
    rp_subsets_forget(g);
}

static void carry_out(struct rp_group *g, struct wish *w)
{
    struct rp_peer **peers = rp_alloc(sizeof *peers * (w->n + 1));
    uint32_t n = 0, came = 0, stayed = 0, unplaced = 0, were = g->peers_n;
    take_in(g, w);
    for (uint32_t i = 0; i < w->n; i++) {
        struct wanted *x = &w->list[i];
        if (x->gone) continue;
        if (!x->peer) {
            x->peer = make_peer(g, x);
            x->peer->index = RP_PEER_LEFT; /* it was nowhere */
            if (!rp_peer_place(x->peer)) unplaced++;
            came++;
        } else {
            if (!x->conf) describe(x->peer, &x->member);
            stayed++;
        }
        if (x->peer->from != x->from) {
            x->peer->from = x->from;
            if (x->peer->place != RP_PEER_UNPLACED)
                rp_roster_set_from(g->proxy->roster, x->peer->place, (enum rp_roster_from)x->from);
        }
        peers[n++] = x->peer;
    }
    replace(g, peers, n);
    rp_peers_tell_unplaced(g, unplaced);
    rp_log(debug, "peers of an upstream changed upstream=%s peers=%u came=%u went=%u",
           rp_log_esc(g->conf->name), n, came, were - stayed);
    if (came) rp_upstream_wake_waiting(g->proxy);
}

/* ---- following ------------------------------------------------------------------------------ */

/* Both sets; false: one of them could not be read, what there is stays for now. */
static bool read_sets(struct rp_group *g, struct rp_buf text[2], uint32_t version[2])
{
    struct rp_proxy *p = g->proxy;
    for (int i = 0; i < 2; i++) {
        if (!p->members[i] || (i == PROVIDER && !g->conf->live)) continue;
        if (rp_members_get(p->members[i], g->conf->name, &text[i], &version[i]) != RP_OK) {
            rp_log(warn, "peers of an upstream could not be read upstream=%s",
                   rp_log_esc(g->conf->name));
            return false;
        }
    }
    return true;
}

static bool rebuild(struct rp_group *g)
{
    struct rp_buf text[2];
    uint32_t version[2] = {0, 0};
    struct wish w = {0};
    for (int i = 0; i < 2; i++) rp_buf_init(&text[i], RP_MEMBERS_SET_MOST);
    bool done = read_sets(g, text, version);
    if (done) {
        grow_map(&w);
        want_site(&w, g->conf);
        want_set(g, &w, rp_buf_str(&text[PROVIDER]), RP_ROSTER_PROVIDER);
        want_set(g, &w, rp_buf_str(&text[OPERATOR]), RP_ROSTER_OPERATOR);
        carry_out(g, &w);
        memcpy(g->live_version, version, sizeof version);
    }
    for (int i = 0; i < 2; i++) rp_buf_fini(&text[i]);
    rp_free(w.list);
    rp_free(w.map);
    return done;
}

bool rp_group_follow(struct rp_group *g, bool *again)
{
    struct rp_proxy *p = g->proxy;
    bool news = false;
    uint64_t epoch[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        if (!p->members[i]) continue;
        epoch[i] = rp_members_epoch(p->members[i]);
        if (epoch[i] == g->live_epoch[i] || (i == PROVIDER && !g->conf->live)) continue;
        news |= rp_members_version(p->members[i], g->conf->name) != g->live_version[i];
    }
    *again = news && !rebuild(g);
    if (*again) return false;
    memcpy(g->live_epoch, epoch, sizeof epoch);
    return news;
}

/* Sets of upstreams that the site does not have any more: nobody would read them again, but an upstream of that
 * name that comes back one day, and would find peers that nobody remembers. */
static void sweep(struct rp_proxy *p)
{
    const struct rp_conf *c = p->conf;
    rp_str *names = rp_alloc(sizeof *names * (c->upstreams_n + 3));
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->upstreams_n; i++) names[n++] = c->upstreams[i]->name;
    names[n++] = RP_STR(RP_FOUND_ROUTES);
    names[n++] = RP_STR(RP_FOUND_SERVING);
    names[n++] = RP_STR(RP_FOUND_TOLD);
    for (int i = 0; i < 2; i++) {
        uint32_t gone = p->members[i] ? rp_members_keep(p->members[i], names, n) : 0;
        if (gone)
            rp_log(info, "members of upstreams that are gone are forgotten upstreams=%u from=%s",
                   gone, i == PROVIDER ? "provider" : "operator");
    }
    rp_free(names);
}

void rp_groups_beat(struct rp_proxy *p)
{
    /* By then all processes have the new generation, and the old one's requests have seen their peers. */
    if (RP_UNLIKELY(p->sweep_ms && rp_loop_now(p->loop) >= p->sweep_ms)) {
        p->sweep_ms = 0;
        sweep(p);
    }
    bool news = false;
    for (int i = 0; i < 2; i++) {
        uint64_t epoch = p->members[i] ? rp_members_epoch(p->members[i]) : 0;
        news |= epoch != p->members_seen[i];
        p->members_seen[i] = epoch;
    }
    for (struct rp_groups *gs = news ? p->groups : NULL; gs; gs = rp_groups_next(gs)) {
        struct rp_group *g;
        for (uint32_t i = 0; (g = rp_groups_at(gs, i)); i++) {
            g->stale = true;
            rp_group_settle(g);
        }
    }
}

void rp_proxy_use_members(struct rp_proxy *p, struct rp_members *members, struct rp_members *orders)
{
    p->members[PROVIDER] = members;
    p->members[OPERATOR] = orders;
    rp_groups_beat(p);
}

/* ---- references ----------------------------------------------------------------------------- */

int rp_group_index_of(const struct rp_group *g, struct rp_peer_ref ref)
{
    if (ref.index < g->peers_n && g->peers[ref.index]->id == ref.id) return (int)ref.index;
    for (uint32_t i = 0; ref.id && i < g->peers_n; i++)
        if (g->peers[i]->id == ref.id) return (int)i;
    return -1;
}

struct rp_peer_ref rp_group_ref(const struct rp_group *g, uint32_t index)
{
    return (struct rp_peer_ref){.id = g->peers[index]->id, .index = index};
}

int rp_group_find(const struct rp_group *g, rp_str name)
{
    for (uint32_t i = 0; i < g->peers_n; i++)
        if (rp_str_eq(g->peers[i]->conf->name, name)) return (int)i;
    return -1;
}
