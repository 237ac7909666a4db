/* SPDX-License-Identifier: MIT
 *
 * payload: see payload.h.
 */
#include "proxy/payload.h"

#include "base/log.h"
#include "proxy/proxy.h"

enum {
    PIECE_BYTES = 64 * 1024, /* most that hooks see at once */
    TURNS = 8,               /* then others get theirs */
};

struct rp_payload *rp_payload_get(struct rp_req *r)
{
    if (r->payload) return r->payload;
    struct rp_payload *p = rp_arena_zalloc(&r->x.arena, sizeof *p);
    if (!p) return NULL;
    rp_chain_init(&p->raw, r->proxy->mem);
    rp_chain_init(&p->made, r->proxy->mem);
    r->payload = p;
    return p;
}

void rp_payload_end(struct rp_req *r)
{
    rp_chain_clear(&r->payload->raw);
    rp_chain_clear(&r->payload->made);
    r->payload = NULL;
}

/* ---- where the bytes come from -------------------------------------------------------------- */

static bool is_all_in(const struct rp_req *r)
{
    const struct rp_msg *h = &r->x.head;
    return h->framing == RP_BODY_LENGTH && r->x.body_in_bytes == h->content_length;
}

/* What a hook read and left is first. RP_OK: `raw` is a piece, maybe an empty last one. */
static rp_err read_client(struct rp_req *r)
{
    struct rp_payload *p = r->payload;
    if (r->body.bytes == 0 && !r->body_ended) {
        rp_err e = r->x.ops->read_body(&r->x, &p->raw, rp_req_piece(r, PIECE_BYTES));
        /* Its end is told with its last bytes where they are known: by asking once more. */
        if (e == RP_OK && is_all_in(r)) e = r->x.ops->read_body(&r->x, &p->raw, PIECE_BYTES);
        if (e < 0) return e;
        if (e == RP_END) r->body_ended = true;
    } else {
        (void)rp_chain_move(&p->raw, &r->body, PIECE_BYTES); /* as much as there is */
    }
    p->raw_last = r->body_ended && r->body.bytes == 0;
    return p->raw.bytes > 0 || p->raw_last ? RP_OK : RP_AGAIN;
}

/* Nobody will want the client's own bytes. */
static void leave_client(struct rp_req *r)
{
    if (r->body_ended) return;
    r->x.ops->skip_body(&r->x);
    r->body_ended = true;
}

static rp_err ask_source(struct rp_req *r)
{
    struct rp_payload *p = r->payload;
    rp_err e = r->conf->hooks->pull_body(r, &p->raw);
    if (e < 0 || e == RP_AGAIN) return e;
    p->raw_last = e == RP_END;
    if (p->raw_last) leave_client(r);
    return RP_OK;
}

/* ---- what hooks make of them ---------------------------------------------------------------- */

static rp_err run_hooks(struct rp_req *r)
{
    struct rp_payload *p = r->payload;
    rp_err e = RP_OK;
    bool nothing = p->raw.bytes == 0 && !p->raw_last;
    if (!p->filtered || nothing) (void)rp_chain_move(&p->made, &p->raw, p->raw.bytes); /* all */
    else e = r->conf->hooks->filter_request(r, &p->raw, p->raw_last, &p->made);
    if (e != RP_OK) return e;
    p->looking = false;
    p->done = p->raw_last;
    return RP_OK;
}

static rp_err make_piece(struct rp_req *r)
{
    struct rp_payload *p = r->payload;
    if (!p->looking) {
        rp_err e = p->sourced ? ask_source(r) : read_client(r);
        if (e != RP_OK) return e;
        p->looking = true;
    }
    return run_hooks(r);
}

/* How long it has been parked counts from when it was, whatever else woke the request since. */
static rp_err note_parked(struct rp_req *r, bool was_parked)
{
    struct rp_payload *p = r->payload;
    rp_ms now = rp_loop_now(r->proxy->loop);
    if (!p->task) return RP_AGAIN; /* the client is awaited */
    if (!was_parked || p->reads) p->task_ends_ms = now + r->conf->hook_wait_ms;
    return now < p->task_ends_ms ? RP_AGAIN : RP_E_HOOK_TIMEOUT;
}

rp_err rp_payload_fill(struct rp_req *r)
{
    struct rp_payload *p = r->payload;
    uint8_t phase = r->phase;
    bool parked = p->task != NULL;
    if (!parked && !p->looking && (p->made.bytes > 0 || p->done)) return RP_OK;
    p->begun = true;
    r->phase = RP_PHASE_REQUEST_BODY;
    rp_err e = make_piece(r);
    r->phase = phase;
    if (e == RP_AGAIN) return note_parked(r, parked);
    /* The next one has its own time; a hook of the response that is parked keeps its. */
    if (!r->task && r->timer_means == RP_E_HOOK_TIMEOUT) r->timer_means = RP_OK;
    if (e == RP_END && r->x.head_sent) return RP_E_HOOK; /* no answer has a place any more */
    return e;
}

/* ---- PICK ----------------------------------------------------------------------------------- */

static bool has_content(const struct rp_req *r)
{
    const struct rp_msg *h = &r->x.head;
    if (r->body_whole) return r->body.bytes > 0;
    if (r->payload && r->payload->sourced) return true;
    return h->framing == RP_BODY_CHUNKED || h->content_length > 0;
}

static rp_err begin(struct rp_req *r)
{
    if (!r->route->chains.at[RP_PHASE_REQUEST_BODY] || !has_content(r)) return RP_OK;
    if (!rp_payload_get(r)) return RP_E_CAP;
    r->payload->filtered = true;
    return RP_OK;
}

/* RP_END: `made` is the whole body now. */
static rp_err filter_whole(struct rp_req *r)
{
    struct rp_payload *p = r->payload;
    struct rp_chain all;
    rp_chain_init(&all, r->proxy->mem);
    (void)rp_chain_move(&all, &p->made, p->made.bytes);
    rp_err e = RP_OK;
    for (int turn = 0; turn < TURNS && e == RP_OK && !p->done; turn++) {
        e = rp_payload_fill(r);
        (void)rp_chain_move(&all, &p->made, p->made.bytes);
    }
    (void)rp_chain_move(&p->made, &all, all.bytes);
    return e == RP_OK && p->done ? RP_END : e;
}

static bool settle_whole(struct rp_req *r, enum rp_verdict *v)
{
    struct rp_payload *p = r->payload;
    rp_err e = filter_whole(r);
    if (r->answered) {
        *v = rp_step_to(r, RP_STEP_RESPOND);
    } else if (e == RP_END) {
        (void)rp_chain_move(&r->body, &p->made, p->made.bytes);
        p->filtered = p->sourced = false;
        r->body_whole = r->body_ended = true;
        return true;
    } else if (e < 0) {
        *v = rp_step_fail(r, e);
    } else if (e == RP_AGAIN) {
        *v = rp_step_wait_hook(r);
    } else {
        rp_req_wake(r, RP_WAKE_BODY);
        *v = rp_step_wait(r, "its turn", 0, RP_OK);
    }
    return false;
}

/* Some of it is gone, and nothing was given in its place. */
static bool is_lost(const struct rp_req *r)
{
    const struct rp_payload *p = r->payload;
    return p && p->taken && !p->sourced && !r->body_whole;
}

bool rp_payload_settle(struct rp_req *r, enum rp_verdict *v)
{
    if (r->payload && r->payload->done) return true;
    rp_err e = RP_OK;
    if (is_lost(r)) {
        rp_log(error, "a hook consumed the request body and set no other route=\"%s\" request=%s",
               rp_log_esc(r->route->id), rp_req_id(r).ptr);
        e = RP_E_HOOK;
    }
    if (e == RP_OK && !(r->payload && r->payload->filtered)) e = begin(r);
    if (e != RP_OK) {
        *v = rp_step_fail(r, e);
        return false;
    }
    bool whole = rp_payload_is_on(r) && r->body_whole && !r->route->buffer_request;
    return !whole || settle_whole(r, v);
}

/* ---- hooks that read ------------------------------------------------------------------------ */

rp_err rp_payload_read(struct rp_req *r, size_t max)
{
    if (r->body.bytes > 0) return RP_OK;
    if (r->body_ended) return RP_END;
    rp_err e = rp_req_invite_body(r);
    if (e != RP_OK) return e;
    e = r->x.ops->read_body(&r->x, &r->body, max);
    if (e == RP_END) r->body_ended = true;
    return e < 0 || r->body.bytes == 0 ? e : RP_OK;
}

void rp_payload_take(struct rp_req *r, char *out, size_t n)
{
    rp_chain_peek(&r->body, out, n);
    rp_chain_consume(&r->body, n);
    if (n > 0) r->payload->taken = true;
}

rp_err rp_payload_set_source(struct rp_req *r)
{
    if (r->step >= RP_STEP_SEND || r->spool) return RP_E_PHASE;
    if (!rp_payload_get(r)) return RP_E_CAP;
    if (r->payload->begun) return RP_E_PHASE;
    if (r->body_whole) rp_chain_clear(&r->body);
    r->body_whole = false;
    r->payload->sourced = true;
    return RP_OK;
}

/* What hooks have seen whole does not pass them again: what is given now is their own site's. */
rp_err rp_payload_replace(struct rp_req *r)
{
    struct rp_payload *p = r->payload;
    if (p->begun && !p->done) return RP_E_PHASE;
    rp_chain_clear(&p->made);
    p->sourced = false;
    if (p->done) p->filtered = false;
    return RP_OK;
}
