/* SPDX-License-Identifier: MIT
 *
 * command: reload, stop, quit, reopen, upgrade, status: what a running master is told over its control socket.
 */
#ifndef RP_PROCESS_COMMAND_H
#define RP_PROCESS_COMMAND_H

#include "base/str.h"

/* The command that the word names, a constant; NULL: none. */
const char *rp_command_find(const char *word);
/* Tell the master of this site and print what it says; stop and quit wait for its end.
 * binary: of an upgrade, or NULL; site: as from rp_pidfile_site; pid_path: -g pid=, or NULL. Returns
 * the exit status. */
int rp_command_run(const char *command, const char *binary, const char *site, const char *pid_path);

#endif
