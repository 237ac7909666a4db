/* SPDX-License-Identifier: MIT
 *
 * evaluator: the unprivileged process that runs a site to find out what it says.
 */
#ifndef RP_PROCESS_EVALUATOR_H
#define RP_PROCESS_EVALUATOR_H

#include "process/checker.h"

/* Drop rights, evaluate, answer on `channel` with RESULT or FAILED, exit. reader: our parent. */
RP_NORETURN void rp_evaluate(const struct rp_check_order *order, int reader, int channel);

#endif
