/* SPDX-License-Identifier: MIT
 *
 * h2_stream: what h2_down.c and h2_stream.c share: the session, its streams, who calls whom.
 */
#ifndef RP_HTTP_H2_STREAM_H
#define RP_HTTP_H2_STREAM_H

#include "http/h2_down.h"
#include "http/h2_io.h"
#include "http/h2_msg.h"
#include "net/timer.h"

enum { RP_H2_DOWN_MAGIC = 0x48324431, RP_H2_STREAM_MAGIC = 0x48325331 };

enum rp_h2_going {
    RP_H2_STAYS,
    RP_H2_NOTICED, /* told that the end is near; new streams are still served */
    RP_H2_GONE,    /* GOAWAY with the last stream that is served */
};

struct rp_h2_stream;
struct rp_h2_down {
    uint32_t magic;
    uint8_t going; /* enum rp_h2_going */
    bool calmed;   /* a budget is spent */
    struct rp_h2_downs *all;
    struct rp_h2_down *next, *prev;
    struct rp_h2_io io;
    void *listener;
    uint64_t conn_id;
    struct rp_h2_stream *streams;
    struct rp_h2_stream *opening; /* its head is being received */
    uint32_t live_n;              /* streams with an exchange */
    uint32_t requests;
    struct rp_timer timer;  /* preface, head, idle, the second GOAWAY */
    struct rp_timer linger; /* streams that are answered while their content still comes */
    struct rp_h2_budget budget;
};

enum rp_h2_out { RP_H2_OUT_NONE, RP_H2_OUT_LENGTH, RP_H2_OUT_OPEN, RP_H2_OUT_TUNNEL };

struct rp_h2_stream {
    uint32_t magic;
    int32_t id;
    struct rp_h2_down *session;
    struct rp_h2_stream *next, *prev;
    struct rp_exchange *x; /* NULL once the user is done with it */
    struct rp_h2_head head;
    struct rp_msg *trailers; /* that came; NULL: none */
    struct rp_chain in;      /* content that came and was not read */
    struct rp_chain out;     /* content that is in no frame yet */
    uint64_t out_left;       /* RP_H2_OUT_LENGTH */
    uint64_t taken;          /* content bytes in frames: the client's window had room for them */
    uint8_t out_mode;        /* enum rp_h2_out */
    bool started;            /* the user was told of the request */
    bool in_ended;           /* the client's END_STREAM came */
    bool skip;               /* content is thrown away */
    bool out_last;           /* nothing more will be added to `out` */
    bool out_ended;          /* our END_STREAM is in a frame */
    bool deferred;           /* nghttp2 waits for content from us */
    bool blocked;            /* the user waits for RP_WAKE_SINK */
    bool closed;             /* nghttp2 has forgotten it */
    bool lingered;           /* answered for a while, and its content still comes */
};

/* ---- h2_down.c --------------------------------------------------------------------------------- */

/* One more frame of a kind that may be a nuisance; ends the connection when there are too many. */
void rp_h2_session_nuisance(struct rp_h2_down *s, enum rp_h2_nuisance kind);
void rp_h2_session_live(struct rp_h2_down *s, int change); /* one exchange more, or less */
void rp_h2_session_head_timer(struct rp_h2_down *s);       /* a head begins */
void rp_h2_session_linger(struct rp_h2_down *s);           /* a stream is answered too early */

/* ---- h2_stream.c ------------------------------------------------------------------------------- */

void rp_h2_stream_callbacks(nghttp2_session_callbacks *c);
void rp_h2_stream_free(struct rp_h2_stream *st);  /* its exchange must be gone */
void rp_h2_stream_abort(struct rp_h2_stream *st); /* the connection is dead */
void rp_h2_stream_head_late(struct rp_h2_stream *st);
/* Is it answered while its content still comes? At the second look it is reset. */
bool rp_h2_stream_linger(struct rp_h2_stream *st);

#endif
