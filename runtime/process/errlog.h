/* SPDX-License-Identifier: MIT
 *
 * errlog: the error log of this process: one write per line to a descriptor that the master opened
 * (O_APPEND, so that the lines of many processes do not mix).
 */
#ifndef RP_PROCESS_ERRLOG_H
#define RP_PROCESS_ERRLOG_H

#include "base/log.h"

struct rp_errlog {
    int fd; /* own; -1: stderr */
};

/* Make it the sink of base/log; log must outlive its use. Starts on stderr. */
void rp_errlog_open(struct rp_errlog *log);
/* Write to a duplicate of fd from now on; -1: stderr. */
void rp_errlog_use(struct rp_errlog *log, int fd);
/* Back to stderr, and no more the sink. */
void rp_errlog_close(struct rp_errlog *log);

#endif
