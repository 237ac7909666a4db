/* SPDX-License-Identifier: MIT
 *
 * h2_stream: the streams of an HTTP/2 session: frames become exchanges, responses become frames.
 *
 * Invariants: 1 a stream lives until nghttp2 has closed it and its user is done with it. 2 the
 * callbacks only record, queue and wake; whatever they find out later is told by the ops' results.
 * 3 a response that did not end is reset, so that nobody takes a part for the whole.
 */
#include "http/h2_stream.h"

#include "http/h1_write.h"

enum {
    SEND_HIGH = 128 * 1024, /* content queued in a stream that makes send_body say AGAIN */
    THROW_MOST =
        1 << 20,       /* content of a stream that is thrown away, before its window stays shut */
    TINY_WINDOW = 128, /* bytes; a client that opens its window by less is a nuisance */
    STATUS_TEXT = 20,  /* rp_str_put_u64 */
};

/* ---- life ---------------------------------------------------------------------------------- */

static struct rp_h2_stream *stream_new(struct rp_h2_down *s, int32_t id)
{
    struct rp_h2_stream *st = rp_pool_get(&s->all->stream_pool);
    *st = (struct rp_h2_stream){.magic = RP_H2_STREAM_MAGIC, .id = id, .session = s};
    rp_chain_init(&st->in, s->io.mem);
    rp_chain_init(&st->out.bytes, s->io.mem);
    st->next = s->streams;
    if (st->next) st->next->prev = st;
    s->streams = st;
    return st;
}

void rp_h2_stream_free(struct rp_h2_stream *st)
{
    struct rp_h2_down *s = st->session;
    RP_ASSERT(!st->x);
    s->io.unread -= st->in.bytes;
    rp_chain_clear(&st->in);
    rp_chain_clear(&st->out.bytes);
    if (s->opening == st) rp_h2_session_head_over(s);
    if (st->prev) st->prev->next = st->next;
    else s->streams = st->next;
    if (st->next) st->next->prev = st->prev;
    st->magic = 0;
    rp_pool_put(&s->all->stream_pool, st);
}

static rp_err gone(struct rp_exchange *x)
{
    if (x->fail == RP_OK) x->fail = RP_E_CLIENT_GONE;
    return RP_E_CLIENT_GONE;
}

static void wake(struct rp_h2_stream *st, unsigned why)
{
    if (st->x && st->started) st->session->all->user->wake(st->x, why);
}

/* Did both sides say all? Then nghttp2 closes the stream, and nothing is lost by that. */
static bool is_whole(const struct rp_h2_stream *st)
{
    return st->out.ended && st->in_ended;
}

/* Is the way to the client closed too early? Then x->fail says so. */
static bool is_shut(struct rp_h2_stream *st)
{
    if (is_whole(st) || (!st->closed && !st->session->io.dead)) return false;
    (void)gone(st->x);
    return true;
}

static void start(struct rp_h2_stream *st, rp_err bad)
{
    struct rp_h2_down *s = st->session;
    if (s->opening == st) rp_h2_session_head_over(s);
    st->started = true;
    s->all->user->start(st->x, bad);
}

void rp_h2_stream_abort(struct rp_h2_stream *st)
{
    if (!st->x || is_whole(st)) return;
    (void)gone(st->x);
    if (st->started) wake(st, RP_WAKE_ABORT);
    else start(st, st->session->io.dead ? RP_E_CLIENT_GONE : RP_E_H1_SYNTAX); /* nghttp2 reset it */
}

void rp_h2_stream_head_late(struct rp_h2_stream *st)
{
    start(st, RP_E_HEAD_TIMEOUT);
}

/* ---- content in ---------------------------------------------------------------------------- */

/* Content that nobody wants. So much of it as HTTP/1 lets pass may follow: there are clients that
 * read the answer only when they have said all. */
static void throw_away(struct rp_h2_stream *st, size_t n)
{
    struct rp_h2_io *io = &st->session->io;
    if (st->thrown >= THROW_MOST || st->closed || st->in_ended || io->dead) return;
    st->thrown += (uint32_t)n;
    RP_IGNORE(nghttp2_session_consume_stream(io->ng, st->id, n)); /* as in `consumed` */
    rp_h2_io_flush_later(io);
}

static void drop_input(struct rp_h2_stream *st)
{
    size_t n = st->in.bytes;
    if (n == 0) return;
    rp_chain_clear(&st->in);
    rp_h2_io_read(&st->session->io, n);
    throw_away(st, n);
}

static void take_content(struct rp_h2_stream *st, rp_str bytes)
{
    struct rp_h2_down *s = st->session;
    bool keep = st->x && !st->skip;
    rp_h2_io_came(&s->io, bytes.len, keep);
    if (!keep) {
        throw_away(st, bytes.len);
        return;
    }
    rp_h2_io_keep(&s->io, &st->in, &st->in_turn, bytes);
    rp_pace_go(&st->x->body_pace, rp_loop_now(rp_conn_loop(s->io.conn)));
    wake(st, RP_WAKE_BODY);
}

/* n bytes were read: the client may send as many more. */
static void consumed(struct rp_h2_stream *st, size_t n)
{
    struct rp_h2_io *io = &st->session->io;
    if (n == 0) return;
    rp_h2_io_read(io, n);
    if (st->closed || st->in_ended || io->dead) return;
    /* It fails only without memory, and then the next flush does. */
    RP_IGNORE(nghttp2_session_consume_stream(io->ng, st->id, n));
    rp_h2_io_flush_later(io);
}

static rp_err read_body(struct rp_exchange *x, struct rp_chain *out, size_t max)
{
    struct rp_h2_stream *st = x->session;
    struct rp_h2_down *s = st->session;
    size_t n = rp_chain_move(out, &st->in, max);
    rp_err e = n > 0 ? RP_OK : st->in_ended ? RP_END : RP_AGAIN;
    x->body_in_bytes += n;
    consumed(st, n);
    if (e == RP_END) x->trailers = st->trailers;
    if (e == RP_AGAIN && is_shut(st)) return RP_E_CLIENT_GONE;
    if (x->body_in_bytes > x->body_limit) return RP_E_BODY_TOO_BIG;
    if (st->out_mode == RP_H2_OUT_TUNNEL) return e;
    return rp_exchange_check_pace(x, &s->all->common->body_pace, n, e);
}

static void skip_body(struct rp_exchange *x)
{
    struct rp_h2_stream *st = x->session;
    st->skip = true;
    drop_input(st);
}

/* ---- heads out ----------------------------------------------------------------------------- */

static rp_err begin_block(struct rp_exchange *x, const struct rp_msg *m, uint16_t status,
                          struct rp_h2_block *b)
{
    char *text = rp_arena_alloc(&x->arena, STATUS_TEXT);
    rp_err e = text ? rp_h2_block_init(b, &x->arena, m) : RP_E_CAP;
    if (e != RP_OK) return e;
    rp_h2_block_put(b, RP_STR(":status"), rp_str_of(text, rp_str_put_u64(text, status)));
    return rp_h2_block_put_fields(b, &x->arena, m);
}

static rp_err send_info(struct rp_exchange *x, const struct rp_msg *info)
{
    struct rp_h2_stream *st = x->session;
    struct rp_h2_down *s = st->session;
    struct rp_h2_block b;
    if (info->status == 101) return RP_OK; /* RFC 9113 §8.6: HTTP/2 has no such thing */
    if (is_shut(st)) return RP_E_CLIENT_GONE;
    rp_err e = begin_block(x, info, info->status, &b);
    if (e != RP_OK) return e;
    int bad = nghttp2_submit_headers(s->io.ng, NGHTTP2_FLAG_NONE, st->id, NULL, b.nv, b.n, NULL);
    rp_h2_io_flush_later(&s->io);
    return bad == 0 ? RP_OK : gone(x);
}

static enum rp_h2_out_mode choose_out(const struct rp_exchange *x, const struct rp_msg *res)
{
    bool connected = x->head.method == RP_M_CONNECT && res->status / 100 == 2;
    if (res->status == 101 || connected) return RP_H2_OUT_TUNNEL;
    bool no_body = res->status < 200 || res->status == 204 || res->status == 304 ||
                   x->head.method == RP_M_HEAD || res->framing == RP_BODY_NONE;
    if (no_body) return RP_H2_OUT_NONE;
    return res->framing == RP_BODY_LENGTH ? RP_H2_OUT_LENGTH : RP_H2_OUT_OPEN;
}

/* What the length of the content is, or would be (RFC 9110 §8.6). NONE: not said. */
static rp_str length_text(struct rp_exchange *x, const struct rp_msg *res, enum rp_h2_out_mode mode)
{
    bool silent = mode == RP_H2_OUT_TUNNEL || mode == RP_H2_OUT_OPEN || res->status == 204;
    if (silent) return RP_STR_NONE;
    if (res->framing == RP_BODY_LENGTH && res->status != 304) {
        char *text = rp_arena_alloc(&x->arena, 20);
        if (!text) return RP_STR_NONE;
        return rp_str_of(text, rp_str_put_u64(text, res->content_length));
    }
    if (x->head.method == RP_M_HEAD || res->status == 304) {
        return rp_msg_get(res, RP_H_CONTENT_LENGTH);
    }
    return RP_STR("0");
}

static ssize_t give_content(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t most,
                            uint32_t *flags, nghttp2_data_source *source, void *arg);

static rp_err submit_head(struct rp_exchange *x, struct rp_h2_stream *st,
                          const struct rp_h2_block *b)
{
    struct rp_h2_down *s = st->session;
    nghttp2_data_provider content = {.source.ptr = st, .read_callback = give_content};
    bool bodyless =
        st->out_mode == RP_H2_OUT_NONE || (st->out_mode == RP_H2_OUT_LENGTH && st->out_left == 0);
    if (nghttp2_submit_response(s->io.ng, st->id, b->nv, b->n, bodyless ? NULL : &content) != 0) {
        return gone(x);
    }
    if (bodyless) st->out.last = st->out.ended = true;
    st->head_waits = true;
    rp_h2_io_flush_later(&s->io);
    x->head_sent = true;
    return RP_OK;
}

static rp_err send_head(struct rp_exchange *x, const struct rp_msg *res)
{
    struct rp_h2_stream *st = x->session;
    struct rp_h2_block b;
    if (is_shut(st)) return RP_E_CLIENT_GONE;
    st->out_mode = (uint8_t)choose_out(x, res);
    st->out_left = res->content_length;
    bool switched = res->status == 101; /* RFC 8441 §5: an extended CONNECT succeeds with 2xx */
    rp_err e = begin_block(x, res, switched ? 200 : res->status, &b);
    if (e != RP_OK) return e;
    if (switched) rp_h2_block_drop(&b, RP_STR("sec-websocket-accept")); /* nor was there a key */
    if (!rp_msg_find(res, RP_H_DATE)) {                                 /* RFC 9110 §6.6.1 */
        rp_h2_block_put(&b, RP_STR("date"), rp_loop_date(rp_conn_loop(x->conn)));
    }
    rp_str length = length_text(x, res, (enum rp_h2_out_mode)st->out_mode);
    if (length.ptr) rp_h2_block_put(&b, RP_STR("content-length"), length);
    return submit_head(x, st, &b);
}

/* ---- content out --------------------------------------------------------------------------- */

static rp_err send_body(struct rp_exchange *x, struct rp_chain *in, bool last)
{
    struct rp_h2_stream *st = x->session;
    size_t n = in->bytes;
    if (is_shut(st)) return RP_E_CLIENT_GONE;
    if (st->out_mode == RP_H2_OUT_NONE) {
        rp_chain_clear(in);
    } else {
        x->body_out_bytes += n;
        if (st->out_mode == RP_H2_OUT_LENGTH) {
            if (n > st->out_left) return RP_E_UP_BAD_RESPONSE; /* more than was promised */
            st->out_left -= n;
        }
        rp_chain_move(&st->out.bytes, in, n);
    }
    if (last) {
        if (st->out_mode == RP_H2_OUT_LENGTH && st->out_left > 0) return RP_E_UP_TRUNCATED;
        st->out.last = x->response_done = true;
    }
    /* The last byte carries the end: behind a window that it fills, nothing more could go. */
    bool all = st->out_mode == RP_H2_OUT_LENGTH && st->out_left == 0;
    if (all && !x->head.te_trailers) st->out.last = true;
    bool more = n > 0 || last;
    if (more && rp_h2_out_resume(&st->out, &st->session->io, st->id) != 0) return gone(x);
    rp_h2_io_flush_later(&st->session->io);
    return st->out.bytes.bytes > SEND_HIGH ? RP_AGAIN : RP_OK;
}

/* RFC 9113 §8.1: trailers are a HEADERS frame that ends the stream. */
static int submit_trailers(struct rp_h2_stream *st)
{
    struct rp_exchange *x = st->x;
    struct rp_h2_block b;
    if (rp_h2_block_init(&b, &x->arena, x->res_trailers) != RP_OK) return -1;
    if (rp_h2_block_put_fields(&b, &x->arena, x->res_trailers) != RP_OK) return -1;
    return nghttp2_submit_trailer(st->session->io.ng, st->id, b.nv, b.n);
}

/* nghttp2 asks how much goes into the next DATA frame. */
static ssize_t give_content(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t most,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct rp_h2_stream *st = source->ptr;
    (void)ng, (void)id, (void)buf, (void)arg;
    ssize_t n = rp_h2_out_give(&st->out, most, flags);
    if (!st->out.ended) return n;
    bool trailers = st->x && st->x->res_trailers && st->x->head.te_trailers;
    if (trailers && submit_trailers(st) == 0) *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return n;
}

/* Something of it is in a frame: whoever waits for that looks again. */
static void note_taken(struct rp_h2_stream *st)
{
    if (!st->blocked) return;
    st->blocked = false;
    wake(st, RP_WAKE_SINK);
}

/* ... and that frame goes behind the others, without a copy of its content. */
static int put_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                    nghttp2_data_source *source, void *arg)
{
    struct rp_h2_stream *st = source->ptr;
    struct rp_h2_down *s = arg;
    (void)ng, (void)frame; /* nobody asked for padding */
    rp_h2_budget_earn(&s->budget, n == st->out.bytes.bytes);
    rp_h2_io_put_data(&s->io, head, &st->out.bytes, n);
    st->taken += n;
    if (st->x) st->x->wire_out_bytes += RP_H2_FRAME_HEAD + n;
    note_taken(st);
    return 0;
}

/* Has it something to say that is in no frame yet? */
static bool has_output(const struct rp_h2_stream *st)
{
    return st->head_waits || st->out.bytes.bytes > 0 || (st->out.last && !st->out.ended);
}

/* In a frame is as good as sent: the session bounds and watches what its socket does not take. */
static rp_err flush(struct rp_exchange *x)
{
    struct rp_h2_stream *st = x->session;
    rp_ms now = rp_loop_now(rp_conn_loop(x->conn));
    if (is_shut(st)) return RP_E_CLIENT_GONE;
    if (has_output(st)) rp_h2_io_serialise(&st->session->io);
    if (is_shut(st)) return RP_E_CLIENT_GONE;
    bool waits = has_output(st);
    st->blocked = waits;
    if (waits) {
        bool first = !x->send_pace.waiting && x->send_pace.waited_ms == 0;
        if (first) x->send_base = st->taken;
        rp_pace_wait(&x->send_pace, now);
    } else {
        rp_pace_go(&x->send_pace, now);
    }
    return waits ? RP_AGAIN : RP_OK;
}

static uint64_t taken(struct rp_exchange *x)
{
    const struct rp_h2_stream *st = x->session;
    return st->taken;
}

static void tunnel(struct rp_exchange *x)
{
    struct rp_h2_stream *st = x->session;
    st->out_mode = RP_H2_OUT_TUNNEL;
    x->body_limit = UINT64_MAX;
    if (st->in.bytes > 0 || st->in_ended) wake(st, RP_WAKE_BODY);
}

static void say_end(struct rp_h2_stream *st)
{
    struct rp_h2_io *io = &st->session->io;
    st->out.last = true;
    rp_h2_io_flush_later(io);
    if (st->closed || io->dead) return;
    RP_IGNORE(rp_h2_out_resume(&st->out, io, st->id)); /* reset: there is nothing to end */
}

static void end_output(struct rp_exchange *x)
{
    say_end(x->session);
}

static void reset(struct rp_h2_stream *st, uint32_t code)
{
    struct rp_h2_down *s = st->session;
    if (st->closed || s->io.dead) return;
    rp_chain_clear(&st->out.bytes);
    RP_IGNORE(nghttp2_submit_rst_stream(s->io.ng, NGHTTP2_FLAG_NONE, st->id, code));
}

/* RFC 9113 §8.1: after a response that is whole before its request, NO_ERROR asks for the rest not
 * to be sent. Not at once: there are clients that lose the response then. */
bool rp_h2_stream_linger(struct rp_h2_stream *st)
{
    if (st->x || is_whole(st)) return false;
    if (st->lingered) reset(st, st->out.ended ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    st->lingered = true;
    return true;
}

static void finish(struct rp_exchange *x)
{
    struct rp_h2_stream *st = x->session;
    struct rp_h2_down *s = st->session;
    bool well = x->response_done && x->fail == RP_OK; /* a tunnel's end may wait for the window */
    st->x = NULL;
    drop_input(st);
    if (!st->out.ended && well) say_end(st);
    else if (!st->out.ended) reset(st, x->head_sent ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL);
    if (well && !is_whole(st)) rp_h2_session_linger(s);
    if (st->closed) rp_h2_stream_free(st);
    rp_h2_io_flush_later(&s->io);
    rp_h2_session_live(s, -1);
}

static const struct rp_exchange_ops OPS = {
    .read_body = read_body,
    .send_info = send_info,
    .send_head = send_head,
    .send_body = send_body,
    .flush = flush,
    .taken = taken,
    .skip_body = skip_body,
    .tunnel = tunnel,
    .end_output = end_output,
    .finish = finish,
};

/* ---- frames in ----------------------------------------------------------------------------- */

static struct rp_h2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
    struct rp_h2_stream *st = nghttp2_session_get_stream_user_data(ng, id);
    return st ? RP_AS(rp_h2_stream, st, RP_H2_STREAM_MAGIC) : NULL;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct rp_h2_down *s = arg;
    const struct rp_h2_settings *c = &s->all->settings;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    /* What was reset may still be under way here; a client cannot have any number of those. */
    struct rp_exchange *x = NULL;
    if (s->live_n < 2 * c->streams_n) x = s->all->user->open(s->all->user->arg, s->listener);
    if (!x) {
        return nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                         NGHTTP2_REFUSED_STREAM);
    }
    struct rp_h2_stream *st = stream_new(s, frame->hd.stream_id);
    s->all->counts->streams++;
    s->requests++;
    st->x = x;
    s->opening = st;
    x->ops = &OPS;
    x->session = st;
    x->conn = s->io.conn;
    x->listener = s->listener;
    x->conn_id = s->conn_id;
    x->conn_requests = s->requests;
    x->stream_id = (uint32_t)st->id;
    x->opened_ms = rp_loop_now(rp_conn_loop(s->io.conn));
    rp_h2_session_live(s, 1);
    return nghttp2_session_set_stream_user_data(ng, st->id, st) == 0 ? 0
                                                                     : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void add_trailer(struct rp_h2_stream *st, rp_str name, rp_str value)
{
    struct rp_exchange *x = st->x;
    if (!st->trailers) {
        st->trailers = rp_arena_zalloc(&x->arena, sizeof(*st->trailers));
        if (!st->trailers) return;
        rp_msg_init(st->trailers, NULL, 0, x->head.fields_max);
    }
    /* Trailers beyond the caps are left out: nothing may depend on them (RFC 9110 §6.5.1). */
    RP_IGNORE(rp_h2_trailer_add(st->trailers, &x->arena, name, value));
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct rp_h2_down *s = arg;
    struct rp_h2_stream *st = stream_of(ng, frame->hd.stream_id);
    rp_str n = rp_str_of((const char *)name, name_n), v = rp_str_of((const char *)value, value_n);
    (void)flags;
    if (!st || !st->x) return 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        rp_h2_head_add(&st->head, &st->x->head, &st->x->arena, &s->all->common->limits, n, v);
    } else if (!st->skip) {
        add_trailer(st, n, v);
    }
    return 0;
}

static void end_input(struct rp_h2_stream *st)
{
    st->in_ended = true;
    wake(st, RP_WAKE_BODY);
}

static void on_headers(struct rp_h2_stream *st, const nghttp2_frame *frame)
{
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST && st->x && !st->started) {
        struct rp_h2_down *s = st->session;
        st->in_ended = ended;
        rp_err bad = rp_h2_head_finish(&st->head, &st->x->head, &st->x->arena, ended);
        if (bad != RP_OK) rp_h2_session_nuisance(s, RP_H2_FAULTS);
        start(st, bad);
    } else if (ended) {
        end_input(st);
    }
}

static void on_data(struct rp_h2_down *s, struct rp_h2_stream *st, const nghttp2_frame *frame)
{
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (!ended && frame->hd.length == 0) rp_h2_session_nuisance(s, RP_H2_EMPTIES);
    if (ended && st) end_input(st);
}

/* RFC 9218 §7.1: an error that nghttp2 lets pass. */
static bool is_for_no_stream(const nghttp2_frame *frame)
{
    const nghttp2_ext_priority_update *update = frame->ext.payload;
    return update->stream_id == 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct rp_h2_down *s = arg;
    struct rp_h2_stream *st = frame->hd.stream_id ? stream_of(ng, frame->hd.stream_id) : NULL;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (st) on_headers(st, frame);
        break;
    case NGHTTP2_DATA: on_data(s, st, frame); break;
    case NGHTTP2_RST_STREAM:
        /* Behind a whole answer it ends what the client has still to say, and no work is lost. */
        if (!st) rp_h2_session_nuisance(s, RP_H2_CONTROLS);
        else if (!st->out.ended) rp_h2_session_nuisance(s, RP_H2_RESETS);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        if (frame->window_update.window_size_increment < TINY_WINDOW) {
            rp_h2_session_nuisance(s, RP_H2_WINDOWS);
        } else {
            rp_h2_budget_opened(&s->budget);
        }
        break;
    case NGHTTP2_PRIORITY_UPDATE:
        if (is_for_no_stream(frame)) rp_h2_session_error(s, NGHTTP2_PROTOCOL_ERROR);
        rp_h2_session_nuisance(s, RP_H2_CONTROLS);
        break;
    default: rp_h2_session_nuisance(s, RP_H2_CONTROLS); break;
    }
    return 0;
}

/* RFC 9113 §6.3: PRIORITY on stream 0 is an error. nghttp2 passes over all of them (RFC 9218 §2.1). */
static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *arg)
{
    (void)ng;
    if (hd->type != NGHTTP2_PRIORITY) return 0;
    if (hd->stream_id == 0) rp_h2_session_error(arg, NGHTTP2_PROTOCOL_ERROR);
    rp_h2_session_nuisance(arg, RP_H2_CONTROLS);
    return 0;
}

static int on_content(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                      void *arg)
{
    struct rp_h2_down *s = arg;
    struct rp_h2_stream *st = stream_of(ng, id);
    (void)flags;
    if (st) {
        take_content(st, rp_str_of((const char *)data, n));
    } else {
        rp_h2_io_came(&s->io, n, false);
    }
    return 0;
}

static int on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct rp_h2_stream *st = stream_of(ng, id);
    (void)code, (void)arg;
    if (!st) return 0;
    st->closed = true;
    if (!st->x) rp_h2_stream_free(st);
    else rp_h2_stream_abort(st); /* reset by the client, or by nghttp2: malformed */
    return 0;
}

static int on_bad_frame(nghttp2_session *ng, const nghttp2_frame *frame, int code, void *arg)
{
    (void)ng, (void)frame, (void)code;
    rp_h2_session_nuisance(arg, RP_H2_FAULTS);
    return 0;
}

static int on_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    if (frame->hd.type != NGHTTP2_HEADERS) return 0; /* put_data counts the others that count */
    struct rp_h2_stream *st = stream_of(ng, frame->hd.stream_id);
    if (!st || !st->x) return 0;
    st->x->wire_out_bytes += RP_H2_FRAME_HEAD + frame->hd.length;
    if (st->x->head_sent) st->head_waits = false;
    note_taken(st); /* trailers may be all that was left to send */
    return 0;
}

void rp_h2_stream_callbacks(nghttp2_session_callbacks *c)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, on_begin_frame);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_content);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, on_bad_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_sent);
    nghttp2_session_callbacks_set_send_data_callback(c, put_data);
}
