/* SPDX-License-Identifier: MIT
 *
 * fault: makes system calls fail on purpose, in debug builds only. Elsewhere the macros are the
 * plain call and nothing of this is in the program.
 *
 *   ssize_t r = RP_SYS(recv, recv(fd, buf, RP_SHORT(recv, n), 0));
 *
 * A point is a row of fault.tbl. While a plan is armed each call at a point draws from the plan's
 * dice whether it fails, and how; the same plan and the same calls give the same failures. A plan
 * holds in the thread that armed it, and in what that thread forks; RP_FAULT in the environment
 * arms every thread of every process at its first call:
 *
 *   RP_FAULT=seed=7,chance=200,most=20,skip=50,points=fork+recvmsg   (chance: of 65536 calls)
 *   RP_FAULT=trace=1,...                                              each failure to stderr
 */
#ifndef RP_BASE_FAULT_H
#define RP_BASE_FAULT_H

#include "base/check.h"

enum rp_fault_point {
#define X(name, ...) RP_FAULT_##name,
#include "base/fault.tbl"
#undef X
    RP_FAULT_POINTS,
};

struct rp_fault_plan {
    uint64_t seed;
    uint32_t skip_n; /* calls, at any point, that are left alone first */
    uint32_t most_n; /* failures; 0: any number */
    bool trace;
    uint32_t chance[RP_FAULT_POINTS]; /* of 65536 calls; 0: never */
    uint32_t nth[RP_FAULT_POINTS]; /* this call of the point, from 1, fails for certain; 0: none */
};

/* Plan in force from the next call on; copied. */
void rp_fault_arm(const struct rp_fault_plan *plan);
void rp_fault_disarm(void);

/* What a report needs: names, and how often each outcome came since the process began. Outcomes of
 * a point are counted from 0; NULL: no such outcome. */
const char *rp_fault_name(uint32_t point);
const char *rp_fault_outcome(uint32_t point, uint32_t i);
uint64_t rp_fault_fired(uint32_t point, uint32_t i);
uint64_t rp_fault_calls(uint32_t point); /* while armed */

/* 0, or errno (which is set) when this call shall fail. */
int rp_fault_hit(enum rp_fault_point point);
/* n, or less (at least 1) when this call shall be short. */
size_t rp_fault_short(enum rp_fault_point point, size_t n);

#ifndef RP_CDEF
#ifdef RP_DEBUG
#define RP_FAULT(point) rp_fault_hit(RP_FAULT_##point)
#define RP_SHORT(point, n) rp_fault_short(RP_FAULT_##point, (n))
#else
#define RP_FAULT(point) 0
#define RP_SHORT(point, n) (n)
#endif
/* `call`, or what it returns when it fails. */
#define RP_SYS_OR(point, failed, call) (RP_FAULT(point) ? (failed) : (call))
#define RP_SYS(point, call) RP_SYS_OR(point, -1, call)
#endif

#endif
