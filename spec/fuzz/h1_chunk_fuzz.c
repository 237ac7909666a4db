/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of chunked bodies. The first byte seeds how the rest is cut into reads: the result must
 * not depend on it.
 */
#include <stdlib.h>

#include "http/h1_chunk.h"
#include "http/h1_parse.h"
#include "http_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    rp_err e;
    size_t used_n, data_n;
    char *data; /* the body so far */
    rp_str trailers;
};

/* Size of the next read: seed 0 everything at once, 1 byte by byte, others pseudo-random. */
static size_t next_read(uint32_t *dice, size_t left)
{
    if (*dice <= 1) return *dice ? 1 : left;
    *dice = *dice * 1664525 + 1013904223;
    size_t n = 1 + (*dice >> 16) % 40;
    return RP_MIN(n, left);
}

static void decode(const char *p, size_t n, uint32_t dice, struct result *r)
{
    struct rp_h1_chunk c;
    size_t have = 0, used, at = 0;
    rp_str data;
    rp_h1_chunk_init(&c);
    *r = (struct result){.e = RP_AGAIN, .data = malloc(n + 1)};
    RP_CHECK(r->data);
    while (r->e == RP_AGAIN && have < n) {
        have += next_read(&dice, n - have);
        do {
            r->e = rp_h1_chunk_next(&c, p + at, have - at, &used, &data);
            RP_CHECK(used <= have - at);
            check_inside(data, p + at, used);
            at += used;
            if (r->e != RP_OK) break;
            RP_CHECK(data.len > 0 && data.ptr + data.len == p + at);
            memcpy(r->data + r->data_n, data.ptr, data.len);
            r->data_n += data.len;
        } while (true);
    }
    r->used_n = at;
    if (r->e == RP_END) r->trailers = data;
}

static void check_trailers(rp_str section)
{
    struct rp_field room[FUZZ_ROOM];
    struct rp_arena arena;
    struct rp_msg m;
    RP_CHECK(section.len >= 2 && memcmp(section.ptr + section.len - 2, "\r\n", 2) == 0);
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    rp_msg_init(&m, room, FUZZ_ROOM, FUZZ_FIELDS_MAX);
    rp_err e = rp_h1_parse_trailers(section.ptr, section.len, &arena, &m);
    RP_CHECK(e == RP_OK || e == RP_E_H1_FIELD || e == RP_E_H1_FIELDS_MANY);
    if (e == RP_OK) {
        check_fields(&m, section.ptr, section.len);
        RP_CHECK(!rp_msg_find(&m, RP_H_TRANSFER_ENCODING));
        RP_CHECK(!rp_msg_find(&m, RP_H_CONTENT_LENGTH));
        RP_CHECK(!rp_msg_find(&m, RP_H_HOST));
    }
    rp_arena_reset(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct result whole, split;
    if (size == 0) return 0;
    const char *p = (const char *)data + 1;
    size_t n = size - 1;
    decode(p, n, 0, &whole);
    const uint32_t seeds[] = {1, data[0] + 2u};
    for (size_t i = 0; i < RP_COUNT(seeds); i++) {
        decode(p, n, seeds[i], &split);
        RP_CHECK(split.e == whole.e);
        RP_CHECK(split.data_n == whole.data_n);
        RP_CHECK(memcmp(split.data, whole.data, whole.data_n) == 0);
        RP_CHECK(whole.e < 0 || split.used_n == whole.used_n);
        RP_CHECK(whole.e != RP_END || rp_str_eq(split.trailers, whole.trailers));
        free(split.data);
    }
    if (whole.e == RP_END) check_trailers(whole.trailers);
    free(whole.data);
    return 0;
}
