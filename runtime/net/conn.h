/* SPDX-License-Identifier: MIT
 *
 * conn: one stream socket in the loop's epoll.
 *
 * States: CONNECTING -> SHAKING <-> ASKING (TLS) -> OPEN -> CLOSING. Reads stay armed; `pause` only notes that nobody wants
 * bytes, and the loop is told (epoll_ctl) when an event really comes while paused. Writing is tried
 * at once; the writable event is armed only after EAGAIN. The owner gets one callback.
 */
#ifndef RP_NET_CONN_H
#define RP_NET_CONN_H

#include "base/chain.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/meter.h"
#include "net/tls.h"

enum rp_conn_event {
    RP_CONN_READABLE = 1, /* bytes, end of stream or an error wait in recv */
    RP_CONN_WRITABLE = 2, /* connected, or room again after RP_AGAIN from send */
};

struct rp_conn;
typedef void (*rp_conn_fn)(struct rp_conn *c, unsigned events);

/* First failure of a socket, kept until it closes. */
struct rp_conn_fail {
    rp_err code;
    int os;           /* errno, 0 when none */
    const char *step; /* "connect", "tls", "recv", "send" */
};

/* Fields an owner may read. */
struct rp_conn_face {
    void *owner;
    rp_conn_fn on_event; /* find owner, record, wake: nothing else (style C22) */
    struct rp_conn_fail fail;
    uint64_t in_bytes, out_bytes;
    struct rp_meter_pass pass; /* given back when the conn closes */
};

/* Take over a connected, non-blocking fd (own; closed on failure too). on_event may be set before
 * the loop turns. peer and local may be NULL: the kernel is asked when somebody wants to know. */
RP_MUST rp_err rp_conn_adopt(struct rp_loop *l, int fd, const struct rp_addr *peer,
                             const struct rp_addr *local, struct rp_conn **out);
/* Start connecting; WRITABLE follows (also when it completed at once), then call
 * rp_conn_finish_connect. RP_E_UP_CONNECT with fail set in *fail when it failed at once. */
RP_MUST rp_err rp_conn_connect(struct rp_loop *l, const struct rp_addr *to, struct rp_conn **out,
                               struct rp_conn_fail *fail);
/* RP_OK connected (with TLS: and shaken hands); RP_AGAIN not yet, WRITABLE follows; RP_E_UP_CONNECT,
 * RP_E_UP_TLS_HANDSHAKE, RP_E_UP_TLS_VERIFY (see face->fail and rp_conn_why). */
RP_MUST rp_err rp_conn_finish_connect(struct rp_conn *c);
/* Is it connected, without a step further: TLS may still be put on. RP_OK, RP_AGAIN, RP_E_UP_CONNECT. */
RP_MUST rp_err rp_conn_look_connected(struct rp_conn *c);

/* Speak TLS, as the server, from the next byte on. Every other call then works as on a plain conn,
 * but that in_bytes and out_bytes count what is on the wire. WRITABLE comes when the handshake is over;
 * then ask rp_conn_finish_tls. server: held meanwhile; tickets (NULL: none): kept. */
void rp_conn_start_tls(struct rp_conn *c, struct rp_tls_server *server,
                       const struct rp_tls_tickets *tickets);
/* RP_OK: over, or so far that early data can be read and answered (rp_tls_is_early) while it goes on;
 * RP_AGAIN; RP_E_TLS_HANDSHAKE, RP_E_TLS_PLAIN_HTTP, RP_E_CLOSED (see rp_conn_why). */
RP_MUST rp_err rp_conn_finish_tls(struct rp_conn *c);
/* Questions (enum rp_tls_question bits, tls_ask.h), right after rp_conn_start_tls: when the handshake
 * comes to one, WRITABLE comes, rp_conn_finish_tls says RP_AGAIN and rp_conn_question which one it is.
 * Until it is answered nothing is read; when the client goes away meanwhile WRITABLE comes, and
 * RP_E_CLOSED. */
void rp_conn_ask_tls(struct rp_conn *c, unsigned questions);
unsigned rp_conn_question(const struct rp_conn *c); /* 0: none waits */
/* The handshake goes on at the end of the tick. choice: copied. cert: held; NULL: the server's own, which it refuses where rp_tls_lacks_cert. To refuse a client is to stop its TLS. */
void rp_conn_answer_hello(struct rp_conn *c, const struct rp_tls_choice *choice);
void rp_conn_answer_cert(struct rp_conn *c, struct rp_tls_cert *cert);
/* What the client said first, once and since the first question: out->body is the caller's to free.
 * False: it was taken, or nobody asked. */
bool rp_conn_take_hello(struct rp_conn *c, struct rp_tls_hello *out);
/* Something that goes with the TLS of a conn that asked (rp_tls_attached). */
void rp_conn_attach(struct rp_conn *c, void *thing, void (*drop)(void *thing));
/* While it is early: fn(arg) once, when the handshake is over, has failed or the connection goes;
 * before anything else happens, so it only records and queues. fn NULL: no more. */
void rp_conn_on_shaken(struct rp_conn *c, void (*fn)(void *arg), void *arg);
/* The handshake behind early data takes too long: the owner's next recv says RP_E_CLOSED. */
void rp_conn_give_up(struct rp_conn *c);
/* The other side does not speak TLS: plain from now on. What it sent is lost. */
void rp_conn_stop_tls(struct rp_conn *c);
/* Speak TLS, as a client, on a connection that was just started: rp_conn_finish_connect covers the
 * handshake. name: of the server; memory (NULL: none): held. */
void rp_conn_use_tls(struct rp_conn *c, struct rp_tls_client *client, rp_str name,
                     struct rp_tls_memory *memory);
/* ... and offer these protocols (as on the wire) instead of the client's. Before the loop turns. */
void rp_conn_offer(struct rp_conn *c, rp_str alpn);
const struct rp_tls *rp_conn_tls(const struct rp_conn *c); /* NULL: plain */
/* Words for face->fail: the system's, or OpenSSL's; NULL when there are none. */
const char *rp_conn_why(const struct rp_conn *c);

struct rp_conn_face *rp_conn_face(struct rp_conn *c);
/* The two ends. A conn keeps only the IP form (a struct rp_addr would double its size), so these
 * copy out; unix paths, and a local end nobody told us, cost a system call. */
void rp_conn_peer(const struct rp_conn *c, struct rp_addr *out);
void rp_conn_local(struct rp_conn *c, struct rp_addr *out);
/* Put other ends in their place (PROXY protocol); NULL leaves one as it is. */
void rp_conn_set_ends(struct rp_conn *c, const struct rp_addr *peer, const struct rp_addr *local);
struct rp_loop *rp_conn_loop(const struct rp_conn *c);
/* What is left of a life of `most` ms since it was accepted; 0: it is older. most 0 is no limit:
 * UINT64_MAX. Its age starts again after 49 days. */
rp_ms rp_conn_life_left(const struct rp_conn *c, rp_ms most);

/* One recv of at most n bytes. RP_OK with *got > 0; RP_AGAIN; RP_END at end of stream; RP_E_CLOSED
 * (reset), RP_E_OS. After a short read a caller should not recv again before the next event; after
 * RP_END no READABLE comes any more. */
RP_MUST rp_err rp_conn_recv(struct rp_conn *c, char *buf, size_t n, size_t *got);
/* The same without taking the bytes: they are there for the next recv. */
RP_MUST rp_err rp_conn_peek(struct rp_conn *c, char *buf, size_t n, size_t *got);
/* Bytes that were sent and that the other end's system has not taken; 0 when nobody knows. */
size_t rp_conn_unsent(const struct rp_conn *c);
/* Is nothing waiting in an idle socket: no byte, no end of stream, no error? One system call. */
bool rp_conn_is_quiet(const struct rp_conn *c);
/* Between use_tls and finish_connect: bytes that go before the handshake, in the clear (a PROXY
 * header; up to 16 KB, copied). */
void rp_conn_greet(struct rp_conn *c, rp_str bytes);
/* Write as much as the socket takes, consuming from the chain. RP_OK: chain is empty; RP_AGAIN: rest
 * stays and WRITABLE will come; RP_E_CLOSED, RP_E_OS. */
RP_MUST rp_err rp_conn_send(struct rp_conn *c, struct rp_chain *chain);
/* The same for the last bytes: the end of our side (FIN; of TLS, close_notify) goes with them, in one
 * packet where there is room. Nothing is sent after it. RP_AGAIN: call it again. */
RP_MUST rp_err rp_conn_send_last(struct rp_conn *c, struct rp_chain *chain);
/* For splice.c: between the socket of a plain conn and a pipe, at most n bytes. As recv into an empty
 * pipe; as send of n bytes that are in one, *gone of them. RP_E_BUSY: the kernel does not do that. */
RP_MUST rp_err rp_conn_to_pipe(struct rp_conn *c, int pipe_fd, size_t n, size_t *got);
RP_MUST rp_err rp_conn_from_pipe(struct rp_conn *c, int pipe_fd, size_t n, size_t *gone);
void rp_conn_pause(struct rp_conn *c);    /* no READABLE until resumed */
void rp_conn_resume(struct rp_conn *c);   /* if bytes are waiting READABLE comes again */
void rp_conn_shutdown(struct rp_conn *c); /* send FIN; reading goes on */
/* No callback after this returns; the memory goes when the tick ends. */
void rp_conn_close(struct rp_conn *c);
/* Send FIN, throw away what still comes until end of stream, `bytes` or `ms`, then close: the
 * other side gets to read our last answer (RFC 9112 §9.6). No callback after this returns. */
void rp_conn_linger(struct rp_conn *c, rp_ms ms, size_t bytes);
void rp_conn_reset(struct rp_conn *c); /* close with RST (SO_LINGER 0) */

#endif
