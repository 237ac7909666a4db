/* SPDX-License-Identifier: MIT
 *
 * stream_route: see stream_route.h.
 */
#include "proxy/stream_route.h"

#include <stdlib.h>

#include "net/tls_hello.h"

static int compare(const void *a, const void *b)
{
    const struct rp_conf_stream_rule *x = a, *y = b;
    return rp_str_cmp(x->name, y->name);
}

bool rp_stream_route_sort(struct rp_conf_stream_rule *rules, uint32_t n, rp_str *twice)
{
    if (n > 1) qsort(rules, n, sizeof *rules, compare);
    for (uint32_t i = 1; i < n; i++) {
        if (!rp_str_eq(rules[i - 1].name, rules[i].name)) continue;
        *twice = rules[i].name;
        return false;
    }
    return true;
}

static const struct rp_conf_stream_rule *find(const struct rp_conf_stream_rule *rules, uint32_t n,
                                              rp_str name)
{
    const struct rp_conf_stream_rule key = {.name = name};
    return n ? bsearch(&key, rules, n, sizeof *rules, compare) : NULL;
}

static const struct rp_conf_stream_rule *find_alpn(const struct rp_conf_stream *c, rp_str list)
{
    const struct rp_conf_stream_rule *rule = NULL;
    rp_str name;
    while (c->alpn_n && !rule && rp_tls_hello_alpn_next(&list, &name))
        rule = find(c->alpn, c->alpn_n, name);
    return rule;
}

/* a.b.example: itself, then ".b.example" (that is "*.b.example"), then ".example". */
static const struct rp_conf_stream_rule *find_sni(const struct rp_conf_stream *c, rp_str sni)
{
    const struct rp_conf_stream_rule *rule = find(c->sni, c->sni_n, sni);
    for (size_t dot = rp_str_find(sni, '.', 0); !rule && dot < sni.len;
         dot = rp_str_find(sni, '.', dot + 1))
        rule = find(c->sni, c->sni_n, rp_str_from(sni, dot));
    return rule;
}

struct rp_conf_upstream *rp_stream_route_find(const struct rp_conf_stream *c, rp_str sni,
                                              rp_str alpn)
{
    const struct rp_conf_stream_rule *rule = find_alpn(c, alpn);
    if (!rule && sni.ptr) rule = find_sni(c, sni);
    return rule ? rule->upstream : c->upstream;
}
