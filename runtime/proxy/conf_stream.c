/* SPDX-License-Identifier: MIT
 *
 * conf_stream: the builder's half for streams: listeners that relay bytes, and the rules by which
 * they choose an upstream.
 */
#include "proxy/conf_build.h"

#include "net/tls_hello.h"
#include "proxy/stream_route.h"

enum { ALPN_NAME_MAX = 255 };

#define L(key, field, first, least, most)                                                          \
    {key,                                                                                          \
     offsetof(struct rp_conf_stream, field),                                                       \
     sizeof(((struct rp_conf_stream *)0)->field),                                                  \
     first,                                                                                        \
     least,                                                                                        \
     most},
static const struct rp_conf_number STREAM_NUMBERS[] = {
#include "proxy/conf.tbl"
};
#undef L

rp_err rp_conf_add_stream(struct rp_conf *c, uint32_t *index)
{
    if (c->frozen) return RP_E_PHASE;
    struct rp_conf_stream *s = rp_arena_zalloc(&c->arena, sizeof *s);
    void *grown = rp_conf_grow(&c->arena, c->streams, c->streams_n, sizeof s);
    if (!s || !grown) return RP_E_CAP;
    c->streams = grown;
    rp_conf_put_defaults(s, STREAM_NUMBERS, RP_COUNT(STREAM_NUMBERS));
    s->index = c->streams_n;
    c->streams[c->streams_n++] = s;
    *index = s->index;
    return RP_OK;
}

rp_err rp_conf_set_stream(struct rp_conf *c, uint32_t stream, rp_str key, double value)
{
    if (c->frozen) return RP_E_PHASE;
    if (stream >= c->streams_n) return RP_E_NOT_FOUND;
    struct rp_conf_stream *s = c->streams[stream];
    if (!rp_str_eq(key, RP_STR("upstream")))
        return rp_conf_put_number(s, STREAM_NUMBERS, RP_COUNT(STREAM_NUMBERS), key, value);
    if (!(value >= 0 && value < c->upstreams_n)) return RP_E_NOT_FOUND;
    s->upstream = c->upstreams[(uint32_t)value];
    return RP_OK;
}

rp_err rp_conf_add_stream_listener(struct rp_conf *c, uint32_t stream, rp_str addr, uint32_t *index,
                                   struct rp_conf_error *e)
{
    if (stream >= c->streams_n) return rp_conf_fail(e, RP_E_NOT_FOUND, "no such stream");
    rp_err err = rp_conf_add_listener(c, addr, false, index, e);
    if (err == RP_OK) c->listeners[*index].stream = c->streams[stream];
    return err;
}

/* ---- rules ---------------------------------------------------------------------------------- */

static rp_err copy_sni(struct rp_conf *c, rp_str name, rp_str *out, struct rp_conf_error *e)
{
    bool wild = rp_str_starts(name, RP_STR("*."));
    if (!rp_tls_hello_is_name(rp_str_from(name, wild ? 2 : 0)))
        return rp_conf_fail(e, RP_E_INVALID,
                            "\"%.*s\" is no server name (\"a.example\", \"*.a.example\")",
                            RP_STR_ARG(name));
    rp_str copy = rp_arena_copy(&c->arena, rp_str_from(name, wild));
    if (!copy.ptr) return rp_conf_full(e);
    for (size_t i = 0; i < copy.len; i++)
        ((char *)(uintptr_t)copy.ptr)[i] = rp_lower(copy.ptr[i]); /* ours, and new */
    *out = copy;
    return RP_OK;
}

static rp_err copy_alpn(struct rp_conf *c, rp_str name, rp_str *out, struct rp_conf_error *e)
{
    if (name.len == 0 || name.len > ALPN_NAME_MAX)
        return rp_conf_fail(e, RP_E_INVALID, "a protocol name has 1 to %d bytes", ALPN_NAME_MAX);
    return rp_conf_copy(c, name, out) == RP_OK ? RP_OK : rp_conf_full(e);
}

rp_err rp_conf_add_stream_rule(struct rp_conf *c, uint32_t stream, uint32_t kind, rp_str name,
                               uint32_t upstream, struct rp_conf_error *e)
{
    struct rp_conf_stream_rule rule = {0};
    if (c->frozen) return rp_conf_fail(e, RP_E_PHASE, "the configuration is frozen");
    if (stream >= c->streams_n) return rp_conf_fail(e, RP_E_NOT_FOUND, "no such stream");
    if (upstream != UINT32_MAX && upstream >= c->upstreams_n)
        return rp_conf_fail(e, RP_E_NOT_FOUND, "no such upstream");
    if (upstream != UINT32_MAX) rule.upstream = c->upstreams[upstream];
    struct rp_conf_stream *s = c->streams[stream];
    bool sni = kind == RP_STREAM_SNI;
    rp_err err = sni ? copy_sni(c, name, &rule.name, e) : copy_alpn(c, name, &rule.name, e);
    if (err != RP_OK) return err;
    struct rp_conf_stream_rule **rules = sni ? &s->sni : &s->alpn;
    uint32_t *n = sni ? &s->sni_n : &s->alpn_n;
    void *grown = rp_conf_grow(&c->arena, *rules, *n, sizeof rule);
    if (!grown) return rp_conf_full(e);
    *rules = grown;
    (*rules)[(*n)++] = rule;
    s->peek = true;
    return RP_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* A balance hook is a function of a request, and a stream is none. */
static rp_err check_balance(const struct rp_conf_upstream *u, struct rp_conf_error *e)
{
    if (!u || u->balance != RP_BALANCE_HOOK) return RP_OK;
    return rp_conf_fail(e, RP_E_INVALID,
                        "upstream \"%.*s\" cannot be a stream's: its balance hook chooses by "
                        "request",
                        RP_STR_ARG(u->name));
}

static rp_err finish_rules(struct rp_conf_stream_rule *rules, uint32_t n, struct rp_conf_error *e)
{
    rp_str twice;
    rp_err err = RP_OK;
    if (!rp_stream_route_sort(rules, n, &twice))
        return rp_conf_fail(e, RP_E_INVALID, "a stream has two rules for \"%.*s\"",
                            RP_STR_ARG(twice));
    for (uint32_t i = 0; i < n && err == RP_OK; i++) err = check_balance(rules[i].upstream, e);
    return err;
}

/* ---- datagrams ------------------------------------------------------------------------------ */

bool rp_conf_takes_udp(const struct rp_conf_upstream *u)
{
    for (uint32_t i = 0; i < u->peers_n; i++)
        if (u->peers[i].addr.family == RP_ADDR_UNIX) return false;
    return !u->proxy_protocol && !u->tls;
}

static rp_err check_udp(const struct rp_conf_listener *l, struct rp_conf_error *e)
{
    const struct rp_conf_stream *s = l->stream;
    if (!s)
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\": only a stream takes datagrams",
                            RP_STR_ARG(l->text));
    if (s->peek)
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\": datagrams have no ClientHello to choose by",
                            RP_STR_ARG(l->text));
    if (l->tls)
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\": TLS is not for datagrams",
                            RP_STR_ARG(l->text));
    if (l->proxy_protocol)
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\": the PROXY protocol is not for datagrams",
                            RP_STR_ARG(l->text));
    if (!s->upstream || rp_conf_takes_udp(s->upstream)) return RP_OK;
    return rp_conf_fail(
        e, RP_E_INVALID,
        "upstream \"%.*s\" cannot be that of \"%.*s\": datagrams go neither to unix "
        "sockets nor with a PROXY header or TLS",
        RP_STR_ARG(s->upstream->name), RP_STR_ARG(l->text));
}

rp_err rp_conf_finish_streams(struct rp_conf *c, struct rp_conf_error *e)
{
    rp_err err = RP_OK;
    for (uint32_t i = 0; i < c->listeners_n && err == RP_OK; i++)
        if (c->listeners[i].udp) err = check_udp(&c->listeners[i], e);
    for (uint32_t i = 0; i < c->streams_n && err == RP_OK; i++) {
        struct rp_conf_stream *s = c->streams[i];
        if (!s->upstream && !s->sni_n && !s->alpn_n && !s->connect_chain)
            return rp_conf_fail(e, RP_E_INVALID, "a stream has no upstream");
        err = check_balance(s->upstream, e);
        if (err == RP_OK) err = finish_rules(s->sni, s->sni_n, e);
        if (err == RP_OK) err = finish_rules(s->alpn, s->alpn_n, e);
    }
    return err;
}
