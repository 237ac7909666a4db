/* SPDX-License-Identifier: MIT
 *
 * uri: request targets, authorities, the normal form of paths, query arguments.
 *
 * Splitting (RFC 9112 §3.2) copies nothing. The normal form exists so that a route, a rule and an
 * upstream agree on what a path means: whatever could be read in two ways is refused or folded into
 * one spelling. RFC 3986 §3, §5.2.4, §6.2.2.
 */
#include "http/uri.h"
#include "http/scan.h"
#include "http/token.h"

enum {
    HOST_MAX = 255,  /* bytes of a DNS name in text form (RFC 1035 §2.3.4) */
    PORT_DIGITS = 5, /* of 65535 */
    IP6_GROUPS = 8,
};

/* ------------------------------------------------------------------ authority */

/* dec-octet "." dec-octet "." dec-octet "." dec-octet (RFC 3986 §3.2.2) */
static bool ip4_is(rp_str s)
{
    unsigned octets = 0;
    for (size_t i = 0; i < s.len && octets < 4; octets++) {
        size_t start = i;
        unsigned value = 0;
        for (; i < s.len && i - start < 3 && rp_chars_is(s.ptr[i], RP_CH_DIGIT); i++)
            value = value * 10 + (unsigned)(s.ptr[i] - '0');
        if (i == start || value > 255 || (s.ptr[start] == '0' && i - start > 1)) return false;
        if (i == s.len) return octets == 3;
        if (s.ptr[i++] != '.') return false;
    }
    return false;
}

/* IPv6address of RFC 3986 §3.2.2: groups of hex digits, one "::" at most, an IPv4 tail. */
static bool ip6_is(rp_str s)
{
    unsigned groups = 0;
    bool gap = s.len >= 2 && s.ptr[0] == ':' && s.ptr[1] == ':';
    size_t i = gap ? 2 : 0;
    while (i < s.len) {
        size_t start = i;
        while (i < s.len && i - start < 4 && rp_chars_is(s.ptr[i], RP_CH_HEX)) i++;
        if (i == start) return false;
        if (i < s.len && s.ptr[i] == '.') {
            if (!ip4_is(rp_str_from(s, start))) return false;
            groups += 2;
            break;
        }
        groups++;
        if (i == s.len) break;
        if (s.ptr[i++] != ':' || i == s.len) return false; /* a single final ':' */
        if (s.ptr[i] == ':') {
            if (gap) return false;
            gap = true;
            i++;
        }
    }
    return gap ? groups < IP6_GROUPS : groups == IP6_GROUPS;
}

/* The bytes before a ':' or the end that can be a name: no label is empty, one dot may end it. */
static size_t name_span(rp_str s)
{
    size_t i = 0, start = 0; /* of the label */
    for (; i < s.len; i++) {
        if (rp_chars_is(s.ptr[i], RP_CH_LABEL)) continue;
        if (s.ptr[i] != '.') break;
        if (i == start) return 0;
        start = i + 1;
    }
    return i;
}

#ifdef RP_SCAN_SSE2
/* The same of at most 16 bytes, where 16 can be read. 0, too, where it stops at another than ':'. */
static inline size_t name_span_block(rp_str s)
{
    unsigned all = 1u << s.len; /* behind the last one */
    unsigned dots, labels = rp_scan_label_bits(s.ptr, &dots);
    unsigned n = (unsigned)__builtin_ctz(~(labels | dots) | all);
    if (RP_UNLIKELY(n < s.len && s.ptr[n] != ':')) return 0;
    dots &= (1u << n) - 1;
    return dots & (dots << 1 | 1) ? 0 : n; /* a dot that is first, or follows on one */
}
#endif

static size_t literal_span(rp_str s)
{
    size_t close = rp_str_find(s, ']', 1);
    if (close == s.len || !ip6_is(rp_str_of(s.ptr + 1, close - 1))) return 0;
    return close + 1;
}

static inline rp_err parse_port(rp_str digits, uint16_t *port)
{
    unsigned value = 0;
    if (digits.len > PORT_DIGITS) return RP_E_H1_HOST;
    for (size_t i = 0; i < digits.len; i++) {
        unsigned digit = (uint8_t)digits.ptr[i] - (unsigned)'0';
        if (digit > 9) return RP_E_H1_HOST;
        value = value * 10 + digit;
    }
    if (value > UINT16_MAX || (digits.len > 0 && value == 0)) return RP_E_H1_HOST;
    *port = (uint16_t)value;
    return RP_OK;
}

/* The host's n bytes are known; 0: there is none. */
static inline rp_err split_authority(rp_str authority, size_t n, rp_str *host, uint16_t *port)
{
    *port = 0;
    if (n == 0 || n > HOST_MAX) return RP_E_H1_HOST;
    *host = rp_str_head(authority, n);
    if (n == authority.len) return RP_OK;
    /* RFC 3986 §3.2.1 user info would show as '@' here or stop the name before its ':'. RFC 9110
     * §4.2.4: SHOULD treat it as an error; refused. */
    if (authority.ptr[n] != ':') return RP_E_H1_HOST;
    return parse_port(rp_str_from(authority, n + 1), port); /* RFC 3986 §3.2.3: may be empty */
}

rp_err rp_uri_parse_authority(rp_str authority, rp_str *host, uint16_t *port)
{
    size_t n = 0;
    if (authority.len > 0) {
        n = authority.ptr[0] == '[' ? literal_span(authority) : name_span(authority);
    }
    return split_authority(authority, n, host, port);
}

rp_err rp_uri_parse_authority_within(rp_str authority, const char *end, rp_str *host,
                                     uint16_t *port)
{
#ifdef RP_SCAN_SSE2
    if (authority.len <= 16 && end && end - authority.ptr >= 16) {
        size_t n = name_span_block(authority);
        if (RP_LIKELY(n > 0)) return split_authority(authority, n, host, port);
    }
#endif
    (void)end;
    return rp_uri_parse_authority(authority, host, port);
}

/* ------------------------------------------------------------------ target */

static rp_err split_path(rp_str s, struct rp_uri *out)
{
    const char *end = s.ptr + s.len;
    /* Nearly all paths are in normal form, and what may differ from it stops this search. */
    const char *stop = s.len > 0 && s.ptr[0] == '/' ? rp_scan_abnormal(s.ptr, end) : s.ptr;
    out->is_normal = stop > s.ptr && (stop == end || *stop == '?');
    if (!out->is_normal) stop = rp_scan_path(stop, end);
    out->raw_path = rp_str_of(s.ptr, (size_t)(stop - s.ptr));
    if (stop < end) {
        if (*stop != '?') return RP_E_H1_TARGET;
        out->has_query = true;
        out->query = rp_str_of(stop + 1, (size_t)(end - stop - 1));
        if (rp_scan_query(stop + 1, end) != end) return RP_E_H1_TARGET;
    }
    return RP_OK;
}

static inline bool ends_path(const char *p, const char *end)
{
    return p < end && (*p == ' ' || *p == '?');
}

size_t rp_uri_parse_origin(const char *p, const char *end, struct rp_uri *out)
{
    if (p == end || *p != '/') return 0;
    const char *stop = rp_scan_plain_path(p, end);
    if (RP_UNLIKELY(!ends_path(stop, end))) stop = rp_scan_abnormal(stop - 1, end);
    bool is_normal = ends_path(stop, end);
    if (RP_UNLIKELY(!is_normal)) stop = rp_scan_path(stop, end);
    const char *path_end = stop;
    bool has_query = stop < end && *stop == '?';
    if (has_query) stop = rp_scan_query(stop + 1, end);
    if (stop == end || *stop != ' ') return 0;
    out->form = RP_URI_ORIGIN;
    out->is_normal = is_normal;
    out->raw_path = out->path = rp_str_of(p, (size_t)(path_end - p));
    out->has_query = has_query;
    if (has_query) out->query = rp_str_of(path_end + 1, (size_t)(stop - path_end - 1));
    return (size_t)(stop - p);
}

/* RFC 9112 §3.2.2; of the schemes only http and https make sense to this proxy. */
static rp_err parse_absolute(rp_str target, uint8_t method, struct rp_uri *out)
{
    bool secure = rp_str_istarts(target, RP_STR("https://"));
    if (!secure && !rp_str_istarts(target, RP_STR("http://"))) return RP_E_H1_TARGET;
    size_t start = secure ? 8 : 7, i = start;
    while (i < target.len && target.ptr[i] != '/' && target.ptr[i] != '?') i++;
    out->form = RP_URI_ABSOLUTE;
    out->scheme = rp_str_head(target, secure ? 5 : 4);
    out->authority = rp_str_of(target.ptr + start, i - start);
    rp_err e = rp_uri_parse_authority(out->authority, &out->host, &out->port);
    if (e == RP_OK) e = split_path(rp_str_from(target, i), out);
    if (e != RP_OK || out->raw_path.len > 0) return e;
    out->raw_path = RP_STR("/"); /* RFC 9110 §4.2.3: an empty path means "/" */
    if (method == RP_M_OPTIONS && !out->has_query) {
        out->form = RP_URI_ASTERISK; /* RFC 9112 §3.2.4: the last proxy MUST send "*" */
        out->raw_path = RP_STR("*");
    }
    return RP_OK;
}

/* RFC 9112 §3.2.3: uri-host ":" port, for CONNECT alone. */
static rp_err parse_connect(rp_str target, struct rp_uri *out)
{
    out->form = RP_URI_AUTHORITY;
    out->authority = target;
    out->raw_path = RP_STR("");
    rp_err e = rp_uri_parse_authority(target, &out->host, &out->port);
    if (e != RP_OK || out->port == 0) return RP_E_H1_TARGET;
    return RP_OK;
}

rp_err rp_uri_parse_target(rp_str target, uint8_t method, struct rp_uri *out)
{
    rp_err e;
    out->form =
        RP_URI_ORIGIN; /* field by field: of a memset the compiler would make a slow rep stos */
    out->has_query = out->is_normal = false;
    out->port = 0;
    out->scheme = out->authority = out->host = RP_STR_NONE;
    out->raw_path = out->query = RP_STR_NONE;
    if (target.len == 0) return RP_E_H1_TARGET;
    if (method == RP_M_CONNECT) {
        e = parse_connect(target, out);
    } else if (target.ptr[0] == '/') {
        e = split_path(target, out); /* RFC 9112 §3.2.1 origin-form */
    } else if (target.len == 1 && target.ptr[0] == '*') {
        e = method == RP_M_OPTIONS ? RP_OK : RP_E_H1_TARGET; /* RFC 9112 §3.2.4 */
        out->form = RP_URI_ASTERISK;
        out->raw_path = target;
    } else {
        e = parse_absolute(target, method, out);
    }
    out->path = out->raw_path;
    return e;
}

/* ------------------------------------------------------------------ normal form */

/* A normal form under construction: complete segments up to `at`, an open one from `segment`. */
struct normal {
    char *base;
    size_t at;
    size_t segment; /* offset just after the last '/' */
    unsigned lead;  /* the byte just before, when it was written as %xx; for overlong UTF-8 */
};

static const char hex_upper[] = "0123456789ABCDEF";

static void put_encoded(struct normal *o, unsigned byte)
{
    o->base[o->at++] = '%';
    o->base[o->at++] = hex_upper[byte >> 4];
    o->base[o->at++] = hex_upper[byte & 0xf];
}

/* UTF-8 that spells a character in more bytes than it needs (RFC 3629 §3): no encoder writes it,
 * some decoders read %C0%AF as '/'. */
static bool overlong_is(unsigned lead, unsigned byte)
{
    if (byte < 0x80 || byte > 0xbf) return false;
    return lead == 0xc0 || lead == 0xc1 || (lead == 0xe0 && byte < 0xa0) ||
           (lead == 0xf0 && byte < 0x90);
}

/* One %xx at p: an unreserved character is decoded (RFC 3986 §6.2.2.2), others get upper-case
 * digits (§6.2.2.1). */
static rp_err put_escape(struct normal *o, const char *p, const char *end)
{
    if (end - p < 3 || !rp_chars_is(p[1], RP_CH_HEX) || !rp_chars_is(p[2], RP_CH_HEX))
        return RP_E_H1_TARGET;
    unsigned byte = rp_chars_hex(p[1]) << 4 | rp_chars_hex(p[2]);
    if (byte == 0 || overlong_is(o->lead, byte)) return RP_E_H1_TARGET;
    o->lead = byte;
    if (rp_chars_is((char)byte, RP_CH_UNRESERVED)) o->base[o->at++] = (char)byte;
    else put_encoded(o, byte);
    return RP_OK;
}

/* The segment that ended at o->at: drop "." and step back over "..". */
static rp_err close_segment(struct normal *o)
{
    const char *s = o->base + o->segment;
    size_t n = o->at - o->segment;
    if (n == 0 || s[0] != '.') return RP_OK;
    size_t dots = n > 1 && s[1] == '.' ? 2 : 1;
    if (n > dots) return s[dots] == ';' ? RP_E_H1_TARGET : RP_OK;
    o->at = o->segment;
    if (dots == 1) return RP_OK;
    if (o->segment == 1) return RP_E_H1_TARGET; /* above the root: no client means that */
    do o->segment--;
    while (o->base[o->segment - 1] != '/');
    o->at = o->segment;
    return RP_OK;
}

static rp_err put_slash(struct normal *o)
{
    rp_err e = close_segment(o);
    if (e != RP_OK || o->base[o->at - 1] == '/') return e; /* "//", or a segment just dropped */
    o->base[o->at++] = '/';
    o->segment = o->at;
    return RP_OK;
}

static rp_err put_raw(struct normal *o, char ch)
{
    o->lead = 0;
    if (ch == '/') return put_slash(o);
    if (rp_chars_is(ch, RP_CH_PATH)) o->base[o->at++] = ch;
    else if (rp_chars_is(ch, RP_CH_LOOSE)) put_encoded(o, (uint8_t)ch);
    else return RP_E_H1_TARGET;
    return RP_OK;
}

static rp_err rewrite(struct normal *o, const char *p, const char *end)
{
    while (p < end) {
        rp_err e = *p == '%' ? put_escape(o, p, end) : put_raw(o, *p);
        if (e != RP_OK) return e;
        p += *p == '%' ? 3 : 1;
    }
    return close_segment(o);
}

rp_err rp_uri_normalize(struct rp_arena *a, rp_str raw, rp_str *out)
{
    *out = raw;
    if (raw.len == 0 || (raw.len == 1 && raw.ptr[0] == '*')) return RP_OK;
    if (raw.ptr[0] != '/') return RP_E_H1_TARGET;
    const char *end = raw.ptr + raw.len;
    const char *odd = rp_scan_abnormal(raw.ptr, end);
    if (odd == end) return RP_OK;

    size_t room, rest = (size_t)(end - odd); /* at most 3 bytes for each one from there */
    if (rp_mul_overflows(rest, 2, &room) || rp_add_overflows(room, raw.len, &room)) return RP_E_CAP;
    struct normal o = {.base = rp_arena_alloc(a, room)};
    if (!o.base) return RP_E_CAP;
    o.at = (size_t)(odd - raw.ptr); /* at least 1: the first byte is a lone '/' */
    memcpy(o.base, raw.ptr, o.at);
    o.segment = o.at;
    while (o.base[o.segment - 1] != '/') o.segment--;
    rp_err e = rewrite(&o, odd, end);
    rp_str made = rp_str_of(o.base, o.at);
    if (e == RP_OK && !rp_str_eq(made, raw)) *out = made; /* "/a%20b" is normal, too */
    return e;
}

/* ------------------------------------------------------------------ query */

bool rp_uri_arg_next(rp_str *rest, rp_str *name, rp_str *value)
{
    while (rest->len > 0 && rest->ptr[0] == '&') *rest = rp_str_from(*rest, 1);
    if (rest->len == 0) return false;
    const char *end = rest->ptr + rest->len;
    const char *stop = rp_scan_byte(rest->ptr, end, '&');
    const char *equals = rp_scan_byte(rest->ptr, stop, '=');
    *name = rp_str_of(rest->ptr, (size_t)(equals - rest->ptr));
    *value =
        equals < stop ? rp_str_of(equals + 1, (size_t)(stop - equals - 1)) : rp_str_of(stop, 0);
    *rest = rp_str_of(stop, (size_t)(end - stop));
    return true;
}

static bool escape_is(const char *p, const char *end)
{
    return end - p >= 3 && rp_chars_is(p[1], RP_CH_HEX) && rp_chars_is(p[2], RP_CH_HEX);
}

rp_str rp_uri_decode(struct rp_arena *a, rp_str s, bool plus)
{
    const char *end = s.ptr + s.len;
    bool has_plus = plus && rp_scan_byte(s.ptr, end, '+') != end;
    if (!has_plus && rp_scan_byte(s.ptr, end, '%') == end) return s;
    char *base = rp_arena_alloc(a, s.len);
    if (!base) return RP_STR_NONE;
    char *to = base;
    for (const char *p = s.ptr; p < end; p++) {
        if (*p == '%' && escape_is(p, end)) {
            *to++ = (char)(rp_chars_hex(p[1]) << 4 | rp_chars_hex(p[2]));
            p += 2;
        } else {
            *to++ = plus && *p == '+' ? ' ' : *p;
        }
    }
    return rp_str_of(base, (size_t)(to - base));
}
