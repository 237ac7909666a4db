/* SPDX-License-Identifier: MIT
 *
 * route_host: see route_host.h. One map holds both kinds: a wildcard's key starts with its dot
 * (".example.com"), which no exact name does. Keys are lower case without a final dot.
 */
#include "proxy/route_host.h"

#include "base/map.h"
#include "http/uri.h"
#include "proxy/conf_build.h"

/* A DNS name has at most 253 bytes (RFC 1035 §2.3.4), a bracketed IPv6 literal 47. */
enum { NAME_MAX_BYTES = 255 };

struct rp_route_hosts {
    struct rp_map by_name;
    uint64_t wild_dots; /* bit d: some wildcard has d dots; the last bit stands for all above */
};

static void free_map(void *map)
{
    rp_map_fini(map);
}

struct rp_route_hosts *rp_route_hosts_make(struct rp_arena *a, uint32_t names_max)
{
    struct rp_route_hosts *hosts = rp_arena_zalloc(a, sizeof *hosts);
    if (!hosts) return NULL;
    rp_map_init(&hosts->by_name, names_max);
    return rp_arena_defer(a, free_map, &hosts->by_name) == RP_OK ? hosts : NULL;
}

static rp_str lower_into(char *out, rp_str name)
{
    if (name.len && name.ptr[name.len - 1] == '.') name.len--;
    for (size_t i = 0; i < name.len; i++) out[i] = rp_lower(name.ptr[i]);
    return rp_str_of(out, name.len);
}

static uint64_t dots_bit(size_t dots)
{
    return UINT64_C(1) << RP_MIN(dots, (size_t)63);
}

static size_t count_dots(rp_str s)
{
    size_t dots = 0;
    for (size_t i = 0; i < s.len; i++) dots += s.ptr[i] == '.';
    return dots;
}

rp_err rp_route_hosts_add(struct rp_route_hosts *hosts, rp_str name, struct rp_conf_host *host,
                          struct rp_conf_error *e)
{
    char lowered[NAME_MAX_BYTES + 1];
    uint16_t port = 0;
    rp_str bare = RP_STR_NONE;
    bool wild = rp_str_starts(name, RP_STR("*."));
    rp_str plain = wild ? rp_str_from(name, 2) : name;
    if (plain.len > NAME_MAX_BYTES || rp_uri_parse_authority(plain, &bare, &port) != RP_OK ||
        (wild && bare.ptr[0] == '['))
        return rp_conf_fail(e, RP_E_INVALID,
                            "\"%.*s\" is no host name (\"example.com\", \"*.example.com\")",
                            RP_STR_ARG(name));
    if (bare.len != plain.len)
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\": a host name has no port here",
                            RP_STR_ARG(name));
    rp_str key = lower_into(lowered, wild ? rp_str_from(name, 1) : name);
    if (rp_map_find(&hosts->by_name, key))
        return rp_conf_fail(e, RP_E_INVALID, "host \"%.*s\" is there already", RP_STR_ARG(name));
    if (rp_map_set(&hosts->by_name, key, host) != RP_OK)
        return rp_conf_fail(e, RP_E_CAP, "too many host names");
    if (wild) hosts->wild_dots |= dots_bit(count_dots(key));
    return RP_OK;
}

/* Suffixes from the longest on, only those with as many dots as some wildcard has. */
static struct rp_conf_host *find_wild(const struct rp_route_hosts *hosts, rp_str name)
{
    size_t dots = count_dots(name);
    for (size_t at = 1; at < name.len; at++) { /* from 1: "*" stands for at least one byte */
        if (name.ptr[at] != '.') continue;
        struct rp_conf_host *host = NULL;
        if (hosts->wild_dots & dots_bit(dots))
            host = rp_map_find(&hosts->by_name, rp_str_from(name, at));
        if (host) return host;
        dots--;
    }
    return NULL;
}

RP_APART static struct rp_conf_host *find_by_name(const struct rp_route_hosts *hosts, rp_str name)
{
    char lowered[NAME_MAX_BYTES + 1];
    if (name.len == 0 || name.len > sizeof lowered || name.ptr[0] == '.') return NULL;
    name = lower_into(lowered, name);
    struct rp_conf_host *host = rp_map_find(&hosts->by_name, name);
    return host || !hosts->wild_dots ? host : find_wild(hosts, name);
}

struct rp_conf_host *rp_route_hosts_find(const struct rp_route_hosts *hosts, rp_str name)
{
    if (hosts->by_name.n == 0) return NULL; /* the site answers to any name */
    return find_by_name(hosts, name);
}
