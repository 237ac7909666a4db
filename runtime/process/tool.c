/* SPDX-License-Identifier: MIT
 *
 * tool: see tool.h. A new tool is a row here and lua/rproxy/cli/NAME.lua. What it may ask of us is in
 * tool_call.c.
 */
#include "process/tool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "process/boot.h"
#include "process/checker.h"
#include "process/pidfile.h"
#include "process/tool_in.h"
#include "script/bundle.h"

enum { STATUS_TROUBLE = 2 };

enum group { WRITE, KNOW, LIVE };
static const char *const GROUPS[] = {"Write a site and its plugins", "Know what a site does",
                                     "Look into what runs"};

/* In the order of the help. */
static const struct tool {
    enum group group;
    const char *name, *usage, *line;
    bool runs_site;
    const char *runs_with; /* ... only with this option */
} TOOLS[] = {
    {WRITE, "new", "new plugin|site NAME", "write one to begin with", false, NULL},
    {WRITE, "types", "types [FOLDER]", "types for the editor", false, NULL},
    {WRITE, "schema", "schema PLUGIN", "its settings as JSON Schema, or as types", true, NULL},
    {WRITE, "lint", "lint -p site.lua [FILE..]", "mistakes in hooks, routes, limits", false, NULL},
    {WRITE, "test", "test [FILE..]", "run the specs of plugins and sites", false, NULL},
    {KNOW, "explain", "explain -p site.lua 'METHOD URL'", "what becomes of a request", true, NULL},
    {KNOW, "diff", "diff OLD NEW", "what a changed site changes", false, NULL},
    {KNOW, "replay", "replay -p site.lua CAPTURE..", "... for requests that were recorded", true,
     NULL},
    {LIVE, "upstreams", "upstreams -p site.lua", "the peers of a running instance", false, NULL},
    {LIVE, "peer", "peer -p site.lua UPSTREAM PEER WORD", "drain a peer, change its weight", false,
     NULL},
    {LIVE, "split", "split -p site.lua [SPLIT WORD..]", "shares of splits, rollouts", false, NULL},
    {LIVE, "repl", "repl -p site.lua", "run lines of Lua in a worker", false, NULL},
    {LIVE, "jit", "jit -p site.lua", "hooks that are not compiled", true, "--requests"},
};

/* ---- finding ------------------------------------------------------------------------------- */

static const struct tool *tool_of(const char *name)
{
    for (size_t i = 0; i < RP_COUNT(TOOLS); i++)
        if (strcmp(name, TOOLS[i].name) == 0) return &TOOLS[i];
    return NULL;
}

int rp_tool_find(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') return tool_of(argv[i]) ? i : 0;
        if (rp_tool_takes_next(argv[i])) i++;
    }
    return 0;
}

void rp_tool_list(struct rp_buf *out)
{
    for (size_t i = 0; i < RP_COUNT(TOOLS); i++) {
        if (i == 0 || TOOLS[i].group != TOOLS[i - 1].group)
            rp_buf_addf(out, "\n%s:\n", GROUPS[TOOLS[i].group]);
        rp_buf_addf(out, "  rproxy %-36s %s\n", TOOLS[i].usage, TOOLS[i].line);
    }
    rp_buf_add(out, RP_STR("  (rproxy TOOL --help says more)\n"));
}

/* ---- a tool that runs ---------------------------------------------------------------------- */

static int complain(int status, const char *text)
{
    struct rp_run run = {.complaints = STDERR_FILENO};
    rp_boot_complain(&run, rp_str_z(text));
    return status;
}

static bool has_option(const struct rp_tool_run *r, const char *option)
{
    size_t n = strlen(option);
    for (int i = 0; i < r->args_n; i++)
        if (strncmp(r->args[i], option, n) == 0 && (!r->args[i][n] || r->args[i][n] == '='))
            return true;
    return false;
}

void rp_tool_site(const struct rp_tool_run *r, char out[512])
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

static int run_here(struct rp_tool_run *r)
{
    struct rp_host_tool tool = {.name = r->name,
                                .args = r->args,
                                .args_n = r->args_n,
                                .fetch = rp_tool_fetch,
                                .call = rp_tool_call,
                                .arg = r};
    return rp_host_run_tool(&tool);
}

/* ---- root's ---------------------------------------------------------------------------------- */

RP_NORETURN static void run_as(struct rp_tool_run *r, const struct rp_os_account *account,
                               int parent)
{
    if (rp_os_become(account) != RP_OK)
        exit(complain(STATUS_TROUBLE, "cannot become the unprivileged user"));
    if (!rp_os_die_with(parent, SIGKILL)) exit(STATUS_TROUBLE);
    exit(run_here(r));
}

/* Open files for the child until it ends. */
static void serve_files(struct rp_tool_run *r, int channel)
{
    char site[512];
    rp_tool_site(r, site);
    while (rp_channel_recv(channel, &r->m) == RP_OK) {
        int fd = -1;
        rp_err e = RP_E_INVALID;
        rp_str path = rp_channel_text(&r->m);
        bool is_fetch = r->m.head.kind == RP_SAY_FETCH;
        if (is_fetch && r->m.head.a == RP_TOOL_ARGUMENT) e = rp_tool_open_argument(r, path, &fd);
        else if (is_fetch && rp_str_eq(path, RP_STR(RP_BUNDLE_FOUND)))
            e = rp_tool_open_found(r, &fd);
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
static int run_apart(struct rp_tool_run *r)
{
    struct rp_os_account account;
    int pair[2], parent = (int)getpid();
    if (rp_os_account_choose(rp_tool_override(r, "user"), &account) != RP_OK)
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
    struct rp_tool_run *r = rp_alloc(sizeof *r);
    char **args = rp_alloc((size_t)argc * sizeof *args);
    *r = (struct rp_tool_run){.name = argv[at], .args = args, .reader = -1, .control = -1};
    rp_buf_init(&r->found, 0);
    for (int i = 1; i < argc; i++)
        if (i != at) args[r->args_n++] = argv[i];
    const struct tool *tool = tool_of(argv[at]);
    bool runs_site = tool->runs_site && (!tool->runs_with || has_option(r, tool->runs_with));
    int status = runs_site && geteuid() == 0 ? run_apart(r) : run_here(r);
    rp_os_close(&r->control);
    rp_buf_fini(&r->found);
    rp_free(args);
    rp_free(r);
    return status;
}
