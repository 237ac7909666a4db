/* SPDX-License-Identifier: MIT
 *
 * tls_in: the inside of TLS, for the .c files of net/ only: tls*.c, which alone see OpenSSL.
 */
#ifndef RP_NET_TLS_IN_H
#define RP_NET_TLS_IN_H

#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/map.h"
#include "net/tls.h"
#include "net/tls_client.h"
#include "net/tls_server.h"

enum { RP_TLS_MAGIC = 0x544c5331 };

struct rp_tls {
    uint32_t magic;
    bool server;
    bool shaken;   /* the handshake is over */
    bool drained;  /* the last recv emptied the socket: the next needs an event first */
    bool cut;      /* the stream ended */
    bool owes;     /* the first byte of the caller's chain is sealed and not yet sent */
    bool notified; /* close_notify is sealed */
    bool broken;   /* a fatal failure: nothing more can be sealed */
    uint8_t reads; /* of the socket, in this call */
    rp_err over;   /* how reading ended; RP_OK: not yet */
    struct rp_tls_face face;
    SSL *ssl;
    struct rp_loop *loop;
    int fd;
    uint32_t fresh_bytes; /* sent since the connection began or rested */
    uint32_t steps;       /* of OpenSSL's handshake machine and alerts, after the handshake */
    rp_ms sent_ms;
    char *left; /* sealed bytes that the socket did not take */
    uint32_t left_n, left_at;
    const char *why;
    GENERAL_NAMES *names; /* of the other side's certificate, while somebody lists them */
    const struct rp_tls_tickets *tickets; /* servers: outlive the connection */
    struct rp_tls_server *of;             /* servers, while the handshake runs: held */
    struct rp_tls_memory *memory;         /* clients: held */
};

struct rp_tls_memory {
    uint32_t refs;
    SSL_SESSION *session;
};

/* ---- tls_bio.c ------------------------------------------------------------------------------ */

enum {
    RP_TLS_RECORD = 16 * 1024,                  /* plain bytes of a full record (RFC 8446 §5.1) */
    RP_TLS_SEALED = RP_TLS_RECORD + 256,        /* the same sealed, RFC 8446 §5.2 */
    RP_TLS_ROOM = 8 * RP_TLS_SEALED,            /* one batch: eight records, one send */
    RP_TLS_LEFT_MOST = RP_TLS_ROOM + 64 * 1024, /* kept of one connection: a batch, and alerts */
};

/* One per loop: where all its connections seal. Empty between calls. */
struct rp_tls_room {
    uint32_t sealed_n;
    bool over; /* more was written than fits: the connection is broken */
    char sealed[RP_TLS_ROOM];
    char plain[RP_TLS_RECORD]; /* small pieces, put together */
};
struct rp_tls_room *rp_tls_room_of(struct rp_loop *l);
/* The fd as OpenSSL wants it. */
BIO *rp_tls_bio_new(struct rp_tls *t);
/* Send what was sealed; what is not taken is kept. RP_OK, RP_AGAIN, RP_E_CLOSED (face.os). */
RP_MUST rp_err rp_tls_push(struct rp_tls *t);

/* ---- shared --------------------------------------------------------------------------------- */

/* OpenSSL's words for the failure that is first in its queue; never NULL. Empties the queue. */
const char *rp_tls_reason(void);
/* Counts what a peer makes OpenSSL do after the handshake; an info callback. */
void rp_tls_on_step(const SSL *ssl, int where, int value);
/* Is it more than anybody needs? Then `why` says so, and nothing is read any more. */
bool rp_tls_is_flood(struct rp_tls *t);
/* What both sides of the profile share. False: OpenSSL refuses it. */
bool rp_tls_apply_profile(SSL_CTX *ctx, const struct rp_tls_rules *rules);

/* tls_pem.c */

/* Reads private keys. OpenSSL looks through all its decoders when one is made, which takes longer
 * than to read a key, so those of a site share one. Zero: not made yet. */
struct rp_tls_decoder {
    OSSL_DECODER_CTX *ctx;
    EVP_PKEY *key; /* where it puts them */
};
void rp_tls_decoder_fini(struct rp_tls_decoder *d);
struct rp_tls_pair {
    X509 *cert;
    STACK_OF(X509) * chain; /* may be NULL */
    EVP_PKEY *key;
};
/* The first certificate, those behind it, the first private key of the texts.
 * ret   true; else `why` says what is missing or wrong and *out is empty */
bool rp_tls_pair_read(struct rp_tls_decoder *d, rp_str cert_pem, rp_str key_pem,
                      struct rp_tls_pair *out, const char **why);
void rp_tls_pair_free(struct rp_tls_pair *p);
/* A store of all certificates of the text; NULL with `why`. */
X509_STORE *rp_tls_roots_read(rp_str pem, const char **why);
/* Seconds since 1970; 0 when it is no time. */
int64_t rp_tls_seconds(const ASN1_TIME *at);
/* SHA-256. */
void rp_tls_digest(rp_str bytes, uint8_t out[32]);

SSL_CTX *rp_tls_server_ctx(const struct rp_tls_server *s);
SSL_CTX *rp_tls_client_ctx(const struct rp_tls_client *c);
/* The names of one connection: SNI, and what the certificate must be for. */
void rp_tls_client_dress(const struct rp_tls_client *c, SSL *ssl, rp_str peer);

/* tls_ticket.c */
int rp_tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int seal);

#endif
