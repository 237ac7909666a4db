/* SPDX-License-Identifier: MIT
 *
 * tunnel_ws: a tunnel whose WebSocket frames are looked at: limits, pings of ours, a Close frame when we
 * end it (RFC 6455 §5, §7). Frames of others go on as they are; ours stand between theirs.
 */
#include "base/log.h"
#include "base/random.h"
#include "http/h1_up.h"
#include "proxy/lifecycle.h"
#include "proxy/tunnel.h"

enum { /* RFC 6455 §7.4.1 */
       GOING_AWAY = 1001,
       PROTOCOL_ERROR = 1002,
       POLICY = 1008,
       TOO_BIG = 1009,
       INTERNAL = 1011,
};

/* ---- beginning --------------------------------------------------------------------------------- */

static bool is_wanted(const struct rp_conf_tunnel *c)
{
    return c->check || c->frame_max || c->message_max || c->ping_ms;
}

rp_err rp_tunnel_ws_begin(struct rp_req *r)
{
    struct rp_tunnel *t = r->tunnel;
    const struct rp_conf_tunnel *limits = &t->limits;
    if (r->res.status != 101 || !is_wanted(limits)) return RP_OK; /* CONNECT is no WebSocket */
    struct rp_tunnel_ws *ws = rp_arena_zalloc(&r->x.arena, sizeof *ws);
    if (!ws) return RP_E_CAP;
    /* §9.1: what the server's answer lists is in use. */
    const struct rp_field *f = rp_msg_find_name(&r->res, RP_STR("Sec-WebSocket-Extensions"));
    struct rp_ws_rules rules = {.extended = f && rp_field_value(f).len > 0,
                                .frame_max = limits->frame_max,
                                .message_max = limits->message_max};
    ws->down.rules = ws->up.rules = rules;
    ws->down.rules.from_client = true;
    rp_ws_init(&ws->down.in);
    rp_ws_init(&ws->up.in);
    ws->down.heard_ms = ws->up.heard_ms = t->began_ms;
    rp_random_bytes(ws->tag, sizeof ws->tag);
    t->ws = ws;
    return RP_OK;
}

/* ---- passing on -------------------------------------------------------------------------------- */

/* The answer to a ping of ours, also to one that was followed by another (§5.5.3). */
static bool is_our_pong(const struct rp_tunnel_ws *ws, const struct rp_ws *in)
{
    char payload[RP_WS_CONTROL_MOST];
    if (in->opcode != RP_WS_PONG) return false;
    size_t n = rp_ws_payload(in, payload);
    return n == sizeof ws->tag && memcmp(payload, ws->tag, n) == 0;
}

/* The first piece of `in`. */
static rp_err filter_piece(const struct rp_tunnel_ws *ws, struct rp_tunnel_end *end,
                           struct rp_chain *in, struct rp_chain *out)
{
    rp_str rest = rp_str_of(in->head->ptr, in->head->len), pass;
    size_t run = 0, used = 0; /* run: bytes that go on and were not moved yet */
    rp_err e = RP_OK;
    while (rest.len > 0 && e >= 0) {
        e = rp_ws_next(&end->in, &end->rules, rest, &used, &pass);
        bool dropped = e < 0 || (e == RP_END && is_our_pong(ws, &end->in));
        if (!dropped && pass.len > 0 && pass.ptr == rest.ptr) {
            run += used;
        } else {
            rp_chain_move(out, in, run);
            rp_chain_consume(in, used);
            run = 0;
            if (!dropped && pass.len > 0) rp_chain_add_copy(out, pass); /* it began before */
        }
        rest = rp_str_from(rest, used);
    }
    rp_chain_move(out, in, run);
    return e < 0 ? e : RP_OK;
}

rp_err rp_tunnel_ws_filter(struct rp_req *r, bool from_client, struct rp_chain *in,
                           struct rp_chain *out)
{
    struct rp_tunnel_ws *ws = r->tunnel->ws;
    struct rp_proxy_stats *s = &r->proxy->stats;
    struct rp_tunnel_end *end = from_client ? &ws->down : &ws->up;
    uint64_t before = end->in.frames;
    rp_err e = RP_OK;
    end->heard_ms = rp_loop_now(r->proxy->loop);
    end->pinged_ms = 0;
    while (in->bytes > 0 && e == RP_OK) e = filter_piece(ws, end, in, out);
    *(from_client ? &s->ws_frames_in : &s->ws_frames_out) += end->in.frames - before;
    if (e < 0 && !from_client) {
        rp_log(warn, "%s of the upstream route=%s request=%s", rp_err_text(e),
               rp_log_esc(r->route->id), rp_req_id(r).ptr);
    }
    return e;
}

/* ---- frames of ours ---------------------------------------------------------------------------- */

/* What goes to an end is what the other one sends: ours must stand between its frames, and nothing
 * follows a Close. */
static bool can_tell(const struct rp_req *r, const struct rp_tunnel_end *end)
{
    const struct rp_tunnel_ws *ws = r->tunnel->ws;
    const struct rp_ws *others = end == &ws->down ? &ws->up.in : &ws->down.in;
    bool ended = end == &ws->down ? r->x.response_done : r->body_ended;
    return rp_ws_is_between(others) && !others->closed && !ended;
}

static rp_err tell(struct rp_req *r, const struct rp_tunnel_end *end, rp_str frame)
{
    struct rp_chain bytes;
    rp_chain_init(&bytes, r->proxy->mem);
    rp_chain_add_copy(&bytes, frame);
    bool down = end == &r->tunnel->ws->down;
    rp_err e =
        down ? r->x.ops->send_body(&r->x, &bytes, false) : rp_up_send(r->up, &bytes, false, NULL);
    if (e >= 0) e = down ? r->x.ops->flush(&r->x) : rp_up_flush(r->up);
    return e < 0 ? e : RP_OK;
}

/* §5.3: to the upstream we are the client, whose frames are masked. NULL: not to the client. */
static const uint8_t *mask_for(const struct rp_req *r, const struct rp_tunnel_end *end,
                               uint8_t room[4])
{
    if (end == &r->tunnel->ws->down) return NULL;
    rp_random_bytes(room, 4);
    return room;
}

/* ---- pings ------------------------------------------------------------------------------------- */

static size_t unsent_to(const struct rp_req *r, const struct rp_tunnel_end *end)
{
    bool down = end == &r->tunnel->ws->down;
    return down ? rp_conn_unsent(r->x.conn) : rp_up_unsent(r->up);
}

static rp_err ping(struct rp_req *r, struct rp_tunnel_end *end, rp_ms now)
{
    char frame[RP_WS_FRAME_MOST];
    uint8_t room[4];
    const struct rp_tunnel_ws *ws = r->tunnel->ws;
    size_t n =
        rp_ws_put(frame, RP_WS_PING, rp_str_of(ws->tag, sizeof ws->tag), mask_for(r, end, room));
    rp_err e = tell(r, end, rp_str_of(frame, n));
    end->pinged_ms = now;
    end->unsent = unsent_to(r, end);
    return e;
}

/* Is it still taking what stands before our ping? Then it has a slow line, and is there. */
static bool is_catching_up(struct rp_req *r, struct rp_tunnel_end *end)
{
    size_t before = end->unsent;
    end->unsent = unsent_to(r, end);
    return end->unsent < before;
}

static rp_err watch_end(struct rp_req *r, struct rp_tunnel_end *end, rp_ms now, rp_ms *wait)
{
    const struct rp_conf_tunnel *limits = &r->tunnel->limits;
    rp_ms since = end->pinged_ms ? end->pinged_ms : end->heard_ms;
    rp_ms most = end->pinged_ms ? limits->pong_ms : limits->ping_ms;
    bool ended = end == &r->tunnel->ws->down ? r->body_ended : r->x.response_done;
    if (end->in.closed || ended) return RP_OK; /* it has said all: nobody answers any more */
    if (now - since >= most) {
        if (!end->pinged_ms && can_tell(r, end)) {
            rp_err e = ping(r, end, now);
            if (e < 0) return e;
            most = limits->pong_ms;
        } else if (end->pinged_ms && is_catching_up(r, end)) {
            end->pinged_ms = now;
        } else if (end->pinged_ms) {
            r->tunnel->ws->silent = end;
            return RP_E_WS_PING_TIMEOUT;
        } /* else a frame is on its way to it: after that */
        since = now;
    }
    *wait = RP_MIN(*wait, most - (now - since));
    return RP_OK;
}

rp_err rp_tunnel_ws_watch(struct rp_req *r, rp_ms now, rp_ms *wait)
{
    const struct rp_conf_tunnel *limits = &r->tunnel->limits;
    if (!limits->ping_ms) return RP_OK;
    rp_err e = watch_end(r, &r->tunnel->ws->down, now, wait);
    if (e == RP_OK && limits->ping_upstream) e = watch_end(r, &r->tunnel->ws->up, now, wait);
    return e;
}

/* ---- closing ----------------------------------------------------------------------------------- */

bool rp_tunnel_ws_can_close(const struct rp_req *r)
{
    const struct rp_tunnel_ws *ws = r->tunnel->ws;
    return rp_ws_is_between(&ws->up.in) && rp_ws_is_between(&ws->down.in);
}

static uint16_t code_for(const struct rp_tunnel_ws *ws, const struct rp_tunnel_end *end, rp_err why)
{
    switch (why) {
    case RP_E_WS_PROTOCOL: return PROTOCOL_ERROR;
    case RP_E_WS_FRAME_BIG:
    case RP_E_WS_MESSAGE_BIG: return TOO_BIG;
    case RP_E_TUNNEL_BYTES: return POLICY;
    case RP_E_WS_PING_TIMEOUT: return end == ws->silent ? INTERNAL : GOING_AWAY;
    default: return GOING_AWAY;
    }
}

static void put_close(struct rp_req *r, struct rp_tunnel_end *end, rp_err why)
{
    char frame[RP_WS_FRAME_MOST];
    uint8_t room[4];
    if (!can_tell(r, end)) return;
    size_t n = rp_ws_put_close(frame, code_for(r->tunnel->ws, end, why),
                               rp_str_z(rp_err_reason(why)), mask_for(r, end, room));
    RP_IGNORE(tell(r, end, rp_str_of(frame, n))); /* the connection ends anyhow */
}

void rp_tunnel_ws_put_close(struct rp_req *r, rp_err why)
{
    rp_chain_clear(&r->body);
    rp_chain_clear(&r->out);
    rp_chain_clear(&r->filtered);
    put_close(r, &r->tunnel->ws->down, why);
    put_close(r, &r->tunnel->ws->up, why);
}
