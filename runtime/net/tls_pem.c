/* SPDX-License-Identifier: MIT
 *
 * tls_pem: certificates and keys from their text form (RFC 7468). A text holds them in any order, with
 * anything between; the first certificate is the leaf, those behind it are its chain.
 */
#include <openssl/core_dispatch.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "net/tls_in.h"

enum { CHAIN_MOST = 16 }; /* certificates above a leaf; clients refuse more */

static BIO *open_text(rp_str pem)
{
    if (pem.len > INT32_MAX) return NULL;
    BIO *b = BIO_new_mem_buf(pem.ptr ? pem.ptr : "", (int)pem.len);
    RP_CHECK(b);
    return b;
}

/* Keys with a passphrase are told from broken ones before OpenSSL would ask for it. */
static int no_passphrase(char *buf, int n, int write, void *arg)
{
    (void)buf;
    (void)n;
    (void)write;
    (void)arg;
    return -1;
}

void rp_tls_sha1(const rp_str *parts, size_t n, uint8_t out[RP_TLS_SHA1_BYTES])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    RP_CHECK(md && EVP_DigestInit_ex(md, EVP_sha1(), NULL) == 1);
    for (size_t i = 0; i < n; i++) RP_CHECK(EVP_DigestUpdate(md, parts[i].ptr, parts[i].len) == 1);
    RP_CHECK(EVP_DigestFinal_ex(md, out, NULL) == 1);
    EVP_MD_CTX_free(md);
}

void rp_tls_digest(rp_str bytes, uint8_t out[32])
{
    (void)SHA256((const unsigned char *)(bytes.ptr ? bytes.ptr : ""), bytes.len, out);
}

int64_t rp_tls_seconds(const ASN1_TIME *at)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    bool good = epoch && at && ASN1_TIME_diff(&days, &seconds, epoch, at);
    ASN1_TIME_free(epoch);
    return good ? (int64_t)days * 86400 + seconds : 0;
}

/* ---- certificates -------------------------------------------------------------------------- */

static bool read_chain(BIO *b, struct rp_tls_pair *p, const char **why)
{
    X509 *above;
    while ((above = PEM_read_bio_X509(b, NULL, no_passphrase, NULL)) != NULL) {
        if (!p->chain) p->chain = sk_X509_new_null();
        RP_CHECK(p->chain && sk_X509_push(p->chain, above));
        if (sk_X509_num(p->chain) > CHAIN_MOST) {
            *why = "its chain has more than 16 certificates";
            return false;
        }
    }
    bool over = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (!over) *why = "a certificate of its chain is malformed";
    ERR_clear_error();
    return over;
}

static bool read_certs(rp_str pem, struct rp_tls_pair *p, const char **why)
{
    BIO *b = open_text(pem);
    bool good = false;
    ERR_clear_error();
    p->cert = b ? PEM_read_bio_X509(b, NULL, no_passphrase, NULL) : NULL;
    if (p->cert) {
        good = read_chain(b, p, why);
    } else {
        bool none = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
        *why = none ? "there is no certificate in it" : "its certificate is malformed";
        ERR_clear_error();
    }
    BIO_free(b);
    return good;
}

/* ---- keys ---------------------------------------------------------------------------------- */

void rp_tls_decoder_fini(struct rp_tls_decoder *d)
{
    OSSL_DECODER_CTX_free(d->ctx);
    *d = (struct rp_tls_decoder){NULL, NULL};
}

static EVP_PKEY *key_of_pkcs8(struct rp_tls_decoder *d, const unsigned char *data, long n)
{
    size_t left = (size_t)n;
    d->key = NULL;
    if (!d->ctx)
        d->ctx = OSSL_DECODER_CTX_new_for_pkey(&d->key, "DER", "PrivateKeyInfo", NULL,
                                               OSSL_KEYMGMT_SELECT_ALL, NULL, NULL);
    RP_CHECK(d->ctx);
    bool good = OSSL_DECODER_from_data(d->ctx, &data, &left) && left == 0;
    EVP_PKEY *key = d->key;
    d->key = NULL;
    if (good) return key;
    EVP_PKEY_free(key);
    return NULL;
}

/* One block of the text. NULL with why NULL: it is no key. */
static EVP_PKEY *key_of(struct rp_tls_decoder *d, const char *name, const char *header,
                        const unsigned char *data, long n, const char **why)
{
    EVP_PKEY *key = NULL;
    bool plain = strcmp(name, PEM_STRING_PKCS8INF) == 0;
    bool rsa = strcmp(name, PEM_STRING_RSA) == 0, ec = strcmp(name, PEM_STRING_ECPRIVATEKEY) == 0;
    *why = NULL;
    if (strcmp(name, PEM_STRING_PKCS8) == 0 || ((rsa || ec) && header[0])) {
        *why = "its private key is encrypted; store it without a passphrase";
        return NULL;
    }
    if (!plain && !rsa && !ec) return NULL;
    if (plain) key = key_of_pkcs8(d, data, n);
    else key = d2i_PrivateKey(rsa ? EVP_PKEY_RSA : EVP_PKEY_EC, NULL, &data, n);
    if (!key) *why = "its private key is malformed";
    return key;
}

static bool read_key(struct rp_tls_decoder *d, rp_str pem, struct rp_tls_pair *p, const char **why)
{
    BIO *b = open_text(pem);
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long n = 0;
    *why = NULL;
    while (b && !p->key && !*why && PEM_read_bio(b, &name, &header, &data, &n)) {
        p->key = key_of(d, name, header, data, n, why);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)n);
    }
    BIO_free(b);
    ERR_clear_error();
    if (!p->key && !*why) *why = "there is no private key in it";
    return p->key != NULL;
}

/* ---- both ---------------------------------------------------------------------------------- */

void rp_tls_pair_free(struct rp_tls_pair *p)
{
    X509_free(p->cert);
    sk_X509_pop_free(p->chain, X509_free);
    EVP_PKEY_free(p->key);
    *p = (struct rp_tls_pair){NULL, NULL, NULL};
}

bool rp_tls_pair_read(struct rp_tls_decoder *d, rp_str cert_pem, rp_str key_pem,
                      struct rp_tls_pair *out, const char **why)
{
    *out = (struct rp_tls_pair){NULL, NULL, NULL};
    bool good = read_certs(cert_pem, out, why) && read_key(d, key_pem, out, why);
    if (good && X509_check_private_key(out->cert, out->key) != 1) {
        *why = "the private key does not belong to the certificate";
        good = false;
    }
    ERR_clear_error();
    if (!good) rp_tls_pair_free(out);
    return good;
}

X509_STORE *rp_tls_roots_read(rp_str pem, const char **why)
{
    BIO *b = open_text(pem);
    X509_STORE *store = X509_STORE_new();
    RP_CHECK(store);
    uint32_t n = 0;
    ERR_clear_error();
    for (X509 *cert; b && (cert = PEM_read_bio_X509(b, NULL, no_passphrase, NULL)); n++) {
        bool added = X509_STORE_add_cert(store, cert); /* one that is there already is fine */
        X509_free(cert);
        if (!added) break;
    }
    bool over = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(b);
    if (n > 0 && over) return store;
    *why = n == 0 ? "there is no certificate in it" : "a certificate in it is malformed";
    X509_STORE_free(store);
    return NULL;
}

/* ---- revocation lists ---------------------------------------------------------------------- */

/* Into the store, if there is one. False: it is malformed. */
static bool take_crl(X509_CRL *crl, X509_STORE *store, int64_t *ends_s, uint32_t *n)
{
    int64_t end = rp_tls_seconds(X509_CRL_get0_nextUpdate(crl));
    if (*n == 0 || (end && end < *ends_s)) *ends_s = end;
    bool good = !store || X509_STORE_add_crl(store, crl); /* one that is there already is fine */
    X509_CRL_free(crl);
    *n += good;
    return good;
}

static bool read_der_crl(rp_str bytes, X509_STORE *store, int64_t *ends_s, uint32_t *n)
{
    const unsigned char *at = (const unsigned char *)bytes.ptr;
    X509_CRL *crl = d2i_X509_CRL(NULL, &at, (long)bytes.len);
    bool whole = crl && at == (const unsigned char *)bytes.ptr + bytes.len;
    if (whole) return take_crl(crl, store, ends_s, n);
    X509_CRL_free(crl);
    return false;
}

static bool read_pem_crls(rp_str bytes, X509_STORE *store, int64_t *ends_s, uint32_t *n)
{
    BIO *b = open_text(bytes);
    bool good = true;
    for (X509_CRL *crl; good && b && (crl = PEM_read_bio_X509_CRL(b, NULL, no_passphrase, NULL));)
        good = take_crl(crl, store, ends_s, n);
    if (good) good = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    BIO_free(b);
    return good;
}

static bool read_crls(rp_str bytes, X509_STORE *store, int64_t *ends_s, const char **why)
{
    bool der = bytes.len > 0 && bytes.ptr[0] == 0x30; /* SEQUENCE */
    uint32_t n = 0;
    ERR_clear_error();
    bool good =
        der ? read_der_crl(bytes, store, ends_s, &n) : read_pem_crls(bytes, store, ends_s, &n);
    ERR_clear_error();
    if (good && n > 0) return true;
    *why = good ? "there is no revocation list in it" : "its revocation list is malformed";
    return false;
}

bool rp_tls_use_crls(X509_STORE *store, const struct rp_tls_rules *rules, const char **why)
{
    int64_t ends_s = 0;
    for (uint32_t i = 0; i < rules->crls_n; i++)
        if (!read_crls(rules->crls[i], store, &ends_s, why)) return false;
    if (rules->crls_n == 0) return true;
    return X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1;
}

void rp_tls_crls_digest(const struct rp_tls_rules *rules, uint8_t out[32])
{
    uint8_t both[64];
    memset(out, 0, 32);
    for (uint32_t i = 0; i < rules->crls_n; i++) {
        memcpy(both, out, 32);
        rp_tls_digest(rules->crls[i], both + 32);
        rp_tls_digest(rp_str_of((const char *)both, sizeof both), out);
    }
}

rp_err rp_tls_crl_check(rp_str bytes, int64_t *ends_s, char why[RP_TLS_WHY_BYTES])
{
    const char *words = NULL;
    *ends_s = 0;
    if (read_crls(bytes, NULL, ends_s, &words)) return RP_OK;
    snprintf(why, RP_TLS_WHY_BYTES, "%s", words);
    return RP_E_INVALID;
}
