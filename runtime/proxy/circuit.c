/* SPDX-License-Identifier: MIT
 *
 * circuit: see circuit.h.
 */
#include "proxy/circuit.h"

enum { ROW_MOST = 63, AT_BITS = 48, SLOW_OFF = 1000, THOUSAND = 1000 };

/* ---- words ---------------------------------------------------------------------------------- */

uint64_t rp_circuit_word(const struct rp_circuit_state *s)
{
    uint64_t head = (uint64_t)(s->state & 3) << 14 | (uint64_t)(s->row & 63) << 8 |
                    (uint64_t)(s->taken & 15) << 4 | (s->good & 15);
    return head << AT_BITS | (s->at & ((UINT64_C(1) << AT_BITS) - 1));
}

struct rp_circuit_state rp_circuit_read(uint64_t word)
{
    uint32_t head = (uint32_t)(word >> AT_BITS), state = head >> 14;
    return (struct rp_circuit_state){
        .state = (uint8_t)(state <= RP_CIRCUIT_HALF ? state : RP_CIRCUIT_CLOSED),
        .row = head >> 8 & 63,
        .taken = head >> 4 & 15,
        .good = head & 15,
        .at = word & ((UINT64_C(1) << AT_BITS) - 1),
    };
}

/* ---- changes -------------------------------------------------------------------------------- */

rp_ms rp_circuit_open_ms(const struct rp_circuit_rules *c, uint32_t row, uint32_t dice)
{
    rp_ms ms = c->open_ms, most = RP_MAX(c->open_max_ms, c->open_ms);
    for (uint32_t i = 0; i < row && ms < most; i++) ms *= 2;
    ms = RP_MIN(ms, most);
    return ms + ms * (dice % THOUSAND) / (10 * THOUSAND);
}

/* Soon after it closed it is open for longer; else as if it were the first time. */
static void open_it(const struct rp_circuit_rules *c, struct rp_circuit_state *s, uint32_t row,
                    uint32_t dice, rp_ms now)
{
    row = RP_MIN(row, (uint32_t)ROW_MOST);
    *s = (struct rp_circuit_state){.state = RP_CIRCUIT_OPEN,
                                   .row = (uint8_t)row,
                                   .at = now + rp_circuit_open_ms(c, row, dice)};
}

static enum rp_circuit_pass begin_round(struct rp_circuit_state *s, rp_ms now)
{
    *s = (struct rp_circuit_state){.state = RP_CIRCUIT_HALF, .row = s->row, .taken = 1, .at = now};
    return RP_CIRCUIT_PROBE;
}

/* Those of the last one that have not come back are not waited for; what the others said holds, or
 * who comes seldom would never close it. */
static enum rp_circuit_pass next_round(struct rp_circuit_state *s, rp_ms now)
{
    s->at = now;
    s->taken = (uint8_t)RP_MIN(s->good + 1, RP_CIRCUIT_PROBES_MOST);
    return RP_CIRCUIT_PROBE;
}

/* Times of the word are of the same clock as ours, but a worker's is that of its tick. A time too far
 * ahead is of other settings: nobody waits for it. */
static bool is_past(const struct rp_circuit_rules *c, rp_ms at, rp_ms now)
{
    rp_ms most = RP_MAX(c->open_max_ms, c->open_ms);
    return now >= at || at - now > most + most / 10;
}

enum rp_circuit_pass rp_circuit_ask(const struct rp_circuit_rules *c, struct rp_circuit_state *s,
                                    rp_ms now)
{
    switch ((enum rp_circuit)s->state) {
    case RP_CIRCUIT_CLOSED: return RP_CIRCUIT_PASSED;
    case RP_CIRCUIT_OPEN: return is_past(c, s->at, now) ? begin_round(s, now) : RP_CIRCUIT_REFUSED;
    case RP_CIRCUIT_HALF: break;
    }
    if (now > s->at && now - s->at >= c->open_ms) return next_round(s, now);
    if (s->taken >= c->probes || s->taken >= RP_CIRCUIT_PROBES_MOST) return RP_CIRCUIT_REFUSED;
    s->taken++;
    return RP_CIRCUIT_PROBE;
}

static bool is_too_bad(const struct rp_circuit_rules *c, const struct rp_circuit_end *e)
{
    if (e->all_n < c->least || e->all_n == 0) return false;
    if (c->errors && e->bad_n * THOUSAND >= e->all_n * c->errors) return true;
    return c->slow < SLOW_OFF && e->slow_n * THOUSAND > e->all_n * c->slow;
}

/* A row goes on when the circuit opens again within twice the time that it was open. */
static uint32_t row_of(const struct rp_circuit_rules *c, const struct rp_circuit_state *s,
                       rp_ms now)
{
    if (s->at == 0) return 0; /* it never was open */
    rp_ms closed = now > s->at ? now - s->at : 0;
    return closed <= 2 * rp_circuit_open_ms(c, s->row, 0) ? s->row + 1u : 0;
}

static bool note_probe(const struct rp_circuit_rules *c, struct rp_circuit_state *s,
                       const struct rp_circuit_end *e, rp_ms now)
{
    if (e->bad) {
        open_it(c, s, s->row + 1u, e->dice, now);
        return true;
    }
    if (s->good < RP_CIRCUIT_PROBES_MOST) s->good++;
    if (s->good >= c->probes)
        *s = (struct rp_circuit_state){.state = RP_CIRCUIT_CLOSED, .row = s->row, .at = now};
    return true;
}

/* A probe of an earlier round. */
static bool is_of_before(const struct rp_circuit_state *s, const struct rp_circuit_end *e)
{
    return e->probe && e->row == s->row && e->at < s->at;
}

bool rp_circuit_note(const struct rp_circuit_rules *c, struct rp_circuit_state *s,
                     const struct rp_circuit_end *e, rp_ms now)
{
    if (s->state == RP_CIRCUIT_HALF)
        return (s->at == e->at || is_of_before(s, e)) && note_probe(c, s, e, now);
    if (s->state == RP_CIRCUIT_OPEN || s->at != e->at) return false;
    if (!is_too_bad(c, e)) return false;
    open_it(c, s, row_of(c, s, now), e->dice, now);
    return true;
}

bool rp_circuit_forget(struct rp_circuit_state *s, rp_ms at)
{
    if (s->state != RP_CIRCUIT_HALF || s->at != at || s->taken <= s->good) return false;
    s->taken--;
    return true;
}
