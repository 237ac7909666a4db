/* SPDX-License-Identifier: MIT
 *
 * door: see door.h.
 *
 * Caps hold over all workers: the census in shared memory counts. A client that the census has no
 * room for is let in, uncounted: it takes more client networks at a time than anybody with few
 * addresses has, and refusing would let whoever has many lock out all others. The cap on all
 * connections is the one against those.
 */
#include "proxy/door.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/proxy_header.h"
#include "net/timer.h"
#include "shm/census.h"

enum {
    GREET_MAGIC = 0x47524554,
    POLITE_PER_SECOND = 100,
    POLITE_MS = 1000,         /* a refused client gets this long to read why */
    POLITE_BYTES = 16 * 1024, /* ... and may send this much meanwhile: a request */
    SECOND_MS = 1000,
    MINUTE_MS = 60 * SECOND_MS,
};

static const char ANSWER[] = "HTTP/1.1 503 Service Unavailable\r\n"
                             "Content-Type: text/plain; charset=utf-8\r\n"
                             "Content-Length: 23\r\n"
                             "Retry-After: 5\r\n"
                             "Connection: close\r\n\r\n"
                             "503 too many at a time\n";

/* ---- refusing -------------------------------------------------------------------------------- */

/* One line a second at most, with the number of those that it speaks for. */
static void say_refused(struct rp_serve *s, rp_err e, const struct rp_addr *client)
{
    struct rp_door *d = &s->proxy->door;
    rp_ms now = rp_loop_now(s->proxy->loop);
    char ip[RP_ADDR_TEXT_BYTES + 1];
    d->unsaid_n++;
    if (d->since_ms && now - d->since_ms < SECOND_MS) return;
    d->since_ms = now;
    d->polite_n = 0;
    ip[rp_addr_put_ip(client, ip)] = '\0';
    rp_log(warn, "%s, refused reason=%s client=%s listener=%s refused_n=%u", rp_err_text(e),
           rp_err_reason(e), ip, rp_log_esc(s->text), d->unsaid_n);
    d->unsaid_n = 0;
}

static void count_refused(struct rp_proxy *p, rp_err e)
{
    p->stats.conns_refused++;
    if (e == RP_E_CONNS_MANY) p->stats.refused_many++;
    else if (e == RP_E_CONNS_CLIENT) p->stats.refused_client++;
    else p->stats.refused_greeting++;
}

static void refuse(struct rp_serve *s, struct rp_conn *c, rp_err e)
{
    struct rp_proxy *p = s->proxy;
    struct rp_addr client;
    struct rp_chain out;
    rp_meter_leave(rp_loop_meter(p->loop), &rp_conn_face(c)->pass);
    rp_conn_peer(c, &client);
    say_refused(s, e, &client);
    count_refused(p, e);
    if (s->stream || s->tls || p->door.polite_n >= POLITE_PER_SECOND) {
        rp_conn_reset(c);
        return;
    }
    p->door.polite_n++;
    rp_chain_init(&out, p->mem);
    rp_chain_add_const(&out, rp_str_of(ANSWER, sizeof ANSWER - 1));
    rp_err sent = rp_conn_send(c, &out); /* a new socket takes it, or is broken */
    rp_chain_clear(&out);
    if (sent == RP_OK) rp_conn_linger(c, POLITE_MS, POLITE_BYTES);
    else rp_conn_close(c);
}

/* One line a minute at most. */
static void say_uncounted(struct rp_proxy *p)
{
    struct rp_door *d = &p->door;
    rp_ms now = rp_loop_now(p->loop);
    p->stats.conns_uncounted++;
    if (d->uncounted_ms && now - d->uncounted_ms < MINUTE_MS) return;
    d->uncounted_ms = now;
    rp_log(warn,
           "too many client networks at a time to count each, letting in "
           "reason=connections_per_ip uncounted_n=%llu",
           (unsigned long long)p->stats.conns_uncounted);
}

/* ---- caps ------------------------------------------------------------------------------------ */

static void on_leave(void *arg, uint32_t seat)
{
    struct rp_proxy *p = arg;
    if (seat) rp_census_part(p->census, p->worker, seat);
    rp_census_leave(p->census, p->worker);
}

void rp_door_use(struct rp_proxy *p, struct rp_census *census, uint32_t worker)
{
    struct rp_meter *m = rp_loop_meter(p->loop);
    if (p->census) rp_census_forget(p->census, p->worker);
    if (census) rp_census_forget(census, worker);
    p->census = census;
    p->worker = worker;
    m->on_leave = census ? on_leave : NULL;
    m->arg = p;
}

static rp_err count(struct rp_proxy *p, struct rp_conn *c)
{
    rp_err e = RP_OK;
    if (p->census) e = rp_census_enter(p->census, p->worker, p->conf->connections);
    if (e == RP_OK) rp_meter_enter(rp_loop_meter(p->loop), &rp_conn_face(c)->pass);
    return e;
}

static rp_err count_client(struct rp_serve *s, struct rp_conn *c)
{
    struct rp_proxy *p = s->proxy;
    const struct rp_conf *conf = p->conf;
    struct rp_addr client;
    uint8_t net[RP_METER_NET_BYTES];
    if (!conf->conns_per_ip || !p->census) return RP_OK;
    rp_conn_peer(c, &client);
    if (rp_cidr_set_has(conf->trust, &client)) return RP_OK; /* a proxy speaks for many */
    if (!rp_meter_net(&client, (uint32_t)conf->ip6_bits, net)) return RP_OK;
    rp_err e =
        rp_census_join(p->census, p->worker, net, conf->conns_per_ip, &rp_conn_face(c)->pass.seat);
    if (e != RP_E_CAP) return e;
    say_uncounted(p);
    return RP_OK;
}

/* Who the client is is known now. */
static void let_in(struct rp_serve *s, struct rp_conn *c)
{
    rp_err e = count_client(s, c);
    if (e == RP_OK) rp_server_begin(s, c);
    else refuse(s, c, e);
}

/* ---- PROXY header ---------------------------------------------------------------------------- */

struct rp_greet {
    uint32_t magic;
    uint32_t held_n;
    char *held; /* a first part, taken from the socket; NULL: none came alone */
    struct rp_serve *serve;
    struct rp_conn *conn;
    struct rp_greet *next, *prev;
    struct rp_timer timer;
};

/* Give back everything but the connection. */
static struct rp_conn *forget_greet(struct rp_greet *g)
{
    struct rp_conn *c = g->conn;
    struct rp_proxy *p = g->serve->proxy;
    rp_timer_clear(p->loop, &g->timer);
    if (g->prev) g->prev->next = g->next;
    else p->door.greets = g->next;
    if (g->next) g->next->prev = g->prev;
    rp_conn_face(c)->owner = NULL;
    rp_conn_face(c)->on_event = NULL;
    g->magic = 0;
    rp_free(g->held);
    rp_free(g);
    return c;
}

/* Nothing is answered: what would read it does not speak the protocol. */
static void turn_away(struct rp_serve *s, struct rp_conn *c, rp_err e)
{
    struct rp_addr who;
    rp_conn_peer(c, &who);
    say_refused(s, e, &who);
    count_refused(s->proxy, e);
    rp_conn_close(c);
}

static void drop_greet(struct rp_greet *g, rp_err e)
{
    struct rp_serve *s = g->serve;
    struct rp_conn *c = forget_greet(g);
    if (e == RP_E_CLIENT_GONE) rp_conn_close(c); /* a look whether we are there */
    else turn_away(s, c, e);
}

/* Take n bytes that were seen in the socket. */
static bool take(struct rp_conn *c, char *into, size_t n)
{
    while (n > 0) {
        size_t got = 0;
        if (rp_conn_recv(c, into, n, &got) != RP_OK) return false;
        into += got;
        n -= got;
    }
    return true;
}

static void greeted(struct rp_greet *g, const struct rp_proxy_header *h)
{
    struct rp_serve *s = g->serve;
    struct rp_conn *c = forget_greet(g);
    if (!h->local && h->has_ends) rp_conn_set_ends(c, &h->from, &h->to);
    let_in(s, c);
}

/* The header is looked at in the socket and taken when its length is known, so that the session
 * finds its first byte there; a part of one is taken at once, or it would wake us for ever. */
static void on_greet(struct rp_conn *c, unsigned events)
{
    struct rp_greet *g = RP_AS(rp_greet, rp_conn_face(c)->owner, GREET_MAGIC);
    struct rp_proxy_header header;
    char bytes[RP_PROXY_V2_MOST];
    size_t got = 0, used = 0, held = g->held_n;
    (void)events; /* nothing is written */
    if (held) memcpy(bytes, g->held, held);
    rp_err e = rp_conn_peek(c, bytes + held, sizeof bytes - held, &got);
    if (e == RP_AGAIN) return;
    if (e == RP_OK) e = rp_proxy_header_parse(rp_str_of(bytes, held + got), &header, &used);
    else e = RP_E_CLIENT_GONE;
    if (e == RP_OK && take(c, bytes + held, used - held)) {
        greeted(g, &header);
    } else if (e == RP_AGAIN && take(c, bytes + held, got)) {
        if (!g->held) g->held = rp_alloc(sizeof bytes);
        memcpy(g->held + held, bytes + held, got);
        g->held_n += (uint32_t)got;
    } else {
        drop_greet(g, e < 0 ? e : RP_E_CLIENT_GONE);
    }
}

static void on_greet_timer(struct rp_timer *t)
{
    drop_greet(RP_CONTAINER(rp_greet, timer, t), RP_E_PROXY_TIMEOUT);
}

static void greet(struct rp_serve *s, struct rp_conn *c)
{
    struct rp_proxy *p = s->proxy;
    struct rp_greet *g = rp_alloc(sizeof *g);
    g->magic = GREET_MAGIC;
    g->serve = s;
    g->conn = c;
    g->next = p->door.greets;
    if (g->next) g->next->prev = g;
    p->door.greets = g;
    rp_timer_init(&g->timer, on_greet_timer);
    rp_timer_set(p->loop, &g->timer, p->settings.head_ms);
    rp_conn_face(c)->owner = g;
    rp_conn_face(c)->on_event = on_greet;
}

/* A unix socket is guarded by its file's permissions. */
static bool may_greet(struct rp_serve *s, struct rp_conn *c)
{
    struct rp_addr who;
    rp_conn_peer(c, &who);
    bool ip = who.family == RP_ADDR_IP4 || who.family == RP_ADDR_IP6;
    return !ip || rp_cidr_set_has(s->proxy->conf->trust, &who);
}

void rp_door_close(struct rp_proxy *p)
{
    while (p->door.greets) rp_conn_close(forget_greet(p->door.greets));
}

/* ---- accepted -------------------------------------------------------------------------------- */

void rp_door_open(struct rp_serve *s, struct rp_conn *c)
{
    struct rp_proxy *p = s->proxy;
    rp_err e = count(p, c);
    if (e != RP_OK) refuse(s, c, e);
    else if (!s->proxy_protocol) let_in(s, c);
    else if (may_greet(s, c)) greet(s, c);
    else turn_away(s, c, RP_E_PROXY_TRUST);
}
