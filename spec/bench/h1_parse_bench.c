/* SPDX-License-Identifier: MIT
 *
 * h1_parse_bench: what parsing costs, in ns, run by hand.
 *
 *   cc -O2 -D_GNU_SOURCE -std=gnu11 -Iruntime -o build/h1_parse_bench spec/bench/h1_parse_bench.c \
 *       runtime/http/{chars,token,uri,msg,h1_facts,h1_parse,h1_chunk}.c \
 *       runtime/base/{arena,mem,pool,str,check,err}.c
 *   build/h1_parse_bench [rounds [row]]       few rounds of one row: valgrind --tool=callgrind
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "http/h1_chunk.h"
#include "http/h1_parse.h"

/* Many short runs, the best counts: a run that nothing disturbed. */
enum { ROUNDS = 20 * 1000, RUNS = 200, ROOM = 40 };

static const char wrk[] = "GET /64 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
static const char browser[] =
    "GET /static/js/app.3f2a91bc.js?v=12&lang=en HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://www.example.com/catalogue/index.html\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: sid=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n"
    "Sec-Fetch-Mode: no-cors\r\n"
    "Cache-Control: no-cache\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\n"
                             "Server: nginx/1.22.1\r\n"
                             "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
                             "Content-Type: text/plain\r\n"
                             "Content-Length: 64\r\n"
                             "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
                             "Connection: keep-alive\r\n"
                             "ETag: \"65920080-40\"\r\n"
                             "Accept-Ranges: bytes\r\n\r\n";
static const char chunks[] =
    "40\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n"
    "0\r\n\r\n";

static const struct rp_h1_limits limits = {16384, 8192, 100};
static struct rp_field fields[ROOM];
static struct rp_arena arena;
static char writable[sizeof answer];
static size_t sink; /* keeps results alive */

static void need(rp_err e, rp_err want)
{
    if (e != want) {
        fprintf(stderr, "unexpected result %d\n", e);
        exit(1);
    }
}

static void head_end(const char *p, size_t n)
{
    size_t scanned = 0;
    sink += rp_h1_head_end(p, n, &scanned);
}

static void request(const char *p, size_t n)
{
    struct rp_msg m;
    rp_str path;
    rp_msg_init(&m, fields, ROOM, 100);
    head_end(p, n);
    need(rp_h1_parse_request(p, n, &limits, &arena, &m), RP_OK);
    need(rp_uri_normalize(&arena, m.uri.raw_path, &path), RP_OK);
    sink += m.fields_n + path.len;
}

static void response(const char *p, size_t n)
{
    struct rp_msg m;
    rp_msg_init(&m, fields, ROOM, 100);
    head_end(p, n);
    need(rp_h1_parse_response(writable, n, &limits, RP_M_GET, &arena, &m), RP_OK);
    sink += m.fields_n;
}

static void chunked(const char *p, size_t n)
{
    struct rp_h1_chunk c;
    size_t used;
    rp_str data;
    rp_h1_chunk_init(&c);
    need(rp_h1_chunk_next(&c, p, n, &used, &data), RP_OK);
    need(rp_h1_chunk_next(&c, p + used, n - used, &used, &data), RP_END);
    sink += used;
}

static double best_ns(void (*work)(const char *, size_t), const char *p, size_t n, long rounds)
{
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (long i = 0; i < rounds; i++) work(p, n);
        clock_gettime(CLOCK_MONOTONIC, &b);
        double ns = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) /
                    (double)rounds;
        if (ns < best) best = ns;
    }
    return best;
}

int main(int argc, char **argv)
{
    const struct {
        const char *name;
        void (*work)(const char *, size_t);
        const char *p;
        size_t n;
    } rows[] = {
        {"wrk request, head end only", head_end, wrk, sizeof wrk - 1},
        {"wrk request", request, wrk, sizeof wrk - 1},
        {"browser request, head end only", head_end, browser, sizeof browser - 1},
        {"browser request", request, browser, sizeof browser - 1},
        {"origin response", response, answer, sizeof answer - 1},
        {"one 64-byte chunk and the last", chunked, chunks, sizeof chunks - 1},
    };
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : ROUNDS;
    long only = argc > 2 ? strtol(argv[2], NULL, 10) : -1;
    rp_arena_init(&arena, NULL, 0, 65536);
    memcpy(writable, answer, sizeof answer);
    for (size_t i = 0; i < RP_COUNT(rows); i++) {
        if (only >= 0 && only != (long)i) continue;
        printf("%-34s %4zu bytes %8.1f ns\n", rows[i].name, rows[i].n,
               best_ns(rows[i].work, rows[i].p, rows[i].n, rounds));
    }
    return sink == 0;
}
