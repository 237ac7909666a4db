/* SPDX-License-Identifier: MIT
 *
 * h2_stream: what h2_down.c and h2_stream.c share: the session, its streams, who calls whom.
 *
 * nghttp2's types are in it, so it is for the .c files of http/ alone.
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
    RP_H2_ENDS,    /* nothing is served any more: the connection ends when GOAWAY is out */
};

struct rp_h2_stream;
struct rp_h2_down {
    uint32_t magic;
    uint8_t going; /* enum rp_h2_going */
    bool calmed;   /* a budget is spent */
    bool heading;  /* `timer` is the deadline of the head that is being received */
    struct rp_h2_downs *all;
    struct rp_h2_down *next, *prev;
    struct rp_h2_io io;
    void *listener;
    uint64_t conn_id;
    struct rp_h2_stream *streams;
    struct rp_h2_stream *opening; /* its head is being received */
    uint32_t live_n;              /* streams with an exchange */
    uint32_t requests;
    uint64_t out_seen;      /* bytes that the socket had taken when it became idle */
    struct rp_timer timer;  /* preface, head, idle, the end */
    struct rp_timer notice; /* the second GOAWAY */
    struct rp_timer linger; /* streams that are answered while their content still comes */
    struct rp_h2_budget budget;
};

enum rp_h2_out_mode { RP_H2_OUT_NONE, RP_H2_OUT_LENGTH, RP_H2_OUT_OPEN, RP_H2_OUT_TUNNEL };

struct rp_h2_stream {
    uint32_t magic;
    int32_t id;
    struct rp_h2_down *session;
    struct rp_h2_stream *next, *prev;
    struct rp_exchange *x; /* NULL once the user is done with it */
    struct rp_h2_head head;
    struct rp_msg *trailers; /* that came; NULL: none */
    struct rp_chain in;      /* content that came and was not read */
    struct rp_h2_out out;
    uint64_t out_left; /* RP_H2_OUT_LENGTH */
    uint64_t taken;    /* content bytes in frames: the client's window had room for them */
    uint32_t thrown;   /* content bytes that were thrown away */
    uint32_t in_turn;  /* for rp_h2_io_keep */
    uint8_t out_mode;  /* enum rp_h2_out_mode */
    bool started;      /* the user was told of the request */
    bool in_ended;     /* the client's END_STREAM came */
    bool skip;         /* content is thrown away */
    bool head_waits;   /* the response's head is in no frame yet */
    bool blocked;      /* the user waits for RP_WAKE_SINK */
    bool closed;       /* nghttp2 has forgotten it */
    bool lingered;     /* its user left a while ago, and it is not over */
};

/* ---- h2_down.c --------------------------------------------------------------------------------- */

/* One more frame of a kind that may be a nuisance; ends the connection when there are too many. */
void rp_h2_session_nuisance(struct rp_h2_down *s, enum rp_h2_nuisance kind);
/* The client broke a rule: GOAWAY with this code, and the end. */
void rp_h2_session_error(struct rp_h2_down *s, uint32_t code);
void rp_h2_session_live(struct rp_h2_down *s, int change); /* one exchange more, or less */
void rp_h2_session_head_over(struct rp_h2_down *s);        /* a head is whole, or never will be */
void rp_h2_session_linger(struct rp_h2_down *s);           /* a stream outlives its exchange */

/* ---- h2_stream.c ------------------------------------------------------------------------------- */

void rp_h2_stream_callbacks(nghttp2_session_callbacks *c);
void rp_h2_stream_free(struct rp_h2_stream *st);  /* its exchange must be gone */
void rp_h2_stream_abort(struct rp_h2_stream *st); /* the connection is dead */
void rp_h2_stream_head_late(struct rp_h2_stream *st);
/* Is it still there without a user: its content comes, or the client does not take its end? At the
 * second look it is reset. */
bool rp_h2_stream_linger(struct rp_h2_stream *st);

#endif
