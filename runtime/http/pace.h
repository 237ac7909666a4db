/* SPDX-License-Identifier: MIT
 *
 * pace: is the other end too slow on average, counting only the time that we waited for it? Pure:
 * time is an argument.
 *
 * A client that sends a byte now and then, or takes one, never runs into a deadline between two
 * bytes; against it helps only a least rate. What one spends waiting for someone else (the other
 * side, a hook) is not its fault and does not count.
 */
#ifndef RP_HTTP_PACE_H
#define RP_HTTP_PACE_H

#include "base/clock.h"

struct rp_pace_rule {
    uint64_t rate;  /* bytes per second, at least; 0: no rule */
    rp_ms grace_ms; /* waiting that is always allowed */
};

/* All zero: nothing happened yet. */
struct rp_pace {
    uint64_t bytes; /* that came, or were taken */
    rp_ms waited_ms;
    rp_ms since_ms; /* while `waiting` */
    bool waiting;
};

void rp_pace_wait(struct rp_pace *p, rp_ms now); /* from now on we wait; again: no change */
void rp_pace_go(struct rp_pace *p, rp_ms now);   /* ... and no longer */
bool rp_pace_is_slow(const struct rp_pace *p, const struct rp_pace_rule *rule, rp_ms now);
/* Waiting that is left until it is too slow, if no further byte comes; at least 1. Without a rule
 * UINT64_MAX. */
rp_ms rp_pace_left(const struct rp_pace *p, const struct rp_pace_rule *rule, rp_ms now);

#endif
