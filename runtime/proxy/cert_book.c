/* SPDX-License-Identifier: MIT
 *
 * cert_book: see cert_book.h.
 */
#include "proxy/cert_book.h"

#include "base/map.h"
#include "base/mem.h"
#include "net/timer.h"
#include "proxy/tls_door.h"

enum {
    /* Names of a worker. A certificate takes about 5 KB, a name without one 0.3 KB: those that
     * somebody makes up push out no certificate. */
    CERTS_MOST = 4096,
    OTHERS_MOST = 4096,
    BOOK_MOST = 1 << 20, /* with those under way, which connections bound */
    KEY_BYTES = sizeof(uint32_t) + RP_TLS_NAME_MOST,
};

/* How long an answer holds when the hook does not say. */
static const double CERT_TTL_S = 60, OTHER_TTL_S = 5, TTL_MOST_S = 86400;

struct list {
    struct rp_flight *first, *last; /* most recently used first */
    uint32_t n;
};

/* An entry: a flight, and what it brought. */
struct rp_flight {
    struct list *in; /* book: flying, certs or others; NULL: in none */
    struct rp_flight *next, *prev;
    bool filed;               /* its key leads to it */
    bool denied;              /* landed: refuse */
    struct rp_tls_cert *cert; /* landed: held; NULL: the server's own */
    rp_ms until_ms;           /* landed */
    struct rp_proxy *proxy;   /* flying, as all that follows */
    struct rp_guest *lead;    /* held; NULL: landed */
    struct rp_guest *waiting; /* by next_waiting */
    struct rp_timer timer;    /* that ends it */
    uint32_t key_n;
    char key[KEY_BYTES];
};

struct rp_cert_book {
    struct rp_map names; /* key -> struct rp_flight */
    struct list flying, certs, others;
};

static struct rp_cert_book *book_of(struct rp_proxy *p)
{
    if (p->tls.book) return p->tls.book;
    p->tls.book = rp_alloc(sizeof *p->tls.book);
    rp_map_init(&p->tls.book->names, BOOK_MOST);
    return p->tls.book;
}

/* ---- lists ---------------------------------------------------------------------------------- */

static void enlist(struct list *l, struct rp_flight *f)
{
    f->in = l;
    f->prev = NULL;
    f->next = l->first;
    if (l->first) l->first->prev = f;
    else l->last = f;
    l->first = f;
    l->n++;
}

static void delist(struct rp_flight *f)
{
    struct list *l = f->in;
    if (!l) return;
    if (f->prev) f->prev->next = f->next;
    else l->first = f->next;
    if (f->next) f->next->prev = f->prev;
    else l->last = f->prev;
    f->next = f->prev = NULL;
    f->in = NULL;
    l->n--;
}

static rp_str key_of(const struct rp_flight *f)
{
    return rp_str_of(f->key, f->key_n);
}

static void unfile(struct rp_cert_book *b, struct rp_flight *f)
{
    if (f->filed) (void)rp_map_remove(&b->names, key_of(f)); /* it is f */
    f->filed = false;
}

static void flight_free(struct rp_cert_book *b, struct rp_flight *f)
{
    RP_CHECK(!f->lead && !f->waiting);
    unfile(b, f);
    delist(f);
    rp_tls_cert_drop(&f->cert);
    rp_free(f);
}

/* ---- asking --------------------------------------------------------------------------------- */

static void wait(struct rp_guest *g, struct rp_flight *f)
{
    g->flight = f;
    g->next_waiting = f->waiting;
    f->waiting = g;
}

static rp_err take(struct rp_guest *g, const struct rp_flight *f)
{
    if (f->denied) return RP_E_TLS_REFUSED;
    rp_tls_cert_drop(&g->cert.given);
    if (f->cert) g->cert.given = rp_tls_cert_hold(f->cert);
    return RP_OK;
}

static void on_timer(struct rp_timer *t)
{
    rp_cert_book_land(RP_CONTAINER(rp_flight, timer, t), RP_E_HOOK_TIMEOUT);
}

static void take_off(struct rp_guest *g, rp_str key)
{
    struct rp_proxy *p = g->proxy;
    struct rp_cert_book *b = book_of(p);
    struct rp_flight *f = rp_alloc(sizeof *f);
    f->proxy = p;
    f->key_n = (uint32_t)key.len;
    memcpy(f->key, key.ptr, key.len);
    f->lead = rp_guest_hold(g);
    enlist(&b->flying, f);
    f->filed = g->conf == p->conf && rp_map_set(&b->names, key, f) == RP_OK;
    rp_timer_init(&f->timer, on_timer);
    rp_timer_set(p->loop, &f->timer, g->conf->hook_wait_ms);
    wait(g, f);
}

rp_err rp_cert_book_ask(struct rp_guest *g)
{
    struct rp_proxy *p = g->proxy;
    struct rp_cert_book *b = book_of(p);
    char key[KEY_BYTES];
    size_t n = sizeof g->cert_chain + g->hello.sni.len;
    memcpy(key, &g->cert_chain, sizeof g->cert_chain);
    if (g->hello.sni.len) memcpy(key + sizeof g->cert_chain, g->hello.sni.ptr, g->hello.sni.len);
    bool current = g->conf == p->conf; /* else the numbers of chains mean something else */
    struct rp_flight *f = current ? rp_map_find(&b->names, rp_str_of(key, n)) : NULL;
    if (f && f->lead) {
        wait(g, f);
        return RP_AGAIN;
    }
    if (f && rp_loop_now(p->loop) < f->until_ms) {
        struct list *l = f->in;
        delist(f);
        enlist(l, f);
        return take(g, f);
    }
    if (f) flight_free(b, f);
    take_off(g, rp_str_of(key, n));
    return RP_AGAIN;
}

bool rp_cert_book_leads(const struct rp_guest *g)
{
    return g->flight && g->flight->lead == g;
}

/* ---- landing -------------------------------------------------------------------------------- */

static void unlist_waiting(struct rp_guest *g)
{
    for (struct rp_guest **at = &g->flight->waiting; *at; at = &(*at)->next_waiting) {
        if (*at != g) continue;
        *at = g->next_waiting;
        break;
    }
    g->next_waiting = NULL;
}

/* It flies no more. The leader is the caller's. */
static struct rp_guest *end_flight(struct rp_flight *f)
{
    struct rp_guest *lead = f->lead;
    rp_timer_clear(f->proxy->loop, &f->timer);
    delist(f);
    f->lead = NULL;
    return lead;
}

static void drop_lead(struct rp_guest *lead)
{
    if (!lead->shake) {
        lead->flight = NULL;
        rp_guest_leave(lead);
    }
    rp_guest_drop(&lead);
}

/* Keep what was said, if it is to be kept. */
static void keep(struct rp_cert_book *b, struct rp_flight *f, double ttl_s)
{
    struct list *l = f->cert ? &b->certs : &b->others;
    if (ttl_s < 0) ttl_s = f->cert ? CERT_TTL_S : OTHER_TTL_S;
    ttl_s = RP_MIN(ttl_s, TTL_MOST_S);
    f->until_ms = rp_loop_now(f->proxy->loop) + (rp_ms)(ttl_s * 1000);
    if (!f->filed || ttl_s == 0) {
        flight_free(b, f);
        return;
    }
    enlist(l, f);
    if (l->n > (l == &b->certs ? (uint32_t)CERTS_MOST : (uint32_t)OTHERS_MOST))
        flight_free(b, l->last);
}

void rp_cert_book_land(struct rp_flight *f, rp_err e)
{
    struct rp_cert_book *b = book_of(f->proxy);
    struct rp_guest *lead = end_flight(f), *waiting = f->waiting;
    struct rp_guest_cert said = lead->cert;
    lead->cert.given = NULL;
    f->waiting = NULL;
    f->cert = said.given; /* own */
    f->denied = said.denied;
    if (e != RP_OK) unfile(b, f);
    for (struct rp_guest *g = waiting; g; g = g->next_waiting) {
        g->flight = NULL;
        if (e == RP_OK && take(g, f) != RP_OK) g->refused = true;
    }
    if (e == RP_OK) keep(b, f, said.ttl_s);
    else flight_free(b, f);
    while (waiting) { /* what follows may end it */
        struct rp_guest *g = waiting;
        waiting = g->next_waiting;
        g->next_waiting = NULL;
        rp_tls_door_decided(g->shake, e == RP_OK && g->refused ? RP_E_TLS_REFUSED : e);
    }
    drop_lead(lead);
}

void rp_cert_book_leave(struct rp_guest *g)
{
    struct rp_flight *f = g->flight;
    unlist_waiting(g);
    if (f->lead != g) g->flight = NULL;
    if (f->waiting) return;
    struct rp_guest *lead = end_flight(f);
    lead->flight = NULL;
    flight_free(book_of(f->proxy), f);
    if (lead == g) {
        rp_guest_drop(&lead); /* not the last: its door holds it */
        return;
    }
    rp_guest_leave(lead); /* its client had gone before */
    rp_guest_drop(&lead);
}

/* ---- whole ---------------------------------------------------------------------------------- */

static void empty(struct rp_cert_book *b, struct list *l)
{
    while (l->first) flight_free(b, l->first);
}

void rp_cert_book_clear(struct rp_proxy *p)
{
    struct rp_cert_book *b = p->tls.book;
    if (!b) return;
    empty(b, &b->certs);
    empty(b, &b->others);
    for (struct rp_flight *f = b->flying.first; f; f = f->next) unfile(b, f);
}

void rp_cert_book_free(struct rp_proxy *p)
{
    struct rp_cert_book *b = p->tls.book;
    if (!b) return;
    RP_CHECK(!b->flying.first);
    rp_cert_book_clear(p);
    rp_map_fini(&b->names);
    rp_free(b);
    p->tls.book = NULL;
}
