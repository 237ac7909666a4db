/* SPDX-License-Identifier: MIT
 *
 * abi_crypto: digests, HMAC, random bytes, comparison in constant time.
 *
 * The algorithms are fetched once per VM: looking one up by name costs more than a small digest.
 */
#include <openssl/crypto.h>

#include "base/hash.h"
#include "base/random.h"
#include "script/abi_crypto_in.h"

static const struct {
    const char *name, *openssl_name;
    size_t block_bytes; /* of HMAC's padding (RFC 2104 §2) */
} ALGORITHMS[] = {
    {"sha1", "SHA1", 64},        {"sha256", "SHA2-256", 64}, {"sha384", "SHA2-384", 128},
    {"sha512", "SHA2-512", 128}, {"md5", "MD5", 64}, /* broken; old protocols and file checks want it */
};
enum { ALGORITHM_COUNT = RP_COUNT(ALGORITHMS), BLOCK_MOST = RP_DIGEST_BLOCK_MOST };
_Static_assert((int)ALGORITHM_COUNT == (int)RP_DIGEST_COUNT, "a slot for each");

struct rp_vm_digest *rp_digest_of(struct rp_host *h)
{
    if (!h->digest) {
        h->digest = rp_alloc(sizeof *h->digest);
        *h->digest = (struct rp_vm_digest){.ctx = EVP_MD_CTX_new()};
    }
    return h->digest;
}

static struct rp_vm_digest *digest_of(struct rp_host_face *f)
{
    return rp_digest_of(rp_vm_of(f));
}

/* ALGORITHM_COUNT: unknown. It is fetched at its first use. */
static size_t find_algorithm(struct rp_vm_digest *d, const char *name)
{
    size_t i = 0;
    while (i < ALGORITHM_COUNT && strcmp(ALGORITHMS[i].name, name) != 0) i++;
    if (i < ALGORITHM_COUNT && !d->md[i])
        d->md[i] = EVP_MD_fetch(NULL, ALGORITHMS[i].openssl_name, NULL);
    return i;
}

const EVP_MD *rp_digest_md(struct rp_host *h, const char *name)
{
    struct rp_vm_digest *d = rp_digest_of(h);
    size_t i = find_algorithm(d, name);
    return i < ALGORITHM_COUNT ? d->md[i] : NULL;
}

void rp_digest_fini(struct rp_host *h)
{
    if (!h->digest) return;
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) EVP_MD_free(h->digest->md[i]);
    for (size_t i = 0; i < RP_AEAD_COUNT; i++) EVP_CIPHER_free(h->digest->cipher[i]);
    EVP_MD_CTX_free(h->digest->ctx);
    EVP_CIPHER_CTX_free(h->digest->cipher_ctx);
    OPENSSL_cleanse(h->digest, sizeof *h->digest);
    rp_free(h->digest);
    h->digest = NULL;
}

static void hash_begin(struct rp_vm_digest *d)
{
    d->failed |= EVP_DigestInit_ex2(d->ctx, d->md[d->running], NULL) != 1;
}

static void hash_add(struct rp_vm_digest *d, const void *p, size_t n)
{
    d->failed |= EVP_DigestUpdate(d->ctx, p, n) != 1;
}

static size_t hash_end(struct rp_vm_digest *d)
{
    unsigned n = 0;
    d->failed |= EVP_DigestFinal_ex(d->ctx, d->result, &n) != 1;
    return n;
}

/* HMAC by its definition (RFC 2104 §2): H(K ^ opad, H(K ^ ipad, text)). */
static void begin_keyed(struct rp_vm_digest *d, const char *key, size_t key_n)
{
    size_t block = ALGORITHMS[d->running].block_bytes;
    unsigned char inner[BLOCK_MOST] = {0};
    if (key_n > block) {
        hash_begin(d);
        hash_add(d, key, key_n);
        memcpy(inner, d->result, hash_end(d));
    } else if (key_n) {
        memcpy(inner, key, key_n);
    }
    for (size_t i = 0; i < block; i++) {
        d->outer_pad[i] = inner[i] ^ 0x5c;
        inner[i] ^= 0x36;
    }
    hash_begin(d);
    hash_add(d, inner, block);
    OPENSSL_cleanse(inner, sizeof inner);
}

rp_err rp_abi_digest_begin(struct rp_host_face *f, const char *alg, const char *key, size_t key_n)
{
    struct rp_vm_digest *d = digest_of(f);
    size_t i = find_algorithm(d, alg);
    if (i == ALGORITHM_COUNT) return RP_E_NOT_FOUND;
    d->running = i;
    d->with_key = key != NULL;
    d->failed = !d->md[i] || !d->ctx;
    if (d->failed) return RP_E_INTERNAL;
    if (key) begin_keyed(d, key, key_n);
    else hash_begin(d);
    return RP_OK;
}

void rp_abi_digest_add(struct rp_host_face *f, const char *p, size_t n)
{
    struct rp_vm_digest *d = digest_of(f);
    if (!d->failed) hash_add(d, p, n);
}

rp_err rp_abi_digest_end(struct rp_host_face *f)
{
    struct rp_vm_digest *d = digest_of(f);
    if (d->failed) return RP_E_INTERNAL;
    size_t n = hash_end(d);
    if (d->with_key) {
        unsigned char inner[RP_ABI_DIGEST_BYTES];
        memcpy(inner, d->result, n);
        hash_begin(d);
        hash_add(d, d->outer_pad, ALGORITHMS[d->running].block_bytes);
        hash_add(d, inner, n);
        n = hash_end(d);
    }
    f->out = rp_str_of((const char *)d->result, n);
    return d->failed ? RP_E_INTERNAL : RP_OK;
}

void rp_abi_random(char *out, size_t n)
{
    rp_random_bytes(out, n);
}

bool rp_abi_equal(const char *a, const char *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

double rp_abi_hash(const char *p, size_t n)
{
    /* A fixed key: instances and releases agree on who falls into which share. */
    static const struct rp_hash_key KEY = {0x72702e686173682eULL, 0x6b65792e66697865ULL};
    return (double)(rp_hash_keyed(&KEY, rp_str_of(p, n)) >> 12);
}

/* Lamping, Veach 2014, "A fast, minimal memory, consistent hash algorithm". */
uint32_t rp_abi_jump(const char *p, size_t n, uint32_t buckets)
{
    uint64_t key = (uint64_t)rp_abi_hash(p, n);
    int64_t at = -1, next = 0;
    while (next < (int64_t)buckets) {
        at = next;
        key = key * 2862933555777941757u + 1;
        next = (int64_t)((double)(at + 1) * ((double)(1LL << 31) / (double)((key >> 33) + 1)));
    }
    return (uint32_t)at;
}
