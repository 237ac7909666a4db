/* SPDX-License-Identifier: MIT
 *
 * tls_staple: see tls_staple.h. Requests carry no nonce: responders answer from what they signed
 * in advance (RFC 5019 §4), and an answer is for all clients.
 */
#include "net/tls_staple.h"

#include <openssl/ocsp.h>
#include <stdio.h>

#include "base/mem.h"
#include "net/tls_in.h"

enum {
    URL_MOST = 1024,
    NAME_MOST = 128,    /* of a certificate, in messages */
    SKEW_S = 300,       /* clocks of authorities that run ahead of ours */
    NO_NEXT_S = 3600,   /* an answer that does not say how long it holds is used so long */
    FEATURE_STATUS = 5, /* status_request among TLS features, RFC 7633 §4 */
    IDS = 2,
};

struct rp_tls_staple {
    struct rp_tls_staple *next;
    X509 *issuer;
    OCSP_CERTID *ids[IDS]; /* by SHA-1, which all responders know, and by SHA-256 */
    uint8_t id[RP_TLS_STAPLE_ID_BYTES];
    bool must;
    char name[NAME_MOST], *url;
    unsigned char *request;
    int request_n;
    char *der; /* what is handed out */
    size_t der_n;
    int64_t this_s, next_s;
};

/* ---- making -------------------------------------------------------------------------------- */

static bool is_issuer(X509 *above, X509 *cert)
{
    return X509_check_issued(above, cert) == X509_V_OK &&
           X509_verify(cert, X509_get0_pubkey(above)) == 1;
}

static X509 *issuer_among(STACK_OF(X509) * many, X509 *cert)
{
    for (int i = 0; i < sk_X509_num(many); i++)
        if (is_issuer(sk_X509_value(many, i), cert)) return sk_X509_value(many, i);
    return NULL;
}

X509 *rp_tls_issuer_of(X509 *cert, STACK_OF(X509) * chain, X509_STORE *cas)
{
    X509 *found = issuer_among(chain, cert);
    STACK_OF(X509) *all = found ? NULL : X509_STORE_get1_all_certs(cas);
    if (!found) found = issuer_among(all, cert);
    if (found) X509_up_ref(found);
    sk_X509_pop_free(all, X509_free);
    ERR_clear_error();
    return found;
}

/* A URL that can stand in a request: others would put their bytes into its head. */
static bool is_url(const char *url)
{
    size_t n = strlen(url);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)url[i] <= 0x20 || (unsigned char)url[i] >= 0x7f) return false;
    return n < URL_MOST && strncasecmp(url, "http://", 7) == 0;
}

static char *responder_of(X509 *cert)
{
    STACK_OF(OPENSSL_STRING) *all = X509_get1_ocsp(cert);
    char *found = NULL;
    for (int i = 0; i < sk_OPENSSL_STRING_num(all) && !found; i++) {
        const char *url = sk_OPENSSL_STRING_value(all, i);
        if (is_url(url)) found = rp_strdup_n(url, strlen(url));
    }
    X509_email_free(all);
    return found;
}

bool rp_tls_has_responder(X509 *cert)
{
    char *url = responder_of(cert);
    rp_free(url);
    return url != NULL;
}

bool rp_tls_must_staple(X509 *cert)
{
    TLS_FEATURE *features = X509_get_ext_d2i(cert, NID_tlsfeature, NULL, NULL);
    bool must = false;
    for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
        if (ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == FEATURE_STATUS) must = true;
    TLS_FEATURE_free(features);
    ERR_clear_error();
    return must;
}

static bool put_name(const ASN1_STRING *from, char out[NAME_MOST])
{
    int n = ASN1_STRING_length(from);
    if (n <= 0 || n >= NAME_MOST) return false;
    memcpy(out, ASN1_STRING_get0_data(from), (size_t)n);
    out[n] = 0;
    return true;
}

/* The first DNS name, or the common name. */
static void put_names(X509 *cert, char out[NAME_MOST])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    const X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    bool found = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
        const GENERAL_NAME *one = sk_GENERAL_NAME_value(names, i);
        found = one->type == GEN_DNS && put_name(one->d.dNSName, out);
    }
    GENERAL_NAMES_free(names);
    if (!found && at >= 0)
        (void)put_name(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), out);
}

static void make_id(struct rp_tls_staple *p, X509 *cert)
{
    uint8_t both[2 * RP_TLS_STAPLE_ID_BYTES];
    unsigned n = 0;
    RP_CHECK(X509_digest(cert, EVP_sha256(), both, &n) == 1 && n == sizeof both / 2);
    RP_CHECK(X509_digest(p->issuer, EVP_sha256(), both + n, &n) == 1);
    rp_tls_digest(rp_str_of((const char *)both, sizeof both), p->id);
}

static void make_request(struct rp_tls_staple *p)
{
    OCSP_REQUEST *r = OCSP_REQUEST_new();
    OCSP_CERTID *id = OCSP_CERTID_dup(p->ids[0]);
    RP_CHECK(r && id && OCSP_request_add0_id(r, id)); /* own */
    p->request_n = i2d_OCSP_REQUEST(r, &p->request);
    RP_CHECK(p->request_n > 0);
    OCSP_REQUEST_free(r);
}

struct rp_tls_staple *rp_tls_staple_new(X509 *cert, X509 *issuer, bool ask)
{
    struct rp_tls_staple *p = rp_alloc(sizeof *p);
    X509_up_ref(issuer);
    p->issuer = issuer;
    p->ids[0] = OCSP_cert_to_id(EVP_sha1(), cert, issuer);
    p->ids[1] = OCSP_cert_to_id(EVP_sha256(), cert, issuer);
    RP_CHECK(p->ids[0] && p->ids[1]); /* memory only */
    p->must = rp_tls_must_staple(cert);
    if (ask) p->url = responder_of(cert);
    put_names(cert, p->name);
    make_id(p, cert);
    make_request(p);
    ERR_clear_error();
    return p;
}

void rp_tls_staple_free(struct rp_tls_staple **where)
{
    struct rp_tls_staple *p = *where;
    *where = NULL;
    if (!p) return;
    X509_free(p->issuer);
    for (int i = 0; i < IDS; i++) OCSP_CERTID_free(p->ids[i]);
    OPENSSL_free(p->request);
    rp_free(p->url);
    rp_free(p->der);
    rp_free(p);
}

/* ---- what it is ---------------------------------------------------------------------------- */

void rp_tls_staple_chain(struct rp_tls_staple *p, struct rp_tls_staple *next)
{
    p->next = next;
}

struct rp_tls_staple *rp_tls_staple_next(const struct rp_tls_staple *p)
{
    return p->next;
}

rp_str rp_tls_staple_id(const struct rp_tls_staple *p)
{
    return rp_str_of((const char *)p->id, sizeof p->id);
}

rp_str rp_tls_staple_url(const struct rp_tls_staple *p)
{
    return p->url ? rp_str_z(p->url) : RP_STR_NONE;
}

rp_str rp_tls_staple_request(const struct rp_tls_staple *p)
{
    return rp_str_of((const char *)p->request, (size_t)p->request_n);
}

rp_str rp_tls_staple_name(const struct rp_tls_staple *p)
{
    return rp_str_z(p->name);
}

bool rp_tls_staple_is_must(const struct rp_tls_staple *p)
{
    return p->must;
}

/* ---- checking ------------------------------------------------------------------------------ */

/* The one anchor is the issuer: who signs must be it, or have from it the right to (RFC 6960
 * §4.2.2.2). An answer that is over anyway may be signed by a key whose certificate is, too. */
static bool is_signed(const struct rp_tls_staple *p, OCSP_BASICRESP *basic, bool in_time)
{
    X509_STORE *anchors = X509_STORE_new();
    STACK_OF(X509) *known = sk_X509_new_null();
    unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN | (in_time ? 0 : X509_V_FLAG_NO_CHECK_TIME);
    RP_CHECK(anchors && known && sk_X509_push(known, p->issuer));
    RP_CHECK(X509_STORE_add_cert(anchors, p->issuer) && X509_STORE_set_flags(anchors, flags));
    bool good = OCSP_basic_verify(basic, known, anchors, OCSP_NOEXPLICIT) == 1;
    sk_X509_free(known);
    X509_STORE_free(anchors);
    return good;
}

static const char *read_basic(const struct rp_tls_staple *p, OCSP_BASICRESP *basic, int64_t now_s,
                              struct rp_tls_staple_answer *out)
{
    int status = -1, reason = 0;
    ASN1_GENERALIZEDTIME *revoked = NULL, *begin = NULL, *end = NULL;
    bool found = false;
    for (int i = 0; i < IDS && !found; i++)
        found = OCSP_resp_find_status(basic, p->ids[i], &status, &reason, &revoked, &begin, &end);
    if (!found) return "it is about another certificate";
    out->status = status == V_OCSP_CERTSTATUS_GOOD      ? RP_TLS_STAPLE_GOOD
                  : status == V_OCSP_CERTSTATUS_REVOKED ? RP_TLS_STAPLE_REVOKED
                                                        : RP_TLS_STAPLE_UNKNOWN;
    out->this_s = rp_tls_seconds(begin);
    out->next_s = end ? rp_tls_seconds(end) : out->this_s + NO_NEXT_S;
    if (out->this_s <= 0 || out->next_s <= out->this_s) return "its times make no sense";
    out->in_time = out->this_s <= now_s + SKEW_S && out->next_s > now_s;
    return is_signed(p, basic, out->in_time) ? NULL : "it is not signed by the issuer, nor for it";
}

rp_err rp_tls_staple_check(const struct rp_tls_staple *p, rp_str der, int64_t now_s,
                           struct rp_tls_staple_answer *out, char why[RP_TLS_WHY_BYTES])
{
    const unsigned char *at = (const unsigned char *)der.ptr;
    const char *words = "it is no OCSP response";
    OCSP_RESPONSE *whole = NULL;
    OCSP_BASICRESP *basic = NULL;
    *out = (struct rp_tls_staple_answer){.status = RP_TLS_STAPLE_UNKNOWN};
    if (der.len > RP_TLS_STAPLE_MOST) words = "it is larger than 16 KB";
    else if (der.len) whole = d2i_OCSP_RESPONSE(NULL, &at, (long)der.len);
    if (whole && at == (const unsigned char *)der.ptr + der.len) {
        int status = OCSP_response_status(whole);
        if (status == OCSP_RESPONSE_STATUS_SUCCESSFUL) basic = OCSP_response_get1_basic(whole);
        else words = OCSP_response_status_str(status); /* "trylater", "unauthorized" */
    }
    if (basic) words = read_basic(p, basic, now_s, out);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(whole);
    ERR_clear_error();
    if (!words) return RP_OK;
    snprintf(why, RP_TLS_WHY_BYTES, "%s", words);
    return RP_E_INVALID;
}

/* ---- handing out --------------------------------------------------------------------------- */

void rp_tls_staple_set(struct rp_tls_staple *p, rp_str der, int64_t this_s, int64_t next_s)
{
    rp_free(p->der);
    p->der = der.len ? rp_strdup_n(der.ptr, der.len) : NULL;
    p->der_n = der.len;
    p->this_s = this_s;
    p->next_s = next_s;
}

rp_str rp_tls_staple_get(const struct rp_tls_staple *p, int64_t now_s, int64_t *this_s,
                         int64_t *next_s)
{
    if (!p->der || p->next_s <= now_s) return RP_STR_NONE;
    if (this_s) *this_s = p->this_s;
    if (next_s) *next_s = p->next_s;
    return rp_str_of(p->der, p->der_n);
}

/* Called when a client asks for the status of the certificate that was chosen for it. */
int rp_tls_staple_on_ask(SSL *ssl, void *arg)
{
    struct rp_tls *t = SSL_get_app_data(ssl);
    if (SSL_session_reused(ssl)) return SSL_TLSEXT_ERR_NOACK; /* no certificate is sent */
    const struct rp_tls_staple *p = rp_tls_server_staple_of(arg, SSL_get_certificate(ssl));
    rp_str der =
        t && p ? rp_tls_staple_get(p, (int64_t)rp_loop_wall(t->loop), NULL, NULL) : RP_STR_NONE;
    unsigned char *copy = der.len ? OPENSSL_memdup(der.ptr, der.len) : NULL;
    if (!copy) return SSL_TLSEXT_ERR_NOACK;
    (void)SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)der.len); /* own */
    t->stapled = true;
    return SSL_TLSEXT_ERR_OK;
}
