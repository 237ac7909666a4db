/* SPDX-License-Identifier: MIT
 *
 * h2_down: see h2_down.h. The session; its streams are in h2_stream.c.
 *
 * Invariants: 1 the session outlives its exchanges: it is freed only in run_flush, which is never
 * inside a callback of nghttp2. 2 nghttp2 is entered from two places only: take (bytes in) and
 * rp_h2_serialise (bytes out); its callbacks record and wake. 3 frames of one tick leave in one
 * write.
 */
#include "http/h2_stream.h"

#include "base/log.h"

enum {
    READ_TURNS = 4,             /* then others get theirs */
    OUT_HIGH = 256 * 1024,      /* bytes in frames that wait for the socket */
    UNREAD_HIGH = 1024 * 1024,  /* content that waits to be read, all streams */
    WINDOW_MOST = 16 * 1024 * 1024, /* of a connection */
    FIELDS_TABLE_BYTES = 4096,  /* HPACK, each way: nghttp2's and RFC 9113's default */
    NOTICE_MS = 1000,           /* between the two GOAWAY of a drain */
    LINGER_BYTES = 1 << 20,
    HEADS_MOST = 32,            /* CONTINUATION frames of one head */
};

/* ---- the end ------------------------------------------------------------------------------- */

static void destroy(struct rp_h2_down *s)
{
    struct rp_h2_downs *all = s->all;
    struct rp_conn *c = s->conn;
    bool gently = !s->dead && !s->in_over;
    rp_timer_clear(rp_conn_loop(c), &s->timer);
    rp_timer_clear(rp_conn_loop(c), &s->linger);
    rp_loop_undefer(rp_conn_loop(c), &s->flush);
    nghttp2_session_del(s->ng); /* calls nothing back */
    while (s->streams) rp_h2_stream_free(s->streams);
    rp_chain_clear(&s->out);
    if (s->prev) s->prev->next = s->next;
    else all->first = s->next;
    if (s->next) s->next->prev = s->prev;
    all->n--;
    s->magic = 0;
    rp_free(s);
    if (gently) rp_conn_linger(c, all->common->linger_ms, LINGER_BYTES);
    else rp_conn_close(c);
}

/* The client is gone, or will be: every request hears of it. */
static void die(struct rp_h2_down *s)
{
    if (s->dead) return;
    s->dead = true;
    rp_chain_clear(&s->out);
    rp_conn_pause(s->conn);
    for (struct rp_h2_stream *st = s->streams; st; st = st->next) rp_h2_stream_abort(st);
    rp_h2_session_flush_later(s);
}

static void terminate(struct rp_h2_down *s, uint32_t code)
{
    if (s->dead) return;
    if (nghttp2_session_terminate_session(s->ng, code) != 0) die(s);
    rp_h2_session_flush_later(s);
}

void rp_h2_session_nuisance(struct rp_h2_down *s, enum rp_h2_nuisance kind)
{
    char client[RP_ADDR_TEXT_BYTES + 1];
    struct rp_addr peer;
    if (s->calmed || rp_h2_budget_take(&s->budget, kind, rp_loop_now(rp_conn_loop(s->conn)))) {
        return;
    }
    s->calmed = true;
    s->all->counts->calmed++;
    rp_conn_peer(s->conn, &peer);
    client[rp_addr_put(&peer, client)] = '\0';
    rp_log(warn, "HTTP/2 connection ended: too many frames of a kind kind=%s client=%s",
           rp_h2_nuisance_name(kind), client);
    terminate(s, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* No new streams; those that run go on. */
static void say_goaway(struct rp_h2_down *s)
{
    if (s->going == RP_H2_GONE || s->dead) return;
    s->going = RP_H2_GONE;
    int32_t last = nghttp2_session_get_last_proc_stream_id(s->ng);
    if (nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) != 0) {
        die(s);
    }
    rp_h2_session_flush_later(s);
}

/* RFC 9113 §6.8: first say that the end is near, so that requests under way to us are not lost. */
static void say_notice(struct rp_h2_down *s)
{
    if (s->going != RP_H2_STAYS || s->dead) return;
    s->going = RP_H2_NOTICED;
    if (nghttp2_submit_shutdown_notice(s->ng) != 0) die(s);
    rp_timer_set(rp_conn_loop(s->conn), &s->timer, NOTICE_MS);
    rp_h2_session_flush_later(s);
}

void rp_h2_session_live(struct rp_h2_down *s, int change)
{
    const struct rp_h1_settings *c = s->all->common;
    s->live_n += (uint32_t)change;
    if (s->dead || s->going == RP_H2_NOTICED) return;
    if (s->live_n > 0) {
        rp_timer_clear(rp_conn_loop(s->conn), &s->timer);
        if (c->requests_max && s->requests >= c->requests_max) say_notice(s);
    } else if (s->going == RP_H2_STAYS) {
        rp_timer_set(rp_conn_loop(s->conn), &s->timer, c->keepalive_ms);
    }
}

/* ---- bytes out --------------------------------------------------------------------------------- */

bool rp_h2_session_is_full(const struct rp_h2_down *s)
{
    return s->out.bytes >= OUT_HIGH;
}

void rp_h2_serialise(struct rp_h2_down *s)
{
    while (!s->dead && !rp_h2_session_is_full(s)) {
        const uint8_t *frame;
        ssize_t n = nghttp2_session_mem_send(s->ng, &frame);
        if (n < 0) die(s); /* out of memory: nothing else is fatal here */
        if (n <= 0) return;
        rp_chain_add_copy(&s->out, rp_str_of((const char *)frame, (size_t)n));
    }
}

void rp_h2_session_flush_later(struct rp_h2_down *s)
{
    rp_loop_defer(rp_conn_loop(s->conn), &s->flush);
}

/* Frames to the socket. False: it takes nothing more now. */
static bool send_frames(struct rp_h2_down *s)
{
    if (s->out.bytes == 0) return true;
    rp_err e = rp_conn_send(s->conn, &s->out);
    if (e < 0) die(s);
    return e == RP_OK;
}

/* A client that makes us speak and does not listen: we do not listen, either. */
static void hold_or_go_on(struct rp_h2_down *s)
{
    bool hold = rp_h2_session_is_full(s);
    if (s->dead || hold == s->held) return;
    s->held = hold;
    if (hold) rp_conn_pause(s->conn);
    else rp_conn_resume(s->conn);
}

static void run_flush(struct rp_defer *d)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, flush, d);
    do rp_h2_serialise(s);
    while (!s->dead && s->out.bytes > 0 && send_frames(s));
    hold_or_go_on(s);
    bool through = s->dead || (!nghttp2_session_want_read(s->ng) &&
                               !nghttp2_session_want_write(s->ng) && s->out.bytes == 0);
    if (s->in_over && s->live_n == 0) through = true;
    if (through && s->live_n == 0) destroy(s);
    else if (through && !s->dead) die(s); /* GOAWAY is out: their streams are closed */
}

/* ---- bytes in ---------------------------------------------------------------------------------- */

static void take(struct rp_h2_down *s, struct rp_chunk *chunk, rp_str bytes)
{
    s->in_chunk = chunk;
    ssize_t n = nghttp2_session_mem_recv(s->ng, (const uint8_t *)bytes.ptr, bytes.len);
    s->in_chunk = NULL;
    if (n < 0) { /* no client of HTTP/2, or one that floods nghttp2's own bounds */
        rp_h2_serialise(s);
        (void)send_frames(s); /* its GOAWAY, if it still takes one */
        die(s);
    }
    rp_h2_session_flush_later(s);
}

/* The connection's window opens again when the streams' unread content is no danger. */
void rp_h2_session_consume(struct rp_h2_down *s)
{
    if (s->dead || s->unread > UNREAD_HIGH || s->owed == 0) return;
    if (nghttp2_session_consume_connection(s->ng, s->owed) != 0) die(s);
    s->owed = 0;
    rp_h2_session_flush_later(s);
}

static void on_end(struct rp_h2_down *s, rp_err e)
{
    s->in_over = true;
    if (e == RP_END && s->live_n == 0) rp_h2_session_flush_later(s);
    else die(s);
}

static void on_readable(struct rp_h2_down *s)
{
    struct rp_chunk *chunk = NULL;
    for (int turn = 0; turn < READ_TURNS && !s->dead && !s->held; turn++) {
        size_t got;
        if (chunk && chunk->refs > 1) { /* content of streams lies there */
            rp_chunk_drop(chunk);
            chunk = NULL;
        }
        if (!chunk) chunk = rp_chunk_new(s->all->mem, s->large ? RP_CHUNK_LARGE : RP_CHUNK_SMALL);
        rp_err e = rp_conn_recv(s->conn, chunk->data, chunk->room, &got);
        if (e == RP_AGAIN) break;
        if (e != RP_OK) {
            on_end(s, e);
            break;
        }
        s->large = got == chunk->room;
        take(s, chunk, rp_str_of(chunk->data, got));
        if (got < chunk->room) break;
    }
    rp_chunk_drop(chunk);
}

static void on_conn_event(struct rp_conn *c, unsigned events)
{
    struct rp_h2_down *s = RP_AS(rp_h2_down, rp_conn_face(c)->owner, RP_H2_DOWN_MAGIC);
    if (s->dead) return;
    if (events & RP_CONN_WRITABLE) rp_h2_session_flush_later(s);
    if (events & RP_CONN_READABLE) on_readable(s);
}

/* ---- time -------------------------------------------------------------------------------------- */

static void on_timer(struct rp_timer *t)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, timer, t);
    if (s->going == RP_H2_NOTICED) {
        say_goaway(s);
        return;
    }
    if (s->opening) rp_h2_stream_head_late(s->opening);
    terminate(s, NGHTTP2_NO_ERROR);
    if (s->live_n == 0 && s->out.bytes > 0) die(s); /* it does not even take what it was sent */
}

static void on_linger(struct rp_timer *t)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, linger, t);
    bool more = false;
    for (struct rp_h2_stream *st = s->streams; st; st = st->next) more |= rp_h2_stream_linger(st);
    if (more) rp_timer_set(rp_conn_loop(s->conn), &s->linger, s->all->common->linger_ms);
    rp_h2_session_flush_later(s);
}

void rp_h2_session_linger(struct rp_h2_down *s)
{
    if (s->dead || rp_timer_is_armed(&s->linger)) return;
    rp_timer_set(rp_conn_loop(s->conn), &s->linger, s->all->common->linger_ms);
}

void rp_h2_session_head_timer(struct rp_h2_down *s)
{
    if (s->going == RP_H2_NOTICED) return;
    rp_timer_set(rp_conn_loop(s->conn), &s->timer, s->all->common->head_ms);
}

/* ---- birth ------------------------------------------------------------------------------------- */

static int submit_settings(struct rp_h2_down *s)
{
    const struct rp_h2_settings *c = &s->all->settings;
    const nghttp2_settings_entry list[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->streams_n},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, c->window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, s->all->common->limits.head_bytes},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1}, /* RFC 8441 */
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},   /* RFC 9218 */
    };
    int e = nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, list, RP_COUNT(list));
    uint64_t whole = RP_MIN((uint64_t)c->window_bytes * c->streams_n, (uint64_t)WINDOW_MOST);
    if (e != 0) return e;
    return nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, 0,
                                                 (int32_t)RP_MAX(whole, (uint64_t)65535));
}

void rp_h2_down_open(struct rp_h2_downs *all, struct rp_conn *conn, void *listener,
                     uint64_t conn_id, struct rp_chunk *chunk, rp_str first)
{
    struct rp_h2_down *s = rp_alloc(sizeof(*s));
    s->magic = RP_H2_DOWN_MAGIC;
    s->all = all;
    s->conn = conn;
    s->listener = listener;
    s->conn_id = conn_id;
    s->flush.run = run_flush;
    rp_chain_init(&s->out, all->mem);
    rp_timer_init(&s->timer, on_timer);
    rp_timer_init(&s->linger, on_linger);
    s->next = all->first;
    if (s->next) s->next->prev = s;
    all->first = s;
    all->n++;
    all->counts->sessions++;
    rp_conn_face(conn)->owner = s;
    rp_conn_face(conn)->on_event = on_conn_event;
    RP_CHECK(nghttp2_session_server_new2(&s->ng, all->callbacks, s, all->option) == 0); /* memory */
    rp_h2_session_head_timer(s);
    if (submit_settings(s) != 0) die(s);
    else if (first.len > 0) take(s, chunk, first);
    rp_h2_session_flush_later(s);
}

void rp_h2_downs_init(struct rp_h2_downs *all, struct rp_mem *mem,
                      const struct rp_h1_settings *common, const struct rp_exchange_user *user,
                      struct rp_h2_counts *counts)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    all->mem = mem;
    all->common = common;
    all->user = user;
    all->counts = counts;
    RP_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
    rp_h2_stream_callbacks(callbacks);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, FIELDS_TABLE_BYTES);
    nghttp2_option_set_max_continuations(option, HEADS_MOST);
    nghttp2_option_set_stream_reset_rate_limit(option, UINT32_MAX, UINT32_MAX); /* h2_budget's */
    nghttp2_option_set_builtin_recv_extension_type(option, NGHTTP2_PRIORITY_UPDATE);
    all->callbacks = callbacks;
    all->option = option;
}

void rp_h2_downs_fini(struct rp_h2_downs *all)
{
    if (!all->callbacks) return;
    RP_CHECK(all->n == 0);
    nghttp2_session_callbacks_del(all->callbacks);
    nghttp2_option_del(all->option);
    all->callbacks = all->option = NULL;
}

void rp_h2_downs_drain(struct rp_h2_downs *all)
{
    for (struct rp_h2_down *s = all->first; s; s = s->next) {
        if (s->live_n == 0) terminate(s, NGHTTP2_NO_ERROR);
        else say_notice(s);
    }
}
