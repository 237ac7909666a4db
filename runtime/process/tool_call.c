/* SPDX-License-Identifier: MIT
 *
 * tool_call: what tools ask of the process floor: files, checks, a running master, folders.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "process/checker.h"
#include "process/control.h"
#include "process/found.h"
#include "process/pidfile.h"
#include "process/tool_in.h"
#include "script/bundle.h"

enum {
    FAILED = 1,
    TROUBLE = 2,
    NO_ANSWER = 255,
    PATH_MOST = 64 * 1024,
    FOUND_MOST = 16 << 20,   /* bytes of routes that an instance found */
    ARGUMENT_MOST = 1 << 30, /* bytes of a file named on the command line */
};

/* ---- the command line ----------------------------------------------------------------------- */

bool rp_tool_takes_next(const char *word)
{
    return strcmp(word, "-p") == 0 || strcmp(word, "-g") == 0 || strcmp(word, "--site") == 0 ||
           strcmp(word, "--set") == 0;
}

rp_str rp_tool_override(const struct rp_tool_run *r, const char *name)
{
    rp_str found = RP_STR_NONE;
    size_t n = strlen(name);
    for (int i = 0; i < r->args_n; i++) {
        const char *text = r->args[i];
        if (strncmp(text, "--set=", 6) == 0) text += 6;
        else if (strncmp(text, "-g", 2) == 0 && text[2]) text += 2;
        else if (i > 0 && rp_tool_takes_next(r->args[i - 1])) text += 0;
        else continue;
        if (strncmp(text, name, n) == 0 && text[n] == '=') found = rp_str_z(text + n + 1);
    }
    return found;
}

static bool names(const char *word, rp_str path)
{
    size_t n = strlen(word);
    if (n < path.len || path.len == 0) return false;
    const char *at = word + (n - path.len);
    return memcmp(at, path.ptr, path.len) == 0 && (at == word || at[-1] == '@' || at[-1] == '=');
}

static bool is_argument(const struct rp_tool_run *r, rp_str word)
{
    for (int i = 0; i < r->args_n; i++)
        if (names(r->args[i], word)) return true;
    return false;
}

rp_err rp_tool_open_argument(const struct rp_tool_run *r, rp_str path, int *fd)
{
    struct stat st;
    *fd = -1;
    if (!is_argument(r, path)) return RP_E_INVALID;
    *fd = open(path.ptr, O_RDONLY | O_NOCTTY |
                             O_CLOEXEC); /* the end of one of argv, or a message: a NUL follows */
    if (*fd < 0) return errno == ENOENT || errno == ENOTDIR ? RP_E_NOT_FOUND : RP_E_OS;
    if (fstat(*fd, &st) == 0 && !S_ISDIR(st.st_mode)) return RP_OK;
    rp_os_close(fd);
    return RP_E_INVALID;
}

rp_err rp_tool_open_found(const struct rp_tool_run *r, int *fd)
{
    char site[512];
    rp_tool_site(r, site);
    *fd = -1;
    return site[0] ? rp_found_open(site, fd) : RP_E_NOT_FOUND;
}

/* ---- files --------------------------------------------------------------------------------- */

static rp_err fetch_from_reader(struct rp_tool_run *r, uint32_t what, rp_str path, int *fd)
{
    struct rp_message_head head = {.kind = RP_SAY_FETCH, .a = what};
    if (path.len > RP_CHANNEL_TEXT_BYTES) return RP_E_TOO_BIG;
    rp_err e = rp_channel_send(r->reader, &head, path, NULL, 0);
    if (e == RP_OK) e = rp_channel_recv(r->reader, &r->m);
    if (e != RP_OK) return RP_E_OS;
    *fd = rp_channel_take(&r->m, 0);
    e = r->m.head.a ? -(rp_err)r->m.head.a : RP_OK;
    rp_channel_done(&r->m);
    return e;
}

static rp_err open_of_site(const struct rp_tool_run *r, rp_str path, int *fd)
{
    if (rp_str_eq(path, RP_STR(RP_BUNDLE_FOUND))) return rp_tool_open_found(r, fd);
    return rp_check_is_list(path) ? rp_check_open_list(path, fd) : rp_check_open_source(path, fd);
}

static rp_err open_any(struct rp_tool_run *r, uint32_t what, rp_str path, int *fd)
{
    *fd = -1;
    if (r->reader >= 0) return fetch_from_reader(r, what, path, fd);
    if (what == RP_TOOL_ARGUMENT) return rp_tool_open_argument(r, path, fd);
    return open_of_site(r, path, fd);
}

rp_err rp_tool_fetch(void *arg, rp_str path, struct rp_buf *out)
{
    int fd;
    rp_err e = open_any(arg, RP_TOOL_OF_SITE, path, &fd);
    if (e == RP_OK) e = rp_os_read_all(fd, RP_CHECK_SOURCE_MOST, out);
    rp_os_close(&fd);
    return e;
}

/* argument(path) -> 0, bytes | 1, what is wrong */
static int call_argument(struct rp_tool_run *r, const rp_str *args, struct rp_buf *out)
{
    int fd;
    struct rp_buf path; /* with a NUL behind it */
    rp_buf_init(&path, PATH_MOST);
    rp_buf_add(&path, args[0]);
    rp_buf_add_ch(&path, 0);
    rp_err e = open_any(r, RP_TOOL_ARGUMENT, rp_str_of(path.ptr, path.len - 1), &fd);
    if (e == RP_OK) e = rp_os_read_all(fd, ARGUMENT_MOST, out);
    if (e != RP_OK) {
        rp_buf_clear(out);
        rp_buf_add_z(out, e == RP_E_OS && errno ? strerror(errno) : rp_err_text(e));
    }
    rp_os_close(&fd);
    rp_buf_fini(&path);
    return e == RP_OK ? 0 : FAILED;
}

/* ---- what the layer asks of us ------------------------------------------------------------- */

/* path(text) -> 0, absolute path | 1, what is wrong */
static int call_path(struct rp_tool_run *r, const rp_str *args, struct rp_buf *out)
{
    char site[512];
    (void)r; /* the same for all */
    errno = 0;
    rp_err e = rp_pidfile_site(args[0].ptr, site);
    rp_buf_add_z(out, e == RP_OK ? site : errno ? strerror(errno) : "no such path");
    return e == RP_OK ? 0 : FAILED;
}

/* A draft that nobody runs is compared with a site that runs: it gets the routes of that one. */
static void keep_found(struct rp_tool_run *r, struct rp_buf *found)
{
    if (found->len) {
        rp_buf_fini(&r->found);
        r->found = *found;
    } else {
        rp_buf_fini(found);
    }
}

/* check(absolute path, overrides, "text"|"model") -> 0, description | 1, what is wrong */
static int call_check(struct rp_tool_run *r, const rp_str *args, struct rp_buf *out)
{
    struct rp_os_account account;
    struct rp_checked *checked = NULL;
    struct rp_buf found;
    bool root = geteuid() == 0;
    if (root && rp_os_account_choose(rp_tool_override(r, "user"), &account) != RP_OK) {
        rp_buf_add_z(out, "no such account for -g user");
        return FAILED;
    }
    rp_buf_init(&found, FOUND_MOST);
    rp_found_ask(args[0].ptr, NULL, &found);
    keep_found(r, &found);
    struct rp_check_order order = {
        .site = args[0].ptr,
        .found = rp_buf_str(&r->found),
        .overrides = args[1],
        .describe = rp_str_eq(args[2], RP_STR("model")) ? RP_DESCRIBE_MODEL : RP_DESCRIBE_TEXT,
        .account = root ? &account : NULL};
    rp_err e = rp_check_run(&order, &checked, out);
    if (e == RP_OK) rp_buf_add(out, checked->plan->description);
    rp_checked_free(&checked);
    return e == RP_OK ? 0 : FAILED;
}

/* connect(absolute path, pid file or "") -> 0 | 1, what is wrong: to the master of a site */
static int call_connect(struct rp_tool_run *r, const rp_str *args, struct rp_buf *out)
{
    struct rp_pidfile p;
    int stale;
    const char *pid_path = args[1].len ? args[1].ptr : NULL;
    if (rp_pidfile_locate(&p, args[0].ptr, pid_path, false, out) != RP_OK) return FAILED;
    if (rp_pidfile_find(&p, &stale) == 0) {
        rp_buf_addf(out, "not running: %s (no pid file %s)", args[0].ptr, p.path);
        return FAILED;
    }
    rp_os_close(&r->control);
    rp_err e = rp_control_connect(p.sock, &r->control);
    if (e != RP_OK) rp_buf_addf(out, "nobody listens on %s: %s", p.sock, strerror(errno));
    return e == RP_OK ? 0 : FAILED;
}

/* say(command, seconds) -> status, answer; 255: there is none, and why */
static int call_say(struct rp_tool_run *r, const rp_str *args, struct rp_buf *out)
{
    uint64_t seconds;
    int status = 0;
    if (rp_str_u64(args[1], &seconds) != RP_OK || seconds > 3600) seconds = 10;
    rp_err e = r->control < 0 ? RP_E_CLOSED
                              : rp_control_say(r->control, args[0], seconds * 1000, &status, out);
    if (e == RP_OK) return status;
    rp_buf_clear(out);
    rp_buf_addf(out, "the master does not answer: %s", rp_err_text(e));
    return NO_ANSWER;
}

/* pause(milliseconds) */
static int call_pause(struct rp_tool_run *r, const rp_str *args, struct rp_buf *out)
{
    uint64_t ms;
    (void)r, (void)out;
    if (rp_str_u64(args[0], &ms) != RP_OK) ms = 0;
    struct timespec nap = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&nap, NULL); /* woken early: no harm */
    return 0;
}

/* tty() -> 0: standard input is a terminal; 1: it is none */
static int call_tty(struct rp_tool_run *r, const rp_str *args, struct rp_buf *out)
{
    (void)r; /* these three are the same for all */
    (void)args;
    (void)out;
    return isatty(STDIN_FILENO) ? 0 : 1;
}

/* mkdir(path) -> 0 | 1, what is wrong: a folder, with those above it */
static int call_mkdir(struct rp_tool_run *r, const rp_str *args, struct rp_buf *out)
{
    char path[PATH_MAX];
    (void)r; /* the same for all */
    if (args[0].len == 0 || args[0].len >= sizeof path) {
        rp_buf_add_z(out, strerror(ENAMETOOLONG));
        return FAILED;
    }
    memcpy(path, args[0].ptr, args[0].len + 1);
    for (char *at = path + 1;; at++) {
        char ch = *at;
        if (ch != '/' && ch != 0) continue;
        *at = 0;
        if (mkdir(path, 0777) != 0 && errno != EEXIST) {
            rp_buf_add_z(out, strerror(errno));
            return FAILED;
        }
        if (ch == 0) return 0;
        *at = ch;
    }
}

int rp_tool_call(void *arg, rp_str what, const rp_str *args, size_t n, struct rp_buf *out)
{
    static const struct {
        const char *name;
        size_t args;
        int (*run)(struct rp_tool_run *r, const rp_str *args, struct rp_buf *out);
    } calls[] = {
        {"argument", 1, call_argument}, {"path", 1, call_path},   {"check", 3, call_check},
        {"connect", 2, call_connect},   {"say", 2, call_say},     {"tty", 0, call_tty},
        {"pause", 1, call_pause},       {"mkdir", 1, call_mkdir},
    };
    for (size_t i = 0; i < RP_COUNT(calls); i++)
        if (rp_str_eq(what, rp_str_z(calls[i].name)) && n == calls[i].args)
            return calls[i].run(arg, args, out);
    rp_buf_addf(out, "tool_call has no %.*s with %zu arguments", RP_STR_ARG(what), n);
    return TROUBLE;
}
