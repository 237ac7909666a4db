/* SPDX-License-Identifier: MIT
 *
 * h2_up: see h2_up.h. Requests on a link; the link itself is h2_link.c.
 *
 * Invariant: a stream lives until nghttp2 has closed it and its user gave it back.
 */
#include "http/h2_link.h"

#include "http/h1_write.h"
#include "http/h2_msg.h"

enum {
    SEND_HIGH = 128 * 1024, /* content queued in a stream that makes send say AGAIN */
    ARENA_MOST = 2 * 1024 * 1024,
    REQUEST_FIELDS = 5000, /* the limits were kept when the request came in */
    SILENCE_MS = 1000,     /* an unanswered request sees this much before it doubts its link */
};

void rp_h2_ask_wake(struct rp_h2_ask *st)
{
    if (st->held && st->up.wake) st->up.wake(st->up.user, &st->up);
}

static struct rp_h2_ask *own(struct rp_up *u)
{
    return RP_CONTAINER(rp_h2_ask, up, u);
}
static const struct rp_h2_ask *look(const struct rp_up *u)
{
    return (const struct rp_h2_ask *)((const char *)u - offsetof(struct rp_h2_ask, up));
}

void rp_h2_ask_free(struct rp_h2_ask *st)
{
    struct rp_h2_link *k = st->link;
    k->io.unread -= st->in.bytes;
    rp_chain_clear(&st->in);
    rp_chain_clear(&st->out.bytes);
    rp_chunk_drop(st->text);
    rp_chunk_drop(st->trailers);
    rp_arena_reset(&st->arena);
    while (st->heads) {
        struct rp_h2_answer *h = st->heads;
        st->heads = h->next;
        rp_chunk_drop(h->chunk);
        rp_free(h);
    }
    if (st->prev) st->prev->next = st->next;
    else k->streams = st->next;
    if (st->next) st->next->prev = st->prev;
    st->magic = 0;
    rp_free(st);
}

/* ---- streams ------------------------------------------------------------------------------- */

static bool is_over(const struct rp_h2_ask *st)
{
    return st->closed || st->link->io.dead;
}

static void consumed(struct rp_h2_ask *st, size_t n)
{
    struct rp_h2_io *io = &st->link->io;
    if (n == 0) return;
    rp_h2_io_read(io, n);
    if (is_over(st)) return;
    RP_IGNORE(
        nghttp2_session_consume_stream(io->ng, st->id, n)); /* without memory: the next flush */
    rp_h2_io_flush_later(io);
}

/* A stream is there at once; but whether the upstream takes an extended CONNECT is in its SETTINGS. */
static rp_err up_finish_connect(struct rp_up *u)
{
    const struct rp_h2_ask *st = look(u);
    if (!st->tunnel) return RP_OK;
    if (st->link->io.dead) return RP_E_UP_CLOSED;
    if (!st->link->settled) return RP_AGAIN;
    return rp_h2_link_takes_tunnels(st->link) ? RP_OK : RP_E_UP_WEBSOCKET;
}

/* A request waited in vain, and its connection was silent all the while: the upstream is slow, or it is
 * gone and nobody told us. New requests take another link until a byte (of the answer to our PING) says
 * that it lives. One PING between two responses: servers of gRPC close on those who ask too often. */
static void doubt(struct rp_h2_ask *st)
{
    struct rp_h2_link *k = st->link;
    rp_ms now = rp_loop_now(rp_conn_loop(k->io.conn));
    if (st->id == 0 || st->answered || is_over(st) || k->doubted) return;
    if (now - RP_MAX(st->started_ms, k->came_ms) < SILENCE_MS) return;
    if (k->pinged) k->leaving = true;
    if (k->leaving) return;
    k->doubted = k->pinged = true;
    RP_IGNORE(nghttp2_submit_ping(k->io.ng, NGHTTP2_FLAG_NONE, NULL)); /* memory: the next flush */
}

/* Nobody will read what came: it must not keep the connection's window closed. */
static void forget_unread(struct rp_h2_ask *st)
{
    size_t n = st->in.bytes;
    rp_chain_clear(&st->in);
    if (n > 0) rp_h2_io_read(&st->link->io, n);
}

void rp_h2_ask_reset(struct rp_h2_ask *st)
{
    if (st->closed || st->link->io.dead) return;
    /* Fails only without memory; then the link's next flush finds out. */
    RP_IGNORE(
        nghttp2_submit_rst_stream(st->link->io.ng, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_CANCEL));
}

/* Is all said that will be, but for an END_STREAM that no window holds back? */
static bool is_all_out(const struct rp_h2_ask *st)
{
    return st->out.ended || (st->out.last && st->out.bytes.bytes == 0);
}

/* The user is done with it. linger: how long the upstream has to end it, too; 0: not at all. */
static void give_back(struct rp_h2_ask *st, rp_ms linger)
{
    struct rp_h2_link *k = st->link;
    doubt(st);
    forget_unread(st);
    st->held = false;
    k->held_n--;
    rp_up_bind(&st->up, NULL, NULL);
    bool over = st->in_ended && is_all_out(st);
    if (st->closed || st->id == 0 || k->io.dead) rp_h2_ask_free(st);
    else if (linger) rp_h2_link_linger(k, linger);
    else if (!over) rp_h2_ask_reset(st);
    rp_h2_io_flush_later(&k->io);
    if (k->held_n > 0) return;
    if (k->leaving) rp_h2_link_leave(k);
    rp_timer_set(rp_conn_loop(k->io.conn), &k->idle, k->settings.idle_ms);
}

static void up_close(struct rp_up *u)
{
    give_back(own(u), 0);
}

/* ---- request out --------------------------------------------------------------------------- */

static int submit_trailers(struct rp_h2_ask *st)
{
    struct rp_h2_block b;
    if (rp_h2_block_init(&b, &st->arena, st->trailers_out) != RP_OK) return -1;
    if (rp_h2_block_put_fields(&b, &st->arena, st->trailers_out) != RP_OK) return -1;
    return b.n ? nghttp2_submit_trailer(st->link->io.ng, st->id, b.nv, b.n) : -1;
}

/* nghttp2 asks how much goes into the next DATA frame. */
static ssize_t give_content(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t most,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct rp_h2_ask *st = source->ptr;
    (void)ng, (void)id, (void)buf, (void)arg;
    ssize_t n = rp_h2_out_give(&st->out, most, flags);
    if (!st->out.ended) return n;
    bool trailers = st->held && st->trailers_out; /* they are the user's */
    if (trailers && submit_trailers(st) == 0) *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return n;
}

int rp_h2_ask_put_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                       nghttp2_data_source *source, void *arg)
{
    struct rp_h2_ask *st = source->ptr;
    struct rp_h2_link *k = arg;
    (void)ng, (void)frame; /* nobody asked for padding */
    rp_h2_io_put_data(&k->io, head, &st->out.bytes, n);
    st->taken += n;
    rp_h2_ask_wake(st);
    return 0;
}

/* The head as it lies in one piece. */
static rp_str whole_text(struct rp_h2_ask *st, const struct rp_chain *head)
{
    if (head->head && head->head == head->tail) {
        return rp_str_of(head->head->ptr, head->head->len);
    }
    char *p = rp_arena_alloc(&st->arena, head->bytes);
    if (!p) return RP_STR_NONE;
    rp_chain_peek(head, p, head->bytes);
    return rp_str_of(p, head->bytes);
}

/* A handshake of HTTP/1 as an extended CONNECT (RFC 8441 §5): its key stays here. */
static rp_err keep_key(struct rp_h2_ask *st, struct rp_msg *m)
{
    const struct rp_field *f = rp_msg_find_name(m, RP_STR("sec-websocket-key"));
    if (!f) return RP_E_WS_KEY;
    rp_ws_accept(rp_field_value(f), st->accept);
    (void)rp_msg_del(m, RP_H_OTHER, RP_STR("sec-websocket-key")); /* however many there are */
    return RP_OK;
}

static rp_err fill_block(struct rp_h2_ask *st, struct rp_msg *m, enum rp_framing framing,
                         struct rp_h2_block *b)
{
    struct rp_field *host = rp_msg_find(m, RP_H_HOST);
    rp_err e = st->tunnel ? keep_key(st, m) : RP_OK;
    if (e == RP_OK) e = rp_h2_block_init(b, &st->arena, m);
    if (e != RP_OK) return e;
    rp_h2_block_put(b, RP_STR(":method"), st->tunnel ? RP_STR("CONNECT") : m->method_text);
    if (st->tunnel) rp_h2_block_put(b, RP_STR(":protocol"), RP_STR("websocket"));
    rp_h2_block_put(b, RP_STR(":scheme"), st->link->secure ? RP_STR("https") : RP_STR("http"));
    if (host) rp_h2_block_put(b, RP_STR(":authority"), rp_field_value(host));
    rp_h2_block_put(b, RP_STR(":path"), m->target);
    if (host) host->name_n = 0;
    e = rp_h2_block_put_fields(b, &st->arena, m);
    if (e != RP_OK) return e;
    if (m->te_trailers) rp_h2_block_put(b, RP_STR("te"), RP_STR("trailers"));
    rp_str length = rp_msg_get(m, RP_H_CONTENT_LENGTH);
    if (framing == RP_BODY_LENGTH) rp_h2_block_put(b, RP_STR("content-length"), length);
    return RP_OK;
}

static rp_err submit(struct rp_h2_ask *st, rp_str text, enum rp_framing framing)
{
    struct rp_h2_link *k = st->link;
    const struct rp_h1_limits limits = {
        .head_bytes = UINT32_MAX, .uri_bytes = UINT32_MAX, .fields_n = REQUEST_FIELDS};
    struct rp_msg m;
    struct rp_h2_block b;
    rp_msg_init(&m, NULL, 0, REQUEST_FIELDS);
    rp_err e = rp_h1_parse_request(text.ptr, text.len, &limits, &st->arena, &m);
    if (e == RP_OK) e = fill_block(st, &m, framing, &b);
    if (e != RP_OK) return e;
    nghttp2_data_provider content = {.source.ptr = st, .read_callback = give_content};
    bool bodyless = st->out.last;
    st->id = nghttp2_submit_request(k->io.ng, NULL, b.nv, b.n, bodyless ? NULL : &content, st);
    if (st->id > 0) return RP_OK;
    st->id = 0;
    k->leaving = true; /* no numbers are left, or no memory */
    st->unprocessed = true;
    return RP_E_UP_SEND;
}

static void up_start(struct rp_up *u, struct rp_chain *head, uint8_t method,
                     enum rp_framing framing, uint64_t length)
{
    struct rp_h2_ask *st = own(u);
    struct rp_h2_link *k = st->link;
    rp_str text = whole_text(st, head);
    st->method = method;
    st->out_framing = (uint8_t)framing;
    st->out_left = length;
    st->out.last = framing == RP_BODY_NONE || (framing == RP_BODY_LENGTH && length == 0);
    if (st->tunnel) st->out.last = false; /* what follows is the tunnel's */
    st->out.ended = st->out.last;
    st->started_ms = rp_loop_now(rp_conn_loop(k->io.conn));
    k->requests++;
    u->requests = k->requests;
    if (k->settings.requests_max && k->requests >= k->settings.requests_max) k->leaving = true;
    rp_err e = text.ptr ? submit(st, text, framing) : RP_E_CAP;
    if (e != RP_OK) st->closed = true; /* reading says that there is no answer */
    rp_chain_clear(head);
    rp_h2_io_flush_later(&k->io);
    if (e != RP_OK) rp_h2_ask_wake(st);
}

static void drop_output(struct rp_h2_ask *st, struct rp_chain *bytes)
{
    if (bytes->bytes > 0) st->lost = true;
    rp_chain_clear(bytes);
}

static rp_err up_send(struct rp_up *u, struct rp_chain *in, bool last,
                      const struct rp_msg *trailers)
{
    struct rp_h2_ask *st = own(u);
    if (st->out_framing == RP_BODY_LENGTH) {
        if (in->bytes > st->out_left) return RP_E_H1_FRAMING;
        st->out_left -= in->bytes;
        if (last && st->out_left > 0) return RP_E_H1_FRAMING;
    }
    if (in->bytes > 0) st->body_sent = true;
    if (is_over(st)) drop_output(st, in); /* nobody is there; reading says why */
    rp_chain_move(&st->out.bytes, in, in->bytes);
    if (last) st->trailers_out = trailers;
    /* The last byte carries the end: behind a window that it fills, nothing more could go. */
    if (last || (st->out_framing == RP_BODY_LENGTH && st->out_left == 0)) st->out.last = true;
    if (!is_over(st)) {
        RP_IGNORE(rp_h2_out_resume(&st->out, &st->link->io, st->id)); /* closed: as above */
    }
    return st->out.bytes.bytes > SEND_HIGH ? RP_AGAIN : RP_OK;
}

/* In a frame is as good as sent: the link bounds and watches what its socket does not take. */
static rp_err up_flush(struct rp_up *u)
{
    struct rp_h2_ask *st = own(u);
    if (is_over(st)) {
        drop_output(st, &st->out.bytes);
        return st->answered && !(st->switched && st->lost) ? RP_OK : RP_E_UP_SEND;
    }
    if (st->out.bytes.bytes > 0 || (st->out.last && !st->out.ended))
        rp_h2_io_serialise(&st->link->io);
    rp_h2_io_flush_later(&st->link->io);
    return st->out.bytes.bytes > 0 ? RP_AGAIN : RP_OK;
}

static bool up_is_flushed(const struct rp_up *u)
{
    return look(u)->out.bytes.bytes == 0;
}

static bool up_is_sent(const struct rp_up *u)
{
    const struct rp_h2_ask *st = look(u);
    return st->out.last && st->out.bytes.bytes == 0;
}

static uint64_t up_taken(const struct rp_up *u)
{
    return look(u)->taken;
}

/* What its window has no room for; then all that waits on the connection, which may be of others. */
static size_t up_unsent(const struct rp_up *u)
{
    const struct rp_h2_io *io = &look(u)->link->io;
    return look(u)->out.bytes.bytes + io->out.bytes + rp_conn_unsent(u->conn);
}

static bool up_has_sent_body(const struct rp_up *u)
{
    return look(u)->body_sent;
}

/* ---- response in --------------------------------------------------------------------------- */

/* What came since the loop last looked, GOAWAY or an end, is read now; while others use the link, the
 * loop looks often enough. */
static bool up_is_quiet(const struct rp_up *u)
{
    struct rp_h2_link *k = look(u)->link;
    if (k->held_n == 1 && !k->io.dead) rp_h2_io_event(&k->io, RP_CONN_READABLE);
    return !k->io.dead && !k->leaving;
}

static bool up_has_answer(const struct rp_up *u)
{
    return look(u)->answered || look(u)->refused;
}

static bool up_is_unprocessed(const struct rp_up *u)
{
    return look(u)->unprocessed || rp_h2_ask_is_shut_out(look(u));
}

static rp_err no_head(const struct rp_h2_ask *st)
{
    if (st->big) return RP_E_UP_HEAD_BIG;
    if (st->bad || st->in_ended) return RP_E_UP_BAD_RESPONSE;
    if (rp_h2_ask_is_shut_out(st)) return RP_E_UP_STREAMS;
    if (!is_over(st)) return RP_AGAIN;
    return st->answered ? RP_E_UP_TRUNCATED : RP_E_UP_CLOSED;
}

/* The end of the content is told by the frames: to the floors above an unknown length is what
 * chunked is. */
static void settle_framing(struct rp_msg *out, bool ended)
{
    out->version = 20;
    out->keepalive = true;
    if (out->status < 200) return;
    if (ended) out->framing = out->framing == RP_BODY_LENGTH ? RP_BODY_LENGTH : RP_BODY_NONE;
    else if (out->framing == RP_BODY_CLOSE) out->framing = RP_BODY_CHUNKED;
}

static rp_err up_read_head(struct rp_up *u, const struct rp_h1_limits *limits, struct rp_arena *a,
                           struct rp_msg *out, struct rp_chunk **chunk)
{
    struct rp_h2_ask *st = own(u);
    struct rp_h2_answer *h = st->heads;
    if (!h) return no_head(st);
    st->heads = h->next;
    if (!st->heads) st->heads_end = &st->heads;
    st->heads_n--;
    rp_err e = rp_h1_parse_response(h->chunk->data, h->chunk->used, limits, st->method, a, out);
    if (e == RP_OK) {
        settle_framing(out, h->ended);
        *chunk = h->chunk;
    } else {
        rp_chunk_drop(h->chunk);
    }
    rp_free(h);
    return e;
}

/* A trailer section that cannot be had must not be left out: it may say that all went wrong. */
static rp_err read_trailers(struct rp_h2_ask *st, struct rp_arena *a, struct rp_msg **trailers)
{
    if (!st->trailers) return RP_END;
    rp_str copy = rp_arena_copy(a, rp_str_of(st->trailers->data, st->trailers->used));
    struct rp_msg *t = rp_arena_zalloc(a, sizeof(*t));
    if (!copy.ptr || !t) return RP_E_UP_BAD_RESPONSE;
    rp_msg_init(t, NULL, 0, RP_H_COUNT);
    if (rp_h1_parse_trailers(copy.ptr, copy.len, a, t) != RP_OK) return RP_E_UP_BAD_RESPONSE;
    *trailers = t;
    return RP_END;
}

static rp_err up_read(struct rp_up *u, struct rp_chain *out, size_t max, struct rp_arena *a,
                      struct rp_msg **trailers)
{
    struct rp_h2_ask *st = own(u);
    size_t n = rp_chain_move(out, &st->in, max);
    consumed(st, n);
    if (n > 0) return RP_OK;
    if (st->bad) return RP_E_UP_BAD_RESPONSE;
    if (!st->in_ended) return is_over(st) ? RP_E_UP_TRUNCATED : RP_AGAIN;
    return read_trailers(st, a, trailers);
}

static bool up_is_reusable(const struct rp_up *u)
{
    (void)u;
    return false; /* the stream; its link goes on */
}

static void up_nothing(struct rp_up *u)
{
    (void)u;
}

/* ---- no pipes: the bytes go through frames ---------------------------------------------------- */

static void up_end_output(struct rp_up *u)
{
    struct rp_chain none;
    rp_chain_init(&none, own(u)->link->io.mem);
    RP_IGNORE(up_send(u, &none, true, NULL)); /* no bytes: it cannot be full */
    rp_h2_io_flush_later(&own(u)->link->io);
}

/* What was sent last is in frames already; a tunnel is ended behind it, for a reset could overtake it
 * at the other end. Content that still comes is thrown away, a window of it at most. */
static void up_linger(struct rp_up *u, rp_ms ms, size_t bytes)
{
    struct rp_h2_ask *st = own(u);
    bool tunnel = st->switched && !is_over(st);
    (void)bytes;
    if (tunnel) up_end_output(u);
    give_back(st, tunnel ? ms : 0);
}

static uint64_t up_pipe_room(const struct rp_up *u)
{
    (void)u;
    return 0;
}

static void up_expect_pipe(struct rp_up *u, size_t n)
{
    (void)u;
    RP_CHECK(n == 0); /* there was no room */
}

static rp_err up_send_pipe(struct rp_up *u, struct rp_splice **pipe)
{
    (void)u;
    RP_CHECK(!*pipe);
    return RP_OK;
}

static size_t up_at_hand(const struct rp_up *u)
{
    return look(u)->in.bytes;
}

static rp_err up_splice(struct rp_up *u, struct rp_splice **pipe)
{
    (void)u, (void)pipe;
    return RP_E_BUSY;
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
    .at_hand = up_at_hand,
    .unseen = up_pipe_room, /* none */
    .splice = up_splice,
    .is_reusable = up_is_reusable,
    .rest = up_nothing,
    .tunnel = up_nothing,
    .end_output = up_end_output,
};

bool rp_h2_up_is_stream(const struct rp_up *u)
{
    return u->ops == &OPS;
}

struct rp_up *rp_h2_link_stream(struct rp_h2_link *k, bool tunnel)
{
    struct rp_h2_ask *st = rp_alloc(sizeof(*st));
    st->magic = RP_H2_ASK_MAGIC;
    st->link = k;
    st->held = true;
    st->tunnel = tunnel;
    st->heads_end = &st->heads;
    st->up.ops = &OPS;
    st->up.conn = k->io.conn;
    st->up.fail = &rp_conn_face(k->io.conn)->fail;
    st->up.requests = k->requests;
    rp_chain_init(&st->in, k->io.mem);
    rp_chain_init(&st->out.bytes, k->io.mem);
    rp_arena_init(&st->arena, NULL, 0, ARENA_MOST);
    st->next = k->streams;
    if (st->next) st->next->prev = st;
    k->streams = st;
    k->held_n++;
    rp_timer_clear(rp_conn_loop(k->io.conn), &k->idle);
    return &st->up;
}
