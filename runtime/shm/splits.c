/* SPDX-License-Identifier: MIT
 *
 * splits: head, places, a row of holds per worker, in this order in the part. Sizes come from the
 * handle, never from shared memory.
 *
 * Invariants: 1 a row is written by its worker, and by the master after its death. 2 Everything else
 * but counts changes under the lock. 3 Who looks up a position takes no lock: a change is made in the
 * table that nobody reads, which `version` then points to; one that is read while it becomes the
 * other gives the side of a moment ago, which is a side, too.
 */
#include "shm/splits.h"

#include "base/hash.h"
#include "base/mem.h"
#include "shm/lock.h"

enum {
    LINE_BYTES = 128,
    WORKERS_MAX = 65535,
    PLACES_MAX = 4096,
    NOBODY = 255, /* a position that is being given away */
};

const char *const RP_ROLLOUT_NAMES[] = {"none", "running", "paused", "rolled back", "done"};

struct splits_head {
    uint32_t worker_n, place_n;
    uint32_t top; /* no worker from this number on was ever there */
    uint32_t spare;
    uint64_t born; /* places given so far */
    pthread_mutex_t lock;
    char fill[LINE_BYTES - 24 - sizeof(pthread_mutex_t)];
};

struct splits_place {
    uint64_t id_high, id_low; /* low is odd: a place that was never used has none */
    uint64_t tag, born, since_ms;
    uint32_t version, sides_n, base, canary;
    uint32_t generation, spare; /* of whoever held it last */
    uint32_t state, step, steps_n;
    uint32_t steps[RP_SPLIT_STEPS];
    uint32_t shares[RP_SPLIT_SIDES], said[RP_SPLIT_SIDES];
    char name[RP_SPLIT_NAME_BYTES], why[RP_SPLIT_WHY_BYTES];
    char sides[RP_SPLIT_SIDES][RP_SPLIT_SIDE_BYTES];
    struct rp_split_counts now[RP_SPLIT_SIDES], then[RP_SPLIT_SIDES];
    uint8_t tables[2][RP_SPLIT_POSITIONS];
};

struct rp_splits {
    struct splits_head *head;
    struct splits_place *places;
    uint16_t *rows; /* place_n per worker: how often it holds each */
    uint32_t worker_n, place_n;
    void *own; /* not a zone's: ours */
};

_Static_assert(sizeof(struct splits_head) == LINE_BYTES, "what follows starts on a line");
_Static_assert(sizeof(struct splits_place) % 8 == 0, "places are aligned");

static uint32_t get32(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static uint64_t get64(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* Numbers of shared memory that become indexes: a process gone wild may have written any. */
static uint32_t sides_of(const struct splits_place *p)
{
    return RP_MIN(get32(&p->sides_n), (uint32_t)RP_SPLIT_SIDES);
}

static uint32_t steps_of(const struct splits_place *p)
{
    return RP_MIN(get32(&p->steps_n), (uint32_t)RP_SPLIT_STEPS);
}

static uint32_t base_of(const struct splits_place *p)
{
    return RP_MIN(get32(&p->base), (uint32_t)RP_SPLIT_SIDES - 1);
}

static uint32_t canary_of(const struct splits_place *p)
{
    return RP_MIN(get32(&p->canary), (uint32_t)RP_SPLIT_SIDES - 1);
}

static uint32_t step_of(const struct splits_place *p)
{
    return RP_MIN(get32(&p->step), (uint32_t)RP_SPLIT_STEPS - 1);
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool are_sane(uint32_t worker_n, uint32_t place_n)
{
    return worker_n >= 1 && worker_n <= WORKERS_MAX && place_n >= 1 && place_n <= PLACES_MAX;
}

size_t rp_splits_bytes(uint32_t worker_n, uint32_t place_n)
{
    return sizeof(struct splits_head) + sizeof(struct splits_place) * (size_t)place_n +
           sizeof(uint16_t) * (size_t)place_n * worker_n;
}

static struct rp_splits *attach(void *base, uint32_t worker_n, uint32_t place_n)
{
    struct rp_splits *s = rp_alloc(sizeof *s);
    s->head = base;
    s->places = (struct splits_place *)(void *)(s->head + 1);
    s->rows = (uint16_t *)(void *)(s->places + place_n);
    s->worker_n = worker_n;
    s->place_n = place_n;
    return s;
}

static bool lay_out(struct splits_head *head, uint32_t worker_n, uint32_t place_n)
{
    head->worker_n = worker_n;
    head->place_n = place_n;
    return rp_lock_make(&head->lock);
}

rp_err rp_splits_new(struct rp_zone *z, rp_str part, uint32_t worker_n, uint32_t place_n,
                     struct rp_splits **out)
{
    void *base;
    bool fresh;
    if (!are_sane(worker_n, place_n)) return RP_E_INVALID;
    rp_err e = rp_zone_part(z, part, rp_splits_bytes(worker_n, place_n), &base, &fresh);
    if (e != RP_OK) return e;
    struct splits_head *head = base;
    if (fresh && !lay_out(head, worker_n, place_n)) return RP_E_OS;
    if (head->worker_n != worker_n || head->place_n != place_n) return RP_E_INVALID;
    *out = attach(base, worker_n, place_n);
    return RP_OK;
}

struct rp_splits *rp_splits_own(uint32_t place_n)
{
    RP_CHECK(are_sane(1, place_n));
    void *base = rp_alloc(rp_splits_bytes(1, place_n));
    RP_CHECK(lay_out(base, 1, place_n));
    struct rp_splits *s = attach(base, 1, place_n);
    s->own = base;
    return s;
}

void rp_splits_free(struct rp_splits **s)
{
    if (*s) rp_free((*s)->own);
    rp_free(*s);
    *s = NULL;
}

/* RP_OK: taken. Who died inside left numbers that the next change puts right: positions are always
 * somebody's, as `version` moves last. */
static rp_err take(struct rp_splits *s)
{
    rp_err e = rp_lock_take(&s->head->lock);
    return e == RP_END ? rp_lock_mend(&s->head->lock) : e;
}

static void copy_counts(const struct rp_split_counts *from, struct rp_split_counts *to)
{
    to->requests = get64(&from->requests);
    to->failures = get64(&from->failures);
    to->timed = get64(&from->timed);
    for (uint32_t i = 0; i < RP_SPLIT_TIMES; i++) to->times[i] = get32(&from->times[i]);
}

/* ---- positions ------------------------------------------------------------------------------ */

/* What the sides have too much of is nobody's: the base gives its lowest, the others their highest. */
static void release(uint8_t *table, uint32_t sides_n, uint32_t base, const uint32_t *shares)
{
    uint32_t surplus[RP_SPLIT_SIDES] = {0};
    for (uint32_t at = 0; at < RP_SPLIT_POSITIONS; at++)
        if (table[at] < sides_n) surplus[table[at]]++;
        else table[at] = NOBODY;
    for (uint32_t i = 0; i < sides_n; i++) surplus[i] -= RP_MIN(surplus[i], shares[i]);
    for (uint32_t at = 0; at < RP_SPLIT_POSITIONS && surplus[base]; at++) {
        if (table[at] != base) continue;
        table[at] = NOBODY;
        surplus[base]--;
    }
    for (uint32_t at = RP_SPLIT_POSITIONS; at-- > 0;) {
        uint32_t side = table[at];
        if (side >= sides_n || !surplus[side]) continue;
        table[at] = NOBODY;
        surplus[side]--;
    }
}

/* ... and goes to those that have too little, the base last. */
static void fill(uint8_t *table, uint32_t sides_n, uint32_t base, const uint32_t *shares)
{
    uint32_t want[RP_SPLIT_SIDES], side = 0, at = 0;
    for (uint32_t i = 0; i < sides_n; i++) want[i] = shares[i];
    for (at = 0; at < RP_SPLIT_POSITIONS; at++)
        if (table[at] < sides_n) want[table[at]]--;
    for (at = 0; at < RP_SPLIT_POSITIONS; at++) {
        if (table[at] != NOBODY) continue;
        while (side < sides_n && (side == base || !want[side])) side++;
        uint32_t to = side < sides_n ? side : base;
        table[at] = (uint8_t)to;
        if (want[to]) want[to]--;
    }
}

/* How the counts stood: those of the new step begin here. */
static void mark(struct splits_place *p, uint64_t now_ms)
{
    p->since_ms = now_ms;
    for (uint32_t i = 0; i < RP_SPLIT_SIDES; i++) copy_counts(&p->now[i], &p->then[i]);
}

/* fresh: nothing of what the tables hold counts. */
static void deal(struct splits_place *p, const uint32_t *shares, bool fresh, uint64_t now_ms)
{
    uint32_t version = p->version;
    uint8_t *next = p->tables[(version + 1) & 1];
    if (fresh) memset(next, NOBODY, RP_SPLIT_POSITIONS);
    else memcpy(next, p->tables[version & 1], RP_SPLIT_POSITIONS);
    release(next, sides_of(p), base_of(p), shares);
    fill(next, sides_of(p), base_of(p), shares);
    for (uint32_t i = 0; i < sides_of(p); i++)
        __atomic_store_n(&p->shares[i], shares[i], __ATOMIC_RELAXED);
    __atomic_store_n(&p->version, version + 1, __ATOMIC_RELEASE);
    mark(p, now_ms);
}

uint32_t rp_splits_side(const struct rp_splits *s, uint32_t place, uint32_t position)
{
    RP_CHECK(place < s->place_n && position < RP_SPLIT_POSITIONS);
    const struct splits_place *p = &s->places[place];
    uint32_t version = __atomic_load_n(&p->version, __ATOMIC_ACQUIRE);
    return __atomic_load_n(&p->tables[version & 1][position], __ATOMIC_RELAXED);
}

/* ---- counts --------------------------------------------------------------------------------- */

/* Four classes to each doubling: 0..3 us have one each, then [2^k, 2^(k+1)) has four. */
static uint32_t class_of(uint64_t us)
{
    if (us < 4) return (uint32_t)us;
    uint32_t top = 63 - (uint32_t)__builtin_clzll(us);
    uint32_t class = (top - 1) * 4 + (uint32_t)(us >> (top - 2) & 3);
    return RP_MIN(class, RP_SPLIT_TIMES - 1u);
}

/* The first time that is not in the class any more. */
static uint64_t end_of(uint32_t class)
{
    if (class < 4) return class + 1;
    uint32_t top = class / 4 + 1;
    return (UINT64_C(5) + class % 4) << (top - 2);
}

void rp_splits_count(struct rp_splits *s, uint32_t place, uint32_t side, bool failed, uint64_t us)
{
    RP_CHECK(place < s->place_n && side < RP_SPLIT_SIDES);
    struct rp_split_counts *c = &s->places[place].now[side];
    __atomic_fetch_add(&c->requests, 1, __ATOMIC_RELAXED);
    if (failed) __atomic_fetch_add(&c->failures, 1, __ATOMIC_RELAXED);
    if (!us) return;
    __atomic_fetch_add(&c->timed, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&c->times[class_of(us)], 1, __ATOMIC_RELAXED);
}

uint64_t rp_split_quantile(const struct rp_split_counts *c, uint32_t per_million)
{
    uint64_t sum = 0, seen = 0;
    for (uint32_t i = 0; i < RP_SPLIT_TIMES; i++) sum += c->times[i];
    if (!sum) return 0;
    uint64_t rank = (sum * RP_MIN(per_million, 1000000u) + 999999) / 1000000;
    for (uint32_t i = 0; i < RP_SPLIT_TIMES; i++) {
        seen += c->times[i];
        if (seen >= RP_MAX(rank, 1u)) return end_of(i);
    }
    return end_of(RP_SPLIT_TIMES - 1);
}

/* Counts are read one after the other while others add: never less than nothing. */
static uint64_t more(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

static void subtract(struct rp_split_counts *c, const struct rp_split_counts *then)
{
    c->requests = more(c->requests, then->requests);
    c->failures = more(c->failures, then->failures);
    c->timed = more(c->timed, then->timed);
    for (uint32_t i = 0; i < RP_SPLIT_TIMES; i++) c->times[i] -= then->times[i]; /* mod 2^32 */
}

/* ---- places --------------------------------------------------------------------------------- */

static uint16_t *hold_of(const struct rp_splits *s, uint32_t worker, uint32_t place)
{
    RP_CHECK(worker < s->worker_n && place < s->place_n);
    return s->rows + (size_t)worker * s->place_n + place;
}

static bool is_held(const struct rp_splits *s, uint32_t place)
{
    uint32_t n = RP_MIN(__atomic_load_n(&s->head->top, __ATOMIC_ACQUIRE), s->worker_n);
    for (uint32_t w = 0; w < n; w++)
        if (__atomic_load_n(hold_of(s, w, place), __ATOMIC_RELAXED)) return true;
    return false;
}

static uint64_t fold(uint64_t sum, uint64_t more_bits)
{
    return rp_hash_mix(sum + UINT64_C(0x9e3779b97f4a7c15)) ^ rp_hash_mix(more_bits);
}

/* Not secret, and not to be: 128 bits of an own name are enough among places of one site. */
static void put_id(const struct rp_split_plan *plan, uint64_t id[2])
{
    struct rp_hash_key key = {.k0 = plan->sides_n, .k1 = plan->base};
    for (uint32_t half = 0; half < 2; half++) {
        id[half] = rp_hash_keyed(&key, plan->name);
        for (uint32_t i = 0; i < plan->sides_n; i++)
            id[half] = fold(id[half], rp_hash_keyed(&key, plan->sides[i]));
        key.k1 = ~key.k1;
    }
    id[1] |= 1;
}

/* Of the site's own numbers. */
static uint64_t tag_of(const struct rp_split_plan *plan)
{
    uint64_t tag = fold(plan->sides_n, plan->steps_n);
    for (uint32_t i = 0; i < plan->sides_n; i++) tag = fold(tag, plan->shares[i]);
    for (uint32_t i = 0; i < plan->steps_n; i++) tag = fold(tag, plan->steps[i]);
    return fold(tag, plan->steps_n ? plan->canary : 0);
}

static bool adds_up(const uint32_t *shares, uint32_t n)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += shares[i];
    return sum == RP_SPLIT_POSITIONS;
}

static bool is_sane(const struct rp_split_plan *plan)
{
    bool fits = plan->sides_n >= 1 && plan->sides_n <= RP_SPLIT_SIDES &&
                plan->base < plan->sides_n && plan->steps_n <= RP_SPLIT_STEPS;
    if (!fits || !adds_up(plan->shares, plan->sides_n)) return false;
    for (uint32_t i = 0; i < plan->steps_n; i++)
        if (plan->steps[i] > RP_SPLIT_POSITIONS) return false;
    return !plan->steps_n || (plan->canary < plan->sides_n && plan->canary != plan->base);
}

static void put_text(char *to, size_t room, rp_str text)
{
    size_t n = RP_MIN(text.len, room - 1);
    if (n) memcpy(to, text.ptr, n);
    to[n] = 0;
}

/* The canary has that much, the base the rest. */
static void deal_step(struct splits_place *p, uint32_t share, bool fresh, uint64_t now_ms)
{
    uint32_t shares[RP_SPLIT_SIDES] = {0};
    share = RP_MIN(share, (uint32_t)RP_SPLIT_POSITIONS);
    shares[canary_of(p)] = share;
    shares[base_of(p)] = RP_SPLIT_POSITIONS - share;
    deal(p, shares, fresh, now_ms);
}

/* What the site says, from its begin. */
static void begin(struct splits_place *p, bool fresh, uint64_t now_ms)
{
    uint32_t steps_n = steps_of(p);
    p->state = steps_n ? RP_ROLLOUT_RUNS : RP_ROLLOUT_NONE;
    p->step = 0;
    p->why[0] = 0;
    if (steps_n == 1) p->state = RP_ROLLOUT_DONE;
    if (steps_n) deal_step(p, p->steps[0], fresh, now_ms);
    else deal(p, p->said, fresh, now_ms);
}

static void take_plan(struct splits_place *p, const struct rp_split_plan *plan)
{
    p->tag = tag_of(plan);
    p->canary = plan->canary;
    p->steps_n = plan->steps_n;
    memcpy(p->steps, plan->steps, sizeof p->steps);
    memcpy(p->said, plan->shares, sizeof p->said);
}

/* It is this split's from now on. */
static void settle(struct rp_splits *s, struct splits_place *p, const uint64_t id[2],
                   const struct rp_split_plan *plan, uint64_t now_ms)
{
    memset(p, 0, offsetof(struct splits_place, tables)); /* nobody holds it, nobody reads it */
    p->id_high = id[0];
    p->id_low = id[1];
    p->born = ++s->head->born;
    p->generation = plan->generation;
    p->sides_n = plan->sides_n;
    p->base = plan->base;
    put_text(p->name, sizeof p->name, plan->name);
    for (uint32_t i = 0; i < plan->sides_n; i++)
        put_text(p->sides[i], sizeof p->sides[i], plan->sides[i]);
    take_plan(p, plan);
    begin(p, true, now_ms);
}

static rp_err find_place(struct rp_splits *s, const struct rp_split_plan *plan, uint64_t now_ms,
                         uint32_t *place)
{
    uint64_t id[2];
    uint32_t found = UINT32_MAX;
    put_id(plan, id);
    for (uint32_t i = 0; i < s->place_n; i++) {
        const struct splits_place *p = &s->places[i];
        *place = i;
        if (p->id_high == id[0] && p->id_low == id[1]) return RP_OK;
        bool unused = p->id_low == 0;
        bool better = found == UINT32_MAX || (unused && s->places[found].id_low != 0);
        if (better && (unused || !is_held(s, i))) found = i;
        if (unused) break; /* nobody is behind it */
    }
    if (found == UINT32_MAX) return RP_E_CAP;
    settle(s, &s->places[found], id, plan, now_ms);
    *place = found;
    return RP_OK;
}

rp_err rp_splits_hold(struct rp_splits *s, uint32_t worker, const struct rp_split_plan *plan,
                      uint64_t now_ms, uint32_t *place)
{
    if (!is_sane(plan)) return RP_E_INVALID;
    rp_err e = take(s);
    if (e < 0) return e;
    if (worker >= s->head->top) __atomic_store_n(&s->head->top, worker + 1, __ATOMIC_RELEASE);
    e = find_place(s, plan, now_ms, place);
    if (e == RP_OK) {
        struct splits_place *p = &s->places[*place];
        bool left = !is_held(s, *place) && plan->generation > p->generation; /* a reload had none */
        if (p->tag != tag_of(plan) || left) {
            take_plan(p, plan);
            begin(p, left, now_ms);
        }
        if (left) p->born = ++s->head->born;
        p->generation = RP_MAX(p->generation, plan->generation);
        uint16_t *hold = hold_of(s, worker, *place);
        if (*hold < UINT16_MAX) __atomic_store_n(hold, (uint16_t)(*hold + 1), __ATOMIC_RELAXED);
    }
    rp_lock_leave(&s->head->lock);
    return e;
}

void rp_splits_drop(struct rp_splits *s, uint32_t worker, uint32_t place)
{
    uint16_t *hold = hold_of(s, worker, place);
    if (*hold) __atomic_store_n(hold, (uint16_t)(*hold - 1), __ATOMIC_RELEASE);
}

void rp_splits_forget(struct rp_splits *s, uint32_t worker)
{
    if (worker >= get32(&s->head->top)) return;
    for (uint32_t i = 0; i < s->place_n; i++)
        __atomic_store_n(hold_of(s, worker, i), 0, __ATOMIC_RELEASE);
}

/* ---- looking -------------------------------------------------------------------------------- */

static void report_side(const struct splits_place *p, uint32_t side, struct rp_split_side *out)
{
    memcpy(out->name, p->sides[side], sizeof out->name);
    out->name[sizeof out->name - 1] = 0;
    out->share = get32(&p->shares[side]);
    out->said = p->said[side];
    copy_counts(&p->now[side], &out->all);
    out->step = out->all;
    subtract(&out->step, &p->then[side]);
}

bool rp_splits_look(const struct rp_splits *s, uint32_t place, struct rp_split_report *out)
{
    if (place >= s->place_n || !s->places[place].id_low || !is_held(s, place)) return false;
    const struct splits_place *p = &s->places[place];
    *out = (struct rp_split_report){.place = place,
                                    .sides_n = sides_of(p),
                                    .base = base_of(p),
                                    .canary = canary_of(p),
                                    .state = RP_MIN(get32(&p->state), (uint32_t)RP_ROLLOUT_DONE),
                                    .step = step_of(p),
                                    .steps_n = steps_of(p),
                                    .since_ms = get64(&p->since_ms),
                                    .born = p->born};
    memcpy(out->steps, p->steps, sizeof out->steps);
    memcpy(out->name, p->name, sizeof out->name - 1);
    memcpy(out->why, p->why, sizeof out->why - 1);
    for (uint32_t i = 0; i < out->sides_n; i++) report_side(p, i, &out->sides[i]);
    return true;
}

bool rp_splits_next(const struct rp_splits *s, uint32_t *at, struct rp_split_report *out)
{
    while (*at < s->place_n)
        if (rp_splits_look(s, (*at)++, out)) return true;
    return false;
}

bool rp_splits_find(const struct rp_splits *s, rp_str name, uint32_t *place)
{
    uint64_t born = 0;
    char cut[RP_SPLIT_NAME_BYTES];
    put_text(cut, sizeof cut, name);
    for (uint32_t i = 0; i < s->place_n; i++) {
        const struct splits_place *p = &s->places[i];
        if (p->born <= born || memcmp(p->name, cut, strlen(cut) + 1) != 0 || !is_held(s, i))
            continue;
        born = p->born;
        *place = i;
    }
    return born > 0;
}

/* ---- changing ------------------------------------------------------------------------------- */

static void say_why(struct splits_place *p, const char *what, rp_str why)
{
    put_text(p->why, sizeof p->why, why.len ? why : rp_str_z(what));
}

rp_err rp_splits_set(struct rp_splits *s, uint32_t place, const uint32_t *shares, uint32_t shares_n,
                     uint64_t now_ms)
{
    RP_CHECK(place < s->place_n);
    struct splits_place *p = &s->places[place];
    rp_err e = take(s);
    if (e < 0) return e;
    if (shares_n == sides_of(p) && adds_up(shares, shares_n)) {
        if (p->state == RP_ROLLOUT_RUNS) p->state = RP_ROLLOUT_PAUSED;
        if (p->steps_n) say_why(p, "shares set by the operator", RP_STR(""));
        deal(p, shares, false, now_ms);
    } else {
        e = RP_E_INVALID;
    }
    rp_lock_leave(&s->head->lock);
    return e;
}

rp_err rp_splits_reset(struct rp_splits *s, uint32_t place, uint64_t now_ms)
{
    RP_CHECK(place < s->place_n);
    rp_err e = take(s);
    if (e < 0) return e;
    begin(&s->places[place], false, now_ms);
    rp_lock_leave(&s->head->lock);
    return RP_OK;
}

/* To a step, and on from there. */
static void go_to(struct splits_place *p, uint32_t step, rp_str why, uint64_t now_ms)
{
    bool last = step + 1 >= steps_of(p);
    step = RP_MIN(step, (uint32_t)RP_SPLIT_STEPS - 1);
    p->step = step;
    p->state = last ? RP_ROLLOUT_DONE : RP_ROLLOUT_RUNS;
    say_why(p, "", why);
    deal_step(p, p->steps[step], false, now_ms);
}

/* The first step that gives the canary no less than it has. */
static uint32_t step_of_share(const struct splits_place *p)
{
    uint32_t step = 0;
    while (step + 1 < steps_of(p) && p->steps[step] < p->shares[canary_of(p)]) step++;
    return step;
}

/* The first that gives it more. */
static uint32_t step_above(const struct splits_place *p)
{
    uint32_t step = 0;
    while (step + 1 < steps_of(p) && p->steps[step] <= p->shares[canary_of(p)]) step++;
    return step;
}

static rp_err obey(struct splits_place *p, enum rp_split_word word, rp_str why, uint64_t now_ms)
{
    bool runs = p->state == RP_ROLLOUT_RUNS;
    switch (word) {
    case RP_SPLIT_PAUSE:
        if (!runs) return RP_E_INVALID;
        p->state = RP_ROLLOUT_PAUSED;
        say_why(p, "paused by the operator", why);
        return RP_OK;
    case RP_SPLIT_RESUME:
        if (runs || p->state == RP_ROLLOUT_DONE) return RP_E_INVALID;
        go_to(p, p->state == RP_ROLLOUT_BACK ? 0 : step_of_share(p), why, now_ms);
        return RP_OK;
    case RP_SPLIT_ROLLBACK:
        p->state = RP_ROLLOUT_BACK;
        p->step = 0;
        say_why(p, "by the operator", why);
        deal_step(p, 0, false, now_ms);
        return RP_OK;
    case RP_SPLIT_PROMOTE:
        if (p->state == RP_ROLLOUT_DONE) return RP_E_INVALID;
        go_to(p, step_above(p), why, now_ms);
        return RP_OK;
    }
    return RP_E_INVALID;
}

rp_err rp_splits_say(struct rp_splits *s, uint32_t place, enum rp_split_word word, uint32_t step,
                     rp_str why, uint64_t now_ms)
{
    RP_CHECK(place < s->place_n);
    struct splits_place *p = &s->places[place];
    rp_err e = take(s);
    if (e < 0) return e;
    if (!p->steps_n) e = RP_E_INVALID;
    else if (step != UINT32_MAX && (p->state != RP_ROLLOUT_RUNS || p->step != step)) e = RP_E_STALE;
    else e = obey(p, word, why, now_ms);
    rp_lock_leave(&s->head->lock);
    return e;
}
