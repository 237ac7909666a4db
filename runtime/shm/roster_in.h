/* SPDX-License-Identifier: MIT
 *
 * roster_in: what roster.c and roster_gate.c share: the layout, and single words.
 */
#ifndef RP_SHM_ROSTER_IN_H
#define RP_SHM_ROSTER_IN_H

#include <pthread.h>

#include "shm/roster_gate.h"

enum { RP_ROSTER_LINE = 128 };

struct roster_id {
    uint64_t high, low; /* low is odd: a place that was never used has none */
};

struct roster_place {
    struct roster_id id;
    uint64_t latency;
    uint64_t rest_until_ms, up_since_ms;
    uint32_t health, order, weight, fails, ejections;
    uint32_t why, ejected, noticed;
    uint32_t gate; /* 1 + its number; 0: it is a peer's */
    uint32_t from;
    uint64_t reset_requests, reset_failures; /* what was counted before the last reset */
    uint64_t check;                          /* its time, twice, and 1 when it was good */
    uint64_t good, bad;                      /* results up to the last look */
    char fill[RP_ROSTER_LINE - 120];
    char upstream[RP_ROSTER_UPSTREAM_BYTES], peer[RP_ROSTER_PEER_BYTES]; /* for people */
};

struct roster_slice {
    uint32_t number; /* of the slice of time */
    uint32_t n;
    uint32_t counts[RP_HISTOGRAM_BUCKETS];
};

/* By one worker of one place. */
struct roster_past {
    uint64_t since_ms; /* nothing is known of before */
    uint64_t good, bad;
    uint64_t spare;
    struct roster_slice slices[RP_ROSTER_SLICES];
    char fill[20 * RP_ROSTER_LINE - 32 - RP_ROSTER_SLICES * sizeof(struct roster_slice)];
};

struct roster_count {
    uint32_t in_flight, held;
    uint64_t requests, failures;
    uint32_t past; /* 1 + its number; 0: none */
    uint32_t spare;
};

/* A part of the window: two words, each whole in itself. */
struct roster_cell {
    uint64_t all; /* 32 bits of the tick, 32 of how many */
    uint64_t bad; /* 16 bits of the tick, 24 of how many were bad, 24 of how many slow */
};

struct roster_gate {
    uint64_t owner; /* low half of the place's id */
    uint64_t words[RP_GATE_WORDS];
    struct roster_cell cells[RP_GATE_CELLS];
    uint32_t counts[RP_HISTOGRAM_BUCKETS];
    char fill[9 * RP_ROSTER_LINE - 8 - RP_GATE_WORDS * 8 - RP_GATE_CELLS * 16 -
              RP_HISTOGRAM_BUCKETS * 4];
};

struct roster_head {
    uint32_t worker_n, place_n;
    struct rp_hash_key key;
    uint32_t top;    /* no worker from this number on was ever there */
    uint32_t past_n; /* given out */
    pthread_mutex_t lock;
    uint32_t gate_n; /* given out, under the lock */
    uint32_t
        region; /* where the region of places ends that new peers get one of; 0: there is one */
    uint32_t used_n; /* places in it that ever were somebody's */
    char fill[RP_ROSTER_LINE - 44 - sizeof(pthread_mutex_t)];
    uint64_t epoch; /* read with every choice, written seldom: a line of its own */
    char fill2[RP_ROSTER_LINE - 8];
};

struct rp_roster {
    struct roster_head *head;
    struct roster_place *places;
    struct roster_count *rows; /* place_n per worker */
    struct roster_gate *gates;
    struct roster_past *pasts;
    uint32_t worker_n, place_n, gate_n, past_n;
    struct rp_hash_key key;
    void *own; /* not a zone's: ours */
};

/* As rp_roster_hold, of a place that the caller may then make into something, under the lock. */
RP_MUST rp_err rp_roster_hold_as(struct rp_roster *r, uint32_t worker, rp_str upstream, rp_str peer,
                                 rp_err (*make)(struct rp_roster *, uint32_t place),
                                 uint32_t *place, bool *fresh);
bool rp_roster_is_held(const struct rp_roster *r, uint32_t place);

#ifndef RP_CDEF
static inline struct roster_count *rp_roster_count_of(const struct rp_roster *r, uint32_t worker,
                                                      uint32_t place)
{
    RP_CHECK(worker < r->worker_n && place < r->place_n);
    return r->rows + (size_t)worker * r->place_n + place;
}

static inline uint32_t rp_roster_get32(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline uint64_t rp_roster_get64(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline bool rp_roster_swap64(uint64_t *word, uint64_t was, uint64_t is)
{
    return __atomic_compare_exchange_n(word, &was, is, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

#endif
#endif
