/* SPDX-License-Identifier: MIT
 *
 * abi_crypto_jwe: what encrypted tokens (RFC 7516) are made of beside AES-GCM: key wrapping,
 * RSA-OAEP with SHA-256, key agreement on curves, AES-CBC.
 */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include "base/mem.h"
#include "script/abi_crypto_in.h"

enum {
    TEXT_MOST = 1 << 20,
    BLOCK = 16,
    WRAP_EXTRA = 8,
    KEY_MOST = 64, /* bytes of a key that is wrapped */
    COORD_MOST = 66,
    RSA_MOST = 1024, /* bytes of what RSA makes */
};

static const unsigned char *bytes_of(const char *p)
{
    return (const unsigned char *)p;
}

/* Into out, from the VM's scratch; NULL: no room. */
static unsigned char *room(struct rp_host_face *f, size_t n)
{
    struct rp_host *h = rp_vm_of(f);
    rp_arena_reset(&h->scratch);
    return rp_arena_alloc(&h->scratch, n);
}

static rp_err give(struct rp_host_face *f, bool ok, unsigned char *out, size_t room_n, size_t n)
{
    ERR_clear_error();
    if (!ok) {
        OPENSSL_cleanse(out, room_n);
        return RP_END;
    }
    f->out = rp_str_of((const char *)out, n);
    return RP_OK;
}

static bool run_cipher(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, bool seal, const char *key,
                       const char *iv, const char *text, size_t n, unsigned char *out,
                       size_t *out_n)
{
    int first = 0, rest = 0;
    bool ok = ctx && EVP_CipherInit_ex2(ctx, cipher, bytes_of(key), iv ? bytes_of(iv) : NULL, seal,
                                        NULL) == 1;
    ok = ok && EVP_CipherUpdate(ctx, out, &first, bytes_of(text), (int)n) == 1;
    ok = ok && EVP_CipherFinal_ex(ctx, out + first, &rest) == 1;
    *out_n = (size_t)(first + rest);
    return ok;
}

rp_err rp_abi_cbc(struct rp_host_face *f, bool seal, const char *key, size_t key_n, const char *iv,
                  size_t iv_n, const char *text, size_t n)
{
    if (key_n != 16 || iv_n != BLOCK) return RP_E_INVALID;
    if (n > TEXT_MOST) return RP_E_CAP;
    size_t room_n = n + BLOCK, out_n = 0;
    unsigned char *out = room(f, room_n);
    if (!out) return RP_E_CAP;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok = run_cipher(ctx, EVP_aes_128_cbc(), seal, key, iv, text, n, out, &out_n);
    EVP_CIPHER_CTX_free(ctx);
    return give(f, ok, out, room_n, out_n);
}

rp_err rp_abi_keywrap(struct rp_host_face *f, bool wrap, const char *kek, size_t kek_n,
                      const char *key, size_t n)
{
    const EVP_CIPHER *cipher = kek_n == 16   ? EVP_aes_128_wrap()
                               : kek_n == 32 ? EVP_aes_256_wrap()
                                             : NULL;
    if (!cipher) return RP_E_INVALID;
    if (n % 8 != 0 || n < 16 || n > KEY_MOST + WRAP_EXTRA) return RP_END;
    size_t room_n = KEY_MOST + 2 * WRAP_EXTRA + BLOCK, out_n = 0;
    unsigned char *out = room(f, room_n);
    if (!out) return RP_E_CAP;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx) EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    bool ok = run_cipher(ctx, cipher, wrap, kek, NULL, key, n, out, &out_n);
    EVP_CIPHER_CTX_free(ctx);
    return give(f, ok, out, room_n, out_n);
}

/* RFC 7518 §4.3: SHA-256, also for MGF1. */
rp_err rp_abi_oaep(struct rp_host_face *f, bool seal, struct rp_key *key, const char *text,
                   size_t n)
{
    EVP_PKEY *pkey = rp_key_pkey(key);
    if (rp_abi_key_kind(key) != RP_KEY_RSA || (!seal && !rp_abi_key_is_private(key)))
        return RP_E_INVALID;
    if (n > RSA_MOST) return RP_END;
    size_t out_n = RSA_MOST;
    unsigned char *out = room(f, RSA_MOST);
    if (!out) return RP_E_CAP;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool ok = ctx && (seal ? EVP_PKEY_encrypt_init(ctx) : EVP_PKEY_decrypt_init(ctx)) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
              EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) > 0 &&
              EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) > 0;
    if (ok && seal) ok = EVP_PKEY_encrypt(ctx, out, &out_n, bytes_of(text), n) == 1;
    else if (ok) ok = EVP_PKEY_decrypt(ctx, out, &out_n, bytes_of(text), n) == 1;
    EVP_PKEY_CTX_free(ctx);
    return give(f, ok, out, RSA_MOST, out_n);
}

rp_err rp_abi_ecdh(struct rp_host_face *f, struct rp_key *own, struct rp_key *other)
{
    uint32_t kind = rp_abi_key_kind(own);
    bool fits = kind == rp_abi_key_kind(other) && kind >= RP_KEY_P256 && kind <= RP_KEY_P521 &&
                rp_abi_key_is_private(own);
    if (!fits) return RP_E_INVALID;
    size_t out_n = COORD_MOST;
    unsigned char *out = room(f, COORD_MOST);
    if (!out) return RP_E_CAP;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, rp_key_pkey(own), NULL);
    bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 &&
              EVP_PKEY_derive_set_peer(ctx, rp_key_pkey(other)) == 1 &&
              EVP_PKEY_derive(ctx, out, &out_n) == 1;
    EVP_PKEY_CTX_free(ctx);
    return give(f, ok, out, COORD_MOST, out_n);
}

struct rp_key *rp_abi_key_draw(struct rp_host_face *f, uint32_t kind)
{
    const char *group = kind == RP_KEY_P256   ? "P-256"
                        : kind == RP_KEY_P384 ? "P-384"
                        : kind == RP_KEY_P521 ? "P-521"
                                              : NULL;
    return rp_key_new(f, group ? EVP_EC_gen(group) : NULL, true);
}

bool rp_abi_key_point(struct rp_host_face *f, struct rp_key *key)
{
    struct rp_host *h = rp_vm_of(f);
    unsigned char point[1 + 2 * COORD_MOST];
    size_t n = 0;
    if (EVP_PKEY_get_octet_string_param(rp_key_pkey(key), OSSL_PKEY_PARAM_PUB_KEY, point,
                                        sizeof point, &n) != 1 ||
        n < 3 || point[0] != 4) {
        ERR_clear_error();
        return false;
    }
    size_t coord = (n - 1) / 2;
    rp_buf_clear(&h->text);
    rp_buf_add(&h->text, rp_str_of((const char *)point + 1, 2 * coord));
    f->out = rp_str_head(rp_buf_str(&h->text), coord);
    f->out2 = rp_str_from(rp_buf_str(&h->text), coord);
    return true;
}
