/* SPDX-License-Identifier: MIT
 *
 * tls_server: see tls_server.h.
 */
#include "net/tls_server.h"

#include <stdio.h>

#include "base/mem.h"
#include "net/tls_in.h"

enum {
    NAMES_MOST = 1 << 20,
    NAME_BYTES = 256,
    KINDS = 3,   /* of keys: RSA, EC, Edwards curves */
    TICKETS = 1, /* of one full TLS 1.3 handshake; each resumed one brings the next */
};

struct cert {
    struct rp_tls_pair pair;
    int64_t ends_s;
    struct cert *next;
};

/* What is installed for a name. */
struct choice {
    struct cert *kinds[KINDS];
    struct choice *next;
};

struct rp_tls_server {
    uint32_t refs;
    SSL_CTX *ctx;
    struct rp_map names; /* -> struct choice; "*.a.example" is ".a.example" */
    struct cert *certs;  /* newest first */
    struct choice *choices;
    struct choice *fallback;       /* of the first certificate */
    struct rp_tls_decoder decoder; /* until it is finished */
    uint32_t certs_n;
    bool refuse;
    uint8_t alpn_n;
    unsigned char alpn[RP_TLS_ALPN_MOST];
};

SSL_CTX *rp_tls_server_ctx(const struct rp_tls_server *s)
{
    return s->ctx;
}

/* ---- profile ------------------------------------------------------------------------------- */

/* Mozilla, "Security/Server Side TLS", version 5.7, without the ciphers of finite-field DH: they need
 * parameters that nobody should have to think of, and no client of TLS 1.2 needs them. */
static const char CIPHERS_V12[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char CIPHERS_V13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char GROUPS[] = "X25519:P-256:P-384";

bool rp_tls_apply_profile(SSL_CTX *ctx, const struct rp_tls_rules *rules)
{
    bool modern = rules->profile == RP_TLS_MODERN;
    unsigned versions = rules->versions ? rules->versions
                        : modern        ? RP_TLS_V13
                                        : RP_TLS_V12 | RP_TLS_V13;
    int low = versions & RP_TLS_V12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    int high = versions & RP_TLS_V13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    uint64_t options = SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION;
    if (!modern) options |= SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA;
    (void)SSL_CTX_set_options(ctx, options);
    /* Without NO_AUTO_CHAIN each handshake would look for a chain where none was given. */
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_info_callback(ctx, rp_tls_on_step);
    return SSL_CTX_set_min_proto_version(ctx, low) && SSL_CTX_set_max_proto_version(ctx, high) &&
           SSL_CTX_set_cipher_list(ctx, CIPHERS_V12) &&
           SSL_CTX_set_ciphersuites(ctx, CIPHERS_V13) && SSL_CTX_set1_groups_list(ctx, GROUPS);
}

/* ---- choosing ------------------------------------------------------------------------------ */

static struct choice *find(const struct rp_tls_server *s, rp_str name)
{
    struct choice *c = rp_map_find(&s->names, name);
    size_t dot = rp_str_find(name, '.', 0);
    if (c || dot == 0 || dot == name.len) return c;
    return rp_map_find(&s->names, rp_str_from(name, dot)); /* RFC 6125 §6.4.3: one whole label */
}

bool rp_tls_server_knows(const struct rp_tls_server *s, rp_str name)
{
    return find(s, name) != NULL;
}

static bool use(SSL *ssl, const struct choice *c)
{
    SSL_certs_clear(ssl);
    for (int i = 0; i < KINDS; i++) {
        const struct cert *cert = c->kinds[i];
        if (cert &&
            SSL_use_cert_and_key(ssl, cert->pair.cert, cert->pair.key, cert->pair.chain, 1) != 1)
            return false;
    }
    return true;
}

/* The name of a ClientHello in lower case, without a final dot. */
static rp_str asked_name(SSL *ssl, char out[NAME_BYTES])
{
    rp_str sent = rp_str_z(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
    if (sent.len > 0 && sent.ptr[sent.len - 1] == '.') sent.len--;
    if (sent.len == 0 || sent.len >= NAME_BYTES) return RP_STR_NONE;
    for (size_t i = 0; i < sent.len; i++) out[i] = rp_lower(sent.ptr[i]);
    return rp_str_of(out, sent.len);
}

/* Called for every ClientHello, with a name or without. */
static int on_name(SSL *ssl, int *alert, void *arg)
{
    const struct rp_tls_server *s = arg;
    char lower[NAME_BYTES];
    rp_str name = asked_name(ssl, lower);
    const struct choice *c = name.len ? find(s, name) : NULL;
    if (!c && !s->refuse) return SSL_TLSEXT_ERR_NOACK;
    if (c && (c == s->fallback || use(ssl, c))) return SSL_TLSEXT_ERR_OK;
    *alert = c ? SSL_AD_INTERNAL_ERROR : SSL_AD_UNRECOGNIZED_NAME;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Our order decides. A client that speaks none of ours is told so (RFC 7301 §3.2): answering it all
 * the same would let its bytes be taken for a protocol that it does not speak. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                   const unsigned char *theirs, unsigned theirs_n, void *arg)
{
    const struct rp_tls_server *s = arg;
    unsigned char *chosen = NULL;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_n, s->alpn, s->alpn_n, theirs, theirs_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* ---- life ---------------------------------------------------------------------------------- */

static rp_err refuse(char why[RP_TLS_WHY_BYTES], const char *words)
{
    snprintf(why, RP_TLS_WHY_BYTES, "%s", words);
    return RP_E_INVALID;
}

static int take_any(int verified, X509_STORE_CTX *store)
{
    (void)verified;
    (void)store;
    return 1; /* the result stays in the session: rp_tls_is_verified */
}

static STACK_OF(X509_NAME) * names_of(X509_STORE *roots)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    STACK_OF(X509) *all = X509_STORE_get1_all_certs(roots);
    RP_CHECK(names && all);
    for (int i = 0; i < sk_X509_num(all); i++) {
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(sk_X509_value(all, i)));
        RP_CHECK(name && sk_X509_NAME_push(names, name));
    }
    sk_X509_pop_free(all, X509_free);
    return names;
}

static bool ask_clients(struct rp_tls_server *s, const struct rp_tls_rules *rules, const char **why)
{
    int mode = SSL_VERIFY_PEER;
    bool any = rules->ask == RP_TLS_ASK_ANY;
    if (rules->ask == RP_TLS_ASK_NONE) return true;
    if (rules->cas.len == 0 && !any) {
        *why = "clients' certificates need a CA";
        return false;
    }
    if (rules->ask == RP_TLS_ASK_REQUIRED) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(s->ctx, mode, any ? take_any : NULL);
    if (rules->depth) SSL_CTX_set_verify_depth(s->ctx, rules->depth);
    X509_STORE *roots = rules->cas.len ? rp_tls_roots_read(rules->cas, why) : X509_STORE_new();
    if (!roots) return false;
    SSL_CTX_set_client_CA_list(s->ctx, names_of(roots)); /* own */
    SSL_CTX_set_cert_store(s->ctx, roots);               /* own */
    return true;
}

/* A session of one listener must not open another that asks for more (RFC 5246 §7.4.1.2; RFC 8446
 * §8.1). Reloads that change nothing here keep sessions good. */
static bool name_sessions(struct rp_tls_server *s, const struct rp_tls_rules *rules)
{
    uint8_t cas[32], id[32];
    uint8_t all[sizeof cas + 3];
    rp_tls_digest(rules->cas, cas);
    memcpy(all, cas, sizeof cas);
    all[sizeof cas] = rules->ask;
    all[sizeof cas + 1] = rules->depth;
    all[sizeof cas + 2] = rules->refuse;
    rp_tls_digest(rp_str_of((const char *)all, sizeof all), id);
    return SSL_CTX_set_session_id_context(s->ctx, id, sizeof id);
}

static bool dress(struct rp_tls_server *s, const struct rp_tls_rules *rules, const char **why)
{
    *why = "OpenSSL refuses the settings";
    if (!rp_tls_apply_profile(s->ctx, rules) || !name_sessions(s, rules)) return false;
    if (rules->alpn.len > sizeof s->alpn) return false;
    s->refuse = rules->refuse;
    s->alpn_n = (uint8_t)rules->alpn.len;
    if (s->alpn_n) memcpy(s->alpn, rules->alpn.ptr, s->alpn_n);
    if (s->alpn_n) SSL_CTX_set_alpn_select_cb(s->ctx, on_alpn, s);
    /* A client that closes without a word cuts off no answer of ours. */
    (void)SSL_CTX_set_options(s->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_session_cache_mode(s->ctx, SSL_SESS_CACHE_OFF); /* tickets only */
    (void)SSL_CTX_set_timeout(s->ctx, (long)(rules->session_ms / 1000));
    (void)SSL_CTX_set_num_tickets(s->ctx, rules->session_ms ? TICKETS : 0);
    if (rules->session_ms == 0) (void)SSL_CTX_set_options(s->ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(s->ctx, rp_tls_ticket_key);
    SSL_CTX_set_tlsext_servername_callback(s->ctx, on_name);
    SSL_CTX_set_tlsext_servername_arg(s->ctx, s);
    return ask_clients(s, rules, why);
}

struct rp_tls_server *rp_tls_server_new(const struct rp_tls_rules *rules,
                                        char why[RP_TLS_WHY_BYTES])
{
    struct rp_tls_server *s = rp_alloc(sizeof *s);
    const char *words = "OpenSSL cannot make a context";
    s->refs = 1;
    rp_map_init(&s->names, NAMES_MOST);
    s->ctx = SSL_CTX_new(TLS_server_method());
    if (!s->ctx || !dress(s, rules, &words)) {
        (void)refuse(why, words);
        rp_tls_server_drop(&s);
    }
    ERR_clear_error();
    return s;
}

struct rp_tls_server *rp_tls_server_hold(struct rp_tls_server *s)
{
    s->refs++;
    return s;
}

/* The context may live on in connections; their handshakes are over, so nothing of it calls back. */
void rp_tls_server_drop(struct rp_tls_server **where)
{
    struct rp_tls_server *s = *where;
    *where = NULL;
    if (!s || --s->refs > 0) return;
    SSL_CTX_free(s->ctx);
    rp_map_fini(&s->names);
    rp_tls_decoder_fini(&s->decoder);
    while (s->certs) {
        struct cert *c = s->certs;
        s->certs = c->next;
        rp_tls_pair_free(&c->pair);
        rp_free(c);
    }
    while (s->choices) {
        struct choice *c = s->choices;
        s->choices = c->next;
        rp_free(c);
    }
    rp_free(s);
}

uint32_t rp_tls_server_certs(const struct rp_tls_server *s)
{
    return s->certs_n;
}

/* ---- adding -------------------------------------------------------------------------------- */

static int kind_of(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
    case EVP_PKEY_RSA_PSS: return 0;
    case EVP_PKEY_EC: return 1;
    case EVP_PKEY_ED25519:
    case EVP_PKEY_ED448: return 2;
    default: return -1;
    }
}

/* A name that a client may ask for, as it is kept; empty: it is none ("a*.example", an address). */
static rp_str as_key(rp_str name, char out[NAME_BYTES])
{
    size_t from = name.len > 2 && name.ptr[0] == '*' && name.ptr[1] == '.' ? 1 : 0;
    if (name.len == 0 || name.len >= NAME_BYTES) return RP_STR_NONE;
    for (size_t i = from; i < name.len; i++) {
        unsigned char ch = (unsigned char)name.ptr[i];
        if (ch <= 0x20 || ch >= 0x7f || ch == '*') return RP_STR_NONE;
        out[i - from] = rp_lower((char)ch);
    }
    return rp_str_of(out, name.len - from);
}

static struct choice *choice_of(struct rp_tls_server *s, rp_str key)
{
    struct choice *c = rp_map_find(&s->names, key);
    if (c) return c;
    c = rp_alloc(sizeof *c);
    c->next = s->choices;
    s->choices = c;
    if (rp_map_set(&s->names, key, c) != RP_OK) return NULL; /* a million names: the default's */
    return c;
}

static void file_under(struct rp_tls_server *s, struct cert *cert, int kind, rp_str name,
                       struct rp_tls_cert_facts *facts)
{
    char buf[NAME_BYTES];
    rp_str key = as_key(name, buf);
    struct choice *c = key.len ? choice_of(s, key) : NULL;
    if (!c) return;
    if (!c->kinds[kind] || c->kinds[kind]->ends_s < cert->ends_s) c->kinds[kind] = cert;
    if (!s->fallback) s->fallback = c;
    facts->names_n++;
}

static rp_str text_of(const ASN1_STRING *s)
{
    return rp_str_of((const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
}

/* The subject's common name counts only where there are no alternative names (RFC 6125 §6.4.4). */
static void file_common(struct rp_tls_server *s, struct cert *cert, int kind,
                        struct rp_tls_cert_facts *facts)
{
    const X509_NAME *subject = X509_get_subject_name(cert->pair.cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    const X509_NAME_ENTRY *entry = at >= 0 ? X509_NAME_get_entry(subject, at) : NULL;
    if (entry) file_under(s, cert, kind, text_of(X509_NAME_ENTRY_get_data(entry)), facts);
}

static void file_names(struct rp_tls_server *s, struct cert *cert, int kind,
                       struct rp_tls_cert_facts *facts)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert->pair.cert, NID_subject_alt_name, NULL, NULL);
    bool any = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS) continue;
        any = true;
        file_under(s, cert, kind, text_of(name->d.dNSName), facts);
    }
    GENERAL_NAMES_free(names);
    if (!any) file_common(s, cert, kind, facts);
}

/* Does OpenSSL take it at its security level? Words for the commonest no. */
static bool is_acceptable(struct rp_tls_server *s, const struct rp_tls_pair *p, const char **why)
{
    SSL *trial = SSL_new(s->ctx);
    RP_CHECK(trial);
    bool good = SSL_use_cert_and_key(trial, p->cert, p->key, p->chain, 1) == 1;
    SSL_free(trial);
    if (!good) *why = rp_tls_reason();
    return good;
}

rp_err rp_tls_server_add(struct rp_tls_server *s, rp_str cert_pem, rp_str key_pem,
                         struct rp_tls_cert_facts *facts, char why[RP_TLS_WHY_BYTES])
{
    struct rp_tls_pair pair;
    const char *words = NULL;
    *facts = (struct rp_tls_cert_facts){.names_n = 0};
    if (!rp_tls_pair_read(&s->decoder, cert_pem, key_pem, &pair, &words)) return refuse(why, words);
    int kind = kind_of(pair.key);
    if (kind < 0) words = "its key is neither RSA, EC nor Ed25519";
    if (kind < 0 || !is_acceptable(s, &pair, &words)) {
        rp_tls_pair_free(&pair);
        return refuse(why, words);
    }
    struct cert *cert = rp_alloc(sizeof *cert);
    cert->pair = pair;
    cert->ends_s = facts->ends_s = rp_tls_seconds(X509_get0_notAfter(pair.cert));
    facts->begins_s = rp_tls_seconds(X509_get0_notBefore(pair.cert));
    facts->is_ec = kind == 1;
    cert->next = s->certs;
    s->certs = cert;
    s->certs_n++;
    file_names(s, cert, kind, facts);
    if (!s->fallback) { /* it has no name that anybody asks for, and is the default all the same */
        s->fallback = rp_alloc(sizeof *s->fallback);
        s->fallback->next = s->choices;
        s->choices = s->fallback;
        s->fallback->kinds[kind] = cert;
    }
    return RP_OK;
}

rp_err rp_tls_server_finish(struct rp_tls_server *s, char why[RP_TLS_WHY_BYTES])
{
    rp_tls_decoder_fini(&s->decoder);
    if (!s->fallback) return refuse(why, "there is no certificate");
    for (int i = 0; i < KINDS; i++) {
        const struct cert *c = s->fallback->kinds[i];
        if (c && SSL_CTX_use_cert_and_key(s->ctx, c->pair.cert, c->pair.key, c->pair.chain, 1) != 1)
            return refuse(why, rp_tls_reason());
    }
    return RP_OK;
}
