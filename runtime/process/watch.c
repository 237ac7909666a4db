/* SPDX-License-Identifier: MIT
 *
 * watch: see watch.h. Files are told apart by their stamps (rp_check_stamp), which the evaluator noted
 * before it read them: what changes between reading and the first look is seen, too.
 */
#include "process/watch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "process/channel.h"
#include "process/checker.h"

enum {
    LOOK_MS = 1000,
    SETTLE_MS = 1000,   /* a pair is written in two steps: what has changed must rest so long ... */
    SETTLES_MOST = 30,  /* ... unless it never does */
    LOOK_SHARE = 50,    /* looking takes at most this part of a processor */
    RESTART_MS = 10000, /* after the child's death, or when it cannot be started */
};

/* ---- the child ----------------------------------------------------------------------------- */

struct watcher {
    const struct rp_plan *plan;
    uint64_t *seen; /* stamps, as of the last look */
    int master;
    rp_ms took_ms; /* the last look */
};

/* Index of the first file that is not as it was at the last look; watched_n: none. */
static uint32_t look(struct watcher *v)
{
    uint32_t first = v->plan->watched_n;
    rp_ms before = rp_os_now_ms();
    for (uint32_t i = 0; i < v->plan->watched_n; i++) {
        uint64_t now = rp_check_stamp(v->plan->watched[i].path);
        if (now != v->seen[i] && first == v->plan->watched_n) first = i;
        v->seen[i] = now;
    }
    v->took_ms = rp_os_now_ms() - before;
    return first;
}

/* False: the master is gone, or does not want us any more. */
static bool sleep_on(struct watcher *v, rp_ms ms)
{
    struct pollfd p = {.fd = v->master, .events = POLLIN};
    int n;
    do n = poll(&p, 1, (int)RP_MIN(ms, (rp_ms)3600 * 1000));
    while (n < 0 && errno == EINTR);
    return n == 0;
}

static bool tell(struct watcher *v, uint32_t file)
{
    struct rp_message_head head = {.kind = RP_SAY_CHANGED};
    return rp_channel_send(v->master, &head, v->plan->watched[file].path, NULL, 0) == RP_OK;
}

RP_NORETURN static void run(const struct rp_plan *plan, int parent, int channel)
{
    struct watcher v = {.plan = plan, .master = channel};
    uint32_t changed = plan->watched_n, settles_n = 0;
    rp_os_reset_signals();
    rp_os_set_name("rproxy-watch");
    if (!rp_os_die_with(parent, SIGKILL)) _exit(1);
    v.seen = rp_alloc(sizeof *v.seen * plan->watched_n);
    for (uint32_t i = 0; i < plan->watched_n; i++) v.seen[i] = plan->watched[i].stamp;
    for (;;) {
        uint32_t now = look(&v);
        bool pending = changed < plan->watched_n;
        if (pending && (now == plan->watched_n || ++settles_n > SETTLES_MOST)) {
            if (!tell(&v, changed)) _exit(0);
            changed = plan->watched_n;
            settles_n = 0;
        } else if (!pending) {
            changed = now;
        }
        rp_ms rest = changed < plan->watched_n ? SETTLE_MS : LOOK_MS;
        if (!sleep_on(&v, RP_MAX(rest, v.took_ms * LOOK_SHARE))) _exit(0);
    }
}

/* ---- the master's side --------------------------------------------------------------------- */

static void start(struct rp_watch *w, const struct rp_plan *plan, rp_ms now_ms)
{
    int pair[2], parent = (int)getpid();
    w->due_ms = now_ms + RESTART_MS;
    if (rp_channel_pair(true, pair) != RP_OK) return;
    int pid = RP_SYS(fork, fork());
    if (pid == 0) {
        int keep[] = {pair[1]};
        rp_os_close_others(keep, 1);
        run(plan, parent, pair[1]);
    }
    rp_os_close(&pair[1]);
    if (pid < 0) {
        rp_os_close(&pair[0]);
        return;
    }
    w->pid = pid;
    w->channel = pair[0];
    w->due_ms = UINT64_MAX;
}

void rp_watch_stop(struct rp_watch *w)
{
    rp_os_close(&w->channel);
    if (w->pid > 0) (void)kill(w->pid, SIGKILL); /* our child until it is reaped: no other's pid */
    w->due_ms = UINT64_MAX;
}

void rp_watch_follow(struct rp_watch *w)
{
    rp_watch_stop(w);
    w->due_ms = 0;
}

void rp_watch_again(struct rp_watch *w, rp_ms now_ms, rp_ms delay_ms)
{
    rp_watch_stop(w);
    w->due_ms = now_ms + delay_ms;
}

void rp_watch_tick(struct rp_watch *w, const struct rp_plan *plan, rp_ms now_ms)
{
    if (now_ms < w->due_ms) return;
    if (plan->watched_n == 0) w->due_ms = UINT64_MAX;
    else if (w->pid == 0) start(w, plan, now_ms); /* else the last one is not reaped yet */
}

bool rp_watch_read(struct rp_watch *w, rp_ms now_ms, struct rp_buf *file)
{
    struct rp_message *m = rp_alloc(sizeof *m);
    rp_err e = rp_channel_recv(w->channel, m);
    bool news = e == RP_OK && m->head.kind == RP_SAY_CHANGED;
    if (news) rp_buf_add(file, rp_channel_text(m));
    rp_channel_done(m);
    rp_free(m);
    if (e != RP_OK && e != RP_AGAIN) rp_watch_again(w, now_ms, RESTART_MS);
    return news;
}

bool rp_watch_reap(struct rp_watch *w, int pid, rp_ms now_ms)
{
    if (w->pid == 0 || w->pid != pid) return false;
    w->pid = 0;
    if (w->channel >= 0) rp_watch_again(w, now_ms, RESTART_MS); /* it died by itself */
    return true;
}
