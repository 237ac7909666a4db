/* SPDX-License-Identifier: MIT
 *
 * tunnel: bytes both ways after 101 Switching Protocols, each direction paced by its reader, each end
 * passed on as a half close.
 *
 * A tunnel may live for days, so it never pins a configuration: a reload re-homes it to the newest
 * generation. What hooks kept in ctx is gone then; its log line is written by the new generation.
 */
#include "http/h1_up.h"
#include "proxy/lifecycle.h"
#include "proxy/proxy.h"
#include "proxy/upstream.h"

enum {
    PUMP_BYTES = 64 * 1024,
    PUMP_TURNS = 8, /* then others get theirs */
};

/* Client to upstream. RP_OK ended or waiting for room is no failure; < 0 is. */
static rp_err pump_up(struct rp_req *r)
{
    for (int turn = 0; turn < PUMP_TURNS; turn++) {
        rp_err flushed = rp_h1_up_flush(r->up);
        if (flushed != RP_OK || r->body_ended) return flushed == RP_AGAIN ? RP_OK : flushed;
        rp_err e = r->x.ops->read_body(&r->x, &r->body, PUMP_BYTES);
        if (e < 0) return e;
        if (e == RP_AGAIN) return RP_OK;
        if (e == RP_END) {
            r->body_ended = true;
            rp_h1_up_end_output(r->up);
            return RP_OK;
        }
        e = rp_h1_up_send(r->up, &r->body, false, NULL);
        if (e < 0) return e;
    }
    rp_req_wake(r, RP_WAKE_BODY);
    return RP_OK;
}

/* Upstream to client. */
static rp_err pump_down(struct rp_req *r)
{
    struct rp_msg *trailers = NULL; /* raw bytes have none */
    for (int turn = 0; turn < PUMP_TURNS; turn++) {
        rp_err flushed = r->x.ops->flush(&r->x);
        if (flushed != RP_OK || r->x.response_done) return flushed == RP_AGAIN ? RP_OK : flushed;
        rp_err e = rp_h1_up_read(r->up, &r->out, PUMP_BYTES, &r->x.arena, &trailers);
        if (e < 0) return e;
        if (e == RP_AGAIN) return RP_OK;
        if (e == RP_END) {
            r->x.response_done = true;
            r->x.ops->end_output(&r->x);
            return RP_OK;
        }
        e = r->x.ops->send_body(&r->x, &r->out, false);
        if (e < 0) return e;
    }
    rp_req_wake(r, RP_WAKE_UP);
    return RP_OK;
}

enum rp_verdict rp_step_tunnel(struct rp_req *r)
{
    rp_err e = pump_up(r);
    if (e == RP_OK) e = pump_down(r);
    if (e < 0) return rp_step_fail(r, e);
    if (r->body_ended && r->x.response_done) return rp_step_to(r, RP_STEP_LOG);
    return rp_step_wait(r, "tunnel", r->conf->tunnel_ms, RP_E_TIMEOUT);
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
    rp_upstream_unpick(r->proxy, &r->pick, false);
    r->conf = rp_conf_hold(fresh);
    r->route = r->match.route = (struct rp_route *)same_route(fresh, r->route);
    r->match.params_n = 0;
    r->upstream = NULL;
    r->pick.group = NULL;
    memset(r->pick.tried, 0, sizeof(r->pick.tried));
    rp_lifecycle_drop_conf(r->proxy, old);
}
