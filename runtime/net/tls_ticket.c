/* SPDX-License-Identifier: MIT
 *
 * tls_ticket: seals and opens session tickets: AES-256-CBC and HMAC-SHA-256 in the construction of
 * RFC 5077 §4, with keys that all workers share.
 */
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "net/tls_in.h"

/* What OpenSSL makes of our answer. */
enum { FAILED = -1, NO_TICKET = 0, USED = 1, USED_RENEW = 2 };

static bool set_mac(EVP_MAC_CTX *mac, const struct rp_tls_key *key)
{
    char sha256[] = "SHA256";
    OSSL_PARAM params[3] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac,
                                          sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int seal(const struct rp_tls_key *key, unsigned char *name, unsigned char *iv,
                EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    memcpy(name, key->name, sizeof key->name);
    if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1) return FAILED;
    if (!EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv)) return FAILED;
    return set_mac(mac, key) ? USED : FAILED;
}

static int open_with(const struct rp_tls_key *key, bool renew, const unsigned char *iv,
                     EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    if (!set_mac(mac, key)) return FAILED;
    if (!EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv)) return FAILED;
    return renew ? USED_RENEW : USED;
}

int rp_tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int sealing)
{
    const struct rp_tls *t = SSL_get_app_data(ssl);
    const struct rp_tls_tickets *all = t ? t->tickets : NULL;
    if (!all || !all->ready) return NO_TICKET;
    if (sealing) return seal(&all->keys[RP_TLS_KEY_NOW], name, iv, cipher, mac);
    for (int i = 0; i < RP_TLS_KEYS; i++) {
        const struct rp_tls_key *key = &all->keys[i];
        if (CRYPTO_memcmp(name, key->name, sizeof key->name) != 0) continue;
        /* RFC 8446 §C.4: a ticket is for one connection, so each gives the next one. */
        bool renew = i == RP_TLS_KEY_LAST || SSL_version(ssl) >= TLS1_3_VERSION;
        return open_with(key, renew, iv, cipher, mac);
    }
    return NO_TICKET;
}
