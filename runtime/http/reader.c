/* SPDX-License-Identifier: MIT
 *
 * reader: see reader.h.
 */
#include "http/reader.h"

extern inline void rp_reader_note(struct rp_reader *r, struct rp_conn *c);
extern inline void rp_reader_listen(struct rp_reader *r, struct rp_conn *c);
extern inline void rp_reader_clear(struct rp_reader *r);
extern inline rp_err rp_reader_fill(struct rp_reader *r, struct rp_mem *m, struct rp_conn *c,
                                    size_t cap);

enum {
    ROOM_MIN = 2048,         /* bytes: a smaller recv costs more system calls than a new chunk */
    SPLICE_FULL = 64 * 1024, /* ... of a splice behind which there may be more at once */
};

/* The same when there is a chunk. */
static rp_err make_more_room(struct rp_reader *r, struct rp_mem *m, size_t cap)
{
    size_t unread = r->end - r->at;
    if (unread == 0 && r->chunk->refs == 1) {
        r->at = r->end = 0;
        if (!r->large || r->chunk->room >= RP_CHUNK_LARGE) return RP_OK;
    } else if (r->chunk->room - r->end >= ROOM_MIN) {
        return RP_OK;
    }
    if (unread >= cap) return RP_E_TOO_BIG;
    size_t room = r->large ? RP_CHUNK_LARGE : RP_CHUNK_SMALL;
    while (room < unread + ROOM_MIN) room *= 2;
    struct rp_chunk *fresh = rp_chunk_new(m, room);
    if (unread) memcpy(fresh->data, r->chunk->data + r->at, unread);
    rp_chunk_drop(r->chunk);
    r->chunk = fresh;
    r->at = 0;
    r->end = (uint32_t)unread;
    return RP_OK;
}

/* Room behind `end` for at least ROOM_MIN bytes, moving only unread bytes. */
static inline rp_err make_room(struct rp_reader *r, struct rp_mem *m, size_t cap)
{
    if (r->chunk) return make_more_room(r, m, cap);
    r->chunk = rp_chunk_new(m, r->large ? RP_CHUNK_LARGE : RP_CHUNK_SMALL);
    r->at = r->end = 0;
    return RP_OK;
}

static inline void drained(struct rp_reader *r, struct rp_conn *c)
{
    r->readable = false;
    rp_reader_listen(r, c);
}

RP_NO_ARRAYS rp_err rp_reader_receive(struct rp_reader *r, struct rp_mem *m, struct rp_conn *c,
                                      size_t cap)
{
    rp_err e = make_room(r, m, cap);
    if (e != RP_OK) return e;
    size_t room = r->chunk->room - r->end;
    size_t got = 0;
    e = rp_conn_recv(c, r->chunk->data + r->end, room, &got);
    if (RP_LIKELY(e == RP_OK)) {
        r->end += (uint32_t)got;
        r->large = got == room;
        if (got < room) drained(r, c); /* a short read emptied the socket */
        return RP_OK;
    }
    drained(r, c);
    if (e != RP_AGAIN) r->over = e;
    if (r->at == r->end) rp_reader_clear(r);
    return e;
}

/* Nothing came although an event had told of it: either it was taken before, or it is what only recv
 * passes over (urgent data). Twice in a row it is recv's turn, or the event would come for ever. */
static rp_err splice_dry(struct rp_reader *r, struct rp_conn *c)
{
    if (r->dry) return RP_E_BUSY;
    r->dry = true;
    drained(r, c);
    return RP_AGAIN;
}

rp_err rp_reader_splice(struct rp_reader *r, struct rp_conn *c, size_t max, struct rp_splice **pipe)
{
    RP_ASSERT(r->at == r->end);
    if (r->over != RP_OK) return r->over;
    if (!r->readable) return RP_AGAIN;
    size_t got = 0;
    rp_err e = rp_splice_take(c, max, pipe, &got);
    if (e == RP_E_BUSY) return e;
    rp_reader_clear(r);
    if (e == RP_AGAIN) return splice_dry(r, c);
    r->dry = false;
    if (e != RP_OK) r->over = e;
    if (got < max && got < SPLICE_FULL) drained(r, c); /* an event tells of more, if there is */
    return e;
}
