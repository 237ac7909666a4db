/* SPDX-License-Identifier: MIT
 *
 * access_bench: nanoseconds per access log line: formatting, and formatting with buffered writes to
 * /dev/null.
 *
 *   cc -O2 -std=gnu11 -D_GNU_SOURCE -Iruntime spec/bench/access_bench.c <objects of base net http proxy>
 */
#include "proxy/access.h"
#include "proxy/access_line.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 9, LINES = 200000 };

static void must(rp_err e)
{
    if (e == RP_OK) return;
    fprintf(stderr, "%s\n", rp_err_name(e));
    exit(1);
}

static struct rp_conf *make_conf(uint32_t format)
{
    struct rp_conf *c = rp_conf_new(1);
    struct rp_conf_error e;
    uint32_t file = 0;
    must(rp_conf_add_file(c, RP_STR("/log"), &file));
    must(rp_conf_set_access_log(c, file, format, 65536, 1000));
    must(rp_conf_freeze(c, &e));
    return rp_conf_hold(c);
}

/* A request as browsers send them. */
static struct rp_req *make_request(struct rp_conf *c)
{
    static struct rp_field fields[16];
    static struct rp_arena arena;
    static const char *const HEADERS[][2] = {
        {"host", "www.example.com"},
        {"accept", "text/html,application/xhtml+xml,application/xml;q=0.9"},
        {"accept-language", "en-GB,en;q=0.7"},
        {"accept-encoding", "gzip, deflate, br"},
        {"referer", "https://www.example.com/products/list?page=2"},
        {"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0"},
        {"cookie", "session=0123456789abcdef; theme=dark"},
    };
    struct rp_req *r = rp_alloc(sizeof *r);
    rp_arena_init(&arena, NULL, 0, 65536);
    rp_msg_init(&r->x.head, fields, 16, 16);
    for (size_t i = 0; i < RP_COUNT(HEADERS); i++)
        must(rp_msg_add(&r->x.head, &arena, 0, rp_str_z(HEADERS[i][0]), rp_str_z(HEADERS[i][1])));
    r->x.head.method_text = RP_STR("GET");
    r->x.head.target = RP_STR("/products/item?id=4711&colour=green");
    r->x.head.host = RP_STR("www.example.com");
    r->x.head.version = 11;
    must(rp_addr_parse_ip(RP_STR("192.0.2.147"), &r->client));
    must(rp_addr_parse(RP_STR("10.0.0.1:8080"), &r->pick.want_addr));
    r->conf = c;
    r->x.head_sent = true;
    r->res.status = 200;
    r->x.body_out_bytes = 48123;
    r->start_ns = 1, r->sent_ns = 2000000, r->end_ns = 17000000;
    memcpy(r->id, "0123456789abcdef0123456789abcdef", 33);
    return r;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double format_only(const struct rp_req *r, size_t *bytes)
{
    struct rp_access_clock clock = {.second = INT64_MIN};
    struct rp_buf buf;
    double ns[ROUNDS];
    rp_buf_init(&buf, 1 << 20);
    for (int round = 0; round < ROUNDS; round++) {
        rp_ns start = rp_clock_mono_ns();
        for (int i = 0; i < LINES; i++) {
            rp_buf_clear(&buf);
            rp_access_line(&buf, r, 784111777.25 + i * 0.0001, 0, &clock);
        }
        ns[round] = (double)(rp_clock_mono_ns() - start) / LINES;
    }
    *bytes = buf.len;
    rp_buf_fini(&buf);
    qsort(ns, ROUNDS, sizeof *ns, by_value);
    return ns[ROUNDS / 2];
}

static double written(struct rp_loop *loop, const struct rp_req *r)
{
    struct rp_access *a = rp_access_new(loop);
    int fd = open("/dev/null", O_WRONLY);
    double ns[ROUNDS];
    rp_access_set_files(a, &fd, 1);
    for (int round = 0; round < ROUNDS; round++) {
        rp_ns start = rp_clock_mono_ns();
        for (int i = 0; i < LINES; i++) rp_access_write(a, r);
        ns[round] = (double)(rp_clock_mono_ns() - start) / LINES;
    }
    rp_access_free(&a);
    qsort(ns, ROUNDS, sizeof *ns, by_value);
    return ns[ROUNDS / 2];
}

int main(void)
{
    struct rp_mem *mem = rp_mem_new();
    struct rp_loop *loop = rp_loop_new(mem);
    for (uint32_t format = RP_ACCESS_COMBINED; format <= RP_ACCESS_JSON; format++) {
        struct rp_req *r = make_request(make_conf(format));
        size_t bytes = 0;
        double line = format_only(r, &bytes), all = written(loop, r);
        printf("%-10s %6.1f ns a line of %zu bytes, %6.1f ns with the writer\n",
               format == RP_ACCESS_JSON ? "json" : "combined", line, bytes, all);
    }
    rp_loop_free(&loop);
    return 0;
}
