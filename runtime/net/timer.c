/* SPDX-License-Identifier: MIT
 *
 * timer: the wheel bound to the loop's clock and its one uv timer. The uv timer is started only
 * when the earliest slot moves forward; clearing leaves it alone (it may then wake for nothing once).
 */
#include "net/timer.h"

#include "net/loop_uv.h"

/* About nine years: keeps now + after far from overflow. */
#define AFTER_MOST ((rp_ms)1 << 38)

static void on_wheel(uv_timer_t *h);

static void start_uv(struct rp_loop *l)
{
    rp_ms now = rp_loop_now(l), at = l->wheel.next_ms;
    if (RP_UNLIKELY(l->lab != NULL)) return; /* its time is moved by hand */
    /* It fails only without a callback. */
    (void)uv_timer_start(&l->wheel_uv, on_wheel, at > now ? at - now : 0, 0);
}

static void on_wheel(uv_timer_t *h)
{
    struct rp_loop *l = h->data;
    rp_wheel_run(&l->wheel, rp_loop_now(l));
    if (l->wheel.next_ms != UINT64_MAX) start_uv(l);
}

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
    if (rp_wheel_add(&l->wheel, t, now)) start_uv(l);
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
