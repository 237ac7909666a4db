/* SPDX-License-Identifier: MIT
 *
 * h1_up: an HTTP/1 connection to an upstream: one request out, its response in, then idle or closed.
 *
 * States: CONNECTING -> IDLE -> BUSY -> IDLE ... Bound to at most one user at a time. Poisoned (not
 * reusable) by anything unexpected: bytes while idle, garbage behind a response, a request that was
 * not sent whole. RFC 9112 §9.3.
 */
#ifndef RP_HTTP_H1_UP_H
#define RP_HTTP_H1_UP_H

#include "http/body_in.h"
#include "http/h1_parse.h"

struct rp_h1_up;
typedef void (*rp_h1_up_fn)(void *user, struct rp_h1_up *u);

/* Connect to an address. RP_E_UP_CONNECT with *fail when it failed at once. */
RP_MUST rp_err rp_h1_up_connect(struct rp_loop *l, struct rp_mem *m, const struct rp_addr *to,
                                struct rp_h1_up **out, struct rp_conn_fail *fail);
/* RP_OK connected; RP_AGAIN; RP_E_UP_CONNECT. */
RP_MUST rp_err rp_h1_up_finish_connect(struct rp_h1_up *u);
/* From now on `wake` is told of every event (connected, bytes, room, end); NULL to unbind. */
void rp_h1_up_bind(struct rp_h1_up *u, rp_h1_up_fn wake, void *user);
void rp_h1_up_close(struct rp_h1_up *u); /* at once; no more wakes */
/* The same, but what was sent last can still be read: see rp_conn_linger. */
void rp_h1_up_linger(struct rp_h1_up *u, rp_ms ms, size_t bytes);

/* Start a request whose head bytes are in `head` (moved). method: enum rp_method, decides whether
 * the response has a body. framing: how the request body goes out; length with RP_BODY_LENGTH. */
void rp_h1_up_start(struct rp_h1_up *u, struct rp_chain *head, uint8_t method,
                    enum rp_framing framing, uint64_t length);
/* Queue request body bytes (all are taken); last ends the request, with trailers (NULL: none) when
 * chunked. RP_OK; RP_AGAIN over the high mark (wake follows); RP_E_H1_FRAMING when the bytes do not
 * fit the announced length. */
RP_MUST rp_err rp_h1_up_send(struct rp_h1_up *u, struct rp_chain *in, bool last,
                             const struct rp_msg *trailers);
/* Body bytes that may come in a pipe (net/splice) instead: what is left of an announced length, else 0. */
uint64_t rp_h1_up_pipe_room(const struct rp_h1_up *u);
/* n body bytes were taken into one: they are part of the request from now on. */
void rp_h1_up_expect_pipe(struct rp_h1_up *u, size_t n);
/* When flush said RP_OK: write them. RP_OK *pipe is NULL; RP_AGAIN; RP_E_UP_SEND. The end is still told
 * by rp_h1_up_send. */
RP_MUST rp_err rp_h1_up_send_pipe(struct rp_h1_up *u, struct rp_splice **pipe);
/* Write what is queued. RP_OK all is in the socket; RP_AGAIN; RP_E_UP_SEND. */
RP_MUST rp_err rp_h1_up_flush(struct rp_h1_up *u);
bool rp_h1_up_is_flushed(const struct rp_h1_up *u); /* nothing is queued */
bool rp_h1_up_is_sent(const struct rp_h1_up *u);    /* the whole request is in the socket */
/* Was any byte of the request's body queued? (then it cannot be had again) */
bool rp_h1_up_has_sent_body(const struct rp_h1_up *u);
/* Is an idle connection still good: nothing came on it, no end and no byte? One system call, for
 * requests that must not fail or be repeated; the loop tells of the others soon enough. */
bool rp_h1_up_is_quiet(const struct rp_h1_up *u);
/* Did any byte of a response arrive? (RFC 9110 §9.2.2: then it must not be repeated) */
bool rp_h1_up_has_answer(const struct rp_h1_up *u);

/* Parse the next response head, interim ones included (look at out->status).
 * RP_OK: *chunk is held for the caller, out's slices point into it; RP_AGAIN; RP_E_UP_CLOSED (end of
 * stream before a byte), RP_E_UP_TRUNCATED, RP_E_UP_BAD_RESPONSE, RP_E_UP_HEAD_BIG */
RP_MUST rp_err rp_h1_up_read_head(struct rp_h1_up *u, const struct rp_h1_limits *limits,
                                  struct rp_arena *a, struct rp_msg *out, struct rp_chunk **chunk);
/* Response body bytes, at most max. RP_OK, RP_AGAIN, RP_END, RP_E_UP_TRUNCATED,
 * RP_E_UP_BAD_RESPONSE (bytes before the break may be in out). *trailers (in a) is set when the body
 * ended with some. */
RP_MUST rp_err rp_h1_up_read(struct rp_h1_up *u, struct rp_chain *out, size_t max,
                             struct rp_arena *a, struct rp_msg **trailers);
/* Response body bytes that were received and not read yet; and how many behind those need not be seen
 * (rp_body_in_unseen). */
size_t rp_h1_up_at_hand(const struct rp_h1_up *u);
uint64_t rp_h1_up_unseen(const struct rp_h1_up *u);
/* Some of these into a pipe, when none is at hand. RP_OK, RP_AGAIN, RP_END, RP_E_UP_TRUNCATED;
 * RP_E_BUSY: read instead. */
RP_MUST rp_err rp_h1_up_splice(struct rp_h1_up *u, struct rp_splice **pipe);
/* Everything sent, everything read, nothing more there, and both sides keep the connection. */
bool rp_h1_up_is_reusable(const struct rp_h1_up *u);
/* Going idle: give the read buffer back. */
void rp_h1_up_rest(struct rp_h1_up *u);
/* After 101 (or CONNECT): raw bytes both ways. */
void rp_h1_up_tunnel(struct rp_h1_up *u);
void rp_h1_up_end_output(struct rp_h1_up *u); /* tunnels: FIN */

/* What the pool keeps with it. */
struct rp_h1_up_face {
    struct rp_h1_up *next, *prev; /* the pool's list */
    void *pool_slot;
    uint64_t requests; /* started on this connection */
    struct rp_conn *conn;
    struct rp_conn_fail *fail; /* the socket's first failure */
    rp_ms idle_since_ms;
};
struct rp_h1_up_face *rp_h1_up_face(struct rp_h1_up *u);

#endif
