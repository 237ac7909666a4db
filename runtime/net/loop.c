/* SPDX-License-Identifier: MIT
 *
 * loop: see loop.h. One tick is: deferred jobs, the wait, socket events, deferred jobs and a share of
 * the bulk jobs, libuv, timers. The clock is read behind the wait, once for all that follows.
 *
 * libuv serves what is seldom: jobs on threads, programs, signals. It is a guest: its own descriptor is
 * one of those that are waited for, and uv_run is called when that is readable, when one of its timers is due
 * and when somebody touched it (rp_loop_guest).
 */
#include "net/loop_uv.h"

#include "net/conn.h"
#include "net/dgram.h"
#include "net/listener.h"
#include "net/tls.h"
#include "net/work.h"

enum {
    /* Jobs queue jobs (a wake leads to a write leads to a wake). So many generations run before
     * sockets get their turn again; a request needs about four. */
    DEFER_ROUNDS = 16,
    /* Bulk jobs of a tick: what a new request may find in front of it, and about what one piece of
     * a body takes. To ask for events so often costs some hundredths of it. */
    SHARE_NS = 100 * 1000,
    SHARE_MOST_NS = 10 * SHARE_NS,
    WAIT_MOST_MS = 3600 * 1000, /* fits an int; waking up once in it costs nothing */
};

/* ---- time ---------------------------------------------------------------------------------- */

extern inline rp_ms rp_loop_now(const struct rp_loop *l);
extern inline rp_ns rp_loop_now_ns(const struct rp_loop *l);
extern inline void rp_loop_undefer(struct rp_loop *l, struct rp_defer *d);
_Static_assert(offsetof(struct rp_loop, time) == 0, "loop.h looks there");

static void forget_times(struct rp_loop *l)
{
    l->time = (struct rp_loop_time){0};
    l->wall = 0;
}

static void read_clock(struct rp_loop *l)
{
    l->time.ns = rp_clock_mono_ns();
    l->now_ms = l->time.ns / 1000000;
    l->time.ms = RP_LIKELY(!l->lab) ? l->now_ms : 0;
    l->wall = 0;
}

rp_ms rp_loop_ask_ms(const struct rp_loop *l)
{
    if (RP_UNLIKELY(l->lab != NULL)) return rp_clock_mono_ns() / 1000000;
    return l->now_ms;
}

void rp_loop_reread(struct rp_loop *l)
{
    read_clock(l);
}

rp_ns rp_loop_ask_ns(const struct rp_loop *l)
{
    if (l->time.ns == 0) ((struct rp_loop *)(uintptr_t)l)->time.ns = rp_clock_mono_ns();
    return l->time.ns;
}

double rp_loop_wall(const struct rp_loop *l)
{
    if (l->wall <= 0) ((struct rp_loop *)(uintptr_t)l)->wall = rp_clock_wall();
    return l->wall;
}

rp_str rp_loop_date(struct rp_loop *l)
{
    int64_t s = (int64_t)rp_loop_wall(l);
    if (s != l->date_s) {
        rp_clock_put_date(l->date, s);
        l->date_s = s;
    }
    return rp_str_of(l->date, sizeof l->date);
}

/* ---- deferred jobs ------------------------------------------------------------------------- */

static void append(struct rp_defer_queue *q, struct rp_defer *d)
{
    d->queued = true;
    d->next = NULL;
    if (q->head) q->tail->next = d;
    else q->head = d;
    q->tail = d;
    q->n++;
}

void rp_loop_defer(struct rp_loop *l, struct rp_defer *d)
{
    if (d->queued) return;
    d->bulk = false;
    append(&l->jobs, d);
}

void rp_loop_defer_bulk(struct rp_loop *l, struct rp_defer *d)
{
    if (d->queued) return;
    d->bulk = true;
    append(&l->bulk, d);
}

void rp_loop_unqueue(struct rp_loop *l, struct rp_defer *d)
{
    struct rp_defer_queue *q = d->bulk ? &l->bulk : &l->jobs;
    struct rp_defer *prev = NULL;
    for (struct rp_defer *it = q->head; it != d; it = it->next) prev = it;
    if (prev) prev->next = d->next;
    else q->head = d->next;
    if (q->tail == d) q->tail = prev;
    q->n--;
    d->queued = false;
}

static void run_first(struct rp_loop *l, struct rp_defer_queue *q)
{
    struct rp_defer *d = q->head;
    q->head = d->next;
    q->n--;
    d->queued = false;
    l->ran_n++;
    d->run(d); /* d may be gone now */
}

static void run_rounds(struct rp_loop *l)
{
    for (int round = 0; l->jobs.head && round < DEFER_ROUNDS; round++)
        for (size_t n = l->jobs.n; n > 0 && l->jobs.head; n--) run_first(l, &l->jobs);
}

static inline void run_jobs(struct rp_loop *l)
{
    if (l->jobs.head) run_rounds(l);
}

bool rp_loop_is_crowded(const struct rp_loop *l)
{
    return l->bulk.head != NULL;
}

bool rp_loop_is_late(const struct rp_loop *l)
{
    return rp_clock_mono_ns() >= l->share_ends_ns;
}

void rp_loop_set_share(struct rp_loop *l, rp_ns ns)
{
    l->share_ns = ns;
}

/* When some were left over, all the time since then went to others, for nobody slept: as much is
 * theirs now, so that those who want little and come often cannot keep them from moving. */
static void run_bulk(struct rp_loop *l)
{
    rp_ns now = rp_clock_mono_ns(), others = l->left_ns ? now - l->left_ns : 0;
    bool fair = l->share_ns > 0;
    l->share_ends_ns = now + (fair ? RP_MAX(l->share_ns, RP_MIN(others, (rp_ns)SHARE_MOST_NS)) : 0);
    do {
        run_first(l, &l->bulk);
        run_jobs(l);
    } while (l->bulk.head && !rp_loop_is_late(l));
    l->left_ns = l->bulk.head ? rp_clock_mono_ns() : 0;
    l->share_ends_ns = 0;
}

/* ---- idle time ------------------------------------------------------------------------------ */

static void append_idle(struct rp_loop *l, struct rp_idle *i)
{
    struct rp_idle **end = &l->idle;
    while (*end) end = &(*end)->next;
    i->next = NULL;
    i->queued = true;
    *end = i;
}

void rp_loop_when_idle(struct rp_loop *l, struct rp_idle *i)
{
    if (!i->queued) append_idle(l, i);
}

void rp_loop_not_idle(struct rp_loop *l, struct rp_idle *i)
{
    if (!i->queued) return;
    struct rp_idle **at = &l->idle;
    while (*at != i) at = &(*at)->next;
    *at = i->next;
    i->queued = false;
}

/* One slice of the first one; others have the next. */
static void run_idle(struct rp_loop *l)
{
    struct rp_idle *i = l->idle;
    if (i->run(i)) {
        rp_loop_not_idle(l, i);
        append_idle(l, i);
    } else {
        rp_loop_not_idle(l, i);
    }
}

/* ---- the guest ------------------------------------------------------------------------------ */

uv_loop_t *rp_loop_guest(struct rp_loop *l)
{
    l->guest_stirred = true;
    return &l->uv;
}

static void on_guest(struct rp_poll *p, unsigned events)
{
    (void)events; /* whatever it is, libuv finds it */
    p->loop->guest_stirred = true;
}

/* One round of it. What its callbacks started, or closed, may want another before anything comes. */
static void run_guest(struct rp_loop *l)
{
    l->guest_stirred = false;
    (void)uv_run(&l->uv, UV_RUN_NOWAIT); /* its handles are there or not: both are fine */
    int ms = uv_backend_timeout(&l->uv);
    if (ms == 0) l->guest_stirred = true;
    l->guest_due_ms = ms > 0 ? l->now_ms + (rp_ms)ms : UINT64_MAX;
}

/* ---- ticks ---------------------------------------------------------------------------------- */

/* What may be waited, with jobs left not at all. A long tick makes timers late by its length: so long
 * they wait anyway when it goes before them. */
static int wait_ms_of(const struct rp_loop *l, rp_ms most_ms)
{
    if (l->jobs.head || l->bulk.head || l->guest_stirred || l->idle) return 0;
    rp_ms first = l->lab ? UINT64_MAX : l->wheel.next_ms, at = RP_MIN(first, l->guest_due_ms);
    rp_ms until = at > l->now_ms ? at - l->now_ms : 0;
    return (int)RP_MIN(until, most_ms);
}

/* While they fire each that is set is put in anew: its place in the wheel may be over (timer.h). */
static void fire_timers(struct rp_loop *l)
{
    l->time.ms = 0;
    rp_wheel_run(&l->wheel, l->now_ms);
    l->time.ms = l->now_ms;
}

static void tick(struct rp_loop *l, rp_ms most_ms)
{
    run_jobs(l);
    rp_polls_bury(&l->polls);
    l->tick++;
    int n = rp_polls_wait(&l->polls, wait_ms_of(l, most_ms));
    read_clock(l);
    rp_polls_tell(&l->polls, n);
    run_jobs(l);
    if (RP_UNLIKELY(l->bulk.head != NULL)) run_bulk(l);
    else l->left_ns = 0;
    if (RP_UNLIKELY(l->guest_stirred || l->guest_due_ms <= l->now_ms)) run_guest(l);
    if (RP_UNLIKELY(l->wheel.next_ms <= l->now_ms && !l->lab)) fire_timers(l);
    if (RP_UNLIKELY(l->idle && n == 0 && !l->jobs.head && !l->bulk.head)) run_idle(l);
}

void rp_loop_run(struct rp_loop *l)
{
    read_clock(l); /* to build a site takes its time */
    while (!l->stopped) tick(l, WAIT_MOST_MS);
    l->stopped = false;
    run_jobs(l);
}

void rp_loop_turn(struct rp_loop *l, rp_ms wait_ms)
{
    read_clock(l);
    if (!l->stopped) tick(l, RP_MIN(wait_ms, (rp_ms)WAIT_MOST_MS));
    l->stopped = false;
    run_jobs(l); /* of timers, which a tick runs last */
}

void rp_loop_stop(struct rp_loop *l)
{
    l->stopped = true;
}

/* ---- life ---------------------------------------------------------------------------------- */

struct rp_loop *rp_loop_new(struct rp_mem *m)
{
    struct rp_loop *l = rp_alloc(sizeof *l);
    if (!rp_polls_init(&l->polls)) {
        rp_free(l);
        return NULL;
    }
    if (uv_loop_init(&l->uv) != 0) {
        rp_polls_fini(&l->polls);
        rp_free(l);
        return NULL;
    }
    l->mem = m;
    l->share_ns = SHARE_NS;
    l->uv.data = l;
    l->guest_due_ms = UINT64_MAX;
    read_clock(l);
    rp_wheel_init(&l->wheel, l->now_ms);
    rp_conn_pools_init(l);
    /* libuv watches its own ends only once it runs. */
    if (uv_async_init(&l->uv, &l->kept, NULL) != 0 ||
        rp_poll_start(l, &l->guest, uv_backend_fd(&l->uv), RP_POLL_IN, on_guest) != 0)
        rp_loop_free(&l);
    return l;
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

void rp_loop_free(struct rp_loop **lp)
{
    struct rp_loop *l = *lp;
    if (!l) return;
    *lp = NULL;
    while (l->listeners) rp_listener_close(l->listeners);
    while (l->dgrams) rp_dgram_close(l->dgrams);
    while (l->conns) rp_conn_close(l->conns);
    while (l->children) rp_child_abandon(l->children);
    rp_splice_pool_fini(l);
    uv_walk(&l->uv, close_handle, NULL);
    while (uv_loop_close(&l->uv) == UV_EBUSY) {
        (void)uv_run(&l->uv, UV_RUN_ONCE);
        uv_walk(&l->uv, close_handle, NULL); /* what late work callbacks opened */
    }
    rp_polls_fini(&l->polls);
    rp_conn_pools_fini(l);
    rp_tls_room_free(l);
    RP_CHECK(l->meter.conns_n == 0);
    rp_free(l);
}

struct rp_mem *rp_loop_mem(const struct rp_loop *l)
{
    return l->mem;
}

static void on_trim(void *arg)
{
    (void)arg; /* it is the process's heap */
    rp_heap_trim();
}

static void on_trimmed(void *arg, bool cancelled)
{
    (void)arg;
    (void)cancelled;
}

/* 250 MB take some 40 ms, for which nobody here should wait: what a request needs comes from pools
 * and thread caches, seldom from the heap that is locked meanwhile. */
void rp_loop_give_back(struct rp_loop *l)
{
    rp_conn_pools_trim(l);
    if (rp_work_start(l, on_trim, on_trimmed, NULL, NULL) != RP_OK) rp_heap_trim();
}

struct rp_meter *rp_loop_meter(struct rp_loop *l)
{
    return &l->meter;
}

/* ---- lab ----------------------------------------------------------------------------------- */

void rp_loop_cut_off(struct rp_loop *l, const struct rp_lab_net *net)
{
    l->lab = net;
    forget_times(l);
    rp_wheel_init(&l->wheel, rp_loop_now(l));
}

const struct rp_lab_net *rp_loop_lab(const struct rp_loop *l)
{
    return l->lab;
}

uint64_t rp_loop_ran(const struct rp_loop *l)
{
    return l->ran_n;
}

bool rp_loop_is_awaiting(const struct rp_loop *l)
{
    return l->uv.active_reqs.count > 0 || l->children;
}

rp_ms rp_loop_first_timer(const struct rp_loop *l)
{
    return rp_wheel_first(&l->wheel);
}

void rp_loop_catch_up(struct rp_loop *l)
{
    RP_CHECK(l->lab);
    forget_times(l);
    rp_wheel_run_exact(&l->wheel, rp_loop_now(l));
    run_jobs(l);
}
