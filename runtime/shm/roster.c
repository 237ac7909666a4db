/* SPDX-License-Identifier: MIT
 *
 * roster: head, places, a row of counts per worker, in this order in the part. Sizes come from the
 * handle, never from shared memory.
 *
 * Invariants: 1 a row is written by its worker, and by the master after its death. 2 Places change
 * their peer under the lock, and only such as no row holds. 3 A fact is one word; nothing is worked
 * out from two of them that were read at different times and must fit together.
 */
#include "shm/roster.h"

#include "base/hash.h"
#include "base/mem.h"
#include "shm/lock.h"

enum {
    LINE_BYTES = 128,
    WORKERS_MAX = 65535,
    PLACES_MAX = 1 << 20,
    WINDOW = 64, /* places that one id may take */
};

struct roster_head {
    uint32_t worker_n, place_n;
    struct rp_hash_key key;
    uint32_t top; /* no worker from this number on was ever there */
    uint32_t spare;
    pthread_mutex_t lock;
    char fill[LINE_BYTES - 32 - sizeof(pthread_mutex_t)];
    uint64_t epoch; /* read with every choice, written seldom: a line of its own */
    char fill2[LINE_BYTES - 8];
};

struct roster_id {
    uint64_t high, low; /* low is odd: a place that was never used has none */
};

struct roster_place {
    struct roster_id id;
    uint64_t latency;
    uint64_t rest_until_ms, up_since_ms;
    uint32_t health, order, weight, fails, ejections;
    char fill[LINE_BYTES - 60];
    char upstream[RP_ROSTER_UPSTREAM_BYTES], peer[RP_ROSTER_PEER_BYTES]; /* for people */
};

struct roster_count {
    uint32_t in_flight, held;
    uint64_t requests, failures;
    uint64_t spare;
};

struct rp_roster {
    struct roster_head *head;
    struct roster_place *places;
    struct roster_count *rows; /* place_n per worker */
    uint32_t worker_n, place_n;
    struct rp_hash_key key;
    void *own; /* not a zone's: ours */
};

_Static_assert(sizeof(struct roster_head) == 2 * LINE_BYTES, "what follows starts on a line");
_Static_assert(sizeof(struct roster_place) == 2 * LINE_BYTES, "peers do not share lines");
_Static_assert(sizeof(struct roster_count) == 32, "two to a line");

/* ---- words ---------------------------------------------------------------------------------- */

static uint32_t get32(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static uint64_t get64(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void put32(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static void put64(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static bool swap64(uint64_t *word, uint64_t was, uint64_t is)
{
    return __atomic_compare_exchange_n(word, &was, is, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool are_sane(uint32_t worker_n, uint32_t place_n)
{
    return worker_n >= 1 && worker_n <= WORKERS_MAX && place_n >= RP_ROSTER_PLACES_MIN &&
           place_n <= PLACES_MAX && (place_n & (place_n - 1)) == 0;
}

size_t rp_roster_bytes(uint32_t worker_n, uint32_t place_n)
{
    return sizeof(struct roster_head) + sizeof(struct roster_place) * (size_t)place_n +
           sizeof(struct roster_count) * (size_t)place_n * worker_n;
}

static struct rp_roster *attach(void *base, uint32_t worker_n, uint32_t place_n)
{
    struct rp_roster *r = rp_alloc(sizeof *r);
    r->head = base;
    r->places = (struct roster_place *)(void *)(r->head + 1);
    r->rows = (struct roster_count *)(void *)(r->places + place_n);
    r->worker_n = worker_n;
    r->place_n = place_n;
    r->key = r->head->key;
    return r;
}

static bool lay_out(struct roster_head *head, uint32_t worker_n, uint32_t place_n)
{
    head->worker_n = worker_n;
    head->place_n = place_n;
    head->epoch = 1;
    rp_hash_key_draw(&head->key);
    return rp_lock_make(&head->lock);
}

rp_err rp_roster_new(struct rp_zone *z, rp_str part, uint32_t worker_n, uint32_t place_n,
                     struct rp_roster **out)
{
    void *base;
    bool fresh;
    if (!are_sane(worker_n, place_n)) return RP_E_INVALID;
    rp_err e = rp_zone_part(z, part, rp_roster_bytes(worker_n, place_n), &base, &fresh);
    if (e != RP_OK) return e;
    struct roster_head *head = base;
    if (fresh && !lay_out(head, worker_n, place_n)) return RP_E_OS;
    if (head->worker_n != worker_n || head->place_n != place_n) return RP_E_INVALID;
    *out = attach(base, worker_n, place_n);
    return RP_OK;
}

struct rp_roster *rp_roster_own(uint32_t place_n)
{
    RP_CHECK(are_sane(1, place_n));
    void *base = rp_alloc(rp_roster_bytes(1, place_n));
    RP_CHECK(lay_out(base, 1, place_n));
    struct rp_roster *r = attach(base, 1, place_n);
    r->own = base;
    rp_roster_forget(r, 0);
    return r;
}

void rp_roster_free(struct rp_roster **r)
{
    if (*r) rp_free((*r)->own);
    rp_free(*r);
    *r = NULL;
}

struct rp_hash_key rp_roster_key(const struct rp_roster *r)
{
    return (struct rp_hash_key){.k0 = ~r->key.k1, .k1 = r->key.k0 + 1}; /* not that of the ids */
}

/* ---- places --------------------------------------------------------------------------------- */

static struct roster_count *count_of(const struct rp_roster *r, uint32_t worker, uint32_t place)
{
    RP_CHECK(worker < r->worker_n && place < r->place_n);
    return r->rows + (size_t)worker * r->place_n + place;
}

static struct roster_place *place_of(const struct rp_roster *r, uint32_t place)
{
    RP_CHECK(place < r->place_n);
    return &r->places[place];
}

static uint32_t workers_seen(const struct rp_roster *r)
{
    return RP_MIN(__atomic_load_n(&r->head->top, __ATOMIC_ACQUIRE), r->worker_n);
}

static void tell(struct rp_roster *r)
{
    __atomic_fetch_add(&r->head->epoch, 1, __ATOMIC_RELEASE);
}

uint64_t rp_roster_epoch(const struct rp_roster *r)
{
    return __atomic_load_n(&r->head->epoch, __ATOMIC_ACQUIRE);
}

/* Of a peer, the same in all processes of the instance. */
static struct roster_id id_of(const struct rp_roster *r, rp_str upstream, rp_str peer)
{
    struct rp_hash_key other = {.k0 = r->key.k1 ^ rp_hash_keyed(&r->key, upstream),
                                .k1 = r->key.k0};
    struct roster_id id = {.high = rp_hash_keyed(&other, peer)};
    other.k1 = ~other.k1;
    id.low = rp_hash_keyed(&other, peer) | 1;
    return id;
}

static bool is_held(const struct rp_roster *r, uint32_t place)
{
    uint32_t n = workers_seen(r);
    for (uint32_t w = 0; w < n; w++) {
        const struct roster_count *c = count_of(r, w, place);
        if (get32(&c->held) || get32(&c->in_flight)) return true;
    }
    return false;
}

static void put_name(char *to, size_t room, rp_str name)
{
    size_t n = RP_MIN(name.len, room - 1);
    memcpy(to, name.ptr, n);
    to[n] = 0;
}

/* It is another peer's from now on. */
static void settle(struct rp_roster *r, uint32_t place, struct roster_id id, rp_str upstream,
                   rp_str peer)
{
    uint32_t n = workers_seen(r);
    struct roster_place *p = &r->places[place];
    *p = (struct roster_place){.id = id, .weight = UINT32_MAX};
    put_name(p->upstream, sizeof p->upstream, upstream);
    put_name(p->peer, sizeof p->peer, peer);
    for (uint32_t w = 0; w < n; w++) {
        struct roster_count *c = count_of(r, w, place);
        if (get64(&c->requests)) *c = (struct roster_count){0};
    }
}

static rp_err find_place(struct rp_roster *r, rp_str upstream, rp_str peer, uint32_t *place,
                         bool *fresh)
{
    struct roster_id id = id_of(r, upstream, peer);
    uint32_t first = (uint32_t)id.high & (r->place_n - 1), found = UINT32_MAX;
    for (uint32_t i = 0; i < WINDOW; i++) {
        uint32_t at = (first + i) & (r->place_n - 1);
        const struct roster_place *p = &r->places[at];
        *place = at;
        *fresh = false;
        if (p->id.high == id.high && p->id.low == id.low) return RP_OK;
        /* One that was never used is better than one whose peer may come back. */
        bool unused = p->id.low == 0;
        bool better = found == UINT32_MAX || (unused && r->places[found].id.low != 0);
        if (better && (unused || !is_held(r, at))) found = at;
    }
    if (found == UINT32_MAX) return RP_E_CAP;
    settle(r, found, id, upstream, peer);
    *place = found;
    *fresh = true;
    return RP_OK;
}

bool rp_roster_find(const struct rp_roster *r, rp_str upstream, rp_str peer, uint32_t *place)
{
    struct roster_id id = id_of(r, upstream, peer);
    for (uint32_t i = 0; i < WINDOW; i++) {
        *place = ((uint32_t)id.high + i) & (r->place_n - 1);
        const struct roster_place *p = &r->places[*place];
        if (p->id.high == id.high && p->id.low == id.low) return is_held(r, *place);
    }
    return false;
}

rp_err rp_roster_hold(struct rp_roster *r, uint32_t worker, rp_str upstream, rp_str peer,
                      uint32_t *place, bool *fresh)
{
    rp_err taken = rp_lock_take(&r->head->lock);
    /* Who died inside left a place old or new, or new and partly cleared: all are whole. */
    if (taken == RP_END) taken = rp_lock_mend(&r->head->lock);
    if (taken < 0) return taken;
    rp_err e = find_place(r, upstream, peer, place, fresh);
    if (e == RP_OK) {
        struct roster_count *c = count_of(r, worker, *place);
        put32(&c->held, get32(&c->held) + 1);
    }
    rp_lock_leave(&r->head->lock);
    return e;
}

void rp_roster_drop(struct rp_roster *r, uint32_t worker, uint32_t place)
{
    struct roster_count *c = count_of(r, worker, place);
    uint32_t n = get32(&c->held);
    if (n > 0) __atomic_store_n(&c->held, n - 1, __ATOMIC_RELEASE);
}

void rp_roster_forget(struct rp_roster *r, uint32_t worker)
{
    RP_CHECK(worker < r->worker_n);
    uint32_t top = get32(&r->head->top);
    for (uint32_t i = 0; worker < top && i < r->place_n; i++) {
        struct roster_count *c = count_of(r, worker, i);
        if (!get32(&c->held) && !get32(&c->in_flight)) continue;
        put32(&c->in_flight, 0);
        put32(&c->held, 0);
    }
    while (top < worker + 1 && !__atomic_compare_exchange_n(&r->head->top, &top, worker + 1, false,
                                                            __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {}
}

/* ---- requests ------------------------------------------------------------------------------- */

void rp_roster_enter(struct rp_roster *r, uint32_t worker, uint32_t place)
{
    struct roster_count *c = count_of(r, worker, place);
    put32(&c->in_flight, get32(&c->in_flight) + 1);
    put64(&c->requests, get64(&c->requests) + 1);
}

void rp_roster_count_failure(struct rp_roster *r, uint32_t worker, uint32_t place)
{
    struct roster_count *c = count_of(r, worker, place);
    put64(&c->failures, get64(&c->failures) + 1);
}

void rp_roster_leave(struct rp_roster *r, uint32_t worker, uint32_t place, bool failed)
{
    struct roster_count *c = count_of(r, worker, place);
    uint32_t n = get32(&c->in_flight);
    if (failed) rp_roster_count_failure(r, worker, place);
    if (n > 0) put32(&c->in_flight, n - 1); /* whatever a worker gone wild has written */
}

uint32_t rp_roster_in_flight(const struct rp_roster *r, uint32_t place)
{
    uint32_t sum = 0, n = workers_seen(r);
    for (uint32_t w = 0; w < n; w++) sum += get32(&count_of(r, w, place)->in_flight);
    return sum;
}

struct rp_roster_totals rp_roster_totals(const struct rp_roster *r, uint32_t place)
{
    struct rp_roster_totals sum = {0};
    uint32_t n = workers_seen(r);
    for (uint32_t w = 0; w < n; w++) {
        const struct roster_count *c = count_of(r, w, place);
        sum.in_flight += get32(&c->in_flight);
        sum.requests += get64(&c->requests);
        sum.failures += get64(&c->failures);
    }
    return sum;
}

uint64_t rp_roster_latency(const struct rp_roster *r, uint32_t place)
{
    return get64(&place_of(r, place)->latency);
}

bool rp_roster_swap_latency(struct rp_roster *r, uint32_t place, uint64_t was, uint64_t is)
{
    return swap64(&place_of(r, place)->latency, was, is);
}

/* ---- facts ---------------------------------------------------------------------------------- */

struct rp_roster_facts rp_roster_facts(const struct rp_roster *r, uint32_t place)
{
    const struct roster_place *p = place_of(r, place);
    return (struct rp_roster_facts){
        .health = (uint8_t)get32(&p->health),
        .order = (uint8_t)get32(&p->order),
        .weight = get32(&p->weight),
        .fails = get32(&p->fails),
        .ejections = get32(&p->ejections),
        .rest_until_ms = get64(&p->rest_until_ms),
        .up_since_ms = get64(&p->up_since_ms),
    };
}

uint32_t rp_roster_fail(struct rp_roster *r, uint32_t place)
{
    return __atomic_add_fetch(&place_of(r, place)->fails, 1, __ATOMIC_RELAXED);
}

void rp_roster_succeed(struct rp_roster *r, uint32_t place)
{
    uint32_t *fails = &place_of(r, place)->fails;
    if (get32(fails)) put32(fails, 0); /* the line is shared: seldom written */
}

bool rp_roster_rest(struct rp_roster *r, uint32_t place, uint64_t now_ms, uint64_t until_ms)
{
    struct roster_place *p = place_of(r, place);
    uint64_t was = get64(&p->rest_until_ms);
    if (was > now_ms || !swap64(&p->rest_until_ms, was, until_ms)) return false;
    put64(&p->up_since_ms, until_ms); /* it starts slowly then */
    __atomic_add_fetch(&p->ejections, 1, __ATOMIC_RELAXED);
    tell(r);
    return true;
}

void rp_roster_forgive(struct rp_roster *r, uint32_t place)
{
    uint32_t *ejections = &place_of(r, place)->ejections;
    if (get32(ejections)) put32(ejections, 0);
}

bool rp_roster_set_health(struct rp_roster *r, uint32_t place, enum rp_roster_health health,
                          uint64_t now_ms)
{
    struct roster_place *p = place_of(r, place);
    uint32_t was = __atomic_exchange_n(&p->health, (uint32_t)health, __ATOMIC_ACQ_REL);
    if (was == (uint32_t)health) return false;
    if (was == RP_ROSTER_FAILING) put64(&p->up_since_ms, now_ms);
    tell(r);
    return true;
}

bool rp_roster_set_order(struct rp_roster *r, uint32_t place, enum rp_roster_order order,
                         uint64_t now_ms)
{
    struct roster_place *p = place_of(r, place);
    uint32_t was = __atomic_exchange_n(&p->order, (uint32_t)order, __ATOMIC_ACQ_REL);
    if (was == (uint32_t)order) return false;
    if (order == RP_ROSTER_READY) put64(&p->up_since_ms, now_ms);
    tell(r);
    return true;
}

void rp_roster_set_weight(struct rp_roster *r, uint32_t place, uint32_t weight)
{
    if (__atomic_exchange_n(&place_of(r, place)->weight, weight, __ATOMIC_ACQ_REL) != weight)
        tell(r);
}

/* ---- telling -------------------------------------------------------------------------------- */

bool rp_roster_next(const struct rp_roster *r, uint32_t *at, struct rp_roster_report *out)
{
    while (*at < r->place_n) {
        uint32_t place = (*at)++;
        const struct roster_place *p = &r->places[place];
        if (p->id.low == 0 || !is_held(r, place)) continue;
        out->place = place;
        memcpy(out->upstream, p->upstream, sizeof out->upstream);
        memcpy(out->peer, p->peer, sizeof out->peer);
        out->upstream[sizeof out->upstream - 1] = out->peer[sizeof out->peer - 1] = 0;
        out->facts = rp_roster_facts(r, place);
        out->totals = rp_roster_totals(r, place);
        out->latency_us = (uint32_t)rp_roster_latency(r, place);
        return true;
    }
    return false;
}
