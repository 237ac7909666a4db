/* SPDX-License-Identifier: MIT
 *
 * hash_key: see hash_key.h. Parts are told apart by their lengths, so that "a" and "bc" is not "ab"
 * and "c".
 */
#include "proxy/hash_key.h"

#include "base/hash.h"
#include "http/field.h"
#include "proxy/proxy.h"

static rp_str argument(const struct rp_uri *u, rp_str name)
{
    rp_str rest = u->has_query ? u->query : RP_STR_NONE, key, value;
    while (rest.ptr && rp_uri_arg_next(&rest, &key, &value))
        if (rp_str_eq(key, name)) return value;
    return RP_STR_NONE;
}

static rp_str cookie(const struct rp_msg *m, rp_str name)
{
    const struct rp_field *f = rp_msg_find(m, RP_H_COOKIE);
    for (; f; f = rp_msg_find_next(m, f)) {
        rp_str value = rp_field_cookie(rp_field_value(f), name);
        if (value.ptr) return value;
    }
    return RP_STR_NONE;
}

static rp_str header(const struct rp_msg *m, rp_str name)
{
    const struct rp_field *f = rp_msg_find_name(m, name);
    return f ? rp_field_value(f) : RP_STR_NONE;
}

static rp_str address(const struct rp_addr *a)
{
    if (a->family == RP_ADDR_NONE || a->family == RP_ADDR_UNIX) return RP_STR_NONE;
    return rp_str_of((const char *)a->ip, sizeof a->ip);
}

static rp_str part_of(const struct rp_req *r, const struct rp_conf_hash *h)
{
    const struct rp_msg *m = &r->x.head;
    switch ((enum rp_hash_part)h->part) {
    case RP_HASH_IP: return address(&r->client);
    case RP_HASH_HOST: return m->host;
    case RP_HASH_PATH: return m->uri.path;
    case RP_HASH_QUERY: return m->uri.has_query ? m->uri.query : RP_STR_NONE;
    case RP_HASH_ARG: return argument(&m->uri, h->name);
    case RP_HASH_HEADER: return header(m, h->name);
    case RP_HASH_COOKIE: return cookie(m, h->name);
    case RP_HASH_CONSUMER: return r->consumer;
    }
    return RP_STR_NONE;
}

static struct rp_hash_key first_key(const struct rp_conf_upstream *u)
{
    return (struct rp_hash_key){.k0 = u->hash_n, .k1 = UINT64_C(0x72702e68617368)};
}

static bool hash_parts(const struct rp_req *r, const struct rp_conf_hash *parts, uint32_t n,
                       struct rp_hash_key key, uint64_t *hash)
{
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        rp_str part = part_of(r, &parts[i]);
        any |= part.ptr != NULL;
        key.k0 = rp_hash_keyed(&key, part); /* SipHash takes the length in */
    }
    *hash = key.k0;
    return any;
}

bool rp_hash_key_of(const struct rp_req *r, const struct rp_conf_upstream *u, uint64_t *hash)
{
    return hash_parts(r, u->hash, u->hash_n, first_key(u), hash);
}

bool rp_hash_key_parts(const struct rp_req *r, const struct rp_conf_hash *parts, uint32_t n,
                       uint64_t salt, uint64_t *hash)
{
    struct rp_hash_key key = {.k0 = n, .k1 = salt};
    return hash_parts(r, parts, n, key, hash);
}

uint64_t rp_hash_key_client(struct rp_proxy *p, const struct rp_conf_upstream *u,
                            const struct rp_addr *client)
{
    bool any = false;
    struct rp_hash_key key = first_key(u);
    for (uint32_t i = 0; i < u->hash_n; i++) {
        rp_str part = u->hash[i].part == RP_HASH_IP ? address(client) : RP_STR_NONE;
        any |= part.ptr != NULL;
        key.k0 = rp_hash_keyed(&key, part);
    }
    return any || !u->hash_n ? key.k0 : rp_random_u64(&p->dice);
}
