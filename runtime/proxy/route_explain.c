/* SPDX-License-Identifier: MIT
 *
 * route_explain: see route_explain.h.
 */
#include "proxy/route_explain.h"

#include "http/token.h"
#include "proxy/route_cond.h"
#include "proxy/route_tree.h"

/* ---- collecting ----------------------------------------------------------------------------- */

struct teller {
    struct rp_route_story *story;
    struct rp_route_facts facts;
    bool *told; /* by route index: it has a note, or was counted */
};

static void add_note(struct teller *t, const struct rp_route *r, enum rp_route_fate fate,
                     uint32_t cond)
{
    struct rp_route_story *s = t->story;
    t->told[r->index] = true;
    if (s->notes_n == RP_ROUTE_NOTES_MAX) s->left_out_n++;
    else s->notes[s->notes_n++] = (struct rp_route_note){r, (uint8_t)fate, cond};
}

/* The first condition of r that does not hold; conds_n: they all do. */
static uint32_t failing_cond(const struct rp_route *r, struct rp_route_facts *facts)
{
    uint32_t i = 0;
    while (i < r->conds_n && rp_route_cond_holds(&r->conds[i], facts)) i++;
    return i;
}

static void tell_route(struct teller *t, const struct rp_route *r)
{
    t->facts.trouble = RP_OK;
    uint32_t cond = failing_cond(r, &t->facts);
    if (cond < r->conds_n)
        add_note(t, r, t->facts.trouble == RP_OK ? RP_FATE_COND : RP_FATE_UNKNOWN, cond);
    else if (!rp_route_takes(r, t->facts.head)) add_note(t, r, RP_FATE_METHOD, 0);
    else add_note(t, r, r == t->story->match.route ? RP_FATE_CHOSEN : RP_FATE_LATER, 0);
}

static void tell_leaf(void *arg, const struct rp_route_leaf *leaf)
{
    struct teller *t = arg;
    for (uint32_t i = 0; i < leaf->routes_n; i++) tell_route(t, leaf->routes[i]);
}

static void tell_others(struct teller *t, const struct rp_conf *c)
{
    for (uint32_t i = 0; i < c->routes_n; i++) {
        const struct rp_route *r = c->routes[i];
        if (r->host != t->story->host->index || t->told[r->index]) continue;
        if (r != t->story->host->no_route) add_note(t, r, RP_FATE_PATH, 0);
    }
}

rp_err rp_route_explain(const struct rp_conf *c, const struct rp_msg *head,
                        const struct rp_addr *client, struct rp_arena *scratch,
                        struct rp_route_story *out)
{
    struct teller t = {
        .story = out,
        .facts = {.head = head, .client = client, .scratch = scratch, .ctx = c->router->ctx},
        .told = rp_arena_zalloc(scratch, c->routes_n + 1),
    };
    out->notes = rp_arena_alloc(scratch, RP_ROUTE_NOTES_MAX * sizeof *out->notes);
    if (!out->notes || !t.told) return RP_E_CAP;
    out->notes_n = out->left_out_n = 0;
    rp_route_find(c, head, client, scratch, &out->match);
    out->host = rp_route_walk(c, head, tell_leaf, &t, &out->by_name);
    if (out->host) tell_others(&t, c);
    return RP_OK;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void add_string(struct rp_buf *b, const char *key, rp_str value)
{
    rp_buf_addf(b, "\"%s\":\"", key);
    rp_buf_add_json(b, value);
    rp_buf_add(b, RP_STR("\""));
}

static void add_methods(struct rp_buf *b, const struct rp_route *r)
{
    const char *between = "";
    rp_buf_add(b, RP_STR(",\"methods\":["));
    for (uint8_t m = 1; m < RP_M_COUNT; m++) {
        if (!(r->methods >> m & 1)) continue;
        rp_buf_addf(b, "%s\"%.*s\"", between, RP_STR_ARG(rp_token_method_name(m)));
        between = ",";
    }
    for (uint32_t i = 0; i < r->other_methods_n; i++) {
        rp_buf_addf(b, "%s\"", between);
        rp_buf_add_json(b, r->other_methods[i]);
        rp_buf_add(b, RP_STR("\""));
        between = ",";
    }
    rp_buf_add(b, RP_STR("]"));
}

static const char *const KINDS[] = {[RP_COND_HEADER] = "header",
                                    [RP_COND_QUERY] = "query",
                                    [RP_COND_SOURCE] = "source",
                                    [RP_COND_COOKIE] = "cookie"};
static const char *const OPS[] = {[RP_COND_EXISTS] = "exists",
                                  [RP_COND_EQUALS] = "equals",
                                  [RP_COND_PREFIX] = "begins with",
                                  [RP_COND_REGEX] = "matches",
                                  [RP_COND_IN] = "in"};

/* when header x-beta equals 1 */
static void add_cond(struct rp_buf *b, const struct rp_conf_cond *cond)
{
    rp_buf_addf(b, ",\"cond\":\"%s %s ", cond->negate ? "unless" : "when", KINDS[cond->kind]);
    if (cond->kind != RP_COND_SOURCE) {
        rp_buf_add_json(b, cond->name);
        rp_buf_add(b, RP_STR(" "));
    }
    rp_buf_addf(b, "%s", OPS[cond->op]);
    if (cond->op != RP_COND_EXISTS) {
        rp_buf_add(b, RP_STR(" "));
        rp_buf_add_json(b, cond->value);
    }
    rp_buf_add(b, RP_STR("\""));
}

static const char *const FATES[] = {
    [RP_FATE_CHOSEN] = "chosen", [RP_FATE_LATER] = "later",     [RP_FATE_METHOD] = "method",
    [RP_FATE_COND] = "cond",     [RP_FATE_UNKNOWN] = "unknown", [RP_FATE_PATH] = "path"};

static void add_route(struct rp_buf *b, const struct rp_route_note *note)
{
    rp_buf_add(b, RP_STR("{"));
    add_string(b, "id", note->route->id);
    rp_buf_add(b, RP_STR(","));
    add_string(b, "pattern", note->route->pattern.ptr ? note->route->pattern : RP_STR(""));
    add_methods(b, note->route);
    rp_buf_addf(b, ",\"fate\":\"%s\"", FATES[note->fate]);
    if (note->fate == RP_FATE_COND || note->fate == RP_FATE_UNKNOWN)
        add_cond(b, &note->route->conds[note->cond]);
    rp_buf_add(b, RP_STR("}"));
}

static const char *miss_name(rp_err miss)
{
    if (miss == RP_E_NO_ROUTE) return "\"no_route\"";
    if (miss == RP_E_METHOD_NOT_ALLOWED) return "\"method_not_allowed\"";
    return miss == RP_E_MISDIRECTED ? "\"misdirected\"" : "null";
}

void rp_route_story_json(const struct rp_route_story *s, struct rp_buf *b)
{
    const struct rp_route_match *m = &s->match;
    rp_buf_add(b, RP_STR("{"));
    if (s->host) {
        add_string(b, "host", s->host->name);
        rp_buf_add(b, RP_STR(","));
    }
    rp_buf_addf(b, "\"by\":\"%s\",", !s->host ? "none" : s->by_name ? "name" : "default");
    if (m->miss == RP_OK) add_string(b, "chosen", m->route->id);
    else rp_buf_add(b, RP_STR("\"chosen\":null"));
    rp_buf_addf(b, ",\"miss\":%s,\"undecided\":%s,\"left_out\":%u,\"routes\":[", miss_name(m->miss),
                m->trouble != RP_OK ? "true" : "false", (unsigned)s->left_out_n);
    for (uint32_t i = 0; i < s->notes_n; i++) {
        if (i > 0) rp_buf_add(b, RP_STR(","));
        add_route(b, &s->notes[i]);
    }
    rp_buf_add(b, RP_STR("]}"));
}
