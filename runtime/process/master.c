/* SPDX-License-Identifier: MIT
 *
 * master: the poll loop, signals, and the order of starting and ending.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "process/boot.h"
#include "process/master_in.h"
#include "process/notify.h"
#include "process/worker.h"

enum {
    SUSPENDED_MS = 3000, /* the loop turns once a second: a longer gap means we did not run */
};

/* ---- ending -------------------------------------------------------------------------------- */

/* Close what the addresses hang on first: a new master can start while the old one drains. */
static void let_go(struct rp_master *m)
{
    rp_reload_cancel(m);
    rp_upgrade_cancel(m, "the master is ending");
    rp_watch_stop(&m->watch);
    rp_sockets_close(&m->sockets);
    rp_notify("STOPPING=1");
}

void rp_master_drain(struct rp_master *m)
{
    if (m->state == RP_MASTER_STARTING) rp_master_stop(m);
    if (m->state != RP_MASTER_SERVING) return;
    rp_ms patience = m->site->plan->drain_ms + RP_MASTER_DRAIN_EXTRA_MS;
    rp_log(notice, "draining limit_ms=%llu", (unsigned long long)m->site->plan->drain_ms);
    m->state = RP_MASTER_DRAINING;
    let_go(m);
    rp_crew_end_all(m, RP_SAY_DRAIN, patience);
}

void rp_master_stop(struct rp_master *m)
{
    if (m->state == RP_MASTER_STOPPING) {
        rp_crew_kill_all(m); /* told twice: whoever says so means it */
        rp_upgrade_cancel(m, "the master is ending");
        return;
    }
    rp_log(notice, "stopping");
    m->state = RP_MASTER_STOPPING;
    let_go(m);
    rp_crew_end_all(m, RP_SAY_STOP, RP_MASTER_STOP_MS);
}

void rp_master_fail(struct rp_master *m, rp_str why)
{
    rp_boot_complain(m->run, why);
    m->exit_status = 1;
    rp_master_stop(m);
}

/* ---- starting ------------------------------------------------------------------------------ */

void rp_master_on_ready(struct rp_master *m)
{
    if (rp_crew_count(m, RP_SLOT_SERVING) < m->crew.n + m->crew.agent) return;
    if (m->succession) {
        rp_successor_on_ready(m);
        return;
    }
    m->state = RP_MASTER_SERVING;
    rp_log(notice, "serving site=%s generation=%u workers=%u listeners=%u", m->run->site,
           m->generation, m->crew.n, m->sockets.n);
    rp_notify("READY=1");
    rp_reload_ask_again(m);
    if (m->run->ready < 0) return;
    char yes = 1;
    rp_ignore(rp_os_write_all(m->run->ready, rp_str_of(&yes, 1))); /* who started us may be gone */
    rp_os_close(&m->run->ready);
    rp_os_close(&m->run->complaints); /* the terminal */
}

struct rp_check_order rp_master_order(struct rp_master *m)
{
    return (struct rp_check_order){
        .site = m->run->site,
        .overrides = m->run->overrides,
        .found = rp_found_read(m),
        .found_before = rp_found_serving(m),
        .account = m->has_account ? &m->account : NULL,
        .log = m->errlog.fd >= 0 ? m->errlog.fd : m->run->complaints,
    };
}

void rp_master_use_logs(struct rp_master *m)
{
    const struct rp_plan *p = m->site->plan;
    rp_errlog_use(&m->errlog, p->error_log_file < m->logs.n ? m->logs.fds[p->error_log_file] : -1);
    rp_log_threshold = (enum rp_log_level)p->log_level;
}

void rp_master_log_lines(enum rp_log_level level, const char *before, rp_str text)
{
    for (size_t at = 0; at < text.len && level >= rp_log_threshold;) {
        size_t end = rp_str_find(text, '\n', at);
        rp_log_write(level, "%s%.*s", before, (int)(end - at), text.ptr + at);
        at = end + 1;
    }
}

/* ---- status -------------------------------------------------------------------------------- */

static const char *slot_word(enum rp_slot_state state)
{
    switch (state) {
    case RP_SLOT_EMPTY: return "empty";
    case RP_SLOT_STARTING: return "starting";
    case RP_SLOT_SERVING: return "serving";
    case RP_SLOT_LEAVING: return "draining";
    case RP_SLOT_WAITING: return "waiting";
    case RP_SLOT_FOREIGN: return "of another master";
    }
    return "";
}

static void put_worker(const struct rp_master *m, uint32_t i, struct rp_buf *out)
{
    const struct rp_slot *s = &m->crew.slots[i];
    if (i == RP_CREW_AGENT) rp_buf_addf(out, "agent: %s", slot_word(s->state));
    else rp_buf_addf(out, "worker %u: %s", s->number, slot_word(s->state));
    if (s->pid) {
        rp_buf_addf(out, ", pid %d, generation %u, up %llu s", s->pid, s->generation,
                    (unsigned long long)((m->turn_ms - s->started_ms) / 1000));
    } else if (s->state == RP_SLOT_WAITING && s->respawn_ms > m->turn_ms) {
        rp_buf_addf(out, ", next try in %llu s",
                    (unsigned long long)((s->respawn_ms - m->turn_ms + 999) / 1000));
    }
    if (s->respawns) rp_buf_addf(out, ", replaced %u times", s->respawns);
    if (s->former) rp_buf_add(out, RP_STR(", of the version before"));
    rp_buf_add_ch(out, '\n');
}

void rp_master_status(const struct rp_master *m, struct rp_buf *out)
{
    static const char *const words[] = {"starting", "serving", "draining", "stopping"};
    rp_buf_addf(out, "master: %s, pid %d, version %s, up %llu s\n", words[m->state], (int)getpid(),
                RP_VERSION, (unsigned long long)((m->turn_ms - m->started_ms) / 1000));
    rp_buf_addf(out, "site: %s, generation %u\n", m->run->site, m->generation);
    if (rp_upgrade_is_on(m))
        rp_buf_addf(out, "upgrade: under way, pid %d, binary %s\n", m->upgrade.pid,
                    m->upgrade.binary);
    if (m->upgrade.settle_ms)
        rp_buf_add(out, RP_STR("upgrade: workers of the version before still accept clients\n"));
    if (m->reload.restored)
        rp_buf_addf(out,
                    "restored: generation %u did not work, see the error log; its files are not "
                    "what is served\n",
                    m->reload.restored);
    for (uint32_t i = 0; i < m->site->plan->listeners_n; i++)
        rp_buf_addf(out, "listener: %.*s\n", RP_STR_ARG(m->site->plan->listeners[i].text));
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++)
        if (m->crew.slots[i].state != RP_SLOT_EMPTY) put_worker(m, i, out);
    rp_zones_status(&m->zones, out);
    for (uint32_t i = 0; i < rp_counter_count(m->counters); i++)
        rp_buf_addf(out, "%.*s: %llu\n", RP_STR_ARG(rp_counter_name(m->counters, i)),
                    (unsigned long long)rp_counter_sum(m->counters, i));
    rp_metric_table(m->metrics, m->turn_ms, out);
}

/* ---- signals ------------------------------------------------------------------------------- */

static void reap(struct rp_master *m)
{
    for (;;) {
        int status;
        pid_t pid = RP_SYS(waitpid, waitpid(-1, &status, WNOHANG));
        if (pid < 0 && errno == EINTR) continue;
        if (pid <= 0) return;
        if (pid == m->reload.check.pid) m->reload.check.pid = 0;
        else if (rp_upgrade_reap(m, (int)pid, status)) continue;
        else if (rp_watch_reap(&m->watch, (int)pid, m->turn_ms)) continue;
        else (void)rp_crew_reap(m, (int)pid, status); /* as process 1 we inherit strangers */
    }
}

static void reopen_by_signal(struct rp_master *m)
{
    struct rp_buf out;
    rp_buf_init(&out, RP_CHECK_ERROR_MOST);
    rp_ignore(rp_reload_reopen(m, &out)); /* logs its outcome itself */
    rp_buf_fini(&out);
}

static void upgrade_by_signal(struct rp_master *m)
{
    if (!rp_upgrade_ask(m, RP_STR_NONE)) rp_log(warn, "an upgrade is under way already");
}

static void on_signal(struct rp_master *m, uint32_t number)
{
    bool ends = number == SIGTERM || number == SIGINT;
    if (m->succession && !ends) return; /* they are meant for the other master */
    switch (number) {
    case SIGHUP: rp_reload_ask(m); break;
    case SIGTERM:
    case SIGINT: rp_master_stop(m); break;
    case SIGQUIT: rp_master_drain(m); break;
    case SIGUSR1: reopen_by_signal(m); break;
    case SIGUSR2: upgrade_by_signal(m); break;
    case SIGCHLD: break; /* reap is called after every signal */
    }
}

static void read_signals(struct rp_master *m)
{
    struct signalfd_siginfo info;
    while (read(m->signals, &info, sizeof info) == (ssize_t)sizeof info)
        on_signal(m, info.ssi_signo);
    reap(m);
}

/* ---- the loop ------------------------------------------------------------------------------ */

enum { FIRST = 4 }; /* descriptors in front of those that come and go */

/* What is polled for, in this order: signals, checker, watcher, the other master in an upgrade,
 * control and its clients, workers. */
struct turn {
    struct pollfd fds[FIRST + RP_CONTROL_CLIENTS + 1 + RP_PLAN_SLOTS];
    uint32_t workers[RP_PLAN_SLOTS]; /* whose channel the i-th of those is */
    size_t control_n, workers_n;
};

/* Its channel; -1: there is none. */
static int other_master(const struct rp_master *m)
{
    return m->succession ? m->succession->channel : m->upgrade.channel;
}

static void gather_fds(struct rp_master *m, struct turn *t)
{
    t->fds[0] = (struct pollfd){.fd = m->signals, .events = POLLIN};
    t->fds[1] = (struct pollfd){.fd = m->reload.check.channel, .events = POLLIN}; /* or -1 */
    t->fds[2] = (struct pollfd){.fd = m->watch.channel, .events = POLLIN};        /* or -1 */
    t->fds[3] = (struct pollfd){.fd = other_master(m), .events = POLLIN};         /* or -1 */
    t->control_n = m->control ? rp_control_poll(m->control, t->fds + FIRST) : 0;
    t->workers_n = 0;
    struct pollfd *out = t->fds + FIRST + t->control_n;
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        if (m->crew.slots[i].channel < 0) continue;
        t->workers[t->workers_n] = i;
        out[t->workers_n++] = (struct pollfd){.fd = m->crew.slots[i].channel, .events = POLLIN};
    }
}

/* Keys of session tickets live as long as the site says. */
static rp_ms next_rotation(const struct rp_master *m)
{
    return m->rotated_ms + m->site->plan->ticket_keys_ms;
}

static void rotate_keys(struct rp_master *m)
{
    if (m->turn_ms < next_rotation(m) || m->succession) return; /* one master writes them */
    m->rotated_ms = m->turn_ms;
    rp_keyring_rotate(m->keyring);
    rp_log(debug, "ticket keys rotated");
}

static int patience(const struct rp_master *m)
{
    rp_ms next = RP_MIN(rp_crew_next(m), rp_reload_next(m)), now = rp_os_now_ms();
    next = RP_MIN(next, rp_upgrade_next(m));
    return next > now ? (int)RP_MIN(next - now, (rp_ms)1000) : 0;
}

/* The machine slept, or somebody stopped us: then the workers' heartbeats stood still as well. */
static void note_time(struct rp_master *m)
{
    rp_ms now = rp_os_now_ms();
    if (now - m->turn_ms > SUSPENDED_MS) m->alive_since_ms = now;
    m->turn_ms = now;
}

static void read_watch(struct rp_master *m)
{
    struct rp_buf file;
    rp_buf_init(&file, RP_PLAN_TEXT_MOST);
    if (rp_watch_read(&m->watch, m->turn_ms, &file)) {
        rp_log(notice, "files of certificates changed, taking them file=%s",
               rp_log_esc(rp_buf_str(&file)));
        rp_reload_renew(m);
    }
    rp_buf_fini(&file);
}

static void hear_other_master(struct rp_master *m)
{
    if (m->succession) rp_successor_read(m);
    else rp_upgrade_read(m);
}

static void turn(struct rp_master *m, struct turn *t)
{
    gather_fds(m, t);
    size_t n = FIRST + t->control_n + t->workers_n;
    int found = RP_SYS(poll, poll(t->fds, n, patience(m)));
    note_time(m);
    for (size_t i = 0; found > 0 && i < t->workers_n; i++)
        if (t->fds[FIRST + t->control_n + i].revents) rp_crew_read(m, t->workers[i]);
    if (found > 0 && t->fds[1].revents && m->reload.check.channel == t->fds[1].fd)
        rp_reload_on_check(m);
    if (found > 0 && t->fds[2].revents && m->watch.channel == t->fds[2].fd) read_watch(m);
    if (found > 0 && t->fds[3].revents && other_master(m) == t->fds[3].fd) hear_other_master(m);
    if (found > 0 && t->fds[0].revents) read_signals(m);
    if (found > 0 && m->control) rp_control_serve(m->control, m, t->fds + FIRST, t->control_n);
    rp_crew_tick(m);
    rp_reload_tick(m);
    rp_upgrade_tick(m);
    if (m->state == RP_MASTER_SERVING) rp_watch_tick(&m->watch, m->site->plan, m->turn_ms);
    rotate_keys(m);
}

/* Default actions first: what is ignored (nohup) never reaches a signalfd. */
static int open_signals(bool inherited)
{
    static const int numbers[] = {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD};
    sigset_t set;
    if (!inherited) rp_os_reset_signals(); /* else they are blocked, and some may be pending */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL); /* cannot fail */
    sigemptyset(&set);
    for (size_t i = 0; i < RP_COUNT(numbers); i++) sigaddset(&set, numbers[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL); /* cannot fail */
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void start_crew(struct rp_master *m)
{
    struct rp_succession *s = m->succession;
    m->started_ms = m->rotated_ms = m->turn_ms;
    m->crew.n = s ? RP_MIN(m->site->plan->workers, s->workers) : m->site->plan->workers;
    if (s) rp_successor_reserve(m);
    for (uint32_t i = 0; i < m->crew.n; i++) {
        uint32_t worker;
        if (rp_crew_take_slot(m, i, &worker) == RP_OK) {
            rp_crew_start(m, worker);
        } else {
            rp_master_fail(m, RP_STR("workers of versions before still drain: there is no room for "
                                     "those of one more"));
            return;
        }
    }
    if (!s) rp_crew_want_agent(m, m->site->plan->agent);
}

static void serve(struct rp_master *m)
{
    struct turn *t = rp_alloc(sizeof *t);
    m->turn_ms = rp_os_now_ms();
    if (m->succession && m->succession->kind == RP_HANDOVER_TAKE_OVER) rp_successor_begin(m);
    else start_crew(m);
    /* Whoever asked for an upgrade hears how it ended, and nothing of it is left behind. */
    while (m->state < RP_MASTER_DRAINING || rp_crew_alive(m) || rp_upgrade_is_on(m)) turn(m, t);
    rp_free(t);
}

int rp_master_run(struct rp_run *run)
{
    struct rp_master *m = rp_alloc(sizeof *m);
    m->run = run;
    m->succession = run->succession;
    m->exit_status = 1;
    if (rp_boot(m) == RP_OK) {
        m->exit_status = 0;
        m->signals = open_signals(run->succession != NULL);
        serve(m);
        rp_log(notice, "ended");
    }
    int status = m->exit_status;
    rp_boot_undo(m);
    rp_free(m);
    return status;
}
