/* SPDX-License-Identifier: MIT
 *
 * guard: see guard.h.
 */
#include "proxy/guard.h"

#include "base/log.h"
#include "proxy/attempt_retry.h"
#include "proxy/circuit.h"
#include "proxy/hedge.h"
#include "proxy/limit.h"
#include "proxy/proxy.h"
#include "shm/roster_gate.h"

enum { THOUSAND = 1000, SWAPS = 64, BAD_STATUS = 500 };

/* ---- circuits ------------------------------------------------------------------------------- */

static struct rp_circuit_rules rules_of(const struct rp_conf_circuit *c)
{
    return (struct rp_circuit_rules){
        .errors = c->errors,
        .slow = c->slow_ms ? THOUSAND - c->quantile : THOUSAND,
        .least = c->least,
        .probes = c->probes,
        .open_ms = c->open_ms,
        .open_max_ms = c->open_max_ms,
    };
}

static rp_ms cell_ms(const struct rp_conf_circuit *c)
{
    return RP_MAX(c->within_ms / RP_GATE_CELLS, (rp_ms)1);
}

static rp_ms now_of(const struct rp_req *r)
{
    return rp_loop_now(r->proxy->loop);
}

/* Seconds until it is worth another try: when the circuit may let probes pass. */
static uint32_t retry_after(const struct rp_circuit_state *s, rp_ms now)
{
    if (s->state != RP_CIRCUIT_OPEN || s->at <= now) return 1;
    return (uint32_t)RP_MIN((s->at - now + 999) / 1000, (rp_ms)86400);
}

/* False: it is refused. */
static bool take_ticket(struct rp_req *r, const struct rp_conf_circuit *c, uint32_t gate,
                        struct rp_guard_ticket *t)
{
    struct rp_circuit_rules rules = rules_of(c);
    rp_ms now = now_of(r);
    if (!c->on || gate == RP_PEER_UNPLACED || t->held) return true;
    for (int i = 0; i < SWAPS; i++) {
        uint64_t word = rp_roster_word(r->proxy->roster, gate, RP_GATE_CIRCUIT);
        struct rp_circuit_state s = rp_circuit_read(word);
        enum rp_circuit_pass pass = rp_circuit_ask(&rules, &s, now);
        if (pass == RP_CIRCUIT_REFUSED) {
            t->held = false; /* another one was faster */
            r->guard->retry_s = retry_after(&s, now);
            rp_roster_add_word(r->proxy->roster, gate, RP_GATE_REFUSED);
            return false;
        }
        *t = (struct rp_guard_ticket){.gate = gate,
                                      .held = true,
                                      .taken = true,
                                      .probe = pass == RP_CIRCUIT_PROBE,
                                      .row = s.row,
                                      .at = s.at};
        uint64_t is = rp_circuit_word(&s);
        if (is == word || rp_roster_swap_word(r->proxy->roster, gate, RP_GATE_CIRCUIT, word, is))
            return true;
    }
    t->held = false; /* so many others changed it meanwhile: nobody is refused for that */
    return true;
}

static void return_ticket(struct rp_req *r, struct rp_guard_ticket *t)
{
    if (!t->held) return;
    t->held = false;
    for (int i = 0; i < SWAPS; i++) {
        uint64_t word = rp_roster_word(r->proxy->roster, t->gate, RP_GATE_CIRCUIT);
        struct rp_circuit_state s = rp_circuit_read(word);
        if (!rp_circuit_forget(&s, t->at)) return;
        if (rp_roster_swap_word(r->proxy->roster, t->gate, RP_GATE_CIRCUIT, word,
                                rp_circuit_word(&s)))
            return;
    }
}

/* Once, by the worker that changed it. */
static void tell_change(struct rp_req *r, const struct rp_circuit_state *s,
                        const struct rp_circuit_end *e, const struct rp_guard_ticket *t)
{
    bool route = t == &r->guard->of_route;
    const char *kind = route ? "route" : "upstream";
    rp_str name = route ? r->route->id : r->upstream->name;
    if (s->state == RP_CIRCUIT_CLOSED) {
        rp_log(notice, "circuit closed %s=%s", kind, rp_log_esc(name));
        return;
    }
    if (s->state != RP_CIRCUIT_OPEN) return;
    r->proxy->stats.circuits_opened++;
    rp_roster_add_word(r->proxy->roster, t->gate, RP_GATE_OPENED);
    rp_log(warn, "circuit opened %s=%s for_ms=%llu bad=%llu slow=%llu of=%llu", kind,
           rp_log_esc(name), (unsigned long long)(s->at - now_of(r)), (unsigned long long)e->bad_n,
           (unsigned long long)e->slow_n, (unsigned long long)e->all_n);
}

static void change(struct rp_req *r, const struct rp_circuit_rules *rules,
                   const struct rp_guard_ticket *t, const struct rp_circuit_end *e)
{
    struct rp_roster *roster = r->proxy->roster;
    for (int i = 0; i < SWAPS; i++) {
        uint64_t word = rp_roster_word(roster, t->gate, RP_GATE_CIRCUIT);
        struct rp_circuit_state s = rp_circuit_read(word), was = s;
        if (!rp_circuit_note(rules, &s, e, now_of(r))) return;
        if (!rp_roster_swap_word(roster, t->gate, RP_GATE_CIRCUIT, word, rp_circuit_word(&s)))
            continue;
        if (s.state == was.state) return;
        if (s.state == RP_CIRCUIT_CLOSED) rp_roster_clear_sums(roster, t->gate);
        tell_change(r, &s, e, t);
        return;
    }
}

static void use_ticket(struct rp_req *r, const struct rp_conf_circuit *c, struct rp_guard_ticket *t,
                       bool bad, uint64_t us)
{
    struct rp_roster *roster = r->proxy->roster;
    bool slow = c->slow_ms && us >= c->slow_ms * 1000;
    if (!t->held) return;
    t->held = false;
    uint64_t word = rp_roster_word(roster, t->gate, RP_GATE_CIRCUIT);
    struct rp_circuit_state s = rp_circuit_read(word);
    struct rp_circuit_end e = {.at = t->at, .probe = t->probe, .row = t->row, .bad = bad || slow};
    struct rp_circuit_rules rules = rules_of(c);
    if (s.at != t->at && !t->probe) return; /* what let it pass is over */
    if (s.state == RP_CIRCUIT_CLOSED) {
        if (s.at != t->at) return;
        rp_roster_count_end(roster, t->gate, now_of(r), cell_ms(c), bad, slow);
        if (!e.bad) return;
        struct rp_gate_sums sums = rp_roster_sums(roster, t->gate, now_of(r), cell_ms(c));
        e.all_n = sums.all;
        e.bad_n = sums.bad;
        e.slow_n = sums.slow;
    }
    e.dice = (uint32_t)rp_random_below(&r->proxy->dice, THOUSAND);
    change(r, &rules, t, &e);
}

/* ---- asking --------------------------------------------------------------------------------- */

static uint32_t gate_of_route(const struct rp_req *r)
{
    return rp_groups_route_gate(rp_groups_find(r->proxy, r->conf), r->route->index);
}

static uint32_t gate_of_upstream(const struct rp_req *r)
{
    const struct rp_group *g = rp_groups_at(rp_groups_find(r->proxy, r->conf), r->upstream->index);
    return g ? g->gate : RP_PEER_UNPLACED;
}

/* The fallback's own circuit holds, but there is no fallback of a fallback. */
static bool fall_back(struct rp_req *r)
{
    uint32_t to = r->upstream->fallback;
    if (to == 0 || to > r->conf->upstreams_n || r->guard->fell || r->tries) return false;
    r->guard->fell = true;
    r->upstream = r->conf->upstreams[to - 1];
    r->proxy->stats.circuit_fallbacks++;
    return take_ticket(r, &r->upstream->circuit, gate_of_upstream(r), &r->guard->of_upstream);
}

rp_err rp_guard_ask(struct rp_req *r)
{
    if (!r->guard) r->guard = rp_arena_zalloc(&r->x.arena, sizeof *r->guard);
    if (!r->guard) return RP_OK; /* the request is at its cap of memory: it goes unguarded */
    struct rp_guard *g = r->guard;
    /* What the fallback does says nothing of what it stands in for. */
    bool may = g->fell || take_ticket(r, &r->route->circuit,
                                      r->route->circuit.on ? gate_of_route(r) : 0, &g->of_route);
    if (may && take_ticket(r, &r->upstream->circuit, gate_of_upstream(r), &g->of_upstream))
        return RP_OK;
    if (fall_back(r)) return RP_OK;
    return_ticket(r, &g->of_route);
    r->proxy->stats.circuit_refused++;
    return RP_E_UP_CIRCUIT;
}

static bool is_closed(const struct rp_req *r, const struct rp_conf_circuit *c, uint32_t gate)
{
    if (!c->on || gate == RP_PEER_UNPLACED) return true;
    uint64_t word = rp_roster_word(r->proxy->roster, gate, RP_GATE_CIRCUIT);
    return rp_circuit_read(word).state == RP_CIRCUIT_CLOSED;
}

bool rp_guard_may_repeat(const struct rp_req *r)
{
    bool fell = r->guard && r->guard->fell;
    return (fell || is_closed(r, &r->route->circuit, gate_of_route(r))) &&
           is_closed(r, &r->upstream->circuit, gate_of_upstream(r));
}

void rp_guard_hand_over(struct rp_req *r, struct rp_req *to)
{
    if (!to->guard) to->guard = rp_arena_zalloc(&to->x.arena, sizeof *to->guard);
    if (!to->guard) return; /* they go back when r ends */
    *to->guard = *r->guard;
    r->guard->of_route.held = r->guard->of_upstream.held = false;
}

void rp_guard_full(struct rp_req *r)
{
    const struct rp_group *g = r->pick.group;
    if (!g || g->gate == RP_PEER_UNPLACED) return;
    r->proxy->stats.limit_refused++;
    rp_roster_add_word(r->proxy->roster, g->gate, RP_GATE_REFUSED);
}

void rp_guard_tell_client(struct rp_req *r)
{
    if (!r->guard || !r->guard->retry_s) return;
    char text[32];
    size_t n = rp_str_put_u64(text, r->guard->retry_s);
    rp_str value = rp_arena_copy(&r->x.arena, rp_str_of(text, n));
    if (!value.ptr) return;
    RP_IGNORE(rp_msg_add(&r->res, &r->x.arena, RP_H_RETRY_AFTER, RP_STR("Retry-After"),
                         value)); /* cap: without */
}

/* ---- limits --------------------------------------------------------------------------------- */

static struct rp_limit_rules limits_of(const struct rp_conf_limit *c)
{
    return (struct rp_limit_rules){
        .least = c->least,
        .most = c->most,
        .start = c->start,
        .quantile = c->quantile,
        .buffer = c->buffer,
        .measure_n = c->measure_n,
        .measure_ms = c->measure_ms,
    };
}

uint32_t rp_guard_most(const struct rp_group *g)
{
    const struct rp_conf_upstream *c = g->conf;
    uint32_t most = c->requests_all ? c->requests_all : UINT32_MAX;
    if (!c->limit.on) return most;
    struct rp_limit_rules rules = limits_of(&c->limit);
    uint32_t limit = rp_limit_of(rp_roster_word(g->proxy->roster, g->gate, RP_GATE_LIMIT), &rules);
    return RP_MIN(most, limit);
}

bool rp_guard_has_room(const struct rp_group *g)
{
    uint32_t most = rp_guard_most(g);
    return most == UINT32_MAX || rp_roster_in_flight(g->proxy->roster, g->gate) < most;
}

/* One process at a time gets here with a turn, so the words fit together. */
static void step_limit(struct rp_group *g, rp_ms now)
{
    struct rp_roster *roster = g->proxy->roster;
    struct rp_limit_rules rules = limits_of(&g->conf->limit);
    if (!rp_roster_take_turn(roster, g->gate, RP_GATE_LIMIT_AT, now, g->conf->limit.every_ms))
        return;
    struct rp_limit_state s = rp_limit_read(rp_roster_word(roster, g->gate, RP_GATE_LIMIT),
                                            rp_roster_word(roster, g->gate, RP_GATE_RTT),
                                            rp_roster_word(roster, g->gate, RP_GATE_RTT_AT));
    struct rp_limit_facts f = {.samples_n = rp_roster_samples(roster, g->gate),
                               .in_flight = rp_roster_in_flight(roster, g->gate),
                               .dice = (uint32_t)rp_random_below(&g->proxy->dice, THOUSAND)};
    if (rp_limit_wants(&rules, &s, f.samples_n, now))
        f.samples_n = rp_roster_take_samples(roster, g->gate, f.counts);
    rp_limit_step(&rules, &s, &f, now);
    rp_roster_put_word(roster, g->gate, RP_GATE_LIMIT, rp_limit_word(&s));
    rp_roster_put_word(roster, g->gate, RP_GATE_RTT, s.min_rtt_us);
    rp_roster_put_word(roster, g->gate, RP_GATE_RTT_AT, s.at);
}

/* ---- ends of tries -------------------------------------------------------------------------- */

static void note_peer(struct rp_req *r, bool bad)
{
    const struct rp_peer *peer = r->pick.peer;
    if (!r->upstream->outlier.on || !peer || peer->place == RP_PEER_UNPLACED) return;
    rp_roster_note_result(r->proxy->roster, r->proxy->roster_row, peer->place, bad, now_of(r));
}

static void note_limit(struct rp_req *r, uint64_t us)
{
    struct rp_group *g = r->pick.group;
    if (!r->upstream->limit.on || !g || g->gate == RP_PEER_UNPLACED) return;
    rp_roster_add_sample(r->proxy->roster, g->gate, us);
    step_limit(g, now_of(r));
}

static void note_circuits(struct rp_req *r, bool bad, uint64_t us)
{
    if (!r->guard) return;
    use_ticket(r, &r->route->circuit, &r->guard->of_route, bad, us);
    use_ticket(r, &r->upstream->circuit, &r->guard->of_upstream, bad, us);
}

void rp_guard_answered(struct rp_req *r)
{
    bool bad = r->res.status >= BAD_STATUS;
    uint64_t us = rp_upstream_spent_us(r->proxy, &r->pick);
    const struct rp_group *g = r->pick.group;
    if (g && g->peers_n == 1) /* of several it is done already */
        rp_upstream_note_latency(r->proxy, &r->pick);
    if (r->guard) r->guard->answered = true;
    note_peer(r, bad);
    note_limit(r, us);
    if (!bad || !rp_hedge_is_on(r) || !rp_attempt_is_unwanted(r)) note_circuits(r, bad, us);
}

/* By the upstream, after its head; clients that go away say nothing of it. */
static bool is_broken_off(const struct rp_req *r)
{
    return r->fail == RP_E_UP_TRUNCATED || r->fail == RP_E_UP_BAD_RESPONSE ||
           r->fail == RP_E_UP_IDLE_TIMEOUT;
}

/* Its ticket was used when the head came; the end counts if that state still lasts. */
static void count_broken_off(struct rp_req *r, const struct rp_conf_circuit *c,
                             struct rp_guard_ticket *t)
{
    if (!c->on || !t->taken || t->held) return;
    uint64_t word = rp_roster_word(r->proxy->roster, t->gate, RP_GATE_CIRCUIT);
    struct rp_circuit_state s = rp_circuit_read(word);
    if (s.state != RP_CIRCUIT_CLOSED || s.at != t->at) return;
    t->held = true;
    t->probe = false;
    use_ticket(r, c, t, true, 0);
}

static void note_broken_off(struct rp_req *r)
{
    note_peer(r, true);
    count_broken_off(r, &r->route->circuit, &r->guard->of_route);
    count_broken_off(r, &r->upstream->circuit, &r->guard->of_upstream);
}

void rp_guard_leave(struct rp_req *r)
{
    if (r->guard->answered && is_broken_off(r)) note_broken_off(r);
    return_ticket(r, &r->guard->of_route);
    return_ticket(r, &r->guard->of_upstream);
}

void rp_guard_failed(struct rp_req *r, bool late)
{
    uint64_t us = rp_upstream_spent_us(r->proxy, &r->pick);
    note_peer(r, true);
    if (late) note_limit(r, us); /* it would have taken longer still */
    if (!rp_hedge_is_on(r)) note_circuits(r, true, us);
}

/* ---- groups --------------------------------------------------------------------------------- */

/* Its window has cells of that length from now on. */
static void set_cells(struct rp_roster *r, uint32_t gate, rp_ms ms)
{
    if (rp_roster_word(r, gate, RP_GATE_CELL_MS) == ms) return;
    rp_roster_clear_sums(r, gate);
    rp_roster_put_word(r, gate, RP_GATE_CELL_MS, ms);
}

static uint32_t hold(struct rp_proxy *p, enum rp_gate_kind kind, rp_str name)
{
    uint32_t gate;
    rp_err e = rp_roster_hold_gate(p->roster, p->roster_row, kind, name, &gate);
    if (e == RP_OK) return gate;
    rp_log(warn, "circuit and limits do not hold: %s %s=%s", rp_err_text(e),
           kind == RP_GATE_ROUTE ? "route" : "upstream", rp_log_esc(name));
    return RP_PEER_UNPLACED;
}

void rp_guard_place(struct rp_group *g)
{
    const struct rp_conf_upstream *c = g->conf;
    struct rp_roster *roster = g->proxy->roster;
    g->gate = RP_PEER_UNPLACED;
    if (!c->circuit.on && !c->limit.on && !c->outlier.on && !c->requests_all) return;
    g->gate = hold(g->proxy, RP_GATE_UPSTREAM, c->name);
    if (g->gate == RP_PEER_UNPLACED) return;
    uint64_t has =
        (c->circuit.on ? RP_GATE_HAS_CIRCUIT : 0u) | (c->limit.on ? RP_GATE_HAS_LIMIT : 0u);
    rp_roster_put_word(roster, g->gate, RP_GATE_SETTINGS, has);
    set_cells(roster, g->gate, cell_ms(&c->circuit));
    rp_roster_put_word(roster, g->gate, RP_GATE_MOST, c->requests_all);
}

void rp_guard_displace(struct rp_group *g)
{
    if (g->gate != RP_PEER_UNPLACED)
        rp_roster_drop(g->proxy->roster, g->proxy->roster_row, g->gate);
    g->gate = RP_PEER_UNPLACED;
}

uint32_t *rp_guard_place_routes(struct rp_proxy *p, const struct rp_conf *c)
{
    uint32_t *gates = NULL;
    for (uint32_t i = 0; i < c->routes_n; i++) {
        const struct rp_route *route = c->routes[i];
        if (!route->circuit.on) continue;
        if (!gates) {
            gates = rp_alloc(sizeof *gates * c->routes_n);
            for (uint32_t k = 0; k < c->routes_n; k++) gates[k] = RP_PEER_UNPLACED;
        }
        gates[i] = hold(p, RP_GATE_ROUTE, route->id);
        if (gates[i] == RP_PEER_UNPLACED) continue;
        rp_roster_put_word(p->roster, gates[i], RP_GATE_SETTINGS, RP_GATE_HAS_CIRCUIT);
        set_cells(p->roster, gates[i], cell_ms(&route->circuit));
    }
    return gates;
}

void rp_guard_displace_routes(struct rp_proxy *p, uint32_t **gates, uint32_t n)
{
    for (uint32_t i = 0; *gates && i < n; i++)
        if ((*gates)[i] != RP_PEER_UNPLACED) rp_roster_drop(p->roster, p->roster_row, (*gates)[i]);
    rp_free(*gates);
    *gates = NULL;
}

int rp_guard_circuit(const struct rp_group *g)
{
    if (!g->conf->circuit.on || g->gate == RP_PEER_UNPLACED) return -1;
    struct rp_circuit_state s =
        rp_circuit_read(rp_roster_word(g->proxy->roster, g->gate, RP_GATE_CIRCUIT));
    bool over = s.state == RP_CIRCUIT_OPEN && s.at <= rp_loop_now(g->proxy->loop);
    return over ? RP_CIRCUIT_HALF : s.state; /* whoever comes next is a probe */
}

void rp_guard_beat(struct rp_proxy *p)
{
    struct rp_groups *gs = rp_groups_find(p, p->conf);
    rp_ms now = rp_loop_now(p->loop);
    for (uint32_t i = 0; gs && i < p->conf->upstreams_n; i++) {
        struct rp_group *g = rp_groups_at(gs, i);
        if (g->gate == RP_PEER_UNPLACED) continue;
        if (g->conf->limit.on) step_limit(g, now);
        if (g->conf->outlier.on) rp_guard_judge(g, now);
    }
}
