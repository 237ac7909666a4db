/* SPDX-License-Identifier: MIT
 *
 * h1_parse: the syntax of HTTP/1 heads (RFC 9112 §2-§5), in one pass over the bytes.
 *
 * Names are found by their ':' and known by a perfect hash, so the usual ones need no look at their
 * characters; values are searched for their first control byte, 16 bytes at a time. What the fields
 * mean is in h1_facts.c. Nothing is read outside the given bytes, whatever they hold.
 *
 * Most heads lie in one read with their end: they are parsed at once (`open`), without a search for
 * that end before. What is not found right this way is looked at again by the rules for whole heads,
 * so no answer depends on how the bytes came.
 */
#include "http/h1_parse.h"
#include "http/h1_facts.h"
#include "http/scan.h"

enum {
    EMPTY_LINES_MAX = 4, /* before a request line */
    VERSION_BYTES = 8,   /* "HTTP/1.1" */
};

/* A head being parsed. */
struct parse {
    const char *p, *end; /* next byte, behind the last */
    const char *start;
    char
        *writable; /* the same bytes as start: obs-fold is replaced in place; NULL: it is refused */
    struct rp_msg *m;
    struct rp_arena *a;
    bool open; /* bytes that do not belong to the head may follow: `end` becomes the head's */
};

/* ------------------------------------------------------------------ lines */

size_t rp_h1_skip_empty_lines(const char *p, size_t n)
{
    size_t used =
        0; /* RFC 9112 §2.2: SHOULD ignore at least one; an old client adds one to a body */
    while (used < 2 * EMPTY_LINES_MAX && n - used >= 2 && p[used] == '\r' && p[used + 1] == '\n')
        used += 2;
    return used;
}

/* Length of the head when the LF at q is followed by an empty line; 0 when it is not; *more when
 * that depends on bytes to come. */
static size_t empty_line_after(const char *p, const char *q, const char *end, bool *more)
{
    *more = q + 1 == end || (q[1] == '\r' && q + 2 == end);
    if (*more) return 0;
    if (q[1] == '\n') return (size_t)(q + 2 - p);
    return q[1] == '\r' && q[2] == '\n' ? (size_t)(q + 3 - p) : 0;
}

#ifdef RP_SCAN_SSE2
/* Where among 16 bytes does LF come before a byte up to CR: perhaps the line before an empty one.
 */
static inline unsigned line_ends(const char *q)
{
    __m128i next = rp_scan_within(rp_scan_load(q + 1), 0, '\r');
    return rp_scan_mask(_mm_and_si128(rp_scan_is(rp_scan_load(q), '\n'), next));
}
#endif

/* First LF from q on which a byte up to CR follows, or a final LF, or end. Bytes from p on exist.
 */
static const char *scan_line_end(const char *p, const char *q, const char *end)
{
#ifdef RP_SCAN_SSE2
    for (; end - q > 32; q += 32) {
        unsigned hits = line_ends(q) | line_ends(q + 16) << 16;
        if (hits) return q + __builtin_ctz(hits);
    }
    for (; end - q > 16; q += 16) {
        unsigned hits = line_ends(q);
        if (hits) return q + __builtin_ctz(hits);
    }
    if (q < end && end - p > 16) { /* the last 16 pairs, without those before q */
        unsigned hits = line_ends(end - 17) >> (q - (end - 17));
        if (hits) return q + __builtin_ctz(hits);
        q = end - 1;
    }
#endif
    (void)p;
    while (q < end && !(*q == '\n' && (q + 1 == end || (uint8_t)q[1] <= '\r'))) q++;
    return q;
}

size_t rp_h1_head_end(const char *p, size_t n, size_t *scanned)
{
    const char *end = p + n;
    if (*scanned == 0) { /* a head that starts with its empty line: an empty trailer section */
        if (n >= 1 && p[0] == '\n') return 1;
        if (n >= 2 && p[0] == '\r' && p[1] == '\n') return 2;
        if (n < 2) return 0;
    }
    for (const char *q = p + *scanned;; q++) {
        bool more;
        q = scan_line_end(p, q, end);
        *scanned = (size_t)(q - p);
        if (q == end) return 0;
        size_t head_n = empty_line_after(p, q, end, &more);
        if (head_n || more) return head_n;
    }
}

bool rp_h1_maybe_request(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && i <= RP_H1_METHOD_MOST && rp_chars_is(p[i], RP_CH_TOKEN)) i++;
    if (i == n) return n <= RP_H1_METHOD_MOST;
    if (i == 0 || i > RP_H1_METHOD_MOST || p[i] != ' ') return false;
    return i + 1 == n || rp_scan_visible(p + i + 1, p + i + 2) == p + i + 2;
}

/* RFC 9112 §2.3: case-sensitive, one digit each. RFC 9110 §2.5: a higher minor version of 1 is
 * handled as the highest we know. */
static rp_err parse_version(const char *p, uint8_t *version)
{
    if (RP_LIKELY(memcmp(p, "HTTP/1.1", VERSION_BYTES) == 0)) {
        *version = 11;
        return RP_OK;
    }
    if (memcmp(p, "HTTP/", 5) != 0 || !rp_chars_is(p[5], RP_CH_DIGIT) || p[6] != '.' ||
        !rp_chars_is(p[7], RP_CH_DIGIT))
        return RP_E_H1_SYNTAX;
    if (p[5] != '1') return RP_E_H1_VERSION;
    *version = p[7] == '0' ? 10 : 11;
    return RP_OK;
}

/* ------------------------------------------------------------------ field lines */

static inline bool crlf_at(const char *p, const char *end)
{
    return end - p >= 2 && memcmp(p, "\r\n", 2) == 0;
}

static bool blank_is(char ch)
{
    return ch == ' ' || ch == '\t';
}

/* Why is there no ':' within RP_H1_NAME_MOST from p? */
static rp_err colon_failure(const char *p, const char *end)
{
    if (p == end) return RP_E_H1_SYNTAX; /* no empty line */
    return end - p > RP_H1_NAME_MOST ? RP_E_H1_HEAD_BIG : RP_E_H1_FIELD;
}

/* RFC 9112 §5.1: no whitespace between name and colon: a request with some MUST be refused; so is a
 * response. A line that starts with whitespace (§2.2, §5.2) has no token either. */
static inline bool name_is_token(const char *p, size_t n, const char *end)
{
    if (n > 0 && rp_scan_common(p, end) == p + n) return true;
    return n > 0 && rp_chars_all(rp_str_of(p, n), RP_CH_TOKEN);
}

/* obs-fold = OWS CRLF RWS, the CR at cr, `rest` bytes behind it (RFC 9112 §5.2): all of it becomes
 * spaces. Backwards the ':' of the name is the bound. */
static void blank_fold(char *cr, size_t rest)
{
    cr[0] = ' ';
    cr[1] = ' ';
    for (char *p = cr - 1; blank_is(*p); p--) *p = ' ';
    for (size_t i = 2; i < rest && blank_is(cr[i]); i++) cr[i] = ' ';
}

/* The CRLF that ends the value, NULL when something else is in the way. RFC 9112 §5.2: a user
 * agent's obs-fold MUST be refused; in a response a proxy MUST replace it with spaces or refuse it;
 * older servers still write it: replaced. */
static inline const char *find_value_end(const struct parse *x, const char *p)
{
    for (;; p += 2) {
        p = rp_scan_value_behind(x->start, p, x->end);
        /* RFC 9112 §2.2: bare LF MAY end a line, bare CR MUST be refused or replaced; RFC 9110
         * §5.5: CR, LF, NUL MUST be refused or replaced, other control bytes are invalid: all
         * refused. */
        if (RP_UNLIKELY(!crlf_at(p, x->end))) return NULL;
        if (!x->writable || p + 2 == x->end || RP_LIKELY(!blank_is(p[2]))) return p;
        blank_fold(x->writable + (p - x->start), (size_t)(x->end - p));
    }
}

/* RFC 9112 §5: field-name ":" OWS field-value OWS CRLF, at *at, which moves behind it. */
static inline rp_err parse_field(const struct parse *x, const char **at, struct rp_field *f)
{
    const char *p = *at, *end = x->end;
    struct rp_token_name name = rp_token_header_at(p, end, RP_H1_NAME_MOST);
    if (RP_UNLIKELY(name.n == RP_TOKEN_NO_COLON)) return colon_failure(p, end);
    /* token.tbl holds only tokens, so a known name is one. */
    if (name.id == RP_H_OTHER && !name_is_token(p, name.n, end)) return RP_E_H1_FIELD;
    const char *start = p + name.n + 1;
    if (RP_LIKELY(start < end && *start == ' ')) start++;
    const char *stop = find_value_end(x, start);
    if (RP_UNLIKELY(!stop)) return RP_E_H1_FIELD;
    *at = stop + 2;
    /* Of the bytes that may stand in a value only the two blanks are not above SP. */
    while (start < stop && (uint8_t)*start <= ' ') start++;
    while (start < stop && (uint8_t)stop[-1] <= ' ') stop--;
    f->name = p;
    f->value = start;
    f->value_n = (uint32_t)(stop - start);
    f->name_n = (uint16_t)name.n;
    f->id = (uint16_t)name.id;
    return RP_OK;
}

/* RFC 9110 §6.5.1: no trailer may frame, route, modify the request, authenticate, or control how
 * the content is processed: all that token.tbl knows, but these. */
bool rp_h1_trailer_is_allowed(uint16_t id)
{
    switch (id) {
    case RP_H_OTHER:
    case RP_H_ETAG:
    case RP_H_LAST_MODIFIED:
    case RP_H_LINK:
    case RP_H_SERVER:
    case RP_H_TRACEPARENT:
    case RP_H_X_REQUEST_ID: return true;
    default: return false;
    }
}

/* Field lines up to the empty line, which must be the end of the input, but for an open one. facts
 * NULL: a trailer section. */
static rp_err parse_fields(struct parse *x, unsigned fields_max, struct rp_h1_facts *facts)
{
    struct rp_msg *m = x->m;
    const char *p = x->p;
    fields_max = RP_MIN(fields_max, (unsigned)m->fields_max);
    while (!crlf_at(p, x->end)) {
        rp_err e = RP_OK;
        if (RP_UNLIKELY(m->fields_n >= fields_max)) return RP_E_H1_FIELDS_MANY;
        if (RP_UNLIKELY(m->fields_n == m->fields_room)) e = rp_msg_reserve(m, x->a);
        if (RP_UNLIKELY(e != RP_OK)) return e;
        struct rp_field *f = &m->fields[m->fields_n];
        e = parse_field(x, &p, f);
        if (RP_UNLIKELY(e != RP_OK)) return e;
        if (RP_UNLIKELY(!facts) && !rp_h1_trailer_is_allowed(f->id)) continue;
        uint16_t at = m->fields_n++;
        if ((unsigned)f->id - 1 >= RP_H1_FACTS_LAST || !facts) continue;
        e = rp_h1_facts_note(facts, m, at);
        if (RP_UNLIKELY(e != RP_OK)) return e;
    }
    if (x->open) x->end = p + 2;
    return p + 2 == x->end ? RP_OK : RP_E_H1_SYNTAX;
}

/* ------------------------------------------------------------------ request */

/* RFC 9112 §3.1, RFC 9110 §9.1: a case-sensitive token. */
static rp_err parse_method(struct parse *x)
{
    const char *p = x->p;
    size_t n = 0, room = RP_MIN((size_t)(x->end - p), (size_t)RP_H1_METHOD_MOST + 1);
    if (RP_LIKELY(room >= 4 && memcmp(p, "GET ", 4) == 0)) {
        x->m->method_text = rp_str_of(p, 3);
        x->m->method = RP_M_GET;
        x->p = p + 4;
        return RP_OK;
    }
    while (n < room && rp_chars_is(p[n], RP_CH_TOKEN)) n++;
    if (n == 0 || n == room || p[n] != ' ') return RP_E_H1_METHOD;
    x->m->method_text = rp_str_of(p, n);
    x->m->method = rp_token_method(p, n);
    x->p = p + n + 1;
    return RP_OK;
}

/* RFC 9112 §3: method SP request-target SP HTTP-version CRLF. §3 lets a recipient split on any
 * whitespace; refused: single spaces only. */
static rp_err parse_request_line(struct parse *x, uint32_t uri_bytes)
{
    struct rp_msg *m = x->m;
    rp_err e = parse_method(x);
    if (e != RP_OK) return e;
    const char *stop = rp_scan_visible(x->p, x->end);
    m->target = rp_str_of(x->p, (size_t)(stop - x->p));
    if (m->target.len > uri_bytes) return RP_E_H1_URI_LONG;
    if (m->target.len == 0) return RP_E_H1_TARGET;
    if (stop == x->end || *stop == '\r' || *stop == '\n') return RP_E_H1_SYNTAX; /* HTTP/0.9 */
    if (*stop != ' ') return RP_E_H1_TARGET;
    x->p = stop + 1;
    if (x->end - x->p < VERSION_BYTES) return RP_E_H1_SYNTAX;
    e = parse_version(x->p, &m->version);
    if (e != RP_OK) return e;
    x->p += VERSION_BYTES;
    if (!crlf_at(x->p, x->end)) return RP_E_H1_SYNTAX;
    x->p += 2;
    return rp_uri_parse_target(m->target, m->method, &m->uri);
}

static inline rp_err parse_request(struct parse *x, const struct rp_h1_limits *limits)
{
    struct rp_h1_facts facts = {.end = x->end};
    rp_err e = parse_request_line(x, limits->uri_bytes);
    if (e == RP_OK) e = parse_fields(x, limits->fields_n, &facts);
    if (e == RP_OK) e = rp_h1_facts_request(&facts, x->m);
    if (e == RP_OK && x->m->conn_options) rp_msg_drop_conn_options(x->m);
    return e;
}

rp_err rp_h1_parse_request(const char *p, size_t n, const struct rp_h1_limits *limits,
                           struct rp_arena *a, struct rp_msg *out)
{
    struct parse x = {.p = p, .end = p + n, .start = p, .m = out, .a = a};
    return n > limits->head_bytes ? RP_E_H1_HEAD_BIG : parse_request(&x, limits);
}

/* The head that was parsed with bytes behind it: its length, or it is to be looked at again. */
static size_t end_try(const struct parse *x, rp_err e, const struct rp_h1_limits *limits)
{
    size_t n = (size_t)(x->end - x->start);
    if (RP_LIKELY(e == RP_OK && n <= limits->head_bytes)) return n;
    rp_msg_clear(x->m);
    return 0;
}

size_t rp_h1_try_request(const char *p, size_t n, const struct rp_h1_limits *limits,
                         struct rp_arena *a, struct rp_msg *out)
{
    struct parse x = {.p = p, .end = p + n, .start = p, .m = out, .a = a, .open = true};
    rp_err e = parse_request(&x, limits);
    return end_try(&x, e, limits);
}

/* ------------------------------------------------------------------ response */

/* RFC 9112 §4: HTTP-version SP status-code SP [reason] CRLF. The second SP is required of senders;
 * without a reason some leave it out: accepted. */
static rp_err parse_status_line(struct parse *x)
{
    struct rp_msg *m = x->m;
    const char *p = x->p;
    if (x->end - p < VERSION_BYTES + 4) return RP_E_H1_STATUS;
    rp_err e = parse_version(p, &m->version);
    p += VERSION_BYTES;
    if (e != RP_OK || *p++ != ' ') return RP_E_H1_STATUS;
    unsigned d0 = (uint8_t)p[0] - (unsigned)'0', d1 = (uint8_t)p[1] - (unsigned)'0',
             d2 = (uint8_t)p[2] - (unsigned)'0';
    if (d0 > 9 || d1 > 9 || d2 > 9) return RP_E_H1_STATUS;
    m->status = (uint16_t)(d0 * 100 + d1 * 10 + d2);
    p += 3;
    /* RFC 9110 §15: three digits from 1xx to 5xx. 6xx-9xx are invalid but in use, and their framing
     * is that of any final response: passed on. */
    if (m->status < 100) return RP_E_H1_STATUS;
    if (p < x->end && *p == ' ') p++;
    else if (!crlf_at(p, x->end)) return RP_E_H1_STATUS;
    const char *stop = rp_scan_value(p, x->end);
    if (!crlf_at(stop, x->end)) return RP_E_H1_STATUS;
    m->reason = rp_str_of(p, (size_t)(stop - p));
    x->p = stop + 2;
    return RP_OK;
}

/* Failures of a response are the upstream's, never the client's. */
static rp_err blame_upstream(rp_err e)
{
    if (e == RP_OK || e == RP_E_CAP) return e;
    return e == RP_E_H1_HEAD_BIG || e == RP_E_H1_FIELDS_MANY ? RP_E_UP_HEAD_BIG
                                                             : RP_E_UP_BAD_RESPONSE;
}

static inline rp_err parse_response(struct parse *x, const struct rp_h1_limits *limits,
                                    uint8_t method)
{
    struct rp_h1_facts facts = {0};
    rp_err e = parse_status_line(x);
    if (e == RP_OK) e = parse_fields(x, limits->fields_n, &facts);
    if (e == RP_OK) e = rp_h1_facts_response(&facts, x->m, method);
    if (e == RP_OK && x->m->conn_options) rp_msg_drop_conn_options(x->m);
    return e;
}

rp_err rp_h1_parse_response(char *p, size_t n, const struct rp_h1_limits *limits, uint8_t method,
                            struct rp_arena *a, struct rp_msg *out)
{
    struct parse x = {.p = p, .end = p + n, .start = p, .writable = p, .m = out, .a = a};
    if (n > limits->head_bytes) return RP_E_UP_HEAD_BIG;
    return blame_upstream(parse_response(&x, limits, method));
}

size_t rp_h1_try_response(char *p, size_t n, const struct rp_h1_limits *limits, uint8_t method,
                          struct rp_arena *a, struct rp_msg *out)
{
    struct parse x = {
        .p = p, .end = p + n, .start = p, .writable = p, .m = out, .a = a, .open = true};
    rp_err e = parse_response(&x, limits, method);
    return end_try(&x, e, limits);
}

/* ------------------------------------------------------------------ trailers */

rp_err rp_h1_parse_trailers(const char *p, size_t n, struct rp_arena *a, struct rp_msg *out)
{
    struct parse x = {.p = p, .end = p + n, .start = p, .m = out, .a = a};
    rp_err e = parse_fields(&x, out->fields_max, NULL);
    if (e == RP_OK || e == RP_E_H1_FIELDS_MANY || e == RP_E_CAP) return e;
    return RP_E_H1_FIELD;
}
