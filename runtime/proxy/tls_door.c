/* SPDX-License-Identifier: MIT
 *
 * tls_door: see tls_door.h.
 */
#include "proxy/tls_door.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/timer.h"

enum {
    MAGIC = 0x544c5344,
    SECOND_MS = 1000,
    POLITE_MS = 1000, /* a client that spoke plain HTTP gets this long to read why it failed */
    POLITE_BYTES = 64 * 1024,
};

struct rp_shake {
    uint32_t magic;
    bool begun; /* else it waits for its turn */
    struct rp_serve *serve;
    struct rp_conn *conn;
    struct rp_shake *next, *prev; /* newest first */
    struct rp_timer timer;
};

static const char PLAIN_ANSWER[] = "HTTP/1.1 400 Bad Request\r\n"
                                   "Content-Type: text/plain; charset=utf-8\r\n"
                                   "Content-Length: 51\r\n"
                                   "Connection: close\r\n\r\n"
                                   "400 a plain HTTP request was sent to an HTTPS port\n";

/* ---- ends ------------------------------------------------------------------------------------ */

/* Give back everything but the connection. */
static struct rp_conn *forget(struct rp_shake *h)
{
    struct rp_conn *c = h->conn;
    struct rp_proxy *p = h->serve->proxy;
    rp_timer_clear(p->loop, &h->timer);
    if (h->prev) h->prev->next = h->next;
    else p->tls.newest = h->next;
    if (h->next) h->next->prev = h->prev;
    else p->tls.oldest = h->prev;
    if (!h->begun) p->tls.waiting_n--;
    rp_conn_face(c)->owner = NULL;
    rp_conn_face(c)->on_event = NULL;
    h->magic = 0;
    rp_free(h);
    return c;
}

static unsigned trouble_of(rp_err e)
{
    return e == RP_E_TLS_TIMEOUT ? 0 : e == RP_E_TLS_RATE ? 1 : e == RP_E_TLS_PLAIN_HTTP ? 2 : 3;
}

static void say_failed(struct rp_serve *s, const struct rp_conn *c, rp_err e)
{
    unsigned kind = trouble_of(e);
    struct rp_tls_gate *g = &s->proxy->tls;
    rp_ms now = rp_loop_now(s->proxy->loop);
    char ip[RP_ADDR_TEXT_BYTES + 1];
    struct rp_addr client;
    const char *why = rp_conn_why(c);
    g->unsaid_n[kind]++;
    if (g->said_ms[kind] && now - g->said_ms[kind] < SECOND_MS) return;
    g->said_ms[kind] = now;
    rp_conn_peer(c, &client);
    ip[rp_addr_put_ip(&client, ip)] = '\0';
    rp_log(info, "%s reason=%s error=\"%s\" client=%s listener=%s failed_n=%u", rp_err_text(e),
           rp_err_reason(e), why ? why : rp_err_text(e), ip, rp_log_esc(s->text),
           g->unsaid_n[kind]);
    g->unsaid_n[kind] = 0;
}

static void answer_plain(struct rp_proxy *p, struct rp_conn *c)
{
    struct rp_chain out;
    rp_conn_stop_tls(c);
    rp_chain_init(&out, p->mem);
    rp_chain_add_const(&out, rp_str_of(PLAIN_ANSWER, sizeof PLAIN_ANSWER - 1));
    rp_err sent = rp_conn_send(c, &out); /* a new socket takes it, or is broken */
    rp_chain_clear(&out);
    if (sent == RP_OK) rp_conn_linger(c, POLITE_MS, POLITE_BYTES);
    else rp_conn_close(c);
}

static void fail(struct rp_shake *h, rp_err e)
{
    struct rp_serve *s = h->serve;
    struct rp_proxy *p = s->proxy;
    struct rp_conn *c = forget(h);
    if (e == RP_E_TLS_TIMEOUT) p->stats.tls_timeouts++;
    else if (e == RP_E_TLS_PLAIN_HTTP) p->stats.tls_plain_http++;
    else if (e == RP_E_CLOSED) p->stats.tls_closed++;
    else p->stats.tls_failed++;
    if (e != RP_E_CLOSED) say_failed(s, c, e); /* who only looks whether we are there is no news */
    if (e == RP_E_TLS_PLAIN_HTTP) answer_plain(p, c);
    else rp_conn_close(c);
}

static void done(struct rp_shake *h)
{
    struct rp_serve *s = h->serve;
    struct rp_conn *c = forget(h);
    s->proxy->stats.tls_handshakes++;
    if (rp_tls_is_resumed(rp_conn_tls(c))) s->proxy->stats.tls_resumed++;
    rp_server_speak(s, c);
}

static void on_event(struct rp_conn *c, unsigned events)
{
    struct rp_shake *h = RP_AS(rp_shake, rp_conn_face(c)->owner, MAGIC);
    (void)events;
    if (!h->begun) { /* its hello, or its end: looked at when its turn comes */
        rp_conn_pause(c);
        return;
    }
    rp_err e = rp_conn_finish_tls(c);
    if (e == RP_OK) done(h);
    else if (e != RP_AGAIN) fail(h, e);
}

static void on_timer(struct rp_timer *t)
{
    struct rp_shake *h = RP_CONTAINER(rp_shake, timer, t);
    fail(h, h->begun ? RP_E_TLS_TIMEOUT : RP_E_TLS_RATE);
}

/* ---- turns ----------------------------------------------------------------------------------- */

static void begin(struct rp_shake *h)
{
    struct rp_proxy *p = h->serve->proxy;
    h->begun = true;
    if (!h->serve->tls) { /* a reload took it away while this one waited */
        rp_conn_close(forget(h));
        return;
    }
    p->tls.begun_n++;
    rp_conn_start_tls(h->conn, h->serve->tls, &p->tls.tickets);
    rp_conn_resume(h->conn);
}

/* Is there room in this second? Each second has its own; what is left over is lost. */
static bool has_room(struct rp_proxy *p)
{
    struct rp_tls_gate *g = &p->tls;
    rp_ms now = rp_loop_now(p->loop);
    if (!p->conf->tls_rate) return true;
    if (now - g->second_ms >= SECOND_MS) {
        g->second_ms = now;
        g->begun_n = 0;
    }
    return g->begun_n < p->conf->tls_rate;
}

static void on_turn(struct rp_timer *t)
{
    struct rp_proxy *p = RP_CONTAINER(rp_proxy, tls.turn, t);
    struct rp_shake *h = p->tls.oldest;
    for (struct rp_shake *newer; h && p->tls.waiting_n > 0 && has_room(p); h = newer) {
        newer = h->prev;
        if (h->begun) continue;
        p->tls.waiting_n--;
        begin(h);
    }
    if (p->tls.waiting_n > 0) rp_timer_set(p->loop, &p->tls.turn, SECOND_MS);
}

void rp_tls_door_open(struct rp_serve *s, struct rp_conn *c)
{
    struct rp_proxy *p = s->proxy;
    struct rp_shake *h = rp_alloc(sizeof *h);
    h->magic = MAGIC;
    h->serve = s;
    h->conn = c;
    h->next = p->tls.newest;
    if (h->next) h->next->prev = h;
    else p->tls.oldest = h;
    p->tls.newest = h;
    rp_timer_init(&h->timer, on_timer);
    rp_timer_set(p->loop, &h->timer, p->conf->tls_ms);
    rp_conn_face(c)->owner = h;
    rp_conn_face(c)->on_event = on_event;
    if (has_room(p)) {
        begin(h);
        return;
    }
    p->tls.waiting_n++;
    if (!p->tls.turn.fire) rp_timer_init(&p->tls.turn, on_turn);
    if (!rp_timer_is_armed(&p->tls.turn)) rp_timer_set(p->loop, &p->tls.turn, SECOND_MS);
}

void rp_tls_door_close(struct rp_proxy *p)
{
    while (p->tls.newest) rp_conn_close(forget(p->tls.newest));
    if (p->tls.turn.fire) rp_timer_clear(p->loop, &p->tls.turn);
}
