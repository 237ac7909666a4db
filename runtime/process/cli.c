/* SPDX-License-Identifier: MIT
 *
 * cli: see cli.h. What runs a master is master.c; what talks to one is command.c; tool.c has the rest.
 */
#include "process/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "process/boot.h"
#include "process/checker.h"
#include "process/command.h"
#include "process/found.h"
#include "process/pidfile.h"
#include "process/successor.h"
#include "process/tool.h"

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    TEXT_MOST = 1 << 28,
    OPTION_BINARY = 256, /* has no letter */
};

static const char HELP[] =
    "rproxy " RP_VERSION ": a reverse proxy scripted in Lua\n"
    "\n"
    "Serve:\n"
    "  rproxy -p site.lua              serve, in the foreground\n"
    "  rproxy -d -p site.lua           serve, in the background; returns once it serves\n"
    "  rproxy -t -p site.lua           check the site and say what is wrong with it\n"
    "  rproxy -T -p site.lua           check it and print what will be served\n"
    "\n"
    "Tell what runs:\n"
    "  rproxy reload -p site.lua       take the changed site, or say why not\n"
    "  rproxy stop|quit -p site.lua    end now | end when running requests are answered\n"
    "  rproxy reopen -p site.lua       reopen the log files\n"
    "  rproxy upgrade -p site.lua      go on with the program that is installed now, dropping nothing\n"
    "  rproxy status -p site.lua       what the running instance does\n"
    "  rproxy metrics -p site.lua      its metrics, as Prometheus reads them\n";

static const char HELP_OPTIONS[] =
    "\n"
    "Options:\n"
    "  -p, --site FILE        the site\n"
    "  -g, --set NAME=VALUE   set an option of the site (may be repeated)\n"
    "  -t, --check            see above\n"
    "  -T, --explain          see above\n"
    "  -d, --daemon           see above\n"
    "      --binary FILE      upgrade: to this program\n"
    "  -v, --version          print the version\n"
    "  -V, --libraries        print the version and those of the libraries\n"
    "  -h, --help             print this\n";

/* ---- reading ------------------------------------------------------------------------------- */

static rp_err wrong(struct rp_buf *error, const char *what, const char *which)
{
    rp_buf_addf(error, "%s%s (rproxy -h lists what there is)", what, which);
    return RP_E_INVALID;
}

static rp_err add_override(struct rp_cli *c, const char *text, struct rp_buf *error)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || strchr(text, '\n'))
        return wrong(error, "-g wants name=value, not ", text);
    rp_buf_addf(&c->overrides, "%s\n", text);
    if (strncmp(text, "pid=", 4) == 0) c->pid_path = text + 4;
    else c->sets_options = true;
    if (strncmp(text, "user=", 5) == 0) c->user = rp_str_z(text + 5);
    return RP_OK;
}

static rp_err set_mode(struct rp_cli *c, enum rp_cli_mode mode, struct rp_buf *error)
{
    if (c->mode != RP_CLI_SERVE && c->mode != mode)
        return wrong(error, "only one of -t, -T, -v, -V, -h and the commands can be meant", "");
    c->mode = mode;
    return RP_OK;
}

static rp_err take_option(struct rp_cli *c, int option, struct rp_buf *error)
{
    switch (option) {
    case 'p': c->site = optarg; return RP_OK;
    case 'g': return add_override(c, optarg, error);
    case 'd': c->daemon = true; return RP_OK;
    case OPTION_BINARY: c->binary = optarg; return RP_OK;
    case 't': return set_mode(c, RP_CLI_CHECK, error);
    case 'T': return set_mode(c, RP_CLI_EXPLAIN, error);
    case 'v': return set_mode(c, RP_CLI_VERSION, error);
    case 'V': return set_mode(c, RP_CLI_LIBRARIES, error);
    case 'h': return set_mode(c, RP_CLI_HELP, error);
    default: return RP_E_INVALID;
    }
}

static rp_err take_words(struct rp_cli *c, char **words, int n, struct rp_buf *error)
{
    if (n == 0) return RP_OK;
    if (n > 1) return wrong(error, "one command at a time, not also ", words[1]);
    c->command = rp_command_find(words[0]);
    if (c->command) return set_mode(c, RP_CLI_COMMAND, error);
    return wrong(error, "unknown command ", words[0]);
}

static bool needs_site(const struct rp_cli *c)
{
    return c->mode == RP_CLI_SERVE || c->mode == RP_CLI_CHECK || c->mode == RP_CLI_EXPLAIN ||
           c->mode == RP_CLI_COMMAND;
}

rp_err rp_cli_parse(struct rp_cli *c, int argc, char **argv, struct rp_buf *error)
{
    static const struct option longs[] = {
        {"site", required_argument, NULL, 'p'}, {"set", required_argument, NULL, 'g'},
        {"check", no_argument, NULL, 't'},      {"explain", no_argument, NULL, 'T'},
        {"daemon", no_argument, NULL, 'd'},     {"binary", required_argument, NULL, OPTION_BINARY},
        {"version", no_argument, NULL, 'v'},    {"libraries", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0},
    };
    int option;
    *c = (struct rp_cli){.mode = RP_CLI_SERVE};
    rp_buf_init(&c->overrides, 64 * 1024);
    opterr = 0;
    optind = 0; /* start anew */
    while ((option = getopt_long(argc, argv, ":p:g:tTdvVh", longs, NULL)) != -1) {
        char letter[] = {'-', (char)optopt, 0};
        const char *which =
            optopt > 0 && optopt < 128 && argv[optind - 1][1] != '-' ? letter : argv[optind - 1];
        if (option == '?') return wrong(error, "unknown option ", which);
        if (option == ':') return wrong(error, "a value is missing after ", which);
        rp_err e = take_option(c, option, error);
        if (e != RP_OK) return e;
    }
    rp_err e = take_words(c, argv + optind, argc - optind, error);
    if (e != RP_OK) return e;
    if (c->overrides.failed) return wrong(error, "too much text in -g", "");
    if (c->daemon && c->mode != RP_CLI_SERVE) return wrong(error, "-d is for serving alone", "");
    if (c->binary && (!c->command || strcmp(c->command, "upgrade") != 0))
        return wrong(error, "--binary is for the command upgrade alone", "");
    if (c->mode == RP_CLI_COMMAND && c->sets_options)
        return wrong(error, "a running master keeps its options: commands take no -g but pid=", "");
    if (!needs_site(c) || c->site) return RP_OK;
    return wrong(error, "which site? name it with -p site.lua", "");
}

void rp_cli_fini(struct rp_cli *c)
{
    rp_buf_fini(&c->overrides);
}

/* ---- printing ------------------------------------------------------------------------------ */

static void print(rp_str text)
{
    rp_ignore(rp_os_write_all(STDOUT_FILENO, text)); /* nothing to do about a closed stdout */
}

static void print_help(void)
{
    struct rp_buf tools;
    rp_buf_init(&tools, TEXT_MOST);
    rp_tool_list(&tools);
    print(rp_str_z(HELP));
    print(rp_buf_str(&tools));
    print(rp_str_z(HELP_OPTIONS));
    rp_buf_fini(&tools);
}

static int complain(int status, rp_str text)
{
    struct rp_run run = {.complaints = STDERR_FILENO};
    rp_boot_complain(&run, text);
    return status;
}

/* ---- checking ------------------------------------------------------------------------------ */

static int check(const struct rp_cli *c, const char *site)
{
    struct rp_os_account account;
    struct rp_buf error, found;
    struct rp_checked *checked = NULL;
    bool root = geteuid() == 0;
    rp_buf_init(&error, TEXT_MOST);
    rp_buf_init(&found, TEXT_MOST);
    if (root && rp_os_account_choose(c->user, &account) != RP_OK)
        return complain(EXIT_FAILED, RP_STR("no such account for -g user"));
    rp_found_ask(site, c->pid_path, &found);
    struct rp_check_order order = {.site = site,
                                   .found = rp_buf_str(&found),
                                   .overrides = rp_buf_str(&c->overrides),
                                   .describe = c->mode == RP_CLI_EXPLAIN ? RP_DESCRIBE_TEXT
                                                                         : RP_DESCRIBE_WARNINGS,
                                   .account = root ? &account : NULL};
    rp_err e = rp_check_run(&order, &checked, &error);
    if (e == RP_OK && checked->left_out) {
        (void)complain(EXIT_OK,
                       RP_STR("warning: routes that were found are left out, the site cannot "
                              "be loaded with them:"));
        (void)complain(EXIT_OK, rp_str_z(checked->left_out));
    }
    if (e == RP_OK && c->mode == RP_CLI_EXPLAIN) {
        print(checked->plan->description); /* ends with a line's end */
    } else if (e == RP_OK) {
        rp_ignore(rp_os_write_all(STDERR_FILENO, checked->plan->description));
        print(rp_str_z(c->site));
        print(RP_STR(": ok\n"));
    } else {
        (void)complain(EXIT_FAILED, rp_buf_str(&error));
    }
    rp_checked_free(&checked);
    rp_buf_fini(&found);
    rp_buf_fini(&error);
    return e == RP_OK ? EXIT_OK : EXIT_FAILED;
}

/* ---- the program --------------------------------------------------------------------------- */

static int serve(const struct rp_cli *c, const char *site, char **argv)
{
    char binary[RP_UPGRADE_PATH_BYTES];
    if (!rp_upgrade_find_self(argv[0], binary)) binary[0] = 0;
    struct rp_run run = {
        .site = site,
        .overrides = rp_buf_str(&c->overrides),
        .pid_path = c->pid_path,
        .user = c->user,
        .complaints = STDERR_FILENO,
        .ready = -1,
        .argv = argv,
        .binary = binary,
    };
    return c->daemon ? rp_boot_daemon(&run) : rp_master_run(&run);
}

static int run_site(const struct rp_cli *c, char **argv)
{
    char site[512];
    if (rp_pidfile_site(c->site, site) != RP_OK) {
        char text[600];
        snprintf(text, sizeof text, "%.400s: %s", c->site,
                 errno ? strerror(errno) : "no such path");
        return complain(EXIT_FAILED, rp_str_z(text));
    }
    if (c->mode == RP_CLI_SERVE) return serve(c, site, argv);
    if (c->mode != RP_CLI_COMMAND) return check(c, site);
    return rp_command_run(c->command, c->binary, site, c->pid_path);
}

int rp_cli_run(int argc, char **argv, const char *libraries)
{
    struct rp_cli c;
    struct rp_buf error;
    int status = EXIT_OK, at = rp_tool_find(argc, argv);
    if (rp_successor_is_wanted()) return rp_successor_run(argv);
    if (at) return rp_tool_run(argc, argv, at);
    rp_buf_init(&error, TEXT_MOST);
    if (rp_cli_parse(&c, argc, argv, &error) != RP_OK)
        status = complain(EXIT_USAGE, rp_buf_str(&error));
    else if (c.mode == RP_CLI_HELP) print_help();
    else if (c.mode == RP_CLI_VERSION || c.mode == RP_CLI_LIBRARIES) {
        print(RP_STR("rproxy " RP_VERSION "\n"));
        if (c.mode == RP_CLI_LIBRARIES) print(rp_str_z(libraries));
    } else status = run_site(&c, argv);
    rp_buf_fini(&error);
    rp_cli_fini(&c);
    return status;
}
