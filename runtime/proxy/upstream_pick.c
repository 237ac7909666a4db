/* SPDX-License-Identifier: MIT
 *
 * upstream_pick: choosing a peer and an address, and what is learnt of them. The policies are pure
 * (balance.h); here they meet what all workers know (shm/roster.h).
 */
#include "base/hash.h"
#include "net/tls_client.h"
#include "proxy/eyeballs.h"
#include "proxy/guard.h"
#include "proxy/proxy.h"
#include "proxy/queue.h"
#include "proxy/retry.h"
#include "proxy/sticky.h"
#include "proxy/subset.h"
#include "proxy/upstream.h"

enum {
    LATENCY_TAU_MS = 10 * 1000, /* of the mean: Finagle's decay */
    WARM_STEPS = 20,            /* weights change so often while a peer warms up */
    FOLLOW_AGAIN_MS = 50,       /* when members could not be read */
    SEAT_TRIES = 4,             /* when other workers take the seats that one chooses */
    REST_DOUBLINGS = 10,        /* of a rest, at most: the upstream's cap comes first */
};

/* ---- settling ------------------------------------------------------------------------------- */

struct settling {
    struct rp_group *g;
    rp_ms now, next; /* next: when time alone will change something */
    bool weights;    /* of the tables */
};

static void note_next(struct settling *s, rp_ms at)
{
    if (at > s->now && at < s->next) s->next = at;
}

static uint8_t health_of(struct settling *s, const struct rp_peer *p,
                         const struct rp_roster_facts *f)
{
    if (p->slots_n == 0 || f->order == RP_ROSTER_MAINT) return RP_BALANCE_ABSENT;
    note_next(s, f->rest_until_ms);
    /* One that has nobody beside it never rests: there is nothing to win. */
    bool rests = f->rest_until_ms > s->now && s->g->view.n > 1;
    /* Where nobody checks, a check's last word does not hold: the agent may have said it after a reload
     * took the checks away. */
    bool failing = f->health == RP_ROSTER_FAILING && s->g->conf->health;
    return rests || failing ? RP_BALANCE_DOWN : RP_BALANCE_UP;
}

static uint32_t weight_of(struct settling *s, uint32_t full, const struct rp_roster_facts *f)
{
    rp_ms slow = s->g->conf->slow_start_ms;
    if (f->order != RP_ROSTER_READY) return 0;
    if (!slow || !f->up_since_ms || f->rest_until_ms > s->now) return full;
    /* Our clock is as old as our tick: what another process noted may lie a little ahead. */
    rp_ms up = s->now > f->up_since_ms ? s->now - f->up_since_ms : 0;
    if (up < slow) note_next(s, s->now + slow / WARM_STEPS + 1);
    return rp_balance_slow_start(full, up, slow);
}

static void settle_peer(struct settling *s, const struct rp_peer *p)
{
    struct rp_balance_peer *v = &s->g->view.peers[p->index];
    struct rp_roster_facts f = {.weight = UINT32_MAX};
    if (p->place != RP_PEER_UNPLACED) f = rp_roster_facts(s->g->proxy->roster, p->place);
    uint32_t full = f.weight == UINT32_MAX ? p->conf->weight : f.weight;
    full = RP_MIN(full, (uint32_t)RP_BALANCE_WEIGHT_MOST);
    if (full != v->full_weight) s->weights = true;
    v->full_weight = full;
    v->health = health_of(s, p, &f);
    v->weight = weight_of(s, full, &f);
}

static void make_tables(struct rp_group *g)
{
    if (g->conf->balance == RP_BALANCE_RING) rp_balance_ring_make(&g->view);
    if (g->conf->balance == RP_BALANCE_MAGLEV) rp_balance_maglev_make(&g->view);
}

/* Zones are a matter of who is near; where a key's peer is must not depend on where one asks. */
static uint8_t zone_rule(const struct rp_conf_upstream *c)
{
    bool hashes = c->balance >= RP_BALANCE_RING && c->balance <= RP_BALANCE_RENDEZVOUS;
    return c->zone.len && !hashes ? (uint8_t)c->zone_spill : 0;
}

static void settle(struct rp_group *g, uint64_t epoch, rp_ms now)
{
    bool again, moved = rp_group_follow(g, &again);
    struct settling s = {.g = g, .now = now, .next = UINT64_MAX, .weights = g->epoch == 0 || moved};
    struct rp_balance_rules rules = {.panic = (uint8_t)g->conf->panic,
                                     .spill = (uint8_t)g->conf->spill,
                                     .zone = zone_rule(g->conf)};
    if (again) note_next(&s, now + FOLLOW_AGAIN_MS);
    for (uint32_t i = 0; i < g->peers_n; i++) settle_peer(&s, g->peers[i]);
    if (s.weights) make_tables(g);
    rp_balance_settle(&g->view, &rules);
    g->epoch = epoch;
    g->settle_ms = s.next;
    g->stale = false;
    g->alone =
        g->peers_n == 1 && g->view.live_n == 1 && !g->view.peers[0].seats && !g->conf->subsets.len;
}

static void keep_settled(struct rp_group *g, rp_ms now)
{
    uint64_t epoch = rp_roster_epoch(g->proxy->roster);
    if (RP_UNLIKELY(epoch != g->epoch || g->stale || now >= g->settle_ms)) settle(g, epoch, now);
}

void rp_group_settle(struct rp_group *g)
{
    keep_settled(g, rp_loop_now(g->proxy->loop));
}

/* ---- policies ------------------------------------------------------------------------------- */

static void look(struct rp_balance_view *view, uint32_t peer)
{
    struct rp_group *g = view->user;
    const struct rp_peer *p = g->peers[peer];
    struct rp_balance_peer *v = &view->peers[peer];
    if (p->place == RP_PEER_UNPLACED) return;
    v->in_flight = rp_roster_in_flight(g->proxy->roster, p->place);
    v->latency_us = (uint32_t)rp_roster_latency(g->proxy->roster, p->place);
}

static void put_tried(const struct rp_pick *k, struct rp_balance_ask *ask)
{
    for (unsigned i = 0; i < RP_PICK_TRIED_MOST && k->tried[i].id; i++) {
        int at = rp_group_index_of(k->group, k->tried[i]);
        if (at >= 0) ask->tried[ask->tried_n++] = (uint32_t)at;
    }
}

static int by_policy(struct rp_group *g, const struct rp_balance_ask *ask)
{
    static int (*const POLICIES[])(struct rp_balance_view *, const struct rp_balance_ask *) = {
        [RP_BALANCE_ROUND_ROBIN] = rp_balance_round_robin,
        [RP_BALANCE_HOOK] = rp_balance_round_robin, /* that named no peer */
        [RP_BALANCE_RANDOM] = rp_balance_random,
        [RP_BALANCE_LEAST_CONN] = rp_balance_least_conn,
        [RP_BALANCE_LEAST_TIME] = rp_balance_least_time,
        [RP_BALANCE_P2C] = rp_balance_p2c,
        [RP_BALANCE_EWMA] = rp_balance_ewma,
        [RP_BALANCE_FIRST] = rp_balance_first,
        [RP_BALANCE_RING] = rp_balance_ring,
        [RP_BALANCE_MAGLEV] = rp_balance_maglev,
        [RP_BALANCE_RENDEZVOUS] = rp_balance_rendezvous,
    };
    return POLICIES[g->conf->balance](&g->view, ask);
}

static bool is_spare(struct rp_group *g, const struct rp_balance_ask *ask, uint32_t peer)
{
    const struct rp_balance_peer *v = &g->view.peers[peer];
    if (v->live || v->health == RP_BALANCE_ABSENT || v->weight == 0) return false;
    return rp_balance_suits(&g->view, ask, peer);
}

/* Everybody who takes part was tried or is full: one of a later priority, else one that rests, is better
 * than no answer. */
static int choose_spare(struct rp_group *g, const struct rp_balance_ask *ask)
{
    const struct rp_balance_peer *best = NULL;
    for (uint32_t i = 0; i < g->peers_n; i++) {
        const struct rp_balance_peer *v = &g->view.peers[i];
        bool better = !best || v->health > best->health ||
                      (v->health == best->health && v->tier < best->tier);
        if (better && is_spare(g, ask, i)) best = v;
    }
    return best ? (int)(best - g->view.peers) : -1;
}

/* The peer that a sticky client had: also one that takes nobody new. */
static bool may_stay(struct rp_group *g, const struct rp_balance_ask *ask, uint32_t peer)
{
    uint8_t health = g->view.peers[peer].health;
    bool up = health == RP_BALANCE_UP || (g->view.panic && health == RP_BALANCE_DOWN);
    return up && rp_balance_suits(&g->view, ask, peer);
}

static int choose_among(struct rp_group *g, const struct rp_pick *k, struct rp_balance_ask *ask)
{
    int bound = k->bound.id ? rp_group_index_of(g, k->bound) : -1;
    if (bound >= 0 && may_stay(g, ask, (uint32_t)bound)) return bound;
    if (g->peers_n == 1) /* a turn of one leaves no trace */
        return g->view.live_n == 1 && rp_balance_may(&g->view, ask, 0) ? 0 : -1;
    int at = by_policy(g, ask);
    return at >= 0 ? at : choose_spare(g, ask);
}

/* Bits of the peers that the request wishes for; NULL: all will do. */
static const uint64_t *wished(const struct rp_pick *k)
{
    if (RP_LIKELY(!k->subset.len)) return NULL;
    const struct rp_subset *s = rp_subset_find(k->group, k->subset);
    return s ? s->bits : NULL;
}

/* Would somebody do, had he a seat? One that was tried would not: waiting for it is in vain. */
static bool is_full(const struct rp_group *g, const struct rp_balance_ask *ask)
{
    for (uint32_t i = 0; i < g->view.live_n; i++) {
        uint32_t at = g->view.live[i];
        const struct rp_balance_peer *p = &g->view.peers[at];
        bool full = p->seats && p->in_flight >= p->seats;
        if (full && rp_balance_wants(ask, at)) return true;
    }
    return false;
}

static int choose(struct rp_proxy *proxy, const struct rp_pick *k)
{
    struct rp_group *g = k->group;
    struct rp_balance_ask ask = {
        .hash = k->hash, .dice = &proxy->dice, .bound = g->conf->hash_bound, .only = wished(k)};
    put_tried(k, &ask);
    int at = choose_among(g, k, &ask);
    if (at >= 0 || !ask.only || !g->conf->subset_any || is_full(g, &ask)) return at;
    ask.only = NULL;
    return choose_among(g, k, &ask);
}

bool rp_upstream_has_other(struct rp_proxy *p, const struct rp_pick *k)
{
    struct rp_group *g = k->group;
    struct rp_balance_ask ask = {.dice = &p->dice};
    if (!g || !k->peer || g->peers_n == 1) return false;
    keep_settled(g, rp_loop_now(p->loop));
    put_tried(k, &ask);
    if (!g->conf->subset_any) ask.only = wished(k);
    for (uint32_t i = 0; i < g->view.live_n; i++) {
        uint32_t peer = g->view.live[i];
        if (peer != k->peer->index && rp_balance_may(&g->view, &ask, peer)) return true;
    }
    return false;
}

/* ---- picking -------------------------------------------------------------------------------- */

/* No usable peer: are names on their way, do none resolve, is everything full or down? */
static rp_err why_none(const struct rp_pick *k)
{
    const struct rp_group *g = k->group;
    struct rp_balance_ask ask = {.only = wished(k)};
    bool any = false;
    put_tried(k, &ask);
    if (is_full(g, &ask)) return RP_E_UP_FULL;
    for (uint32_t i = 0; i < g->peers_n; i++) {
        if (!g->peers[i]->looked_up) return RP_AGAIN;
        any |= g->peers[i]->slots_n > 0;
    }
    return any || g->peers_n == 0 ? RP_E_UP_NO_PEER : RP_E_UP_RESOLVE;
}

/* The next address that is well, of one family or of any; NULL: none is. */
static struct rp_pool_slot *well_addr(struct rp_peer *p, rp_ms now, uint8_t family)
{
    for (uint32_t i = 0; i < p->slots_n; i++) {
        struct rp_pool_slot *s = p->slots[p->next_slot++ % p->slots_n];
        if (family != RP_ADDR_NONE && rp_connpool_addr(s)->family != family) continue;
        if (rp_connpool_rest_until(s) <= now) return s;
    }
    return NULL;
}

/* Addresses of a name take turns, where it has both families those of the preferred one (RFC 8305 §4); those
 * where connecting failed lately only when all did. */
static inline struct rp_pool_slot *next_addr(struct rp_peer *p, rp_ms now)
{
    if (RP_LIKELY(p->slots_n == 1)) return p->slots[0];
    struct rp_pool_slot *s = NULL;
    if (RP_UNLIKELY(p->dual)) s = well_addr(p, now, rp_connpool_addr(p->slots[0])->family);
    if (!s) s = well_addr(p, now, RP_ADDR_NONE);
    return s ? s : p->slots[p->next_slot++ % p->slots_n];
}

/* Requests under way in the whole group, where somebody wants to know. */
static void enter_gate(const struct rp_group *g)
{
    if (RP_LIKELY(g->gate == RP_PEER_UNPLACED)) return;
    rp_roster_enter(g->proxy->roster, g->proxy->roster_row, g->gate);
}

static void leave_gate(const struct rp_group *g)
{
    if (RP_LIKELY(g->gate == RP_PEER_UNPLACED)) return;
    rp_roster_leave(g->proxy->roster, g->proxy->roster_row, g->gate, false);
}

/* A seat in the group and one at the peer, of which there are so many for all workers: false where
 * another one was faster. seats: 0: any number. */
static inline bool take_seats(const struct rp_group *g, const struct rp_peer *p, uint32_t seats)
{
    struct rp_proxy *proxy = g->proxy;
    struct rp_roster *roster = proxy->roster;
    bool gated = g->gate != RP_PEER_UNPLACED;
    uint32_t row = proxy->roster_row, most = RP_UNLIKELY(gated) ? rp_guard_most(g) : UINT32_MAX;
    if (RP_LIKELY(most == UINT32_MAX)) enter_gate(g);
    else if (!rp_roster_enter_within(roster, row, g->gate, most)) return false;
    if (p->place == RP_PEER_UNPLACED) return true;
    if (RP_LIKELY(!seats)) rp_roster_enter(roster, row, p->place);
    else if (!rp_roster_enter_within(roster, row, p->place, seats)) {
        if (gated) rp_roster_retreat(roster, row, g->gate);
        return false;
    }
    return true;
}

/* Its seats are taken. */
static inline void use_peer(struct rp_pick *k, struct rp_peer *p, rp_ms now)
{
    k->peer = p;
    p->refs++;
    k->group->active++;
    if (k->again) k->group->retrying++;
    k->pool_slot = rp_connpool_ref(next_addr(p, now));
}

RP_APART static rp_err pick_any(struct rp_proxy *p, struct rp_pick *k, rp_ms now)
{
    struct rp_group *g = k->group;
    if (RP_UNLIKELY(g->gate != RP_PEER_UNPLACED) && !rp_guard_has_room(g)) return RP_E_UP_FULL;
    if (k->want_addr.family != RP_ADDR_NONE) {
        k->pool_slot = rp_group_hold_slot(g, NULL, &k->want_addr);
        return RP_OK;
    }
    int want = k->want.id ? rp_group_index_of(g, k->want) : -1;
    if (want >= 0 && g->peers[want]->slots_n > 0) { /* whatever its seats are: the hook knows */
        if (!take_seats(g, g->peers[want], 0)) return RP_E_UP_FULL;
        use_peer(k, g->peers[want], now);
        return RP_OK;
    }
    for (int i = 0; i < SEAT_TRIES; i++) {
        int at = choose(p, k);
        if (at < 0) return why_none(k);
        if (!take_seats(g, g->peers[at], g->view.peers[at].seats)) continue;
        use_peer(k, g->peers[at], now);
        return RP_OK;
    }
    return RP_E_UP_FULL;
}

rp_err rp_upstream_pick(struct rp_proxy *p, struct rp_pick *k)
{
    struct rp_group *g = k->group;
    rp_ms now = rp_loop_now(p->loop);
    k->since_ns = rp_loop_now_ns(p->loop);
    keep_settled(g, now);
    /* The usual only peer: nobody else can be had, and nothing stands in its way. */
    bool usual = g->alone && g->gate == RP_PEER_UNPLACED && !k->tried[0].id && !k->want.id &&
                 k->want_addr.family == RP_ADDR_NONE;
    if (!usual) return pick_any(p, k, now);
    struct rp_peer *only = g->peers[0];
    if (only->place != RP_PEER_UNPLACED) rp_roster_enter(p->roster, p->roster_row, only->place);
    use_peer(k, only, now);
    return RP_OK;
}

void rp_upstream_dress(const struct rp_pick *k, struct rp_conn *c)
{
    char buf[RP_ADDR_TEXT_BYTES];
    struct rp_tls_client *tls = k->group->conf->tls;
    if (!tls) return;
    rp_str name =
        rp_peer_identity(k->peer ? k->peer->conf : NULL, rp_connpool_addr(k->pool_slot), buf);
    rp_conn_use_tls(c, tls, name, rp_connpool_memory(k->pool_slot));
}

/* ---- what came of it ------------------------------------------------------------------------ */

/* A name with several addresses fails when each of them did: "localhost" may have two, of which one
 * is served. The next attempt takes the next address. */
static bool has_addrs_left(struct rp_pick *k, struct rp_peer *p)
{
    k->failed_addrs = k->failed_peer.id == p->id ? k->failed_addrs + 1 : 1;
    k->failed_peer.id = p->id;
    return k->failed_addrs < p->slots_n;
}

/* Each rest in a row is twice as long as the one before. */
static rp_ms rest_ms(const struct rp_conf_upstream *c, uint32_t ejections)
{
    uint32_t doublings = RP_MIN(ejections, (uint32_t)REST_DOUBLINGS);
    return RP_MIN(c->fail_rest_ms << doublings, RP_MAX(c->fail_rest_max_ms, c->fail_rest_ms));
}

/* May it rest, too? Of those that may be chosen some must stay: never the last one, and no more than
 * the site allows beside the first. */
static bool may_rest(const struct rp_group *g, const struct rp_peer *p)
{
    if (p->index == RP_PEER_LEFT) return true;
    uint64_t all = 0, resting = 0, own = g->view.peers[p->index].full_weight;
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->peers_n; i++) {
        const struct rp_balance_peer *v = &g->view.peers[i];
        if (v->health == RP_BALANCE_ABSENT) continue;
        bool rests = v->health == RP_BALANCE_DOWN;
        all += v->full_weight;
        resting += rests ? v->full_weight : 0;
        n += rests;
    }
    return n == 0 || (resting + own) * 100 <= all * g->conf->rest_share;
}

/* Peers that cannot be reached are no use whatever their share is; those that answer badly may be all
 * that there is. */
static void let_rest(struct rp_proxy *proxy, const struct rp_peer *p, rp_ms now, bool down)
{
    const struct rp_conf_upstream *c = p->group->conf;
    uint32_t fails = rp_roster_fail(proxy->roster, p->place);
    if (!c->max_fails || fails < c->max_fails) return;
    keep_settled(p->group, now);
    if (!down && p->group->peers_n > 1 && !may_rest(p->group, p)) return;
    struct rp_roster_facts f = rp_roster_facts(proxy->roster, p->place);
    (void)rp_roster_rest(proxy->roster, p->place, now, now + rest_ms(c, f.ejections));
}

bool rp_upstream_eject(struct rp_proxy *p, struct rp_peer *peer, enum rp_roster_why why)
{
    struct rp_group *g = peer->group;
    rp_ms now = rp_loop_now(p->loop);
    keep_settled(g, now);
    bool gone = peer->place == RP_PEER_UNPLACED || peer->index == RP_PEER_LEFT;
    if (gone || g->peers_n == 1 || !may_rest(g, peer)) return false;
    struct rp_roster_facts f = rp_roster_facts(p->roster, peer->place);
    rp_ms until = now + rest_ms(g->conf, f.ejections);
    return rp_roster_eject(p->roster, peer->place, now, until, why);
}

static void note_as_tried(struct rp_pick *k, const struct rp_peer *p)
{
    for (unsigned i = 0; i < RP_PICK_TRIED_MOST; i++) {
        if (k->tried[i].id) continue;
        k->tried[i] = (struct rp_peer_ref){.id = p->id, .index = p->index};
        return;
    }
}

static void note_tried(struct rp_proxy *proxy, struct rp_pick *k, struct rp_peer *p,
                       enum rp_pick_end end)
{
    bool failed = end >= RP_PICK_FAILED;
    const struct rp_conf_upstream *c = p->group->conf;
    rp_ms now = rp_loop_now(proxy->loop);
    /* The other addresses of a race rest already, as far as they were tried. */
    if (failed && c->max_fails && p->slots_n > 1 && k->pool_slot)
        rp_connpool_set_rest(k->pool_slot, now + c->fail_rest_ms);
    if (failed && !k->raced && has_addrs_left(k, p)) return;
    note_as_tried(k, p);
    if (failed && p->place != RP_PEER_UNPLACED) let_rest(proxy, p, now, end == RP_PICK_DOWN);
}

void rp_upstream_blame(struct rp_proxy *p, struct rp_pick *k)
{
    if (!k->peer || k->peer->place == RP_PEER_UNPLACED) return;
    rp_roster_count_failure(p->roster, p->roster_row, k->peer->place);
    let_rest(p, k->peer, rp_loop_now(p->loop), false);
}

void rp_upstream_connected(struct rp_proxy *p, const struct rp_pick *k)
{
    const struct rp_conf_upstream *c = k->group ? k->group->conf : NULL;
    if (c && c->fail_on == RP_ON_CONNECT && c->fail_statuses.n == 0) rp_upstream_succeed(p, k);
}

/* Well again for so long that what it failed before does not count any more? */
RP_APART static void forgive(struct rp_proxy *p, const struct rp_peer *peer)
{
    const struct rp_conf_upstream *c = peer->group->conf;
    if (!c->max_fails && !c->outlier.on) return;
    struct rp_roster_facts f = rp_roster_facts(p->roster, peer->place);
    if (f.ejections && rp_loop_now(p->loop) > f.rest_until_ms + rest_ms(c, f.ejections))
        rp_roster_forgive(p->roster, peer->place);
}

void rp_upstream_succeed(struct rp_proxy *p, const struct rp_pick *k)
{
    const struct rp_peer *peer = k->peer;
    if (!peer || peer->place == RP_PEER_UNPLACED) return;
    rp_roster_succeed(p->roster, peer->place);
    if (peer->group->peers_n > 1) forgive(p, peer);
}

uint64_t rp_upstream_spent_us(const struct rp_proxy *p, const struct rp_pick *k)
{
    return (rp_loop_now_ns(p->loop) - k->since_ns) / 1000;
}

void rp_upstream_note_latency(struct rp_proxy *p, const struct rp_pick *k)
{
    if (!k->peer || k->peer->place == RP_PEER_UNPLACED) return;
    uint32_t place = k->peer->place, now = (uint32_t)rp_loop_now(p->loop);
    uint64_t us = rp_upstream_spent_us(p, k);
    uint32_t sample = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    rp_roster_note_time(p->roster, p->roster_row, place, us, rp_loop_now(p->loop));
    for (int tries = 0; tries < 4; tries++) { /* one sample less is no loss */
        uint64_t was = rp_roster_latency(p->roster, place);
        uint32_t age = now - (uint32_t)(was >> 32);
        if (age > INT32_MAX) age = 0; /* another worker's clock is a tick ahead of ours */
        uint64_t mean = rp_balance_mean((uint32_t)was, age, sample, LATENCY_TAU_MS);
        if (rp_roster_swap_latency(p->roster, place, was, (uint64_t)now << 32 | mean)) return;
    }
}

void rp_upstream_unpick(struct rp_proxy *p, struct rp_pick *k, enum rp_pick_end end)
{
    struct rp_peer *peer = k->peer;
    if (RP_UNLIKELY(k->race != NULL)) rp_race_cancel(k);
    if (peer) {
        peer->group->active--;
        leave_gate(peer->group);
        if (k->again) peer->group->retrying--;
        k->again = true;
        if (peer->place != RP_PEER_UNPLACED)
            rp_roster_leave(p->roster, p->roster_row, peer->place, end >= RP_PICK_FAILED);
        if (end != RP_PICK_WELL) note_tried(p, k, peer, end);
        rp_queue_wake(peer->group);
        rp_peer_drop(peer);
    }
    if (k->pool_slot) rp_connpool_drop(p->pool, k->pool_slot);
    k->pool_slot = NULL;
    k->peer = NULL;
    k->raced = false;
}

/* ---- reloads -------------------------------------------------------------------------------- */

static struct rp_peer *same_peer(struct rp_group *g, const struct rp_peer *old)
{
    if (!g || !rp_str_eq(g->conf->name, old->group->conf->name)) return NULL;
    if (old->index < g->peers_n && g->peers[old->index]->place == old->place)
        return g->peers[old->index];
    for (uint32_t i = 0; i < g->peers_n; i++)
        if (g->peers[i]->place == old->place) return g->peers[i];
    return NULL;
}

static struct rp_peer *find_in(struct rp_groups *gs, const struct rp_conf *c,
                               const struct rp_peer *old)
{
    if (old->place == RP_PEER_UNPLACED) return NULL;
    struct rp_peer *found = same_peer(rp_groups_at(gs, old->group->conf->index), old);
    for (uint32_t i = 0; !found && i < c->upstreams_n; i++)
        found = same_peer(rp_groups_at(gs, i), old);
    return found;
}

void rp_upstream_rehome(struct rp_proxy *p, struct rp_pick *k, const struct rp_conf *fresh)
{
    struct rp_peer *old = k->peer;
    struct rp_peer *now = old ? find_in(rp_groups_find(p, fresh), fresh, old) : NULL;
    if (now) {
        uint32_t again = k->again;
        old->group->active--;
        leave_gate(old->group);
        enter_gate(now->group);
        old->group->retrying -= again;
        now->group->active++;
        now->group->retrying += again;
        now->refs++;
        rp_peer_drop(old); /* its place is held by the new one */
    } else {
        rp_upstream_unpick(p, k, RP_PICK_WELL);
    }
    k->peer = now;
    k->group = now ? now->group : NULL;
    k->failed_addrs = 0;
    k->failed_peer.id = k->bound.id = k->want.id = 0;
    memset(k->tried, 0, sizeof k->tried);
}

/* ---- life ----------------------------------------------------------------------------------- */

void rp_group_open_view(struct rp_group *g)
{
    uint32_t n = g->peers_n;
    g->view = (struct rp_balance_view){
        .peers = rp_alloc(sizeof(struct rp_balance_peer) * (n + 1)),
        .n = n,
        .live = rp_alloc(sizeof(uint32_t) * (n + 1)),
        .sums = rp_alloc(sizeof(uint64_t) * (n + 1)),
        .look = look,
        .user = g,
    };
    for (uint32_t i = 0; i < n; i++) {
        const struct rp_conf_peer *c = g->peers[i]->conf;
        g->view.peers[i] = (struct rp_balance_peer){.key = rp_balance_key(c->name),
                                                    .tier = c->tier,
                                                    .seats = c->max_conns,
                                                    .near = g->conf->zone.len &&
                                                            rp_str_eq(g->conf->zone, c->zone)};
    }
}

void rp_group_close_view(struct rp_group *g)
{
    rp_queue_fini(g);
    rp_sticky_close(g);
    rp_subsets_forget(g);
    rp_balance_ring_free(&g->view);
    rp_balance_maglev_free(&g->view);
    rp_free(g->view.peers);
    rp_free(g->view.live);
    rp_free(g->view.sums);
}
