/* SPDX-License-Identifier: MIT
 *
 * zone: a named, sized piece of memory that every process of the instance shares.
 *
 * Made before fork (memfd, MAP_SHARED), so workers inherit the mapping at one address; handed to a
 * new master by fd on binary upgrade, where the address may differ: contents hold offsets, never
 * pointers. The file can neither shrink nor grow (sealed): no access inside it can fault.
 * A zone is divided into named parts. Parts are laid out by the master, before fork.
 */
#ifndef RP_SHM_ZONE_H
#define RP_SHM_ZONE_H

#include "base/str.h"

enum {
    RP_ZONE_NAME_BYTES = 48, /* a NUL included */
    RP_ZONE_PARTS_MAX = 32,
    RP_ZONE_HEAD_BYTES = 4096, /* of every zone, before its first part */
    RP_ZONE_VERSION = 1,
};

struct rp_zone_part {
    char name[RP_ZONE_NAME_BYTES];
    uint64_t at, bytes; /* offset from the zone's start */
};

/* First bytes of the shared memory itself. */
struct rp_zone_head {
    uint64_t magic;
    uint32_t version, part_n;
    uint64_t bytes; /* of the whole zone */
    uint64_t used;  /* first free offset */
    char name[RP_ZONE_NAME_BYTES];
    struct rp_zone_part parts[RP_ZONE_PARTS_MAX];
};

/* This process's view of a zone. */
struct rp_zone {
    struct rp_zone_head *head; /* start of the mapping */
    size_t bytes;              /* checked against the file; what we trust, unlike head->bytes */
    int fd;                    /* close-on-exec; the master clears that for an upgrade */
};

/* A zeroed zone with at least `bytes` for parts (rounded up to pages, the head comes on top).
 * ret   RP_OK and *out; RP_E_INVALID: empty or long name; RP_E_TOO_BIG; RP_E_OS: the system refuses */
RP_MUST rp_err rp_zone_new(rp_str name, size_t bytes, struct rp_zone **out);
/* Map a zone that another process made. fd: own (on RP_OK; else still the caller's).
 * ret   RP_OK; RP_E_INVALID: not a zone, another version, not sealed, or its size disagrees with
 *       its head; RP_E_OS */
RP_MUST rp_err rp_zone_adopt(int fd, struct rp_zone **out);
/* Another mapping of it, which may outlive this one. RP_E_OS. */
RP_MUST rp_err rp_zone_again(const struct rp_zone *z, struct rp_zone **out);
/* Huge pages for this mapping, where it is large and the system lets memory that asks have them
 * (transparent_hugepage/shmem_enabled). For zones that are read all over: one of which only a few
 * places are touched would take much more memory. */
void rp_zone_wish_huge(const struct rp_zone *z);
void rp_zone_free(struct rp_zone **z); /* unmap and close here; other processes keep theirs */
rp_str rp_zone_name(const struct rp_zone *z);

/* The part of that name: found, or made (64-byte aligned, zeroed). Master only, before fork or
 * between forks: nothing is locked.
 * out   *ptr; *fresh = true when it was made now
 * ret   RP_OK; RP_E_CAP: no room or too many parts; RP_E_INVALID: exists with another size, or a
 *       bad name */
RP_MUST rp_err rp_zone_part(struct rp_zone *z, rp_str name, size_t bytes, void **ptr, bool *fresh);
size_t rp_zone_left(const struct rp_zone *z); /* bytes that one more part could take */
/* The most n, at most `most`, for which bytes_for(n) is not more than bytes. */
uint32_t rp_zone_fit(size_t bytes, uint32_t most, size_t (*bytes_for)(uint32_t n));

#endif
