/* SPDX-License-Identifier: MIT
 *
 * boot: see boot.h. Everything that can go wrong is tried before the first worker is forked.
 */
#include "process/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "process/master_in.h"

enum {
    FILES_LOW = 4096, /* two descriptors per proxied connection: below this it is worth a word */
    TEXT_MOST = 64 * 1024,
};

void rp_boot_complain(const struct rp_run *run, rp_str text)
{
    for (size_t at = 0; at < text.len;) {
        struct rp_buf line;
        size_t end = rp_str_find(text, '\n', at);
        rp_buf_init(&line, TEXT_MOST);
        rp_buf_addf(&line, "rproxy: %.*s\n", (int)(end - at), text.ptr + at);
        rp_ignore(
            rp_os_write_all(run->complaints, rp_buf_str(&line))); /* nowhere else to complain */
        rp_buf_fini(&line);
        at = end + 1;
    }
}

/* ---- steps --------------------------------------------------------------------------------- */

static rp_err choose_account(struct rp_master *m, rp_str name, struct rp_buf *error)
{
    m->has_account = geteuid() == 0;
    if (!m->has_account || rp_os_account_choose(name, &m->account) == RP_OK) return RP_OK;
    if (name.len) rp_buf_addf(error, "user %.*s: no such account", RP_STR_ARG(name));
    else rp_buf_add(error, RP_STR("there is no account rproxy nor nobody: set the option user"));
    return RP_E_NOT_FOUND;
}

/* The lock comes first: a second master must not evaluate, bind or write anything. */
static rp_err take_pidfile(struct rp_master *m, struct rp_buf *error)
{
    rp_err e = rp_pidfile_locate(&m->pidfile, m->run->site, m->run->pid_path, true, error);
    if (e != RP_OK || m->succession) return e; /* the lock stays the process's */
    return rp_pidfile_take(&m->pidfile, error);
}

static rp_err check_site(struct rp_master *m, struct rp_buf *error)
{
    struct rp_check_order order = rp_master_order(m);
    rp_err e = rp_check_run(&order, &m->site, error);
    if (e != RP_OK) return e;
    rp_found_tell(m->site);
    if (m->site->plan->user.len && !m->has_account)
        rp_log(warn, "the option user has no effect: only root can change to another account");
    /* Until here it was -g user or the default; now the site has been heard. */
    return choose_account(m, m->site->plan->user, error);
}

/* The option `pid` names one more file, for other programs to read. */
static rp_err write_extra_pid(struct rp_master *m, struct rp_buf *error)
{
    rp_str path = m->site->plan->pid_file;
    char z[RP_PIDFILE_PATH_BYTES];
    if (path.len == 0 || path.len >= sizeof z || m->succession) return RP_OK;
    memcpy(z, path.ptr, path.len);
    z[path.len] = 0;
    if (strcmp(z, m->pidfile.path) == 0) return RP_OK;
    rp_err e = rp_pidfile_locate(&m->extra, m->run->site, z, true, error);
    return e == RP_OK ? rp_pidfile_take(&m->extra, error) : e;
}

static rp_err open_sockets(struct rp_master *m, struct rp_buf *error)
{
    const struct rp_plan *p = m->site->plan;
    if (p->listeners_n == 0) rp_log(warn, "the site has no listener: nobody can connect");
    struct rp_succession *s = m->succession;
    if (!s) return rp_sockets_open(&m->sockets, NULL, p, p->workers, error);
    rp_sockets_succeed(&s->sockets);
    return rp_sockets_open(&m->sockets, &s->sockets, p, RP_MIN(p->workers, s->workers), error);
}

/* In the background nobody reads stderr. */
static bool is_log_lost(const struct rp_master *m)
{
    const struct rp_plan *p = m->site->plan;
    if (m->run->ready < 0) return false;
    if (p->error_log_file >= p->files_n) return true;
    rp_str name = p->files[p->error_log_file];
    return rp_str_eq(name, RP_STR("stderr")) || rp_str_eq(name, RP_STR("stdout"));
}

static rp_err open_logs(struct rp_master *m, struct rp_buf *error)
{
    if (is_log_lost(m))
        rp_boot_complain(m->run, RP_STR("the error log is lost in the background: set "
                                        "log.error.to to a file"));
    rp_err e = rp_logs_open(&m->logs, m->site->plan, m->run->site, error);
    if (e == RP_OK) rp_master_use_logs(m);
    return e;
}

static rp_err make_parts(struct rp_master *m, struct rp_buf *error)
{
    struct rp_succession *s = m->succession;
    return rp_parts_open(m, s ? &s->parts : NULL, s ? &s->lost : NULL, error);
}

static rp_err make_shared(struct rp_master *m, struct rp_buf *error)
{
    struct rp_succession *s = m->succession;
    rp_err e = rp_zones_open(&m->zones, s ? &s->zones : NULL, m->site->plan, error);
    if (e == RP_OK && s) rp_zones_tell(&m->zones, &s->zones, &s->lost);
    return e;
}

static rp_err open_control(struct rp_master *m, struct rp_buf *error)
{
    if (m->succession) return RP_OK;
    return rp_control_open(m->pidfile.sock, &m->control, error);
}

static rp_err raise_limits(struct rp_master *m, struct rp_buf *error)
{
    uint64_t files = rp_os_raise_files();
    (void)m, (void)error; /* a low limit is worth a word, not a failure */
    if (files < FILES_LOW)
        rp_log(warn, "the limit of open files is low limit=%llu", (unsigned long long)files);
    return RP_OK;
}

static rp_err first_account(struct rp_master *m, struct rp_buf *error)
{
    return choose_account(m, m->run->user, error);
}

/* All was tried in the rehearsal. */
static rp_err take_over(struct rp_master *m, struct rp_buf *error)
{
    rp_err e = raise_limits(m, error);
    if (e == RP_OK) e = take_pidfile(m, error);
    if (e == RP_OK) e = rp_successor_take_over(m, error);
    if (e != RP_OK) return e;
    rp_master_use_logs(m);
    rp_found_keep(m);
    rp_str user = m->site->plan->user;
    return choose_account(m, user.len ? user : m->run->user, error);
}

rp_err rp_boot(struct rp_master *m)
{
    static rp_err (*const steps[])(struct rp_master * m, struct rp_buf * error) = {
        raise_limits,    first_account, take_pidfile, make_parts,  check_site,
        write_extra_pid, open_logs,     open_sockets, make_shared, open_control,
    };
    struct rp_buf error;
    rp_err e = RP_OK;
    bool takes_over = m->succession && m->succession->kind == RP_HANDOVER_TAKE_OVER;
    m->pidfile.fd = m->extra.fd = m->signals = m->reload.check.channel = -1;
    m->watch.channel = -1;
    rp_upgrade_init(&m->upgrade);
    rp_found_init(&m->found);
    m->generation = m->succession ? m->succession->generation + 1 : 1;
    m->crew.slots = rp_alloc(sizeof *m->crew.slots * RP_PLAN_SLOTS);
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) m->crew.slots[i].channel = -1;
    rp_errlog_open(&m->errlog);
    rp_buf_init(&error, TEXT_MOST);
    if (takes_over) e = take_over(m, &error);
    for (size_t i = 0; i < RP_COUNT(steps) && e == RP_OK && !takes_over; i++)
        e = steps[i](m, &error);
    if (e != RP_OK) rp_boot_complain(m->run, rp_buf_str(&error));
    rp_buf_fini(&error);
    return e;
}

void rp_boot_undo(struct rp_master *m)
{
    rp_control_close(&m->control);
    rp_reload_fini(m);
    rp_upgrade_fini(&m->upgrade);
    rp_found_fini(&m->found);
    rp_watch_stop(&m->watch);
    rp_crew_fini(m);
    rp_parts_close(m);
    rp_zones_close(&m->zones);
    rp_sockets_close(&m->sockets);
    rp_logs_close(&m->logs);
    rp_checked_free(&m->site);
    rp_os_close(&m->signals);
    rp_errlog_close(&m->errlog);
    rp_pidfile_release(&m->extra);
    rp_pidfile_release(&m->pidfile);
}

/* ---- background ---------------------------------------------------------------------------- */

static bool to_null(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) return false;
    for (int fd = 0; fd < 3; fd++) (void)dup2(null, fd); /* the numbers are open: cannot fail */
    rp_os_close(&null);
    return true;
}

/* The last of three processes: no session leader, so that no terminal becomes ours. */
RP_NORETURN static void be_daemon(struct rp_run *run, int ready)
{
    int keep[] = {ready}; /* whatever else was open belongs to who started us */
    rp_os_close_others(keep, 1);
    int second = setsid() < 0 ? -1 : fork();
    if (second != 0) _exit(second < 0);
    run->complaints = rp_os_dup(STDERR_FILENO);
    run->ready = ready;
    if (run->complaints < 0 || !to_null() || chdir("/") != 0) {
        rp_boot_complain(run, RP_STR("cannot go into the background"));
        _exit(1);
    }
    exit(rp_master_run(run));
}

int rp_boot_daemon(struct rp_run *run)
{
    int pair[2];
    char yes = 0;
    if (pipe2(pair, O_CLOEXEC) != 0) return 1;
    int pid = fork();
    if (pid == 0) {
        rp_os_close(&pair[0]);
        be_daemon(run, pair[1]);
    }
    rp_os_close(&pair[1]);
    ssize_t n;
    do n = read(pair[0], &yes, 1);
    while (n < 0 && errno == EINTR);
    rp_os_close(&pair[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    if (pid < 0) rp_boot_complain(run, RP_STR("cannot fork"));
    return n == 1 && yes ? 0 : 1; /* the reason was printed by the one who met it */
}
