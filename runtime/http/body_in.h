/* SPDX-License-Identifier: MIT
 *
 * body_in: the incoming body of one HTTP/1 message: reader in, slices of content out, framing
 * removed. Both sessions (h1_down, h1_up) read through it.
 */
#ifndef RP_HTTP_BODY_IN_H
#define RP_HTTP_BODY_IN_H

#include "http/h1_chunk.h"
#include "http/msg.h"
#include "http/reader.h"

enum rp_body_in_mode {
    RP_IN_DONE, /* no body, or all of it was read */
    RP_IN_LENGTH,
    RP_IN_CHUNKED,
    RP_IN_RAW, /* until end of stream: close-delimited bodies and tunnels */
};

struct rp_body_in {
    union {
        uint64_t left;          /* LENGTH */
        struct rp_h1_chunk dec; /* CHUNKED */
    };
    uint8_t mode; /* enum rp_body_in_mode */
};

RP_INLINE void rp_body_in_init(struct rp_body_in *b, enum rp_framing framing, uint64_t length);
/* Move up to max content bytes into out.
 * RP_OK some came; RP_AGAIN none now; RP_END the body is complete; RP_E_CLOSED the stream ended early;
 * RP_E_H1_CHUNK (bytes before the mistake may be in out); RP_E_OS. max is a mark: a chunked body may
 * pass it by what one recv brought. *trailer_section is set by the call that meets the end of a chunked body
 * (RP_END, or RP_OK with its last bytes): the raw section, a slice of the reader's chunk, "\r\n" alone
 * when empty. */
RP_MUST rp_err rp_body_in_read(struct rp_body_in *b, struct rp_reader *r, struct rp_mem *m,
                               struct rp_conn *c, struct rp_chain *out, size_t max,
                               rp_str *trailer_section);
#ifndef RP_CDEF
inline void rp_body_in_init(struct rp_body_in *b, enum rp_framing framing, uint64_t length)
{
    if (RP_UNLIKELY(framing == RP_BODY_CHUNKED)) {
        b->mode = RP_IN_CHUNKED;
        rp_h1_chunk_init(&b->dec);
        return;
    }
    b->left = framing == RP_BODY_LENGTH ? length : 0;
    b->mode = b->left ? RP_IN_LENGTH : RP_IN_DONE;
    if (RP_UNLIKELY(framing == RP_BODY_CLOSE)) b->mode = RP_IN_RAW;
}
/* All of the rest is at hand, and no more than max: the usual small body. Then it is moved at once. */
static inline bool rp_body_in_take_rest(struct rp_body_in *b, struct rp_reader *r,
                                        struct rp_chain *out, size_t max)
{
    if (b->mode != RP_IN_LENGTH || b->left > rp_reader_len(r) || b->left > max) return false;
    rp_chain_add(out, r->chunk, r->chunk->data + r->at, (size_t)b->left);
    rp_reader_take(r, (size_t)b->left);
    b->left = 0;
    b->mode = RP_IN_DONE;
    return true;
}
#endif
/* How much of the content, behind what was received already, need not be seen to find its end: 0 for
 * a chunked body, UINT64_MAX when the connection ends it. */
uint64_t rp_body_in_unseen(const struct rp_body_in *b, const struct rp_reader *r);
/* Some of it into a pipe (rp_splice_take), when nothing is unread in the reader. As rp_body_in_read,
 * but for RP_E_BUSY: read instead. */
RP_MUST rp_err rp_body_in_splice(struct rp_body_in *b, struct rp_reader *r, struct rp_conn *c,
                                 struct rp_splice **pipe);

#endif
