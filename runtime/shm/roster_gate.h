/* SPDX-License-Identifier: MIT
 *
 * roster_gate: what all processes know of a whole upstream, or of a route: what came of its requests
 * lately, and the words by which its circuit and its limit are decided. A gate has a place in the
 * roster, held and counted (requests under way) as a peer's is.
 *
 * Each word is changed by whoever read it (compare and exchange), so of many that would change it at
 * once one does. What a worker that died had in hand is bounded by times in the words themselves.
 */
#ifndef RP_SHM_ROSTER_GATE_H
#define RP_SHM_ROSTER_GATE_H

#include "shm/roster.h"

enum {
    RP_GATE_CELLS = 10, /* of the window */
    RP_GATES_MAX = 4096,
};

enum rp_gate_kind { RP_GATE_UPSTREAM, RP_GATE_ROUTE };

enum rp_gate_word {
    RP_GATE_CIRCUIT,    /* circuit.h */
    RP_GATE_OPENED,     /* how often it did */
    RP_GATE_REFUSED,    /* requests, by the circuit or the limits */
    RP_GATE_LIMIT,      /* limit.h */
    RP_GATE_RTT,        /* limit.h */
    RP_GATE_RTT_AT,     /* limit.h */
    RP_GATE_MOST,       /* requests under way that the site allows; 0: any */
    RP_GATE_LIMIT_AT,   /* it is thought of again then */
    RP_GATE_OUTLIER_AT, /* the same of its peers */
    RP_GATE_CELL_MS,    /* of its window; for whoever tells of it */
    RP_GATE_SETTINGS,   /* what it has: RP_GATE_HAS_ bits; the same */
    RP_GATE_WORDS
};

enum { RP_GATE_HAS_CIRCUIT = 1, RP_GATE_HAS_LIMIT = 2, RP_GATE_HAS_MOST = 4 };

/* Hold the gate of that name; let go with rp_roster_drop. RP_E_CAP: there are too many. */
RP_MUST rp_err rp_roster_hold_gate(struct rp_roster *r, uint32_t worker, enum rp_gate_kind kind,
                                   rp_str name, uint32_t *place);

uint64_t rp_roster_word(const struct rp_roster *r, uint32_t gate, enum rp_gate_word which);
bool rp_roster_swap_word(struct rp_roster *r, uint32_t gate, enum rp_gate_word which, uint64_t was,
                         uint64_t is);
void rp_roster_put_word(struct rp_roster *r, uint32_t gate, enum rp_gate_word which, uint64_t is);
/* One more. */
void rp_roster_add_word(struct rp_roster *r, uint32_t gate, enum rp_gate_word which);
/* Is it time, by a word that ends in _AT? Then one process is told so, and nobody for `every_ms`. */
bool rp_roster_take_turn(struct rp_roster *r, uint32_t gate, enum rp_gate_word which,
                         uint64_t now_ms, uint64_t every_ms);

/* ---- the window ----------------------------------------------------------------------------- */

/* A request came to an end; the window is RP_GATE_CELLS of cell_ms. */
void rp_roster_count_end(struct rp_roster *r, uint32_t gate, uint64_t now_ms, uint64_t cell_ms,
                         bool bad, bool slow);
struct rp_gate_sums {
    uint64_t all, bad, slow;
};
struct rp_gate_sums rp_roster_sums(const struct rp_roster *r, uint32_t gate, uint64_t now_ms,
                                   uint64_t cell_ms);
void rp_roster_clear_sums(struct rp_roster *r, uint32_t gate);

/* ---- samples -------------------------------------------------------------------------------- */

void rp_roster_add_sample(struct rp_roster *r, uint32_t gate, uint64_t us);
/* Those since the last call; they are gone then. Returns how many. */
uint64_t rp_roster_take_samples(struct rp_roster *r, uint32_t gate,
                                uint32_t counts[RP_HISTOGRAM_BUCKETS]);
uint64_t rp_roster_samples(const struct rp_roster *r, uint32_t gate); /* how many there are */

/* ---- telling -------------------------------------------------------------------------------- */

struct rp_gate_report {
    uint32_t place;
    uint8_t kind; /* enum rp_gate_kind */
    char name[RP_ROSTER_PEER_BYTES];
    uint64_t in_flight, requests;
    uint64_t words[RP_GATE_WORDS];
    struct rp_gate_sums sums;
};
/* As rp_roster_next, of the gates. */
bool rp_roster_next_gate(const struct rp_roster *r, uint32_t *at, uint64_t now_ms,
                         struct rp_gate_report *out);

#endif
