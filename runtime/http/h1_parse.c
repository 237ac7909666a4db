/* SPDX-License-Identifier: MIT
 *
 * h1_parse: the syntax of HTTP/1 heads (RFC 9112 §2-§5), in one pass over the bytes.
 *
 * A line of the usual form is taken 16 bytes at a time, each of them once (`usual_line`): where its
 * ':' is, where it ends, which known name it begins with. Other lines, and other machines, go by the
 * grammar (`parse_field`). What the fields mean is in h1_facts.c. Nothing is read outside the given
 * bytes, whatever they hold.
 *
 * Most heads lie in one read with their end: they are parsed at once (`open`), without a search for
 * that end before. What is not found right this way is looked at again by the rules for whole heads,
 * so no answer depends on how the bytes came.
 */
#include "http/h1_parse.h"
#include "http/h1_facts.h"
#include "http/token_row.h"

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
    bool open;   /* bytes that do not belong to the head may follow: `end` becomes the head's */
    rp_err fail; /* why parse_field found no field */
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
static rp_err parse_other_version(const char *p, uint8_t *version)
{
    if (memcmp(p, "HTTP/", 5) != 0 || !rp_chars_is(p[5], RP_CH_DIGIT) || p[6] != '.' ||
        !rp_chars_is(p[7], RP_CH_DIGIT))
        return RP_E_H1_SYNTAX;
    if (p[5] != '1') return RP_E_H1_VERSION;
    *version = p[7] == '0' ? 10 : 11;
    return RP_OK;
}

static inline rp_err parse_version(const char *p, uint8_t *version)
{
    *version = 11;
    return RP_LIKELY(memcmp(p, "HTTP/1.1", VERSION_BYTES) == 0) ? RP_OK
                                                                : parse_other_version(p, version);
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

static const char *refuse_line(struct parse *x, rp_err e)
{
    x->fail = e;
    return NULL;
}

/* RFC 9112 §5: field-name ":" OWS field-value OWS CRLF, at p, and the start of another line or of
 * an empty one. ret: the byte behind, at least two are left; NULL: x->fail */
RP_APART static const char *parse_field(struct parse *x, const char *p, struct rp_field *f)
{
    const char *end = x->end;
    const char *last = end - p > RP_H1_NAME_MOST + 1 ? p + RP_H1_NAME_MOST + 1 : end;
    const char *colon = rp_scan_byte(p, last, ':');
    if (RP_UNLIKELY(colon == last)) return refuse_line(x, colon_failure(p, end));
    size_t name_n = (size_t)(colon - p);
    uint16_t id = rp_token_header(p, name_n);
    /* token.tbl holds only tokens, so a known name is one. */
    if (id == RP_H_OTHER && !name_is_token(p, name_n, end)) return refuse_line(x, RP_E_H1_FIELD);
    const char *start = colon + 1;
    if (RP_LIKELY(start < end && *start == ' ')) start++;
    const char *stop = find_value_end(x, start);
    if (RP_UNLIKELY(!stop)) return refuse_line(x, RP_E_H1_FIELD);
    const char *behind = stop + 2;
    if (RP_UNLIKELY(end - behind < 2)) return refuse_line(x, colon_failure(behind, end));
    /* Of the bytes that may stand in a value only the two blanks are not above SP. */
    while (start < stop && (uint8_t)*start <= ' ') start++;
    while (start < stop && (uint8_t)stop[-1] <= ' ') stop--;
    f->name = p;
    f->value = start;
    f->value_n = (uint32_t)(stop - start);
    f->name_n = (uint16_t)name_n;
    f->id = id;
    return behind;
}

#ifdef RP_SCAN_SSE2
/* The first byte from p on that is not printable ASCII, given which of the 16 there are; NULL when
 * there is none. last: where the last 16 bytes begin, not before p */
static inline const char *find_odd(const char *p, const char *last, unsigned printable)
{
    while (RP_LIKELY(printable == 0xffff)) {
        p += 16;
        if (RP_LIKELY(p <= last)) {
            printable = rp_scan_printable_bits(rp_scan_load(p));
        } else { /* those before p are out, and others in */
            printable = (rp_scan_printable_bits(rp_scan_load(last)) | 0xffff0000) >> (p - last);
            if ((printable & 0xffff) == 0xffff) return NULL;
        }
    }
    return p + __builtin_ctz(~printable);
}

/* How many usual bytes of a name do these 16 begin with? A ':' is among them, which is none. */
static inline unsigned common_n(__m128i line)
{
    return (unsigned)__builtin_ctz(rp_scan_common_bits_of(line));
}

/* A line as nearly all are: a short name, one space, a value of printable ASCII, no fold behind.
 * last: where the last 16 bytes begin. Four bytes before p can be read.
 * ret: the byte behind, at least two are left; NULL: parse_field has the word */
static inline const char *usual_line(const char *p, const char *last, struct rp_field *f)
{
    if (RP_UNLIKELY(p > last)) return NULL;
    __m128i line = rp_scan_load(p);
    unsigned id, colons = rp_scan_mask(rp_scan_is(line, ':'));
    if (RP_UNLIKELY(!colons)) return NULL;
    unsigned name_n = (unsigned)__builtin_ctz(colons);
    const char *value = p + name_n + 2;
    const char *stop = find_odd(p, last, rp_scan_printable_bits(line));
    /* With stop behind the value's first byte all bytes of the name are printable. */
    if (RP_UNLIKELY(!stop || stop <= value || stop > last + 12)) return NULL;
    if (RP_UNLIKELY(memcmp(stop, "\r\n", 2) != 0)) return NULL;
    if (RP_UNLIKELY(stop[2] <= ' ' && stop[2] != '\r')) return NULL;
    if (RP_UNLIKELY(value[-1] != ' ' || value[0] == ' ' || stop[-1] == ' ')) return NULL;
    if (RP_UNLIKELY(!rp_token_begins(p, name_n, line, &id))) {
        if (name_n == 0 || common_n(line) != name_n) return NULL;
        id = RP_H_OTHER;
    }
    f->name = p;
    f->value = value;
    f->value_n = (uint32_t)(stop - value);
    f->name_n = (uint16_t)name_n;
    f->id = (uint16_t)id;
    return stop + 2;
}
#else
static inline const char *usual_line(const char *p, const char *last, struct rp_field *f)
{
    (void)p, (void)last, (void)f;
    return NULL;
}
#endif

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

/* Room for a field behind n others, or why there is none. */
static RP_COLD rp_err make_room(struct parse *x, size_t n, size_t most)
{
    x->m->fields_n = (uint16_t)n;
    return n >= most ? RP_E_H1_FIELDS_MANY : rp_msg_reserve(x->m, x->a);
}

/* Behind the fields that there is room for. */
static inline struct rp_field *room_end(const struct rp_msg *m, size_t most)
{
    size_t room = RP_MIN((size_t)m->fields_room, most);
    return room ? m->fields + room : m->fields; /* without any it may be NULL */
}

/* The empty line at p must be the end of the input, but for an open one. */
static rp_err end_fields(struct parse *x, const char *p)
{
    if (x->open) x->end = p + 2;
    return p + 2 == x->end ? RP_OK : RP_E_H1_SYNTAX;
}

/* The field lines of a head, which begin behind its first line, and the empty line. */
/* Logs, the client's address and the error page come from what was read so far. */
static RP_COLD rp_err stop_at(struct rp_msg *m, const struct rp_field *f, rp_err e)
{
    m->fields_n = (uint16_t)(f - m->fields);
    return e;
}

static rp_err parse_fields(struct parse *x, size_t most, struct rp_h1_facts *facts)
{
    struct rp_msg *m = x->m;
    const char *p = x->p, *last = x->end - RP_MIN(x->end - x->start, 16);
    struct rp_field *f = m->fields, *full = room_end(m, most);
    if (x->end - p < 2) return colon_failure(p, x->end);
    for (; memcmp(p, "\r\n", 2) != 0; f++) {
        if (RP_UNLIKELY(f == full)) {
            size_t n = (size_t)(f - m->fields);
            rp_err e = make_room(x, n, most);
            if (e != RP_OK) return e;
            f = m->fields + n;
            full = room_end(m, most);
        }
        const char *behind = usual_line(p, last, f);
        if (RP_UNLIKELY(!behind)) behind = parse_field(x, p, f);
        if (RP_UNLIKELY(!behind)) return stop_at(m, f, x->fail);
        p = behind;
        if ((unsigned)f->id - 1 >= RP_H1_FACTS_LAST) continue;
        rp_err e = rp_h1_facts_note(facts, m, f);
        if (RP_UNLIKELY(e != RP_OK)) return stop_at(m, f + 1, e);
    }
    m->fields_n = (uint16_t)(f - m->fields);
    return end_fields(x, p);
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

/* Any target but a plain origin-form: the bytes up to the first that is not visible. */
static rp_err find_target(struct parse *x, uint32_t uri_bytes)
{
    const char *stop = rp_scan_visible(x->p, x->end);
    x->m->target = rp_str_of(x->p, (size_t)(stop - x->p));
    if (x->m->target.len > uri_bytes) return RP_E_H1_URI_LONG;
    if (stop == x->p) return RP_E_H1_TARGET;
    if (stop == x->end || *stop == '\r' || *stop == '\n') return RP_E_H1_SYNTAX; /* HTTP/0.9 */
    return *stop == ' ' ? RP_OK : RP_E_H1_TARGET;
}

/* RFC 9112 §3: method SP request-target SP HTTP-version CRLF. §3 lets a recipient split on any
 * whitespace; refused: single spaces only. */
static inline rp_err parse_request_line(struct parse *x, uint32_t uri_bytes)
{
    struct rp_msg *m = x->m;
    rp_err e = parse_method(x);
    if (RP_UNLIKELY(e != RP_OK)) return e;
    size_t n = m->method == RP_M_CONNECT ? 0 : rp_uri_parse_origin(x->p, x->end, &m->uri);
    bool is_split = n > 0 && n <= uri_bytes;
    if (RP_LIKELY(is_split)) m->target = rp_str_of(x->p, n);
    else e = find_target(x, uri_bytes);
    if (RP_UNLIKELY(e != RP_OK)) return e;
    const char *version = m->target.ptr + m->target.len + 1;
    if (x->end - version < VERSION_BYTES + 2) return RP_E_H1_SYNTAX;
    e = parse_version(version, &m->version);
    if (RP_UNLIKELY(e != RP_OK)) return e;
    x->p = version + VERSION_BYTES + 2;
    if (memcmp(x->p - 2, "\r\n", 2) != 0) return RP_E_H1_SYNTAX;
    return RP_LIKELY(is_split) ? RP_OK : rp_uri_parse_target(m->target, m->method, &m->uri);
}

RP_NO_ARRAYS static inline rp_err parse_request(struct parse *x, const struct rp_h1_limits *limits)
{
    struct rp_h1_facts facts = {.end = x->end};
    rp_err e = parse_request_line(x, limits->uri_bytes);
    if (e == RP_OK) e = parse_fields(x, RP_MIN(limits->fields_n, x->m->fields_max), &facts);
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

RP_NO_ARRAYS size_t rp_h1_try_request(const char *p, size_t n, const struct rp_h1_limits *limits,
                                      struct rp_arena *a, struct rp_msg *out)
{
    struct parse x = {.p = p, .end = p + n, .start = p, .m = out, .a = a, .open = true};
    rp_err e = parse_request(&x, limits);
    return end_try(&x, e, limits);
}

/* ------------------------------------------------------------------ response */

/* RFC 9112 §4: HTTP-version SP status-code SP [reason] CRLF. The second SP is required of senders;
 * without a reason some leave it out: accepted. */
static rp_err parse_any_status_line(struct parse *x)
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

static inline rp_err parse_status_line(struct parse *x)
{
    const rp_str usual = RP_STR("HTTP/1.1 200 OK\r\n");
    if (RP_UNLIKELY(x->end - x->p < (ptrdiff_t)usual.len || memcmp(x->p, usual.ptr, 17) != 0))
        return parse_any_status_line(x);
    x->m->version = 11;
    x->m->status = 200;
    x->m->reason = rp_str_of(x->p + 13, 2);
    x->p += usual.len;
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
    if (e == RP_OK) e = parse_fields(x, RP_MIN(limits->fields_n, x->m->fields_max), &facts);
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

RP_NO_ARRAYS size_t rp_h1_try_response(char *p, size_t n, const struct rp_h1_limits *limits,
                                       uint8_t method, struct rp_arena *a, struct rp_msg *out)
{
    struct parse x = {
        .p = p, .end = p + n, .start = p, .writable = p, .m = out, .a = a, .open = true};
    rp_err e = parse_response(&x, limits, method);
    return end_try(&x, e, limits);
}

/* ------------------------------------------------------------------ trailers */

static rp_err parse_trailer_fields(struct parse *x)
{
    struct rp_msg *m = x->m;
    const char *p = x->p;
    if (x->end - p < 2) return colon_failure(p, x->end);
    while (memcmp(p, "\r\n", 2) != 0) {
        if (m->fields_n >= m->fields_max) return RP_E_H1_FIELDS_MANY;
        rp_err e = rp_msg_reserve(m, x->a);
        if (e != RP_OK) return e;
        struct rp_field *f = &m->fields[m->fields_n];
        p = parse_field(x, p, f);
        if (!p) return x->fail;
        if (rp_h1_trailer_is_allowed(f->id)) m->fields_n++;
    }
    return end_fields(x, p);
}

rp_err rp_h1_parse_trailers(const char *p, size_t n, struct rp_arena *a, struct rp_msg *out)
{
    struct parse x = {.p = p, .end = p + n, .start = p, .m = out, .a = a};
    rp_err e = parse_trailer_fields(&x);
    if (e == RP_OK || e == RP_E_H1_FIELDS_MANY || e == RP_E_CAP) return e;
    return RP_E_H1_FIELD;
}
