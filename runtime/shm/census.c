/* SPDX-License-Identifier: MIT
 *
 * census: head, locks, a line per worker, the networks, a row of counts per worker, in this order
 * in the part. Sizes come from the handle, never from shared memory.
 *
 * Invariants: 1 a word of a worker's line or row is written by that worker, and by the master after
 * its death. 2 A place is given to another network only when its counts add up to 0, under the lock
 * of its stripe; the count of the newcomer is raised before the lock goes. 3 A lock whose holder is
 * gone or stopped is taken from it after a while: the worst that can come of it is one connection
 * too many.
 */
#include "shm/census.h"

#include <sched.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"

enum {
    LINE_BYTES = 128, /* two cache lines: the prefetcher pulls the neighbour */
    STRIPES = 64,     /* locks; a network belongs to one */
    SET = 16,         /* places of a set: a worker's counts of them are one cache line */
    WORKERS_MAX = 65535,
    NETS_MAX = 1 << 24,
    SPINS = 64, /* looks at a lock before the processor is given to others */
};

/* Inside a lock are some hundred nanoseconds: who holds it for so long does not run. */
static const rp_ns STEAL_NS = 100 * 1000 * 1000;

struct line {
    uint32_t word;
    char spare[LINE_BYTES - sizeof(uint32_t)];
};

struct census_head {
    uint32_t worker_n, net_n;
    struct rp_hash_key key;
    uint32_t top; /* no worker from this number on was ever there */
    char spare[LINE_BYTES - 28];
};

struct census_worker {
    uint32_t held;   /* connections */
    uint32_t joined; /* its row was written to */
    char spare[LINE_BYTES - 8];
};

struct census_net {
    uint8_t bytes[RP_CENSUS_NET_BYTES];
};

struct rp_census {
    struct census_head *head;
    struct line *locks; /* STRIPES, and one for the total */
    struct census_worker *workers;
    struct census_net *nets;
    uint32_t *rows; /* net_n counts per worker */
    uint32_t worker_n, net_n;
    struct rp_hash_key key;
};

_Static_assert(sizeof(struct census_head) == LINE_BYTES, "what follows starts on a line");
_Static_assert(sizeof(struct census_worker) == LINE_BYTES, "workers do not share lines");
_Static_assert(RP_CENSUS_NETS_MIN >= STRIPES * SET, "each stripe has a set");

/* ---- life ------------------------------------------------------------------------------------ */

static bool are_sane(uint32_t worker_n, uint32_t net_n)
{
    return worker_n >= 1 && worker_n <= WORKERS_MAX && net_n >= RP_CENSUS_NETS_MIN &&
           net_n <= NETS_MAX && (net_n & (net_n - 1)) == 0;
}

size_t rp_census_bytes(uint32_t worker_n, uint32_t net_n)
{
    return sizeof(struct census_head) + sizeof(struct line) * (STRIPES + 1) +
           sizeof(struct census_worker) * worker_n + sizeof(struct census_net) * net_n +
           sizeof(uint32_t) * net_n * (size_t)worker_n;
}

rp_err rp_census_new(struct rp_zone *z, rp_str part, uint32_t worker_n, uint32_t net_n,
                     struct rp_census **out)
{
    if (!are_sane(worker_n, net_n)) return RP_E_INVALID;
    void *base;
    bool fresh;
    rp_err e = rp_zone_part(z, part, rp_census_bytes(worker_n, net_n), &base, &fresh);
    if (e != RP_OK) return e;
    struct census_head *head = base;
    if (fresh) {
        head->worker_n = worker_n;
        head->net_n = net_n;
        rp_hash_key_draw(&head->key);
    } else if (head->worker_n != worker_n || head->net_n != net_n) {
        return RP_E_INVALID;
    }
    struct rp_census *c = rp_alloc(sizeof *c);
    c->head = head;
    c->locks = (struct line *)(head + 1);
    c->workers = (struct census_worker *)(void *)(c->locks + STRIPES + 1);
    c->nets = (struct census_net *)(void *)(c->workers + worker_n);
    c->rows = (uint32_t *)(void *)(c->nets + net_n);
    c->worker_n = worker_n;
    c->net_n = net_n;
    c->key = head->key;
    *out = c;
    return RP_OK;
}

void rp_census_free(struct rp_census **c)
{
    rp_free(*c);
    *c = NULL;
}

/* ---- locks ----------------------------------------------------------------------------------- */

static bool swap(uint32_t *word, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* Somebody else is inside: wait for it, but not for ever. */
static void lock_slow(uint32_t *word, uint32_t me)
{
    uint32_t holder = 0;
    rp_ns since = 0;
    for (;;) {
        for (int i = 0; i < SPINS; i++) {
            if (__atomic_load_n(word, __ATOMIC_RELAXED) == 0 && swap(word, 0, me)) return;
        }
        uint32_t now_in = __atomic_load_n(word, __ATOMIC_RELAXED);
        rp_ns now = rp_clock_mono_ns();
        if (now_in != holder) {
            holder = now_in;
            since = now;
        } else if (holder && now - since > STEAL_NS && swap(word, holder, me)) {
            return;
        }
        (void)sched_yield(); /* never fails */
    }
}

static uint32_t *lock(struct rp_census *c, uint32_t which, uint32_t worker)
{
    uint32_t *word = &c->locks[which].word;
    if (!swap(word, 0, worker + 1)) lock_slow(word, worker + 1);
    return word;
}

/* Not when it was taken from us. */
static void unlock(uint32_t *word, uint32_t worker)
{
    uint32_t mine = worker + 1;
    __atomic_compare_exchange_n(word, &mine, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

/* ---- words ----------------------------------------------------------------------------------- */

static uint32_t get(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void add_one(uint32_t *word)
{
    __atomic_store_n(word, get(word) + 1, __ATOMIC_RELAXED);
}

/* Release: when others see it, what its place was for is over. Never below 0, whatever a worker
 * gone wild has written there. */
static void take_one(uint32_t *word)
{
    uint32_t n = get(word);
    if (n > 0) __atomic_store_n(word, n - 1, __ATOMIC_RELEASE);
}

static uint32_t workers_seen(const struct rp_census *c)
{
    return RP_MIN(__atomic_load_n(&c->head->top, __ATOMIC_ACQUIRE), c->worker_n);
}

static uint32_t *count_of(const struct rp_census *c, uint32_t worker, uint32_t place)
{
    return c->rows + (size_t)worker * c->net_n + place;
}

static uint64_t sum_of(const struct rp_census *c, uint32_t place)
{
    uint64_t sum = 0;
    uint32_t n = workers_seen(c);
    for (uint32_t w = 0; w < n; w++) {
        if (get(&c->workers[w].joined)) {
            sum += __atomic_load_n(count_of(c, w, place), __ATOMIC_ACQUIRE);
        }
    }
    return sum;
}

/* ---- in all ---------------------------------------------------------------------------------- */

uint64_t rp_census_total(const struct rp_census *c)
{
    uint64_t sum = 0;
    uint32_t n = workers_seen(c);
    for (uint32_t w = 0; w < n; w++) sum += get(&c->workers[w].held);
    return sum;
}

rp_err rp_census_enter(struct rp_census *c, uint32_t worker, uint64_t most)
{
    RP_CHECK(worker < c->worker_n);
    if (!most) {
        add_one(&c->workers[worker].held);
        return RP_OK;
    }
    uint32_t *held = lock(c, STRIPES, worker);
    bool full = rp_census_total(c) >= most;
    if (!full) add_one(&c->workers[worker].held);
    unlock(held, worker);
    return full ? RP_E_CONNS_MANY : RP_OK;
}

void rp_census_leave(struct rp_census *c, uint32_t worker)
{
    RP_CHECK(worker < c->worker_n);
    take_one(&c->workers[worker].held);
}

/* ---- per network ----------------------------------------------------------------------------- */

/* Two sets of one stripe, so that one lock covers both. */
struct home {
    uint32_t stripe, first, second; /* first places of the sets */
};

static struct home home_of(const struct rp_census *c, const uint8_t *net)
{
    uint64_t hash = rp_hash_keyed(&c->key, rp_str_of((const char *)net, RP_CENSUS_NET_BYTES));
    uint32_t sets = c->net_n / (STRIPES * SET); /* of a stripe; a power of two */
    uint32_t stripe = (uint32_t)(hash >> 32) % STRIPES;
    uint32_t one = (uint32_t)hash & (sets - 1), two = (uint32_t)(hash >> 48) & (sets - 1);
    return (struct home){
        .stripe = stripe,
        .first = (stripe * sets + one) * SET,
        .second = (stripe * sets + two) * SET,
    };
}

static const uint32_t NOWHERE = UINT32_MAX;

static uint32_t find_in(const struct rp_census *c, uint32_t set, const uint8_t *net)
{
    for (uint32_t i = set; i < set + SET; i++) {
        if (memcmp(c->nets[i].bytes, net, RP_CENSUS_NET_BYTES) == 0) return i;
    }
    return NOWHERE;
}

static uint32_t find(const struct rp_census *c, struct home h, const uint8_t *net)
{
    uint32_t place = find_in(c, h.first, net);
    return place != NOWHERE ? place : find_in(c, h.second, net);
}

static uint32_t free_in(const struct rp_census *c, uint32_t set)
{
    for (uint32_t i = set; i < set + SET; i++) {
        if (sum_of(c, i) == 0) return i;
    }
    return NOWHERE;
}

/* A place that nobody uses any more becomes this network's. */
static uint32_t settle(struct rp_census *c, struct home h, const uint8_t *net)
{
    uint32_t place = free_in(c, h.first);
    if (place == NOWHERE) place = free_in(c, h.second);
    if (place != NOWHERE) memcpy(c->nets[place].bytes, net, RP_CENSUS_NET_BYTES);
    return place;
}

rp_err rp_census_join(struct rp_census *c, uint32_t worker, const uint8_t net[RP_CENSUS_NET_BYTES],
                      uint64_t most, uint32_t *seat)
{
    RP_CHECK(worker < c->worker_n);
    rp_err e = RP_OK;
    struct home h = home_of(c, net);
    uint32_t *held = lock(c, h.stripe, worker), place = find(c, h, net);
    if (place == NOWHERE) place = settle(c, h, net);
    else if (sum_of(c, place) >= most) e = RP_E_CONNS_CLIENT;
    if (place == NOWHERE) e = RP_E_CAP;
    if (e == RP_OK) {
        __atomic_store_n(&c->workers[worker].joined, 1, __ATOMIC_RELAXED);
        add_one(count_of(c, worker, place));
        *seat = place + 1;
    }
    unlock(held, worker);
    return e;
}

void rp_census_part(struct rp_census *c, uint32_t worker, uint32_t seat)
{
    RP_CHECK(worker < c->worker_n && seat >= 1 && seat <= c->net_n);
    take_one(count_of(c, worker, seat - 1));
}

uint64_t rp_census_of(struct rp_census *c, const uint8_t net[RP_CENSUS_NET_BYTES])
{
    struct home h = home_of(c, net);
    uint32_t place = find(c, h, net);
    return place == NOWHERE ? 0 : sum_of(c, place);
}

/* ---- workers --------------------------------------------------------------------------------- */

void rp_census_forget(struct rp_census *c, uint32_t worker)
{
    RP_CHECK(worker < c->worker_n);
    struct census_worker *w = &c->workers[worker];
    for (uint32_t i = 0; i <= STRIPES; i++) unlock(&c->locks[i].word, worker);
    /* Reading a page of a memfd allocates it: a row that was not written to is left alone. */
    if (w->joined) memset(count_of(c, worker, 0), 0, sizeof(uint32_t) * c->net_n);
    __atomic_store_n(&w->joined, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&w->held, 0, __ATOMIC_RELEASE);
    uint32_t top = get(&c->head->top);
    while (top < worker + 1 && !__atomic_compare_exchange_n(&c->head->top, &top, worker + 1, false,
                                                            __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {}
}
