/* SPDX-License-Identifier: MIT
 *
 * upgrade: see upgrade.h. The other side is successor.c.
 */
#include "process/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "process/boot.h"
#include "process/master_in.h"
#include "process/notify.h"

enum {
    HELLO_LIMIT_MS = 15000,    /* a program that is none of ours says nothing */
    REHEARSE_LIMIT_MS = 90000, /* the check (30 s), start of workers (45 s) */
    STAFF_LIMIT_MS = 60000,    /* the agent's start */
    END_LIMIT_MS = 3000,       /* to tidy up, before it is killed */
    SETTLE_LIMIT_MS = 10000,   /* an old worker that hangs is not waited for any longer */
    WORDS_MOST = 16 * 1024,
    SPARE_FDS = 64 + RP_PARTS_MOST + RP_PLAN_ZONES_MOST,
    TEXT_MOST = 64 * 1024,
};

extern char **environ;

bool rp_upgrade_find_self(const char *argv0, char out[RP_UPGRADE_PATH_BYTES])
{
    char cwd[PATH_MAX];
    if (argv0 && argv0[0] == '/')
        return snprintf(out, RP_UPGRADE_PATH_BYTES, "%s", argv0) < RP_UPGRADE_PATH_BYTES;
    if (argv0 && strchr(argv0, '/') && getcwd(cwd, sizeof cwd))
        return snprintf(out, RP_UPGRADE_PATH_BYTES, "%s/%s", cwd, argv0) < RP_UPGRADE_PATH_BYTES;
    ssize_t n = readlink("/proc/self/exe", out, RP_UPGRADE_PATH_BYTES - 1);
    out[n > 0 ? n : 0] = 0;
    return n > 0;
}

void rp_upgrade_init(struct rp_upgrade *u)
{
    *u = (struct rp_upgrade){.channel = -1, .words = -1, .program = -1};
}

void rp_upgrade_fini(struct rp_upgrade *u)
{
    for (uint32_t i = 0; i < u->given_n; i++) rp_os_close(&u->given[i]);
    rp_free(u->given);
    rp_os_close(&u->channel);
    rp_os_close(&u->words);
    rp_os_close(&u->program);
    if (u->settle_ms) rp_buf_fini(&u->outcome);
    rp_upgrade_init(u);
}

bool rp_upgrade_is_on(const struct rp_master *m)
{
    return m->upgrade.step > RP_UPGRADE_ASKED;
}

/* ---- failing ------------------------------------------------------------------------------- */

/* What it wrote before it had an error log, without the name that it put in front of lines. */
static void put_words(int fd, struct rp_buf *out)
{
    struct rp_buf all;
    rp_str name = RP_STR("rproxy: ");
    rp_buf_init(&all, WORDS_MOST);
    if (lseek(fd, 0, SEEK_SET) == 0)
        rp_ignore(rp_os_read_all(fd, WORDS_MOST, &all)); /* a part will do */
    rp_str text = rp_buf_str(&all);
    for (size_t at = 0; at < text.len;) {
        size_t end = rp_str_find(text, '\n', at);
        rp_str line = rp_str_of(text.ptr + at, end - at);
        if (rp_str_starts(line, name)) line = rp_str_from(line, name.len);
        rp_buf_addf(out, "%.*s\n", RP_STR_ARG(line));
        at = end + 1;
    }
    rp_buf_fini(&all);
}

/* Its workers serve nobody and end by themselves: their master is gone. Until then their slots are
 * taken. */
static void adopt_strays(struct rp_master *m)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        struct rp_slot *s = &m->crew.slots[i];
        struct rp_crumb_report r;
        siginfo_t info = {0};
        if (s->state != RP_SLOT_EMPTY) continue;
        rp_crumb_report(m->crumbs, i, &r);
        if (r.pid == 0 || waitid(P_PID, r.pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0) continue;
        *s = (struct rp_slot){.state = RP_SLOT_LEAVING,
                              .number = i,
                              .former = true,
                              .pid = (int)r.pid,
                              .channel = -1,
                              .started_ms = m->turn_ms,
                              .kill_ms = m->turn_ms + END_LIMIT_MS};
    }
}

/* Our own agent goes on, behind a stray one. */
static void wake_agent(struct rp_master *m)
{
    if (!m->upgrade.rested || m->state != RP_MASTER_SERVING) return;
    if (m->crew.slots[RP_CREW_AGENT].state == RP_SLOT_EMPTY) {
        rp_crew_want_agent(m, true);
        return;
    }
    m->crew.agent = m->crew.slots[RP_CREW_AGENT].wanted = true;
}

/* It has failed, and is gone. */
static void finish(struct rp_master *m)
{
    struct rp_upgrade *u = &m->upgrade;
    struct rp_buf text;
    rp_buf_init(&text, TEXT_MOST);
    if (u->words >= 0) put_words(u->words, &text);
    rp_buf_addf(&text, "%s\n", u->why);
    rp_master_log_lines(RP_LOG_error, "not upgraded: ", rp_buf_str(&text));
    rp_buf_addf(&text, "not upgraded: version %s serves on", RP_VERSION);
    adopt_strays(m);
    (void)rp_os_adopt_orphans(false); /* tidiness */
    wake_agent(m);
    rp_upgrade_fini(u);
    rp_crew_sweep(m);
    if (m->state == RP_MASTER_SERVING) rp_notify("READY=1");
    rp_control_upgraded(m->control, 1, rp_buf_str(&text));
    rp_buf_fini(&text);
    rp_reload_resume(m);
}

static void fail(struct rp_master *m, const char *why)
{
    struct rp_upgrade *u = &m->upgrade;
    if (u->why[0] == 0) snprintf(u->why, sizeof u->why, "%s", why);
    rp_os_close(&u->channel); /* it hears of that, and tidies up */
    u->step = RP_UPGRADE_ENDING;
    u->deadline_ms = m->turn_ms + END_LIMIT_MS;
    if (u->pid == 0) finish(m);
}

static void fail_os(struct rp_master *m, const char *what)
{
    char why[512];
    snprintf(why, sizeof why, "%s: %s", what, strerror(errno));
    fail(m, why);
}

static void tell_success(struct rp_master *m)
{
    struct rp_upgrade *u = &m->upgrade;
    rp_log(notice, "upgraded from=%s to=%s pid=%d generation=%u workers=%u ms=%llu", u->from,
           RP_VERSION, (int)getpid(), m->generation, m->crew.n,
           (unsigned long long)(m->turn_ms - u->started_ms));
    bool reloads = m->reload.step != RP_RELOAD_IDLE; /* says so itself */
    if (m->state == RP_MASTER_SERVING && !reloads) rp_notify("READY=1");
    rp_control_upgraded(m->control, 0, rp_buf_str(&u->outcome));
    rp_buf_fini(&u->outcome);
    u->settle_ms = 0;
}

void rp_upgrade_cancel(struct rp_master *m, const char *why)
{
    if (m->upgrade.settle_ms) tell_success(m); /* it is done */
    if (m->upgrade.step == RP_UPGRADE_IDLE) return;
    if (m->upgrade.step == RP_UPGRADE_ENDING) m->upgrade.deadline_ms = m->turn_ms;
    else fail(m, why);
}

/* ---- what there is ------------------------------------------------------------------------- */

/* Nobody but their master may hold the channels of workers: its death must be heard of. */
static void put_slots(const struct rp_master *m, bool channels, struct rp_handover_out *o)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++)
        if (m->crew.slots[i].state != RP_SLOT_EMPTY) rp_crew_put(m, i, channels, o);
}

static void put_common(const struct rp_master *m, enum rp_handover_kind kind,
                       struct rp_handover_out *o)
{
    const struct rp_run *run = m->run;
    RP_HANDOVER_PUT(o, "rproxy", rp_str_z(RP_VERSION), kind, RP_HANDOVER_FORMAT,
                    (uint64_t)getpid());
    RP_HANDOVER_PUT(o, "site", rp_str_z(run->site), 0);
    RP_HANDOVER_PUT(o, "overrides", run->overrides, 0);
    if (run->pid_path) RP_HANDOVER_PUT(o, "pid-path", rp_str_z(run->pid_path), 0);
    RP_HANDOVER_PUT(o, "user", run->user, 0);
    RP_HANDOVER_PUT(o, "binary", rp_str_z(m->upgrade.binary), 0);
    RP_HANDOVER_PUT(o, "program", RP_STR_NONE, rp_handover_fd(o, m->upgrade.program));
    RP_HANDOVER_PUT(o, "serving", RP_STR_NONE, m->generation, m->crew.n, m->rotated_ms,
                    m->started_ms, m->upgrade.started_ms);
    rp_sockets_put(&m->sockets, o);
    put_slots(m, kind == RP_HANDOVER_TAKE_OVER, o);
}

/* A sealed file of the text; what it names stays open over an execution. */
static int file_of(const struct rp_handover_out *o)
{
    int fd = -1;
    if (o->text.failed) return -1;
    if (rp_os_memfd_seal("rproxy-handover", rp_buf_str(&o->text), &fd) != RP_OK) return -1;
    return fd;
}

static void keep(const struct rp_handover_out *o, int file, bool open)
{
    for (uint32_t i = 0; i < o->fds_n; i++) (void)rp_os_set_cloexec(o->fds[i], !open); /* is open */
    (void)rp_os_set_cloexec(file, !open);
}

/* ---- rehearsing ---------------------------------------------------------------------------- */

static bool open_program(struct rp_upgrade *u)
{
    struct stat st;
    do u->program = RP_SYS(open, open(u->binary, O_PATH | O_CLOEXEC));
    while (u->program < 0 && errno == EINTR);
    if (u->program < 0 || fstat(u->program, &st) != 0) return false;
    errno = S_ISREG(st.st_mode) ? 0 : EISDIR;
    return errno == 0;
}

static int put_rehearsal(struct rp_master *m, struct rp_handover_out *o, int channel, int terminal)
{
    rp_handover_begin(o, false);
    put_common(m, RP_HANDOVER_REHEARSE, o);
    RP_HANDOVER_PUT(o, "channel", RP_STR_NONE, rp_handover_fd(o, channel));
    RP_HANDOVER_PUT(o, "stderr", RP_STR_NONE, rp_handover_fd(o, terminal));
    for (uint32_t i = 0; i < rp_parts_count(); i++)
        RP_HANDOVER_PUT(o, "part", rp_str_z(rp_parts_name(i)),
                        rp_handover_fd(o, m->parts.zones[i]->fd));
    rp_zones_put(&m->zones, o);
    return file_of(o);
}

static void execute(struct rp_master *m, const struct rp_handover_out *o, int file)
{
    char number[20];
    snprintf(number, sizeof number, "%d", file);
    if (setenv(RP_UPGRADE_VARIABLE, number, 1) != 0) return;
    keep(o, file, true);
    /* It returns when it fails. */
    (void)RP_SYS(exec, execveat(m->upgrade.program, "", m->run->argv, environ, AT_EMPTY_PATH));
    int os = errno;
    keep(o, file, false);
    (void)unsetenv(RP_UPGRADE_VARIABLE); /* the name is a good one */
    errno = os;
}

RP_NORETURN static void be_successor(struct rp_master *m, const struct rp_handover_out *o, int file)
{
    rp_os_reset_signals();
    (void)unsetenv("NOTIFY_SOCKET"); /* the service manager hears the master only */
    if (dup2(m->upgrade.words, STDERR_FILENO) >= 0) execute(m, o, file);
    struct rp_run run = {.complaints = STDERR_FILENO};
    struct rp_buf text;
    rp_buf_init(&text, TEXT_MOST);
    rp_buf_addf(&text, "cannot execute %s: %s", m->upgrade.binary, strerror(errno));
    rp_boot_complain(&run, rp_buf_str(&text));
    _exit(1);
}

static void rehearse(struct rp_master *m)
{
    struct rp_upgrade *u = &m->upgrade;
    struct rp_handover_out o = {0};
    int pair[2] = {-1, -1}, terminal = rp_os_dup(STDERR_FILENO), file = -1;
    u->words = RP_SYS(memfd, memfd_create("rproxy-words", MFD_CLOEXEC));
    bool fine = terminal >= 0 && u->words >= 0 && rp_channel_pair(true, pair) == RP_OK;
    if (fine) file = put_rehearsal(m, &o, pair[1], terminal);
    fine = fine && file >= 0 && rp_os_adopt_orphans(true);
    u->pid = fine ? RP_SYS(fork, fork()) : -1;
    if (u->pid == 0) be_successor(m, &o, file);
    int os = errno;
    rp_handover_end(&o);
    rp_os_close(&file);
    rp_os_close(&terminal);
    rp_os_close(&pair[1]);
    u->channel = pair[0];
    errno = os;
    if (u->pid >= 0) return;
    u->pid = 0;
    fail_os(m, "cannot start the new program");
}

static void begin(struct rp_master *m)
{
    struct rp_upgrade *u = &m->upgrade;
    u->step = RP_UPGRADE_REHEARSING;
    u->started_ms = m->turn_ms;
    u->deadline_ms = m->turn_ms + HELLO_LIMIT_MS;
    rp_log(notice, "upgrading binary=%s", rp_log_esc(rp_str_z(u->binary)));
    rp_notify_reloading();
    if (open_program(u)) rehearse(m);
    else fail_os(m, u->binary);
}

bool rp_upgrade_ask(struct rp_master *m, rp_str binary)
{
    struct rp_upgrade *u = &m->upgrade;
    if (u->step != RP_UPGRADE_IDLE || u->settle_ms) return false;
    rp_str path = binary.len ? binary : rp_str_z(m->run->binary);
    snprintf(u->binary, sizeof u->binary, "%.*s", RP_STR_ARG(path));
    if (m->state == RP_MASTER_STARTING || m->state == RP_MASTER_SERVING) u->step = RP_UPGRADE_ASKED;
    else fail(m, "the master is ending");
    return true;
}

/* ---- executing ----------------------------------------------------------------------------- */

static int put_all(struct rp_master *m, struct rp_handover_out *o, int state)
{
    const struct rp_upgrade *u = &m->upgrade;
    const struct rp_reload *r = &m->reload;
    rp_handover_begin(o, false);
    put_common(m, RP_HANDOVER_TAKE_OVER, o);
    RP_HANDOVER_PUT(o, "successor", RP_STR_NONE, (uint64_t)u->pid, rp_handover_fd(o, u->channel));
    RP_HANDOVER_PUT(o, "asked", RP_STR_NONE, r->again, r->renew_again, r->reopen);
    RP_HANDOVER_PUT(o, "pid-file", RP_STR_NONE, rp_handover_fd(o, m->pidfile.fd));
    if (m->extra.fd >= 0)
        RP_HANDOVER_PUT(o, "pid-file-2", rp_str_z(m->extra.path), rp_handover_fd(o, m->extra.fd));
    rp_control_put(m->control, o);
    RP_HANDOVER_PUT(o, "state", RP_STR_NONE, rp_handover_fd(o, state));
    for (uint32_t i = 0; i < u->given_n; i++)
        RP_HANDOVER_PUT(o, "given", RP_STR_NONE, rp_handover_fd(o, u->given[i]));
    return file_of(o);
}

/* The new program opens some descriptors before it can close those of ours that it does not want:
 * that it finds none left would come too late. */
static bool has_room(const struct rp_master *m)
{
    int fds[SPARE_FDS], n = 0;
    while (n < SPARE_FDS && (fds[n] = fcntl(m->signals, F_DUPFD_CLOEXEC, 3)) >= 0) n++;
    for (int i = 0; i < n; i++) rp_os_close(&fds[i]);
    return n == SPARE_FDS;
}

/* Does not come back when it succeeds: the rest of this is in the new program. */
static void be_replaced(struct rp_master *m, int state)
{
    struct rp_handover_out o;
    if (!has_room(m)) {
        fail(m, "too few descriptors are left (ulimit -n)");
        return;
    }
    rp_log(notice, "the new version is ready, going on with it pid=%d", (int)getpid());
    int file = put_all(m, &o, state);
    if (file >= 0) execute(m, &o, file);
    fail_os(m, "cannot execute the new program");
    rp_os_close(&file);
    rp_handover_end(&o);
}

/* ---- settling ------------------------------------------------------------------------------ */

void rp_upgrade_settle(struct rp_master *m, const char *from, rp_ms began_ms, rp_str outcome)
{
    struct rp_upgrade *u = &m->upgrade;
    snprintf(u->from, sizeof u->from, "%s", from);
    rp_buf_init(&u->outcome, TEXT_MOST);
    rp_buf_add(&u->outcome, outcome);
    u->started_ms = began_ms;
    u->settle_ms = m->turn_ms + SETTLE_LIMIT_MS;
}

static bool may_accept(const struct rp_slot *s)
{
    return s->former && s->pid && s->channel >= 0 && !s->deaf;
}

static void settle(struct rp_master *m)
{
    bool late = m->turn_ms >= m->upgrade.settle_ms;
    uint32_t open_n = 0;
    for (uint32_t i = 0; i < RP_CREW_AGENT; i++) open_n += may_accept(&m->crew.slots[i]);
    if (open_n && !late) return;
    if (open_n)
        rp_log(warn,
               "old workers may still take connections: they did not say that they stopped "
               "workers=%u waited_ms=%d",
               open_n, SETTLE_LIMIT_MS);
    tell_success(m);
}

/* ---- events -------------------------------------------------------------------------------- */

static void hear_hello(struct rp_master *m, const struct rp_message *said)
{
    if (said->head.a != RP_HANDOVER_FORMAT) {
        fail(m, "the new version wants another form of what there is: it takes a restart");
        return;
    }
    rp_log(info, "the new version starts version=%s pid=%d", rp_log_esc(rp_channel_text(said)),
           m->upgrade.pid);
    m->upgrade.deadline_ms = m->turn_ms + REHEARSE_LIMIT_MS;
}

static void hear_staffed(struct rp_master *m)
{
    struct rp_upgrade *u = &m->upgrade;
    if (u->step != RP_UPGRADE_REHEARSING) return;
    u->step = RP_UPGRADE_RESTING;
    u->deadline_ms = m->turn_ms + STAFF_LIMIT_MS;
    u->rested = m->crew.agent;
    rp_crew_want_agent(m, false);
}

static bool take_given(struct rp_upgrade *u, struct rp_message *said)
{
    if (u->given_n + said->fds_n > RP_HANDOVER_FDS_MOST) return false;
    if (u->given_n + said->fds_n > u->given_room) {
        u->given_room = (u->given_n + RP_CHANNEL_FDS) * 2;
        u->given = rp_realloc(u->given, sizeof *u->given * u->given_room);
    }
    for (size_t i = 0; i < said->fds_n; i++) u->given[u->given_n++] = rp_channel_take(said, i);
    return true;
}

static void hear_state(struct rp_master *m, struct rp_message *said)
{
    struct rp_upgrade *u = &m->upgrade;
    int state = rp_channel_take(said, 0);
    if (u->step != RP_UPGRADE_STAFFING || state < 0 || said->head.a != u->given_n)
        fail(m, "the new version's state is not whole");
    else be_replaced(m, state);
    rp_os_close(&state);
}

static void obey(struct rp_master *m, struct rp_message *said)
{
    if (said->head.kind == RP_SAY_HELLO) hear_hello(m, said);
    else if (said->head.kind == RP_SAY_STAFFED) hear_staffed(m);
    else if (said->head.kind == RP_SAY_STATE) hear_state(m, said);
    else if (said->head.kind == RP_SAY_CARRY && !take_given(&m->upgrade, said))
        fail(m, "the new version's state is too large");
}

void rp_upgrade_read(struct rp_master *m)
{
    struct rp_upgrade *u = &m->upgrade;
    struct rp_message *said = rp_alloc(sizeof *said);
    rp_err e = RP_OK;
    while (e == RP_OK && u->channel >= 0) {
        e = rp_channel_recv(u->channel, said);
        if (e == RP_OK) obey(m, said);
        if (e == RP_OK) rp_channel_done(said);
    }
    if (e != RP_OK && e != RP_AGAIN && e != RP_END) fail(m, "the new version's state is malformed");
    if (e == RP_END) rp_os_close(&u->channel); /* its end says how it ended */
    rp_free(said);
}

bool rp_upgrade_reap(struct rp_master *m, int pid, int status)
{
    struct rp_upgrade *u = &m->upgrade;
    char how[64], why[128];
    if (u->heir && pid == u->heir) {
        u->heir = 0;
        if (!rp_upgrade_is_on(m)) (void)rp_os_adopt_orphans(false); /* tidiness */
        return true;
    }
    if (u->pid == 0 || pid != u->pid) return false;
    u->pid = 0;
    rp_os_describe_end(status, how);
    snprintf(why, sizeof why, "the new program ended before it could serve: %s", how);
    fail(m, why);
    return true;
}

static void on_deadline(struct rp_master *m)
{
    struct rp_upgrade *u = &m->upgrade;
    if (u->step == RP_UPGRADE_ENDING) {
        (void)kill(u->pid, SIGKILL); /* not reaped yet: the pid is still its own */
        u->deadline_ms = m->turn_ms + END_LIMIT_MS;
    } else {
        fail(m, "the new program was not ready in time");
    }
}

void rp_upgrade_tick(struct rp_master *m)
{
    struct rp_upgrade *u = &m->upgrade;
    struct rp_message_head relieve = {.kind = RP_SAY_RELIEVE};
    bool idle = m->state == RP_MASTER_SERVING && m->reload.step == RP_RELOAD_IDLE;
    if (u->settle_ms) settle(m);
    if (u->step == RP_UPGRADE_ASKED && idle && rp_crew_count(m, RP_SLOT_STARTING) == 0) begin(m);
    if (u->step == RP_UPGRADE_RESTING && m->crew.slots[RP_CREW_AGENT].state == RP_SLOT_EMPTY) {
        u->step = RP_UPGRADE_STAFFING;
        rp_ignore(rp_channel_send(u->channel, &relieve, RP_STR_NONE, NULL, 0)); /* its end tells */
    }
    if (u->step > RP_UPGRADE_ASKED && m->turn_ms >= u->deadline_ms) on_deadline(m);
}

rp_ms rp_upgrade_next(const struct rp_master *m)
{
    if (m->upgrade.settle_ms) return m->upgrade.settle_ms;
    return rp_upgrade_is_on(m) ? m->upgrade.deadline_ms : UINT64_MAX;
}
