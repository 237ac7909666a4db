/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of addresses and networks: what is taken reads back as itself, and a network has the
 * address that it is written with.
 */
#include "net/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_address(rp_str text)
{
    struct rp_addr a, again;
    char out[RP_ADDR_TEXT_BYTES];
    if (rp_addr_parse(text, &a) != RP_OK) return;
    RP_CHECK(a.family == RP_ADDR_IP4 || a.family == RP_ADDR_IP6 || a.family == RP_ADDR_UNIX);
    RP_CHECK(memchr(a.unix_path, 0, sizeof a.unix_path));
    size_t n = rp_addr_put(&a, out);
    RP_CHECK(n > 0 && n < sizeof out && out[n] == '\0');
    rp_err e = rp_addr_parse(rp_str_of(out, n), &again);
    RP_CHECK(e == RP_OK && rp_addr_eq(&a, &again));
}

/* A zone ("fe80::1%lo") is told by its index, which is not what was read. */
static void check_ip(rp_str text)
{
    struct rp_addr a, again;
    char out[RP_ADDR_TEXT_BYTES];
    if (rp_addr_parse_ip(text, &a) != RP_OK) return;
    RP_CHECK(a.family == RP_ADDR_IP4 || a.family == RP_ADDR_IP6);
    a.scope = 0;
    size_t n = rp_addr_put_ip(&a, out);
    RP_CHECK(n > 0 && n < sizeof out);
    rp_err e = rp_addr_parse_ip(rp_str_of(out, n), &again);
    RP_CHECK(e == RP_OK && rp_addr_eq(&a, &again));
}

static void check_network(rp_str text)
{
    struct rp_arena arena;
    struct rp_addr a;
    rp_arena_init(&arena, NULL, 0, 1 << 16);
    struct rp_cidr_set *set = rp_cidr_set_make(&arena, 1);
    rp_err e = rp_cidr_set_add(set, text);
    RP_CHECK(e == RP_OK || e == RP_E_INVALID);
    rp_str before = rp_str_head(text, rp_str_find(text, '/', 0));
    if (e == RP_OK && rp_addr_parse_ip(before, &a) == RP_OK) RP_CHECK(rp_cidr_set_has(set, &a));
    rp_arena_reset(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rp_str text = rp_str_of((const char *)data, size);
    check_address(text);
    check_ip(text);
    check_network(text);
    return 0;
}
