/* SPDX-License-Identifier: MIT
 *
 * tls_server: how one or more listeners end TLS: versions and ciphers, the certificates with their
 * names, what is asked of clients. Built once by one thread, then read by one loop's connections.
 *
 * A name may have a certificate of each kind of key (EC, RSA, Ed25519): OpenSSL takes the one that
 * the client can verify. The default certificate lies in the context itself and costs a connection
 * nothing; others are installed by name (one look-up for exact names, one for "*.").
 */
#ifndef RP_NET_TLS_SERVER_H
#define RP_NET_TLS_SERVER_H

#include "base/clock.h"
#include "base/str.h"

struct rp_tls_server;

enum rp_tls_profile { RP_TLS_INTERMEDIATE, RP_TLS_MODERN }; /* Mozilla's names and choices */
enum rp_tls_ask {
    RP_TLS_ASK_NONE,
    RP_TLS_ASK_OPTIONAL, /* one that is sent must be good */
    RP_TLS_ASK_REQUIRED,
    RP_TLS_ASK_ANY, /* whatever is sent is taken; rp_tls_is_verified tells */
};
enum { RP_TLS_V12 = 1, RP_TLS_V13 = 2 };
enum { RP_TLS_WHY_BYTES = 320, RP_TLS_ALPN_MOST = 255 };

struct rp_tls_rules {
    uint8_t profile;    /* enum rp_tls_profile */
    uint8_t versions;   /* bits; 0: the profile's */
    bool refuse;        /* servers: no certificate for the name asked for ends the handshake */
    uint8_t ask;        /* servers: enum rp_tls_ask */
    uint8_t depth;      /* of chains of certificates above the client's; 0: OpenSSL's default */
    rp_str alpn;        /* protocols as on the wire (length, name), best first; empty: none */
    rp_ms session_ms;   /* servers: life of a ticket */
    bool kernel;        /* servers: the kernel may seal what is sent */
    bool early;         /* servers: tickets may bring early data (rp_tls_tickets.is_first) */
    rp_str cas;         /* PEM: who may sign; servers: clients' certificates */
    const rp_str *crls; /* PEM or DER: lists of what they took back; none: nobody looks */
    uint32_t crls_n;
    bool ocsp; /* servers: certificates whose authority has a responder get a staple to be filled */
};

/* What is known of a certificate, for messages. Times in seconds since 1970. */
struct rp_tls_cert_facts {
    int64_t begins_s, ends_s;
    uint32_t names_n;
    bool is_ec;
    bool must_staple;   /* clients insist on an OCSP answer */
    bool has_responder; /* whom to ask for one */
    bool has_staple;    /* one can be handed out as soon as it is there */
};

/* rules: copied. NULL with `why` when something in them is not accepted. */
struct rp_tls_server *rp_tls_server_new(const struct rp_tls_rules *rules,
                                        char why[RP_TLS_WHY_BYTES]);
/* Add a certificate with its chain and key (PEM; the texts may be the same). The first one is the
 * default, with those of other kinds for its first name. Of two for one name with keys of one kind the one that lives longer is used.
 * ret   RP_OK; RP_E_INVALID and `why`: "the key does not belong to the certificate" */
RP_MUST rp_err rp_tls_server_add(struct rp_tls_server *s, rp_str cert_pem, rp_str key_pem,
                                 struct rp_tls_cert_facts *facts, char why[RP_TLS_WHY_BYTES]);
/* Hand out this OCSP answer (DER) with the certificate that was added last. One that is over is taken
 * and not handed out.
 * ret   RP_OK and *out; RP_E_INVALID and `why` */
struct rp_tls_staple_answer;
RP_MUST rp_err rp_tls_server_staple(struct rp_tls_server *s, rp_str der, int64_t now_s,
                                    struct rp_tls_staple_answer *out, char why[RP_TLS_WHY_BYTES]);
/* Clients that ask for this name ("a.example"; "*.a.example": one or more labels in front) are asked for
 * certificates by these rules, not by the server's. c NULL: by the server's, whatever a wildcard above
 * the name says. RP_E_INVALID: it is no name. */
struct rp_tls_clients;
RP_MUST rp_err rp_tls_server_ask(struct rp_tls_server *s, rp_str name, struct rp_tls_clients *c);
/* All are there: the default goes into the context. RP_E_INVALID: none, or OpenSSL refuses it. */
RP_MUST rp_err rp_tls_server_finish(struct rp_tls_server *s, char why[RP_TLS_WHY_BYTES]);
uint32_t rp_tls_server_certs(const struct rp_tls_server *s);
/* Is that name (lower case) one of a certificate of ours? */
bool rp_tls_server_knows(const struct rp_tls_server *s, rp_str name);
/* Was it told who may sign clients' certificates? */
bool rp_tls_server_can_ask(const struct rp_tls_server *s);
rp_str rp_tls_server_alpn(const struct rp_tls_server *s);          /* as on the wire; empty: none */
struct rp_tls_server *rp_tls_server_hold(struct rp_tls_server *s); /* not atomic: one thread */
void rp_tls_server_drop(struct rp_tls_server **s);

/* Rules for clients' certificates: ask, depth, cas and crls of `rules`. Counted, one thread. NULL with
 * `why`. */
struct rp_tls_clients *rp_tls_clients_new(const struct rp_tls_rules *rules,
                                          char why[RP_TLS_WHY_BYTES]);
struct rp_tls_clients *rp_tls_clients_hold(struct rp_tls_clients *c);
void rp_tls_clients_drop(struct rp_tls_clients **c);
/* Stands for all of them, also of another generation; never 0. */
uint64_t rp_tls_clients_id(const struct rp_tls_clients *c);

/* Is it a certificate revocation list, or more than one in PEM? *ends_s: when the first of them ends.
 * RP_E_INVALID and `why` */
RP_MUST rp_err rp_tls_crl_check(rp_str bytes, int64_t *ends_s, char why[RP_TLS_WHY_BYTES]);

#endif
