/* SPDX-License-Identifier: MIT
 *
 * fault: see fault.h. Debug builds only.
 */
#include "base/fault.h"

#ifdef RP_DEBUG

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"

enum { SHORT = -1, OUTCOMES_MOST = 8 };

static const struct row {
    const char *name;
    const char *words; /* "EAGAIN, EINTR, SHORT" */
    int outcomes[OUTCOMES_MOST];
} rows[] = {
#define X(point, ...) {#point, #__VA_ARGS__, {__VA_ARGS__}},
#include "base/fault.tbl"
#undef X
};

/* Counted across threads without a lock: a lost count harms nobody. */
static uint64_t fired[RP_FAULT_POINTS][OUTCOMES_MOST];
static uint64_t calls[RP_FAULT_POINTS];

static _Thread_local struct {
    bool armed, asked; /* asked: the environment was looked at */
    struct rp_fault_plan plan;
    uint64_t dice;
    uint32_t calls_n, fired_n;
    uint32_t point_calls[RP_FAULT_POINTS];
} now;

/* ---- the plan ------------------------------------------------------------------------------ */

void rp_fault_arm(const struct rp_fault_plan *plan)
{
    now.asked = now.armed = true;
    now.plan = *plan;
    now.dice = plan->seed * UINT64_C(0x9e3779b97f4a7c15) | 1; /* xorshift needs a bit that is set */
    now.calls_n = now.fired_n = 0;
    memset(now.point_calls, 0, sizeof now.point_calls);
}

void rp_fault_disarm(void)
{
    now.asked = true;
    now.armed = false;
}

static bool names_point(rp_str list, const char *name)
{
    while (list.len) {
        size_t end = rp_str_find(list, '+', 0);
        size_t n = RP_MIN(end, list.len);
        if (rp_str_eq(rp_str_of(list.ptr, n), rp_str_z(name))) return true;
        list = rp_str_from(list, RP_MIN(n + 1, list.len));
    }
    return false;
}

static void take_setting(struct rp_fault_plan *plan, rp_str key, rp_str value, uint32_t *chance,
                         rp_str *points)
{
    uint64_t number = 0;
    if (rp_str_eq(key, RP_STR("points"))) {
        *points = value;
        return;
    }
    bool known = rp_str_u64(value, &number) == RP_OK && number <= UINT32_MAX;
    if (rp_str_eq(key, RP_STR("seed"))) plan->seed = number;
    else if (rp_str_eq(key, RP_STR("chance"))) *chance = (uint32_t)number;
    else if (rp_str_eq(key, RP_STR("most"))) plan->most_n = (uint32_t)number;
    else if (rp_str_eq(key, RP_STR("skip"))) plan->skip_n = (uint32_t)number;
    else if (rp_str_eq(key, RP_STR("trace"))) plan->trace = number != 0;
    else known = false;
    if (known) return;
    fprintf(stderr, "RP_FAULT: what is \"%.*s\"?\n", (int)key.len, key.ptr);
    _exit(2);
}

static void ask_environment(void)
{
    struct rp_fault_plan plan = {0};
    uint32_t chance = 0;
    rp_str points = RP_STR_NONE;
    now.asked = true;
    const char *text = getenv("RP_FAULT");
    if (!text || !*text) return;
    for (rp_str rest = rp_str_z(text); rest.len;) {
        size_t n = RP_MIN(rp_str_find(rest, ',', 0), rest.len);
        rp_str one = rp_str_of(rest.ptr, n);
        size_t eq = RP_MIN(rp_str_find(one, '=', 0), n);
        take_setting(&plan, rp_str_of(one.ptr, eq), rp_str_from(one, RP_MIN(eq + 1, n)), &chance,
                     &points);
        rest = rp_str_from(rest, RP_MIN(n + 1, rest.len));
    }
    for (uint32_t i = 0; i < RP_FAULT_POINTS; i++)
        if (points.len == 0 || names_point(points, rows[i].name)) plan.chance[i] = chance;
    rp_fault_arm(&plan);
}

/* ---- the dice ------------------------------------------------------------------------------ */

static uint32_t roll(void)
{
    now.dice ^= now.dice << 13;
    now.dice ^= now.dice >> 7;
    now.dice ^= now.dice << 17;
    return (uint32_t)(now.dice >> 24);
}

static bool is_due(uint32_t point)
{
    if (RP_UNLIKELY(!now.asked)) ask_environment();
    if (!now.armed) return false;
    calls[point]++;
    uint32_t nth = ++now.point_calls[point];
    if (now.calls_n++ < now.plan.skip_n) return false;
    if (now.plan.most_n && now.fired_n >= now.plan.most_n) return false;
    if (now.plan.nth[point] == nth) return true;
    return now.plan.chance[point] && (roll() & 0xffff) < now.plan.chance[point];
}

static void note(uint32_t point, uint32_t i)
{
    fired[point][i]++;
    now.fired_n++;
    if (now.plan.trace)
        fprintf(stderr, "fault: pid %d %s call %u: %s\n", (int)getpid(), rows[point].name,
                now.point_calls[point], rp_fault_outcome(point, i));
}

static uint32_t outcomes_n(uint32_t point)
{
    uint32_t n = 0;
    while (n < OUTCOMES_MOST && rows[point].outcomes[n] != 0) n++;
    return n;
}

int rp_fault_hit(enum rp_fault_point point)
{
    int before = errno;
    if (point == RP_FAULT_fork) (void)roll(); /* each child plays with dice of its own */
    if (!is_due(point)) {
        errno = before;
        return 0;
    }
    uint32_t n = outcomes_n(point);
    if (rows[point].outcomes[n - 1] == SHORT) n--;
    uint32_t i = roll() % n;
    note(point, i);
    return errno = rows[point].outcomes[i];
}

size_t rp_fault_short(enum rp_fault_point point, size_t n)
{
    if (n < 2 || !is_due(point)) return n;
    size_t most = (size_t)1 << roll() % 16; /* as often few bytes as many */
    note(point, outcomes_n(point) - 1);
    return 1 + roll() % RP_MIN(most, n - 1);
}

/* ---- the report ---------------------------------------------------------------------------- */

const char *rp_fault_name(uint32_t point)
{
    return point < RP_FAULT_POINTS ? rows[point].name : NULL;
}

const char *rp_fault_outcome(uint32_t point, uint32_t i)
{
    static _Thread_local char word[32];
    if (point >= RP_FAULT_POINTS || i >= outcomes_n(point)) return NULL;
    rp_str list = rp_str_z(rows[point].words);
    for (; i > 0; i--) list = rp_str_from(list, rp_str_find(list, ' ', 0) + 1);
    snprintf(word, sizeof word, "%.*s", (int)RP_MIN(rp_str_find(list, ',', 0), list.len), list.ptr);
    return word;
}

uint64_t rp_fault_fired(uint32_t point, uint32_t i)
{
    return point < RP_FAULT_POINTS && i < OUTCOMES_MOST ? fired[point][i] : 0;
}

uint64_t rp_fault_calls(uint32_t point)
{
    return point < RP_FAULT_POINTS ? calls[point] : 0;
}

#endif
