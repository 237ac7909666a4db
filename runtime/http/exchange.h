/* SPDX-License-Identifier: MIT
 *
 * exchange: one request and its response on a client connection, whatever the protocol. The border
 * between a session (h1_down, later h2_down) and the request life (proxy/).
 *
 * The session owns the wire, the user (proxy/) owns the exchange's memory. Calls go down through
 * `ops` (declared here, filled by the session); events go up through `struct rp_exchange_user`.
 * No upward call re-enters: the user only records and queues.
 */
#ifndef RP_HTTP_EXCHANGE_H
#define RP_HTTP_EXCHANGE_H

#include "base/chain.h"
#include "http/msg.h"
#include "http/pace.h"
#include "net/conn.h"
#include "net/splice.h"

enum rp_wake {
    RP_WAKE_BODY = 1,     /* request body bytes (or their end) can be read */
    RP_WAKE_SINK = 2,     /* the client took bytes: room for more response */
    RP_WAKE_ABORT = 4,    /* the client is gone; x->fail says why */
    RP_WAKE_UP = 8,       /* the upstream connection has news */
    RP_WAKE_TASK = 16,    /* a parked hook can go on */
    RP_WAKE_TIMEOUT = 32, /* the request's deadline passed */
    RP_WAKE_START = 64,   /* the request begins */
    RP_WAKE_STOP = 128,   /* the worker is shutting down */
};

enum { RP_EXCHANGE_FIELDS = 40, RP_EXCHANGE_ARENA_BYTES = 2048 };

struct rp_exchange;
struct rp_exchange_ops {
    /* Move up to max body bytes into out. RP_OK some came; RP_AGAIN none now, RP_WAKE_BODY follows;
     * RP_END complete (x->trailers may be set); RP_E_H1_CHUNK, RP_E_H1_FIELD (trailers),
     * RP_E_BODY_TOO_BIG, RP_E_BODY_SLOW, RP_E_CLIENT_GONE */
    rp_err (*read_body)(struct rp_exchange *x, struct rp_chain *out, size_t max);
    /* Interim response (1xx); ignored for clients that do not know them. */
    rp_err (*send_info)(struct rp_exchange *x, const struct rp_msg *info);
    /* Final response head. res->framing and content_length say what the body will be; the session
     * decides the wire framing and adds Connection, Transfer-Encoding, Content-Length, Date. Queued. */
    rp_err (*send_head)(struct rp_exchange *x, const struct rp_msg *res);
    /* Queue body bytes (all are taken from in); last ends the response. RP_OK; RP_AGAIN when more
     * than the high mark is waiting, RP_WAKE_SINK follows; RP_E_CLIENT_GONE. */
    rp_err (*send_body)(struct rp_exchange *x, struct rp_chain *in, bool last);
    /* The same for a whole body of known length, which is copied: behind the head it is one write with
     * it. NULL in sessions that have no better way for these. */
    void (*send_small)(struct rp_exchange *x, rp_str body);
    /* Try to write what is queued now. RP_OK all is in the socket; RP_AGAIN; RP_E_CLIENT_GONE. */
    rp_err (*flush)(struct rp_exchange *x);
    /* Response bytes that the client has taken, counted from any point: only the growth means
     * something. A system call in HTTP/1: for clients that keep us waiting. */
    uint64_t (*taken)(struct rp_exchange *x);
    /* Bodies that nobody looks at may go from socket to socket by the kernel (net/splice). All four
     * are NULL in sessions that have no plain socket of their own.
     * How much of the request body, behind what read_body has at hand, and how much of the response
     * may go that way now: 0 none, UINT64_MAX without end. */
    uint64_t (*unseen)(const struct rp_exchange *x);
    uint64_t (*pipe_room)(const struct rp_exchange *x);
    /* Some of that much request body into *pipe, which is NULL. As read_body, but for RP_E_BUSY: read
     * instead. */
    rp_err (*read_pipe)(struct rp_exchange *x, struct rp_splice **pipe);
    /* When flush said RP_OK: write the pipe's bytes, at most pipe_room. RP_OK: all are in the socket,
     * *pipe is NULL; RP_AGAIN: call again after RP_WAKE_SINK (and flush); RP_E_CLIENT_GONE. The end
     * is still told by send_body. */
    rp_err (*send_pipe)(struct rp_exchange *x, struct rp_splice **pipe);
    /* No more of the request body is wanted: throw away what is at hand. When that was not all of it
     * the connection ends after the response (x->close_after). */
    void (*skip_body)(struct rp_exchange *x);
    /* From now on read_body and send_body carry raw bytes of a tunnel. */
    void (*tunnel)(struct rp_exchange *x);
    /* Tunnels: nothing more will be sent (FIN); reading goes on. */
    void (*end_output)(struct rp_exchange *x);
    /* The user is done with the exchange: it must not touch the session again and may free x. An
     * unfinished response kills the connection (HTTP/1) or the stream (HTTP/2). */
    void (*finish)(struct rp_exchange *x);
};

struct rp_exchange {
    const struct rp_exchange_ops *ops;
    void *session;
    struct rp_msg head;          /* the request as the client sent it */
    struct rp_msg *trailers;     /* of the request, set when read_body says RP_END; may be NULL */
    struct rp_msg *res_trailers; /* of the response, in the arena; set before the last send_body.
                                    * Sent where framing and client (TE: trailers) allow; may be NULL */
    struct rp_chunk *head_chunk; /* holds the bytes of head; dropped by the user */
    struct rp_arena arena;       /* lives as long as the exchange */
    struct rp_conn *conn;        /* it came on this connection: addresses (rp_conn_peer, _local) */
    void *listener;           /* user data of the listener: struct rp_conf_listener* index etc. */
    uint64_t conn_id;         /* unique within the worker */
    uint32_t conn_requests;   /* number of this request on its connection, from 1 */
    uint32_t stream_id;       /* of HTTP/2; 0: HTTP/1 */
    rp_ms opened_ms;          /* HTTP/2: when its head began to come */
    uint64_t body_limit;      /* most body bytes read_body lets pass; UINT64_MAX = no limit */
    uint64_t body_in_bytes;   /* request body bytes read so far (decoded) */
    uint64_t body_out_bytes;  /* response body bytes queued so far */
    uint64_t wire_out_bytes;  /* response bytes written to the socket, heads and framing too */
    struct rp_pace body_pace; /* of the request body; waiting for the client */
    struct rp_pace send_pace; /* of the response; bytes: as last looked at, from send_base on */
    uint64_t send_base;       /* bytes that the client had taken when it first kept us waiting */
    rp_err fail;              /* first failure on the client side */
    bool secure;              /* TLS on the client side */
    bool early;               /* it began in early data (rp_tls_is_early): may be a copy */
    bool head_sent;           /* the final response head is queued */
    bool response_done;       /* the last byte is queued */
    bool close_after;         /* this connection ends after the response */
    bool half_closed;         /* set by `open`: a client that ends its side waits for the answer */
    struct rp_field fields[RP_EXCHANGE_FIELDS];
    char arena_first[RP_EXCHANGE_ARENA_BYTES] __attribute__((aligned(16)));
};

/* After each read of the request body: is it too slow? got: bytes that came; e: what the read said,
 * which is returned unless it is RP_E_BODY_SLOW. The time in which nobody wanted bytes does not
 * count, nor that in which the client waits for 100 (Continue). */
rp_err rp_exchange_check_pace(struct rp_exchange *x, const struct rp_pace_rule *rule, uint64_t got,
                              rp_err e);

/* Filled by proxy/server.c; what sessions call. */
struct rp_exchange_user {
    /* A fresh exchange to parse a head into (head, arena initialised). NULL: refuse (drop conn). */
    struct rp_exchange *(*open)(void *arg, void *listener);
    /* The head is parsed (RP_OK) or is bad (an rp_err: answer it and close). */
    void (*start)(struct rp_exchange *x, rp_err head);
    void (*wake)(struct rp_exchange *x, unsigned why); /* enum rp_wake bits */
    void *arg;
};

#endif
