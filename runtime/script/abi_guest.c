/* SPDX-License-Identifier: MIT
 *
 * abi_guest: what hooks see of a client during its TLS handshake, and what they decide.
 */
#include "script/journal.h"

static bool give(struct rp_host_face *f, rp_str s)
{
    f->out = s;
    return s.len > 0;
}

static bool give_ip(struct rp_host_face *f, const struct rp_addr *a)
{
    struct rp_host *h = rp_vm_of(f);
    rp_arena_reset(&h->scratch);
    char *text = rp_arena_alloc(&h->scratch, RP_ADDR_TEXT_BYTES);
    if (a->family == RP_ADDR_NONE) return give(f, RP_STR_NONE);
    return give(f, rp_str_of(text, rp_addr_put_ip(a, text)));
}

bool rp_abi_guest_text(struct rp_host_face *f, struct rp_guest *g, uint32_t what)
{
    switch ((enum rp_abi_guest_text)what) {
    case RP_GUEST_TEXT_SNI: return give(f, g->hello.sni);
    case RP_GUEST_TEXT_REMOTE_IP: return give_ip(f, &g->client);
    case RP_GUEST_TEXT_LISTENER: return give(f, g->listener);
    case RP_GUEST_TEXT_JA4: return give(f, rp_guest_ja4(g));
    }
    return give(f, RP_STR_NONE);
}

uint32_t rp_abi_guest_port(const struct rp_guest *g)
{
    return g->port;
}

bool rp_abi_guest_alpn(struct rp_host_face *f, const struct rp_guest *g, uint32_t i)
{
    rp_str rest = g->hello.alpn, name;
    while (rp_tls_hello_alpn_next(&rest, &name))
        if (i-- == 0) return give(f, name);
    return give(f, RP_STR_NONE);
}

uint32_t rp_abi_guest_codes(const struct rp_guest *g, uint32_t what, uint16_t *out, uint32_t most)
{
    rp_str rest = what == RP_GUEST_CIPHERS ? g->hello.ciphers : g->hello.versions;
    uint32_t n = 0;
    if (what == RP_GUEST_VERSIONS && !rest.ptr && g->hello.body && most > 0) {
        *out = g->hello.version; /* a client of before TLS 1.3: the newest that it speaks */
        return 1;
    }
    while (n < most && rp_tls_hello_code_next(&rest, &out[n])) n++;
    return n;
}

/* What a client's hooks had chosen before: in shadow mode a choice is checked like any other, and taken
 * back. */
struct before {
    bool only, chose;
    struct rp_tls_choice choice;
};

static struct before remember(const struct rp_guest *g)
{
    /* After the handshake it has no generation, and nothing can be chosen: who tries hears that. */
    const struct rp_host *h = g->conf ? g->conf->script : NULL;
    struct before b = {.only = h && RP_UNLIKELY(h->face.notes == RP_NOTES_ONLY)};
    if (!b.only) return b;
    b.chose = g->choice != NULL;
    if (b.chose) b.choice = *g->choice;
    return b;
}

static rp_err take_back(struct rp_guest *g, const struct before *b, rp_err e)
{
    if (!b->only) return e;
    if (b->chose) {
        *g->choice = b->choice;
    } else {
        rp_free(g->choice);
        g->choice = NULL;
    }
    return e;
}

rp_err rp_abi_guest_refuse(struct rp_guest *g, uint32_t alert, const char *reason, size_t n)
{
    struct before b = remember(g);
    if (b.only) return g->question == RP_TLS_Q_HELLO ? RP_OK : RP_E_PHASE;
    return rp_guest_refuse(g, (uint8_t)alert, rp_str_of(reason, n));
}

rp_err rp_abi_guest_set_name(struct rp_guest *g, const char *name, size_t n)
{
    struct before b = remember(g);
    return take_back(g, &b, rp_guest_set_name(g, rp_str_of(name, n)));
}

rp_err rp_abi_guest_set_min_version(struct rp_guest *g, uint32_t version)
{
    struct before b = remember(g);
    return take_back(g, &b, rp_guest_set_min_version(g, (uint8_t)version));
}

rp_err rp_abi_guest_set_client(struct rp_guest *g, uint32_t ask)
{
    struct before b = remember(g);
    return take_back(g, &b, rp_guest_set_ask(g, (uint8_t)ask));
}

rp_err rp_abi_guest_set_alpn(struct rp_guest *g, const char *list, size_t n)
{
    struct before b = remember(g);
    return take_back(g, &b, rp_guest_set_alpn(g, rp_str_of(list, n)));
}

rp_err rp_abi_guest_give_cert(struct rp_guest *g, struct rp_tls_cert *cert, double ttl)
{
    if (remember(g).only) return RP_OK;
    return rp_guest_give_cert(g, cert, ttl);
}

/* ---- of requests ---------------------------------------------------------------------------- */

struct rp_guest *rp_abi_req_guest(const struct rp_req *r)
{
    const struct rp_tls *t = r->x.conn ? rp_conn_tls(r->x.conn) : NULL;
    if (t) return rp_tls_attached(t);
    return r->tls ? r->tls->guest : NULL;
}

uint32_t rp_abi_guest_ref(struct rp_host_face *f, struct rp_guest *g)
{
    return rp_guest_ref(rp_vm_of(f), g);
}

/* ---- certificates --------------------------------------------------------------------------- */

struct rp_tls_cert *rp_abi_tls_cert_new(struct rp_host_face *f, const char *cert, size_t cert_n,
                                        const char *key, size_t key_n)
{
    struct rp_host *h = rp_vm_of(f);
    rp_arena_reset(&h->scratch);
    char *why = rp_arena_alloc(&h->scratch, RP_TLS_WHY_BYTES);
    struct rp_tls_cert *c = rp_tls_cert_new(rp_str_of(cert, cert_n), rp_str_of(key, key_n), why);
    f->out = c ? RP_STR_NONE : rp_str_z(why);
    return c;
}

void rp_abi_tls_cert_join(struct rp_tls_cert *c, const struct rp_tls_cert *more)
{
    rp_tls_cert_join(c, more);
}

void rp_abi_tls_cert_free(struct rp_tls_cert *c)
{
    rp_tls_cert_drop(&c);
}
