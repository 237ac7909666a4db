/* SPDX-License-Identifier: MIT
 *
 * pace: see pace.h.
 */
#include "http/pace.h"

#include "base/check.h"

enum { SECOND_MS = 1000 };

void rp_pace_wait(struct rp_pace *p, rp_ms now)
{
    if (p->waiting) return;
    p->waiting = true;
    p->since_ms = now;
}

void rp_pace_go(struct rp_pace *p, rp_ms now)
{
    if (!p->waiting) return;
    p->waiting = false;
    if (now > p->since_ms) p->waited_ms += now - p->since_ms;
}

static rp_ms waited(const struct rp_pace *p, rp_ms now)
{
    return p->waited_ms + (p->waiting && now > p->since_ms ? now - p->since_ms : 0);
}

/* The bytes are worth this much waiting. Two divisions, because bytes * 1000 may overflow. */
static rp_ms allowed(const struct rp_pace *p, const struct rp_pace_rule *rule)
{
    uint64_t seconds = p->bytes / rule->rate;
    if (seconds > UINT64_MAX / SECOND_MS - 1) return UINT64_MAX;
    rp_ms earned = seconds * SECOND_MS + p->bytes % rule->rate * SECOND_MS / rule->rate;
    return RP_MAX(rule->grace_ms, earned);
}

bool rp_pace_is_slow(const struct rp_pace *p, const struct rp_pace_rule *rule, rp_ms now)
{
    return rule->rate && waited(p, now) > allowed(p, rule);
}

rp_ms rp_pace_left(const struct rp_pace *p, const struct rp_pace_rule *rule, rp_ms now)
{
    if (!rule->rate) return UINT64_MAX;
    rp_ms most = allowed(p, rule), spent = waited(p, now);
    /* One more than what is allowed: then it is too slow. */
    return spent > most ? 1 : most - spent == UINT64_MAX ? UINT64_MAX : most - spent + 1;
}
