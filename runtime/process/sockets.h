/* SPDX-License-Identifier: MIT
 *
 * sockets: the master's listening sockets: for each TCP listener one SO_REUSEPORT socket per worker,
 * for each unix listener one that all share. They outlive workers, so that no client is lost when
 * one dies; a listener that two generations name is the same sockets in both.
 *
 * UDP sockets are as TCP ones are, but that the choice between them is made for each datagram, and
 * must be the same for all of one client. A program of ours makes it from the client's address and
 * port: a client changes its worker only when that leaves, or when a new one gets its share.
 */
#ifndef RP_PROCESS_SOCKETS_H
#define RP_PROCESS_SOCKETS_H

#include "process/handover.h"
#include "process/plan.h"

struct rp_socket;
/* One generation's listeners, by index of its plan. */
struct rp_sockets {
    struct rp_socket **list;
    uint32_t n;
};

/* The sockets of a plan for this many workers; those of `old` (may be NULL) are used again.
 * ret   RP_OK; RP_E_OS with one line in error: what, why, what to do */
RP_MUST rp_err rp_sockets_open(struct rp_sockets *s, const struct rp_sockets *old,
                               const struct rp_plan *plan, uint32_t workers, struct rp_buf *error);
/* Bind what a worker lacks. RP_E_OS as above. */
RP_MUST rp_err rp_sockets_ensure(struct rp_sockets *s, uint32_t worker, struct rp_buf *error);
/* A worker is about to drain: its sockets take nobody new (after the next route), and are not given
 * to who gets its number next. They stay open here until `gone`, so that the order of the kernel's
 * group is known: a client whose handshake is under way is lost with its socket. */
void rp_sockets_leave(struct rp_sockets *s, uint32_t worker);
void rp_sockets_gone(struct rp_sockets *s, uint32_t worker);
/* Let the kernel give new clients to able workers only. able: by worker number,
 * RP_PLAN_WORKERS_MOST. */
void rp_sockets_route(struct rp_sockets *s, const bool *able);
/* Give the generation up; what the other one does not use is closed. */
void rp_sockets_close(struct rp_sockets *s);
/* For an upgrade: say what there is; take one record of that (its descriptors are own from then on, and
 * the set grows). False: the record is about something else, or malformed, which in->bad tells. */
void rp_sockets_put(const struct rp_sockets *s, struct rp_handover_out *o);
bool rp_sockets_take(struct rp_sockets *s, struct rp_handover_in *in,
                     const struct rp_handover_record *r);
/* The workers of these sockets have successors, who share those of TCP with them; for datagrams they
 * get their own, since two could not tell whose client one is of. */
void rp_sockets_succeed(struct rp_sockets *s);
/* Give up what the version before had. Files of unix sockets that `now` has stay. */
void rp_sockets_forget(struct rp_sockets *old, const struct rp_sockets *now);
/* A worker's descriptor of listener i (borrowed). */
int rp_sockets_fd(const struct rp_sockets *s, uint32_t i, uint32_t worker);
/* Is listener i of s one that `old` has? */
bool rp_sockets_is_known(const struct rp_sockets *s, uint32_t i, const struct rp_sockets *old);

#endif
