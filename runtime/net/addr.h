/* SPDX-License-Identifier: MIT
 *
 * addr: socket addresses (IPv4, IPv6, unix), their text forms, and sets of networks (CIDR).
 */
#ifndef RP_NET_ADDR_H
#define RP_NET_ADDR_H

#include "base/arena.h"

enum rp_addr_family { RP_ADDR_NONE, RP_ADDR_IP4, RP_ADDR_IP6, RP_ADDR_UNIX };

/* 16-byte form of an IP; IPv4 lies in the last 4 bytes as ::ffff:a.b.c.d. */
struct rp_addr {
    uint8_t family; /* enum rp_addr_family */
    uint16_t port;  /* host order */
    uint32_t scope; /* IPv6 zone index */
    uint8_t ip[16];
    char unix_path[108]; /* NUL-terminated; '@' first = abstract */
};

enum { RP_ADDR_TEXT_BYTES = 128 };

/* "1.2.3.4", "::1", "[::1]" (no port). RP_E_INVALID otherwise; names are not looked up. */
RP_MUST rp_err rp_addr_parse_ip(rp_str s, struct rp_addr *out);
/* "1.2.3.4:80", "[::1]:80", "unix:/path", "unix:@abstract", "*:80" and ":80" (any v4). */
RP_MUST rp_err rp_addr_parse(rp_str s, struct rp_addr *out);
/* Text of the IP alone (or the unix path); returns the length. */
size_t rp_addr_put_ip(const struct rp_addr *a, char out[128]);
/* "ip:port", "[ip6]:port", "unix:/path"; returns the length. */
size_t rp_addr_put(const struct rp_addr *a, char out[128]);
bool rp_addr_eq(const struct rp_addr *a, const struct rp_addr *b);
#ifndef RP_CDEF
/* As *to = *from; most addresses have no path, and the room for one is most of the struct. */
static inline void rp_addr_copy(struct rp_addr *to, const struct rp_addr *from)
{
    if (RP_UNLIKELY(from->family == RP_ADDR_UNIX)) *to = *from;
    else memcpy(to, from, offsetof(struct rp_addr, unix_path));
}
#endif

/* "10.0.0.0/8", "fd00::/8", or one address, as 16 bytes and a length of 128 (IPv4: from 96 on). Bits
 * behind the length are kept. RP_E_INVALID. */
RP_MUST rp_err rp_cidr_parse(rp_str text, uint8_t ip[16], uint32_t *bits);

/* A set of networks, sorted for search; frozen after the last add. IPv4-mapped IPv6 matches IPv4. */
struct rp_cidr_set;
struct rp_cidr_set *rp_cidr_set_make(struct rp_arena *a, size_t most);
/* "10.0.0.0/8", "fd00::/8", or one address. RP_E_INVALID, RP_E_CAP. */
RP_MUST rp_err rp_cidr_set_add(struct rp_cidr_set *s, rp_str text);
bool rp_cidr_set_has(const struct rp_cidr_set *s, const struct rp_addr *a); /* NULL set: false */

#endif
