/* SPDX-License-Identifier: MIT
 *
 * outlier: see outlier.h.
 */
#include "proxy/outlier.h"

#include <math.h>
#include <stdlib.h>

static const double THOUSAND = 1000;

static bool has_requests(const struct rp_outlier_rules *c, const struct rp_outlier_peer *p)
{
    uint64_t n = p->good + p->bad;
    return !p->away && n > 0 && n >= c->least;
}

static double rate_of(const struct rp_outlier_peer *p)
{
    return 100.0 * (double)p->good / (double)(p->good + p->bad);
}

/* ---- success rate --------------------------------------------------------------------------- */

static bool find_bound(const struct rp_outlier_rules *c, const struct rp_outlier_peer *peers,
                       uint32_t n, struct rp_outlier_found *out)
{
    uint32_t judged = 0;
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!has_requests(c, &peers[i])) continue;
        judged++;
        sum += rate_of(&peers[i]);
    }
    if (judged < RP_MAX(c->peers, 2u)) return false;
    out->mean = sum / judged;
    for (uint32_t i = 0; i < n; i++) {
        if (!has_requests(c, &peers[i])) continue;
        double d = rate_of(&peers[i]) - out->mean;
        squares += d * d;
    }
    out->stdev = sqrt(squares / judged);
    out->bound = out->mean - out->stdev * c->stdev / THOUSAND;
    return true;
}

static void judge_rates(const struct rp_outlier_rules *c, struct rp_outlier_peer *peers, uint32_t n,
                        struct rp_outlier_found *out)
{
    if (!c->stdev || !find_bound(c, peers, n, out)) return;
    for (uint32_t i = 0; i < n; i++) {
        struct rp_outlier_peer *p = &peers[i];
        if (has_requests(c, p) && rate_of(p) < out->bound) p->verdict = RP_OUTLIER_SUCCESS_RATE;
    }
}

/* ---- share of failures ---------------------------------------------------------------------- */

static void judge_failures(const struct rp_outlier_rules *c, struct rp_outlier_peer *peers,
                           uint32_t n)
{
    uint32_t judged = 0;
    for (uint32_t i = 0; i < n; i++) judged += has_requests(c, &peers[i]);
    if (!c->failures || judged < c->peers) return;
    for (uint32_t i = 0; i < n; i++) {
        struct rp_outlier_peer *p = &peers[i];
        if (!has_requests(c, p) || p->verdict) continue;
        double share = (double)p->bad / (double)(p->good + p->bad);
        if (share * THOUSAND >= c->failures) p->verdict = RP_OUTLIER_FAILURES;
    }
}

/* ---- slowness ------------------------------------------------------------------------------- */

static bool has_answers(const struct rp_outlier_rules *c, const struct rp_outlier_peer *p)
{
    return !p->away && p->answers_n > 0 && p->answers_n >= c->least;
}

static int by_size(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

/* The lower one of two in the middle: of two peers the faster is the measure. */
static uint32_t median_of(uint32_t *list, uint32_t n)
{
    qsort(list, n, sizeof *list, by_size);
    return list[(n - 1) / 2];
}

static void judge_times(const struct rp_outlier_rules *c, struct rp_outlier_peer *peers, uint32_t n,
                        uint32_t *spare, struct rp_outlier_found *out)
{
    uint32_t judged = 0;
    for (uint32_t i = 0; c->factor && i < n; i++)
        if (has_answers(c, &peers[i])) spare[judged++] = peers[i].us;
    if (judged < RP_MAX(c->peers, 2u)) return;
    out->median_us = median_of(spare, judged);
    double bound = (double)out->median_us * c->factor / THOUSAND;
    for (uint32_t i = 0; i < n; i++) {
        struct rp_outlier_peer *p = &peers[i];
        bool slow = has_answers(c, p) && p->us > bound && p->us >= c->slow_us;
        if (slow && !p->verdict) p->verdict = RP_OUTLIER_SLOW;
    }
}

void rp_outlier_judge(const struct rp_outlier_rules *c, struct rp_outlier_peer *peers, uint32_t n,
                      uint32_t *spare, struct rp_outlier_found *out)
{
    *out = (struct rp_outlier_found){0};
    for (uint32_t i = 0; i < n; i++) peers[i].verdict = RP_OUTLIER_NONE;
    judge_rates(c, peers, n, out);
    judge_failures(c, peers, n);
    judge_times(c, peers, n, spare, out);
}
