/* SPDX-License-Identifier: MIT
 *
 * local: answers that we make ourselves: hooks' answers, error pages, redirects, fixed responses.
 */
#include "proxy/local.h"

#include "proxy/answer.h"
#include "proxy/guard.h"
#include "proxy/page.h"
#include "proxy/proxy.h"
#include "proxy/upstream.h"
#include "shm/metric.h"
#include "shm/roster_text.h"
#include "shm/splits.h"

enum {
    PAGE_BYTES = 2 * RP_CONF_PAGE_MOST, /* with its placeholders filled in */
    LOCATION_BYTES = 8192,
    METRICS_BYTES = 16 * 1024 * 1024, /* more than all series of full tables */
    SHARE_LEAST = 16 * 1024, /* bytes of a fixed answer that all who take it slowly share */
};

/* Whatever was meant to be the response is dropped. */
static void drop_response(struct rp_req *r)
{
    rp_chain_clear(&r->out);
    if (RP_UNLIKELY(r->answer != NULL)) rp_answer_reset(r);
    rp_chunk_drop(r->res_chunk);
    r->res_chunk = NULL;
    rp_msg_init(&r->res, r->res_fields, RP_EXCHANGE_FIELDS, RP_LOCAL_FIELDS);
}

/* The head of an answer whose body the caller puts into r->out. */
static rp_err put_head(struct rp_req *r, enum rp_from from, uint16_t status, rp_str content_type,
                       rp_str body)
{
    if (r->x.head_sent) return RP_E_PHASE;
    drop_response(r);
    r->answered = true;
    r->from = (uint8_t)from;
    r->res.version = 11;
    r->res.status = status;
    r->res.framing = RP_BODY_LENGTH;
    r->res.content_length = body.len;
    rp_err e = RP_OK;
    if (r->conf->server_name.len) {
        e = rp_msg_add(&r->res, &r->x.arena, RP_H_SERVER, RP_STR("Server"), r->conf->server_name);
    }
    if (body.len && e == RP_OK) {
        rp_str type = content_type.ptr ? content_type : RP_STR("text/plain; charset=utf-8");
        rp_str kept = rp_arena_copy(&r->x.arena, type);
        e = kept.ptr
                ? rp_msg_add(&r->res, &r->x.arena, RP_H_CONTENT_TYPE, RP_STR("Content-Type"), kept)
                : RP_E_CAP;
    }
    return e;
}

rp_err rp_req_answer(struct rp_req *r, enum rp_from from, uint16_t status, rp_str content_type,
                     rp_str body)
{
    rp_err e = put_head(r, from, status, content_type, body);
    if (e != RP_E_PHASE) rp_chain_add_copy(&r->out, body);
    return e;
}

/* 4xx and 5xx by a code of err.tbl; 500 when it has none. */
static uint16_t status_of(rp_err e)
{
    int status = rp_err_status(e);
    return (uint16_t)(status >= 400 && status < 600 && status != 499 ? status : 500);
}

/* A page of the configuration, else the standard one. *type stays NONE when there is no room. */
static void put_page(struct rp_req *r, uint16_t status, rp_err e, struct rp_buf *out, rp_str *type,
                     bool *negotiated)
{
    struct rp_page_facts facts = {.status = status,
                                  .error = rp_msg_reason(status),
                                  .reason = rp_str_z(rp_err_reason(e)),
                                  .request_id = rp_req_id(r)};
    const struct rp_conf_page *page = rp_page_find(r->conf, r->route, status);
    *negotiated = !page;
    if (page) {
        *type = page->type;
        rp_page_expand(out, page->body, &facts);
        return;
    }
    enum rp_page_form form = rp_page_choose(&r->x.head);
    *type = rp_page_type(form);
    rp_page_put(out, form, &facts);
}

void rp_req_answer_error(struct rp_req *r, rp_err e)
{
    uint16_t status = status_of(e);
    struct rp_buf page;
    rp_str type = RP_STR_NONE;
    bool negotiated = false;
    if (r->fail == RP_OK) r->fail = e;
    rp_buf_init(&page, PAGE_BYTES);
    put_page(r, status, e, &page, &type, &negotiated);
    /* CAP: the page goes out with fewer fields; PHASE: callers checked head_sent */
    RP_IGNORE(rp_req_answer(r, RP_FROM_CORE, status, type,
                            page.failed ? RP_STR_NONE : rp_buf_str(&page)));
    if (negotiated) { /* RFC 9110 §12.5.5; cap: without */
        RP_IGNORE(rp_msg_add(&r->res, &r->x.arena, RP_H_VARY, RP_STR("Vary"), RP_STR("Accept")));
    }
    if (RP_UNLIKELY(e == RP_E_UP_CIRCUIT)) rp_guard_tell_client(r);
    rp_buf_fini(&page);
}

/* ---- route actions -------------------------------------------------------------------------- */

rp_err rp_local_respond(struct rp_req *r)
{
    const struct rp_route *t = r->route;
    if (t->body.len < SHARE_LEAST || t->body.len > UINT32_MAX) {
        return rp_req_answer(r, RP_FROM_CORE, t->status, t->content_type, t->body);
    }
    rp_err e = put_head(r, RP_FROM_CORE, t->status, t->content_type, t->body);
    if (e == RP_E_PHASE) return e;
    struct rp_chunk *chunk = rp_groups_share(rp_groups_find(r->proxy, r->conf), t->body);
    rp_chain_add(&r->out, chunk, chunk->data, t->body.len);
    return e;
}

/* Value of {name} in a redirect's location; ptr NULL: no such name. */
static rp_str placeholder(const struct rp_req *r, rp_str name)
{
    const struct rp_msg *h = &r->x.head;
    for (uint32_t i = 0; i < r->match.params_n && i < r->route->params_n; i++) {
        if (rp_str_eq(r->route->param_names[i], name)) return r->match.params[i];
    }
    if (rp_str_eq(name, RP_STR("host"))) return h->host;
    if (rp_str_eq(name, RP_STR("path"))) return h->uri.raw_path;
    if (rp_str_eq(name, RP_STR("query"))) return h->uri.has_query ? h->uri.query : RP_STR("");
    if (rp_str_eq(name, RP_STR("uri"))) return RP_STR("");
    return RP_STR_NONE;
}

static void put_placeholder(struct rp_buf *b, const struct rp_req *r, rp_str name)
{
    const struct rp_uri *u = &r->x.head.uri;
    if (rp_str_eq(name, RP_STR("uri"))) {
        rp_buf_add(b, u->raw_path);
        if (!u->has_query) return;
        rp_buf_add_ch(b, '?');
        rp_buf_add(b, u->query);
        return;
    }
    rp_buf_add(b, placeholder(r, name));
}

static void expand(struct rp_buf *b, const struct rp_req *r, rp_str template)
{
    for (size_t at = 0; at < template.len;) {
        size_t open = rp_str_find(template, '{', at);
        rp_buf_add(b, rp_str_of(template.ptr + at, open - at));
        if (open == template.len) return;
        size_t close = rp_str_find(template, '}', open);
        if (close == template.len) return;
        put_placeholder(b, r, rp_str_of(template.ptr + open + 1, close - open - 1));
        at = close + 1;
    }
}

static rp_err redirect_to(struct rp_req *r, uint16_t status, rp_str template)
{
    struct rp_buf b;
    rp_buf_init(&b, LOCATION_BYTES);
    expand(&b, r, template);
    rp_str where = rp_arena_copy(&r->x.arena, rp_buf_str(&b));
    bool over = b.failed || !where.ptr;
    rp_buf_fini(&b);
    if (over) return RP_E_H1_URI_LONG;
    rp_err e = rp_req_answer(r, RP_FROM_CORE, status, RP_STR_NONE, RP_STR_NONE);
    if (e != RP_OK) return e;
    return rp_msg_add(&r->res, &r->x.arena, RP_H_LOCATION, RP_STR("Location"), where);
}

rp_err rp_local_redirect(struct rp_req *r)
{
    return redirect_to(r, r->route->status, r->route->location);
}

rp_err rp_local_redirect_https(struct rp_req *r)
{
    if (r->x.head.host.len == 0) return RP_E_H1_HOST; /* a 1.0 client: redirect to where? */
    /* 308 keeps the method and body (RFC 9110 §15.4.9). */
    return redirect_to(r, 308, RP_STR("https://{host}{uri}"));
}

/* ---- metrics -------------------------------------------------------------------------------- */

static rp_err answer_metrics(struct rp_req *r)
{
    struct rp_buf text;
    rp_buf_init(&text, METRICS_BYTES);
    rp_metric_text(r->proxy->metrics, r->proxy->counters, rp_clock_mono_ns() / 1000000, &text);
    rp_splits_text(r->proxy->splits, &text);
    rp_roster_text(r->proxy->roster, rp_clock_mono_ns() / 1000000, &text);
    rp_err e = text.failed ? RP_E_CAP
                           : rp_req_answer(r, RP_FROM_CORE, 200,
                                           RP_STR("text/plain; version=0.0.4; charset=utf-8"),
                                           rp_buf_str(&text));
    rp_buf_fini(&text);
    if (e != RP_OK) return e;
    return rp_msg_add(&r->res, &r->x.arena, RP_H_CACHE_CONTROL, RP_STR("Cache-Control"),
                      RP_STR("no-store"));
}

rp_err rp_local_metrics(struct rp_req *r)
{
    const struct rp_msg *h = &r->x.head;
    if (!r->proxy->metrics || !rp_str_eq(h->uri.path, r->conf->metrics_path)) return RP_E_NO_ROUTE;
    if (h->method == RP_M_GET || h->method == RP_M_HEAD) return answer_metrics(r);
    r->match.allowed = UINT64_C(1) << RP_M_GET | UINT64_C(1) << RP_M_HEAD;
    r->match.miss = RP_E_METHOD_NOT_ALLOWED;
    rp_local_miss(r);
    return RP_OK;
}

/* ---- misses --------------------------------------------------------------------------------- */

static rp_str allow_list(struct rp_req *r)
{
    struct rp_buf b;
    rp_buf_init(&b, 512);
    for (uint8_t id = 1; id < RP_M_COUNT; id++) {
        if (!((r->match.allowed >> id) & 1)) continue;
        if (b.len) rp_buf_add(&b, RP_STR(", "));
        rp_buf_add(&b, rp_token_method_name(id));
    }
    rp_str list = rp_arena_copy(&r->x.arena, rp_buf_str(&b));
    rp_buf_fini(&b);
    return list;
}

static void add_allow(struct rp_req *r)
{
    rp_str list = allow_list(r);
    if (!list.ptr) return;
    RP_IGNORE(
        rp_msg_add(&r->res, &r->x.arena, RP_H_ALLOW, RP_STR("Allow"), list)); /* cap: without */
}

void rp_local_miss(struct rp_req *r)
{
    rp_req_answer_error(r, r->match.miss);
    if (r->match.miss == RP_E_METHOD_NOT_ALLOWED) add_allow(r); /* RFC 9110 §15.5.6: MUST */
}

/* What the route takes: what it names, else what is common; never what we refuse for ourselves. */
static uint64_t methods_of(const struct rp_route *t)
{
#define BIT(name) (UINT64_C(1) << RP_M_##name)
    static const uint64_t COMMON =
        BIT(GET) | BIT(HEAD) | BIT(POST) | BIT(PUT) | BIT(DELETE) | BIT(OPTIONS) | BIT(PATCH);
    bool any = !t->methods && t->other_methods_n == 0;
    return any ? COMMON : t->methods & ~(BIT(CONNECT) | BIT(TRACE));
#undef BIT
}

void rp_local_refuse_method(struct rp_req *r)
{
    r->match.allowed = methods_of(r->route);
    rp_req_answer_error(r, RP_E_METHOD_NOT_ALLOWED);
    add_allow(r); /* RFC 9110 §15.5.6: MUST */
}

rp_err rp_local_options(struct rp_req *r)
{
    rp_err e = rp_req_answer(r, RP_FROM_CORE, 204, RP_STR_NONE, RP_STR_NONE);
    r->match.allowed = methods_of(r->route);
    if (e == RP_OK) add_allow(r);
    return e;
}
