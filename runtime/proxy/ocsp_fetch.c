/* SPDX-License-Identifier: MIT
 *
 * ocsp_fetch: see ocsp_fetch.h.
 *
 * States: a name is resolved (query), then a connection opens (up, not connected), then the request
 * goes out and the answer comes (connected). Addresses are tried one after the other.
 */
#include "proxy/ocsp_fetch.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/mem.h"
#include "http/h1_up.h"
#include "net/timer.h"
#include "net/tls_staple.h"

enum {
    MAGIC = 0x4f435350,
    LIMIT_MS = 10000, /* for all of it */
    ADDRS = 4,        /* that are tried */
    ARENA_BYTES = 32 * 1024,
    HEAD_BYTES = 8 * 1024,
    FIELDS = 64,
    INTERIM_MOST = 8, /* 1xx answers in front of the one that counts */
    WHY_BYTES = 160,
};

struct rp_ocsp_fetch {
    uint32_t magic;
    bool connected, answered;
    uint8_t interim_n;
    struct rp_loop *loop;
    struct rp_dns_query *query;
    struct rp_addr addrs[ADDRS];
    uint32_t addrs_n, at;
    uint16_t port;
    struct rp_up *up;
    struct rp_timer timer;
    struct rp_arena arena; /* the head of the answer */
    struct rp_chain body;
    char *head, *request; /* what is posted */
    size_t head_n, request_n;
    rp_ocsp_fetch_fn fn;
    void *arg;
    char why[WHY_BYTES];
};

/* ---- ends ---------------------------------------------------------------------------------- */

static void drop_up(struct rp_ocsp_fetch *f)
{
    if (f->up) rp_up_close(f->up);
    f->up = NULL;
}

void rp_ocsp_fetch_cancel(struct rp_ocsp_fetch **where)
{
    struct rp_ocsp_fetch *f = *where;
    *where = NULL;
    if (!f) return;
    rp_timer_clear(f->loop, &f->timer);
    if (f->query) rp_dns_cancel(f->query);
    drop_up(f);
    rp_chain_clear(&f->body);
    rp_arena_reset(&f->arena);
    rp_free(f->head);
    rp_free(f->request);
    f->magic = 0;
    rp_free(f);
}

static void finish(struct rp_ocsp_fetch *f, rp_str body)
{
    rp_ocsp_fetch_fn fn = f->fn;
    void *arg = f->arg;
    char why[WHY_BYTES];
    memcpy(why, f->why, sizeof why);
    rp_ocsp_fetch_cancel(&f);
    fn(arg, body, why);
}

static void fail(struct rp_ocsp_fetch *f, const char *why)
{
    snprintf(f->why, sizeof f->why, "%s", why);
    finish(f, RP_STR_NONE);
}

static void on_timer(struct rp_timer *t)
{
    struct rp_ocsp_fetch *f = RP_CONTAINER(rp_ocsp_fetch, timer, t);
    if (f->why[0]) finish(f, RP_STR_NONE); /* it could not even begin */
    else fail(f, f->connected ? "the responder does not answer" : "the responder is not reached");
}

/* ---- the answer ---------------------------------------------------------------------------- */

static void take_body(struct rp_ocsp_fetch *f)
{
    size_t n = f->body.bytes;
    char *flat = rp_alloc(n + 1);
    rp_chain_peek(&f->body, flat, n);
    if (n == 0) snprintf(f->why, sizeof f->why, "the responder's answer is empty");
    finish(f, rp_str_of(flat, n));
    rp_free(flat);
}

/* RP_AGAIN, or the end of the answer in one way or the other. */
static void read_body(struct rp_ocsp_fetch *f)
{
    rp_err e = RP_OK;
    while (e == RP_OK && f->body.bytes <= RP_TLS_STAPLE_MOST) {
        struct rp_msg *trailers = NULL;
        e = rp_up_read(f->up, &f->body, RP_TLS_STAPLE_MOST + 1 - f->body.bytes, &f->arena,
                       &trailers);
    }
    if (f->body.bytes > RP_TLS_STAPLE_MOST) fail(f, "the responder's answer is larger than 16 KB");
    else if (e == RP_END) take_body(f);
    else if (e != RP_AGAIN) fail(f, rp_err_text(e));
}

/* ret   RP_OK: the head is read, and it is a 200; RP_AGAIN; else f->why says what is wrong */
static rp_err read_head(struct rp_ocsp_fetch *f)
{
    static const struct rp_h1_limits limits = {
        .head_bytes = HEAD_BYTES, .uri_bytes = HEAD_BYTES, .fields_n = FIELDS};
    while (f->interim_n++ < INTERIM_MOST) {
        struct rp_msg m;
        struct rp_chunk *chunk = NULL;
        rp_arena_reset(&f->arena);
        rp_msg_init(&m, NULL, 0, FIELDS);
        rp_err e = rp_up_read_head(f->up, &limits, &f->arena, &m, &chunk);
        rp_chunk_drop(chunk);
        if (e == RP_AGAIN) f->interim_n--;
        if (e == RP_AGAIN) return e;
        snprintf(f->why, sizeof f->why, "%s", rp_err_text(e));
        if (e != RP_OK) return e;
        snprintf(f->why, sizeof f->why, "the responder answers %u", m.status);
        if (m.status == 200) f->why[0] = '\0';
        if (m.status >= 200 || m.status == 101) return m.status == 200 ? RP_OK : RP_E_INVALID;
    }
    return RP_E_INVALID;
}

static void talk(struct rp_ocsp_fetch *f)
{
    rp_err e = rp_up_flush(f->up);
    if (e != RP_OK && e != RP_AGAIN && !rp_up_has_answer(f->up)) {
        fail(f, rp_err_text(e));
        return;
    }
    if (!f->answered) {
        e = read_head(f);
        if (e == RP_AGAIN) return;
        if (e != RP_OK) {
            finish(f, RP_STR_NONE);
            return;
        }
        f->answered = true;
    }
    read_body(f);
}

/* ---- the way there ------------------------------------------------------------------------- */

static void begin(struct rp_ocsp_fetch *f)
{
    struct rp_chain out;
    rp_chain_init(&out, rp_loop_mem(f->loop));
    rp_chain_add_copy(&out, rp_str_of(f->head, f->head_n));
    rp_up_start(f->up, &out, RP_M_POST, RP_BODY_LENGTH, f->request_n);
    rp_chain_add_copy(&out, rp_str_of(f->request, f->request_n));
    rp_err sent = rp_up_send(f->up, &out, true, NULL);
    RP_CHECK(sent == RP_OK); /* it has the announced length, and is short */
    rp_chain_clear(&out);
    f->connected = true;
    talk(f);
}

static void connect_next(struct rp_ocsp_fetch *f);

static void on_up(void *user, struct rp_up *u)
{
    struct rp_ocsp_fetch *f = RP_AS(rp_ocsp_fetch, user, MAGIC);
    (void)u;
    if (f->connected) {
        talk(f);
        return;
    }
    rp_err e = rp_up_finish_connect(f->up);
    if (e == RP_AGAIN) return;
    if (e == RP_OK) {
        begin(f);
        return;
    }
    drop_up(f);
    connect_next(f);
}

static void connect_next(struct rp_ocsp_fetch *f)
{
    while (f->at < f->addrs_n) {
        struct rp_conn_fail none = {0};
        struct rp_addr *to = &f->addrs[f->at++];
        to->port = f->port;
        if (rp_h1_up_connect(f->loop, rp_loop_mem(f->loop), to, &f->up, &none) == RP_OK) {
            rp_up_bind(f->up, on_up, f);
            return;
        }
        f->up = NULL;
    }
    fail(f, "the responder cannot be connected to");
}

static void on_answer(void *arg, const struct rp_dns_answer *a)
{
    struct rp_ocsp_fetch *f = RP_AS(rp_ocsp_fetch, arg, MAGIC);
    f->query = NULL;
    if (a->status != RP_OK || a->addrs_n == 0) {
        fail(f, "the responder's name cannot be resolved");
        return;
    }
    f->addrs_n = (uint32_t)RP_MIN(a->addrs_n, (size_t)ADDRS);
    memcpy(f->addrs, a->addrs, f->addrs_n * sizeof *f->addrs);
    connect_next(f);
}

static void put_head(struct rp_ocsp_fetch *f, const struct rp_uri *uri)
{
    struct rp_buf out;
    rp_buf_init(&out, HEAD_BYTES);
    rp_buf_addf(
        &out,
        "POST %.*s%s%.*s HTTP/1.1\r\nHost: %.*s\r\nContent-Type: application/ocsp-request\r\n"
        "Accept: application/ocsp-response\r\nContent-Length: %zu\r\n"
        "Connection: close\r\n\r\n",
        RP_STR_ARG(uri->raw_path), uri->has_query ? "?" : "", RP_STR_ARG(uri->query),
        RP_STR_ARG(uri->authority), f->request_n);
    f->head_n = out.len;
    f->head = rp_strdup_n(out.ptr, out.len);
    rp_buf_fini(&out);
}

/* False: it is no URL that we can ask. */
static bool start(struct rp_ocsp_fetch *f, struct rp_dns *dns, rp_str url)
{
    struct rp_uri uri;
    if (rp_uri_parse_target(url, RP_M_POST, &uri) != RP_OK || uri.form != RP_URI_ABSOLUTE ||
        !rp_str_ieq(uri.scheme, RP_STR("http")))
        return false;
    f->port = uri.port ? uri.port : 80;
    put_head(f, &uri);
    rp_str host = uri.host;
    if (host.len > 2 && host.ptr[0] == '[') host = rp_str_of(host.ptr + 1, host.len - 2);
    return rp_dns_resolve(dns, host, on_answer, f, &f->query) == RP_OK;
}

struct rp_ocsp_fetch *rp_ocsp_fetch_start(struct rp_loop *l, struct rp_dns *dns, rp_str url,
                                          rp_str request, rp_ocsp_fetch_fn fn, void *arg)
{
    struct rp_ocsp_fetch *f = rp_alloc(sizeof *f);
    f->magic = MAGIC;
    f->loop = l;
    f->fn = fn;
    f->arg = arg;
    f->request = rp_strdup_n(request.ptr, request.len);
    f->request_n = request.len;
    rp_arena_init(&f->arena, NULL, 0, ARENA_BYTES);
    rp_chain_init(&f->body, rp_loop_mem(l));
    rp_timer_init(&f->timer, on_timer);
    rp_timer_set(l, &f->timer, LIMIT_MS);
    if (start(f, dns, url)) return f;
    snprintf(f->why, sizeof f->why, "the responder's address is malformed");
    rp_timer_set(l, &f->timer, 0);
    return f;
}
