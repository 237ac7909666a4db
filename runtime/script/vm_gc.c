/* SPDX-License-Identifier: MIT
 *
 * vm_gc: when the collector of a VM works, and for how long at a time.
 *
 *   resting  nothing is collected until a round is due: the heap has grown (pace), or some time has
 *            passed in which Lua ran and hardly anything was allocated (look)
 *   running  a round: slices in idle time, each as short as what a new event may wait for; where the
 *            loop is never idle, steps at the end of ticks in proportion to what was allocated
 *
 * LuaJIT would do its own steps inside of hooks, one for each KB that is allocated, and what a hook
 * allocates at once as a debt that the next call of the collector has to pay at once: 100 MB of
 * objects make that 130 ms after one string of 20 MB. So its threshold is kept out of the way (hold_off),
 * as far as the heap's cap allows, and debts are paid a step at a time (pay).
 */
#include "script/vm.h"

enum {
    SLICE_NS = 100 * 1000,      /* of idle time; an event may come meanwhile */
    HELP_MOST_NS = 500 * 1000,  /* at the end of a tick, for what it allocated */
    STEPS_A_LOOK = 2,           /* between two looks at the clock; a step takes 1 to 30 us */
    STEP_BYTES = 1024,          /* of debt, that a step pays */
    BYTES_A_STEP = 1500,        /* of the heap: what a step gets done, marking and sweeping */
    HEAP_SPARE = RP_HEAP_SPARE, /* see vm.h */
    SLACK = 32,                 /* part of the cap that hooks allocate before LuaJIT helps itself */
    HELP_ITSELF = 4,            /* part of the cap that it does so in anyhow */
    GROWTH = 200,               /* percent of what is left of a round: the next one begins */
    GROWTH_LEAST = 105,         /* ... also where that is more than there is room for */
    LOOK_MS = 1000,             /* between looks for garbage that nothing was allocated for */
    HURRY = 4,                  /* ticks like this one that there is room for */
    SPEND = 10,                 /* a round that time began is a part of it, at most */
    USEFUL = 8,                 /* it freed at least this part of the heap */
    CALM_MOST = 6,              /* else the next one comes later, up to 2^6 times */
    SOON = 16,                  /* looks until the heap has grown enough: no need to begin */
    FULL_MOST = 3,              /* collections that left it full, in a row, before the worker asks
                                       for a successor */
    FULL_EVERY_MS = 1000,       /* between those that count */
};

/* ---- LuaJIT's own pace ---------------------------------------------------------------------- */

static size_t slack_of(const struct rp_host *h)
{
    return h->heap_cap / SLACK;
}

/* From now on it does a step wherever it may: no time is to be lost. LuaJIT (until 2023) survives a
 * refused allocation in compiled code for certain only where such a step has told the state where its
 * frame is. */
void rp_gc_urge(struct rp_host *h)
{
    h->gc.urged = true;
    (void)lua_gc(h->L, LUA_GCSETPAUSE, 0);
    (void)lua_gc(h->L, LUA_GCRESTART, -1);
}

/* Its own steps begin when the heap has grown to so much, or near the cap at once. */
static void hold_off(struct rp_host *h, size_t bytes)
{
    size_t heap = h->heap_bytes, most = h->heap_cap - h->heap_cap / HELP_ITSELF;
    bytes = RP_MAX(RP_MIN(bytes, most), heap);
    uint64_t percent = bytes / (heap / 100 + 1) + 1;
    h->gc.urged = false;
    h->gc.held_bytes = bytes - heap;
    h->gc.held_at = h->allocated_bytes;
    (void)lua_gc(h->L, LUA_GCSETPAUSE, (int)RP_MIN(percent, UINT64_C(1000000)));
    (void)lua_gc(h->L, LUA_GCRESTART, bytes > heap ? -1 : 0);
    (void)lua_gc(h->L, LUA_GCSETPAUSE, GROWTH_LEAST); /* for rounds that it ends by itself */
    if (rp_host_is_full(h) && !h->tool) rp_gc_urge(h);
}

/* What hooks allocated beyond that is its debt now, at most. */
static void count_debt(struct rp_host *h)
{
    uint64_t since = h->allocated_bytes - h->gc.held_at;
    if (since > h->gc.held_bytes) h->gc.debt_bytes += (size_t)(since - h->gc.held_bytes);
    h->gc.debt_bytes = RP_MIN(h->gc.debt_bytes, h->heap_bytes); /* none is left of a round before */
    h->gc.held_at = h->allocated_bytes;
    h->gc.held_bytes = SIZE_MAX; /* until hold_off */
}

/* One step, however large the debt is: that of a string of no length, which exists already. LUA_GCSTEP
 * would go on until all of it is paid. Nothing tells whether the round ended. */
static void pay(struct rp_host *h)
{
    (void)lua_gc(h->L, LUA_GCRESTART, 0);
    lua_pushlstring(h->L, "", 0);
    lua_pop(h->L, 1);
    h->gc.debt_bytes -= RP_MIN(h->gc.debt_bytes, (size_t)STEP_BYTES);
}

/* ---- rounds --------------------------------------------------------------------------------- */

/* How large the heap may become: a round takes as long as half of what lives is allocated once more,
 * and is to be over before the cap is met. */
static size_t growth_of(const struct rp_host *h)
{
    size_t live = h->heap_bytes, room = h->heap_cap - h->heap_cap / HEAP_SPARE - slack_of(h);
    size_t begin = room > live / 2 ? room - live / 2 : 0;
    return RP_MAX(RP_MIN(live / 100 * GROWTH, begin), live / 100 * GROWTH_LEAST);
}

/* A round that time began pays for itself, or the next one comes later. */
static void judge_round(struct rp_host *h)
{
    struct rp_vm_gc *gc = &h->gc;
    size_t freed = gc->began_bytes - RP_MIN(gc->began_bytes, h->heap_bytes);
    if (freed >= gc->began_bytes / USEFUL || rp_host_is_full(h)) gc->calm = 0;
    else if (gc->by_time && gc->calm < CALM_MOST) gc->calm++;
}

static void rest(struct rp_host *h)
{
    struct rp_vm_gc *gc = &h->gc;
    rp_ns now = rp_clock_mono_ns();
    judge_round(h);
    gc->running = gc->by_time = false;
    gc->debt_bytes = 0;
    gc->rest_bytes = growth_of(h);
    gc->rested_ns = now;
    gc->rest_ns = RP_MAX(gc->spent_ns * SPEND, (rp_ns)LOOK_MS * 1000000);
    gc->looked_at = h->allocated_bytes;
    hold_off(h, gc->rest_bytes + slack_of(h));
    if (h->proxy) h->proxy->stats.gc_rounds++;
}

static void begin(struct rp_host *h, bool by_time)
{
    struct rp_vm_gc *gc = &h->gc;
    gc->running = true;
    gc->by_time = by_time;
    gc->began_bytes = h->heap_bytes;
    gc->spent_ns = 0;
    gc->ahead = 0;
    gc->hook_seq = h->crumb->hook_seq;
    gc->dropped_seen = gc->dropped_n;
    rp_loop_when_idle(h->proxy->loop, &gc->idle);
}

/* ---- work ----------------------------------------------------------------------------------- */

struct lifted { /* the bounds that the collector is not held to */
    size_t cap;
    struct rp_fuel *fuel;
    rp_ns since_ns;
};

/* Not inside lua_cpcall, which allocates: there may be nothing left. Nothing in a collection can
 * raise: site code has no way to set a finaliser, and the smaller table of strings that may follow
 * is not denied to it. */
static struct lifted lift(struct rp_host *h)
{
    struct lifted was = {h->heap_cap, h->fuel, rp_clock_mono_ns()};
    count_debt(h);
    h->heap_cap = SIZE_MAX;
    h->fuel = NULL;
    return was;
}

static void settle(struct rp_host *h, struct lifted was)
{
    rp_ns took = rp_clock_mono_ns() - was.since_ns;
    h->heap_cap = was.cap;
    h->fuel = was.fuel;
    h->gc.spent_ns += took;
    if (!h->proxy) return;
    struct rp_proxy_stats *s = &h->proxy->stats;
    s->gc_us += took / 1000;
    s->gc_pauses++;
    s->gc_pauses_1ms += took > 1000000;
    s->gc_pauses_10ms += took > 10000000;
}

/* So many steps, but not longer than that; how many it were. */
static uint64_t work(struct rp_host *h, uint64_t steps, rp_ns most_ns)
{
    struct rp_vm_gc *gc = &h->gc;
    struct lifted was = lift(h);
    uint64_t n = 0;
    bool done = false;
    while (n < steps && !done) {
        if (gc->debt_bytes >= STEP_BYTES) pay(h);
        else done = lua_gc(h->L, LUA_GCSTEP, 0) == 1;
        if (++n % STEPS_A_LOOK == 0 && rp_clock_mono_ns() - was.since_ns >= most_ns) break;
    }
    settle(h, was);
    if (done) rest(h);
    else hold_off(h, h->heap_bytes + slack_of(h));
    return n;
}

static void collect_all(struct rp_host *h)
{
    struct lifted was = lift(h);
    h->gc.began_bytes = h->heap_bytes;
    h->gc.spent_ns = 0;
    h->gc.hook_seq = h->crumb->hook_seq;
    h->gc.dropped_seen = h->gc.dropped_n;
    (void)lua_gc(h->L, LUA_GCCOLLECT, 0);
    settle(h, was);
    rest(h);
}

/* ---- in idle time --------------------------------------------------------------------------- */

static bool on_idle(struct rp_idle *idle)
{
    struct rp_host *h = RP_CONTAINER(rp_host, gc.idle, idle);
    if (h->gc.running) h->gc.ahead += work(h, UINT64_MAX, SLICE_NS);
    return h->gc.running;
}

/* Tables that were let go, tasks that went with their request: nothing was allocated for that. */
static bool is_due(struct rp_host *h)
{
    struct rp_vm_gc *gc = &h->gc;
    uint64_t grown = h->allocated_bytes - gc->looked_at;
    gc->looked_at = h->allocated_bytes;
    bool dropped = gc->dropped_n != gc->dropped_seen;
    if (gc->running || (!dropped && h->crumb->hook_seq == gc->hook_seq)) return false;
    size_t left = gc->rest_bytes - RP_MIN(gc->rest_bytes, h->heap_bytes);
    if (left > 0 && grown > left / SOON) return false; /* it comes by itself */
    rp_ns wait = gc->rest_ns << (dropped ? 0 : gc->calm);
    return rp_clock_mono_ns() - gc->rested_ns >= wait;
}

static void look(struct rp_timer *timer)
{
    struct rp_host *h = RP_CONTAINER(rp_host, gc.timer, timer);
    if (is_due(h)) begin(h, true);
    rp_timer_set(h->proxy->loop, timer, LOOK_MS);
}

/* ---- at the end of ticks -------------------------------------------------------------------- */

/* All was collected and it is full all the same. Once that may be what a request holds; again and again,
 * it is something that grows. */
static void judge_heap(struct rp_host *h)
{
    rp_ms now = rp_loop_now(h->proxy->loop);
    if (!rp_host_is_full(h)) {
        h->gc.full_n = 0;
    } else if (h->gc.full_n == 0 || now - h->gc.full_ms >= FULL_EVERY_MS) {
        h->gc.full_ms = now;
        h->gc.full_n++;
    }
    if (h->gc.full_n < FULL_MOST || h->proxy->conf != h->conf) return;
    h->gc.full_n = 0;
    h->proxy->wishes.successor = true;
}

/* For what was allocated as much work as ends the round while there is room, twice over, less what was
 * done in idle time; in short pieces, but all at once where a few more such ticks would fill the heap. */
static void help(struct rp_host *h, size_t allocated)
{
    size_t room = h->heap_cap - h->heap_cap / HEAP_SPARE;
    size_t left = RP_MAX(room - RP_MIN(room, h->heap_bytes), (size_t)RP_GC_IDLE_BYTES);
    uint64_t steps = 2 * (uint64_t)h->heap_bytes / BYTES_A_STEP * allocated / left + 1;
    uint64_t done = RP_MIN(steps, h->gc.ahead);
    bool hurry = allocated > left / HURRY;
    h->gc.ahead -= done;
    if (hurry) collect_all(h); /* what a few large strings owe is more than a whole round */
    else if (steps > done) (void)work(h, steps - done, HELP_MOST_NS);
}

static void on_garbage(struct rp_defer *d)
{
    struct rp_host *h = RP_CONTAINER(rp_host, gc.defer, d);
    size_t allocated = h->since_gc_bytes;
    bool all = h->heap_hit;
    h->heap_hit = false;
    h->since_gc_bytes = 0;
    if (all) {
        collect_all(h);
        judge_heap(h);
        return;
    }
    if (!h->gc.running && h->heap_bytes >= h->gc.rest_bytes) begin(h, false);
    if (h->gc.running) help(h, allocated);
}

void rp_gc_note(struct rp_host *h)
{
    if (h->proxy && !h->tool) rp_loop_defer(h->proxy->loop, &h->gc.defer);
}

/* Nobody shall fail for want of memory that is garbage: before Lua is entered with little of it left,
 * all is collected. Not again while hardly anything was allocated since, unless some time went by:
 * what lived then may be garbage now (tasks whose request has ended). A heap that is full of what
 * lives costs a tenth of the time at most. */
void rp_gc_make_room(struct rp_host *h)
{
    bool idle = h->allocated_bytes - h->gc.full_bytes < h->heap_cap / 32;
    rp_ns now = rp_clock_mono_ns();
    if (!h->proxy || (idle && now < h->gc.full_again_ns)) return;
    h->gc.full_bytes = h->allocated_bytes;
    collect_all(h);
    rp_ns after = rp_clock_mono_ns();
    h->gc.full_again_ns = after + (after - now) * SPEND;
    judge_heap(h);
}

/* ---- life ----------------------------------------------------------------------------------- */

void rp_gc_init(struct rp_host *h)
{
    h->gc.defer.run = on_garbage;
    h->gc.idle.run = on_idle;
    h->gc.rest_bytes = SIZE_MAX;
}

void rp_gc_open(struct rp_host *h)
{
    h->gc.hook_seq = h->crumb->hook_seq;
    rest(h);
    rp_timer_init(&h->gc.timer, look);
    rp_timer_set(h->proxy->loop, &h->gc.timer, LOOK_MS);
}

void rp_gc_leave_loop(struct rp_host *h)
{
    if (!h->proxy) return;
    rp_loop_undefer(h->proxy->loop, &h->gc.defer);
    rp_loop_not_idle(h->proxy->loop, &h->gc.idle);
    if (h->gc.timer.fire) rp_timer_clear(h->proxy->loop, &h->gc.timer);
}
