/* SPDX-License-Identifier: MIT
 *
 * h2_link: what h2_link.c (connections, frames in) and h2_up.c (requests) share.
 *
 * nghttp2's types are in it, so it is for the .c files of http/ alone.
 */
#ifndef RP_HTTP_H2_LINK_H
#define RP_HTTP_H2_LINK_H

#include "http/h2_io.h"
#include "http/h2_up.h"
#include "http/ws_frame.h"
#include "net/timer.h"

enum { RP_H2_LINK_MAGIC = 0x48324c31, RP_H2_ASK_MAGIC = 0x48325531 };

struct rp_h2_answer { /* of a response, as text */
    struct rp_h2_answer *next;
    struct rp_chunk *chunk;
    bool ended; /* no content follows */
};

/* One request: a stream behind the border of up.h. */
struct rp_h2_ask {
    uint32_t magic;
    int32_t id; /* 0: not submitted */
    struct rp_up up;
    struct rp_h2_link *link;
    struct rp_h2_ask *next, *prev;
    struct rp_chain in; /* content that came and was not read */
    struct rp_h2_out out;
    struct rp_chunk *text; /* the head that is being received; NULL: none */
    struct rp_h2_answer *heads, **heads_end;
    struct rp_chunk *trailers;         /* as text; NULL: none came */
    const struct rp_msg *trailers_out; /* of the request, the user's; NULL: none */
    struct rp_arena arena;             /* for what is submitted */
    uint64_t out_left;                 /* RP_BODY_LENGTH */
    uint32_t heads_n;
    uint32_t in_turn;    /* for rp_h2_io_keep */
    uint8_t method;      /* enum rp_method of the request */
    uint8_t out_framing; /* enum rp_framing of the request */
    bool held;           /* the user has it */
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
    bool tunnel;         /* an extended CONNECT (RFC 8441) */
    bool switched;       /* ... that the upstream has accepted */
    bool lost;           /* bytes of it could not be sent any more */
    bool lingered;       /* its user left a while ago, and it is not over */
    uint64_t taken;      /* content bytes in frames */
    char accept[RP_WS_ACCEPT_BYTES]; /* what a client in HTTP/1 waits for (tunnel) */
    rp_ms started_ms;
};

struct rp_h2_link {
    uint32_t magic;
    struct rp_h2_io io;
    struct rp_h2_links *all;
    struct rp_h2_link *next, *prev;
    struct rp_h2_link_settings settings;
    struct rp_h2_ask *streams;
    uint32_t held_n; /* streams that users have */
    uint64_t requests;
    bool secure;
    bool leaving;  /* no new streams */
    bool settled;  /* its SETTINGS came: it is known how many streams it takes */
    bool doubted;  /* is anybody there? No new streams until a byte comes */
    bool pinged;   /* since the last response */
    rp_ms came_ms; /* when bytes came last */
    struct rp_timer idle;
    struct rp_timer linger; /* tunnels that we ended: the upstream gets a while to end them, too */
    rp_ms linger_ms;
};

/* Its user hears of news, if it has one. */
void rp_h2_ask_wake(struct rp_h2_ask *st);
void rp_h2_ask_free(struct rp_h2_ask *st);
/* nghttp2's callback: a DATA frame goes behind the others, without a copy of its content. */
int rp_h2_ask_put_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                       nghttp2_data_source *source, void *arg);
/* Is it held back by an upstream that takes no request at all? Then nothing of it was sent. */
bool rp_h2_ask_is_shut_out(const struct rp_h2_ask *st);
/* Does the upstream take extended CONNECT? Its SETTINGS have come. */
bool rp_h2_link_takes_tunnels(const struct rp_h2_link *k);
/* Nobody waits for it any more: CANCEL. */
void rp_h2_ask_reset(struct rp_h2_ask *st);
/* A tunnel was ended by us, and its upstream has `ms` to end it, too; twice that at most. */
void rp_h2_link_linger(struct rp_h2_link *k, rp_ms ms);
/* No new requests; without any it closes. */
void rp_h2_link_leave(struct rp_h2_link *k);

#endif
