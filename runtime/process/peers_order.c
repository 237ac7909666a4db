/* SPDX-License-Identifier: MIT
 *
 * peers_order: what the operator says about a peer. His word on one that there is goes to the roster;
 * peers that he adds and takes out are a set of members (proxy/member.h), one for each upstream.
 *
 * Of one name such a set has at most a line that takes it out, and behind that one which adds it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "process/os.h"
#include "process/peers.h"
#include "proxy/conf.h"
#include "proxy/member.h"

enum { WORDS_MOST = 48, META_TEXT_MOST = RP_MEMBER_META_MOST * 2 * (RP_MEMBER_TEXT_MOST + 1) };

/* ---- words ---------------------------------------------------------------------------------- */

struct order {
    const struct rp_peers *all;
    rp_str upstream, peer, word;
    rp_str rest[WORDS_MOST]; /* of add */
    uint32_t rest_n;
    struct rp_buf *out;
};

/* The next word of *at, which is put together in place; false: there is none, or it is not closed. */
static bool next_word(char **at, const char *end, rp_str *word)
{
    char *from = *at, *to;
    while (from < end && *from == ' ') from++;
    if (from == end) return false;
    bool quoted = *from == '"';
    from += quoted;
    to = from;
    word->ptr = to;
    while (from < end && *from != (quoted ? '"' : ' ')) {
        if (quoted && *from == '\\' && from + 1 < end) from++;
        *to++ = *from++;
    }
    word->len = (size_t)(to - word->ptr);
    if (quoted && (from == end || (from + 1 < end && from[1] != ' '))) return false;
    *at = RP_MIN(from + 1, (char *)end);
    return true;
}

static bool read_order(struct order *o, char *text, size_t n)
{
    const char *end = text + n;
    while (n > 0 && end[-1] == ' ') end--, n--;
    rp_str *const head[] = {&o->upstream, &o->peer, &o->word};
    for (size_t i = 0; i < RP_COUNT(head); i++)
        if (!next_word(&text, end, head[i])) return false;
    while (text < end) {
        if (o->rest_n == WORDS_MOST || !next_word(&text, end, &o->rest[o->rest_n++])) return false;
    }
    return true;
}

/* ---- facts ---------------------------------------------------------------------------------- */

static rp_err no_such_word(struct order *o)
{
    rp_buf_addf(
        o->out,
        "\"%.*s\" is none of ready, drain, maint, weight=0..65535, weight=auto, reset, add, "
        "remove",
        RP_STR_ARG(o->word));
    return RP_E_INVALID;
}

static rp_err set_weight(struct order *o, uint32_t place, rp_str text)
{
    uint64_t weight = UINT32_MAX;
    if (!rp_str_eq(text, RP_STR("auto")) && (rp_str_u64(text, &weight) != RP_OK || weight > 65535))
        return no_such_word(o);
    rp_roster_set_weight(o->all->roster, place, (uint32_t)weight);
    return RP_OK;
}

static rp_err say(struct order *o, uint32_t place, rp_ms now)
{
    static const struct {
        const char *name;
        enum rp_roster_order order;
    } ORDERS[] = {
        {"ready", RP_ROSTER_READY}, {"drain", RP_ROSTER_DRAIN}, {"maint", RP_ROSTER_MAINT}};
    struct rp_roster *r = o->all->roster;
    for (size_t i = 0; i < RP_COUNT(ORDERS); i++) {
        if (!rp_str_eq(o->word, rp_str_z(ORDERS[i].name))) continue;
        rp_ignore(rp_roster_set_order(r, place, ORDERS[i].order, now)); /* it may be so already */
        return RP_OK;
    }
    if (rp_str_starts(o->word, RP_STR("weight=")))
        return set_weight(o, place, rp_str_from(o->word, 7));
    if (!rp_str_eq(o->word, RP_STR("reset"))) return no_such_word(o);
    rp_roster_reset(r, place);
    return RP_OK;
}

/* ---- a member ------------------------------------------------------------------------------- */

struct made {
    struct rp_member m;
    rp_str keys[RP_MEMBER_META_MOST], values[RP_MEMBER_META_MOST];
    uint32_t meta_n;
    bool backup, priority;
};

static rp_err bad_setting(struct order *o, rp_str word, const char *wanted)
{
    rp_buf_addf(o->out, "\"%.*s\": %s", RP_STR_ARG(word), wanted);
    return RP_E_INVALID;
}

static bool number_of(rp_str text, uint64_t least, uint64_t most, uint32_t *out)
{
    uint64_t value;
    if (rp_str_u64(text, &value) != RP_OK || value < least || value > most) return false;
    *out = (uint32_t)value;
    return true;
}

static rp_err take_meta(struct order *o, rp_str word, rp_str key, rp_str value, struct made *x)
{
    if (!rp_member_is_text(key) || !rp_member_is_text(value))
        return bad_setting(o, word, "expected meta.KEY=VALUE");
    if (x->meta_n == RP_MEMBER_META_MOST) return bad_setting(o, word, "that is too much meta");
    uint32_t at = x->meta_n; /* sorted as they come */
    while (at > 0 && rp_str_cmp(x->keys[at - 1], key) > 0) at--;
    if (at > 0 && rp_str_eq(x->keys[at - 1], key)) return bad_setting(o, word, "it is there twice");
    memmove(&x->keys[at + 1], &x->keys[at], (x->meta_n - at) * sizeof x->keys[0]);
    memmove(&x->values[at + 1], &x->values[at], (x->meta_n - at) * sizeof x->values[0]);
    x->keys[at] = key;
    x->values[at] = value;
    x->meta_n++;
    return RP_OK;
}

static rp_err take_setting(struct order *o, rp_str word, struct made *x)
{
    size_t n = rp_str_find(word, '=', 0);
    rp_str key = rp_str_head(word, n), value = rp_str_from(word, RP_MIN(n + 1, word.len));
    uint32_t tier;
    if (rp_str_eq(word, RP_STR("backup"))) {
        x->backup = true;
        x->m.tier = RP_CONF_TIERS - 1;
        return RP_OK;
    }
    if (rp_str_eq(key, RP_STR("weight")))
        return number_of(value, 1, RP_MEMBER_WEIGHT_MOST, &x->m.weight)
                   ? RP_OK
                   : bad_setting(o, word, "expected weight=1..65535");
    if (rp_str_eq(key, RP_STR("max_conns")))
        return number_of(value, 0, UINT32_MAX, &x->m.max_conns)
                   ? RP_OK
                   : bad_setting(o, word, "expected max_conns=N");
    if (rp_str_eq(key, RP_STR("priority"))) {
        if (!number_of(value, 0, RP_CONF_TIERS - 2, &tier))
            return bad_setting(o, word, "expected priority=0..14");
        x->priority = true;
        x->m.tier = (uint8_t)tier;
        return RP_OK;
    }
    if (rp_str_eq(key, RP_STR("zone"))) {
        x->m.zone = value;
        return rp_member_is_text(value) ? RP_OK : bad_setting(o, word, "expected zone=NAME");
    }
    if (rp_str_starts(key, RP_STR("meta.")))
        return take_meta(o, word, rp_str_from(key, 5), value, x);
    return bad_setting(o, word,
                       "expected weight=N, priority=N, backup, max_conns=N, zone=NAME, "
                       "meta.KEY=VALUE");
}

static rp_err read_settings(struct order *o, struct made *x, struct rp_buf *meta)
{
    *x = (struct made){.m = {.weight = 1}};
    if (rp_member_address(o->peer, &x->m) != RP_OK) {
        rp_buf_addf(o->out,
                    "\"%.*s\" is no address (\"10.0.0.1:80\", \"[fd00::1]:80\", \"name:80\", "
                    "\"unix:/run/x\")",
                    RP_STR_ARG(o->peer));
        return RP_E_INVALID;
    }
    for (uint32_t i = 0; i < o->rest_n; i++) {
        rp_err e = take_setting(o, o->rest[i], x);
        if (e != RP_OK) return e;
    }
    if (x->backup && x->priority)
        return bad_setting(o, RP_STR("backup"), "a backup's priority is the last");
    for (uint32_t i = 0; i < x->meta_n; i++) {
        if (i) rp_buf_add_ch(meta, '\t');
        rp_buf_add(meta, x->keys[i]);
        rp_buf_add_ch(meta, '\t');
        rp_buf_add(meta, x->values[i]);
    }
    x->m.meta = rp_buf_str(meta);
    x->m.meta_n = x->meta_n;
    return RP_OK;
}

/* ---- the operator's set --------------------------------------------------------------------- */

struct found {
    bool out, added, weak; /* lines of that name */
};

/* The set without what it says of that peer; what it said. */
static struct found take_apart(rp_str text, rp_str peer, struct rp_buf *others)
{
    struct found f = {0};
    struct rp_member m;
    while (rp_member_next(&text, &m)) {
        if (!rp_str_eq(m.name, peer)) {
            rp_member_put(others, &m);
            continue;
        }
        f.out |= m.gone;
        f.weak |= m.weak;
        f.added |= !m.gone && !m.weak;
    }
    return f;
}

static void put_out(struct rp_buf *set, rp_str peer)
{
    struct rp_member gone = {.name = peer, .gone = true};
    rp_member_put(set, &gone);
}

static bool is_in(const struct rp_members *sets, const struct order *o)
{
    struct rp_member m;
    struct rp_buf text;
    bool found = false;
    rp_buf_init(&text, RP_MEMBERS_SET_MOST);
    if (sets && rp_members_get(sets, o->upstream, &text, NULL) == RP_OK) {
        rp_str rest = rp_buf_str(&text);
        while (!found && rp_member_next(&rest, &m)) found = !m.gone && rp_str_eq(m.name, o->peer);
    }
    rp_buf_fini(&text);
    return found;
}

/* Does the site or a provider bring it? Workers that idle may hold places for a moment longer. */
static bool is_known(const struct order *o)
{
    uint32_t place;
    if (is_in(o->all->members, o)) return true;
    return rp_roster_find(o->all->roster, o->upstream, o->peer, &place) &&
           rp_roster_from(o->all->roster, place) == RP_ROSTER_SITE;
}

/* One that was taken out comes back as it was described, unless it is described now. */
static rp_err add(struct order *o, struct found f, struct rp_buf *set, struct rp_buf *meta)
{
    struct made x;
    if (f.added || f.weak || (!f.out && is_known(o))) {
        rp_buf_addf(o->out, "\"%.*s\" is a peer of \"%.*s\" already", RP_STR_ARG(o->peer),
                    RP_STR_ARG(o->upstream));
        return RP_E_INVALID;
    }
    rp_err e = read_settings(o, &x, meta);
    if (e != RP_OK) return e;
    x.m.weak = f.out && o->rest_n == 0;
    if (f.out && !x.m.weak) put_out(set, o->peer);
    rp_member_put(set, &x.m);
    return RP_OK;
}

static rp_err take_out(struct order *o, struct found f, struct rp_buf *set)
{
    if (!f.added && (f.out || (!f.weak && !is_known(o)))) {
        rp_buf_addf(o->out, "no peer \"%.*s\" in upstream \"%.*s\" (rproxy upstreams lists them)",
                    RP_STR_ARG(o->peer), RP_STR_ARG(o->upstream));
        return RP_E_NOT_FOUND;
    }
    if (f.out || f.weak || !f.added) put_out(set, o->peer); /* the site's or a provider's */
    return RP_OK;
}

static bool is_upstream(const struct order *o)
{
    const struct rp_plan *p = o->all->plan;
    for (uint32_t i = 0; i < p->upstreams_n; i++)
        if (rp_str_eq(p->upstreams[i], o->upstream)) return true;
    return false;
}

static rp_err change(struct order *o)
{
    struct rp_buf before, set, meta;
    bool adds = rp_str_eq(o->word, RP_STR("add"));
    if (!is_upstream(o)) {
        rp_buf_addf(o->out, "no upstream \"%.*s\"", RP_STR_ARG(o->upstream));
        return RP_E_NOT_FOUND;
    }
    rp_buf_init(&before, RP_MEMBERS_SET_MOST);
    rp_buf_init(&set, RP_MEMBERS_SET_MOST);
    rp_buf_init(&meta, META_TEXT_MOST);
    rp_err e = rp_members_get(o->all->orders, o->upstream, &before, NULL);
    if (e == RP_OK) {
        struct found f = take_apart(rp_buf_str(&before), o->peer, &set);
        e = adds ? add(o, f, &set, &meta) : take_out(o, f, &set);
        bool spoken = e != RP_OK;
        if (e == RP_OK)
            e = set.failed ? RP_E_TOO_BIG
                           : rp_members_put(o->all->orders, o->upstream, rp_buf_str(&set), NULL);
        if (e != RP_OK && !spoken)
            rp_buf_addf(o->out, "the peers that operators add have no room: %s", rp_err_text(e));
    }
    rp_buf_fini(&before);
    rp_buf_fini(&set);
    rp_buf_fini(&meta);
    return e;
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* Of one that no worker has met yet, but will, the place is made here. */
static bool find_place(const struct order *o, uint32_t *place)
{
    struct rp_roster *r = o->all->roster;
    if (rp_roster_find(r, o->upstream, o->peer, place)) return true;
    if (!is_in(o->all->orders, o) && !is_in(o->all->members, o)) return false;
    return rp_roster_reserve(r, o->upstream, o->peer, place) == RP_OK;
}

static rp_err obey(struct order *o, rp_ms now)
{
    uint32_t place;
    bool adds = rp_str_eq(o->word, RP_STR("add"));
    if (!adds && o->rest_n) return no_such_word(o);
    if (adds || rp_str_eq(o->word, RP_STR("remove"))) return change(o);
    if (find_place(o, &place)) return say(o, place, now);
    rp_buf_addf(o->out, "no peer \"%.*s\" in upstream \"%.*s\" (rproxy upstreams lists them)",
                RP_STR_ARG(o->peer), RP_STR_ARG(o->upstream));
    return RP_E_NOT_FOUND;
}

rp_err rp_peers_order(const struct rp_peers *all, rp_str words, rp_ms now, struct rp_buf *out)
{
    struct order o = {.all = all, .out = out};
    char *copy = rp_strdup_n(words.ptr, words.len);
    rp_err e = RP_E_INVALID;
    if (read_order(&o, copy, words.len)) e = obey(&o, now);
    else
        rp_buf_add_z(out,
                     "expected: UPSTREAM PEER ready|drain|maint|weight=N|weight=auto|reset|add ..|"
                     "remove");
    if (e == RP_OK) {
        rp_log(notice, "peer is ordered upstream=%s peer=%s order=%s", rp_log_esc(o.upstream),
               rp_log_esc(o.peer), rp_log_esc(o.word));
        rp_buf_addf(out, "%.*s %.*s: %.*s", RP_STR_ARG(o.upstream), RP_STR_ARG(o.peer),
                    RP_STR_ARG(o.word));
    }
    rp_free(copy);
    return e;
}
