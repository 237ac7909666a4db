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

/* ---- telling -------------------------------------------------------------------------------- */

static const char *state_of(const struct rp_roster_facts *f, rp_ms now)
{
    if (f->order == RP_ROSTER_MAINT) return "maint";
    if (f->order == RP_ROSTER_DRAIN) return "drain";
    if (f->health == RP_ROSTER_FAILING || f->rest_until_ms > now) return "down";
    return "up";
}

static void put_why(const struct rp_roster_facts *f, rp_ms now, struct rp_buf *out)
{
    if (f->order != RP_ROSTER_READY) rp_buf_add_z(out, "operator");
    else if (f->health == RP_ROSTER_FAILING) rp_buf_add_z(out, "check failed");
    else if (f->rest_until_ms > now)
        rp_buf_addf(out, "rests %llu s",
                    (unsigned long long)((f->rest_until_ms - now + 999) / 1000));
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

static void put_peer(const struct rp_roster_report *p, rp_ms now, struct rp_buf *out)
{
    rp_buf_add_escaped(out, rp_str_z(p->upstream));
    rp_buf_add_ch(out, '\t');
    rp_buf_add_escaped(out, rp_str_z(p->peer));
    rp_buf_addf(out, "\t%s\t", state_of(&p->facts, now));
    put_why(&p->facts, now, out);
    rp_buf_addf(out, "\t%llu\t%llu\t%llu\t%u\n", (unsigned long long)p->totals.in_flight,
                (unsigned long long)p->totals.requests, (unsigned long long)p->totals.failures,
                p->latency_us);
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
    rp_buf_add_z(out, "upstream\tpeer\tstate\twhy\tin_flight\trequests\tfailures\tlatency_us\n");
    for (uint32_t i = 0; i < n; i++) put_peer(&list[i], now, out);
    rp_free(list);
}

/* ---- orders --------------------------------------------------------------------------------- */

static rp_str next_word(rp_str *rest)
{
    rp_str s = rp_str_trim(*rest);
    size_t n = rp_str_find(s, ' ', 0);
    *rest = rp_str_from(s, RP_MIN(n + 1, s.len));
    return rp_str_head(s, n);
}

static rp_err set_weight(struct rp_roster *r, uint32_t place, rp_str text)
{
    uint64_t weight = UINT32_MAX;
    if (!rp_str_eq(text, RP_STR("auto")) && (rp_str_u64(text, &weight) != RP_OK || weight > 65535))
        return RP_E_INVALID;
    rp_roster_set_weight(r, place, (uint32_t)weight);
    return RP_OK;
}

static rp_err obey(struct rp_roster *r, uint32_t place, rp_str word, rp_ms now)
{
    static const struct {
        const char *name;
        enum rp_roster_order order;
    } ORDERS[] = {
        {"ready", RP_ROSTER_READY}, {"drain", RP_ROSTER_DRAIN}, {"maint", RP_ROSTER_MAINT}};
    for (size_t i = 0; i < RP_COUNT(ORDERS); i++) {
        if (!rp_str_eq(word, rp_str_z(ORDERS[i].name))) continue;
        rp_ignore(rp_roster_set_order(r, place, ORDERS[i].order, now)); /* it may be so already */
        return RP_OK;
    }
    if (rp_str_starts(word, RP_STR("weight="))) return set_weight(r, place, rp_str_from(word, 7));
    return RP_E_INVALID;
}

rp_err rp_peers_order(struct rp_roster *r, rp_str words, rp_ms now, struct rp_buf *out)
{
    uint32_t place;
    rp_str upstream = next_word(&words), name = next_word(&words), word = next_word(&words);
    if (!word.len || rp_str_trim(words).len) {
        rp_buf_add_z(out, "expected: UPSTREAM PEER ready|drain|maint|weight=N|weight=auto");
        return RP_E_INVALID;
    }
    if (!rp_roster_find(r, upstream, name, &place)) {
        rp_buf_addf(out, "no peer \"%.*s\" in upstream \"%.*s\" (rproxy upstreams lists them)",
                    RP_STR_ARG(name), RP_STR_ARG(upstream));
        return RP_E_NOT_FOUND;
    }
    rp_err e = obey(r, place, word, now);
    if (e != RP_OK) {
        rp_buf_addf(out, "\"%.*s\" is none of ready, drain, maint, weight=0..65535, weight=auto",
                    RP_STR_ARG(word));
        return e;
    }
    rp_log(notice, "peer is ordered upstream=%s peer=%s order=%s", rp_log_esc(upstream),
           rp_log_esc(name), rp_log_esc(word));
    rp_buf_addf(out, "%.*s %.*s: %.*s", RP_STR_ARG(upstream), RP_STR_ARG(name), RP_STR_ARG(word));
    return RP_OK;
}
