/* SPDX-License-Identifier: MIT
 *
 * cli: the command line.
 *
 * Exit status: 0 done, 1 failed (bad site, cannot listen, not running), 2 wrong usage.
 */
#ifndef RP_PROCESS_CLI_H
#define RP_PROCESS_CLI_H

#include "base/buf.h"

enum rp_cli_mode {
    RP_CLI_SERVE,
    RP_CLI_CHECK,     /* -t */
    RP_CLI_EXPLAIN,   /* -T */
    RP_CLI_VERSION,   /* -v */
    RP_CLI_LIBRARIES, /* -V */
    RP_CLI_HELP,      /* -h */
    RP_CLI_COMMAND,   /* reload, stop, quit, reopen, status */
};

struct rp_cli {
    enum rp_cli_mode mode;
    bool daemon;
    const char *site;        /* as written; NULL: not said */
    const char *command;     /* of RP_CLI_COMMAND */
    const char *binary;      /* --binary of the command upgrade; NULL */
    bool sets_options;       /* some -g but pid= */
    const char *pid_path;    /* the last -g pid=..; NULL */
    rp_str user;             /* the last -g user=..; empty */
    struct rp_buf overrides; /* "name=value" lines of all -g */
};

/* Read the command line; rp_cli_fini in any case. RP_E_INVALID with one line in error. */
RP_MUST rp_err rp_cli_parse(struct rp_cli *c, int argc, char **argv, struct rp_buf *error);
void rp_cli_fini(struct rp_cli *c);
/* The program. libraries: lines for -V. Returns the exit status. */
int rp_cli_run(int argc, char **argv, const char *libraries);

#endif
