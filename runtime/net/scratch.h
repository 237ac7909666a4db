/* SPDX-License-Identifier: MIT
 *
 * scratch: a file without a name that is written and read on the thread pool.
 *
 * Owns: the descriptor, and the bytes of the one job that may be under way. The file has no name
 * (O_TMPFILE, or made and unlinked at once where the file system knows no such files), so nothing
 * of it outlives the process.
 *
 * Invariants: a job touches only what the scratch owns; whoever closes a busy scratch leaves it to
 * the job's end, and hears no more of it. Opening and closing are jobs too: giving back the blocks
 * of a large file takes its time.
 */
#ifndef RP_NET_SCRATCH_H
#define RP_NET_SCRATCH_H

#include "base/chain.h"
#include "net/loop.h"

struct rp_scratch;

/* dir: copied; the file is made there by the first write. done(user): a job ended, told on the
 * loop; s may be closed in it. gone(arg): the file is closed and its blocks are free, once,
 * possibly inside rp_scratch_close; NULL: nobody asks. */
struct rp_scratch *rp_scratch_new(struct rp_loop *l, rp_str dir, void (*done)(void *user),
                                  void *user, void (*gone)(void *arg), void *arg);
bool rp_scratch_is_busy(const struct rp_scratch *s);
/* Start writing the first n bytes of `in` (moved) at offset `at`. Not while busy.
 * ret   RP_OK: done follows; RP_E_OS: no job could be started, `in` is as it was */
RP_MUST rp_err rp_scratch_write(struct rp_scratch *s, struct rp_chain *in, size_t n, uint64_t at);
/* Start reading n bytes, at most RP_CHUNK_LARGE, at offset `at`: all of them were written. */
RP_MUST rp_err rp_scratch_read(struct rp_scratch *s, uint64_t at, size_t n);
/* How the last job ended; once, after done. out: what was read, or what could not be written (both
 * appended). RP_E_OS: rp_scratch_errno says why */
RP_MUST rp_err rp_scratch_take(struct rp_scratch *s, struct rp_chain *out);
int rp_scratch_errno(const struct rp_scratch *s);
void rp_scratch_close(struct rp_scratch *s); /* at any time; done does not come any more */

#endif
