/* SPDX-License-Identifier: MIT
 *
 * master: owns listening sockets, log files, shared memory, the pid file and the workers. Runs no
 * Lua, parses nothing from the network, has no event library: one poll loop.
 *
 * States: STARTING (all workers must come up) -> SERVING -> DRAINING or STOPPING -> ended.
 */
#ifndef RP_PROCESS_MASTER_H
#define RP_PROCESS_MASTER_H

#include "base/str.h"

/* What the command line says about a run. */
struct rp_run {
    const char *site;                 /* absolute */
    rp_str overrides;                 /* "name=value" lines */
    const char *pid_path;             /* -g pid=..; NULL */
    rp_str user;                      /* -g user=..; empty */
    int complaints;                   /* where errors of the start are written */
    char **argv;                      /* as it was started */
    const char *binary;               /* absolute path of the program, as it was started */
    struct rp_succession *succession; /* of an upgrade; NULL: none */
    int ready; /* pipe that gets one byte once workers serve; -1: in the foreground */
};

/* Start, serve until told to end. Returns the exit status. */
int rp_master_run(struct rp_run *run);

#endif
