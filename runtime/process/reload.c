/* SPDX-License-Identifier: MIT
 *
 * reload: a new generation in all workers or in none.
 *
 *   CHECKING    the checker evaluates the site
 *   GATHERING   sockets are bound and files opened; workers that are just starting get ready first
 *   PREPARING   every worker builds the generation and runs its start hooks
 *   COMMITTING  all are ready: from here on the new generation is the one that serves
 *
 * Any failure before COMMITTING undoes everything and is told to who asked. Requests for a reload
 * that come during one are merged into one more after it.
 */
#include <signal.h>
#include <stdio.h>

#include "base/mem.h"
#include "process/master_in.h"
#include "process/notify.h"

enum {
    PREPARE_LIMIT_MS = 45000, /* building (30 s) and start hooks (10 s) */
    GATHER_LIMIT_MS = 30000,
    COMMIT_LIMIT_MS = 10000, /* a flip takes milliseconds: whoever does not answer is broken */
    TEXT_MOST = 64 * 1024,
    PROBATION_MS = 600000,  /* after a reload, in which a breaker may undo it */
    RENEW_AGAIN_MS = 60000, /* changed certificates were good, and something else was not */
};

/* ---- words and ends ------------------------------------------------------------------------ */

static void forget_attempt(struct rp_master *m)
{
    struct rp_reload *r = &m->reload;
    rp_sockets_close(&r->sockets);
    rp_logs_close(&r->logs);
    rp_zones_close(&r->zones);
    rp_checked_free(&r->site);
    rp_check_stop(&r->check);
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) m->crew.slots[i].part = RP_PART_NONE;
    r->step = RP_RELOAD_IDLE;
    r->deadline_ms = 0;
}

static void finish(struct rp_master *m, int status, rp_str text)
{
    forget_attempt(m);
    rp_notify("READY=1");
    rp_control_reloaded(m->control, status, text);
    rp_heap_trim();
    rp_reload_resume(m);
}

void rp_reload_resume(struct rp_master *m)
{
    if (m->reload.reopen) {
        struct rp_buf out;
        m->reload.reopen = false;
        rp_buf_init(&out, TEXT_MOST);
        rp_ignore(rp_reload_reopen(m, &out)); /* logs its outcome itself */
        rp_buf_fini(&out);
    }
    rp_reload_ask_again(m);
}

void rp_reload_ask_again(struct rp_master *m)
{
    struct rp_reload *r = &m->reload;
    if (m->state != RP_MASTER_SERVING) return;
    if (r->again) {
        r->again = r->renew_again = false; /* it reads certificates, too */
        rp_reload_ask(m);
    } else if (r->renew_again) {
        r->renew_again = false;
        rp_reload_renew(m);
    }
}

static void fail(struct rp_master *m, rp_str why)
{
    struct rp_buf text;
    struct rp_message_head head = {.kind = RP_SAY_ABORT, .attempt = m->reload.attempt};
    rp_buf_init(&text, TEXT_MOST);
    rp_buf_add(&text, why);
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        enum rp_slot_part part = m->crew.slots[i].part;
        if (part == RP_PART_ASKED || part == RP_PART_READY) rp_crew_say(m, i, &head, NULL, 0);
    }
    rp_master_log_lines(RP_LOG_error, "not reloaded: ", rp_buf_str(&text));
    if (m->reload.renews && m->reload.step != RP_RELOAD_CHECKING)
        rp_watch_again(&m->watch, m->turn_ms, RENEW_AGAIN_MS);
    rp_buf_addf(&text, "\nnot reloaded: generation %u serves on", m->generation);
    finish(m, 1, rp_buf_str(&text));
    rp_buf_fini(&text);
}

/* ---- checking ------------------------------------------------------------------------------ */

static bool is_under_way(const struct rp_master *m)
{
    return m->reload.step != RP_RELOAD_IDLE || rp_upgrade_is_on(m);
}

static void begin(struct rp_master *m, const struct rp_check_order *order)
{
    struct rp_reload *r = &m->reload;
    rp_notify_reloading();
    r->attempt++;
    r->started_ms = m->turn_ms;
    r->step = RP_RELOAD_CHECKING;
    if (rp_check_start(order, &r->check) == RP_OK) return;
    r->step = RP_RELOAD_GATHERING; /* the site is not to blame */
    fail(m, RP_STR("cannot start the checker"));
}

void rp_reload_ask(struct rp_master *m)
{
    struct rp_reload *r = &m->reload;
    if (m->state == RP_MASTER_STARTING || (m->state == RP_MASTER_SERVING && is_under_way(m))) {
        r->again = true;
        return;
    }
    if (m->state != RP_MASTER_SERVING) {
        rp_control_begin_reload(m->control);
        rp_control_reloaded(m->control, 1, RP_STR("not reloaded: the master is ending"));
        return;
    }
    struct rp_check_order order = rp_master_order(m);
    rp_control_begin_reload(m->control);
    rp_log(info, "reloading site=%s", m->run->site);
    r->renews = r->restores = false;
    begin(m, &order);
}

void rp_reload_restore(struct rp_master *m, rp_str plugin)
{
    struct rp_reload *r = &m->reload;
    if (m->state != RP_MASTER_SERVING || is_under_way(m) || !r->before) return;
    struct rp_check_order order = rp_master_order(m);
    order.sources = r->before->plan->bundle;
    rp_log(alert, "going back to the site before the last reload generation=%u plugin=%s",
           m->generation, rp_log_esc(plugin));
    r->renews = false;
    r->restores = true;
    begin(m, &order);
}

/* The serving sources anew. found: with the routes that were found, or it fails. */
static void renew(struct rp_master *m, bool found)
{
    struct rp_reload *r = &m->reload;
    struct rp_check_order order = rp_master_order(m);
    order.sources = m->site->plan->bundle;
    order.found_or_fail = found;
    r->renews = true;
    r->restores = false;
    begin(m, &order);
}

/* Who asked for a reload by command waits for the next one: this one does not read his site. */
void rp_reload_renew(struct rp_master *m)
{
    struct rp_reload *r = &m->reload;
    if (m->state == RP_MASTER_STARTING || (m->state == RP_MASTER_SERVING && is_under_way(m))) {
        r->renew_again = true;
        return;
    }
    if (m->state == RP_MASTER_SERVING) renew(m, false);
}

void rp_reload_find(struct rp_master *m)
{
    if (m->state == RP_MASTER_SERVING && !is_under_way(m)) renew(m, true);
}

/* Bind what is new and open the log files; the old generation's stay as they are. */
static rp_err gather(struct rp_master *m, struct rp_buf *error)
{
    struct rp_reload *r = &m->reload;
    rp_err e = rp_sockets_open(&r->sockets, &m->sockets, r->site->plan, m->crew.n, error);
    if (e == RP_OK) e = rp_logs_open(&r->logs, r->site->plan, m->run->site, error);
    if (e == RP_OK) e = rp_zones_open(&r->zones, &m->zones, r->site->plan, error);
    return e;
}

void rp_reload_on_check(struct rp_master *m)
{
    struct rp_reload *r = &m->reload;
    struct rp_buf error;
    rp_buf_init(&error, TEXT_MOST);
    rp_err e = rp_check_read(&r->check, &r->site, &error);
    if (e == RP_OK) rp_found_tell(r->site);
    if (e == RP_OK) e = gather(m, &error);
    if (e == RP_OK) {
        r->step = RP_RELOAD_GATHERING;
        r->deadline_ms = m->turn_ms + GATHER_LIMIT_MS;
    } else if (e != RP_AGAIN) {
        fail(m, rp_buf_str(&error));
    }
    rp_buf_fini(&error);
}

/* ---- preparing ----------------------------------------------------------------------------- */

static void ask_worker(struct rp_master *m, uint32_t worker)
{
    struct rp_reload *r = &m->reload;
    struct rp_message_head head = {.kind = RP_SAY_PREPARE,
                                   .attempt = r->attempt,
                                   .generation = m->generation + 1,
                                   .a = r->sockets.n,
                                   .b = r->logs.n};
    m->crew.slots[worker].part = RP_PART_ASKED;
    rp_crew_say(m, worker, &head, &r->site->fd, 1);
    for (uint32_t i = 0; worker != RP_CREW_AGENT && i < r->sockets.n; i++) {
        if (rp_sockets_is_known(&r->sockets, i, &m->sockets)) continue;
        int fd = rp_sockets_fd(&r->sockets, i, m->crew.slots[worker].number);
        struct rp_message_head give = {
            .kind = RP_SAY_GIVE, .attempt = r->attempt, .a = i, .b = RP_GIVE_LISTENERS};
        rp_crew_say(m, worker, &give, &fd, 1);
    }
    rp_crew_give(m, worker, r->attempt, RP_GIVE_FILES, r->logs.fds, r->logs.n);
    rp_crew_give(m, worker, r->attempt, RP_GIVE_ZONES, r->zones.fds, r->zones.n);
    head = (struct rp_message_head){.kind = RP_SAY_BUILD, .attempt = r->attempt};
    rp_crew_say(m, worker, &head, NULL, 0);
}

static void commit(struct rp_master *m);

/* Commit as soon as nobody is awaited. With no worker alive the new generation just takes over. */
static void commit_if_all_ready(struct rp_master *m)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++)
        if (m->crew.slots[i].part == RP_PART_ASKED) return;
    commit(m);
}

static void prepare(struct rp_master *m)
{
    struct rp_reload *r = &m->reload;
    r->step = RP_RELOAD_PREPARING;
    r->deadline_ms = m->turn_ms + PREPARE_LIMIT_MS;
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++)
        if (m->crew.slots[i].wanted && m->crew.slots[i].state == RP_SLOT_SERVING) ask_worker(m, i);
    commit_if_all_ready(m);
}

/* ---- committing ---------------------------------------------------------------------------- */

static void tell_success(struct rp_master *m)
{
    char text[96];
    int n = snprintf(text, sizeof text, "reloaded: generation %u, %u worker%s", m->generation,
                     m->crew.n, m->crew.n == 1 ? "" : "s");
    rp_log(notice, "reloaded generation=%u workers=%u ms=%llu", m->generation, m->crew.n,
           (unsigned long long)(m->turn_ms - m->reload.started_ms));
    finish(m, 0, rp_str_of(text, (size_t)n));
}

/* Workers that the new generation added are waited for as well; one that dies is not. */
static void finish_if_all_serve(struct rp_master *m)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        const struct rp_slot *s = &m->crew.slots[i];
        if (s->part == RP_PART_COMMITTED || s->state == RP_SLOT_STARTING) return;
    }
    tell_success(m);
}

/* What only a start can do. */
static void warn_of_restart(const char *option, rp_str before, rp_str after, rp_str at)
{
    if (rp_str_eq(before, after)) return;
    rp_log(warn, "%s: the option %s changed: that takes a restart", rp_log_esc(at), option);
}

/* What served until now is what a breaker may go back to; not after going back, and changed certificates
 * make no difference. */
static void keep_before(struct rp_master *m)
{
    struct rp_reload *r = &m->reload;
    r->restored = r->restores ? m->generation : r->renews ? r->restored : 0;
    if (r->renews) {
        rp_checked_free(&m->site);
        return;
    }
    rp_checked_free(&r->before);
    r->before = r->restores ? NULL : m->site;
    r->before_ms = m->turn_ms;
    if (r->restores) rp_checked_free(&m->site);
}

static void tell_zones(const struct rp_master *m)
{
    struct rp_buf text;
    rp_buf_init(&text, TEXT_MOST);
    rp_zones_tell(&m->reload.zones, &m->zones, &text);
    rp_master_log_lines(RP_LOG_notice, "", rp_buf_str(&text));
    rp_buf_fini(&text);
}

/* The new generation becomes the current one, here and for every worker that starts from now on. */
static void take_over(struct rp_master *m)
{
    struct rp_reload *r = &m->reload;
    const struct rp_plan *old = m->site->plan, *fresh = r->site->plan;
    warn_of_restart("user", old->user, fresh->user, fresh->user_at);
    warn_of_restart("pid", old->pid_file, fresh->pid_file, fresh->pid_file_at);
    rp_sockets_close(&m->sockets);
    rp_logs_close(&m->logs);
    tell_zones(m);
    rp_zones_close(&m->zones);
    keep_before(m);
    m->sockets = r->sockets;
    m->zones = r->zones;
    r->zones = (struct rp_zones){0};
    m->logs = r->logs;
    m->site = r->site;
    r->sockets = (struct rp_sockets){0};
    r->logs = (struct rp_logs){0};
    r->site = NULL;
    m->generation++;
    rp_watch_follow(&m->watch);
    rp_found_keep(m);
    rp_master_use_logs(m);
}

static void change_crew(struct rp_master *m)
{
    if (m->site->plan->workers != m->crew.n) rp_crew_resize(m, m->site->plan->workers);
    rp_crew_want_agent(m, m->site->plan->agent);
}

static void commit(struct rp_master *m)
{
    struct rp_reload *r = &m->reload;
    struct rp_message_head head = {.kind = RP_SAY_COMMIT, .attempt = r->attempt};
    r->step = RP_RELOAD_COMMITTING;
    r->deadline_ms = m->turn_ms + COMMIT_LIMIT_MS;
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        struct rp_slot *s = &m->crew.slots[i];
        if (s->part != RP_PART_READY) continue;
        s->part = RP_PART_COMMITTED;
        rp_crew_say(m, i, &head, NULL, 0);
    }
    take_over(m);
    change_crew(m);
    rp_crew_forgive(m);
}

/* ---- events -------------------------------------------------------------------------------- */

static void on_failed(struct rp_master *m, uint32_t worker, const struct rp_message *answer)
{
    struct rp_buf text;
    (void)worker; /* a site that fails in one fails in all: the number tells nothing */
    rp_buf_init(&text, TEXT_MOST);
    rp_buf_add(&text, rp_channel_text(answer));
    fail(m, rp_buf_str(&text));
    rp_buf_fini(&text);
}

void rp_reload_on_answer(struct rp_master *m, uint32_t worker, const struct rp_message *answer)
{
    struct rp_reload *r = &m->reload;
    struct rp_slot *s = &m->crew.slots[worker];
    if (answer->head.attempt != r->attempt) return; /* of one that was given up */
    if (s->part == RP_PART_ASKED && r->step == RP_RELOAD_PREPARING) {
        if (answer->head.kind == RP_SAY_FAILED) {
            on_failed(m, worker, answer);
        } else if (answer->head.kind == RP_SAY_READY) {
            s->part = RP_PART_READY;
            commit_if_all_ready(m);
        }
    } else if (s->part == RP_PART_COMMITTED && answer->head.kind == RP_SAY_FLIPPED) {
        s->part = RP_PART_NONE;
        s->generation = m->generation;
    }
}

void rp_reload_on_death(struct rp_master *m, uint32_t worker)
{
    struct rp_slot *s = &m->crew.slots[worker];
    enum rp_slot_part part = s->part;
    s->part = RP_PART_NONE;
    /* After COMMIT its replacement simply starts with the new generation. */
    if (part == RP_PART_ASKED || part == RP_PART_READY) {
        char text[96];
        bool agent = worker == RP_CREW_AGENT;
        int n = agent ? snprintf(text, sizeof text, "the agent")
                      : snprintf(text, sizeof text, "worker %u", s->number);
        n += snprintf(text + n, sizeof text - (size_t)n,
                      " (pid %d) died while it prepared the reload", s->pid);
        fail(m, rp_str_of(text, (size_t)n));
    }
}

static void on_deadline(struct rp_master *m)
{
    for (uint32_t i = 0; m->reload.step == RP_RELOAD_COMMITTING && i < RP_PLAN_SLOTS; i++) {
        struct rp_slot *s = &m->crew.slots[i];
        if (s->part != RP_PART_COMMITTED) continue;
        rp_log(error, "a worker did not take the new generation, killing it %s pid=%d",
               rp_crew_name(m, i, (char[24]){0}), s->pid);
        (void)kill(s->pid, SIGKILL); /* not reaped yet: the pid is still its own */
    }
    if (m->reload.step == RP_RELOAD_COMMITTING) {
        m->reload.deadline_ms = m->turn_ms + COMMIT_LIMIT_MS;
    } else {
        fail(m, RP_STR("the workers were not ready for the new generation in time"));
    }
}

void rp_reload_tick(struct rp_master *m)
{
    struct rp_reload *r = &m->reload;
    if (r->step == RP_RELOAD_CHECKING && m->turn_ms >= r->check.deadline_ms) rp_reload_on_check(m);
    if (r->step == RP_RELOAD_GATHERING && rp_crew_count(m, RP_SLOT_STARTING) == 0) prepare(m);
    if (r->step == RP_RELOAD_COMMITTING) finish_if_all_serve(m);
    if (r->deadline_ms && m->turn_ms >= r->deadline_ms) on_deadline(m);
    if (r->before && r->step == RP_RELOAD_IDLE && m->turn_ms - r->before_ms > PROBATION_MS)
        rp_checked_free(&r->before);
    rp_found_tick(m);
}

rp_ms rp_reload_next(const struct rp_master *m)
{
    const struct rp_reload *r = &m->reload;
    if (r->step == RP_RELOAD_CHECKING) return r->check.deadline_ms;
    return r->deadline_ms ? r->deadline_ms : m->turn_ms + 1000;
}

void rp_reload_cancel(struct rp_master *m)
{
    m->reload.again = m->reload.renew_again = m->reload.reopen = false;
    if (m->reload.step != RP_RELOAD_IDLE) fail(m, RP_STR("the master is ending"));
}

void rp_reload_fini(struct rp_master *m)
{
    forget_attempt(m);
    rp_checked_free(&m->reload.before);
}

/* ---- log files ----------------------------------------------------------------------------- */

rp_err rp_reload_reopen(struct rp_master *m, struct rp_buf *out)
{
    struct rp_logs logs;
    if (is_under_way(m)) {
        m->reload.reopen = true;
        rp_buf_addf(out, "log files are reopened after the %s that is under way",
                    rp_upgrade_is_on(m) ? "upgrade" : "reload");
        return RP_AGAIN;
    }
    rp_err e = rp_logs_open(&logs, m->site->plan, m->run->site, out);
    if (e != RP_OK) {
        rp_log(error, "log files are not reopened: %s", rp_log_esc(rp_buf_str(out)));
        return e;
    }
    rp_logs_close(&m->logs);
    m->logs = logs;
    rp_master_use_logs(m);
    struct rp_message_head head = {.kind = RP_SAY_REOPEN, .a = logs.n};
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        enum rp_slot_state state = m->crew.slots[i].state;
        if (state == RP_SLOT_EMPTY || state == RP_SLOT_WAITING) continue;
        if (m->crew.slots[i].former) continue; /* whose files may be others */
        rp_crew_say(m, i, &head, NULL, 0);
        rp_crew_give(m, i, 0, RP_GIVE_FILES, logs.fds, logs.n);
    }
    rp_buf_addf(out, "reopened: %u log file%s", logs.n, logs.n == 1 ? "" : "s");
    rp_log(info, "log files reopened files=%u", logs.n);
    return RP_OK;
}
