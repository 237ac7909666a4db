/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of the router: lines of a site, an empty line, then requests.
 *
 *   H www.example.com          a new host (the routes that follow are its own)
 *   R GET,POST /a/{id}/x       a route: methods ("-" for any) and pattern
 *   C name value               a condition of the last route: query argument by regex
 *
 *   GET www.example.com /a/7/x?y=1
 *
 * Whatever the patterns are, no path may take more steps than the site has nodes, params lie inside
 * of the path, and a route is found exactly when some pattern fits by a check that can be read.
 */
#include "http/field.h"
#include "proxy/route.h"

enum { SITE_LINES = 64, ARENA_CAP = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct rp_conf *c;
    uint32_t host, route;
    size_t pattern_bytes;
};

static bool next(rp_str *rest, char until, rp_str *piece)
{
    if (rest->len == 0) return false;
    size_t end = rp_str_find(*rest, until, 0);
    *piece = rp_str_head(*rest, end);
    *rest = rp_str_from(*rest, end < rest->len ? end + 1 : end);
    return true;
}

/* ---- the site ------------------------------------------------------------------------------- */

static void add_line(struct fuzz *f, rp_str line)
{
    struct rp_conf_error e = {0};
    rp_str rest = line, what = RP_STR_NONE, first = RP_STR_NONE;
    uint32_t index = 0;
    if (!next(&rest, ' ', &what) || what.len != 1) return;
    rp_err err = RP_OK;
    if (what.ptr[0] == 'H') {
        err = rp_conf_add_host(f->c, rest.len == 0, &index);
        if (err != RP_OK) return;
        f->host = index;
        if (rest.len > 0) err = rp_conf_add_host_name(f->c, index, rest, &e);
    } else if (what.ptr[0] == 'R' && f->host != UINT32_MAX && next(&rest, ' ', &first)) {
        if (rp_str_eq(first, RP_STR("-"))) first.len = 0;
        err = rp_conf_add_route(f->c, f->host, first, rest, false, &index, &e);
        f->route = index;
        f->pattern_bytes += rest.len;
        if (err == RP_OK) err = rp_conf_set_route(f->c, index, RP_STR("action"), RP_ACTION_RESPOND);
    } else if (what.ptr[0] == 'C' && f->route != UINT32_MAX && next(&rest, ' ', &first)) {
        err =
            rp_conf_add_cond(f->c, f->route, RP_COND_QUERY, RP_COND_REGEX, false, first, rest, &e);
    }
    RP_CHECK(err == RP_OK || e.code == err || e.code == RP_OK);
    RP_CHECK(memchr(e.text, 0, sizeof e.text));
}

/* ---- a router that can be read --------------------------------------------------------------- */

/* Patterns that need no decoding and no regex. */
static bool is_plain(rp_str s)
{
    if (s.len == 0 || s.ptr[0] != '/') return false;
    for (size_t i = 0; i < s.len; i++)
        if (!(s.ptr[i] >= '*' && s.ptr[i] <= 'z') && s.ptr[i] != '{' && s.ptr[i] != '}')
            return false;
    return !memchr(s.ptr, '^', s.len) && !memchr(s.ptr, '\\', s.len) &&
           !memchr(s.ptr, '<', s.len) && !memchr(s.ptr, '>', s.len) && !memchr(s.ptr, '[', s.len) &&
           !memchr(s.ptr, ']', s.len) && !memchr(s.ptr, '`', s.len) && !memchr(s.ptr, '.', s.len);
}

static bool pattern_fits(rp_str pattern, rp_str path)
{
    rp_str p = rp_str_from(pattern, 1), q = rp_str_from(path, 1);
    for (;;) {
        size_t p_end = rp_str_find(p, '/', 0), q_end = rp_str_find(q, '/', 0);
        rp_str want = rp_str_head(p, p_end), got = rp_str_head(q, q_end);
        bool last = p_end == p.len;
        if (last && want.len > 0 && want.ptr[want.len - 1] == '*') return true;
        if (last && rp_str_ends(want, RP_STR("*}"))) return true;
        bool param = want.len > 2 && want.ptr[0] == '{';
        if (param ? got.len == 0 : !rp_str_eq(want, got)) return false;
        if (last || q_end == q.len) return last && q_end == q.len;
        p = rp_str_from(p, p_end + 1);
        q = rp_str_from(q, q_end + 1);
    }
}

static bool takes_all(const struct rp_route *r)
{
    return r->methods == 0 && r->other_methods_n == 0 && r->conds_n == 0;
}

static void check_found(const struct rp_conf *c, const struct rp_msg *head,
                        const struct rp_route_match *m)
{
    rp_str path = head->uri.path;
    RP_CHECK(m->route);
    if (m->miss == RP_OK) {
        RP_CHECK(m->params_n == m->route->params_n && m->params_n <= RP_ROUTE_PARAMS);
        for (uint32_t i = 0; i < m->params_n; i++) {
            rp_str s = m->params[i];
            RP_CHECK(!s.ptr || (s.ptr >= path.ptr && s.ptr + s.len <= path.ptr + path.len));
        }
        if (is_plain(m->route->pattern)) RP_CHECK(pattern_fits(m->route->pattern, path));
    } else if (m->miss != RP_E_MISDIRECTED && path.len > 0 && path.ptr[0] == '/') {
        for (uint32_t i = 0; i < c->routes_n; i++) {
            const struct rp_route *r = c->routes[i];
            if (r->host != m->route->host || !takes_all(r) || !is_plain(r->pattern)) continue;
            RP_CHECK(!pattern_fits(r->pattern, path));
        }
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

static void find(const struct fuzz *f, rp_str line)
{
    struct rp_arena scratch;
    struct rp_msg head;
    struct rp_route_match m;
    struct rp_addr client = {0};
    rp_str rest = line, method = RP_STR(""), host = RP_STR(""), path = RP_STR("");
    if (!next(&rest, ' ', &method) || !next(&rest, ' ', &host)) return;
    (void)next(&rest, '?', &path);
    memset(&head, 0, sizeof head);
    head.method = rp_token_method(method.ptr, method.len);
    head.method_text = method;
    head.host = host;
    head.uri.query = rest;
    rp_arena_init(&scratch, NULL, 0, ARENA_CAP);
    if (rp_uri_normalize(&scratch, path, &head.uri.path) == RP_OK) {
        memset(&m, 0xa5, sizeof m);
        rp_route_find(f->c, &head, &client, &scratch, &m);
        RP_CHECK(m.visited_n <= 2 * f->pattern_bytes + 2); /* a byte makes at most two nodes */
        check_found(f->c, &head, &m);
    }
    rp_arena_reset(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {.c = rp_conf_new(1), .host = UINT32_MAX, .route = UINT32_MAX};
    struct rp_conf_error e = {0};
    rp_str rest = rp_str_of((const char *)data, size), line;
    for (int i = 0; i < SITE_LINES && next(&rest, '\n', &line) && line.len > 0; i++)
        add_line(&f, line);
    if (rp_conf_freeze(f.c, &e) == RP_OK)
        while (next(&rest, '\n', &line)) find(&f, line);
    else RP_CHECK(e.code < 0 && e.text[0]);
    rp_conf_free(&f.c);
    return 0;
}
