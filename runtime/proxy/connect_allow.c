/* SPDX-License-Identifier: MIT
 *
 * connect_allow: see connect_allow.h.
 */
#include "proxy/connect_allow.h"

#include "http/uri.h"
#include "proxy/conf_build.h"

enum { IP_BYTES = 16, IP4_AT = 12, IP4_BITS = 96 };

struct net { /* of the 16-byte form: IPv4 lies in ::ffff:0:0/96 */
    uint8_t ip[IP_BYTES];
    uint8_t bits;
};

enum kind { NAME, SUFFIX, NETWORK };
struct rule {
    uint8_t kind; /* enum kind */
    bool special; /* NETWORK: within an address range that needs its own entry */
    uint16_t low, high;
    struct net net;
    rp_str name; /* lower case, without a final dot; SUFFIX: with the dot in front */
};

struct rp_connect_allow {
    struct rp_arena *arena;
    struct rule *rules;
    uint32_t rules_n;
    struct net *denied;
    uint32_t denied_n;
};

/* Opened only by a network within. IPv6 as it is written, IPv4 in its mapped form. */
#define IP4(a, b, c, d, n)                                                                         \
    {                                                                                              \
        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}, IP4_BITS + (n)                     \
    }
static const struct net SPECIAL[] = {
    IP4(0, 0, 0, 0, 8),          /* this host, RFC 1122 §3.2.1.3 */
    IP4(127, 0, 0, 0, 8),        /* loopback */
    IP4(169, 254, 0, 0, 16),     /* link-local, RFC 3927; metadata of most clouds */
    IP4(224, 0, 0, 0, 4),        /* multicast */
    IP4(240, 0, 0, 0, 4),        /* reserved, broadcast */
    IP4(100, 100, 100, 200, 32), /* metadata: Alibaba */
    IP4(168, 63, 129, 16, 32),   /* metadata: Azure */
    IP4(192, 0, 0, 192, 32),     /* metadata: Oracle */
    {{0}, 96},                   /* ::, ::1 and IPv4 in a form long given up */
    {{0xfe, 0x80}, 10},          /* link-local, RFC 4291 §2.5.6 */
    {{0xff}, 8},                 /* multicast */
    {{0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54}, 128}, /* metadata: AWS */
    {{0xfd, 0x20, 0x00, 0xce, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54}, 128}, /* ... Google */
};
#undef IP4

/* Prefixes behind which an IPv4 address stands: NAT64 (RFC 6052 §2.1), and its local one, of which
 * 96 bits are taken nearly everywhere (RFC 8215); SIIT (RFC 7915's ::ffff:0:0:0/96 of old); 6to4
 * (RFC 3056 §2). */
static const struct {
    struct net net;
    uint8_t at;
} CARRIERS[] = {
    {{{0x00, 0x64, 0xff, 0x9b}, 96}, 12},
    {{{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48}, 12},
    {{{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96}, 12},
    {{{0x20, 0x02}, 16}, 2},
};

/* ---- networks ------------------------------------------------------------------------------- */

static bool net_has(const struct net *n, const uint8_t ip[IP_BYTES])
{
    static const uint8_t MAPPED[IP4_AT] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    unsigned whole = n->bits / 8u, rest = n->bits % 8u;
    if (memcmp(n->ip, ip, whole) != 0) return false;
    if (rest && (n->ip[whole] ^ ip[whole]) >> (8 - rest)) return false;
    /* "::/0" says nothing about IPv4. */
    return n->bits >= IP4_BITS || memcmp(ip, MAPPED, IP4_AT) != 0;
}

static bool is_special(const uint8_t ip[IP_BYTES])
{
    for (size_t i = 0; i < RP_COUNT(SPECIAL); i++)
        if (net_has(&SPECIAL[i], ip)) return true;
    return false;
}

/* Does the network lie within one that is special? */
static bool is_within_special(const struct net *n)
{
    for (size_t i = 0; i < RP_COUNT(SPECIAL); i++)
        if (n->bits >= SPECIAL[i].bits && net_has(&SPECIAL[i], n->ip)) return true;
    return false;
}

/* The IPv4 address that an IPv6 one carries, in the mapped form. */
static bool carried(const uint8_t ip[IP_BYTES], uint8_t out[IP_BYTES])
{
    for (size_t i = 0; i < RP_COUNT(CARRIERS); i++) {
        if (!net_has(&CARRIERS[i].net, ip)) continue;
        memset(out, 0, IP_BYTES);
        out[10] = out[11] = 0xff;
        memcpy(out + IP4_AT, ip + CARRIERS[i].at, 4);
        return true;
    }
    return false;
}

/* "10.0.0.0/8", "fd00::/8", "10.0.0.1". RP_E_INVALID */
static rp_err parse_net(rp_str text, struct net *out)
{
    struct rp_addr a;
    size_t slash = rp_str_find(text, '/', 0);
    rp_str ip = rp_str_head(text, slash);
    uint64_t bits = 0;
    if (rp_str_find(ip, '[', 0) < ip.len) return RP_E_INVALID;
    if (rp_addr_parse_ip(ip, &a) != RP_OK || a.scope) return RP_E_INVALID;
    bool dotted = rp_str_find(ip, ':', 0) == ip.len;
    unsigned most = dotted ? 32 : 128;
    bits = most;
    if (slash < text.len) {
        rp_str digits = rp_str_from(text, slash + 1);
        if (digits.len > 1 && digits.ptr[0] == '0') return RP_E_INVALID;
        if (rp_str_u64(digits, &bits) != RP_OK || bits > most) return RP_E_INVALID;
    }
    memcpy(out->ip, a.ip, IP_BYTES);
    out->bits = (uint8_t)(dotted ? bits + IP4_BITS : bits);
    for (unsigned i = out->bits; i < 128; i++) out->ip[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
    return RP_OK;
}

/* ---- building ------------------------------------------------------------------------------- */

struct rp_connect_allow *rp_connect_allow_make(struct rp_arena *a)
{
    struct rp_connect_allow *c = rp_arena_zalloc(a, sizeof *c);
    if (c) c->arena = a;
    return c;
}

bool rp_connect_allow_is_empty(const struct rp_connect_allow *c)
{
    return c->rules_n == 0;
}

/* "443", "8000-8099" */
static rp_err parse_ports(rp_str text, struct rule *out)
{
    uint64_t low, high;
    size_t dash = rp_str_find(text, '-', 0);
    if (rp_str_u64(rp_str_head(text, dash), &low) != RP_OK) return RP_E_INVALID;
    high = low;
    if (dash < text.len && rp_str_u64(rp_str_from(text, dash + 1), &high) != RP_OK)
        return RP_E_INVALID;
    if (low < 1 || high > UINT16_MAX || low > high) return RP_E_INVALID;
    out->low = (uint16_t)low;
    out->high = (uint16_t)high;
    return RP_OK;
}

/* Host and ports apart; ports.ptr NULL: there are none. */
static bool split(rp_str text, rp_str *host, rp_str *ports)
{
    *host = text;
    *ports = RP_STR_NONE;
    if (text.len > 0 && text.ptr[0] == '[') {
        size_t close = rp_str_find(text, ']', 0);
        if (close == text.len) return false;
        *host = rp_str_of(text.ptr + 1, close - 1);
        if (close + 1 == text.len) return true;
        if (text.ptr[close + 1] != ':') return false;
        *ports = rp_str_from(text, close + 2);
        return true;
    }
    size_t colon = rp_str_find(text, ':', 0);
    if (colon == text.len || rp_str_find(text, ':', colon + 1) < text.len) return true; /* IPv6 */
    *host = rp_str_head(text, colon);
    *ports = rp_str_from(text, colon + 1);
    return true;
}

/* Some readers take "127.1" and "2130706433" for addresses: no name ends in a number. */
static bool ends_in_number(rp_str name)
{
    size_t i = name.len;
    while (i > 0 && name.ptr[i - 1] >= '0' && name.ptr[i - 1] <= '9') i--;
    return i < name.len && (i == 0 || name.ptr[i - 1] == '.');
}

static rp_str without_dot(rp_str name)
{
    bool dot = name.len > 1 && name.ptr[name.len - 1] == '.';
    return rp_str_head(name, name.len - dot);
}

static rp_err parse_name(struct rp_connect_allow *c, rp_str host, struct rule *out)
{
    rp_str bare = host, found;
    uint16_t port;
    out->kind = NAME;
    if (rp_str_starts(host, RP_STR("*."))) {
        out->kind = SUFFIX;
        bare = rp_str_from(host, 2);
    }
    if (rp_uri_parse_authority(bare, &found, &port) != RP_OK || found.len != bare.len)
        return RP_E_INVALID;
    if (bare.ptr[0] == '[' || ends_in_number(without_dot(bare))) return RP_E_INVALID;
    rp_str kept = out->kind == SUFFIX ? rp_str_from(host, 1) : host;
    out->name = rp_arena_copy(c->arena, without_dot(kept));
    if (!out->name.ptr) return RP_E_CAP;
    char *lower = (char *)(uintptr_t)out->name.ptr; /* the copy is ours */
    for (size_t i = 0; i < out->name.len; i++) lower[i] = rp_lower(lower[i]);
    return RP_OK;
}

rp_err rp_connect_allow_add(struct rp_connect_allow *c, rp_str text, struct rp_conf_error *e)
{
    struct rule rule = {.low = 1, .high = UINT16_MAX};
    rp_str host, ports;
    if (c->rules_n >= RP_CONNECT_RULES_MOST)
        return rp_conf_fail(e, RP_E_CAP, "more than %d entries", RP_CONNECT_RULES_MOST);
    bool good = split(text, &host, &ports);
    if (good && ports.ptr && parse_ports(ports, &rule) != RP_OK)
        return rp_conf_fail(e, RP_E_INVALID,
                            "\"%.*s\": its port is no number from 1 to 65535, nor a range "
                            "such as 8000-8099",
                            RP_STR_ARG(text));
    rp_err err = RP_E_INVALID;
    if (good && parse_net(host, &rule.net) == RP_OK) {
        rule.kind = NETWORK;
        rule.special = is_within_special(&rule.net);
        err = RP_OK;
    } else if (good && text.ptr[0] != '[') {
        err = parse_name(c, host, &rule);
    }
    if (err == RP_E_CAP) return rp_conf_full(e);
    if (err != RP_OK)
        return rp_conf_fail(e, RP_E_INVALID,
                            "\"%.*s\" is neither a name (db.internal:5432, *.svc.example:443) nor "
                            "a network (10.0.0.0/8:22, [fd00::/8]:22)",
                            RP_STR_ARG(text));
    struct rule *grown = rp_conf_grow(c->arena, c->rules, c->rules_n, sizeof rule);
    if (!grown) return rp_conf_full(e);
    c->rules = grown;
    c->rules[c->rules_n++] = rule;
    return RP_OK;
}

rp_err rp_connect_allow_deny(struct rp_connect_allow *c, rp_str text, struct rp_conf_error *e)
{
    struct net net;
    if (c->denied_n >= RP_CONNECT_RULES_MOST)
        return rp_conf_fail(e, RP_E_CAP, "more than %d entries", RP_CONNECT_RULES_MOST);
    if (parse_net(text, &net) != RP_OK)
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\" is no network", RP_STR_ARG(text));
    struct net *grown = rp_conf_grow(c->arena, c->denied, c->denied_n, sizeof net);
    if (!grown) return rp_conf_full(e);
    c->denied = grown;
    c->denied[c->denied_n++] = net;
    return RP_OK;
}

/* ---- asking --------------------------------------------------------------------------------- */

static bool takes_port(const struct rule *r, uint16_t port)
{
    return r->low <= port && port <= r->high;
}

static bool is_denied(const struct rp_connect_allow *c, const uint8_t ip[IP_BYTES])
{
    for (uint32_t i = 0; i < c->denied_n; i++)
        if (net_has(&c->denied[i], ip)) return true;
    return false;
}

/* Is there a network for it? special: only networks within special ranges count. */
static bool has_network(const struct rp_connect_allow *c, const struct rp_addr *a, bool special)
{
    for (uint32_t i = 0; i < c->rules_n; i++) {
        const struct rule *r = &c->rules[i];
        if (r->kind != NETWORK || !takes_port(r, a->port) || (special && !r->special)) continue;
        if (net_has(&r->net, a->ip)) return true;
    }
    return false;
}

/* named: a name on the list stands for it. */
static bool may_reach(const struct rp_connect_allow *c, const struct rp_addr *a, bool named)
{
    uint8_t inner[IP_BYTES];
    if (a->family != RP_ADDR_IP4 && a->family != RP_ADDR_IP6) return false;
    if (is_denied(c, a->ip)) return false;
    if (carried(a->ip, inner) && (is_special(inner) || is_denied(c, inner))) return false;
    bool special = is_special(a->ip);
    return (named && !special) || has_network(c, a, special);
}

static bool has_name(const struct rp_connect_allow *c, rp_str host, uint16_t port)
{
    rp_str name = without_dot(host);
    for (uint32_t i = 0; i < c->rules_n; i++) {
        const struct rule *r = &c->rules[i];
        if (r->kind == NETWORK || !takes_port(r, port)) continue;
        if (r->kind == NAME && rp_str_ieq(name, r->name)) return true;
        if (r->kind == SUFFIX && name.len > r->name.len &&
            rp_str_ieq(rp_str_from(name, name.len - r->name.len), r->name))
            return true;
    }
    return false;
}

rp_err rp_connect_allow_check(const struct rp_connect_allow *c, rp_str host, uint16_t port,
                              struct rp_addr *literal)
{
    *literal = (struct rp_addr){.family = RP_ADDR_NONE};
    if (rp_addr_parse_ip(host, literal) == RP_OK) {
        literal->port = port;
        return may_reach(c, literal, false) ? RP_OK : RP_E_CONNECT_DENIED;
    }
    literal->family = RP_ADDR_NONE;
    return has_name(c, host, port) ? RP_OK : RP_E_CONNECT_DENIED;
}

bool rp_connect_allow_has(const struct rp_connect_allow *c, const struct rp_addr *a)
{
    return may_reach(c, a, true);
}
