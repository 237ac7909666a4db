/* SPDX-License-Identifier: MIT
 *
 * answer: see answer.h.
 *
 * Invariants: 1 a hook that writes runs from RELAY alone, and only when its client has taken all that
 * it wrote before; tasks it spawned may write meanwhile, up to RP_ANSWER_PENDING_MOST. 2 a written
 * answer ends well only when its hook returned, or said so: whatever else ends it breaks it off. 3 what
 * hooks see as a body is `r->out`, never `pending`.
 */
#include "proxy/answer.h"

#include "base/log.h"
#include "http/field.h"
#include "http/h1_parse.h"
#include "proxy/proxy.h"

static const rp_str KEEPALIVE = {":\n\n", 3}; /* a comment of the event stream format */

static rp_ms now_of(const struct rp_req *r)
{
    return rp_loop_now(r->proxy->loop);
}

struct rp_answer *rp_answer_of(struct rp_req *r)
{
    if (r->answer) return r->answer;
    struct rp_answer *a = rp_arena_zalloc(&r->x.arena, sizeof *a);
    if (!a) return NULL;
    rp_chain_init(&a->pending, r->proxy->mem);
    rp_msg_init(&a->hint, NULL, 0, RP_ANSWER_FIELDS_MOST);
    rp_msg_init(&a->trailers, NULL, 0, RP_ANSWER_FIELDS_MOST);
    r->answer = a;
    return a;
}

void rp_answer_reset(struct rp_req *r)
{
    struct rp_answer *a = r->answer;
    rp_chain_clear(&a->pending);
    rp_msg_init(&a->trailers, NULL, 0, RP_ANSWER_FIELDS_MOST);
    a->streamed = a->ended = false;
    r->x.res_trailers = NULL; /* those of the response that is not sent */
}

void rp_answer_end(struct rp_req *r)
{
    rp_chain_clear(&r->answer->pending);
    r->answer->ended = true;
}

/* ---- a written answer ----------------------------------------------------------------------- */

static bool has_no_body(const struct rp_req *r)
{
    uint16_t status = r->res.status;
    return r->x.head.method == RP_M_HEAD || status == 204 || status == 304;
}

rp_err rp_answer_begin(struct rp_req *r, uint16_t status, uint64_t length, rp_ms idle_ms,
                       rp_ms keepalive_ms)
{
    struct rp_answer *a = rp_answer_of(r);
    if (!a) return RP_E_CAP;
    rp_err e = rp_req_answer(r, RP_FROM_PLUGIN, status, RP_STR_NONE, RP_STR_NONE);
    if (e != RP_OK) return e;
    bool known = length != UINT64_MAX;
    r->res.framing = known ? RP_BODY_LENGTH : RP_BODY_CHUNKED;
    r->res.content_length = known ? length : 0;
    a->left = length;
    a->idle_ms = idle_ms;
    a->keepalive_ms = keepalive_ms;
    a->last_ms = a->sent_ms = now_of(r);
    a->streamed = a->taken = true;
    a->ended = a->cut = false;
    a->fail = RP_OK;
    return RP_OK;
}

static bool is_open(const struct rp_req *r)
{
    const struct rp_answer *a = r->answer;
    return a && a->streamed && !a->ended && r->x.fail == RP_OK && !has_no_body(r);
}

static void put(struct rp_req *r, rp_str s)
{
    struct rp_answer *a = r->answer;
    if (s.len == 0) return;
    rp_chain_add_copy(&a->pending, s);
    if (r->step == RP_STEP_RELAY && !a->reading) rp_req_wake(r, RP_WAKE_TASK);
}

rp_err rp_answer_write(struct rp_req *r, rp_str s, size_t *used_n)
{
    struct rp_answer *a = r->answer;
    *used_n = 0;
    if (!is_open(r)) return RP_E_CLOSED;
    if (s.len > a->left) return RP_E_TOO_BIG;
    if (s.len == 0) return RP_OK;
    /* The usual piece is taken as a whole or not at all: who writes it may end while it waits. */
    bool full = a->pending.bytes >= RP_ANSWER_PENDING_MOST;
    size_t n = full ? 0 : RP_MIN(s.len, (size_t)RP_ANSWER_PENDING_MOST);
    put(r, rp_str_head(s, n));
    if (a->left != UINT64_MAX) a->left -= n;
    if (n > 0) {
        a->last_ms = a->sent_ms = now_of(r);
        a->taken = false;
        a->cut = n < s.len;
    }
    *used_n = n;
    return n < s.len ? RP_AGAIN : RP_OK;
}

rp_err rp_answer_flush(struct rp_req *r)
{
    if (!is_open(r)) return RP_E_CLOSED;
    return r->answer->taken ? RP_OK : RP_AGAIN;
}

static bool is_short(const struct rp_answer *a)
{
    return a->left > 0 && a->left != UINT64_MAX;
}

rp_err rp_answer_finish(struct rp_req *r)
{
    struct rp_answer *a = r->answer;
    if (!is_open(r)) return RP_E_CLOSED;
    if (is_short(a)) return RP_E_INVALID;
    a->ended = true;
    if (r->step == RP_STEP_RELAY && !a->reading) rp_req_wake(r, RP_WAKE_TASK);
    return RP_OK;
}

/* The hook returned. */
static rp_err returned(struct rp_req *r)
{
    struct rp_answer *a = r->answer;
    if (r->x.fail != RP_OK) return r->x.fail; /* it may have returned for that reason */
    if (is_short(a) && !has_no_body(r)) {
        rp_log(error, "a hook wrote fewer bytes than it had announced missing=%llu request=%s",
               (unsigned long long)a->left, rp_req_id(r).ptr);
        return RP_E_HOOK;
    }
    a->ended = true;
    return RP_OK;
}

rp_err rp_answer_settle(struct rp_req *r)
{
    struct rp_answer *a = r->answer;
    bool unwanted = a->streamed && has_no_body(r);
    if (a->task && (!a->streamed || unwanted)) r->conf->hooks->cancel(r);
    if (!a->streamed) return RP_OK;
    if (unwanted) {
        rp_chain_clear(&a->pending);
        a->ended = true;
        return RP_OK;
    }
    if (!a->task && !a->ended) {
        rp_err e = returned(r);
        if (e != RP_OK) return e;
    }
    /* All of it is here before the head goes out: then its length is known. */
    if (a->ended && r->res.framing == RP_BODY_CHUNKED) {
        r->res.framing = RP_BODY_LENGTH;
        r->res.content_length = a->pending.bytes;
    }
    return RP_OK;
}

void rp_answer_skip_body(struct rp_req *r)
{
    struct rp_answer *a = r->answer;
    bool goes_on = a && a->streamed && a->task && r->payload;
    if (goes_on) return;
    if (a) a->skipped = true;
    r->x.ops->skip_body(&r->x);
}

/* Nothing came of the hook's turn. RP_OK; < 0 it is over. */
static rp_err look_at_clock(struct rp_req *r)
{
    struct rp_answer *a = r->answer;
    rp_ms now = now_of(r);
    if (a->idle_ms && now >= a->last_ms + a->idle_ms) {
        rp_log(error, "a hook that writes a response waited too long seconds=%llu request=%s",
               (unsigned long long)a->idle_ms / 1000, rp_req_id(r).ptr);
        return RP_E_HOOK_TIMEOUT;
    }
    if (a->keepalive_ms && !a->cut && now >= a->sent_ms + a->keepalive_ms) {
        rp_chain_add_const(&a->pending, KEEPALIVE);
        a->sent_ms = now;
    }
    return RP_OK;
}

/* The hook has its turn, all that it wrote is in the socket. RP_OK; < 0 */
static rp_err go_on(struct rp_req *r)
{
    struct rp_answer *a = r->answer;
    if (!a->taken) a->last_ms = now_of(r); /* the time that its client took is not the hook's */
    a->taken = true;
    a->reading = true;
    rp_err e = r->conf->hooks->write_on(r);
    a->reading = false;
    if (e < 0) return e;
    if (e == RP_END) return a->ended ? RP_OK : returned(r);
    return a->pending.bytes > 0 || a->ended ? RP_OK : look_at_clock(r);
}

rp_err rp_answer_read(struct rp_req *r)
{
    struct rp_answer *a = r->answer;
    if (a->pending.bytes == 0 && !a->ended && a->fail == RP_OK) a->fail = go_on(r);
    size_t n = rp_chain_move(&r->out, &a->pending, a->pending.bytes);
    if (a->fail != RP_OK) return a->fail; /* what it wrote before goes out first */
    return n > 0 || a->ended ? RP_OK : RP_AGAIN;
}

enum rp_verdict rp_answer_wait(struct rp_req *r)
{
    const struct rp_answer *a = r->answer;
    if (a->awaits_body && a->task && !r->body_ended)
        return rp_attempt_wait_body(r); /* this time is the client's */
    rp_ms now = now_of(r), due = UINT64_MAX;
    if (a->idle_ms) due = a->last_ms + a->idle_ms;
    if (a->keepalive_ms) due = RP_MIN(due, a->sent_ms + a->keepalive_ms);
    rp_ms left = due == UINT64_MAX ? 0 : due > now ? due - now : 1;
    /* The step looks at the clock itself: passing means only that it runs again. */
    return rp_step_wait(r, "hook that writes the response", left, RP_OK);
}

/* ---- fields --------------------------------------------------------------------------------- */

static rp_err add_copy(struct rp_req *r, struct rp_msg *m, bool replace, rp_str name, rp_str value)
{
    struct rp_arena *a = &r->x.arena;
    uint16_t id = rp_token_header(name.ptr, name.len);
    rp_str kept = id ? rp_token_header_name(id) : rp_arena_copy(a, name);
    rp_str text = rp_arena_copy(a, value);
    if (!kept.ptr || !text.ptr) return RP_E_CAP;
    return replace ? rp_msg_set(m, a, id, kept, text) : rp_msg_add(m, a, id, kept, text);
}

static unsigned drop(struct rp_msg *m, rp_str name)
{
    return rp_msg_del(m, rp_token_header(name.ptr, name.len), name);
}

rp_err rp_answer_trailer(struct rp_req *r, rp_str name, rp_str value)
{
    if (!rp_field_is_name(name)) return RP_E_INVALID;
    if (!rp_h1_trailer_is_allowed(rp_token_header(name.ptr, name.len))) return RP_E_BUSY;
    if (value.ptr && !rp_field_is_value(value)) return RP_E_INVALID;
    struct rp_answer *a = rp_answer_of(r);
    if (!a) return RP_E_CAP;
    if (value.ptr) return add_copy(r, &a->trailers, true, name, value);
    (void)drop(&a->trailers, name); /* how many does not matter */
    if (r->x.res_trailers) (void)drop(r->x.res_trailers, name);
    return RP_OK;
}

void rp_answer_join_trailers(struct rp_req *r)
{
    struct rp_answer *a = r->answer;
    struct rp_msg *to = r->x.res_trailers;
    if (a->trailers.fields_n == 0) return;
    if (!to) {
        r->x.res_trailers = &a->trailers;
        return;
    }
    to->fields_max = RP_MAX(to->fields_max, (uint16_t)(to->fields_n + RP_ANSWER_FIELDS_MOST));
    for (uint16_t i = 0; i < a->trailers.fields_n; i++) {
        const struct rp_field *f = &a->trailers.fields[i];
        if (f->name_n == 0) continue;
        /* The arena is full: the response goes out with fewer trailers. */
        RP_IGNORE(rp_msg_set(to, &r->x.arena, f->id, rp_field_name(f), rp_field_value(f)));
    }
    rp_msg_init(&a->trailers, NULL, 0, RP_ANSWER_FIELDS_MOST);
}

static bool is_ours(uint16_t id)
{
    return rp_token_header_is_hop(id) || id == RP_H_CONTENT_LENGTH ||
           id == RP_H_TRANSFER_ENCODING || id == RP_H_CONNECTION || id == RP_H_TRAILER;
}

rp_err rp_answer_hint(struct rp_req *r, rp_str name, rp_str value)
{
    if (!rp_field_is_name(name) || !rp_field_is_value(value)) return RP_E_INVALID;
    if (is_ours(rp_token_header(name.ptr, name.len))) return RP_E_BUSY;
    struct rp_answer *a = rp_answer_of(r);
    return a ? add_copy(r, &a->hint, false, name, value) : RP_E_CAP;
}

rp_err rp_answer_send_hint(struct rp_req *r)
{
    struct rp_answer *a = r->answer;
    if (r->x.head_sent) return RP_E_PHASE;
    if (!a || a->hint.fields_n == 0) return RP_E_INVALID;
    struct rp_msg hint = a->hint;
    rp_msg_init(&a->hint, NULL, 0, RP_ANSWER_FIELDS_MOST);
    /* RFC 9110 §15.2: MUST NOT send a 1xx to an HTTP/1.0 client. */
    if (r->x.head.version < 11) return RP_END;
    if (a->hints_n == RP_ANSWER_HINTS_MOST) return RP_E_CAP;
    a->hints_n++;
    hint.version = 11;
    hint.status = 103; /* RFC 8297 §2 */
    rp_err e = r->x.ops->send_info(&r->x, &hint);
    if (e == RP_OK) e = r->x.ops->flush(&r->x);
    return e < 0 ? e : RP_OK; /* AGAIN: it goes out with what follows */
}

/* ---- whole bodies --------------------------------------------------------------------------- */

/* RFC 9110 §8.8.1: a strong validator changes with the bytes, and nobody can make that of the
 * changed ones; a weak one still stands for what they mean. Digests (RFC 9530) are of the bytes, and
 * ranges of the upstream are ranges of something else. */
void rp_answer_note_changed(struct rp_req *r)
{
    static const char *const OF_BYTES[] = {"Content-MD5", "Digest", "Content-Digest", "Repr-Digest",
                                           "Accept-Ranges"};
    for (size_t i = 0; i < RP_COUNT(OF_BYTES); i++) (void)drop(&r->res, rp_str_z(OF_BYTES[i]));
    rp_str tag = rp_msg_get(&r->res, RP_H_ETAG);
    if (!tag.ptr || rp_str_starts(tag, RP_STR("W/"))) return;
    char *weak = rp_arena_alloc(&r->x.arena, tag.len + 2);
    if (!weak) {
        (void)drop(&r->res, RP_STR("ETag"));
        return;
    }
    memcpy(weak, "W/", 2);
    memcpy(weak + 2, tag.ptr, tag.len);
    RP_IGNORE(rp_msg_set(&r->res, &r->x.arena, RP_H_ETAG, RP_STR("ETag"), /* replaces: has room */
                         rp_str_of(weak, tag.len + 2)));
}

rp_err rp_answer_set_body(struct rp_req *r, rp_str body)
{
    if (r->x.head_sent) return RP_E_PHASE;
    if (r->res.status == 206 || r->res.status == 101) return RP_E_INVALID;
    if (r->answer) r->answer->streamed = false; /* RESPOND ends its hook */
    rp_attempt_release(r);
    rp_chain_clear(&r->out);
    rp_chain_add_copy(&r->out, body);
    r->res.framing = RP_BODY_LENGTH;
    r->res.content_length = body.len;
    r->x.res_trailers = NULL;
    rp_answer_note_changed(r);
    return RP_OK;
}
