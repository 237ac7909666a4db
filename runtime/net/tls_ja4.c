/* SPDX-License-Identifier: MIT
 *
 * tls_ja4: see tls_ja4.h. Reserved numbers (GREASE) are passed over wherever they stand.
 */
#include "net/tls_ja4.h"

#include <openssl/evp.h>
#include <stdlib.h>

enum {
    EXTENSION_SNI = 0,
    EXTENSION_ALPN = 16,
    CODES_MOST = RP_TLS_HELLO_MOST / 2, /* of any list: they lie in the message */
    COUNT_MOST = 99,
    HASH_CHARS = 12,
};

static const char HEX[] = "0123456789abcdef";

/* Numbers, as they are digested: four hex digits each, commas between. */
struct codes {
    uint32_t n;
    uint16_t list[CODES_MOST];
};

static void gather(struct codes *c, rp_str rest)
{
    c->n = 0;
    while (c->n < CODES_MOST && rp_tls_hello_code_next(&rest, &c->list[c->n])) c->n++;
}

static int compare(const void *a, const void *b)
{
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

static void sort(struct codes *c)
{
    qsort(c->list, c->n, sizeof c->list[0], compare);
}

/* ---- digests ------------------------------------------------------------------------------- */

static void digest_codes(EVP_MD_CTX *md, const struct codes *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        unsigned v = c->list[i];
        char text[] = {',', HEX[v >> 12], HEX[v >> 8 & 15], HEX[v >> 4 & 15], HEX[v & 15]};
        size_t from = i == 0;
        RP_CHECK(EVP_DigestUpdate(md, text + from, sizeof text - from));
    }
}

/* The first digits of the digest of one list, or of two with '_' between. */
static char *put_hash(char *out, const struct codes *one, const struct codes *two)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (one->n == 0) {
        memset(out, '0', HASH_CHARS);
        return out + HASH_CHARS;
    }
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    RP_CHECK(md && EVP_DigestInit_ex(md, EVP_sha256(), NULL));
    digest_codes(md, one);
    if (two && two->n) {
        RP_CHECK(EVP_DigestUpdate(md, "_", 1));
        digest_codes(md, two);
    }
    RP_CHECK(EVP_DigestFinal_ex(md, digest, NULL));
    EVP_MD_CTX_free(md);
    for (int i = 0; i < HASH_CHARS; i++)
        *out++ = HEX[i % 2 ? digest[i / 2] & 15 : digest[i / 2] >> 4];
    return out;
}

/* ---- the readable part --------------------------------------------------------------------- */

static const char *version_of(const struct rp_tls_hello *h)
{
    uint16_t most = 0, one;
    rp_str rest = h->versions;
    while (rp_tls_hello_code_next(&rest, &one)) most = RP_MAX(most, one);
    if (!h->versions.ptr) most = h->version;
    switch (most) {
    case 0x0304: return "13";
    case 0x0303: return "12";
    case 0x0302: return "11";
    case 0x0301: return "10";
    case 0x0300: return "s3";
    case 0x0002: return "s2";
    case 0xfeff: return "d1";
    case 0xfefd: return "d2";
    case 0xfefc: return "d3";
    default: return "00";
    }
}

static char *put_count(char *out, uint32_t n)
{
    n = RP_MIN(n, (uint32_t)COUNT_MOST);
    *out++ = (char)('0' + n / 10);
    *out++ = (char)('0' + n % 10);
    return out;
}

static bool is_plain(char ch)
{
    char low = rp_lower(ch);
    return (ch >= '0' && ch <= '9') || (low >= 'a' && low <= 'z');
}

/* First and last character of the first protocol; of its hex form when one of them is no letter or
 * digit. */
static char *put_alpn(char *out, rp_str rest)
{
    rp_str name;
    bool any = rp_tls_hello_alpn_next(&rest, &name);
    char first = any ? name.ptr[0] : '0', last = any ? name.ptr[name.len - 1] : '0';
    bool plain = is_plain(first) && is_plain(last);
    *out++ = plain ? first : HEX[(uint8_t)first >> 4];
    *out++ = plain ? last : HEX[(uint8_t)last & 15];
    return out;
}

void rp_tls_ja4_put(const struct rp_tls_hello *h, char out[RP_TLS_JA4_BYTES])
{
    struct codes ciphers, extensions, sigalgs;
    rp_str rest = h->extensions;
    uint32_t extensions_n = 0;
    uint16_t type;
    const char *version = version_of(h);
    gather(&ciphers, h->ciphers);
    gather(&sigalgs, h->sigalgs);
    sort(&ciphers);
    extensions.n = 0;
    while (rp_tls_hello_extension_next(&rest, &type)) {
        extensions_n++;
        if (type != EXTENSION_SNI && type != EXTENSION_ALPN) extensions.list[extensions.n++] = type;
    }
    sort(&extensions);
    char *at = out;
    *at++ = 't';
    *at++ = version[0];
    *at++ = version[1];
    *at++ = h->sni.ptr ? 'd' : 'i';
    at = put_alpn(put_count(put_count(at, ciphers.n), extensions_n), h->alpn);
    *at++ = '_';
    at = put_hash(at, &ciphers, NULL);
    *at++ = '_';
    at = put_hash(at, &extensions, &sigalgs);
    RP_CHECK(at == out + RP_TLS_JA4_BYTES);
}
