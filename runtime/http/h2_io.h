/* SPDX-License-Identifier: MIT
 *
 * h2_io: the connection under an HTTP/2 session, a client's or an upstream's: frames of nghttp2 to
 * the socket and back.
 *
 * Owns: the socket, nghttp2's session, the frames that wait. Frames of one tick leave in one write.
 * A peer that makes us speak and does not listen is not listened to, either.
 *
 * nghttp2's types are in it, so it is for the .c files of http/ alone.
 */
#ifndef RP_HTTP_H2_IO_H
#define RP_HTTP_H2_IO_H

#include <nghttp2/nghttp2.h>

#include "http/msg.h"
#include "net/conn.h"

struct rp_h2_io;
struct rp_h2_io_user { /* filled by the session */
    /* The connection is over, in the middle of whatever runs: record and wake. Once. */
    void (*died)(struct rp_h2_io *io);
    /* The peer has sent its end; nothing more comes, but frames may still be written. */
    void (*ended)(struct rp_h2_io *io);
    /* What could be written is written, at the end of a tick. The only place where the session may
     * free itself. through: both sides have nothing more to say, or the connection is dead. */
    void (*flushed)(struct rp_h2_io *io, bool through);
};

struct rp_h2_io {
    const struct rp_h2_io_user *user;
    nghttp2_session *ng;
    struct rp_conn *conn;
    struct rp_mem *mem;
    struct rp_chunk *in_chunk; /* where the bytes lie that nghttp2 looks at */
    struct rp_chain out;       /* frames for the socket */
    struct rp_defer flush;
    size_t unread; /* content bytes of all streams that nobody has read */
    size_t owed;   /* bytes by which the connection's window is to be opened */
    uint32_t turn; /* of reading: counts events */
    bool dead;     /* nothing more is read or written */
    bool in_over;  /* the peer has sent its end */
    bool held;     /* reading waits: the peer does not take what it is sent */
    bool large;    /* the last read filled its buffer */
};

enum {
    RP_H2_WINDOW_MOST = 16 * 1024 * 1024, /* bytes, of a connection */
    RP_H2_FRAME_HEAD = 9,                 /* bytes before a frame's payload */
};

/* conn: own; its owner pointer becomes `owner`, for on_event to find. ng is set by the caller. */
void rp_h2_io_init(struct rp_h2_io *io, const struct rp_h2_io_user *user, struct rp_conn *conn,
                   struct rp_mem *mem);
/* Give everything back but the socket, which is returned. Calls nothing back. */
struct rp_conn *rp_h2_io_release(struct rp_h2_io *io);
void rp_h2_io_die(struct rp_h2_io *io);
/* Say what can be said now, GOAWAY above all, and die. */
void rp_h2_io_end(struct rp_h2_io *io);
void rp_h2_io_flush_later(struct rp_h2_io *io);
/* What nghttp2 has to say goes into io->out, up to the high mark. Never inside its callbacks. */
void rp_h2_io_serialise(struct rp_h2_io *io);
/* Events of the socket: call from its on_event. */
void rp_h2_io_event(struct rp_h2_io *io, unsigned events);
/* Bytes that were read elsewhere; chunk holds them. */
void rp_h2_io_take(struct rp_h2_io *io, struct rp_chunk *chunk, rp_str bytes);
/* Content came (n bytes, for nobody yet) / of it, n bytes were read, or thrown away (keep = 0). The
 * connection's window opens at once, so that a stream which nobody reads never stalls its siblings;
 * until all of them together hold a megabyte. */
void rp_h2_io_came(struct rp_h2_io *io, size_t n, bool keep);
void rp_h2_io_read(struct rp_h2_io *io, size_t n);
/* Keep a piece of content that lies in io->in_chunk, behind what a stream holds unread. turn: the
 * stream's, when it was last given some. By reference while its reader keeps up, copied when not, so
 * that a stream which nobody reads holds no more memory than its window, and one read's worth. */
void rp_h2_io_keep(struct rp_h2_io *io, struct rp_chain *in, uint32_t *turn, rp_str bytes);
/* What a stream has to send and what is in no frame yet. */
struct rp_h2_out {
    struct rp_chain bytes;
    bool last;     /* nothing more will be added */
    bool ended;    /* our END_STREAM is in a frame */
    bool deferred; /* nghttp2 waits for content from us */
};
/* For nghttp2's read callback: how much of it goes into the next DATA frame of at most `most` bytes,
 * and *flags: EOF when it is the last (`ended` is set). NGHTTP2_ERR_DEFERRED: none now. */
ssize_t rp_h2_out_give(struct rp_h2_out *o, size_t most, uint32_t *flags);
/* There is more now: a stream that waited for it goes on. 0, or nghttp2's error. */
int rp_h2_out_resume(struct rp_h2_out *o, struct rp_h2_io *io, int32_t id);
/* A DATA frame of n bytes of content behind its 9-byte head. */
void rp_h2_io_put_data(struct rp_h2_io *io, const uint8_t *head, struct rp_chain *content,
                       size_t n);
/* How wide the window of a connection with this many streams is to be. */
int32_t rp_h2_io_window(uint32_t window_bytes, uint32_t streams_n);
/* Options that both kinds of session need. Aborts without memory. */
nghttp2_option *rp_h2_io_option(void);

/* ---- field blocks ---------------------------------------------------------------------------- */

enum { RP_H2_NV_EXTRA = 8 }; /* places for pseudo-header fields and those that we make */

struct rp_h2_block { /* in an arena; nghttp2 copies it when it is submitted */
    nghttp2_nv *nv;
    size_t n;
};
/* Room for the fields of m. RP_E_CAP. */
RP_MUST rp_err rp_h2_block_init(struct rp_h2_block *b, struct rp_arena *a, const struct rp_msg *m);
void rp_h2_block_put(struct rp_h2_block *b, rp_str name, rp_str value);
void rp_h2_block_drop(struct rp_h2_block *b, rp_str name); /* every field of that name */
/* All fields of m that HTTP/2 has (h2_msg.h), names in lower case. RP_E_CAP. */
RP_MUST rp_err rp_h2_block_put_fields(struct rp_h2_block *b, struct rp_arena *a,
                                      const struct rp_msg *m);

#endif
