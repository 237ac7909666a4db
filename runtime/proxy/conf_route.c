/* SPDX-License-Identifier: MIT
 *
 * conf_route: the builder's half for routes: methods, patterns, conditions, header edits.
 */
#include "proxy/conf_build.h"

#include "base/regex.h"
#include "http/field.h"
#include "http/token.h"
#include "proxy/route_pattern.h"

enum { CIDRS_MAX = 4096 }; /* networks of one condition */

#define R(key, field, first, least, most)                                                          \
    {key, offsetof(struct rp_route, field), sizeof(((struct rp_route *)0)->field), first, least,   \
     most},
static const struct rp_conf_number NUMBERS[] = {
#include "proxy/conf.tbl"
};
#undef R

#define S(key, field, check) {key, offsetof(struct rp_route, field), "", RP_CONF_##check},
static const struct rp_conf_text TEXTS[] = {
#include "proxy/conf.tbl"
};
#undef S

static rp_err check_open(const struct rp_conf *c, uint32_t route, struct rp_conf_error *e)
{
    if (c->frozen) return rp_conf_fail(e, RP_E_PHASE, "the configuration is frozen");
    return route < c->routes_n ? RP_OK : rp_conf_fail(e, RP_E_NOT_FOUND, "no such route");
}

/* ---- methods -------------------------------------------------------------------------------- */

/* "get": a method that differs from a known one by case only is a mistake, not a new method. */
static bool is_miswritten(rp_str method)
{
    for (uint8_t id = 1; id < RP_M_COUNT; id++)
        if (rp_str_ieq(method, rp_token_method_name(id))) return true;
    return false;
}

static rp_err add_method(struct rp_conf *c, struct rp_route *r, rp_str method,
                         struct rp_conf_error *e)
{
    uint8_t id = rp_token_method(method.ptr, method.len);
    if (id != RP_M_OTHER) {
        r->methods |= UINT64_C(1) << id;
        return RP_OK;
    }
    if (!rp_field_is_name(method)) /* both are tokens, RFC 9110 §9.1 and §5.1 */
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\" is no method", RP_STR_ARG(method));
    if (is_miswritten(method))
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\": methods are written in capitals",
                            RP_STR_ARG(method));
    rp_str *grown = rp_conf_grow(&c->arena, r->other_methods, r->other_methods_n, sizeof *grown);
    if (!grown) return rp_conf_full(e);
    r->other_methods = grown;
    if (rp_conf_copy(c, method, &grown[r->other_methods_n]) != RP_OK) return rp_conf_full(e);
    r->other_methods_n++;
    return RP_OK;
}

static rp_err add_methods(struct rp_conf *c, struct rp_route *r, rp_str methods, uint64_t *said,
                          struct rp_conf_error *e)
{
    rp_str method;
    while (rp_str_list_next(&methods, &method)) {
        rp_err err = add_method(c, r, method, e);
        if (err != RP_OK) return err;
    }
    *said = r->methods;
    if (r->methods & UINT64_C(1) << RP_M_GET) r->methods |= UINT64_C(1) << RP_M_HEAD;
    return RP_OK;
}

/* ---- routes --------------------------------------------------------------------------------- */

/* An empty route at the end of the list, and its draft. */
static struct rp_route *append_route(struct rp_conf *c)
{
    struct rp_conf_draft *d = c->draft;
    struct rp_route *r = rp_arena_zalloc(&c->arena, sizeof *r);
    void *routes = rp_conf_grow(&c->arena, c->routes, c->routes_n, sizeof r);
    void *drafts = rp_conf_grow(&d->arena, d->routes, c->routes_n, sizeof *d->routes);
    if (!r || !routes || !drafts) return NULL;
    c->routes = routes;
    d->routes = drafts;
    rp_conf_put_defaults(r, NUMBERS, RP_COUNT(NUMBERS));
    r->index = c->routes_n;
    c->routes[c->routes_n++] = r;
    return r;
}

/* Where the fallback of `host` (UINT32_MAX: the site) is kept. */
static struct rp_route **fallback_of(struct rp_conf *c, uint32_t host)
{
    return host == UINT32_MAX ? &c->no_host : &c->hosts[host]->no_route;
}

static rp_err add_pattern(struct rp_conf *c, struct rp_route *r, rp_str pattern,
                          struct rp_conf_error *e)
{
    struct rp_route_pattern *p = NULL;
    rp_err err = rp_route_pattern_make(&c->arena, &c->draft->arena, pattern, &p, e);
    if (err != RP_OK) return err;
    c->draft->routes[r->index].pattern = p;
    r->pattern = p->text;
    r->param_names = p->names;
    r->params_n = p->names_n;
    return RP_OK;
}

rp_err rp_conf_add_route(struct rp_conf *c, uint32_t host, rp_str methods, rp_str pattern,
                         bool is_fallback, uint32_t *index, struct rp_conf_error *e)
{
    if (c->frozen) return rp_conf_fail(e, RP_E_PHASE, "the configuration is frozen");
    if (host != UINT32_MAX && host >= c->hosts_n)
        return rp_conf_fail(e, RP_E_NOT_FOUND, "no such host");
    is_fallback |= host == UINT32_MAX;
    if (is_fallback && *fallback_of(c, host))
        return rp_conf_fail(e, RP_E_INVALID, "there is a fallback already");
    struct rp_route *r = append_route(c);
    if (!r) return rp_conf_full(e);
    r->host = host;
    *index = r->index;
    if (is_fallback) {
        *fallback_of(c, host) = r;
        return RP_OK;
    }
    struct rp_conf_draft_route *draft = &c->draft->routes[r->index];
    rp_err err = add_methods(c, r, methods, &draft->said_methods, e);
    if (err == RP_OK) err = add_pattern(c, r, pattern, e);
    if (err != RP_OK) { /* as if it had never been there */
        *draft = (struct rp_conf_draft_route){0};
        c->routes_n--;
    }
    return err;
}

rp_err rp_conf_make_fallback(struct rp_conf *c, uint32_t host, struct rp_conf_error *e)
{
    uint32_t index = 0;
    if (*fallback_of(c, host)) return RP_OK;
    rp_err err = rp_conf_add_route(c, host, RP_STR(""), RP_STR(""), true, &index, e);
    if (err != RP_OK) return err;
    c->routes[index]->action = RP_ACTION_RESPOND;
    c->routes[index]->status = host == UINT32_MAX ? 421 : 404;
    return RP_OK;
}

rp_err rp_conf_set_route(struct rp_conf *c, uint32_t route, rp_str key, double value)
{
    rp_err e = check_open(c, route, NULL);
    if (e != RP_OK) return e;
    struct rp_route *r = c->routes[route];
    if (rp_str_eq(key, RP_STR("upstream"))) {
        if (!(value >= 0 && value < c->upstreams_n)) return RP_E_NOT_FOUND;
        r->upstream = c->upstreams[(uint32_t)value];
        return RP_OK;
    }
    if (rp_str_eq(key, RP_STR("split"))) {
        if (!(value >= 0 && value < c->splits_n)) return RP_E_NOT_FOUND;
        r->split = c->splits[(uint32_t)value];
        return RP_OK;
    }
    e = rp_conf_put_number(r, NUMBERS, RP_COUNT(NUMBERS), key, value);
    if (e == RP_OK && rp_str_eq(key, RP_STR("body_limit")))
        c->draft->routes[route].body_limit_set = true;
    return e;
}

rp_err rp_conf_set_route_text(struct rp_conf *c, uint32_t route, rp_str key, rp_str value)
{
    rp_err e = check_open(c, route, NULL);
    if (e != RP_OK) return e;
    return rp_conf_put_text(c, c->routes[route], TEXTS, RP_COUNT(TEXTS), key, value);
}

rp_err rp_conf_set_route_chain(struct rp_conf *c, uint32_t route, uint32_t phase, uint32_t ref)
{
    rp_err e = check_open(c, route, NULL);
    if (e != RP_OK) return e;
    if (phase >= RP_PHASE_COUNT) return RP_E_INVALID;
    c->routes[route]->chains.at[phase] = ref;
    return RP_OK;
}

rp_err rp_conf_set_site_chain(struct rp_conf *c, uint32_t phase, uint32_t ref)
{
    if (c->frozen) return RP_E_PHASE;
    if (phase >= RP_PHASE_COUNT) return RP_E_INVALID;
    c->site_chains.at[phase] = ref;
    return RP_OK;
}

/* ---- header edits ---------------------------------------------------------------------------- */

/* Fields that say how this connection's message is framed: the wire code owns them. */
static bool is_ours(uint16_t id)
{
    return id == RP_H_CONTENT_LENGTH || rp_token_header_is_hop(id);
}

rp_err rp_conf_add_edit(struct rp_conf *c, uint32_t route, uint32_t kind, bool response,
                        rp_str name, rp_str value, struct rp_conf_error *e)
{
    rp_err err = check_open(c, route, e);
    if (err != RP_OK) return err;
    struct rp_route *r = c->routes[route];
    struct rp_conf_edit edit = {.kind = (uint8_t)kind, .response = response};
    if (kind > RP_EDIT_DEL) return rp_conf_fail(e, RP_E_INVALID, "no such kind of edit");
    if (!rp_field_is_name(name))
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\" is no header name", RP_STR_ARG(name));
    if (kind != RP_EDIT_DEL && value.len > 0 && !rp_field_is_value(value))
        return rp_conf_fail(e, RP_E_INVALID,
                            "header \"%.*s\": its value has control bytes or "
                            "blanks at an end",
                            RP_STR_ARG(name));
    edit.id = rp_token_header(name.ptr, name.len);
    if (is_ours(edit.id))
        return rp_conf_fail(e, RP_E_INVALID, "header \"%.*s\" frames the message: it is not edited",
                            RP_STR_ARG(name));
    if (rp_conf_copy(c, name, &edit.name) != RP_OK || rp_conf_copy(c, value, &edit.value) != RP_OK)
        return rp_conf_full(e);
    void *grown = rp_conf_grow(&c->arena, r->edits, r->edits_n, sizeof edit);
    if (!grown) return rp_conf_full(e);
    r->edits = grown;
    r->edits[r->edits_n++] = edit;
    return RP_OK;
}

/* ---- conditions ------------------------------------------------------------------------------ */

static void free_regex(void *regex)
{
    struct rp_regex *re = regex;
    rp_regex_free(&re);
}

static rp_err compile(struct rp_conf *c, struct rp_conf_cond *cond, struct rp_conf_error *e)
{
    struct rp_regex_fault fault = {0};
    if (rp_regex_compile(cond->value, 0, &cond->regex, &fault) != RP_OK)
        return rp_conf_fail(e, RP_E_INVALID, "regex \"%.*s\": at byte %zu: %s",
                            RP_STR_ARG(cond->value), fault.at, fault.text);
    if (rp_arena_defer(&c->arena, free_regex, cond->regex) == RP_OK) return RP_OK;
    rp_regex_free(&cond->regex);
    return rp_conf_full(e);
}

static rp_err make_cidrs(struct rp_conf *c, struct rp_conf_cond *cond, struct rp_conf_error *e)
{
    rp_str rest = cond->value, item;
    size_t n = 0;
    while (rp_str_list_next(&rest, &item)) n++;
    if (n == 0 || n > CIDRS_MAX)
        return rp_conf_fail(e, RP_E_INVALID, "a source condition has 1 to 4096 networks");
    cond->cidrs = rp_cidr_set_make(&c->arena, n);
    if (!cond->cidrs) return rp_conf_full(e);
    for (rest = cond->value; rp_str_list_next(&rest, &item);)
        if (rp_cidr_set_add(cond->cidrs, item) != RP_OK)
            return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\" is no network", RP_STR_ARG(item));
    return RP_OK;
}

static rp_err check_cond(uint32_t kind, uint32_t op, rp_str name, struct rp_conf_error *e)
{
    if (kind > RP_COND_COOKIE || op > RP_COND_IN)
        return rp_conf_fail(e, RP_E_INVALID, "no such condition");
    if ((kind == RP_COND_SOURCE) != (op == RP_COND_IN))
        return rp_conf_fail(e, RP_E_INVALID,
                            "networks are compared with the source, and only they");
    if (kind == RP_COND_HEADER && !rp_field_is_name(name))
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\" is no header name", RP_STR_ARG(name));
    if (kind == RP_COND_COOKIE && !rp_field_is_name(name)) /* both are tokens, RFC 6265 §4.1.1 */
        return rp_conf_fail(e, RP_E_INVALID, "\"%.*s\" is no cookie name", RP_STR_ARG(name));
    if (kind == RP_COND_QUERY && name.len == 0)
        return rp_conf_fail(e, RP_E_INVALID, "a query condition names an argument");
    return RP_OK;
}

rp_err rp_conf_append_cond(struct rp_conf *c, struct rp_conf_cond **conds, uint32_t *conds_n,
                           uint32_t kind, uint32_t op, bool negate, rp_str name, rp_str value,
                           struct rp_conf_error *e)
{
    rp_err err = check_cond(kind, op, name, e);
    if (err != RP_OK) return err;
    struct rp_conf_cond cond = {.kind = (uint8_t)kind, .op = (uint8_t)op, .negate = negate};
    if (kind == RP_COND_HEADER) cond.id = rp_token_header(name.ptr, name.len);
    if (rp_conf_copy(c, name, &cond.name) != RP_OK || rp_conf_copy(c, value, &cond.value) != RP_OK)
        return rp_conf_full(e);
    if (op == RP_COND_REGEX) err = compile(c, &cond, e);
    if (op == RP_COND_IN) err = make_cidrs(c, &cond, e);
    if (err != RP_OK) return err;
    void *grown = rp_conf_grow(&c->arena, *conds, *conds_n, sizeof cond);
    if (!grown) return rp_conf_full(e);
    *conds = grown;
    (*conds)[(*conds_n)++] = cond;
    return RP_OK;
}

rp_err rp_conf_add_cond(struct rp_conf *c, uint32_t route, uint32_t kind, uint32_t op, bool negate,
                        rp_str name, rp_str value, struct rp_conf_error *e)
{
    rp_err err = check_open(c, route, e);
    if (err != RP_OK) return err;
    struct rp_route *r = c->routes[route];
    return rp_conf_append_cond(c, &r->conds, &r->conds_n, kind, op, negate, name, value, e);
}
