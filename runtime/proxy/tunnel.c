/* SPDX-License-Identifier: MIT
 *
 * tunnel: bytes both ways, each direction paced by its reader, each end passed on as a half close.
 * See tunnel.h.
 *
 * What hooks kept in ctx is gone after a reload; the log line is written by the new generation.
 */
#include "proxy/tunnel.h"

#include "http/h1_up.h"
#include "proxy/lifecycle.h"
#include "proxy/upstream.h"

enum {
    PUMP_BYTES = 64 * 1024,
    PUMP_TURNS = 8,         /* then others get theirs */
    CLOSE_MS = 5000,        /* for an end to take our last frame */
    LINGER_MS = 5000,       /* ... and to read it */
    LINGER_BYTES = 1 << 20, /* thrown away meanwhile */
};

/* ---- moving bytes ------------------------------------------------------------------------------ */

/* What was read: count it, look at it. *bytes is where it is then. */
static rp_err look(struct rp_req *r, bool from_client, struct rp_chain **bytes)
{
    struct rp_tunnel *t = r->tunnel;
    uint64_t most = from_client ? t->limits.bytes_in : t->limits.bytes_out;
    uint64_t so_far = from_client ? r->x.body_in_bytes : t->up_bytes;
    if (most && so_far > most) {
        rp_chain_clear(*bytes); /* not one more passes */
        return RP_E_TUNNEL_BYTES;
    }
    rp_err e = t->ws ? rp_tunnel_ws_filter(r, from_client, *bytes, &r->filtered) : RP_OK;
    if (t->ws) *bytes = &r->filtered;
    if ((*bytes)->bytes > 0) t->moved_ms = rp_loop_now(r->proxy->loop);
    return e;
}

static rp_err read_client(struct rp_req *r)
{
    uint64_t before = r->x.body_in_bytes;
    struct rp_chain *bytes = &r->body;
    rp_err e = r->x.ops->read_body(&r->x, &r->body, PUMP_BYTES);
    if (e == RP_END) {
        r->body_ended = true;
        rp_up_end_output(r->up);
    }
    if (e != RP_OK) return e;
    rp_req_note_piece(r, r->body.bytes);
    r->proxy->stats.tunnel_bytes_in += r->x.body_in_bytes - before;
    e = look(r, true, &bytes);
    rp_err sent = bytes->bytes ? rp_up_send(r->up, bytes, false, NULL) : RP_OK;
    return e != RP_OK || sent >= 0 ? e : sent;
}

static rp_err read_upstream(struct rp_req *r)
{
    struct rp_msg *trailers = NULL; /* raw bytes have none */
    struct rp_chain *bytes = &r->out;
    rp_err e = rp_up_read(r->up, &r->out, PUMP_BYTES, &r->x.arena, &trailers);
    if (e == RP_END) {
        r->x.response_done = true;
        r->x.ops->end_output(&r->x);
    }
    if (e != RP_OK) return e;
    rp_req_note_piece(r, r->out.bytes);
    r->proxy->stats.tunnel_bytes_out += r->out.bytes;
    r->tunnel->up_bytes += r->out.bytes;
    e = look(r, false, &bytes);
    rp_err sent = bytes->bytes ? r->x.ops->send_body(&r->x, bytes, false) : RP_OK;
    return e != RP_OK || sent >= 0 ? e : sent;
}

/* Client to upstream. RP_OK ended or waiting for room is no failure; < 0 is. */
static rp_err pump_up(struct rp_req *r)
{
    bool was_light = !r->heavy;
    for (int turn = 0; turn < PUMP_TURNS; turn++) {
        rp_err e = rp_up_flush(r->up);
        if (e == RP_OK && r->body_ended) return RP_OK;
        if (e == RP_OK && turn > 0 && rp_req_is_turn_over(r, was_light)) break;
        if (e == RP_OK) e = read_client(r);
        if (e != RP_OK) return e < 0 ? e : RP_OK;
    }
    rp_req_wake(r, RP_WAKE_BODY);
    return RP_OK;
}

/* Upstream to client. */
static rp_err pump_down(struct rp_req *r)
{
    bool was_light = !r->heavy;
    for (int turn = 0; turn < PUMP_TURNS; turn++) {
        rp_err e = r->x.ops->flush(&r->x);
        if (e == RP_OK && r->x.response_done) return RP_OK;
        if (e == RP_OK && turn > 0 && rp_req_is_turn_over(r, was_light)) break;
        if (e == RP_OK) e = read_upstream(r);
        if (e != RP_OK) return e < 0 ? e : RP_OK;
    }
    rp_req_wake(r, RP_WAKE_UP);
    return RP_OK;
}

/* ---- ending ------------------------------------------------------------------------------------ */

/* Our last frames are on their way, or time is up. Both ends get to read them. */
static enum rp_verdict finish_closing(struct rp_req *r)
{
    rp_ms now = rp_loop_now(r->proxy->loop);
    rp_err up = r->up ? rp_up_flush(r->up) : RP_OK;
    rp_err down = r->x.ops->flush(&r->x);
    bool waits = up == RP_AGAIN || down == RP_AGAIN;
    if (waits && now < r->tunnel->close_by_ms) {
        return rp_step_wait(r, "ends to take the last frame", r->tunnel->close_by_ms - now, RP_OK);
    }
    if (r->up && up == RP_OK) {
        rp_up_linger(r->up, LINGER_MS, LINGER_BYTES);
        r->up = NULL;
    }
    r->x.response_done = true; /* the end that we mean: lingered on, too */
    return rp_step_to(r, RP_STEP_LOG);
}

/* It is over because of e: WebSockets are told. */
static enum rp_verdict end_by(struct rp_req *r, rp_err e)
{
    struct rp_tunnel *t = r->tunnel;
    bool broken = e == RP_E_CLIENT_GONE || e == RP_E_UP_SEND || e == RP_E_UP_TRUNCATED;
    if (!t->ws || broken) return rp_step_fail(r, e);
    if (r->fail == RP_OK) r->fail = e;
    rp_tunnel_ws_put_close(r, e);
    t->closing = true;
    t->close_by_ms = rp_loop_now(r->proxy->loop) + CLOSE_MS;
    return finish_closing(r);
}

void rp_tunnel_say_goodbye(struct rp_req *r)
{
    struct rp_tunnel *t = r->tunnel;
    if (!t || !t->ws || t->closing || !r->up) return;
    t->closing = true;
    rp_tunnel_ws_put_close(r, RP_E_DRAINING);
    RP_IGNORE(rp_up_flush(r->up)); /* what does not fit now is not said */
    RP_IGNORE(r->x.ops->flush(&r->x));
}

static enum rp_tunnel_end_by end_of(rp_err fail)
{
    switch (fail) {
    case RP_OK: return RP_TUNNEL_CLOSED;
    case RP_E_TUNNEL_IDLE: return RP_TUNNEL_IDLE;
    case RP_E_TUNNEL_TIME:
    case RP_E_TUNNEL_BYTES: return RP_TUNNEL_LIMIT;
    case RP_E_WS_PROTOCOL: return RP_TUNNEL_PROTOCOL;
    case RP_E_WS_FRAME_BIG:
    case RP_E_WS_MESSAGE_BIG: return RP_TUNNEL_TOO_BIG;
    case RP_E_WS_PING_TIMEOUT: return RP_TUNNEL_PING;
    case RP_E_DRAINING: return RP_TUNNEL_DRAINED;
    default: return RP_TUNNEL_BROKEN;
    }
}

void rp_tunnel_count_end(struct rp_req *r)
{
    struct rp_proxy_stats *s = &r->proxy->stats;
    if (!r->tunnel) return;
    s->tunnels_active--;
    s->tunnel_ends[end_of(r->fail)]++;
}

/* ---- watching ---------------------------------------------------------------------------------- */

/* One more limit: RP_OK and *wait is at most what is left of it; `passed` when nothing is. */
static rp_err note_limit(rp_ms since, rp_ms most, rp_ms now, rp_err passed, rp_ms *wait)
{
    if (most == 0) return RP_OK;
    if (now - since >= most) return passed;
    *wait = RP_MIN(*wait, most - (now - since));
    return RP_OK;
}

static uint64_t sent_bytes(const struct rp_req *r)
{
    return r->x.wire_out_bytes + rp_up_taken(r->up);
}

static enum rp_verdict watch(struct rp_req *r)
{
    struct rp_tunnel *t = r->tunnel;
    rp_ms now = rp_loop_now(r->proxy->loop);
    if (sent_bytes(r) != t->sent_bytes)
        t->moved_ms = now; /* a slow end takes what was read long ago */
    rp_ms idle = t->limits.idle_ms ? t->limits.idle_ms : r->conf->tunnel_ms, wait = idle;
    rp_err e = note_limit(t->moved_ms, idle, now, RP_E_TUNNEL_IDLE, &wait);
    if (e == RP_OK) e = note_limit(t->began_ms, t->limits.time_ms, now, RP_E_TUNNEL_TIME, &wait);
    if (e == RP_OK && t->ws && r->proxy->draining && rp_tunnel_ws_can_close(r)) e = RP_E_DRAINING;
    if (e == RP_OK && t->ws) e = rp_tunnel_ws_watch(r, now, &wait);
    if (e != RP_OK) return end_by(r, e);
    t->sent_bytes = sent_bytes(r);                 /* pings do not count */
    return rp_step_wait(r, "tunnel", wait, RP_OK); /* the step looks at the clock itself */
}

enum rp_verdict rp_step_tunnel(struct rp_req *r)
{
    if (r->tunnel->closing) return finish_closing(r);
    rp_err e = pump_up(r);
    if (e == RP_OK) e = pump_down(r);
    if (e < 0) return end_by(r, e);
    if (r->body_ended && r->x.response_done) return rp_step_to(r, RP_STEP_LOG);
    return watch(r);
}

/* ---- beginning, reloads ------------------------------------------------------------------------ */

rp_err rp_tunnel_begin(struct rp_req *r)
{
    struct rp_tunnel *t = rp_arena_zalloc(&r->x.arena, sizeof *t);
    if (!t) return RP_E_CAP;
    t->limits = r->route->tunnel;
    t->began_ms = t->moved_ms = rp_loop_now(r->proxy->loop);
    r->tunnel = t;
    r->proxy->stats.tunnels++;
    r->proxy->stats.tunnels_active++;
    return rp_tunnel_ws_begin(r);
}

/* The route of the new generation with the same id, or its answer for unknown hosts. */
static const struct rp_route *same_route(const struct rp_conf *c, const struct rp_route *old)
{
    for (uint32_t i = 0; i < c->routes_n; i++) {
        if (rp_str_eq(c->routes[i]->id, old->id)) return c->routes[i];
    }
    return c->no_host;
}

void rp_tunnel_rehome(struct rp_req *r)
{
    struct rp_conf *old = r->conf;
    struct rp_conf *fresh = r->proxy->conf;
    if (old == fresh) return;
    if (old->hooks) old->hooks->forget(r);
    rp_upstream_rehome(r->proxy, &r->pick, fresh);
    r->conf = rp_conf_hold(fresh);
    r->route = r->match.route = (struct rp_route *)same_route(fresh, r->route);
    r->match.params_n = 0;
    r->upstream = NULL;
    rp_lifecycle_drop_conf(r->proxy, old);
}
