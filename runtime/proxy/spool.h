/* SPDX-License-Identifier: MIT
 *
 * spool: one body on its way, in memory as long as it is small and behind that in a file without a
 * name: a queue of bytes that one side puts in and the other gets out, at their own paces.
 *
 * A queue lets go of what was got. One that is kept (a request body) can be got again from its
 * beginning. All file work is done on the thread pool, one job at a time; whoever is told RP_AGAIN
 * is woken by the job's end.
 *
 * Order of the bytes: [file: base_at .. file_end) [the job that writes] [memory]. `got` is where
 * the reader is; a queue whose reader came to file_end begins the file anew at base_at = file_end.
 */
#ifndef RP_PROXY_SPOOL_H
#define RP_PROXY_SPOOL_H

#include "base/chain.h"
#include "net/loop.h"

/* What all spools of a worker share: the account of bytes on disk. */
struct rp_spill_counts {
    uint64_t files, files_active; /* made so far, there now */
    uint64_t bytes, bytes_active; /* written so far, of the disk now */
    uint64_t failures;            /* of the disk */
};
struct rp_spill;
struct rp_spill *rp_spill_new(struct rp_loop *l, struct rp_spill_counts *counts); /* counts: kept */
/* The account goes with its last file; counts are not touched any more. */
void rp_spill_drop(struct rp_spill **s);

struct rp_spool_rule {
    rp_str dir;    /* where files are made; kept */
    uint64_t most; /* bytes of all files of the worker; more is "full" */
    uint64_t max;  /* bytes of this file; a queue that has them waits for its reader */
    size_t memory; /* bytes held in memory before they are written */
    bool kept;     /* can be got again; its file is bounded by `most` alone */
};

struct rp_spool;
/* wake(user): a job ended, look again; comes from the loop, never inside a call. */
struct rp_spool *rp_spool_new(struct rp_spill *s, const struct rp_spool_rule *rule,
                              void (*wake)(void *user), void *user);
void rp_spool_free(struct rp_spool **sp); /* at any time */

/* Take all bytes of `in`. A queue takes them in any case; ask has_room before. */
void rp_spool_put(struct rp_spool *sp, struct rp_chain *in);
/* Add bytes that `in` keeps, too. */
void rp_spool_share(struct rp_spool *sp, const struct rp_chain *in);
/* Is less in memory than may be? */
bool rp_spool_has_room(const struct rp_spool *sp);
/* The reader does not come: begin to write what fills the memory.
 * ret   RP_OK: there is room, or will be after a wake, or (a queue only) when the reader has got
 *       some; RP_E_SPILL_FULL, RP_E_SPILL: a kept one cannot take more */
RP_MUST rp_err rp_spool_push(struct rp_spool *sp);
/* Nothing more comes. why: RP_END, or the failure that the reader gets behind the last byte. */
void rp_spool_end(struct rp_spool *sp, rp_err why);
/* After the end, of a kept one: RP_OK all bytes are where they will be; RP_AGAIN; RP_E_SPILL. */
RP_MUST rp_err rp_spool_settle(struct rp_spool *sp);

/* Up to about max bytes behind those got before. RP_OK; RP_AGAIN: none now (is_reading says whether
 * the file or the other side is awaited); RP_END, or what the end says; RP_E_SPILL */
RP_MUST rp_err rp_spool_get(struct rp_spool *sp, struct rp_chain *out, size_t max);
bool rp_spool_is_reading(const struct rp_spool *sp);
void rp_spool_rewind(struct rp_spool *sp); /* a kept one: the next get begins at its start */
uint64_t rp_spool_bytes(const struct rp_spool *sp); /* that were put in */
uint64_t rp_spool_left(const struct rp_spool *sp);  /* ... and not got yet */
bool rp_spool_is_ended(const struct rp_spool *sp);
bool rp_spool_is_finished(const struct rp_spool *sp); /* ended well, and all was got */

#endif
