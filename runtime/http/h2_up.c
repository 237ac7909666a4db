/* SPDX-License-Identifier: MIT
 *
 * h2_up: see h2_up.h.
 *
 * Invariants: 1 a link is freed only in on_flushed, or by its pool. 2 a stream lives until nghttp2
 * has closed it and its user gave it back. 3 nghttp2's callbacks record and wake.
 */
#include "http/h2_up.h"

#include "http/h1_write.h"
#include "http/h2_io.h"
#include "http/h2_msg.h"
#include "net/timer.h"

enum {
    LINK_MAGIC = 0x48324c31,
    STREAM_MAGIC = 0x48325531,
    SEND_HIGH = 128 * 1024, /* content queued in a stream that makes send say AGAIN */
    TEXT_FIRST = 2 * 1024,  /* bytes of a response head or trailer section, as text */
    TEXT_MOST = 256 * 1024, /* ... at most; the reader's own limits are lower */
    HEADS_MOST = 32,        /* heads that wait to be read: 1xx and one more */
    ARENA_MOST = 2 * 1024 * 1024,
    REQUEST_FIELDS = 5000,    /* the limits were kept when the request came in */
    BLOCK_MOST = 1024 * 1024, /* bytes of a request head: nghttp2's own limit is lower than ours */
    SILENCE_MS = 1000,        /* an unanswered request sees this much before it doubts its link */
};

struct head { /* of a response, as text */
    struct head *next;
    struct rp_chunk *chunk;
    bool ended; /* no content follows */
};

struct stream {
    uint32_t magic;
    int32_t id; /* 0: not submitted */
    struct rp_up up;
    struct rp_h2_link *link;
    struct stream *next, *prev;
    struct rp_chain in, out;
    struct rp_chunk *text; /* the head that is being received; NULL: none */
    struct head *heads, **heads_end;
    struct rp_chunk *trailers;         /* as text; NULL: none came */
    const struct rp_msg *trailers_out; /* of the request, the user's; NULL: none */
    struct rp_arena arena;             /* for what is submitted */
    uint64_t out_left;                 /* RP_BODY_LENGTH */
    uint32_t heads_n;
    uint8_t method;      /* enum rp_method of the request */
    uint8_t out_framing; /* enum rp_framing of the request */
    bool held;           /* the user has it */
    bool out_last;       /* nothing more will be added to `out` */
    bool out_ended;      /* our END_STREAM is in a frame */
    bool deferred;       /* nghttp2 waits for content from us */
    bool in_ended;       /* the upstream's END_STREAM came */
    bool in_final;       /* the final head came */
    bool answered;       /* any head came */
    bool body_sent;      /* a byte of the request's content was queued */
    bool bad;            /* what came cannot be a response */
    bool big;            /* ... for it is over the limit */
    bool text_is_head;   /* `text` began with :status; else they are trailers */
    bool closed;         /* nghttp2 has forgotten it */
    bool unprocessed;    /* RFC 9113 §8.7 */
    bool refused;        /* its end came in a frame, not with its connection's: that is an answer */
    rp_ms started_ms;
};

struct rp_h2_link {
    uint32_t magic;
    struct rp_h2_io io;
    struct rp_h2_links *all;
    struct rp_h2_link *next, *prev;
    struct rp_h2_link_settings settings;
    struct stream *streams;
    uint32_t held_n; /* streams that users have */
    uint64_t requests;
    bool secure;
    bool leaving;  /* no new streams */
    bool settled;  /* its SETTINGS came: it is known how many streams it takes */
    bool doubted;  /* is anybody there? No new streams until a byte comes */
    bool pinged;   /* since the last response */
    rp_ms came_ms; /* when bytes came last */
    struct rp_timer idle;
};

static void wake(struct stream *st)
{
    if (st->held && st->up.wake) st->up.wake(st->up.user, &st->up);
}

static struct stream *own(struct rp_up *u)
{
    return RP_CONTAINER(stream, up, u);
}
static const struct stream *look(const struct rp_up *u)
{
    return (const struct stream *)((const char *)u - offsetof(struct stream, up));
}

/* ---- links --------------------------------------------------------------------------------- */

static void free_stream(struct stream *st)
{
    struct rp_h2_link *k = st->link;
    k->io.unread -= st->in.bytes;
    rp_chain_clear(&st->in);
    rp_chain_clear(&st->out);
    rp_chunk_drop(st->text);
    rp_chunk_drop(st->trailers);
    rp_arena_reset(&st->arena);
    while (st->heads) {
        struct head *h = st->heads;
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

static void destroy(struct rp_h2_link *k)
{
    struct rp_h2_links *all = k->all;
    RP_ASSERT(k->held_n == 0);
    rp_timer_clear(rp_conn_loop(k->io.conn), &k->idle);
    struct rp_conn *c = rp_h2_io_release(&k->io);
    while (k->streams) free_stream(k->streams);
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
    for (struct stream *st = k->streams; st; st = st->next) wake(st);
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

static void leave(struct rp_h2_link *k)
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
    else leave(k);
    rp_timer_set(rp_conn_loop(k->io.conn), &k->idle, k->settings.idle_ms);
}

static bool has_room(const struct rp_h2_link *k)
{
    if (k->leaving || k->doubted || !k->settled || k->io.dead) return false;
    if (k->held_n >= k->settings.streams_n) return false;
    return k->held_n <
           nghttp2_session_get_remote_settings(k->io.ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

struct rp_h2_link *rp_h2_links_find(struct rp_h2_links *all)
{
    struct rp_h2_link *best = NULL;
    for (struct rp_h2_link *k = all->first; k; k = k->next) {
        if (has_room(k) && (!best || k->held_n > best->held_n)) best = k;
    }
    return best;
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
    for (struct rp_h2_link *k = all->first; k; k = k->next) leave(k);
}

void rp_h2_links_close(struct rp_h2_links *all)
{
    for (struct rp_h2_link *k = all->first, *next; k; k = next) {
        next = k->next;
        destroy(k); /* the last one may take `all` with it */
    }
}

/* ---- streams ------------------------------------------------------------------------------- */

static bool is_over(const struct stream *st)
{
    return st->closed || st->link->io.dead;
}

static void consumed(struct stream *st, size_t n)
{
    struct rp_h2_io *io = &st->link->io;
    if (n == 0) return;
    rp_h2_io_read(io, n);
    if (is_over(st)) return;
    RP_IGNORE(
        nghttp2_session_consume_stream(io->ng, st->id, n)); /* without memory: the next flush */
    rp_h2_io_flush_later(io);
}

static rp_err up_finish_connect(struct rp_up *u)
{
    (void)u;
    return RP_OK;
}

/* A request waited in vain, and its connection was silent all the while: the upstream is slow, or it is
 * gone and nobody told us. New requests take another link until a byte (of the answer to our PING) says
 * that it lives. One PING between two responses: servers of gRPC close on those who ask too often. */
static void doubt(struct stream *st)
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
static void forget_unread(struct stream *st)
{
    size_t n = st->in.bytes;
    rp_chain_clear(&st->in);
    if (n > 0) rp_h2_io_read(&st->link->io, n);
}

static void up_close(struct rp_up *u)
{
    struct stream *st = own(u);
    struct rp_h2_link *k = st->link;
    doubt(st);
    forget_unread(st);
    st->held = false;
    k->held_n--;
    rp_up_bind(u, NULL, NULL);
    if (st->closed || st->id == 0 || k->io.dead) {
        free_stream(st);
    } else if (!st->in_ended || !st->out_ended) {
        /* Fails only without memory; then the link's next flush finds out. */
        RP_IGNORE(nghttp2_submit_rst_stream(k->io.ng, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_CANCEL));
    }
    rp_h2_io_flush_later(&k->io);
    if (k->held_n > 0) return;
    if (k->leaving) leave(k);
    rp_timer_set(rp_conn_loop(k->io.conn), &k->idle, k->settings.idle_ms);
}

/* ---- request out --------------------------------------------------------------------------- */

static int submit_trailers(struct stream *st)
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
    struct stream *st = source->ptr;
    size_t n = RP_MIN(st->out.bytes, most);
    (void)ng, (void)id, (void)buf, (void)arg;
    bool end = st->out_last && n == st->out.bytes;
    if (n == 0 && !end) {
        st->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (!end) return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    bool trailers = st->held && st->trailers_out; /* they are the user's */
    if (trailers && submit_trailers(st) == 0) *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    st->out_ended = true;
    return (ssize_t)n;
}

static int put_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                    nghttp2_data_source *source, void *arg)
{
    struct stream *st = source->ptr;
    struct rp_h2_link *k = arg;
    (void)ng, (void)frame; /* nobody asked for padding */
    rp_h2_io_put_data(&k->io, head, &st->out, n);
    wake(st);
    return 0;
}

/* The head as it lies in one piece. */
static rp_str whole_text(struct stream *st, const struct rp_chain *head)
{
    if (head->head && head->head == head->tail) {
        return rp_str_of(head->head->ptr, head->head->len);
    }
    char *p = rp_arena_alloc(&st->arena, head->bytes);
    if (!p) return RP_STR_NONE;
    rp_chain_peek(head, p, head->bytes);
    return rp_str_of(p, head->bytes);
}

static rp_err fill_block(struct stream *st, struct rp_msg *m, enum rp_framing framing,
                         struct rp_h2_block *b)
{
    struct rp_field *host = rp_msg_find(m, RP_H_HOST);
    rp_err e = rp_h2_block_init(b, &st->arena, m);
    if (e != RP_OK) return e;
    rp_h2_block_put(b, RP_STR(":method"), m->method_text);
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

static rp_err submit(struct stream *st, rp_str text, enum rp_framing framing)
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
    bool bodyless = st->out_last;
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
    struct stream *st = own(u);
    struct rp_h2_link *k = st->link;
    rp_str text = whole_text(st, head);
    st->method = method;
    st->out_framing = (uint8_t)framing;
    st->out_left = length;
    st->out_last = framing == RP_BODY_NONE || (framing == RP_BODY_LENGTH && length == 0);
    st->out_ended = st->out_last;
    st->started_ms = rp_loop_now(rp_conn_loop(k->io.conn));
    k->requests++;
    u->requests = k->requests;
    if (k->settings.requests_max && k->requests >= k->settings.requests_max) k->leaving = true;
    rp_err e = text.ptr ? submit(st, text, framing) : RP_E_CAP;
    if (e != RP_OK) st->closed = true; /* reading says that there is no answer */
    rp_chain_clear(head);
    rp_h2_io_flush_later(&k->io);
    if (e != RP_OK) wake(st);
}

static rp_err up_send(struct rp_up *u, struct rp_chain *in, bool last,
                      const struct rp_msg *trailers)
{
    struct stream *st = own(u);
    if (st->out_framing == RP_BODY_LENGTH) {
        if (in->bytes > st->out_left) return RP_E_H1_FRAMING;
        st->out_left -= in->bytes;
        if (last && st->out_left > 0) return RP_E_H1_FRAMING;
    }
    if (in->bytes > 0) st->body_sent = true;
    if (is_over(st)) rp_chain_clear(in); /* nobody is there; reading says why */
    rp_chain_move(&st->out, in, in->bytes);
    if (last) st->trailers_out = trailers;
    /* The last byte carries the end: behind a window that it fills, nothing more could go. */
    if (last || (st->out_framing == RP_BODY_LENGTH && st->out_left == 0)) st->out_last = true;
    if (st->deferred && !is_over(st)) {
        st->deferred = false;
        RP_IGNORE(nghttp2_session_resume_data(st->link->io.ng, st->id)); /* closed: as above */
    }
    return st->out.bytes > SEND_HIGH ? RP_AGAIN : RP_OK;
}

/* In a frame is as good as sent: the link bounds and watches what its socket does not take. */
static rp_err up_flush(struct rp_up *u)
{
    struct stream *st = own(u);
    if (is_over(st)) {
        rp_chain_clear(&st->out);
        return st->answered ? RP_OK : RP_E_UP_SEND;
    }
    if (st->out.bytes > 0 || (st->out_last && !st->out_ended)) rp_h2_io_serialise(&st->link->io);
    rp_h2_io_flush_later(&st->link->io);
    return st->out.bytes > 0 ? RP_AGAIN : RP_OK;
}

static bool up_is_flushed(const struct rp_up *u)
{
    return look(u)->out.bytes == 0;
}

static bool up_is_sent(const struct rp_up *u)
{
    const struct stream *st = look(u);
    return st->out_last && st->out.bytes == 0;
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
    return look(u)->unprocessed;
}

static rp_err no_head(const struct stream *st)
{
    if (st->big) return RP_E_UP_HEAD_BIG;
    if (st->bad || st->in_ended) return RP_E_UP_BAD_RESPONSE;
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
    struct stream *st = own(u);
    struct head *h = st->heads;
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
static rp_err read_trailers(struct stream *st, struct rp_arena *a, struct rp_msg **trailers)
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
    struct stream *st = own(u);
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

static void up_linger(struct rp_up *u, rp_ms ms, size_t bytes)
{
    (void)ms, (void)bytes;
    up_close(u); /* what was sent last is in frames already */
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

static void up_end_output(struct rp_up *u)
{
    struct rp_chain none;
    rp_chain_init(&none, own(u)->link->io.mem);
    RP_IGNORE(up_send(u, &none, true, NULL)); /* no bytes: it cannot be full */
    rp_h2_io_flush_later(&own(u)->link->io);
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

struct rp_up *rp_h2_link_stream(struct rp_h2_link *k)
{
    struct stream *st = rp_alloc(sizeof(*st));
    st->magic = STREAM_MAGIC;
    st->link = k;
    st->held = true;
    st->heads_end = &st->heads;
    st->up.ops = &OPS;
    st->up.conn = k->io.conn;
    st->up.fail = &rp_conn_face(k->io.conn)->fail;
    st->up.requests = k->requests;
    rp_chain_init(&st->in, k->io.mem);
    rp_chain_init(&st->out, k->io.mem);
    rp_arena_init(&st->arena, NULL, 0, ARENA_MOST);
    st->next = k->streams;
    if (st->next) st->next->prev = st;
    k->streams = st;
    k->held_n++;
    rp_timer_clear(rp_conn_loop(k->io.conn), &k->idle);
    return &st->up;
}

/* ---- frames in ----------------------------------------------------------------------------- */

static struct stream *stream_of(nghttp2_session *ng, int32_t id)
{
    struct stream *st = nghttp2_session_get_stream_user_data(ng, id);
    return st ? RP_AS(stream, st, STREAM_MAGIC) : NULL;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct stream *st = stream_of(ng, frame->hd.stream_id);
    struct rp_h2_link *k = arg;
    if (!st) return 0;
    rp_chunk_drop(st->text);
    st->text = rp_chunk_new(k->io.mem, TEXT_FIRST);
    st->text_is_head = false;
    return 0;
}

/* Room for n more bytes of text; false: too much. */
static bool has_text_room(struct stream *st, size_t n)
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

static void put_text(struct stream *st, rp_str s)
{
    if (s.len) memcpy(st->text->data + st->text->used, s.ptr, s.len);
    st->text->used += (uint32_t)s.len;
}

/* nghttp2 lets no byte pass that could end a line, or be no part of a name (RFC 9113 §8.2.1). */
static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct stream *st = stream_of(ng, frame->hd.stream_id);
    rp_str n = rp_str_of((const char *)name, name_n), v = rp_str_of((const char *)value, value_n);
    (void)flags, (void)arg;
    if (!st || !st->text || st->bad) return 0;
    if (!has_text_room(st, name_n + value_n + 16)) {
        st->bad = st->big = true;
    } else if (rp_str_eq(n, RP_STR(":status"))) {
        st->text_is_head = true;
        put_text(st, RP_STR("HTTP/1.1 "));
        put_text(st, v);
        put_text(st, RP_STR(" \r\n"));
    } else {
        put_text(st, n);
        put_text(st, RP_STR(": "));
        put_text(st, v);
        put_text(st, RP_STR("\r\n"));
    }
    return 0;
}

static void keep_head(struct stream *st, bool ended)
{
    if (st->heads_n >= HEADS_MOST) {
        st->bad = true;
        return;
    }
    struct head *h = rp_alloc(sizeof(*h));
    h->chunk = st->text;
    h->ended = ended;
    *st->heads_end = h;
    st->heads_end = &h->next;
    st->heads_n++;
    st->text = NULL;
    st->answered = true;
}

static void on_headers(struct stream *st, const nghttp2_frame *frame)
{
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    st->link->pinged = false;
    if (st->text && !st->bad && has_text_room(st, 2)) {
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
    wake(st);
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct rp_h2_link *k = arg;
    struct stream *st = frame->hd.stream_id ? stream_of(ng, frame->hd.stream_id) : NULL;
    if (frame->hd.type == NGHTTP2_SETTINGS && !k->settled) {
        k->settled = true;
        for (struct stream *s = k->streams; s; s = s->next) wake(s);
    }
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        k->leaving = true;
        if (k->held_n == 0) leave(k);
    }
    if (!st) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) on_headers(st, frame);
    if (frame->hd.type == NGHTTP2_DATA && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        st->in_ended = true;
        wake(st);
    }
    return 0;
}

static int on_content(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                      void *arg)
{
    struct rp_h2_link *k = arg;
    struct stream *st = stream_of(ng, id);
    bool keep = st && st->held;
    (void)flags;
    rp_h2_io_came(&k->io, n, keep);
    if (!keep) return 0;
    rp_h2_io_keep(&k->io, &st->in, rp_str_of((const char *)data, n));
    wake(st);
    return 0;
}

static int on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct stream *st = stream_of(ng, id);
    (void)arg;
    if (!st) return 0;
    st->closed = true;
    st->unprocessed = code == NGHTTP2_REFUSED_STREAM; /* GOAWAY counts as that, too */
    st->refused = !st->unprocessed;
    if (st->held) wake(st);
    else free_stream(st);
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
    nghttp2_session_callbacks_set_send_data_callback(c, put_data);
    return c;
}

/* ---- birth --------------------------------------------------------------------------------- */

static void on_conn_event(struct rp_conn *c, unsigned events)
{
    struct rp_h2_link *k = RP_AS(rp_h2_link, rp_conn_face(c)->owner, LINK_MAGIC);
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
    k->magic = LINK_MAGIC;
    k->all = all;
    k->settings = *settings;
    k->secure = secure;
    rp_h2_io_init(&k->io, &IO_USER, conn, mem);
    rp_timer_init(&k->idle, on_idle);
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
