/* SPDX-License-Identifier: MIT
 *
 * headers: see headers.h.
 *
 * A client that is not in `trust` cannot say where a request came from: its X-Forwarded-* and
 * Forwarded are dropped, ours begin the list. A trusted one's lists are continued.
 */
#include "proxy/headers.h"

#include "http/field.h"
#include "http/h1_write.h"
#include "net/conn.h"
#include "proxy/client_cert.h"
#include "proxy/payload.h"
#include "proxy/proxy.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

enum {
    HEAD_EXTRA = 2048, /* request line and the fields we make, addresses and ports included */
    LOOP_MOST = 10,    /* passes by us, or by others of our name in one chain: more is a loop */
};

/* The field line that says that m passed here. */
static rp_str via_line(const struct rp_conf *c, const struct rp_msg *m)
{
    return c->via_lines[m->version == 10 ? 0 : m->version == 11 ? 1 : 2];
}

/* ---- edits --------------------------------------------------------------------------------- */

static rp_err apply_edit(struct rp_msg *m, struct rp_arena *a, const struct rp_conf_edit *e)
{
    switch ((enum rp_edit_kind)e->kind) {
    case RP_EDIT_SET: return rp_msg_set(m, a, e->id, e->name, e->value);
    case RP_EDIT_ADD: return rp_msg_add(m, a, e->id, e->name, e->value);
    case RP_EDIT_DEL: (void)rp_msg_del(m, e->id, e->name); break; /* how many does not matter */
    }
    return RP_OK;
}

rp_err rp_headers_edit_request(struct rp_req *r)
{
    rp_err put = rp_client_cert_is_forwarded(r) ? rp_client_cert_put(r) : RP_OK;
    if (put != RP_OK) return put;
    for (uint32_t i = 0; i < r->route->edits_n; i++) {
        const struct rp_conf_edit *e = &r->route->edits[i];
        if (e->response) continue;
        if (e->id == RP_H_HOST) {
            r->up_host = e->value;
            continue;
        }
        struct rp_msg *m = rp_req_edit_up(r);
        rp_err bad = m ? apply_edit(m, &r->x.arena, e) : RP_E_CAP;
        if (bad != RP_OK) return bad;
    }
    return RP_OK;
}

/* RFC 6797 §7.2: over TLS only. What a route says of the field wins. */
static rp_err put_hsts(struct rp_req *r)
{
    if (!r->x.secure || !r->route || r->route->host == UINT32_MAX) return RP_OK;
    rp_str value = r->conf->hosts[r->route->host]->hsts;
    if (value.len == 0) return RP_OK;
    return rp_msg_set(&r->res, &r->x.arena, RP_H_STRICT_TRANSPORT_SECURITY,
                      RP_STR("Strict-Transport-Security"), value);
}

rp_err rp_headers_edit_response(struct rp_req *r)
{
    rp_err put = put_hsts(r);
    if (put != RP_OK) return put;
    for (uint32_t i = 0; r->route && i < r->route->edits_n; i++) {
        const struct rp_conf_edit *e = &r->route->edits[i];
        rp_err bad = e->response ? apply_edit(&r->res, &r->x.arena, e) : RP_OK;
        if (bad != RP_OK) return bad;
    }
    return RP_OK;
}

/* ---- to the upstream ----------------------------------------------------------------------- */

/* Bytes of a word, which ends at a blank or a semicolon. */
static size_t word_n(rp_str s)
{
    size_t n = 0;
    while (n < s.len && s.ptr[n] != ' ' && s.ptr[n] != '\t' && s.ptr[n] != ';') n++;
    return n;
}

/* How often do the members of a list name us? "1.1 rproxy (why)" of Via, "rproxy; x=y" of CDN-Loop. */
static unsigned times_named(rp_str list, rp_str name, bool after_version)
{
    unsigned n = 0;
    rp_str item;
    while (rp_str_list_next(&list, &item)) {
        if (after_version) item = rp_str_trim(rp_str_from(item, word_n(item)));
        n += rp_str_ieq(rp_str_head(item, word_n(item)), name);
    }
    return n;
}

/* RFC 9110 §7.6: a message MUST NOT come back to us for ever. */
static bool is_looping(const struct rp_req *r)
{
    const struct rp_conf *c = r->conf;
    const struct rp_msg *h = &r->x.head;
    unsigned n = 0;
    const struct rp_field *f = rp_msg_find(h, c->via ? RP_H_VIA : RP_H_CDN_LOOP);
    for (; f; f = rp_msg_find_next(h, f)) n += times_named(rp_field_value(f), c->via_name, c->via);
    return n >= LOOP_MOST;
}

/* RFC 9110 §7.6.2: the lesser of one hop less and the most that we can count. */
static rp_err count_down(struct rp_req *r, rp_str text)
{
    uint64_t hops = 0;
    bool counted = rp_str_u64(text, &hops) == RP_OK;
    for (size_t i = 0; i < text.len && !counted; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return RP_OK; /* no number: passed as it is */
    }
    if (text.len == 0) return RP_OK;
    if (counted && hops == 0) return RP_END;
    struct rp_msg *m = rp_req_edit_up(r);
    char *left = rp_arena_alloc(&r->x.arena, 20);
    if (!m || !left) return RP_E_CAP;
    return rp_msg_set(m, &r->x.arena, RP_H_MAX_FORWARDS, RP_STR("Max-Forwards"),
                      rp_str_of(left, rp_str_put_u64(left, counted ? hops - 1 : UINT64_MAX)));
}

rp_err rp_headers_count_hop(struct rp_req *r)
{
    if (is_looping(r)) return RP_E_LOOP;
    if (r->up_head->method != RP_M_OPTIONS && r->up_head->method != RP_M_TRACE) return RP_OK;
    rp_str text = rp_msg_get(r->up_head, RP_H_MAX_FORWARDS);
    return text.ptr ? count_down(r, text) : RP_OK;
}

bool rp_headers_is_upgrade(const struct rp_req *r)
{
    const struct rp_msg *h = &r->x.head;
    bool has_content = h->framing == RP_BODY_CHUNKED || h->content_length > 0;
    if (!h->upgrade || !r->route->upgrade || h->version < 11) return false;
    /* RFC 6455 §4.1: a GET; content would have to be told from the tunnel's bytes. */
    if (h->method != RP_M_GET || has_content) return false;
    return rp_str_list_has(rp_msg_get(&r->x.head, RP_H_UPGRADE), RP_STR("websocket"));
}

/* The path as sent; without the prefix that the route strips, then in its normal form: that is what
 * the route was found by. Whole segments only. */
static rp_str target_path(const struct rp_req *r)
{
    const struct rp_uri *u = &r->x.head.uri;
    rp_str strip = r->route->strip_prefix;
    if (strip.len == 0 || !rp_str_starts(u->path, strip)) return u->raw_path;
    rp_str rest = rp_str_from(u->path, strip.len);
    bool whole = strip.ptr[strip.len - 1] == '/' || rest.len == 0 || rest.ptr[0] == '/';
    return whole ? rest : u->raw_path;
}

/* The method and the target as they stand in the client's head, where they go on unchanged. */
static rp_str line_as_sent(const struct rp_req *r)
{
    rp_str method = r->up_head->method_text, target = r->x.head.target;
    bool other =
        r->up_path.ptr || r->route->strip_prefix.len || r->x.head.uri.form != RP_URI_ORIGIN;
    if (other || target.ptr != method.ptr + method.len + 1 || target.ptr[-1] != ' ')
        return RP_STR_NONE;
    return rp_str_of(method.ptr, method.len + 1 + target.len);
}

static void put_target(struct rp_h1_writer *w, const struct rp_req *r)
{
    const struct rp_msg *h = &r->x.head;
    rp_str path = target_path(r);
    if (r->up_path.ptr) {
        rp_h1_put(w, r->up_path);
        return;
    }
    if (h->uri.form == RP_URI_ASTERISK) {
        rp_h1_put(w, RP_STR("*"));
        return;
    }
    if (path.len == 0 || path.ptr[0] != '/') rp_h1_put(w, RP_STR("/"));
    rp_h1_put(w, path);
    if (!h->uri.has_query) return;
    rp_h1_put(w, RP_STR("?"));
    rp_h1_put(w, h->uri.query);
}

static void put_method_and_target(struct rp_h1_writer *w, const struct rp_req *r)
{
    rp_str both = line_as_sent(r);
    rp_h1_put(w, both.ptr ? both : r->up_head->method_text);
    if (RP_LIKELY(both.ptr)) return;
    rp_h1_put(w, RP_STR(" "));
    put_target(w, r);
}

/* The authority a client asked for, as it wrote it. */
static rp_str asked_host(const struct rp_req *r)
{
    const struct rp_msg *h = &r->x.head;
    return h->uri.authority.len ? h->uri.authority : rp_msg_get(h, RP_H_HOST);
}

static void put_version_and_host(struct rp_h1_writer *w, const struct rp_req *r, rp_str asked)
{
    rp_str host = r->up_host.ptr ? r->up_host : r->upstream->host_header;
    if (!host.len) host = asked;
    /* A 1.0 client may name no host; the upstream, asked in 1.1, wants one (RFC 9112 §3.2). */
    if (!host.len && r->pick.peer && r->pick.peer->conf->addr.family != RP_ADDR_UNIX) {
        host = r->pick.peer->conf->name;
    }
    rp_h1_put_three(w, RP_STR(" HTTP/1.1\r\nHost: "), host, RP_STR("\r\n"));
}

/* "old, " of all lines; the caller adds the last member and the line's end. */
static void put_list_start(struct rp_h1_writer *w, const struct rp_msg *m, uint16_t id)
{
    const struct rp_field *f = rp_msg_find(m, id);
    for (; f; f = rp_msg_find_next(m, f)) {
        rp_h1_put(w, rp_field_value(f));
        rp_h1_put(w, RP_STR(", "));
    }
}

/* "old, " where the old list counts: from trusted clients. */
static inline void put_trusted_list(struct rp_h1_writer *w, const struct rp_req *r, uint16_t id)
{
    if (RP_UNLIKELY(r->from_trusted)) put_list_start(w, r->up_head, id);
}

/* Where the request came from, without a copy. */
static inline void put_client_ip(struct rp_h1_writer *w, const struct rp_req *r)
{
    RP_CHECK(w->end - w->p >= RP_ADDR_TEXT_BYTES);
    /* RFC 7239 §6.2; a socket's path is nobody's to see. */
    if (RP_UNLIKELY(r->conn_addr.family == RP_ADDR_UNIX)) rp_h1_put(w, RP_STR("unknown"));
    else w->p += rp_addr_put_ip(&r->conn_addr, w->p);
}

/* A trusted client's word stands, else ours. name: with ": " behind it. */
static inline void put_fact(struct rp_h1_writer *w, const struct rp_req *r, uint16_t id,
                            rp_str name, rp_str value)
{
    rp_str theirs = r->from_trusted ? rp_msg_get(r->up_head, id) : RP_STR_NONE;
    rp_h1_put_three(w, name, theirs.ptr ? theirs : value, RP_STR("\r\n"));
}

/* What nearly every request says of it. */
static void put_proto(struct rp_h1_writer *w, const struct rp_req *r)
{
    rp_str proto = r->x.secure ? RP_STR("https") : RP_STR("http");
    if (r->from_trusted || r->x.secure)
        put_fact(w, r, RP_H_X_FORWARDED_PROTO, RP_STR("X-Forwarded-Proto: "), proto);
    else rp_h1_put(w, RP_STR("X-Forwarded-Proto: http\r\n"));
}

/* RFC 7239 §6: IPv6 in brackets and quotes. */
static RP_COLD void put_rfc7239(struct rp_h1_writer *w, const struct rp_req *r, rp_str host)
{
    bool is_ip6 = r->conn_addr.family == RP_ADDR_IP6;
    rp_str quote = rp_field_is_name(host) ? RP_STR("") : RP_STR("\""); /* of all but a token */
    rp_h1_put(w, RP_STR("Forwarded: "));
    put_trusted_list(w, r, RP_H_FORWARDED);
    rp_h1_put(w, is_ip6 ? RP_STR("for=\"[") : RP_STR("for="));
    put_client_ip(w, r);
    rp_h1_put(w, is_ip6 ? RP_STR("]\"") : RP_STR(""));
    rp_h1_put(w, r->x.secure ? RP_STR(";proto=https;host=") : RP_STR(";proto=http;host="));
    rp_h1_put_three(w, quote, rp_str_head(host, RP_MIN(host.len, (size_t)512)), quote);
    rp_h1_put(w, RP_STR("\r\n"));
}

/* A unix socket has no port: without a trusted client's word there is none to tell. */
static void put_port(struct rp_h1_writer *w, const struct rp_req *r)
{
    const struct rp_serve *s = r->x.listener;
    rp_str theirs = r->from_trusted ? rp_msg_get(r->up_head, RP_H_X_FORWARDED_PORT) : RP_STR_NONE;
    if (theirs.ptr) {
        rp_h1_put_field(w, RP_STR("X-Forwarded-Port"), theirs);
    } else if (s->port) { /* all of it is copied, which is cheaper than just what counts */
        RP_CHECK((size_t)(w->end - w->p) >= sizeof s->port_line);
        memcpy(w->p, s->port_line, sizeof s->port_line);
        w->p += s->port_line_n;
    }
}

static void put_forwarding(struct rp_h1_writer *w, const struct rp_req *r, rp_str asked)
{
    uint64_t bits = r->conf->forward;
    if (bits & RP_FORWARD_FOR) {
        rp_h1_put(w, RP_STR("X-Forwarded-For: "));
        put_trusted_list(w, r, RP_H_X_FORWARDED_FOR);
        put_client_ip(w, r);
        rp_h1_put(w, RP_STR("\r\n"));
    }
    if (bits & RP_FORWARD_PROTO) put_proto(w, r);
    if (bits & RP_FORWARD_HOST)
        put_fact(w, r, RP_H_X_FORWARDED_HOST, RP_STR("X-Forwarded-Host: "), asked);
    if (bits & RP_FORWARD_PORT) put_port(w, r);
    if (bits & RP_FORWARD_RFC7239) put_rfc7239(w, r, asked);
}

/* Via of all messages that pass (RFC 9110 §7.6.3), lines joined into one. A site without Via is
 * known again by CDN-Loop (RFC 8586), which no server changes its behaviour for. */
static void put_via(struct rp_h1_writer *w, const struct rp_req *r)
{
    const struct rp_conf *c = r->conf;
    uint16_t id = c->via ? RP_H_VIA : RP_H_CDN_LOOP;
    rp_str line = c->via ? via_line(c, &r->x.head) : c->cdn_loop_line;
    size_t value_at = c->via ? strlen("Via: ") : strlen("CDN-Loop: ");
    if (rp_msg_find(r->up_head, id)) {
        rp_h1_put(w, rp_str_head(line, value_at));
        put_list_start(w, r->up_head, id);
        line = rp_str_from(line, value_at);
    }
    rp_h1_put(w, line);
}

/* What we say ourselves; a stranger's never pass. */
static inline void skip_forwarding(struct rp_h1_skip *s, uint64_t bits)
{
    bool all = bits == UINT64_MAX;
    if (all || (bits & RP_FORWARD_FOR)) rp_h1_skip_add(s, RP_H_X_FORWARDED_FOR);
    if (all || (bits & RP_FORWARD_PROTO)) rp_h1_skip_add(s, RP_H_X_FORWARDED_PROTO);
    if (all || (bits & RP_FORWARD_HOST)) rp_h1_skip_add(s, RP_H_X_FORWARDED_HOST);
    if (all || (bits & RP_FORWARD_PORT)) rp_h1_skip_add(s, RP_H_X_FORWARDED_PORT);
    if (all || (bits & RP_FORWARD_RFC7239)) rp_h1_skip_add(s, RP_H_FORWARDED);
}

static struct rp_h1_skip request_skip(const struct rp_req *r)
{
    struct rp_h1_skip s = rp_h1_hop;
    rp_h1_skip_add(&s, RP_H_HOST);
    /* Met here, or said by a 1.0 client, whose expectation MUST be ignored (RFC 9110 §10.1.1). */
    bool met = r->body_whole || r->spool || (r->payload && r->payload->sourced);
    if (met || r->x.head.version < 11) rp_h1_skip_add(&s, RP_H_EXPECT);
    rp_h1_skip_add(&s, r->conf->via ? RP_H_VIA : RP_H_CDN_LOOP);
    if (RP_LIKELY(!r->from_trusted)) skip_forwarding(&s, UINT64_MAX);
    else skip_forwarding(&s, r->conf->forward);
    if (r->x.early) rp_h1_skip_add(&s, RP_H_EARLY_DATA);
    return s;
}

/* A body that we hold whole has a length; one that hooks make piece by piece has none before its end;
 * else it goes on as it came. */
static void choose_framing(const struct rp_req *r, enum rp_framing *framing, uint64_t *length)
{
    *framing = (enum rp_framing)r->x.head.framing;
    *length = r->x.head.content_length;
    if (r->spool) {
        *framing = RP_BODY_LENGTH;
        *length = rp_spool_bytes(r->spool);
        return;
    }
    if (rp_payload_is_on(r)) *framing = RP_BODY_CHUNKED;
    if (!r->body_whole) return;
    bool had_body = *framing != RP_BODY_NONE || r->body.bytes > 0;
    *framing = had_body ? RP_BODY_LENGTH : RP_BODY_NONE;
    *length = r->body.bytes;
}

static void put_framing(struct rp_h1_writer *w, enum rp_framing framing, uint64_t length)
{
    if (framing == RP_BODY_CHUNKED) {
        rp_h1_put(w, RP_STR("Transfer-Encoding: chunked\r\n"));
    } else if (framing == RP_BODY_LENGTH) {
        rp_h1_put(w, RP_STR("Content-Length: "));
        rp_h1_put_u64(w, length);
        rp_h1_put(w, RP_STR("\r\n"));
    }
}

static size_t request_bound(const struct rp_req *r, rp_str asked)
{
    size_t sent = rp_h1_fields_bound(&r->x.head);
    size_t n = r->up_head == &r->x.head ? sent : rp_h1_fields_bound(r->up_head);
    n += r->up_head->method_text.len + r->up_path.len;
    n += 3 * asked.len + r->up_host.len + r->upstream->host_header.len;
    n += sent; /* lists that are continued, facts that are repeated */
    n += r->x.head.target.len + r->x.head.uri.path.len + r->conf->via_name.len;
    return n + (r->pick.peer ? r->pick.peer->conf->name.len : 0) + HEAD_EXTRA;
}

void rp_headers_put_request(struct rp_req *r, struct rp_chain *out, enum rp_framing *framing,
                            uint64_t *length)
{
    struct rp_h1_skip skip = request_skip(r);
    rp_str asked = asked_host(r);
    struct rp_h1_writer w = rp_h1_writer_new(r->proxy->mem, request_bound(r, asked));
    choose_framing(r, framing, length);
    put_method_and_target(&w, r);
    put_version_and_host(&w, r, asked);
    rp_h1_put_fields(&w, r->up_head, &skip);
    put_forwarding(&w, r, asked);
    put_via(&w, r);
    if (r->upgrading) {
        rp_h1_put(&w, RP_STR("Connection: upgrade\r\nUpgrade: websocket\r\n"));
    } else if (r->x.head.te_trailers) {
        rp_h1_put(&w, RP_STR("Connection: te\r\nTE: trailers\r\n"));
    }
    /* RFC 8470 §5.1: what may have been sent by somebody else MUST say so; what already says so on
     * its way to us keeps the field. */
    if (r->x.early) rp_h1_put(&w, RP_STR("Early-Data: 1\r\n"));
    put_framing(&w, *framing, *length);
    rp_h1_put(&w, RP_STR("\r\n"));
    rp_h1_writer_finish(&w, out);
}

/* ---- from the upstream --------------------------------------------------------------------- */

rp_err rp_headers_note_response(struct rp_req *r)
{
    if (!r->conf->via) return RP_OK;
    /* Name and value lie side by side, so that they are written as one. */
    rp_str line = via_line(r->conf, &r->res);
    rp_str value = rp_str_from(line, strlen("Via: "));
    return rp_msg_add(&r->res, &r->x.arena, RP_H_VIA, rp_str_head(line, strlen("Via")),
                      rp_str_head(value, value.len - strlen("\r\n")));
}
