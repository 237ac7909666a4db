/* SPDX-License-Identifier: MIT
 *
 * tool: see tool.h. A new tool is a row here and lua/rproxy/cli/NAME.lua.
 */
#include "process/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "process/boot.h"
#include "process/channel.h"
#include "process/checker.h"
#include "process/control.h"
#include "process/pidfile.h"
#include "script/host.h"

enum {
    STATUS_FAILED = 1,
    STATUS_TROUBLE = 2,
    NO_ANSWER = 255,
    TEXT_MOST = 1 << 28,
    ARGUMENT_MOST = 1 << 30, /* bytes of a file named on the command line */
};

static const struct tool {
    const char *name, *usage, *line;
    bool runs_site;
    const char *runs_with; /* ... only when this word is on the command line */
} TOOLS[] = {
    {"diff", "diff OLD NEW", "what changes from one site to the other", false, NULL},
    {"explain", "explain -p SITE 'METHOD URL'", "what a site does with a request, and why", true,
     NULL},
    {"jit", "jit -p site.lua", "where LuaJIT gives up compiling, live or in a lab", true,
     "--requests"},
    {"lint", "lint [-p site.lua] [FILE..]", "mistakes in a site and its plugins", false, NULL},
    {"new", "new plugin|site NAME", "write a plugin or a site to begin with", false, NULL},
    {"peer", "peer -p site.lua UPSTREAM PEER WORD", "drain a peer, change its weight", false, NULL},
    {"replay", "replay -p SITE CAPTURE..", "what a site decides otherwise than was recorded", true,
     NULL},
    {"repl", "repl -p site.lua", "run lines of Lua in a live worker", false, NULL},
    {"schema", "schema PLUGIN", "settings of a plugin as JSON Schema, or as types", true, NULL},
    {"test", "test [FILE..]", "run the specs of plugins and sites", false, NULL},
    {"types", "types [FOLDER]", "write types for the editor", false, NULL},
    {"upstreams", "upstreams -p site.lua", "the peers of a running instance", false, NULL},
};

/* ---- finding ------------------------------------------------------------------------------- */

static const struct tool *tool_of(const char *name)
{
    for (size_t i = 0; i < RP_COUNT(TOOLS); i++)
        if (strcmp(name, TOOLS[i].name) == 0) return &TOOLS[i];
    return NULL;
}

/* Does the next word belong to this one? Those of cli.c that take a value. */
static bool takes_next(const char *word)
{
    return strcmp(word, "-p") == 0 || strcmp(word, "-g") == 0 || strcmp(word, "--site") == 0 ||
           strcmp(word, "--set") == 0;
}

int rp_tool_find(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') return tool_of(argv[i]) ? i : 0;
        if (takes_next(argv[i])) i++;
    }
    return 0;
}

void rp_tool_list(struct rp_buf *out)
{
    for (size_t i = 0; i < RP_COUNT(TOOLS); i++)
        rp_buf_addf(out, "  rproxy %-30s %s\n", TOOLS[i].usage, TOOLS[i].line);
}

/* ---- a tool that runs ---------------------------------------------------------------------- */

struct running {
    const struct tool *tool;
    char **args; /* without the tool's name */
    int args_n;
    int reader;  /* channel to the process with root's rights; -1: our own are enough */
    int control; /* connection to a master; -1 */
    struct rp_message m;
};

static int complain(int status, const char *text)
{
    struct rp_run run = {.complaints = STDERR_FILENO};
    rp_boot_complain(&run, rp_str_z(text));
    return status;
}

/* The last -g NAME=..; empty: none. */
static rp_str override_of(const struct running *r, const char *name)
{
    rp_str found = RP_STR_NONE;
    size_t n = strlen(name);
    for (int i = 0; i < r->args_n; i++) {
        const char *text = r->args[i];
        if (strncmp(text, "--set=", 6) == 0) text += 6;
        else if (strncmp(text, "-g", 2) == 0 && text[2]) text += 2;
        else if (i > 0 && takes_next(r->args[i - 1])) text += 0;
        else continue;
        if (strncmp(text, name, n) == 0 && text[n] == '=') found = rp_str_z(text + n + 1);
    }
    return found;
}

static bool is_argument(const struct running *r, rp_str path)
{
    for (int i = 0; i < r->args_n; i++)
        if (rp_str_eq(path, rp_str_z(r->args[i]))) return true;
    return false;
}

static bool runs_site(const struct running *r)
{
    const char *with = r->tool->runs_with;
    return r->tool->runs_site && (!with || is_argument(r, rp_str_z(with)));
}

static rp_err open_argument(const struct running *r, rp_str path, int *fd)
{
    struct stat st;
    *fd = -1;
    if (!is_argument(r, path)) return RP_E_INVALID;
    *fd = open(path.ptr, O_RDONLY | O_NOCTTY | O_CLOEXEC); /* one of argv: it ends in a NUL */
    if (*fd < 0) return errno == ENOENT || errno == ENOTDIR ? RP_E_NOT_FOUND : RP_E_OS;
    if (fstat(*fd, &st) == 0 && !S_ISDIR(st.st_mode)) return RP_OK;
    rp_os_close(fd);
    return RP_E_INVALID;
}

/* The site whose folder pages may come from. */
static void site_of(const struct running *r, char out[512])
{
    out[0] = 0;
    for (int i = 0; i < r->args_n; i++) {
        const char *text = r->args[i];
        bool next =
            i > 0 && (strcmp(r->args[i - 1], "-p") == 0 || strcmp(r->args[i - 1], "--site") == 0);
        if (strncmp(text, "--site=", 7) == 0) text += 7;
        else if (strncmp(text, "-p", 2) == 0 && text[2]) text += 2;
        else if (!next) continue;
        if (rp_pidfile_site(text, out) != RP_OK) out[0] = 0;
    }
}

/* ---- files --------------------------------------------------------------------------------- */

enum { OF_SITE, ARGUMENT }; /* what is fetched: head.a */

static rp_err fetch_from_reader(struct running *r, uint32_t what, rp_str path, int *fd)
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

static rp_err open_any(struct running *r, uint32_t what, rp_str path, int *fd)
{
    *fd = -1;
    if (r->reader >= 0) return fetch_from_reader(r, what, path, fd);
    if (what == ARGUMENT) return open_argument(r, path, fd);
    return rp_check_is_list(path) ? rp_check_open_list(path, fd) : rp_check_open_source(path, fd);
}

static rp_err fetch(void *arg, rp_str path, struct rp_buf *out)
{
    int fd;
    rp_err e = open_any(arg, OF_SITE, path, &fd);
    if (e == RP_OK) e = rp_os_read_all(fd, RP_CHECK_SOURCE_MOST, out);
    rp_os_close(&fd);
    return e;
}

/* argument(path) -> 0, bytes | 1, what is wrong */
static int call_argument(struct running *r, const rp_str *args, struct rp_buf *out)
{
    int fd;
    struct rp_buf path; /* with a NUL behind it */
    rp_buf_init(&path, TEXT_MOST);
    rp_buf_add(&path, args[0]);
    rp_buf_add_ch(&path, 0);
    rp_err e = open_any(r, ARGUMENT, rp_str_of(path.ptr, path.len - 1), &fd);
    if (e == RP_OK) e = rp_os_read_all(fd, ARGUMENT_MOST, out);
    if (e != RP_OK) {
        rp_buf_clear(out);
        rp_buf_add_z(out, e == RP_E_OS && errno ? strerror(errno) : rp_err_text(e));
    }
    rp_os_close(&fd);
    rp_buf_fini(&path);
    return e == RP_OK ? 0 : STATUS_FAILED;
}

/* ---- what the layer asks of us ------------------------------------------------------------- */

/* path(text) -> 0, absolute path | 1, what is wrong */
static int call_path(struct running *r, const rp_str *args, struct rp_buf *out)
{
    char site[512];
    (void)r; /* the same for all */
    errno = 0;
    rp_err e = rp_pidfile_site(args[0].ptr, site);
    rp_buf_add_z(out, e == RP_OK ? site : errno ? strerror(errno) : "no such path");
    return e == RP_OK ? 0 : STATUS_FAILED;
}

/* check(absolute path, overrides, "text"|"model") -> 0, description | 1, what is wrong */
static int call_check(struct running *r, const rp_str *args, struct rp_buf *out)
{
    struct rp_os_account account;
    struct rp_checked *checked = NULL;
    bool root = geteuid() == 0;
    if (root && rp_os_account_choose(override_of(r, "user"), &account) != RP_OK) {
        rp_buf_add_z(out, "no such account for -g user");
        return STATUS_FAILED;
    }
    struct rp_check_order order = {
        .site = args[0].ptr,
        .overrides = args[1],
        .describe = rp_str_eq(args[2], RP_STR("model")) ? RP_DESCRIBE_MODEL : RP_DESCRIBE_TEXT,
        .account = root ? &account : NULL};
    rp_err e = rp_check_run(&order, &checked, out);
    if (e == RP_OK) rp_buf_add(out, checked->plan->description);
    rp_checked_free(&checked);
    return e == RP_OK ? 0 : STATUS_FAILED;
}

/* connect(absolute path, pid file or "") -> 0 | 1, what is wrong: to the master of a site */
static int call_connect(struct running *r, const rp_str *args, struct rp_buf *out)
{
    struct rp_pidfile p;
    int stale;
    const char *pid_path = args[1].len ? args[1].ptr : NULL;
    if (rp_pidfile_locate(&p, args[0].ptr, pid_path, false, out) != RP_OK) return STATUS_FAILED;
    if (rp_pidfile_find(&p, &stale) == 0) {
        rp_buf_addf(out, "not running: %s (no pid file %s)", args[0].ptr, p.path);
        return STATUS_FAILED;
    }
    rp_os_close(&r->control);
    rp_err e = rp_control_connect(p.sock, &r->control);
    if (e != RP_OK) rp_buf_addf(out, "nobody listens on %s: %s", p.sock, strerror(errno));
    return e == RP_OK ? 0 : STATUS_FAILED;
}

/* say(command, seconds) -> status, answer; 255: there is none, and why */
static int call_say(struct running *r, const rp_str *args, struct rp_buf *out)
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
static int call_pause(struct running *r, const rp_str *args, struct rp_buf *out)
{
    uint64_t ms;
    (void)r, (void)out;
    if (rp_str_u64(args[0], &ms) != RP_OK) ms = 0;
    struct timespec nap = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&nap, NULL); /* woken early: no harm */
    return 0;
}

/* tty() -> 0: standard input is a terminal; 1: it is none */
static int call_tty(struct running *r, const rp_str *args, struct rp_buf *out)
{
    (void)r; /* these three are the same for all */
    (void)args;
    (void)out;
    return isatty(STDIN_FILENO) ? 0 : 1;
}

/* mkdir(path) -> 0 | 1, what is wrong: a folder, with those above it */
static int call_mkdir(struct running *r, const rp_str *args, struct rp_buf *out)
{
    char path[PATH_MAX];
    (void)r; /* the same for all */
    if (args[0].len == 0 || args[0].len >= sizeof path) {
        rp_buf_add_z(out, strerror(ENAMETOOLONG));
        return STATUS_FAILED;
    }
    memcpy(path, args[0].ptr, args[0].len + 1);
    for (char *at = path + 1;; at++) {
        char ch = *at;
        if (ch != '/' && ch != 0) continue;
        *at = 0;
        if (mkdir(path, 0777) != 0 && errno != EEXIST) {
            rp_buf_add_z(out, strerror(errno));
            return STATUS_FAILED;
        }
        if (ch == 0) return 0;
        *at = ch;
    }
}

static int call(void *arg, rp_str what, const rp_str *args, size_t n, struct rp_buf *out)
{
    static const struct {
        const char *name;
        size_t args;
        int (*run)(struct running *r, const rp_str *args, struct rp_buf *out);
    } calls[] = {
        {"argument", 1, call_argument}, {"path", 1, call_path},   {"check", 3, call_check},
        {"connect", 2, call_connect},   {"say", 2, call_say},     {"tty", 0, call_tty},
        {"pause", 1, call_pause},       {"mkdir", 1, call_mkdir},
    };
    for (size_t i = 0; i < RP_COUNT(calls); i++)
        if (rp_str_eq(what, rp_str_z(calls[i].name)) && n == calls[i].args)
            return calls[i].run(arg, args, out);
    rp_buf_addf(out, "tool_call has no %.*s with %zu arguments", RP_STR_ARG(what), n);
    return STATUS_TROUBLE;
}

static int run_here(struct running *r)
{
    struct rp_host_tool tool = {.name = r->tool->name,
                                .args = r->args,
                                .args_n = r->args_n,
                                .fetch = fetch,
                                .call = call,
                                .arg = r};
    return rp_host_run_tool(&tool);
}

/* ---- root's ---------------------------------------------------------------------------------- */

RP_NORETURN static void run_as(struct running *r, const struct rp_os_account *account, int parent)
{
    if (rp_os_become(account) != RP_OK)
        exit(complain(STATUS_TROUBLE, "cannot become the unprivileged user"));
    if (!rp_os_die_with(parent, SIGKILL)) exit(STATUS_TROUBLE);
    exit(run_here(r));
}

/* Open files for the child until it ends. */
static void serve_files(struct running *r, int channel)
{
    char site[512];
    site_of(r, site);
    while (rp_channel_recv(channel, &r->m) == RP_OK) {
        int fd = -1;
        rp_err e = RP_E_INVALID;
        rp_str path = rp_channel_text(&r->m);
        bool is_fetch = r->m.head.kind == RP_SAY_FETCH;
        if (is_fetch && r->m.head.a == ARGUMENT) e = open_argument(r, path, &fd);
        else if (is_fetch) e = rp_check_open_for(site, path, &fd);
        struct rp_message_head head = {.kind = RP_SAY_FILE, .a = (uint32_t)-e};
        rp_channel_done(&r->m);
        rp_ignore(rp_channel_send(channel, &head, RP_STR_NONE, &fd, fd >= 0)); /* it may be gone */
        rp_os_close(&fd);
    }
}

static int end_of(int pid)
{
    char how[64], text[128];
    int status = 0;
    pid_t got;
    do got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    if (got == pid && WIFEXITED(status)) return WEXITSTATUS(status);
    rp_os_describe_end(status, how);
    snprintf(text, sizeof text, "the tool ended by %s", how);
    return complain(STATUS_TROUBLE, text);
}

/* What runs a site's code has no root's rights. */
static int run_apart(struct running *r)
{
    struct rp_os_account account;
    int pair[2], parent = (int)getpid();
    if (rp_os_account_choose(override_of(r, "user"), &account) != RP_OK)
        return complain(STATUS_TROUBLE, "no such account for -g user");
    if (rp_channel_pair(false, pair) != RP_OK)
        return complain(STATUS_TROUBLE, "out of descriptors");
    int pid = RP_SYS(fork, fork());
    if (pid < 0) return complain(STATUS_TROUBLE, "cannot start a process");
    rp_os_close(&pair[pid == 0 ? 0 : 1]);
    r->reader = pid == 0 ? pair[1] : -1;
    if (pid == 0) run_as(r, &account, parent);
    serve_files(r, pair[0]);
    rp_os_close(&pair[0]);
    return end_of(pid);
}

int rp_tool_run(int argc, char **argv, int at)
{
    struct running *r = rp_alloc(sizeof *r);
    char **args = rp_alloc((size_t)argc * sizeof *args);
    *r = (struct running){.tool = tool_of(argv[at]), .args = args, .reader = -1, .control = -1};
    for (int i = 1; i < argc; i++)
        if (i != at) args[r->args_n++] = argv[i];
    int status = runs_site(r) && geteuid() == 0 ? run_apart(r) : run_here(r);
    rp_os_close(&r->control);
    rp_free(args);
    rp_free(r);
    return status;
}
