/* SPDX-License-Identifier: MIT
 *
 * boot: what the master does before its first worker and after its last: account, pid file, check,
 * sockets, log files, shared memory, control socket; and going into the background.
 */
#ifndef RP_PROCESS_BOOT_H
#define RP_PROCESS_BOOT_H

#include "base/err.h"
#include "process/master.h"

struct rp_master;

/* ret   RP_OK, or a failure that was told to the user already */
RP_MUST rp_err rp_boot(struct rp_master *m);
void rp_boot_undo(struct rp_master *m); /* also after a boot that failed half-way */
/* "rproxy: ..." on the terminal, one line of it per line of text. */
void rp_boot_complain(const struct rp_run *run, rp_str text);
/* Run `run` in the background; returns the exit status of the caller: 0 once workers serve. */
int rp_boot_daemon(struct rp_run *run);

#endif
