/* SPDX-License-Identifier: MIT
 *
 * loop: one libuv loop per worker plus what every floor above needs of it: coarse time, the timer
 * wheel, and the end-of-tick queue that keeps callbacks from re-entering each other.
 *
 * Only net/ and process/ include uv.h; upper floors see struct rp_loop as opaque.
 */
#ifndef RP_NET_LOOP_H
#define RP_NET_LOOP_H

#include "base/clock.h"
#include "base/mem.h"

struct rp_loop;

/* A job for the end of this tick. Embedded in its owner; queued at most once at a time. */
struct rp_defer {
    struct rp_defer *next;
    void (*run)(struct rp_defer *d);
    bool queued;
    bool bulk; /* ... behind all that are not */
};

/* A job for when there is nothing else to do. Embedded in its owner. */
struct rp_idle {
    struct rp_idle *next;
    bool (*run)(struct rp_idle *i); /* true: there is more of it */
    bool queued;
};

struct rp_meter; /* meter.h */

/* Its time as most callers need it: the first member of struct rp_loop. */
struct rp_loop_time {
    rp_ms ms; /* of this tick; 0: to be asked for (a lab's time moves; timers are being fired) */
    rp_ns ns; /* 0: not read since it was forgotten */
};

struct rp_loop *rp_loop_new(struct rp_mem *m); /* m is kept; NULL when the system refuses */
/* Close everything that is left (run until all handles are closed), then free. */
void rp_loop_free(struct rp_loop **l);
/* Run until rp_loop_stop; deferred jobs run after each batch of events. */
void rp_loop_run(struct rp_loop *l);
/* One turn: wait for events at most wait_ms (0 = do not wait), run them and the deferred jobs.
 * For tests and boot. */
void rp_loop_turn(struct rp_loop *l, rp_ms wait_ms);
void rp_loop_stop(struct rp_loop *l);

RP_INLINE rp_ms rp_loop_now(const struct rp_loop *l); /* monotonic, fixed within a tick */
/* Read the clock before the first tick, after work that took long: timers count from now. */
void rp_loop_reread(struct rp_loop *l);
/* monotonic, read by the clock at most once a tick... */
RP_INLINE rp_ns rp_loop_now_ns(const struct rp_loop *l);
/* The slow halves of these. */
rp_ms rp_loop_ask_ms(const struct rp_loop *l);
rp_ns rp_loop_ask_ns(const struct rp_loop *l);
double rp_loop_wall(const struct rp_loop *l); /* wall time of this tick, seconds */
struct rp_mem *rp_loop_mem(const struct rp_loop *l);
struct rp_meter *rp_loop_meter(struct rp_loop *l); /* counts the loop's client connections */
/* A rush is over: free the connections that are kept for the next ones, and give pages back. */
void rp_loop_give_back(struct rp_loop *l);
/* "Sun, 06 Nov 1994 08:49:37 GMT" of this second; made once a second. */
rp_str rp_loop_date(struct rp_loop *l);

/* Run d->run at the end of this tick (or before the next wait). No effect when already queued. */
void rp_loop_defer(struct rp_loop *l, struct rp_defer *d);
/* The same for a job that moves many bytes: it runs when all others of this tick have, and only while
 * the tick's share for such jobs lasts, at least one; the rest stays in order and goes on behind new
 * events. No effect when already queued, either way. */
void rp_loop_defer_bulk(struct rp_loop *l, struct rp_defer *d);
/* Do such jobs wait? */
bool rp_loop_is_crowded(const struct rp_loop *l);
/* Is that share used up? Asked by such jobs between two pieces of some 100 KB; true in other jobs. */
bool rp_loop_is_late(const struct rp_loop *l);
/* For tests: its length; 0: one job a tick. */
void rp_loop_set_share(struct rp_loop *l, rp_ns ns);
/* Run i->run in ticks to which no event came, once in each, until it returns false; meanwhile the loop
 * does not sleep. It should not take longer than a request may wait. No effect when already queued. */
void rp_loop_when_idle(struct rp_loop *l, struct rp_idle *i);
void rp_loop_not_idle(struct rp_loop *l, struct rp_idle *i); /* its owner dies */
/* Take it out of the queue again (its owner dies). */
RP_INLINE void rp_loop_undefer(struct rp_loop *l, struct rp_defer *d);
void rp_loop_unqueue(struct rp_loop *l, struct rp_defer *d); /* the last half: it is in there */

#ifndef RP_CDEF
inline rp_ms rp_loop_now(const struct rp_loop *l)
{
    rp_ms ms = ((const struct rp_loop_time *)(const void *)l)->ms;
    return RP_LIKELY(ms) ? ms : rp_loop_ask_ms(l);
}
inline rp_ns rp_loop_now_ns(const struct rp_loop *l)
{
    rp_ns ns = ((const struct rp_loop_time *)(const void *)l)->ns;
    return RP_LIKELY(ns) ? ns : rp_loop_ask_ns(l);
}
inline void rp_loop_undefer(struct rp_loop *l, struct rp_defer *d)
{
    if (d->queued) rp_loop_unqueue(l, d);
}
#endif

#endif
