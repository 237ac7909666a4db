/* SPDX-License-Identifier: MIT
 *
 * lookup: large sets that are read from a file and shared by all workers (`rp.shm.set`): networks
 * with the longest prefix winning, texts, domain names, lines.
 *
 * A zone holds two images. One is read; the next is laid out in the other by whoever noticed that
 * the file changed (one at a time, by a lock; on a thread that may take its time), and then one
 * word says which. A reader looks at the version of its image before and after, and at the bounds
 * of everything, so an image that is overwritten under it is noticed and does no harm.
 */
#ifndef RP_SHM_LOOKUP_H
#define RP_SHM_LOOKUP_H

#include "shm/zone.h"

enum {
    RP_LOOKUP_KEY_MOST = 1024,
    RP_LOOKUP_VALUE_MOST = 255, /* bytes that may go with an entry */
    RP_LOOKUP_LINE_MOST = 8192,
};

enum rp_lookup_type {
    RP_LOOKUP_NETS = 1,
    RP_LOOKUP_TEXTS,
    RP_LOOKUP_DOMAINS, /* a name, and all below it; entries are in lower case */
    RP_LOOKUP_LINES,   /* in order */
};

/* Which file, and which version of it. */
struct rp_lookup_id {
    uint64_t type, path_hash, bytes, mtime_ns, inode;
};

struct rp_lookup_hit {
    uint32_t n; /* NETS: bits of the prefix, of 128 (IPv4: from 96); DOMAINS: bytes of the entry */
    uint32_t value_n;
    char value[RP_LOOKUP_VALUE_MOST];
};

struct rp_lookup_stats {
    uint64_t version; /* images made; 0: none yet */
    uint64_t entries, bytes, room /* of one image */, made_s /* epoch */;
};

struct rp_lookup;
RP_MUST rp_err rp_lookup_new(struct rp_zone *z, struct rp_lookup **out); /* RP_E_INVALID, RP_E_OS */
void rp_lookup_free(struct rp_lookup **l);
/* What is read is made of that. */
bool rp_lookup_is(const struct rp_lookup *l, const struct rp_lookup_id *id);
/* It was tried, and no image could be made of it. */
bool rp_lookup_is_bad(const struct rp_lookup *l, const struct rp_lookup_id *id);
void rp_lookup_stats(const struct rp_lookup *l, struct rp_lookup_stats *out);

/* ---- making; on any thread, begin to end on the same ---- */

struct rp_lookup_maker;
/* ret   RP_OK and *out; RP_AGAIN: another process makes one just now */
RP_MUST rp_err rp_lookup_begin(struct rp_lookup *l, enum rp_lookup_type type,
                               struct rp_lookup_maker **out);
/* NETS. bits: of the 128 of ip, where IPv4 is mapped. The later one of two that are equal counts.
 * RP_E_CAP: more than the zone takes; RP_E_INVALID: value too long. */
RP_MUST rp_err rp_lookup_add_net(struct rp_lookup_maker *m, const uint8_t ip[16], uint32_t bits,
                                 rp_str value);
/* The others. RP_E_CAP; RP_E_INVALID: key or value too long. */
RP_MUST rp_err rp_lookup_add_text(struct rp_lookup_maker *m, rp_str key, rp_str value);
/* Lay it out; readers have it from then on. The maker is gone. RP_E_CAP: it does not fit, and the
 * one before stays. */
RP_MUST rp_err rp_lookup_publish(struct rp_lookup_maker **m, const struct rp_lookup_id *id,
                                 uint64_t now_s);
/* Nothing comes of it. bad: the file's fault, which others need not find again; NULL: not so. */
void rp_lookup_drop(struct rp_lookup_maker **m, const struct rp_lookup_id *bad);

/* ---- looking: RP_OK and *hit; RP_E_NOT_FOUND; RP_E_BUSY: nothing was read in one piece ---- */

RP_MUST rp_err rp_lookup_net(const struct rp_lookup *l, const uint8_t ip[16],
                             struct rp_lookup_hit *hit);
RP_MUST rp_err rp_lookup_text(const struct rp_lookup *l, rp_str key, struct rp_lookup_hit *hit);
RP_MUST rp_err rp_lookup_domain(const struct rp_lookup *l, rp_str name, struct rp_lookup_hit *hit);
/* Line i (0..) of version *version (0: whichever, which is written there). out: RP_LOOKUP_LINE_MOST
 * bytes. RP_E_NOT_FOUND: no more; RP_E_BUSY also: there is another version now. */
RP_MUST rp_err rp_lookup_line(const struct rp_lookup *l, uint32_t i, uint64_t *version, char *out,
                              uint32_t *out_n);

#endif
