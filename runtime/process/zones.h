/* SPDX-License-Identifier: MIT
 *
 * zones: the memory of `shared`, one sealed memory file per zone, made by the master and passed on
 * by descriptor. A generation has a set of its own; a zone of the same name, kind and size is the same
 * memory in the next one.
 */
#ifndef RP_PROCESS_ZONES_H
#define RP_PROCESS_ZONES_H

#include "process/handover.h"
#include "process/plan.h"
#include "shm/share.h"

struct rp_zones {
    struct rp_zones_one *list; /* by index of the plan's zones */
    int *fds;                  /* the same; the zones own them */
    uint32_t n;
};

/* old: the set that serves, NULL: none. A zone that another version laid out otherwise is made anew. RP_E_OS with one line in error; nothing is open then. */
RP_MUST rp_err rp_zones_open(struct rp_zones *z, const struct rp_zones *old,
                             const struct rp_plan *plan, struct rp_buf *error);
void rp_zones_close(struct rp_zones *z);
/* What became of the zones of `old` when `z` serves: a line for each that starts empty or is gone. */
void rp_zones_tell(const struct rp_zones *z, const struct rp_zones *old, struct rp_buf *out);
/* For an upgrade: as rp_sockets_put, rp_sockets_take. Memory that is none of ours is left out, and is
 * named in a line of `lost`. */
/* Open what was taken, which is the set that serves from now on. RP_E_INVALID, RP_E_OS. */
RP_MUST rp_err rp_zones_use(struct rp_zones *z);
void rp_zones_put(const struct rp_zones *z, struct rp_handover_out *o);
bool rp_zones_take(struct rp_zones *z, struct rp_handover_in *in,
                   const struct rp_handover_record *r, struct rp_buf *lost);
/* That worker is dead. */
void rp_zones_forget(struct rp_zones *z, uint32_t worker);
/* Lines of `rproxy status`. */
void rp_zones_status(const struct rp_zones *z, struct rp_buf *out);

#endif
