/* SPDX-License-Identifier: MIT
 *
 * split: see split.h.
 */
#include "proxy/split.h"

#include "base/codec.h"
#include "base/hash.h"
#include "base/log.h"
#include "http/field.h"
#include "proxy/hash_key.h"
#include "proxy/proxy.h"
#include "shm/roster.h"
#include "shm/splits.h"

enum {
    OWN_PLACES = 16,     /* of a proxy without other workers beside it */
    POSITION_DIGITS = 4, /* of a token; the rest proves that it is ours */
};

/* ---- places --------------------------------------------------------------------------------- */

static struct rp_split_plan plan_of(const struct rp_conf *c, const struct rp_conf_split *s)
{
    struct rp_split_plan plan = {.name = s->name,
                                 .generation = c->generation,
                                 .sides_n = s->sides_n,
                                 .base = s->base,
                                 .canary = s->canary,
                                 .steps_n = s->steps_n};
    for (uint32_t i = 0; i < s->sides_n; i++) {
        plan.sides[i] = s->sides[i]->name;
        plan.shares[i] = s->shares[i];
    }
    memcpy(plan.steps, s->steps, sizeof plan.steps);
    return plan;
}

static void hold(struct rp_proxy *p, const struct rp_conf *c, struct rp_conf_split *s)
{
    struct rp_split_plan plan = plan_of(c, s);
    uint64_t now = rp_loop_now(p->loop);
    rp_err e = rp_splits_hold(p->splits, p->splits_row, &plan, now, &s->place);
    if (e == RP_OK) return;
    s->place = UINT32_MAX;
    rp_log(error,
           "a split is not shared with other workers: it has the site's shares split=%s error=%s",
           rp_log_esc(s->name), rp_err_name(e));
}

void rp_splits_open(struct rp_proxy *p, struct rp_conf *c)
{
    if (!c->splits_n) return;
    if (!p->splits) p->splits = p->splits_own = rp_splits_own(OWN_PLACES);
    for (uint32_t i = 0; i < c->splits_n; i++)
        if (c->splits[i]->place == UINT32_MAX) hold(p, c, c->splits[i]);
}

void rp_splits_close(struct rp_proxy *p, struct rp_conf *c)
{
    for (uint32_t i = 0; i < c->splits_n; i++) {
        if (c->splits[i]->place != UINT32_MAX)
            rp_splits_drop(p->splits, p->splits_row, c->splits[i]->place);
        c->splits[i]->place = UINT32_MAX;
    }
}

void rp_proxy_use_splits(struct rp_proxy *p, struct rp_splits *splits, uint32_t row)
{
    if (p->splits) rp_splits_close(p, p->conf);
    rp_splits_free(&p->splits_own);
    p->splits = splits;
    p->splits_row = row;
    rp_splits_open(p, p->conf);
}

/* ---- tokens --------------------------------------------------------------------------------- */

static struct rp_hash_key key_of(const struct rp_proxy *p, const struct rp_conf_split *s)
{
    struct rp_hash_key key = rp_roster_key(p->roster);
    size_t n;
    if (s->key.len == 2 * sizeof key) /* checked when it was set */
        RP_CHECK(rp_codec_hex_decode(s->key, (char *)&key, &n) == RP_OK && n == sizeof key);
    key.k0 ^= rp_hash_keyed(&key, s->name);
    key.k1 = ~key.k1 ^ UINT64_C(0x73706c6974); /* not that of sticky peers */
    return key;
}

static void make_token(const struct rp_proxy *p, const struct rp_conf_split *s, uint32_t position,
                       char out[RP_SPLIT_TOKEN])
{
    struct rp_hash_key key = key_of(p, s);
    uint8_t bytes[RP_SPLIT_TOKEN / 2] = {(uint8_t)(position >> 8), (uint8_t)position};
    uint64_t proof[2];
    rp_str said = rp_str_of((const char *)bytes, POSITION_DIGITS / 2);
    proof[0] = rp_hash_keyed(&key, said);
    key.k1 = ~key.k1;
    proof[1] = rp_hash_keyed(&key, said);
    memcpy(bytes + POSITION_DIGITS / 2, proof, sizeof bytes - POSITION_DIGITS / 2);
    (void)rp_codec_hex_encode(rp_str_of((const char *)bytes, sizeof bytes), out);
}

static rp_str cookie_of(const struct rp_req *r, rp_str name)
{
    const struct rp_field *f = rp_msg_find(&r->x.head, RP_H_COOKIE);
    for (; f; f = rp_msg_find_next(&r->x.head, f)) {
        rp_str value = rp_field_cookie(rp_field_value(f), name);
        if (value.ptr) return value;
    }
    return RP_STR_NONE;
}

/* All bytes are looked at, wherever they differ. */
static bool is_same(const char *a, const char *b, size_t n)
{
    unsigned differ = 0;
    for (size_t i = 0; i < n; i++) differ |= (unsigned char)(a[i] ^ b[i]);
    return differ == 0;
}

static bool read_cookie(const struct rp_req *r, const struct rp_conf_split *s, uint32_t *position)
{
    char token[RP_SPLIT_TOKEN];
    uint8_t bytes[POSITION_DIGITS / 2];
    size_t n;
    rp_str value = cookie_of(r, s->cookie);
    if (value.len != RP_SPLIT_TOKEN) return false;
    if (rp_codec_hex_decode(rp_str_head(value, POSITION_DIGITS), (char *)bytes, &n) != RP_OK)
        return false;
    *position = (uint32_t)bytes[0] << 8 | bytes[1];
    if (*position >= RP_SPLIT_POSITIONS) return false;
    make_token(r->proxy, s, *position, token);
    return is_same(value.ptr, token, RP_SPLIT_TOKEN);
}

/* ---- choosing ------------------------------------------------------------------------------- */

static uint32_t scale(uint64_t bits)
{
    return (uint32_t)((bits >> 32) * RP_SPLIT_POSITIONS >> 32);
}

static enum rp_split_by find_position(struct rp_req *r, const struct rp_conf_split *s,
                                      uint32_t *position)
{
    uint64_t hash;
    if (s->hash_n && rp_hash_key_parts(r, s->hash, s->hash_n, s->salt, &hash)) {
        *position = scale(hash);
        return RP_SPLIT_BY_KEY;
    }
    if (s->cookie.len && read_cookie(r, s, position)) return RP_SPLIT_BY_COOKIE;
    *position = scale(rp_random_u64(&r->proxy->dice));
    return RP_SPLIT_BY_CHANCE;
}

/* By the site's own shares. */
static uint32_t side_alone(const struct rp_conf_split *s, uint32_t position)
{
    uint32_t end = 0;
    for (uint32_t i = 0; i < s->sides_n; i++) {
        if (i == s->base) continue;
        end += s->shares[i];
        if (position < end) return i;
    }
    return s->base;
}

static void choose_side(struct rp_req *r, const struct rp_conf_split *s)
{
    uint32_t position = 0;
    r->split_by = (uint8_t)find_position(r, s, &position);
    r->split_at = (uint16_t)position;
    uint32_t side = s->place == UINT32_MAX ? side_alone(s, position)
                                           : rp_splits_side(r->proxy->splits, s->place, position);
    r->upstream = s->sides[side < s->sides_n ? side : s->base];
}

rp_err rp_split_choose(struct rp_req *r)
{
    const struct rp_conf_split *s = r->route->split;
    rp_err trouble = RP_OK;
    for (uint32_t i = 0; i < s->rules_n; i++) {
        const struct rp_conf_split_rule *rule = &s->rules[i];
        if (!rp_route_holds(r->conf, rule->conds, rule->conds_n, &r->x.head, &r->client,
                            &r->x.arena, &trouble))
            continue;
        r->upstream = rule->upstream;
        return trouble;
    }
    if (s->late) r->split_by = RP_SPLIT_BY_LATER;
    else choose_side(r, s);
    return trouble;
}

void rp_split_choose_late(struct rp_req *r)
{
    if (r->split_by == RP_SPLIT_BY_LATER) choose_side(r, r->route->split);
}

/* ---- after ---------------------------------------------------------------------------------- */

rp_err rp_split_tell(struct rp_req *r)
{
    char token[RP_SPLIT_TOKEN];
    const struct rp_conf_split *s = r->route->split;
    if (!s->cookie.len || r->split_by != RP_SPLIT_BY_CHANCE) return RP_OK;
    make_token(r->proxy, s, r->split_at, token);
    rp_str secure = r->x.secure ? RP_STR("; Secure") : RP_STR("");
    const rp_str parts[] = {s->cookie, RP_STR("="), rp_str_of(token, sizeof token), s->cookie_more,
                            secure};
    size_t n = 0;
    for (size_t i = 0; i < RP_COUNT(parts); i++) n += parts[i].len;
    char *line = rp_arena_alloc(&r->x.arena, n), *at = line;
    if (!line) return RP_E_CAP;
    for (size_t i = 0; i < RP_COUNT(parts); i++) {
        if (parts[i].len) memcpy(at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    return rp_msg_add(&r->res, &r->x.arena, RP_H_SET_COOKIE, RP_STR("Set-Cookie"),
                      rp_str_of(line, n));
}

/* Failures of the upstream are those of the 5xx kind, whoever words them; a hook's are not. */
static bool is_upstreams_fault(const struct rp_req *r)
{
    if (r->from == RP_FROM_UPSTREAM && r->x.head_sent && r->res.status >= 500) return true;
    return r->fail <= RP_E_UP_NO_PEER && r->fail >= RP_E_UP_RESOLVE_TIMEOUT;
}

void rp_split_count(struct rp_req *r)
{
    if (!r->route || !r->upstream) return; /* a tunnel that outlived its generation */
    const struct rp_conf_split *s = r->route->split;
    if (!s || r->split_by < RP_SPLIT_BY_KEY || s->place == UINT32_MAX) return;
    bool failed = is_upstreams_fault(r);
    if (!failed && r->from != RP_FROM_UPSTREAM) return; /* it was not asked, or nobody waited */
    for (uint32_t i = 0; i < s->sides_n; i++) {
        if (s->sides[i] != r->upstream) continue;
        bool timed = !failed && r->first_byte_ns > r->pick.since_ns && r->pick.since_ns;
        uint64_t us = timed ? (r->first_byte_ns - r->pick.since_ns) / 1000 : 0;
        rp_splits_count(r->proxy->splits, s->place, i, failed, timed ? RP_MAX(us, 1u) : 0);
    }
}
