/* SPDX-License-Identifier: MIT
 *
 * buffering: see buffering.h.
 *
 * Invariants: a body that waits for the disk is not read on; a request's upstream is not chosen
 * before its body is whole; a response that does not fit goes on at its client's pace and loses
 * nothing.
 */
#include "proxy/buffering.h"

#include "http/h1_up.h"
#include "proxy/payload.h"
#include "proxy/proxy.h"
#include "proxy/tap.h"
#include "proxy/spool.h"

enum {
    PIECE_BYTES = 64 * 1024,
    TURNS = 8,           /* then others get theirs */
    FILE_MS = 60 * 1000, /* a disk that hangs is a failure */
};

static void on_spool(void *user)
{
    rp_req_wake(user, RP_WAKE_BODY);
}

static struct rp_spool *open_spool(struct rp_req *r, bool kept)
{
    struct rp_spool_rule rule = {
        .dir = r->conf->spill_dir,
        .most = r->conf->spill_bytes,
        .max = r->route->buffer_max,
        .memory = r->route->buffer_memory,
        .kept = kept,
    };
    return rp_spool_new(r->proxy->spill, &rule, on_spool, r);
}

enum rp_verdict rp_buffering_wait(struct rp_req *r)
{
    return rp_step_wait(r, "the spill file", FILE_MS, RP_E_SPILL);
}

void rp_buffering_end(struct rp_req *r)
{
    rp_spool_free(&r->spool);
    rp_spool_free(&r->res_spool);
}

/* ---- requests ------------------------------------------------------------------------------- */

/* RP_END: it was the last, or a hook answered. */
static rp_err read_piece(struct rp_req *r)
{
    bool made = rp_payload_is_on(r);
    rp_err e = made ? rp_payload_fill(r) : r->x.ops->read_body(&r->x, &r->body, PIECE_BYTES);
    if (e < 0 || r->answered) return e;
    rp_spool_put(r->spool, made ? &r->payload->made : &r->body);
    return made && e == RP_OK && r->payload->done ? RP_END : e;
}

/* RP_END: all is read. RP_AGAIN: the client, a hook or (no room) the file is awaited. RP_OK: its turn
 * is over. */
static rp_err read_on(struct rp_req *r)
{
    rp_err e = RP_OK;
    for (int turn = 0; turn < TURNS && e == RP_OK; turn++) {
        if (!rp_spool_has_room(r->spool)) {
            e = rp_spool_push(r->spool);
            if (e == RP_OK) e = RP_AGAIN;
            break;
        }
        e = read_piece(r);
    }
    return e;
}

static rp_err begin_gather(struct rp_req *r)
{
    r->spool = open_spool(r, true);
    if (rp_payload_is_on(r)) { /* which takes what is in memory, too */
        bool here = r->body_whole || r->payload->sourced;
        r->body_whole = false;
        return here ? RP_OK : rp_req_invite_body(r);
    }
    if (!r->body_whole) {
        rp_spool_put(r->spool, &r->body); /* a hook began to read it and found it too large */
        return rp_req_invite_body(r);
    }
    rp_spool_share(r->spool, &r->body); /* a hook has it in memory: it stays there */
    rp_spool_end(r->spool, RP_END);
    return RP_OK;
}

static rp_err gather(struct rp_req *r)
{
    rp_err e = r->spool ? RP_OK : begin_gather(r);
    if (e < 0) return e;
    if (!rp_spool_is_ended(r->spool)) {
        e = read_on(r);
        if (e != RP_END || r->answered) return e;
        r->body_ended = true;
        rp_spool_end(r->spool, RP_END);
    }
    e = rp_spool_settle(r->spool);
    return e == RP_OK ? RP_END : e;
}

bool rp_buffering_gather(struct rp_req *r, enum rp_verdict *v)
{
    bool none = r->body_ended && !r->body_whole && !rp_payload_is_on(r);
    if (!r->spool && none) return true;
    rp_err e = gather(r);
    if (e == RP_END && !r->answered) return true;
    if (e == RP_END) {
        *v = rp_step_to(r, RP_STEP_RESPOND);
    } else if (e < 0) {
        *v = rp_step_fail(r, e);
    } else if (e == RP_OK) {
        rp_req_wake(r, RP_WAKE_BODY);
        *v = rp_step_wait(r, "its turn", 0, RP_OK);
    } else {
        bool file = rp_spool_is_ended(r->spool) || !rp_spool_has_room(r->spool);
        if (!file && rp_payload_is_parked(r)) *v = rp_step_wait_hook(r);
        else *v = file ? rp_buffering_wait(r) : rp_attempt_wait_body(r);
    }
    return false;
}

rp_err rp_buffering_collect(struct rp_req *r, uint64_t max)
{
    if (!rp_spool_is_ended(r->spool)) return RP_E_PHASE;
    if (rp_spool_bytes(r->spool) > max) return RP_E_TOO_BIG;
    rp_err e = RP_OK;
    while (e == RP_OK) e = rp_spool_get(r->spool, &r->body, PIECE_BYTES);
    if (e != RP_END) return e;
    r->body_whole = true;
    rp_spool_rewind(r->spool);
    return RP_OK;
}

void rp_buffering_restart(struct rp_req *r)
{
    rp_spool_rewind(r->spool);
    if (!r->body_whole) rp_chain_clear(&r->body);
}

rp_err rp_buffering_pump(struct rp_req *r)
{
    struct rp_chain piece;
    rp_chain_init(&piece, r->proxy->mem);
    rp_err e = rp_spool_get(r->spool, &piece, PIECE_BYTES);
    if (e < 0 || e == RP_AGAIN) return e;
    bool last = rp_spool_left(r->spool) == 0;
    rp_tap_sent(r, &piece);
    e = rp_up_send(r->up, &piece, last, NULL);
    rp_chain_clear(&piece);
    if (e < 0) return e;
    if (last) {
        r->body_sent = true;
        r->sent_ns = rp_loop_now_ns(r->proxy->loop);
    }
    return RP_OK;
}

/* ---- responses ------------------------------------------------------------------------------ */

void rp_buffering_begin(struct rp_req *r)
{
    if (r->res.framing != RP_BODY_NONE) r->res_spool = open_spool(r, false);
}

/* The connection is let go as soon as the last byte is here. */
static void upstream_ended(struct rp_req *r, rp_err e)
{
    if (e < 0) rp_attempt_log_failure(r, e);
    if (r->x.res_trailers) rp_msg_drop_named(r->x.res_trailers, &r->res);
    rp_attempt_release(r);
    rp_spool_end(r->res_spool, e);
}

void rp_buffering_fill(struct rp_req *r)
{
    struct rp_chain in;
    rp_chain_init(&in, r->proxy->mem);
    for (int turn = 0; r->up && rp_spool_has_room(r->res_spool); turn++) {
        if (turn == TURNS) {
            rp_req_wake(r, RP_WAKE_UP);
            return;
        }
        rp_err e = rp_up_read(r->up, &in, PIECE_BYTES, &r->x.arena, &r->x.res_trailers);
        rp_spool_put(r->res_spool, &in);
        if (e == RP_AGAIN) return;
        if (e != RP_OK) upstream_ended(r, e);
    }
}

void rp_buffering_spill(struct rp_req *r)
{
    if (!r->up) return; /* all is here: what is in memory may stay */
    rp_err e = rp_spool_push(r->res_spool);
    if (e == RP_OK) rp_buffering_fill(r);
    /* A failure is met when the bytes are got. */
}

rp_err rp_buffering_take(struct rp_req *r, size_t most)
{
    size_t before = r->out.bytes;
    rp_err e = RP_OK;
    while (e == RP_OK && r->out.bytes < most) {
        e = rp_spool_get(r->res_spool, &r->out, most - r->out.bytes);
        /* The end is told with the last bytes: head and body of a small response are one write. */
        if (e == RP_OK && rp_spool_is_finished(r->res_spool)) e = RP_END;
    }
    if (e == RP_END) rp_spool_free(&r->res_spool);
    /* There is room again: the upstream is asked before anybody waits for it. */
    if (e == RP_AGAIN && r->out.bytes > before) e = RP_OK;
    return e == RP_END ? RP_OK : e;
}
