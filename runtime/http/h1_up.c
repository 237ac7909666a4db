/* SPDX-License-Identifier: MIT
 *
 * h1_up: see h1_up.h.
 */
#include "http/h1_up.h"

#include "http/h1_write.h"

enum {
    MAGIC = 0x48315550,
    SEND_HIGH = 128 * 1024, /* queued bytes that make send say AGAIN */
    COPY_MAX = 1024,        /* a body piece up to this is copied behind the head: one send */
    HEAD_ROOM = 2 * 1024,   /* unread bytes allowed over the head limit: they belong to the body */
};

struct rp_h1_up {
    uint32_t magic;
    bool poisoned;     /* never reuse */
    bool request_done; /* the last request byte is queued */
    bool head_done;    /* the final response head was read */
    bool answered;     /* a response byte arrived */
    bool keepalive;    /* the response lets the connection live */
    bool body_sent;    /* a byte of the request's body was queued */
    uint8_t method;
    uint8_t out_framing; /* enum rp_framing of the request */
    uint64_t out_left;   /* RP_BODY_LENGTH */
    struct rp_mem *mem;
    struct rp_reader in;
    size_t scanned;
    struct rp_body_in body;
    struct rp_chain out;
    struct rp_up up;
};

static struct rp_h1_up *own(struct rp_up *u)
{
    return RP_CONTAINER(rp_h1_up, up, u);
}

static const struct rp_h1_up *look(const struct rp_up *u)
{
    return (const struct rp_h1_up *)((const char *)u - offsetof(struct rp_h1_up, up));
}

static void on_conn_event(struct rp_conn *c, unsigned events)
{
    struct rp_h1_up *u = RP_AS(rp_h1_up, rp_conn_face(c)->owner, MAGIC);
    if (events & RP_CONN_READABLE) rp_reader_note(&u->in, c);
    if (u->up.wake) u->up.wake(u->up.user, &u->up);
}

static rp_err up_finish_connect(struct rp_up *up)
{
    struct rp_h1_up *u = own(up);
    return rp_conn_finish_connect(u->up.conn);
}

struct rp_conn *rp_h1_up_release(struct rp_up *up)
{
    struct rp_h1_up *u = own(up);
    struct rp_conn *c = u->up.conn;
    rp_reader_clear(&u->in);
    rp_chain_clear(&u->out);
    u->magic = 0;
    rp_free(u);
    return c;
}

static void up_close(struct rp_up *up)
{
    rp_conn_close(rp_h1_up_release(up));
}

static void up_linger(struct rp_up *up, rp_ms ms, size_t bytes)
{
    rp_conn_linger(rp_h1_up_release(up), ms, bytes);
}

/* ---- request out --------------------------------------------------------------------------- */

static void up_start(struct rp_up *up, struct rp_chain *head, uint8_t method,
                     enum rp_framing framing, uint64_t length)
{
    struct rp_h1_up *u = own(up);
    u->method = method;
    u->out_framing = (uint8_t)framing;
    u->out_left = length;
    u->request_done = framing == RP_BODY_NONE || (framing == RP_BODY_LENGTH && length == 0);
    u->head_done = u->answered = u->keepalive = u->body_sent = false;
    u->scanned = 0;
    u->up.requests++;
    rp_body_in_init(&u->body, RP_BODY_NONE, 0);
    rp_chain_move(&u->out, head, head->bytes);
}

static rp_err up_send(struct rp_up *up, struct rp_chain *in, bool last,
                      const struct rp_msg *trailers)
{
    struct rp_h1_up *u = own(up);
    if (u->out_framing == RP_BODY_LENGTH) {
        if (in->bytes > u->out_left) return RP_E_H1_FRAMING;
        u->out_left -= in->bytes;
        if (last && u->out_left > 0) return RP_E_H1_FRAMING;
    }
    if (in->bytes > 0) u->body_sent = true;
    if (u->out_framing == RP_BODY_CHUNKED) {
        rp_h1_put_chunk(&u->out, in);
        if (last) rp_h1_put_last_chunk(&u->out, trailers);
    } else if (in->head && in->head == in->tail && in->bytes <= COPY_MAX) {
        rp_chain_add_copy(&u->out, rp_str_of(in->head->ptr, in->head->len));
        rp_chain_clear(in);
    } else {
        rp_chain_move(&u->out, in, in->bytes);
    }
    if (last) u->request_done = true;
    return u->out.bytes > SEND_HIGH ? RP_AGAIN : RP_OK;
}

static rp_err wrote(struct rp_h1_up *u, rp_err e)
{
    if (e >= 0) return e;
    u->poisoned = true;
    return RP_E_UP_SEND;
}

static rp_err up_flush(struct rp_up *up)
{
    struct rp_h1_up *u = own(up);
    return u->out.bytes == 0 ? RP_OK : wrote(u, rp_conn_send(u->up.conn, &u->out));
}

static uint64_t up_pipe_room(const struct rp_up *up)
{
    const struct rp_h1_up *u = look(up);
    return u->out_framing == RP_BODY_LENGTH ? u->out_left : 0;
}

static void up_expect_pipe(struct rp_up *up, size_t n)
{
    struct rp_h1_up *u = own(up);
    RP_CHECK(n <= u->out_left);
    u->out_left -= n;
    u->body_sent = true;
}

static rp_err up_send_pipe(struct rp_up *up, struct rp_splice **pipe)
{
    struct rp_h1_up *u = own(up);
    return wrote(u, rp_splice_give(u->up.conn, pipe, &u->out));
}

static bool up_is_flushed(const struct rp_up *up)
{
    const struct rp_h1_up *u = look(up);
    return u->out.bytes == 0;
}

static bool up_is_sent(const struct rp_up *up)
{
    const struct rp_h1_up *u = look(up);
    return u->request_done && u->out.bytes == 0;
}

static uint64_t up_taken(const struct rp_up *up)
{
    return rp_conn_face(up->conn)->out_bytes;
}

static size_t up_unsent(const struct rp_up *up)
{
    return rp_conn_unsent(up->conn);
}

static bool up_has_sent_body(const struct rp_up *up)
{
    const struct rp_h1_up *u = look(up);
    return u->body_sent;
}

static bool up_is_quiet(const struct rp_up *up)
{
    const struct rp_h1_up *u = look(up);
    return rp_conn_is_quiet(u->up.conn);
}

static bool up_has_answer(const struct rp_up *up)
{
    const struct rp_h1_up *u = look(up);
    return u->answered || rp_reader_len(&u->in) > 0;
}

/* ---- response in --------------------------------------------------------------------------- */

static rp_err fail_read(struct rp_h1_up *u, rp_err e)
{
    u->poisoned = true;
    if (e == RP_E_TOO_BIG) return RP_E_UP_HEAD_BIG;
    return u->answered || rp_reader_len(&u->in) > 0 ? RP_E_UP_TRUNCATED : RP_E_UP_CLOSED;
}

static rp_err take_head(struct rp_h1_up *u, size_t head_n, const struct rp_msg *out,
                        struct rp_chunk **chunk)
{
    *chunk = rp_chunk_hold(u->in.chunk);
    rp_reader_take(&u->in, head_n);
    u->scanned = 0;
    u->answered = true;
    if (out->status >= 200) {
        u->head_done = true;
        u->keepalive = out->keepalive;
        rp_body_in_init(&u->body, (enum rp_framing)out->framing, out->content_length);
    }
    return RP_OK;
}

static rp_err parse_head(struct rp_h1_up *u, size_t head_n, const struct rp_h1_limits *limits,
                         struct rp_arena *a, struct rp_msg *out, struct rp_chunk **chunk)
{
    char *p = u->in.chunk->data + u->in.at;
    rp_err e = rp_h1_parse_response(p, head_n, limits, u->method, a, out);
    if (e == RP_OK) return take_head(u, head_n, out, chunk);
    u->poisoned = true;
    return e;
}

/* The usual head came in one piece. */
static size_t try_head(struct rp_h1_up *u, const struct rp_h1_limits *limits, struct rp_arena *a,
                       struct rp_msg *out)
{
    char *p = u->in.chunk->data + u->in.at;
    return rp_h1_try_response(p, rp_reader_len(&u->in), limits, u->method, a, out);
}

/* It came in pieces, or what came is odd. */
RP_APART static rp_err read_any_head(struct rp_h1_up *u, const struct rp_h1_limits *limits,
                                     struct rp_arena *a, struct rp_msg *out,
                                     struct rp_chunk **chunk)
{
    for (;;) {
        size_t have = rp_reader_len(&u->in);
        size_t head_n = have ? rp_h1_head_end(rp_reader_ptr(&u->in), have, &u->scanned) : 0;
        if (head_n > limits->head_bytes || (!head_n && have > limits->head_bytes)) {
            u->poisoned = true;
            return RP_E_UP_HEAD_BIG;
        }
        if (head_n) return parse_head(u, head_n, limits, a, out, chunk);
        rp_err e = rp_reader_fill(&u->in, u->mem, u->up.conn, limits->head_bytes + HEAD_ROOM);
        if (e == RP_AGAIN) return e;
        if (e != RP_OK) return fail_read(u, e);
    }
}

static rp_err up_read_head(struct rp_up *up, const struct rp_h1_limits *limits, struct rp_arena *a,
                           struct rp_msg *out, struct rp_chunk **chunk)
{
    struct rp_h1_up *u = own(up);
    bool none = u->in.at == u->in.end;
    if (none && !u->in.readable && u->in.over == RP_OK) return RP_AGAIN; /* just sent */
    if (none) {
        rp_err e = rp_reader_fill(&u->in, u->mem, u->up.conn, limits->head_bytes + HEAD_ROOM);
        if (e == RP_AGAIN) return e;
        if (RP_UNLIKELY(e != RP_OK)) return fail_read(u, e);
    }
    if (RP_LIKELY(u->scanned == 0)) {
        size_t n = try_head(u, limits, a, out);
        if (RP_LIKELY(n > 0)) return take_head(u, n, out, chunk);
    }
    return read_any_head(u, limits, a, out, chunk);
}

RP_APART static rp_err read_any(struct rp_h1_up *u, struct rp_chain *out, size_t max,
                                struct rp_arena *a, struct rp_msg **trailers)
{
    rp_str section = RP_STR_NONE;
    bool counted = u->body.mode == RP_IN_LENGTH;
    rp_err e = rp_body_in_read(&u->body, &u->in, u->mem, u->up.conn, out, max, &section);
    if (e < 0) {
        u->poisoned = true;
        return e == RP_E_H1_CHUNK ? RP_E_UP_BAD_RESPONSE : RP_E_UP_TRUNCATED;
    }
    if (counted) return u->body.mode == RP_IN_DONE ? RP_END : e;
    if (section.len > 2) {
        rp_str copy = rp_arena_copy(a, section);
        struct rp_msg *t = rp_arena_zalloc(a, sizeof(*t));
        if (!copy.ptr || !t) return e;
        rp_msg_init(t, NULL, 0, RP_H_COUNT);
        if (rp_h1_parse_trailers(copy.ptr, copy.len, a, t) == RP_OK) *trailers = t;
        else u->poisoned = true;
    }
    return e;
}

static rp_err up_read(struct rp_up *up, struct rp_chain *out, size_t max, struct rp_arena *a,
                      struct rp_msg **trailers)
{
    struct rp_h1_up *u = own(up);
    if (RP_LIKELY(rp_body_in_take_rest(&u->body, &u->in, out, max))) return RP_END;
    return read_any(u, out, max, a, trailers);
}

static rp_str up_read_small(struct rp_up *up, uint64_t length)
{
    struct rp_h1_up *u = own(up);
    bool whole =
        u->body.mode == RP_IN_LENGTH && u->body.left == length && length <= rp_reader_len(&u->in);
    if (!whole) return RP_STR_NONE;
    rp_str body = rp_str_of(rp_reader_ptr(&u->in), (size_t)length);
    rp_reader_take(&u->in, body.len);
    u->body.left = 0;
    u->body.mode = RP_IN_DONE;
    return body;
}

static size_t up_at_hand(const struct rp_up *up)
{
    const struct rp_h1_up *u = look(up);
    return rp_reader_len(&u->in);
}

static uint64_t up_unseen(const struct rp_up *up)
{
    const struct rp_h1_up *u = look(up);
    return rp_body_in_unseen(&u->body, &u->in);
}

static rp_err up_splice(struct rp_up *up, struct rp_splice **pipe)
{
    struct rp_h1_up *u = own(up);
    rp_err e = rp_body_in_splice(&u->body, &u->in, u->up.conn, pipe);
    if (e >= 0 || e == RP_E_BUSY) return e;
    u->poisoned = true;
    return RP_E_UP_TRUNCATED;
}

static bool up_is_reusable(const struct rp_up *up)
{
    const struct rp_h1_up *u = look(up);
    return !u->poisoned && u->keepalive && u->head_done && up_is_sent(up) &&
           u->body.mode == RP_IN_DONE && rp_reader_len(&u->in) == 0 &&
           (!u->in.readable ||
            rp_conn_is_quiet(u->up.conn)); /* garbage must not answer the next one */
}

static void up_rest(struct rp_up *up)
{
    struct rp_h1_up *u = own(up);
    RP_ASSERT(rp_reader_len(&u->in) == 0);
    rp_reader_clear(&u->in);
    rp_reader_listen(&u->in, u->up.conn);
    u->in.readable = false; /* the last look found nothing (is_reusable) */
}

static void up_tunnel(struct rp_up *up)
{
    struct rp_h1_up *u = own(up);
    u->poisoned = true;
    u->out_framing = RP_BODY_CLOSE;
    u->request_done = false;
    rp_body_in_init(&u->body, RP_BODY_CLOSE, 0);
}

static void up_end_output(struct rp_up *up)
{
    struct rp_h1_up *u = own(up);
    rp_conn_shutdown(u->up.conn);
}

/* HTTP/1 has no word for it. */
static bool up_is_unprocessed(const struct rp_up *up)
{
    (void)up;
    return false;
}

static const struct rp_up_ops OPS = {
    .finish_connect = up_finish_connect,
    .close = up_close,
    .linger = up_linger,
    .start = up_start,
    .send = up_send,
    .pipe_room = up_pipe_room,
    .expect_pipe = up_expect_pipe,
    .send_pipe = up_send_pipe,
    .flush = up_flush,
    .is_flushed = up_is_flushed,
    .is_sent = up_is_sent,
    .taken = up_taken,
    .unsent = up_unsent,
    .has_sent_body = up_has_sent_body,
    .is_quiet = up_is_quiet,
    .has_answer = up_has_answer,
    .is_unprocessed = up_is_unprocessed,
    .read_head = up_read_head,
    .read = up_read,
    .read_small = up_read_small,
    .at_hand = up_at_hand,
    .unseen = up_unseen,
    .splice = up_splice,
    .is_reusable = up_is_reusable,
    .rest = up_rest,
    .tunnel = up_tunnel,
    .end_output = up_end_output,
};

rp_err rp_h1_up_connect(struct rp_loop *l, struct rp_mem *m, const struct rp_addr *to,
                        struct rp_up **out, struct rp_conn_fail *fail)
{
    struct rp_conn *c = NULL;
    rp_err e = rp_conn_connect(l, to, &c, fail);
    if (e == RP_OK) *out = rp_h1_up_adopt(c, m);
    return e;
}

struct rp_up *rp_h1_up_adopt(struct rp_conn *c, struct rp_mem *m)
{
    struct rp_h1_up *u = rp_alloc(sizeof(*u));
    u->magic = MAGIC;
    u->mem = m;
    u->up.ops = &OPS;
    u->up.conn = c;
    u->up.fail = &rp_conn_face(c)->fail;
    rp_chain_init(&u->out, m);
    rp_conn_face(c)->owner = u;
    rp_conn_face(c)->on_event = on_conn_event;
    return &u->up;
}
