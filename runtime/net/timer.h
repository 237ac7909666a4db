/* SPDX-License-Identifier: MIT
 *
 * timer: a wheel of intrusive timers that the loop turns. Arming, moving and clearing are O(1)
 * and make no system call; a deadline is never early and at most ~2% or 2 ms late.
 *
 * A deadline that moves away, as most do with each event, is one store: the timer stays where it lies
 * and is put in anew when that place comes up.
 */
#ifndef RP_NET_TIMER_H
#define RP_NET_TIMER_H

#include "net/loop.h"

struct rp_timer_link {
    struct rp_timer_link *next, *prev; /* NULL while not in the wheel */
};

struct rp_timer {
    struct rp_timer_link link;
    rp_ms at_ms;   /* UINT64_MAX: it rests */
    rp_ms slot_ms; /* in the wheel: when it is looked at, perhaps long before at_ms */
    void (*fire)(struct rp_timer *t);
};

void rp_timer_init(struct rp_timer *t, void (*fire)(struct rp_timer *t));
/* Arm, or move when armed, to fire once in `after_ms` from the loop's now. */
RP_INLINE void rp_timer_set(struct rp_loop *l, struct rp_timer *t, rp_ms after_ms);
/* The slow half: it does not lie where it can stay. */
void rp_timer_place(struct rp_loop *l, struct rp_timer *t, rp_ms after_ms);
void rp_timer_clear(struct rp_loop *l, struct rp_timer *t); /* no effect when not armed */
/* Disarm one that is likely to be armed again soon, which is cheaper then. It stays in the wheel: before
 * its memory goes it must be cleared. */
#ifndef RP_CDEF
/* About nine years: keeps now + after far from overflow. */
#define RP_TIMER_AFTER_MOST ((rp_ms)1 << 38)

inline void rp_timer_set(struct rp_loop *l, struct rp_timer *t, rp_ms after_ms)
{
    rp_ms now = ((const struct rp_loop_time *)(const void *)l)->ms, at = now + after_ms;
    /* Looked at no later than that, the wheel puts it in anew. (While it fires nothing stays: now is 0.) */
    bool stays = now && t->link.next && t->slot_ms <= at && after_ms <= RP_TIMER_AFTER_MOST;
    if (RP_LIKELY(stays)) t->at_ms = at;
    else rp_timer_place(l, t, after_ms);
}
static inline void rp_timer_rest(struct rp_timer *t)
{
    t->at_ms = UINT64_MAX;
}
#endif
bool rp_timer_is_armed(const struct rp_timer *t);

#endif
