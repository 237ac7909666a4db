/* SPDX-License-Identifier: MIT
 *
 * wheel: the timer wheel without a clock: time is an argument.
 *
 * Eight levels of 256 slots; a slot of level n spans 4^n ms. A timer lies in the first level that
 * reaches it and is never moved to a finer one: it fires at the end of its slot, so never early and
 * at most 4/256 of its delay (or 1 ms) late. What lies beyond the last level (70 minutes), and
 * what was moved to a later time meanwhile, is put in again when its slot comes up.
 */
#ifndef RP_NET_WHEEL_H
#define RP_NET_WHEEL_H

#include "net/timer.h"

enum { RP_WHEEL_LEVELS = 8, RP_WHEEL_SLOTS = 256 };

struct rp_wheel {
    rp_ms at_ms;   /* every slot that ends here or earlier has been emptied */
    rp_ms next_ms; /* no slot ends before this; UINT64_MAX when empty, 0 during rp_wheel_run */
    uint64_t used[RP_WHEEL_LEVELS][RP_WHEEL_SLOTS / 64]; /* a set bit: the slot may have timers */
    struct rp_timer_link slots[RP_WHEEL_LEVELS][RP_WHEEL_SLOTS];
    struct rp_timer_link due; /* being fired now */
};

void rp_wheel_init(struct rp_wheel *w, rp_ms now);
/* Put an unarmed timer in by its at_ms. True when next_ms became earlier. */
bool rp_wheel_add(struct rp_wheel *w, struct rp_timer *t, rp_ms now);
void rp_wheel_remove(struct rp_timer *t); /* armed or not */
/* Fire all that is due, earliest first; then next_ms is exact. Callbacks may add and remove. */
void rp_wheel_run(struct rp_wheel *w, rp_ms now);
/* For a loop whose time is moved by hand: the time of the first timer, UINT64_MAX when there is none;
 * and as rp_wheel_run, but by the timers' own times instead of their slots'. Both look at everything. */
rp_ms rp_wheel_first(const struct rp_wheel *w);
void rp_wheel_run_exact(struct rp_wheel *w, rp_ms now);

#endif
