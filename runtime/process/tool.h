/* SPDX-License-Identifier: MIT
 *
 * tool: `rproxy TOOL args..`: programs of the layer (lua/rproxy/cli/) that run in a VM of their own,
 * with all of Lua's libraries and the rights of who calls them. They never serve.
 *
 * A tool that runs a site's code itself (`runs_site`) does so, when root calls it, in a process that
 * became the account of workers first; its parent keeps root's rights and opens for it what a reader
 * opens for a check (checker.h), and files that are named on the command line. The others have
 * sites evaluated by a check, and run none of their code.
 */
#ifndef RP_PROCESS_TOOL_H
#define RP_PROCESS_TOOL_H

#include "base/buf.h"

/* Index in argv of the first word, when that is a tool's name; else 0. */
int rp_tool_find(int argc, char **argv);
/* Run it: what else is in argv is the tool's. Returns the exit status: 0, 1, or 2 for trouble. */
int rp_tool_run(int argc, char **argv, int at);
/* The tools for `rproxy -h`, a line each. */
void rp_tool_list(struct rp_buf *out);

#endif
