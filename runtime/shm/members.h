/* SPDX-License-Identifier: MIT
 *
 * members: named texts that one process writes and all read: which peers upstreams have beside those
 * of the site (proxy/member.h says what is in them).
 *
 * A set is replaced as a whole. Readers take no lock and never see a half of it: the new text is laid
 * beside the old one, and one word of the directory makes it the set. A writer that is killed leaves
 * the old set or the new one; what is free follows from the directory alone, so nothing leaks.
 */
#ifndef RP_SHM_MEMBERS_H
#define RP_SHM_MEMBERS_H

#include "base/buf.h"
#include "shm/roster.h"

enum {
    RP_MEMBERS_SETS_MIN = 16,
    RP_MEMBERS_SETS_DEFAULT = 4096,
    RP_MEMBERS_SET_MOST = 4 << 20,  /* bytes of one set: some 50,000 peers */
    RP_MEMBERS_TEXT_MIN = 64 << 10, /* bytes of all sets */
    RP_MEMBERS_TEXT_DEFAULT = 32 << 20,
    RP_MEMBERS_TEXT_OPERATOR = 4 << 20, /* what the operator says is less */
};

struct rp_members;

/* Lay out, or find again, in a part of that name. roster: kept; it is told of changes, so that who
 * looks at its epoch need not look here; NULL: nobody is told.
 * ret   RP_OK; RP_E_INVALID: other numbers, or bad ones; else as rp_zone_part */
RP_MUST rp_err rp_members_new(struct rp_zone *z, rp_str part, uint32_t sets_n, size_t text_bytes,
                              struct rp_roster *roster, struct rp_members **out);
void rp_members_free(struct rp_members **m); /* this process's handle */
size_t rp_members_bytes(uint32_t sets_n, size_t text_bytes);

/* Grows with every change. */
uint64_t rp_members_epoch(const struct rp_members *m);
/* Changes with every change of that set; 0: there never was one. */
uint32_t rp_members_version(const struct rp_members *m, rp_str name);
/* Append the set's text; *version (may be NULL) is of that text.
 * ret   RP_OK, also when there is none; RP_E_BUSY: it changes faster than it is read; RP_E_TOO_BIG:
 *       out's cap */
RP_MUST rp_err rp_members_get(const struct rp_members *m, rp_str name, struct rp_buf *out,
                              uint32_t *version);
/* This is the set from now on; *changed (may be NULL) = false: it was already.
 * ret   RP_OK; RP_E_TOO_BIG: over RP_MEMBERS_SET_MOST; RP_E_CAP: too many sets, or no room for their
 *       texts; RP_E_BUSY: another writer is stuck. The old set stays then. */
RP_MUST rp_err rp_members_put(struct rp_members *m, rp_str name, rp_str text, bool *changed);
/* Empty every set but those of these names; how many there were. Sets of which the site knows nothing
 * any more take room. */
uint32_t rp_members_keep(struct rp_members *m, const rp_str *names, uint32_t names_n);

#endif
