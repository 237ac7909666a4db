/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of response heads: the first byte chooses the request's method, the rest is what an
 * upstream sends.
 */
#include <stdlib.h>

#include "http/h1_parse.h"
#include "http_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_response(const struct rp_msg *m, const char *p, size_t n, uint8_t method)
{
    check_fields(m, p, n);
    check_inside(m->reason, p, n);
    check_clean(m->reason);
    RP_CHECK(m->status >= 100 && m->status <= 999);
    RP_CHECK(m->version == 10 || m->version == 11);
    RP_CHECK(!m->conn_options);
    RP_CHECK(m->framing != RP_BODY_CLOSE || !m->keepalive);
    if (method == RP_M_HEAD || m->status < 200) RP_CHECK(m->framing == RP_BODY_NONE);
    if (m->status == 204 && method != RP_M_CONNECT) RP_CHECK(m->framing == RP_BODY_NONE);
    if (m->status == 304) RP_CHECK(m->framing == RP_BODY_NONE);
    RP_CHECK(m->framing != RP_BODY_CHUNKED || m->version == 11);
    const struct rp_field *te = rp_msg_find(m, RP_H_TRANSFER_ENCODING);
    const struct rp_field *length = rp_msg_find(m, RP_H_CONTENT_LENGTH);
    RP_CHECK(!(te && length));
    RP_CHECK(!te || !rp_msg_find_next(m, te));
    RP_CHECK(!length || !rp_msg_find_next(m, length));
}

static void check_again(const struct rp_msg *m, const struct rp_h1_limits *limits, uint8_t method,
                        size_t n)
{
    struct rp_field room[FUZZ_ROOM];
    struct rp_arena arena;
    struct rp_msg again;
    char *text = malloc(2 * n + 64), *to = text;
    RP_CHECK(text);
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    to = put_str(to, m->version == 10 ? RP_STR("HTTP/1.0 ") : RP_STR("HTTP/1.1 "));
    to += rp_str_put_u64(to, m->status);
    *to++ = ' ';
    to = put_str(to, m->reason);
    to = put_str(to, RP_STR("\r\n"));
    to = put_fields(to, m);
    rp_msg_init(&again, room, FUZZ_ROOM, FUZZ_FIELDS_MAX);
    rp_err e = rp_h1_parse_response(text, (size_t)(to - text), limits, method, &arena, &again);
    RP_CHECK(e == RP_OK);
    RP_CHECK(rp_str_eq(m->reason, again.reason));
    check_same_facts(m, &again);
    check_same_fields(m, &again);
    rp_arena_reset(&arena);
    free(text);
}

/* The quick try takes what the rules for whole heads take, and nothing else; what it did to the bytes
 * changes no answer. bytes: size - 1 of them, as they came. */
static void check_try(const uint8_t *bytes, size_t size, size_t head_n, uint8_t method,
                      const struct rp_h1_limits *limits, const struct rp_msg *m)
{
    struct rp_field room[FUZZ_ROOM];
    struct rp_arena arena;
    struct rp_msg quick;
    char *p = malloc(size);
    RP_CHECK(p);
    memcpy(p, bytes, size - 1);
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    rp_msg_init(&quick, room, FUZZ_ROOM, FUZZ_FIELDS_MAX);
    size_t n = rp_h1_try_response(p, size - 1, limits, method, &arena, &quick);
    RP_CHECK(n == (m ? head_n : 0));
    if (!m) {
        size_t scanned = 0, end = rp_h1_head_end(p, size - 1, &scanned);
        bool whole =
            end > 0 && rp_h1_parse_response(p, end, limits, method, &arena, &quick) == RP_OK;
        RP_CHECK(!whole);
    } else {
        check_same_facts(m, &quick);
        check_equal_fields(m, &quick);
    }
    rp_arena_reset(&arena);
    free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct rp_h1_limits limits = {64 * 1024, 8 * 1024, 100};
    struct rp_field room[FUZZ_ROOM];
    struct rp_arena arena;
    struct rp_msg m;
    if (size == 0) return 0;
    uint8_t method = (uint8_t)(data[0] % RP_M_COUNT);
    char *p = malloc(size); /* writable, and as short as it can be: folds are replaced in place */
    RP_CHECK(p);
    memcpy(p, data + 1, size - 1);
    size_t scanned = 0, n = rp_h1_head_end(p, size - 1, &scanned);
    bool ends = n > 0;
    if (!ends) n = size - 1;
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    rp_msg_init(&m, room, FUZZ_ROOM, FUZZ_FIELDS_MAX);
    rp_err e = rp_h1_parse_response(p, n, &limits, method, &arena, &m);
    RP_CHECK(e == RP_OK || e == RP_E_CAP || e == RP_E_UP_BAD_RESPONSE || e == RP_E_UP_HEAD_BIG);
    if (e != RP_E_CAP)
        check_try(data + 1, size, n, method, &limits, ends && e == RP_OK ? &m : NULL);
    if (e == RP_OK) {
        check_response(&m, p, n, method);
        check_again(&m, &limits, method, n);
    }
    rp_arena_reset(&arena);
    free(p);
    return 0;
}
