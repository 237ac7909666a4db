/* SPDX-License-Identifier: MIT
 *
 * conf_build: the builder's half for everything but routes: listeners, trusted networks, files,
 * plugins, upstreams and their peers, hosts, the access log.
 */
#include "proxy/conf_build.h"

#include <stdio.h>

#include "base/log.h"
#include "http/chars.h"
#include "http/uri.h"
#include "proxy/access_field.h"
#include "proxy/member.h"
#include "proxy/route_host.h"

enum {
    WEIGHT_MAX = 65535,
    BUFFER_MAX_BYTES = 1024 * 1024, /* of access log lines */
};

#define U(key, field, first, least, most)                                                          \
    {key,                                                                                          \
     offsetof(struct rp_conf_upstream, field),                                                     \
     sizeof(((struct rp_conf_upstream *)0)->field),                                                \
     first,                                                                                        \
     least,                                                                                        \
     most},
static const struct rp_conf_number UPSTREAM_NUMBERS[] = {
#include "proxy/conf.tbl"
};
#undef U

#define P(key, field, first, least, most)                                                          \
    {key,                                                                                          \
     offsetof(struct rp_conf_listener, field),                                                     \
     sizeof(((struct rp_conf_listener *)0)->field),                                                \
     first,                                                                                        \
     least,                                                                                        \
     most},
static const struct rp_conf_number LISTENER_NUMBERS[] = {
#include "proxy/conf.tbl"
};
#undef P

static const struct rp_conf_text UPSTREAM_TEXTS[] = {
    {"host_header", offsetof(struct rp_conf_upstream, host_header), "", RP_CONF_VALUE},
    {"deadline_header", offsetof(struct rp_conf_upstream, deadline_header), "", RP_CONF_VALUE},
    {"zone", offsetof(struct rp_conf_upstream, zone), "", RP_CONF_VALUE},
    {"subsets", offsetof(struct rp_conf_upstream, subsets), "", RP_CONF_ANY},
    {"sticky_cookie", offsetof(struct rp_conf_upstream, sticky_cookie), "", RP_CONF_VALUE},
    {"sticky_more", offsetof(struct rp_conf_upstream, sticky_more), "", RP_CONF_VALUE},
    {"sticky_key", offsetof(struct rp_conf_upstream, sticky_key), "", RP_CONF_VALUE},
    {"sticky_header", offsetof(struct rp_conf_upstream, sticky_header), "", RP_CONF_TOKEN},
};

static rp_err frozen(struct rp_conf_error *e)
{
    return rp_conf_fail(e, RP_E_PHASE, "the configuration is frozen");
}

/* ---- listeners, trust ------------------------------------------------------------------------- */

rp_err rp_conf_add_listener(struct rp_conf *c, rp_str addr, bool redirect_https, uint32_t *index,
                            struct rp_conf_error *e)
{
    struct rp_conf_listener l = {.redirect_https = redirect_https};
    if (c->frozen) return frozen(e);
    l.udp = rp_str_starts(addr, RP_STR("udp:"));
    rp_err parsed = rp_addr_parse(rp_str_from(addr, l.udp ? 4 : 0), &l.addr);
    if (parsed != RP_OK || (l.udp && l.addr.family == RP_ADDR_UNIX))
        return rp_conf_fail(e, RP_E_INVALID,
                            "\"%.*s\" is no address to listen on (\"0.0.0.0:80\", \"[::]:80\", "
                            "\"unix:/run/x\")",
                            RP_STR_ARG(addr));
    for (uint32_t i = 0; i < c->listeners_n; i++)
        if (c->listeners[i].udp == l.udp && rp_addr_eq(&c->listeners[i].addr, &l.addr))
            return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\" is listened on already",
                                RP_STR_ARG(addr));
    if (rp_conf_copy(c, addr, &l.text) != RP_OK) return rp_conf_full(e);
    void *grown = rp_conf_grow(&c->arena, c->listeners, c->listeners_n, sizeof l);
    if (!grown) return rp_conf_full(e);
    c->listeners = grown;
    c->listeners[c->listeners_n] = l;
    *index = c->listeners_n++;
    return RP_OK;
}

rp_err rp_conf_set_listener(struct rp_conf *c, uint32_t listener, rp_str key, double value)
{
    if (c->frozen) return RP_E_PHASE;
    if (listener >= c->listeners_n) return RP_E_NOT_FOUND;
    return rp_conf_put_number(&c->listeners[listener], LISTENER_NUMBERS, RP_COUNT(LISTENER_NUMBERS),
                              key, value);
}

/* The set is made by freeze, when its size is known; here the text is only tried out. */
rp_err rp_conf_add_trust(struct rp_conf *c, rp_str cidr, struct rp_conf_error *e)
{
    if (c->frozen) return frozen(e);
    struct rp_conf_draft *d = c->draft;
    struct rp_cidr_set *trial = rp_cidr_set_make(&d->arena, 1);
    if (!trial) return rp_conf_full(e);
    if (rp_cidr_set_add(trial, cidr) != RP_OK)
        return rp_conf_fail(e, RP_E_INVALID,
                            "\"%.*s\" is no network (\"10.0.0.0/8\", \"fd00::/8\")",
                            RP_STR_ARG(cidr));
    rp_str *grown = rp_conf_grow(&d->arena, d->trust, d->trust_n, sizeof *grown);
    if (!grown) return rp_conf_full(e);
    d->trust = grown;
    if (rp_conf_copy(c, cidr, &d->trust[d->trust_n]) != RP_OK) return rp_conf_full(e);
    d->trust_n++;
    return RP_OK;
}

enum { ZONE_NAME_MOST = 32, ZONE_KINDS = 7 };
static const double ZONE_BYTES_MOST = 64.0 * 1024 * 1024 * 1024; /* more is a mistake */

/* ---- files, plugins --------------------------------------------------------------------------- */

rp_err rp_conf_add_file(struct rp_conf *c, rp_str path, uint32_t *index)
{
    if (c->frozen) return RP_E_PHASE;
    if (path.len == 0 || memchr(path.ptr, 0, path.len)) return RP_E_INVALID;
    for (uint32_t i = 0; i < c->files_n; i++) {
        *index = i;
        if (rp_str_eq(c->files[i], path)) return RP_OK;
    }
    rp_str *grown = rp_conf_grow(&c->arena, c->files, c->files_n, sizeof *grown);
    if (!grown) return RP_E_CAP;
    c->files = grown;
    rp_err e = rp_conf_copy(c, path, &c->files[c->files_n]);
    if (e == RP_OK) *index = c->files_n++;
    return e;
}

rp_err rp_conf_add_zone(struct rp_conf *c, rp_str name, uint32_t kind, double bytes, double tag)
{
    if (c->frozen) return RP_E_PHASE;
    if (name.len == 0 || name.len > ZONE_NAME_MOST || kind < 1 || kind > ZONE_KINDS)
        return RP_E_INVALID;
    if (!(bytes >= 1) || !(bytes <= ZONE_BYTES_MOST)) return RP_E_INVALID;
    if (!(tag >= 0) || !(tag < 9007199254740992.0)) return RP_E_INVALID;
    for (uint32_t i = 0; i < c->zones_n; i++)
        if (rp_str_eq(c->zones[i].name, name)) return RP_E_INVALID;
    struct rp_conf_zone z = {.kind = kind, .bytes = (uint64_t)bytes, .tag = (uint64_t)tag};
    struct rp_conf_zone *grown = rp_conf_grow(&c->arena, c->zones, c->zones_n, sizeof z);
    if (!grown) return RP_E_CAP;
    c->zones = grown;
    rp_err e = rp_conf_copy(c, name, &z.name);
    if (e == RP_OK) c->zones[c->zones_n++] = z;
    return e;
}

/* Instances of one plugin are told apart by their order in the site. */
static rp_err name_plugin(struct rp_conf *c, rp_str name, struct rp_conf_plugin *p)
{
    char text[32];
    rp_err e = rp_conf_copy(c, name, &p->name);
    p->label = p->name;
    p->number = 1;
    for (uint32_t i = c->plugins_n; i > 0 && p->number == 1; i--)
        if (rp_str_eq(c->plugins[i - 1].name, name)) p->number = c->plugins[i - 1].number + 1;
    if (e != RP_OK || p->number == 1) return e;
    int n = snprintf(text, sizeof text, "#%u", p->number);
    char *label = rp_arena_alloc(&c->arena, name.len + (size_t)n);
    if (!label) return RP_E_CAP;
    memcpy(label, name.ptr, name.len);
    memcpy(label + name.len, text, (size_t)n);
    p->label = rp_str_of(label, name.len + (size_t)n);
    return RP_OK;
}

rp_err rp_conf_add_plugin(struct rp_conf *c, rp_str name, uint32_t on_error, uint32_t *index)
{
    if (c->frozen) return RP_E_PHASE;
    if (on_error > RP_PLUGIN_CLOSED) return RP_E_INVALID;
    struct rp_conf_plugin p = {.on_error = (uint8_t)on_error};
    struct rp_conf_plugin *grown = rp_conf_grow(&c->arena, c->plugins, c->plugins_n, sizeof p);
    if (!grown) return RP_E_CAP;
    c->plugins = grown;
    rp_err e = name_plugin(c, name, &p);
    if (e != RP_OK) return e;
    c->plugins[c->plugins_n] = p;
    *index = c->plugins_n++;
    return RP_OK;
}

rp_err rp_conf_set_plugin(struct rp_conf *c, uint32_t plugin, rp_str key, double value)
{
    if (c->frozen) return RP_E_PHASE;
    if (plugin >= c->plugins_n || !(value >= 0) || !(value < 9e15)) return RP_E_INVALID;
    struct rp_conf_breaker *b = &c->plugins[plugin].breaker;
    uint64_t whole = (uint64_t)value;
    if (rp_str_eq(key, RP_STR("breaker.policy")) && whole <= RP_BREAK_LAST_GOOD)
        b->policy = (uint8_t)whole;
    else if (rp_str_eq(key, RP_STR("breaker.deny"))) b->deny = whole != 0;
    else if (rp_str_eq(key, RP_STR("breaker.errors")) && value <= 1) b->errors = value;
    else if (rp_str_eq(key, RP_STR("breaker.min"))) b->least = whole;
    else if (rp_str_eq(key, RP_STR("breaker.within"))) b->within_ms = whole;
    else if (rp_str_eq(key, RP_STR("breaker.open"))) b->open_ms = whole;
    else if (rp_str_eq(key, RP_STR("breaker.slow"))) b->slow_ms = whole;
    else if (rp_str_eq(key, RP_STR("shadow"))) c->plugins[plugin].shadow = whole != 0;
    else return RP_E_INVALID;
    return RP_OK;
}

/* ---- upstreams ------------------------------------------------------------------------------- */

static struct rp_conf_upstream *new_upstream(struct rp_conf *c)
{
    struct rp_conf_upstream *u = rp_arena_zalloc(&c->arena, sizeof *u);
    if (u && c->draft->fresh) *u = *c->draft->fresh;
    else if (u) rp_conf_put_defaults(u, UPSTREAM_NUMBERS, RP_COUNT(UPSTREAM_NUMBERS));
    return u;
}

/* NULL: there is none of that number, or no memory. */
static struct rp_conf_upstream *upstream_at(struct rp_conf *c, uint32_t upstream)
{
    if (upstream < c->upstreams_n) return c->upstreams[upstream];
    if (upstream != RP_CONF_EACH_UPSTREAM) return NULL;
    if (!c->draft->fresh) c->draft->fresh = new_upstream(c);
    return c->draft->fresh;
}

rp_err rp_conf_add_upstream(struct rp_conf *c, rp_str name, uint32_t *index,
                            struct rp_conf_error *e)
{
    if (c->frozen) return frozen(e);
    if (name.len == 0) return rp_conf_fail(e, RP_E_INVALID, "an upstream has a name");
    if (rp_map_find(&c->draft->upstream_names, name))
        return rp_conf_fail(e, RP_E_INVALID, "upstream \"%.*s\" is there already",
                            RP_STR_ARG(name));
    struct rp_conf_upstream *u = new_upstream(c);
    void *grown = rp_conf_grow(&c->arena, c->upstreams, c->upstreams_n, sizeof u);
    if (!u || !grown || rp_conf_copy(c, name, &u->name) != RP_OK ||
        rp_map_set(&c->draft->upstream_names, name, u) != RP_OK)
        return rp_conf_full(e);
    c->upstreams = grown;
    u->index = c->upstreams_n;
    c->upstreams[c->upstreams_n++] = u;
    *index = u->index;
    return RP_OK;
}

rp_err rp_conf_set_upstream(struct rp_conf *c, uint32_t upstream, rp_str key, double value)
{
    if (c->frozen) return RP_E_PHASE;
    struct rp_conf_upstream *u = upstream_at(c, upstream);
    if (!u) return RP_E_NOT_FOUND;
    return rp_conf_put_number(u, UPSTREAM_NUMBERS, RP_COUNT(UPSTREAM_NUMBERS), key, value);
}

rp_err rp_conf_set_upstream_text(struct rp_conf *c, uint32_t upstream, rp_str key, rp_str value)
{
    if (c->frozen) return RP_E_PHASE;
    struct rp_conf_upstream *u = upstream_at(c, upstream);
    if (!u) return RP_E_NOT_FOUND;
    return rp_conf_put_text(c, u, UPSTREAM_TEXTS, RP_COUNT(UPSTREAM_TEXTS), key, value);
}

static rp_err parse_peer(rp_str text, struct rp_conf_peer *p, struct rp_conf_error *e)
{
    struct rp_member m;
    if (rp_member_address(text, &m) == RP_OK) {
        p->host = m.host;
        p->addr = m.addr;
        return RP_OK;
    }
    return rp_conf_fail(e, RP_E_INVALID,
                        "\"%.*s\" is no peer (\"10.0.0.1:80\", \"[fd00::1]:80\", \"name:80\", "
                        "\"unix:/run/x\")",
                        RP_STR_ARG(text));
}

rp_err rp_conf_add_peer(struct rp_conf *c, uint32_t upstream, rp_str text, uint32_t weight,
                        bool backup, struct rp_conf_error *e)
{
    struct rp_conf_peer p = {
        .weight = weight, .backup = backup, .tier = backup ? RP_CONF_TIERS - 1 : 0};
    if (c->frozen) return frozen(e);
    if (upstream >= c->upstreams_n) return rp_conf_fail(e, RP_E_NOT_FOUND, "no such upstream");
    struct rp_conf_upstream *u = c->upstreams[upstream];
    if (weight < 1 || weight > WEIGHT_MAX)
        return rp_conf_fail(e, RP_E_INVALID, "a peer's weight is 1 to 65535");
    if (rp_conf_copy(c, text, &p.name) != RP_OK) return rp_conf_full(e);
    rp_err err = parse_peer(p.name, &p, e); /* host becomes a slice of our copy */
    if (err != RP_OK) return err;
    for (uint32_t i = 0; i < u->peers_n; i++)
        if (rp_str_eq(u->peers[i].name, text))
            return rp_conf_fail(e, RP_E_INVALID, "peer \"%.*s\" stands in \"%.*s\" twice",
                                RP_STR_ARG(text), RP_STR_ARG(u->name));
    void *grown = rp_conf_grow(&c->arena, u->peers, u->peers_n, sizeof p);
    if (!grown) return rp_conf_full(e);
    u->peers = grown;
    u->peers[u->peers_n++] = p;
    return RP_OK;
}

rp_err rp_conf_set_peer(struct rp_conf *c, uint32_t upstream, rp_str key, double value)
{
    if (c->frozen) return RP_E_PHASE;
    if (upstream >= c->upstreams_n || !c->upstreams[upstream]->peers_n) return RP_E_NOT_FOUND;
    const struct rp_conf_upstream *u = c->upstreams[upstream];
    struct rp_conf_peer *p = &u->peers[u->peers_n - 1];
    if (!(value >= 0 && value <= UINT32_MAX)) return RP_E_INVALID;
    if (rp_str_eq(key, RP_STR("max_conns"))) {
        p->max_conns = (uint32_t)value;
        return RP_OK;
    }
    if (!rp_str_eq(key, RP_STR("priority"))) return RP_E_NOT_FOUND;
    if (value >= RP_CONF_TIERS - 1 || p->backup) return RP_E_INVALID;
    p->tier = (uint8_t)value;
    return RP_OK;
}

static rp_err add_meta(struct rp_conf *c, struct rp_conf_peer *p, rp_str key, rp_str value)
{
    struct rp_conf_meta pair;
    if (!rp_member_is_text(key) || p->meta_n == RP_MEMBER_META_MOST) return RP_E_INVALID;
    if (p->meta_n && rp_str_cmp(p->meta[p->meta_n - 1].key, key) >= 0) return RP_E_INVALID;
    if (rp_conf_copy(c, key, &pair.key) != RP_OK || rp_conf_copy(c, value, &pair.value) != RP_OK)
        return RP_E_CAP;
    void *grown = rp_conf_grow(&c->arena, p->meta, p->meta_n, sizeof pair);
    if (!grown) return RP_E_CAP;
    p->meta = grown;
    p->meta[p->meta_n++] = pair;
    return RP_OK;
}

rp_err rp_conf_set_peer_text(struct rp_conf *c, uint32_t upstream, rp_str key, rp_str value)
{
    if (c->frozen) return RP_E_PHASE;
    if (upstream >= c->upstreams_n || !c->upstreams[upstream]->peers_n) return RP_E_NOT_FOUND;
    const struct rp_conf_upstream *u = c->upstreams[upstream];
    struct rp_conf_peer *p = &u->peers[u->peers_n - 1];
    if (!rp_member_is_text(value)) return RP_E_INVALID;
    if (rp_str_eq(key, RP_STR("zone"))) return rp_conf_copy(c, value, &p->zone);
    if (rp_str_starts(key, RP_STR("meta."))) return add_meta(c, p, rp_str_from(key, 5), value);
    return RP_E_NOT_FOUND;
}

rp_err rp_conf_add_statuses(struct rp_conf *c, uint32_t upstream, bool retry, uint32_t low,
                            uint32_t high)
{
    if (c->frozen) return RP_E_PHASE;
    if (upstream >= c->upstreams_n) return RP_E_NOT_FOUND;
    if (low < 400 || high > 599 || low > high) return RP_E_INVALID;
    struct rp_conf_upstream *u = c->upstreams[upstream];
    struct rp_conf_statuses *s = retry ? &u->retry_statuses : &u->fail_statuses;
    if (s->n == RP_CONF_STATUSES) return RP_E_CAP;
    s->list[s->n].low = (uint16_t)low;
    s->list[s->n++].high = (uint16_t)high;
    return RP_OK;
}

rp_err rp_conf_append_hash(struct rp_conf *c, struct rp_conf_hash **hash, uint32_t *hash_n,
                           uint32_t part, rp_str name)
{
    struct rp_conf_hash h = {.part = (uint8_t)part};
    bool named = part == RP_HASH_ARG || part == RP_HASH_HEADER || part == RP_HASH_COOKIE;
    if (part > RP_HASH_CONSUMER || named != (name.len > 0)) return RP_E_INVALID;
    if (rp_conf_copy(c, name, &h.name) != RP_OK) return RP_E_CAP;
    void *grown = rp_conf_grow(&c->arena, *hash, *hash_n, sizeof h);
    if (!grown) return RP_E_CAP;
    *hash = grown;
    (*hash)[(*hash_n)++] = h;
    return RP_OK;
}

rp_err rp_conf_add_hash(struct rp_conf *c, uint32_t upstream, uint32_t part, rp_str name)
{
    if (c->frozen) return RP_E_PHASE;
    if (upstream >= c->upstreams_n) return RP_E_NOT_FOUND;
    struct rp_conf_upstream *u = c->upstreams[upstream];
    return rp_conf_append_hash(c, &u->hash, &u->hash_n, part, name);
}

/* ---- hosts ----------------------------------------------------------------------------------- */

rp_err rp_conf_add_host(struct rp_conf *c, bool is_default, uint32_t *index)
{
    if (c->frozen) return RP_E_PHASE;
    if (is_default && c->draft->default_host != UINT32_MAX) return RP_E_INVALID;
    struct rp_conf_host *h = rp_arena_zalloc(&c->arena, sizeof *h);
    void *grown = rp_conf_grow(&c->arena, c->hosts, c->hosts_n, sizeof h);
    if (!h || !grown) return RP_E_CAP;
    c->hosts = grown;
    h->index = c->hosts_n;
    h->is_default = is_default;
    h->name = RP_STR("default"); /* until a name is added */
    if (is_default) c->draft->default_host = h->index;
    c->hosts[c->hosts_n++] = h;
    *index = h->index;
    return RP_OK;
}

rp_err rp_conf_set_host_text(struct rp_conf *c, uint32_t host, rp_str key, rp_str value)
{
    static const struct rp_conf_text TEXTS[] = {
        {"hsts", offsetof(struct rp_conf_host, hsts), "", RP_CONF_VALUE},
    };
    if (c->frozen) return RP_E_PHASE;
    if (host >= c->hosts_n) return RP_E_NOT_FOUND;
    return rp_conf_put_text(c, c->hosts[host], TEXTS, RP_COUNT(TEXTS), key, value);
}

rp_err rp_conf_add_host_name(struct rp_conf *c, uint32_t host, rp_str name, struct rp_conf_error *e)
{
    if (c->frozen) return frozen(e);
    if (host >= c->hosts_n) return rp_conf_fail(e, RP_E_NOT_FOUND, "no such host");
    struct rp_conf_host *h = c->hosts[host];
    rp_err err = rp_route_hosts_add(c->draft->hosts, name, h, e);
    if (err != RP_OK || h->names_n++ > 0) return err;
    return rp_conf_copy(c, name, &h->name) == RP_OK ? RP_OK : rp_conf_full(e);
}

/* ---- access log ------------------------------------------------------------------------------- */

rp_err rp_conf_set_access_log(struct rp_conf *c, uint32_t file, uint32_t format,
                              uint32_t buffer_bytes, uint32_t flush_ms)
{
    if (c->frozen) return RP_E_PHASE;
    if (file >= c->files_n) return RP_E_NOT_FOUND;
    if (format > RP_ACCESS_JSON || buffer_bytes > BUFFER_MAX_BYTES) return RP_E_INVALID;
    c->access.on = true;
    c->access.file = file;
    c->access.format = (uint8_t)format;
    c->access.buffer_bytes = buffer_bytes;
    c->access.flush_ms = flush_ms;
    return RP_OK;
}

rp_err rp_conf_add_access_field(struct rp_conf *c, rp_str name, struct rp_conf_error *e)
{
    if (c->frozen) return frozen(e);
    struct rp_conf_access_log *log = &c->access;
    struct rp_access_field field;
    rp_err err = rp_access_field_make(&c->arena, name, &field);
    if (err == RP_E_CAP) return rp_conf_full(e);
    if (err != RP_OK)
        return rp_conf_fail(e, RP_E_INVALID, "the access log knows no field \"%.*s\"",
                            RP_STR_ARG(name));
    rp_str *names = rp_conf_grow(&c->arena, log->fields, log->fields_n, sizeof *names);
    void *chosen = rp_conf_grow(&c->arena, log->chosen, log->fields_n, sizeof field);
    if (!names || !chosen) return rp_conf_full(e);
    log->fields = names;
    log->chosen = chosen;
    log->fields[log->fields_n] = field.name;
    log->chosen[log->fields_n++] = field;
    return RP_OK;
}
