/* SPDX-License-Identifier: MIT
 *
 * tool_in: the inside of a tool that runs, for tool.c and tool_call.c.
 */
#ifndef RP_PROCESS_TOOL_IN_H
#define RP_PROCESS_TOOL_IN_H

#include "base/buf.h"
#include "process/channel.h"
#include "process/os.h"

struct rp_tool_run {
    const char *name;
    char **args; /* without the tool's name */
    int args_n;
    int reader;          /* channel to the process with root's rights; -1: our own are enough */
    int control;         /* connection to a master; -1 */
    struct rp_buf found; /* routes of the last running instance that a site of ours had */
    struct rp_message m;
};

enum { RP_TOOL_OF_SITE, RP_TOOL_ARGUMENT }; /* what is fetched by FETCH: head.a */

/* tool.c: the site of the command line (pages come from its folder); empty: none. */
void rp_tool_site(const struct rp_tool_run *r, char out[512]);

/* tool_call.c */

/* Does the next word belong to this one? The options of cli.c that take a value. */
bool rp_tool_takes_next(const char *word);
/* The last -g NAME=..; empty: none. */
rp_str rp_tool_override(const struct rp_tool_run *r, const char *name);
/* Open a file that is a word of the command line, or what follows "@" or "=" in one. */
RP_MUST rp_err rp_tool_open_argument(const struct rp_tool_run *r, rp_str path, int *fd);
/* The routes that the running instance of the site found. RP_E_NOT_FOUND: there is none. */
RP_MUST rp_err rp_tool_open_found(const struct rp_tool_run *r, int *fd);
/* arg: struct rp_tool_run. What struct rp_host_tool wants: a site's files, and all else. */
RP_MUST rp_err rp_tool_fetch(void *arg, rp_str path, struct rp_buf *out);
int rp_tool_call(void *arg, rp_str what, const rp_str *args, size_t n, struct rp_buf *out);

#endif
