/* SPDX-License-Identifier: MIT
 *
 * conf_split: the builder's half for splits.
 */
#include "proxy/conf_build.h"

#include "base/codec.h"
#include "base/hash.h"
#include "shm/splits.h"

_Static_assert((int)RP_CONF_SIDES == (int)RP_SPLIT_SIDES, "what is configured fits in the table");
_Static_assert((int)RP_CONF_STEPS == (int)RP_SPLIT_STEPS, "the same");

enum { KEY_DIGITS = 32 };

static const struct rp_conf_text TEXTS[] = {
    {"cookie", offsetof(struct rp_conf_split, cookie), "", RP_CONF_TOKEN},
    {"cookie_more", offsetof(struct rp_conf_split, cookie_more), "", RP_CONF_VALUE},
    {"key", offsetof(struct rp_conf_split, key), "", RP_CONF_VALUE},
};

static rp_err find(const struct rp_conf *c, uint32_t index, struct rp_conf_split **out)
{
    if (c->frozen) return RP_E_PHASE;
    if (index >= c->splits_n) return RP_E_NOT_FOUND;
    *out = c->splits[index];
    return RP_OK;
}

rp_err rp_conf_add_split(struct rp_conf *c, rp_str name, uint32_t *index)
{
    if (c->frozen) return RP_E_PHASE;
    if (!name.len) return RP_E_INVALID;
    struct rp_hash_key key = {.k0 = 1, .k1 = 1}; /* the same in all instances */
    struct rp_conf_split *s = rp_arena_zalloc(&c->arena, sizeof *s);
    void *grown = rp_conf_grow(&c->arena, c->splits, c->splits_n, sizeof s);
    if (!s || !grown || rp_conf_copy(c, name, &s->name) != RP_OK) return RP_E_CAP;
    c->splits = grown;
    s->index = *index = c->splits_n;
    s->place = UINT32_MAX;
    s->salt = rp_hash_keyed(&key, s->name);
    c->splits[c->splits_n++] = s;
    return RP_OK;
}

rp_err rp_conf_add_split_side(struct rp_conf *c, uint32_t split, uint32_t upstream, uint32_t share)
{
    struct rp_conf_split *s;
    rp_err e = find(c, split, &s);
    if (e != RP_OK) return e;
    if (upstream >= c->upstreams_n) return RP_E_NOT_FOUND;
    if (share > RP_SPLIT_POSITIONS) return RP_E_INVALID;
    if (s->sides_n == RP_CONF_SIDES) return RP_E_CAP;
    for (uint32_t i = 0; i < s->sides_n; i++)
        if (s->sides[i]->index == upstream) return RP_E_INVALID;
    s->sides[s->sides_n] = c->upstreams[upstream];
    s->shares[s->sides_n++] = share;
    return RP_OK;
}

rp_err rp_conf_add_split_step(struct rp_conf *c, uint32_t split, uint32_t share)
{
    struct rp_conf_split *s;
    rp_err e = find(c, split, &s);
    if (e != RP_OK) return e;
    if (s->steps_n == RP_CONF_STEPS) return RP_E_CAP;
    bool grows = !s->steps_n || share > s->steps[s->steps_n - 1];
    if (!share || share > RP_SPLIT_POSITIONS || !grows) return RP_E_INVALID;
    s->steps[s->steps_n++] = share;
    return RP_OK;
}

rp_err rp_conf_add_split_hash(struct rp_conf *c, uint32_t split, uint32_t part, rp_str name)
{
    struct rp_conf_split *s;
    rp_err e = find(c, split, &s);
    if (e != RP_OK) return e;
    if (part == RP_HASH_CONSUMER) s->late = true;
    return rp_conf_append_hash(c, &s->hash, &s->hash_n, part, name);
}

rp_err rp_conf_add_split_rule(struct rp_conf *c, uint32_t split, uint32_t upstream)
{
    struct rp_conf_split *s;
    rp_err e = find(c, split, &s);
    if (e != RP_OK) return e;
    if (upstream >= c->upstreams_n) return RP_E_NOT_FOUND;
    struct rp_conf_split_rule *grown = rp_conf_grow(&c->arena, s->rules, s->rules_n, sizeof *grown);
    if (!grown) return RP_E_CAP;
    s->rules = grown;
    grown[s->rules_n++] = (struct rp_conf_split_rule){.upstream = c->upstreams[upstream]};
    return RP_OK;
}

rp_err rp_conf_add_split_cond(struct rp_conf *c, uint32_t split, uint32_t kind, uint32_t op,
                              bool negate, rp_str name, rp_str value, struct rp_conf_error *e)
{
    struct rp_conf_split *s;
    rp_err err = find(c, split, &s);
    if (err != RP_OK) return rp_conf_fail(e, err, "%s", rp_err_text(err));
    if (!s->rules_n) return rp_conf_fail(e, RP_E_PHASE, "a condition without a rule");
    struct rp_conf_split_rule *rule = &s->rules[s->rules_n - 1];
    return rp_conf_append_cond(c, &rule->conds, &rule->conds_n, kind, op, negate, name, value, e);
}

rp_err rp_conf_set_split(struct rp_conf *c, uint32_t split, rp_str key, double value)
{
    struct rp_conf_split *s;
    rp_err e = find(c, split, &s);
    if (e != RP_OK) return e;
    bool base = rp_str_eq(key, RP_STR("base"));
    if (!base && !rp_str_eq(key, RP_STR("canary"))) return RP_E_NOT_FOUND;
    if (!(value >= 0 && value < s->sides_n)) return RP_E_INVALID;
    *(base ? &s->base : &s->canary) = (uint32_t)value;
    return RP_OK;
}

static bool is_key(rp_str text)
{
    char bytes[KEY_DIGITS / 2];
    size_t n;
    return text.len == KEY_DIGITS && rp_codec_hex_decode(text, bytes, &n) == RP_OK;
}

rp_err rp_conf_set_split_text(struct rp_conf *c, uint32_t split, rp_str key, rp_str value)
{
    struct rp_conf_split *s;
    rp_err e = find(c, split, &s);
    if (e != RP_OK) return e;
    if (rp_str_eq(key, RP_STR("key")) && !is_key(value)) return RP_E_INVALID;
    return rp_conf_put_text(c, s, TEXTS, RP_COUNT(TEXTS), key, value);
}

static const char *trouble_of(const struct rp_conf_split *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->sides_n; i++) sum += s->shares[i];
    if (!s->sides_n) return "no side";
    if (sum != RP_SPLIT_POSITIONS) return "shares that do not add up";
    if (s->steps_n && s->canary == s->base) return "one side that is canary and base";
    for (uint32_t i = 0; i < s->rules_n; i++)
        if (!s->rules[i].conds_n) return "a rule without a condition";
    return NULL;
}

rp_err rp_conf_finish_splits(struct rp_conf *c, struct rp_conf_error *e)
{
    for (uint32_t i = 0; i < c->splits_n; i++) {
        const char *trouble = trouble_of(c->splits[i]);
        if (trouble)
            return rp_conf_fail(e, RP_E_INVALID, "split \"%.*s\" has %s",
                                RP_STR_ARG(c->splits[i]->name), trouble);
    }
    return RP_OK;
}
