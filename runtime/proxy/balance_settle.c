/* SPDX-License-Identifier: MIT
 *
 * balance_settle: who may be chosen, and what policies share.
 */
#include <math.h>

#include "base/hash.h"
#include "proxy/balance.h"

struct tier {
    uint64_t up, all; /* weights */
};

static bool is_in(const struct rp_balance_view *b, const struct rp_balance_peer *p)
{
    if (p->weight == 0 || p->health == RP_BALANCE_ABSENT) return false;
    return b->panic || p->health == RP_BALANCE_UP;
}

/* The weights of each tier; returns those of all. */
static struct tier add_up(const struct rp_balance_view *b, struct tier tiers[RP_BALANCE_TIERS])
{
    struct tier sum = {0};
    for (uint32_t i = 0; i < b->n; i++) {
        const struct rp_balance_peer *p = &b->peers[i];
        if (p->health == RP_BALANCE_ABSENT) continue;
        uint32_t up = p->health == RP_BALANCE_UP ? p->weight : 0;
        struct tier *t = &tiers[p->tier < RP_BALANCE_TIERS ? p->tier : RP_BALANCE_TIERS - 1];
        t->all += p->weight;
        t->up += up;
        sum.all += p->weight;
        sum.up += up;
    }
    return sum;
}

/* The last tier that takes part. */
static uint32_t choose_tier(const struct tier tiers[RP_BALANCE_TIERS], bool panic, uint8_t spill)
{
    uint64_t up = 0, wanted = 0;
    for (uint32_t t = 0; t < RP_BALANCE_TIERS; t++) {
        if (wanted == 0) wanted = tiers[t].all; /* of the first tier that there is */
        up += panic ? tiers[t].all : tiers[t].up;
        if (up > 0 && up * 100 >= wanted * spill) return t;
    }
    return RP_BALANCE_TIERS - 1;
}

/* ---- zones ---------------------------------------------------------------------------------- */

struct zones {
    uint64_t near_all, near_up, far_up; /* weights of the tiers that take part */
    uint32_t heaviest_near, heaviest_far;
};

static struct zones measure_zones(const struct rp_balance_view *b, uint32_t last)
{
    struct zones z = {0};
    for (uint32_t i = 0; i < b->n; i++) {
        const struct rp_balance_peer *p = &b->peers[i];
        if (p->tier > last) continue;
        if (p->near) z.near_all += p->full_weight;
        if (!p->live) continue;
        if (p->near) {
            z.near_up += p->weight;
            z.heaviest_near = RP_MAX(z.heaviest_near, p->weight);
        } else {
            z.far_up += p->weight;
            z.heaviest_far = RP_MAX(z.heaviest_far, p->weight);
        }
    }
    return z;
}

static uint32_t scaled(uint32_t weight, double by)
{
    double w = (double)weight * by + 0.5;
    if (w < 1) return 1;
    return w > RP_BALANCE_WEIGHT_MOST ? (uint32_t)RP_BALANCE_WEIGHT_MOST : (uint32_t)w;
}

/* Our zone keeps min(1, up / (zone% of all)) of the requests; what is left goes to other zones, by their
 * weights. Weights are made large, so that small shares are not rounded away. */
static void prefer_zone(struct rp_balance_view *b, uint32_t last, uint8_t enough)
{
    struct zones z = measure_zones(b, last);
    if (z.near_up == 0 || z.far_up == 0) return; /* there is no choice */
    bool whole = z.near_up * 100 >= z.near_all * enough;
    double keep = (double)z.near_up * 100 / ((double)z.near_all * enough);
    double far = whole ? 0 : (double)z.near_up * (1 - keep) / (keep * (double)z.far_up);
    double heaviest = RP_MAX((double)z.heaviest_near, (double)z.heaviest_far * far);
    double near = RP_BALANCE_WEIGHT_MOST / heaviest;
    for (uint32_t i = 0; i < b->n; i++) {
        struct rp_balance_peer *p = &b->peers[i];
        if (!p->live) continue;
        if (whole) p->live = p->near;
        else p->weight = scaled(p->weight, p->near ? near : far * near);
    }
}

void rp_balance_settle(struct rp_balance_view *b, const struct rp_balance_rules *rules)
{
    struct tier tiers[RP_BALANCE_TIERS] = {0};
    struct tier all = add_up(b, tiers);
    uint64_t sum = 0;
    b->panic = rules->panic && all.up * 100 < all.all * rules->panic;
    uint32_t last = choose_tier(tiers, b->panic, rules->spill);
    b->live_n = 0;
    b->even = true;
    for (uint32_t i = 0; i < b->n; i++) {
        struct rp_balance_peer *p = &b->peers[i];
        p->live = p->tier <= last && is_in(b, p);
    }
    if (rules->zone) prefer_zone(b, last, rules->zone);
    for (uint32_t i = 0; i < b->n; i++) {
        const struct rp_balance_peer *p = &b->peers[i];
        if (!p->live) continue;
        sum += p->weight;
        b->even &= b->live_n == 0 || p->weight == b->peers[b->live[0]].weight;
        b->live[b->live_n] = i;
        b->sums[b->live_n++] = sum;
    }
}

uint32_t rp_balance_slow_start(uint32_t weight, uint64_t up_ms, uint64_t slow_ms)
{
    if (up_ms >= slow_ms || weight == 0) return weight;
    uint64_t share = (uint64_t)weight * (slow_ms + 9 * up_ms) / (10 * slow_ms);
    return share ? (uint32_t)share : 1;
}

uint64_t rp_balance_key(rp_str name)
{
    static const struct rp_hash_key FIXED = {UINT64_C(0x72702e62616c616e),
                                             UINT64_C(0x63652e6b65790001)};
    return rp_hash_keyed(&FIXED, name);
}

/* ---- one peer ------------------------------------------------------------------------------- */

static bool was_tried(const struct rp_balance_ask *ask, uint32_t peer)
{
    for (uint32_t i = 0; i < ask->tried_n; i++)
        if (ask->tried[i] == peer) return true;
    return false;
}

bool rp_balance_wants(const struct rp_balance_ask *ask, uint32_t peer)
{
    if (was_tried(ask, peer)) return false;
    return !ask->only || ((ask->only[peer / 64] >> peer % 64) & 1);
}

bool rp_balance_suits(struct rp_balance_view *b, const struct rp_balance_ask *ask, uint32_t peer)
{
    const struct rp_balance_peer *p = &b->peers[peer];
    if (!rp_balance_wants(ask, peer)) return false;
    if (!p->seats) return true;
    if (b->look) b->look(b, peer);
    return p->in_flight < p->seats;
}

bool rp_balance_may(struct rp_balance_view *b, const struct rp_balance_ask *ask, uint32_t peer)
{
    return b->peers[peer].live && rp_balance_suits(b, ask, peer);
}

/* ---- drawing -------------------------------------------------------------------------------- */

enum { DRAWS = 8 }; /* then they are counted: hardly any may be taken */

/* The first whose sum is above `at`. */
static uint32_t find_sum(const struct rp_balance_view *b, uint64_t at)
{
    uint32_t low = 0, high = b->live_n - 1;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (b->sums[mid] > at) high = mid;
        else low = mid + 1;
    }
    return b->live[low];
}

static int draw_counted(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    uint64_t sum = 0;
    int found = -1;
    for (uint32_t i = 0; i < b->live_n; i++) {
        uint32_t peer = b->live[i];
        if (!rp_balance_may(b, ask, peer)) continue;
        sum += b->peers[peer].weight;
        /* Each takes the place of those before with its share of what was seen so far. */
        if (rp_random_below(ask->dice, sum) < b->peers[peer].weight) found = (int)peer;
    }
    return found;
}

int rp_balance_draw(struct rp_balance_view *b, const struct rp_balance_ask *ask)
{
    if (b->live_n == 0) return -1;
    uint64_t sum = b->sums[b->live_n - 1];
    for (int i = 0; i < DRAWS; i++) {
        uint32_t peer = find_sum(b, rp_random_below(ask->dice, sum));
        if (rp_balance_may(b, ask, peer)) return (int)peer;
    }
    return draw_counted(b, ask);
}

/* ---- load ----------------------------------------------------------------------------------- */

uint64_t rp_balance_load(struct rp_balance_view *b)
{
    uint64_t load = 1;
    for (uint32_t i = 0; i < b->live_n; i++) {
        if (b->look) b->look(b, b->live[i]);
        load += b->peers[b->live[i]].in_flight;
    }
    return load;
}

/* in_flight + 1 <= ceil(bound x load x its share of the weights) */
bool rp_balance_has_room(const struct rp_balance_view *b, const struct rp_balance_ask *ask,
                         uint32_t peer, uint64_t load)
{
    const struct rp_balance_peer *p = &b->peers[peer];
    if (!ask->bound) return true;
    unsigned __int128 share = (unsigned __int128)load * ask->bound * p->weight;
    unsigned __int128 whole = (unsigned __int128)b->sums[b->live_n - 1] * 100;
    return p->in_flight < (uint64_t)((share + whole - 1) / whole);
}

/* ---- latency -------------------------------------------------------------------------------- */

uint32_t rp_balance_mean(uint32_t mean_us, uint64_t age_ms, uint32_t sample_us, uint32_t tau_ms)
{
    if (mean_us == 0) return sample_us ? sample_us : 1;
    /* Peaks are believed at once (Finagle's peak EWMA): a peer that stalls is left alone now. */
    if (sample_us > mean_us) return sample_us;
    double keep = exp(-(double)age_ms / (double)(tau_ms ? tau_ms : 1));
    double mean = keep * (double)mean_us + (1 - keep) * (double)sample_us;
    return mean < 1 ? 1 : (uint32_t)mean;
}
