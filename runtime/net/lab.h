/* SPDX-License-Identifier: MIT
 *
 * lab: a loop that is cut off from the world, for tests of site code: where its connections and names
 * lead is for its owner to say, and its time stands until it is moved.
 *
 * Nothing that serves may come here: the one caller is script/lab_world.c, in the VM of a tool. A loop
 * that was not cut off pays one predicted branch in rp_loop_now, in connecting and in asking for a
 * name.
 */
#ifndef RP_NET_LAB_H
#define RP_NET_LAB_H

#include "net/addr.h"
#include "net/loop.h"

struct rp_lab_net {
    void *arg;
    /* A connected socket without a name (own), or -errno: the connection is refused. */
    int (*connect)(void *arg, const struct rp_addr *to, bool datagrams);
    /* At most `room` addresses of a name in lower case. RP_E_NOT_FOUND and what else dns.h names. */
    rp_err (*resolve)(void *arg, rp_str name, struct rp_addr *out, size_t room, size_t *n);
};

/* Before anything uses l, whose clock is held (rp_clock_hold). net: kept. TLS as a client is not spoken
 * from now on: what would be sealed goes in the clear. */
void rp_loop_cut_off(struct rp_loop *l, const struct rp_lab_net *net);
const struct rp_lab_net *rp_loop_lab(const struct rp_loop *l); /* NULL: an ordinary loop */

/* Deferred jobs that ran, ever: what did not grow over some turns has come to rest. */
uint64_t rp_loop_ran(const struct rp_loop *l);
/* Does something run elsewhere (a job on a thread, a program) whose end will be told here? */
bool rp_loop_is_awaiting(const struct rp_loop *l);
/* When the first timer is due; UINT64_MAX: there is none. */
rp_ms rp_loop_first_timer(const struct rp_loop *l);
/* The held clock was moved: forget what was read of it, and fire what is due, in order and to the
 * millisecond; then run the deferred jobs. */
void rp_loop_catch_up(struct rp_loop *l);

#endif
