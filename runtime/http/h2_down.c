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
    LAST_MS = 1000,   /* an old connection in use waits for a last request */
    LINGER_BYTES = 1 << 20,
    WINDOW_MOST = 1 << 20, /* bytes of a connection, or of one of its streams if that is more */
    STREAMS_KEPT = 1024,   /* in the pool, for the next ones */
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
    rp_timer_clear(loop_of(s), &s->notice);
    rp_timer_clear(loop_of(s), &s->linger);
    struct rp_conn *c = rp_h2_io_release(&s->io);
    while (s->streams) rp_h2_stream_free(s->streams);
    all->busy_n -= s->live_n > 0;
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

/* Does it wait for the answer to a whole request, on a listener whose clients end their side first? */
static bool awaits_answers(const struct rp_h2_down *s)
{
    for (const struct rp_h2_stream *st = s->streams; st; st = st->next) {
        if (st->x && (!st->x->half_closed || !st->in_ended)) return false;
    }
    return true;
}

/* As in HTTP/1: a client that has said its end while it waits is gone (decision 0004). */
static void on_ended(struct rp_h2_io *io)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, io, io);
    if (awaits_answers(s)) rp_h2_io_flush_later(io);
    else rp_h2_io_die(io);
}

static void watch_head(struct rp_h2_down *s)
{
    if (!s->opening || s->heading || s->going == RP_H2_ENDS) return;
    s->heading = true;
    rp_timer_set(loop_of(s), &s->timer, s->all->common->head_ms);
}

static void on_flushed(struct rp_h2_io *io, bool through)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, io, io);
    bool answered = s->live_n == 0 && io->in_over && io->out.bytes == 0;
    if (s->live_n == 0 && (through || answered)) destroy(s);
    else if (through) rp_h2_io_die(io); /* GOAWAY is out: their streams are closed */
    else watch_head(s);
}

static const struct rp_h2_io_user IO_USER = {
    .died = on_died, .ended = on_ended, .flushed = on_flushed};

/* Nothing is served any more. The client gets a while to take what waits for it, and the GOAWAY. */
static void terminate(struct rp_h2_down *s, uint32_t code)
{
    if (s->io.dead || s->going == RP_H2_ENDS) return;
    s->going = RP_H2_ENDS;
    rp_timer_set(loop_of(s), &s->timer, s->all->common->linger_ms);
    if (nghttp2_session_terminate_session(s->io.ng, code) != 0) rp_h2_io_die(&s->io);
    rp_h2_io_flush_later(&s->io);
}

void rp_h2_session_error(struct rp_h2_down *s, uint32_t code)
{
    terminate(s, code);
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
    if (s->going >= RP_H2_GONE || s->io.dead) return;
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
    rp_timer_set(loop_of(s), &s->notice, NOTICE_MS);
    rp_h2_io_flush_later(&s->io);
}

/* ---- time ---------------------------------------------------------------------------------- */

static uint64_t taken_by_socket(const struct rp_h2_down *s)
{
    return rp_conn_face(s->io.conn)->out_bytes;
}

void rp_h2_session_live(struct rp_h2_down *s, int change)
{
    const struct rp_h1_settings *c = s->all->common;
    bool was_busy = s->live_n > 0;
    s->live_n += (uint32_t)change;
    s->all->busy_n += (uint32_t)(s->live_n > 0) - (uint32_t)was_busy;
    if (s->io.dead || s->going == RP_H2_ENDS) return;
    rp_ms left = rp_conn_life_left(s->io.conn, c->age_ms);
    if (s->live_n > 0) {
        if (!s->heading) rp_timer_clear(loop_of(s), &s->timer);
        if (left == 0 || (c->requests_max && s->requests >= c->requests_max)) say_notice(s);
    } else {
        s->out_seen = taken_by_socket(s);
        rp_timer_set(loop_of(s), &s->timer, RP_MIN(c->keepalive_ms, RP_MAX(left, (rp_ms)LAST_MS)));
    }
}

void rp_h2_session_head_over(struct rp_h2_down *s)
{
    s->opening = NULL;
    if (s->heading && s->going != RP_H2_ENDS) rp_timer_clear(loop_of(s), &s->timer);
    s->heading = false;
}

/* Idle for us, and it takes what we said last, not too slowly. */
static bool is_taking(struct rp_h2_down *s)
{
    const struct rp_h1_settings *c = s->all->common;
    uint64_t n = taken_by_socket(s) - s->out_seen, rate = c->send_pace.rate;
    s->out_seen += n;
    return s->io.out.bytes > 0 && n > 0 && (!rate || n / rate >= c->keepalive_ms / 1000);
}

static void on_timer(struct rp_timer *t)
{
    struct rp_h2_down *s = RP_CONTAINER(rp_h2_down, timer, t);
    if (s->going == RP_H2_ENDS) {
        rp_h2_io_die(&s->io); /* it takes nothing */
    } else if (s->opening) {
        rp_h2_stream_head_late(s->opening);
        terminate(s, NGHTTP2_NO_ERROR);
    } else if (is_taking(s)) {
        rp_timer_set(loop_of(s), &s->timer, s->all->common->keepalive_ms);
    } else {
        terminate(s, NGHTTP2_NO_ERROR);
    }
}

static void on_notice(struct rp_timer *t)
{
    say_goaway(RP_CONTAINER(rp_h2_down, notice, t));
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
    int32_t window = RP_MIN(rp_h2_io_window(c->window_bytes, c->streams_n),
                            (int32_t)RP_MAX((uint32_t)WINDOW_MOST, c->window_bytes));
    return nghttp2_session_set_local_window_size(s->io.ng, NGHTTP2_FLAG_NONE, 0, window);
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
    rp_timer_init(&s->notice, on_notice);
    rp_timer_init(&s->linger, on_linger);
    s->next = all->first;
    if (s->next) s->next->prev = s;
    all->first = s;
    all->n++;
    all->counts->sessions++;
    rp_conn_face(conn)->owner = s;
    rp_conn_face(conn)->on_event = on_conn_event;
    RP_CHECK(nghttp2_session_server_new2(&s->io.ng, all->callbacks, s, all->option) == 0);
    rp_timer_set(loop_of(s), &s->timer, all->common->head_ms); /* for the preface, a request */
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
    rp_pool_init(&all->stream_pool, sizeof(struct rp_h2_stream), STREAMS_KEPT);
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
    rp_pool_fini(&all->stream_pool);
    all->callbacks = all->option = NULL;
}

void rp_h2_downs_dump(const struct rp_h2_downs *all, struct rp_buf *out)
{
    for (const struct rp_h2_down *s = all->first; s; s = s->next) {
        struct rp_addr peer;
        char ip[RP_ADDR_TEXT_BYTES + 1];
        rp_conn_peer(s->io.conn, &peer);
        ip[rp_addr_put_ip(&peer, ip)] = '\0';
        rp_buf_addf(out,
                    "h2 conn=%llu client=%s requests=%u streams=%u unread=%zu unsent=%zu "
                    "going=%u\n",
                    (unsigned long long)s->conn_id, ip, s->requests, s->live_n, s->io.unread,
                    s->io.out.bytes, s->going);
    }
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
        terminate(s, NGHTTP2_NO_ERROR);
        rp_h2_io_end(&s->io);
        if (s->live_n == 0) destroy(s);
    }
}
