/* SPDX-License-Identifier: MIT
 *
 * crew: the master's workers: fork, listen to, watch, replace.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "process/master_in.h"
#include "process/worker.h"
#include "script/host.h"

enum {
    EARLY_MS = 10000,       /* a death sooner than this after the start is an early one */
    BACKOFF_FIRST_MS = 250, /* before the third attempt; doubled by each further one */
    BACKOFF_MOST_MS = 30000,
    START_LIMIT_MS = 45000, /* to READY: building (30 s) and start hooks (10 s) */
    STALL_MS = 10000,       /* without a heartbeat */
    WATCH_MS = 1000,        /* between two looks at heartbeats */
    WORN_LEAST_MS = 5000,   /* a worker that is full so soon would have a successor that is */
    HANDSHAKE_MS = 1000,    /* a worker that leaves alone listens on for so long */
};

static struct rp_slot *slot_of(struct rp_master *m, uint32_t worker)
{
    RP_CHECK(worker < RP_PLAN_SLOTS);
    return &m->crew.slots[worker];
}

const char *rp_crew_name(const struct rp_master *m, uint32_t worker, char text[24])
{
    if (worker == RP_CREW_AGENT) return "agent";
    snprintf(text, 24, "worker=%u", m->crew.slots[worker].number);
    return text;
}

uint32_t rp_crew_find(const struct rp_master *m, uint32_t number)
{
    for (uint32_t i = 0; i < RP_CREW_AGENT; i++)
        if (m->crew.slots[i].wanted && m->crew.slots[i].number == number) return i;
    return RP_PLAN_SLOTS;
}

/* The lowest: readers of shared pages go through all up to the last that was ever used. */
rp_err rp_crew_take_slot(struct rp_master *m, uint32_t number, uint32_t *worker)
{
    uint32_t i = number == RP_CREW_AGENT ? RP_CREW_AGENT : 0;
    while (i < RP_CREW_AGENT && m->crew.slots[i].state != RP_SLOT_EMPTY) i++;
    if (i == RP_CREW_AGENT && number != RP_CREW_AGENT) return RP_E_CAP;
    m->crew.slots[i] = (struct rp_slot){.number = number, .wanted = true, .channel = -1};
    *worker = i;
    return RP_OK;
}

/* Does somebody drain who has this number? Then its socket that is given up has clients yet. */
static bool is_leaving(const struct rp_master *m, uint32_t number)
{
    for (uint32_t i = 0; i < RP_CREW_AGENT; i++)
        if (m->crew.slots[i].state == RP_SLOT_LEAVING && m->crew.slots[i].number == number)
            return true;
    return false;
}

void rp_crew_put(const struct rp_master *m, uint32_t worker, bool channel,
                 struct rp_handover_out *o)
{
    const struct rp_slot *s = &m->crew.slots[worker];
    RP_HANDOVER_PUT(o, "slot", RP_STR_NONE, worker, s->number, (uint64_t)s->pid,
                    channel ? rp_handover_fd(o, s->channel) : RP_HANDOVER_NO_FD, s->generation,
                    s->started_ms, s->respawns);
}

void rp_crew_take(struct rp_slot *slots, struct rp_handover_in *in,
                  const struct rp_handover_record *r)
{
    int fd = r->n[3] == RP_HANDOVER_NO_FD ? -1 : rp_handover_fd_of(in, r->n[3]);
    bool known = r->n[0] < RP_PLAN_SLOTS && r->n[1] < RP_PLAN_SLOTS && r->n[2] <= INT32_MAX;
    if (!known || (fd >= 0 && !rp_os_set_cloexec(fd, true))) {
        in->bad = true;
        return;
    }
    slots[r->n[0]] = (struct rp_slot){.state = RP_SLOT_SERVING,
                                      .wanted = true,
                                      .number = (uint32_t)r->n[1],
                                      .pid = (int)r->n[2],
                                      .channel = fd,
                                      .generation = (uint32_t)r->n[4],
                                      .started_ms = r->n[5],
                                      .respawns = (uint32_t)r->n[6]};
}

void rp_crew_sweep(struct rp_master *m)
{
    for (uint32_t i = 0; i < RP_CREW_AGENT; i++)
        if (!is_leaving(m, i)) rp_sockets_gone(&m->sockets, i);
}

/* ---- start --------------------------------------------------------------------------------- */

static int *listener_fds(const struct rp_master *m, uint32_t worker)
{
    uint32_t number = m->crew.slots[worker].number;
    int *fds = rp_alloc(sizeof *fds * m->sockets.n);
    bool agent = worker == RP_CREW_AGENT;
    for (uint32_t i = 0; i < m->sockets.n; i++)
        fds[i] = agent ? -1 : rp_sockets_fd(&m->sockets, i, number);
    return fds;
}

RP_NORETURN static void be_worker(struct rp_master *m, uint32_t worker, int master, int channel)
{
    struct rp_inherit in = {
        .worker = worker,
        .number = m->crew.slots[worker].number,
        .agent = worker == RP_CREW_AGENT,
        .quiet = m->crew.quiet,
        .generation = m->generation,
        .master = master,
        .channel = channel,
        .site = m->site->fd,
        .listeners = listener_fds(m, worker),
        .listeners_n = m->sockets.n,
        .files = m->logs.fds,
        .files_n = m->logs.n,
        .zones = m->zones.fds,
        .zones_n = m->zones.n,
        .account = m->has_account ? &m->account : NULL,
        .crumbs = m->crumbs,
        .counters = m->counters,
        .stats = &m->stats,
        .metrics = m->metrics,
        .census = m->census,
        .roster = m->roster,
        .members = m->members,
        .orders = m->orders,
        .splits = m->splits,
        .keyring = m->keyring,
        .once = m->once,
        .learned = m->learned,
        .staples = m->staples,
    };
    rp_worker_run(&in);
}

static void wait_to_respawn(struct rp_slot *s, rp_ms now)
{
    rp_ms delay = 0;
    if (s->early_deaths > 1) {
        uint32_t doublings = RP_MIN(s->early_deaths - 2, 10u);
        delay = RP_MIN((rp_ms)BACKOFF_FIRST_MS << doublings, (rp_ms)BACKOFF_MOST_MS);
    }
    s->state = RP_SLOT_WAITING;
    s->respawn_ms = now + delay;
}

static void fail_to_start(struct rp_master *m, uint32_t worker, const char *why)
{
    struct rp_slot *s = slot_of(m, worker);
    rp_log(alert, "cannot start a worker %s why=\"%s\"", rp_crew_name(m, worker, (char[24]){0}),
           why);
    s->early_deaths++;
    wait_to_respawn(s, m->turn_ms);
    s->respawn_ms = RP_MAX(s->respawn_ms, m->turn_ms + BACKOFF_FIRST_MS);
}

/* Sockets that the worker lacks: it is one of those that a reload added. */
static bool has_sockets(struct rp_master *m, uint32_t worker)
{
    if (worker == RP_CREW_AGENT) return true;
    struct rp_buf error;
    rp_buf_init(&error, 1024);
    rp_err e = rp_sockets_ensure(&m->sockets, slot_of(m, worker)->number, &error);
    if (e != RP_OK) fail_to_start(m, worker, rp_log_esc(rp_buf_str(&error)));
    rp_buf_fini(&error);
    return e == RP_OK;
}

void rp_crew_start(struct rp_master *m, uint32_t worker)
{
    struct rp_slot *s = slot_of(m, worker);
    int pair[2] = {-1, -1};
    int master = m->succession ? m->succession->pid : (int)getpid();
    m->crew.changed = true;
    if (!has_sockets(m, worker)) return;
    int pid = rp_channel_pair(true, pair) == RP_OK ? RP_SYS(fork, fork()) : -1;
    if (pid == 0) be_worker(m, worker, master, pair[1]);
    rp_os_close(&pair[1]);
    if (pid < 0) {
        rp_os_close(&pair[0]);
        fail_to_start(m, worker, strerror(errno));
        return;
    }
    s->state = RP_SLOT_STARTING;
    s->part = RP_PART_NONE;
    s->pid = pid;
    s->channel = pair[0];
    s->former = s->deaf = false;
    s->generation = m->generation;
    s->started_ms = m->turn_ms;
    s->kill_ms = m->turn_ms + START_LIMIT_MS;
    s->failed_told = false;
}

/* ---- talking ------------------------------------------------------------------------------- */

void rp_crew_say(struct rp_master *m, uint32_t worker, const struct rp_message_head *head,
                 const int *fds, size_t fds_n)
{
    struct rp_slot *s = slot_of(m, worker);
    if (s->channel < 0) return;
    rp_err e = rp_channel_send(s->channel, head, RP_STR_NONE, fds, fds_n);
    if (e == RP_OK || e == RP_E_CLOSED) return; /* a dead one is reaped soon */
    rp_log(error, "a worker does not take orders, killing it %s pid=%d error=%s",
           rp_crew_name(m, worker, (char[24]){0}), s->pid, rp_err_name(e));
    (void)kill(s->pid, SIGKILL);
}

void rp_crew_give(struct rp_master *m, uint32_t worker, uint32_t attempt, enum rp_give what,
                  const int *fds, uint32_t n)
{
    for (uint32_t i = 0; i < n;) {
        uint32_t end = i;
        while (end < n && fds[end] >= 0 && end - i < RP_CHANNEL_FDS) end++;
        struct rp_message_head head = {.kind = RP_SAY_GIVE, .attempt = attempt, .a = i, .b = what};
        if (end > i) rp_crew_say(m, worker, &head, fds + i, end - i);
        i = RP_MAX(end, i + 1);
    }
}

static void on_failed(struct rp_master *m, uint32_t worker, const struct rp_message *answer)
{
    struct rp_slot *s = slot_of(m, worker);
    if (s->state != RP_SLOT_STARTING) {
        rp_reload_on_answer(m, worker, answer);
        return;
    }
    s->failed_told = true;
    if (m->state == RP_MASTER_STARTING) rp_master_fail(m, rp_channel_text(answer));
    else
        rp_log(error, "a worker cannot start %s why=\"%s\"", rp_crew_name(m, worker, (char[24]){0}),
               rp_log_esc(rp_channel_text(answer)));
}

/* Not again and again: a site whose Lua needs more than lua.heap from the start is served as well as it
 * can be. */
static void on_worn(struct rp_master *m, uint32_t worker)
{
    const struct rp_slot *s = slot_of(m, worker);
    bool soon = m->turn_ms - s->started_ms < WORN_LEAST_MS || rp_upgrade_is_on(m);
    if (soon || s->state != RP_SLOT_SERVING || m->reload.step != RP_RELOAD_IDLE) return;
    rp_log(error, "the Lua heap of a worker stays full, replacing it %s pid=%d",
           rp_crew_name(m, worker, (char[24]){0}), s->pid);
    rp_crew_end(m, worker, RP_SAY_DRAIN, m->site->plan->drain_ms + RP_MASTER_DRAIN_EXTRA_MS);
}

static void on_message(struct rp_master *m, uint32_t worker, const struct rp_message *answer)
{
    struct rp_slot *s = slot_of(m, worker);
    if (answer->head.kind == RP_SAY_DEAF) s->deaf = true;
    if (s->former) return; /* its other numbers mean what they meant to another version */
    if (answer->head.kind == RP_SAY_FAILED) {
        on_failed(m, worker, answer);
    } else if (answer->head.kind == RP_SAY_WORN) {
        on_worn(m, worker);
    } else if (answer->head.kind == RP_SAY_RESTORE) {
        if (s->generation == m->generation) rp_reload_restore(m, rp_channel_text(answer));
    } else if (answer->head.kind == RP_SAY_READY && s->state == RP_SLOT_STARTING) {
        s->state = RP_SLOT_SERVING;
        s->kill_ms = 0;
        if (m->state == RP_MASTER_STARTING) rp_master_on_ready(m);
        else
            rp_log(info, "worker serves %s pid=%d generation=%u",
                   rp_crew_name(m, worker, (char[24]){0}), s->pid, s->generation);
    } else if (answer->head.kind == RP_SAY_TOLD) {
        rp_control_told(m->control, answer->head.a, (int)answer->head.b, rp_channel_text(answer));
    } else {
        rp_reload_on_answer(m, worker, answer);
    }
}

void rp_crew_read(struct rp_master *m, uint32_t worker)
{
    struct rp_slot *s = slot_of(m, worker);
    rp_err e = RP_OK;
    while (e == RP_OK && s->channel >= 0) {
        e = rp_channel_recv(s->channel, &m->crew.message);
        if (e == RP_OK) on_message(m, worker, &m->crew.message);
        rp_channel_done(&m->crew.message);
    }
    if (e == RP_OK || e == RP_AGAIN) return;
    rp_os_close(&s->channel); /* it is dead, or is no use without it */
    if (e != RP_END) (void)kill(s->pid, SIGKILL);
}

/* ---- deaths -------------------------------------------------------------------------------- */

/* "plugin=x hook=access route=..." when it died inside a hook, else "". */
static void put_crumb(const struct rp_master *m, uint32_t worker, int pid, struct rp_buf *out)
{
    struct rp_crumb_report r;
    rp_crumb_report(m->crumbs, worker, &r);
    if (!r.inside || r.pid != (uint32_t)pid) return;
    rp_buf_add(out, RP_STR(" plugin=\""));
    rp_buf_add_escaped(out, rp_str_z(r.plugin));
    rp_buf_add(out, RP_STR("\" hook="));
    rp_buf_add_escaped(out, rp_str_z(r.hook));
    rp_buf_add(out, RP_STR(" route=\""));
    rp_buf_add_escaped(out, rp_str_z(r.route));
    rp_buf_add_ch(out, '"');
}

static void log_death(struct rp_master *m, uint32_t worker, int status)
{
    const struct rp_slot *s = slot_of(m, worker);
    char how[64];
    struct rp_buf where;
    rp_buf_init(&where, 2048);
    rp_os_describe_end(status, how);
    put_crumb(m, worker, s->pid, &where);
    rp_ms lived = m->turn_ms - s->started_ms, wait = s->respawn_ms - m->turn_ms;
    rp_log(error, "worker died %s pid=%d how=\"%s\" uptime_ms=%llu%.*s",
           rp_crew_name(m, worker, (char[24]){0}), s->pid, how, (unsigned long long)lived,
           RP_STR_ARG(rp_buf_str(&where)));
    if (wait > 0 && m->state == RP_MASTER_SERVING)
        rp_log(error, "worker dies again and again, waiting %s deaths=%u wait_ms=%llu",
               rp_crew_name(m, worker, (char[24]){0}), s->early_deaths, (unsigned long long)wait);
    rp_buf_fini(&where);
}

/* A runaway hook ended it. Whoever can ask for that hook could make a back-off last: the worker is
 * replaced at once, and the hook's CPU budget bounds how often it can happen. */
static bool was_stuck(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == RP_HOST_EXIT_STUCK;
}

static void on_death(struct rp_master *m, uint32_t worker, int status)
{
    struct rp_slot *s = slot_of(m, worker);
    m->crew.changed = true;
    rp_crew_read(m, worker); /* its last words */
    rp_os_close(&s->channel);
    /* Its connections are gone with it; the agent has none. */
    if (worker != RP_CREW_AGENT) rp_census_forget(m->census, worker);
    rp_roster_forget(m->roster, rp_plan_row(worker));
    rp_splits_forget(m->splits, rp_plan_row(worker));
    rp_counter_start(m->counters, worker);
    rp_metric_forget(m->metrics, rp_plan_row(worker));
    rp_zones_forget(&m->zones, worker);
    bool expected = s->state == RP_SLOT_LEAVING;
    s->kill_ms = 0;
    bool early = m->turn_ms - s->started_ms < EARLY_MS && !was_stuck(status);
    s->early_deaths = early ? s->early_deaths + 1 : 0;
    if (expected && !WIFSIGNALED(status) && WEXITSTATUS(status) == 0) {
        rp_log(info, "worker ended %s pid=%d", rp_crew_name(m, worker, (char[24]){0}), s->pid);
    } else {
        wait_to_respawn(s, m->turn_ms);
        if (!s->failed_told || s->early_deaths > 1) log_death(m, worker, status);
    }
    bool wanted = s->wanted && m->state == RP_MASTER_SERVING;
    s->state = wanted ? RP_SLOT_WAITING : RP_SLOT_EMPTY;
    if (expected && !is_leaving(m, s->number) && !rp_upgrade_is_on(m))
        rp_sockets_gone(&m->sockets, s->number);
    if (wanted && expected) s->respawn_ms = m->turn_ms;
    if (m->state == RP_MASTER_STARTING)
        rp_master_fail(m, RP_STR("a worker died while it started; see the error log"));
    rp_reload_on_death(m, worker);
    rp_control_lost(m->control, worker);
    s->pid = 0;
}

bool rp_crew_reap(struct rp_master *m, int pid, int status)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        if (m->crew.slots[i].pid != pid) continue;
        on_death(m, i, status);
        return true;
    }
    return false;
}

/* ---- time ---------------------------------------------------------------------------------- */

static bool has_stalled(const struct rp_master *m, uint32_t worker, const struct rp_slot *s)
{
    struct rp_crumb_report r;
    rp_crumb_report(m->crumbs, worker, &r);
    rp_ms last = RP_MAX(RP_MAX(r.last_tick_ms, s->started_ms), m->alive_since_ms);
    if (r.pid != (uint32_t)s->pid || last > m->turn_ms) return false;
    if (m->turn_ms - last < STALL_MS) return false;
    char state = rp_os_process_state(s->pid);
    return state != 'T' && state != 't'; /* somebody stopped it, a debugger perhaps */
}

static void kill_slot(struct rp_master *m, uint32_t worker, const char *why)
{
    struct rp_slot *s = slot_of(m, worker);
    struct rp_buf where;
    rp_buf_init(&where, 2048);
    put_crumb(m, worker, s->pid, &where);
    rp_log(error, "killing a worker %s pid=%d why=\"%s\"%.*s",
           rp_crew_name(m, worker, (char[24]){0}), s->pid, why, RP_STR_ARG(rp_buf_str(&where)));
    rp_buf_fini(&where);
    (void)kill(s->pid, SIGKILL); /* not reaped yet: the pid is still its own */
    s->kill_ms = m->turn_ms + WATCH_MS;
}

/* Not between two generations: a newcomer would belong to neither. */
static bool may_respawn(const struct rp_master *m)
{
    bool idle = m->reload.step == RP_RELOAD_IDLE || m->reload.step == RP_RELOAD_CHECKING;
    return idle && m->state == RP_MASTER_SERVING;
}

static void tick_slot(struct rp_master *m, uint32_t worker)
{
    struct rp_slot *s = slot_of(m, worker);
    if (s->state == RP_SLOT_WAITING && m->turn_ms >= s->respawn_ms && may_respawn(m)) {
        s->respawns++;
        rp_crew_start(m, worker);
    } else if (s->pid && s->kill_ms && m->turn_ms >= s->kill_ms) {
        bool start = s->state == RP_SLOT_STARTING;
        kill_slot(m, worker, start ? "not ready in time" : "did not end in time");
    } else if (s->state == RP_SLOT_SERVING && !s->kill_ms && has_stalled(m, worker, s)) {
        kill_slot(m, worker, "no heartbeat");
    }
}

/* One that waits long would keep its share of the new clients waiting as well. */
void rp_crew_route(struct rp_master *m)
{
    bool able[RP_PLAN_SLOTS] = {false};
    m->crew.changed = false;
    if (m->crew.quiet) return; /* that is the other master's */
    for (uint32_t i = 0; i < RP_CREW_AGENT; i++) {
        const struct rp_slot *s = &m->crew.slots[i];
        bool soon = s->state == RP_SLOT_WAITING && s->respawn_ms <= m->turn_ms;
        if (s->wanted && (soon || s->state == RP_SLOT_STARTING || s->state == RP_SLOT_SERVING))
            able[s->number] = true;
    }
    rp_sockets_route(&m->sockets, able);
}

void rp_crew_tick(struct rp_master *m)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++)
        if (m->crew.slots[i].state != RP_SLOT_EMPTY) tick_slot(m, i);
    if (m->crew.changed) rp_crew_route(m);
}

rp_ms rp_crew_next(const struct rp_master *m)
{
    rp_ms next = m->turn_ms + WATCH_MS;
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        const struct rp_slot *s = &m->crew.slots[i];
        if (s->state == RP_SLOT_WAITING && may_respawn(m)) next = RP_MIN(next, s->respawn_ms);
        if (s->pid && s->kill_ms) next = RP_MIN(next, s->kill_ms);
    }
    return next;
}

/* ---- ending -------------------------------------------------------------------------------- */

void rp_crew_end(struct rp_master *m, uint32_t worker, uint32_t order, rp_ms patience_ms)
{
    struct rp_slot *s = slot_of(m, worker);
    m->crew.changed = true;
    if (s->state == RP_SLOT_EMPTY || s->state == RP_SLOT_FOREIGN) return;
    if (!s->former) rp_sockets_leave(&m->sockets, s->number); /* those are its successor's now */
    if (s->state == RP_SLOT_WAITING) {
        s->state = RP_SLOT_EMPTY;
        if (!is_leaving(m, s->number)) rp_sockets_gone(&m->sockets, s->number);
        return;
    }
    /* The others go on: clients whose handshake is under way are waited for. */
    bool alone = m->state == RP_MASTER_SERVING;
    struct rp_message_head head = {.kind = order, .a = alone ? HANDSHAKE_MS : 0};
    s->state = RP_SLOT_LEAVING;
    s->part = RP_PART_NONE;
    s->kill_ms = m->turn_ms + patience_ms;
    rp_crew_say(m, worker, &head, NULL, 0);
}

void rp_crew_end_all(struct rp_master *m, uint32_t order, rp_ms patience_ms)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) rp_crew_end(m, i, order, patience_ms);
}

void rp_crew_kill_all(struct rp_master *m)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        if (m->crew.slots[i].pid) (void)kill(m->crew.slots[i].pid, SIGKILL); /* reaped later */
    }
}

uint32_t rp_crew_alive(const struct rp_master *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) n += m->crew.slots[i].pid != 0;
    return n;
}

uint32_t rp_crew_count(const struct rp_master *m, enum rp_slot_state state)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) n += m->crew.slots[i].state == state;
    return n;
}

void rp_crew_forgive(struct rp_master *m)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        struct rp_slot *s = &m->crew.slots[i];
        s->early_deaths = 0;
        if (s->state == RP_SLOT_WAITING) s->respawn_ms = m->turn_ms;
    }
}

static void add_worker(struct rp_master *m, uint32_t number)
{
    uint32_t worker;
    /* One that still drains there is replaced when it has ended. */
    for (uint32_t i = 0; i < RP_CREW_AGENT; i++) {
        struct rp_slot *s = &m->crew.slots[i];
        bool same = s->state == RP_SLOT_LEAVING && s->number == number && !s->former;
        if (same) s->wanted = true;
        if (same) return;
    }
    if (rp_crew_take_slot(m, number, &worker) == RP_OK) rp_crew_start(m, worker);
    else rp_log(alert, "no slot is free for a worker worker=%u", number);
}

void rp_crew_resize(struct rp_master *m, uint32_t n)
{
    uint32_t old = m->crew.n;
    m->crew.n = n;
    for (uint32_t i = old; i < n; i++) add_worker(m, i);
    for (uint32_t i = n; i < old; i++) {
        uint32_t worker = rp_crew_find(m, i);
        if (worker == RP_PLAN_SLOTS) continue;
        m->crew.slots[worker].wanted = false;
        rp_crew_end(m, worker, RP_SAY_DRAIN, m->site->plan->drain_ms + RP_MASTER_DRAIN_EXTRA_MS);
    }
    rp_crew_route(m); /* before they stop accepting */
}

void rp_crew_want_agent(struct rp_master *m, bool yes)
{
    struct rp_slot *s = slot_of(m, RP_CREW_AGENT);
    if (yes == m->crew.agent) return;
    m->crew.agent = s->wanted = yes;
    s->number = RP_CREW_AGENT;
    if (!yes) rp_crew_end(m, RP_CREW_AGENT, RP_SAY_STOP, RP_MASTER_STOP_MS);
    else if (s->state == RP_SLOT_EMPTY) rp_crew_start(m, RP_CREW_AGENT);
}

void rp_crew_fini(struct rp_master *m)
{
    for (uint32_t i = 0; m->crew.slots && i < RP_PLAN_SLOTS; i++)
        rp_os_close(&m->crew.slots[i].channel);
    rp_free(m->crew.slots);
    m->crew.slots = NULL;
}
