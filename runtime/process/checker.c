/* SPDX-License-Identifier: MIT
 *
 * checker: the master's side of a check, and the reader process. The evaluator is evaluator.c.
 */
#include "process/checker.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/hash.h"
#include "base/mem.h"
#include "process/channel.h"
#include "process/evaluator.h"

enum {
    BACKSTOP_MS = 5000, /* the reader keeps the limit itself; this is for when it hangs */
    PATH_MOST = 1024,
    TRIES_MOST = 3, /* with routes that were found, with those before, with none */
};

/* ---- source files -------------------------------------------------------------------------- */

/* What may be opened, by the end of its name. The contents of a page go to everybody, so it must be
 * a file that everybody may read already: the reader's rights open nothing there. Certificates and keys
 * are what the reader keeps its rights for. */
enum use { SOURCE, PAGE, CERT };
struct kind {
    const char *end;
    off_t most_bytes;
    enum use use;
};
static const struct kind KINDS[] = {
    {".lua", RP_CHECK_SOURCE_MOST, SOURCE}, {".html", RP_CHECK_PAGE_MOST, PAGE},
    {".htm", RP_CHECK_PAGE_MOST, PAGE},     {".json", RP_CHECK_PAGE_MOST, PAGE},
    {".txt", RP_CHECK_PAGE_MOST, PAGE},     {".xml", RP_CHECK_PAGE_MOST, PAGE},
    {".pem", RP_CHECK_CERT_MOST, CERT},     {".crt", RP_CHECK_CERT_MOST, CERT},
    {".cer", RP_CHECK_CERT_MOST, CERT},     {".key", RP_CHECK_CERT_MOST, CERT},
    {".crl", RP_CHECK_CERT_MOST, CERT},     {".ocsp", RP_CHECK_CERT_MOST, CERT},
};

static const struct kind *kind_of(rp_str path)
{
    for (size_t i = 0; i < RP_COUNT(KINDS); i++)
        if (rp_str_ends(path, rp_str_z(KINDS[i].end))) return &KINDS[i];
    return NULL;
}

static bool is_source_path(rp_str path)
{
    if (path.len < 2 || path.len >= PATH_MOST || path.ptr[0] != '/') return false;
    if (memchr(path.ptr, 0, path.len) || !kind_of(path)) return false;
    for (size_t at = 1; at <= path.len;) {
        size_t end = rp_str_find(path, '/', at);
        rp_str part = rp_str_of(path.ptr + at, end - at);
        if (part.len == 0 || rp_str_eq(part, RP_STR(".")) || rp_str_eq(part, RP_STR("..")))
            return false;
        at = end + 1;
    }
    return true;
}

/* A link called x.lua must not lead to what is not a source, nor x.html to one or to a key. */
static bool leads_to(const struct kind *kind, int fd)
{
    char link[40], target[PATH_MOST];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, target, sizeof target);
    const struct kind *real = n > 0 ? kind_of(rp_str_of(target, (size_t)n)) : NULL;
    return real && real->use == kind->use;
}

static rp_err check_source(const struct kind *kind, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return RP_E_OS;
    if (!S_ISREG(st.st_mode) || !leads_to(kind, fd)) return RP_E_INVALID;
    if (kind->use == PAGE && !(st.st_mode & S_IROTH)) return RP_E_INVALID;
    return st.st_size > kind->most_bytes ? RP_E_TOO_BIG : RP_OK;
}

rp_err rp_check_open_source(rp_str path, int *fd)
{
    char name[PATH_MOST];
    *fd = -1;
    if (!is_source_path(path)) return RP_E_INVALID;
    memcpy(name, path.ptr, path.len);
    name[path.len] = 0;
    /* NONBLOCK: opening a named pipe must not wait. */
    *fd = open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*fd < 0) return errno == ENOENT || errno == ENOTDIR ? RP_E_NOT_FOUND : RP_E_OS;
    rp_err e = check_source(kind_of(path), *fd);
    if (e != RP_OK) rp_os_close(fd);
    return e;
}

/* ---- lists of certificates ----------------------------------------------------------------- */

bool rp_check_is_list(rp_str path)
{
    return memchr(path.ptr, '*', path.len) != NULL;
}

/* What fits, in order, one a line. */
static rp_err put_names(const char *pattern, struct rp_buf *out)
{
    glob_t found;
    int failed = glob(pattern, 0, NULL, &found);
    if (failed) return failed == GLOB_NOMATCH ? RP_E_NOT_FOUND : RP_E_OS;
    for (size_t i = 0; i < found.gl_pathc && i < RP_CHECK_LIST_MOST; i++)
        if (!strchr(found.gl_pathv[i], '\n')) rp_buf_addf(out, "%s\n", found.gl_pathv[i]);
    globfree(&found);
    return out->failed ? RP_E_TOO_BIG : RP_OK;
}

rp_err rp_check_open_list(rp_str path, int *fd)
{
    char name[PATH_MOST];
    struct rp_buf list;
    *fd = -1;
    const struct kind *kind = is_source_path(path) ? kind_of(path) : NULL;
    if (!kind || kind->use != CERT) return RP_E_INVALID;
    memcpy(name, path.ptr, path.len);
    name[path.len] = 0;
    rp_buf_init(&list, RP_CHECK_SOURCE_MOST);
    rp_err e = put_names(name, &list);
    if (e == RP_OK) e = rp_os_memfd_seal("rproxy-list", rp_buf_str(&list), fd);
    if (e == RP_OK && lseek(*fd, 0, SEEK_SET) != 0) e = RP_E_OS;
    if (e != RP_OK) rp_os_close(fd);
    rp_buf_fini(&list);
    return e;
}

/* Pages lie in the site's own folder or below it: what else the reader could open with its rights is
 * not for the world. Links are resolved on both sides. */
static bool lies_with_site(const char *site, int fd)
{
    char link[40], target[PATH_MOST], folder[PATH_MAX], name[PATH_MOST];
    const char *slash = strrchr(site, '/');
    size_t n = slash ? (size_t)(slash - site) : 0;
    if (n == 0 || n >= sizeof name) return false;
    memcpy(name, site, n);
    name[n] = 0;
    if (!realpath(name, folder)) return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, target, sizeof target);
    size_t folder_n = strlen(folder);
    return got > (ssize_t)folder_n && memcmp(target, folder, folder_n) == 0 &&
           target[folder_n] == '/';
}

/* ---- stamps -------------------------------------------------------------------------------- */

bool rp_check_is_cert(rp_str path)
{
    return is_source_path(path) && kind_of(path)->use == CERT;
}

static uint64_t stamp_of(const struct stat *st)
{
    uint64_t all[] = {(uint64_t)st->st_dev,          (uint64_t)st->st_ino,
                      (uint64_t)st->st_size,         (uint64_t)st->st_mtim.tv_sec,
                      (uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ctim.tv_sec,
                      (uint64_t)st->st_ctim.tv_nsec};
    return rp_hash_bytes(rp_str_of((const char *)all, sizeof all)) | 1; /* 0: there is none */
}

uint64_t rp_check_stamp_fd(int fd)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 ? stamp_of(&st) : 0;
}

uint64_t rp_check_stamp_list(rp_str bytes)
{
    return rp_hash_bytes(bytes) | 1;
}

static uint64_t stamp_pattern(const char *pattern)
{
    struct rp_buf list;
    rp_buf_init(&list, RP_CHECK_SOURCE_MOST);
    rp_err e = put_names(pattern, &list);
    uint64_t stamp = e == RP_OK ? rp_check_stamp_list(rp_buf_str(&list)) : 0;
    rp_buf_fini(&list);
    return stamp;
}

uint64_t rp_check_stamp(rp_str path)
{
    char name[PATH_MOST];
    struct stat st;
    if (!rp_check_is_cert(path)) return 0;
    memcpy(name, path.ptr, path.len);
    name[path.len] = 0;
    if (rp_check_is_list(path)) return stamp_pattern(name);
    return stat(name, &st) == 0 ? stamp_of(&st) : 0;
}

/* ---- the reader ---------------------------------------------------------------------------- */

struct reader {
    const struct rp_check_order *order;
    int master, evaluator; /* channels */
    int pid;
    char last[PATH_MOST]; /* file that was asked for last */
    bool answered;        /* this try is over */
    bool told;            /* ... and the master knows */
    bool late;            /* it took all its time */
    bool is_last;         /* there is no other try: what is wrong is told */
    rp_str why;           /* what the first one failed with; own */
};

static void report(struct reader *r, rp_str text)
{
    struct rp_message_head head = {.kind = RP_SAY_FAILED};
    r->answered = true;
    r->told = r->is_last;
    if (r->is_last)
        rp_ignore(rp_channel_send(r->master, &head, text, NULL, 0)); /* else it finds us dead */
    else if (r->why.len == 0) r->why = rp_str_of(rp_strdup_n(text.ptr, text.len), text.len);
}

rp_err rp_check_open_for(const char *site, rp_str path, int *fd)
{
    rp_err e =
        rp_check_is_list(path) ? rp_check_open_list(path, fd) : rp_check_open_source(path, fd);
    if (e != RP_OK || kind_of(path)->use != PAGE || lies_with_site(site, *fd)) return e;
    rp_os_close(fd);
    return RP_E_INVALID;
}

static void give_file(struct reader *r, const struct rp_message *m)
{
    int fd;
    rp_str path = rp_channel_text(m);
    rp_err e = rp_check_open_for(r->order->site, path, &fd);
    size_t n = RP_MIN(m->text_n, sizeof r->last - 1);
    if (e == RP_OK) memcpy(r->last, m->text, n);
    if (e == RP_OK) r->last[n] = 0;
    struct rp_message_head head = {.kind = RP_SAY_FILE, .a = (uint32_t)-e};
    rp_ignore(
        rp_channel_send(r->evaluator, &head, RP_STR_NONE, &fd, fd >= 0)); /* it may have died */
    rp_os_close(&fd);
}

static void pass_result(struct reader *r, struct rp_message *m)
{
    if (m->head.kind == RP_SAY_RESULT && m->fds_n == 1) {
        r->answered = r->told = rp_channel_send(r->master, &m->head, r->why, m->fds, 1) == RP_OK;
    } else if (m->head.kind == RP_SAY_FAILED) {
        report(r, rp_channel_text(m));
    } else {
        report(r, RP_STR("the evaluator of the site said something unknown"));
    }
}

static void tell_death(struct reader *r)
{
    int status = 0;
    char how[64], text[PATH_MOST + 256];
    pid_t got;
    do got = waitpid(r->pid, &status, 0);
    while (got < 0 && errno == EINTR);
    r->pid = 0;
    rp_os_describe_end(status, how);
    snprintf(text, sizeof text, "%s: evaluating the site ended by %s; the last file loaded was %s",
             r->order->site, how, r->last[0] ? r->last : "none");
    report(r, rp_str_z(text));
}

static void tell_timeout(struct reader *r, rp_ms limit_ms)
{
    char text[PATH_MOST + 256];
    snprintf(text, sizeof text,
             "%s: evaluating the site was not done after %llu s; is there an endless loop? "
             "The last file loaded was %s",
             r->order->site, (unsigned long long)(limit_ms / 1000), r->last[0] ? r->last : "none");
    r->late = true;
    report(r, rp_str_z(text));
}

/* Serve files until the result, the evaluator's death, or the limit. */
static void serve(struct reader *r, struct rp_message *m)
{
    rp_ms limit = r->order->limit_ms ? r->order->limit_ms : RP_CHECK_LIMIT_MS;
    rp_ms until = rp_os_now_ms() + limit;
    while (!r->answered) {
        rp_ms now = rp_os_now_ms();
        if (rp_channel_wait(r->evaluator, until > now ? until - now : 0) != RP_OK) {
            tell_timeout(r, limit);
            return;
        }
        rp_err e = rp_channel_recv(r->evaluator, m);
        if (e != RP_OK) {
            tell_death(r);
        } else if (m->head.kind == RP_SAY_FETCH) {
            give_file(r, m);
        } else {
            pass_result(r, m);
        }
        rp_channel_done(m);
    }
}

/* The commonest mistake gets the system's own words. */
static bool can_read_site(struct reader *r)
{
    char text[PATH_MOST + 256];
    int fd = -1;
    errno = 0;
    rp_str site = rp_str_z(r->order->site);
    rp_err e = rp_str_ends(site, RP_STR(".lua")) ? rp_check_open_source(site, &fd) : RP_E_INVALID;
    const char *why = e == RP_E_INVALID   ? "it must be a regular file whose name ends in .lua"
                      : e == RP_E_TOO_BIG ? "it is larger than 16 MB"
                                          : strerror(errno);
    rp_os_close(&fd);
    if (e == RP_OK) return true;
    snprintf(text, sizeof text, "%s: cannot be read: %s", r->order->site, why);
    report(r, rp_str_z(text));
    return false;
}

static void start_evaluator(struct reader *r)
{
    int pair[2], parent = (int)getpid();
    if (rp_channel_pair(false, pair) != RP_OK || (r->pid = RP_SYS(fork, fork())) < 0) {
        report(r, RP_STR("cannot start a process to evaluate the site"));
        return;
    }
    if (r->pid == 0) {
        int keep[] = {pair[1]};
        rp_os_close_others(keep, 1);
        rp_evaluate(r->order, parent, pair[1]);
    }
    rp_os_close(&pair[1]);
    r->evaluator = pair[0];
}

static void end_evaluator(struct reader *r)
{
    if (r->pid > 0) (void)kill(r->pid, SIGKILL); /* done, or it never will be */
    while (r->pid > 0 && waitpid(r->pid, NULL, 0) < 0 && errno == EINTR) continue;
    r->pid = 0;
    rp_os_close(&r->evaluator);
}

static void run_try(struct reader *r, const struct rp_check_order *order)
{
    static struct rp_message m; /* 32 KB, once per process */
    r->order = order;
    r->answered = r->late = false;
    r->last[0] = 0;
    start_evaluator(r);
    if (!r->answered) serve(r, &m);
    end_evaluator(r);
}

/* A mistake of the site's own fails all of them, and the last one tells what it is. */
static void run_tries(struct reader *r, const struct rp_check_order *order)
{
    rp_str found[TRIES_MOST] = {order->found, order->found_before, RP_STR_NONE};
    struct rp_check_order one = *order;
    for (int i = 0; i < TRIES_MOST && !r->told; i++) {
        if (i == 1 && (r->late || rp_str_eq(found[1], found[0]))) continue;
        one.found = found[i];
        r->is_last = one.found.len == 0 || order->found_or_fail;
        run_try(r, &one);
    }
}

RP_NORETURN static void run_reader(const struct rp_check_order *order, int parent, int channel)
{
    struct reader r = {.order = order, .master = channel, .evaluator = -1, .is_last = true};
    rp_os_reset_signals();
    if (!rp_os_die_with(parent, SIGKILL)) _exit(1);
    if (order->sources.len || can_read_site(&r)) run_tries(&r, order);
    _exit(0);
}

/* ---- the master's side --------------------------------------------------------------------- */

rp_err rp_check_start(const struct rp_check_order *order, struct rp_check *out)
{
    int pair[2], parent = (int)getpid();
    rp_ms limit = order->limit_ms ? order->limit_ms : RP_CHECK_LIMIT_MS;
    if (order->found.len && !order->found_or_fail) limit *= TRIES_MOST;
    *out = (struct rp_check){.channel = -1};
    if (rp_channel_pair(false, pair) != RP_OK) return RP_E_OS;
    int pid = RP_SYS(fork, fork());
    if (pid < 0) {
        rp_os_close(&pair[0]);
        rp_os_close(&pair[1]);
        return RP_E_OS;
    }
    if (pid == 0) {
        int keep[] = {pair[1]};
        if (order->log > STDERR_FILENO) (void)dup2(order->log, STDERR_FILENO); /* else it stays */
        rp_os_close_others(keep, 1);
        run_reader(order, parent, pair[1]);
    }
    rp_os_close(&pair[1]);
    *out = (struct rp_check){
        .pid = pid, .channel = pair[0], .deadline_ms = rp_os_now_ms() + limit + BACKSTOP_MS};
    return RP_OK;
}

static rp_err read_answer(struct rp_message *m, struct rp_checked **out, struct rp_buf *error)
{
    if (m->head.kind != RP_SAY_RESULT) {
        rp_buf_add(error, m->text_n ? rp_channel_text(m) : RP_STR("the check failed"));
        return RP_E_INVALID;
    }
    if (rp_checked_open(rp_channel_take(m, 0), out) == RP_OK) {
        rp_str why = rp_channel_text(m);
        if (why.len) (*out)->left_out = rp_strdup_n(why.ptr, why.len);
        return RP_OK;
    }
    rp_buf_add(error, RP_STR("the checker's result is malformed"));
    return RP_E_INVALID;
}

rp_err rp_check_read(struct rp_check *c, struct rp_checked **out, struct rp_buf *error)
{
    if (rp_channel_wait(c->channel, 0) != RP_OK) {
        if (rp_os_now_ms() < c->deadline_ms) return RP_AGAIN;
        rp_buf_add(error, RP_STR("the checker does not answer"));
        rp_check_stop(c);
        return RP_E_INVALID;
    }
    struct rp_message *m = rp_alloc(sizeof *m);
    rp_err e = rp_channel_recv(c->channel, m);
    if (e == RP_OK) {
        e = read_answer(m, out, error);
        rp_channel_done(m);
    } else {
        rp_buf_add(error, RP_STR("the checker died without an answer"));
        e = RP_E_INVALID;
    }
    rp_free(m);
    rp_check_stop(c);
    return e;
}

void rp_check_stop(struct rp_check *c)
{
    rp_os_close(&c->channel);
    if (c->pid > 0) (void)kill(c->pid, SIGKILL); /* our child until it is reaped: no other's pid */
}

rp_err rp_check_run(const struct rp_check_order *order, struct rp_checked **out,
                    struct rp_buf *error)
{
    struct rp_check c;
    if (rp_check_start(order, &c) != RP_OK) {
        rp_buf_addf(error, "cannot start the checker: %s", strerror(errno));
        return RP_E_OS;
    }
    rp_ms now = rp_os_now_ms();
    rp_ignore(rp_channel_wait(c.channel, c.deadline_ms - now)); /* what it says shows in reading */
    rp_err e = rp_check_read(&c, out, error);
    rp_check_stop(&c);
    while (waitpid(c.pid, NULL, 0) < 0 && errno == EINTR) continue;
    if (e != RP_AGAIN) return e;
    rp_buf_add(error, RP_STR("cannot wait for the checker: the system is out of resources"));
    return RP_E_OS;
}

/* ---- results ------------------------------------------------------------------------------- */

rp_err rp_checked_open(int fd, struct rp_checked **out)
{
    struct rp_checked *c = rp_alloc(sizeof *c);
    c->fd = fd;
    rp_err e = fd < 0 ? RP_E_INVALID : rp_os_memfd_map(fd, RP_PLAN_BYTES_MOST, &c->flat);
    if (e == RP_OK) e = rp_plan_load(c->flat, &c->plan);
    if (e == RP_OK) *out = c;
    else rp_checked_free(&c);
    return e;
}

void rp_checked_free(struct rp_checked **cp)
{
    struct rp_checked *c = *cp;
    if (!c) return;
    *cp = NULL;
    rp_plan_free(&c->plan);
    rp_os_unmap(&c->flat);
    rp_os_close(&c->fd);
    rp_free(c->left_out);
    rp_free(c);
}
