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
    struct rp_conn *conn;
    struct rp_mem *mem;
    rp_h1_up_fn wake;
    void *user;
    struct rp_reader in;
    size_t scanned;
    struct rp_body_in body;
    struct rp_chain out;
    struct rp_h1_up_face face;
};

static void on_conn_event(struct rp_conn *c, unsigned events)
{
    struct rp_h1_up *u = RP_AS(rp_h1_up, rp_conn_face(c)->owner, MAGIC);
    if (events & RP_CONN_READABLE) rp_reader_note(&u->in, c);
    if (u->wake) u->wake(u->user, u);
}

rp_err rp_h1_up_connect(struct rp_loop *l, struct rp_mem *m, const struct rp_addr *to,
                        struct rp_h1_up **out, struct rp_conn_fail *fail)
{
    struct rp_conn *c = NULL;
    rp_err e = rp_conn_connect(l, to, &c, fail);
    if (e != RP_OK) return e;
    struct rp_h1_up *u = rp_alloc(sizeof(*u));
    u->magic = MAGIC;
    u->conn = c;
    u->mem = m;
    u->face.conn = c;
    u->face.fail = &rp_conn_face(c)->fail;
    rp_chain_init(&u->out, m);
    rp_conn_face(c)->owner = u;
    rp_conn_face(c)->on_event = on_conn_event;
    *out = u;
    return RP_OK;
}

rp_err rp_h1_up_finish_connect(struct rp_h1_up *u)
{
    return rp_conn_finish_connect(u->conn);
}

void rp_h1_up_bind(struct rp_h1_up *u, rp_h1_up_fn wake, void *user)
{
    u->wake = wake;
    u->user = user;
}

static struct rp_conn *release(struct rp_h1_up *u)
{
    struct rp_conn *c = u->conn;
    rp_reader_clear(&u->in);
    rp_chain_clear(&u->out);
    u->magic = 0;
    rp_free(u);
    return c;
}

void rp_h1_up_close(struct rp_h1_up *u)
{
    rp_conn_close(release(u));
}

void rp_h1_up_linger(struct rp_h1_up *u, rp_ms ms, size_t bytes)
{
    rp_conn_linger(release(u), ms, bytes);
}

struct rp_h1_up_face *rp_h1_up_face(struct rp_h1_up *u)
{
    return &u->face;
}

/* ---- request out --------------------------------------------------------------------------- */

void rp_h1_up_start(struct rp_h1_up *u, struct rp_chain *head, uint8_t method,
                    enum rp_framing framing, uint64_t length)
{
    u->method = method;
    u->out_framing = (uint8_t)framing;
    u->out_left = length;
    u->request_done = framing == RP_BODY_NONE || (framing == RP_BODY_LENGTH && length == 0);
    u->head_done = u->answered = u->keepalive = u->body_sent = false;
    u->scanned = 0;
    u->face.requests++;
    rp_body_in_init(&u->body, RP_BODY_NONE, 0);
    rp_chain_move(&u->out, head, head->bytes);
}

rp_err rp_h1_up_send(struct rp_h1_up *u, struct rp_chain *in, bool last,
                     const struct rp_msg *trailers)
{
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

rp_err rp_h1_up_flush(struct rp_h1_up *u)
{
    return u->out.bytes == 0 ? RP_OK : wrote(u, rp_conn_send(u->conn, &u->out));
}

uint64_t rp_h1_up_pipe_room(const struct rp_h1_up *u)
{
    return u->out_framing == RP_BODY_LENGTH ? u->out_left : 0;
}

void rp_h1_up_expect_pipe(struct rp_h1_up *u, size_t n)
{
    RP_CHECK(n <= u->out_left);
    u->out_left -= n;
    u->body_sent = true;
}

rp_err rp_h1_up_send_pipe(struct rp_h1_up *u, struct rp_splice **pipe)
{
    return wrote(u, rp_splice_give(u->conn, pipe, &u->out));
}

bool rp_h1_up_is_flushed(const struct rp_h1_up *u)
{
    return u->out.bytes == 0;
}

bool rp_h1_up_is_sent(const struct rp_h1_up *u)
{
    return u->request_done && u->out.bytes == 0;
}

bool rp_h1_up_has_sent_body(const struct rp_h1_up *u)
{
    return u->body_sent;
}

bool rp_h1_up_is_quiet(const struct rp_h1_up *u)
{
    return rp_conn_is_quiet(u->conn);
}

bool rp_h1_up_has_answer(const struct rp_h1_up *u)
{
    return u->answered || rp_reader_len(&u->in) > 0;
}

/* ---- response in --------------------------------------------------------------------------- */

static rp_err fail_read(struct rp_h1_up *u, rp_err e)
{
    u->poisoned = true;
    if (e == RP_E_TOO_BIG) return RP_E_UP_HEAD_BIG;
    return u->answered || rp_reader_len(&u->in) > 0 ? RP_E_UP_TRUNCATED : RP_E_UP_CLOSED;
}

static rp_err parse_head(struct rp_h1_up *u, size_t head_n, const struct rp_h1_limits *limits,
                         struct rp_arena *a, struct rp_msg *out, struct rp_chunk **chunk)
{
    char *p = u->in.chunk->data + u->in.at;
    rp_err e = rp_h1_parse_response(p, head_n, limits, u->method, a, out);
    if (e != RP_OK) {
        u->poisoned = true;
        return e;
    }
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

rp_err rp_h1_up_read_head(struct rp_h1_up *u, const struct rp_h1_limits *limits, struct rp_arena *a,
                          struct rp_msg *out, struct rp_chunk **chunk)
{
    for (;;) {
        size_t have = rp_reader_len(&u->in);
        size_t head_n = have ? rp_h1_head_end(rp_reader_ptr(&u->in), have, &u->scanned) : 0;
        if (head_n > limits->head_bytes || (!head_n && have > limits->head_bytes)) {
            u->poisoned = true;
            return RP_E_UP_HEAD_BIG;
        }
        if (head_n) return parse_head(u, head_n, limits, a, out, chunk);
        rp_err e = rp_reader_fill(&u->in, u->mem, u->conn, limits->head_bytes + HEAD_ROOM);
        if (e == RP_AGAIN) return e;
        if (e != RP_OK) return fail_read(u, e);
    }
}

rp_err rp_h1_up_read(struct rp_h1_up *u, struct rp_chain *out, size_t max, struct rp_arena *a,
                     struct rp_msg **trailers)
{
    rp_str section = RP_STR_NONE;
    rp_err e = rp_body_in_read(&u->body, &u->in, u->mem, u->conn, out, max, &section);
    if (e < 0) {
        u->poisoned = true;
        return e == RP_E_H1_CHUNK ? RP_E_UP_BAD_RESPONSE : RP_E_UP_TRUNCATED;
    }
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

size_t rp_h1_up_at_hand(const struct rp_h1_up *u)
{
    return rp_reader_len(&u->in);
}

uint64_t rp_h1_up_unseen(const struct rp_h1_up *u)
{
    return rp_body_in_unseen(&u->body, &u->in);
}

rp_err rp_h1_up_splice(struct rp_h1_up *u, struct rp_splice **pipe)
{
    rp_err e = rp_body_in_splice(&u->body, &u->in, u->conn, pipe);
    if (e >= 0 || e == RP_E_BUSY) return e;
    u->poisoned = true;
    return RP_E_UP_TRUNCATED;
}

bool rp_h1_up_is_reusable(const struct rp_h1_up *u)
{
    return !u->poisoned && u->keepalive && u->head_done && rp_h1_up_is_sent(u) &&
           u->body.mode == RP_IN_DONE && rp_reader_len(&u->in) == 0 &&
           (!u->in.readable ||
            rp_conn_is_quiet(u->conn)); /* garbage must not answer the next one */
}

void rp_h1_up_rest(struct rp_h1_up *u)
{
    RP_ASSERT(rp_reader_len(&u->in) == 0);
    rp_reader_clear(&u->in);
    rp_reader_listen(&u->in, u->conn);
    u->in.readable = false; /* the last look found nothing (is_reusable) */
}

void rp_h1_up_tunnel(struct rp_h1_up *u)
{
    u->poisoned = true;
    u->out_framing = RP_BODY_CLOSE;
    u->request_done = false;
    rp_body_in_init(&u->body, RP_BODY_CLOSE, 0);
}

void rp_h1_up_end_output(struct rp_h1_up *u)
{
    rp_conn_shutdown(u->conn);
}
