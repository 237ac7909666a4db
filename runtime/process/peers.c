/* SPDX-License-Identifier: MIT
 *
 * peers: see peers.h.
 */
#include "process/peers.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "process/os.h"

static const char *state_of(const struct rp_roster_facts *f, rp_ms now)
{
    if (f->order == RP_ROSTER_MAINT) return "maint";
    if (f->order == RP_ROSTER_DRAIN) return "drain";
    if (f->health == RP_ROSTER_FAILING || f->rest_until_ms > now) return "down";
    return "up";
}

static const char *reason_of(const struct rp_roster_facts *f)
{
    static const char *const WORDS[RP_ROSTER_WHYS] = {
        [RP_ROSTER_NO_REASON] = "",
        [RP_ROSTER_FAILS] = "",
        [RP_ROSTER_SUCCESS_RATE] = " (success rate)",
        [RP_ROSTER_FAILURES] = " (too many failures)",
        [RP_ROSTER_SLOW] = " (slow)",
    };
    return f->why < RP_ROSTER_WHYS ? WORDS[f->why] : "";
}

static void put_why(const struct rp_roster_facts *f, rp_ms now, struct rp_buf *out)
{
    if (f->order != RP_ROSTER_READY) rp_buf_add_z(out, "operator");
    else if (f->health == RP_ROSTER_FAILING) rp_buf_add_z(out, "check failed");
    else if (f->rest_until_ms > now)
        rp_buf_addf(out, "rests %llu s%s",
                    (unsigned long long)((f->rest_until_ms - now + 999) / 1000), reason_of(f));
    else if (f->fails) rp_buf_addf(out, "%u failures in a row", f->fails);
    else if (f->weight != UINT32_MAX) rp_buf_addf(out, "weight %u by operator", f->weight);
    else rp_buf_add_ch(out, '-');
}

static int by_name(const void *a, const void *b)
{
    const struct rp_roster_report *left = a, *right = b;
    int order = strcmp(left->upstream, right->upstream);
    return order ? order : strcmp(left->peer, right->peer);
}

static const char *from_of(const struct rp_roster_report *p)
{
    if (p->from == RP_ROSTER_PROVIDER) return "provider";
    return p->from == RP_ROSTER_OPERATOR ? "operator" : "site";
}

/* Of the last minute; "-" where nobody measures. */
static void put_past(const struct rp_roster *r, uint32_t place, rp_ms now, struct rp_buf *out)
{
    struct rp_roster_past past;
    rp_roster_past(r, place, now, 0, &past);
    if (past.ms == 0) {
        rp_buf_add_z(out, "\t-\t-\t-");
        return;
    }
    uint64_t tenths = past.n * 10000 / RP_MAX(past.ms, (uint64_t)1000);
    rp_buf_addf(out, "\t%llu.%llu", (unsigned long long)(tenths / 10),
                (unsigned long long)(tenths % 10));
    if (past.n == 0) rp_buf_add_z(out, "\t-\t-");
    else
        rp_buf_addf(out, "\t%u\t%u", rp_histogram_quantile(past.counts, 0.5),
                    rp_histogram_quantile(past.counts, 0.99));
}

static void put_check(const struct rp_roster_facts *f, rp_ms now, struct rp_buf *out)
{
    if (f->check_ms == 0) {
        rp_buf_add_z(out, "\t-\t-");
        return;
    }
    rp_ms age = now > f->check_ms ? now - f->check_ms : 0; /* another clock may be a tick ahead */
    rp_buf_addf(out, "\t%s\t%llu", f->check_ok ? "ok" : "failed", (unsigned long long)age);
}

static void put_peer(const struct rp_roster *r, const struct rp_roster_report *p, rp_ms now,
                     struct rp_buf *out)
{
    rp_buf_add_escaped(out, rp_str_z(p->upstream));
    rp_buf_add_ch(out, '\t');
    rp_buf_add_escaped(out, rp_str_z(p->peer));
    rp_buf_addf(out, "\t%s\t", state_of(&p->facts, now));
    put_why(&p->facts, now, out);
    rp_buf_addf(out, "\t%llu\t%llu\t%llu\t%u\t%s", (unsigned long long)p->totals.in_flight,
                (unsigned long long)p->totals.requests, (unsigned long long)p->totals.failures,
                p->latency_us, from_of(p));
    put_past(r, p->place, now, out);
    put_check(&p->facts, now, out);
    rp_buf_addf(out, "\t%u\t%u\n", p->facts.ejected, p->facts.noticed);
}

void rp_peers_table(const struct rp_roster *r, rp_ms now, struct rp_buf *out)
{
    struct rp_roster_report *list = NULL, one;
    uint32_t n = 0, room = 0;
    for (uint32_t at = 0; rp_roster_next(r, &at, &one);) {
        if (n == room) {
            room = room ? room * 2 : 64;
            list = rp_realloc(list, room * sizeof *list);
        }
        list[n++] = one;
    }
    if (n) qsort(list, n, sizeof *list, by_name);
    rp_buf_add_z(out, "upstream\tpeer\tstate\twhy\tin_flight\trequests\tfailures\tlatency_us\tfrom"
                      "\trate\tp50_us\tp99_us\tcheck\tcheck_age_ms\tejections\tnoticed\n");
    for (uint32_t i = 0; i < n; i++) put_peer(r, &list[i], now, out);
    rp_free(list);
}
