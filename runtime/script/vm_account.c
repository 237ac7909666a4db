/* SPDX-License-Identifier: MIT
 *
 * vm_account: what each plugin instance costs and does, in the worker's page of shm/metric.h, and
 * the breaker that takes an instance out of its chains.
 *
 * Calls, errors, answers and waits are counted exactly. Time and allocated bytes are measured: of
 * the first RP_ACCOUNT_EXACT passes of a chain each, then of every RP_ACCOUNT_SAMPLE-th, which counts
 * as many times. So most passes run a function that has no clock in it. Tasks that are no hooks, and
 * chains of an instance whose breaker has a limit of time, are always measured.
 *
 * A breaker is one truth for all workers: a word of the zone. Who finds too many failures in his
 * own window writes it; the others look every LOOK_MS. Each worker then links stubs in place of the
 * instance's handlers (lua/rproxy/chain.lua), so a closed breaker costs nothing and an open one a
 * call. When its time is over each worker lets single calls through: the first failure opens it
 * again, PROBES calls that end well close it.
 */
#include "script/vm.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    PROBES = 3,
    LOOK_MS = 250,
    SERIES_MOST = 4096, /* instances that have accounts of their own, over all reloads */
};

static const char *const POLICIES[] = {"none", "bypass", "deny", "last-good"};

static uint64_t now_ms(void)
{
    return rp_clock_mono_ns() / 1000000;
}

/* ---- life ----------------------------------------------------------------------------------- */

static double *cells_of(struct rp_host *h, uint32_t family, const struct rp_conf_plugin *p,
                        uint32_t *cell)
{
    rp_str label = rp_str_head(p->label, RP_MIN(p->label.len, (size_t)RP_METRIC_LABEL_BYTES));
    rp_err e = rp_metric_add_series(h->metrics, family, label, SERIES_MOST, cell);
    if (e == RP_E_CAP) {
        h->face.cells[1]++; /* counted as a series that was refused */
        e = rp_metric_add_series(h->metrics, family, RP_STR("(others)"), UINT32_MAX, cell);
    }
    if (e == RP_OK) return h->face.cells + *cell;
    *cell = 0;
    return h->nowhere;
}

static double failures(const struct rp_vm_account *a)
{
    return a->cells[RP_ACCOUNT_ERRORS] + a->cells[RP_ACCOUNT_SLOW];
}

static void take_window(struct rp_vm_window *w, const struct rp_vm_account *a, uint64_t now)
{
    w->at_ms = now;
    w->calls = a->cells[RP_ACCOUNT_CALLS];
    w->failures = failures(a);
}

static void look(struct rp_timer *timer);

void rp_account_open(struct rp_host *h)
{
    const struct rp_conf *c = h->conf;
    struct rp_metric_family f = {
        .name = RP_STR("rproxy_plugin"), .kind = RP_METRIC_INSTANCE, .generation = c->generation};
    uint32_t family = UINT32_MAX, row = h->proxy->metrics_row;
    h->metrics = h->proxy->metrics;
    if (!h->metrics) {
        RP_CHECK(rp_metric_own(&h->own_metrics) == RP_OK);
        h->metrics = h->own_metrics;
        row = 0;
    }
    h->face.cells = rp_metric_page(h->metrics, row);
    h->accounts = rp_alloc(c->plugins_n * sizeof *h->accounts);
    RP_IGNORE(rp_metric_add_family(h->metrics, &f, &family)); /* without: nowhere */
    for (uint32_t i = 0; i < c->plugins_n; i++) {
        struct rp_vm_account *a = &h->accounts[i];
        a->cells = cells_of(h, family, &c->plugins[i], &a->cell);
        a->slow_ns = c->plugins[i].breaker.slow_ms * 1000000;
        take_window(&a->window, a, now_ms());
        a->before = a->window;
        h->has_breakers |= c->plugins[i].breaker.policy != RP_BREAK_NONE;
    }
    for (uint32_t i = 1; i < h->chains_n; i++) rp_account_chain(h, h->chains[i]);
    rp_timer_init(&h->breaker_timer, look);
    if (h->has_breakers) rp_timer_set(h->proxy->loop, &h->breaker_timer, 0);
}

void rp_account_fini(struct rp_host *h)
{
    if (h->proxy && h->accounts) {
        rp_timer_clear(h->proxy->loop, &h->breaker_timer);
        rp_loop_undefer(h->proxy->loop, &h->relink);
    }
    rp_free(h->accounts);
    h->accounts = NULL;
    rp_metric_free(&h->own_metrics);
}

struct rp_vm_account *rp_account_of(struct rp_host *h, uint32_t plugin)
{
    return h->accounts && plugin < h->conf->plugins_n ? &h->accounts[plugin] : NULL;
}

/* ---- counts --------------------------------------------------------------------------------- */

/* Where the calls of a chain's handlers are counted. */
void rp_account_chain(struct rp_host *h, struct rp_vm_chain *c)
{
    if (!h->accounts) return; /* rp_account_open comes */
    c->calls = rp_alloc(c->n * sizeof *c->calls);
    for (uint32_t i = 0; i < c->n; i++) {
        const struct rp_vm_account *a = rp_account_of(h, c->plugins[i]);
        c->calls[i] = &(a ? a->cells : h->nowhere)[RP_ACCOUNT_CALLS];
        c->always |= a && a->slow_ns > 0;
    }
}

void rp_account_answer(struct rp_host *h, uint32_t plugin, uint32_t status)
{
    struct rp_vm_account *a = rp_account_of(h, plugin);
    if (!a) return;
    a->cells[RP_ACCOUNT_ANSWERS]++;
    if (status >= 400) a->cells[RP_ACCOUNT_DENIALS]++;
}

void rp_account_denial(struct rp_host *h, uint32_t plugin)
{
    struct rp_vm_account *a = rp_account_of(h, plugin);
    if (a) a->cells[RP_ACCOUNT_DENIALS]++;
}

/* ---- time ----------------------------------------------------------------------------------- */

int rp_account_measure(struct rp_vm_chain *c, struct rp_task *t)
{
    t->weight = c->period;
    if (!c->always && c->exact_n < RP_ACCOUNT_EXACT && ++c->exact_n == RP_ACCOUNT_EXACT)
        c->period = RP_ACCOUNT_SAMPLE;
    c->until = c->period;
    return c->timed_fn;
}

static void slow(struct rp_host *h, uint32_t plugin);

/* The handler that ran in t until now. */
static void charge(struct rp_host *h, struct rp_task *t)
{
    uint64_t now = rp_clock_mono_ns();
    struct rp_vm_account *a = rp_account_of(h, rp_vm_running(h));
    uint64_t ns = now - h->mark_ns, bytes = h->allocated_bytes - h->mark_bytes;
    h->mark_ns = now;
    h->mark_bytes = h->allocated_bytes;
    if (!a) return;
    a->cells[RP_ACCOUNT_CPU] += (double)ns * 1e-9 * t->weight;
    a->cells[RP_ACCOUNT_BYTES] += (double)bytes * t->weight;
    t->spent_ns += ns;
}

static void end_of_handler(struct rp_host *h, struct rp_task *t)
{
    uint32_t plugin = rp_vm_running(h);
    const struct rp_vm_account *a = rp_account_of(h, plugin);
    if (a && a->slow_ns && t->spent_ns > a->slow_ns) slow(h, plugin);
    t->spent_ns = 0;
}

void rp_account_begin(struct rp_host *h, struct rp_task *t)
{
    h->mark_ns = rp_clock_mono_ns();
    h->mark_bytes = h->allocated_bytes;
    if (!t->parked_ns) return;
    struct rp_vm_account *a = rp_account_of(h, rp_vm_running(h));
    uint64_t ns = h->mark_ns - t->parked_ns;
    t->parked_ns = 0;
    if (!rp_task_is_writing(t)) t->spent_ns += ns; /* its client may be in no hurry */
    if (a && t->is_hook) a->cells[RP_ACCOUNT_WAIT] += (double)ns * 1e-9;
}

void rp_account_leave(struct rp_host *h, struct rp_task *t, bool parked)
{
    if (t->weight) charge(h, t);
    if (parked) t->parked_ns = t->weight ? h->mark_ns : rp_clock_mono_ns();
    else if (t->weight && t->is_hook) end_of_handler(h, t);
}

/* It is thrown away where it waits. */
void rp_account_drop(struct rp_host *h, struct rp_task *t)
{
    if (!t->parked_ns) return;
    struct rp_vm_account *a = rp_account_of(h, rp_chain_plugin(h, t->chain, t->at));
    if (a && t->is_hook)
        a->cells[RP_ACCOUNT_WAIT] += (double)(rp_clock_mono_ns() - t->parked_ns) * 1e-9;
    t->parked_ns = 0;
}

void rp_abi_mark(struct rp_host_face *f)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_task *t = h->current;
    if (!t || !t->weight) return;
    charge(h, t);
    end_of_handler(h, t);
}

/* ---- breakers ------------------------------------------------------------------------------- */

/* What is judged is between a half and the whole of `within` long. */
static void turn_window(struct rp_vm_account *a, uint64_t now, rp_ms within)
{
    if (now - a->window.at_ms < within / 2) return;
    a->before = a->window;
    take_window(&a->window, a, now);
    if (now - a->before.at_ms > within + LOOK_MS) a->before = a->window;
}

static void set_breaker(struct rp_host *h, uint32_t plugin, enum rp_metric_breaker state,
                        uint64_t until_ms)
{
    struct rp_vm_account *a = &h->accounts[plugin];
    a->word = rp_metric_breaker_word(state, until_ms, h->conf->generation);
    if (a->cell) rp_metric_set_word(h->metrics, a->cell, a->word);
    rp_loop_defer(h->proxy->loop, &h->relink);
}

/* The generation that brought what does not work is given up, if it is young; the stub serves until
 * then, and if there is nothing to go back to. */
static void ask_restore(struct rp_host *h, const struct rp_conf_plugin *p)
{
    struct rp_proxy_wishes *wish = &h->proxy->wishes;
    if (p->breaker.policy != RP_BREAK_LAST_GOOD) return;
    wish->restore = true;
    snprintf(wish->plugin, sizeof wish->plugin, "%.*s", RP_STR_ARG(p->label));
}

static void trip(struct rp_host *h, uint32_t plugin, const char *why)
{
    struct rp_vm_account *a = &h->accounts[plugin];
    const struct rp_conf_plugin *p = &h->conf->plugins[plugin];
    uint64_t now = now_ms(), until;
    if (rp_metric_breaker_now(a->word, now, &until) == RP_BREAKER_OPEN) return;
    a->cells[RP_ACCOUNT_TRIPS]++;
    rp_log(error,
           "breaker opened plugin=%s why=\"%s\" failures=%.0f calls=%.0f policy=%s open_ms=%llu",
           rp_log_esc(p->label), why, failures(a) - a->before.failures,
           a->cells[RP_ACCOUNT_CALLS] - a->before.calls, POLICIES[p->breaker.policy],
           (unsigned long long)p->breaker.open_ms);
    take_window(&a->before, a, now);
    take_window(&a->window, a, now);
    ask_restore(h, p);
    set_breaker(h, plugin, RP_BREAKER_OPEN, now + p->breaker.open_ms);
}

/* One more failure of it was counted; uncounted: calls of the pass that is not over. */
static void judge(struct rp_host *h, uint32_t plugin, double uncounted)
{
    struct rp_vm_account *a = &h->accounts[plugin];
    const struct rp_conf_breaker *b = &h->conf->plugins[plugin].breaker;
    if (b->policy == RP_BREAK_NONE || a->linked == RP_BREAKER_OPEN) return;
    if (a->linked == RP_BREAKER_HALF) {
        trip(h, plugin, "it failed while it was tried");
        return;
    }
    turn_window(a, now_ms(), b->within_ms);
    double calls = a->cells[RP_ACCOUNT_CALLS] + uncounted - a->before.calls;
    double failed = failures(a) - a->before.failures;
    if (calls >= (double)b->least && failed >= b->errors * calls)
        trip(h, plugin, "too many failures");
}

void rp_account_error(struct rp_host *h, uint32_t plugin)
{
    struct rp_vm_account *a = rp_account_of(h, plugin);
    if (!a) return;
    a->cells[RP_ACCOUNT_ERRORS]++;
    if (RP_UNLIKELY(h->has_breakers)) judge(h, plugin, 0);
}

static void slow(struct rp_host *h, uint32_t plugin)
{
    h->accounts[plugin].cells[RP_ACCOUNT_SLOW]++;
    judge(h, plugin, 1);
}

void rp_abi_failed(struct rp_host_face *f)
{
    struct rp_host *h = rp_vm_of(f);
    rp_account_error(h, rp_vm_running(h));
}

void rp_abi_breaker_passed(struct rp_host_face *f, uint32_t plugin)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_vm_account *a = rp_account_of(h, plugin);
    if (!a || a->linked != RP_BREAKER_HALF || ++a->passed < PROBES) return;
    rp_log(notice, "breaker closed plugin=%s", rp_log_esc(h->conf->plugins[plugin].label));
    take_window(&a->before, a, now_ms());
    a->window = a->before;
    set_breaker(h, plugin, RP_BREAKER_CLOSED, 0);
}

void rp_abi_breaker_skipped(struct rp_host_face *f, uint32_t plugin)
{
    struct rp_vm_account *a = rp_account_of(rp_vm_of(f), plugin);
    if (a) a->cells[RP_ACCOUNT_SKIPPED]++;
}

/* ---- linking -------------------------------------------------------------------------------- */

/* relink(plugin, state, deny); when there is no memory for it, the next look is the next try. */
static bool relink_one(struct rp_host *h, uint32_t plugin, enum rp_metric_breaker state)
{
    lua_rawgeti(h->L, LUA_REGISTRYINDEX, h->relink_fn);
    lua_pushnumber(h->L, plugin);
    lua_pushnumber(h->L, state);
    const struct rp_conf_plugin *p = &h->conf->plugins[plugin];
    bool deny = p->breaker.policy == RP_BREAK_DENY || p->breaker.deny;
    lua_pushboolean(h->L, deny && !p->shadow); /* a shadow keeps nobody out */
    bool done = rp_host_call(h, 3, 0);
    if (!done) lua_pop(h->L, 1);
    return done;
}

/* What all workers know of it. A word of another generation says nothing; the one that serves puts
 * its own there. */
static enum rp_metric_breaker heard(struct rp_host *h, uint32_t plugin, uint64_t now)
{
    struct rp_vm_account *a = &h->accounts[plugin];
    uint32_t mask = (1u << RP_BREAKER_GENERATION_BITS) - 1;
    uint64_t until;
    if (a->cell) {
        uint64_t word = rp_metric_word(h->metrics, a->cell);
        uint32_t ahead = (rp_metric_breaker_generation(word) - h->conf->generation) & mask;
        if (ahead == 0) a->word = word;
        else if (ahead > mask / 2)
            set_breaker(h, plugin, RP_BREAKER_CLOSED, 0); /* it is behind us */
    }
    enum rp_metric_breaker state = rp_metric_breaker_now(a->word, now, &until);
    /* Nothing stays open for longer than it was told to, whatever a wild worker wrote. */
    bool odd = state == RP_BREAKER_OPEN && until - now > h->conf->plugins[plugin].breaker.open_ms;
    return odd ? RP_BREAKER_CLOSED : state;
}

static void follow(struct rp_host *h)
{
    uint64_t now = now_ms();
    if (h->proxy->conf != h->conf) return; /* not yet, or no more, the one that serves */
    for (uint32_t i = 0; i < h->conf->plugins_n; i++) {
        struct rp_vm_account *a = &h->accounts[i];
        if (h->conf->plugins[i].breaker.policy == RP_BREAK_NONE) continue;
        turn_window(a, now, h->conf->plugins[i].breaker.within_ms);
        enum rp_metric_breaker state = heard(h, i, now);
        if (state == a->linked || !relink_one(h, i, state)) continue;
        a->linked = (uint8_t)state;
        a->passed = 0;
    }
}

static void relink(struct rp_defer *d)
{
    follow(RP_CONTAINER(rp_host, relink, d));
}

static void look(struct rp_timer *timer)
{
    struct rp_host *h = RP_CONTAINER(rp_host, breaker_timer, timer);
    follow(h);
    rp_timer_set(h->proxy->loop, &h->breaker_timer, LOOK_MS);
}

void rp_account_init(struct rp_host *h)
{
    h->relink.run = relink;
}
