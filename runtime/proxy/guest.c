/* SPDX-License-Identifier: MIT
 *
 * guest: see guest.h.
 */
#include "proxy/guest.h"

#include "base/mem.h"
#include "net/tls_server.h"
#include "proxy/cert_book.h"
#include "proxy/lifecycle.h"
#include "proxy/tls_door.h"

/* ---- the hello ------------------------------------------------------------------------------ */

void rp_guest_learn(struct rp_guest *g)
{
    if (!g->hello.body && g->conn)
        (void)rp_conn_take_hello(g->conn, &g->hello); /* or it has none */
}

rp_str rp_guest_ja4(struct rp_guest *g)
{
    if (!g->hello.body) return RP_STR_NONE;
    if (!g->has_ja4) rp_tls_ja4_put(&g->hello, g->ja4);
    g->has_ja4 = true;
    return rp_str_of(g->ja4, sizeof g->ja4);
}

/* ---- deciding ------------------------------------------------------------------------------- */

static void run_hello(struct rp_guest *g)
{
    rp_err e = g->conf->hooks->run_guest(g, RP_GUEST_HELLO);
    if (e == RP_AGAIN) return;
    rp_timer_clear(g->proxy->loop, &g->timer);
    g->question = 0;
    if (e == RP_OK && g->refused) e = RP_E_TLS_REFUSED;
    rp_tls_door_decided(g->shake, e);
}

static void run_cert(struct rp_guest *g)
{
    rp_err e = g->conf->hooks->run_guest(g, RP_GUEST_CERT);
    if (e != RP_AGAIN) rp_cert_book_land(g->flight, e);
}

static void run(struct rp_defer *d)
{
    struct rp_guest *g = RP_CONTAINER(rp_guest, run, d);
    if (g->question == RP_TLS_Q_HELLO) run_hello(g);
    else if (g->question == RP_TLS_Q_CERT && rp_cert_book_leads(g)) run_cert(g);
}

void rp_guest_wake(struct rp_guest *g)
{
    if (g->proxy) rp_loop_defer(g->proxy->loop, &g->run);
}

static void on_timer(struct rp_timer *t)
{
    const struct rp_guest *g = RP_CONTAINER(rp_guest, timer, t);
    rp_tls_door_decided(g->shake, RP_E_HOOK_TIMEOUT);
}

void rp_guest_ask(struct rp_guest *g)
{
    g->question = (uint8_t)rp_conn_question(g->conn);
    rp_guest_learn(g);
    if (g->question == RP_TLS_Q_HELLO) {
        rp_timer_set(g->proxy->loop, &g->timer, g->conf->hook_wait_ms);
        rp_guest_wake(g);
        return;
    }
    rp_err e = rp_cert_book_ask(g);
    if (e != RP_AGAIN) rp_tls_door_decided(g->shake, e);
    else if (rp_cert_book_leads(g)) rp_guest_wake(g);
}

const char *rp_guest_waiting_for(const struct rp_guest *g)
{
    return g->question == RP_TLS_Q_HELLO ? "tls_hello" : g->question ? "certificate" : NULL;
}

/* ---- what hooks choose ---------------------------------------------------------------------- */

static struct rp_tls_choice *choice_of(struct rp_guest *g)
{
    if (!g->choice) g->choice = rp_alloc(sizeof *g->choice);
    return g->choice;
}

rp_err rp_guest_refuse(struct rp_guest *g, uint8_t alert, rp_str reason)
{
    if (g->question != RP_TLS_Q_HELLO) return RP_E_PHASE;
    g->refused = true;
    g->alert = alert;
    g->reason_n = (uint8_t)RP_MIN(reason.len, sizeof g->reason);
    if (g->reason_n) memcpy(g->reason, reason.ptr, g->reason_n);
    return RP_OK;
}

rp_err rp_guest_set_name(struct rp_guest *g, rp_str name)
{
    if (g->question != RP_TLS_Q_HELLO) return RP_E_PHASE;
    if (!rp_tls_hello_is_name(name)) return RP_E_NOT_FOUND;
    struct rp_tls_choice *c = choice_of(g);
    char lower[sizeof c->name];
    for (size_t i = 0; i < name.len; i++) lower[i] = rp_lower(name.ptr[i]);
    if (!rp_tls_server_knows(g->server, rp_str_of(lower, name.len))) return RP_E_NOT_FOUND;
    memcpy(c->name, lower, name.len);
    c->name_n = (uint8_t)name.len;
    return RP_OK;
}

rp_err rp_guest_set_min_version(struct rp_guest *g, uint8_t version)
{
    if (g->question != RP_TLS_Q_HELLO) return RP_E_PHASE;
    choice_of(g)->min_version = version;
    return RP_OK;
}

rp_err rp_guest_set_ask(struct rp_guest *g, uint8_t ask)
{
    bool verifies = ask == RP_TLS_ASK_OPTIONAL || ask == RP_TLS_ASK_REQUIRED;
    if (g->question != RP_TLS_Q_HELLO) return RP_E_PHASE;
    if (verifies && !rp_tls_server_can_ask(g->server)) return RP_E_INVALID;
    choice_of(g)->has_ask = true;
    choice_of(g)->ask = ask;
    return RP_OK;
}

static bool offers(const struct rp_guest *g, rp_str wanted)
{
    rp_str rest = rp_tls_server_alpn(g->server), name;
    while (rp_tls_hello_alpn_next(&rest, &name))
        if (rp_str_eq(name, wanted)) return true;
    return false;
}

rp_err rp_guest_set_alpn(struct rp_guest *g, rp_str list)
{
    rp_str rest = list, name;
    if (g->question != RP_TLS_Q_HELLO) return RP_E_PHASE;
    if (list.len == 0 || list.len > RP_TLS_ALPN_MOST) return RP_E_INVALID;
    while (rp_tls_hello_alpn_next(&rest, &name))
        if (!offers(g, name)) return RP_E_INVALID;
    if (rest.len) return RP_E_INVALID;
    memcpy(choice_of(g)->alpn, list.ptr, list.len);
    g->choice->alpn_n = (uint8_t)list.len;
    return RP_OK;
}

rp_err rp_guest_give_cert(struct rp_guest *g, struct rp_tls_cert *cert, double ttl_s)
{
    if (g->question != RP_TLS_Q_CERT || !rp_cert_book_leads(g)) return RP_E_PHASE;
    rp_tls_cert_drop(&g->cert.given);
    g->cert = (struct rp_guest_cert){.said = true,
                                     .denied = !cert,
                                     .given = cert ? rp_tls_cert_hold(cert) : NULL,
                                     .ttl_s = ttl_s};
    return RP_OK;
}

/* ---- life ----------------------------------------------------------------------------------- */

struct rp_guest *rp_guest_new(struct rp_serve *s, struct rp_shake *h, struct rp_conn *c)
{
    struct rp_guest *g = rp_alloc(sizeof *g);
    g->magic = RP_GUEST_MAGIC;
    g->refs = 1;
    g->proxy = s->proxy;
    g->shake = h;
    g->conn = c;
    g->port = s->port;
    g->listener = s->text;
    g->conf = rp_conf_hold(s->hook_conf);
    g->server = rp_tls_server_hold(s->tls);
    g->hello_chain = s->hello_chain;
    g->cert_chain = s->cert_chain;
    g->cert.ttl_s = -1;
    g->run.run = run;
    rp_timer_init(&g->timer, on_timer);
    rp_conn_peer(c, &g->client);
    rp_conn_ask_tls(c, (g->hello_chain ? (unsigned)RP_TLS_Q_HELLO : 0u) |
                           (g->cert_chain ? (unsigned)RP_TLS_Q_CERT : 0u));
    return g;
}

struct rp_guest *rp_guest_hold(struct rp_guest *g)
{
    g->refs++;
    return g;
}

void rp_guest_drop(struct rp_guest **where)
{
    struct rp_guest *g = *where;
    *where = NULL;
    if (!g || --g->refs > 0) return;
    RP_CHECK(!g->conf && !g->flight); /* it left */
    if (g->hooks) g->hooks->forget_guest(g);
    rp_free(g->hello.body);
    g->magic = 0;
    rp_free(g);
}

/* No hook runs for it any more. */
static void settle(struct rp_guest *g)
{
    struct rp_proxy *p = g->proxy;
    struct rp_conf *conf = g->conf;
    if (!conf) return;
    g->question = 0;
    rp_loop_undefer(p->loop, &g->run);
    rp_timer_clear(p->loop, &g->timer);
    if (g->hooks) g->hooks->cancel_guest(g);
    rp_tls_server_drop(&g->server);
    rp_tls_cert_drop(&g->cert.given);
    rp_free(g->choice);
    g->choice = NULL;
    g->proxy = NULL;
    g->conf = NULL;
    rp_lifecycle_drop_conf(p, conf);
}

void rp_guest_leave(struct rp_guest *g)
{
    g->shake = NULL;
    g->conn = NULL;
    if (g->flight) rp_cert_book_leave(g);
    if (!g->flight) settle(g);
}
