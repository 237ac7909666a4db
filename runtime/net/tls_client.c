/* SPDX-License-Identifier: MIT
 *
 * tls_client: see tls_client.h. RFC 9525 §6: the name that was asked for is the one that is checked,
 * never one that a server offers.
 */
#include "net/tls_client.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "base/mem.h"
#include "net/tls_in.h"

enum { NAME_BYTES = 256 };

struct rp_tls_client {
    uint32_t refs;
    bool verify;
    SSL_CTX *ctx;
    char sni[NAME_BYTES], name[NAME_BYTES]; /* empty: the peer's */
    uint8_t id[RP_TLS_ID_BYTES];            /* of everything but the peer's name */
};

SSL_CTX *rp_tls_client_ctx(const struct rp_tls_client *c)
{
    return c->ctx;
}

/* ---- identity ------------------------------------------------------------------------------ */

static void digest_text(EVP_MD_CTX *md, rp_str s)
{
    uint64_t n = s.len;
    RP_CHECK(EVP_DigestUpdate(md, &n, sizeof n) == 1 && EVP_DigestUpdate(md, s.ptr, s.len) == 1);
}

static void make_id(struct rp_tls_client *c, const struct rp_tls_client_rules *r)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t numbers[] = {r->base.profile, r->base.versions, r->base.depth, r->verify};
    RP_CHECK(md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
    digest_text(md, rp_str_of((const char *)numbers, sizeof numbers));
    digest_text(md, r->base.alpn);
    digest_text(md, r->base.cas);
    digest_text(md, r->sni);
    digest_text(md, r->name);
    digest_text(md, r->cert_pem);
    digest_text(md, r->key_pem);
    for (uint32_t i = 0; i < r->base.crls_n; i++) digest_text(md, r->base.crls[i]);
    RP_CHECK(EVP_DigestFinal_ex(md, c->id, NULL) == 1);
    EVP_MD_CTX_free(md);
}

void rp_tls_client_id(const struct rp_tls_client *c, rp_str peer, uint8_t id[RP_TLS_ID_BYTES])
{
    char all[RP_TLS_ID_BYTES + NAME_BYTES];
    size_t n = RP_MIN(peer.len, (size_t)NAME_BYTES);
    memcpy(all, c->id, sizeof c->id);
    if (n) memcpy(all + sizeof c->id, peer.ptr, n);
    rp_tls_digest(rp_str_of(all, sizeof c->id + n), id);
}

bool rp_tls_client_has_name(const struct rp_tls_client *c)
{
    return c->name[0] || c->sni[0];
}

/* ---- one connection ------------------------------------------------------------------------ */

static bool is_address(const char *name)
{
    uint8_t ip[16];
    return inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1;
}

/* rp_str as text; cut at the room, which no name reaches (conf checks). */
static void copy_name(char out[NAME_BYTES], rp_str s)
{
    size_t n = RP_MIN(s.len, (size_t)NAME_BYTES - 1);
    if (n > 0 && s.ptr[n - 1] == '.') n--;
    if (n) memcpy(out, s.ptr, n);
    out[n] = 0;
}

void rp_tls_client_dress(const struct rp_tls_client *c, SSL *ssl, rp_str peer)
{
    char own[NAME_BYTES];
    copy_name(own, peer);
    const char *sni = c->sni[0] ? c->sni : own;
    const char *name = c->name[0] ? c->name : sni;
    /* RFC 6066 §3: literal addresses are not sent. */
    if (sni[0] && !is_address(sni)) RP_CHECK(SSL_set_tlsext_host_name(ssl, sni));
    if (!c->verify) return;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    /* RFC 9525 §6.3, §7.1: a wildcard is a whole label, and a subject's common name is no name. */
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    bool set = is_address(name) ? X509_VERIFY_PARAM_set1_ip_asc(param, name)
                                : X509_VERIFY_PARAM_set1_host(param, name, 0);
    RP_CHECK(set && name[0]); /* no name would mean: any certificate */
}

/* ---- life ---------------------------------------------------------------------------------- */

/* The session for the next connection to the same peer. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct rp_tls *t = SSL_get_app_data(ssl);
    if (!t || !t->memory) return 0;
    SSL_SESSION_free(t->memory->session);
    t->memory->session = session;
    return 1; /* ours now */
}

static bool trust(struct rp_tls_client *c, const struct rp_tls_client_rules *r, const char **why)
{
    c->verify = r->verify;
    SSL_CTX_set_verify(c->ctx, r->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (r->base.depth) SSL_CTX_set_verify_depth(c->ctx, r->base.depth);
    if (!r->verify) return true;
    X509_STORE *roots = rp_tls_roots_read(r->base.cas, why);
    bool good = roots && rp_tls_use_crls(roots, &r->base, why);
    if (good) SSL_CTX_set_cert_store(c->ctx, roots); /* own */
    else X509_STORE_free(roots);
    return good;
}

static bool appear(struct rp_tls_client *c, const struct rp_tls_client_rules *r, const char **why)
{
    struct rp_tls_pair pair;
    struct rp_tls_decoder decoder = {NULL, NULL};
    if (r->cert_pem.len == 0) return true;
    bool read = rp_tls_pair_read(&decoder, r->cert_pem, r->key_pem, &pair, why);
    rp_tls_decoder_fini(&decoder);
    if (!read) return false;
    bool good = SSL_CTX_use_cert_and_key(c->ctx, pair.cert, pair.key, pair.chain, 1) == 1;
    if (!good) *why = rp_tls_reason();
    rp_tls_pair_free(&pair);
    return good;
}

static bool dress_ctx(struct rp_tls_client *c, const struct rp_tls_client_rules *r,
                      const char **why)
{
    const rp_str alpn = r->base.alpn;
    *why = "OpenSSL refuses the settings";
    if (!rp_tls_apply_profile(c->ctx, &r->base)) return false;
    if (alpn.len &&
        SSL_CTX_set_alpn_protos(c->ctx, (const unsigned char *)alpn.ptr, (unsigned)alpn.len) != 0)
        return false;
    (void)SSL_CTX_set_session_cache_mode(c->ctx,
                                         SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ctx, on_session);
    return trust(c, r, why) && appear(c, r, why);
}

struct rp_tls_client *rp_tls_client_new(const struct rp_tls_client_rules *rules,
                                        char why[RP_TLS_WHY_BYTES])
{
    struct rp_tls_client *c = rp_alloc(sizeof *c);
    const char *words = "OpenSSL cannot make a context";
    c->refs = 1;
    copy_name(c->sni, rules->sni);
    copy_name(c->name, rules->name);
    make_id(c, rules);
    c->ctx = SSL_CTX_new(TLS_client_method());
    if (!c->ctx || !dress_ctx(c, rules, &words)) {
        snprintf(why, RP_TLS_WHY_BYTES, "%s", words);
        rp_tls_client_drop(&c);
    }
    ERR_clear_error();
    return c;
}

struct rp_tls_client *rp_tls_client_hold(struct rp_tls_client *c)
{
    c->refs++;
    return c;
}

void rp_tls_client_drop(struct rp_tls_client **where)
{
    struct rp_tls_client *c = *where;
    *where = NULL;
    if (!c || --c->refs > 0) return;
    SSL_CTX_free(c->ctx);
    rp_free(c);
}
