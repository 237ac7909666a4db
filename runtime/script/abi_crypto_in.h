/* SPDX-License-Identifier: MIT
 *
 * abi_crypto_in: what the files of abi_crypto share, for the .c files of script/ only: algorithms
 * fetched once per VM.
 */
#ifndef RP_SCRIPT_ABI_CRYPTO_IN_H
#define RP_SCRIPT_ABI_CRYPTO_IN_H

#include <openssl/evp.h>

#include "script/vm.h"

enum { RP_DIGEST_BLOCK_MOST = 128, RP_DIGEST_COUNT = 5, RP_AEAD_COUNT = 3 };

struct rp_vm_digest {
    EVP_MD *md[RP_DIGEST_COUNT];
    EVP_CIPHER *cipher[RP_AEAD_COUNT];
    EVP_MD_CTX *ctx;
    EVP_CIPHER_CTX *cipher_ctx; /* made at first use */
    size_t running;             /* index of the algorithm under way */
    bool with_key, failed;
    unsigned char outer_pad[RP_DIGEST_BLOCK_MOST];
    unsigned char result[RP_ABI_DIGEST_BYTES];
};

struct rp_vm_digest *rp_digest_of(struct rp_host *h);
/* Borrowed; NULL when there is no such algorithm. name: as in rp_abi_digest_begin. */
const EVP_MD *rp_digest_md(struct rp_host *h, const char *name);

/* A key of an OpenSSL key, which is taken over and may be NULL. NULL: out says why. */
struct rp_key *rp_key_new(struct rp_host_face *f, EVP_PKEY *pkey, bool is_private);
EVP_PKEY *rp_key_pkey(const struct rp_key *key); /* borrowed */

#endif
