/* SPDX-License-Identifier: MIT
 *
 * stream_relay: bytes both ways. Nothing is read from an end while the other has not taken what was
 * read before: that bounds memory to one buffer a direction. A FIN is passed on as a FIN once all
 * bytes before it went out; any other end as a reset, so that nobody takes half for the whole.
 *
 * A direction whose source fills large buffers moves through a pipe (net/splice) until it turns
 * quiet: small pieces are cheaper to copy than to splice.
 */
#include "proxy/stream.h"

enum {
    PUMP_TURNS = 8,          /* then others get theirs */
    SPLICE_FULL = 64 * 1024, /* bytes of a move behind which there may be more at once */
    SPLICE_CALM = 16 * 1024, /* smaller ones are copied from then on */
    LINGER_MS = 5000,        /* an end gets this long to read what it was sent last */
    LINGER_BYTES = 1 << 20,  /* ... while it sends what nobody wants */
};

/* One read into the way. A first read is small: most streams talk in small pieces. */
static rp_err read_some(struct rp_stream *s, struct rp_stream_way *w, struct rp_conn *from)
{
    size_t got, room = w->full ? RP_CHUNK_LARGE : RP_CHUNK_SMALL;
    struct rp_chunk *chunk = rp_chunk_new(s->proxy->mem, room);
    rp_err e = rp_conn_recv(from, chunk->data, chunk->room, &got);
    if (e == RP_OK) {
        chunk->used = (uint32_t)got;
        rp_chain_add(&w->bytes, chunk, chunk->data, got);
        w->full = got == chunk->room;
        w->ready = w->full; /* after a short read an event tells of more */
    }
    rp_chunk_drop(chunk);
    if (e == RP_AGAIN) w->ready = w->full = false;
    w->bulk = w->full && room == RP_CHUNK_LARGE;
    return e;
}

/* The same by the kernel. What recv passes over (urgent data) stops a splice for ever: so after two
 * moves that found nothing it is recv's turn. */
static rp_err splice_some(struct rp_stream *s, struct rp_stream_way *w, struct rp_conn *from)
{
    size_t got;
    rp_err e = rp_splice_take(from, SIZE_MAX, &w->pipe, &got);
    if (e == RP_E_BUSY) return read_some(s, w, from);
    if (e == RP_OK) {
        w->ready = got >= SPLICE_FULL; /* after a short move an event tells of more */
        w->bulk = got >= SPLICE_CALM;
        w->dry = false;
    } else if (e == RP_AGAIN) {
        w->ready = false;
        w->bulk = !w->dry;
        w->dry = true;
    }
    return e;
}

static void clear_way(struct rp_stream_way *w)
{
    rp_chain_clear(&w->bytes);
    rp_splice_drop(&w->pipe);
}

/* What was read, to the sink. As rp_conn_send. */
static rp_err write_out(struct rp_stream_way *w, struct rp_conn *to)
{
    rp_err e = w->bytes.bytes > 0 ? rp_conn_send(to, &w->bytes) : RP_OK;
    return e == RP_OK && w->pipe ? rp_splice_give(to, &w->pipe, &w->bytes) : e;
}

/* The sink is gone: what its source still says goes nowhere. What the sink said before may still be
 * there to be read, so the other way goes on. */
static rp_err broke(struct rp_stream *s, struct rp_stream_way *w, struct rp_conn *from, rp_err why)
{
    if (s->fail == RP_OK) s->fail = why;
    w->broken = true;
    clear_way(w);
    rp_conn_pause(from);
    return RP_OK;
}

/* One direction. RP_OK nothing more to do now; RP_AGAIN others get their turn first; < 0 the source
 * broke. */
static rp_err pump(struct rp_stream *s, struct rp_stream_way *w, struct rp_conn *from,
                   struct rp_conn *to)
{
    bool up = to == s->up, was_light = !w->bulk;
    for (int turn = 0; turn < PUMP_TURNS; turn++) {
        if (w->broken || w->finished) return RP_OK;
        rp_err e = write_out(w, to);
        if (e < 0) return broke(s, w, from, up ? RP_E_UP_RESET : RP_E_CLIENT_GONE);
        if (e == RP_AGAIN) {
            rp_conn_pause(from);
            return RP_OK;
        }
        if (w->ended) {
            rp_conn_shutdown(to);
            w->finished = true;
            return RP_OK;
        }
        if (!w->ready) {
            rp_conn_resume(from);
            return RP_OK;
        }
        if (turn > 0 && w->bulk && (was_light || rp_loop_is_late(s->proxy->loop))) break;
        bool bulk = w->bulk && rp_splice_can(from, to);
        e = bulk ? splice_some(s, w, from) : read_some(s, w, from);
        if (e < 0) return up ? RP_E_CLIENT_GONE : RP_E_UP_RESET;
        if (e == RP_END) w->ended = true;
    }
    return RP_AGAIN;
}

rp_err rp_stream_relay(struct rp_stream *s)
{
    rp_err up = pump(s, &s->to_up, s->down, s->up);
    rp_err down = up < 0 ? RP_OK : pump(s, &s->to_down, s->up, s->down);
    rp_err e = up < 0 ? up : down;
    if (e < 0) {
        if (s->fail == RP_OK) s->fail = e;
        return s->fail;
    }
    bool through =
        (s->to_up.finished || s->to_up.broken) && (s->to_down.finished || s->to_down.broken);
    if (through) return s->fail;
    if (up == RP_AGAIN || down == RP_AGAIN) rp_stream_wake(s, RP_WAKE_BODY);
    return RP_AGAIN;
}

/* to: the way that leads to this end; from: the way that begins there. */
static void close_end(const struct rp_stream *s, struct rp_conn **end,
                      const struct rp_stream_way *to, const struct rp_stream_way *from)
{
    struct rp_conn *c = *end;
    bool broken = s->fail != RP_OK; /* also by a deadline of ours: it is half a transfer */
    *end = NULL;
    if (!c) return;
    if (to->finished && !from->ended) rp_conn_linger(c, LINGER_MS, LINGER_BYTES);
    else if (s->relayed && broken && !to->finished) rp_conn_reset(c);
    else rp_conn_close(c);
}

void rp_stream_close(struct rp_stream *s)
{
    if (s->up) s->up_bytes = rp_conn_face(s->up)->out_bytes;
    if (s->down) s->down_bytes = rp_conn_face(s->down)->out_bytes;
    close_end(s, &s->up, &s->to_up, &s->to_down);
    close_end(s, &s->down, &s->to_down, &s->to_up);
    clear_way(&s->to_up);
    clear_way(&s->to_down);
}
