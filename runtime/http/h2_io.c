/* SPDX-License-Identifier: MIT
 *
 * h2_io: see h2_io.h.
 *
 * Invariant: nghttp2 is entered from two places only: take (bytes in) and serialise (bytes out); its
 * callbacks record, queue and wake.
 */
#include "http/h2_io.h"

#include "http/h2_msg.h"

enum {
    READ_TURNS = 4,            /* then others get theirs */
    FLUSH_TURNS = 4,           /* of writing what fits at once; the rest is bulk work */
    OUT_HIGH = 256 * 1024,     /* bytes in frames that wait for the socket */
    UNREAD_HIGH = 1024 * 1024, /* content that waits to be read, all streams */
    COPY_MOST = 2048,          /* content up to this is copied: it must not pin a whole buffer */
    PIN_MOST = 4,              /* times its bytes: what a piece of content may pin */
    TABLE_BYTES = 4096,        /* HPACK, each way: the default of RFC 9113 */
    HEADS_MOST = 32,           /* CONTINUATION frames of one head */
    ACKS_MOST = 20000,         /* that wait to be sent: more than what is read in one tick */
};

static void run_flush(struct rp_defer *d);

void rp_h2_io_init(struct rp_h2_io *io, const struct rp_h2_io_user *user, struct rp_conn *conn,
                   struct rp_mem *mem)
{
    *io = (struct rp_h2_io){.user = user, .conn = conn, .mem = mem, .flush.run = run_flush};
    rp_chain_init(&io->out, mem);
}

struct rp_conn *rp_h2_io_release(struct rp_h2_io *io)
{
    rp_loop_undefer(rp_conn_loop(io->conn), &io->flush);
    nghttp2_session_del(io->ng);
    rp_chain_clear(&io->out);
    io->ng = NULL;
    return io->conn;
}

void rp_h2_io_die(struct rp_h2_io *io)
{
    if (io->dead) return;
    io->dead = true;
    rp_chain_clear(&io->out);
    rp_conn_pause(io->conn);
    io->user->died(io);
    rp_h2_io_flush_later(io);
}

/* ---- bytes out ----------------------------------------------------------------------------- */

void rp_h2_io_flush_later(struct rp_h2_io *io)
{
    rp_loop_defer(rp_conn_loop(io->conn), &io->flush);
}

void rp_h2_io_serialise(struct rp_h2_io *io)
{
    while (!io->dead && io->out.bytes < OUT_HIGH) {
        const uint8_t *frame;
        ssize_t n = nghttp2_session_mem_send(io->ng, &frame);
        if (n < 0) rp_h2_io_die(io); /* out of memory: nothing else is fatal here */
        if (n <= 0) return;
        rp_chain_add_copy(&io->out, rp_str_of((const char *)frame, (size_t)n));
    }
}

void rp_h2_io_put_data(struct rp_h2_io *io, const uint8_t *head, struct rp_chain *content, size_t n)
{
    rp_chain_add_copy(&io->out, rp_str_of((const char *)head, RP_H2_FRAME_HEAD));
    while (n > 0) { /* a socket that takes nothing must not pin a buffer for each small frame */
        size_t piece = RP_MIN(n, content->head->len);
        const struct rp_chunk *chunk = content->head->chunk;
        if (piece <= COPY_MOST || (chunk && piece < chunk->room / PIN_MOST)) {
            rp_chain_add_copy(&io->out, rp_str_of(content->head->ptr, piece));
            rp_chain_consume(content, piece);
        } else {
            rp_chain_move(&io->out, content, piece);
        }
        n -= piece;
    }
}

ssize_t rp_h2_out_give(struct rp_h2_out *o, size_t most, uint32_t *flags)
{
    size_t n = RP_MIN(o->bytes.bytes, most);
    bool end = o->last && n == o->bytes.bytes;
    if (n == 0 && !end) {
        o->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY | (end ? (uint32_t)NGHTTP2_DATA_FLAG_EOF : 0);
    if (end) o->ended = true;
    return (ssize_t)n;
}

int rp_h2_out_resume(struct rp_h2_out *o, struct rp_h2_io *io, int32_t id)
{
    if (!o->deferred) return 0;
    o->deferred = false;
    return nghttp2_session_resume_data(io->ng, id);
}

/* Frames to the socket. False: it takes nothing more now. */
static bool send_frames(struct rp_h2_io *io)
{
    rp_err e = rp_conn_send(io->conn, &io->out);
    if (e < 0) rp_h2_io_die(io);
    return e == RP_OK;
}

void rp_h2_io_end(struct rp_h2_io *io)
{
    rp_h2_io_serialise(io);
    if (!io->dead && io->out.bytes > 0) (void)send_frames(io); /* if it takes them */
    rp_h2_io_die(io);
}

static void hold_or_go_on(struct rp_h2_io *io)
{
    bool hold = io->out.bytes >= OUT_HIGH;
    if (io->dead || hold == io->held) return;
    io->held = hold;
    if (hold) rp_conn_pause(io->conn);
    else rp_conn_resume(io->conn);
}

static void run_flush(struct rp_defer *d)
{
    struct rp_h2_io *io = RP_CONTAINER(rp_h2_io, flush, d);
    int turns = 0;
    do rp_h2_io_serialise(io);
    while (!io->dead && io->out.bytes > 0 && send_frames(io) && ++turns < FLUSH_TURNS);
    if (turns == FLUSH_TURNS) rp_loop_defer_bulk(rp_conn_loop(io->conn), &io->flush);
    hold_or_go_on(io);
    bool through = io->dead || (!nghttp2_session_want_read(io->ng) &&
                                !nghttp2_session_want_write(io->ng) && io->out.bytes == 0);
    io->user->flushed(io, through);
}

/* ---- bytes in ------------------------------------------------------------------------------ */

void rp_h2_io_take(struct rp_h2_io *io, struct rp_chunk *chunk, rp_str bytes)
{
    io->in_chunk = chunk;
    ssize_t n = nghttp2_session_mem_recv(io->ng, (const uint8_t *)bytes.ptr, bytes.len);
    io->in_chunk = NULL;
    if (n < 0) rp_h2_io_end(io); /* it does not speak HTTP/2, or floods nghttp2's own bounds */
    rp_h2_io_flush_later(io);
}

static void note_end(struct rp_h2_io *io, rp_err e)
{
    io->in_over = true;
    if (e == RP_END) io->user->ended(io);
    else rp_h2_io_die(io);
}

static void read_bytes(struct rp_h2_io *io)
{
    struct rp_chunk *chunk = NULL;
    for (int turn = 0; turn < READ_TURNS && !io->dead && !io->held; turn++) {
        size_t got;
        if (chunk && chunk->refs > 1) { /* content of streams lies there */
            rp_chunk_drop(chunk);
            chunk = NULL;
        }
        if (!chunk) chunk = rp_chunk_new(io->mem, io->large ? RP_CHUNK_LARGE : RP_CHUNK_SMALL);
        rp_err e = rp_conn_recv(io->conn, chunk->data, chunk->room, &got);
        if (e == RP_AGAIN) break;
        if (e != RP_OK) {
            note_end(io, e);
            break;
        }
        io->large = got == chunk->room;
        rp_h2_io_take(io, chunk, rp_str_of(chunk->data, got));
        if (got < chunk->room) break;
    }
    rp_chunk_drop(chunk);
}

void rp_h2_io_event(struct rp_h2_io *io, unsigned events)
{
    if (io->dead) return;
    io->turn++;
    if (events & RP_CONN_WRITABLE) rp_h2_io_flush_later(io);
    if (events & RP_CONN_READABLE) read_bytes(io);
}

static void open_window(struct rp_h2_io *io)
{
    if (io->dead || io->unread > UNREAD_HIGH || io->owed == 0) return;
    if (nghttp2_session_consume_connection(io->ng, io->owed) != 0) rp_h2_io_die(io);
    io->owed = 0;
    rp_h2_io_flush_later(io);
}

void rp_h2_io_came(struct rp_h2_io *io, size_t n, bool keep)
{
    io->owed += n;
    if (keep) io->unread += n;
    open_window(io);
}

void rp_h2_io_read(struct rp_h2_io *io, size_t n)
{
    io->unread -= n;
    open_window(io);
}

void rp_h2_io_keep(struct rp_h2_io *io, struct rp_chain *in, uint32_t *turn, rp_str bytes)
{
    struct rp_chunk *chunk = io->in_chunk;
    bool waits = in->bytes > 0 && *turn != io->turn; /* what came before was not read */
    bool pinned = in->tail && in->tail->chunk == chunk;
    bool worth = pinned || bytes.len >= chunk->room / PIN_MOST;
    if (bytes.len > COPY_MOST && worth && !waits) rp_chain_add(in, chunk, bytes.ptr, bytes.len);
    else rp_chain_add_copy(in, bytes);
    *turn = io->turn;
}

/* ---- settings ------------------------------------------------------------------------------ */

int32_t rp_h2_io_window(uint32_t window_bytes, uint32_t streams_n)
{
    uint64_t all = RP_MIN((uint64_t)window_bytes * streams_n, (uint64_t)RP_H2_WINDOW_MOST);
    return (int32_t)RP_MAX(all, (uint64_t)NGHTTP2_INITIAL_CONNECTION_WINDOW_SIZE);
}

nghttp2_option *rp_h2_io_option(void)
{
    nghttp2_option *o;
    RP_CHECK(nghttp2_option_new(&o) == 0);
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(o, TABLE_BYTES);
    nghttp2_option_set_max_continuations(o, HEADS_MOST);
    nghttp2_option_set_max_outbound_ack(o, ACKS_MOST); /* who floods is told so, by a budget */
    return o;
}

/* ---- field blocks -------------------------------------------------------------------------- */

rp_err rp_h2_block_init(struct rp_h2_block *b, struct rp_arena *a, const struct rp_msg *m)
{
    b->n = 0;
    b->nv = rp_arena_alloc(a, (m->fields_n + (size_t)RP_H2_NV_EXTRA) * sizeof(*b->nv));
    return b->nv ? RP_OK : RP_E_CAP;
}

void rp_h2_block_put(struct rp_h2_block *b, rp_str name, rp_str value)
{
    b->nv[b->n++] = (nghttp2_nv){.name = (uint8_t *)name.ptr,
                                 .value = (uint8_t *)value.ptr,
                                 .namelen = name.len,
                                 .valuelen = value.len};
}

void rp_h2_block_drop(struct rp_h2_block *b, rp_str name)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->n; i++) {
        rp_str s = rp_str_of((const char *)b->nv[i].name, b->nv[i].namelen);
        if (!rp_str_eq(s, name)) b->nv[kept++] = b->nv[i];
    }
    b->n = kept;
}

/* RFC 9113 §8.2.1: names are lower case. Known ones have a constant that is; NONE: no memory. */
static rp_str lower_name(struct rp_arena *a, const struct rp_field *f)
{
    if (f->id != RP_H_OTHER) return rp_token_header_name(f->id);
    char *p = rp_arena_alloc(a, f->name_n);
    if (!p) return RP_STR_NONE;
    for (uint16_t i = 0; i < f->name_n; i++) p[i] = rp_lower(f->name[i]);
    return rp_str_of(p, f->name_n);
}

rp_err rp_h2_block_put_fields(struct rp_h2_block *b, struct rp_arena *a, const struct rp_msg *m)
{
    for (uint16_t i = 0; i < m->fields_n; i++) {
        const struct rp_field *f = &m->fields[i];
        if (rp_h2_field_is_dropped(f)) continue;
        rp_str name = lower_name(a, f);
        if (!name.ptr) return RP_E_CAP;
        rp_h2_block_put(b, name, rp_field_value(f));
    }
    return RP_OK;
}
