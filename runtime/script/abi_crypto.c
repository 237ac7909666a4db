/* SPDX-License-Identifier: MIT
 *
 * abi_crypto: digests, HMAC, random bytes, comparison in constant time.
 *
 * The algorithms are fetched once per VM: looking one up by name costs more than a small digest.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/hash.h"
#include "base/random.h"
#include "script/vm.h"

static const struct {
    const char *name, *openssl_name;
    size_t block_bytes; /* of HMAC's padding (RFC 2104 §2) */
} ALGORITHMS[] = {
    {"sha1", "SHA1", 64},
    {"sha256", "SHA2-256", 64},
    {"sha384", "SHA2-384", 128},
    {"sha512", "SHA2-512", 128},
};
enum { ALGORITHM_COUNT = RP_COUNT(ALGORITHMS), BLOCK_MOST = 128 };

struct rp_vm_digest {
    EVP_MD *md[ALGORITHM_COUNT];
    EVP_MD_CTX *ctx;
    size_t running; /* index of the algorithm under way */
    bool with_key, failed;
    unsigned char outer_pad[BLOCK_MOST];
    unsigned char result[RP_ABI_DIGEST_BYTES];
};

static struct rp_vm_digest *digest_of(struct rp_host_face *f)
{
    struct rp_host *h = rp_vm_of(f);
    if (!h->digest) {
        h->digest = rp_alloc(sizeof *h->digest);
        h->digest->ctx = EVP_MD_CTX_new();
    }
    return h->digest;
}

void rp_digest_fini(struct rp_host *h)
{
    if (!h->digest) return;
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) EVP_MD_free(h->digest->md[i]);
    EVP_MD_CTX_free(h->digest->ctx);
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
    size_t i = 0;
    while (i < ALGORITHM_COUNT && strcmp(ALGORITHMS[i].name, alg) != 0) i++;
    if (i == ALGORITHM_COUNT) return RP_E_NOT_FOUND;
    if (!d->md[i]) d->md[i] = EVP_MD_fetch(NULL, ALGORITHMS[i].openssl_name, NULL);
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
