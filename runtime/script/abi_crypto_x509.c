/* SPDX-License-Identifier: MIT
 *
 * abi_crypto_x509: certificates as Lua values (RFC 5280): what they say, and whether they verify.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/mem.h"
#include "script/abi_crypto_in.h"

enum {
    TEXT_MOST = 1 << 20, /* bytes of PEM with many certificates */
    CERTS_MOST = 1000,
    DEPTH_MOST = 10,
    NAME_MOST = 253,
};

struct rp_x509 {
    X509 *x;
};

struct rp_x509_store {
    X509_STORE *store;
    uint32_t n;
};

static int no_password(char *out, int n, int writing, void *arg)
{
    (void)out, (void)n, (void)writing, (void)arg;
    return -1;
}

static void *no(struct rp_host_face *f, const char *why)
{
    f->out = rp_str_z(why);
    ERR_clear_error();
    return NULL;
}

/* ---- making ---------------------------------------------------------------------------------- */

static X509 *parse(rp_str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    if (s.len > 0 && p[0] == 0x30) { /* a SEQUENCE: DER, all of it */
        X509 *x = d2i_X509(NULL, &p, (long)s.len);
        if (x && p == (const unsigned char *)s.ptr + s.len) return x;
        X509_free(x);
        return NULL;
    }
    BIO *bio = BIO_new_mem_buf(s.ptr, (int)s.len);
    X509 *x = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
    return x;
}

struct rp_x509 *rp_abi_x509_new(struct rp_host_face *f, const char *p, size_t n)
{
    if (n > TEXT_MOST) return no(f, "the text is too long for a certificate");
    X509 *x = parse(rp_str_of(p, n));
    if (!x) return no(f, "not a certificate");
    struct rp_x509 *c = rp_alloc(sizeof *c);
    c->x = x;
    ERR_clear_error();
    return c;
}

void rp_abi_x509_free(struct rp_x509 *c)
{
    X509_free(c->x);
    rp_free(c);
}

struct rp_key *rp_abi_x509_key(struct rp_host_face *f, const struct rp_x509 *c)
{
    return rp_key_new(f, X509_get_pubkey(c->x), false);
}

/* ---- what it says ---------------------------------------------------------------------------- */

static void put_bio(struct rp_buf *out, BIO *bio)
{
    char *text;
    long n = BIO_get_mem_data(bio, &text);
    if (n > 0) rp_buf_add(out, rp_str_of(text, (size_t)n));
}

static void put_name(struct rp_buf *out, const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        put_bio(out, bio);
    BIO_free(bio);
}

static void put_hex(struct rp_buf *out, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) rp_buf_addf(out, "%02x", p[i]);
}

static void put_serial(struct rp_buf *out, const X509 *x)
{
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    char *text = n ? BN_bn2hex(n) : NULL;
    for (char *p = text; p && *p; p++) rp_buf_add_ch(out, rp_lower(*p));
    OPENSSL_free(text);
    BN_free(n);
}

static void put_fingerprint(struct rp_buf *out, const X509 *x)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_digest(x, EVP_sha256(), digest, &n) == 1) put_hex(out, digest, n);
}

static void put_form(struct rp_buf *out, X509 *x, bool pem)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && (pem ? PEM_write_bio_X509(bio, x) : i2d_X509_bio(bio, x)) == 1) put_bio(out, bio);
    BIO_free(bio);
}

bool rp_abi_x509_text(struct rp_host_face *f, const struct rp_x509 *c, uint32_t what)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_buf *out = &h->text;
    rp_buf_clear(out);
    switch ((enum rp_abi_x509_text)what) {
    case RP_X509_SUBJECT: put_name(out, X509_get_subject_name(c->x)); break;
    case RP_X509_ISSUER: put_name(out, X509_get_issuer_name(c->x)); break;
    case RP_X509_SERIAL: put_serial(out, c->x); break;
    case RP_X509_FINGERPRINT: put_fingerprint(out, c->x); break;
    case RP_X509_PEM: put_form(out, c->x, true); break;
    case RP_X509_DER: put_form(out, c->x, false); break;
    }
    ERR_clear_error();
    f->out = rp_buf_str(out);
    return out->len > 0;
}

static double seconds_of(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? (double)timegm(&tm) : -1;
}

double rp_abi_x509_number(const struct rp_x509 *c, uint32_t what)
{
    double out = 0;
    switch ((enum rp_abi_x509_number)what) {
    case RP_X509_NOT_BEFORE: out = seconds_of(X509_get0_notBefore(c->x)); break;
    case RP_X509_NOT_AFTER: out = seconds_of(X509_get0_notAfter(c->x)); break;
    case RP_X509_IS_CA: out = X509_check_ca(c->x) == 1; break;
    case RP_X509_VERSION: out = (double)X509_get_version(c->x) + 1; break;
    }
    ERR_clear_error();
    return out;
}

static void put_ip(struct rp_buf *out, const ASN1_OCTET_STRING *ip)
{
    const unsigned char *p = ASN1_STRING_get0_data(ip);
    int n = ASN1_STRING_length(ip);
    if (n == 4) rp_buf_addf(out, "IP:%u.%u.%u.%u", p[0], p[1], p[2], p[3]);
    for (int i = 0; n == 16 && i < 16; i += 2)
        rp_buf_addf(out, "%s%x", i ? ":" : "IP:", (unsigned)p[i] << 8 | p[i + 1]);
}

/* A name with a NUL in it would be another one to whoever reads it as a text. */
static void put_text(struct rp_buf *out, const char *kind, const ASN1_IA5STRING *text)
{
    const char *p = (const char *)ASN1_STRING_get0_data(text);
    size_t n = (size_t)ASN1_STRING_length(text);
    if (n == 0 || memchr(p, 0, n)) return;
    rp_buf_add_z(out, kind);
    rp_buf_add(out, rp_str_of(p, n));
}

static void put_san(struct rp_buf *out, const GENERAL_NAME *name)
{
    switch (name->type) {
    case GEN_DNS: put_text(out, "DNS:", name->d.dNSName); break;
    case GEN_EMAIL: put_text(out, "email:", name->d.rfc822Name); break;
    case GEN_URI: put_text(out, "URI:", name->d.uniformResourceIdentifier); break;
    case GEN_IPADD: put_ip(out, name->d.iPAddress); break;
    default: break;
    }
}

bool rp_abi_x509_san(struct rp_host_face *f, const struct rp_x509 *c, uint32_t i)
{
    struct rp_host *h = rp_vm_of(f);
    GENERAL_NAMES *names = X509_get_ext_d2i(c->x, NID_subject_alt_name, NULL, NULL);
    bool there = names && i < (uint32_t)sk_GENERAL_NAME_num(names);
    rp_buf_clear(&h->text);
    if (there) put_san(&h->text, sk_GENERAL_NAME_value(names, (int)i));
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    f->out = rp_buf_str(&h->text);
    return there;
}

bool rp_abi_x509_is_for(const struct rp_x509 *c, const char *name, size_t n, bool is_ip)
{
    char text[NAME_MOST + 1];
    if (n == 0 || n > NAME_MOST || memchr(name, 0, n)) return false;
    memcpy(text, name, n);
    text[n] = '\0';
    /* RFC 9525: the common name says nothing; "*" stands for a whole label. */
    unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
    int same =
        is_ip ? X509_check_ip_asc(c->x, text, 0) : X509_check_host(c->x, text, n, flags, NULL);
    ERR_clear_error();
    return same == 1;
}

/* ---- verifying ------------------------------------------------------------------------------- */

struct rp_x509_store *rp_abi_x509_store_new(struct rp_host_face *f, const char *p, size_t n)
{
    if (n > TEXT_MOST) return no(f, "the text is too long");
    BIO *bio = BIO_new_mem_buf(p, (int)n);
    struct rp_x509_store *s = rp_alloc(sizeof *s);
    s->store = X509_STORE_new();
    for (X509 *x; bio && s->store && s->n < CERTS_MOST;) {
        x = PEM_read_bio_X509(bio, NULL, no_password, NULL);
        if (!x) break;
        if (X509_STORE_add_cert(s->store, x) == 1) s->n++;
        X509_free(x);
    }
    BIO_free(bio);
    ERR_clear_error();
    if (s->n > 0) return s;
    rp_abi_x509_store_free(s);
    return no(f, "no certificate in it");
}

void rp_abi_x509_store_free(struct rp_x509_store *s)
{
    X509_STORE_free(s->store);
    rp_free(s);
}

static int purpose_of(const char *name)
{
    if (strcmp(name, "server") == 0) return X509_PURPOSE_SSL_SERVER;
    if (strcmp(name, "client") == 0) return X509_PURPOSE_SSL_CLIENT;
    return X509_PURPOSE_ANY;
}

static STACK_OF(X509) * chain_of(const char *p, size_t n)
{
    STACK_OF(X509) *list = sk_X509_new_null();
    BIO *bio = n && n <= TEXT_MOST ? BIO_new_mem_buf(p, (int)n) : NULL;
    for (int i = 0; bio && list && i < DEPTH_MOST; i++) {
        X509 *x = PEM_read_bio_X509(bio, NULL, no_password, NULL);
        if (!x) break;
        if (sk_X509_push(list, x) == 0) X509_free(x);
    }
    BIO_free(bio);
    return list;
}

rp_err rp_abi_x509_verify(struct rp_host_face *f, const struct rp_x509 *c,
                          const struct rp_x509_store *s, const char *chain, size_t chain_n,
                          const char *purpose, double time)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *between = chain_of(chain, chain_n);
    rp_err e = RP_E_INTERNAL;
    f->out = RP_STR("no memory");
    if (ctx && between && X509_STORE_CTX_init(ctx, s->store, c->x, between) == 1) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_depth(param, DEPTH_MOST);
        X509_VERIFY_PARAM_set_time(param, (time_t)time);
        (void)X509_VERIFY_PARAM_set_purpose(param, purpose_of(purpose)); /* all three are known */
        e = X509_verify_cert(ctx) == 1 ? RP_OK : RP_END;
        f->out = rp_str_z(X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    }
    X509_STORE_CTX_free(ctx);
    sk_X509_pop_free(between, X509_free);
    ERR_clear_error();
    return e;
}
