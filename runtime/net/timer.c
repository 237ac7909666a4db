/* SPDX-License-Identifier: MIT
 *
 * timer: the wheel bound to the loop's clock. The loop waits no longer than to the end of the earliest
 * slot; clearing leaves that alone (it may then wake for nothing once).
 */
#include "net/timer.h"

#include "net/loop_uv.h"

extern inline void rp_timer_set(struct rp_loop *l, struct rp_timer *t, rp_ms after_ms);

void rp_timer_init(struct rp_timer *t, void (*fire)(struct rp_timer *t))
{
    *t = (struct rp_timer){.fire = fire};
}

void rp_timer_place(struct rp_loop *l, struct rp_timer *t, rp_ms after_ms)
{
    rp_ms now = rp_loop_now(l), at = now + RP_MIN(after_ms, RP_TIMER_AFTER_MOST);
    t->at_ms = at;
    if (t->link.next && t->slot_ms <= at && l->wheel.next_ms) return; /* as in rp_timer_set */
    rp_wheel_remove(t);
    rp_wheel_add(&l->wheel, t, now);
}

void rp_timer_clear(struct rp_loop *l, struct rp_timer *t)
{
    (void)l; /* part of the interface: the wheel needs no upkeep here */
    rp_wheel_remove(t);
}

bool rp_timer_is_armed(const struct rp_timer *t)
{
    return t->link.next != NULL && t->at_ms != UINT64_MAX;
}
