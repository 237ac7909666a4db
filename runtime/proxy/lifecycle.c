/* SPDX-License-Identifier: MIT
 *
 * lifecycle: see lifecycle.h and steps.tbl. The steps up to LOOKUP, the end, and the loop.
 *
 * Invariants: 1 only this file assigns rp_req.step. 2 events only record and queue (rp_req_wake); the
 * loop runs at the end of the tick, never inside a callback. 3 a step that waits says for what, and
 * the one timer watches it. 4 whatever happens, a request passes LOG and END exactly once.
 */
#include "proxy/lifecycle.h"

#include "base/log.h"
#include "http/field.h"
#include "proxy/access.h"
#include "proxy/answer.h"
#include "proxy/buffering.h"
#include "proxy/client_cert.h"
#include "proxy/coalesce.h"
#include "proxy/deadline.h"
#include "proxy/dial.h"
#include "proxy/guard.h"
#include "proxy/guest.h"
#include "proxy/headers.h"
#include "proxy/hedge.h"
#include "proxy/local.h"
#include "proxy/payload.h"
#include "proxy/server.h"
#include "proxy/split.h"
#include "proxy/tls_door.h"
#include "proxy/trace.h"
#include "proxy/tunnel.h"
#include "proxy/upstream.h"

/* ---- moving on ------------------------------------------------------------------------------- */

void rp_step_check(const struct rp_req *r, enum rp_step next)
{
    static const uint32_t LEGAL[] = {
#define B(name) (1u << RP_STEP_##name)
#define S(name, next, doc) (uint32_t)(next),
#include "proxy/steps.tbl"
#undef S
#undef B
    };
    RP_CHECK(next == RP_STEP_LOG || (LEGAL[r->step] >> next) & 1);
}

enum rp_verdict rp_step_wait(struct rp_req *r, const char *what, rp_ms ms, rp_err failure)
{
    r->waiting_for = what;
    r->timer_means = failure;
    r->hook_late = false;
    if (ms) rp_timer_set(r->proxy->loop, &r->timer, ms);
    else rp_timer_rest(&r->timer);
    return RP_STEP_WAIT;
}

enum rp_verdict rp_step_fail(struct rp_req *r, rp_err e)
{
    if (r->fail == RP_OK) r->fail = e;
    if (r->x.head_sent || e == RP_E_CLIENT_GONE) return rp_step_to(r, RP_STEP_LOG);
    rp_attempt_release(r);
    rp_req_answer_error(r, e);
    return rp_step_to(r, RP_STEP_RESPOND);
}

rp_err rp_step_hook(struct rp_req *r, enum rp_phase phase)
{
    r->phase = (uint8_t)phase;
    rp_err e = r->conf->hooks->run(r, phase);
    if (e != RP_AGAIN) {
        r->phase = RP_PHASE_COUNT;
        r->timer_means = RP_OK;
    }
    return e;
}

enum rp_verdict rp_step_wait_hook(struct rp_req *r)
{
    bool reads = r->task ? r->hook_reads : rp_payload_is_parked(r) && r->payload->reads;
    if (reads) return rp_attempt_wait_body(r); /* this time is the client's */
    if (r->timer_means == RP_E_HOOK_TIMEOUT && rp_timer_is_armed(&r->timer)) {
        r->waiting_for = "hook"; /* other wake-ups do not give it more time */
        return RP_STEP_WAIT;
    }
    return rp_step_wait(r, "hook", r->conf->hook_wait_ms, RP_E_HOOK_TIMEOUT);
}

static enum rp_verdict run_chain(struct rp_req *r, enum rp_phase phase, enum rp_step next)
{
    rp_err e = rp_step_hook(r, phase);
    if (e == RP_AGAIN) return rp_step_wait_hook(r);
    if (e == RP_END) return rp_step_to(r, RP_STEP_RESPOND);
    if (e != RP_OK) return rp_step_fail(r, e);
    return rp_step_to(r, next);
}

/* Run a phase's hooks, where there are some, then go on to `next`. */
static inline enum rp_verdict run_hooks(struct rp_req *r, uint32_t chain, enum rp_phase phase,
                                        enum rp_step next)
{
    return chain ? run_chain(r, phase, next) : rp_step_to(r, next);
}

/* ---- HEAD, ROUTE ----------------------------------------------------------------------------- */

/* One line of a forwarding list. False when the client is found: what stands before it is hearsay. */
static bool walk_list(struct rp_req *r, const struct rp_field *f)
{
    const struct rp_cidr_set *trust = r->conf->trust;
    struct rp_addr from = r->client, found;
    rp_err e = f->id == RP_H_FORWARDED
                   ? rp_field_forwarded(rp_field_value(f), &from, trust, &found)
                   : rp_field_forwarded_for(rp_field_value(f), &from, trust, &found);
    if (e == RP_OK || e == RP_E_INVALID) r->client = found;
    return e == RP_OK && rp_cidr_set_has(trust, &r->client);
}

/* The client's address by the forwarding lists of trusted proxies (RFC 7239 §8.1). */
static void find_client(struct rp_req *r)
{
    const struct rp_conf *c = r->conf;
    rp_conn_peer(r->x.conn, &r->conn_addr);
    rp_addr_copy(&r->client, &r->conn_addr);
    r->from_trusted = c->trust && rp_cidr_set_has(c->trust, &r->conn_addr);
    if (!r->from_trusted) return;
    uint16_t id = RP_H_X_FORWARDED_FOR;
    if (!rp_msg_find(&r->x.head, id)) id = RP_H_FORWARDED;
    for (uint16_t i = r->x.head.fields_n; i > 0; i--) { /* the last line was added last */
        const struct rp_field *f = &r->x.head.fields[i - 1];
        if (f->id == id && f->name_n && !walk_list(r, f)) return;
    }
}

static bool has_too_many_args(const struct rp_req *r)
{
    rp_str q = r->x.head.uri.query;
    uint64_t n = 1;
    if (q.len / 2 < r->conf->args_n) return false; /* an argument is at least "a&" */
    for (size_t i = 0; i < q.len; i++) n += q.ptr[i] == '&';
    return n > r->conf->args_n;
}

/* RFC 9110 §7.4: an https resource MUST be refused on a plain connection, but from a proxy in front of
 * us that we trust: it took the TLS off. */
static bool is_insecure_https(const struct rp_req *r)
{
    rp_str scheme = r->x.head.uri.scheme; /* most targets have none */
    return RP_UNLIKELY(scheme.len) && rp_str_ieq(scheme, RP_STR("https")) && !r->x.secure &&
           !r->from_trusted;
}

/* May a copy of it, sent by somebody else, be served? RFC 8470 §3, RFC 8446 §8. */
static bool is_harmless(const struct rp_req *r)
{
    const struct rp_msg *h = &r->x.head;
    return rp_token_method_is_safe(h->method) && h->framing == RP_BODY_NONE && !h->upgrade;
}

/* The rest waits until its client has proved that it is alive. */
static enum rp_verdict wait_for_handshake(struct rp_req *r)
{
    rp_err e = rp_tls_door_wait(r);
    if (e == RP_AGAIN) return rp_step_wait(r, "TLS handshake", 0, RP_OK); /* the door has a timer */
    if (e != RP_OK) return rp_step_fail(r, e);
    r->x.early = false;
    return RP_STEP_GO;
}

static enum rp_verdict step_head(struct rp_req *r)
{
    const struct rp_serve *s = r->x.listener;
    if (RP_UNLIKELY(r->x.early) && !is_harmless(r)) return wait_for_handshake(r);
    if (r->phase == RP_PHASE_COUNT) { /* not coming back from a parked hook */
        if (rp_trace_is_on(r->conf)) rp_trace_look(r);
        /* Rules look at the normal form only, or "/x/../admin" would pass those for /admin. */
        struct rp_uri *u = &r->x.head.uri;
        bool as_sent = RP_LIKELY(u->is_normal);
        rp_err bad = as_sent ? RP_OK : rp_uri_normalize(&r->x.arena, u->raw_path, &u->path);
        if (bad != RP_OK) return rp_step_fail(r, bad);
        if (has_too_many_args(r)) return rp_step_fail(r, RP_E_ARGS_MANY);
        if (s->own) {
            rp_err e = s->metrics ? rp_local_metrics(r) : rp_local_redirect_https(r);
            return e == RP_OK ? rp_step_to(r, RP_STEP_RESPOND) : rp_step_fail(r, e);
        }
        if (is_insecure_https(r)) return rp_step_fail(r, RP_E_MISDIRECTED);
    }
    return run_hooks(r, r->conf->site_chains.at[RP_PHASE_EARLY], RP_PHASE_EARLY, RP_STEP_ROUTE);
}

static enum rp_verdict step_route(struct rp_req *r)
{
    const struct rp_msg *h = &r->x.head;
    rp_route_find(r->conf, h, &r->client, &r->x.arena, &r->match);
    r->route = r->match.route;
    if (RP_UNLIKELY(r->conf->hosts_ask) && rp_client_cert_is_misdirected(r))
        return rp_step_fail(r, RP_E_MISDIRECTED);
    if (r->match.trouble != RP_OK)
        return rp_step_fail(r, r->match.trouble); /* not by another route */
    r->upstream = r->route->upstream;
    if (RP_UNLIKELY(r->route->grpc_timeout)) rp_deadline_take(r);
    if (RP_UNLIKELY(r->route->split != NULL)) {
        rp_err e = rp_split_choose(r);
        if (e != RP_OK) return rp_step_fail(r, e);
    }
    r->x.body_limit = r->route->body_limit ? r->route->body_limit : UINT64_MAX;
    r->upgrading = h->upgrade && rp_headers_is_upgrade(r);
    if (h->framing == RP_BODY_NONE) r->body_ended = true; /* else early hooks may have read it */
    bool big = h->framing == RP_BODY_LENGTH && h->content_length > r->x.body_limit;
    if (big || r->x.body_in_bytes > r->x.body_limit) return rp_step_fail(r, RP_E_BODY_TOO_BIG);
    return rp_step_to(r, RP_STEP_ACCESS);
}

/* ---- ACCESS, REWRITE, LOOKUP ------------------------------------------------------------------ */

static enum rp_verdict step_access(struct rp_req *r)
{
    return run_hooks(r, r->route->chains.at[RP_PHASE_ACCESS], RP_PHASE_ACCESS, RP_STEP_REWRITE);
}

static enum rp_verdict step_rewrite(struct rp_req *r)
{
    if (r->phase == RP_PHASE_COUNT) {
        if (RP_UNLIKELY(r->split_by == RP_SPLIT_BY_LATER)) rp_split_choose_late(r);
        rp_err e = rp_headers_edit_request(r);
        if (e != RP_OK) return rp_step_fail(r, e);
    }
    return run_hooks(r, r->route->chains.at[RP_PHASE_REWRITE], RP_PHASE_REWRITE, RP_STEP_LOOKUP);
}

static enum rp_verdict run_content(struct rp_req *r)
{
    uint32_t chain = r->route->chains.at[RP_PHASE_CONTENT];
    rp_err e = chain ? rp_step_hook(r, RP_PHASE_CONTENT) : RP_OK;
    if (e == RP_AGAIN) return rp_step_wait_hook(r);
    if (e == RP_END) return rp_step_to(r, RP_STEP_RESPOND);
    if (e != RP_OK) return rp_step_fail(r, e);
    rp_log(error, "content hook gave no answer route=%s request=%s", rp_log_esc(r->route->id),
           rp_req_id(r).ptr);
    return rp_step_fail(r, RP_E_HOOK);
}

/* A tunnel to wherever the client says is nobody's intention, and TRACE would show the client what
 * proxies before us added (RFC 9110 §9.3.8): only routes that name these methods take them. CONNECT
 * is never sent on: it ends here, in a tunnel (dial.h) or an answer. */
static bool is_refused(const struct rp_req *r)
{
    uint8_t method = r->x.head.method;
    bool named = (r->route->methods >> method) & 1;
    return (method == RP_M_CONNECT || method == RP_M_TRACE) && !named;
}

static enum rp_verdict refuse_method(struct rp_req *r)
{
    rp_local_refuse_method(r);
    return rp_step_to(r, RP_STEP_RESPOND);
}

static enum rp_verdict go_upstream(struct rp_req *r)
{
    rp_err e = rp_headers_count_hop(r);
    if (e == RP_OK) return rp_step_to(r, RP_STEP_PICK);
    if (e == RP_END && r->x.head.method != RP_M_OPTIONS) return refuse_method(r);
    if (e == RP_END) e = rp_local_options(r);
    return e == RP_OK ? rp_step_to(r, RP_STEP_RESPOND) : rp_step_fail(r, e);
}

static enum rp_verdict step_lookup(struct rp_req *r)
{
    rp_err e = RP_OK;
    if (r->match.miss != RP_OK) {
        rp_local_miss(r);
        return rp_step_to(r, RP_STEP_RESPOND);
    }
    if (is_refused(r)) return refuse_method(r);
    if (RP_LIKELY(r->route->action == RP_ACTION_UPSTREAM)) return go_upstream(r);
    switch ((enum rp_action)r->route->action) {
    case RP_ACTION_UPSTREAM: return go_upstream(r);
    case RP_ACTION_CONTENT: return run_content(r);
    case RP_ACTION_RESPOND: e = rp_local_respond(r); break;
    case RP_ACTION_REDIRECT: e = rp_local_redirect(r); break;
    case RP_ACTION_CONNECT: return rp_step_to(r, RP_STEP_DIAL);
    }
    return e == RP_OK ? rp_step_to(r, RP_STEP_RESPOND) : rp_step_fail(r, e);
}

/* ---- LOG, END --------------------------------------------------------------------------------- */

static void count_response(struct rp_req *r)
{
    struct rp_proxy_stats *s = &r->proxy->stats;
    unsigned class = r->x.head_sent ? r->res.status / 100u : 0;
    s->by_class[class < RP_COUNT(s->by_class) ? class : 0]++;
    s->bytes_in += r->x.body_in_bytes;
    s->bytes_out += r->x.wire_out_bytes;
}

/* Versions and ciphers are OpenSSL's constants. */
static void note_tls(struct rp_req *r)
{
    const struct rp_tls *t = rp_conn_tls(r->x.conn);
    r->tls = t ? rp_arena_zalloc(&r->x.arena, sizeof *r->tls) : NULL;
    if (!r->tls) return;
    r->tls->version = rp_tls_version(t);
    r->tls->cipher = rp_tls_cipher(t);
    if (rp_tls_sni(t).len) r->tls->sni = rp_arena_copy(&r->x.arena, rp_tls_sni(t));
    if (rp_tls_attached(t)) r->tls->guest = rp_guest_hold(rp_tls_attached(t));
}

/* What most requests have not: looked for in one go, then one by one. */
static inline bool has_any(const void *a, const void *b, const void *c, const void *d,
                           const void *e)
{
    return ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (uintptr_t)d | (uintptr_t)e) != 0;
}

/* ... before its upstream is let go, */
static void end_company(struct rp_req *r)
{
    rp_dial_cancel(r);
    if (r->guard) rp_guard_leave(r);
    if (r->shake) rp_tls_door_unwait(r);
    if (r->hedge) rp_hedge_end(r);
    if (r->coalesce) rp_coalesce_end(r);
}

/* ... and behind that. */
static void end_bodies(struct rp_req *r)
{
    rp_splice_drop(&r->pipe);
    if (r->spool || r->res_spool) rp_buffering_end(r);
    if (r->answer) rp_answer_end(r);
    bool parked = r->task || r->answer || rp_payload_is_parked(r);
    if (parked && r->conf->hooks) r->conf->hooks->cancel(r);
}

/* The session is let go first: a client does not wait for log hooks. */
static void end_response(struct rp_req *r)
{
    if (r->end_ns) return;
    r->end_ns = rp_loop_now_ns(r->proxy->loop);
    if (RP_UNLIKELY(has_any(r->dial, r->guard, r->shake, r->hedge, r->coalesce))) end_company(r);
    rp_attempt_release(r);
    bool bodies = has_any(r->pipe, r->spool, r->res_spool, r->answer, r->task) || r->payload;
    if (RP_UNLIKELY(bodies)) end_bodies(r);
    r->phase = RP_PHASE_COUNT;
    if (r->fail == RP_OK) r->fail = r->x.fail;
    if (r->x.secure) note_tls(r);
    r->x.ops->finish(&r->x);
    r->x.ops = NULL;
    r->x.conn = NULL;
    count_response(r);
    if (RP_UNLIKELY(r->split_by != RP_SPLIT_BY_NOTHING)) rp_split_count(r);
    if (RP_UNLIKELY(r->tunnel != NULL)) rp_tunnel_count_end(r);
}

static enum rp_verdict write_log(struct rp_req *r)
{
    bool wanted = !r->route || r->route->access_log;
    if (wanted && r->conf->access.on && r->proxy->access) rp_access_write(r->proxy->access, r);
    return rp_step_to(r, RP_STEP_END);
}

static enum rp_verdict step_log(struct rp_req *r)
{
    end_response(r);
    uint32_t chain = r->route ? r->route->chains.at[RP_PHASE_LOG] : 0;
    if (chain) {
        if (rp_step_hook(r, RP_PHASE_LOG) == RP_AGAIN) return rp_step_wait_hook(r);
    }
    return write_log(r);
}

/* Its last user goes. */
RP_COLD static void close_conf(struct rp_proxy *p, struct rp_conf *c)
{
    struct rp_groups *gs = rp_groups_find(p, c);
    rp_groups_free(&gs);
    rp_splits_close(p, c);
}

void rp_lifecycle_drop_conf(struct rp_proxy *p, struct rp_conf *c)
{
    if (RP_UNLIKELY(c->refs == 1)) close_conf(p, c);
    rp_conf_drop(c);
}

static enum rp_verdict step_end(struct rp_req *r)
{
    struct rp_proxy *p = r->proxy;
    struct rp_conf *c = r->conf;
    if (c->hooks) c->hooks->forget(r);
    rp_upstream_unpick(r->proxy, &r->pick, RP_PICK_WELL);
    if (r->tls) rp_guest_drop(&r->tls->guest);
    rp_req_free(r);
    rp_lifecycle_drop_conf(p, c);
    if (p->draining) rp_server_check_drained(p);
    return RP_STEP_OVER;
}

/* ---- the loop --------------------------------------------------------------------------------- */

enum { LATE_HOOK_MS = 100 }; /* for a hook whose time was over when its turn came */

/* Things that end a request whatever it waits for. True when the step was changed. */
static bool handle_wakes(struct rp_req *r, unsigned wakes)
{
    if (r->step >= RP_STEP_LOG) {
        if (!(wakes & (RP_WAKE_TIMEOUT | RP_WAKE_STOP)) || !r->task) return false;
        r->conf->hooks->cancel(r); /* a log hook waited too long: the line is written without it */
        (void)write_log(r);        /* always GO */
        return true;
    }
    if (wakes & (RP_WAKE_ABORT | RP_WAKE_STOP)) {
        if (r->x.fail == RP_OK) r->x.fail = RP_E_DRAINING;
        if (r->fail == RP_OK) r->fail = r->x.fail;
        if (wakes & RP_WAKE_STOP) rp_tunnel_say_goodbye(r);
        else if (RP_UNLIKELY(r->coalesce != NULL)) rp_coalesce_abandon(r);
        (void)rp_step_to(r, RP_STEP_LOG); /* always GO */
        return true;
    }
    if (!(wakes & RP_WAKE_TIMEOUT) || r->timer_means == RP_OK) return false;
    bool of_hook = r->timer_means == RP_E_HOOK_TIMEOUT;
    if ((wakes & RP_WAKE_TASK) && of_hook && !r->hook_late) {
        /* The turn was late: what the hook hears, which may be its own earlier deadline, goes first.
         * Once, or a hook that sleeps in step with this timer has no end. */
        r->hook_late = true;
        rp_timer_set(r->proxy->loop, &r->timer, LATE_HOOK_MS);
        return false;
    }
    bool of_client = r->timer_means == RP_E_SEND_TIMEOUT || r->timer_means == RP_E_SEND_SLOW;
    if (of_client && r->step == RP_STEP_RELAY && !rp_respond_is_stuck(r)) return false;
    if (r->task) r->conf->hooks->cancel(r); /* one of the body may go on with another try */
    if (r->phase == RP_PHASE_HEADER_FILTER) r->filter = RP_FILTER_DONE; /* not once more */
    r->phase = RP_PHASE_COUNT;
    if (of_client) r->x.fail = r->timer_means;
    bool trying = r->step == RP_STEP_CONNECT || r->step == RP_STEP_AWAIT ||
                  r->step == RP_STEP_RESPOND || r->step == RP_STEP_RELAY;
    if (r->step == RP_STEP_DIAL) (void)rp_dial_timeout(r, r->timer_means);
    else (void)(trying ? rp_attempt_timeout(r, r->timer_means) : rp_step_fail(r, r->timer_means));
    return true; /* both always say GO */
}

/* Run a step. Where it says to go on with the one that usually follows, that is the next case here, and
 * nobody looks it up. */
#define STEP(step_name, run, usual)                                                                \
    case RP_STEP_##step_name:                                                                      \
        v = run(r);                                                                                \
        if (v != RP_STEP_GO || r->step != RP_STEP_##usual) return v;                               \
        __attribute__((fallthrough))

/* Run the steps from where it is until one waits, or goes another way than usual. */
static inline enum rp_verdict run_steps(struct rp_req *r)
{
    enum rp_verdict v;
    switch ((enum rp_step)r->step) {
        STEP(HEAD, step_head, ROUTE);
        STEP(ROUTE, step_route, ACCESS);
        STEP(ACCESS, step_access, REWRITE);
        STEP(REWRITE, step_rewrite, LOOKUP);
        STEP(LOOKUP, step_lookup, PICK);
        STEP(PICK, rp_step_pick, CONNECT);
        STEP(CONNECT, rp_step_connect, SEND);
        STEP(SEND, rp_step_send, AWAIT);
        STEP(AWAIT, rp_step_await, RESPOND);
        STEP(RESPOND, rp_step_respond, RELAY);
        STEP(RELAY, rp_step_relay, LOG);
        STEP(LOG, step_log, END);
    case RP_STEP_END: return step_end(r);
    case RP_STEP_DIAL: return rp_step_dial(r);
    case RP_STEP_TUNNEL: return rp_step_tunnel(r);
    case RP_STEP_COUNT: break;
    }
    RP_CHECK(false);
    return RP_STEP_OVER;
}

void rp_lifecycle_run(struct rp_defer *d)
{
    struct rp_req *r = RP_CONTAINER(rp_req, run, d);
    unsigned wakes = r->wakes;
    r->wakes = 0;
    if (wakes & ~(unsigned)(RP_WAKE_START | RP_WAKE_BODY | RP_WAKE_SINK | RP_WAKE_UP)) {
        (void)handle_wakes(r, wakes); /* the loop runs whatever step it chose */
    }
    r->waiting_for = NULL;
    enum rp_verdict v;
    do {
        do v = run_steps(r);
        while (v == RP_STEP_GO);
        if (v == RP_STEP_WAIT && RP_UNLIKELY(r->hedge != NULL)) v = rp_hedge_turn(r);
    } while (v == RP_STEP_GO);
}

void rp_lifecycle_timeout(struct rp_timer *t)
{
    rp_req_wake(RP_CONTAINER(rp_req, timer, t), RP_WAKE_TIMEOUT);
}

void rp_lifecycle_start(struct rp_req *r, rp_err head)
{
    r->start_ns = rp_loop_now_ns(r->proxy->loop);
    find_client(r);
    r->step = RP_STEP_HEAD;
    if (head != RP_OK) {
        r->body_ended = true;
        r->fail = head;
        (void)rp_step_fail(r, head); /* always GO, to RESPOND */
    }
    rp_req_wake(r, RP_WAKE_START);
}
