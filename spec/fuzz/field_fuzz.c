/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of field values: the first line is a name, the rest a value.
 */
#include "http_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_forwarding(rp_str value)
{
    struct rp_arena arena;
    struct rp_addr conn, out;
    rp_arena_init(&arena, NULL, 0, FUZZ_ARENA_CAP);
    struct rp_cidr_set *trusted = rp_cidr_set_make(&arena, 2);
    rp_err e = rp_cidr_set_add(trusted, RP_STR("10.0.0.0/8"));
    RP_CHECK(e == RP_OK);
    e = rp_addr_parse_ip(RP_STR("10.0.0.1"), &conn);
    RP_CHECK(e == RP_OK);
    rp_err (*const walks[])(rp_str, const struct rp_addr *, const struct rp_cidr_set *,
                            struct rp_addr *) = {rp_field_forwarded_for, rp_field_forwarded};
    for (size_t i = 0; i < RP_COUNT(walks); i++) {
        e = walks[i](value, &conn, trusted, &out);
        RP_CHECK(e == RP_OK || e == RP_E_INVALID);
        RP_CHECK(out.family == RP_ADDR_IP4 || out.family == RP_ADDR_IP6);
        RP_CHECK(e == RP_OK || rp_cidr_set_has(trusted, &out)); /* the last good one was trusted */
        e = walks[i](value, &conn, NULL, &out);
        RP_CHECK(e == RP_OK &&
                 rp_addr_eq(&out, &conn)); /* nobody is trusted: nothing is believed */
    }
    rp_arena_reset(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rp_str all = rp_str_of((const char *)data, size);
    size_t lf = rp_str_find(all, '\n', 0);
    rp_str name = rp_str_head(all, lf);
    rp_str value = rp_str_from(all, lf < size ? lf + 1 : lf);
    if (rp_field_is_name(name)) check_clean(name);
    if (rp_field_is_value(value)) {
        check_clean(value);
        RP_CHECK(rp_str_trim(value).len == value.len);
    }
    rp_str cookie = rp_field_cookie(value, name);
    if (cookie.ptr) check_inside(cookie, value.ptr, value.len);
    RP_CHECK(rp_str_find(cookie, ';', 0) == cookie.len);
    int weight = rp_field_weight(value, name);
    RP_CHECK(weight >= -1 && weight <= 1000);
    RP_CHECK(rp_token_header(name.ptr, name.len) == RP_H_OTHER || rp_field_is_name(name));
    check_forwarding(value);
    return 0;
}
