/* SPDX-License-Identifier: MIT
 *
 * tls_ask: what others decide during a client's handshake. It stops at the points that were asked for
 * and goes on when the answer is given, whenever that is:
 *
 *   HELLO   the ClientHello is there and nothing was decided: versions, whose certificate ..
 *   CERT    a certificate is about to be used; not when the client comes back by a ticket
 *
 * Nothing here calls anybody: the owner of the conn is told by an event (rp_conn_ask_tls). Only
 * handshakes that ask pay for it.
 */
#ifndef RP_NET_TLS_ASK_H
#define RP_NET_TLS_ASK_H

#include "net/tls_hello.h"
#include "net/tls_server.h"

enum rp_tls_question { RP_TLS_Q_HELLO = 1, RP_TLS_Q_CERT = 2 };

/* The answer to HELLO. Zero: as the listener's settings say. */
struct rp_tls_choice {
    uint8_t min_version; /* RP_TLS_V12 or RP_TLS_V13 */
    bool has_ask;
    uint8_t ask; /* of the client's certificate: enum rp_tls_ask */
    uint8_t name_n, alpn_n;
    char name[RP_TLS_NAME_MOST]; /* whose certificate, in lower case */
    char alpn[RP_TLS_ALPN_MOST]; /* protocols as on the wire, best first */
};

/* A certificate with its chain and key, made outside of any server; one of each kind of key may be in
 * it. Counted, one thread. */
struct rp_tls_cert;
/* pem: certificates and key, as rp_tls_server_add. NULL with `why`. */
struct rp_tls_cert *rp_tls_cert_new(rp_str cert_pem, rp_str key_pem, char why[RP_TLS_WHY_BYTES]);
/* Put in those of another; where both have one of a kind, that one. */
void rp_tls_cert_join(struct rp_tls_cert *c, const struct rp_tls_cert *more);
struct rp_tls_cert *rp_tls_cert_hold(struct rp_tls_cert *c);
void rp_tls_cert_drop(struct rp_tls_cert **c);

#endif
