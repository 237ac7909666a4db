/* SPDX-License-Identifier: MIT
 *
 * abi_crypto_key: keys from PEM and from numbers, signatures as JWS has them (RFC 7518 §3).
 *
 * An algorithm is legal for one kind of key only, so a token cannot choose how a key is used. What
 * OpenSSL notes of failures is thrown away: its list is the thread's, and TLS reads it, too.
 */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "script/abi_crypto_in.h"

enum {
    RSA_BITS_LEAST = 2048, /* RFC 7518 §3.3 */
    RSA_BITS_MOST = 8192,  /* what verifies must not cost milliseconds */
    COORD_MOST = 66,       /* of P-521 */
    PEM_MOST = 64 * 1024,
    RSA_PART_MOST = RSA_BITS_MOST / 8 + 1,
    SIGNED_MOST = 8 << 20, /* bytes signed at once */
};

struct rp_key {
    EVP_PKEY *pkey;
    uint32_t kind;
    bool is_private;
};

static const struct alg {
    const char *name;
    uint32_t kind;
    const char *md; /* NULL: the algorithm has its own */
    bool pss;
} ALGS[] = {
    {"RS256", RP_KEY_RSA, "sha256", false},  {"RS384", RP_KEY_RSA, "sha384", false},
    {"RS512", RP_KEY_RSA, "sha512", false},  {"PS256", RP_KEY_RSA, "sha256", true},
    {"PS384", RP_KEY_RSA, "sha384", true},   {"PS512", RP_KEY_RSA, "sha512", true},
    {"ES256", RP_KEY_P256, "sha256", false}, {"ES384", RP_KEY_P384, "sha384", false},
    {"ES512", RP_KEY_P521, "sha512", false}, {"EdDSA", RP_KEY_ED25519, NULL, false},
};

static const struct curve {
    uint32_t kind;
    const char *name, *other_name; /* OpenSSL says the one or the other */
    size_t coord;
} CURVES[] = {
    {RP_KEY_P256, "P-256", "prime256v1", 32},
    {RP_KEY_P384, "P-384", "secp384r1", 48},
    {RP_KEY_P521, "P-521", "secp521r1", COORD_MOST},
};

static const struct curve *curve_of(uint32_t kind)
{
    for (size_t i = 0; i < RP_COUNT(CURVES); i++)
        if (CURVES[i].kind == kind) return &CURVES[i];
    return NULL;
}

static void *no(struct rp_host_face *f, const char *why)
{
    f->out = rp_str_z(why);
    ERR_clear_error();
    return NULL;
}

/* ---- making --------------------------------------------------------------------------------- */

static uint32_t kind_of(EVP_PKEY *pkey)
{
    char group[32];
    if (EVP_PKEY_is_a(pkey, "RSA")) return RP_KEY_RSA;
    if (EVP_PKEY_is_a(pkey, "ED25519")) return RP_KEY_ED25519;
    if (!EVP_PKEY_is_a(pkey, "EC")) return 0;
    if (EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) != 1) return 0;
    for (size_t i = 0; i < RP_COUNT(CURVES); i++)
        if (strcmp(group, CURVES[i].name) == 0 || strcmp(group, CURVES[i].other_name) == 0)
            return CURVES[i].kind;
    return 0;
}

struct rp_key *rp_key_new(struct rp_host_face *f, EVP_PKEY *pkey, bool is_private)
{
    if (!pkey) return no(f, "not a key");
    uint32_t kind = kind_of(pkey);
    int bits = EVP_PKEY_get_bits(pkey);
    const char *why = NULL;
    if (!kind) why = "not a key of RSA, EC (P-256, P-384, P-521) or Ed25519";
    else if (kind == RP_KEY_RSA && bits < RSA_BITS_LEAST) why = "an RSA key of less than 2048 bits";
    else if (kind == RP_KEY_RSA && bits > RSA_BITS_MOST) why = "an RSA key of more than 8192 bits";
    if (why) {
        EVP_PKEY_free(pkey);
        return no(f, why);
    }
    struct rp_key *key = rp_alloc(sizeof *key);
    *key = (struct rp_key){.pkey = pkey, .kind = kind, .is_private = is_private};
    ERR_clear_error();
    return key;
}

/* Without this OpenSSL would ask on the terminal. */
static int no_password(char *out, int n, int writing, void *arg)
{
    (void)out, (void)n, (void)writing, (void)arg;
    return -1;
}

static EVP_PKEY *read_public(BIO *bio)
{
    EVP_PKEY *pkey = PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL);
    if (pkey || BIO_reset(bio) != 1) return pkey;
    X509 *cert = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    pkey = cert ? X509_get_pubkey(cert) : NULL;
    X509_free(cert);
    return pkey;
}

struct rp_key *rp_abi_key_pem(struct rp_host_face *f, const char *p, size_t n)
{
    if (n > PEM_MOST) return no(f, "the text is too long for a key");
    BIO *bio = BIO_new_mem_buf(p, (int)n);
    if (!bio) return no(f, "no memory");
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    bool is_private = pkey != NULL;
    if (!pkey && BIO_reset(bio) == 1) pkey = read_public(bio);
    BIO_free(bio);
    return rp_key_new(f, pkey, is_private);
}

static BIGNUM *number(rp_str bytes)
{
    return BN_bin2bn((const unsigned char *)bytes.ptr, (int)bytes.len, NULL);
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *bld, bool is_private)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    int what = is_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY;
    bool made = params && ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
                EVP_PKEY_fromdata(ctx, &pkey, what, params) == 1;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return made ? pkey : NULL;
}

static EVP_PKEY *rsa_from(rp_str n, rp_str e, rp_str d)
{
    if (n.len > RSA_PART_MOST || e.len > 8 || d.len > RSA_PART_MOST) return NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    BIGNUM *bn = number(n), *be = number(e), *bd = d.len ? number(d) : NULL;
    bool ok = bld && bn && be && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) &&
              OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) &&
              (!bd || OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_D, bd));
    /* e = 1 verifies whatever it is given. */
    ok = ok && BN_is_odd(be) && !BN_is_one(be) && BN_is_odd(bn);
    EVP_PKEY *pkey = ok ? from_params("RSA", bld, d.len > 0) : NULL;
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn);
    BN_free(be);
    BN_clear_free(bd);
    return pkey;
}

/* On the curve, and of a private key both halves belong together? */
static bool is_sound(EVP_PKEY *pkey, bool is_private)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool ok = ctx && EVP_PKEY_public_check(ctx) == 1 &&
              (!is_private || EVP_PKEY_pairwise_check(ctx) == 1);
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* RFC 7518 §6.2.1.2: coordinates have the full length of the field. */
static EVP_PKEY *ec_from(const struct curve *c, rp_str x, rp_str y, rp_str d)
{
    unsigned char point[1 + 2 * COORD_MOST] = {4}; /* uncompressed */
    if (x.len != c->coord || y.len != c->coord || (d.len && d.len != c->coord)) return NULL;
    memcpy(point + 1, x.ptr, x.len);
    memcpy(point + 1 + x.len, y.ptr, y.len);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    BIGNUM *bd = d.len ? number(d) : NULL;
    bool ok =
        bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, c->name, 0) &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * c->coord) &&
        (!bd || OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, bd));
    EVP_PKEY *pkey = ok ? from_params("EC", bld, d.len > 0) : NULL;
    OSSL_PARAM_BLD_free(bld);
    BN_clear_free(bd);
    if (pkey && is_sound(pkey, d.len > 0)) return pkey;
    EVP_PKEY_free(pkey);
    return NULL;
}

static EVP_PKEY *ed25519_from(rp_str x, rp_str d)
{
    enum { BYTES = 32 };
    unsigned char public[BYTES];
    size_t n = sizeof public;
    if (x.len != BYTES || (d.len && d.len != BYTES)) return NULL;
    const unsigned char *raw = (const unsigned char *)(d.len ? d.ptr : x.ptr);
    EVP_PKEY *pkey = d.len ? EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw, BYTES)
                           : EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, BYTES);
    bool same = pkey && EVP_PKEY_get_raw_public_key(pkey, public, &n) == 1 && n == BYTES &&
                memcmp(public, x.ptr, BYTES) == 0;
    if (same) return pkey;
    EVP_PKEY_free(pkey);
    return NULL;
}

struct rp_key *rp_abi_key_parts(struct rp_host_face *f, uint32_t kind, const char *a, size_t a_n,
                                const char *b, size_t b_n, const char *d, size_t d_n)
{
    rp_str first = rp_str_of(a, a_n), second = rp_str_of(b, b_n), secret = rp_str_of(d, d_n);
    EVP_PKEY *pkey = NULL;
    switch ((enum rp_abi_key_kind)kind) {
    case RP_KEY_RSA: pkey = rsa_from(first, second, secret); break;
    case RP_KEY_P256:
    case RP_KEY_P384:
    case RP_KEY_P521: pkey = ec_from(curve_of(kind), first, second, secret); break;
    case RP_KEY_ED25519: pkey = ed25519_from(first, secret); break;
    }
    return rp_key_new(f, pkey, d_n > 0);
}

void rp_abi_key_free(struct rp_key *key)
{
    if (!key) return;
    EVP_PKEY_free(key->pkey);
    rp_free(key);
}

EVP_PKEY *rp_key_pkey(const struct rp_key *key)
{
    return key->pkey;
}

uint32_t rp_abi_key_kind(const struct rp_key *key)
{
    return key->kind;
}

bool rp_abi_key_is_private(const struct rp_key *key)
{
    return key->is_private;
}

/* ---- signatures ----------------------------------------------------------------------------- */

static rp_err find_alg(const struct rp_key *key, const char *name, const struct alg **out)
{
    for (size_t i = 0; i < RP_COUNT(ALGS); i++) {
        if (strcmp(ALGS[i].name, name) != 0) continue;
        *out = &ALGS[i];
        return ALGS[i].kind == key->kind ? RP_OK : RP_E_INVALID;
    }
    return RP_E_NOT_FOUND;
}

/* RFC 7518 §3.5: the salt is as long as the hash, MGF1 uses the same hash. */
static bool set_padding(EVP_PKEY_CTX *ctx, const struct alg *alg)
{
    if (alg->kind != RP_KEY_RSA) return true;
    if (!alg->pss) return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) > 0;
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0;
}

/* JWS writes r and s in full length one after the other (RFC 7518 §3.4), OpenSSL as DER. */
static int to_der(const struct curve *c, rp_str sig, unsigned char **der)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = number(rp_str_of(sig.ptr, c->coord));
    BIGNUM *s = number(rp_str_of(sig.ptr + c->coord, c->coord));
    int n = -1;
    if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
        n = i2d_ECDSA_SIG(pair, der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(pair);
    return n;
}

static bool from_der(const struct curve *c, const unsigned char *der, size_t n, char *out)
{
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)n);
    unsigned char *to = (unsigned char *)out;
    int coord = (int)c->coord;
    bool ok = pair && BN_bn2binpad(ECDSA_SIG_get0_r(pair), to, coord) == coord &&
              BN_bn2binpad(ECDSA_SIG_get0_s(pair), to + coord, coord) == coord;
    ECDSA_SIG_free(pair);
    return ok;
}

static const EVP_MD *md_of(struct rp_host *h, const struct alg *alg)
{
    return alg->md ? rp_digest_md(h, alg->md) : NULL;
}

static rp_err sign(struct rp_host_face *f, EVP_MD_CTX *ctx, const struct rp_key *key,
                   const struct alg *alg, rp_str text)
{
    struct rp_host *h = rp_vm_of(f);
    EVP_PKEY_CTX *pctx = NULL;
    size_t n = (size_t)EVP_PKEY_get_size(key->pkey);
    rp_arena_reset(&h->scratch);
    unsigned char *sig = rp_arena_alloc(&h->scratch, n + 2 * (size_t)COORD_MOST);
    bool ok = sig && EVP_DigestSignInit(ctx, &pctx, md_of(h, alg), NULL, key->pkey) == 1 &&
              set_padding(pctx, alg) &&
              EVP_DigestSign(ctx, sig, &n, (const unsigned char *)text.ptr, text.len) == 1;
    const struct curve *c = curve_of(key->kind);
    if (ok && c) {
        char *raw = (char *)sig + EVP_PKEY_get_size(key->pkey);
        ok = from_der(c, sig, n, raw);
        f->out = rp_str_of(raw, 2 * c->coord);
    } else if (ok) {
        f->out = rp_str_of((const char *)sig, n);
    }
    return ok ? RP_OK : RP_E_INTERNAL;
}

rp_err rp_abi_key_sign(struct rp_host_face *f, struct rp_key *key, const char *name, const char *p,
                       size_t n)
{
    const struct alg *alg = NULL;
    rp_err e = find_alg(key, name, &alg);
    if (e != RP_OK) return e;
    if (!key->is_private) return RP_E_INVALID;
    if (n > SIGNED_MOST) return RP_E_CAP;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    e = ctx ? sign(f, ctx, key, alg, rp_str_of(p, n)) : RP_E_NOMEM;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return e;
}

static bool verify(struct rp_host *h, EVP_MD_CTX *ctx, const struct rp_key *key,
                   const struct alg *alg, rp_str text, const unsigned char *sig, size_t sig_n)
{
    EVP_PKEY_CTX *pctx = NULL;
    return EVP_DigestVerifyInit(ctx, &pctx, md_of(h, alg), NULL, key->pkey) == 1 &&
           set_padding(pctx, alg) &&
           EVP_DigestVerify(ctx, sig, sig_n, (const unsigned char *)text.ptr, text.len) == 1;
}

rp_err rp_abi_key_verify(struct rp_host_face *f, struct rp_key *key, const char *name,
                         const char *p, size_t n, const char *sig, size_t sig_n)
{
    const struct alg *alg = NULL;
    rp_err e = find_alg(key, name, &alg);
    if (e != RP_OK) return e;
    const struct curve *c = curve_of(key->kind);
    size_t wanted = c ? 2 * c->coord : (size_t)EVP_PKEY_get_size(key->pkey);
    if (n > SIGNED_MOST) return RP_E_CAP;
    if (sig_n != wanted) return RP_END;
    unsigned char *der = NULL;
    int der_n = c ? to_der(c, rp_str_of(sig, sig_n), &der) : 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const unsigned char *bytes = c ? der : (const unsigned char *)sig;
    bool ok = ctx && der_n >= 0 &&
              verify(rp_vm_of(f), ctx, key, alg, rp_str_of(p, n), bytes, c ? (size_t)der_n : sig_n);
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    ERR_clear_error();
    return ok ? RP_OK : RP_END;
}
