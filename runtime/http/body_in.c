/* SPDX-License-Identifier: MIT
 *
 * body_in: see body_in.h. RFC 9112 §6, §7.1.
 */
#include "http/body_in.h"

enum {
    TRAILER_CAP = 16 * 1024, /* unread bytes: a trailer section and some data behind it */
    COPY_MAX = 128,          /* bytes: tiny chunks are put together, see decode_chunks */
};

extern inline void rp_body_in_init(struct rp_body_in *b, enum rp_framing framing, uint64_t length);

/* Lend n unread bytes to out. */
static void lend(struct rp_reader *r, struct rp_chain *out, size_t n)
{
    rp_chain_add(out, r->chunk, r->chunk->data + r->at, n);
    rp_reader_take(r, n);
}

/* Decode what is unread. RP_OK: something was moved; RP_AGAIN: more input is needed.
 * The second and further small runs are copied together: as slices, a sender of one-byte chunks could
 * make us keep 40 bytes for each byte of content, and write them to the other side one by one. */
static rp_err decode_chunks(struct rp_body_in *b, struct rp_reader *r, struct rp_chain *out,
                            size_t max, rp_str *trailer_section)
{
    size_t moved = 0;
    while (moved < max) {
        size_t used = 0;
        rp_str data = RP_STR_NONE;
        rp_err e = rp_h1_chunk_next(&b->dec, rp_reader_ptr(r), rp_reader_len(r), &used, &data);
        if (e == RP_OK) {
            if (data.len <= COPY_MAX && moved > 0) rp_chain_add_copy(out, data);
            else rp_chain_add(out, r->chunk, data.ptr, data.len);
            moved += data.len;
        }
        rp_reader_take(r, used);
        if (e == RP_OK) continue;
        if (e == RP_END) {
            b->mode = RP_IN_DONE;
            *trailer_section = data;
        }
        if (e < 0) return e;
        return moved ? RP_OK : e;
    }
    return RP_OK;
}

static rp_err take(struct rp_body_in *b, struct rp_reader *r, struct rp_chain *out, size_t max,
                   rp_str *trailer_section)
{
    size_t have = rp_reader_len(r);
    switch ((enum rp_body_in_mode)b->mode) {
    case RP_IN_CHUNKED: return decode_chunks(b, r, out, max, trailer_section);
    case RP_IN_LENGTH:
        have = (size_t)RP_MIN((uint64_t)have, b->left);
        have = RP_MIN(have, max);
        b->left -= have;
        if (b->left == 0) b->mode = RP_IN_DONE;
        lend(r, out, have);
        return RP_OK;
    case RP_IN_RAW: lend(r, out, RP_MIN(have, max)); return RP_OK;
    case RP_IN_DONE: break;
    }
    return RP_END;
}

rp_err rp_body_in_read(struct rp_body_in *b, struct rp_reader *r, struct rp_mem *m,
                       struct rp_conn *c, struct rp_chain *out, size_t max, rp_str *trailer_section)
{
    size_t before = out->bytes;
    rp_err e = RP_OK;
    while (b->mode != RP_IN_DONE && out->bytes - before < max) {
        if (rp_reader_len(r) > 0) {
            e = take(b, r, out, max - (out->bytes - before), trailer_section);
            if (e < 0) return e;
            if (e == RP_OK || e == RP_END) continue;
        }
        e = rp_reader_fill(r, m, c, TRAILER_CAP);
        if (e == RP_OK) continue;
        if (e == RP_END && b->mode == RP_IN_RAW) b->mode = RP_IN_DONE;
        else if (e == RP_END) e = RP_E_CLOSED;
        else if (e == RP_E_TOO_BIG) e = RP_E_H1_CHUNK;
        break; /* what came before goes first: a failure is told again by the next call */
    }
    if (out->bytes > before) return RP_OK;
    return b->mode == RP_IN_DONE ? RP_END : e;
}

uint64_t rp_body_in_unseen(const struct rp_body_in *b, const struct rp_reader *r)
{
    uint64_t unread = rp_reader_len(r);
    if (b->mode == RP_IN_RAW) return UINT64_MAX;
    return b->mode == RP_IN_LENGTH && b->left > unread ? b->left - unread : 0;
}

rp_err rp_body_in_splice(struct rp_body_in *b, struct rp_reader *r, struct rp_conn *c,
                         struct rp_splice **pipe)
{
    uint64_t left = rp_body_in_unseen(b, r);
    if (left == 0) return b->mode == RP_IN_DONE ? RP_END : RP_E_BUSY;
    rp_err e = rp_reader_splice(r, c, (size_t)RP_MIN(left, (uint64_t)SIZE_MAX), pipe);
    bool raw = b->mode == RP_IN_RAW;
    if (!raw) b->left -= rp_splice_bytes(*pipe);
    if (raw ? e == RP_END : b->left == 0) b->mode = RP_IN_DONE;
    return e == RP_END && !raw ? RP_E_CLOSED : e;
}
