/* SPDX-License-Identifier: MIT
 *
 * flight: several want the same thing at the same moment, and one of them fetches it for all. Who
 * comes first leads; the others have a seat and wait. Knows nothing of requests: what is fetched
 * and who wants it are its user's.
 *
 * The leader ends a flight (rp_flight_end) with what all get, or leaves it: then who waits longest
 * leads. A flight that has ended takes nobody more; who comes then begins another one.
 */
#ifndef RP_PROXY_FLIGHT_H
#define RP_PROXY_FLIGHT_H

#include "base/map.h"

struct rp_flight;

/* One who wants it; embedded in its user's memory. All zero: in no flight. */
struct rp_flight_seat {
    struct rp_flight *flight;
    struct rp_flight_seat *next, *prev; /* in the order of their coming */
    void (*wake)(
        struct rp_flight_seat *s); /* it leads now, or the flight has ended; only queue a job */
    bool leads;
};

struct rp_flights { /* rp_flights_init */
    struct rp_map map;
};

void rp_flights_init(struct rp_flights *fs);
void rp_flights_fini(struct rp_flights *fs); /* every seat was given up */

/* Take a seat; look at s->leads. wake is set. RP_E_CAP: too many flights at once. */
RP_MUST rp_err rp_flight_join(struct rp_flights *fs, rp_str key, struct rp_flight_seat *s);
/* At any time; nothing when it is in none. A leader's place is taken by who waits longest. */
void rp_flight_leave(struct rp_flight_seat *s);
/* The leader's: all others are told. result: what they get, NULL: nothing, each for himself;
 * drop(result) is called when the last seat was given up (NULL: it need not be). The leader has
 * left then. */
void rp_flight_end(struct rp_flight_seat *s, void *result, void (*drop)(void *result));
bool rp_flight_has_ended(const struct rp_flight_seat *s);
void *rp_flight_result(const struct rp_flight_seat *s);     /* of one that has ended */
uint32_t rp_flight_leaders(const struct rp_flight_seat *s); /* that it had so far */
uint32_t rp_flight_seats(const struct rp_flight_seat *s);
/* The seat behind s; NULL: the last. The first is the leader's. */
struct rp_flight_seat *rp_flight_next(const struct rp_flight_seat *s);

#endif
