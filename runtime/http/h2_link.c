/* SPDX-License-Identifier: MIT
 *
 * h2_link: connections to upstreams in HTTP/2: their life, and the frames that come. See h2_up.h.
 *
 * Invariants: 1 a link is freed only in on_flushed, or by its pool. 2 nghttp2's callbacks record and
 * wake.
 */
#include "http/h2_link.h"

enum {
    TEXT_FIRST = 2 * 1024,    /* bytes of a response head or trailer section, as text */
    TEXT_MOST = 256 * 1024,   /* ... at most; the reader's own limits are lower */
    HEADS_MOST = 32,          /* heads that wait to be read: 1xx and one more */
    BLOCK_MOST = 1024 * 1024, /* bytes of a request head: nghttp2's own limit is lower than ours */
    FIELD_EXTRA = 16,         /* of ": ", line ends, a status line */
    SWITCH_EXTRA = 128,       /* the fields that make a 101 of a 2xx */
};

/* ---- links --------------------------------------------------------------------------------- */

static void destroy(struct rp_h2_link *k)
{
    struct rp_h2_links *all = k->all;
    RP_ASSERT(k->held_n == 0);
    rp_timer_clear(rp_conn_loop(k->io.conn), &k->idle);
    rp_timer_clear(rp_conn_loop(k->io.conn), &k->linger);
    struct rp_conn *c = rp_h2_io_release(&k->io);
    while (k->streams) rp_h2_ask_free(k->streams);
    if (k->prev) k->prev->next = k->next;
    else all->first = k->next;
    if (k->next) k->next->prev = k->prev;
    all->n--;
    k->magic = 0;
    rp_free(k);
    rp_conn_close(c);
    if (all->n == 0 && all->emptied) all->emptied(all);
}

static void on_died(struct rp_h2_io *io)
{
    struct rp_h2_link *k = RP_CONTAINER(rp_h2_link, io, io);
    k->leaving = true;
    for (struct rp_h2_ask *st = k->streams; st; st = st->next) rp_h2_ask_wake(st);
}

static void on_flushed(struct rp_h2_io *io, bool through)
{
    struct rp_h2_link *k = RP_CONTAINER(rp_h2_link, io, io);
    if (through && !io->dead) rp_h2_io_die(io);
    if (io->dead && k->held_n == 0) destroy(k);
}

static void on_ended(struct rp_h2_io *io)
{
    rp_h2_io_die(io);
}

static const struct rp_h2_io_user IO_USER = {
    .died = on_died, .ended = on_ended, .flushed = on_flushed};

void rp_h2_link_leave(struct rp_h2_link *k)
{
    k->leaving = true;
    if (k->held_n > 0 || k->io.dead) return;
    if (nghttp2_session_terminate_session(k->io.ng, NGHTTP2_NO_ERROR) != 0) rp_h2_io_die(&k->io);
    rp_h2_io_flush_later(&k->io);
}

static void on_idle(struct rp_timer *t)
{
    struct rp_h2_link *k = RP_CONTAINER(rp_h2_link, idle, t);
    if (k->leaving) rp_h2_io_die(&k->io); /* our GOAWAY did not get out */
    else rp_h2_link_leave(k);
    rp_timer_set(rp_conn_loop(k->io.conn), &k->idle, k->settings.idle_ms);
}

/* An upstream that is done with a tunnel says so within the time; the rest are reset. */
static void on_linger(struct rp_timer *t)
{
    struct rp_h2_link *k = RP_CONTAINER(rp_h2_link, linger, t);
    bool more = false;
    for (struct rp_h2_ask *st = k->streams; st; st = st->next) {
        if (st->held || !st->switched || st->closed) continue;
        if (st->lingered) rp_h2_ask_reset(st);
        else more = true;
        st->lingered = true;
    }
    if (more) rp_h2_link_linger(k, k->linger_ms);
    rp_h2_io_flush_later(&k->io);
}

void rp_h2_link_linger(struct rp_h2_link *k, rp_ms ms)
{
    if (k->io.dead || rp_timer_is_armed(&k->linger)) return;
    k->linger_ms = ms;
    rp_timer_set(rp_conn_loop(k->io.conn), &k->linger, ms);
}

static uint32_t streams_most(const struct rp_h2_link *k)
{
    return nghttp2_session_get_remote_settings(k->io.ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

bool rp_h2_link_takes_tunnels(const struct rp_h2_link *k)
{
    const nghttp2_settings_id id = NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL;
    return nghttp2_session_get_remote_settings(k->io.ng, id) == 1;
}

/* It lives, and its SETTINGS came. */
static bool has_said(const struct rp_h2_link *k)
{
    return k->settled && !k->leaving && !k->io.dead;
}

static bool has_room(const struct rp_h2_link *k)
{
    if (k->doubted || !has_said(k) || k->held_n >= k->settings.streams_n) return false;
    return k->held_n < streams_most(k);
}

struct rp_h2_link *rp_h2_links_find(struct rp_h2_links *all, bool tunnel)
{
    struct rp_h2_link *best = NULL;
    for (struct rp_h2_link *k = all->first; k; k = k->next) {
        if (!has_room(k) || (best && k->held_n <= best->held_n)) continue;
        if (!tunnel || rp_h2_link_takes_tunnels(k)) best = k;
    }
    return best;
}

bool rp_h2_links_refuse_tunnels(const struct rp_h2_links *all)
{
    for (const struct rp_h2_link *k = all->first; k; k = k->next) {
        if (has_said(k) && !rp_h2_link_takes_tunnels(k)) return true;
    }
    return false;
}

bool rp_h2_links_refuse_all(const struct rp_h2_links *all)
{
    for (const struct rp_h2_link *k = all->first; k; k = k->next) {
        if (has_said(k) && streams_most(k) == 0) return true;
    }
    return false;
}

bool rp_h2_ask_is_shut_out(const struct rp_h2_ask *st)
{
    const struct rp_h2_link *k = st->link;
    if (st->id == 0 || st->closed || !k->settled || k->io.dead || streams_most(k) > 0) return false;
    return !nghttp2_session_find_stream(k->io.ng, st->id); /* it is queued, not begun */
}

void rp_h2_links_dump(const struct rp_h2_links *all, rp_str prefix, struct rp_buf *out)
{
    for (const struct rp_h2_link *k = all->first; k; k = k->next) {
        rp_buf_add(out, prefix);
        rp_buf_addf(out, "requests=%llu streams=%u unread=%zu unsent=%zu leaving=%d\n",
                    (unsigned long long)k->requests, k->held_n, k->io.unread, k->io.out.bytes,
                    k->leaving);
    }
}

bool rp_h2_links_are_settling(const struct rp_h2_links *all)
{
    for (const struct rp_h2_link *k = all->first; k; k = k->next) {
        if (!k->settled && !k->leaving && !k->io.dead) return true;
    }
    return false;
}

void rp_h2_links_drain(struct rp_h2_links *all)
{
    for (struct rp_h2_link *k = all->first; k; k = k->next) rp_h2_link_leave(k);
}

void rp_h2_links_close(struct rp_h2_links *all)
{
    for (struct rp_h2_link *k = all->first, *next; k; k = next) {
        next = k->next;
        destroy(k); /* the last one may take `all` with it */
    }
}

/* ---- frames in ----------------------------------------------------------------------------- */

static struct rp_h2_ask *stream_of(nghttp2_session *ng, int32_t id)
{
    struct rp_h2_ask *st = nghttp2_session_get_stream_user_data(ng, id);
    return st ? RP_AS(rp_h2_ask, st, RP_H2_ASK_MAGIC) : NULL;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct rp_h2_ask *st = stream_of(ng, frame->hd.stream_id);
    struct rp_h2_link *k = arg;
    if (!st) return 0;
    rp_chunk_drop(st->text);
    st->text = rp_chunk_new(k->io.mem, TEXT_FIRST);
    st->text_is_head = false;
    return 0;
}

/* Room for n more bytes of text; false: too much. */
static bool has_text_room(struct rp_h2_ask *st, size_t n)
{
    struct rp_chunk *t = st->text;
    size_t need = t->used + n;
    if (need <= t->room) return true;
    if (need > TEXT_MOST) return false;
    st->text = rp_chunk_new(t->mem, RP_MIN(2 * need, (size_t)TEXT_MOST));
    memcpy(st->text->data, t->data, t->used);
    st->text->used = t->used;
    rp_chunk_drop(t);
    return true;
}

static void put_text(struct rp_h2_ask *st, rp_str s)
{
    if (s.len) memcpy(st->text->data + st->text->used, s.ptr, s.len);
    st->text->used += (uint32_t)s.len;
}

/* RFC 8441 §5: a 2xx accepts an extended CONNECT; in HTTP/1 that is a 101. */
static void put_status(struct rp_h2_ask *st, rp_str status)
{
    st->text_is_head = true;
    st->switched = st->tunnel && status.ptr[0] == '2';
    put_text(st, RP_STR("HTTP/1.1 "));
    put_text(st, st->switched ? RP_STR("101") : status);
    put_text(st, RP_STR(" \r\n"));
}

/* Of a 2xx to an extended CONNECT, fields that mean nothing there, or that we make. */
static bool is_left_out(const struct rp_h2_ask *st, rp_str name)
{
    if (!st->switched || !st->text_is_head) return false;
    return rp_str_eq(name, RP_STR("content-length")) ||
           rp_str_eq(name, RP_STR("sec-websocket-accept"));
}

/* nghttp2 lets no byte pass that could end a line, or be no part of a name (RFC 9113 §8.2.1). */
static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct rp_h2_ask *st = stream_of(ng, frame->hd.stream_id);
    rp_str n = rp_str_of((const char *)name, name_n), v = rp_str_of((const char *)value, value_n);
    (void)flags, (void)arg;
    if (!st || !st->text || st->bad) return 0;
    if (!has_text_room(st, name_n + value_n + FIELD_EXTRA)) {
        st->bad = st->big = true;
    } else if (rp_str_eq(n, RP_STR(":status"))) {
        put_status(st, v);
    } else if (!is_left_out(st, n)) {
        put_text(st, n);
        put_text(st, RP_STR(": "));
        put_text(st, v);
        put_text(st, RP_STR("\r\n"));
    }
    return 0;
}

static void keep_head(struct rp_h2_ask *st, bool ended)
{
    if (st->heads_n >= HEADS_MOST) {
        st->bad = true;
        return;
    }
    struct rp_h2_answer *h = rp_alloc(sizeof(*h));
    h->chunk = st->text;
    h->ended = ended;
    *st->heads_end = h;
    st->heads_end = &h->next;
    st->heads_n++;
    st->text = NULL;
    st->answered = true;
}

static void put_switch(struct rp_h2_ask *st)
{
    put_text(st, RP_STR("connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: "));
    put_text(st, rp_str_of(st->accept, sizeof st->accept));
    put_text(st, RP_STR("\r\n"));
}

static void on_headers(struct rp_h2_ask *st, const nghttp2_frame *frame)
{
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    st->link->pinged = false;
    if (st->text && !st->bad && has_text_room(st, SWITCH_EXTRA)) {
        if (st->switched && st->text_is_head) put_switch(st);
        put_text(st, RP_STR("\r\n"));
        if (st->text_is_head) {
            keep_head(st, ended);
        } else {
            rp_chunk_drop(st->trailers);
            st->trailers = st->text;
            st->text = NULL;
        }
    }
    if (ended) st->in_ended = true;
    rp_h2_ask_wake(st);
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct rp_h2_link *k = arg;
    struct rp_h2_ask *st = frame->hd.stream_id ? stream_of(ng, frame->hd.stream_id) : NULL;
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
        k->settled = true;
        for (struct rp_h2_ask *s = k->streams; s; s = s->next) rp_h2_ask_wake(s);
    }
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        k->leaving = true;
        if (k->held_n == 0) rp_h2_link_leave(k);
    }
    if (!st) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) on_headers(st, frame);
    if (frame->hd.type == NGHTTP2_DATA && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        st->in_ended = true;
        rp_h2_ask_wake(st);
    }
    return 0;
}

static int on_content(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                      void *arg)
{
    struct rp_h2_link *k = arg;
    struct rp_h2_ask *st = stream_of(ng, id);
    bool keep = st && st->held;
    (void)flags;
    rp_h2_io_came(&k->io, n, keep);
    if (!keep) return 0;
    rp_h2_io_keep(&k->io, &st->in, &st->in_turn, rp_str_of((const char *)data, n));
    rp_h2_ask_wake(st);
    return 0;
}

static int on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct rp_h2_ask *st = stream_of(ng, id);
    (void)arg;
    if (!st) return 0;
    st->closed = true;
    st->unprocessed = code == NGHTTP2_REFUSED_STREAM; /* GOAWAY counts as that, too */
    st->refused = !st->unprocessed;
    if (st->held) rp_h2_ask_wake(st);
    else rp_h2_ask_free(st);
    return 0;
}

static nghttp2_session_callbacks *new_callbacks(void)
{
    nghttp2_session_callbacks *c;
    RP_CHECK(nghttp2_session_callbacks_new(&c) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_content);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
    nghttp2_session_callbacks_set_send_data_callback(c, rp_h2_ask_put_data);
    return c;
}

/* ---- birth --------------------------------------------------------------------------------- */

static void on_conn_event(struct rp_conn *c, unsigned events)
{
    struct rp_h2_link *k = RP_AS(rp_h2_link, rp_conn_face(c)->owner, RP_H2_LINK_MAGIC);
    if (events & RP_CONN_READABLE) {
        k->came_ms = rp_loop_now(rp_conn_loop(c));
        k->doubted = false;
    }
    rp_h2_io_event(&k->io, events);
}

static int begin_session(struct rp_h2_link *k)
{
    const nghttp2_settings_entry list[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, k->settings.window_bytes},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    nghttp2_session_callbacks *callbacks = new_callbacks(); /* copied by the session */
    nghttp2_option *option = rp_h2_io_option();
    nghttp2_option_set_max_send_header_block_length(option, BLOCK_MOST);
    int e = nghttp2_session_client_new2(&k->io.ng, callbacks, k, option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    if (e == 0) e = nghttp2_submit_settings(k->io.ng, NGHTTP2_FLAG_NONE, list, RP_COUNT(list));
    if (e != 0) return e;
    int32_t window = rp_h2_io_window(k->settings.window_bytes, k->settings.streams_n);
    return nghttp2_session_set_local_window_size(k->io.ng, NGHTTP2_FLAG_NONE, 0, window);
}

struct rp_h2_link *rp_h2_link_open(struct rp_h2_links *all, struct rp_conn *conn,
                                   struct rp_mem *mem, const struct rp_h2_link_settings *settings,
                                   bool secure)
{
    struct rp_h2_link *k = rp_alloc(sizeof(*k));
    k->magic = RP_H2_LINK_MAGIC;
    k->all = all;
    k->settings = *settings;
    k->secure = secure;
    rp_h2_io_init(&k->io, &IO_USER, conn, mem);
    rp_timer_init(&k->idle, on_idle);
    rp_timer_init(&k->linger, on_linger);
    k->next = all->first;
    if (k->next) k->next->prev = k;
    all->first = k;
    all->n++;
    rp_conn_face(conn)->owner = k;
    rp_conn_face(conn)->on_event = on_conn_event;
    RP_CHECK(begin_session(k) == 0); /* memory */
    rp_timer_set(rp_conn_loop(conn), &k->idle, settings->idle_ms);
    rp_h2_io_flush_later(&k->io);
    return k;
}
