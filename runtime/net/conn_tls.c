/* SPDX-License-Identifier: MIT
 *
 * conn_tls: the half of a conn that speaks TLS: its handshake, the questions in it, early data, and the
 * bytes that wait inside of OpenSSL, where epoll does not see them. The TLS itself is tls.c's.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fault.h"
#include "net/conn_in.h"

/* ---- handshake ------------------------------------------------------------------------------ */

void rp_conn_tls_more(struct rp_conn *c)
{
    rp_loop_defer(c->poll.loop, &rp_tls_face(c->tls)->again);
}

/* The handshake waits for its owner's answer. Nothing is read; that the client leaves is seen all the
 * same, and it is the one event besides room that can come. */
static void begin_asking(struct rp_conn *c)
{
    c->state = RP_CONN_ASKING;
    c->paused = true;
    rp_conn_arm(c, rp_conn_wanted(c) | RP_POLL_GONE);
}

rp_err rp_conn_tls_shake(struct rp_conn *c)
{
    rp_err e = rp_tls_shake(c->tls);
    struct rp_tls_face *f = rp_tls_face(c->tls);
    if (e < 0) {
        /* An upstream that broke it off is one of the reasons of a handshake's failure. */
        bool up = e == RP_E_CLOSED && c->connect_told;
        return rp_conn_fail(c, up ? RP_E_UP_TLS_HANDSHAKE : e, f->os, "tls");
    }
    if (c->failed) rp_conn_met_failure(c);
    if (!rp_tls_is_flushed(c->tls)) RP_IGNORE(rp_conn_wait(c)); /* AGAIN, as it always says */
    if (rp_tls_is_early(c->tls)) e = RP_OK;                     /* the rest is go_on_shaking's */
    if (e == RP_OK) c->state = RP_CONN_OPEN;
    if (e == RP_OK && f->more) rp_conn_tls_more(c);
    if (e == RP_AGAIN && rp_tls_question(c->tls)) begin_asking(c);
    return e;
}

/* A step of the handshake, and what is to be told of it. */
static unsigned shake_on(struct rp_conn *c)
{
    return rp_conn_tls_shake(c) == RP_AGAIN && c->state == RP_CONN_SHAKING ? 0 : RP_POLL_OUT;
}

static void run_again(struct rp_defer *d)
{
    const struct rp_tls_face *f = RP_CONTAINER(rp_tls_face, again, d);
    struct rp_conn *c = f->conn;
    if (c->state == RP_CONN_SHAKING) { /* an answer came */
        if (shake_on(c) && c->face.on_event) c->face.on_event(c, RP_CONN_WRITABLE);
        return;
    }
    if (!f->more || c->paused || c->state != RP_CONN_OPEN || !c->face.on_event) return;
    c->face.on_event(c, RP_CONN_READABLE);
    /* As epoll does, tell again who neither read nor paused. c is there until the tick ends. */
    if (c->tls && c->state == RP_CONN_OPEN && !c->paused && rp_tls_face(c->tls)->more)
        rp_conn_tls_more(c);
}

static void wear_tls(struct rp_conn *c, struct rp_tls *t)
{
    struct rp_tls_face *f = rp_tls_face(t);
    f->again.run = run_again;
    f->conn = c;
    f->in_bytes = &c->face.in_bytes;
    f->out_bytes = &c->face.out_bytes;
    c->tls = t;
}

void rp_conn_tls_drop(struct rp_conn *c)
{
    if (!c->tls) return;
    rp_loop_undefer(c->poll.loop, &rp_tls_face(c->tls)->again);
    rp_tls_free(&c->tls);
}

void rp_conn_start_tls(struct rp_conn *c, struct rp_tls_server *server,
                       const struct rp_tls_tickets *tickets)
{
    RP_CHECK(c->state == RP_CONN_OPEN && !c->tls);
    wear_tls(c, rp_tls_accept(c->poll.loop, c->poll.fd, server, tickets));
    c->state = RP_CONN_SHAKING;
}

rp_err rp_conn_finish_tls(struct rp_conn *c)
{
    bool busy = c->state == RP_CONN_SHAKING || c->state == RP_CONN_ASKING;
    return busy && c->face.fail.code == RP_OK ? RP_AGAIN : c->face.fail.code;
}

void rp_conn_ask_tls(struct rp_conn *c, unsigned questions)
{
    RP_CHECK(c->state == RP_CONN_SHAKING);
    rp_tls_ask(c->tls, questions);
}

unsigned rp_conn_question(const struct rp_conn *c)
{
    return c->state == RP_CONN_ASKING && c->face.fail.code == RP_OK ? rp_tls_question(c->tls) : 0;
}

static void answered(struct rp_conn *c)
{
    c->state = RP_CONN_SHAKING;
    c->paused = false;
    if (!c->failed) rp_conn_arm(c, rp_conn_wanted(c));
    rp_conn_tls_more(c);
}

void rp_conn_answer_hello(struct rp_conn *c, const struct rp_tls_choice *choice)
{
    rp_tls_answer_hello(c->tls, choice);
    answered(c);
}

void rp_conn_answer_cert(struct rp_conn *c, struct rp_tls_cert *cert)
{
    rp_tls_answer_cert(c->tls, cert);
    answered(c);
}

bool rp_conn_take_hello(struct rp_conn *c, struct rp_tls_hello *out)
{
    return c->tls && rp_tls_take_hello(c->tls, out);
}

void rp_conn_attach(struct rp_conn *c, void *thing, void (*drop)(void *thing))
{
    rp_tls_attach(c->tls, thing, drop);
}

void rp_conn_on_shaken(struct rp_conn *c, void (*fn)(void *arg), void *arg)
{
    if (c->tls) rp_tls_on_shaken(c->tls, fn, arg);
}

void rp_conn_give_up(struct rp_conn *c)
{
    RP_CHECK(c->state == RP_CONN_OPEN && c->tls);
    RP_IGNORE(rp_conn_fail(c, RP_E_TLS_TIMEOUT, 0, "tls")); /* the code again */
    rp_tls_break(c->tls);
    rp_conn_tls_more(c);
}

void rp_conn_stop_tls(struct rp_conn *c)
{
    RP_CHECK(c->state == RP_CONN_SHAKING || c->state == RP_CONN_ASKING);
    rp_conn_tls_drop(c);
    c->state = RP_CONN_OPEN;
    c->want_write = false;
    c->face.fail = (struct rp_conn_fail){0};
}

void rp_conn_use_tls(struct rp_conn *c, struct rp_tls_client *client, rp_str name,
                     struct rp_tls_memory *memory)
{
    RP_CHECK(c->state == RP_CONN_CONNECTING && !c->tls);
    if (RP_UNLIKELY(c->poll.loop->lab != NULL)) return; /* lab.h */
    wear_tls(c, rp_tls_connect(c->poll.loop, c->poll.fd, client, name, memory));
}

void rp_conn_greet(struct rp_conn *c, rp_str bytes)
{
    RP_CHECK(c->state == RP_CONN_CONNECTING && c->tls);
    rp_tls_greet(c->tls, bytes);
}

void rp_conn_offer(struct rp_conn *c, rp_str alpn)
{
    if (RP_UNLIKELY(c->poll.loop->lab != NULL)) return;
    RP_CHECK(c->state == RP_CONN_CONNECTING && c->tls);
    rp_tls_offer(c->tls, alpn);
}

const struct rp_tls *rp_conn_tls(const struct rp_conn *c)
{
    return c->tls;
}

const char *rp_conn_why(const struct rp_conn *c)
{
    const char *why = c->tls ? rp_tls_why(c->tls) : NULL;
    return why ? why : c->face.fail.os ? strerror(c->face.fail.os) : NULL;
}

/* Room again: what was kept goes first, then the FIN that waited for it. */
static rp_err flush_tls(struct rp_conn *c)
{
    rp_err e = rp_tls_flush(c->tls);
    if (e == RP_AGAIN) return rp_conn_wait(c);
    if (rp_tls_is_early(c->tls)) return e; /* close_notify comes first */
    if (c->fin_wanted) c->fin_sent = RP_SYS(shutdown, shutdown(c->poll.fd, SHUT_WR)) == 0;
    c->fin_wanted = false; /* where it is refused, recv tells why */
    return e;
}

/* What was armed for a client that leaves is disarmed by that alone (on_poll). */
static unsigned asking_on_poll(struct rp_conn *c)
{
    if (c->poll.armed & RP_POLL_GONE) {
        RP_IGNORE(flush_tls(c)); /* a failure is found by the handshake */
        /* on_poll would drop it with the rest */
        if (!c->failed) rp_conn_arm(c, rp_conn_wanted(c) | RP_POLL_GONE);
        return 0;
    }
    RP_IGNORE(rp_conn_fail(c, RP_E_CLOSED, 0, "tls")); /* told by finish_tls */
    return RP_POLL_OUT;
}

/* Early data has come, and the owner reads and answers it; the handshake goes on behind that, also
 * while the owner pauses. */
static unsigned go_on_shaking(struct rp_conn *c, unsigned events)
{
    rp_err e = rp_tls_shake(c->tls);
    const struct rp_tls_face *f = rp_tls_face(c->tls);
    if (e < 0) RP_IGNORE(rp_conn_fail(c, e, f->os, "tls")); /* recv says it */
    if (c->failed) rp_conn_met_failure(c);
    if (e == RP_AGAIN) rp_conn_arm(c, c->poll.armed | RP_POLL_IN);
    if (!rp_tls_is_flushed(c->tls)) RP_IGNORE(rp_conn_wait(c));  /* AGAIN, as it always says */
    else if (e == RP_OK && c->fin_wanted) events |= RP_POLL_OUT; /* for the FIN */
    events &= RP_POLL_OUT;
    return f->more && !c->paused ? events | RP_POLL_IN : events;
}

unsigned rp_conn_tls_on_poll(struct rp_conn *c, unsigned events)
{
    if (c->state == RP_CONN_SHAKING) return shake_on(c);
    if (c->state == RP_CONN_ASKING) return asking_on_poll(c);
    if (rp_tls_is_early(c->tls)) events = go_on_shaking(c, events);
    if ((events & RP_POLL_OUT) && flush_tls(c) == RP_AGAIN) events &= ~(unsigned)RP_POLL_OUT;
    return events;
}

/* ---- bytes --------------------------------------------------------------------------------- */

static rp_err fail_as_tls(struct rp_conn *c, const char *step)
{
    int os = rp_tls_face(c->tls)->os;
    return os ? rp_conn_io_fail(c, os, step) : rp_conn_fail(c, RP_E_CLOSED, 0, "tls");
}

rp_err rp_conn_tls_recv(struct rp_conn *c, char *buf, size_t n, size_t *got)
{
    rp_err e = rp_tls_recv(c->tls, buf, n, got);
    if (e < 0) return fail_as_tls(c, "recv");
    if (c->failed) rp_conn_met_failure(c);
    if (e == RP_END) c->ended = true;
    if (!rp_tls_is_flushed(c->tls)) RP_IGNORE(rp_conn_wait(c)); /* AGAIN, as it always says */
    if (rp_tls_face(c->tls)->more) rp_conn_tls_more(c);
    return e;
}

rp_err rp_conn_tls_peek(struct rp_conn *c, char *buf, size_t n, size_t *got)
{
    rp_err e = rp_tls_peek(c->tls, buf, n, got);
    if (rp_tls_face(c->tls)->more) rp_conn_tls_more(c);
    return e < 0 ? fail_as_tls(c, "recv") : e;
}

rp_err rp_conn_tls_ready(struct rp_conn *c)
{
    rp_err e = rp_tls_kernel_ready(c->tls);
    if (e < 0) return fail_as_tls(c, "send");
    if (e == RP_OK) return e;
    c->failed = false;
    return rp_conn_wait(c);
}

rp_err rp_conn_tls_send(struct rp_conn *c, struct rp_chain *chain)
{
    rp_err e = rp_tls_send(c->tls, chain);
    if (e < 0) return fail_as_tls(c, "send");
    if (e == RP_AGAIN) {
        c->failed = false;
        return rp_conn_wait(c);
    }
    c->want_write = false;
    return RP_OK;
}
