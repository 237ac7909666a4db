/* SPDX-License-Identifier: MIT
 *
 * cidr: sets of networks. Networks are kept as ranges, IPv4 (also IPv4-mapped IPv6) and IPv6
 * apart, so that "::/0" says nothing about IPv4. The first question sorts each list and joins
 * ranges that overlap; from then on one binary search answers.
 */
#include <stdlib.h>

#include "net/addr.h"

typedef unsigned __int128 u128;

struct range4 {
    uint32_t first, last;
};
struct range6 {
    u128 first, last;
};

enum { IP4_BITS = 96 }; /* in front of a mapped address */

struct rp_cidr_set {
    struct range4 *ip4;
    struct range6 *ip6;
    size_t ip4_n, ip6_n, most;
    bool frozen;
};

/* ---- numbers ------------------------------------------------------------------------------- */

static u128 number_of(const struct rp_addr *a)
{
    u128 n = 0;
    for (size_t i = 0; i < 16; i++) n = n << 8 | a->ip[i];
    return n;
}

/* A mapped address is IPv4 whatever its family says. */
static bool is_ip4(u128 n)
{
    return n >> 32 == 0xffff;
}

/* ---- building ------------------------------------------------------------------------------ */

struct rp_cidr_set *rp_cidr_set_make(struct rp_arena *a, size_t most)
{
    size_t bytes4 = 0, bytes6 = 0;
    if (rp_mul_overflows(most, sizeof(struct range4), &bytes4) ||
        rp_mul_overflows(most, sizeof(struct range6), &bytes6))
        return NULL;
    struct rp_cidr_set *s = rp_arena_zalloc(a, sizeof *s);
    if (!s) return NULL;
    s->ip4 = rp_arena_alloc(a, bytes4);
    s->ip6 = rp_arena_alloc(a, bytes6);
    s->most = most;
    return s->ip4 && s->ip6 ? s : NULL;
}

/* "24" of "/24"; RP_E_INVALID over `most` and for forms such as "024". */
static rp_err parse_bits(rp_str s, unsigned most, unsigned *out)
{
    uint64_t bits = 0;
    if (s.len > 1 && s.ptr[0] == '0') return RP_E_INVALID;
    if (rp_str_u64(s, &bits) != RP_OK || bits > most) return RP_E_INVALID;
    *out = (unsigned)bits;
    return RP_OK;
}

static void add_ip4(struct rp_cidr_set *s, uint32_t n, unsigned bits)
{
    uint32_t host = bits == 0 ? UINT32_MAX : (uint32_t)(((uint64_t)1 << (32 - bits)) - 1);
    s->ip4[s->ip4_n++] = (struct range4){n & ~host, n | host};
}

static void add_ip6(struct rp_cidr_set *s, u128 n, unsigned bits)
{
    u128 host = bits == 0 ? ~(u128)0 : ((u128)1 << (128 - bits)) - 1;
    s->ip6[s->ip6_n++] = (struct range6){n & ~host, n | host};
}

rp_err rp_cidr_parse(rp_str text, uint8_t ip[16], uint32_t *bits_out)
{
    struct rp_addr a;
    size_t slash = rp_str_find(text, '/', 0);
    rp_str host = rp_str_head(text, slash);
    if (rp_str_find(host, '[', 0) < host.len) return RP_E_INVALID;
    if (rp_addr_parse_ip(host, &a) != RP_OK || a.scope) return RP_E_INVALID;
    bool dotted = rp_str_find(host, ':', 0) == host.len;
    unsigned most = dotted ? 32 : 128, bits = most;
    if (slash < text.len) {
        rp_err e = parse_bits(rp_str_from(text, slash + 1), most, &bits);
        if (e != RP_OK) return e;
    }
    /* "::ffff:10.0.0.0/104" is 10.0.0.0/8. "::ffff:10.0.0.1/32" would be ::/32, which has no IPv4
     * address: somebody meant another one. */
    if (is_ip4(number_of(&a)) && !dotted && bits < IP4_BITS) return RP_E_INVALID;
    memcpy(ip, a.ip, sizeof a.ip);
    *bits_out = dotted ? bits + IP4_BITS : bits;
    return RP_OK;
}

rp_err rp_cidr_set_add(struct rp_cidr_set *s, rp_str text)
{
    struct rp_addr a = {.family = RP_ADDR_IP6};
    uint32_t bits = 0;
    rp_err e = rp_cidr_parse(text, a.ip, &bits);
    if (e != RP_OK) return e;
    if (s->ip4_n + s->ip6_n >= s->most) return RP_E_CAP;
    RP_CHECK(!s->frozen);
    u128 n = number_of(&a);
    if (is_ip4(n)) add_ip4(s, (uint32_t)n, bits - IP4_BITS);
    else add_ip6(s, n, bits);
    return RP_OK;
}

/* ---- searching ----------------------------------------------------------------------------- */

static int compare4(const void *a, const void *b)
{
    const struct range4 *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

static int compare6(const void *a, const void *b)
{
    const struct range6 *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* Ranges are aligned blocks: of two that touch, one holds the other or they are apart. */
static void freeze(struct rp_cidr_set *s)
{
    size_t kept = 0;
    qsort(s->ip4, s->ip4_n, sizeof *s->ip4, compare4);
    for (size_t i = 0; i < s->ip4_n; i++) {
        if (kept > 0 && s->ip4[i].first <= s->ip4[kept - 1].last)
            s->ip4[kept - 1].last = RP_MAX(s->ip4[kept - 1].last, s->ip4[i].last);
        else s->ip4[kept++] = s->ip4[i];
    }
    s->ip4_n = kept;
    kept = 0;
    qsort(s->ip6, s->ip6_n, sizeof *s->ip6, compare6);
    for (size_t i = 0; i < s->ip6_n; i++) {
        if (kept > 0 && s->ip6[i].first <= s->ip6[kept - 1].last)
            s->ip6[kept - 1].last = RP_MAX(s->ip6[kept - 1].last, s->ip6[i].last);
        else s->ip6[kept++] = s->ip6[i];
    }
    s->ip6_n = kept;
    s->frozen = true;
}

static bool has_ip4(const struct rp_cidr_set *s, uint32_t n)
{
    size_t low = 0, high = s->ip4_n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->ip4[mid].first <= n) low = mid + 1;
        else high = mid;
    }
    return low > 0 && n <= s->ip4[low - 1].last;
}

static bool has_ip6(const struct rp_cidr_set *s, u128 n)
{
    size_t low = 0, high = s->ip6_n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->ip6[mid].first <= n) low = mid + 1;
        else high = mid;
    }
    return low > 0 && n <= s->ip6[low - 1].last;
}

bool rp_cidr_set_has(const struct rp_cidr_set *s, const struct rp_addr *a)
{
    if (!s || (a->family != RP_ADDR_IP4 && a->family != RP_ADDR_IP6)) return false;
    if (!s->frozen) freeze((struct rp_cidr_set *)(uintptr_t)s); /* once; ours to change */
    u128 n = number_of(a);
    return is_ip4(n) ? has_ip4(s, (uint32_t)n) : has_ip6(s, n);
}
