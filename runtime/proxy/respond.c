/* SPDX-License-Identifier: MIT
 *
 * respond: RESPOND and RELAY: the response head through hooks and edits to the client, then its body,
 * pulled from the upstream only as fast as the client takes it.
 *
 * Invariant: an upstream response that breaks off ends the client's connection without its last byte
 * or chunk, so nobody takes a part for the whole (RFC 9112 §8).
 */
#include "base/log.h"
#include "http/h1_up.h"
#include "proxy/answer.h"
#include "proxy/buffering.h"
#include "proxy/bulk.h"
#include "proxy/coalesce.h"
#include "proxy/dial.h"
#include "proxy/headers.h"
#include "proxy/hedge.h"
#include "proxy/lifecycle.h"
#include "proxy/local.h"
#include "proxy/payload.h"
#include "proxy/proxy.h"
#include "proxy/tap.h"
#include "proxy/trace.h"
#include "proxy/tunnel.h"

enum {
    PUMP_BYTES = 128 * 1024, /* response bytes in hand before the client must take some */
    PUMP_TURNS = 8,          /* then others get theirs */
    GATHER_BYTES = 64 * 1024,
    LOOK_MS = 250, /* how often we look at a client that is about to be too slow */
};

static uint32_t chain_of(const struct rp_req *r, enum rp_phase phase)
{
    return r->route ? r->route->chains.at[phase] : 0;
}

/* The body_filter hooks see the body on its way to the client. */
static bool is_filtered(const struct rp_req *r)
{
    bool before = r->answer && r->answer->filtered; /* they have seen it */
    return chain_of(r, RP_PHASE_BODY_FILTER) && r->res.framing != RP_BODY_NONE && !before;
}

static enum rp_verdict wait_for_upstream(struct rp_req *r)
{
    rp_ms most = rp_req_wait_ms(r, RP_WAIT_IDLE, r->route->idle_ms, r->upstream->idle_ms);
    return rp_step_wait(r, "upstream response body", most, RP_E_UP_IDLE_TIMEOUT);
}

/* ---- whole bodies ------------------------------------------------------------------------------ */

static rp_err gather_on(struct rp_req *r, uint64_t max)
{
    for (int turn = 0; r->up; turn++) {
        if (r->out.bytes > max) return RP_E_TOO_BIG;
        if (turn == PUMP_TURNS) {
            rp_req_wake(r, RP_WAKE_UP);
            return RP_AGAIN;
        }
        rp_err e = rp_up_read(r->up, &r->out, GATHER_BYTES, &r->x.arena, &r->x.res_trailers);
        if (e == RP_END && r->x.res_trailers) rp_msg_drop_named(r->x.res_trailers, &r->res);
        if (e == RP_END) rp_attempt_release(r);
        else if (e != RP_OK) return e;
    }
    return r->out.bytes > max ? RP_E_TOO_BIG : RP_OK;
}

/* The upstream may answer as it reads: then nobody else sends the rest of the request. RP_OK; < 0: the
 * client's fault. */
static rp_err send_rest(struct rp_req *r)
{
    rp_err e = !r->body_sent && r->up && !r->answered ? rp_attempt_pump(r) : RP_OK;
    if (r->answered) rp_attempt_release(r); /* by a hook: the upstream's is not the response */
    return e < 0 ? e : RP_OK;
}

bool rp_respond_needs_hooks(const struct rp_req *r)
{
    return !r->body_sent && r->up && !r->answered && !r->spool && rp_payload_is_on(r);
}

rp_err rp_respond_gather(struct rp_req *r, uint64_t max)
{
    if (r->x.head_sent || rp_answer_is_writing(r)) return RP_E_PHASE;
    if (r->res.status == 101 || rp_dial_is_tunnel(r))
        return RP_E_INVALID; /* bytes without an end */
    bool big = r->res.framing == RP_BODY_LENGTH && r->res.content_length > max;
    if (big) return RP_E_TOO_BIG;
    rp_err e = send_rest(r);
    return e < 0 ? e : gather_on(r, max);
}

/* Once, with the whole body: then its length is known before the head goes out. */
static rp_err filter_whole(struct rp_req *r)
{
    const char *before = r->out.head ? r->out.head->ptr : NULL;
    size_t before_n = r->out.bytes;
    if (r->phase != RP_PHASE_BODY_FILTER) {
        r->phase = RP_PHASE_BODY_FILTER;
        r->answer->filtered = true; /* should they fail, they do not see the error page */
    }
    rp_err e = r->conf->hooks->filter_body(r, &r->out, true, &r->filtered);
    if (e == RP_AGAIN) return e;
    r->phase = RP_PHASE_COUNT;
    r->timer_means = RP_OK;
    if (e < 0) return e;
    const char *after = r->filtered.head ? r->filtered.head->ptr : NULL;
    if (after != before || r->filtered.bytes != before_n) rp_answer_note_changed(r);
    (void)rp_chain_move(&r->out, &r->filtered, r->filtered.bytes); /* all of it */
    r->res.framing = RP_BODY_LENGTH;
    r->res.content_length = r->out.bytes;
    return RP_OK;
}

/* What hooks asked for before the head goes out. RP_OK; RP_AGAIN: *v says what for; < 0 */
static rp_err prepare_body(struct rp_req *r, enum rp_verdict *v)
{
    struct rp_answer *a = r->answer;
    bool parked = r->phase == RP_PHASE_BODY_FILTER;
    if (!a->buffer_max || (!parked && !is_filtered(r)) || rp_answer_is_writing(r)) return RP_OK;
    rp_err e = send_rest(r);
    if (e < 0) return e; /* what fails from here on is the upstream's */
    if (!parked) e = rp_respond_gather(r, a->buffer_max);
    if (e == RP_E_TOO_BIG || e == RP_E_INVALID) return RP_OK; /* as if nobody had asked */
    if (e == RP_AGAIN) *v = wait_for_upstream(r);
    if (e < 0) rp_attempt_log_failure(r, e);
    if (e != RP_OK) return e;
    e = filter_whole(r);
    if (e == RP_AGAIN) *v = rp_step_wait_hook(r);
    return e;
}

/* The body of an upstream that a hook has read to its end. */
static void announce_length(struct rp_req *r)
{
    bool unknown = r->res.framing == RP_BODY_CHUNKED || r->res.framing == RP_BODY_CLOSE;
    if (r->up || r->answer->streamed || !unknown) return;
    r->res.framing = RP_BODY_LENGTH;
    r->res.content_length = r->out.bytes;
}

/* Trailers need a framing that has a place for them (RFC 9112 §7.1.2). */
static void make_room_for_trailers(struct rp_req *r)
{
    bool any = r->answer->trailers.fields_n > 0 || r->x.res_trailers;
    if (any && r->x.head.te_trailers && r->res.framing == RP_BODY_LENGTH)
        r->res.framing = RP_BODY_CHUNKED;
}

/* Most responses have no r->answer. RP_OK; RP_AGAIN: *v says what for; < 0 */
static rp_err prepare(struct rp_req *r, enum rp_verdict *v)
{
    rp_err e = rp_answer_settle(r);
    if (e == RP_OK) e = prepare_body(r, v);
    if (e != RP_OK) return e;
    announce_length(r);
    make_room_for_trailers(r);
    return RP_OK;
}

/* ---- RESPOND ----------------------------------------------------------------------------------- */

/* Hooks see the head and may replace the whole response. */
static rp_err run_header_filter(struct rp_req *r)
{
    if (r->filter == RP_FILTER_DONE || !chain_of(r, RP_PHASE_HEADER_FILTER)) return RP_OK;
    rp_err e = rp_step_hook(r, RP_PHASE_HEADER_FILTER);
    if (e == RP_AGAIN) return e;
    r->filter = RP_FILTER_DONE;
    if (e < 0) {
        rp_attempt_release(r);
        rp_req_answer_error(r, e);
    }
    if (r->answered) rp_attempt_release(r); /* a hook replaced the upstream's response */
    return RP_OK;
}

RP_COLD static enum rp_verdict begin_tunnel(struct rp_req *r)
{
    rp_err e = rp_tunnel_begin(r);
    if (e == RP_OK) e = r->x.ops->send_head(&r->x, &r->res);
    if (e < 0) return rp_step_fail(r, e);
    r->x.ops->tunnel(&r->x);
    rp_up_tunnel(r->up);
    r->body_ended = r->body_sent = false;
    rp_tunnel_rehome(r); /* should a reload have come since the request began */
    return rp_step_to(r, RP_STEP_TUNNEL);
}

/* The upstream answered without the whole body and does not want the rest, or is unlikely to: then
 * the client's connection ends behind the response, whose head SHOULD say so (RFC 9112 §9.6). One
 * that accepts and goes on reading keeps both ways open. */
static bool is_early_end(const struct rp_req *r)
{
    return r->up && !r->body_ended && (!r->res.keepalive || r->res.status >= 300);
}

RP_NO_ARRAYS enum rp_verdict rp_step_respond(struct rp_req *r)
{
    if (RP_UNLIKELY(r->hedge != NULL)) rp_hedge_end(r);
    if (RP_UNLIKELY(r->coalesce != NULL)) {
        enum rp_verdict v;
        if (!rp_coalesce_share(r, &v)) return v;
    }
    rp_err e = run_header_filter(r);
    if (e == RP_AGAIN) return rp_step_wait_hook(r);
    if (RP_UNLIKELY(r->answer != NULL)) {
        enum rp_verdict v = RP_STEP_GO;
        e = prepare(r, &v);
        if (e == RP_AGAIN) return v;
        if (e < 0) return rp_step_fail(r, e);
    }
    e = rp_headers_edit_response(r);
    if (e != RP_OK) {
        rp_attempt_release(r);
        rp_req_answer_error(r, e);
    }
    if (rp_trace_is_on(r->conf)) rp_trace_tell(r);
    if (RP_UNLIKELY(r->res.status == 101) && r->up) return begin_tunnel(r);
    if (RP_UNLIKELY(r->x.head.method == RP_M_CONNECT)) {
        if (rp_dial_is_tunnel(r)) return begin_tunnel(r);
        rp_dial_refuse(r);
    }
    bool is_made = r->answered || !r->up; /* or a hook has read all of it */
    if (is_made && !r->body_ended) rp_answer_skip_body(r);
    if (is_early_end(r)) r->x.close_after = true;
    if (is_filtered(r)) {
        r->res.framing = RP_BODY_CHUNKED; /* its length is known only when the hooks are done */
    }
    if (RP_UNLIKELY(r->spool != NULL) && r->body_sent)
        rp_spool_free(&r->spool); /* no try will want it again */
    if (r->up && r->route->buffer_response) rp_buffering_begin(r);
    e = r->x.ops->send_head(&r->x, &r->res);
    return e < 0 ? rp_step_fail(r, e) : rp_step_to(r, RP_STEP_RELAY);
}

/* ---- RELAY -------------------------------------------------------------------------------------- */

/* Read what the upstream has. RP_OK; RP_AGAIN nothing new; < 0. At its end the connection is let go,
 * so `!r->up` says that r->out holds the rest: but for a response that is buffered. */
static rp_err read_upstream(struct rp_req *r)
{
    if (r->res_spool) return rp_buffering_take(r, PUMP_BYTES);
    if (RP_UNLIKELY(r->answer != NULL) && r->answer->streamed) return rp_answer_read(r);
    size_t most = PUMP_BYTES;
    rp_err e = RP_OK;
    if (!rp_bulk_is_trifle(r)) {
        e = rp_bulk_read(r, &most);
        if (e != RP_E_BUSY) return e;
        e = RP_OK;
        most = rp_req_piece(r, most);
    }
    while (r->up && r->out.bytes < most && e == RP_OK) {
        e = rp_up_read(r->up, &r->out, most, &r->x.arena, &r->x.res_trailers);
        if (e == RP_END && r->x.res_trailers) rp_msg_drop_named(r->x.res_trailers, &r->res);
        if (e == RP_END) rp_attempt_release(r);
    }
    return e == RP_END ? RP_OK : e;
}

/* r->out holds the rest of the response. */
static bool is_read(const struct rp_req *r)
{
    return !r->up && !r->res_spool && !r->pipe && !rp_answer_is_writing(r);
}

/* Response bytes in hand to the session. RP_OK; RP_AGAIN a hook is parked. */
static rp_err queue_body(struct rp_req *r)
{
    struct rp_chain *bytes = &r->out;
    if (r->phase != RP_PHASE_BODY_FILTER) r->out_last = is_read(r);
    bool last = r->out_last; /* a parked hook was told so, whatever has come since */
    if (is_filtered(r)) {
        r->phase = RP_PHASE_BODY_FILTER;
        rp_err e = r->conf->hooks->filter_body(r, &r->out, last, &r->filtered);
        if (e == RP_AGAIN) return e;
        r->phase = RP_PHASE_COUNT;
        r->timer_means = RP_OK;
        if (e < 0) return e;
        bytes = &r->filtered;
    }
    if (bytes->bytes == 0 && !last) return RP_OK;
    if (RP_UNLIKELY(r->answer != NULL) && last) rp_answer_join_trailers(r);
    rp_tap_got(r, bytes);
    rp_err e = r->x.ops->send_body(&r->x, bytes, last);
    return e < 0 ? e : RP_OK;
}

/* The upstream broke off; what it sent before has been queued and flushed. */
static enum rp_verdict upstream_failed(struct rp_req *r, rp_err e)
{
    rp_attempt_log_failure(r, e);
    return rp_step_fail(r, e);
}

/* A hook, or the client's side. The access log tells of clients. */
static enum rp_verdict relay_failed(struct rp_req *r, rp_err e)
{
    if (e == RP_E_UP_BAD_RESPONSE || e == RP_E_UP_TRUNCATED) return upstream_failed(r, e);
    if (e != RP_E_CLIENT_GONE) rp_log(info, "%s request=%s", rp_err_text(e), rp_req_id(r).ptr);
    return rp_step_fail(r, e);
}

/* Bytes that the client has taken since it first kept us waiting. */
static void look_at_taken(struct rp_req *r)
{
    uint64_t taken = r->x.ops->taken(&r->x);
    r->x.send_pace.bytes = taken > r->x.send_base ? taken - r->x.send_base : 0;
}

static enum rp_verdict wait_for_client(struct rp_req *r)
{
    struct rp_proxy *p = r->proxy;
    rp_ms now = rp_loop_now(p->loop);
    look_at_taken(r);
    rp_ms left = rp_pace_left(&r->x.send_pace, &p->settings.send_pace, now);
    bool pace = left < r->conf->send_ms;
    if (pace) left = RP_MAX(left, (rp_ms)LOOK_MS);
    return rp_step_wait(r, "client to take the response", pace ? left : r->conf->send_ms,
                        pace ? RP_E_SEND_SLOW : RP_E_SEND_TIMEOUT);
}

bool rp_respond_is_stuck(struct rp_req *r)
{
    uint64_t before = r->x.send_pace.bytes;
    struct rp_proxy *p = r->proxy;
    look_at_taken(r);
    if (r->timer_means == RP_E_SEND_TIMEOUT) return r->x.send_pace.bytes == before;
    return rp_pace_is_slow(&r->x.send_pace, &p->settings.send_pace, rp_loop_now(p->loop));
}

/* What is known to follow counts: who asks for much is heavy after its first bytes. */
static void note_piece(struct rp_req *r)
{
    uint64_t follows = r->up ? rp_up_unseen(r->up) : 0;
    bool much = follows >= RP_REQ_HEAVY_BYTES && follows != UINT64_MAX; /* nobody knows */
    size_t piped = RP_UNLIKELY(r->pipe != NULL) ? rp_splice_bytes(r->pipe) : 0;
    rp_req_note_piece(r, much ? RP_REQ_HEAVY_BYTES : r->out.bytes + piped);
}

/* One piece from the upstream through the hooks to the session; *v when it is time to leave the
 * step. */
static bool relay_piece(struct rp_req *r, enum rp_verdict *v)
{
    bool parked = r->phase == RP_PHASE_BODY_FILTER;
    rp_err read = parked ? RP_OK : read_upstream(r);
    note_piece(r);
    if (r->out.bytes || parked || is_read(r)) {
        rp_err e = queue_body(r);
        if (e == RP_AGAIN || e < 0) {
            *v = e < 0 ? relay_failed(r, e) : rp_step_wait_hook(r);
            return false;
        }
    }
    if (read == RP_OK) return true;
    rp_err flushed = r->x.ops->flush(&r->x);
    /* A failure stays and is read again: the client gets all that came before it. */
    if (read < 0 && flushed == RP_AGAIN) *v = wait_for_client(r);
    else if (read < 0 && r->res_spool) *v = rp_step_fail(r, read);            /* was logged */
    else if (read < 0 && rp_answer_is_writing(r)) *v = rp_step_fail(r, read); /* so was this */
    else if (read < 0) *v = upstream_failed(r, read);
    else if (flushed < 0) *v = relay_failed(r, flushed);
    else if (flushed == RP_AGAIN) *v = wait_for_client(r);
    else if (r->res_spool && rp_spool_is_reading(r->res_spool)) *v = rp_buffering_wait(r);
    else if (rp_answer_is_writing(r)) *v = rp_answer_wait(r);
    else *v = wait_for_upstream(r);
    return false;
}

/* The usual small answer: all of it came with the head, and nobody wants to see it. */
static inline void relay_small(struct rp_req *r)
{
    bool small = r->res.framing == RP_BODY_LENGTH && r->res.content_length <= RP_UP_SMALL;
    bool seen = r->answer || r->own || is_filtered(r);
    if (!small || seen || !r->up || r->out.bytes || r->res_spool || !r->body_sent ||
        !r->x.ops->send_small || r->x.response_done)
        return;
    rp_str body = rp_up_read_small(r->up, r->res.content_length);
    if (!body.ptr) return;
    r->x.ops->send_small(&r->x, body);
    rp_req_note_piece(r, body.len);
    rp_attempt_release(r);
}

RP_NO_ARRAYS enum rp_verdict rp_step_relay(struct rp_req *r)
{
    enum rp_verdict v;
    relay_small(r);
    bool was_light = !r->heavy;
    for (int turn = 0; turn < PUMP_TURNS; turn++) {
        rp_err e = !r->body_sent && r->up ? rp_attempt_pump(r) : RP_OK;
        if (e < 0) return relay_failed(r, e);
        if (r->res_spool) rp_buffering_fill(r);
        /* Nothing more is read while the client has not taken what is there: that bounds memory. The
         * head waits for the first piece of the body: one write for both. */
        bool head_alone = turn == 0 && r->x.wire_out_bytes == 0 && !r->x.response_done;
        e = head_alone && !r->pipe ? RP_OK : r->x.ops->flush(&r->x);
        if (e == RP_OK && r->pipe) e = rp_bulk_flush(r);
        if (e < 0) return relay_failed(r, e);
        if (e == RP_AGAIN) {
            if (r->res_spool) rp_buffering_spill(r);
            return wait_for_client(r);
        }
        if (r->x.response_done) return rp_step_to(r, RP_STEP_LOG);
        if (turn > 0 && rp_req_is_turn_over(r, was_light)) break;
        if (!relay_piece(r, &v)) return v;
    }
    rp_req_wake(r, RP_WAKE_UP);
    return rp_step_wait(r, "its turn", 0, RP_OK);
}
