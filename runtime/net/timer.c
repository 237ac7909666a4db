/* SPDX-License-Identifier: MIT
 *
 * timer: the wheel bound to the loop's clock. The loop waits no longer than to the end of the earliest
 * slot; clearing leaves that alone (it may then wake for nothing once).
 */
#include "net/timer.h"

#include "net/loop_uv.h"

/* About nine years: keeps now + after far from overflow. */
#define AFTER_MOST ((rp_ms)1 << 38)

void rp_timer_init(struct rp_timer *t, void (*fire)(struct rp_timer *t))
{
    *t = (struct rp_timer){.fire = fire};
}

void rp_timer_set(struct rp_loop *l, struct rp_timer *t, rp_ms after_ms)
{
    rp_ms now = rp_loop_now(l), at = now + RP_MIN(after_ms, AFTER_MOST);
    t->at_ms = at;
    /* Looked at no later than that, the wheel puts it in anew. (While it runs nothing is.) */
    if (t->link.next && t->slot_ms <= at && l->wheel.next_ms) return;
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
