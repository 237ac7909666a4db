/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of request heads: bytes as a client sends them.
 */
#include <stdlib.h>

#include "http/h1_parse.h"
#include "http_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ------------------------------------------------------------ scanners against their meaning */

static const char *naive(const char *p, const char *end, unsigned classes, const char *more)
{
    while (p < end && (rp_chars_is(*p, classes) || (*p && strchr(more, *p)))) p++;
    return p;
}

static const char *naive_common(const char *p, const char *end)
{
    while (p < end && ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z' ? (uint8_t)*p < 0x80
                                                                : *p && strchr("0123456789-_", *p)))
        p++;
    return p;
}

static const char *naive_visible(const char *p, const char *end)
{
    while (p < end && (uint8_t)*p > ' ' && (uint8_t)*p < 0x7f) p++;
    return p;
}

static const char *naive_abnormal(const char *p, const char *end)
{
    const char *start = p;
    while (p < end && rp_chars_is(*p, RP_CH_PATH) &&
           !(p > start && p[-1] == '/' && (*p == '/' || *p == '.')))
        p++;
    return p;
}

static void check_scanners(const char *p, const char *end)
{
    const unsigned path = RP_CH_PATH | RP_CH_LOOSE;
    const char *start = p;
    for (int i = 0; i < 20 && p < end; i++, p++) {
        RP_CHECK(rp_scan_value(p, end) == naive(p, end, RP_CH_VALUE, ""));
        RP_CHECK(rp_scan_common(p, end) == naive_common(p, end));
        RP_CHECK(rp_scan_value_behind(start, p, end) == rp_scan_value(p, end));
        RP_CHECK(rp_scan_path(p, end) == naive(p, end, path, "%"));
        RP_CHECK(rp_scan_query(p, end) == naive(p, end, path, "%?\\"));
        RP_CHECK(rp_scan_visible(p, end) == naive_visible(p, end));
        if (*p == '/') RP_CHECK(rp_scan_abnormal(p, end) == naive_abnormal(p, end));
        if (*p == '/') RP_CHECK(rp_scan_plain_path(p, end) <= naive_abnormal(p, end));
        const char *colon = memchr(p, ':', (size_t)(end - p));
        RP_CHECK(rp_scan_byte(p, end, ':') == (colon ? colon : end));
    }
}

/* ------------------------------------------------------------------ the end of a head */

/* First place where LF, or CRLF, follows on LF or the start. */
static size_t naive_head_end(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool line_start = i == 0 || p[i - 1] == '\n';
        if (line_start && p[i] == '\n') return i + 1;
        if (line_start && p[i] == '\r' && i + 1 < n && p[i + 1] == '\n') return i + 2;
    }
    return 0;
}

static size_t check_head_end(const char *p, size_t n)
{
    size_t scanned = 0, whole = rp_h1_head_end(p, n, &scanned), split = 0;
    RP_CHECK(whole == naive_head_end(p, n));
    scanned = 0;
    for (size_t have = 0; have <= n && split == 0; have++) {
        split = rp_h1_head_end(p, have, &scanned);
        RP_CHECK(scanned <= have);
    }
    RP_CHECK(split == whole);
    return whole;
}

/* ------------------------------------------------------------------ facts */

static void check_request(const struct rp_msg *m, const char *p, size_t n)
{
    check_fields(m, p, n);
    check_inside(m->method_text, p, n);
    check_inside(m->target, p, n);
    check_inside(m->host, p, n);
    check_inside(m->uri.query, p, n);
    check_clean(m->target);
    RP_CHECK(rp_field_is_name(m->method_text));
    RP_CHECK(m->target.len > 0 && !memchr(m->target.ptr, ' ', m->target.len));
    RP_CHECK(m->version == 10 || m->version == 11);
    RP_CHECK(m->version == 10 || m->host.len > 0);
    RP_CHECK(m->framing != RP_BODY_CLOSE && !m->conn_options);
    const struct rp_field *te = rp_msg_find(m, RP_H_TRANSFER_ENCODING);
    const struct rp_field *length = rp_msg_find(m, RP_H_CONTENT_LENGTH);
    RP_CHECK(!(te && length));
    RP_CHECK((te != NULL) == (m->framing == RP_BODY_CHUNKED));
    RP_CHECK((length != NULL) == (m->framing == RP_BODY_LENGTH));
    RP_CHECK(!te || !rp_msg_find_next(m, te));
    RP_CHECK(!length || !rp_msg_find_next(m, length));
    const struct rp_field *host = rp_msg_find(m, RP_H_HOST);
    RP_CHECK(!host || (!rp_msg_find_next(m, host) && m->host.len > 0));
    for (size_t k = 0; k <= n; k++) RP_CHECK(rp_h1_maybe_request(p, k));
}

/* The same facts come from what we would send on. */
static void check_again(const struct rp_msg *m, const struct rp_h1_limits *limits, size_t n)
{
    struct rp_field room[FUZZ_ROOM];
    struct rp_arena arena;
    struct rp_msg again;
    char *text = malloc(3 * n + 64), *to = text; /* Host may have grown to the target's authority */
    RP_CHECK(text);
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    to = put_str(to, m->method_text);
    *to++ = ' ';
    to = put_str(to, m->target);
    to = put_str(to, m->version == 10 ? RP_STR(" HTTP/1.0\r\n") : RP_STR(" HTTP/1.1\r\n"));
    to = put_fields(to, m);
    rp_msg_init(&again, room, FUZZ_ROOM, FUZZ_FIELDS_MAX);
    rp_err e = rp_h1_parse_request(text, (size_t)(to - text), limits, &arena, &again);
    RP_CHECK(e == RP_OK);
    check_same_facts(m, &again);
    check_same_fields(m, &again);
    rp_arena_reset(&arena);
    free(text);
}

/* The quick try takes what the rules for whole heads take, and nothing else. */
static void check_try(const char *p, size_t size, size_t head_n, const struct rp_h1_limits *limits,
                      const struct rp_msg *m)
{
    struct rp_field room[FUZZ_ROOM];
    struct rp_arena arena;
    struct rp_msg quick;
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    rp_msg_init(&quick, room, FUZZ_ROOM, FUZZ_FIELDS_MAX);
    size_t n = rp_h1_try_request(p, size, limits, &arena, &quick);
    RP_CHECK(n == (m ? head_n : 0));
    if (m) {
        check_same_facts(m, &quick);
        check_equal_fields(m, &quick);
    } else {
        RP_CHECK(quick.fields_n == 0 && quick.target.len == 0);
    }
    rp_arena_reset(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct rp_h1_limits limits = {64 * 1024, 8 * 1024, 100};
    struct rp_field room[FUZZ_ROOM];
    struct rp_arena arena;
    struct rp_msg m;
    const char *p = (const char *)data;
    check_scanners(p, p + size);
    size_t skip = rp_h1_skip_empty_lines(p, size);
    RP_CHECK(skip <= size && skip <= 8 && skip % 2 == 0);
    p += skip;
    size -= skip;
    size_t n = check_head_end(p, size);
    if (n == 0) n = size; /* a head without end must be refused, not read over */
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    rp_msg_init(&m, room, FUZZ_ROOM, FUZZ_FIELDS_MAX);
    rp_err e = rp_h1_parse_request(p, n, &limits, &arena, &m);
    RP_CHECK(e <= RP_OK);
    if (e != RP_E_CAP) check_try(p, size, n, &limits, e == RP_OK ? &m : NULL);
    if (e == RP_OK) {
        RP_CHECK(n == naive_head_end(p, size));
        check_request(&m, p, n);
        check_again(&m, &limits, n);
    }
    rp_arena_reset(&arena);
    return 0;
}
