/* SPDX-License-Identifier: MIT
 *
 * tls_ask: see tls_ask.h. OpenSSL asks by callbacks that may say "later": the handshake then returns,
 * and calls them again when it is resumed.
 *
 * The bytes of the ClientHello come from the callback that sees all messages: what is decided by is
 * what the client sent. A second one (after HelloRetryRequest) must name the same server and protocols
 * (RFC 8446 §4.1.2), or a client could show one name to whom decides and be served by another.
 */
#include "net/tls_ask.h"

#include <stdio.h>

#include "base/mem.h"
#include "net/tls_in.h"

enum { KINDS = 3 }; /* of keys, as in tls_server.c */

struct rp_tls_cert {
    uint32_t refs;
    struct rp_tls_pair kinds[KINDS]; /* cert NULL: none of that kind */
};

struct rp_tls_talk {
    uint8_t wanted, done; /* enum rp_tls_question bits */
    uint8_t open;         /* the one that waits */
    bool heard;           /* the ClientHello came */
    bool changed;         /* ... and another one that is not like it */
    bool lacking;         /* no certificate of the server's has that name, and it refuses others */
    uint8_t mark[32];     /* of what a second ClientHello must repeat */
    struct rp_tls_hello hello;
    struct rp_tls_choice *choice; /* own, during the handshake; NULL: none */
    struct rp_tls_cert *cert;     /* held; NULL: the server's own */
    void *thing;                  /* what goes with the connection */
    void (*drop)(void *thing);
};

/* ---- certificates -------------------------------------------------------------------------- */

struct rp_tls_cert *rp_tls_cert_new(rp_str cert_pem, rp_str key_pem, char why[RP_TLS_WHY_BYTES])
{
    struct rp_tls_decoder decoder = {NULL, NULL};
    struct rp_tls_pair pair;
    const char *words = NULL;
    bool good = rp_tls_pair_read(&decoder, cert_pem, key_pem, &pair, &words);
    rp_tls_decoder_fini(&decoder);
    int kind = good ? rp_tls_kind_of(pair.key) : -1;
    if (good && kind < 0) {
        words = "its key is neither RSA, EC nor Ed25519";
        rp_tls_pair_free(&pair);
    }
    if (kind < 0) {
        snprintf(why, RP_TLS_WHY_BYTES, "%s", words);
        return NULL;
    }
    struct rp_tls_cert *c = rp_alloc(sizeof *c);
    c->refs = 1;
    c->kinds[kind] = pair;
    return c;
}

void rp_tls_cert_join(struct rp_tls_cert *c, const struct rp_tls_cert *more)
{
    for (int i = 0; i < KINDS; i++) {
        const struct rp_tls_pair *p = &more->kinds[i];
        if (!p->cert || c == more) continue;
        rp_tls_pair_free(&c->kinds[i]);
        RP_CHECK(X509_up_ref(p->cert) && EVP_PKEY_up_ref(p->key));
        c->kinds[i] = (struct rp_tls_pair){
            .cert = p->cert, .key = p->key, .chain = p->chain ? X509_chain_up_ref(p->chain) : NULL};
    }
}

struct rp_tls_cert *rp_tls_cert_hold(struct rp_tls_cert *c)
{
    c->refs++;
    return c;
}

void rp_tls_cert_drop(struct rp_tls_cert **where)
{
    struct rp_tls_cert *c = *where;
    *where = NULL;
    if (!c || --c->refs > 0) return;
    for (int i = 0; i < KINDS; i++) rp_tls_pair_free(&c->kinds[i]);
    rp_free(c);
}

static bool use(SSL *ssl, const struct rp_tls_cert *c)
{
    SSL_certs_clear(ssl);
    for (int i = 0; i < KINDS; i++) {
        const struct rp_tls_pair *p = &c->kinds[i];
        if (p->cert && SSL_use_cert_and_key(ssl, p->cert, p->key, p->chain, 1) != 1) return false;
    }
    return true;
}

/* ---- what OpenSSL calls -------------------------------------------------------------------- */

static void mark(const struct rp_tls_hello *h, uint8_t out[32])
{
    uint8_t both[64];
    rp_tls_digest(h->sni, both);
    rp_tls_digest(h->alpn, both + 32);
    rp_tls_digest(rp_str_of((const char *)both, sizeof both), out);
}

static void hear(struct rp_tls_talk *a, rp_str message)
{
    struct rp_tls_hello h;
    uint8_t now[32];
    char *body = rp_alloc(message.len);
    rp_tls_hello_init(&h, body);
    bool good = rp_tls_hello_take(&h, message) == RP_OK;
    if (good) mark(&h, now);
    if (good && !a->heard) {
        a->hello = h;
        a->heard = true;
        memcpy(a->mark, now, sizeof now);
        return;
    }
    if (!good || memcmp(a->mark, now, sizeof now) != 0) a->changed = true;
    rp_free(body);
}

static void on_message(int sent, int version, int type, const void *bytes, size_t n, SSL *ssl,
                       void *arg)
{
    (void)version;
    (void)ssl;
    if (sent || type != SSL3_RT_HANDSHAKE || n == 0) return;
    if (*(const unsigned char *)bytes != SSL3_MT_CLIENT_HELLO) return;
    hear(arg, rp_str_of(bytes, n));
}

static int refuse(int *alert, int with)
{
    *alert = with;
    return SSL_CLIENT_HELLO_ERROR;
}

/* A hook's word about the client's certificate goes before the rules of the name. */
static int go_on(SSL *ssl, int *alert, const struct rp_tls *t)
{
    bool said = t->ask && t->ask->choice && t->ask->choice->has_ask;
    if (said || rp_tls_ask_by_name(ssl, rp_tls_server_asked(t->of)))
        return SSL_CLIENT_HELLO_SUCCESS;
    return refuse(alert, SSL_AD_ILLEGAL_PARAMETER);
}

int rp_tls_on_hello(SSL *ssl, int *alert, void *arg)
{
    const struct rp_tls *t = SSL_get_app_data(ssl);
    struct rp_tls_talk *a = t->ask;
    (void)arg;
    if (!a) return go_on(ssl, alert, t);
    if (a->changed && a->heard) return refuse(alert, SSL_AD_ILLEGAL_PARAMETER);
    if (!a->heard) return refuse(alert, SSL_AD_DECODE_ERROR); /* odd, or of SSL 2.0's form */
    if (!(a->wanted & RP_TLS_Q_HELLO) || (a->done & RP_TLS_Q_HELLO)) return go_on(ssl, alert, t);
    a->open = RP_TLS_Q_HELLO;
    return SSL_CLIENT_HELLO_RETRY;
}

static int on_cert(SSL *ssl, void *arg)
{
    struct rp_tls_talk *a = arg;
    if (!(a->done & RP_TLS_Q_CERT)) {
        a->open = RP_TLS_Q_CERT;
        return -1;
    }
    return a->cert ? use(ssl, a->cert) : !a->lacking;
}

/* ---- asking and answering ------------------------------------------------------------------ */

void rp_tls_ask(struct rp_tls *t, unsigned questions)
{
    struct rp_tls_talk *a = rp_alloc(sizeof *a);
    RP_CHECK(t->server && !t->ask && !t->shaken);
    t->ask = a;
    a->wanted = (uint8_t)questions;
    SSL_set_msg_callback(t->ssl, on_message);
    SSL_set_msg_callback_arg(t->ssl, a);
    SSL_CTX_set_client_hello_cb(SSL_get_SSL_CTX(t->ssl), rp_tls_on_hello,
                                NULL); /* those who ask not pass */
    if (questions & RP_TLS_Q_CERT) SSL_set_cert_cb(t->ssl, on_cert, a);
}

unsigned rp_tls_question(const struct rp_tls *t)
{
    return t->ask ? t->ask->open : 0;
}

void rp_tls_answer_hello(struct rp_tls *t, const struct rp_tls_choice *choice)
{
    struct rp_tls_talk *a = t->ask;
    RP_CHECK(a && a->open == RP_TLS_Q_HELLO);
    a->open = 0;
    a->done |= RP_TLS_Q_HELLO;
    a->choice = rp_alloc(sizeof *a->choice);
    *a->choice = *choice;
    int version = choice->min_version == RP_TLS_V13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (choice->min_version) RP_CHECK(SSL_set_min_proto_version(t->ssl, version));
    if (choice->has_ask) rp_tls_ask_client(t->ssl, choice->ask);
}

void rp_tls_answer_cert(struct rp_tls *t, struct rp_tls_cert *cert)
{
    struct rp_tls_talk *a = t->ask;
    RP_CHECK(a && a->open == RP_TLS_Q_CERT);
    a->open = 0;
    a->done |= RP_TLS_Q_CERT;
    if (cert) a->cert = rp_tls_cert_hold(cert);
}

bool rp_tls_lacks_cert(const struct rp_tls *t)
{
    return t->ask && t->ask->lacking;
}

bool rp_tls_ask_decides_cert(const struct rp_tls *t, bool lacking)
{
    struct rp_tls_talk *a = t->ask;
    if (!a || !(a->wanted & RP_TLS_Q_CERT)) return false;
    a->lacking = lacking;
    return true;
}

const struct rp_tls_choice *rp_tls_choice_of(const struct rp_tls *t)
{
    return t->ask ? t->ask->choice : NULL;
}

bool rp_tls_take_hello(struct rp_tls *t, struct rp_tls_hello *out)
{
    struct rp_tls_talk *a = t->ask;
    if (!a || !a->heard || !a->hello.body) return false;
    *out = a->hello;
    a->hello = (struct rp_tls_hello){.body = NULL};
    return true;
}

void rp_tls_attach(struct rp_tls *t, void *thing, void (*drop)(void *thing))
{
    RP_CHECK(t->ask && !t->ask->thing);
    t->ask->thing = thing;
    t->ask->drop = drop;
}

void *rp_tls_attached(const struct rp_tls *t)
{
    return t->ask ? t->ask->thing : NULL;
}

void rp_tls_ask_over(struct rp_tls *t)
{
    struct rp_tls_talk *a = t->ask;
    if (!a) return;
    SSL_set_msg_callback(t->ssl, NULL);
    SSL_set_cert_cb(t->ssl, NULL, NULL);
    rp_free(a->choice);
    a->choice = NULL;
    rp_tls_cert_drop(&a->cert);
}

void rp_tls_ask_free(struct rp_tls *t)
{
    struct rp_tls_talk *a = t->ask;
    if (!a) return;
    t->ask = NULL;
    rp_free(a->choice);
    rp_tls_cert_drop(&a->cert);
    rp_free(a->hello.body);
    if (a->thing) a->drop(a->thing);
    rp_free(a);
}
