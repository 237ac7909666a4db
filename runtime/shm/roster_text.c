/* SPDX-License-Identifier: MIT
 *
 * roster_text: see roster_text.h. Names in the roster may be cut: peers that look the same are one.
 */
#include "shm/roster_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shm/metric.h"

enum { OTHERS_UPSTREAMS = 64 }; /* upstreams of peers over the cap; further ones are not told */

struct series {
    char upstream[RP_ROSTER_UPSTREAM_BYTES], peer[RP_ROSTER_PEER_BYTES];
    struct rp_roster_totals totals;
    uint64_t rests;
    uint32_t peers_n, up_n;
    const char *state; /* NULL: of several peers */
    bool measured;     /* its past is known: p50, p99 in microseconds */
    uint32_t p50_us, p99_us;
};

/* ---- what there is -------------------------------------------------------------------------- */

static const char *state_of(const struct rp_roster_facts *f, uint64_t now_ms)
{
    if (f->order == RP_ROSTER_MAINT) return "maint";
    if (f->order == RP_ROSTER_DRAIN) return "drain";
    return f->health == RP_ROSTER_FAILING || f->rest_until_ms > now_ms ? "down" : "up";
}

static int by_name(const void *a, const void *b)
{
    const struct rp_roster_report *left = a, *right = b;
    int order = strcmp(left->upstream, right->upstream);
    return order ? order : strcmp(left->peer, right->peer);
}

static struct rp_roster_report *list_all(const struct rp_roster *r, uint32_t *n)
{
    struct rp_roster_report *list = NULL, one;
    uint32_t room = 0;
    *n = 0;
    for (uint32_t at = 0; rp_roster_next(r, &at, &one);) {
        if (*n == room) {
            room = room ? room * 2 : 64;
            list = rp_realloc(list, room * sizeof *list);
        }
        list[(*n)++] = one;
    }
    if (*n) qsort(list, *n, sizeof *list, by_name);
    return list;
}

static void add(struct series *s, const struct rp_roster_report *p, uint64_t now_ms)
{
    const char *state = state_of(&p->facts, now_ms);
    s->totals.requests += p->totals.requests;
    s->totals.failures += p->totals.failures;
    s->totals.in_flight += p->totals.in_flight;
    s->rests += p->facts.ejected;
    s->up_n += state[0] == 'u';
    s->state = s->peers_n++ == 0 ? state : NULL;
}

static void measure(const struct rp_roster *r, const struct rp_roster_report *p, uint64_t now_ms,
                    struct series *s)
{
    struct rp_roster_past past;
    rp_roster_past(r, p->place, now_ms, 0, &past);
    s->measured = past.n > 0;
    if (!s->measured) return;
    s->p50_us = rp_histogram_quantile(past.counts, 0.5);
    s->p99_us = rp_histogram_quantile(past.counts, 0.99);
}

static bool is_of(const struct series *s, const struct rp_roster_report *p, const char *peer)
{
    return strcmp(s->upstream, p->upstream) == 0 && strcmp(s->peer, peer) == 0;
}

/* In the order of names. Returns how many series there are; room for the cap and OTHERS_UPSTREAMS. */
static uint32_t gather(const struct rp_roster *r, uint64_t now_ms, struct series *all)
{
    uint32_t n, used = 0;
    struct rp_roster_report *list = list_all(r, &n);
    for (uint32_t i = 0; i < n; i++) {
        const struct rp_roster_report *p = &list[i];
        bool own = used < RP_ROSTER_SERIES_MOST;
        const char *peer = own ? p->peer : "(others)";
        if (!used || !is_of(&all[used - 1], p, peer)) {
            if (used == RP_ROSTER_SERIES_MOST + OTHERS_UPSTREAMS) break;
            struct series *s = &all[used++];
            *s = (struct series){0};
            memcpy(s->upstream, p->upstream, sizeof s->upstream);
            memcpy(s->peer, peer, strlen(peer) + 1);
            if (own) measure(r, p, now_ms, s);
        }
        add(&all[used - 1], p, now_ms);
    }
    rp_free(list);
    return used;
}

/* ---- as text -------------------------------------------------------------------------------- */

/* more: a further label, with its comma; or "". */
static void put_name(struct rp_buf *out, const char *name, const struct series *s, const char *more)
{
    rp_buf_add_z(out, name);
    rp_buf_add_z(out, "{upstream=\"");
    rp_metric_put_label(out, s->upstream);
    rp_buf_add_z(out, "\",peer=\"");
    rp_metric_put_label(out, s->peer);
    rp_buf_addf(out, "\"%s} ", more);
}

static void put_number(struct rp_buf *out, const char *name, const struct series *s, uint64_t value)
{
    put_name(out, name, s, "");
    rp_buf_addf(out, "%llu\n", (unsigned long long)value);
}

static void put_seconds(struct rp_buf *out, const char *name, const struct series *s,
                        const char *more, uint32_t us)
{
    put_name(out, name, s, more);
    rp_buf_addf(out, "%u.%06u\n", us / 1000000, us % 1000000);
}

static void put_requests(struct rp_buf *out, const char *name, const struct series *s)
{
    put_number(out, name, s, s->totals.requests);
}

static void put_failures(struct rp_buf *out, const char *name, const struct series *s)
{
    put_number(out, name, s, s->totals.failures);
}

static void put_in_flight(struct rp_buf *out, const char *name, const struct series *s)
{
    put_number(out, name, s, s->totals.in_flight);
}

static void put_rests(struct rp_buf *out, const char *name, const struct series *s)
{
    put_number(out, name, s, s->rests);
}

static void put_up(struct rp_buf *out, const char *name, const struct series *s)
{
    put_number(out, name, s, s->up_n);
}

static void put_state(struct rp_buf *out, const char *name, const struct series *s)
{
    char more[32];
    if (!s->state) return;
    int n = snprintf(more, sizeof more, ",state=\"%s\"", s->state);
    RP_CHECK(n > 0 && (size_t)n < sizeof more);
    put_name(out, name, s, more);
    rp_buf_add_z(out, "1\n");
}

static void put_latency(struct rp_buf *out, const char *name, const struct series *s)
{
    if (!s->measured) return;
    put_seconds(out, name, s, ",quantile=\"0.5\"", s->p50_us);
    put_seconds(out, name, s, ",quantile=\"0.99\"", s->p99_us);
}

static const struct family {
    const char *name, *type, *help;
    void (*put)(struct rp_buf *out, const char *name, const struct series *s);
} FAMILIES[] = {
    {"rproxy_peer_requests_total", "counter", "Requests that were sent to a peer, retries too.",
     put_requests},
    {"rproxy_peer_failures_total", "counter", "Those that failed by the peer's fault.",
     put_failures},
    {"rproxy_peer_in_flight", "gauge", "Requests under way there.", put_in_flight},
    {"rproxy_peer_up", "gauge", "1 while it takes requests; of (others) how many do.", put_up},
    {"rproxy_peer_state", "gauge", "1 for the state that it is in: up, down, drain, maint.",
     put_state},
    {"rproxy_peer_rests_total", "counter", "How often it was left alone because it failed.",
     put_rests},
    {"rproxy_peer_latency_seconds", "gauge",
     "Time to a response head over the last minute, by quantile.", put_latency},
};

void rp_roster_text(const struct rp_roster *r, uint64_t now_ms, struct rp_buf *out)
{
    if (!r) return;
    struct series *all = rp_alloc(sizeof *all * (RP_ROSTER_SERIES_MOST + OTHERS_UPSTREAMS));
    uint32_t n = gather(r, now_ms, all);
    for (size_t f = 0; n && f < RP_COUNT(FAMILIES); f++) {
        const struct family *it = &FAMILIES[f];
        rp_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", it->name, it->help, it->name, it->type);
        for (uint32_t i = 0; i < n; i++) it->put(out, it->name, &all[i]);
    }
    rp_free(all);
}
