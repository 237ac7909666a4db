/* SPDX-License-Identifier: MIT
 *
 * lookup_in: the inside of a lookup, for lookup*.c only: how an image lies in its half of a zone.
 *
 * NETS:   index (where there are many), starts and owners of IPv4, of IPv6, entries, bytes
 * others: slots (TEXTS, DOMAINS), entries, bytes
 * A net covers numbers; starts cut them where another net is the narrowest, and owners say which
 * (its entry, from 1; 0: none), so that one binary search answers.
 */
#ifndef RP_SHM_LOOKUP_IN_H
#define RP_SHM_LOOKUP_IN_H

#include "base/hash.h"
#include "shm/lock.h"
#include "shm/lookup.h"

enum {
    RP_LOOKUP_INDEX_N = 65536 + 1, /* by the first 16 bits of an IPv4 address */
    RP_LOOKUP_INDEX_FROM = 4096,   /* starts from which it is worth its memory */
    RP_LOOKUP_ALIGN = 16,
};

struct rp_lookup_start6 {
    uint64_t high, low;
};

struct rp_lookup_entry {
    uint32_t at;     /* in the bytes: key, then value */
    uint16_t key_n;  /* NETS: bits of the prefix */
    uint8_t value_n; /* after the key */
    uint8_t spare;
};

struct rp_lookup_image {
    uint32_t type;
    uint32_t entries_n, ip4_n, ip6_n, slots_n;
    uint32_t indexed;
    uint64_t bytes_n;
    struct rp_hash_key key;
    uint64_t spare;
};

struct rp_lookup_head {
    pthread_mutex_t lock; /* of who makes an image */
    uint32_t active;      /* which is read: 0, 1 */
    uint64_t version;     /* 0: none */
    uint64_t seq[2];      /* of the images: odd while one is written */
    struct rp_lookup_id id;
    uint64_t made_s;
    struct rp_lookup_id bad; /* a file that no image could be made of */
};

struct rp_lookup {
    struct rp_lookup_head *head;
    char *images[2];
    size_t room; /* of an image */
};

/* Parts of an image, by its numbers; false: they do not fit into `room`. */
struct rp_lookup_parts {
    uint32_t *index, *start4, *owner4, *owner6, *slots;
    struct rp_lookup_start6 *start6;
    struct rp_lookup_entry *entries;
    char *bytes;
    size_t whole; /* bytes that it takes */
};
bool rp_lookup_divide(char *base, size_t room, const struct rp_lookup_image *image,
                      struct rp_lookup_parts *out);

#endif
