/* SPDX-License-Identifier: MIT
 *
 * tls_door: see tls_door.h.
 */
#include "proxy/tls_door.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/timer.h"
#include "proxy/cert_book.h"

enum {
    MAGIC = 0x544c5344,
    SECOND_MS = 1000,
    POLITE_MS = 1000, /* a client that spoke plain HTTP gets this long to read why it failed */
    POLITE_BYTES = 64 * 1024,
    WORDS_BYTES = 280, /* a text that rp_log_esc has cut */
    ALERT_INTERNAL_ERROR = 80,
    ALERT_UNRECOGNIZED_NAME = 112,
};

struct rp_shake {
    uint32_t magic;
    bool begun; /* else it waits for its turn */
    bool early; /* a session reads what it brought already: the conn is that one's */
    struct rp_serve *serve;
    struct rp_conn *conn;
    struct rp_guest *guest;       /* held; NULL: no hook has a say, or all had */
    struct rp_shake *next, *prev; /* newest first */
    struct rp_timer timer;
    struct rp_req *waiting; /* early: for its end; by shake_next */
};

static const char PLAIN_ANSWER[] = "HTTP/1.1 400 Bad Request\r\n"
                                   "Content-Type: text/plain; charset=utf-8\r\n"
                                   "Content-Length: 51\r\n"
                                   "Connection: close\r\n\r\n"
                                   "400 a plain HTTP request was sent to an HTTPS port\n";

/* ---- ends ------------------------------------------------------------------------------------ */

static void drop(struct rp_shake *h)
{
    struct rp_proxy *p = h->serve->proxy;
    rp_timer_clear(p->loop, &h->timer);
    if (h->prev) h->prev->next = h->next;
    else p->tls.newest = h->next;
    if (h->next) h->next->prev = h->prev;
    else p->tls.oldest = h->prev;
    if (!h->begun) p->tls.waiting_n--;
    h->magic = 0;
    if (h->guest) rp_guest_leave(h->guest);
    rp_guest_drop(&h->guest);
    rp_free(h);
}

static void let_go(struct rp_conn *c)
{
    rp_conn_face(c)->owner = NULL;
    rp_conn_face(c)->on_event = NULL;
}

/* Give back everything but the connection. */
static struct rp_conn *forget(struct rp_shake *h)
{
    struct rp_conn *c = h->conn;
    drop(h);
    let_go(c);
    return c;
}

static unsigned trouble_of(rp_err e)
{
    switch (e) {
    case RP_E_TLS_TIMEOUT: return 0;
    case RP_E_TLS_RATE: return 1;
    case RP_E_TLS_PLAIN_HTTP: return 2;
    case RP_E_TLS_REFUSED: return 4;
    case RP_E_HOOK_TIMEOUT: return 5;
    default: return 3;
    }
}

/* Words for the log, in text when they are made there. */
static const char *words_of(const struct rp_shake *h, rp_err e, char text[WORDS_BYTES])
{
    const struct rp_guest *g = h->guest;
    const char *hook = g ? rp_guest_waiting_for(g) : NULL;
    const char *why = rp_conn_why(h->conn);
    if (g && e == RP_E_TLS_REFUSED && g->reason_n) {
        snprintf(text, WORDS_BYTES, "%s", rp_log_esc(rp_str_of(g->reason, g->reason_n)));
    } else if (e == RP_E_TLS_REFUSED) {
        return rp_err_text(e);
    } else if (hook && (e == RP_E_TLS_TIMEOUT || e == RP_E_HOOK_TIMEOUT)) {
        snprintf(text, WORDS_BYTES, "its %s hook was waited for", hook);
    } else {
        return why ? why : rp_err_text(e);
    }
    return text;
}

/* What a hook raised was said where it was caught. */
static void say_failed(const struct rp_shake *h, rp_err e)
{
    unsigned kind = trouble_of(e);
    struct rp_tls_gate *g = &h->serve->proxy->tls;
    rp_ms now = rp_loop_now(h->serve->proxy->loop);
    char ip[RP_ADDR_TEXT_BYTES + 1], words[WORDS_BYTES];
    struct rp_addr client;
    if (e == RP_E_HOOK || e == RP_E_HOOK_BUDGET) return;
    g->unsaid_n[kind]++;
    if (g->said_ms[kind] && now - g->said_ms[kind] < SECOND_MS) return;
    g->said_ms[kind] = now;
    rp_conn_peer(h->conn, &client);
    ip[rp_addr_put_ip(&client, ip)] = '\0';
    rp_log(info, "%s reason=%s error=\"%s\" client=%s%s%s listener=%s failed_n=%u", rp_err_text(e),
           rp_err_reason(e), words_of(h, e, words), ip, h->guest ? " sni=" : "",
           h->guest ? rp_log_esc(h->guest->hello.sni) : "", rp_log_esc(h->serve->text),
           g->unsaid_n[kind]);
    g->unsaid_n[kind] = 0;
}

/* In the clear: the other side speaks no TLS, or not yet. */
static void say_goodbye(struct rp_proxy *p, struct rp_conn *c, rp_str bytes)
{
    struct rp_chain out;
    rp_conn_stop_tls(c);
    rp_chain_init(&out, p->mem);
    rp_chain_add_copy(&out, bytes);
    rp_err sent = rp_conn_send(c, &out); /* a new socket takes it, or is broken */
    rp_chain_clear(&out);
    if (sent == RP_OK) rp_conn_linger(c, POLITE_MS, POLITE_BYTES);
    else rp_conn_close(c);
}

static void count_failed(struct rp_proxy_stats *s, rp_err e)
{
    if (e == RP_E_TLS_TIMEOUT) s->tls_timeouts++;
    else if (e == RP_E_TLS_PLAIN_HTTP) s->tls_plain_http++;
    else if (e == RP_E_CLOSED) s->tls_closed++;
    else if (e == RP_E_TLS_REFUSED) s->tls_refused++;
    else s->tls_failed++;
}

/* Its connection is left. */
static struct rp_conn *end_failed(struct rp_shake *h, rp_err e)
{
    count_failed(&h->serve->proxy->stats, e);
    if (e != RP_E_CLOSED) say_failed(h, e); /* who only looks whether we are there is no news */
    return forget(h);
}

static void fail(struct rp_shake *h, rp_err e)
{
    struct rp_proxy *p = h->serve->proxy;
    struct rp_conn *c = end_failed(h, e);
    if (e == RP_E_TLS_PLAIN_HTTP)
        say_goodbye(p, c, rp_str_of(PLAIN_ANSWER, sizeof PLAIN_ANSWER - 1));
    else rp_conn_close(c);
}

/* Nothing was sealed yet: a fatal alert tells the client why (RFC 8446 §6.2). */
static void refuse(struct rp_shake *h, rp_err e)
{
    struct rp_proxy *p = h->serve->proxy;
    uint8_t with = e == RP_E_TLS_REFUSED && h->guest->alert ? h->guest->alert
                   : e == RP_E_TLS_REFUSED                  ? ALERT_UNRECOGNIZED_NAME
                                                            : ALERT_INTERNAL_ERROR;
    const char alert[] = {21, 3, 3, 0, 2, 2, (char)with};
    say_goodbye(p, end_failed(h, e), rp_str_of(alert, sizeof alert));
}

void rp_tls_door_decided(struct rp_shake *h, rp_err e)
{
    struct rp_guest *g = h->guest;
    static const struct rp_tls_choice NONE;
    unsigned question = rp_conn_question(h->conn);
    bool cert = question == RP_TLS_Q_CERT;
    if (question == 0) return; /* the client has gone: its event is under way */
    if (e == RP_OK && cert && !g->cert.given && rp_tls_lacks_cert(rp_conn_tls(h->conn)))
        e = RP_E_TLS_REFUSED;
    if (e != RP_OK) {
        refuse(h, e);
    } else {
        g->question = 0;
        if (cert) rp_conn_answer_cert(h->conn, g->cert.given);
        else rp_conn_answer_hello(h->conn, g->choice ? g->choice : &NONE);
    }
}

/* What is known of the client goes with its connection. */
static void drop_guest(void *thing)
{
    struct rp_guest *g = thing;
    rp_guest_drop(&g);
}

static void keep_guest(struct rp_shake *h)
{
    rp_guest_learn(h->guest); /* nobody was asked: it came back by a ticket */
    rp_conn_attach(h->conn, rp_guest_hold(h->guest), drop_guest);
    rp_guest_leave(h->guest);
    rp_guest_drop(&h->guest);
}

/* ---- early data ------------------------------------------------------------------------------ */

/* The handshake behind early data is over, well or not. */
static void on_shaken(void *arg)
{
    struct rp_shake *h = RP_AS(rp_shake, arg, MAGIC);
    while (h->waiting) {
        struct rp_req *r = h->waiting;
        h->waiting = r->shake_next;
        r->shake = NULL;
        rp_req_wake(r, RP_WAKE_BODY);
    }
    drop(h);
}

/* Nobody may have a connection for long without showing that he is there. */
static void expire_early(struct rp_shake *h)
{
    struct rp_conn *c = h->conn;
    h->serve->proxy->stats.tls_timeouts++;
    rp_conn_on_shaken(c, NULL, NULL);
    on_shaken(h);
    rp_conn_give_up(c);
}

rp_err rp_tls_door_wait(struct rp_req *r)
{
    const struct rp_tls *t = rp_conn_tls(r->x.conn);
    struct rp_shake *h = rp_tls_shaken_arg(t);
    if (!rp_tls_is_early(t)) return RP_OK;
    if (!h || rp_conn_face(r->x.conn)->fail.code != RP_OK) return RP_E_CLIENT_GONE;
    if (r->shake) return RP_AGAIN;
    r->shake = h;
    r->shake_next = h->waiting;
    h->waiting = r;
    return RP_AGAIN;
}

void rp_tls_door_unwait(struct rp_req *r)
{
    struct rp_req **at = &r->shake->waiting;
    while (*at != r) at = &(*at)->shake_next; /* as many as the connection has streams */
    *at = r->shake_next;
    r->shake = NULL;
}

void rp_tls_door_forget(struct rp_proxy *p)
{
    while (p->tls.newest) {
        struct rp_shake *h = RP_AS(rp_shake, p->tls.newest, MAGIC);
        rp_conn_on_shaken(h->conn, NULL, NULL);
        drop(h);
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

/* The session may begin; with early data the handshake goes on, and the door still watches it. */
static struct rp_conn *hand_over(struct rp_shake *h)
{
    struct rp_conn *c = h->conn;
    if (!rp_tls_is_early(rp_conn_tls(c))) return forget(h);
    h->serve->proxy->stats.tls_early++;
    h->early = true;
    rp_conn_on_shaken(c, on_shaken, h);
    let_go(c);
    return c;
}

static void done(struct rp_shake *h)
{
    struct rp_serve *s = h->serve;
    if (h->guest) keep_guest(h);
    struct rp_conn *c = hand_over(h);
    s->proxy->stats.tls_handshakes++;
    if (rp_tls_is_resumed(rp_conn_tls(c))) s->proxy->stats.tls_resumed++;
    if (rp_tls_is_kernel(rp_conn_tls(c))) s->proxy->stats.tls_kernel++;
    if (rp_tls_is_stapled(rp_conn_tls(c))) s->proxy->stats.tls_stapled++;
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
    else if (h->guest && rp_conn_question(c)) rp_guest_ask(h->guest);
}

static void on_timer(struct rp_timer *t)
{
    struct rp_shake *h = RP_CONTAINER(rp_shake, timer, t);
    if (h->early) expire_early(h);
    else fail(h, h->begun ? RP_E_TLS_TIMEOUT : RP_E_TLS_RATE);
}

/* ---- turns ----------------------------------------------------------------------------------- */

static void begin(struct rp_shake *h)
{
    struct rp_serve *s = h->serve;
    struct rp_proxy *p = s->proxy;
    h->begun = true;
    if (!s->tls || (s->asks && !s->hook_conf)) { /* a reload took it away while this one waited */
        rp_conn_close(forget(h));
        return;
    }
    p->tls.begun_n++;
    rp_conn_start_tls(h->conn, s->tls, &p->tls.tickets);
    if (s->asks) h->guest = rp_guest_new(s, h, h->conn);
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
    struct rp_shake *h = p->tls.newest;
    for (struct rp_shake *older; h; h = older) {
        older = h->next;
        if (!h->early) rp_conn_close(forget(h));
    }
    if (p->tls.turn.fire) rp_timer_clear(p->loop, &p->tls.turn);
}

void rp_tls_door_flip(struct rp_proxy *p)
{
    rp_cert_book_clear(p);
}

void rp_tls_door_free(struct rp_proxy *p)
{
    rp_cert_book_free(p);
}

void rp_tls_door_dump(const struct rp_proxy *p, struct rp_buf *out)
{
    for (const struct rp_shake *h = p->tls.newest; h; h = h->next) {
        const char *hook = h->guest ? rp_guest_waiting_for(h->guest) : NULL;
        char ip[RP_ADDR_TEXT_BYTES + 1];
        if (!hook) continue;
        ip[rp_addr_put_ip(&h->guest->client, ip)] = '\0';
        rp_buf_addf(out, "handshake waiting_for=\"%s\" client=%s sni=\"", hook, ip);
        rp_buf_add_escaped(out, h->guest->hello.sni);
        rp_buf_add(out, RP_STR("\" listener=\""));
        rp_buf_add_escaped(out, h->serve->text);
        rp_buf_add(out, RP_STR("\"\n"));
    }
}
