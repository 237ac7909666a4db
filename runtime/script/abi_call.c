/* SPDX-License-Identifier: MIT
 *
 * abi_call: requests that hooks and tasks make (rp.http), over the proxy's own connections to upstreams:
 * http/up.h speaks HTTP/1 and HTTP/2, proxy/connpool.h keeps the connections, for all VMs of the
 * worker.
 *
 * WRITING (fields are added) -> FINDING (the name) -> CONNECTING -> AWAITING (its head) -> BODY ->
 * DONE, or FAILED from any. SENDING before AWAITING while a body is given piece by piece; a response
 * that comes meanwhile ends that. QUEUED instead of CONNECTING while another call makes a connection in HTTP/2
 * to the same place, which both will use. A hold: of the task and the scope that made it. A connection that was
 * reused and had been closed costs one more try, where that is no second effect (RFC 9110 §9.2.2) and
 * the body can be had again.
 */
#include "script/vm_call.h"

#include "base/hash.h"
#include "http/field.h"
#include "http/h1_up.h"
#include "http/h2_up.h"
#include "net/lab.h"
#include "proxy/connpool.h"

enum {
    MAGIC = 0x43414c4c,
    HEAD_MOST = 64 * 1024, /* of a request */
    ARENA_MOST = 512 * 1024,
    READ_BYTES = 64 * 1024,
    INTERIM_MOST = 32, /* 1xx before one response */
    WINDOW_BYTES = 256 * 1024,
    STREAMS = 100,
};

/* ---- one connection for many ---------------------------------------------------------------- */

static bool somebody_dials(const struct rp_call *c)
{
    for (const struct rp_call *it = c->host->calls; it; it = it->next)
        if (it->dials && it->slot == c->slot) return true;
    return false;
}

/* It has come about, or not: those that wait for it look again. */
static void end_dial(struct rp_call *c)
{
    if (!c->dials) return;
    c->dials = false;
    for (struct rp_call *it = c->host->calls; it; it = it->next)
        if (it->state == RP_CALL_QUEUED && it->slot == c->slot) rp_task_wake_at(&it->waiter);
}

/* How many requests it takes is known when its SETTINGS came. */
static void end_settled_dial(struct rp_call *c)
{
    if (c->dials && !rp_h2_links_are_settling(rp_connpool_links(c->slot))) end_dial(c);
}

/* ---- the connection ------------------------------------------------------------------------- */

void rp_call_drop_up(struct rp_call *c)
{
    if (!c->up) return;
    struct rp_up *u = c->up;
    struct rp_proxy *p = c->host->proxy;
    c->up = NULL;
    rp_up_bind(u, NULL, NULL);
    bool keep = c->state == RP_CALL_DONE && !p->draining && rp_up_is_reusable(u);
    if (c->to && c->to->max_requests && u->requests >= c->to->max_requests) keep = false;
    if (keep) rp_connpool_put(c->slot, u, c->keep_n, c->keep_ms);
    else rp_up_close(u);
}

void rp_call_drop_slot(struct rp_call *c)
{
    end_dial(c);
    if (c->slot) rp_connpool_drop(c->host->proxy->pool, c->slot);
    c->slot = NULL;
}

static void on_up_event(void *user, struct rp_up *u)
{
    (void)u;
    rp_task_wake_at(&((struct rp_call *)user)->waiter);
}

/* Whose connections may be used: everything that one is made with counts. */
static uint64_t pool_key(const struct rp_call *c)
{
    uint8_t id[RP_TLS_ID_BYTES];
    uint64_t key = rp_hash_mix(rp_hash_bytes(RP_STR("rp.http")) + c->mode);
    if (!c->tls) return key;
    rp_tls_client_id(c->tls, rp_str_z(c->name), id);
    return rp_hash_mix(key ^ rp_hash_bytes(rp_str_of((const char *)id, sizeof id)));
}

static bool wants_h2(const struct rp_call *c)
{
    return c->mode == RP_HTTP_2 || (c->mode == RP_HTTP_AUTO && c->tls);
}

/* What cannot be repeated takes a used connection only after a look at it. */
static struct rp_up *find_used(struct rp_call *c)
{
    bool repeatable = rp_token_method_is_idempotent(c->method) && !c->streamed;
    for (;;) {
        struct rp_up *u = NULL;
        struct rp_h2_links *links = rp_connpool_links(c->slot);
        struct rp_h2_link *k = wants_h2(c) ? rp_h2_links_find(links, false) : NULL;
        u = k ? rp_h2_link_stream(k, false) : rp_connpool_take(c->slot);
        if (!u || repeatable || rp_up_is_quiet(u)) return u;
        rp_up_close(u);
    }
}

static void offer(struct rp_call *c)
{
    static const rp_str OFFERS[] = {
        [RP_HTTP_1] = {"\x08http/1.1", 9},
        [RP_HTTP_2] = {"\x02h2", 3},
        [RP_HTTP_AUTO] = {"\x02h2\x08http/1.1", 12},
    };
    if (!c->tls) return;
    if (c->to) rp_upstream_dress(&c->pick, c->up->conn);
    else rp_conn_use_tls(c->up->conn, c->tls, rp_str_z(c->name), rp_connpool_memory(c->slot));
    rp_conn_offer(c->up->conn, OFFERS[c->mode]);
}

/* ---- failures ------------------------------------------------------------------------------- */

static rp_err tell(struct rp_call *c)
{
    return rp_vm_say_why(c->host, c->fail, c->os, c->why[0] ? c->why : NULL);
}

void rp_call_note_why(struct rp_call *c)
{
    const char *why = NULL;
    c->os = 0;
    if (c->state == RP_CALL_CONNECTING && c->up) { /* not a stream yet */
        c->os = rp_conn_face(c->up->conn)->fail.os;
        if (!c->os) why = rp_conn_why(c->up->conn);
    }
    size_t n = why ? RP_MIN(strlen(why), sizeof c->why - 1) : 0;
    if (n) memcpy(c->why, why, n);
    c->why[n] = 0;
}

rp_err rp_call_fail(struct rp_call *c, rp_err e)
{
    bool broken = c->state == RP_CALL_BODY;
    c->fail = e;
    c->state = RP_CALL_FAILED;
    rp_call_drop_up(c);
    rp_call_drop_slot(c);
    rp_call_up_leave(c, broken);
    return tell(c);
}

rp_err rp_call_wait(struct rp_call *c)
{
    rp_err e = rp_task_wait_at(c->host, &c->waiter);
    return e == RP_AGAIN ? e : rp_vm_say(c->host, e, 0);
}

/* ---- connecting ----------------------------------------------------------------------------- */

static enum rp_framing framing_of(const struct rp_call *c)
{
    if (!c->has_body) return RP_BODY_NONE;
    return c->streamed && c->length == UINT64_MAX ? RP_BODY_CHUNKED : RP_BODY_LENGTH;
}

static void send_request(struct rp_call *c)
{
    struct rp_mem *mem = c->host->proxy->mem;
    size_t n = c->body ? c->body->used : 0;
    struct rp_chain head, body;
    rp_chain_init(&head, mem);
    rp_chain_init(&body, mem);
    rp_chain_add_copy(&head, rp_buf_str(&c->head));
    rp_up_start(c->up, &head, c->method, framing_of(c), c->streamed ? c->length : n);
    if (n) {
        rp_chain_add(&body, c->body, c->body->data, n);
        /* All is taken; flushing says when it is gone, reading why it is not. */
        RP_IGNORE(rp_up_send(c->up, &body, true, NULL));
    }
    c->state = c->streamed ? RP_CALL_SENDING : RP_CALL_AWAITING;
}

/* Connected: which protocol is it? A stream takes the place of the connection. */
static rp_err settle_protocol(struct rp_call *c)
{
    struct rp_proxy *p = c->host->proxy;
    const struct rp_tls *tls = rp_conn_tls(c->up->conn);
    bool h2 = tls ? rp_str_eq(rp_tls_alpn(tls), RP_STR("h2")) : c->mode == RP_HTTP_2;
    if (RP_UNLIKELY(rp_loop_lab(p->loop) != NULL)) return RP_OK; /* no HTTP/2 in there */
    if (!h2) return c->mode == RP_HTTP_2 ? RP_E_UP_ALPN : RP_OK;
    struct rp_h2_link_settings settings = {
        .streams_n = STREAMS, .window_bytes = WINDOW_BYTES, .idle_ms = RP_MAX(c->keep_ms, 1)};
    if (c->to) { /* the connection is the upstream's, for everybody's requests */
        settings.streams_n = c->to->h2_streams;
        settings.window_bytes = (uint32_t)c->host->conf->h2_window;
        settings.requests_max = c->to->pool_max ? c->to->max_requests : 1;
    }
    struct rp_h2_links *links = rp_connpool_links(c->slot);
    struct rp_conn *conn = rp_h1_up_release(c->up);
    c->up = NULL;
    struct rp_h2_link *k = rp_h2_link_open(links, conn, p->mem, &settings, tls != NULL);
    if (!k) return RP_E_NOMEM;
    c->up = rp_h2_link_stream(k, false);
    rp_up_bind(c->up, on_up_event, c);
    return rp_up_finish_connect(c->up);
}

rp_err rp_call_connect(struct rp_call *c, bool fresh)
{
    struct rp_proxy *p = c->host->proxy;
    struct rp_conn_fail fail = {0};
    c->up = fresh ? NULL : find_used(c);
    c->reused = c->up != NULL;
    bool sure = c->mode == RP_HTTP_2 && !fresh && !c->up; /* AUTO may come out as HTTP/1 */
    if (sure && somebody_dials(c)) {
        c->state = RP_CALL_QUEUED;
        return rp_call_wait(c);
    }
    c->dials = sure;
    if (!c->up) {
        rp_err e = rp_h1_up_connect(p->loop, p->mem, rp_connpool_addr(c->slot), &c->up, &fail);
        if (e != RP_OK) {
            c->up = NULL;
            c->os = fail.os;
            return e;
        }
    }
    rp_up_bind(c->up, on_up_event, c);
    if (c->reused) {
        send_request(c);
        return RP_OK;
    }
    offer(c);
    c->state = RP_CALL_CONNECTING;
    return rp_call_wait(c);
}

static rp_err connect_next(struct rp_call *c, bool fresh)
{
    struct rp_vm_target *t = &c->target;
    c->fail = c->fail != RP_OK ? c->fail : RP_E_NOT_FOUND;
    for (; t->at < t->addrs_n; t->at++) {
        rp_call_drop_slot(c);
        c->slot = rp_connpool_hold(c->host->proxy->pool, &t->addrs[t->at], pool_key(c));
        rp_err e = rp_call_connect(c, fresh);
        if (e == RP_OK || e == RP_AGAIN || c->up) return e; /* with one: Lua was told why not */
        c->fail = e;
    }
    c->why[0] = 0;
    c->state = RP_CALL_FAILED;
    rp_call_drop_slot(c);
    return tell(c);
}

static rp_err finish_connect(struct rp_call *c)
{
    bool was_stream = rp_h2_up_is_stream(c->up);
    rp_err e = rp_up_finish_connect(c->up);
    if (e == RP_OK && !was_stream) e = settle_protocol(c);
    if (e == RP_AGAIN && c->late) e = RP_E_UP_CONNECT_TIMEOUT;
    if (e == RP_AGAIN) return rp_call_wait(c);
    if (e == RP_OK) {
        rp_call_up_connected(c);
        send_request(c);
        return RP_OK;
    }
    bool is_conn = c->up && !rp_h2_up_is_stream(c->up);
    if (is_conn) rp_call_note_why(c);
    if (c->to) return rp_call_up_failed(c, e, RP_RETRY_CONNECTING);
    if (c->target.at + 1 >= c->target.addrs_n) return rp_call_fail(c, e);
    c->fail = e;
    rp_call_drop_up(c);
    c->target.at++;
    return connect_next(c, false);
}

/* ---- response ------------------------------------------------------------------------------- */

static void reset_response(struct rp_call *c)
{
    rp_chunk_drop(c->chunk);
    c->chunk = NULL;
    rp_msg_init(&c->res, c->fields, RP_CALL_FIELDS, c->host->proxy->up_limits.fields_n);
}

/* RP_AGAIN: another try is under way. */
static rp_err no_head(struct rp_call *c, rp_err e)
{
    if (c->to)
        return rp_call_up_failed(
            c, e, e == RP_E_UP_FIRST_BYTE_TIMEOUT ? RP_RETRY_LATE : RP_RETRY_AWAITING);
    bool again = rp_up_is_unprocessed(c->up) ||
                 (c->reused && !rp_up_has_answer(c->up) && e != RP_E_UP_BAD_RESPONSE &&
                  rp_token_method_is_idempotent(c->method));
    if (!again || c->retried || c->streamed) return rp_call_fail(c, e);
    c->retried = true;
    rp_call_drop_up(c);
    return connect_next(c, true);
}

/* RP_AGAIN: there is none yet, and nobody waits. */
static rp_err take_head(struct rp_call *c)
{
    struct rp_proxy *p = c->host->proxy;
    for (;;) {
        rp_err e = rp_up_read_head(c->up, &p->up_limits, &c->arena, &c->res, &c->chunk);
        if (e == RP_AGAIN && c->late) return no_head(c, RP_E_UP_FIRST_BYTE_TIMEOUT);
        if (e == RP_AGAIN) return e;
        if (e != RP_OK) return no_head(c, e);
        if (c->res.status >= 200) break;
        if (c->res.status == 101 || ++c->interim_n > INTERIM_MOST)
            return rp_call_fail(c, RP_E_UP_BAD_RESPONSE);
        reset_response(c);
    }
    c->state = RP_CALL_BODY;
    rp_call_up_answered(c);
    return RP_OK;
}

static rp_err read_head(struct rp_call *c)
{
    end_settled_dial(c);
    RP_IGNORE(rp_up_flush(c->up)); /* a response, if any, tells more than its failure */
    rp_err e = take_head(c);
    bool waits = e == RP_AGAIN && c->state == RP_CALL_AWAITING; /* else another try waits already */
    return waits ? rp_call_wait(c) : e;
}

/* ---- a body by pieces ----------------------------------------------------------------------- */

/* May a piece follow? RP_END: no, there is a response, or the connection takes no more: what comes of
 * it is read like any head. */
static rp_err has_room(struct rp_call *c)
{
    end_settled_dial(c);
    rp_err e = rp_up_flush(c->up);
    rp_err head = take_head(c);
    if (head != RP_AGAIN) return head == RP_OK ? RP_END : head;
    if (e == RP_AGAIN) return rp_call_wait(c);
    if (e == RP_OK) return e;
    c->state = RP_CALL_AWAITING;
    return RP_END;
}

/* ---- for Lua -------------------------------------------------------------------------------- */

static void let_go(struct rp_hold *hold)
{
    struct rp_call *c = RP_CONTAINER(rp_call, hold, hold);
    rp_vm_target_stop(&c->target);
    rp_task_wake_at(&c->waiter); /* it is told that it is closed */
    rp_call_drop_up(c);
    rp_call_drop_slot(c);
    rp_call_up_leave(c, false);
    if (c->prev) c->prev->next = c->next;
    else c->host->calls = c->next;
    if (c->next) c->next->prev = c->prev;
    rp_tls_client_drop(&c->tls);
    rp_chunk_drop(c->chunk);
    rp_chunk_drop(c->body);
    rp_buf_fini(&c->head);
    rp_arena_reset(&c->arena);
    c->magic = 0;
    rp_free(c);
}

static struct rp_call *find(struct rp_host_face *f, double handle)
{
    struct rp_hold *hold = rp_hold_find(rp_vm_of(f), handle, RP_HOLD_CALL);
    if (hold) return RP_AS(rp_call, RP_CONTAINER(rp_call, hold, hold), MAGIC);
    (void)rp_vm_say_why(rp_vm_of(f), RP_E_STALE, 0,
                        "the response is closed, or belongs to another request");
    return NULL;
}

/* Bytes that end no request line. */
static bool is_line_part(rp_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] <= 0x20 || (unsigned char)s.ptr[i] >= 0x7f) return false;
    return s.len > 0;
}

static rp_err begin(struct rp_call *c, rp_str method, rp_str target, rp_str host)
{
    if (!rp_field_is_name(method) || !is_line_part(target) || !is_line_part(host))
        return RP_E_INVALID;
    c->method = rp_token_method(method.ptr, method.len);
    if (c->method == RP_M_CONNECT) return RP_E_INVALID;
    rp_buf_add(&c->head, method);
    rp_buf_add_z(&c->head, " ");
    rp_buf_add(&c->head, target);
    rp_buf_add_z(&c->head, " HTTP/1.1\r\nHost: ");
    rp_buf_add(&c->head, host);
    rp_buf_add_z(&c->head, "\r\n");
    return c->head.failed ? RP_E_TOO_BIG : RP_OK;
}

double rp_abi_call_new(struct rp_host_face *f, const char *method, size_t method_n,
                       const char *target, size_t target_n, const char *host, size_t host_n)
{
    struct rp_host *h = rp_vm_of(f);
    if (!h->current || !h->proxy) return RP_E_PHASE;
    struct rp_call *c = rp_alloc(sizeof *c);
    c->magic = MAGIC;
    c->host = h;
    rp_buf_init(&c->head, HEAD_MOST);
    rp_arena_init(&c->arena, c->arena_first, RP_CALL_ARENA_BYTES, ARENA_MOST);
    reset_response(c);
    c->next = h->calls;
    if (c->next) c->next->prev = c;
    h->calls = c;
    rp_err e =
        begin(c, rp_str_of(method, method_n), rp_str_of(target, target_n), rp_str_of(host, host_n));
    if (e == RP_OK) e = rp_hold_open(h, &c->hold, RP_HOLD_CALL, let_go);
    if (e == RP_OK) return rp_hold_handle(&c->hold);
    let_go(&c->hold);
    return rp_vm_say(h, e, 0);
}

rp_err rp_abi_call_field(struct rp_host_face *f, double handle, const char *name, size_t n,
                         const char *value, size_t value_n)
{
    struct rp_call *c = find(f, handle);
    rp_str field = rp_str_of(name, n), text = rp_str_of(value, value_n);
    if (!c || c->state != RP_CALL_WRITING) return RP_E_STALE;
    if (!rp_field_is_name(field) || !rp_field_is_value(text)) return RP_E_INVALID;
    uint16_t id = rp_token_header(name, n);
    if (rp_token_header_is_hop(id) || id == RP_H_CONTENT_LENGTH || id == RP_H_HOST ||
        id == RP_H_EXPECT)
        return RP_E_BUSY;
    rp_buf_add(&c->head, field);
    rp_buf_add_z(&c->head, ": ");
    rp_buf_add(&c->head, text);
    rp_buf_add_z(&c->head, "\r\n");
    return c->head.failed ? RP_E_TOO_BIG : RP_OK;
}

rp_err rp_abi_call_body(struct rp_host_face *f, double handle, const char *p, size_t n)
{
    struct rp_call *c = find(f, handle);
    if (!c || c->state != RP_CALL_WRITING || c->has_body) return RP_E_STALE;
    if (n >= UINT32_MAX) return RP_E_TOO_BIG;
    c->has_body = true;
    rp_buf_addf(&c->head, "Content-Length: %zu\r\n", n);
    if (n == 0) return RP_OK;
    c->body = rp_chunk_new(c->host->proxy->mem, n);
    memcpy(c->body->data, p, n);
    c->body->used = (uint32_t)n;
    return RP_OK;
}

rp_err rp_abi_call_stream(struct rp_host_face *f, double handle, double length)
{
    struct rp_call *c = find(f, handle);
    if (!c || c->state != RP_CALL_WRITING || c->has_body) return RP_E_STALE;
    if (length > 9007199254740992.0) return RP_E_TOO_BIG;
    c->has_body = c->streamed = true;
    c->length = length >= 0 ? (uint64_t)length : UINT64_MAX;
    if (length >= 0) rp_buf_addf(&c->head, "Content-Length: %llu\r\n", (unsigned long long)length);
    else rp_buf_add_z(&c->head, "Transfer-Encoding: chunked\r\n");
    return RP_OK;
}

rp_err rp_abi_call_start(struct rp_host_face *f, double handle, uint32_t mode, const char *host,
                         size_t n, uint32_t port, struct rp_tls_client *tls, const char *name,
                         size_t name_n, uint32_t keep_n, double keep_s)
{
    struct rp_call *c = find(f, handle);
    if (!c) return RP_E_STALE;
    if (c->state != RP_CALL_WRITING) return rp_vm_say(c->host, RP_E_STALE, 0);
    rp_buf_add_z(&c->head, "\r\n");
    if (c->head.failed) return rp_vm_say(c->host, RP_E_TOO_BIG, 0);
    if (mode > RP_HTTP_AUTO || name_n >= sizeof c->name) return rp_vm_say(c->host, RP_E_INVALID, 0);
    if (tls && !rp_vm_tls_has_name(tls, rp_str_of(name, name_n)))
        return rp_vm_say(c->host, RP_E_INVALID, 0);
    c->mode = (uint8_t)mode;
    c->keep_n = keep_n;
    c->keep_ms = (rp_ms)(RP_MIN(keep_s, 86400.0) * 1000);
    if (name_n) memcpy(c->name, name, name_n);
    if (tls) c->tls = rp_tls_client_hold(tls);
    c->state = RP_CALL_FINDING;
    rp_err e = rp_vm_target_find(&c->target, c->host, rp_str_of(host, n), port, &c->waiter);
    return e == RP_OK ? e : rp_call_fail(c, e);
}

rp_err rp_abi_call_start_up(struct rp_host_face *f, double handle, const char *upstream, size_t n)
{
    struct rp_call *c = find(f, handle);
    if (!c) return RP_E_STALE;
    if (c->state != RP_CALL_WRITING) return rp_vm_say(c->host, RP_E_STALE, 0);
    rp_buf_add_z(&c->head, "\r\n");
    if (c->head.failed) return rp_vm_say(c->host, RP_E_TOO_BIG, 0);
    rp_err e = rp_call_up_begin(c, rp_str_of(upstream, n));
    c->state = RP_CALL_FINDING;
    return e == RP_OK ? e : rp_call_fail(c, e);
}

/* On the way to a connection. */
static rp_err go_on(struct rp_call *c)
{
    if (c->state == RP_CALL_QUEUED && c->to) return rp_call_up_again(c);
    if (c->state == RP_CALL_QUEUED) return connect_next(c, false);
    if (c->state == RP_CALL_CONNECTING) return finish_connect(c);
    if (c->to) return rp_call_up_next(c);        /* FINDING */
    if (c->target.query) return rp_call_wait(c); /* RP_CALL_FINDING */
    return c->target.status == RP_OK ? connect_next(c, false) : rp_call_fail(c, c->target.status);
}

rp_err rp_abi_call_head(struct rp_host_face *f, double handle)
{
    struct rp_call *c = find(f, handle);
    rp_err e = RP_OK;
    if (!c) return RP_E_STALE;
    while (e == RP_OK) {
        switch (c->state) {
        case RP_CALL_WRITING:
        case RP_CALL_SENDING: return rp_vm_say(c->host, RP_E_STALE, 0);
        case RP_CALL_FINDING:
        case RP_CALL_QUEUED:
        case RP_CALL_CONNECTING: e = go_on(c); break;
        case RP_CALL_AWAITING: e = read_head(c); break;
        case RP_CALL_BODY:
        case RP_CALL_DONE: return RP_OK;
        case RP_CALL_FAILED: return tell(c);
        }
    }
    return e;
}

rp_err rp_abi_call_ready(struct rp_host_face *f, double handle)
{
    struct rp_call *c = find(f, handle);
    rp_err e = RP_OK;
    if (!c) return RP_E_STALE;
    while (e == RP_OK && (c->state == RP_CALL_FINDING || c->state == RP_CALL_QUEUED ||
                          c->state == RP_CALL_CONNECTING))
        e = go_on(c);
    if (e != RP_OK) return e;
    if (c->state == RP_CALL_SENDING) return has_room(c);
    return c->state == RP_CALL_FAILED ? tell(c) : rp_vm_say(c->host, RP_E_STALE, 0);
}

rp_err rp_abi_call_send(struct rp_host_face *f, double handle, const char *p, size_t n, bool last)
{
    struct rp_call *c = find(f, handle);
    if (!c) return RP_E_STALE;
    if (c->state != RP_CALL_SENDING) return rp_vm_say(c->host, RP_E_STALE, 0);
    struct rp_chain piece;
    rp_chain_init(&piece, c->host->proxy->mem);
    rp_chain_add_copy(&piece, rp_str_of(p, n));
    if (n == 0 && !last) return RP_OK; /* it would be the last chunk */
    rp_err e = rp_up_send(c->up, &piece, last, NULL);
    rp_chain_clear(&piece);
    if (e < 0) return rp_call_fail(c, e); /* it is not as long as was said */
    if (last) c->state = RP_CALL_AWAITING;
    return RP_OK;
}

const struct rp_msg *rp_abi_call_msg(struct rp_host_face *f, double handle, bool trailers)
{
    const struct rp_call *c = find(f, handle);
    if (!c || (c->state != RP_CALL_BODY && c->state != RP_CALL_DONE)) return NULL;
    return trailers ? c->trailers : &c->res;
}

/* The bytes in one piece: in h->text, unless they are one already. */
static rp_str in_one(struct rp_host *h, const struct rp_chain *in)
{
    rp_buf_clear(&h->text);
    for (const struct rp_piece *it = in->head; it; it = it->next)
        rp_buf_add(&h->text, rp_str_of(it->ptr, it->len));
    return rp_buf_str(&h->text);
}

rp_err rp_abi_call_read(struct rp_host_face *f, double handle)
{
    struct rp_call *c = find(f, handle);
    if (!c) return RP_E_STALE;
    struct rp_host *h = c->host;
    if (c->state == RP_CALL_DONE) return RP_END;
    if (c->state != RP_CALL_BODY)
        return c->state == RP_CALL_FAILED ? tell(c) : rp_vm_say(h, RP_E_STALE, 0);
    struct rp_chain got;
    rp_chain_init(&got, h->proxy->mem);
    RP_IGNORE(rp_up_flush(c->up)); /* the rest of a body that is answered already */
    rp_err e = rp_up_read(c->up, &got, READ_BYTES, &c->arena, &c->trailers);
    if (e < 0) {
        rp_chain_clear(&got);
        return rp_call_fail(c, e);
    }
    bool some = got.bytes > 0;
    if (some) f->out = in_one(h, &got);
    rp_chain_clear(&got);
    if (e == RP_AGAIN) return rp_call_wait(c);
    if (e == RP_END) {
        c->state = RP_CALL_DONE;
        rp_call_drop_up(c); /* for the next one at once */
        rp_call_up_leave(c, false);
    }
    return some ? RP_OK : e; /* an end that came with bytes is told by the next call */
}

void rp_abi_call_close(struct rp_host_face *f, double handle)
{
    struct rp_call *c = find(f, handle);
    if (c) rp_hold_close(&c->hold);
}
