/* SPDX-License-Identifier: MIT
 *
 * sticky: see sticky.h.
 */
#include "proxy/sticky.h"

#include "base/codec.h"
#include "base/hash.h"
#include "http/field.h"
#include "proxy/proxy.h"

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
    if (!g->conf->sticky_cookie.len) return;
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

/* ---- cookies -------------------------------------------------------------------------------- */

static rp_str cookie_of(const struct rp_req *r)
{
    const struct rp_field *f = rp_msg_find(&r->x.head, RP_H_COOKIE);
    for (; f; f = rp_msg_find_next(&r->x.head, f)) {
        rp_str value = rp_field_cookie(rp_field_value(f), r->upstream->sticky_cookie);
        if (value.ptr) return value;
    }
    return RP_STR_NONE;
}

struct rp_peer_ref rp_sticky_find(const struct rp_req *r)
{
    struct rp_group *g = r->pick.group;
    rp_str value = cookie_of(r);
    if (!g->tokens || value.len != RP_STICKY_TOKEN) return (struct rp_peer_ref){0};
    rp_group_settle(g); /* one that came just now is known, too */
    for (uint32_t i = 0; i < g->peers_n; i++)
        if (memcmp(value.ptr, token_of(g, i).ptr, RP_STICKY_TOKEN) == 0) return rp_group_ref(g, i);
    return (struct rp_peer_ref){0};
}

rp_err rp_sticky_tell(struct rp_req *r)
{
    const struct rp_group *g = r->pick.group;
    const struct rp_peer *peer = r->pick.peer;
    if (!g->tokens || !peer || peer->index == RP_PEER_LEFT) return RP_OK;
    if (rp_str_eq(cookie_of(r), token_of(g, peer->index))) return RP_OK;
    const struct rp_conf_upstream *c = r->upstream;
    rp_str secure = r->x.secure ? RP_STR("; Secure") : RP_STR("");
    rp_str token = token_of(g, peer->index);
    const rp_str parts[] = {c->sticky_cookie, RP_STR("="), token, c->sticky_more, secure};
    size_t n = 0;
    for (size_t i = 0; i < RP_COUNT(parts); i++) n += parts[i].len;
    char *line = rp_arena_alloc(&r->x.arena, n), *at = line;
    if (!line) return RP_E_CAP;
    for (size_t i = 0; i < RP_COUNT(parts); i++) {
        memcpy(at, parts[i].ptr, parts[i].len);
        at += parts[i].len;
    }
    return rp_msg_add(&r->res, &r->x.arena, RP_H_SET_COOKIE, RP_STR("Set-Cookie"),
                      rp_str_of(line, n));
}
