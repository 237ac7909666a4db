/* SPDX-License-Identifier: MIT
 *
 * shares: see shares.h.
 */
#include "process/shares.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

/* ---- telling -------------------------------------------------------------------------------- */

/* Names are told as they are, so that they can be given back; what would break the table is not. */
static void put_name(struct rp_buf *out, const char *name)
{
    for (; *name; name++) rp_buf_add_ch(out, (unsigned char)*name < ' ' ? '?' : *name);
}

static void put_side(const struct rp_split_report *r, uint32_t i, rp_ms now, struct rp_buf *out)
{
    const struct rp_split_side *side = &r->sides[i];
    const char *role = i == r->base ? "base" : r->steps_n && i == r->canary ? "canary" : "-";
    put_name(out, r->name);
    rp_buf_add_ch(out, '\t');
    put_name(out, side->name);
    rp_buf_addf(out, "\t%u\t%u\t%llu\t%llu\t%llu\t%llu\t%s\t%s\t%u\t%u\t%llu\t", side->share,
                side->said, (unsigned long long)side->all.requests,
                (unsigned long long)side->all.failures,
                (unsigned long long)rp_split_quantile(&side->all, 500000),
                (unsigned long long)rp_split_quantile(&side->all, 990000), role,
                RP_ROLLOUT_NAMES[r->state], r->steps_n ? r->step + 1 : 0, r->steps_n,
                (unsigned long long)(now > r->since_ms ? (now - r->since_ms) / 1000 : 0));
    rp_buf_add_escaped(out, r->why[0] ? rp_str_z(r->why) : RP_STR("-"));
    rp_buf_add_ch(out, '\n');
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct rp_split_report *)a)->name,
                  ((const struct rp_split_report *)b)->name);
}

static bool is_youngest(const struct rp_splits *s, const struct rp_split_report *r)
{
    uint32_t place;
    return rp_splits_find(s, rp_str_z(r->name), &place) && place == r->place;
}

void rp_shares_table(const struct rp_splits *s, rp_ms now, struct rp_buf *out)
{
    struct rp_split_report *list = NULL, *one = rp_alloc(sizeof *one);
    uint32_t n = 0, room = 0;
    for (uint32_t at = 0; rp_splits_next(s, &at, one);) {
        if (!is_youngest(s, one)) continue;
        if (n == room) {
            room = room ? room * 2 : 16;
            list = rp_realloc(list, room * sizeof *list);
        }
        list[n++] = *one;
    }
    if (n) qsort(list, n, sizeof *list, by_name);
    rp_buf_add_z(out, "split\tupstream\tshare\tsite\trequests\tfailures\tp50_us\tp99_us\trole\t"
                      "state\tstep\tsteps\tseconds\twhy\n");
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < list[i].sides_n; k++) put_side(&list[i], k, now, out);
    rp_free(list);
    rp_free(one);
}

/* ---- orders --------------------------------------------------------------------------------- */

static rp_str next_word(rp_str *rest)
{
    size_t n = rp_str_find(*rest, '\t', 0);
    rp_str word = rp_str_head(*rest, n);
    *rest = rp_str_from(*rest, RP_MIN(n + 1, rest->len));
    return word;
}

static rp_err set_shares(struct rp_splits *s, uint32_t place, rp_str words, rp_ms now)
{
    uint32_t shares[RP_SPLIT_SIDES], n = 0;
    while (words.len) {
        uint64_t share;
        bool read = rp_str_u64(next_word(&words), &share) == RP_OK && share <= RP_SPLIT_POSITIONS;
        if (!read || n == RP_SPLIT_SIDES) return RP_E_INVALID;
        shares[n++] = (uint32_t)share;
    }
    return rp_splits_set(s, place, shares, n, now);
}

static rp_err obey(struct rp_splits *s, uint32_t place, rp_str word, rp_str rest, rp_ms now)
{
    static const struct {
        const char *name;
        enum rp_split_word word;
    } WORDS[] = {{"pause", RP_SPLIT_PAUSE},
                 {"resume", RP_SPLIT_RESUME},
                 {"rollback", RP_SPLIT_ROLLBACK},
                 {"promote", RP_SPLIT_PROMOTE}};
    if (rp_str_eq(word, RP_STR("set"))) return set_shares(s, place, rest, now);
    if (rest.len) return RP_E_INVALID;
    if (rp_str_eq(word, RP_STR("site"))) return rp_splits_reset(s, place, now);
    for (size_t i = 0; i < RP_COUNT(WORDS); i++)
        if (rp_str_eq(word, rp_str_z(WORDS[i].name)))
            return rp_splits_say(s, place, WORDS[i].word, UINT32_MAX, RP_STR(""), now);
    return RP_E_INVALID;
}

/* "stable 50.00%, canary 50.00%" */
static void put_shares(const struct rp_split_report *r, struct rp_buf *out)
{
    for (uint32_t i = 0; i < r->sides_n; i++)
        rp_buf_addf(out, "%s%s %u.%02u%%", i ? ", " : "", r->sides[i].name, r->sides[i].share / 100,
                    r->sides[i].share % 100);
}

static void say_refused(const struct rp_split_report *r, rp_str word, rp_err e, struct rp_buf *out)
{
    if (e == RP_E_BUSY) rp_buf_add_z(out, "the table of splits is busy; try again");
    else if (!r->steps_n && !rp_str_eq(word, RP_STR("set")))
        rp_buf_addf(out, "%s has no rollout: only shares can be set", r->name);
    else
        rp_buf_addf(out, "\"%.*s\" cannot be done: the rollout of %s is %s", RP_STR_ARG(word),
                    r->name, RP_ROLLOUT_NAMES[r->state]);
}

rp_err rp_shares_order(struct rp_splits *s, rp_str words, rp_ms now, struct rp_buf *out)
{
    uint32_t place;
    struct rp_split_report r;
    struct rp_buf said;
    rp_str name = next_word(&words), word = next_word(&words);
    if (!rp_splits_find(s, name, &place)) {
        rp_buf_addf(out, "no split \"%.*s\" (rproxy split lists them)", RP_STR_ARG(name));
        return RP_E_NOT_FOUND;
    }
    rp_err e = obey(s, place, word, words, now);
    if (!rp_splits_look(s, place, &r)) return RP_E_NOT_FOUND;
    if (e != RP_OK) {
        say_refused(&r, word, e, out);
        return e;
    }
    rp_buf_init(&said, 4096);
    put_shares(&r, &said);
    if (r.steps_n)
        rp_buf_addf(&said, "; rollout %s, step %u of %u", RP_ROLLOUT_NAMES[r.state], r.step + 1,
                    r.steps_n);
    rp_log(notice, "split is ordered split=%s order=%s shares=\"%s\"", rp_log_esc(name),
           rp_log_esc(word), rp_log_esc(rp_buf_str(&said)));
    rp_buf_addf(out, "%s: ", r.name);
    rp_buf_add(out, rp_buf_str(&said));
    rp_buf_fini(&said);
    return RP_OK;
}
