/* SPDX-License-Identifier: MIT
 *
 * access_line: see access_line.h. Two formats:
 *
 * combined  nginx's: ip - - [time] "request line" status body-bytes "referer" "user-agent", with '"',
 *           '\' and bytes outside of 0x20-0x7e as \xHH, and "-" for what is absent
 * json      the chosen fields in order (access.tbl), one object a line
 */
#include "proxy/access_line.h"

#include "http/scan.h"
#include "proxy/access_field.h"
#include "proxy/coalesce.h"
#include "proxy/connpool.h"
#include "proxy/hedge.h"
#include "proxy/upstream.h"

enum { NS_PER_MS = 1000000 };

/* One line under way. */
struct line {
    struct rp_buf *out;
    const struct rp_req *r;
    double wall;
    rp_ns now_ns;
    struct rp_access_clock *clock;
};

/* ---- pieces --------------------------------------------------------------------------------- */

/* First byte that must be escaped: outside of 0x20-0x7e, '"' or '\'. */
static const char *scan_plain(const char *p, const char *end)
{
#ifdef RP_SCAN_SSE2
    for (; end - p >= 16; p += 16) {
        __m128i x = rp_scan_load(p);
        __m128i odd = _mm_or_si128(rp_scan_is(x, '"'), rp_scan_is(x, '\\'));
        unsigned plain = rp_scan_mask(_mm_andnot_si128(odd, rp_scan_within(x, 0x20, 0x7e)));
        if (plain != 0xffff) return p + __builtin_ctz(~plain);
    }
#endif
    while (p < end && *p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\') p++;
    return p;
}

/* nginx's escaping: upper-case hex. */
static void add_escaped(struct rp_buf *out, rp_str s)
{
    static const char hex[] = "0123456789ABCDEF";
    const char *p = s.ptr, *end = s.ptr + s.len;
    while (p < end) {
        const char *odd = scan_plain(p, end);
        rp_buf_add(out, rp_str_of(p, (size_t)(odd - p)));
        if (odd == end) return;
        uint8_t byte = (uint8_t)*odd;
        const char text[] = {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
        rp_buf_add(out, rp_str_of(text, sizeof text));
        p = odd + 1;
    }
}

static void add_or_dash(struct rp_buf *out, rp_str s)
{
    if (s.len == 0) rp_buf_add_ch(out, '-');
    else add_escaped(out, s);
}

static size_t put_octet(char *p, unsigned octet)
{
    size_t n = 0;
    if (octet > 99) p[n++] = (char)('0' + octet / 100);
    if (octet > 9) p[n++] = (char)('0' + octet / 10 % 10);
    p[n++] = (char)('0' + octet % 10);
    return n;
}

/* Most clients: without the C library's formatted print, which takes longer than all the rest. */
static size_t put_ip(const struct rp_addr *a, char out[RP_ADDR_TEXT_BYTES])
{
    if (a->family != RP_ADDR_IP4) return rp_addr_put_ip(a, out);
    size_t n = 0;
    for (int i = 12; i < 16; i++) {
        if (i > 12) out[n++] = '.';
        n += put_octet(out + n, a->ip[i]);
    }
    return n;
}

static void refresh_clock(struct rp_access_clock *clock, double wall)
{
    int64_t second = (int64_t)wall;
    if (second == clock->second) return;
    clock->second = second;
    rp_clock_put_clf(clock->clf, second);
    rp_clock_put_iso(clock->iso, (double)second);
}

/* ---- facts ---------------------------------------------------------------------------------- */

/* When no head was sent: what the failure stands for, as 499 for a client that went away. */
static unsigned status_of(const struct rp_req *r)
{
    if (r->x.head_sent) return r->res.status;
    return r->fail < 0 ? (unsigned)rp_err_status(r->fail) : 0;
}

static rp_str protocol_of(const struct rp_msg *head)
{
    switch (head->version) {
    case 10: return RP_STR("HTTP/1.0");
    case 11: return RP_STR("HTTP/1.1");
    case 20: return RP_STR("HTTP/2.0");
    default: return RP_STR_NONE;
    }
}

/* Start of the last attempt: its connect, or its sending when the connection was there already. */
static rp_ns attempt_start(const struct rp_req *r)
{
    return r->connect_start_ns && !r->up_reused ? r->connect_start_ns : r->sent_ns;
}

static rp_ns end_of(const struct line *l)
{
    return l->r->end_ns ? l->r->end_ns : l->now_ns;
}

/* ---- combined ------------------------------------------------------------------------------- */

static void add_request_line(struct rp_buf *out, const struct rp_msg *head)
{
    rp_str protocol = protocol_of(head);
    if (head->method_text.len == 0) { /* no head, or none that could be read */
        rp_buf_add_ch(out, '-');
        return;
    }
    add_escaped(out, head->method_text);
    rp_buf_add_ch(out, ' ');
    add_escaped(out, head->target);
    if (protocol.len == 0) return;
    rp_buf_add_ch(out, ' ');
    rp_buf_add(out, protocol);
}

static size_t put_text(char *out, const char *text, size_t n)
{
    memcpy(out, text, n);
    return n;
}

static size_t put_status(char *out, unsigned status)
{
    out[0] = (char)('0' + status / 100 % 10);
    out[1] = (char)('0' + status / 10 % 10);
    out[2] = (char)('0' + status % 10);
    return 3;
}

/* ` name="value"` of what hooks added. */
static void add_pairs(struct rp_buf *out, const struct rp_req_note *n)
{
    for (; n; n = n->next) {
        rp_buf_add_ch(out, ' ');
        rp_buf_add(out, n->name);
        rp_buf_add(out, RP_STR("=\""));
        add_escaped(out, n->value);
        rp_buf_add_ch(out, '"');
    }
}

static void add_combined(struct line *l)
{
    const struct rp_req *r = l->r;
    struct rp_buf *out = l->out;
    char text[RP_ADDR_TEXT_BYTES + 64];
    size_t n = put_ip(&r->client, text);
    if (n == 0) text[n++] = '-';
    n += put_text(text + n, " - - [", 6);
    n += put_text(text + n, l->clock->clf, sizeof l->clock->clf);
    n += put_text(text + n, "] \"", 3);
    rp_buf_add(out, rp_str_of(text, n));
    add_request_line(out, &r->x.head);
    n = put_text(text, "\" ", 2);
    n += put_status(text + n, status_of(r));
    text[n++] = ' ';
    n += rp_str_put_u64(text + n, r->x.body_out_bytes);
    n += put_text(text + n, " \"", 2);
    rp_buf_add(out, rp_str_of(text, n));
    add_or_dash(out, rp_msg_get(&r->x.head, RP_H_REFERER));
    rp_buf_add(out, RP_STR("\" \""));
    add_or_dash(out, rp_msg_get(&r->x.head, RP_H_USER_AGENT));
    rp_buf_add(out, RP_STR("\""));
    if (RP_UNLIKELY(r->own != NULL)) add_pairs(out, r->own->notes);
    rp_buf_add(out, RP_STR("\n"));
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* ptr NULL: null. */
static void add_string(struct line *l, rp_str s)
{
    if (!s.ptr) {
        rp_buf_add(l->out, RP_STR("null"));
        return;
    }
    rp_buf_add_ch(l->out, '"');
    if (scan_plain(s.ptr, s.ptr + s.len) == s.ptr + s.len) rp_buf_add(l->out, s);
    else rp_buf_add_json(l->out, s);
    rp_buf_add_ch(l->out, '"');
}

static void add_ip(struct line *l, const struct rp_addr *a)
{
    char text[RP_ADDR_TEXT_BYTES];
    size_t n = put_ip(a, text);
    add_string(l, n ? rp_str_of(text, n) : RP_STR_NONE);
}

static size_t put_addr(const struct rp_addr *a, char out[RP_ADDR_TEXT_BYTES])
{
    if (a->family != RP_ADDR_IP4) return rp_addr_put(a, out);
    size_t n = put_ip(a, out);
    out[n++] = ':';
    return n + rp_str_put_u64(out + n, a->port);
}

static void add_addr(struct line *l, const struct rp_addr *a)
{
    char text[RP_ADDR_TEXT_BYTES];
    add_string(l, a ? rp_str_of(text, put_addr(a, text)) : RP_STR_NONE);
}

/* Seconds with three decimals; null unless both ends happened. */
static void add_span(struct line *l, rp_ns from, rp_ns to)
{
    char text[32];
    if (from == 0 || to < from) {
        add_string(l, RP_STR_NONE);
        return;
    }
    uint64_t ms = (to - from) / NS_PER_MS;
    size_t n = rp_str_put_u64(text, ms / 1000);
    text[n++] = '.';
    n += put_status(text + n, (unsigned)(ms % 1000));
    rp_buf_add(l->out, rp_str_of(text, n));
}

static void add_time(struct line *l)
{
    char text[sizeof l->clock->iso];
    double part = l->wall - (double)l->clock->second;
    memcpy(text, l->clock->iso, sizeof text);
    put_status(text + 20,
               part > 0 ? (unsigned)(part * 1000) : 0); /* after "....-..-..T..:..:..." */
    add_string(l, rp_str_of(text, sizeof text));
}

static const struct rp_addr *upstream_addr(const struct rp_req *r)
{
    if (r->pick.pool_slot) return rp_connpool_addr(r->pick.pool_slot);
    return r->pick.want_addr.family != RP_ADDR_NONE ? &r->pick.want_addr : NULL;
}

static void add_upstream(struct line *l)
{
    if (l->r->pick.peer) add_string(l, l->r->pick.peer->conf->name);
    else add_addr(l, upstream_addr(l->r));
}

static rp_str header(const struct rp_msg *head, const struct rp_access_field *field)
{
    if (field->header) return rp_msg_get(head, field->header);
    const struct rp_field *f = rp_msg_find_name(head, field->key);
    return f ? rp_field_value(f) : RP_STR_NONE;
}

/* The request is ours to change in these two: an id is made on first use, and the text of a ctx
 * field lies in the request's arena. */
static struct rp_req *writable(const struct rp_req *r)
{
    return (struct rp_req *)(uintptr_t)r;
}

static rp_str ctx_text(const struct rp_req *r, rp_str key)
{
    const struct rp_hooks *hooks = r->conf->hooks;
    return hooks && hooks->ctx_text ? hooks->ctx_text(writable(r), key) : RP_STR_NONE;
}

static void add_value(struct line *l, const struct rp_access_field *field)
{
    const struct rp_req *r = l->r;
    const struct rp_msg *head = &r->x.head;
    switch ((enum rp_access_kind)field->kind) {
    case RP_ACCESS_TIME: add_time(l); break;
    case RP_ACCESS_ID: add_string(l, rp_req_id(writable(r))); break;
    case RP_ACCESS_REMOTE_IP: add_ip(l, &r->client); break;
    case RP_ACCESS_PEER_IP: add_ip(l, &r->conn_addr); break;
    case RP_ACCESS_METHOD: add_string(l, head->method_text); break;
    case RP_ACCESS_SCHEME: add_string(l, r->x.secure ? RP_STR("https") : RP_STR("http")); break;
    case RP_ACCESS_TLS_VERSION: add_string(l, r->tls ? r->tls->version : RP_STR_NONE); break;
    case RP_ACCESS_TLS_CIPHER: add_string(l, r->tls ? r->tls->cipher : RP_STR_NONE); break;
    case RP_ACCESS_SNI: add_string(l, r->tls ? r->tls->sni : RP_STR_NONE); break;
    case RP_ACCESS_HOST: add_string(l, head->host); break;
    case RP_ACCESS_PATH: add_string(l, head->uri.raw_path); break;
    case RP_ACCESS_QUERY: add_string(l, head->uri.has_query ? head->uri.query : RP_STR_NONE); break;
    case RP_ACCESS_URI: add_string(l, head->target); break;
    case RP_ACCESS_PROTOCOL: add_string(l, protocol_of(head)); break;
    case RP_ACCESS_STATUS: rp_buf_add_u64(l->out, status_of(r)); break;
    case RP_ACCESS_BYTES: rp_buf_add_u64(l->out, r->x.body_out_bytes); break;
    case RP_ACCESS_BYTES_IN: rp_buf_add_u64(l->out, r->x.body_in_bytes); break;
    case RP_ACCESS_WIRE_BYTES: rp_buf_add_u64(l->out, r->x.wire_out_bytes); break;
    case RP_ACCESS_DURATION: add_span(l, r->start_ns, end_of(l)); break;
    case RP_ACCESS_UPSTREAM: add_upstream(l); break;
    case RP_ACCESS_UPSTREAM_GROUP:
        add_string(l, r->upstream ? r->upstream->name : RP_STR_NONE);
        break;
    case RP_ACCESS_UPSTREAM_ADDR: add_addr(l, upstream_addr(r)); break;
    case RP_ACCESS_UPSTREAM_TIME: add_span(l, attempt_start(r), end_of(l)); break;
    case RP_ACCESS_CONNECT_TIME:
        add_span(l, r->up_reused ? 0 : r->connect_start_ns, r->connected_ns);
        break;
    case RP_ACCESS_FIRST_BYTE_TIME: add_span(l, attempt_start(r), r->first_byte_ns); break;
    case RP_ACCESS_TRIES: rp_buf_add_u64(l->out, r->tries); break;
    case RP_ACCESS_HEDGES: rp_buf_add_u64(l->out, r->hedge ? r->hedge->n : 0); break;
    case RP_ACCESS_COALESCED:
        rp_buf_add(l->out, r->coalesce && r->coalesce->shared ? RP_STR("true") : RP_STR("false"));
        break;
    case RP_ACCESS_HEDGED:
        rp_buf_add(l->out, r->hedge && r->hedge->won ? RP_STR("true") : RP_STR("false"));
        break;
    case RP_ACCESS_ROUTE: add_string(l, r->route ? r->route->id : RP_STR_NONE); break;
    case RP_ACCESS_REASON:
        add_string(l, r->fail < 0 ? rp_str_z(rp_err_reason(r->fail)) : RP_STR(""));
        break;
    case RP_ACCESS_CONSUMER: add_string(l, r->consumer); break;
    case RP_ACCESS_USER_AGENT: add_string(l, rp_msg_get(head, RP_H_USER_AGENT)); break;
    case RP_ACCESS_REFERER: add_string(l, rp_msg_get(head, RP_H_REFERER)); break;
    case RP_ACCESS_CACHE: add_string(l, RP_STR_NONE); break;
    case RP_ACCESS_CONN: rp_buf_add_u64(l->out, r->x.conn_id); break;
    case RP_ACCESS_CONN_REQUESTS: rp_buf_add_u64(l->out, r->x.conn_requests); break;
    case RP_ACCESS_REQUEST_HEADER: add_string(l, header(head, field)); break;
    case RP_ACCESS_RESPONSE_HEADER: add_string(l, header(&r->res, field)); break;
    case RP_ACCESS_CTX: add_string(l, ctx_text(r, field->key)); break;
    }
}

/* What hooks added: an object of its own, so no name can stand twice in the line. */
static void add_notes(struct line *l, bool first)
{
    const struct rp_req_note *n = l->r->own->notes;
    if (!n) return;
    rp_buf_add(l->out, first ? RP_STR("\"log\":{") : RP_STR(",\"log\":{"));
    for (; n; n = n->next) {
        add_string(l, n->name);
        rp_buf_add_ch(l->out, ':');
        if (n->bare) rp_buf_add(l->out, n->value);
        else add_string(l, n->value);
        if (n->next) rp_buf_add_ch(l->out, ',');
    }
    rp_buf_add_ch(l->out, '}');
}

static void add_json(struct line *l)
{
    const struct rp_conf_access_log *log = &l->r->conf->access;
    rp_buf_add_ch(l->out, '{');
    for (uint32_t i = 0; i < log->fields_n; i++) {
        rp_str label = log->chosen[i].label;
        rp_buf_add(l->out, i > 0 ? label : rp_str_from(label, 1)); /* it starts with a comma */
        add_value(l, &log->chosen[i]);
    }
    if (RP_UNLIKELY(l->r->own != NULL)) add_notes(l, log->fields_n == 0);
    rp_buf_add(l->out, RP_STR("}\n"));
}

void rp_access_line(struct rp_buf *out, const struct rp_req *r, double wall, rp_ns now_ns,
                    struct rp_access_clock *clock)
{
    struct line l = {out, r, wall, now_ns, clock};
    refresh_clock(clock, wall);
    if (r->conf->access.format == RP_ACCESS_JSON) add_json(&l);
    else add_combined(&l);
}
