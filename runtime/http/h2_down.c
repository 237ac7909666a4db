/* SPDX-License-Identifier: MIT
 *
 * h2_down: see h2_down.h. The session; its streams are in h2_stream.c.
 *
 * Invariant: the session outlives its exchanges: it is freed only in on_flushed.
 */
#include "http/h2_stream.h"

#include "base/log.h"

enum {
    NOTICE_MS = 1000, /* between the two GOAWAY of a drain */
    LINGER_BYTES = 1 << 20,
};

static struct rp_loop *loop_of(const struct rp_h2_down *s)
{
    return rp_conn_loop(s->io.conn);
}

/* ---- the end ------------------------------------------------------------------------------- */

static void destroy(struct rp_h2_down *s)
{
    struct rp_h2_downs *all = s->all;
    bool gently = !s->io.dead && !s->io.in_over;
    rp_timer_clear(loop_of(s), &s->timer);
    rp_timer_clear(loop_of(s), &s->linger);
    struct rp_conn *c = rp_h2_io_release(&s->io);
    while (s->streams) rp_h2_stream_free(s->streams);
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
static void on_died(struct rp_h2_io *io)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, io, io);
    for (struct rp_h2_stream *st = s->streams; st; st = st->next) rp_h2_stream_abort(st);
}

/* As in HTTP/1: a client that has said its end while it waits is gone (decision 0004). */
static void on_ended(struct rp_h2_io *io)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, io, io);
    if (s->live_n == 0) rp_h2_io_flush_later(io);
    else rp_h2_io_die(io);
}

static void on_flushed(struct rp_h2_io *io, bool through)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, io, io);
    if (io->in_over) through = true;
    if (through && s->live_n == 0) destroy(s);
    else if (through) rp_h2_io_die(io); /* GOAWAY is out: their streams are closed */
}

static const struct rp_h2_io_user IO_USER = {
    .died = on_died, .ended = on_ended, .flushed = on_flushed};

static void terminate(struct rp_h2_down *s, uint32_t code)
{
    if (s->io.dead) return;
    if (nghttp2_session_terminate_session(s->io.ng, code) != 0) rp_h2_io_die(&s->io);
    rp_h2_io_flush_later(&s->io);
}

void rp_h2_session_nuisance(struct rp_h2_down *s, enum rp_h2_nuisance kind)
{
    char client[RP_ADDR_TEXT_BYTES + 1];
    struct rp_addr peer;
    if (s->calmed || rp_h2_budget_take(&s->budget, kind, rp_loop_now(loop_of(s)))) return;
    s->calmed = true;
    s->all->counts->calmed++;
    rp_conn_peer(s->io.conn, &peer);
    client[rp_addr_put(&peer, client)] = '\0';
    rp_log(warn, "HTTP/2 connection ended: too many frames of a kind kind=%s client=%s",
           rp_h2_nuisance_name(kind), client);
    terminate(s, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* No new streams; those that run go on. */
static void say_goaway(struct rp_h2_down *s)
{
    if (s->going == RP_H2_GONE || s->io.dead) return;
    s->going = RP_H2_GONE;
    nghttp2_session *ng = s->io.ng;
    int32_t last = nghttp2_session_get_last_proc_stream_id(ng);
    if (nghttp2_submit_goaway(ng, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) != 0) {
        rp_h2_io_die(&s->io);
    }
    rp_h2_io_flush_later(&s->io);
}

/* RFC 9113 §6.8: first say that the end is near, so that requests under way to us are not lost. */
static void say_notice(struct rp_h2_down *s)
{
    if (s->going != RP_H2_STAYS || s->io.dead) return;
    s->going = RP_H2_NOTICED;
    if (nghttp2_submit_shutdown_notice(s->io.ng) != 0) rp_h2_io_die(&s->io);
    rp_timer_set(loop_of(s), &s->timer, NOTICE_MS);
    rp_h2_io_flush_later(&s->io);
}

/* ---- time ---------------------------------------------------------------------------------- */

void rp_h2_session_live(struct rp_h2_down *s, int change)
{
    const struct rp_h1_settings *c = s->all->common;
    s->live_n += (uint32_t)change;
    if (s->io.dead || s->going == RP_H2_NOTICED) return;
    if (s->live_n > 0) {
        rp_timer_clear(loop_of(s), &s->timer);
        if (c->requests_max && s->requests >= c->requests_max) say_notice(s);
    } else if (s->going == RP_H2_STAYS) {
        rp_timer_set(loop_of(s), &s->timer, c->keepalive_ms);
    }
}

static void on_timer(struct rp_timer *t)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, timer, t);
    if (s->going == RP_H2_NOTICED) {
        say_goaway(s);
        return;
    }
    if (s->opening) rp_h2_stream_head_late(s->opening);
    terminate(s, NGHTTP2_NO_ERROR);
    if (s->live_n == 0 && s->io.out.bytes > 0) rp_h2_io_die(&s->io); /* it takes nothing */
}

static void on_linger(struct rp_timer *t)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, linger, t);
    bool more = false;
    for (struct rp_h2_stream *st = s->streams; st; st = st->next) more |= rp_h2_stream_linger(st);
    if (more) rp_timer_set(loop_of(s), &s->linger, s->all->common->linger_ms);
    rp_h2_io_flush_later(&s->io);
}

void rp_h2_session_linger(struct rp_h2_down *s)
{
    if (s->io.dead || rp_timer_is_armed(&s->linger)) return;
    rp_timer_set(loop_of(s), &s->linger, s->all->common->linger_ms);
}

void rp_h2_session_head_timer(struct rp_h2_down *s)
{
    if (s->going == RP_H2_NOTICED) return;
    rp_timer_set(loop_of(s), &s->timer, s->all->common->head_ms);
}

/* ---- birth --------------------------------------------------------------------------------- */

static void on_conn_event(struct rp_conn *c, unsigned events)
{
    struct rp_h2_down *s = RP_AS(rp_h2_down, rp_conn_face(c)->owner, RP_H2_DOWN_MAGIC);
    rp_h2_io_event(&s->io, events);
}

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
    int e = nghttp2_submit_settings(s->io.ng, NGHTTP2_FLAG_NONE, list, RP_COUNT(list));
    if (e != 0) return e;
    return nghttp2_session_set_local_window_size(s->io.ng, NGHTTP2_FLAG_NONE, 0,
                                                 rp_h2_io_window(c->window_bytes, c->streams_n));
}

void rp_h2_down_open(struct rp_h2_downs *all, struct rp_conn *conn, void *listener,
                     uint64_t conn_id, struct rp_chunk *chunk, rp_str first)
{
    struct rp_h2_down *s = rp_alloc(sizeof(*s));
    s->magic = RP_H2_DOWN_MAGIC;
    s->all = all;
    s->listener = listener;
    s->conn_id = conn_id;
    rp_h2_io_init(&s->io, &IO_USER, conn, all->mem);
    rp_timer_init(&s->timer, on_timer);
    rp_timer_init(&s->linger, on_linger);
    s->next = all->first;
    if (s->next) s->next->prev = s;
    all->first = s;
    all->n++;
    all->counts->sessions++;
    rp_conn_face(conn)->owner = s;
    rp_conn_face(conn)->on_event = on_conn_event;
    RP_CHECK(nghttp2_session_server_new2(&s->io.ng, all->callbacks, s, all->option) == 0);
    rp_h2_session_head_timer(s);
    if (submit_settings(s) != 0) rp_h2_io_die(&s->io);
    else if (first.len > 0) rp_h2_io_take(&s->io, chunk, first);
    rp_h2_io_flush_later(&s->io);
}

void rp_h2_downs_init(struct rp_h2_downs *all, struct rp_mem *mem,
                      const struct rp_h1_settings *common, const struct rp_exchange_user *user,
                      struct rp_h2_counts *counts)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option = rp_h2_io_option();
    all->mem = mem;
    all->common = common;
    all->user = user;
    all->counts = counts;
    RP_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
    rp_h2_stream_callbacks(callbacks);
    /* What nghttp2 would bound by itself is h2_budget's, which says so in the log. */
    nghttp2_option_set_stream_reset_rate_limit(option, UINT32_MAX, UINT32_MAX);
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

void rp_h2_downs_abort(struct rp_h2_downs *all)
{
    for (struct rp_h2_down *s = all->first, *next; s; s = next) {
        next = s->next;
        rp_h2_io_die(&s->io);
        if (s->live_n == 0) destroy(s);
    }
}
