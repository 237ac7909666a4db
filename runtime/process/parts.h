/* SPDX-License-Identifier: MIT
 *
 * parts: what the processes of an instance share beside the zones of `rp.shared`: each part lies
 * in a sealed memory file of its own, so that an upgrade can take over those whose layout it knows
 * and lay out the others anew.
 */
#ifndef RP_PROCESS_PARTS_H
#define RP_PROCESS_PARTS_H

#include "base/buf.h"
#include "shm/zone.h"

enum { RP_PARTS_MOST = 16 };

struct rp_master;

/* By the order of the table in parts.c; NULL: not open. */
struct rp_parts {
    struct rp_zone *zones[RP_PARTS_MOST];
};

uint32_t rp_parts_count(void);
/* "roster1": the name ends with the number of the layout. */
const char *rp_parts_name(uint32_t i);
/* Lay all of them out for this master. old (NULL: none): memory of the version before, taken over
 * where it is laid out as ours; it stays the caller's.
 * out   lost: a line for each that was there and could not be
 * ret   RP_OK; else words in error, and rp_parts_close undoes it */
RP_MUST rp_err rp_parts_open(struct rp_master *m, const struct rp_parts *old, struct rp_buf *lost,
                             struct rp_buf *error);
void rp_parts_close(struct rp_master *m);

#endif
