/* SPDX-License-Identifier: MIT
 *
 * tls_clients: whose certificates clients must show: of a whole server (the context's own settings),
 * or of those who ask for certain names.
 *
 * Names are decided by the bytes of the ClientHello, before OpenSSL looks at a session: one that began
 * under other rules must not open this connection. What was decided stays with the connection
 * (rp_tls_asked), for a client may ask for one name here and for another one in its requests.
 */
#include <stdio.h>

#include "base/mem.h"
#include "net/tls_in.h"

enum { NAME_BYTES = 256, SNI_HOST_NAME = 0 };

struct rp_tls_clients {
    uint32_t refs;
    uint8_t ask; /* enum rp_tls_ask */
    uint8_t depth;
    uint64_t id; /* of all of this; never 0 */
    X509_STORE *store;
    STACK_OF(X509_NAME) * names;
};

struct rp_tls_clients rp_tls_clients_none = {.refs = 1};

/* ---- pieces -------------------------------------------------------------------------------- */

int rp_tls_take_any(int verified, X509_STORE_CTX *store)
{
    (void)verified;
    (void)store;
    return 1; /* the result stays in the session: rp_tls_is_verified */
}

int rp_tls_ask_mode(unsigned ask)
{
    if (ask == RP_TLS_ASK_NONE) return SSL_VERIFY_NONE;
    return SSL_VERIFY_PEER | (ask == RP_TLS_ASK_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
}

STACK_OF(X509_NAME) * rp_tls_store_names(X509_STORE *roots)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    STACK_OF(X509) *all = X509_STORE_get1_all_certs(roots);
    RP_CHECK(names && all);
    for (int i = 0; i < sk_X509_num(all); i++) {
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(sk_X509_value(all, i)));
        RP_CHECK(name && sk_X509_NAME_push(names, name));
    }
    sk_X509_pop_free(all, X509_free);
    return names;
}

X509_STORE *rp_tls_clients_store(const struct rp_tls_rules *rules, const char **why)
{
    X509_STORE *roots = rules->cas.len ? rp_tls_roots_read(rules->cas, why) : X509_STORE_new();
    if (!roots) return NULL;
    if (rp_tls_use_crls(roots, rules, why)) return roots;
    X509_STORE_free(roots);
    return NULL;
}

void rp_tls_clients_digest(const struct rp_tls_rules *rules, uint8_t out[32])
{
    uint8_t cas[32];
    uint8_t all[2 * sizeof cas + 3];
    rp_tls_digest(rules->cas, cas);
    memcpy(all, cas, sizeof cas);
    all[sizeof cas] = rules->ask;
    all[sizeof cas + 1] = rules->depth;
    all[sizeof cas + 2] = rules->refuse;
    /* Who was revoked must not come back by a ticket. */
    if (rules->crls_n) rp_tls_crls_digest(rules, all + sizeof cas + 3);
    rp_tls_digest(rp_str_of((const char *)all, sizeof all - (rules->crls_n ? 0 : sizeof cas)), out);
}

/* ---- life ---------------------------------------------------------------------------------- */

struct rp_tls_clients *rp_tls_clients_new(const struct rp_tls_rules *rules,
                                          char why[RP_TLS_WHY_BYTES])
{
    const char *words = "clients' certificates need a CA";
    bool open = rules->ask == RP_TLS_ASK_NONE || rules->ask == RP_TLS_ASK_ANY;
    X509_STORE *store = open || rules->cas.len ? rp_tls_clients_store(rules, &words) : NULL;
    uint8_t id[32];
    ERR_clear_error();
    if (!store) {
        snprintf(why, RP_TLS_WHY_BYTES, "%s", words);
        return NULL;
    }
    struct rp_tls_clients *c = rp_alloc(sizeof *c);
    c->refs = 1;
    c->ask = rules->ask;
    c->depth = rules->depth;
    c->store = store;
    c->names = rp_tls_store_names(store);
    rp_tls_clients_digest(rules, id);
    memcpy(&c->id, id, sizeof c->id);
    c->id |= 1;
    return c;
}

struct rp_tls_clients *rp_tls_clients_hold(struct rp_tls_clients *c)
{
    c->refs++;
    return c;
}

void rp_tls_clients_drop(struct rp_tls_clients **where)
{
    struct rp_tls_clients *c = *where;
    *where = NULL;
    if (!c || --c->refs > 0) return;
    X509_STORE_free(c->store);
    sk_X509_NAME_pop_free(c->names, X509_NAME_free);
    rp_free(c);
}

uint64_t rp_tls_clients_id(const struct rp_tls_clients *c)
{
    return c->id;
}

/* ---- a handshake --------------------------------------------------------------------------- */

/* RFC 6066 §3: a list, of which the first host name counts; in lower case, without a final dot. */
static rp_str name_in_hello(SSL *ssl, char out[NAME_BYTES])
{
    const unsigned char *p = NULL;
    size_t n = 0, len;
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) || n < 5)
        return RP_STR_NONE;
    len = (size_t)p[3] << 8 | p[4];
    if (p[2] != SNI_HOST_NAME || len > n - 5) return RP_STR_NONE; /* OpenSSL refuses it */
    if (len > 0 && p[5 + len - 1] == '.') len--;
    if (len >= NAME_BYTES) return RP_STR_NONE;
    for (size_t i = 0; i < len; i++) out[i] = rp_lower((char)p[5 + i]);
    return rp_str_of(out, len);
}

/* A name without rules of its own stops the search: none of a wildcard above it are its. */
static struct rp_tls_clients *find(const struct rp_map *asked, rp_str name)
{
    struct rp_tls_clients *c = name.len ? rp_map_find(asked, name) : NULL;
    for (size_t at = 1; !c && at < name.len; at++)
        if (name.ptr[at] == '.') c = rp_map_find(asked, rp_str_from(name, at));
    return c == &rp_tls_clients_none ? NULL : c;
}

static void use(SSL *ssl, struct rp_tls *t, const struct rp_tls_clients *c)
{
    uint8_t all[32 + sizeof c->id], id[32];
    STACK_OF(X509_NAME) *names =
        sk_X509_NAME_deep_copy(c->names, (sk_X509_NAME_copyfunc)X509_NAME_dup, X509_NAME_free);
    memcpy(all, rp_tls_server_id(t->of), 32);
    memcpy(all + 32, &c->id, sizeof c->id);
    rp_tls_digest(rp_str_of((const char *)all, sizeof all), id);
    RP_CHECK(names && SSL_set_session_id_context(ssl, id, sizeof id) &&
             SSL_set1_verify_cert_store(ssl, c->store));
    SSL_set_client_CA_list(ssl, names); /* own */
    SSL_set_verify(ssl, rp_tls_ask_mode(c->ask), c->ask == RP_TLS_ASK_ANY ? rp_tls_take_any : NULL);
    if (c->depth) SSL_set_verify_depth(ssl, c->depth);
    t->asked = c->id;
}

bool rp_tls_ask_by_name(SSL *ssl, const struct rp_map *asked)
{
    struct rp_tls *t = SSL_get_app_data(ssl);
    char lower[NAME_BYTES];
    const struct rp_tls_clients *c = asked->n > 0 ? find(asked, name_in_hello(ssl, lower)) : NULL;
    uint64_t id = c ? c->id : 0;
    if (t->heard) return id == t->asked; /* RFC 8446 §4.1.2: the second hello names the same */
    t->heard = true;
    if (c) use(ssl, t, c);
    return true;
}

uint64_t rp_tls_asked(const struct rp_tls *t)
{
    return t->asked;
}
