/* SPDX-License-Identifier: MIT
 *
 * wheel: see wheel.h. A timer of slot time T (a multiple of its level's span) is always in
 * at_ms < T <= at_ms + 256 spans, so a slot holds timers of one T only.
 */
#include "net/wheel.h"

#define NEVER UINT64_MAX

enum { SLOT_BITS = 8, SLOT_MASK = RP_WHEEL_SLOTS - 1, LEVEL_SHIFT = 2, TOP = RP_WHEEL_LEVELS - 1 };
_Static_assert(RP_WHEEL_SLOTS == 1 << SLOT_BITS, "ticks are taken apart by bits");

/* ---- links --------------------------------------------------------------------------------- */

static void list_init(struct rp_timer_link *head)
{
    head->next = head->prev = head;
}

static bool list_is_empty(const struct rp_timer_link *head)
{
    return head->next == head;
}

static void list_append(struct rp_timer_link *head, struct rp_timer_link *k)
{
    k->prev = head->prev;
    k->next = head;
    head->prev->next = k;
    head->prev = k;
}

/* Move all of src behind dst. */
static void list_move(struct rp_timer_link *dst, struct rp_timer_link *src)
{
    if (list_is_empty(src)) return;
    src->next->prev = dst->prev;
    dst->prev->next = src->next;
    src->prev->next = dst;
    dst->prev = src->prev;
    list_init(src);
}

static struct rp_timer *timer_of(struct rp_timer_link *k)
{
    return RP_CONTAINER(rp_timer, link, k);
}

/* ---- order of firing ----------------------------------------------------------------------- */

/* Merge two NULL-ended lists, the first one winning ties. */
static struct rp_timer_link *merge(struct rp_timer_link *a, struct rp_timer_link *b)
{
    struct rp_timer_link *first = NULL, **end = &first;
    while (a && b) {
        struct rp_timer_link **least = timer_of(b)->at_ms < timer_of(a)->at_ms ? &b : &a;
        *end = *least;
        end = &(*least)->next;
        *least = (*least)->next;
    }
    *end = a ? a : b;
    return first;
}

/* Stable merge sort by at_ms: run i of `runs` has 2^i timers, older runs are earlier ones. */
static void list_sort(struct rp_timer_link *head)
{
    struct rp_timer_link *runs[64] = {NULL}, *rest = head->next, *all = NULL;
    if (rest == head || rest->next == head) return;
    head->prev->next = NULL;
    while (rest) {
        struct rp_timer_link *run = rest;
        rest = rest->next;
        run->next = NULL;
        size_t i = 0;
        for (; runs[i]; i++) {
            run = merge(runs[i], run);
            runs[i] = NULL;
        }
        runs[i] = run;
    }
    for (size_t i = 0; i < RP_COUNT(runs); i++) all = merge(runs[i], all);
    list_init(head);
    while (all) {
        struct rp_timer_link *next = all->next;
        list_append(head, all);
        all = next;
    }
}

/* ---- slots --------------------------------------------------------------------------------- */

static unsigned shift_of(int level)
{
    return (unsigned)level * LEVEL_SHIFT;
}

/* Empty the slots of one level that end at or before `now`. */
static void take_level(struct rp_wheel *w, int level, rp_ms now)
{
    uint64_t from = w->at_ms >> shift_of(level), to = now >> shift_of(level);
    if (to - from > RP_WHEEL_SLOTS) from = to - RP_WHEEL_SLOTS;
    for (uint64_t tick = from + 1; tick <= to; tick++) {
        size_t slot = tick & SLOT_MASK;
        uint64_t bit = (uint64_t)1 << (slot % 64);
        if (!(w->used[level][slot / 64] & bit)) continue;
        w->used[level][slot / 64] &= ~bit;
        list_move(&w->due, &w->slots[level][slot]);
    }
}

/* Time of the first slot of a level with timers; bits of slots emptied by removal are cleared. */
static rp_ms first_of_level(struct rp_wheel *w, int level)
{
    uint64_t cur = w->at_ms >> shift_of(level);
    for (uint64_t step = 1; step <= RP_WHEEL_SLOTS;) {
        size_t slot = (cur + step) & SLOT_MASK;
        uint64_t *word = &w->used[level][slot / 64], bits = *word >> (slot % 64);
        if (bits == 0) {
            step += 64 - slot % 64;
            continue;
        }
        unsigned skip = (unsigned)__builtin_ctzll(bits);
        step += skip;
        if (step > RP_WHEEL_SLOTS) break;
        slot += skip;
        if (!list_is_empty(&w->slots[level][slot])) return (cur + step) << shift_of(level);
        *word &= ~((uint64_t)1 << (slot % 64));
        step++;
    }
    return NEVER;
}

static rp_ms first_slot(struct rp_wheel *w)
{
    rp_ms first = NEVER;
    for (int level = 0; level < RP_WHEEL_LEVELS; level++) {
        rp_ms ms = first_of_level(w, level);
        first = RP_MIN(first, ms);
    }
    return first;
}

/* A level that lies no higher than the first one whose slots reach `ahead` ms: 256 spans do. */
static int least_level(rp_ms ahead)
{
    if (ahead <= RP_WHEEL_SLOTS) return 0;
    int bits = 64 - __builtin_clzll(ahead - 1); /* ahead <= 2^bits */
    return RP_MIN((bits - SLOT_BITS + LEVEL_SHIFT - 1) / LEVEL_SHIFT, (int)TOP);
}

/* The first slot end of a level that is not before `at`, in spans. */
static uint64_t tick_of(rp_ms at, int level)
{
    return (at + ((uint64_t)1 << shift_of(level)) - 1) >> shift_of(level);
}

/* Link t in the first level that reaches its time; returns the slot's time. */
static rp_ms link_in(struct rp_wheel *w, struct rp_timer *t)
{
    rp_ms at = RP_MAX(t->at_ms, w->at_ms + 1);
    int level = least_level(at - w->at_ms);
    uint64_t tick = tick_of(at, level);
    while (tick - (w->at_ms >> shift_of(level)) > RP_WHEEL_SLOTS && level < TOP) {
        level++;
        tick = tick_of(at, level);
    }
    tick = RP_MIN(tick, (w->at_ms >> shift_of(level)) + RP_WHEEL_SLOTS);
    size_t slot = tick & SLOT_MASK;
    list_append(&w->slots[level][slot], &t->link);
    w->used[level][slot / 64] |= (uint64_t)1 << (slot % 64);
    t->slot_ms = tick << shift_of(level);
    return t->slot_ms;
}

/* ---- exports ------------------------------------------------------------------------------- */

void rp_wheel_init(struct rp_wheel *w, rp_ms now)
{
    memset(w->used, 0, sizeof w->used);
    for (int level = 0; level < RP_WHEEL_LEVELS; level++)
        for (int slot = 0; slot < RP_WHEEL_SLOTS; slot++) list_init(&w->slots[level][slot]);
    list_init(&w->due);
    w->at_ms = now > 0 ? now - 1 : 0;
    w->next_ms = NEVER;
}

bool rp_wheel_add(struct rp_wheel *w, struct rp_timer *t, rp_ms now)
{
    /* Let the wheel catch up first, as far as no slot is passed: a lagging wheel is a coarse one.
     * It stops short of `now`, so that a timer for now goes into a slot that ends now. */
    if (w->next_ms > 0 && now > 0) {
        rp_ms reach = RP_MIN(now, w->next_ms) - 1;
        w->at_ms = RP_MAX(w->at_ms, reach);
    }
    rp_ms slot_ms = link_in(w, t);
    if (slot_ms >= w->next_ms) return false;
    w->next_ms = slot_ms;
    return true;
}

void rp_wheel_remove(struct rp_timer *t)
{
    if (!t->link.next) return;
    t->link.next->prev = t->link.prev;
    t->link.prev->next = t->link.next;
    t->link.next = t->link.prev = NULL;
}

enum { ALL_SLOTS = RP_WHEEL_LEVELS * RP_WHEEL_SLOTS };

/* The first slot from i on that may have timers; ALL_SLOTS: none has. */
static int next_used(const struct rp_wheel *w, int i)
{
    for (; i < ALL_SLOTS; i = (i / 64 + 1) * 64) {
        uint64_t bits = w->used[i / RP_WHEEL_SLOTS][i % RP_WHEEL_SLOTS / 64] >> (i % 64);
        if (bits) return i + __builtin_ctzll(bits);
    }
    return ALL_SLOTS;
}

rp_ms rp_wheel_first(const struct rp_wheel *w)
{
    rp_ms first = NEVER;
    for (int i = 0; (i = next_used(w, i)) < ALL_SLOTS; i++) {
        const struct rp_timer_link *head = &w->slots[i / RP_WHEEL_SLOTS][i % RP_WHEEL_SLOTS];
        for (struct rp_timer_link *k = head->next; k != head; k = k->next)
            first = RP_MIN(first, timer_of(k)->at_ms);
    }
    return first;
}

/* What is due by its own time and lies in a slot that has not ended. */
static void take_exact(struct rp_wheel *w, rp_ms now)
{
    for (int i = 0; (i = next_used(w, i)) < ALL_SLOTS; i++) {
        struct rp_timer_link *head = &w->slots[i / RP_WHEEL_SLOTS][i % RP_WHEEL_SLOTS], *next;
        for (struct rp_timer_link *k = head->next; k != head; k = next) {
            next = k->next;
            if (timer_of(k)->at_ms > now) continue;
            rp_wheel_remove(timer_of(k));
            list_append(&w->due, k);
        }
    }
}

void rp_wheel_run_exact(struct rp_wheel *w, rp_ms now)
{
    w->next_ms = 0;
    take_exact(w, now);
    rp_wheel_run(w, now);
}

void rp_wheel_run(struct rp_wheel *w, rp_ms now)
{
    w->next_ms = 0;
    for (int level = 0; level < RP_WHEEL_LEVELS; level++) take_level(w, level, now);
    w->at_ms = RP_MAX(w->at_ms, now);
    list_sort(&w->due);
    while (!list_is_empty(&w->due)) {
        struct rp_timer *t = timer_of(w->due.next);
        rp_wheel_remove(t);
        if (t->at_ms == NEVER) continue;         /* it rested */
        if (t->at_ms > now) (void)link_in(w, t); /* moved since, or beyond the last level */
        else t->fire(t);                         /* t may be gone now */
    }
    w->next_ms = first_slot(w);
}
