/* SPDX-License-Identifier: MIT
 *
 * hook: the phases and the vtable through which the request life calls policies. script/ fills it;
 * with no script the proxy runs with every chain empty.
 */
#ifndef RP_PROXY_HOOK_H
#define RP_PROXY_HOOK_H

#include "base/chain.h"

enum rp_phase {
    RP_PHASE_EARLY, /* before routing, site chain only */
    RP_PHASE_ACCESS,
    RP_PHASE_REWRITE,
    RP_PHASE_CONTENT,      /* instead of an upstream */
    RP_PHASE_BALANCE,      /* once per attempt */
    RP_PHASE_REQUEST_BODY, /* what goes upstream as the body, piece by piece */
    RP_PHASE_HEADER_FILTER,
    RP_PHASE_BODY_FILTER,
    RP_PHASE_LOG,
    RP_PHASE_COUNT,
};

/* "early", "access", ... */
const char *rp_phase_name(enum rp_phase p);

/* Script's references, one per phase; 0 = nothing to run, Lua is never entered. */
struct rp_chains {
    uint32_t at[RP_PHASE_COUNT];
};

/* Hooks of a relayed connection; it has no phases of its own. */
enum rp_stream_hook { RP_STREAM_HOOK_CONNECT, RP_STREAM_HOOK_LOG };

/* Hooks of a client's TLS handshake, guest.h. */
enum rp_guest_hook { RP_GUEST_HELLO, RP_GUEST_CERT };

struct rp_req;
struct rp_stream;
struct rp_guest;
struct rp_conf;
struct rp_hooks {
    /* Run r's chain of this phase from its start, or go on with a parked one.
     * RP_OK go on; RP_AGAIN parked: RP_WAKE_TASK follows, then call again; RP_END the hook answered
     * (r->res is filled; r->answer: it may go on writing); < 0 it failed and its policy is to answer
     * with that error. */
    rp_err (*run)(struct rp_req *r, enum rp_phase p);
    /* Run the request_body chain over one piece: `in` is consumed, results are appended to out. RP_OK;
     * RP_AGAIN parked (call again with the same arguments); RP_END a hook answered; < 0 */
    rp_err (*filter_request)(struct rp_req *r, struct rp_chain *in, bool last,
                             struct rp_chain *out);
    /* The next piece of a body that a function of site code makes. RP_OK; RP_AGAIN; RP_END; < 0 */
    rp_err (*pull_body)(struct rp_req *r, struct rp_chain *out);
    /* Run the body_filter chain over one piece. `in` is consumed, results are appended to out.
     * RP_OK, RP_AGAIN (parked; call again with the same arguments), < 0 abort the response. */
    rp_err (*filter_body)(struct rp_req *r, struct rp_chain *in, bool last, struct rp_chain *out);
    /* Go on with the hook that writes r's response (r->answer, answer.h), should it be its turn.
     * RP_AGAIN it waits; RP_END it ended well; < 0 it failed. */
    rp_err (*write_on)(struct rp_req *r);
    /* The request goes away while a hook is parked, or writes: cancel it and all it waits for. */
    void (*cancel)(struct rp_req *r);
    /* The slot is about to be reused: drop what Lua holds of it (ctx, wrappers). */
    void (*forget)(struct rp_req *r);
    /* Text of r's ctx field `key` for the access log, in the request's arena; ptr NULL: absent. */
    rp_str (*ctx_text)(struct rp_req *r, rp_str key);
    /* Run s's connect or log chain, or go on with a parked one. RP_OK go on; RP_AGAIN parked:
     * RP_WAKE_TASK follows; RP_E_DENIED a hook refused; other < 0 it failed and closes. */
    rp_err (*run_stream)(struct rp_stream *s, enum rp_stream_hook h);
    void (*cancel_stream)(struct rp_stream *s); /* a parked hook of s ends */
    void (*forget_stream)(
        struct rp_stream *s); /* s ends or changes its generation: s->script goes */
    /* Run g's tls_hello or certificate chain, or go on with a parked one. RP_OK: what was said is in g;
     * RP_AGAIN parked: rp_guest_wake follows; < 0 it failed and the client is refused. */
    rp_err (*run_guest)(struct rp_guest *g, enum rp_guest_hook h);
    void (*cancel_guest)(struct rp_guest *g); /* the handshake is over, with what hooks opened */
    void (*forget_guest)(struct rp_guest *g); /* it ends: g->script goes */
    /* What the hooks of r do is noted from now on (trace.h); what they did so far as one line of at most
     * `most` bytes, in r's arena, ptr NULL: it is not noted for that. NULL: there is no trace. */
    void (*trace)(struct rp_req *r);
    rp_str (*trace_text)(struct rp_req *r, size_t most);
    /* Its groups go away: whoever of its code uses a peer lets go of it. NULL: nobody does. */
    void (*leave_upstreams)(struct rp_conf *c);
    /* The last request of an old generation ended: free its VM (conf->script). */
    void (*drop_generation)(struct rp_conf *c);
    /* Asked before that: true when it is still needed for a while; it was held then. NULL: never. */
    bool (*keep_generation)(struct rp_conf *c);
};

#endif
