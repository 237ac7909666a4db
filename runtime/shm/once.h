/* SPDX-License-Identifier: MIT
 *
 * once: ids that may come true once in all workers: early data of TLS, which anybody can send
 * again.
 *
 * A fixed table of sets of words, one word an id with its time; no lock. Who takes an id writes it
 * and then looks for it in the other places of its set: of two that come at the same moment at most
 * one finds itself alone, so an id is never taken twice within the window; sometimes not even once.
 * So is one whose set is full of ids from within the window, or one that looks like another (40
 * bits and its set are compared). Ids stay beyond the window until their place is needed.
 *
 * What makes a replay old is looked at by wall clock elsewhere. So while that stands behind what it
 * once was, nothing is taken.
 */
#ifndef RP_SHM_ONCE_H
#define RP_SHM_ONCE_H

#include "base/clock.h"
#include "shm/zone.h"

enum {
    RP_ONCE_ID_BYTES = 16,
    RP_ONCE_SETS = 4096,
    RP_ONCE_WAYS = 16,     /* of a set: two cache lines */
    RP_ONCE_WINDOW_S = 30, /* OpenSSL takes early data that is up to 11 s late */
    RP_ONCE_BACK_S = 1,    /* a wall clock that is corrected by so much was not set */
};

struct rp_once;

/* Lay out (or, in an adopted zone, find again) in a part of that name.
 * ret   RP_OK; as rp_zone_part */
RP_MUST rp_err rp_once_new(struct rp_zone *z, rp_str part, struct rp_once **out);
void rp_once_free(struct rp_once **o); /* this process's handle; the zone keeps the ids */
size_t rp_once_bytes(void);            /* of the zone; pages that nobody touches take no memory */
/* Is it the first time that this id (uniformly distributed: of a digest) is shown? False as well
 * when that cannot be told. now_ms: of a clock that all processes share and nobody sets; wall_s:
 * seconds since 1970.
 * cost  O(1) */
bool rp_once_take(struct rp_once *o, const uint8_t id[RP_ONCE_ID_BYTES], rp_ms now_ms,
                  uint64_t wall_s);

#endif
