/* SPDX-License-Identifier: MIT
 *
 * dict_bucket: limiters. Their state is such that a death between two words errs for one window at
 * most, and for tokens and seats not at all: those change by one word.
 */
#include <math.h>

#include "shm/dict_in.h"

/* What an entry is: keys of different limiters do not meet. */
enum { TOKENS = 1, WINDOW = 2, SEATS = 3, QUEUE = 4, PLACES = 16 /* and on, see places */ };

enum { IDLE_MS = 1000 };
enum { EPOCHS = RP_DICT_WORDS, LEASE_EPOCHS = EPOCHS - 1 };

static const double NS = 1e9;
static const double SPAN_MOST_NS = 4e18; /* 126 years: times stay within 63 bits */

static bool is_amount(double x)
{
    return x >= 0 && x <= 1e15; /* false for NaN */
}

/* The entry of that limiter, found or made; with room in the zone there is one. */
static rp_err open_entry(struct rp_dict_view *v, rp_str key, uint32_t type, rp_ns now,
                         struct rp_dict_block **out)
{
    rp_ms now_ms = now / 1000000;
    struct rp_dict_block *none = NULL;
    *out = rp_dict_find(v, key, type, now_ms);
    if (*out) {
        v->s->stats.hits++;
        rp_dict_touch(v, *out);
        return RP_OK;
    }
    v->s->stats.misses++;
    rp_err e = rp_dict_make(v, key, RP_STR_NONE, &none, now_ms, out);
    if (e != RP_OK) return e;
    (*out)->type = (uint8_t)type;
    (*out)->expires_ms = now_ms + IDLE_MS; /* until something is counted in it */
    rp_dict_publish(v, *out);
    return RP_OK;
}

/* From then on it says nothing that an absent one does not. */
static void idle_from(struct rp_dict_block *b, double ns)
{
    b->expires_ms = (rp_ms)(ns / 1e6) + 1;
}

static void put_word(struct rp_dict_block *b, uint32_t i, uint64_t word)
{
    __atomic_store_n(&b->words[i], word, __ATOMIC_RELAXED);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* The bucket as one time (GCRA): when it will be full again. Each token is 1/rate seconds of it. */
static void take(struct rp_dict_block *b, double cost, double per_token_ns, double burst, rp_ns now,
                 struct rp_dict_verdict *out)
{
    double span = burst * per_token_ns;
    double used = b->words[0] > now ? (double)(b->words[0] - now) : 0;
    used = RP_MIN(used, span); /* burst was made smaller */
    double then = used + cost * per_token_ns;
    out->allowed = then <= span * (1 + 1e-12); /* what floating point may add up to */
    if (out->allowed) used = then;
    else out->wait = cost > burst ? INFINITY : (then - span) / NS;
    out->remaining = floor((span - used) / per_token_ns + 1e-6);
    if (out->remaining < 0) out->remaining = 0;
    out->reset = used / NS;
    if (!out->allowed || cost == 0) return;
    put_word(b, 0, now + (uint64_t)used);
    idle_from(b, (double)now + used);
}

rp_err rp_dict_take(struct rp_dict *d, rp_str key, double cost, double rate, double burst,
                    rp_ns now, struct rp_dict_verdict *out)
{
    struct rp_dict_view v;
    struct rp_dict_block *b;
    *out = (struct rp_dict_verdict){0};
    if (!is_amount(cost) || !is_amount(burst) || !(rate > 0) || !(rate <= 1e12) || burst < 1 ||
        burst / rate * NS > SPAN_MOST_NS)
        return RP_E_INVALID;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    e = open_entry(&v, key, TOKENS, now, &b);
    if (e == RP_OK) take(b, cost, NS / rate, burst, now, out);
    rp_dict_leave(&v);
    return e;
}

/* ---- a queue that leaks ---------------------------------------------------------------------- */

/* The queue as one time: when what is in it will have left. */
static void queue_up(struct rp_dict_block *b, double cost, double each_ns, double burst, rp_ns now,
                     struct rp_dict_verdict *out)
{
    double behind = b->words[0] > now ? (double)(b->words[0] - now) : 0;
    double room = burst * each_ns; /* how long one may wait for its turn */
    double excess = behind - room * (1 + 1e-12);
    behind = RP_MIN(behind, room + each_ns); /* burst was made smaller */
    if (cost > 1) excess += (cost - 1) * each_ns;
    out->allowed = excess <= 0;
    if (!out->allowed) out->wait = cost > burst + 1 ? INFINITY : excess / NS;
    else if (cost > 0) out->wait = behind / NS;
    if (out->allowed) behind += cost * each_ns;
    out->remaining = RP_MAX(floor((room + each_ns - behind) / each_ns + 1e-6), 0.0);
    out->reset = behind / NS;
    if (!out->allowed || cost == 0) return;
    put_word(b, 0, now + (uint64_t)behind);
    idle_from(b, (double)now + behind);
}

rp_err rp_dict_leak(struct rp_dict *d, rp_str key, double cost, double rate, double burst,
                    rp_ns now, struct rp_dict_verdict *out)
{
    struct rp_dict_view v;
    struct rp_dict_block *b;
    *out = (struct rp_dict_verdict){0};
    if (!is_amount(cost) || !is_amount(burst) || !(rate > 0) || !(rate <= 1e12) ||
        (burst + 1) / rate * NS > SPAN_MOST_NS)
        return RP_E_INVALID;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    e = open_entry(&v, key, QUEUE, now, &b);
    if (e == RP_OK) queue_up(b, cost, NS / rate, burst, now, out);
    rp_dict_leave(&v);
    return e;
}

/* ---- sliding window -------------------------------------------------------------------------- */

static double number_of(const struct rp_dict_block *b, uint32_t i)
{
    double x;
    memcpy(&x, &b->words[i], sizeof x);
    return x >= 0 && x <= 1e15 ? x : 0;
}

static void put_number(struct rp_dict_block *b, uint32_t i, double x)
{
    uint64_t word;
    memcpy(&word, &x, sizeof word);
    put_word(b, i, word);
}

enum { INDEX, CURRENT, BEFORE };

/* The counts of the window that now is, and of the one before it. */
static void turn(struct rp_dict_block *b, uint64_t index)
{
    if (b->words[INDEX] == index) return;
    put_number(b, BEFORE, b->words[INDEX] + 1 == index ? number_of(b, CURRENT) : 0);
    put_number(b, CURRENT, 0);
    put_word(b, INDEX, index);
}

/* Seconds until `need` would fit: first what was before fades, then what is now. */
static double wait_for(double before, double current, double limit, double cost, double left,
                       double window)
{
    double room = limit - current - cost;
    if (cost > limit) return INFINITY;
    if (room >= 0 && before > 0) return RP_MAX(left - window * room / before, 0.0);
    /* All of this window fades over the next one. */
    return left + window * (1 - (limit - cost) / RP_MAX(current, 1e-9));
}

rp_err rp_dict_window(struct rp_dict *d, rp_str key, double cost, double limit, double window,
                      rp_ns now, struct rp_dict_verdict *out)
{
    struct rp_dict_view v;
    struct rp_dict_block *b;
    *out = (struct rp_dict_verdict){0};
    if (!is_amount(cost) || !is_amount(limit) || limit < 1 || !(window >= 0.001) ||
        !(window <= 1e9))
        return RP_E_INVALID;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e == RP_OK) e = open_entry(&v, key, WINDOW, now, &b);
    else return e;
    if (e == RP_OK) {
        uint64_t span = (uint64_t)(window * NS), index = now / span;
        turn(b, index);
        double left = (double)(span - now % span) / NS;
        double current = number_of(b, CURRENT), before = number_of(b, BEFORE);
        double sum = current + before * left / window;
        out->allowed = sum + cost <= limit * (1 + 1e-12);
        if (out->allowed && cost > 0) put_number(b, CURRENT, current + cost);
        if (out->allowed) sum += cost;
        else out->wait = wait_for(before, current, limit, cost, left, window);
        out->remaining = RP_MAX(floor(limit - sum + 1e-6), 0.0);
        out->reset = left + (current > 0 || out->allowed ? window : 0);
        idle_from(b, (double)((index + 2) * span));
    }
    rp_dict_leave(&v);
    return e;
}

/* ---- seats ----------------------------------------------------------------------------------- */

/* Time in thirds of the lease. Four words, each the seats taken in one of them (its number and how
 * many, so that both change at once): older ones were given up. */
static uint32_t taken_in(const struct rp_dict_block *b, uint32_t i, uint32_t epoch)
{
    uint64_t word = b->words[i];
    uint32_t age = epoch - (uint32_t)(word >> 32);
    return age <= LEASE_EPOCHS ? (uint32_t)word : 0;
}

static uint64_t word_of(uint32_t epoch, uint32_t n)
{
    return (uint64_t)epoch << 32 | n;
}

rp_err rp_dict_acquire(struct rp_dict *d, rp_str key, double limit, double lease, rp_ns now,
                       struct rp_dict_verdict *out, double *ticket)
{
    struct rp_dict_view v;
    struct rp_dict_block *b;
    *out = (struct rp_dict_verdict){0};
    if (!(limit >= 1) || !(limit <= 1e9) || !(lease >= 0.001) || !(lease <= 1e7))
        return RP_E_INVALID;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    e = open_entry(&v, key, SEATS, now, &b);
    if (e == RP_OK) {
        double third = lease * NS / LEASE_EPOCHS;
        uint32_t epoch = (uint32_t)(uint64_t)((double)now / third), sum = 0;
        for (uint32_t i = 0; i < EPOCHS; i++) sum += taken_in(b, i, epoch);
        out->allowed = sum < limit;
        if (out->allowed) {
            uint32_t mine = epoch % EPOCHS;
            bool same = (uint32_t)(b->words[mine] >> 32) == epoch;
            put_word(b, mine, word_of(epoch, same ? (uint32_t)b->words[mine] + 1 : 1));
            idle_from(b, (double)now + lease * NS * (EPOCHS + 1) / LEASE_EPOCHS);
            *ticket = epoch;
            sum++;
        }
        out->remaining = sum < limit ? floor(limit - sum) : 0;
    }
    rp_dict_leave(&v);
    return e;
}

rp_err rp_dict_release(struct rp_dict *d, rp_str key, double ticket, rp_ns now)
{
    struct rp_dict_view v;
    if (!(ticket >= 0) || !(ticket <= UINT32_MAX)) return RP_E_INVALID;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    struct rp_dict_block *b = rp_dict_find(&v, key, SEATS, now / 1000000);
    uint32_t epoch = (uint32_t)ticket, mine = epoch % EPOCHS;
    bool held = b && (uint32_t)(b->words[mine] >> 32) == epoch && (uint32_t)b->words[mine] > 0;
    if (held) put_word(b, mine, b->words[mine] - 1);
    rp_dict_leave(&v);
    return held ? RP_OK : RP_E_NOT_FOUND;
}

/* ---- places ---------------------------------------------------------------------------------- */

/* Eight workers share an entry: each has half a word, which says how many it holds and which of its
 * lives does. So an entry's type is PLACES and an eighth of the worker's number; all of a key lie
 * in one shard, below one lock. */
enum { GROUP = 2 * RP_DICT_WORDS, GROUPS = RP_DICT_WORKERS_MOST / GROUP, HELD_MOST = UINT16_MAX };
_Static_assert(PLACES + (int)GROUPS <= UINT8_MAX + 1, "a type is a byte");

/* What is held is kept for so long, however quiet it is. */
static const rp_ms HELD_MOST_MS = (rp_ms)30 * 24 * 3600 * 1000;

static uint32_t life_of(const struct rp_dict *d, uint32_t worker)
{
    return __atomic_load_n(&d->head->lives[worker], __ATOMIC_ACQUIRE) & UINT16_MAX;
}

static uint32_t half_of(const struct rp_dict_block *b, uint32_t worker)
{
    uint64_t word = b->words[worker % GROUP / 2];
    return (uint32_t)(worker % 2 ? word >> 32 : word);
}

static uint32_t held_by(const struct rp_dict *d, const struct rp_dict_block *b, uint32_t worker)
{
    uint32_t half = half_of(b, worker);
    return half >> 16 == life_of(d, worker) ? half & HELD_MOST : 0;
}

static void put_held(const struct rp_dict *d, struct rp_dict_block *b, uint32_t worker, uint32_t n)
{
    uint64_t half = life_of(d, worker) << 16 | n, other = half_of(b, worker ^ 1);
    put_word(b, worker % GROUP / 2, worker % 2 ? half << 32 | other : other << 32 | half);
}

static uint64_t held_in(const struct rp_dict *d, const struct rp_dict_block *b, uint32_t group)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < GROUP; i++) sum += held_by(d, b, group * GROUP + i);
    return sum;
}

static uint64_t held_by_all(struct rp_dict_view *v, rp_str key, rp_ms now)
{
    uint64_t sum = 0;
    uint32_t n = RP_MIN(v->dict->head->groups_n, (uint32_t)GROUPS);
    for (uint32_t group = 0; group < n; group++) {
        const struct rp_dict_block *b = rp_dict_find(v, key, PLACES + group, now);
        if (b) sum += held_in(v->dict, b, group);
    }
    return sum;
}

/* Below the shard's lock. */
static void hold(struct rp_dict_view *v, struct rp_dict_block *b, rp_str key, double limit,
                 uint32_t worker, rp_ms now, struct rp_dict_verdict *out)
{
    const struct rp_dict *d = v->dict;
    double sum = (double)held_by_all(v, key, now);
    uint32_t mine = held_by(d, b, worker);
    out->allowed = sum < limit && mine < HELD_MOST;
    if (out->allowed) {
        b->expires_ms = now + HELD_MOST_MS;
        put_held(d, b, worker, mine + 1);
        sum++;
    }
    out->remaining = sum < limit ? floor(limit - sum) : 0;
}

/* Readers look at so many types; only grows. */
static void note_group(struct rp_dict *d, uint32_t group)
{
    uint32_t n = __atomic_load_n(&d->head->groups_n, __ATOMIC_ACQUIRE);
    while (n <= group && !__atomic_compare_exchange_n(&d->head->groups_n, &n, group + 1, false,
                                                      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {}
}

rp_err rp_dict_hold(struct rp_dict *d, rp_str key, double limit, uint32_t worker, rp_ns now,
                    struct rp_dict_verdict *out)
{
    struct rp_dict_view v;
    struct rp_dict_block *b;
    *out = (struct rp_dict_verdict){0};
    if (!(limit >= 1) || !(limit <= 1e9) || worker >= RP_DICT_WORKERS_MOST) return RP_E_INVALID;
    note_group(d, worker / GROUP);
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    e = open_entry(&v, key, PLACES + worker / GROUP, now, &b);
    if (e == RP_OK) hold(&v, b, key, limit, worker, now / 1000000, out);
    rp_dict_leave(&v);
    return e;
}

rp_err rp_dict_unhold(struct rp_dict *d, rp_str key, uint32_t worker, rp_ns now)
{
    struct rp_dict_view v;
    uint32_t group = worker / GROUP;
    if (worker >= RP_DICT_WORKERS_MOST) return RP_E_INVALID;
    rp_err e = rp_dict_enter(d, key, &v);
    if (e != RP_OK) return e;
    struct rp_dict_block *b = rp_dict_find(&v, key, PLACES + group, now / 1000000);
    uint32_t n = b ? held_by(d, b, worker) : 0;
    if (n > 0) put_held(d, b, worker, n - 1);
    if (n > 0 && held_in(d, b, group) == 0) b->expires_ms = now / 1000000 + IDLE_MS;
    rp_dict_leave(&v);
    return n > 0 ? RP_OK : RP_E_NOT_FOUND;
}

void rp_dict_forget(struct rp_dict *d, uint32_t worker)
{
    if (worker >= RP_DICT_WORKERS_MOST) return;
    __atomic_fetch_add(&d->head->lives[worker], 1, __ATOMIC_RELEASE);
}
