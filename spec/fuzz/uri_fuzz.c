/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of request targets and paths: the first byte chooses the method, the rest is the target.
 */
#include "http/token.h"
#include "http/uri.h"
#include "http_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_decode(struct rp_arena *a, rp_str s)
{
    rp_str plain = rp_uri_decode(a, s, false);
    rp_str form = rp_uri_decode(a, s, true);
    RP_CHECK(plain.len <= s.len && form.len == plain.len);
    rp_str rest = s, name, value;
    size_t walked = 0;
    while (rp_uri_arg_next(&rest, &name, &value)) {
        check_inside(name, s.ptr, s.len);
        check_inside(value, s.ptr, s.len);
        RP_CHECK(!memchr(value.ptr, '&', value.len));
        walked += name.len + value.len;
    }
    RP_CHECK(walked <= s.len && rest.len == 0);
}

/* No segment of a normal path is empty (but the last), "." or "..". */
static void check_normal(rp_str path)
{
    RP_CHECK(path.len > 0 && path.ptr[0] == '/');
    for (size_t i = 0; i < path.len; i++) {
        RP_CHECK(rp_chars_is(path.ptr[i], RP_CH_PATH) || path.ptr[i] == '%');
        if (path.ptr[i] != '/') continue;
        rp_str rest = rp_str_from(path, i + 1);
        rp_str segment = rp_str_head(rest, rp_str_find(rest, '/', 0));
        RP_CHECK(segment.len > 0 || rest.len == 0);
        RP_CHECK(!rp_str_eq(segment, RP_STR(".")) && !rp_str_eq(segment, RP_STR("..")));
    }
}

static void check_normalize(struct rp_arena *a, rp_str raw)
{
    rp_str once, twice;
    if (rp_uri_normalize(a, raw, &once) != RP_OK) return;
    if (raw.len == 0 || (raw.len == 1 && raw.ptr[0] == '*')) return;
    check_normal(once);
    rp_err e = rp_uri_normalize(a, once, &twice);
    RP_CHECK(e == RP_OK && twice.ptr == once.ptr && twice.len == once.len);
}

/* Bytes that can be read behind it change no answer. */
static void check_authority(rp_str all)
{
    for (size_t n = 0; n <= all.len && n <= 20; n++) {
        rp_str host = RP_STR_NONE, again = RP_STR_NONE, some = rp_str_head(all, n);
        uint16_t port = 0, port_again = 0;
        rp_err e = rp_uri_parse_authority(some, &host, &port);
        RP_CHECK(e == rp_uri_parse_authority_within(some, all.ptr + all.len, &again, &port_again));
        if (e == RP_OK) RP_CHECK(rp_str_eq(host, again) && port == port_again);
    }
}

/* The one walk over a line finds what the two over its target, up to the first space, find. */
static void check_origin(rp_str line)
{
    struct rp_uri quick, whole;
    memset(&quick, 0, sizeof quick);
    const char *space = line.len ? memchr(line.ptr, ' ', line.len) : NULL;
    size_t n = rp_uri_parse_origin(line.ptr, line.ptr + line.len, &quick);
    rp_str target = rp_str_head(line, space ? (size_t)(space - line.ptr) : 0);
    bool is_origin = target.len > 0 && target.ptr[0] == '/' &&
                     rp_uri_parse_target(target, RP_M_GET, &whole) == RP_OK;
    RP_CHECK(n == (is_origin ? target.len : 0));
    if (n == 0) return;
    RP_CHECK(quick.form == whole.form && quick.has_query == whole.has_query);
    RP_CHECK(quick.is_normal == whole.is_normal && quick.query.ptr == whole.query.ptr);
    RP_CHECK(quick.query.len == whole.query.len && rp_str_eq(quick.path, whole.path));
    RP_CHECK(quick.raw_path.ptr == whole.raw_path.ptr && rp_str_eq(quick.raw_path, quick.path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rp_arena arena;
    struct rp_uri uri;
    if (size == 0) return 0;
    const char *p = (const char *)data + 1;
    rp_str target = rp_str_of(p, size - 1), host;
    uint8_t method = (uint8_t)(data[0] % RP_M_COUNT);
    uint16_t port;
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    if (rp_uri_parse_target(target, method, &uri) == RP_OK) {
        check_inside(uri.scheme, p, target.len);
        check_inside(uri.host, p, target.len);
        check_inside(uri.query, p, target.len);
        check_clean(target);
        RP_CHECK(!memchr(target.ptr, '#', target.len) && !memchr(target.ptr, ' ', target.len));
        RP_CHECK(uri.host.len == 0 || !memchr(uri.host.ptr, '@', uri.host.len));
        check_normalize(&arena, uri.raw_path);
        if (uri.is_normal) {
            rp_str same;
            RP_CHECK(rp_uri_normalize(&arena, uri.raw_path, &same) == RP_OK);
            RP_CHECK(same.ptr == uri.raw_path.ptr && same.len == uri.raw_path.len);
        }
        if (uri.form == RP_URI_ORIGIN) /* its parts make the whole */
            RP_CHECK(uri.raw_path.len + uri.has_query + uri.query.len == target.len);
    }
    check_authority(target);
    check_origin(target);
    if (rp_uri_parse_authority(target, &host, &port) == RP_OK)
        RP_CHECK(host.ptr == p && host.len > 0 && host.len <= 255);
    check_normalize(&arena, target);
    check_decode(&arena, target);
    rp_arena_reset(&arena);
    return 0;
}
