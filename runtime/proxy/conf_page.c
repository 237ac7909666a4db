/* SPDX-License-Identifier: MIT
 *
 * conf_page: the builder's half for error pages.
 */
#include "proxy/conf_build.h"

#include "http/field.h"

enum { FIRST = 400, LAST = 599 }; /* statuses of failures, RFC 9110 §15.5, §15.6 */

/* "404", "4xx", "5xx", "*". */
static rp_err parse_which(rp_str which, struct rp_conf_page *p)
{
    uint64_t status = 0;
    p->low = FIRST;
    p->high = LAST;
    if (rp_str_eq(which, RP_STR("*"))) return RP_OK;
    if (which.len != 3) return RP_E_INVALID;
    if (which.ptr[1] == 'x' && which.ptr[2] == 'x') {
        if (which.ptr[0] != '4' && which.ptr[0] != '5') return RP_E_INVALID;
        p->low = (uint16_t)((which.ptr[0] - '0') * 100);
        p->high = (uint16_t)(p->low + 99);
        return RP_OK;
    }
    if (rp_str_u64(which, &status) != RP_OK || status < FIRST || status > LAST) return RP_E_INVALID;
    p->low = p->high = (uint16_t)status;
    return RP_OK;
}

static struct rp_conf_pages *pages_of(struct rp_conf *c, uint32_t level, uint32_t index)
{
    switch ((enum rp_conf_level)level) {
    case RP_LEVEL_SITE: return &c->pages;
    case RP_LEVEL_HOST: return index < c->hosts_n ? &c->hosts[index]->pages : NULL;
    case RP_LEVEL_ROUTE: return index < c->routes_n ? &c->routes[index]->pages : NULL;
    }
    return NULL;
}

/* Behind those that are as narrow or narrower. */
static rp_err insert(struct rp_conf *c, struct rp_conf_pages *pages, struct rp_conf_page p)
{
    struct rp_conf_page *grown = rp_conf_grow(&c->arena, pages->list, pages->n, sizeof p);
    if (!grown) return RP_E_CAP;
    pages->list = grown;
    uint32_t at = pages->n++;
    for (; at > 0 && grown[at - 1].high - grown[at - 1].low > p.high - p.low; at--)
        grown[at] = grown[at - 1];
    grown[at] = p;
    return RP_OK;
}

rp_err rp_conf_add_page(struct rp_conf *c, uint32_t level, uint32_t index, rp_str which,
                        rp_str type, rp_str body, struct rp_conf_error *e)
{
    struct rp_conf_page p;
    if (c->frozen) return rp_conf_fail(e, RP_E_PHASE, "the configuration is frozen");
    struct rp_conf_pages *pages = pages_of(c, level, index);
    if (!pages) return rp_conf_fail(e, RP_E_NOT_FOUND, "no such host or route");
    if (parse_which(which, &p) != RP_OK)
        return rp_conf_fail(e, RP_E_INVALID,
                            "\"%.*s\" is no status of a failure (\"404\", \"5xx\", \"*\")",
                            RP_STR_ARG(which));
    for (uint32_t i = 0; i < pages->n; i++)
        if (pages->list[i].low == p.low && pages->list[i].high == p.high)
            return rp_conf_fail(e, RP_E_INVALID, "there is a page for \"%.*s\" already",
                                RP_STR_ARG(which));
    if (type.len == 0 || !rp_field_is_value(type))
        return rp_conf_fail(e, RP_E_INVALID, "a page has a content type");
    if (body.len > RP_CONF_PAGE_MOST)
        return rp_conf_fail(e, RP_E_TOO_BIG, "an error page has at most %d KB",
                            RP_CONF_PAGE_MOST / 1024);
    if (rp_conf_copy(c, type, &p.type) != RP_OK || rp_conf_copy(c, body, &p.body) != RP_OK ||
        insert(c, pages, p) != RP_OK)
        return rp_conf_full(e);
    return RP_OK;
}
