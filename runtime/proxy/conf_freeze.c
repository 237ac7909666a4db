/* SPDX-License-Identifier: MIT
 *
 * conf_freeze: the whole is checked, what was left out is made up, the router is built.
 */
#include "proxy/conf_build.h"

#include "http/token.h"
#include "proxy/access_field.h"
#include "proxy/connect_allow.h"
#include "proxy/route.h"

/* ---- routes --------------------------------------------------------------------------------- */

static rp_err route_fault(const struct rp_route *r, struct rp_conf_error *e, const char *what)
{
    rp_err code = rp_conf_fail(e, RP_E_INVALID, "route \"%.*s\": %s", RP_STR_ARG(r->id), what);
    if (e) e->route = r->index;
    return code;
}

/* "api.example.com GET,POST /v1/x"; the order of methods is the table's. */
static rp_err name_route(struct rp_conf *c, struct rp_route *r, struct rp_conf_error *e)
{
    if (r->id.len > 0) return RP_OK;
    const struct rp_conf_draft_route *d = &c->draft->routes[r->index];
    rp_str host = r->host == UINT32_MAX ? RP_STR("*") : c->hosts[r->host]->name;
    struct rp_arena *a = &c->draft->arena;
    rp_str text = rp_arena_copy(a, host);
    const char *before = " ";
    for (uint8_t id = 1; id < RP_M_COUNT && text.ptr; id++) {
        if (!(d->said_methods >> id & 1)) continue;
        text = rp_arena_printf(a, "%.*s%s%.*s", RP_STR_ARG(text), before,
                               RP_STR_ARG(rp_token_method_name(id)));
        before = ",";
    }
    for (uint32_t i = 0; i < r->other_methods_n && text.ptr; i++) {
        text = rp_arena_printf(a, "%.*s%s%.*s", RP_STR_ARG(text), before,
                               RP_STR_ARG(r->other_methods[i]));
        before = ",";
    }
    rp_str pattern = d->pattern ? r->pattern : RP_STR("(fallback)");
    if (text.ptr)
        r->id = rp_arena_printf(&c->arena, "%.*s %.*s", RP_STR_ARG(text), RP_STR_ARG(pattern));
    return r->id.ptr ? RP_OK : rp_conf_full(e);
}

static bool is_placeholder(const struct rp_route *r, rp_str name)
{
    static const char *const FIXED[] = {"host", "path", "query", "uri"};
    for (size_t i = 0; i < RP_COUNT(FIXED); i++)
        if (rp_str_eq(name, rp_str_z(FIXED[i]))) return true;
    for (uint32_t i = 0; i < r->params_n; i++)
        if (rp_str_eq(name, r->param_names[i])) return true;
    return false;
}

static rp_err check_location(const struct rp_route *r, struct rp_conf_error *e)
{
    rp_str s = r->location;
    if (s.len == 0) return route_fault(r, e, "a redirect needs a location");
    for (size_t at = rp_str_find(s, '{', 0); at < s.len; at = rp_str_find(s, '{', at + 1)) {
        size_t end = rp_str_find(s, '}', at);
        if (end == s.len || !is_placeholder(r, rp_str_of(s.ptr + at + 1, end - at - 1)))
            return route_fault(r, e,
                               "location: { } holds a parameter of the pattern, host, path, "
                               "query or uri");
    }
    return RP_OK;
}

static rp_err check_status(struct rp_route *r, struct rp_conf_error *e)
{
    bool redirect = r->action == RP_ACTION_REDIRECT;
    if (r->status == 0) r->status = redirect ? 302 : 200;
    if (redirect && (r->status < 300 || r->status > 399))
        return route_fault(r, e, "a redirect's status is 300 to 399");
    return RP_OK;
}

static rp_err check_action(struct rp_route *r, struct rp_conf_error *e)
{
    rp_err err = check_status(r, e);
    if (err != RP_OK) return err;
    switch ((enum rp_action)r->action) {
    case RP_ACTION_UPSTREAM:
        return r->upstream ? RP_OK : route_fault(r, e, "it has no upstream and no answer");
    case RP_ACTION_CONTENT:
        return r->chains.at[RP_PHASE_CONTENT] ? RP_OK : route_fault(r, e, "it has no content hook");
    case RP_ACTION_REDIRECT: return check_location(r, e);
    case RP_ACTION_CONNECT:
        if (!rp_conf_is_connect_only(r))
            return route_fault(r, e, "connect is for the method CONNECT alone");
        if (r->connect && !rp_connect_allow_is_empty(r->connect)) break;
        return route_fault(r, e, "connect allows nothing");
    case RP_ACTION_RESPOND: break;
    }
    return RP_OK;
}

/* What PICK to AWAIT look at only where a route or its upstream has some of it. */
static bool is_special_route(const struct rp_route *r)
{
    return r->chains.at[RP_PHASE_REQUEST_BODY] || r->coalesce_max || r->buffer_request ||
           r->circuit.on;
}

static bool is_special(const struct rp_conf_upstream *u)
{
    bool chosen = u->balance == RP_BALANCE_HOOK || u->hash_n || u->subsets.len ||
                  u->sticky_cookie.len || u->sticky_header.len;
    bool told = u->proxy_protocol || u->deadline_header.len;
    return chosen || told || u->guarded || u->hedge_max;
}

static void note_special(struct rp_conf *c)
{
    for (uint32_t i = 0; i < c->upstreams_n; i++)
        c->upstreams[i]->special = is_special(c->upstreams[i]);
    for (uint32_t i = 0; i < c->routes_n; i++)
        c->routes[i]->special = is_special_route(c->routes[i]);
}

static rp_err finish_routes(struct rp_conf *c, struct rp_conf_error *e)
{
    rp_err err = rp_conf_make_fallback(c, UINT32_MAX, e);
    for (uint32_t i = 0; i < c->hosts_n && err == RP_OK; i++) err = rp_conf_make_fallback(c, i, e);
    for (uint32_t i = 0; i < c->routes_n && err == RP_OK; i++) {
        struct rp_route *r = c->routes[i];
        err = name_route(c, r, e);
        if (err == RP_OK) err = check_action(r, e);
        if (!c->draft->routes[i].body_limit_set) r->body_limit = c->body_limit;
    }
    return err;
}

/* ---- the rest ------------------------------------------------------------------------------- */

static rp_err check_upstreams(const struct rp_conf *c, struct rp_conf_error *e)
{
    for (uint32_t i = 0; i < c->upstreams_n; i++) {
        struct rp_conf_upstream *u = c->upstreams[i];
        u->guarded = u->circuit.on || u->outlier.on || u->limit.on || u->measure;
        bool hook = u->balance == RP_BALANCE_HOOK;
        if (hook && u->balance_chain == 0)
            return rp_conf_fail(e, RP_E_INVALID, "upstream \"%.*s\" has no balance hook",
                                RP_STR_ARG(u->name));
        bool hashes = u->balance >= RP_BALANCE_RING && u->balance <= RP_BALANCE_RENDEZVOUS;
        if (hashes && u->hash_n == 0)
            return rp_conf_fail(e, RP_E_INVALID, "upstream \"%.*s\" has nothing to hash",
                                RP_STR_ARG(u->name));
        if (!hook && !u->live && u->peers_n == 0)
            return rp_conf_fail(e, RP_E_INVALID, "upstream \"%.*s\" has no peers",
                                RP_STR_ARG(u->name));
    }
    return RP_OK;
}

static rp_err check_hosts(const struct rp_conf *c, struct rp_conf_error *e)
{
    for (uint32_t i = 0; i < c->hosts_n; i++)
        if (!c->hosts[i]->is_default && c->hosts[i]->names_n == 0)
            return rp_conf_fail(e, RP_E_INVALID, "a host has no name and is not the default");
    return RP_OK;
}

static rp_err finish_trust(struct rp_conf *c, struct rp_conf_error *e)
{
    const struct rp_conf_draft *d = c->draft;
    if (d->trust_n == 0) return RP_OK;
    c->trust = rp_cidr_set_make(&c->arena, d->trust_n);
    if (!c->trust) return rp_conf_full(e);
    for (uint32_t i = 0; i < d->trust_n; i++)
        if (rp_cidr_set_add(c->trust, d->trust[i]) != RP_OK) return rp_conf_full(e);
    return RP_OK;
}

static rp_err finish_logs(struct rp_conf *c, struct rp_conf_error *e)
{
    uint32_t stderr_file = 0;
    if (c->error_log_file >= c->files_n) {
        if (c->error_log_file != UINT32_MAX)
            return rp_conf_fail(e, RP_E_INVALID, "log.error_file is no file of this site");
        if (rp_conf_add_file(c, RP_STR("stderr"), &stderr_file) != RP_OK) return rp_conf_full(e);
        c->error_log_file = stderr_file;
    }
    if (!c->access.on || c->access.format != RP_ACCESS_JSON || c->access.fields_n > 0) return RP_OK;
    for (size_t i = 0; i < RP_ACCESS_DEFAULT_FIELDS; i++) {
        rp_err err = rp_conf_add_access_field(c, rp_str_z(rp_access_default_fields[i]), e);
        if (err != RP_OK) return err;
    }
    return RP_OK;
}

static rp_err make_via(struct rp_conf *c, struct rp_conf_error *e)
{
    static const char *const VERSIONS[] = {"1.0", "1.1", "2.0"};
    bool made = true;
    for (size_t i = 0; i < RP_COUNT(c->via_lines); i++) {
        c->via_lines[i] =
            rp_arena_printf(&c->arena, "Via: %s %.*s\r\n", VERSIONS[i], RP_STR_ARG(c->via_name));
        made = made && c->via_lines[i].ptr;
    }
    c->cdn_loop_line = rp_arena_printf(&c->arena, "CDN-Loop: %.*s\r\n", RP_STR_ARG(c->via_name));
    return made && c->cdn_loop_line.ptr ? RP_OK : rp_conf_full(e);
}

rp_err rp_conf_freeze(struct rp_conf *c, struct rp_conf_error *e)
{
    if (c->frozen) return rp_conf_fail(e, RP_E_PHASE, "the configuration is frozen");
    rp_err err = check_upstreams(c, e);
    if (err == RP_OK) err = check_hosts(c, e);
    if (err == RP_OK) err = finish_routes(c, e);
    if (err == RP_OK) err = rp_conf_finish_splits(c, e);
    if (err == RP_OK) err = rp_conf_finish_streams(c, e);
    if (err == RP_OK) err = rp_conf_finish_tls(c, e);
    if (err == RP_OK) err = finish_trust(c, e);
    if (err == RP_OK) err = finish_logs(c, e);
    if (err == RP_OK) err = make_via(c, e);
    if (err != RP_OK) return err;
    note_special(c);
    c->router = rp_router_make(c, e);
    if (!c->router) return e ? e->code : RP_E_INVALID;
    c->user_set = c->user.len > 0;
    rp_conf_close_draft(c);
    c->frozen = true;
    return RP_OK;
}
