/* SPDX-License-Identifier: MIT
 *
 * splice: bytes from socket to socket inside the kernel, by way of a pipe (splice(2)). Nobody sees
 * them and nothing is copied, at two system calls a move: it pays for bulk only.
 *
 * Owns: the pipes of a loop. A pipe belongs to a user only while it holds bytes; then it goes back,
 * and those that no one used for two seconds are closed. There are few of them, and when there is
 * none to be had (descriptors, limits of the system, a kernel that refuses) the answer is RP_E_BUSY:
 * the caller copies, now and for the next second.
 */
#ifndef RP_NET_SPLICE_H
#define RP_NET_SPLICE_H

#include "base/chain.h"
#include "net/timer.h"

struct rp_conn;
struct rp_splice; /* a pipe with bytes in it */

/* A loop's pipes; all zero at its birth. For loop.c. */
struct rp_splice_pool {
    struct rp_splice *idle;
    uint32_t idle_n, live_n;
    uint32_t least_idle_n; /* since the timer was set */
    uint32_t most_n;       /* live ones; 0: not asked yet */
    rp_ms rest_until_ms;   /* no pipe is made, nothing is moved before */
    struct rp_timer tidy;
};
void rp_splice_pool_fini(struct rp_loop *l);

/* May bytes go from one to the other unseen? Not with TLS on either side, but where the kernel seals. */
bool rp_splice_can(const struct rp_conn *from, const struct rp_conn *to);
/* Take at most n bytes out of the socket; the pipe sets a limit of its own (256 KB, or 64 KB). *s is
 * NULL before; it is set only with RP_OK, when *got bytes are in it.
 * ret   as rp_conn_recv; RP_E_BUSY: nothing was taken, use that
 * cost  one system call; three more for a pipe that is new */
RP_MUST rp_err rp_splice_take(struct rp_conn *from, size_t n, struct rp_splice **s, size_t *got);
/* Give them to the other socket. RP_OK: all, *s is NULL again; else as rp_conn_send, with the rest in
 * *s. Should the kernel refuse, the rest is moved to `rest` and sent from there: so that is always
 * sent first. */
RP_MUST rp_err rp_splice_give(struct rp_conn *to, struct rp_splice **s, struct rp_chain *rest);
/* Throw the bytes away. NULL is accepted. */
void rp_splice_drop(struct rp_splice **s);
size_t rp_splice_bytes(const struct rp_splice *s); /* NULL: 0 */

#endif
