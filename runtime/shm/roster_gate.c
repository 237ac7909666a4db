/* SPDX-License-Identifier: MIT
 *
 * roster_gate: see roster_gate.h.
 */
#include "shm/roster_in.h"

#include <string.h>

static const char *const KINDS[] = {[RP_GATE_UPSTREAM] = "\1upstream", [RP_GATE_ROUTE] = "\1route"};

enum {
    SHORT_BITS = 24,
    SHORT_MOST = (1 << SHORT_BITS) - 1,
    LATE_TICKS =
        1000, /* so far behind the others a process's clock may be; more is another scale */
};

/* ---- places --------------------------------------------------------------------------------- */

/* A gate is free when its place became another's, or nobody holds that: who comes back begins anew. */
static bool is_free(const struct rp_roster *r, uint32_t gate)
{
    uint64_t owner = r->gates[gate].owner;
    for (uint32_t i = 0; owner && i < r->place_n; i++)
        if (r->places[i].gate == gate + 1 && r->places[i].id.low == owner)
            return !rp_roster_is_held(r, i);
    return true;
}

static rp_err find_gate(struct rp_roster *r, uint32_t *gate)
{
    if (r->head->gate_n < r->gate_n) {
        *gate = r->head->gate_n++;
        return RP_OK;
    }
    for (*gate = 0; *gate < r->gate_n; ++*gate)
        if (is_free(r, *gate)) return RP_OK;
    return RP_E_CAP;
}

/* Under the lock. */
static rp_err make_gate(struct rp_roster *r, uint32_t place)
{
    struct roster_place *p = &r->places[place];
    uint32_t gate;
    if (p->gate > 0 && p->gate <= r->gate_n && r->gates[p->gate - 1].owner == p->id.low)
        return RP_OK;
    rp_err e = find_gate(r, &gate);
    if (e != RP_OK) return e;
    memset(&r->gates[gate], 0, sizeof r->gates[gate]);
    r->gates[gate].owner = p->id.low;
    __atomic_store_n(&p->gate, gate + 1, __ATOMIC_RELEASE);
    return RP_OK;
}

rp_err rp_roster_hold_gate(struct rp_roster *r, uint32_t worker, enum rp_gate_kind kind,
                           rp_str name, uint32_t *place)
{
    bool fresh;
    return rp_roster_hold_as(r, worker, rp_str_z(KINDS[kind]), name, make_gate, place, &fresh);
}

static struct roster_gate *gate_of(const struct rp_roster *r, uint32_t place)
{
    RP_CHECK(place < r->place_n);
    uint32_t gate = __atomic_load_n(&r->places[place].gate, __ATOMIC_ACQUIRE);
    RP_CHECK(gate > 0 && gate <= r->gate_n);
    return &r->gates[gate - 1];
}

/* ---- words ---------------------------------------------------------------------------------- */

uint64_t rp_roster_word(const struct rp_roster *r, uint32_t gate, enum rp_gate_word which)
{
    return __atomic_load_n(&gate_of(r, gate)->words[which], __ATOMIC_ACQUIRE);
}

bool rp_roster_swap_word(struct rp_roster *r, uint32_t gate, enum rp_gate_word which, uint64_t was,
                         uint64_t is)
{
    return rp_roster_swap64(&gate_of(r, gate)->words[which], was, is);
}

void rp_roster_put_word(struct rp_roster *r, uint32_t gate, enum rp_gate_word which, uint64_t is)
{
    __atomic_store_n(&gate_of(r, gate)->words[which], is, __ATOMIC_RELEASE);
}

void rp_roster_add_word(struct rp_roster *r, uint32_t gate, enum rp_gate_word which)
{
    __atomic_add_fetch(&gate_of(r, gate)->words[which], 1, __ATOMIC_RELAXED);
}

bool rp_roster_take_turn(struct rp_roster *r, uint32_t gate, enum rp_gate_word which,
                         uint64_t now_ms, uint64_t every_ms)
{
    uint64_t at = rp_roster_word(r, gate, which);
    /* A time that lies further ahead than a turn is of other settings, or was written by mistake. */
    if (now_ms < at && at - now_ms <= every_ms) return false;
    return rp_roster_swap_word(r, gate, which, at, now_ms + every_ms) && at != 0;
}

/* ---- the window ----------------------------------------------------------------------------- */

enum { CELL_GOES_ON, CELL_BEGINS, CELL_IS_GONE };

/* A process that did not run for longer than the window comes too late: its cell is a newer one's. */
static int count_all(struct roster_cell *c, uint32_t tick)
{
    for (;;) {
        uint64_t was = rp_roster_get64(&c->all);
        bool old = was >> 32 != tick;
        uint32_t ahead = (uint32_t)(was >> 32) - tick;
        if (old && (uint32_t)was && ahead <= LATE_TICKS) return CELL_IS_GONE;
        uint64_t n = old ? 0 : (uint32_t)was;
        uint64_t is = (uint64_t)tick << 32 | RP_MIN(n + 1, (uint64_t)UINT32_MAX);
        if (rp_roster_swap64(&c->all, was, is)) return old ? CELL_BEGINS : CELL_GOES_ON;
    }
}

static void count_bad(struct roster_cell *c, uint16_t tick, bool bad, bool slow)
{
    for (;;) {
        uint64_t was = rp_roster_get64(&c->bad);
        bool old = was >> (2 * SHORT_BITS) != tick;
        uint64_t bads = old ? 0 : (was >> SHORT_BITS) & SHORT_MOST;
        uint64_t slows = old ? 0 : was & SHORT_MOST;
        bads = RP_MIN(bads + bad, (uint64_t)SHORT_MOST);
        slows = RP_MIN(slows + slow, (uint64_t)SHORT_MOST);
        uint64_t is = (uint64_t)tick << (2 * SHORT_BITS) | bads << SHORT_BITS | slows;
        if (rp_roster_swap64(&c->bad, was, is)) return;
    }
}

void rp_roster_count_end(struct rp_roster *r, uint32_t gate, uint64_t now_ms, uint64_t cell_ms,
                         bool bad, bool slow)
{
    uint32_t tick = (uint32_t)(now_ms / (cell_ms ? cell_ms : 1));
    struct roster_cell *c = &gate_of(r, gate)->cells[tick % RP_GATE_CELLS];
    int cell = count_all(c, tick);
    if (cell == CELL_IS_GONE) return;
    /* What another one counted between these two is lost, which is one bad end of many. */
    if (cell == CELL_BEGINS)
        __atomic_store_n(&c->bad, (uint64_t)(uint16_t)tick << (2 * SHORT_BITS), __ATOMIC_RELEASE);
    if (bad || slow) count_bad(c, (uint16_t)tick, bad, slow);
}

struct rp_gate_sums rp_roster_sums(const struct rp_roster *r, uint32_t gate, uint64_t now_ms,
                                   uint64_t cell_ms)
{
    const struct roster_gate *g = gate_of(r, gate);
    struct rp_gate_sums sums = {0};
    uint32_t tick = (uint32_t)(now_ms / (cell_ms ? cell_ms : 1));
    for (uint32_t i = 0; i < RP_GATE_CELLS; i++) {
        uint64_t all = rp_roster_get64(&g->cells[i].all), bad = rp_roster_get64(&g->cells[i].bad);
        uint32_t of = (uint32_t)(all >> 32);
        /* Another process's clock may be a tick ahead of ours. */
        if (!(uint32_t)all || tick + 1 - of > RP_GATE_CELLS) continue;
        sums.all += (uint32_t)all;
        if ((uint16_t)(bad >> (2 * SHORT_BITS)) != (uint16_t)of) continue;
        sums.bad += (bad >> SHORT_BITS) & SHORT_MOST;
        sums.slow += bad & SHORT_MOST;
    }
    return sums;
}

void rp_roster_clear_sums(struct rp_roster *r, uint32_t gate)
{
    struct roster_gate *g = gate_of(r, gate);
    for (uint32_t i = 0; i < RP_GATE_CELLS; i++) {
        __atomic_store_n(&g->cells[i].all, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&g->cells[i].bad, 0, __ATOMIC_RELEASE);
    }
}

/* ---- samples -------------------------------------------------------------------------------- */

void rp_roster_add_sample(struct rp_roster *r, uint32_t gate, uint64_t us)
{
    __atomic_add_fetch(&gate_of(r, gate)->counts[rp_histogram_bucket(us)], 1, __ATOMIC_RELAXED);
}

uint64_t rp_roster_samples(const struct rp_roster *r, uint32_t gate)
{
    const struct roster_gate *g = gate_of(r, gate);
    uint64_t n = 0;
    for (uint32_t i = 0; i < RP_HISTOGRAM_BUCKETS; i++) n += rp_roster_get32(&g->counts[i]);
    return n;
}

uint64_t rp_roster_take_samples(struct rp_roster *r, uint32_t gate,
                                uint32_t counts[RP_HISTOGRAM_BUCKETS])
{
    struct roster_gate *g = gate_of(r, gate);
    uint64_t n = 0;
    for (uint32_t i = 0; i < RP_HISTOGRAM_BUCKETS; i++) {
        counts[i] = rp_roster_get32(&g->counts[i]);
        if (counts[i]) counts[i] = __atomic_exchange_n(&g->counts[i], 0, __ATOMIC_RELAXED);
        n += counts[i];
    }
    return n;
}

/* ---- telling -------------------------------------------------------------------------------- */

bool rp_roster_next_gate(const struct rp_roster *r, uint32_t *at, uint64_t now_ms,
                         struct rp_gate_report *out)
{
    while (*at < r->place_n) {
        uint32_t place = (*at)++, gate = __atomic_load_n(&r->places[place].gate, __ATOMIC_ACQUIRE);
        const struct roster_place *p = &r->places[place];
        if (gate == 0 || gate > r->gate_n || !rp_roster_is_held(r, place)) continue;
        out->place = place;
        out->kind = strncmp(p->upstream, KINDS[RP_GATE_ROUTE], sizeof p->upstream) == 0
                        ? RP_GATE_ROUTE
                        : RP_GATE_UPSTREAM;
        memcpy(out->name, p->peer, sizeof out->name);
        out->name[sizeof out->name - 1] = 0;
        struct rp_roster_totals totals = rp_roster_totals(r, place);
        out->in_flight = totals.in_flight;
        out->requests = totals.requests;
        for (int i = 0; i < RP_GATE_WORDS; i++)
            out->words[i] = rp_roster_get64(&r->gates[gate - 1].words[i]);
        out->sums = rp_roster_sums(r, place, now_ms, out->words[RP_GATE_CELL_MS]);
        return true;
    }
    return false;
}
