/* SPDX-License-Identifier: MIT
 *
 * watch: a child of the master that looks every second whether files of certificates are still
 * what the serving generation was built from, and says so when they are not and have come to rest.
 *
 * A process of its own, for a file system that hangs must not stop the master. It looks by path, so
 * it sees files that are written, replaced, removed or new, links that lead elsewhere (also those
 * of folders above), and files that a pattern begins to fit.
 */
#ifndef RP_PROCESS_WATCH_H
#define RP_PROCESS_WATCH_H

#include "base/buf.h"
#include "base/clock.h"
#include "process/plan.h"

struct rp_watch {
    int pid;      /* a child to be reaped; 0: none */
    int channel;  /* readable when it has news; -1 */
    rp_ms due_ms; /* to be started then; UINT64_MAX: not */
};

/* From the next tick on another plan counts, which must live until then. */
void rp_watch_follow(struct rp_watch *w);
/* Start looking again after delay_ms, as if for the first time: what differs is told again. */
void rp_watch_again(struct rp_watch *w, rp_ms now_ms, rp_ms delay_ms);
/* Start what is due. Cannot be done: tried again later. */
void rp_watch_tick(struct rp_watch *w, const struct rp_plan *plan, rp_ms now_ms);
/* The channel is readable. True: files have changed, the first of them is appended to `file`. */
bool rp_watch_read(struct rp_watch *w, rp_ms now_ms, struct rp_buf *file);
/* That child ended; false: it is another's. */
bool rp_watch_reap(struct rp_watch *w, int pid, rp_ms now_ms);
void rp_watch_stop(struct rp_watch *w); /* its pid stays to be reaped */

#endif
