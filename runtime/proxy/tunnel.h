/* SPDX-License-Identifier: MIT
 *
 * tunnel: bytes both ways after 101 or after a CONNECT: what one has beside its request. tunnel.c
 * moves the bytes and keeps the limits of time and bytes, tunnel_ws.c is there only for tunnels whose
 * WebSocket frames are looked at.
 *
 * A tunnel may live for days, so it copies what it needs of its route and follows each reload to the
 * newest generation.
 */
#ifndef RP_PROXY_TUNNEL_H
#define RP_PROXY_TUNNEL_H

#include "http/ws_frame.h"
#include "proxy/proxy.h"

enum { RP_TUNNEL_TAG_BYTES = 12 };

struct rp_tunnel_end { /* the client's or the upstream's end, where frames are looked at */
    struct rp_ws in;   /* what it sends */
    struct rp_ws_rules rules;
    rp_ms heard_ms;  /* its last byte */
    rp_ms pinged_ms; /* our ping that it did not answer yet; 0: none */
    size_t unsent;   /* bytes before it that its system had not taken then */
};

struct rp_tunnel_ws {
    struct rp_tunnel_end down, up;
    const struct rp_tunnel_end *silent; /* did not answer our ping */
    char tag[RP_TUNNEL_TAG_BYTES];      /* payload of our pings: nobody else's pong has it */
};

struct rp_tunnel {
    struct rp_conf_tunnel limits; /* of its route when it began */
    rp_ms began_ms, moved_ms;     /* moved: the last byte that was relayed */
    rp_ms close_by_ms;            /* closing: when it is over anyhow */
    uint64_t up_bytes;            /* that the upstream sent */
    uint64_t sent_bytes;          /* that both ends took, when we last looked */
    bool closing;                 /* our last frames go out */
    struct rp_tunnel_ws *ws;      /* NULL: bytes pass unseen */
};

/* r->res and r->up are about to become a tunnel. RP_E_CAP */
RP_MUST rp_err rp_tunnel_begin(struct rp_req *r);
/* It is over, by r->fail: count it. */
void rp_tunnel_count_end(struct rp_req *r);
/* The worker stops now: what can be said in a moment. */
void rp_tunnel_say_goodbye(struct rp_req *r);

/* tunnel_ws.c */

/* Look at frames? Makes r->tunnel->ws when the route wants it. RP_E_CAP */
RP_MUST rp_err rp_tunnel_ws_begin(struct rp_req *r);
/* What the client (else the upstream) sent: move what goes on from `in` to `out`. RP_E_WS_*: what came
 * before is in out. */
RP_MUST rp_err rp_tunnel_ws_filter(struct rp_req *r, bool from_client, struct rp_chain *in,
                                   struct rp_chain *out);
/* Ping who is silent. *wait becomes less when it must be asked sooner. RP_E_WS_PING_TIMEOUT, or what
 * sending fails with. */
RP_MUST rp_err rp_tunnel_ws_watch(struct rp_req *r, rp_ms now, rp_ms *wait);
/* May a Close frame go both ways now? */
bool rp_tunnel_ws_can_close(const struct rp_req *r);
/* Queue a Close frame for both ends, where that can be: it is over because of `why`. */
void rp_tunnel_ws_put_close(struct rp_req *r, rp_err why);

#endif
