/* SPDX-License-Identifier: MIT
 *
 * addr: see addr.h. Text of an IP is parsed by the C library's inet_pton, which is strict (four
 * decimal parts without leading zeros, RFC 4291 §2.2 forms); everything around it is checked here.
 * An IPv4-mapped IPv6 address is turned into IPv4 wherever one comes in, so family RP_ADDR_IP6
 * never holds one and two forms of one address compare equal.
 */
#include "net/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "net/addr_sys.h"

static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* ---- text in ------------------------------------------------------------------------------- */

static bool is_link_local(const uint8_t ip[16])
{
    bool unicast = ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;   /* RFC 4291 §2.5.6 */
    bool multicast = ip[0] == 0xff && (ip[1] & 0x0f) == 0x02; /* RFC 4291 §2.7, scope 2 */
    return unicast || multicast;
}

/* Zone index of a number or an interface's name, 0 when there is none such. */
static uint32_t zone_index(rp_str zone)
{
    uint64_t n = 0;
    char name[IF_NAMESIZE] = "";
    if (rp_str_u64(zone, &n) == RP_OK) return n <= UINT32_MAX ? (uint32_t)n : 0;
    if (zone.len == 0 || zone.len >= sizeof name) return 0;
    memcpy(name, zone.ptr, zone.len);
    return if_nametoindex(name);
}

/* Into a NUL-terminated buffer; false when it cannot be the text of an IP. */
static bool copy_z(rp_str s, char *out, size_t room)
{
    if (s.len == 0 || s.len >= room || memchr(s.ptr, 0, s.len)) return false;
    memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return true;
}

static void become_ip4(struct rp_addr *a)
{
    if (a->family == RP_ADDR_IP6 && memcmp(a->ip, MAPPED, sizeof MAPPED) == 0)
        a->family = RP_ADDR_IP4;
}

static rp_err parse_ip4(rp_str s, struct rp_addr *out)
{
    char z[INET_ADDRSTRLEN];
    if (!copy_z(s, z, sizeof z)) return RP_E_INVALID;
    memcpy(out->ip, MAPPED, sizeof MAPPED);
    if (inet_pton(AF_INET, z, out->ip + sizeof MAPPED) != 1) return RP_E_INVALID;
    out->family = RP_ADDR_IP4;
    return RP_OK;
}

static rp_err parse_ip6(rp_str s, struct rp_addr *out)
{
    char z[INET6_ADDRSTRLEN];
    size_t percent = rp_str_find(s, '%', 0);
    if (!copy_z(rp_str_head(s, percent), z, sizeof z)) return RP_E_INVALID;
    if (inet_pton(AF_INET6, z, out->ip) != 1) return RP_E_INVALID;
    out->family = RP_ADDR_IP6;
    become_ip4(out);
    if (percent == s.len) return RP_OK;
    if (!is_link_local(out->ip)) return RP_E_INVALID; /* RFC 4007 §11: elsewhere it means nothing */
    out->scope = zone_index(rp_str_from(s, percent + 1));
    return out->scope ? RP_OK : RP_E_INVALID;
}

static rp_err parse_bare_ip(rp_str s, struct rp_addr *out)
{
    return rp_str_find(s, ':', 0) < s.len ? parse_ip6(s, out) : parse_ip4(s, out);
}

static rp_err parse_bracketed(rp_str s, struct rp_addr *out)
{
    if (s.len < 2 || s.ptr[0] != '[' || s.ptr[s.len - 1] != ']') return RP_E_INVALID;
    return parse_ip6(rp_str_of(s.ptr + 1, s.len - 2), out);
}

static rp_err parse_port(rp_str s, uint16_t *out)
{
    uint64_t port = 0;
    if (s.len > 1 && s.ptr[0] == '0') return RP_E_INVALID;
    if (rp_str_u64(s, &port) != RP_OK || port > UINT16_MAX) return RP_E_INVALID;
    *out = (uint16_t)port;
    return RP_OK;
}

static rp_err parse_unix(rp_str path, struct rp_addr *out)
{
    if (path.len < 2 || (path.ptr[0] != '/' && path.ptr[0] != '@')) return RP_E_INVALID;
    if (!copy_z(path, out->unix_path, sizeof out->unix_path)) return RP_E_INVALID;
    out->family = RP_ADDR_UNIX;
    return RP_OK;
}

static void clear(struct rp_addr *a)
{
    memset(a, 0, sizeof *a);
}

/* A failed parse leaves RP_ADDR_NONE behind. */
static rp_err whole_or_none(rp_err e, struct rp_addr *a)
{
    if (e != RP_OK) clear(a);
    return e;
}

rp_err rp_addr_parse_ip(rp_str s, struct rp_addr *out)
{
    clear(out);
    bool bracketed = s.len > 0 && s.ptr[0] == '[';
    return whole_or_none(bracketed ? parse_bracketed(s, out) : parse_bare_ip(s, out), out);
}

static rp_err parse_host_port(rp_str s, struct rp_addr *out)
{
    size_t colon = s.len;
    while (colon > 0 && s.ptr[colon - 1] != ':') colon--;
    if (colon == 0) return RP_E_INVALID;
    rp_str host = rp_str_head(s, colon - 1), port = rp_str_from(s, colon);
    if (host.len == 0 || rp_str_eq(host, RP_STR("*"))) host = RP_STR("0.0.0.0");
    rp_err e = host.ptr[0] == '[' ? parse_bracketed(host, out) : parse_ip4(host, out);
    return e != RP_OK ? e : parse_port(port, &out->port);
}

rp_err rp_addr_parse(rp_str s, struct rp_addr *out)
{
    clear(out);
    rp_str scheme = RP_STR("unix:");
    bool local = rp_str_starts(s, scheme);
    return whole_or_none(
        local ? parse_unix(rp_str_from(s, scheme.len), out) : parse_host_port(s, out), out);
}

/* ---- text out ------------------------------------------------------------------------------ */

/* The decimal text of an octet and how long it is. Each request needs four for X-Forwarded-For;
 * inet_ntop goes through printf, 1,500 instructions. */
struct octet_text {
    uint8_t digits[3];
    uint8_t n;
};
#define OCTET(x)                                                                                   \
    {                                                                                              \
        {'0' + ((x) < 10    ? (x)                                                                  \
                : (x) < 100 ? (x) / 10                                                             \
                            : (x) / 100),                                                          \
         '0' + ((x) < 100 ? (x) % 10 : (x) / 10 % 10), '0' + (x) % 10},                            \
            (x) < 10    ? 1                                                                        \
            : (x) < 100 ? 2                                                                        \
                        : 3,                                                                       \
    }
#define OCTETS4(x) OCTET(x), OCTET((x) + 1), OCTET((x) + 2), OCTET((x) + 3)
#define OCTETS16(x) OCTETS4(x), OCTETS4((x) + 4), OCTETS4((x) + 8), OCTETS4((x) + 12)
#define OCTETS64(x) OCTETS16(x), OCTETS16((x) + 16), OCTETS16((x) + 32), OCTETS16((x) + 48)
static const struct octet_text octets[256] = {OCTETS64(0), OCTETS64(64), OCTETS64(128),
                                              OCTETS64(192)};

/* Every request tells an address: four bytes at once, of which the length says how many count. */
static size_t put_ip4(const uint8_t ip[4], char *out)
{
    char *p = out;
    for (unsigned i = 0; i < 4; i++) {
        const struct octet_text *t = &octets[ip[i]];
        memcpy(p, t, sizeof *t);
        p += t->n;
        *p++ = '.';
    }
    *--p = '\0';
    return (size_t)(p - out);
}

static RP_COLD size_t put_other(const struct rp_addr *a, char out[128])
{
    out[0] = '\0';
    switch ((enum rp_addr_family)a->family) {
    case RP_ADDR_NONE:
    case RP_ADDR_IP4: break;
    case RP_ADDR_IP6: (void)inet_ntop(AF_INET6, a->ip, out, 128); break;    /* fits */
    case RP_ADDR_UNIX: (void)snprintf(out, 128, "%s", a->unix_path); break; /* fits */
    }
    size_t n = strlen(out);
    if (a->family == RP_ADDR_IP6 && a->scope)
        n += (size_t)snprintf(out + n, 128 - n, "%%%u", a->scope);
    return n;
}

size_t rp_addr_put_ip(const struct rp_addr *a, char out[128])
{
    if (RP_LIKELY(a->family == RP_ADDR_IP4)) return put_ip4(a->ip + sizeof MAPPED, out);
    return put_other(a, out);
}

size_t rp_addr_put(const struct rp_addr *a, char out[128])
{
    char ip[RP_ADDR_TEXT_BYTES];
    (void)rp_addr_put_ip(a, ip); /* NUL-terminated */
    int n = 0;
    out[0] = '\0';
    switch ((enum rp_addr_family)a->family) {
    case RP_ADDR_NONE: break;
    case RP_ADDR_IP4: n = snprintf(out, 128, "%s:%u", ip, a->port); break;
    case RP_ADDR_IP6: n = snprintf(out, 128, "[%s]:%u", ip, a->port); break;
    case RP_ADDR_UNIX: n = snprintf(out, 128, "unix:%.107s", ip); break;
    }
    return (size_t)n;
}

bool rp_addr_eq(const struct rp_addr *a, const struct rp_addr *b)
{
    if (a->family != b->family) return false;
    if (a->family == RP_ADDR_UNIX) return strcmp(a->unix_path, b->unix_path) == 0;
    return a->port == b->port && a->scope == b->scope && memcmp(a->ip, b->ip, 16) == 0;
}

/* ---- the kernel's form --------------------------------------------------------------------- */

static socklen_t to_unix(const struct rp_addr *a, struct sockaddr_un *out)
{
    size_t n = strlen(a->unix_path);
    out->sun_family = AF_UNIX;
    memcpy(out->sun_path, a->unix_path, n);
    bool abstract = n > 0 && a->unix_path[0] == '@';
    if (abstract) out->sun_path[0] = '\0'; /* unix(7): named by its bytes, no NUL at the end */
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (abstract ? 0 : 1));
}

socklen_t rp_addr_to_sys(const struct rp_addr *a, struct sockaddr_storage *out)
{
    struct sockaddr_in *in4 = (struct sockaddr_in *)(void *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)out;
    memset(out, 0, sizeof *out);
    switch ((enum rp_addr_family)a->family) {
    case RP_ADDR_NONE: break;
    case RP_ADDR_IP4:
        in4->sin_family = AF_INET;
        in4->sin_port = htons(a->port);
        memcpy(&in4->sin_addr, a->ip + sizeof MAPPED, 4);
        return sizeof *in4;
    case RP_ADDR_IP6:
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        in6->sin6_scope_id = a->scope;
        memcpy(&in6->sin6_addr, a->ip, 16);
        return sizeof *in6;
    case RP_ADDR_UNIX: return to_unix(a, (struct sockaddr_un *)(void *)out);
    }
    return 0;
}

static void from_unix(const struct sockaddr_un *un, socklen_t n, struct rp_addr *out)
{
    size_t at = offsetof(struct sockaddr_un, sun_path);
    out->family = RP_ADDR_UNIX;
    if (n <= at) return; /* unnamed */
    bool abstract = un->sun_path[0] == '\0';
    size_t len = abstract ? n - at : strnlen(un->sun_path, n - at);
    len = RP_MIN(len, sizeof out->unix_path - 1);
    memcpy(out->unix_path, un->sun_path, len);
    if (abstract) out->unix_path[0] = '@';
}

void rp_addr_from_sys(const struct sockaddr *sa, socklen_t n, struct rp_addr *out)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)sa;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
    clear(out);
    if (n < sizeof sa->sa_family) return;
    switch (sa->sa_family) {
    case AF_INET:
        out->family = RP_ADDR_IP4;
        out->port = ntohs(in4->sin_port);
        memcpy(out->ip, MAPPED, sizeof MAPPED);
        memcpy(out->ip + sizeof MAPPED, &in4->sin_addr, 4);
        break;
    case AF_INET6:
        out->family = RP_ADDR_IP6;
        out->port = ntohs(in6->sin6_port);
        memcpy(out->ip, &in6->sin6_addr, 16);
        if (is_link_local(out->ip)) out->scope = in6->sin6_scope_id;
        become_ip4(out);
        break;
    case AF_UNIX: from_unix((const struct sockaddr_un *)(const void *)sa, n, out); break;
    default: break;
    }
}

bool rp_addr_is_any(const struct rp_addr *a)
{
    static const uint8_t zero[16];
    if (a->family == RP_ADDR_IP4) return memcmp(a->ip + sizeof MAPPED, zero, 4) == 0;
    return a->family == RP_ADDR_IP6 && memcmp(a->ip, zero, 16) == 0;
}
