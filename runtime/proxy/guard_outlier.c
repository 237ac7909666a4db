/* SPDX-License-Identifier: MIT
 *
 * guard_outlier: once per interval one process of the instance judges the peers of a group by what all
 * workers saw of them. Who is found out rests, as after failures in a row, or is only told of.
 */
#include <stdio.h>

#include "base/log.h"
#include "proxy/guard.h"
#include "proxy/outlier.h"
#include "proxy/proxy.h"
#include "shm/roster_gate.h"

static const enum rp_roster_why WHY[] = {
    [RP_OUTLIER_NONE] = RP_ROSTER_NO_REASON,
    [RP_OUTLIER_SUCCESS_RATE] = RP_ROSTER_SUCCESS_RATE,
    [RP_OUTLIER_FAILURES] = RP_ROSTER_FAILURES,
    [RP_OUTLIER_SLOW] = RP_ROSTER_SLOW,
};

static const char *const WORDS[] = {
    [RP_OUTLIER_NONE] = "",
    [RP_OUTLIER_SUCCESS_RATE] = "success_rate",
    [RP_OUTLIER_FAILURES] = "failures",
    [RP_OUTLIER_SLOW] = "slow",
};

static void look_at(struct rp_group *g, uint32_t i, rp_ms now, struct rp_outlier_peer *out)
{
    const struct rp_peer *p = g->peers[i];
    const struct rp_balance_peer *v = &g->view.peers[i];
    struct rp_roster *roster = g->proxy->roster;
    struct rp_roster_past past;
    *out = (struct rp_outlier_peer){.away = true};
    if (p->place == RP_PEER_UNPLACED) return;
    struct rp_roster_results results = rp_roster_take_results(roster, p->place);
    if (v->health != RP_BALANCE_UP || v->weight == 0) return;
    struct rp_roster_facts facts = rp_roster_facts(roster, p->place);
    out->away = false;
    out->good = results.good;
    out->bad = results.bad;
    if (!g->conf->outlier.factor) return;
    rp_roster_past(roster, p->place, now, facts.up_since_ms, &past); /* not of before its rest */
    out->answers_n = past.n;
    out->us = rp_histogram_quantile(past.counts, g->conf->outlier.quantile / 1000.0);
}

/* What it was judged by. */
static void put_reason(const struct rp_outlier_peer *p, const struct rp_outlier_found *found,
                       char *out, size_t room)
{
    double n = (double)(p->good + p->bad);
    double rate = n > 0 ? 100 * (double)p->good / n : 0;
    int put = 0;
    if (p->verdict == RP_OUTLIER_SLOW)
        put = snprintf(out, room, "us=%u median_us=%u", p->us, found->median_us);
    else if (p->verdict == RP_OUTLIER_SUCCESS_RATE)
        put = snprintf(out, room, "rate=%.1f%% mean=%.1f%% bound=%.1f%%", rate, found->mean,
                       found->bound);
    else put = snprintf(out, room, "rate=%.1f%%", rate);
    if (put < 0) out[0] = 0;
}

static void tell(const struct rp_group *g, const struct rp_outlier_peer *p, rp_str name, bool rests,
                 const struct rp_outlier_found *found)
{
    char reason[96];
    const char *what = "outlier would rest";
    if (rests) what = "outlier rests";
    else if (g->conf->outlier.enforce) what = "outlier stays: too many rest already";
    put_reason(p, found, reason, sizeof reason);
    rp_log(warn, "%s upstream=%s peer=%s why=%s %s of=%llu", what, rp_log_esc(g->conf->name),
           rp_log_esc(name), WORDS[p->verdict], reason, (unsigned long long)(p->good + p->bad));
}

static void act(struct rp_group *g, uint32_t i, const struct rp_outlier_peer *p,
                const struct rp_outlier_found *found)
{
    struct rp_peer *peer = g->peers[i];
    bool enforce = g->conf->outlier.enforce;
    bool rests = enforce && rp_upstream_eject(g->proxy, peer, WHY[p->verdict]);
    if (rests) g->proxy->stats.outliers_ejected++;
    if (!enforce) {
        rp_roster_notice(g->proxy->roster, peer->place);
        g->proxy->stats.outliers_noticed++;
    }
    tell(g, p, peer->conf->name, rests, found);
}

void rp_guard_judge(struct rp_group *g, rp_ms now)
{
    const struct rp_conf_outlier *c = &g->conf->outlier;
    struct rp_outlier_rules rules = {
        .least = c->least,
        .peers = c->peers,
        .stdev = c->stdev,
        .failures = c->failures,
        .factor = c->factor,
        .slow_us = (uint32_t)RP_MIN(c->slow_ms * 1000, (rp_ms)RP_HISTOGRAM_MOST_US)};
    struct rp_outlier_found found;
    if (!rp_roster_take_turn(g->proxy->roster, g->gate, RP_GATE_OUTLIER_AT, now, c->every_ms))
        return;
    rp_group_settle(g);
    uint32_t n = g->peers_n;
    struct rp_outlier_peer *peers = rp_alloc(sizeof *peers * (n + 1));
    uint32_t *spare = rp_alloc(sizeof *spare * (n + 1));
    for (uint32_t i = 0; i < n; i++) look_at(g, i, now, &peers[i]);
    rp_outlier_judge(&rules, peers, n, spare, &found);
    /* Settling again, which a rest leads to, may bring members that came meanwhile: by index no more. */
    for (uint32_t i = 0; i < n && n == g->peers_n; i++)
        if (peers[i].verdict) act(g, i, &peers[i], &found);
    rp_free(spare);
    rp_free(peers);
}
