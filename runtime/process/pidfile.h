/* SPDX-License-Identifier: MIT
 *
 * pidfile: where a master is found: the run directory, names made from the site's path, and a pid
 * file whose lock is the proof that its process lives (a killed master leaves a file, never a lock).
 *
 * Run directory: /run/rproxy for root, else $XDG_RUNTIME_DIR/rproxy, else /tmp/rproxy-UID.
 * The pid file of /etc/rproxy/site.lua is etc-rproxy-site.lua.pid there; the control socket lies
 * beside it and ends in .sock. `-g pid=/path` puts both elsewhere.
 */
#ifndef RP_PROCESS_PIDFILE_H
#define RP_PROCESS_PIDFILE_H

#include "base/buf.h"

enum { RP_PIDFILE_PATH_BYTES = 512 };

struct rp_pidfile {
    char path[RP_PIDFILE_PATH_BYTES];
    char sock[RP_PIDFILE_PATH_BYTES]; /* of the control socket; fits a unix address */
    int fd;                           /* the locked file; -1: not ours */
};

/* The absolute path that names a site: no ".", no "..", no repeated slashes; symbolic links of the
 * file itself stay, so that a switched link is followed by a reload. RP_E_TOO_BIG; RP_E_OS. */
RP_MUST rp_err rp_pidfile_site(const char *site, char out[512]);
/* "/etc/rproxy/site.lua" -> "etc-rproxy-site.lua": one name per path ('-' and '%' are escaped),
 * long ones are shortened with a hash. */
void rp_pidfile_name(const char *site, char out[80]);
/* Fill paths. site: as from rp_pidfile_site; at: chosen pid file, or NULL. make: create the run
 * directory. RP_E_INVALID with words in `error` when the place is not safe to use. */
RP_MUST rp_err rp_pidfile_locate(struct rp_pidfile *p, const char *site, const char *at, bool make,
                                 struct rp_buf *error);
/* Take the lock and write our pid. RP_E_BUSY: another master has it (words in error). */
RP_MUST rp_err rp_pidfile_take(struct rp_pidfile *p, struct rp_buf *error);
/* Remove file and lock, if they are ours. */
void rp_pidfile_release(struct rp_pidfile *p);
/* Pid of the master that holds the lock; 0: none. *stale: the pid that a file without lock names,
 * 0 when there is no file. */
int rp_pidfile_find(const struct rp_pidfile *p, int *stale);

#endif
