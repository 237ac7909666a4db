/* SPDX-License-Identifier: MIT
 *
 * conf_tls: the builder's half for TLS: sets of settings, certificates, and who uses them. Keys pass
 * through here as text and stay only in OpenSSL's own form.
 */
#include "proxy/conf_build.h"

#include "net/tls_client.h"
#include "net/tls_server.h"
#include "net/tls_staple.h"

enum { NAME_MOST = 253 }; /* bytes of a DNS name (RFC 1035 §2.3.4) */

#define C(key, field, first, least, most)                                                          \
    {key,                                                                                          \
     offsetof(struct rp_conf_tls, field),                                                          \
     sizeof(((struct rp_conf_tls *)0)->field),                                                     \
     first,                                                                                        \
     least,                                                                                        \
     most},
static const struct rp_conf_number TLS_NUMBERS[] = {
#include "proxy/conf.tbl"
};
#undef C

static void drop_server(void *arg)
{
    rp_tls_server_drop(&((struct rp_conf_tls *)arg)->server);
}

static void drop_client(void *arg)
{
    rp_tls_client_drop(&((struct rp_conf_upstream *)arg)->tls);
}

static struct rp_conf_tls *find(const struct rp_conf *c, uint32_t tls)
{
    return tls < c->tls_n ? c->tls[tls] : NULL;
}

rp_err rp_conf_add_tls(struct rp_conf *c, uint32_t *index)
{
    if (c->frozen) return RP_E_PHASE;
    struct rp_conf_tls *t = rp_arena_zalloc(&c->arena, sizeof *t);
    void *grown = rp_conf_grow(&c->arena, c->tls, c->tls_n, sizeof t);
    if (!t || !grown) return RP_E_CAP;
    c->tls = grown;
    rp_conf_put_defaults(t, TLS_NUMBERS, RP_COUNT(TLS_NUMBERS));
    c->tls[c->tls_n] = t;
    *index = c->tls_n++;
    return RP_OK;
}

rp_err rp_conf_set_tls(struct rp_conf *c, uint32_t tls, rp_str key, double value)
{
    struct rp_conf_tls *t = find(c, tls);
    if (c->frozen) return RP_E_PHASE;
    if (!t) return RP_E_NOT_FOUND;
    return rp_conf_put_number(t, TLS_NUMBERS, RP_COUNT(TLS_NUMBERS), key, value);
}

/* A list of names, each with its length in front. */
static bool is_alpn(rp_str list)
{
    if (list.len > RP_TLS_ALPN_MOST) return false;
    for (size_t at = 0; at < list.len;) {
        size_t n = (unsigned char)list.ptr[at];
        if (n == 0 || n >= list.len - at) return false;
        at += n + 1;
    }
    return true;
}

rp_err rp_conf_set_tls_text(struct rp_conf *c, uint32_t tls, rp_str key, rp_str value)
{
    struct rp_conf_tls *t = find(c, tls);
    if (c->frozen) return RP_E_PHASE;
    if (!t) return RP_E_NOT_FOUND;
    if (rp_str_eq(key, RP_STR("cas"))) { /* 200 KB of the system's: gone with the draft */
        rp_str copy = rp_arena_copy(&c->draft->arena, value);
        if (copy.ptr) t->cas = copy;
        return copy.ptr ? RP_OK : RP_E_CAP;
    }
    bool alpn = rp_str_eq(key, RP_STR("alpn")), sni = rp_str_eq(key, RP_STR("sni"));
    if (!alpn && !sni && !rp_str_eq(key, RP_STR("name"))) return RP_E_NOT_FOUND;
    if (alpn ? !is_alpn(value) : value.len > NAME_MOST) return RP_E_INVALID;
    return rp_conf_copy(c, value, alpn ? &t->alpn : sni ? &t->sni : &t->name);
}

static struct rp_tls_rules rules_of(const struct rp_conf_tls *t)
{
    return (struct rp_tls_rules){.profile = t->profile,
                                 .versions = t->versions,
                                 .refuse = t->refuse,
                                 .ask = t->ask,
                                 .depth = t->depth,
                                 .alpn = t->alpn,
                                 .session_ms = t->session_ms,
                                 .early = t->early,
                                 .kernel = t->kernel,
                                 .cas = t->cas,
                                 .crls = t->crls,
                                 .crls_n = t->crls_n,
                                 .ocsp = t->ocsp};
}

rp_err rp_conf_add_crl(struct rp_conf *c, uint32_t tls, rp_str bytes, double *ends_s,
                       struct rp_conf_error *e)
{
    char why[RP_TLS_WHY_BYTES];
    int64_t end = 0;
    struct rp_conf_tls *t = find(c, tls);
    if (c->frozen || !t || t->server) return rp_conf_fail(e, RP_E_PHASE, "not now");
    if (rp_tls_crl_check(bytes, &end, why) != RP_OK)
        return rp_conf_fail(e, RP_E_INVALID, "%s", why);
    rp_str copy = rp_arena_copy(&c->draft->arena, bytes);
    rp_str *grown = rp_conf_grow(&c->draft->arena, t->crls, t->crls_n, sizeof *grown);
    if (!copy.ptr || !grown) return rp_conf_full(e);
    t->crls = grown;
    t->crls[t->crls_n++] = copy;
    *ends_s = (double)end;
    return RP_OK;
}

/* ---- listeners ------------------------------------------------------------------------------ */

rp_err rp_conf_make_tls_server(struct rp_conf *c, uint32_t tls, struct rp_conf_error *e)
{
    char why[RP_TLS_WHY_BYTES];
    struct rp_conf_tls *t = find(c, tls);
    if (c->frozen || !t || t->server) return rp_conf_fail(e, RP_E_PHASE, "not now");
    struct rp_tls_rules rules = rules_of(t);
    t->server = rp_tls_server_new(&rules, why);
    if (!t->server) return rp_conf_fail(e, RP_E_INVALID, "%s", why);
    if (rp_arena_defer(&c->arena, drop_server, t) == RP_OK) return RP_OK;
    drop_server(t);
    return rp_conf_full(e);
}

rp_err rp_conf_add_cert(struct rp_conf *c, uint32_t tls, rp_str cert_pem, rp_str key_pem,
                        double *ends_s, struct rp_conf_error *e)
{
    char why[RP_TLS_WHY_BYTES];
    struct rp_tls_cert_facts facts;
    struct rp_conf_tls *t = find(c, tls);
    if (c->frozen || !t || !t->server) return rp_conf_fail(e, RP_E_PHASE, "not now");
    rp_err err = rp_tls_server_add(t->server, cert_pem, key_pem, &facts, why);
    if (err != RP_OK) return rp_conf_fail(e, err, "%s", why);
    if (ends_s) *ends_s = (double)facts.ends_s;
    t->must_staple = facts.must_staple;
    t->has_responder = facts.has_responder;
    t->has_staple = facts.has_staple;
    return RP_OK;
}

rp_err rp_conf_add_staple(struct rp_conf *c, uint32_t tls, rp_str der, double now_s,
                          struct rp_conf_staple *out, struct rp_conf_error *e)
{
    char why[RP_TLS_WHY_BYTES];
    struct rp_tls_staple_answer a;
    const struct rp_conf_tls *t = find(c, tls);
    if (c->frozen || !t || !t->server) return rp_conf_fail(e, RP_E_PHASE, "not now");
    *out = (struct rp_conf_staple){.must = t->must_staple,
                                   .has_responder = t->has_responder,
                                   .can = t->has_staple,
                                   .ask = t->ocsp};
    if (der.len == 0) return RP_OK;
    rp_err err = rp_tls_server_staple(t->server, der, (int64_t)now_s, &a, why);
    if (err != RP_OK) return rp_conf_fail(e, err, "%s", why);
    out->good = a.status == RP_TLS_STAPLE_GOOD;
    out->revoked = a.status == RP_TLS_STAPLE_REVOKED;
    out->in_time = a.in_time;
    return RP_OK;
}

rp_err rp_conf_use_tls(struct rp_conf *c, uint32_t listener, uint32_t tls)
{
    struct rp_conf_tls *t = find(c, tls);
    if (c->frozen) return RP_E_PHASE;
    if (listener >= c->listeners_n || !t || !t->server) return RP_E_NOT_FOUND;
    c->listeners[listener].tls = t;
    return RP_OK;
}

static void drop_clients(void *arg)
{
    rp_tls_clients_drop(&((struct rp_conf_host *)arg)->clients);
}

static rp_err make_clients(struct rp_conf *c, struct rp_conf_host *h, const struct rp_conf_tls *t,
                           struct rp_conf_error *e)
{
    char why[RP_TLS_WHY_BYTES];
    struct rp_tls_rules rules = rules_of(t);
    h->clients = rp_tls_clients_new(&rules, why);
    if (!h->clients) return rp_conf_fail(e, RP_E_INVALID, "%s", why);
    h->asks = rp_tls_clients_id(h->clients);
    h->ask = t->ask;
    h->forward_cert = t->forward;
    c->hosts_ask = true;
    if (rp_arena_defer(&c->arena, drop_clients, h) == RP_OK) return RP_OK;
    drop_clients(h);
    return rp_conf_full(e);
}

rp_err rp_conf_ask_no_clients(struct rp_conf *c, rp_str name)
{
    if (c->frozen) return RP_E_PHASE;
    for (uint32_t i = 0; i < c->listeners_n; i++) {
        const struct rp_conf_listener *l = &c->listeners[i];
        if (!l->tls || l->stream) continue;
        RP_IGNORE(rp_tls_server_ask(l->tls->server, name, NULL)); /* INVALID: nobody asks for it */
    }
    return RP_OK;
}

rp_err rp_conf_ask_clients(struct rp_conf *c, uint32_t host, uint32_t tls, rp_str name,
                           struct rp_conf_error *e)
{
    const struct rp_conf_tls *t = find(c, tls);
    if (c->frozen || !t || host >= c->hosts_n) return rp_conf_fail(e, RP_E_PHASE, "not now");
    struct rp_conf_host *h = c->hosts[host];
    rp_err err = h->clients ? RP_OK : make_clients(c, h, t, e);
    for (uint32_t i = 0; i < c->listeners_n && err == RP_OK; i++) {
        const struct rp_conf_listener *l = &c->listeners[i];
        if (!l->tls || l->stream) continue;
        err = rp_tls_server_ask(l->tls->server, name, h->clients);
        if (err != RP_OK) return rp_conf_fail(e, err, "it is no name that TLS knows");
    }
    return err;
}

/* ---- upstreams ------------------------------------------------------------------------------ */

/* A peer without a name of its own, to be verified, would be anybody. */
static rp_err check_names(const struct rp_conf_tls *t, const struct rp_conf_upstream *u,
                          struct rp_conf_error *e)
{
    if (!t->verify || t->sni.len || t->name.len) return RP_OK;
    for (uint32_t i = 0; i < u->peers_n; i++)
        if (u->peers[i].addr.family == RP_ADDR_UNIX)
            return rp_conf_fail(e, RP_E_INVALID,
                                "peer \"%.*s\" has no name to verify its certificate by: set name, "
                                "or verify = false",
                                RP_STR_ARG(u->peers[i].name));
    return RP_OK;
}

rp_err rp_conf_make_tls_client(struct rp_conf *c, uint32_t tls, uint32_t upstream, rp_str cert_pem,
                               rp_str key_pem, struct rp_conf_error *e)
{
    char why[RP_TLS_WHY_BYTES];
    const struct rp_conf_tls *t = find(c, tls);
    if (c->frozen || !t || upstream >= c->upstreams_n || c->upstreams[upstream]->tls)
        return rp_conf_fail(e, RP_E_PHASE, "not now");
    struct rp_conf_upstream *u = c->upstreams[upstream];
    rp_err err = check_names(t, u, e);
    if (err != RP_OK) return err;
    struct rp_tls_client_rules rules = {.base = rules_of(t),
                                        .verify = t->verify,
                                        .sni = t->sni,
                                        .name = t->name,
                                        .cert_pem = cert_pem,
                                        .key_pem = key_pem};
    u->tls = rp_tls_client_new(&rules, why);
    if (!u->tls) return rp_conf_fail(e, RP_E_INVALID, "%s", why);
    if (rp_arena_defer(&c->arena, drop_client, u) == RP_OK) return RP_OK;
    drop_client(u);
    return rp_conf_full(e);
}

/* ---- whole ---------------------------------------------------------------------------------- */

rp_err rp_conf_finish_tls(struct rp_conf *c, struct rp_conf_error *e)
{
    char why[RP_TLS_WHY_BYTES];
    for (uint32_t i = 0; i < c->tls_n; i++) {
        struct rp_conf_tls *t = c->tls[i];
        t->cas = RP_STR_NONE; /* the draft's arena goes */
        t->crls = NULL;
        t->crls_n = 0;
        if (t->server && rp_tls_server_finish(t->server, why) != RP_OK)
            return rp_conf_fail(e, RP_E_INVALID, "tls: %s", why);
    }
    return RP_OK;
}
