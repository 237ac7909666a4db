/* SPDX-License-Identifier: MIT
 *
 * logs: the log files of one generation, opened by the master with its rights (0640, appending) and
 * passed on by descriptor. A relative path starts at the site's folder.
 */
#ifndef RP_PROCESS_LOGS_H
#define RP_PROCESS_LOGS_H

#include "process/plan.h"

struct rp_logs {
    int *fds; /* by index of the plan's files */
    uint32_t n;
};

/* RP_E_OS with one line in error; nothing is open then. */
RP_MUST rp_err rp_logs_open(struct rp_logs *l, const struct rp_plan *plan, const char *site,
                            struct rp_buf *error);
void rp_logs_close(struct rp_logs *l);

#endif
