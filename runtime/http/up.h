/* SPDX-License-Identifier: MIT
 *
 * up: one request's way to an upstream, whatever the protocol: a connection in HTTP/1 (h1_up), a
 * stream in HTTP/2 (h2_up).
 *
 * Bound to at most one user at a time, which is told of every event and asks what came of it.
 */
#ifndef RP_HTTP_UP_H
#define RP_HTTP_UP_H

#include "base/chain.h"
#include "http/h1_parse.h"
#include "net/conn.h"
#include "net/splice.h"

struct rp_up;
typedef void (*rp_up_fn)(void *user, struct rp_up *u);

struct rp_up_ops {
    rp_err (*finish_connect)(struct rp_up *u);
    void (*close)(struct rp_up *u);
    void (*linger)(struct rp_up *u, rp_ms ms, size_t bytes);
    void (*start)(struct rp_up *u, struct rp_chain *head, uint8_t method, enum rp_framing framing,
                  uint64_t length);
    rp_err (*send)(struct rp_up *u, struct rp_chain *in, bool last, const struct rp_msg *trailers);
    uint64_t (*pipe_room)(const struct rp_up *u);
    void (*expect_pipe)(struct rp_up *u, size_t n);
    rp_err (*send_pipe)(struct rp_up *u, struct rp_splice **pipe);
    rp_err (*flush)(struct rp_up *u);
    bool (*is_flushed)(const struct rp_up *u);
    bool (*is_sent)(const struct rp_up *u);
    uint64_t (*taken)(const struct rp_up *u);
    size_t (*unsent)(const struct rp_up *u);
    bool (*has_sent_body)(const struct rp_up *u);
    bool (*is_quiet)(const struct rp_up *u);
    bool (*has_answer)(const struct rp_up *u);
    bool (*is_unprocessed)(const struct rp_up *u);
    rp_err (*read_head)(struct rp_up *u, const struct rp_h1_limits *limits, struct rp_arena *a,
                        struct rp_msg *out, struct rp_chunk **chunk);
    rp_err (*read)(struct rp_up *u, struct rp_chain *out, size_t max, struct rp_arena *a,
                   struct rp_msg **trailers);
    rp_str (*read_small)(struct rp_up *u, uint64_t length);
    size_t (*at_hand)(const struct rp_up *u);
    uint64_t (*unseen)(const struct rp_up *u);
    rp_err (*splice)(struct rp_up *u, struct rp_splice **pipe);
    bool (*is_reusable)(const struct rp_up *u);
    void (*rest)(struct rp_up *u);
    void (*tunnel)(struct rp_up *u);
    void (*end_output)(struct rp_up *u);
};

struct rp_up {
    const struct rp_up_ops *ops;
    rp_up_fn wake;
    void *user;
    struct rp_conn *conn;
    struct rp_conn_fail *fail; /* the socket's first failure */
    uint64_t requests;         /* started on this connection */
    /* the pool's */
    struct rp_up *next, *prev;
    void *pool_slot;
    rp_ms idle_since_ms;
};

#ifndef RP_CDEF
/* From now on `wake` is told of every event (connected, bytes, room, end); NULL to unbind. */
static inline void rp_up_bind(struct rp_up *u, rp_up_fn wake, void *user)
{
    u->wake = wake;
    u->user = user;
}
/* RP_OK connected; RP_AGAIN; RP_E_UP_CONNECT, RP_E_UP_TLS_*. */
RP_MUST static inline rp_err rp_up_finish_connect(struct rp_up *u)
{
    return u->ops->finish_connect(u);
}
static inline void rp_up_close(struct rp_up *u) /* at once; no more wakes */
{
    u->ops->close(u);
}
/* The same, but what was sent last can still be read: see rp_conn_linger. */
static inline void rp_up_linger(struct rp_up *u, rp_ms ms, size_t bytes)
{
    u->ops->linger(u, ms, bytes);
}
/* Start a request whose head, as HTTP/1.1 writes it, is in `head` (moved). method: enum rp_method,
 * decides whether the response has a body. framing: of the request body; length with
 * RP_BODY_LENGTH. */
static inline void rp_up_start(struct rp_up *u, struct rp_chain *head, uint8_t method,
                               enum rp_framing framing, uint64_t length)
{
    u->ops->start(u, head, method, framing, length);
}
/* Queue request body bytes (all are taken); last ends the request, with trailers (NULL: none) where
 * the framing has them. RP_OK; RP_AGAIN over the high mark (wake follows); RP_E_H1_FRAMING when the
 * bytes do not fit the announced length. */
RP_MUST static inline rp_err rp_up_send(struct rp_up *u, struct rp_chain *in, bool last,
                                        const struct rp_msg *trailers)
{
    return u->ops->send(u, in, last, trailers);
}
/* Body bytes that may come in a pipe (net/splice) instead: what is left of an announced length, else
 * 0. */
static inline uint64_t rp_up_pipe_room(const struct rp_up *u)
{
    return u->ops->pipe_room(u);
}
/* n body bytes were taken into one: they are part of the request from now on. */
static inline void rp_up_expect_pipe(struct rp_up *u, size_t n)
{
    u->ops->expect_pipe(u, n);
}
/* When flush said RP_OK: write them. RP_OK *pipe is NULL; RP_AGAIN; RP_E_UP_SEND. The end is still
 * told by rp_up_send. */
RP_MUST static inline rp_err rp_up_send_pipe(struct rp_up *u, struct rp_splice **pipe)
{
    return u->ops->send_pipe(u, pipe);
}
/* Write what is queued. RP_OK it is with the system; RP_AGAIN; RP_E_UP_SEND. */
RP_MUST static inline rp_err rp_up_flush(struct rp_up *u)
{
    return u->ops->flush(u);
}
static inline bool rp_up_is_flushed(const struct rp_up *u) /* nothing is queued */
{
    return u->ops->is_flushed(u);
}
static inline bool rp_up_is_sent(const struct rp_up *u) /* ... and the request was whole */
{
    return u->ops->is_sent(u);
}
/* Bytes of this request that were taken from us, counted from any point: only the growth means
 * something. */
static inline uint64_t rp_up_taken(const struct rp_up *u)
{
    return u->ops->taken(u);
}
/* Bytes that were sent and have not left us, or that the other end's system has not taken; 0 when
 * nobody knows. */
static inline size_t rp_up_unsent(const struct rp_up *u)
{
    return u->ops->unsent(u);
}
/* Was any byte of the request's body queued? (then it cannot be had again) */
static inline bool rp_up_has_sent_body(const struct rp_up *u)
{
    return u->ops->has_sent_body(u);
}
/* Is an idle connection still good: nothing came on it, no end and no byte? One system call, for
 * requests that must not fail or be repeated; the loop tells of the others soon enough. */
static inline bool rp_up_is_quiet(const struct rp_up *u)
{
    return u->ops->is_quiet(u);
}
/* Did any byte of a response arrive? (RFC 9110 §9.2.2: then it must not be repeated) */
static inline bool rp_up_has_answer(const struct rp_up *u)
{
    return u->ops->has_answer(u);
}
/* After a failure: did the upstream say that it has not processed the request (RFC 9113 §8.7)? Then
 * it may be repeated whatever it is. */
static inline bool rp_up_is_unprocessed(const struct rp_up *u)
{
    return u->ops->is_unprocessed(u);
}
/* The next response head, interim ones included (look at out->status).
 * RP_OK: *chunk is held for the caller, out's slices point into it; RP_AGAIN; RP_E_UP_CLOSED (end
 * before a byte), RP_E_UP_TRUNCATED, RP_E_UP_BAD_RESPONSE, RP_E_UP_HEAD_BIG */
RP_MUST static inline rp_err rp_up_read_head(struct rp_up *u, const struct rp_h1_limits *limits,
                                             struct rp_arena *a, struct rp_msg *out,
                                             struct rp_chunk **chunk)
{
    return u->ops->read_head(u, limits, a, out, chunk);
}
/* Response body bytes, at most max. RP_OK, RP_AGAIN, RP_END (of a body of known length with its last
 * bytes; of a tunnel alone), RP_E_UP_TRUNCATED, RP_E_UP_BAD_RESPONSE (bytes before the break may be in
 * out). *trailers (in a) is set when the body ended with some. */
RP_MUST static inline rp_err rp_up_read(struct rp_up *u, struct rp_chain *out, size_t max,
                                        struct rp_arena *a, struct rp_msg **trailers)
{
    return u->ops->read(u, out, max, a, trailers);
}
enum { RP_UP_SMALL = 1024 }; /* bytes: cheaper to copy than to pass on */
/* All of a response body of that known length, at most RP_UP_SMALL, when all of it is at hand: read
 * then, the bytes are there until u is let go or read again. ptr NULL: read it as any other. */
static inline rp_str rp_up_read_small(struct rp_up *u, uint64_t length)
{
    return u->ops->read_small ? u->ops->read_small(u, length) : RP_STR_NONE;
}
/* Response body bytes that were received and not read yet; and how many behind those need not be seen
 * (rp_body_in_unseen). */
static inline size_t rp_up_at_hand(const struct rp_up *u)
{
    return u->ops->at_hand(u);
}
static inline uint64_t rp_up_unseen(const struct rp_up *u)
{
    return u->ops->unseen(u);
}
/* Some of these into a pipe, when none is at hand. RP_OK, RP_AGAIN, RP_END, RP_E_UP_TRUNCATED;
 * RP_E_BUSY: read instead. */
RP_MUST static inline rp_err rp_up_splice(struct rp_up *u, struct rp_splice **pipe)
{
    return u->ops->splice(u, pipe);
}
/* Everything sent, everything read, nothing more there, and both sides keep the connection. Never
 * true of a stream: its connection looks after itself. */
static inline bool rp_up_is_reusable(const struct rp_up *u)
{
    return u->ops->is_reusable(u);
}
static inline void rp_up_rest(struct rp_up *u) /* going idle: give the read buffer back */
{
    u->ops->rest(u);
}
static inline void rp_up_tunnel(struct rp_up *u) /* from now on raw bytes both ways */
{
    u->ops->tunnel(u);
}
static inline void rp_up_end_output(struct rp_up *u) /* tunnels: FIN */
{
    u->ops->end_output(u);
}
#endif

#endif
