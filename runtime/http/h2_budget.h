/* SPDX-License-Identifier: MIT
 *
 * h2_budget: how much nuisance one HTTP/2 connection may make. Pure: time is an argument.
 *
 * Some frames cost the sender nothing and us something, and a request can need them only now and
 * then: resets of streams just opened (CVE-2023-44487), PING, SETTINGS, PRIORITY, empty DATA, tiny
 * WINDOW_UPDATE (CVE-2019-9511 to 9518). Each kind has a bucket: a burst, and so many per second.
 * Requests themselves are not counted: that is what rate limits are for.
 */
#ifndef RP_HTTP_H2_BUDGET_H
#define RP_HTTP_H2_BUDGET_H

#include "base/clock.h"

enum rp_h2_nuisance {
    RP_H2_RESETS,   /* RST_STREAM from the client */
    RP_H2_CONTROLS, /* PING, SETTINGS, PRIORITY, PRIORITY_UPDATE, unknown frames */
    RP_H2_EMPTIES,  /* DATA without data that ends nothing */
    RP_H2_WINDOWS,  /* WINDOW_UPDATE by next to nothing */
    RP_H2_FAULTS,   /* malformed requests, frames on closed streams */
    RP_H2_NUISANCES
};

/* All zero: nothing happened yet. */
struct rp_h2_budget {
    rp_ms at_ms[RP_H2_NUISANCES]; /* when `spent` was true */
    uint32_t spent[RP_H2_NUISANCES];
};

/* The client got content: it may answer each frame of it with PING and WINDOW_UPDATE, as clients do
 * that measure the way. whole: all that there was, so not as little as the client made it. */
void rp_h2_budget_earn(struct rp_h2_budget *b, bool whole);
/* The client opened a window by an amount that is no nuisance. Whoever acknowledges each frame also
 * opens windows by little now and then: what a window has left becomes a small frame. */
void rp_h2_budget_opened(struct rp_h2_budget *b);
/* One more of this kind; false: too many. */
bool rp_h2_budget_take(struct rp_h2_budget *b, enum rp_h2_nuisance kind, rp_ms now);
const char *rp_h2_nuisance_name(enum rp_h2_nuisance kind); /* "resets" */

#endif
