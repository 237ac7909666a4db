/* SPDX-License-Identifier: MIT
 *
 * sticky: see sticky.h.
 */
#include "proxy/sticky.h"

#include "base/codec.h"
#include "base/hash.h"
#include "http/chars.h"
#include "http/field.h"
#include "proxy/proxy.h"
#include "shm/dict.h"

enum { SEPARATOR = '~' }; /* may be in a cookie, and is no hexadecimal digit */

/* ---- tokens --------------------------------------------------------------------------------- */

static struct rp_hash_key key_of(const struct rp_group *g)
{
    struct rp_hash_key key = rp_roster_key(g->proxy->roster);
    size_t n;
    rp_str text = g->conf->sticky_key; /* checked when it was set */
    if (text.len == 2 * sizeof key)
        RP_CHECK(rp_codec_hex_decode(text, (char *)&key, &n) == RP_OK && n == sizeof key);
    return key;
}

/* Two hashes under keys that differ make 128 bits. */
static void make_token(const struct rp_hash_key *key, rp_str upstream, rp_str peer,
                       char out[RP_STICKY_TOKEN])
{
    struct rp_hash_key own = {.k0 = key->k0 ^ rp_hash_keyed(key, upstream), .k1 = key->k1};
    uint64_t bits[2];
    bits[0] = rp_hash_keyed(&own, peer);
    own.k1 = ~own.k1;
    bits[1] = rp_hash_keyed(&own, peer);
    (void)rp_codec_hex_encode(rp_str_of((const char *)bits, sizeof bits), out);
}

void rp_sticky_open(struct rp_group *g)
{
    if (!rp_sticky_is_on(g->conf)) return;
    struct rp_hash_key key = key_of(g);
    rp_sticky_close(g);
    g->tokens = rp_alloc((size_t)g->peers_n * RP_STICKY_TOKEN + 1);
    for (uint32_t i = 0; i < g->peers_n; i++)
        make_token(&key, g->conf->name, g->peers[i]->conf->name,
                   g->tokens + (size_t)i * RP_STICKY_TOKEN);
}

void rp_sticky_close(struct rp_group *g)
{
    rp_free(g->tokens);
    g->tokens = NULL;
}

static rp_str token_of(const struct rp_group *g, uint32_t peer)
{
    return rp_str_of(g->tokens + (size_t)peer * RP_STICKY_TOKEN, RP_STICKY_TOKEN);
}

/* ---- what the client brought ------------------------------------------------------------------- */

static rp_str value_of(const struct rp_req *r)
{
    const struct rp_conf_upstream *c = r->upstream;
    if (c->sticky_header.len) {
        const struct rp_field *f = rp_msg_find_name(&r->x.head, c->sticky_header);
        return f ? rp_field_value(f) : RP_STR_NONE;
    }
    const struct rp_field *f = rp_msg_find(&r->x.head, RP_H_COOKIE);
    for (; f; f = rp_msg_find_next(&r->x.head, f)) {
        rp_str value = rp_field_cookie(rp_field_value(f), c->sticky_cookie);
        if (value.ptr) return value;
    }
    return RP_STR_NONE;
}

/* The application's own; quotation marks stay outside of what is ours, `"TOKEN~value"`. */
static rp_str unquoted(rp_str value)
{
    bool quoted = value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"';
    return quoted ? rp_str_of(value.ptr + 1, value.len - 2) : value;
}

static rp_str session_of(const struct rp_req *r)
{
    rp_str value = value_of(r);
    return r->upstream->sticky_header.len ? value : unquoted(value);
}

/* "TOKEN~value". */
static bool is_prefixed(rp_str value)
{
    if (value.len <= RP_STICKY_TOKEN || value.ptr[RP_STICKY_TOKEN] != SEPARATOR) return false;
    for (size_t i = 0; i < RP_STICKY_TOKEN; i++)
        if (!rp_chars_is(value.ptr[i], RP_CH_HEX)) return false;
    return true;
}

static struct rp_peer_ref find_token(struct rp_group *g, rp_str token)
{
    if (!g->tokens || token.len != RP_STICKY_TOKEN) return (struct rp_peer_ref){0};
    rp_group_settle(g); /* one that came just now is known, too */
    for (uint32_t i = 0; i < g->peers_n; i++)
        if (memcmp(token.ptr, token_of(g, i).ptr, RP_STICKY_TOKEN) == 0) return rp_group_ref(g, i);
    return (struct rp_peer_ref){0};
}

/* ---- what is remembered ------------------------------------------------------------------------ */

struct learned_key {
    uint64_t bits[2];
};

static struct learned_key learned_key(const struct rp_group *g, rp_str value)
{
    struct learned_key key;
    struct rp_hash_key own = rp_roster_key(g->proxy->roster);
    own.k0 ^= rp_hash_keyed(&own, g->conf->name);
    key.bits[0] = rp_hash_keyed(&own, value);
    own.k1 = ~own.k1;
    key.bits[1] = rp_hash_keyed(&own, value);
    return key;
}

static rp_str key_text(const struct learned_key *key)
{
    return rp_str_of((const char *)key->bits, sizeof key->bits);
}

/* Of all workers; one that there is nothing beside has its own. NULL: no memory. */
static struct rp_dict *learned_of(struct rp_proxy *p)
{
    if (p->learned) return p->learned;
    if (rp_zone_new(RP_STR("sticky"), RP_STICKY_LEARNED_BYTES, &p->learned_own) != RP_OK)
        return NULL;
    if (rp_dict_new(p->learned_own, RP_DICT_CACHE, &p->learned) != RP_OK) p->learned = NULL;
    return p->learned;
}

static void learn(const struct rp_req *r, rp_str value)
{
    const struct rp_group *g = r->pick.group;
    struct rp_dict *d = learned_of(g->proxy);
    rp_ms now = rp_loop_now(g->proxy->loop);
    if (!d || !value.len) return;
    struct learned_key key = learned_key(g, value);
    struct rp_dict_item item = {.type = RP_DICT_STRING, .expires_ms = now + g->conf->sticky_ttl_ms};
    /* A table that does not take it costs the client its peer, not its answer. */
    (void)!rp_dict_set(d, key_text(&key), &item, token_of(g, r->pick.peer->index), RP_DICT_SET,
                       now);
}

static struct rp_peer_ref find_learned(struct rp_group *g, rp_str value)
{
    struct rp_peer_ref found = {0};
    struct rp_dict_item item;
    struct rp_buf token;
    struct rp_dict *d = learned_of(g->proxy);
    rp_ms now = rp_loop_now(g->proxy->loop);
    if (!d || !value.len) return found;
    struct learned_key key = learned_key(g, value);
    rp_buf_init(&token, 2 * RP_STICKY_TOKEN);
    if (rp_dict_get(d, key_text(&key), now, &item, &token) == RP_OK) {
        found = find_token(g, rp_buf_str(&token));
        /* Half its time is over: it is in use, so it begins anew. */
        if (item.expires_ms < now + g->conf->sticky_ttl_ms / 2)
            (void)!rp_dict_expire(d, key_text(&key), now + g->conf->sticky_ttl_ms, now);
    }
    rp_buf_fini(&token);
    return found;
}

/* ---- PICK -------------------------------------------------------------------------------------- */

struct rp_peer_ref rp_sticky_find(const struct rp_req *r)
{
    struct rp_group *g = r->pick.group;
    rp_str session = session_of(r);
    switch ((enum rp_sticky_mode)r->upstream->sticky_mode) {
    case RP_STICKY_INSERT: return find_token(g, value_of(r));
    case RP_STICKY_PREFIX:
        if (!is_prefixed(session)) break;
        return find_token(g, rp_str_head(session, RP_STICKY_TOKEN));
    case RP_STICKY_LEARN: return find_learned(g, session);
    }
    return (struct rp_peer_ref){0};
}

static bool is_ours(const struct rp_conf_upstream *c, const struct rp_field *f)
{
    if (!f->name_n) return false;
    return c->sticky_header.len ? rp_str_ieq(rp_str_of(f->name, f->name_n), c->sticky_header)
                                : f->id == RP_H_COOKIE;
}

/* The next value of ours in a field that begins with a token; ptr NULL: there is none. Browsers send
 * several cookies of one name when their paths differ. */
static rp_str next_prefixed(const struct rp_conf_upstream *c, rp_str field, size_t from)
{
    if (c->sticky_header.len) return from == 0 && is_prefixed(field) ? field : RP_STR_NONE;
    for (;;) {
        rp_str value = unquoted(rp_field_cookie(rp_str_from(field, from), c->sticky_cookie));
        if (!value.ptr || is_prefixed(value)) return value;
        from = (size_t)(value.ptr - field.ptr) + value.len;
    }
}

/* Its values without our words, in a copy. */
static rp_err strip_field(struct rp_req *r, struct rp_field *f)
{
    const struct rp_conf_upstream *c = r->upstream;
    rp_str whole = rp_field_value(f), value = next_prefixed(c, whole, 0);
    size_t n = 0, from = 0;
    if (!value.ptr) return RP_OK;
    char *text = rp_arena_alloc(&r->x.arena, whole.len);
    if (!text) return RP_E_CAP;
    while (value.ptr) {
        size_t at = (size_t)(value.ptr - whole.ptr);
        memcpy(text + n, whole.ptr + from, at - from);
        n += at - from;
        from = at + RP_STICKY_TOKEN + 1;
        value = next_prefixed(c, whole, at + value.len);
    }
    memcpy(text + n, whole.ptr + from, whole.len - from);
    f->value = text;
    f->value_n = (uint32_t)(n + whole.len - from);
    return RP_OK;
}

static bool has_prefixed(const struct rp_req *r)
{
    for (uint16_t i = 0; i < r->x.head.fields_n; i++) {
        const struct rp_field *f = &r->x.head.fields[i];
        if (is_ours(r->upstream, f) && next_prefixed(r->upstream, rp_field_value(f), 0).ptr)
            return true;
    }
    return false;
}

/* Once: what a later try would find behind our words is the application's own. */
rp_err rp_sticky_strip(struct rp_req *r)
{
    const struct rp_conf_upstream *c = r->upstream;
    if (c->sticky_mode != RP_STICKY_PREFIX || r->up_stripped) return RP_OK;
    r->up_stripped = true;
    if (!has_prefixed(r)) return RP_OK;
    struct rp_msg *m = rp_req_edit_up(r);
    if (!m) return RP_E_CAP;
    for (uint16_t i = 0; i < m->fields_n; i++) {
        rp_err e = is_ours(c, &m->fields[i]) ? strip_field(r, &m->fields[i]) : RP_OK;
        if (e != RP_OK) return e;
    }
    return RP_OK;
}

/* ---- the answer -------------------------------------------------------------------------------- */

static rp_err join(struct rp_req *r, const rp_str *parts, size_t parts_n, rp_str *out)
{
    size_t n = 0;
    for (size_t i = 0; i < parts_n; i++) n += parts[i].len;
    char *text = rp_arena_alloc(&r->x.arena, n + 1), *at = text;
    if (!text) return RP_E_CAP;
    for (size_t i = 0; i < parts_n; i++) {
        if (parts[i].len) memcpy(at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    *out = rp_str_of(text, n);
    return RP_OK;
}

static rp_err insert(struct rp_req *r, rp_str token)
{
    const struct rp_conf_upstream *c = r->upstream;
    if (rp_str_eq(value_of(r), token)) return RP_OK;
    if (c->sticky_header.len)
        return rp_msg_set(&r->res, &r->x.arena, RP_H_OTHER, c->sticky_header, token);
    rp_str line, secure = r->x.secure ? RP_STR("; Secure") : RP_STR("");
    const rp_str parts[] = {c->sticky_cookie, RP_STR("="), token, c->sticky_more, secure};
    rp_err e = join(r, parts, RP_COUNT(parts), &line);
    if (e != RP_OK) return e;
    return rp_msg_add(&r->res, &r->x.arena, RP_H_SET_COOKIE, RP_STR("Set-Cookie"), line);
}

/* The value in an answer's field, when it is about our name: a part of the field. */
static rp_str said_value(const struct rp_conf_upstream *c, const struct rp_field *f)
{
    rp_str whole = rp_field_value(f);
    if (!f->name_n) return RP_STR_NONE;
    if (c->sticky_header.len)
        return rp_str_ieq(rp_str_of(f->name, f->name_n), c->sticky_header) ? whole : RP_STR_NONE;
    if (f->id != RP_H_SET_COOKIE) return RP_STR_NONE;
    rp_str pair = rp_str_trim(rp_str_head(whole, rp_str_find(whole, ';', 0)));
    size_t equals = rp_str_find(pair, '=', 0);
    if (equals >= pair.len) return RP_STR_NONE;
    if (!rp_str_eq(rp_str_trim(rp_str_head(pair, equals)), c->sticky_cookie)) return RP_STR_NONE;
    return unquoted(rp_str_trim(rp_str_from(pair, equals + 1)));
}

/* What clients send back is "TOKEN~value": the field gets longer by the token. */
static rp_err put_prefix(struct rp_req *r, struct rp_field *f, rp_str value, rp_str token)
{
    rp_str line, whole = rp_field_value(f);
    size_t at = (size_t)(value.ptr - whole.ptr);
    const rp_str parts[] = {rp_str_head(whole, at), token, RP_STR("~"), rp_str_from(whole, at)};
    rp_err e = join(r, parts, RP_COUNT(parts), &line);
    if (e != RP_OK) return e;
    if (line.len > UINT32_MAX) return RP_E_CAP;
    f->value = line.ptr;
    f->value_n = (uint32_t)line.len;
    return RP_OK;
}

static rp_err tell_of_values(struct rp_req *r, rp_str token)
{
    bool any = false;
    const struct rp_conf_upstream *c = r->upstream;
    for (uint16_t i = 0; i < r->res.fields_n; i++) {
        struct rp_field *f = &r->res.fields[i];
        rp_str value = said_value(c, f);
        if (!value.ptr || !value.len) continue;
        any = true;
        if (c->sticky_mode == RP_STICKY_LEARN) learn(r, value);
        else if (put_prefix(r, f, value, token) != RP_OK) return RP_E_CAP;
    }
    /* Its peer is another one now, without a word of that: it comes back to this one. */
    bool moved = !any && r->pick.bound.id && r->pick.bound.id != r->pick.peer->id;
    if (moved && c->sticky_mode == RP_STICKY_LEARN) learn(r, session_of(r));
    return RP_OK;
}

rp_err rp_sticky_tell(struct rp_req *r)
{
    const struct rp_group *g = r->pick.group;
    const struct rp_peer *peer = r->pick.peer;
    if (!g->tokens || !peer || peer->index == RP_PEER_LEFT) return RP_OK;
    rp_str token = token_of(g, peer->index);
    return r->upstream->sticky_mode == RP_STICKY_INSERT ? insert(r, token)
                                                        : tell_of_values(r, token);
}
