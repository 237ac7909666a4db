/* SPDX-License-Identifier: MIT
 *
 * limit: see limit.h.
 */
#include "proxy/limit.h"

#include <math.h>

enum {
    SAMPLES_LEAST = 5,      /* of a step: less says nothing */
    LOW_STEPS = 5,          /* then min_rtt may be the mistake (Envoy's number) */
    GIVE_UP_MS = 15 * 1000, /* of measuring: there are too few requests */
    THOUSAND = 1000,
    KEPT_AT = 24,
    LOW_AT = 48,
    PHASE_AT = 56,
};

/* ---- words ---------------------------------------------------------------------------------- */

uint64_t rp_limit_word(const struct rp_limit_state *s)
{
    return (uint64_t)s->phase << PHASE_AT | (uint64_t)s->low_n << LOW_AT |
           (uint64_t)(s->kept & RP_LIMIT_MOST) << KEPT_AT | (s->limit & RP_LIMIT_MOST);
}

struct rp_limit_state rp_limit_read(uint64_t word, uint64_t rtt, rp_ms at)
{
    uint8_t phase = (uint8_t)(word >> PHASE_AT);
    return (struct rp_limit_state){
        .limit = word & RP_LIMIT_MOST,
        .kept = word >> KEPT_AT & RP_LIMIT_MOST,
        .low_n = (uint8_t)(word >> LOW_AT),
        .phase = phase <= RP_LIMIT_MEASURE ? phase : RP_LIMIT_RUN,
        .min_rtt_us = (uint32_t)RP_MIN(rtt, (uint64_t)RP_HISTOGRAM_MOST_US),
        .at = at,
    };
}

static uint32_t bounded(const struct rp_limit_rules *c, double limit)
{
    double most = RP_MIN(c->most, (uint32_t)RP_LIMIT_MOST), least = RP_MAX(c->least, 1u);
    if (!(limit < most)) return (uint32_t)most;
    return limit < least ? (uint32_t)least : (uint32_t)limit;
}

uint32_t rp_limit_of(uint64_t word, const struct rp_limit_rules *c)
{
    uint32_t limit = word & RP_LIMIT_MOST;
    return bounded(c, limit ? limit : c->start);
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* From 1 to 1.15 times, so that instances do not measure at the same time. */
static void plan_measuring(const struct rp_limit_rules *c, struct rp_limit_state *s, uint32_t dice,
                           rp_ms now)
{
    s->at = now + c->measure_ms + c->measure_ms * (dice % THOUSAND) * 15 / (100 * THOUSAND);
}

static void begin_measuring(const struct rp_limit_rules *c, struct rp_limit_state *s, rp_ms now)
{
    s->kept = s->limit;
    s->limit = RP_MAX(c->least, 1u);
    s->phase = RP_LIMIT_DRAIN;
    s->low_n = 0;
    s->at = now + GIVE_UP_MS;
}

static void end_measuring(const struct rp_limit_rules *c, struct rp_limit_state *s,
                          const struct rp_limit_facts *f, rp_ms now)
{
    uint32_t us =
        f->samples_n ? rp_histogram_quantile(f->counts, c->quantile / (double)THOUSAND) : 0;
    if (us || s->min_rtt_us) s->min_rtt_us = us ? us : s->min_rtt_us;
    s->limit = bounded(c, s->kept);
    s->kept = 0;
    s->phase = RP_LIMIT_RUN;
    plan_measuring(c, s, f->dice, now);
}

/* The first time: nothing is known, and few requests are not held up for it. */
static void begin(const struct rp_limit_rules *c, struct rp_limit_state *s, rp_ms now)
{
    s->limit = s->kept = bounded(c, c->start);
    s->phase = RP_LIMIT_MEASURE;
    s->low_n = 0;
    s->at = now + GIVE_UP_MS;
}

static void adapt(const struct rp_limit_rules *c, struct rp_limit_state *s,
                  const struct rp_limit_facts *f)
{
    double us = rp_histogram_quantile(f->counts, c->quantile / (double)THOUSAND);
    double calm = (double)s->min_rtt_us * (1 + c->buffer / (double)THOUSAND);
    double gradient = us > 0 ? calm / us : 2;
    gradient = RP_MAX(0.5, RP_MIN(gradient, 2.0));
    double shrunk = s->limit * gradient;
    uint32_t next = bounded(c, shrunk + sqrt(shrunk));
    /* A limit that is not used says nothing about what the upstream could take. */
    if (next > s->limit && f->in_flight < s->limit / 2) next = s->limit;
    s->limit = next;
    bool low = next <= RP_MAX(c->least, 1u);
    s->low_n = low ? (uint8_t)RP_MIN(s->low_n + 1, LOW_STEPS) : 0;
}

bool rp_limit_wants(const struct rp_limit_rules *c, const struct rp_limit_state *s,
                    uint64_t samples_n, rp_ms now)
{
    if (s->phase == RP_LIMIT_DRAIN) return true; /* they are of before: away with them */
    if (s->phase == RP_LIMIT_MEASURE) return samples_n >= c->measure_n || now >= s->at;
    return samples_n >= SAMPLES_LEAST;
}

void rp_limit_step(const struct rp_limit_rules *c, struct rp_limit_state *s,
                   const struct rp_limit_facts *f, rp_ms now)
{
    bool enough = rp_limit_wants(c, s, f->samples_n, now);
    if (s->limit == 0) {
        begin(c, s, now);
        return;
    }
    /* A time that lies too far ahead is of other settings. */
    rp_ms most = RP_MAX(2 * c->measure_ms, (rp_ms)GIVE_UP_MS);
    if (s->at > now + most) s->at = now + most;
    switch ((enum rp_limit_phase)s->phase) {
    case RP_LIMIT_DRAIN:
        if (f->in_flight > RP_MAX(c->least, 1u) && now < s->at) return;
        s->phase = RP_LIMIT_MEASURE;
        return;
    case RP_LIMIT_MEASURE:
        if (enough) end_measuring(c, s, f, now);
        return;
    case RP_LIMIT_RUN: break;
    }
    if (s->min_rtt_us == 0) { /* nobody came when it was measured */
        if (f->samples_n) begin(c, s, now);
        return;
    }
    bool due = c->measure_ms && now >= s->at;
    if (due || s->low_n >= LOW_STEPS) {
        begin_measuring(c, s, now);
        return;
    }
    if (enough) adapt(c, s, f);
}
