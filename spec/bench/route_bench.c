/* SPDX-License-Identifier: MIT
 *
 * route_bench: nanoseconds per rp_route_find by number of routes and hosts.
 *
 *   cc -O2 -std=gnu11 -D_GNU_SOURCE -Iruntime spec/bench/route_bench.c <objects of base net http proxy>
 *
 * Each line: the median of 9 rounds. "one path" shows the steps alone; 1024 paths in turn add the
 * cache misses of many routes in use at once; "misses" are paths that leave the tree early.
 */
#include "base/mem.h"
#include "proxy/route.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 9, FINDS = 200000, PATHS = 1024 };

struct site {
    struct rp_conf *c;
    uint32_t routes_n;
    bool hosts; /* one host per route, else one host with all routes */
};

static void must(rp_err e, const struct rp_conf_error *why)
{
    if (e == RP_OK) return;
    fprintf(stderr, "%s: %s\n", rp_err_name(e), why->text);
    exit(1);
}

/* Names that share beginnings as real ones do: three words out of 32 and a number. */
static int put_name(char *out, size_t room, uint32_t i)
{
    static const char *const WORDS[] = {
        "api",    "auth",  "user",   "users",  "account", "order",  "orders", "cart",
        "item",   "items", "search", "report", "admin",   "health", "metric", "static",
        "image",  "video", "upload", "export", "import",  "queue",  "worker", "session",
        "tenant", "group", "policy", "notice", "billing", "ledger", "refund", "invoice"};
    return snprintf(out, room, "%s-%s-%u", WORDS[i % 32], WORDS[i / 32 % 32], i);
}

static void add_route(struct site *s, uint32_t host, uint32_t i)
{
    struct rp_conf_error e = {0};
    char name[64], text[160];
    uint32_t index = 0;
    static const char *const SHAPES[] = {"/%s/v1", "/%s/{id}/detail", "/%s/v2/*", "/%s/{id}/*"};
    put_name(name, sizeof name, i);
    snprintf(text, sizeof text, SHAPES[i % 4], name);
    must(rp_conf_add_route(s->c, host, RP_STR(""), rp_str_z(text), false, &index, &e), &e);
    must(rp_conf_set_route(s->c, index, RP_STR("action"), RP_ACTION_RESPOND), &e);
}

static void add_host(struct site *s, uint32_t i, uint32_t *host)
{
    struct rp_conf_error e = {0};
    char name[64], text[160];
    put_name(name, sizeof name, i);
    snprintf(text, sizeof text, "%s%s.example.com", i % 4 == 3 ? "*." : "", name);
    must(rp_conf_add_host(s->c, false, host), &e);
    must(rp_conf_add_host_name(s->c, *host, rp_str_z(text), &e), &e);
}

static struct site make_site(uint32_t routes_n, bool hosts)
{
    struct site s = {rp_conf_new(1), routes_n, hosts};
    struct rp_conf_error e = {0};
    uint32_t host = 0;
    if (!hosts) {
        must(rp_conf_add_host(s.c, false, &host), &e);
        must(rp_conf_add_host_name(s.c, host, RP_STR("www.example.com"), &e), &e);
    }
    for (uint32_t i = 0; i < routes_n; i++) {
        if (hosts) add_host(&s, i, &host);
        add_route(&s, host, i);
    }
    must(rp_conf_freeze(s.c, &e), &e);
    return s;
}

static struct rp_msg *make_heads(const struct site *s, bool miss)
{
    static const char *const SHAPES[] = {"/%s/v1", "/%s/4711/detail", "/%s/v2/a/b.css",
                                         "/%s/4711/x"};
    struct rp_msg *heads = rp_alloc(PATHS * sizeof *heads);
    for (uint32_t k = 0; k < PATHS; k++) {
        uint32_t i = (uint32_t)((uint64_t)k * 7919 % s->routes_n);
        char name[64], text[160];
        put_name(name, sizeof name, i);
        int n = snprintf(text, sizeof text, SHAPES[i % 4], name);
        if (miss) text[3] = '!'; /* in the first word */
        heads[k].uri.path = rp_str_of(rp_strdup_n(text, (size_t)n), (size_t)n);
        n = snprintf(text, sizeof text, "%s%s.example.com", i % 4 == 3 ? "x." : "",
                     s->hosts ? name : "www");
        if (!s->hosts) n = snprintf(text, sizeof text, "www.example.com");
        heads[k].host = rp_str_of(rp_strdup_n(text, (size_t)n), (size_t)n);
        heads[k].method = RP_M_GET;
    }
    return heads;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Ask for the first heads_n of the heads in turn. */
static double measure(const struct site *s, const struct rp_msg *heads, uint32_t heads_n,
                      uint32_t *found_n)
{
    double ns[ROUNDS];
    struct rp_arena scratch;
    struct rp_addr client = {0};
    rp_arena_init(&scratch, NULL, 0, 65536);
    for (int round = 0; round < ROUNDS; round++) {
        struct rp_route_match m;
        *found_n = 0;
        rp_ns start = rp_clock_mono_ns();
        for (uint32_t i = 0; i < FINDS; i++) {
            rp_route_find(s->c, &heads[i & (heads_n - 1)], &client, &scratch, &m);
            *found_n += m.miss == RP_OK;
        }
        ns[round] = (double)(rp_clock_mono_ns() - start) / FINDS;
    }
    qsort(ns, ROUNDS, sizeof *ns, by_value);
    return ns[ROUNDS / 2];
}

int main(void)
{
    static const uint32_t SIZES[] = {10, 100, 1000, 10000, 100000};
    printf("%-28s %10s %10s %10s\n", "ns per find", "one path", "1024 paths", "misses");
    for (int hosts = 0; hosts < 2; hosts++) {
        for (size_t i = 0; i < RP_COUNT(SIZES); i++) {
            rp_ns start = rp_clock_mono_ns();
            struct site s = make_site(SIZES[i], hosts);
            double build_ms = (double)(rp_clock_mono_ns() - start) / 1e6;
            uint32_t hits = 0, misses = 0;
            struct rp_msg *heads = make_heads(&s, false), *bad = make_heads(&s, true);
            double one = measure(&s, heads, 1, &hits);
            double hit = measure(&s, heads, PATHS, &hits);
            double miss = measure(&s, bad, PATHS, &misses);
            if (hits != FINDS || misses > 0)
                return fprintf(stderr, "%u of %d found, %u should not\n", hits, FINDS, misses), 1;
            printf("%7u %-20s %10.1f %10.1f %10.1f   (build %.1f ms, %zu KB)\n", SIZES[i],
                   hosts ? "hosts, 1 route each" : "routes in 1 host", one, hit, miss, build_ms,
                   s.c->arena.used_bytes >> 10);
            rp_conf_free(&s.c);
        }
    }
    return 0;
}
