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
#include "net/tls_ask.h"
#include "net/tls_client.h"
#include "net/tls_server.h"
#include "net/tls_staple.h"

enum { RP_TLS_MAGIC = 0x544c5331 };

struct rp_tls {
    uint32_t magic;
    bool server;
    bool shaken;   /* the handshake is over */
    bool drained;  /* the last recv emptied the socket: the next needs an event first */
    bool cut;      /* the stream ended */
    bool owes;     /* the first byte of the caller's chain is sealed and not yet sent */
    bool notified; /* close_notify is sealed */
    bool last;     /* ... and is to be, with the end of what is sent next */
    bool heard;    /* a ClientHello, and it was looked up whom to ask for what */
    bool held;     /* what is left waits for the first answer, not for room */
    bool broken;   /* a fatal failure: nothing more can be sealed */
    uint8_t reads; /* of the socket, in this call */
    bool kernel;   /* it seals what we send, see tls_kernel.c */
    uint8_t kind;  /* ... of the next record that OpenSSL writes; 0: data */
    rp_err over;   /* how reading ended; RP_OK: not yet */
    struct rp_tls_face face;
    SSL *ssl;
    struct rp_loop *loop;
    int fd;
    uint32_t fresh_bytes; /* sent since the connection began or rested */
    uint32_t steps;       /* of OpenSSL's handshake machine and alerts, after the handshake */
    bool stapled;         /* an OCSP answer was handed out */
    rp_ms sent_ms;
    char *left; /* sealed bytes that the socket did not take */
    uint32_t left_n, left_at;
    uint64_t
        asked; /* rp_tls_clients_id of the rules of the name that was asked for; 0: the server's */
    const char *why;
    GENERAL_NAMES *names; /* of the other side's certificate, while somebody lists them */
    const struct rp_tls_tickets *tickets; /* servers: outlive the connection */
    struct rp_tls_server *of;             /* servers, while the handshake runs: held */
    struct rp_tls_early *early;           /* servers that take early data, while there may be any */
    struct rp_tls_talk *ask;              /* servers: what others decide; NULL: nothing */
    struct rp_tls_memory *memory;         /* clients: held */
};

struct rp_tls_memory {
    uint32_t refs;
    SSL_SESSION *session;
};

/* Early data, tls_early.c. */
struct rp_tls_early {
    struct rp_buf held; /* came, and was not read yet */
    bool comes;         /* more may come */
    bool came;          /* the owner has, or had, some to read */
    bool notify;        /* close_notify waits for the handshake's end */
    void (*over)(void *arg);
    void *over_arg;
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
/* Keep bytes for the socket, behind what is kept already. RP_AGAIN, as it is not sent; RP_E_CLOSED. */
RP_MUST rp_err rp_tls_keep(struct rp_tls *t, const char *p, uint32_t n);
void rp_tls_drop_left(struct rp_tls *t);
/* Send what was sealed; what is not taken is kept. RP_OK, RP_AGAIN, RP_E_CLOSED (face.os). */
RP_MUST rp_err rp_tls_push(struct rp_tls *t);
/* Keep what was sealed for the next send. */
void rp_tls_hold(struct rp_tls *t);
/* What was held is the first of what is sealed now. */
void rp_tls_unhold(struct rp_tls *t);

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
/* Certificates are checked against these lists too, each of a chain against its authority's: without
 * one that is in time, none is good. False with `why`: one is malformed. */
bool rp_tls_use_crls(X509_STORE *store, const struct rp_tls_rules *rules, const char **why);
/* Of all lists, into a digest that says 0 when there are none. */
void rp_tls_crls_digest(const struct rp_tls_rules *rules, uint8_t out[32]);
/* Seconds since 1970; 0 when it is no time. */
int64_t rp_tls_seconds(const ASN1_TIME *at);
/* SHA-256. */
void rp_tls_digest(rp_str bytes, uint8_t out[32]);

SSL_CTX *rp_tls_server_ctx(const struct rp_tls_server *s);
SSL_CTX *rp_tls_client_ctx(const struct rp_tls_client *c);
/* The names of one connection: SNI, and what the certificate must be for. */
void rp_tls_client_dress(const struct rp_tls_client *c, SSL *ssl, rp_str peer);

/* tls_staple.c */
/* issuer: held. ask: its responder is to be asked. */
struct rp_tls_staple *rp_tls_staple_new(X509 *cert, X509 *issuer, bool ask);
void rp_tls_staple_free(struct rp_tls_staple **p);
void rp_tls_staple_chain(struct rp_tls_staple *p, struct rp_tls_staple *next);
/* Held for the caller; NULL: it is in neither. */
X509 *rp_tls_issuer_of(X509 *cert, STACK_OF(X509) * chain, X509_STORE *cas);
bool rp_tls_has_responder(X509 *cert); /* one that we can ask */
bool rp_tls_must_staple(X509 *cert);
int rp_tls_staple_on_ask(SSL *ssl, void *server);
/* That of one of the server's certificates; NULL: it has none. */
const struct rp_tls_staple *rp_tls_server_staple_of(const struct rp_tls_server *s,
                                                    const X509 *cert);

/* tls_server.c */
int rp_tls_kind_of(const EVP_PKEY *key); /* 0 RSA, 1 EC, 2 Edwards curves, < 0: none of these */
/* Of this connection alone: ask for a certificate, as in enum rp_tls_ask. */
void rp_tls_ask_client(SSL *ssl, unsigned ask);

/* ---- tls_clients.c -------------------------------------------------------------------------- */

/* Stands for the server's own rules where names are looked up; never dropped. */
extern struct rp_tls_clients rp_tls_clients_none;
int rp_tls_ask_mode(unsigned ask); /* of enum rp_tls_ask, as OpenSSL has it */
int rp_tls_take_any(int verified, X509_STORE_CTX *store);
STACK_OF(X509_NAME) * rp_tls_store_names(X509_STORE *roots);
X509_STORE *rp_tls_clients_store(const struct rp_tls_rules *rules, const char **why);
void rp_tls_clients_digest(const struct rp_tls_rules *rules, uint8_t out[32]);
/* Within the ClientHello callback: by the name in it. False: it is not that of the one before. */
bool rp_tls_ask_by_name(SSL *ssl, const struct rp_map *asked);
const struct rp_map *rp_tls_server_asked(const struct rp_tls_server *s);
const uint8_t *rp_tls_server_id(const struct rp_tls_server *s); /* 32 bytes */
int rp_tls_on_hello(SSL *ssl, int *alert, void *arg);           /* the ClientHello callback */

/* tls_ask.c */
const struct rp_tls_choice *rp_tls_choice_of(const struct rp_tls *t); /* NULL: none was made */
/* Will a certificate be asked for? lacking: without one the handshake is to fail. */
bool rp_tls_ask_decides_cert(const struct rp_tls *t, bool lacking);
void rp_tls_ask_over(struct rp_tls *t); /* the handshake is */
void rp_tls_ask_free(struct rp_tls *t);

/* tls_kernel.c */
bool rp_tls_kernel_start(struct rp_tls *t, const void *info); /* false: everything stays as it is */
/* One record of OpenSSL's own; kept when the socket does not take it. False: the end. */
bool rp_tls_kernel_write(struct rp_tls *t, const char *p, size_t n);
RP_MUST rp_err rp_tls_kernel_flush(struct rp_tls *t);

/* tls_early.c */
bool rp_tls_allow_early(SSL_CTX *ctx); /* connections need rp_tls_early_new, too */
void rp_tls_early_new(struct rp_tls *t);
void rp_tls_early_free(struct rp_tls *t);
/* Take what came of it. True: no more comes, the handshake goes on; else SSL_get_error knows. */
bool rp_tls_early_take(struct rp_tls *t);
/* At most n bytes of what was taken, *kept* or not; t->early is gone when that was the end of it. */
size_t rp_tls_early_give(struct rp_tls *t, char *buf, size_t n, bool keep);
void rp_tls_early_tell(struct rp_tls *t); /* the handshake is over, or will never be */

/* tls_ticket.c */
int rp_tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int seal);

#endif
