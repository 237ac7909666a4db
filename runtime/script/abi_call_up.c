/* SPDX-License-Identifier: MIT
 *
 * abi_call_up: a call's way to an upstream of the site: its balancer chooses the peer, its TLS, its
 * connections and its times are used, what came of it counts for the peer as that of a request does, and
 * what the upstream may repeat is tried at another peer. It waits in no queue and for no hook: with no
 * peer to be had it fails. Its circuit is heeded, and hears nothing.
 */
#include "http/h1_up.h"
#include "net/conn.h"
#include "proxy/circuit.h"
#include "proxy/guard.h"
#include "proxy/proxy.h"
#include "script/vm_call.h"

enum { LOOK_MS = 20 }; /* between two looks at names that are being looked up */

static void on_patience(struct rp_timer *t)
{
    struct rp_call *c = RP_CONTAINER(rp_call, patience, t);
    c->late = true;
    rp_task_wake_at(&c->waiter);
}

static void wait_at_most(struct rp_call *c, rp_ms ms)
{
    c->late = false;
    rp_timer_clear(c->host->proxy->loop, &c->patience);
    if (ms) rp_timer_set(c->host->proxy->loop, &c->patience, ms);
}

/* A body by pieces takes the time that it takes. */
static void await_head(struct rp_call *c)
{
    wait_at_most(c, c->streamed ? 0 : c->to->first_byte_ms);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

rp_err rp_call_up_begin(struct rp_call *c, rp_str name)
{
    const struct rp_conf *conf = c->host->conf;
    struct rp_groups *groups = rp_groups_find(c->host->proxy, conf);
    const struct rp_conf_upstream *to = NULL;
    for (uint32_t i = 0; i < conf->upstreams_n && !to; i++)
        if (rp_str_eq(conf->upstreams[i]->name, name)) to = conf->upstreams[i];
    if (!to) return RP_E_NOT_FOUND;
    if (!groups) return RP_E_PHASE;              /* not in use yet, or not any more */
    if (to->proxy_protocol) return RP_E_INVALID; /* its connections speak for one client */
    c->to = to;
    c->pick.group = rp_groups_at(groups, to->index);
    c->mode = (uint8_t)to->http;
    c->keep_n = to->pool_max;
    c->keep_ms = to->pool_idle_ms;
    c->tls = to->tls ? rp_tls_client_hold(to->tls) : NULL;
    c->pick.hash = rp_random_u64(&c->host->proxy->dice); /* nobody is known by anything here */
    rp_timer_init(&c->patience, on_patience);
    return rp_guard_circuit(c->pick.group) == RP_CIRCUIT_OPEN ? RP_E_UP_CIRCUIT : RP_OK;
}

static void leave(struct rp_call *c, enum rp_pick_end end)
{
    rp_timer_clear(c->host->proxy->loop, &c->patience);
    c->late = false;
    rp_upstream_unpick(c->host->proxy, &c->pick, end);
}

void rp_call_up_leave(struct rp_call *c, bool broken)
{
    if (c->to && c->pick.group) leave(c, broken ? RP_PICK_FAILED : RP_PICK_WELL);
}

void rp_call_leave_upstreams(struct rp_conf *conf)
{
    struct rp_host *h = conf->script;
    for (struct rp_call *c = h ? h->calls : NULL; c; c = c->next) {
        if (!c->to || !c->pick.group) continue;
        bool over = c->state == RP_CALL_DONE || c->state == RP_CALL_FAILED;
        if (!over) RP_IGNORE(rp_call_fail(c, RP_E_CANCELLED)); /* who waits is told when he looks */
        c->pick.group = NULL;
        rp_task_wake_at(&c->waiter);
    }
}

/* ---- tries ---------------------------------------------------------------------------------- */

static bool may_repeat(struct rp_call *c, enum rp_retry_stage stage, enum rp_retry *verdict)
{
    const struct rp_group *g = c->pick.group;
    struct rp_retry_facts facts = {
        .stage = (uint8_t)stage,
        .on = (uint8_t)c->to->retry_on,
        .reused = c->reused,
        .answered = c->up && rp_up_has_answer(c->up),
        .idempotent = c->to->retry_any || rp_token_method_is_idempotent(c->method),
        .body_used = c->streamed && stage != RP_RETRY_CONNECTING,
        .unprocessed = c->up && rp_up_is_unprocessed(c->up),
        .afford = rp_retry_afford(g->active, g->retrying, c->to->retry_budget),
        .tries = c->tries,
        .tries_max = c->to->tries,
    };
    *verdict = rp_retry_decide(&facts);
    return *verdict != RP_RETRY_NO;
}

static unsigned bit_of(enum rp_retry_stage stage)
{
    if (stage == RP_RETRY_CONNECTING) return RP_ON_CONNECT;
    return stage == RP_RETRY_LATE ? RP_ON_TIMEOUT : RP_ON_RESET;
}

/* The try is over. True: there may be another one. */
static bool end_try(struct rp_call *c, rp_err e, enum rp_retry_stage stage)
{
    enum rp_retry verdict;
    bool again = may_repeat(c, stage, &verdict);
    bool of_peer = verdict == RP_RETRY_OTHER || verdict == RP_RETRY_NO;
    enum rp_pick_end end = of_peer ? RP_PICK_TRIED : RP_PICK_WELL;
    if (of_peer && (c->to->fail_on & bit_of(stage)))
        end = stage == RP_RETRY_CONNECTING ? RP_PICK_DOWN : RP_PICK_FAILED;
    c->fail = e;
    c->retried = verdict == RP_RETRY_SAME; /* the next connection is to be a new one */
    if (verdict == RP_RETRY_SAME) c->tries--;
    if (of_peer) c->host->proxy->stats.up_failures++;
    rp_call_drop_up(c);
    rp_call_drop_slot(c);
    leave(c, end);
    if (again) c->host->proxy->stats.retries++;
    c->state = RP_CALL_FINDING;
    return again;
}

/* As rp_call_connect. */
static rp_err connect_it(struct rp_call *c)
{
    rp_err e = rp_call_connect(c, c->retried);
    if (e == RP_OK) await_head(c); /* a connection that was there */
    bool begun = !c->reused && c->state != RP_CALL_QUEUED;
    c->host->proxy->stats.up_connects += begun;
    return e;
}

rp_err rp_call_up_next(struct rp_call *c)
{
    struct rp_proxy *p = c->host->proxy;
    for (;;) {
        if (!c->pick.group) return rp_call_fail(c, RP_E_CANCELLED);
        rp_err e = rp_upstream_pick(p, &c->pick);
        if (e == RP_AGAIN) { /* names are being looked up */
            wait_at_most(c, LOOK_MS);
            return rp_call_wait(c);
        }
        if (e != RP_OK) return rp_call_fail(c, c->tries ? c->fail : e);
        c->tries++;
        c->slot = rp_connpool_ref(c->pick.pool_slot);
        wait_at_most(c, c->to->connect_ms);
        e = connect_it(c);
        if (e == RP_OK || e == RP_AGAIN || c->up) return e;
        if (!end_try(c, e, RP_RETRY_CONNECTING)) return rp_call_fail(c, e);
    }
}

rp_err rp_call_up_failed(struct rp_call *c, rp_err e, enum rp_retry_stage stage)
{
    if (!end_try(c, e, stage)) return rp_call_fail(c, e);
    return rp_call_up_next(c);
}

rp_err rp_call_up_again(struct rp_call *c)
{
    if (!c->pick.group) return rp_call_fail(c, RP_E_CANCELLED);
    if (c->late) return rp_call_up_failed(c, RP_E_UP_CONNECT_TIMEOUT, RP_RETRY_CONNECTING);
    c->state = RP_CALL_FINDING;
    rp_err e = connect_it(c);
    if (e == RP_AGAIN && c->state == RP_CALL_CONNECTING) wait_at_most(c, c->to->connect_ms);
    if (e == RP_OK || e == RP_AGAIN || c->up) return e;
    return rp_call_up_failed(c, e, RP_RETRY_CONNECTING);
}

/* ---- what came of it ------------------------------------------------------------------------ */

void rp_call_up_connected(struct rp_call *c)
{
    if (!c->to) return;
    rp_upstream_connected(c->host->proxy, &c->pick);
    await_head(c);
}

static bool is_failure(const struct rp_conf_upstream *u, uint16_t status)
{
    for (uint32_t i = 0; i < u->fail_statuses.n; i++) {
        if (status >= u->fail_statuses.list[i].low && status <= u->fail_statuses.list[i].high)
            return true;
    }
    return false;
}

void rp_call_up_answered(struct rp_call *c)
{
    if (!c->to || !c->pick.group) return;
    struct rp_proxy *p = c->host->proxy;
    wait_at_most(c, 0);
    if (is_failure(c->to, c->res.status)) rp_upstream_blame(p, &c->pick);
    else rp_upstream_succeed(p, &c->pick);
    if (c->pick.group->peers_n > 1) rp_upstream_note_latency(p, &c->pick);
}

rp_err rp_abi_upstream_host(struct rp_host_face *f, const char *name, size_t n)
{
    const struct rp_conf *conf = rp_vm_of(f)->conf;
    for (uint32_t i = 0; i < conf->upstreams_n; i++) {
        const struct rp_conf_upstream *u = conf->upstreams[i];
        if (!rp_str_eq(u->name, rp_str_of(name, n))) continue;
        f->out = u->host_header.len ? u->host_header : u->name;
        return RP_OK;
    }
    return RP_E_NOT_FOUND;
}
