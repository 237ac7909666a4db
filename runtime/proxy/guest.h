/* SPDX-License-Identifier: MIT
 *
 * guest: the client of a listener whose hooks have a say in its TLS handshake (tls_hello, certificate):
 * what its ClientHello tells, what the hooks decided, and what they keep of it for the requests of the
 * connection. Others have none.
 *
 * Counted. The TLS door holds it during the handshake; then it goes with the connection
 * (rp_conn_attach). A request holds it until its log hooks ran, and a certificate hook until it ended:
 * it may run for others when the client that it was started for has gone.
 *
 *   HELLO  the tls_hello hooks run         CERT  it waits for a certificate (cert_book.h)
 *
 * A generation is held while hooks of it may run, so until the end of the handshake.
 */
#ifndef RP_PROXY_GUEST_H
#define RP_PROXY_GUEST_H

#include "net/timer.h"
#include "net/tls_ja4.h"
#include "proxy/proxy.h"

struct rp_flight; /* a certificate hook that runs, cert_book.h */

enum { RP_GUEST_MAGIC = 0x47554553, RP_GUEST_REASON_BYTES = 96 };

/* What a certificate hook said. */
struct rp_guest_cert {
    bool said, denied;         /* nothing: the server's own certificate */
    struct rp_tls_cert *given; /* held; NULL: none */
    double ttl_s;              /* how long that holds; < 0: it was not said */
};

struct rp_guest {
    uint32_t magic, refs;
    uint8_t question; /* enum rp_tls_question whose answer is being found; 0: none */
    bool refused;     /* by a tls_hello hook */
    bool has_ja4;
    uint8_t alert; /* how a refused client is told (RFC 8446 §6.2) */
    uint16_t port;
    uint8_t reason_n;
    uint32_t hello_chain, cert_chain; /* script's references; 0: none */
    struct rp_proxy *proxy;           /* these until the handshake is over */
    struct rp_conf *conf;             /* held */
    struct rp_tls_server *server;     /* held */
    struct rp_tls_choice *choice;     /* NULL: nothing was chosen; own */
    struct rp_shake *shake;           /* NULL: the client has gone */
    struct rp_conn *conn;
    struct rp_guest_cert cert;
    struct rp_flight *flight; /* that it waits for, or leads */
    struct rp_guest *next_waiting;
    struct rp_defer run;
    struct rp_timer timer;        /* its tls_hello hooks may not wait longer */
    void *task;                   /* parked hook, owned by script/ */
    void *script;                 /* what script/ keeps of it */
    const struct rp_hooks *hooks; /* whose script is; NULL: there is none */
    rp_str listener;              /* its text; only while requests are served */
    struct rp_tls_hello hello;    /* body is ours; NULL: not known yet */
    struct rp_addr client;
    char reason[RP_GUEST_REASON_BYTES];
    char ja4[RP_TLS_JA4_BYTES];
};

/* For a handshake that begins on a listener with hooks: held once. The questions that it will have are
 * asked of c (rp_conn_ask_tls). */
struct rp_guest *rp_guest_new(struct rp_serve *s, struct rp_shake *h, struct rp_conn *c);
struct rp_guest *rp_guest_hold(struct rp_guest *g);
void rp_guest_drop(struct rp_guest **g);
/* The handshake has come to a question: rp_tls_door_decided follows, perhaps before this returns. */
void rp_guest_ask(struct rp_guest *g);
/* It is over, or the client is gone: what runs for this client alone ends. */
void rp_guest_leave(struct rp_guest *g);
void rp_guest_wake(struct rp_guest *g); /* its parked hook can go on */
/* Take over what the connection knows of its ClientHello. */
void rp_guest_learn(struct rp_guest *g);
/* Its fingerprint, made when it is asked for first. */
rp_str rp_guest_ja4(struct rp_guest *g);
/* "tls_hello", "certificate": which hooks are waited for; NULL: none. */
const char *rp_guest_waiting_for(const struct rp_guest *g);

/* ---- for hooks -------------------------------------------------------------------------------
 *
 * RP_E_PHASE: not while these hooks run. tls_hello: */
RP_MUST rp_err rp_guest_refuse(struct rp_guest *g, uint8_t alert, rp_str reason);
RP_MUST rp_err rp_guest_set_name(struct rp_guest *g, rp_str name); /* RP_E_NOT_FOUND: no such one */
RP_MUST rp_err rp_guest_set_min_version(struct rp_guest *g, uint8_t version); /* RP_TLS_V12, _V13 */
/* RP_E_INVALID: the listener was not told who may sign */
RP_MUST rp_err rp_guest_set_ask(struct rp_guest *g, uint8_t ask); /* enum rp_tls_ask */
/* list: as on the wire. RP_E_INVALID: the listener does not offer one of them. */
RP_MUST rp_err rp_guest_set_alpn(struct rp_guest *g, rp_str list);
/* certificate: NULL refuses the client. held */
RP_MUST rp_err rp_guest_give_cert(struct rp_guest *g, struct rp_tls_cert *cert, double ttl_s);

#endif
