/* SPDX-License-Identifier: MIT
 *
 * abi_crypto_aead: AES-GCM (NIST SP 800-38D) and ChaCha20-Poly1305 (RFC 8439).
 */
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "script/abi_crypto_in.h"

enum { NONCE = 12, TAG = 16, TEXT_MOST = 8 << 20 };

static const struct {
    const char *name, *openssl_name;
    size_t key_bytes;
} CIPHERS[RP_AEAD_COUNT] = {
    {"aes-128-gcm", "AES-128-GCM", 16},
    {"aes-256-gcm", "AES-256-GCM", 32},
    {"chacha20-poly1305", "ChaCha20-Poly1305", 32},
};

struct job {
    bool seal;
    rp_str key, nonce, text, aad;
};

static const unsigned char *bytes_of(rp_str s)
{
    return (const unsigned char *)s.ptr;
}

/* text and tag; out has room for text.len + TAG. */
static bool run(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const struct job *j,
                unsigned char *out, size_t *out_n)
{
    int n = 0, rest = 0, seal = j->seal;
    size_t body = seal ? j->text.len : j->text.len - TAG;
    unsigned char tag[TAG];
    if (!seal) memcpy(tag, j->text.ptr + body, TAG);
    bool ok =
        EVP_CipherInit_ex2(ctx, cipher, bytes_of(j->key), bytes_of(j->nonce), seal, NULL) == 1;
    if (ok && !seal) ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1;
    if (ok && j->aad.len)
        ok = EVP_CipherUpdate(ctx, NULL, &n, bytes_of(j->aad), (int)j->aad.len) == 1;
    n = 0;
    if (ok && body) ok = EVP_CipherUpdate(ctx, out, &n, bytes_of(j->text), (int)body) == 1;
    ok = ok && EVP_CipherFinal_ex(ctx, out + n, &rest) == 1;
    *out_n = (size_t)(n + rest);
    if (ok && seal) {
        ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, out + *out_n) == 1;
        *out_n += TAG;
    }
    return ok;
}

rp_err rp_abi_aead(struct rp_host_face *f, bool seal, const char *alg, const char *key,
                   size_t key_n, const char *nonce, size_t nonce_n, const char *text, size_t n,
                   const char *aad, size_t aad_n)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_vm_digest *d = rp_digest_of(h);
    size_t i = 0;
    while (i < RP_COUNT(CIPHERS) && strcmp(CIPHERS[i].name, alg) != 0) i++;
    if (i == RP_COUNT(CIPHERS)) return RP_E_NOT_FOUND;
    if (key_n != CIPHERS[i].key_bytes || nonce_n != NONCE) return RP_E_INVALID;
    if (n > TEXT_MOST || aad_n > TEXT_MOST) return RP_E_CAP;
    if (!seal && n < TAG) return RP_END;
    if (!d->cipher[i]) d->cipher[i] = EVP_CIPHER_fetch(NULL, CIPHERS[i].openssl_name, NULL);
    if (!d->cipher_ctx) d->cipher_ctx = EVP_CIPHER_CTX_new();
    rp_arena_reset(&h->scratch);
    unsigned char *out = rp_arena_alloc(&h->scratch, n + TAG);
    if (!d->cipher[i] || !d->cipher_ctx || !out) return RP_E_INTERNAL;
    struct job job = {seal, rp_str_of(key, key_n), rp_str_of(nonce, nonce_n), rp_str_of(text, n),
                      rp_str_of(aad, aad_n)};
    size_t out_n = 0;
    bool ok = run(d->cipher_ctx, d->cipher[i], &job, out, &out_n);
    EVP_CIPHER_CTX_reset(d->cipher_ctx); /* forgets the key */
    ERR_clear_error();
    if (!ok) {
        OPENSSL_cleanse(out, n + TAG); /* text that was not authenticated */
        return seal ? RP_E_INTERNAL : RP_END;
    }
    f->out = rp_str_of((const char *)out, out_n);
    return RP_OK;
}
