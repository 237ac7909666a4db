/* SPDX-License-Identifier: MIT
 *
 * roster: head, places, a row of counts per worker, in this order in the part. Sizes come from the
 * handle, never from shared memory.
 *
 * Invariants: 1 a row is written by its worker, and by the master after its death. 2 Places change
 * their peer under the lock, and only such as no row holds. 3 A fact is one word; nothing is worked
 * out from two of them that were read at different times and must fit together.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "shm/lock.h"
#include "shm/roster_in.h"

enum {
    WORKERS_MAX = 65535,
    PLACES_MAX = 1 << 20,
    WINDOW = 64,         /* places that one id may take */
    MEETINGS = 64,       /* with others that want the last seat, before it is theirs */
    UTF8_MORE = 3,       /* bytes of a character behind its first */
    PASTS_PER_PLACE = 4, /* 2,560 bytes each where they are used */
};

_Static_assert(sizeof(struct roster_head) == 2 * RP_ROSTER_LINE, "what follows starts on a line");
_Static_assert(sizeof(struct roster_place) == 2 * RP_ROSTER_LINE, "peers do not share lines");
_Static_assert(sizeof(struct roster_gate) == 9 * RP_ROSTER_LINE, "gates do not share lines");
_Static_assert(sizeof(struct roster_past) == 20 * RP_ROSTER_LINE, "workers do not share lines");
_Static_assert(sizeof(struct roster_count) == 32, "four to a line");

/* ---- words ---------------------------------------------------------------------------------- */

static uint32_t get32(const uint32_t *word)
{
    return rp_roster_get32(word);
}

static uint64_t get64(const uint64_t *word)
{
    return rp_roster_get64(word);
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
    return rp_roster_swap64(word, was, is);
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool are_sane(uint32_t worker_n, uint32_t place_n)
{
    return worker_n >= 1 && worker_n <= WORKERS_MAX && place_n >= RP_ROSTER_PLACES_MIN &&
           place_n <= PLACES_MAX && (place_n & (place_n - 1)) == 0;
}

/* Room for the past of each place by some workers, of those that have one. */
static uint32_t pasts_of(uint32_t worker_n, uint32_t place_n)
{
    return place_n * RP_MIN(worker_n, (uint32_t)PASTS_PER_PLACE);
}

static uint32_t gates_of(uint32_t place_n)
{
    return RP_MIN(place_n / 4, (uint32_t)RP_GATES_MAX);
}

size_t rp_roster_bytes(uint32_t worker_n, uint32_t place_n)
{
    return sizeof(struct roster_head) + sizeof(struct roster_place) * (size_t)place_n +
           sizeof(struct roster_gate) * (size_t)gates_of(place_n) +
           sizeof(struct roster_past) * (size_t)pasts_of(worker_n, place_n) +
           sizeof(struct roster_count) * (size_t)place_n * worker_n;
}

static struct rp_roster *attach(void *base, uint32_t worker_n, uint32_t place_n)
{
    struct rp_roster *r = rp_alloc(sizeof *r);
    r->head = base;
    r->places = (struct roster_place *)(void *)(r->head + 1);
    r->worker_n = worker_n;
    r->place_n = place_n;
    r->gate_n = gates_of(place_n);
    r->past_n = pasts_of(worker_n, place_n);
    r->gates = (struct roster_gate *)(void *)(r->places + place_n);
    r->pasts = (struct roster_past *)(void *)(r->gates + r->gate_n);
    r->rows = (struct roster_count *)(void *)(r->pasts + r->past_n);
    r->key = r->head->key;
    return r;
}

static bool lay_out(struct roster_head *head, uint32_t worker_n, uint32_t place_n)
{
    head->worker_n = worker_n;
    head->place_n = place_n;
    head->epoch = 1;
    head->region = RP_ROSTER_PLACES_MIN;
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
    return rp_roster_count_of(r, worker, place);
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

void rp_roster_touch(struct rp_roster *r)
{
    tell(r);
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

bool rp_roster_is_held(const struct rp_roster *r, uint32_t place)
{
    uint32_t n = workers_seen(r);
    for (uint32_t w = 0; w < n; w++) {
        const struct roster_count *c = count_of(r, w, place);
        if (get32(&c->held) || get32(&c->in_flight)) return true;
    }
    return false;
}

static struct roster_past *past_of(const struct rp_roster *r, const struct roster_count *c)
{
    uint32_t i = get32(&c->past);
    return i > 0 && i <= r->past_n ? &r->pasts[i - 1] : NULL;
}

/* A name that is too long is cut between two characters: what metrics say is UTF-8. */
static void put_name(char *to, size_t room, rp_str name)
{
    size_t n = RP_MIN(name.len, room - 1);
    for (int i = 0; i < UTF8_MORE && n < name.len && n > 0; i++)
        n -= ((unsigned char)name.ptr[n] & 0xc0) == 0x80;
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
        struct roster_past *past = past_of(r, c);
        if (past) memset(past, 0, sizeof *past);
        if (get64(&c->requests)) *c = (struct roster_count){.past = c->past};
    }
}

/* Few peers lie close together, so that most of the memory is never touched: new ones are put into a
 * region of the places until half of it was used, then into one behind it that is as large as all
 * before. The first ends at RP_ROSTER_PLACES_MIN; head->region is where the present one ends. */
struct region {
    uint32_t from, n;
};

/* *end: of the region, then of the one before. False: there is none. */
static bool next_region(const struct rp_roster *r, uint32_t *end, struct region *out)
{
    if (*end < RP_ROSTER_PLACES_MIN || *end > r->place_n) return false;
    bool whole = *end == RP_ROSTER_PLACES_MIN || get32(&r->head->region) == 0;
    *out = (struct region){whole ? 0 : *end / 2, whole ? *end : *end / 2};
    *end = whole ? 0 : *end / 2;
    return true;
}

/* 0: laid out by a version that knew one region only. */
static uint32_t region_end(const struct rp_roster *r)
{
    uint32_t end = get32(&r->head->region);
    return end && (end & (end - 1)) == 0 ? end : r->place_n;
}

static uint32_t place_in(const struct region *in, struct roster_id id, uint32_t i)
{
    return in->from + (((uint32_t)id.high + i) & (in->n - 1));
}

static bool find_id(const struct rp_roster *r, struct roster_id id, uint32_t *place)
{
    struct region in;
    for (uint32_t end = region_end(r); next_region(r, &end, &in);) {
        for (uint32_t i = 0; i < WINDOW; i++) {
            *place = place_in(&in, id, i);
            const struct roster_place *p = &r->places[*place];
            if (p->id.high == id.high && p->id.low == id.low) return true;
        }
    }
    return false;
}

/* In that region. One that was never used is better than one whose peer may come back. */
static uint32_t free_in(const struct rp_roster *r, const struct region *in, struct roster_id id)
{
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < WINDOW; i++) {
        uint32_t at = place_in(in, id, i);
        if (r->places[at].id.low == 0) return at;
        if (found == UINT32_MAX && !rp_roster_is_held(r, at)) found = at;
    }
    return found;
}

/* Half of the present region was used, and there is room for another one. */
static bool wants_region(const struct rp_roster *r)
{
    uint32_t end = get32(&r->head->region);
    struct region in;
    return end && end < r->place_n && next_region(r, &end, &in) && r->head->used_n >= in.n / 2;
}

static uint32_t find_free(const struct rp_roster *r, struct roster_id id)
{
    uint32_t found = UINT32_MAX;
    struct region in;
    if (wants_region(r)) {
        put32(&r->head->region, region_end(r) * 2);
        r->head->used_n = 0;
    }
    for (uint32_t end = region_end(r); found == UINT32_MAX && next_region(r, &end, &in);)
        found = free_in(r, &in, id);
    return found;
}

static rp_err find_place(struct rp_roster *r, rp_str upstream, rp_str peer, uint32_t *place,
                         bool *fresh)
{
    struct roster_id id = id_of(r, upstream, peer);
    *fresh = !find_id(r, id, place);
    if (!*fresh) return RP_OK;
    *place = find_free(r, id);
    if (*place == UINT32_MAX) return RP_E_CAP;
    if (r->places[*place].id.low == 0) r->head->used_n++;
    settle(r, *place, id, upstream, peer);
    return RP_OK;
}

bool rp_roster_find(const struct rp_roster *r, rp_str upstream, rp_str peer, uint32_t *place)
{
    return find_id(r, id_of(r, upstream, peer), place) && rp_roster_is_held(r, *place);
}

rp_err rp_roster_hold_as(struct rp_roster *r, uint32_t worker, rp_str upstream, rp_str peer,
                         rp_err (*make)(struct rp_roster *, uint32_t place), uint32_t *place,
                         bool *fresh)
{
    rp_err taken = rp_lock_take(&r->head->lock);
    /* Who died inside left a place old or new, or new and partly cleared: all are whole. */
    if (taken == RP_END) taken = rp_lock_mend(&r->head->lock);
    if (taken < 0) return taken;
    rp_err e = find_place(r, upstream, peer, place, fresh);
    if (e == RP_OK && make) e = make(r, *place);
    if (e == RP_OK) {
        struct roster_count *c = count_of(r, worker, *place);
        put32(&c->held, get32(&c->held) + 1);
    }
    rp_lock_leave(&r->head->lock);
    return e;
}

rp_err rp_roster_hold(struct rp_roster *r, uint32_t worker, rp_str upstream, rp_str peer,
                      uint32_t *place, bool *fresh)
{
    return rp_roster_hold_as(r, worker, upstream, peer, NULL, place, fresh);
}

rp_err rp_roster_reserve(struct rp_roster *r, rp_str upstream, rp_str peer, uint32_t *place)
{
    bool fresh;
    rp_err taken = rp_lock_take(&r->head->lock);
    if (taken == RP_END) taken = rp_lock_mend(&r->head->lock);
    if (taken < 0) return taken;
    rp_err e = find_place(r, upstream, peer, place, &fresh);
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

/* Each worker counts in its own row, so that what one that dies had in hand goes with it. It enters,
 * then adds all rows up, and leaves again when that is too much: of several that enter at once the last sees all
 * the others, in the one order that sequentially consistent fences give. Who has left looks again: it may have been
 * another that left, too, and of those that met one always sees that. */
bool rp_roster_enter_within(struct rp_roster *r, uint32_t worker, uint32_t place, uint32_t most)
{
    struct roster_count *c = count_of(r, worker, place);
    uint32_t own = get32(&c->in_flight);
    for (int i = 0; i < MEETINGS && rp_roster_in_flight(r, place) < most; i++) {
        put32(&c->in_flight, own + 1);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (rp_roster_in_flight(r, place) <= most) {
            put64(&c->requests, get64(&c->requests) + 1);
            return true;
        }
        put32(&c->in_flight, own);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    return false;
}

void rp_roster_retreat(struct rp_roster *r, uint32_t worker, uint32_t place)
{
    struct roster_count *c = count_of(r, worker, place);
    rp_roster_leave(r, worker, place, false);
    put64(&c->requests, get64(&c->requests) - 1);
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
    /* A worker that died took its counts along: there may be less now than was reset. */
    const struct roster_place *p = place_of(r, place);
    uint64_t requests = get64(&p->reset_requests), failures = get64(&p->reset_failures);
    sum.requests = sum.requests > requests ? sum.requests - requests : 0;
    sum.failures = sum.failures > failures ? sum.failures - failures : 0;
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

/* ---- the past ------------------------------------------------------------------------------- */

/* Numbers of it are given out once and stay with their row: a worker's successor goes on with them. */
static struct roster_past *own_past(struct rp_roster *r, struct roster_count *c, uint64_t now_ms)
{
    if (RP_UNLIKELY(c->past == 0)) {
        if (get32(&r->head->past_n) >= r->past_n) return NULL;
        uint32_t i = __atomic_fetch_add(&r->head->past_n, 1, __ATOMIC_RELAXED);
        if (i >= r->past_n) return NULL;
        c->past = i + 1;
    }
    struct roster_past *past = past_of(r, c);
    if (RP_UNLIKELY(past && past->since_ms == 0)) put64(&past->since_ms, now_ms ? now_ms : 1);
    return past;
}

void rp_roster_note_time(struct rp_roster *r, uint32_t worker, uint32_t place, uint64_t us,
                         uint64_t now_ms)
{
    struct roster_past *past = own_past(r, count_of(r, worker, place), now_ms);
    uint32_t number = (uint32_t)(now_ms / RP_ROSTER_SLICE_MS);
    if (!past) return;
    struct roster_slice *s = &past->slices[number % RP_ROSTER_SLICES];
    if (RP_UNLIKELY(s->number != number)) {
        memset(s->counts, 0, sizeof s->counts);
        put32(&s->n, 0);
        put32(&s->number, number);
    }
    uint32_t *count = &s->counts[rp_histogram_bucket(us)];
    put32(count, *count + 1);
    put32(&s->n, s->n + 1);
}

void rp_roster_note_result(struct rp_roster *r, uint32_t worker, uint32_t place, bool bad,
                           uint64_t now_ms)
{
    struct roster_past *past = own_past(r, count_of(r, worker, place), now_ms);
    if (!past) return;
    uint64_t *count = bad ? &past->bad : &past->good;
    put64(count, *count + 1);
}

/* Of one worker: slices that lie within the past, and after `since`. */
static void add_past(const struct roster_past *past, uint32_t number, uint64_t since_ms,
                     struct rp_roster_past *out)
{
    for (uint32_t i = 0; i < RP_ROSTER_SLICES; i++) {
        const struct roster_slice *s = &past->slices[i];
        uint32_t of = get32(&s->number);
        /* A worker's clock may be a tick ahead of ours, and a slice that was never used is number 0. */
        if (of + RP_ROSTER_SLICES <= number || of > number + 1) continue;
        if ((uint64_t)of * RP_ROSTER_SLICE_MS < since_ms) continue;
        for (uint32_t b = 0; b < RP_HISTOGRAM_BUCKETS; b++) out->counts[b] += get32(&s->counts[b]);
        out->n += get32(&s->n);
    }
}

void rp_roster_past(const struct rp_roster *r, uint32_t place, uint64_t now_ms, uint64_t since_ms,
                    struct rp_roster_past *out)
{
    uint32_t n = workers_seen(r), number = (uint32_t)(now_ms / RP_ROSTER_SLICE_MS);
    uint64_t oldest = UINT64_MAX, begin = 0;
    *out = (struct rp_roster_past){0};
    for (uint32_t w = 0; w < n; w++) {
        const struct roster_past *past = past_of(r, count_of(r, w, place));
        if (!past) continue;
        uint64_t since = get64(&past->since_ms);
        if (since && since < oldest) oldest = since;
        add_past(past, number, since_ms, out);
    }
    if (number >= RP_ROSTER_SLICES)
        begin = (uint64_t)(number - RP_ROSTER_SLICES + 1) * RP_ROSTER_SLICE_MS;
    /* Slices are looked at whole: what began before `since` is not. */
    uint64_t first = (since_ms + RP_ROSTER_SLICE_MS - 1) / RP_ROSTER_SLICE_MS * RP_ROSTER_SLICE_MS;
    begin = RP_MAX(begin, first);
    if (oldest == UINT64_MAX) return; /* nobody keeps one */
    begin = RP_MAX(begin, oldest);
    out->ms = now_ms > begin ? now_ms - begin : 0;
}

/* What one process took another one does not get; the counts of a place that began anew are less than
 * what was seen of them. */
static uint64_t take_since(uint64_t *seen, uint64_t now)
{
    uint64_t was = __atomic_exchange_n(seen, now, __ATOMIC_ACQ_REL);
    return now >= was ? now - was : now;
}

struct rp_roster_results rp_roster_take_results(struct rp_roster *r, uint32_t place)
{
    uint64_t good = 0, bad = 0;
    uint32_t n = workers_seen(r);
    for (uint32_t w = 0; w < n; w++) {
        const struct roster_past *past = past_of(r, count_of(r, w, place));
        good += past ? get64(&past->good) : 0;
        bad += past ? get64(&past->bad) : 0;
    }
    struct roster_place *p = place_of(r, place);
    return (struct rp_roster_results){.good = take_since(&p->good, good),
                                      .bad = take_since(&p->bad, bad)};
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
        .why = (uint8_t)get32(&p->why),
        .check_ok = get64(&p->check) & 1,
        .check_ms = get64(&p->check) >> 1,
        .ejected = get32(&p->ejected),
        .noticed = get32(&p->noticed),
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
    return rp_roster_eject(r, place, now_ms, until_ms, RP_ROSTER_FAILS);
}

bool rp_roster_eject(struct rp_roster *r, uint32_t place, uint64_t now_ms, uint64_t until_ms,
                     enum rp_roster_why why)
{
    struct roster_place *p = place_of(r, place);
    uint64_t was = get64(&p->rest_until_ms);
    if (was > now_ms || !swap64(&p->rest_until_ms, was, until_ms)) return false;
    put64(&p->up_since_ms, until_ms); /* it starts slowly then */
    __atomic_add_fetch(&p->ejections, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&p->ejected, 1, __ATOMIC_RELAXED);
    put32(&p->why, (uint32_t)why);
    tell(r);
    return true;
}

void rp_roster_notice(struct rp_roster *r, uint32_t place)
{
    __atomic_add_fetch(&place_of(r, place)->noticed, 1, __ATOMIC_RELAXED);
}

void rp_roster_note_check(struct rp_roster *r, uint32_t place, bool ok, uint64_t now_ms)
{
    put64(&place_of(r, place)->check, now_ms << 1 | ok);
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

enum rp_roster_from rp_roster_from(const struct rp_roster *r, uint32_t place)
{
    return (enum rp_roster_from)get32(&place_of(r, place)->from);
}

void rp_roster_set_from(struct rp_roster *r, uint32_t place, enum rp_roster_from from)
{
    put32(&place_of(r, place)->from, (uint32_t)from);
}

void rp_roster_reset(struct rp_roster *r, uint32_t place)
{
    struct roster_place *p = place_of(r, place);
    struct rp_roster_totals sum = rp_roster_totals(r, place);
    put64(&p->reset_requests, get64(&p->reset_requests) + sum.requests);
    put64(&p->reset_failures, get64(&p->reset_failures) + sum.failures);
    put64(&p->latency, 0);
    put64(&p->rest_until_ms, 0);
    put64(&p->up_since_ms, 0);
    put32(&p->fails, 0);
    put32(&p->ejections, 0);
    put32(&p->ejected, 0);
    put32(&p->noticed, 0);
    tell(r);
}

/* ---- telling -------------------------------------------------------------------------------- */

bool rp_roster_next(const struct rp_roster *r, uint32_t *at, struct rp_roster_report *out)
{
    while (*at < r->place_n) {
        uint32_t place = (*at)++;
        const struct roster_place *p = &r->places[place];
        if (p->id.low == 0 || p->gate || !rp_roster_is_held(r, place)) continue;
        out->place = place;
        memcpy(out->upstream, p->upstream, sizeof out->upstream);
        memcpy(out->peer, p->peer, sizeof out->peer);
        out->upstream[sizeof out->upstream - 1] = out->peer[sizeof out->peer - 1] = 0;
        out->facts = rp_roster_facts(r, place);
        out->totals = rp_roster_totals(r, place);
        out->latency_us = (uint32_t)rp_roster_latency(r, place);
        out->from = (uint8_t)get32(&p->from);
        return true;
    }
    return false;
}
