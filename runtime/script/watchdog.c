/* SPDX-License-Identifier: MIT
 *
 * watchdog: ends hooks that do not end. Nothing is measured on the way in or out of a hook: a timer
 * of the thread's CPU time ticks every TICK_MS and sees whether the same hook still runs.
 *
 *   over its budget       a debug hook raises in the running coroutine: interpreted code stops
 *   GRACE_MS CPU later    compiled code and long C calls see no debug hook: one line to stderr, and
 *                         the process ends; the master replaces it and reads the breadcrumb
 *   DEEP_GRACE_MS CPU     ... where the C stack is deep: library functions that call Lua functions
 *                         that call them, and so on. Thousands of such levels end by the VM's own
 *                         limit of depth, but the error takes its time to pass through them
 *
 * The tick is a signal handler: it reads the breadcrumb, calls lua_sethook (which LuaJIT allows
 * there) and write(2), and nothing else. A loop that catches the error raises again at its next
 * instruction: the debug hook stays until the coroutine is left.
 */
#include "script/vm.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_MS = 25,
    GRACE_MS = 100,
    DEEP_GRACE_MS = 1000,
    DEEP_BYTES = 1 << 20, /* what a hook that is not nested takes is far below */
    SIGNAL_OFFSET = 3,    /* SIGRTMIN + 3: nobody else's */
};

struct rp_watchdog {
    timer_t timer;
    struct rp_host *host;
    uintptr_t stack;         /* where the thread's was when it was started; it grows down */
    uint32_t budget_ticks;   /* ticks within one hook that are one too many */
    volatile uint64_t seq;   /* the hook seen by the last tick */
    volatile uint32_t ticks; /* ... and how many ticks have seen it */
};

/* ---- in the signal -------------------------------------------------------------------------- */

static void raise_in_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    luaL_error(L, "the hook used up its CPU budget");
}

static void put(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written; /* there is nobody left to tell */
}

static void put_str(rp_str s)
{
    char safe[120];
    size_t n = RP_MIN(s.len, sizeof safe - 1);
    for (size_t i = 0; i < n; i++) safe[i] = s.ptr[i] >= 0x20 && s.ptr[i] < 0x7f ? s.ptr[i] : '?';
    safe[n] = 0;
    put(safe);
}

static void give_up(const struct rp_host *h)
{
    const struct rp_task *t = h->current;
    uint32_t plugin = t ? rp_chain_plugin(h, t->chain, h->face.at) : UINT32_MAX;
    put("rproxy: a hook cannot be stopped, the worker ends plugin=");
    put_str(plugin == UINT32_MAX ? RP_STR("?") : h->conf->plugins[plugin].name);
    put(" hook=");
    if (t && t->phase < RP_PHASE_COUNT) put(rp_phase_name((enum rp_phase)t->phase));
    else if (t && t->phase == RP_TASK_HELLO) put("tls_hello");
    else if (t && t->phase == RP_TASK_CERT) put("certificate");
    else put(t && t->phase == RP_TASK_CONNECT ? "connect" : "background");
    put(" route=");
    put_str(t && t->req && t->req->route ? t->req->route->id : RP_STR("-"));
    put("\n");
    _exit(RP_HOST_EXIT_STUCK);
}

static uintptr_t stack_here(void)
{
    return (uintptr_t)__builtin_frame_address(0);
}

static uint32_t grace_ticks(const struct rp_watchdog *w)
{
    uintptr_t here = stack_here();
    bool deep = here < w->stack && w->stack - here > DEEP_BYTES;
    return (uint32_t)(deep ? DEEP_GRACE_MS : GRACE_MS) / TICK_MS;
}

static void on_tick(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    struct rp_watchdog *w = info->si_value.sival_ptr;
    struct rp_host *h = w->host;
    uint64_t seq = h->crumb->hook_seq;
    if (!(seq & 1) || !h->current) return;
    if (seq != w->seq) {
        w->seq = seq;
        w->ticks = 0;
        return;
    }
    w->ticks++;
    if (w->ticks < w->budget_ticks) return;
    if (!h->overdue) {
        h->overdue = 1;
        h->face.attention = 1;
        lua_sethook(h->current->co, raise_in_hook, LUA_MASKCOUNT | LUA_MASKCALL | LUA_MASKRET, 1);
    } else if (w->ticks >= w->budget_ticks + grace_ticks(w)) {
        give_up(h);
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool arm(struct rp_watchdog *w)
{
    struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = SIGRTMIN + SIGNAL_OFFSET};
    struct itimerspec every = {.it_interval.tv_nsec = TICK_MS * 1000000L,
                               .it_value.tv_nsec = TICK_MS * 1000000L};
    event.sigev_value.sival_ptr = w;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    sigemptyset(&action.sa_mask);
    if (sigaction(event.sigev_signo, &action, NULL) != 0) return false;
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &w->timer) != 0) return false;
    if (timer_settime(w->timer, 0, &every, NULL) == 0) return true;
    (void)timer_delete(w->timer); /* it was just made */
    return false;
}

void rp_watchdog_start(struct rp_host *h)
{
    if (h->conf->cpu_budget_us == 0 || !h->crumb) return; /* it looks at the breadcrumb page */
    struct rp_watchdog *w = rp_alloc(sizeof *w);
    w->host = h;
    w->stack = stack_here();
    /* The first tick that sees a hook may come late in it, so the one after counts as whole. */
    w->budget_ticks = (uint32_t)(h->conf->cpu_budget_us / 1000 / TICK_MS) + 1;
    if (!arm(w)) {
        rp_log(warn, "no CPU timer, hooks have no CPU budget errno=%d", errno);
        rp_free(w);
        return;
    }
    h->watchdog = w;
}

void rp_watchdog_allow(struct rp_host *h, uint32_t ms)
{
    struct rp_watchdog *w = h->watchdog;
    if (w) w->budget_ticks = RP_MAX(w->budget_ticks, ms / TICK_MS + 1);
}

void rp_watchdog_free(struct rp_host *h)
{
    struct rp_watchdog *w = h->watchdog;
    if (!w) return;
    h->watchdog = NULL;
    h->overdue = 0;
    /* A tick that is already pending must not meet freed memory: take it while it is blocked. */
    sigset_t ours, before;
    struct timespec now = {0, 0};
    sigemptyset(&ours);
    sigaddset(&ours, SIGRTMIN + SIGNAL_OFFSET);
    (void)pthread_sigmask(SIG_BLOCK, &ours, &before); /* fails only on a bad `how` */
    (void)timer_delete(w->timer);                     /* ... on a bad timer */
    while (sigtimedwait(&ours, NULL, &now) > 0) {}
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    rp_free(w);
}

bool rp_watchdog_fired(const struct rp_host *h)
{
    return h->overdue;
}

void rp_watchdog_insist(const struct rp_host *h, lua_State *L)
{
    (void)h;
    lua_sethook(L, raise_in_hook, LUA_MASKCOUNT | LUA_MASKCALL | LUA_MASKRET, 1);
}

bool rp_watchdog_rest(struct rp_host *h)
{
    lua_sethook(h->L, NULL, 0, 0);
    h->overdue = 0;
    h->watchdog->ticks = 0;
    return true;
}
