/* SPDX-License-Identifier: MIT
 *
 * attempt_retry: a try failed, or brought an answer that the site does not want to pass on: another
 * one, or the client hears of it. The rules are in retry.c; here they meet the request.
 *
 * Invariants: an answer that may not be repeated goes to the client untouched. At most the budget's
 * share of an upstream's requests (in this worker) are retries, so that one that is in trouble is not
 * given more to do the worse it is.
 */
#include "proxy/attempt_retry.h"

#include "http/h1_up.h"
#include "proxy/buffering.h"
#include "proxy/guard.h"
#include "proxy/hedge.h"
#include "proxy/proxy.h"
#include "proxy/retry.h"
#include "proxy/upstream.h"

static struct rp_retry_facts facts_of(const struct rp_req *r, enum rp_retry_stage stage)
{
    const struct rp_conf_upstream *c = r->upstream;
    const struct rp_group *g = r->pick.group;
    return (struct rp_retry_facts){
        .stage = (uint8_t)stage,
        .on = (uint8_t)c->retry_on,
        .reused = r->up_reused,
        .answered = r->up && rp_up_has_answer(r->up),
        .idempotent = c->retry_any || rp_token_method_is_idempotent(r->up_head->method),
        .early = r->x.early,
        .body_used = !r->spool && r->up && rp_up_has_sent_body(r->up),
        .unsent = r->up && rp_conn_face(r->up->conn)->out_bytes == r->up_out_base,
        .unprocessed = r->up && rp_up_is_unprocessed(r->up),
        .afford = !g || rp_retry_afford(g->active, g->retrying, c->retry_budget),
        .tries = r->tries,
        .tries_max = c->tries,
    };
}

/* A peer that could not be reached is left at once; one that was asked gets time. */
static void set_pause(struct rp_req *r, enum rp_retry_stage stage)
{
    const struct rp_conf_upstream *c = r->upstream;
    if (stage == RP_RETRY_CONNECTING || !c->retry_pause_ms) return;
    r->again_ms =
        rp_loop_now(r->proxy->loop) +
        rp_retry_pause(&r->proxy->dice, r->tries, c->retry_pause_ms, c->retry_pause_max_ms);
}

static unsigned bit_of(enum rp_retry_stage stage)
{
    if (stage == RP_RETRY_CONNECTING) return RP_ON_CONNECT;
    return stage == RP_RETRY_LATE ? RP_ON_TIMEOUT : RP_ON_RESET;
}

static enum rp_verdict try_again(struct rp_req *r, enum rp_retry verdict)
{
    if (r->spool) rp_buffering_restart(r);
    if (verdict == RP_RETRY_SAME) r->tries--; /* a stale connection says nothing about the peer */
    r->up_fresh = verdict == RP_RETRY_SAME;
    r->first_byte_ns = 0;
    r->proxy->stats.retries++;
    return rp_step_to(r, RP_STEP_PICK);
}

enum rp_verdict rp_attempt_failed(struct rp_req *r, rp_err e, enum rp_retry_stage stage)
{
    struct rp_retry_facts facts = facts_of(r, stage);
    enum rp_retry verdict = rp_retry_decide(&facts);
    r->try_fail = e;
    bool of_peer = verdict == RP_RETRY_OTHER || verdict == RP_RETRY_NO;
    bool blamed = of_peer && (r->upstream->fail_on & bit_of(stage));
    if (of_peer) rp_attempt_log_failure(r, e);
    if (of_peer && rp_guard_is_on(r)) rp_guard_failed(r, stage == RP_RETRY_LATE);
    rp_attempt_release(r);
    enum rp_pick_end end = of_peer ? RP_PICK_TRIED : RP_PICK_WELL;
    if (blamed) end = stage == RP_RETRY_CONNECTING ? RP_PICK_DOWN : RP_PICK_FAILED;
    rp_upstream_unpick(r->proxy, &r->pick, end);
    if (RP_UNLIKELY(r->hedge != NULL) && rp_hedge_fall_back(r)) return RP_STEP_GO;
    if (verdict == RP_RETRY_NO) return rp_step_fail(r, e);
    if (verdict == RP_RETRY_OTHER) set_pause(r, stage);
    return try_again(r, verdict);
}

static bool is_listed(const struct rp_conf_statuses *s, uint16_t status)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (status >= s->list[i].low && status <= s->list[i].high) return true;
    return false;
}

bool rp_attempt_is_unwanted(const struct rp_req *r)
{
    return r->res.status >= 400 && is_listed(&r->upstream->retry_statuses, r->res.status);
}

bool rp_attempt_refuses(struct rp_req *r)
{
    const struct rp_conf_upstream *c = r->upstream;
    bool failed = is_listed(&c->fail_statuses, r->res.status);
    if (failed) rp_upstream_blame(r->proxy, &r->pick);
    else rp_upstream_succeed(r->proxy, &r->pick);
    if (!is_listed(&c->retry_statuses, r->res.status)) return false;
    if (rp_hedge_is_on(r)) return true;
    if (!rp_upstream_has_other(r->proxy, &r->pick)) return false;
    if (rp_guard_is_on(r) && !rp_guard_may_repeat(r)) return false;
    struct rp_retry_facts facts = facts_of(r, RP_RETRY_ANSWERED);
    return rp_retry_decide(&facts) == RP_RETRY_OTHER;
}

enum rp_verdict rp_attempt_repeat(struct rp_req *r)
{
    r->try_fail = RP_E_UP_STATUS;
    rp_attempt_log_failure(r, RP_E_UP_STATUS);
    rp_attempt_release(r);
    rp_upstream_unpick(r->proxy, &r->pick, RP_PICK_TRIED);
    if (RP_UNLIKELY(r->hedge != NULL) && rp_hedge_fall_back(r)) return RP_STEP_GO;
    set_pause(r, RP_RETRY_ANSWERED);
    return try_again(r, RP_RETRY_OTHER);
}
