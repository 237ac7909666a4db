/* SPDX-License-Identifier: MIT
 *
 * names: a table of short names in shared memory that any worker adds to: a name has a number, for
 * as long as the table is there. What the numbers stand for is the caller's.
 *
 * A name is complete before it is counted, so who reads needs no lock; who adds takes one. A death
 * between counting a name and finding it by its hash is made good by the next comer.
 */
#ifndef RP_SHM_NAMES_H
#define RP_SHM_NAMES_H

#include "base/str.h"

enum { RP_NAMES_BYTES = 200 }; /* longest name */

/* This process's view of one. */
struct rp_names {
    struct rp_names_head *head;
    uint32_t *slots; /* hash table of numbers, from 1 */
    struct rp_names_one *list;
    uint32_t slots_n, most;
};

size_t rp_names_bytes(uint32_t most); /* memory that so many names take */
/* at: zeroed where fresh, aligned to 64. Fresh ones by the master only. RP_E_OS. */
RP_MUST rp_err rp_names_open(struct rp_names *n, void *at, uint32_t most, bool fresh);
/* Number of a name, from 0; kind: the caller's, not 0.
 * ret   RP_OK; RP_E_NOT_FOUND; RP_END: it is of another kind */
RP_MUST rp_err rp_names_find(const struct rp_names *n, rp_str name, uint32_t kind, uint32_t *at);
/* The same; one that is not there is added.
 * ret   and RP_E_CAP: full; RP_E_INVALID: empty or long; RP_E_BUSY: no lock */
RP_MUST rp_err rp_names_add(struct rp_names *n, rp_str name, uint32_t kind, uint32_t *at);
uint32_t rp_names_count(const struct rp_names *n);
/* at < rp_names_count. Names stay. */
rp_str rp_names_text(const struct rp_names *n, uint32_t at);
uint32_t rp_names_kind(const struct rp_names *n, uint32_t at);

#endif
