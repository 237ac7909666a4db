/* SPDX-License-Identifier: MIT
 *
 * dial: see dial.h. The address that is checked is the one that is connected to: a name that resolves
 * to something else a moment later changes nothing.
 */
#include "proxy/dial.h"

#include "base/log.h"
#include "http/h1_up.h"
#include "proxy/connect_allow.h"
#include "proxy/proxy.h"

enum {
    ADDRS_MOST = 8,    /* tried of one name */
    CONNECT_MS = 5000, /* for the name, and for each address; unless the route says otherwise */
};

struct rp_dial {
    struct rp_dns_query *query; /* under way */
    rp_err resolved;            /* RP_OK, or why there is no address */
    uint32_t addrs_n, at;       /* at: the one that is tried */
    struct rp_addr addrs[ADDRS_MOST];
};

static rp_ms connect_ms(const struct rp_req *r)
{
    return r->route->connect_ms ? r->route->connect_ms : CONNECT_MS;
}

/* ---- the target -------------------------------------------------------------------------------- */

static void on_answer(void *arg, const struct rp_dns_answer *answer)
{
    struct rp_req *r = arg;
    struct rp_dial *d = r->dial;
    bool slow = answer->status == RP_E_TIMEOUT;
    d->query = NULL;
    d->resolved = answer->status == RP_OK && answer->addrs_n > 0 ? RP_OK : RP_E_UP_RESOLVE;
    if (slow) d->resolved = RP_E_UP_RESOLVE_TIMEOUT;
    for (size_t i = 0; d->resolved == RP_OK && i < answer->addrs_n; i++) {
        struct rp_addr a = answer->addrs[i];
        a.port = r->x.head.uri.port;
        if (d->addrs_n == ADDRS_MOST) break;
        if (rp_connect_allow_has(r->route->connect, &a)) d->addrs[d->addrs_n++] = a;
    }
    if (d->resolved == RP_OK && d->addrs_n == 0) d->resolved = RP_E_CONNECT_ADDRESS;
    rp_req_wake(r, RP_WAKE_UP);
}

static enum rp_verdict refuse(struct rp_req *r, rp_err e)
{
    r->proxy->stats.connect_denied++;
    if (e ==
        RP_E_CONNECT_ADDRESS) { /* a name of ours that points where it should not: look at it */
        rp_log(warn, "%s target=%s route=%s request=%s", rp_err_text(e),
               rp_log_esc(r->x.head.target), rp_log_esc(r->route->id), rp_req_id(r).ptr);
    }
    return rp_step_fail(r, e);
}

static rp_err find_target(struct rp_req *r)
{
    const struct rp_uri *u = &r->x.head.uri;
    struct rp_addr literal;
    rp_err e = rp_connect_allow_check(r->route->connect, u->host, u->port, &literal);
    if (e != RP_OK) return e;
    struct rp_dial *d = rp_arena_zalloc(&r->x.arena, sizeof *d);
    if (!d) return RP_E_CAP;
    r->dial = d;
    if (literal.family != RP_ADDR_NONE) {
        d->addrs[d->addrs_n++] = literal;
        return RP_OK;
    }
    e = rp_dns_resolve(r->proxy->dns, u->host, on_answer, r, &d->query);
    return e == RP_E_INVALID ? RP_E_UP_RESOLVE : e;
}

/* ---- the connection ---------------------------------------------------------------------------- */

static void on_up_event(void *user, struct rp_up *u)
{
    (void)u;
    rp_req_wake(user, RP_WAKE_UP);
}

static enum rp_verdict address_failed(struct rp_req *r, rp_err e, const struct rp_conn_fail *fail)
{
    struct rp_dial *d = r->dial;
    char addr[RP_ADDR_TEXT_BYTES + 1];
    addr[rp_addr_put(&d->addrs[d->at], addr)] = '\0';
    rp_log(warn, "%s target=%s address=%s try=%u error=\"%s\" request=%s", rp_err_text(e),
           rp_log_esc(r->x.head.target), addr, r->tries,
           fail && fail->os ? strerror(fail->os) : rp_err_reason(e), rp_req_id(r).ptr);
    r->proxy->stats.up_failures++;
    if (r->up) rp_up_close(r->up);
    r->up = NULL;
    if (++d->at == d->addrs_n) return rp_step_fail(r, e);
    r->proxy->stats.retries++;
    return rp_step_to(r, RP_STEP_DIAL);
}

static enum rp_verdict start_connect(struct rp_req *r)
{
    struct rp_conn_fail fail = {0};
    const struct rp_addr *to = &r->dial->addrs[r->dial->at];
    r->tries++;
    r->pick.want_addr = *to; /* for logs */
    r->connect_start_ns = rp_loop_now_ns(r->proxy->loop);
    r->proxy->stats.up_connects++;
    rp_err e = rp_h1_up_connect(r->proxy->loop, r->proxy->mem, to, &r->up, &fail);
    if (e != RP_OK) {
        r->up = NULL;
        return address_failed(r, e, &fail);
    }
    rp_up_bind(r->up, on_up_event, r);
    return rp_step_wait(r, "CONNECT target", connect_ms(r), RP_E_UP_CONNECT_TIMEOUT);
}

static enum rp_verdict go_on_waiting(struct rp_req *r, const char *what)
{
    r->waiting_for = what; /* the deadline stands */
    return RP_STEP_WAIT;
}

enum rp_verdict rp_step_dial(struct rp_req *r)
{
    if (!r->dial) {
        rp_err e = find_target(r);
        if (e == RP_E_CONNECT_DENIED) return refuse(r, e);
        if (e != RP_OK) return rp_step_fail(r, e);
        if (r->dial->query) {
            return rp_step_wait(r, "CONNECT target's name", connect_ms(r), RP_E_UP_RESOLVE_TIMEOUT);
        }
    }
    if (r->dial->query) return go_on_waiting(r, "CONNECT target's name");
    if (r->dial->resolved == RP_E_CONNECT_ADDRESS) return refuse(r, r->dial->resolved);
    if (r->dial->resolved != RP_OK) return rp_step_fail(r, r->dial->resolved);
    if (!r->up) return start_connect(r);
    rp_err e = rp_up_finish_connect(r->up);
    if (e == RP_AGAIN) return go_on_waiting(r, "CONNECT target");
    if (e != RP_OK) return address_failed(r, e, r->up->fail);
    r->connected_ns = rp_loop_now_ns(r->proxy->loop);
    return rp_dial_done(r, NULL);
}

enum rp_verdict rp_dial_timeout(struct rp_req *r, rp_err e)
{
    if (e == RP_E_UP_CONNECT_TIMEOUT && r->up) return address_failed(r, e, NULL);
    rp_dial_cancel(r);
    return rp_step_fail(r, e);
}

void rp_dial_cancel(struct rp_req *r)
{
    if (!r->dial || !r->dial->query) return;
    rp_dns_cancel(r->dial->query);
    r->dial->query = NULL;
}

/* ---- the answer -------------------------------------------------------------------------------- */

enum rp_verdict rp_dial_done(struct rp_req *r, struct rp_chain *first)
{
    struct rp_chain none;
    rp_chain_init(&none, r->proxy->mem);
    rp_up_start(r->up, first ? first : &none, RP_M_CONNECT, RP_BODY_CLOSE, 0);
    rp_err e = rp_req_answer(r, RP_FROM_CORE, 200, RP_STR_NONE, RP_STR_NONE);
    if (e != RP_OK) return rp_step_fail(r, e);
    r->answered = false; /* it stands for the upstream's: nothing takes its place yet */
    r->res.framing = RP_BODY_NONE;
    return rp_step_to(r, RP_STEP_RESPOND);
}

bool rp_dial_is_tunnel(const struct rp_req *r)
{
    return r->up && r->x.head.method == RP_M_CONNECT && r->res.status / 100 == 2;
}

/* A client may send what is meant for the tunnel before it has our answer: those bytes must not be
 * taken for a request, so the connection ends. A 2xx would promise a tunnel (RFC 9110 §9.3.6). */
void rp_dial_refuse(struct rp_req *r)
{
    rp_attempt_release(r);
    if (r->res.status / 100 == 2) {
        rp_log(error, "%s route=%s request=%s", rp_err_text(RP_E_CONNECT_ANSWER),
               rp_log_esc(r->route ? r->route->id : RP_STR("")), rp_req_id(r).ptr);
        rp_req_answer_error(r, RP_E_CONNECT_ANSWER);
    }
    r->x.close_after = true;
}
