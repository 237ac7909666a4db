/* SPDX-License-Identifier: MIT
 *
 * h2_msg: see h2_msg.h.
 */
#include "http/h2_msg.h"

#include "base/codec.h"
#include "base/random.h"
#include "http/chars.h"
#include "http/h1_write.h"

enum {
    FIELD_COST = 4,     /* ": " and CRLF, as the limits count HTTP/1 heads */
    KEY_BYTES = 16,     /* of a Sec-WebSocket-Key (RFC 6455 §4.1) */
    KEY_TEXT_MOST = 28, /* the same in base64, with room to spare */
};

/* ---- one field ----------------------------------------------------------------------------- */

/* "name: value\r\n" in the arena: a run of such lines goes upstream in one copy (h1_write.h). */
static rp_err put_line(struct rp_arena *a, rp_str name, rp_str value, struct rp_field *f)
{
    char *p = rp_arena_alloc(a, name.len + value.len + FIELD_COST);
    if (!p) return RP_E_CAP;
    if (name.len) memcpy(p, name.ptr, name.len);
    memcpy(p + name.len, ": ", 2);
    char *v = p + name.len + 2;
    if (value.len) memcpy(v, value.ptr, value.len);
    memcpy(v + value.len, "\r\n", 2);
    *f = (struct rp_field){
        .name = p,
        .value = v,
        .value_n = (uint32_t)value.len,
        .name_n = (uint16_t)name.len,
        .id = rp_token_header(p, name.len),
    };
    return RP_OK;
}

static rp_str *pseudo_of(struct rp_h2_head *h, rp_str name)
{
    if (rp_str_eq(name, RP_STR(":method"))) return &h->method;
    if (rp_str_eq(name, RP_STR(":path"))) return &h->path;
    if (rp_str_eq(name, RP_STR(":authority"))) return &h->authority;
    if (rp_str_eq(name, RP_STR(":scheme"))) return &h->scheme;
    return rp_str_eq(name, RP_STR(":protocol")) ? &h->protocol : NULL;
}

static rp_err add_pseudo(struct rp_h2_head *h, struct rp_arena *a,
                         const struct rp_h1_limits *limits, rp_str name, rp_str value)
{
    rp_str *at = pseudo_of(h, name);
    if (!at || at->ptr) return RP_E_H1_FIELD; /* unknown (RFC 9113 §8.3), or twice */
    if (at == &h->path && value.len > limits->uri_bytes) return RP_E_H1_URI_LONG;
    *at = rp_arena_copy(a, value);
    return at->ptr ? RP_OK : RP_E_CAP;
}

/* RFC 9113 §8.2.2: connection-specific fields make a message malformed; TE says trailers only. */
static bool is_forbidden(const struct rp_field *f)
{
    if (f->id == RP_H_TE) return !rp_str_ieq(rp_field_value(f), RP_STR("trailers"));
    return f->id != RP_H_OTHER && rp_token_header_is_hop(f->id);
}

/* RFC 9113 §8.2.3: a sender may split Cookie; before it is passed to HTTP/1, or to anybody who does
 * not know of that, the crumbs MUST be joined with "; ". To the limits they are one field, as they
 * are in HTTP/1: browsers make a crumb of each cookie. */
static rp_err add_crumb(struct rp_h2_head *h, struct rp_arena *a, rp_str value)
{
    size_t n = h->crumbs_n + 2 + value.len;
    if (n > h->crumbs_room) {
        size_t room = RP_MAX(n, 2 * h->crumbs_room);
        char *bigger = rp_arena_alloc(a, room);
        if (!bigger) return RP_E_CAP;
        if (h->crumbs_n) memcpy(bigger, h->crumbs, h->crumbs_n);
        h->crumbs = bigger;
        h->crumbs_room = room;
    }
    memcpy(h->crumbs + h->crumbs_n, "; ", 2);
    if (value.len) memcpy(h->crumbs + h->crumbs_n + 2, value.ptr, value.len);
    h->crumbs_n = n;
    return RP_OK;
}

static bool is_crumb(const struct rp_msg *m, rp_str name)
{
    return rp_str_eq(name, RP_STR("cookie")) && rp_msg_find(m, RP_H_COOKIE);
}

static rp_err add_plain(struct rp_h2_head *h, struct rp_msg *m, struct rp_arena *a,
                        const struct rp_h1_limits *limits, rp_str name, rp_str value)
{
    if (is_crumb(m, name)) return add_crumb(h, a, value);
    if (m->fields_n >= RP_MIN(limits->fields_n, m->fields_max)) return RP_E_H1_FIELDS_MANY;
    rp_err e = m->fields_n == m->fields_room ? rp_msg_reserve(m, a) : RP_OK;
    if (e != RP_OK) return e;
    struct rp_field *f = &m->fields[m->fields_n];
    e = put_line(a, name, value, f);
    if (e != RP_OK) return e;
    if (is_forbidden(f)) return RP_E_H1_FIELD;
    m->fields_n++;
    bool decides = (unsigned)f->id - 1 < RP_H1_FACTS_LAST;
    return decides ? rp_h1_facts_note(&h->facts, m, f) : RP_OK;
}

void rp_h2_head_add(struct rp_h2_head *h, struct rp_msg *m, struct rp_arena *a,
                    const struct rp_h1_limits *limits, rp_str name, rp_str value)
{
    if (h->bad != RP_OK) return;
    h->bytes += name.len + value.len + FIELD_COST;
    if (h->bytes > limits->head_bytes || name.len > RP_H1_NAME_MOST) h->bad = RP_E_H1_HEAD_BIG;
    else if (name.len > 0 && name.ptr[0] == ':') h->bad = add_pseudo(h, a, limits, name, value);
    else h->bad = add_plain(h, m, a, limits, name, value);
}

/* ---- the whole head ------------------------------------------------------------------------ */

static rp_err join_cookies(struct rp_h2_head *h, struct rp_msg *m, struct rp_arena *a)
{
    if (h->crumbs_n == 0) return RP_OK;
    struct rp_field *first = rp_msg_find(m, RP_H_COOKIE);
    char *all = rp_arena_alloc(a, first->value_n + h->crumbs_n);
    if (!all) return RP_E_CAP;
    if (first->value_n) memcpy(all, first->value, first->value_n);
    memcpy(all + first->value_n, h->crumbs, h->crumbs_n);
    first->value = all;
    first->value_n += (uint32_t)h->crumbs_n;
    return RP_OK;
}

/* Fields that HTTP/1 would have had among its own: they count as the client's do. */
static bool is_full(const struct rp_msg *m, unsigned more)
{
    return m->fields_n + more > m->fields_max;
}

/* A handshake of HTTP/1, as RFC 8441 §5 maps it. */
static rp_err become_upgrade(struct rp_h2_head *h, struct rp_msg *m, struct rp_arena *a)
{
    uint8_t key[KEY_BYTES];
    char text[KEY_TEXT_MOST];
    if (!rp_str_ieq(h->protocol, RP_STR("websocket"))) return RP_E_H1_CODING; /* 501 */
    if (is_full(m, 2)) return RP_E_H1_FIELDS_MANY;
    h->method = RP_STR("GET");
    rp_random_bytes(key, sizeof key);
    size_t n = rp_codec_base64_encode(rp_str_of((const char *)key, sizeof key), text);
    rp_str value = rp_arena_copy(a, rp_str_of(text, n));
    if (!value.ptr) return RP_E_CAP;
    rp_err e = rp_msg_set(m, a, RP_H_OTHER, RP_STR("sec-websocket-key"), value);
    if (e != RP_OK) return e;
    return rp_msg_set(m, a, RP_H_UPGRADE, RP_STR("upgrade"), RP_STR("websocket"));
}

/* RFC 9113 §8.3.1: which pseudo-header fields a request has. */
static bool has_pseudos(const struct rp_h2_head *h, bool connect)
{
    if (!h->method.len) return false;
    if (connect) return h->authority.len && !h->scheme.ptr && !h->path.ptr;
    return h->path.len && h->scheme.len;
}

/* RFC 9113 §8.3.1: an intermediary that makes HTTP/1 of it MUST create Host from :authority. A Host
 * that says something else would let two readers see two hosts: refused. */
static rp_err settle_host(struct rp_h2_head *h, struct rp_msg *m, struct rp_arena *a)
{
    if (!h->authority.len) return RP_OK; /* h1_facts wants a Host then */
    if (h->facts.hosts_n == 0) {
        if (is_full(m, 1)) return RP_E_H1_FIELDS_MANY;
        h->facts.hosts_n = 1;
        h->facts.host_at = m->fields_n;
        return rp_msg_add(m, a, RP_H_HOST, RP_STR("host"), h->authority);
    }
    rp_str host = rp_field_value(&m->fields[h->facts.host_at]);
    return rp_str_ieq(host, h->authority) ? RP_OK : RP_E_H1_HOST;
}

static rp_err read_target(struct rp_h2_head *h, struct rp_msg *m, bool connect)
{
    m->method_text = h->method;
    m->method = rp_token_method(h->method.ptr, h->method.len);
    m->target = connect ? h->authority : h->path;
    bool token = rp_chars_all(h->method, RP_CH_TOKEN);
    if (!token || h->method.len > RP_H1_METHOD_MOST) return RP_E_H1_METHOD;
    /* Only the forms that HTTP/2 has: no scheme in the path (RFC 9113 §8.3.1). */
    bool star = m->method == RP_M_OPTIONS && rp_str_eq(h->path, RP_STR("*"));
    if (!connect && !star && h->path.ptr[0] != '/') return RP_E_H1_TARGET;
    rp_err e = rp_uri_parse_target(m->target, m->method, &m->uri);
    if (e == RP_OK && !connect) m->uri.scheme = h->scheme;
    return e;
}

/* Length and end are told by the frames, so an unknown length needs no coding; to the floors above
 * it is what chunked is. */
static rp_err settle_framing(const struct rp_h2_head *h, struct rp_msg *m, bool connect, bool ended)
{
    if (connect || m->upgrade) {
        bool has = h->facts.length && m->content_length > 0;
        m->framing = RP_BODY_NONE; /* the tunnel's bytes are no content */
        return has ? RP_E_H1_FRAMING : RP_OK;
    }
    if (ended) {
        m->expect_continue = false;
        return m->framing == RP_BODY_LENGTH && m->content_length > 0 ? RP_E_H1_FRAMING : RP_OK;
    }
    m->expect_continue = h->facts.expect_continue;
    if (h->facts.length) return RP_OK;
    m->framing = RP_BODY_CHUNKED;
    if (m->method == RP_M_TRACE) return RP_E_H1_FRAMING; /* RFC 9110 §9.3.8, as in h1_facts */
    return RP_OK;
}

rp_err rp_h2_head_finish(struct rp_h2_head *h, struct rp_msg *m, struct rp_arena *a, bool ended)
{
    bool connect = rp_str_eq(h->method, RP_STR("CONNECT")) && !h->protocol.ptr;
    m->version = 20;
    if (h->method.len) { /* for the access log, whatever comes */
        m->method_text = h->method;
        m->target = h->path;
    }
    if (h->bad != RP_OK) return h->bad;
    if (h->protocol.ptr && !rp_str_eq(h->method, RP_STR("CONNECT"))) return RP_E_H1_SYNTAX;
    if (!has_pseudos(h, connect)) return RP_E_H1_SYNTAX;
    rp_err e = h->protocol.ptr ? become_upgrade(h, m, a) : RP_OK;
    if (e == RP_OK) e = settle_host(h, m, a);
    if (e == RP_OK) e = join_cookies(h, m, a);
    if (e == RP_OK) e = read_target(h, m, connect);
    if (e == RP_OK) e = rp_h1_facts_request(&h->facts, m);
    if (e != RP_OK) return e;
    m->upgrade = h->protocol.ptr != NULL;
    return settle_framing(h, m, connect, ended);
}

/* ---- trailers, responses --------------------------------------------------------------------- */

rp_err rp_h2_trailer_add(struct rp_msg *t, struct rp_arena *a, rp_str name, rp_str value)
{
    struct rp_field f;
    if (name.len == 0 || name.len > RP_H1_NAME_MOST) return RP_E_H1_FIELD;
    rp_err e = put_line(a, name, value, &f);
    if (e != RP_OK || !rp_h1_trailer_is_allowed(f.id)) return e;
    return rp_msg_add(t, a, f.id, rp_field_name(&f), rp_field_value(&f));
}

bool rp_h2_field_is_dropped(const struct rp_field *f)
{
    return f->name_n == 0 || rp_h1_skip_has(&rp_h1_hop, f->id);
}
