/* SPDX-License-Identifier: MIT
 *
 * attempt: one try at one peer: PICK, CONNECT, SEND, AWAIT, and what happens when it fails.
 *
 * A try may be repeated when nothing of it can have taken effect: the connection was never made, or a
 * pooled connection turned out to be closed before any byte of an answer came and the request is
 * idempotent, or the system took no byte of it, and its body can be had again: there is none, none of
 * it was sent, or it is buffered (RFC 9110 §9.2.2, RFC 9112 §9.3.1). What could not be repeated takes a
 * pooled connection only after a look at it.
 */
#include "base/log.h"
#include "http/h1_up.h"
#include "http/h2_up.h"
#include "http/ws_frame.h"
#include "net/lab.h"
#include "net/proxy_header.h"
#include "net/tls.h"
#include "net/tls_client.h"
#include "proxy/attempt_retry.h"
#include "proxy/buffering.h"
#include "proxy/bulk.h"
#include "proxy/coalesce.h"
#include "proxy/deadline.h"
#include "proxy/dial.h"
#include "proxy/eyeballs.h"
#include "proxy/guard.h"
#include "proxy/hash_key.h"
#include "proxy/headers.h"
#include "proxy/hedge.h"
#include "proxy/lifecycle.h"
#include "proxy/payload.h"
#include "proxy/proxy.h"
#include "proxy/queue.h"
#include "proxy/split.h"
#include "proxy/sticky.h"
#include "proxy/tap.h"
#include "proxy/upstream.h"

enum {
    PUMP_BYTES = 64 * 1024, /* request body bytes moved at once */
    PUMP_TURNS = 8,         /* then others get theirs */
    INTERIM_MOST = 32,      /* 1xx before one response: more is no information */
};

static rp_ms connect_ms(const struct rp_req *r)
{
    return rp_req_wait_ms(r, RP_WAIT_CONNECT, r->route->connect_ms, r->upstream->connect_ms);
}

static rp_ms send_ms(const struct rp_req *r)
{
    return rp_req_wait_ms(r, RP_WAIT_SEND, r->route->send_ms, r->upstream->send_ms);
}

static rp_ms first_byte_ms(const struct rp_req *r)
{
    rp_ms of_route = r->route->first_byte_ms;
    return rp_req_wait_ms(r, RP_WAIT_FIRST_BYTE, of_route, r->upstream->first_byte_ms);
}

/* From now on; one try may last less than its first byte. */
static rp_ms answer_ms(const struct rp_req *r)
{
    rp_ms most = first_byte_ms(r);
    if (!r->upstream->try_ms) return most;
    rp_ms spent = rp_upstream_spent_us(r->proxy, &r->pick) / 1000;
    rp_ms left = r->upstream->try_ms > spent ? r->upstream->try_ms - spent : 1;
    return RP_MIN(most, left);
}

RP_APART static enum rp_verdict wait_capped(struct rp_req *r, const char *what, rp_ms ms,
                                            rp_err failure)
{
    rp_deadline_cap(r, &ms, &failure);
    return rp_step_wait(r, what, ms, failure);
}

/* Wait for the upstream, but never longer than the request has time. */
static inline enum rp_verdict wait_up(struct rp_req *r, const char *what, rp_ms ms, rp_err failure)
{
    if (RP_UNLIKELY(r->own != NULL)) return wait_capped(r, what, ms, failure);
    return rp_step_wait(r, what, ms, failure);
}

static void on_up_event(void *user, struct rp_up *u)
{
    (void)u;
    rp_req_wake(user, RP_WAKE_UP);
}

void rp_attempt_bind(struct rp_req *r)
{
    rp_up_bind(r->up, on_up_event, r);
}

/* A hook's TLS settings for this request: connections that are made with them are its alone. */
static struct rp_tls_client *own_tls(const struct rp_req *r)
{
    return RP_UNLIKELY(r->own != NULL) ? r->own->tls : NULL;
}

/* ---- giving up and letting go ------------------------------------------------------------------ */

/* Its connection has come about, or not: those that wait for it look again. */
static void end_dial(struct rp_req *r)
{
    if (!r->dials) return;
    r->dials = false;
    --*rp_connpool_dials(r->pick.pool_slot);
    for (struct rp_req *q = r->proxy->live; q; q = q->next) {
        bool waits = q->step == RP_STEP_CONNECT && !q->up;
        waits = waits && q->pick.pool_slot == r->pick.pool_slot;
        if (RP_UNLIKELY(q->hedge != NULL) && rp_hedge_awaits(q, r->pick.pool_slot)) waits = true;
        if (waits) rp_req_wake(q, RP_WAKE_UP);
    }
}

/* ... and, in HTTP/2, it is known how many requests it takes. */
static void end_settled_dial(struct rp_req *r)
{
    if (!r->dials) return;
    if (!rp_h2_links_are_settling(rp_connpool_links(r->pick.pool_slot))) end_dial(r);
}

void rp_attempt_let_go(struct rp_req *r)
{
    end_dial(r);
    rp_queue_leave(r);
    if (RP_UNLIKELY(r->pick.race != NULL)) rp_race_cancel(&r->pick);
    struct rp_up *u = r->up;
    if (!u) return;
    rp_splice_drop(&r->body_pipe);
    r->up = NULL;
    rp_up_bind(u, NULL, NULL);
    const struct rp_conf_upstream *c = r->upstream; /* NULL: a re-homed tunnel */
    bool over = !c || (c->max_requests && u->requests >= c->max_requests);
    if ((c && c->proxy_protocol) || own_tls(r)) over = true; /* it speaks for one client */
    if (over || r->proxy->draining || !rp_up_is_reusable(u)) rp_up_close(u);
    else rp_connpool_put(r->pick.pool_slot, u, c->pool_max, c->pool_idle_ms);
}

/* at NULL: there is no address; why NULL: e says all. */
static void log_failure(struct rp_req *r, rp_err e, const struct rp_addr *at, const char *why)
{
    char addr[RP_ADDR_TEXT_BYTES + 1] = "-";
    if (at) addr[rp_addr_put(at, addr)] = '\0';
    rp_log(warn, "%s upstream=%s peer=%s try=%u error=\"%s\" request=%s", rp_err_text(e),
           rp_log_esc(r->upstream->name), addr, r->tries, why ? why : rp_err_reason(e),
           rp_req_id(r).ptr);
    r->proxy->stats.up_failures++;
}

void rp_attempt_log_failure(struct rp_req *r, rp_err e)
{
    const struct rp_pool_slot *s = r->pick.pool_slot;
    const char *why = r->up ? rp_conn_why(r->up->conn) : NULL;
    if (!r->up && r->try_os) why = strerror(r->try_os);
    log_failure(r, e, s ? rp_connpool_addr(s) : NULL, why);
}

/* ---- PICK ---------------------------------------------------------------------------------------- */

/* Is the body something that hooks make, read or want to see? */
static bool has_payload(const struct rp_req *r)
{
    return r->payload || r->route->chains.at[RP_PHASE_REQUEST_BODY];
}

/* Who waits already goes first; not before one that had a seat and whose connection was stale. */
static rp_err take_seat(struct rp_req *r)
{
    if (RP_UNLIKELY(rp_queue_is_behind(r)) && !r->up_fresh) return RP_E_UP_FULL;
    return rp_upstream_pick(r->proxy, &r->pick);
}

static enum rp_verdict wait_for_seat(struct rp_req *r)
{
    if (r->timer_means != RP_E_UP_FULL || !rp_timer_is_armed(&r->timer))
        return wait_up(r, "a peer with a free seat", r->upstream->queue_ms, RP_E_UP_FULL);
    r->waiting_for = "a peer with a free seat"; /* the deadline stands */
    return RP_STEP_WAIT;
}

static void find_group(struct rp_req *r)
{
    r->pick.group = rp_groups_at(rp_groups_find(r->proxy, r->conf), r->upstream->index);
}

static inline enum rp_verdict choose_peer(struct rp_req *r)
{
    rp_err e = take_seat(r);
    if (e == RP_E_UP_FULL && rp_queue_join(r) == RP_OK) return wait_for_seat(r);
    rp_queue_leave(r);
    if (RP_UNLIKELY(e == RP_E_UP_FULL)) rp_guard_full(r);
    if (e == RP_AGAIN) {
        return wait_up(r, "upstream names", r->upstream->connect_ms, RP_E_UP_RESOLVE);
    }
    if (e != RP_OK) return rp_step_fail(r, r->tries ? r->try_fail : e); /* all were tried */
    r->tries++;
    r->up_http1 = false;
    if (RP_UNLIKELY(r->upstream->hedge_max != 0)) rp_hedge_arm(r);
    return rp_step_to(r, RP_STEP_CONNECT);
}

/* The route, the upstream, a hook or a try before may have something to say before a peer is chosen. */
RP_APART static enum rp_verdict pick_specially(struct rp_req *r)
{
    enum rp_verdict v;
    if (RP_UNLIKELY(r->own != NULL) && rp_deadline_is_over(r))
        return rp_step_fail(r, RP_E_DEADLINE);
    if (RP_UNLIKELY(r->again_ms)) {
        rp_ms now = rp_loop_now(r->proxy->loop);
        if (r->again_ms > now) return wait_up(r, "the next try", r->again_ms - now, RP_OK);
        r->again_ms = 0;
    }
    if (RP_UNLIKELY(r->route->coalesce_max != 0) && !rp_coalesce_settle(r, &v)) return v;
    if (rp_guard_is_on(r)) {
        rp_err may = rp_guard_ask(r);
        if (may != RP_OK) return rp_step_fail(r, r->tries ? r->try_fail : may);
    }
    if (RP_UNLIKELY(has_payload(r)) && !rp_payload_settle(r, &v)) return v;
    if (r->route->buffer_request && !rp_buffering_gather(r, &v)) return v;
    find_group(r);
    if (r->upstream->balance == RP_BALANCE_HOOK && !r->queue) { /* who waits has asked it */
        rp_err e = rp_step_hook(r, RP_PHASE_BALANCE);
        if (e == RP_AGAIN) return rp_step_wait_hook(r);
        if (e == RP_END) return rp_step_to(r, RP_STEP_RESPOND);
        if (e != RP_OK) return rp_step_fail(r, e);
        if (has_payload(r) && !rp_payload_settle(r, &v)) return v; /* it read or gave a body */
    }
    if (RP_UNLIKELY(r->upstream->subsets.len) && !r->pick.subset.len)
        r->pick.subset = r->route->subset;
    if (r->upstream->hash_n && !rp_hash_key_of(r, r->upstream, &r->pick.hash))
        r->pick.hash = rp_random_u64(&r->proxy->dice);
    if (rp_sticky_is_on(r->upstream)) {
        r->pick.bound = rp_sticky_find(r);
        rp_err stripped = rp_sticky_strip(r);
        if (stripped != RP_OK) return rp_step_fail(r, stripped);
    }
    return choose_peer(r);
}

enum rp_verdict rp_step_pick(struct rp_req *r)
{
    if (!r->upstream) return rp_step_fail(r, RP_E_UP_NO_PEER);
    bool special = r->route->special || r->upstream->special;
    if (RP_UNLIKELY(special || r->own || r->again_ms || r->payload)) return pick_specially(r);
    find_group(r);
    return choose_peer(r);
}

/* ---- CONNECT --------------------------------------------------------------------------------------- */

static bool is_any_repeatable(const struct rp_req *r)
{
    bool spent = r->body_whole && r->body.bytes > 0; /* what a hook made or read goes out once */
    return !r->x.early && !spent && rp_token_method_is_idempotent(r->up_head->method) &&
           ((r->x.head.framing == RP_BODY_NONE && !rp_payload_is_on(r)) || r->spool);
}

static inline bool is_repeatable(const struct rp_req *r)
{
    bool usual = r->up_head->method == RP_M_GET && r->x.head.framing == RP_BODY_NONE &&
                 !r->x.early && !r->body_whole && !r->payload;
    return RP_LIKELY(usual) || is_any_repeatable(r);
}

/* A pooled connection; one that was closed since the loop last looked would cost a request that
 * cannot be repeated its answer (502), so for those a system call is spent. */
static struct rp_up *find_pooled(struct rp_req *r)
{
    bool repeatable = is_repeatable(r);
    struct rp_up *u = rp_connpool_take(r->pick.pool_slot);
    while (u && !repeatable && !rp_up_is_quiet(u)) {
        rp_up_close(u);
        u = rp_connpool_take(r->pick.pool_slot);
    }
    return u;
}

/* Is HTTP/2 spoken with the upstream, where it can be? A CONNECT has a connection of its own. */
static bool wants_h2(const struct rp_req *r)
{
    if (r->upstream->http == RP_UP_HTTP1) return false;
    return !r->up_http1 && r->x.head.method != RP_M_CONNECT && !own_tls(r);
}

/* A stream on a connection that other requests use, too; as above, one that has been idle is looked at
 * for a request that cannot be repeated. (A link that failed the look is not found again.) */
static struct rp_up *find_stream(struct rp_req *r)
{
    if (!wants_h2(r)) return NULL;
    bool repeatable = is_repeatable(r);
    for (;;) {
        struct rp_h2_links *links = rp_connpool_links(r->pick.pool_slot);
        struct rp_h2_link *k = rp_h2_links_find(links, r->upgrading);
        if (!k) return NULL;
        struct rp_up *u = rp_h2_link_stream(k, r->upgrading);
        if (repeatable || rp_up_is_quiet(u)) return u;
        rp_up_close(u);
    }
}

/* Connected: is it HTTP/2 that the other end speaks? By ALPN, or because the site says so. RP_END
 * when the site says so and ALPN does not. */
static rp_err settle_protocol(struct rp_req *r)
{
    const struct rp_conf_upstream *c = r->upstream;
    const struct rp_tls *tls = rp_conn_tls(r->up->conn);
    bool h2 = tls ? rp_str_eq(rp_tls_alpn(tls), RP_STR("h2")) : c->http == RP_UP_HTTP2;
    if (RP_UNLIKELY(rp_loop_lab(r->proxy->loop) != NULL)) return RP_OK; /* no HTTP/2 in there */
    if (!h2) return c->http == RP_UP_HTTP2 ? RP_END : RP_OK;
    struct rp_h2_link_settings settings = {.streams_n = c->h2_streams,
                                           .window_bytes = (uint32_t)r->conf->h2_window,
                                           .requests_max = c->pool_max ? c->max_requests : 1,
                                           .idle_ms = c->pool_idle_ms};
    struct rp_conn *conn = rp_h1_up_release(r->up);
    struct rp_h2_link *k = rp_h2_link_open(rp_connpool_links(r->pick.pool_slot), conn,
                                           r->proxy->mem, &settings, tls != NULL);
    r->up = rp_h2_link_stream(k, r->upgrading);
    rp_attempt_bind(r);
    return RP_OK;
}

static inline bool use_pooled(struct rp_req *r, struct rp_up *u)
{
    r->up = u;
    r->up_reused = u != NULL;
    if (!u) return false;
    rp_up_bind(u, on_up_event, r);
    r->proxy->stats.up_reuses++;
    return true;
}

static inline bool take_any(struct rp_req *r)
{
    return use_pooled(r, find_pooled(r));
}

static bool take_pooled(struct rp_req *r)
{
    bool fresh = r->up_fresh || r->upstream->proxy_protocol || r->x.head.method == RP_M_CONNECT;
    if (fresh || own_tls(r)) return use_pooled(r, NULL);
    struct rp_up *stream = find_stream(r);
    return stream ? use_pooled(r, stream) : take_any(r);
}

/* A burst of requests shares the connection that the first of them makes. It is not known yet how
 * many it will take; who finds no room dials, too. */
static bool waits_for_dial(struct rp_req *r)
{
    uint32_t *dials = rp_connpool_dials(r->pick.pool_slot);
    bool sure = r->upstream->http == RP_UP_HTTP2; /* AUTO may turn out to be one for each */
    if (!wants_h2(r) || !sure || r->up_fresh) return false;
    if (*dials > 0) return true;
    r->dials = true;
    ++*dials;
    return false;
}

/* PROXY protocol, 2.2: what a new connection begins with. */
static rp_str proxy_header(struct rp_req *r, char text[RP_PROXY_ADD_MOST])
{
    struct rp_addr to;
    uint8_t says = r->upstream->proxy_tlvs;
    struct rp_proxy_said said = {.crc32c = (says & RP_PROXY_SAYS_CRC) != 0};
    rp_conn_local(r->x.conn, &to);
    size_t n = rp_proxy_header_put(r->upstream->proxy_protocol, &r->client, &to, text);
    if (says & RP_PROXY_SAYS_ID) said.unique_id = rp_req_id(r);
    return rp_str_of(text, rp_proxy_header_add(text, n, &said));
}

/* The new connection speaks TLS, where it is to. RP_E_UP_TLS_VERIFY: nobody knows whom it leads to. */
static rp_err dress(struct rp_req *r)
{
    char buf[RP_ADDR_TEXT_BYTES];
    struct rp_tls_client *own = own_tls(r);
    const struct rp_pick *k = &r->pick;
    if (!own) {
        rp_upstream_dress(k, r->up->conn);
        return RP_OK;
    }
    const struct rp_addr *to = rp_connpool_addr(k->pool_slot);
    rp_str name = rp_peer_identity(k->peer ? k->peer->conf : NULL, to, buf);
    if (name.len == 0 && !rp_tls_client_has_name(own)) return RP_E_UP_TLS_VERIFY;
    rp_conn_use_tls(r->up->conn, own, name, NULL);
    return RP_OK;
}

/* What the new connection begins with, before its first byte. */
static rp_err wear(struct rp_req *r)
{
    char text[RP_PROXY_ADD_MOST];
    rp_err e = dress(r);
    if (e != RP_OK) return e;
    if (r->upstream->proxy_protocol && rp_conn_tls(r->up->conn))
        rp_conn_greet(r->up->conn, proxy_header(r, text));
    bool one = (r->upstream->http == RP_UP_HTTP_AUTO && !wants_h2(r)) || own_tls(r);
    if (one && rp_conn_tls(r->up->conn)) rp_conn_offer(r->up->conn, RP_STR("\x08http/1.1"));
    rp_attempt_bind(r);
    return RP_OK;
}

/* ---- several addresses ------------------------------------------------------------------------------- */

static void on_race(void *arg)
{
    rp_req_wake(arg, RP_WAKE_UP);
}

static void on_address_failed(void *arg, const struct rp_addr *addr, rp_err e, int os)
{
    log_failure(arg, e, addr, os ? strerror(os) : NULL);
}

static const struct rp_race_owner RACE = {.wake = on_race, .failed = on_address_failed};

static enum rp_verdict race_lost(struct rp_req *r, rp_err e, const struct rp_conn_fail *fail)
{
    r->try_os = fail->os;
    enum rp_verdict v = rp_attempt_failed(r, e, RP_RETRY_CONNECTING);
    r->try_os = 0;
    return v;
}

static void re_point(const struct rp_req *r, struct rp_pick *waits)
{
    struct rp_pool_slot *was = waits->pool_slot;
    waits->pool_slot = rp_connpool_ref(r->pick.pool_slot);
    rp_connpool_drop(r->proxy->pool, was);
}

/* Those that wait for this request's connection, to use it, too, wait for it at its address. was: let
 * go of here. */
static void move_dial(struct rp_req *r, struct rp_pool_slot *was)
{
    struct rp_pool_slot *is = r->pick.pool_slot;
    if (r->dials && was != is) {
        --*rp_connpool_dials(was);
        ++*rp_connpool_dials(is);
        for (struct rp_req *q = r->proxy->live; q; q = q->next) {
            bool parked = RP_UNLIKELY(q->hedge != NULL) && rp_hedge_awaits(q, was);
            bool waits = q->step == RP_STEP_CONNECT && !q->up && !q->pick.race && q != r;
            if (parked && !q->hedge->other.pick.race) re_point(r, &q->hedge->other.pick);
            if (waits && q->pick.pool_slot == was) re_point(r, &q->pick);
        }
    }
    rp_connpool_drop(r->proxy->pool, was);
}

static enum rp_verdict start_race(struct rp_req *r)
{
    struct rp_conn_fail fail = {0};
    struct rp_pool_slot *was = rp_connpool_ref(r->pick.pool_slot);
    rp_err e = rp_race_begin(r->proxy, &r->pick, connect_ms(r), &RACE, r, &fail);
    move_dial(r, was);
    if (e != RP_OK) return race_lost(r, e, &fail);
    return wait_up(r, "upstream connect", connect_ms(r), RP_E_UP_CONNECT_TIMEOUT);
}

/* RP_OK: the first connection that came about is the request's. */
static rp_err look_at_race(struct rp_req *r, struct rp_conn_fail *fail)
{
    struct rp_conn *conn;
    struct rp_pool_slot *was = rp_connpool_ref(r->pick.pool_slot);
    rp_err e = rp_race_look(&r->pick, &conn, fail);
    move_dial(r, was);
    if (e != RP_OK) return e;
    r->up = rp_h1_up_adopt(conn, r->proxy->mem);
    return wear(r);
}

/* There is no more time for it. */
static void end_race(struct rp_req *r)
{
    struct rp_pool_slot *was = rp_connpool_ref(r->pick.pool_slot);
    rp_race_give_up(&r->pick);
    move_dial(r, was);
}

RP_APART static enum rp_verdict start_connect(struct rp_req *r)
{
    struct rp_conn_fail fail = {0};
    if (waits_for_dial(r)) {
        return wait_up(r, "upstream connect of another request", connect_ms(r),
                       RP_E_UP_CONNECT_TIMEOUT);
    }
    r->connect_start_ns = rp_loop_now_ns(r->proxy->loop);
    if (RP_UNLIKELY(rp_race_is_wanted(r->proxy, &r->pick))) return start_race(r);
    r->proxy->stats.up_connects++;
    rp_err e = rp_h1_up_connect(r->proxy->loop, r->proxy->mem, rp_connpool_addr(r->pick.pool_slot),
                                &r->up, &fail);
    if (e != RP_OK) r->up = NULL;
    else e = wear(r);
    if (e != RP_OK) return rp_attempt_failed(r, e, RP_RETRY_CONNECTING);
    return wait_up(r, "upstream connect", connect_ms(r), RP_E_UP_CONNECT_TIMEOUT);
}

/* In HTTP/2 a WebSocket is an extended CONNECT (RFC 8441), for peers that said that they take it; the
 * client's key is answered by us, so it is looked at here. */
static rp_err settle_upgrade(struct rp_req *r)
{
    bool only_h2 = r->upstream->http == RP_UP_HTTP2;
    if (!r->upgrading || !wants_h2(r)) return RP_OK;
    const struct rp_field *key = rp_msg_find_name(r->up_head, RP_STR("Sec-WebSocket-Key"));
    bool bad = !key || !rp_ws_is_key(rp_field_value(key));
    bool refused = rp_h2_links_refuse_tunnels(rp_connpool_links(r->pick.pool_slot));
    if (only_h2 && (bad || refused)) return bad ? RP_E_WS_KEY : RP_E_UP_WEBSOCKET;
    r->up_http1 = bad || refused;
    return RP_OK;
}

static enum rp_verdict connected(struct rp_req *r)
{
    r->connected_ns = rp_loop_now_ns(r->proxy->loop);
    return rp_step_to(r, RP_STEP_SEND);
}

/* In HTTP/1.1 on whichever connection there is: nothing has to be asked or agreed first. */
static bool takes_any(const struct rp_req *r)
{
    const struct rp_conf_upstream *c = r->upstream;
    return c->http == RP_UP_HTTP1 && !c->proxy_protocol && !r->up_fresh && !r->own &&
           r->x.head.method != RP_M_CONNECT;
}

static enum rp_verdict begin_connect(struct rp_req *r)
{
    if (RP_LIKELY(takes_any(r))) return take_any(r) ? connected(r) : start_connect(r);
    rp_err e = settle_upgrade(r);
    if (e == RP_E_UP_WEBSOCKET) rp_attempt_log_failure(r, e);
    if (e != RP_OK) return rp_step_fail(r, e);
    if (wants_h2(r) && rp_h2_links_refuse_all(rp_connpool_links(r->pick.pool_slot))) {
        return rp_attempt_failed(r, RP_E_UP_STREAMS, RP_RETRY_CONNECTING);
    }
    return take_pooled(r) ? connected(r) : start_connect(r);
}

static rp_err finish_connect(struct rp_req *r)
{
    rp_err e = rp_up_finish_connect(r->up);
    if (e != RP_OK || !wants_h2(r) || rp_h2_up_is_stream(r->up)) return e;
    if (settle_protocol(r) != RP_OK) return RP_E_UP_ALPN;
    return rp_up_finish_connect(r->up); /* a stream may have to wait for what the upstream says */
}

/* The new connection stays, for other requests; this one goes without HTTP/2 where it may. */
static enum rp_verdict go_without_h2(struct rp_req *r)
{
    bool only_h2 = r->upstream->http == RP_UP_HTTP2;
    if (only_h2) rp_attempt_log_failure(r, RP_E_UP_WEBSOCKET);
    rp_attempt_release(r);
    if (only_h2) return rp_step_fail(r, RP_E_UP_WEBSOCKET);
    r->up_http1 = true;
    return begin_connect(r);
}

RP_APART static enum rp_verdict go_on_connecting(struct rp_req *r)
{
    struct rp_conn_fail fail = {0};
    rp_err e = RP_OK;
    if (RP_UNLIKELY(r->pick.race != NULL)) e = look_at_race(r, &fail);
    if (e < 0) return race_lost(r, e, &fail);
    if (e == RP_OK) e = finish_connect(r);
    if (e == RP_AGAIN) {
        r->waiting_for = "upstream connect"; /* the deadline stands */
        return RP_STEP_WAIT;
    }
    end_settled_dial(r);
    if (e == RP_E_UP_WEBSOCKET) return go_without_h2(r);
    if (e != RP_OK) return rp_attempt_failed(r, e, RP_RETRY_CONNECTING);
    rp_upstream_connected(r->proxy, &r->pick);
    return connected(r);
}

enum rp_verdict rp_step_connect(struct rp_req *r)
{
    return r->up || RP_UNLIKELY(r->pick.race != NULL) ? go_on_connecting(r) : begin_connect(r);
}

enum rp_verdict rp_attempt_timeout(struct rp_req *r, rp_err e)
{
    if (e == RP_E_DEADLINE) return rp_step_fail(r, e); /* that is nobody's fault */
    if (RP_UNLIKELY(r->pick.race != NULL)) end_race(r);
    if (r->step == RP_STEP_CONNECT) return rp_attempt_failed(r, e, RP_RETRY_CONNECTING);
    bool awaits = r->step == RP_STEP_AWAIT;
    if (awaits && (e == RP_E_UP_FIRST_BYTE_TIMEOUT || rp_hedge_is_on(r)))
        return rp_attempt_failed(r, e, RP_RETRY_LATE);
    bool of_upstream =
        e == RP_E_UP_FIRST_BYTE_TIMEOUT || e == RP_E_UP_SEND_TIMEOUT || e == RP_E_UP_IDLE_TIMEOUT;
    if (of_upstream && awaits && rp_guard_is_on(r)) rp_guard_failed(r, true);
    if (of_upstream) rp_attempt_log_failure(r, e); /* the access log tells of clients */
    return rp_step_fail(r, e);
}

/* ---- SEND -------------------------------------------------------------------------------------------- */

RP_COLD static void put_proxy_header(struct rp_req *r, struct rp_chain *head)
{
    char text[RP_PROXY_ADD_MOST];
    rp_chain_add_copy(head, proxy_header(r, text));
}

RP_NO_ARRAYS enum rp_verdict rp_step_send(struct rp_req *r)
{
    struct rp_chain head;
    enum rp_framing framing;
    uint64_t length;
    if (rp_hedge_is_on(r) && !rp_hedge_may_send(r)) return RP_STEP_GO;
    rp_chain_init(&head, r->proxy->mem);
    r->up_out_base = rp_conn_face(r->up->conn)->out_bytes;
    if (r->upstream->proxy_protocol && !rp_conn_tls(r->up->conn)) put_proxy_header(r, &head);
    if (r->x.head.method == RP_M_CONNECT) return rp_dial_done(r, &head); /* no request goes up */
    if (rp_deadline_of(r) || RP_UNLIKELY(r->upstream->deadline_header.len)) {
        rp_err e = rp_deadline_tell(r, answer_ms(r));
        if (e != RP_OK) return rp_step_fail(r, e);
    }
    rp_headers_put_request(r, &head, &framing, &length);
    rp_up_start(r->up, &head, r->up_head->method, framing, length);
    if (r->spool) rp_buffering_restart(r);
    if (RP_UNLIKELY(rp_tap_of(r) != NULL)) rp_tap_restart(rp_tap_of(r));
    r->body_sent = framing == RP_BODY_NONE;
    if (r->body_sent) r->sent_ns = rp_loop_now_ns(r->proxy->loop);
    return rp_step_to(r, RP_STEP_AWAIT);
}

/* As pump_once, of a body that hooks make. The client's trailers belong to its own bytes. */
static rp_err pump_made(struct rp_req *r)
{
    struct rp_payload *p = r->payload;
    rp_err e = rp_payload_fill(r);
    if (e != RP_OK) return e;
    rp_req_note_piece(r, p->made.bytes);
    if (p->made.bytes == 0 && !p->done) return RP_OK;
    rp_tap_sent(r, &p->made);
    rp_err sent = rp_up_send(r->up, &p->made, p->done, p->sourced ? NULL : r->x.trailers);
    if (sent < 0) return sent;
    if (p->done) {
        r->body_sent = true;
        r->sent_ns = rp_loop_now_ns(r->proxy->loop);
    }
    return RP_OK;
}

/* RP_OK something was queued; RP_AGAIN the client has nothing now, or a hook is parked; RP_END a hook
 * answered. */
static rp_err pump_once(struct rp_req *r)
{
    if (r->spool) return rp_buffering_pump(r);
    if (rp_payload_is_on(r)) return pump_made(r);
    size_t most = PUMP_BYTES;
    rp_err e = rp_bulk_read_body(r, &most);
    if (e == RP_OK) rp_req_note_piece(r, rp_splice_bytes(r->body_pipe));
    if (e != RP_E_BUSY) return e;
    e = RP_OK;
    if (!r->body_ended && r->body.bytes < PUMP_BYTES) {
        e = r->x.ops->read_body(&r->x, &r->body, rp_req_piece(r, most));
        if (e < 0) return e;
        if (e == RP_END) r->body_ended = true;
    }
    rp_req_note_piece(r, r->body.bytes);
    if (r->body.bytes == 0 && !r->body_ended) return RP_AGAIN;
    rp_tap_sent(r, &r->body);
    rp_err sent = rp_up_send(r->up, &r->body, r->body_ended, r->x.trailers);
    if (sent < 0) return sent;
    if (r->body_ended) {
        r->body_sent = true;
        r->sent_ns = rp_loop_now_ns(r->proxy->loop);
    }
    return RP_OK; /* over the high mark: flush says so */
}

rp_err rp_attempt_pump(struct rp_req *r)
{
    rp_err e = RP_OK;
    bool was_light = !r->heavy;
    for (int turn = 0; turn < PUMP_TURNS; turn++) {
        /* Nothing more is read while the upstream has not taken what is there: that bounds memory.
         * The head waits for the first piece of the body: one write for both. */
        bool head_alone = turn == 0 && !rp_up_has_sent_body(r->up) && !r->body_sent;
        rp_err flushed = head_alone ? RP_OK : rp_up_flush(r->up);
        if (flushed == RP_OK && r->body_pipe) flushed = rp_bulk_flush_body(r);
        if (flushed < 0) return RP_OK; /* its response, if any, tells more than this */
        if (r->body_sent || flushed == RP_AGAIN) return flushed;
        if (e == RP_AGAIN) return e;
        if (turn > 0 && rp_req_is_turn_over(r, was_light)) break;
        e = pump_once(r);
        if (e < 0 || e == RP_END) return e;
    }
    rp_req_wake(r, RP_WAKE_BODY);
    return RP_AGAIN;
}

/* ---- AWAIT ------------------------------------------------------------------------------------------- */

enum rp_verdict rp_attempt_wait_body(struct rp_req *r)
{
    struct rp_proxy *p = r->proxy;
    rp_ms left = rp_pace_left(&r->x.body_pace, &p->settings.body_pace, rp_loop_now(p->loop));
    bool pace = left < r->conf->body_ms;
    return rp_step_wait(r, "client body", pace ? left : r->conf->body_ms,
                        pace ? RP_E_BODY_SLOW : RP_E_BODY_TIMEOUT);
}

static enum rp_verdict wait_for_answer(struct rp_req *r, rp_err pumped)
{
    if (r->body_sent && pumped == RP_OK) {
        return wait_up(r, "upstream response head", answer_ms(r), RP_E_UP_FIRST_BYTE_TIMEOUT);
    }
    if (!rp_up_is_flushed(r->up) || r->body_pipe) {
        return wait_up(r, "upstream to take the body", send_ms(r), RP_E_UP_SEND_TIMEOUT);
    }
    if (rp_payload_is_parked(r)) return rp_step_wait_hook(r);
    if (!r->spool && r->x.head.expect_continue && r->x.body_in_bytes == 0) {
        return wait_up(r, "upstream to ask for the body", first_byte_ms(r),
                       RP_E_UP_FIRST_BYTE_TIMEOUT);
    }
    return r->spool ? rp_buffering_wait(r) : rp_attempt_wait_body(r);
}

/* 1xx: relayed, except what the client did not ask for (RFC 9110 §15.2). */
static rp_err relay_interim(struct rp_req *r)
{
    if (++r->interim_n > INTERIM_MOST) return RP_E_UP_BAD_RESPONSE;
    if (r->res.status == 100) {
        if (!r->x.head.expect_continue) return RP_OK;
        r->x.head.expect_continue = false;
    }
    rp_err e = r->x.ops->send_info(&r->x, &r->res);
    if (e < 0) return e;
    e = r->x.ops->flush(&r->x);
    return e < 0 ? e : RP_OK;
}

static void reset_response(struct rp_req *r)
{
    rp_chunk_drop(r->res_chunk);
    r->res_chunk = NULL;
    rp_msg_init(&r->res, r->res_fields, RP_EXCHANGE_FIELDS, r->res.fields_max);
}

/* RFC 9110 §7.8: a server MUST NOT switch to a protocol that the client did not ask for, and MUST say
 * `Connection: upgrade` where it says Upgrade: a client would break off without (RFC 6455 §4.1). */
static bool is_bad_switch(const struct rp_req *r)
{
    if (r->res.status != 101) return false;
    rp_str to = rp_msg_get(&r->res, RP_H_UPGRADE);
    return !r->upgrading || !r->res.upgrade || !rp_str_list_has(to, RP_STR("websocket"));
}

/* Of two tries the other may do better. */
static enum rp_verdict answer_is_bad(struct rp_req *r, rp_err e)
{
    if (rp_hedge_is_on(r)) {
        reset_response(r);
        return rp_attempt_failed(r, e, RP_RETRY_AWAITING);
    }
    rp_attempt_log_failure(r, e);
    return rp_step_fail(r, e);
}

static enum rp_verdict take_response(struct rp_req *r)
{
    bool special = r->upstream->special || r->route->special;
    r->from = RP_FROM_UPSTREAM;
    if (r->pick.group && r->pick.group->peers_n > 1) rp_upstream_note_latency(r->proxy, &r->pick);
    if (RP_UNLIKELY(special) && r->upstream->hedge_max) rp_hedge_note(r);
    if (RP_UNLIKELY(special) && rp_guard_is_on(r)) rp_guard_answered(r);
    if (RP_LIKELY(r->res.status < 400)) { /* no status below it is listed anywhere */
        rp_upstream_succeed(r->proxy, &r->pick);
    } else if (rp_attempt_refuses(r)) {
        reset_response(r);
        return rp_attempt_repeat(r);
    }
    if (is_bad_switch(r)) return answer_is_bad(r, RP_E_UP_UPGRADE);
    rp_err e = rp_headers_note_response(r);
    if (RP_UNLIKELY(special) && e == RP_OK && rp_sticky_is_on(r->upstream)) e = rp_sticky_tell(r);
    if (e == RP_OK && RP_UNLIKELY(r->split_by == RP_SPLIT_BY_CHANCE)) e = rp_split_tell(r);
    return e == RP_OK ? rp_step_to(r, RP_STEP_RESPOND) : rp_step_fail(r, e);
}

/* The request on its way, as rp_attempt_pump says; most have no body. */
static inline rp_err pump(struct rp_req *r)
{
    if (RP_UNLIKELY(!r->body_sent || r->body_pipe)) return rp_attempt_pump(r);
    rp_err flushed = rp_up_flush(r->up);
    return flushed < 0 ? RP_OK : flushed; /* its response, if any, tells more than this */
}

enum rp_verdict rp_step_await(struct rp_req *r)
{
    end_settled_dial(r);
    rp_err pumped = pump(r);
    if (pumped < 0) return rp_step_fail(r, pumped);
    if (pumped == RP_END) { /* a request_body hook answered: the rest is nobody's */
        rp_attempt_release(r);
        return rp_step_to(r, RP_STEP_RESPOND);
    }
    for (;;) {
        rp_err e =
            rp_up_read_head(r->up, &r->proxy->up_limits, &r->x.arena, &r->res, &r->res_chunk);
        if (e == RP_AGAIN) return wait_for_answer(r, pumped);
        if (e != RP_OK) return rp_attempt_failed(r, e, RP_RETRY_AWAITING);
        if (!r->first_byte_ns) r->first_byte_ns = rp_loop_now_ns(r->proxy->loop);
        if (r->res.status >= 200 || r->res.status == 101) return take_response(r);
        e = relay_interim(r);
        if (e == RP_E_UP_BAD_RESPONSE) return answer_is_bad(r, e);
        if (e < 0) return rp_step_fail(r, e);
        reset_response(r);
    }
}
