/* SPDX-License-Identifier: MIT
 *
 * circuit: the breaker of an upstream or a route, as a state and what changes it. Pure: the state is
 * a word that all workers share (shm/roster_gate.h); time, sums and dice are arguments.
 *
 * CLOSED   requests pass; when too many of the window's are bad or slow it opens
 * OPEN     none passes until a time; it is longer each time that the circuit opens soon again
 * HALF     some pass as probes: are all of them good it closes, one that is bad opens it again.
 *          Probes that do not come back (their worker died) are forgotten after a while: a new round
 *
 * A request carries the time of the state that let it pass: what it says counts only while that state
 * lasts. So answers of before an opening never count after it. A probe counts in later rounds, too: an
 * upstream that takes longer to answer than a round lasts would never be let in again.
 */
#ifndef RP_PROXY_CIRCUIT_H
#define RP_PROXY_CIRCUIT_H

#include "base/clock.h"

enum rp_circuit { RP_CIRCUIT_CLOSED, RP_CIRCUIT_OPEN, RP_CIRCUIT_HALF };
enum { RP_CIRCUIT_PROBES_MOST = 15 };

struct rp_circuit_rules {
    uint32_t errors;   /* thousandths of the window's that are bad; 0: not asked */
    uint32_t slow;     /* ... that are slow, more than; 1000: not asked */
    uint32_t least;    /* of the window before that counts */
    uint32_t probes;   /* 1 .. RP_CIRCUIT_PROBES_MOST */
    rp_ms open_ms;     /* the first time ... */
    rp_ms open_max_ms; /* ... and at most */
};

struct rp_circuit_state {
    uint8_t state;       /* enum rp_circuit */
    uint8_t row;         /* how often in a row it opened before this time */
    uint8_t taken, good; /* probes of this round */
    rp_ms at;            /* OPEN: until; else: since */
};

/* As a word; 0 is one that was always closed. */
uint64_t rp_circuit_word(const struct rp_circuit_state *s);
struct rp_circuit_state rp_circuit_read(uint64_t word);

enum rp_circuit_pass { RP_CIRCUIT_REFUSED, RP_CIRCUIT_PASSED, RP_CIRCUIT_PROBE };
/* May a request pass? s becomes what it is then; s->at is what the request carries. */
enum rp_circuit_pass rp_circuit_ask(const struct rp_circuit_rules *c, struct rp_circuit_state *s,
                                    rp_ms now);

struct rp_circuit_end {
    rp_ms at;                      /* what the request carries */
    bool probe;                    /* it was one, ... */
    uint8_t row;                   /* ... and the row of then */
    bool bad;                      /* it failed, or was slow */
    uint64_t all_n, bad_n, slow_n; /* of the window, this one included */
    uint32_t dice;                 /* by chance, below 1000 */
};
/* It came to an end. True: s changed. */
bool rp_circuit_note(const struct rp_circuit_rules *c, struct rp_circuit_state *s,
                     const struct rp_circuit_end *e, rp_ms now);
/* It went without an end that says anything: a probe's place is free again. True: s changed. */
bool rp_circuit_forget(struct rp_circuit_state *s, rp_ms at);

/* How long it is open after `row` openings in a row: twice as long each time, a tenth more by chance. */
rp_ms rp_circuit_open_ms(const struct rp_circuit_rules *c, uint32_t row, uint32_t dice);

#endif
