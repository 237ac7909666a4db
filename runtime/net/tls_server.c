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
    struct rp_tls_staple *staple; /* NULL: there is nothing to hand out */
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
    struct rp_tls_staple *staples; /* of certs, chained */
    struct rp_map stapled;         /* address of an X509 -> its staple */
    struct choice *fallback;       /* of the first certificate */
    struct rp_tls_decoder decoder; /* until it is finished */
    uint32_t certs_n;
    bool refuse;
    bool ocsp;
    bool knows_cas;      /* who may sign clients' certificates */
    uint8_t id[32];      /* of its sessions */
    struct rp_map asked; /* names whose clients are asked by rules of their own */
    struct rp_tls_clients **rules_of_names; /* held */
    uint32_t rules_n;
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

bool rp_tls_server_can_ask(const struct rp_tls_server *s)
{
    return s->knows_cas;
}

rp_str rp_tls_server_alpn(const struct rp_tls_server *s)
{
    return rp_str_of((const char *)s->alpn, s->alpn_n);
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
    const struct rp_tls *t = SSL_get_app_data(ssl);
    const struct rp_tls_choice *chosen = rp_tls_choice_of(t);
    char lower[NAME_BYTES];
    rp_str name =
        chosen && chosen->name_n ? rp_str_of(chosen->name, chosen->name_n) : asked_name(ssl, lower);
    const struct choice *c = name.len ? find(s, name) : NULL;
    if (!c && !s->refuse) return SSL_TLSEXT_ERR_NOACK;
    if (rp_tls_ask_decides_cert(t, !c) && !c) return SSL_TLSEXT_ERR_NOACK;
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
    const struct rp_tls_choice *c = rp_tls_choice_of(SSL_get_app_data(ssl));
    bool own = c && c->alpn_n;
    const unsigned char *ours = own ? (const unsigned char *)c->alpn : s->alpn;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_n, ours, own ? c->alpn_n : s->alpn_n, theirs,
                              theirs_n) != OPENSSL_NPN_NEGOTIATED)
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

static bool ask_clients(struct rp_tls_server *s, const struct rp_tls_rules *rules, const char **why)
{
    bool any = rules->ask == RP_TLS_ASK_ANY, none = rules->ask == RP_TLS_ASK_NONE;
    if (none && rules->cas.len == 0) return true;
    if (rules->cas.len == 0 && !any) {
        *why = "clients' certificates need a CA";
        return false;
    }
    s->knows_cas = rules->cas.len > 0;
    SSL_CTX_set_verify(s->ctx, rp_tls_ask_mode(rules->ask), any ? rp_tls_take_any : NULL);
    if (rules->depth) SSL_CTX_set_verify_depth(s->ctx, rules->depth);
    X509_STORE *roots = rp_tls_clients_store(rules, why);
    if (!roots) return false;
    SSL_CTX_set_client_CA_list(s->ctx, rp_tls_store_names(roots)); /* own */
    SSL_CTX_set_cert_store(s->ctx, roots);                         /* own */
    return true;
}

/* A session of one listener must not open another that asks for more (RFC 5246 §7.4.1.2; RFC 8446
 * §8.1). Reloads that change nothing here keep sessions good. */
static bool name_sessions(struct rp_tls_server *s, const struct rp_tls_rules *rules)
{
    rp_tls_clients_digest(rules, s->id);
    return SSL_CTX_set_session_id_context(s->ctx, s->id, sizeof s->id);
}

/* Sessions of connections that were asked something else must not meet: their name differs in it. */
void rp_tls_ask_client(SSL *ssl, unsigned ask)
{
    const struct rp_tls *t = SSL_get_app_data(ssl);
    uint8_t all[33] = {0}, id[32];
    memcpy(all, t->of->id, sizeof t->of->id);
    all[32] = (uint8_t)(ask + 1);
    rp_tls_digest(rp_str_of((const char *)all, sizeof all), id);
    RP_CHECK(SSL_set_session_id_context(ssl, id, sizeof id));
    SSL_set_verify(ssl, rp_tls_ask_mode(ask), ask == RP_TLS_ASK_ANY ? rp_tls_take_any : NULL);
}

static bool dress(struct rp_tls_server *s, const struct rp_tls_rules *rules, const char **why)
{
    *why = "OpenSSL refuses the settings";
    if (!rp_tls_apply_profile(s->ctx, rules) || !name_sessions(s, rules)) return false;
    if (rules->alpn.len > sizeof s->alpn) return false;
    s->refuse = rules->refuse;
    s->ocsp = rules->ocsp;
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
    if (rules->early && !rp_tls_allow_early(s->ctx)) return false;
    if (rules->kernel) (void)SSL_CTX_set_options(s->ctx, SSL_OP_ENABLE_KTLS);
    return ask_clients(s, rules, why);
}

struct rp_tls_server *rp_tls_server_new(const struct rp_tls_rules *rules,
                                        char why[RP_TLS_WHY_BYTES])
{
    struct rp_tls_server *s = rp_alloc(sizeof *s);
    const char *words = "OpenSSL cannot make a context";
    s->refs = 1;
    rp_map_init(&s->names, NAMES_MOST);
    rp_map_init(&s->stapled, NAMES_MOST);
    rp_map_init(&s->asked, NAMES_MOST);
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
    rp_map_fini(&s->stapled);
    rp_map_fini(&s->asked);
    for (uint32_t i = 0; i < s->rules_n; i++) rp_tls_clients_drop(&s->rules_of_names[i]);
    rp_free(s->rules_of_names);
    rp_tls_decoder_fini(&s->decoder);
    while (s->certs) {
        struct cert *c = s->certs;
        s->certs = c->next;
        rp_tls_pair_free(&c->pair);
        rp_tls_staple_free(&c->staple);
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

int rp_tls_kind_of(const EVP_PKEY *key)
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

/* ---- staples ------------------------------------------------------------------------------- */

static rp_str address_of(const X509 *const *cert)
{
    return rp_str_of((const char *)cert, sizeof *cert);
}

const struct rp_tls_staple *rp_tls_server_staple_of(const struct rp_tls_server *s, const X509 *cert)
{
    return cert ? rp_map_find(&s->stapled, address_of(&cert)) : NULL;
}

struct rp_tls_staple *rp_tls_server_staples(const struct rp_tls_server *s)
{
    return s->staples;
}

/* False: its issuer is not known. */
static bool make_staple(struct rp_tls_server *s, struct cert *cert)
{
    const X509 *key = cert->pair.cert;
    X509 *issuer =
        rp_tls_issuer_of(cert->pair.cert, cert->pair.chain, SSL_CTX_get_cert_store(s->ctx));
    if (!issuer) return false;
    struct rp_tls_staple *p = rp_tls_staple_new(cert->pair.cert, issuer, s->ocsp);
    X509_free(issuer);
    if (rp_map_set(&s->stapled, address_of(&key), p) != RP_OK) {
        rp_tls_staple_free(&p);
        return false;
    }
    rp_tls_staple_chain(p, s->staples);
    s->staples = cert->staple = p;
    return true;
}

/* Also for one without a responder: its answer may come from a file. */
static void note_staple(struct rp_tls_server *s, struct cert *cert, struct rp_tls_cert_facts *facts)
{
    facts->must_staple = rp_tls_must_staple(cert->pair.cert);
    facts->has_responder = rp_tls_has_responder(cert->pair.cert);
    facts->has_staple = s->ocsp && facts->has_responder && make_staple(s, cert);
}

rp_err rp_tls_server_staple(struct rp_tls_server *s, rp_str der, int64_t now_s,
                            struct rp_tls_staple_answer *out, char why[RP_TLS_WHY_BYTES])
{
    struct cert *cert = s->certs;
    if (!cert) return refuse(why, "there is no certificate");
    if (!cert->staple && !make_staple(s, cert))
        return refuse(why, "the issuer's certificate is needed to check it: add it behind the "
                           "certificate, as its chain");
    rp_err e = rp_tls_staple_check(cert->staple, der, now_s, out, why);
    if (e == RP_OK && out->in_time && out->status == RP_TLS_STAPLE_GOOD)
        rp_tls_staple_set(cert->staple, der, out->this_s, out->next_s);
    return e;
}

rp_err rp_tls_server_add(struct rp_tls_server *s, rp_str cert_pem, rp_str key_pem,
                         struct rp_tls_cert_facts *facts, char why[RP_TLS_WHY_BYTES])
{
    struct rp_tls_pair pair;
    const char *words = NULL;
    *facts = (struct rp_tls_cert_facts){.names_n = 0};
    if (!rp_tls_pair_read(&s->decoder, cert_pem, key_pem, &pair, &words)) return refuse(why, words);
    int kind = rp_tls_kind_of(pair.key);
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
    note_staple(s, cert, facts);
    if (!s->fallback) { /* it has no name that anybody asks for, and is the default all the same */
        s->fallback = rp_alloc(sizeof *s->fallback);
        s->fallback->next = s->choices;
        s->choices = s->fallback;
        s->fallback->kinds[kind] = cert;
    }
    return RP_OK;
}

/* ---- clients of a name --------------------------------------------------------------------- */

rp_err rp_tls_server_ask(struct rp_tls_server *s, rp_str name, struct rp_tls_clients *c)
{
    char buf[NAME_BYTES];
    rp_str key = as_key(name, buf);
    if (!key.len || rp_map_set(&s->asked, key, c ? c : &rp_tls_clients_none) != RP_OK)
        return RP_E_INVALID;
    if (!c) return RP_OK;
    s->rules_of_names =
        rp_realloc(s->rules_of_names, (s->rules_n + 1) * sizeof(struct rp_tls_clients *));
    s->rules_of_names[s->rules_n++] = rp_tls_clients_hold(c);
    SSL_CTX_set_client_hello_cb(s->ctx, rp_tls_on_hello, NULL);
    return RP_OK;
}

const struct rp_map *rp_tls_server_asked(const struct rp_tls_server *s)
{
    return &s->asked;
}

const uint8_t *rp_tls_server_id(const struct rp_tls_server *s)
{
    return s->id;
}

rp_err rp_tls_server_finish(struct rp_tls_server *s, char why[RP_TLS_WHY_BYTES])
{
    rp_tls_decoder_fini(&s->decoder);
    if (!s->fallback) return refuse(why, "there is no certificate");
    if (s->staples) {
        (void)SSL_CTX_set_tlsext_status_cb(s->ctx, rp_tls_staple_on_ask);
        (void)SSL_CTX_set_tlsext_status_arg(s->ctx, s);
    }
    for (int i = 0; i < KINDS; i++) {
        const struct cert *c = s->fallback->kinds[i];
        if (c && SSL_CTX_use_cert_and_key(s->ctx, c->pair.cert, c->pair.key, c->pair.chain, 1) != 1)
            return refuse(why, rp_tls_reason());
    }
    return RP_OK;
}
