/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of HTTP/2 field blocks: lines "name\tvalue"; the first byte of all says whether content
 * follows. What is accepted must be the same request when HTTP/1 carries it to an upstream.
 */
#include <nghttp2/nghttp2.h>

#include "http/h1_write.h"
#include "http/h2_msg.h"
#include "http_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What nghttp2 lets pass (RFC 9113 §8.2.1). */
static bool passes(rp_str name, rp_str value)
{
    rp_str bare = name.len && name.ptr[0] == ':' ? rp_str_from(name, 1) : name;
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z') return false;
    }
    if (bare.len == 0 || !nghttp2_check_header_name((const uint8_t *)bare.ptr, bare.len))
        return false;
    return nghttp2_check_header_value((const uint8_t *)value.ptr, value.len) &&
           rp_str_trim(value).len == value.len;
}

static void check_line(const struct rp_field *f)
{
    check_clean(rp_field_name(f));
    check_clean(rp_field_value(f));
}

/* The head as an upstream gets it, read by the strict parser. */
static void check_as_h1(const struct rp_msg *m)
{
    /* wider: the Host that we make is one field more than the client sent */
    const struct rp_h1_limits limits = {.head_bytes = 1 << 20, .uri_bytes = 8192, .fields_n = 1000};
    struct rp_mem *mem = rp_mem_new();
    struct rp_chain out;
    struct rp_arena arena;
    struct rp_msg again;
    unsigned fields = 0, read = 0;
    rp_chain_init(&out, mem);
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    struct rp_h1_writer w =
        rp_h1_writer_new(mem, rp_h1_fields_bound(m) + m->method_text.len + m->target.len + 64);
    rp_h1_put(&w, m->method_text);
    rp_h1_put(&w, RP_STR(" "));
    rp_h1_put(&w, m->target);
    rp_h1_put(&w, RP_STR(" HTTP/1.1\r\n"));
    rp_h1_put_fields(&w, m, &rp_h1_hop);
    rp_h1_put(&w, RP_STR("\r\n"));
    rp_h1_writer_finish(&w, &out);
    char *text = malloc(out.bytes);
    size_t n = out.bytes, scanned = 0;
    rp_chain_peek(&out, text, n);
    RP_CHECK(rp_h1_head_end(text, n, &scanned) == n); /* one head, and nothing behind it */
    rp_msg_init(&again, NULL, 0, 1000);
    rp_err e = rp_h1_parse_request(text, n, &limits, &arena, &again);
    RP_CHECK(e == RP_OK);
    RP_CHECK(rp_str_eq(again.host, m->host) && rp_str_eq(again.target, m->target));
    for (uint16_t i = 0; i < m->fields_n; i++) {
        const struct rp_field *f = &m->fields[i];
        bool hop = f->id != RP_H_OTHER && rp_h1_skip_has(&rp_h1_hop, f->id);
        if (f->name_n && !hop) fields++;
        if (f->name_n) check_line(f);
    }
    for (uint16_t i = 0; i < again.fields_n; i++) read += again.fields[i].name_n > 0;
    RP_CHECK(fields == read);
    free(text);
    rp_arena_reset(&arena);
    rp_chain_clear(&out);
    rp_mem_free(&mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct rp_h1_limits limits = {.head_bytes = 65536, .uri_bytes = 8192, .fields_n = 100};
    struct rp_arena arena;
    struct rp_msg m;
    struct rp_h2_head h = {0};
    if (size < 1) return 0;
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    rp_msg_init(&m, NULL, 0, 200);
    rp_str rest = rp_str_of((const char *)data + 1, size - 1);
    while (rest.len > 0) {
        size_t lf = rp_str_find(rest, '\n', 0);
        rp_str line = rp_str_head(rest, lf);
        rest = rp_str_from(rest, lf < rest.len ? lf + 1 : lf);
        size_t tab = rp_str_find(line, '\t', 0);
        rp_str name = rp_str_head(line, tab);
        rp_str value = rp_str_from(line, tab < line.len ? tab + 1 : tab);
        if (passes(name, value)) rp_h2_head_add(&h, &m, &arena, &limits, name, value);
    }
    rp_err e = rp_h2_head_finish(&h, &m, &arena, data[0] & 1);
    if (e == RP_OK) {
        RP_CHECK(m.version == 20 && m.framing != RP_BODY_CLOSE);
        RP_CHECK(m.host.len > 0);
        if (m.method != RP_M_CONNECT) check_as_h1(&m);
    }
    rp_arena_reset(&arena);
    return 0;
}
