/* SPDX-License-Identifier: MIT
 *
 * tls: see tls.h. Every call into OpenSSL begins with an empty error queue and ends with rp_tls_push:
 * reading may write too (alerts, key updates).
 */
#include "net/tls.h"

#include <arpa/inet.h>
#include <openssl/pem.h>

#include "base/codec.h"
#include "base/mem.h"
#include "net/loop_uv.h"
#include "net/tls_in.h"

enum {
    FIRST_RECORD = 4096, /* until FRESH_BYTES went: a client may begin with a part */
    FRESH_BYTES = 16 * 1024,
    RECORDS_MOST = 64, /* opened in one recv: tiny ones must not keep others waiting */
    REST_MS = 1000,    /* a connection that sent nothing for so long begins anew */
    HELD_MOST = 8192,  /* tickets are of some hundred bytes, with a client's certificates of more */
    ALERT_MOST = 256,  /* sealed */
    STEPS_MOST = 6000, /* 700 key updates at least: three to eight each, as they are met .. */
    STEP_BYTES = 1 << 16, /* .. for each so many bytes that came */
};

/* ---- words --------------------------------------------------------------------------------- */

const char *rp_tls_reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return text ? text : "no reason given";
}

const char *rp_tls_why(const struct rp_tls *t)
{
    return t->why;
}

/* ---- life ---------------------------------------------------------------------------------- */

static struct rp_tls *tls_new(struct rp_loop *l, int fd, SSL_CTX *ctx)
{
    struct rp_tls *t = rp_alloc(sizeof *t);
    t->magic = RP_TLS_MAGIC;
    t->loop = l;
    t->fd = fd;
    t->ssl = SSL_new(ctx);
    RP_CHECK(t->ssl); /* memory only */
    BIO *b = rp_tls_bio_new(t);
    SSL_set_bio(t->ssl, b, b);
    SSL_set_app_data(t->ssl, t);
    return t;
}

struct rp_tls *rp_tls_accept(struct rp_loop *l, int fd, struct rp_tls_server *s,
                             const struct rp_tls_tickets *tickets)
{
    struct rp_tls *t = tls_new(l, fd, rp_tls_server_ctx(s));
    t->server = true;
    t->of = rp_tls_server_hold(s);
    t->tickets = tickets;
    SSL_set_accept_state(t->ssl);
    if (SSL_get_max_early_data(t->ssl) > 0) rp_tls_early_new(t);
    return t;
}

struct rp_tls *rp_tls_connect(struct rp_loop *l, int fd, struct rp_tls_client *c, rp_str name,
                              struct rp_tls_memory *memory)
{
    struct rp_tls *t = tls_new(l, fd, rp_tls_client_ctx(c));
    rp_tls_client_dress(c, t->ssl, name);
    SSL_set_connect_state(t->ssl);
    if (!memory) return t;
    t->memory = rp_tls_memory_hold(memory);
    SSL_SESSION *old = memory->session;
    if (!old) return t;
    (void)SSL_set_session(t->ssl, old); /* if it cannot be used: a full handshake */
    if (SSL_SESSION_get_protocol_version(old) < TLS1_3_VERSION) return t;
    SSL_SESSION_free(old); /* RFC 8446 §C.4: once; the server gives the next one */
    memory->session = NULL;
    return t;
}

void rp_tls_offer(struct rp_tls *t, rp_str alpn)
{
    const unsigned char *list = (const unsigned char *)alpn.ptr;
    RP_CHECK(SSL_set_alpn_protos(t->ssl, list, (unsigned)alpn.len) == 0);
}

static void drop_names(struct rp_tls *t)
{
    GENERAL_NAMES_free(t->names);
    t->names = NULL;
}

void rp_tls_free(struct rp_tls **where)
{
    struct rp_tls *t = *where;
    if (!t) return;
    *where = NULL;
    /* Freed without this OpenSSL would take the session for a broken one and not resume it. */
    SSL_set_quiet_shutdown(t->ssl, 1);
    SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(t->ssl);
    rp_tls_server_drop(&t->of);
    rp_tls_ask_free(t);
    rp_tls_memory_drop(&t->memory);
    rp_tls_early_free(t);
    drop_names(t);
    rp_free(t->left);
    t->magic = 0;
    rp_free(t);
    ERR_clear_error();
}

struct rp_tls_face *rp_tls_face(struct rp_tls *t)
{
    return &t->face;
}

struct rp_tls_memory *rp_tls_memory_new(void)
{
    struct rp_tls_memory *m = rp_alloc(sizeof *m);
    m->refs = 1;
    return m;
}

struct rp_tls_memory *rp_tls_memory_hold(struct rp_tls_memory *m)
{
    m->refs++;
    return m;
}

void rp_tls_memory_drop(struct rp_tls_memory **where)
{
    struct rp_tls_memory *m = *where;
    *where = NULL;
    if (!m || --m->refs > 0) return;
    SSL_SESSION_free(m->session);
    rp_free(m);
}

/* ---- handshake ----------------------------------------------------------------------------- */

static bool has_more(const struct rp_tls *t)
{
    return SSL_pending(t->ssl) > 0 || SSL_has_pending(t->ssl);
}

static rp_err shake_failure(struct rp_tls *t)
{
    bool plain = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
    long verdict = SSL_get_verify_result(t->ssl);
    bool refused = ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    t->broken = true;
    if (ERR_peek_error() == 0) { /* the socket */
        t->why = t->cut ? "the other side closed the connection" : NULL;
        return RP_E_CLOSED;
    }
    t->why =
        refused && verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : rp_tls_reason();
    ERR_clear_error();
    if (t->server) return plain ? RP_E_TLS_PLAIN_HTTP : RP_E_TLS_HANDSHAKE;
    return refused ? RP_E_UP_TLS_VERIFY : RP_E_UP_TLS_HANDSHAKE;
}

void rp_tls_break(struct rp_tls *t)
{
    t->broken = true;
    if (t->over == RP_OK) t->over = RP_E_CLOSED;
    t->face.more = true;
}

static void end_early(struct rp_tls *t)
{
    bool notify = t->early->notify;
    rp_tls_early_tell(t);
    if (t->early->held.len > 0) t->face.more = true;
    else rp_tls_early_free(t);
    if (notify) RP_IGNORE(rp_tls_notify(t)); /* who asked for it has RP_AGAIN already */
}

static rp_err shaken(struct rp_tls *t)
{
    t->shaken = true;
    rp_tls_ask_over(t);
    rp_tls_server_drop(&t->of);
    t->face.more = has_more(t);
    if (t->early) end_early(t);
    return RP_OK;
}

/* Early data that came before is not worth anything any more, either. */
static rp_err not_shaken(struct rp_tls *t, rp_err e)
{
    if (e < 0) rp_tls_break(t);
    if (e < 0 && t->early) rp_tls_early_tell(t);
    if (e == RP_AGAIN && t->early) t->face.more = t->early->held.len > 0;
    return e;
}

/* Every call into OpenSSL that may read begins with this. */
static void begin_reading(struct rp_tls *t)
{
    t->drained = false;
    t->reads = 0;
    ERR_clear_error();
}

void rp_tls_on_step(const SSL *ssl, int where, int value)
{
    struct rp_tls *t = SSL_get_app_data(ssl);
    (void)where;
    (void)value;
    if (t && t->shaken) t->steps++;
}

bool rp_tls_is_flood(struct rp_tls *t)
{
    if (t->steps <= STEPS_MOST || t->steps - STEPS_MOST <= *t->face.in_bytes / STEP_BYTES)
        return false;
    t->why = "too many key updates or renegotiations";
    return true;
}

/* Bytes are to come, or an answer of somebody else. */
static bool is_to_wait(int code)
{
    return code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_CLIENT_HELLO_CB ||
           code == SSL_ERROR_WANT_X509_LOOKUP;
}

/* The tickets that end a handshake go with the first answer where that was asked for already: a send
 * less. Who has asked for nothing gets them at once. */
static bool may_hold(const struct rp_tls *t)
{
    const struct rp_tls_room *room = rp_tls_room_of(t->loop);
    bool few = room->sealed_n > 0 && room->sealed_n <= HELD_MOST && !room->over;
    return t->server && few && !t->left && !t->early && has_more(t);
}

rp_err rp_tls_shake(struct rp_tls *t)
{
    if (t->broken) return not_shaken(t, RP_E_CLOSED);
    begin_reading(t);
    int r = 0;
    if (!t->early || rp_tls_early_take(t)) r = SSL_do_handshake(t->ssl);
    rp_err e = RP_OK;
    if (r != 1) e = is_to_wait(SSL_get_error(t->ssl, r)) ? RP_AGAIN : shake_failure(t);
    rp_err sent = RP_OK;
    if (e == RP_OK && may_hold(t)) rp_tls_hold(t);
    else sent = rp_tls_push(t); /* an alert too */
    if (e >= 0 && sent < 0) e = sent;
    return e == RP_OK ? shaken(t) : not_shaken(t, e);
}

/* ---- reading ------------------------------------------------------------------------------- */

static rp_err read_end(struct rp_tls *t)
{
    switch (SSL_get_error(t->ssl, 0)) {
    case SSL_ERROR_WANT_READ: return RP_AGAIN;
    case SSL_ERROR_ZERO_RETURN: return RP_END;
    default: break;
    }
    if (ERR_peek_error() != 0) t->why = rp_tls_reason();
    t->broken = true; /* OpenSSL refuses to go on after it */
    return RP_E_CLOSED;
}

/* The handshake is not driven from here: rp_tls_shake does that, whether anybody reads or not. */
static rp_err recv_early(struct rp_tls *t, char *buf, size_t n, size_t *got)
{
    bool shaken = t->shaken;
    *got = rp_tls_early_give(t, buf, n, false);
    t->face.more = t->early ? t->early->held.len > 0 : shaken && has_more(t);
    return *got ? RP_OK : RP_AGAIN;
}

rp_err rp_tls_recv(struct rp_tls *t, char *buf, size_t n, size_t *got)
{
    size_t total = 0;
    *got = 0;
    t->face.more = false;
    if (t->over != RP_OK) return t->over;
    if (RP_UNLIKELY(t->early != NULL)) return recv_early(t, buf, n, got);
    begin_reading(t);
    unsigned records = 0;
    for (; total < n && t->over == RP_OK && records < RECORDS_MOST; records++) {
        size_t one = 0;
        if (SSL_read_ex(t->ssl, buf + total, n - total, &one)) {
            total += one;
            if (t->drained && total < n && !has_more(t)) break;
        } else {
            rp_err e = read_end(t);
            if (e == RP_AGAIN) break;
            t->over = e;
        }
    }
    rp_err sent = rp_tls_push(t);
    if (sent < 0 && t->over == RP_OK && total == 0) t->over = sent;
    *got = total;
    if (total == 0) return t->over == RP_OK ? RP_AGAIN : t->over;
    bool stopped = total == n || records == RECORDS_MOST;
    t->face.more = t->over != RP_OK || (stopped && has_more(t));
    return RP_OK;
}

rp_err rp_tls_peek(struct rp_tls *t, char *buf, size_t n, size_t *got)
{
    *got = 0;
    if (t->over != RP_OK) return t->over;
    if (t->early) {
        *got = rp_tls_early_give(t, buf, n, true);
        return *got ? RP_OK : RP_AGAIN;
    }
    begin_reading(t);
    rp_err e = RP_OK;
    if (!SSL_peek_ex(t->ssl, buf, n, got)) e = read_end(t);
    if (e < 0 || e == RP_END) t->over = e;
    if (e != RP_AGAIN) t->face.more = true; /* an end too: the next recv is to find it */
    rp_err sent = rp_tls_push(t);
    return e == RP_AGAIN && sent < 0 ? sent : e;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Small records first, so that a client that waits for a first answer over a thin line can begin
 * before 16 KB have come; large ones for the bulk. */
static size_t record_size(const struct rp_tls *t)
{
    return t->fresh_bytes < FRESH_BYTES ? FIRST_RECORD : RP_TLS_RECORD;
}

/* The next n bytes of the chain in one place. */
static const char *gather(struct rp_tls_room *room, const struct rp_chain *chain, size_t n)
{
    if (chain->head->len >= n) return chain->head->ptr;
    rp_chain_peek(chain, room->plain, n);
    return room->plain;
}

/* A client whose early data is answered has the keys for that, too (RFC 8446 §2.3). */
static bool write_record(SSL *ssl, bool shaken, const char *p, size_t n, size_t *done)
{
    return (RP_LIKELY(shaken) ? SSL_write_ex(ssl, p, n, done)
                              : SSL_write_early_data(ssl, p, n, done)) == 1;
}

static void seal_end(struct rp_tls *t)
{
    if (!t->notified && t->shaken && !t->broken) {
        ERR_clear_error();
        (void)SSL_shutdown(t->ssl); /* 0: sealed, theirs has not come; what counts is in the room */
        ERR_clear_error();
    }
    t->notified = true;
}

/* Seal as much as the room takes. The last byte stays in the chain, see `owes`. */
static rp_err seal(struct rp_tls *t, struct rp_tls_room *room, struct rp_chain *chain)
{
    ERR_clear_error();
    for (;;) {
        size_t waiting = chain->bytes - (t->owes ? 1 : 0),
               left = sizeof room->sealed - room->sealed_n;
        if (waiting == 0 && t->last && left >= ALERT_MOST) seal_end(t);
        if (waiting == 0 || left < RP_TLS_SEALED) return RP_OK;
        if (t->owes) rp_chain_consume(chain, 1);
        size_t n = RP_MIN(waiting, record_size(t)), done = 0;
        t->owes = false;
        if (!write_record(t->ssl, t->shaken, gather(room, chain, n), n, &done) || done != n) {
            t->why = rp_tls_reason();
            t->broken = true;
            return RP_E_CLOSED;
        }
        rp_chain_consume(chain, n - 1);
        t->owes = true;
        if (t->fresh_bytes < FRESH_BYTES) t->fresh_bytes += (uint32_t)n;
    }
}

rp_err rp_tls_send(struct rp_tls *t, struct rp_chain *chain)
{
    rp_ms now = rp_loop_now(t->loop);
    rp_err e = t->broken ? RP_E_CLOSED : t->held ? RP_OK : rp_tls_flush(t);
    if (now - t->sent_ms > REST_MS) t->fresh_bytes = 0;
    t->sent_ms = now;
    while (e == RP_OK && chain->bytes > 0) {
        struct rp_tls_room *room = rp_tls_room_of(t->loop);
        if (t->owes && chain->bytes == 1) { /* all of it was sealed, and is gone now */
            rp_chain_consume(chain, 1);
            t->owes = false;
            return RP_OK;
        }
        if (t->held) rp_tls_unhold(t);
        e = seal(t, room, chain);
        rp_err sent = rp_tls_push(t);
        if (e == RP_OK) e = sent;
        if (e == RP_OK) rp_chain_consume(chain, 1);
        if (e == RP_OK) t->owes = false;
    }
    return e;
}

void rp_tls_end_after(struct rp_tls *t)
{
    t->last = t->shaken;
}

rp_err rp_tls_notify(struct rp_tls *t)
{
    if (rp_tls_is_early(t) && !t->broken) {
        t->early->notify = true; /* OpenSSL refuses while it shakes hands */
        return RP_AGAIN;
    }
    seal_end(t);
    return rp_tls_push(t);
}

/* ---- what was agreed ----------------------------------------------------------------------- */

rp_str rp_tls_version(const struct rp_tls *t)
{
    return rp_str_z(SSL_get_version(t->ssl));
}

rp_str rp_tls_cipher(const struct rp_tls *t)
{
    return rp_str_z(SSL_get_cipher_name(t->ssl));
}

rp_str rp_tls_alpn(const struct rp_tls *t)
{
    const unsigned char *p = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(t->ssl, &p, &n);
    return rp_str_of((const char *)p, n);
}

rp_str rp_tls_sni(const struct rp_tls *t)
{
    return rp_str_z(SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name));
}

bool rp_tls_is_stapled(const struct rp_tls *t)
{
    return t->stapled;
}

bool rp_tls_is_resumed(const struct rp_tls *t)
{
    return SSL_session_reused(t->ssl);
}

bool rp_tls_has_peer(const struct rp_tls *t)
{
    return SSL_get0_peer_certificate(t->ssl) != NULL;
}

bool rp_tls_is_verified(const struct rp_tls *t)
{
    return rp_tls_has_peer(t) && SSL_get_verify_result(t->ssl) == X509_V_OK;
}

static void put_bio(struct rp_buf *out, BIO *b)
{
    char *p = NULL;
    long n = BIO_get_mem_data(b, &p);
    if (n > 0) rp_buf_add(out, rp_str_of(p, (size_t)n));
}

static void put_name(struct rp_buf *out, const X509_NAME *name)
{
    BIO *b = BIO_new(BIO_s_mem());
    RP_CHECK(b);
    if (X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253) >= 0) put_bio(out, b);
    BIO_free(b);
}

static void put_hex(struct rp_buf *out, const unsigned char *p, size_t n)
{
    char text[2 * EVP_MAX_MD_SIZE];
    RP_CHECK(n <= EVP_MAX_MD_SIZE);
    rp_buf_add(out, rp_str_of(text, rp_codec_hex_encode(rp_str_of((const char *)p, n), text)));
}

static void put_serial(struct rp_buf *out, const X509 *cert)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    size_t n = serial ? (size_t)ASN1_STRING_length(serial) : 0;
    if (n > 0 && n <= EVP_MAX_MD_SIZE) put_hex(out, ASN1_STRING_get0_data(serial), n);
}

static void put_fingerprint(struct rp_buf *out, const X509 *cert)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_digest(cert, EVP_sha256(), digest, &n)) put_hex(out, digest, n);
}

static void put_pem(struct rp_buf *out, X509 *cert)
{
    BIO *b = BIO_new(BIO_s_mem());
    RP_CHECK(b);
    if (PEM_write_bio_X509(b, cert)) put_bio(out, b);
    BIO_free(b);
}

static void put_base64(struct rp_buf *out, const X509 *cert)
{
    unsigned char *der = NULL;
    int n = i2d_X509(cert, &der);
    if (n > 0 && n <= RP_TLS_PEER_MOST) {
        rp_str bytes = rp_str_of((const char *)der, (size_t)n);
        char *text = rp_alloc(rp_codec_base64_len(bytes.len));
        rp_buf_add(out, rp_str_of(text, rp_codec_base64_encode(bytes, text)));
        rp_free(text);
    }
    OPENSSL_free(der);
}

bool rp_tls_peer_text(const struct rp_tls *t, enum rp_tls_peer_text what, struct rp_buf *out)
{
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    size_t before = out->len;
    if (!cert) return false;
    switch (what) {
    case RP_TLS_PEER_SUBJECT: put_name(out, X509_get_subject_name(cert)); break;
    case RP_TLS_PEER_ISSUER: put_name(out, X509_get_issuer_name(cert)); break;
    case RP_TLS_PEER_SERIAL: put_serial(out, cert); break;
    case RP_TLS_PEER_FINGERPRINT: put_fingerprint(out, cert); break;
    case RP_TLS_PEER_PEM: put_pem(out, cert); break;
    case RP_TLS_PEER_BASE64: put_base64(out, cert); break;
    }
    ERR_clear_error();
    return !out->failed && (what <= RP_TLS_PEER_ISSUER || out->len > before);
}

/* Only bytes that are safe wherever the text goes: headers, logs. */
static bool put_ascii(struct rp_buf *out, const char *kind, const ASN1_STRING *s)
{
    const unsigned char *p = ASN1_STRING_get0_data(s);
    int n = ASN1_STRING_length(s);
    for (int i = 0; i < n; i++)
        if (p[i] <= 0x20 || p[i] >= 0x7f || p[i] == ',' || p[i] == '"') return false;
    rp_buf_add_z(out, kind);
    rp_buf_add(out, rp_str_of((const char *)p, (size_t)n));
    return n > 0;
}

static bool put_ip(struct rp_buf *out, const ASN1_OCTET_STRING *s)
{
    char text[INET6_ADDRSTRLEN];
    int n = ASN1_STRING_length(s);
    if (n != 4 && n != 16) return false;
    if (!inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(s), text, sizeof text))
        return false;
    rp_buf_add_z(out, "IP:");
    rp_buf_add_z(out, text);
    return true;
}

static bool put_general(struct rp_buf *out, const GENERAL_NAME *name)
{
    switch (name->type) {
    case GEN_DNS: return put_ascii(out, "DNS:", name->d.dNSName);
    case GEN_EMAIL: return put_ascii(out, "email:", name->d.rfc822Name);
    case GEN_URI: return put_ascii(out, "URI:", name->d.uniformResourceIdentifier);
    case GEN_IPADD: return put_ip(out, name->d.iPAddress);
    default: return false;
    }
}

bool rp_tls_peer_name(const struct rp_tls *t, uint32_t i, struct rp_buf *out)
{
    const X509 *cert = SSL_get0_peer_certificate(t->ssl);
    struct rp_tls *own = SSL_get_app_data(t->ssl);
    bool found = false;
    if (!own->names && cert && i < RP_TLS_NAMES_MOST)
        own->names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int n = i < RP_TLS_NAMES_MOST ? sk_GENERAL_NAME_num(own->names) : 0;
    for (int at = 0; !found && at < n; at++) {
        size_t before = out->len;
        bool good = put_general(out, sk_GENERAL_NAME_value(own->names, at));
        if (!good || i-- > 0) out->len = before;
        else found = true;
    }
    if (!found) drop_names(own);
    ERR_clear_error();
    return found && !out->failed;
}

double rp_tls_peer_end(const struct rp_tls *t)
{
    const X509 *cert = SSL_get0_peer_certificate(t->ssl);
    return cert ? (double)rp_tls_seconds(X509_get0_notAfter(cert)) : 0;
}
