/* SPDX-License-Identifier: MIT
 *
 * page: see page.h.
 */
#include "proxy/page.h"

#include "http/field.h"

/* ---- which form ----------------------------------------------------------------------------- */

enum { NAMED = 2, SUBTYPE_OPEN = 1, ALL_OPEN = 0 }; /* how exactly a range names a type */

struct form {
    const char *type, *range, *content_type;
};

static const struct form FORMS[] = {
    [RP_PAGE_HTML] = {"text/html", "text/*", "text/html; charset=utf-8"},
    [RP_PAGE_JSON] = {"application/json", "application/*", "application/json"},
    [RP_PAGE_TEXT] = {"text/plain", "text/*", "text/plain; charset=utf-8"},
};

/* The weight of a range over all Accept lines; -1 when no line has it. */
static int weight_in(const struct rp_msg *head, const char *range)
{
    for (uint16_t i = 0; i < head->fields_n; i++) {
        const struct rp_field *f = &head->fields[i];
        if (f->id != RP_H_ACCEPT || !f->name_n) continue;
        int weight = rp_field_weight(rp_field_value(f), rp_str_z(range));
        if (weight >= 0) return weight;
    }
    return -1;
}

/* The most specific range that covers the form decides (RFC 9110 §12.5.1). Larger is better; 0: not
 * wanted. */
static int score(const struct rp_msg *head, const struct form *f)
{
    const char *const ranges[] = {[NAMED] = f->type, [SUBTYPE_OPEN] = f->range, [ALL_OPEN] = "*/*"};
    for (int exact = NAMED; exact >= ALL_OPEN; exact--) {
        int weight = weight_in(head, ranges[exact]);
        if (weight >= 0) return weight ? weight * (NAMED + 1) + exact : 0;
    }
    return 0;
}

enum rp_page_form rp_page_choose(const struct rp_msg *head)
{
    int best = 0;
    enum rp_page_form form = RP_PAGE_TEXT;
    if (!rp_msg_find(head, RP_H_ACCEPT)) return RP_PAGE_HTML;
    for (int i = RP_PAGE_HTML; i <= RP_PAGE_TEXT; i++) {
        int is = score(head, &FORMS[i]);
        if (is <= best) continue;
        best = is;
        form = (enum rp_page_form)i;
    }
    return form;
}

rp_str rp_page_type(enum rp_page_form form)
{
    return rp_str_z(FORMS[form].content_type);
}

/* ---- which page ----------------------------------------------------------------------------- */

static const struct rp_conf_page *find_in(const struct rp_conf_pages *pages, uint16_t status)
{
    for (uint32_t i = 0; i < pages->n; i++)
        if (status >= pages->list[i].low && status <= pages->list[i].high) return &pages->list[i];
    return NULL;
}

const struct rp_conf_page *rp_page_find(const struct rp_conf *c, const struct rp_route *route,
                                        uint16_t status)
{
    const struct rp_conf_page *p = route ? find_in(&route->pages, status) : NULL;
    if (!p && route && route->host < c->hosts_n) p = find_in(&c->hosts[route->host]->pages, status);
    return p ? p : find_in(&c->pages, status);
}

/* ---- text ----------------------------------------------------------------------------------- */

static void put_html(struct rp_buf *out, rp_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        switch (s.ptr[i]) {
        case '&': rp_buf_add(out, RP_STR("&amp;")); break;
        case '<': rp_buf_add(out, RP_STR("&lt;")); break;
        case '>': rp_buf_add(out, RP_STR("&gt;")); break;
        case '"': rp_buf_add(out, RP_STR("&quot;")); break;
        case '\'': rp_buf_add(out, RP_STR("&#39;")); break;
        default: rp_buf_add_ch(out, s.ptr[i]);
        }
    }
}

static void put_member(struct rp_buf *out, const char *name, rp_str value)
{
    rp_buf_addf(out, ",\"%s\":\"", name);
    rp_buf_add_json(out, value);
    rp_buf_add_ch(out, '"');
}

void rp_page_put(struct rp_buf *out, enum rp_page_form form, const struct rp_page_facts *facts)
{
    switch (form) {
    case RP_PAGE_HTML:
        rp_page_expand(
            out,
            RP_STR("<!doctype html>\n<html><head><title>{status} {error}</title></head>\n"
                   "<body><h1>{status} {error}</h1>\n<p>request id: {request_id}</p>"
                   "</body></html>\n"),
            facts);
        break;
    case RP_PAGE_JSON:
        rp_buf_addf(out, "{\"status\":%u", facts->status);
        put_member(out, "error", facts->error);
        put_member(out, "reason", facts->reason);
        put_member(out, "request_id", facts->request_id);
        rp_buf_add(out, RP_STR("}\n"));
        break;
    case RP_PAGE_TEXT:
        rp_buf_addf(out, "%u %.*s\nrequest id: %.*s\n", facts->status, RP_STR_ARG(facts->error),
                    RP_STR_ARG(facts->request_id));
        break;
    }
}

/* Fill in what `name` stands for; false: nothing. */
static bool put_named(struct rp_buf *out, rp_str name, const struct rp_page_facts *facts)
{
    if (rp_str_eq(name, RP_STR("status"))) rp_buf_add_u64(out, facts->status);
    else if (rp_str_eq(name, RP_STR("error"))) put_html(out, facts->error);
    else if (rp_str_eq(name, RP_STR("reason"))) put_html(out, facts->reason);
    else if (rp_str_eq(name, RP_STR("request_id"))) put_html(out, facts->request_id);
    else return false;
    return true;
}

void rp_page_expand(struct rp_buf *out, rp_str body, const struct rp_page_facts *facts)
{
    enum { LONGEST = 10 }; /* "request_id": no search through a whole style sheet for each brace */
    for (size_t at = 0; at < body.len;) {
        size_t open = rp_str_find(body, '{', at);
        rp_buf_add(out, rp_str_of(body.ptr + at, open - at));
        if (open == body.len) return;
        rp_str near = rp_str_of(body.ptr + open + 1, RP_MIN(body.len - open - 1, LONGEST + 1));
        size_t close = rp_str_find(near, '}', 0);
        at = open + 1;
        if (close < near.len && put_named(out, rp_str_head(near, close), facts)) at += close + 1;
        else rp_buf_add_ch(out, '{');
    }
}
