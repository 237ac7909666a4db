/* SPDX-License-Identifier: MIT
 *
 * h1_down: see h1_down.h.
 *
 * Invariants: 1 the session outlives its exchange: it closes only when the user called finish. 2 the
 * reader's chunk that holds a head is kept alive by x->head_chunk. 3 a response that did not end
 * kills the connection, so a client can never take a broken body for a whole one; a body that ends
 * with the connection is broken off by a reset.
 */
#include "http/h1_down.h"

#include "base/log.h"
#include "http/body_in.h"
#include "http/h1_write.h"
#include "http/h2_down.h"
#include "net/timer.h"

enum {
    MAGIC = 0x48314431,
    SEND_HIGH = 128 * 1024,   /* queued bytes that make send_body say AGAIN */
    PIPELINE_MAX = 16 * 1024, /* unread bytes kept while a request runs */
    SKIP_MAX = 64 * 1024,     /* body bytes thrown away to keep a connection */
    LINGER_BYTES = 1 << 20,   /* bytes thrown away while the client reads our last answer */
    COPY_MAX = 1024,          /* a body piece up to this is copied behind the head: one send */
    LAST_MS = 1000,           /* an old connection in use waits for its last request */
    HEAD_EXTRA = 256,         /* status line, Date, Connection, framing, with room to spare */
};

enum state { IDLE, HEAD, BUSY, CLOSING };
enum out_mode { OUT_NONE, OUT_LENGTH, OUT_CHUNKED, OUT_CLOSE, OUT_TUNNEL };

struct rp_h1_down {
    uint32_t magic;
    uint8_t state;    /* enum state */
    uint8_t out_mode; /* enum out_mode */
    bool parting;     /* the client has said that this request is its last; it has no body */
    struct rp_conn *conn;
    struct rp_h1_downs *all;
    struct rp_h1_down *next, *prev;
    void *listener;
    struct rp_exchange *x; /* BUSY only */
    struct rp_reader in;
    struct rp_body_in body;
    struct rp_chain out;
    uint64_t out_left;     /* OUT_LENGTH */
    struct rp_timer timer; /* head, keep-alive */
    struct rp_defer later; /* a pipelined head waits; while BUSY: there is room to write */
    uint64_t conn_id;
    uint32_t requests;
    uint32_t scanned; /* of the head that is being received: at most limits.head_bytes */
};

/* Idle connections are the many: 240 bytes of heap each, and rp_conn. */
_Static_assert(sizeof(struct rp_h1_down) <= 232, "grows with every idle connection");

static struct rp_loop *loop_of(const struct rp_h1_down *s)
{
    return rp_conn_loop(s->conn);
}

static struct rp_mem *mem_of(const struct rp_h1_down *s)
{
    return s->out.mem;
}

static const struct rp_exchange_user *user_of(const struct rp_h1_down *s)
{
    return s->all->user;
}

static const struct rp_h1_settings *settings_of(const struct rp_h1_down *s)
{
    return s->all->settings;
}

static void set_state(struct rp_h1_down *s, enum state state)
{
    s->all->idle_n += (uint32_t)(state == IDLE) - (uint32_t)(s->state == IDLE);
    s->state = (uint8_t)state;
}

/* The connection has lived as long as it may. */
static bool is_old(const struct rp_h1_down *s)
{
    rp_ms most = settings_of(s)->age_ms;
    return most && rp_conn_life_left(s->conn, most) == 0;
}

/* ---- life ------------------------------------------------------------------------------- */

static void release(struct rp_h1_down *s)
{
    rp_timer_clear(loop_of(s), &s->timer);
    rp_loop_undefer(loop_of(s), &s->later);
    rp_reader_clear(&s->in);
    rp_chain_clear(&s->out);
    if (s->prev) s->prev->next = s->next;
    else s->all->first = s->next;
    if (s->next) s->next->prev = s->prev;
    set_state(s, CLOSING);
    s->all->n--;
    s->magic = 0;
    rp_free(s);
}

static void close_now(struct rp_h1_down *s)
{
    struct rp_conn *c = s->conn;
    RP_ASSERT(!s->x);
    release(s);
    rp_conn_close(c);
}

/* In the middle of a response. A FIN would make a close-delimited body look whole. */
static void break_off(struct rp_h1_down *s)
{
    struct rp_conn *c = s->conn;
    if (s->out_mode == OUT_CLOSE) {
        release(s);
        rp_conn_reset(c);
    } else {
        close_now(s);
    }
}

/* All that the client sends has come. One that has announced the end sends nothing behind it (RFC 9112
 * §9.6: MUST NOT), save an empty line behind a body (§2.2); TLS ends with an alert of its own. */
static bool has_all(const struct rp_h1_down *s)
{
    if (s->in.over != RP_OK) return true;
    return s->parting && s->body.mode == RP_IN_DONE && rp_reader_len(&s->in) == 0 &&
           !s->in.readable && !rp_conn_tls(s->conn);
}

/* Let the client read our last answer before the connection goes (RFC 9112 §9.6): what came to a
 * closed one would be answered by a reset, which may overtake it. */
static void close_gently(struct rp_h1_down *s)
{
    struct rp_conn *c = s->conn;
    rp_ms ms = settings_of(s)->linger_ms;
    bool ended = has_all(s);
    release(s);
    if (ended) rp_conn_close(c);
    else rp_conn_linger(c, ms, LINGER_BYTES);
}

/* ---- requests in -------------------------------------------------------------------------- */

/* One that is not as usual: perhaps bad. */
RP_COLD static rp_err parse_odd_head(struct rp_h1_down *s, size_t n)
{
    struct rp_exchange *x = s->x;
    const char *p = rp_reader_ptr(&s->in);
    size_t scanned = 0, head_n = rp_h1_head_end(p, n, &scanned);
    rp_err e = rp_h1_parse_request(p, head_n, &settings_of(s)->limits, &x->arena, &x->head);
    rp_reader_take(&s->in, head_n);
    return e;
}

/* A head ends within the next n bytes: at their end, or somewhere when they hold more. */
static inline rp_err parse_head(struct rp_h1_down *s, size_t n)
{
    struct rp_exchange *x = s->x;
    const char *p = s->in.chunk->data + s->in.at;
    size_t head_n = rp_h1_try_request(p, n, &settings_of(s)->limits, &x->arena, &x->head);
    if (RP_UNLIKELY(head_n == 0)) return parse_odd_head(s, n);
    rp_reader_take(&s->in, head_n);
    return RP_OK;
}

/* head_n: as parse_head takes it. */
static void start_exchange(struct rp_h1_down *s, size_t head_n, rp_err bad)
{
    struct rp_exchange *x = user_of(s)->open(user_of(s)->arg, s->listener);
    if (!x) {
        close_now(s);
        return;
    }
    extern const struct rp_exchange_ops rp_h1_down_ops;
    rp_timer_rest(&s->timer);
    set_state(s, BUSY);
    s->x = x;
    s->scanned = 0;
    s->requests++;
    s->out_mode = OUT_NONE;
    x->ops = &rp_h1_down_ops;
    x->session = s;
    x->conn = s->conn;
    x->listener = s->listener;
    x->conn_id = s->conn_id;
    x->conn_requests = s->requests;
    x->head_chunk = s->in.chunk ? rp_chunk_hold(s->in.chunk) : NULL;
    if (bad == RP_OK) bad = parse_head(s, head_n);
    s->parting = bad == RP_OK && !x->head.keepalive && x->head.framing == RP_BODY_NONE;
    uint64_t most = settings_of(s)->requests_max;
    x->close_after = bad != RP_OK || !x->head.keepalive || settings_of(s)->draining ||
                     (most && s->requests >= most) || is_old(s);
    if (bad == RP_OK) rp_body_in_init(&s->body, x->head.framing, x->head.content_length);
    else rp_body_in_init(&s->body, RP_BODY_NONE, 0);
    if (s->body.mode == RP_IN_DONE) rp_reader_listen(&s->in, s->conn); /* for the client's end */
    user_of(s)->start(x, bad);
}

/* Empty lines before a request line are dropped, a few of them (RFC 9112 §2.2). False when more bytes
 * are needed to tell. */
static bool skip_empty_lines(struct rp_h1_down *s)
{
    size_t left = rp_reader_len(&s->in);
    if (s->scanned > 0 || RP_LIKELY(left > 0 && *rp_reader_ptr(&s->in) != '\r')) return true;
    rp_reader_take(&s->in, rp_h1_skip_empty_lines(rp_reader_ptr(&s->in), left));
    left = rp_reader_len(&s->in);
    return left > 1 || (left == 1 && *rp_reader_ptr(&s->in) != '\r');
}

/* A client that knows we speak HTTP/2 begins with its preface (RFC 9113 §3.3): the connection goes to
 * that session. RP_OK: it has gone there; RP_AGAIN: what came so far may become one; RP_END: it is none. */
static rp_err hand_to_h2(struct rp_h1_down *s)
{
    rp_str preface = RP_H2_PREFACE;
    rp_str have = rp_str_of(rp_reader_ptr(&s->in), rp_reader_len(&s->in));
    rp_str begin = rp_str_head(have, RP_MIN(have.len, preface.len));
    if (!settings_of(s)->h2 || !rp_str_starts(preface, begin)) return RP_END;
    if (begin.len < preface.len) return RP_AGAIN;
    struct rp_chunk *chunk = rp_chunk_hold(s->in.chunk);
    struct rp_conn *c = s->conn;
    struct rp_h2_downs *h2 = settings_of(s)->h2;
    void *listener = s->listener;
    uint64_t id = s->conn_id;
    release(s);
    rp_conn_resume(c); /* the reader may have paused it */
    rp_h2_down_open(h2, c, listener, id, chunk, have);
    rp_chunk_drop(chunk);
    return RP_OK;
}

static bool ends_empty(const char *p, size_t n)
{
    return n >= 4 && memcmp(p + n - 4, "\r\n\r\n", 4) == 0;
}

RP_APART static size_t find_end(struct rp_h1_down *s, const char *p, size_t have)
{
    size_t scanned = s->scanned, head_n = rp_h1_head_end(p, have, &scanned);
    s->scanned = (uint32_t)scanned;
    return head_n;
}

/* Is there a whole head? Starts the exchange when there is, or when it can never become one. */
static bool try_head(struct rp_h1_down *s)
{
    if (RP_UNLIKELY(s->requests == 0)) {
        rp_err handed = hand_to_h2(s);
        if (handed != RP_END) return handed == RP_OK;
    }
    if (!skip_empty_lines(s)) return false;
    size_t have = rp_reader_len(&s->in);
    const char *p = rp_reader_ptr(&s->in);
    uint32_t most = settings_of(s)->limits.head_bytes;
    if (RP_LIKELY(s->scanned == 0 && ends_empty(p, have) && have <= most)) {
        start_exchange(s, have, RP_OK); /* a head ends there at the latest */
        return true;
    }
    size_t head_n = find_end(s, p, have);
    if (head_n > most || (head_n == 0 && have > most)) {
        start_exchange(s, 0, RP_E_H1_HEAD_BIG);
    } else if (head_n > 0) {
        start_exchange(s, head_n, RP_OK);
    } else if (!rp_h1_maybe_request(p, have)) {
        start_exchange(s, 0, RP_E_H1_SYNTAX);
    } else {
        return false;
    }
    return true;
}

static void read_head(struct rp_h1_down *s)
{
    if (rp_reader_len(&s->in) > 0 && s->state == HEAD && !s->in.readable) return;
    for (;;) {
        if (rp_reader_len(&s->in) > 0 && try_head(s)) return;
        rp_err e =
            rp_reader_fill(&s->in, mem_of(s), s->conn, settings_of(s)->limits.head_bytes + 1);
        if (e == RP_AGAIN) break;
        if (e != RP_OK) { /* FIN, reset, or (never) an oversize that try_head let pass */
            close_now(s);
            return;
        }
    }
    if (rp_reader_len(&s->in) == 0) {
        rp_reader_clear(&s->in);
        set_state(s, IDLE); /* it was empty lines: the deadline stands */
    } else if (s->state == IDLE) {
        set_state(s, HEAD); /* the whole head must come in head_ms from its first byte */
        rp_timer_set(loop_of(s), &s->timer, settings_of(s)->head_ms);
    }
}

/* A client's FIN or bytes while its request is being answered. */
static void watch_busy(struct rp_h1_down *s)
{
    if (s->body.mode != RP_IN_DONE) {
        rp_pace_go(&s->x->body_pace, rp_loop_now(loop_of(s))); /* reading may wait for others */
        user_of(s)->wake(s->x, RP_WAKE_BODY);
        return;
    }
    rp_err e = RP_OK;
    while (e == RP_OK && rp_reader_len(&s->in) < PIPELINE_MAX) {
        e = rp_reader_fill(&s->in, mem_of(s), s->conn, 2 * PIPELINE_MAX);
    }
    if (e == RP_AGAIN || e == RP_OK || e == RP_E_TOO_BIG) return;
    /* With pipelined requests behind it a FIN only says "no more"; alone it says "gone", unless the
     * listener has clients that end their side first. */
    if (e == RP_END && (rp_reader_len(&s->in) > 0 || s->x->half_closed)) return;
    if (s->x->fail == RP_OK) s->x->fail = RP_E_CLIENT_GONE;
    user_of(s)->wake(s->x, RP_WAKE_ABORT);
}

/* ---- ops ---------------------------------------------------------------------------------- */

static rp_err client_gone(struct rp_exchange *x)
{
    if (x->fail == RP_OK) x->fail = RP_E_CLIENT_GONE;
    return RP_E_CLIENT_GONE;
}

static rp_err note_trailers(struct rp_exchange *x, rp_str section)
{
    if (section.len <= 2) return RP_OK;
    rp_str copy = rp_arena_copy(&x->arena, section); /* the reader's bytes move on */
    struct rp_msg *t = rp_arena_zalloc(&x->arena, sizeof(*t));
    if (!copy.ptr || !t) return RP_E_CAP;
    rp_msg_init(t, NULL, 0, x->head.fields_max);
    rp_err e = rp_h1_parse_trailers(copy.ptr, copy.len, &x->arena, t);
    if (e == RP_OK) {
        rp_msg_drop_named(t, &x->head);
        x->trailers = t;
    }
    return e;
}

static rp_err down_read_body(struct rp_exchange *x, struct rp_chain *out, size_t max)
{
    struct rp_h1_down *s = x->session;
    size_t before = out->bytes;
    rp_str trailers = RP_STR_NONE;
    rp_err e = rp_body_in_read(&s->body, &s->in, mem_of(s), s->conn, out, max, &trailers);
    x->body_in_bytes += out->bytes - before;
    if (s->body.mode == RP_IN_DONE) rp_reader_listen(&s->in, s->conn); /* for the client's end */
    if (trailers.ptr) {
        rp_err bad = note_trailers(x, trailers);
        if (bad != RP_OK) return bad;
    }
    if (x->body_in_bytes > x->body_limit) return RP_E_BODY_TOO_BIG;
    if (e == RP_E_CLOSED || e == RP_E_OS) return client_gone(x);
    if (s->body.mode == RP_IN_RAW) return e;
    return rp_exchange_check_pace(x, &settings_of(s)->body_pace, out->bytes - before, e);
}

static rp_err down_send_info(struct rp_exchange *x, const struct rp_msg *info)
{
    struct rp_h1_down *s = x->session;
    if (x->head.version < 11) return RP_OK; /* RFC 9110 §15.2: 1.0 clients do not know 1xx */
    struct rp_h1_writer w = rp_h1_writer_new(mem_of(s), rp_h1_fields_bound(info) + HEAD_EXTRA);
    rp_h1_put_status(&w, info);
    if (info->status == 101) rp_h1_put(&w, RP_STR("Connection: upgrade\r\n"));
    rp_h1_put_fields(&w, info, &rp_h1_hop);
    rp_h1_put(&w, RP_STR("\r\n"));
    rp_h1_writer_finish(&w, &s->out);
    return RP_OK;
}

/* How the body goes on the wire (RFC 9112 §6.1-6.3). */
static enum out_mode choose_out(struct rp_exchange *x, const struct rp_msg *res)
{
    bool no_body = res->status < 200 || res->status == 204 || res->status == 304 ||
                   x->head.method == RP_M_HEAD;
    if (no_body || res->framing == RP_BODY_NONE) return OUT_NONE;
    if (res->framing == RP_BODY_LENGTH) return OUT_LENGTH;
    if (x->head.version >= 11) return OUT_CHUNKED;
    x->close_after = true; /* a 1.0 client learns the end from the close */
    return OUT_CLOSE;
}

static void put_framing(struct rp_h1_writer *w, struct rp_h1_down *s, const struct rp_msg *res)
{
    struct rp_exchange *x = s->x;
    if (res->status == 101) { /* RFC 9110 §7.8 */
        rp_h1_put(w, RP_STR("Connection: upgrade\r\n"));
        rp_h1_put_field(w, RP_STR("Upgrade"), rp_msg_get(res, RP_H_UPGRADE));
        return;
    }
    /* RFC 9110 §9.3.6: MUST NOT frame a 2xx to CONNECT: the tunnel's bytes follow. */
    if (x->head.method == RP_M_CONNECT && res->status / 100 == 2) return;
    /* RFC 9110 §15.5.22: a 426 MUST name a protocol; of those that we relay there is one. */
    if (res->status == 426 && rp_str_list_has(rp_msg_get(res, RP_H_UPGRADE), RP_STR("websocket"))) {
        rp_h1_put(w, RP_STR("Connection: upgrade\r\nUpgrade: websocket\r\n"));
    }
    if (s->out_mode == OUT_CHUNKED) {
        rp_h1_put(w, RP_STR("Transfer-Encoding: chunked\r\n"));
    } else if (res->framing == RP_BODY_LENGTH && res->status != 204 && res->status != 304) {
        rp_h1_put(w, RP_STR("Content-Length: "));
        rp_h1_put_u64(w, res->content_length);
        rp_h1_put(w, RP_STR("\r\n"));
    } else if (s->out_mode == OUT_NONE && res->status != 204 &&
               (x->head.method == RP_M_HEAD || res->status == 304)) {
        rp_str length = rp_msg_get(res, RP_H_CONTENT_LENGTH);
        if (length.ptr) rp_h1_put_field(w, RP_STR("Content-Length"), length);
    } else if (s->out_mode == OUT_NONE && res->status != 204) {
        rp_h1_put(w, RP_STR("Content-Length: 0\r\n"));
    }
    if (x->close_after) rp_h1_put(w, RP_STR("Connection: close\r\n"));
    else if (x->head.version == 10) rp_h1_put(w, RP_STR("Connection: keep-alive\r\n"));
}

RP_NO_ARRAYS static rp_err down_send_head(struct rp_exchange *x, const struct rp_msg *res)
{
    struct rp_h1_down *s = x->session;
    if (settings_of(s)->draining) x->close_after = true;
    s->out_mode = (uint8_t)choose_out(x, res);
    s->out_left = res->content_length;
    struct rp_h1_writer w = rp_h1_writer_new(mem_of(s), rp_h1_fields_bound(res) + HEAD_EXTRA);
    rp_h1_put_status(&w, res);
    rp_h1_put_fields(&w, res, &rp_h1_hop);
    if (!rp_msg_find(res, RP_H_DATE)) { /* RFC 9110 §6.6.1: a recipient with a clock adds it */
        rp_h1_put_field(&w, RP_STR("Date"), rp_loop_date(loop_of(s)));
    }
    put_framing(&w, s, res);
    rp_h1_put(&w, RP_STR("\r\n"));
    rp_h1_writer_finish(&w, &s->out);
    x->head_sent = true;
    return RP_OK;
}

static void queue_plain(struct rp_h1_down *s, struct rp_chain *in)
{
    if (in->head && in->head == in->tail && in->bytes <= COPY_MAX) {
        rp_chain_add_copy(&s->out, rp_str_of(in->head->ptr, in->head->len));
        rp_chain_clear(in);
    } else {
        rp_chain_move(&s->out, in, in->bytes);
    }
}

static rp_err down_send_body(struct rp_exchange *x, struct rp_chain *in, bool last)
{
    struct rp_h1_down *s = x->session;
    if (s->out_mode != OUT_NONE) x->body_out_bytes += in->bytes;
    switch ((enum out_mode)s->out_mode) {
    case OUT_NONE: rp_chain_clear(in); break;
    case OUT_LENGTH:
        if (in->bytes > s->out_left) return RP_E_UP_BAD_RESPONSE; /* more than was promised */
        s->out_left -= in->bytes;
        queue_plain(s, in);
        break;
    case OUT_CHUNKED:
        rp_h1_put_chunk(&s->out, in);
        if (last) rp_h1_put_last_chunk(&s->out, x->head.te_trailers ? x->res_trailers : NULL);
        break;
    case OUT_CLOSE:
    case OUT_TUNNEL: queue_plain(s, in); break;
    }
    if (last) {
        if (s->out_mode == OUT_LENGTH && s->out_left > 0) return RP_E_UP_TRUNCATED;
        x->response_done = true;
    }
    return s->out.bytes > SEND_HIGH ? RP_AGAIN : RP_OK;
}

static void down_send_small(struct rp_exchange *x, rp_str body)
{
    struct rp_h1_down *s = x->session;
    if (s->out_mode != OUT_NONE) { /* as announced: LENGTH */
        RP_ASSERT(s->out_mode == OUT_LENGTH && s->out_left == body.len);
        x->body_out_bytes += body.len;
        s->out_left = 0;
        rp_chain_add_copy(&s->out, body);
    }
    x->response_done = true;
}

static uint64_t down_taken(struct rp_exchange *x)
{
    /* The socket's own buffer holds megabytes, and says that it has room only when much of it was
     * taken: so the system is asked. */
    return rp_conn_face(x->conn)->out_bytes - rp_conn_unsent(x->conn);
}

/* The client keeps us waiting, or no longer. */
static void note_pace(struct rp_exchange *x, rp_err sent)
{
    rp_ms now = rp_loop_now(rp_conn_loop(x->conn));
    bool first = !x->send_pace.waiting && x->send_pace.waited_ms == 0;
    if (sent == RP_AGAIN && first) x->send_base = down_taken(x);
    if (sent == RP_AGAIN) rp_pace_wait(&x->send_pace, now);
    else rp_pace_go(&x->send_pace, now);
}

static rp_err wrote(struct rp_exchange *x, size_t n, rp_err e)
{
    x->wire_out_bytes += n;
    if (e == RP_AGAIN || x->send_pace.waiting) note_pace(x, e);
    return e < 0 ? client_gone(x) : e;
}

static rp_err down_flush(struct rp_exchange *x)
{
    struct rp_h1_down *s = x->session;
    if (s->out.bytes == 0) return RP_OK;
    size_t before = s->out.bytes;
    bool last = x->close_after && x->response_done && s->out_mode != OUT_TUNNEL;
    rp_err e = last ? rp_conn_send_last(s->conn, &s->out) : rp_conn_send(s->conn, &s->out);
    return wrote(x, before - s->out.bytes, e);
}

/* ---- by the kernel ------------------------------------------------------------------------- */

static uint64_t down_unseen(const struct rp_exchange *x)
{
    const struct rp_h1_down *s = x->session;
    return s->body.mode == RP_IN_LENGTH ? rp_body_in_unseen(&s->body, &s->in) : 0;
}

static uint64_t down_pipe_room(const struct rp_exchange *x)
{
    const struct rp_h1_down *s = x->session;
    if (s->out_mode == OUT_CLOSE) return UINT64_MAX;
    return s->out_mode == OUT_LENGTH ? s->out_left : 0;
}

static rp_err down_read_pipe(struct rp_exchange *x, struct rp_splice **pipe)
{
    struct rp_h1_down *s = x->session;
    rp_err e = rp_body_in_splice(&s->body, &s->in, s->conn, pipe);
    if (e == RP_E_BUSY) return e;
    size_t got = rp_splice_bytes(*pipe);
    x->body_in_bytes += got;
    if (s->body.mode == RP_IN_DONE) rp_reader_listen(&s->in, s->conn); /* for the client's end */
    if (x->body_in_bytes > x->body_limit) return RP_E_BODY_TOO_BIG;
    if (e == RP_E_CLOSED || e == RP_E_OS) return client_gone(x);
    return rp_exchange_check_pace(x, &settings_of(s)->body_pace, got, e);
}

static rp_err down_send_pipe(struct rp_exchange *x, struct rp_splice **pipe)
{
    struct rp_h1_down *s = x->session;
    size_t before = rp_splice_bytes(*pipe);
    RP_CHECK(s->out.bytes == 0 && before <= down_pipe_room(x));
    rp_err e = rp_splice_give(s->conn, pipe, &s->out);
    size_t taken = before - rp_splice_bytes(*pipe); /* by the socket, or queued after all */
    x->body_out_bytes += taken;
    if (s->out_mode == OUT_LENGTH) s->out_left -= taken;
    return wrote(x, taken - s->out.bytes, e);
}

/* ---- the rest ------------------------------------------------------------------------------ */

static void down_skip_body(struct rp_exchange *x)
{
    struct rp_h1_down *s = x->session;
    struct rp_chain trash;
    rp_chain_init(&trash, mem_of(s));
    rp_str trailers = RP_STR_NONE;
    rp_err e = RP_OK;
    bool asked = x->head.expect_continue && x->body_in_bytes == 0;
    for (size_t seen = 0; !asked && e == RP_OK && s->body.mode != RP_IN_DONE && seen < SKIP_MAX;) {
        e = rp_body_in_read(&s->body, &s->in, mem_of(s), s->conn, &trash, SKIP_MAX, &trailers);
        seen += trash.bytes;
        rp_chain_clear(&trash);
    }
    if (s->body.mode != RP_IN_DONE) x->close_after = true;
    else rp_reader_listen(&s->in, s->conn);
}

static void down_tunnel(struct rp_exchange *x)
{
    struct rp_h1_down *s = x->session;
    s->body.mode = RP_IN_RAW;
    s->out_mode = OUT_TUNNEL;
    x->body_limit = UINT64_MAX;
    x->close_after = true;
    if (rp_reader_len(&s->in) > 0 || s->in.readable) user_of(s)->wake(x, RP_WAKE_BODY);
}

static void down_end_output(struct rp_exchange *x)
{
    struct rp_h1_down *s = x->session;
    rp_conn_shutdown(s->conn);
}

/* An idle connection that is closed may have its next request on the way: one that is in use gets
 * the time to ask again, and is told that this was the last. */
static rp_ms life_left(const struct rp_h1_down *s)
{
    return RP_MAX(rp_conn_life_left(s->conn, settings_of(s)->age_ms), (rp_ms)LAST_MS);
}

static void become_idle(struct rp_h1_down *s)
{
    rp_ms wait = settings_of(s)->keepalive_ms;
    set_state(s, IDLE);
    s->out_mode = OUT_NONE;
    if (rp_reader_len(&s->in) == 0) rp_reader_clear(&s->in);
    if (settings_of(s)->age_ms) wait = RP_MIN(wait, life_left(s));
    rp_timer_set(loop_of(s), &s->timer, wait);
    if (rp_reader_len(&s->in) > 0 || s->in.readable) rp_loop_defer(loop_of(s), &s->later);
}

static void down_finish(struct rp_exchange *x)
{
    struct rp_h1_down *s = x->session;
    bool whole = x->response_done && x->fail == RP_OK && s->out.bytes == 0;
    bool over = x->close_after || s->body.mode != RP_IN_DONE || settings_of(s)->draining ||
                (s->in.over != RP_OK && rp_reader_len(&s->in) == 0);
    s->x = NULL;
    s->state = CLOSING;
    if (!whole) break_off(s);
    else if (over) close_gently(s);
    else become_idle(s);
}

extern const struct rp_exchange_ops rp_h1_down_ops;
const struct rp_exchange_ops rp_h1_down_ops = {
    .read_body = down_read_body,
    .send_info = down_send_info,
    .send_head = down_send_head,
    .send_body = down_send_body,
    .send_small = down_send_small,
    .flush = down_flush,
    .taken = down_taken,
    .unseen = down_unseen,
    .pipe_room = down_pipe_room,
    .read_pipe = down_read_pipe,
    .send_pipe = down_send_pipe,
    .skip_body = down_skip_body,
    .tunnel = down_tunnel,
    .end_output = down_end_output,
    .finish = down_finish,
};

/* ---- events ------------------------------------------------------------------------------- */

/* The user hears of every progress, so that its deadline runs from the last one; with nothing queued it
 * is a pipe of the user's that waits for room. */
static void write_on(struct rp_h1_down *s)
{
    size_t before = s->out.bytes;
    rp_err e = down_flush(s->x);
    if (e < 0) user_of(s)->wake(s->x, RP_WAKE_ABORT);
    else if (before == 0 || s->out.bytes < before) user_of(s)->wake(s->x, RP_WAKE_SINK);
}

static void run_later(struct rp_defer *d)
{
    struct rp_h1_down *s = RP_CONTAINER(rp_h1_down, later, d);
    if (s->state == BUSY) write_on(s);
    else if (s->state == IDLE && !try_head(s)) read_head(s);
}

static void on_conn_event(struct rp_conn *c, unsigned events)
{
    struct rp_h1_down *s = RP_AS(rp_h1_down, rp_conn_face(c)->owner, MAGIC);
    /* Thousands of slow clients may have room at once, and what waits for each is up to SEND_HIGH. */
    if ((events & RP_CONN_WRITABLE) && s->state == BUSY) rp_loop_defer_bulk(loop_of(s), &s->later);
    if (!(events & RP_CONN_READABLE)) return;
    rp_reader_note(&s->in, c);
    if (s->state == BUSY) watch_busy(s);
    else read_head(s);
}

static void on_timer(struct rp_timer *t)
{
    struct rp_h1_down *s = RP_CONTAINER(rp_h1_down, timer, t);
    if (s->state == HEAD) start_exchange(s, 0, RP_E_HEAD_TIMEOUT);
    else close_now(s);
}

void rp_h1_down_open(struct rp_conn *conn, struct rp_mem *mem,
                     const struct rp_h1_settings *settings, const struct rp_exchange_user *user,
                     struct rp_h1_downs *all, void *listener, uint64_t conn_id)
{
    struct rp_h1_down *s = rp_alloc(sizeof(*s));
    s->magic = MAGIC;
    s->conn = conn;
    s->all = all;
    s->listener = listener;
    s->conn_id = conn_id;
    all->user = user;
    all->settings = settings;
    s->next = all->first;
    if (s->next) s->next->prev = s;
    all->first = s;
    all->n++;
    all->idle_n++; /* the state that it is made in */
    s->later.run = run_later;
    rp_chain_init(&s->out, mem);
    rp_timer_init(&s->timer, on_timer);
    rp_conn_face(conn)->owner = s;
    rp_conn_face(conn)->on_event = on_conn_event;
    rp_timer_set(loop_of(s), &s->timer, settings->head_ms);
}

void rp_h1_downs_close_idle(struct rp_h1_downs *all)
{
    for (struct rp_h1_down *s = all->first, *next; s; s = next) {
        next = s->next;
        if (s->state == IDLE || s->state == HEAD) close_now(s);
    }
}
