/* SPDX-License-Identifier: MIT
 *
 * roster: what all processes know of the peers of upstreams: requests under way, latency, health,
 * who rests and what the operator said. One truth, so that workers do not differ.
 *
 * A peer has a place by a 128-bit id, for as long as somebody holds it and until the place is wanted
 * for another: so a reload, which holds the new before it lets go of the old, changes nothing. What a
 * worker counts is written by it alone, in a row of its own, and is forgotten in one go when it dies;
 * facts are single words, changed atomically. Whatever decides who may be chosen raises the epoch.
 *
 * A place may have a past: how long its answers took lately, a row of times per worker that begins
 * anew every RP_ROSTER_SLICE_MS. And a place may be a gate (roster_gate.h): not of a peer, but of a
 * whole upstream or of a route.
 */
#ifndef RP_SHM_ROSTER_H
#define RP_SHM_ROSTER_H

#include "base/hash.h"
#include "base/histogram.h"
#include "shm/zone.h"

enum {
    RP_ROSTER_PLACES_MIN = 256,
    RP_ROSTER_PLACES_DEFAULT = 16384, /* 4 MB, and 512 KB per worker, where they are used */
    RP_ROSTER_UPSTREAM_BYTES = 48,    /* kept of the names, a NUL included */
    RP_ROSTER_PEER_BYTES = 80,
    RP_ROSTER_SLICES = 3, /* of the past that is kept: the last two and the one that goes on */
    RP_ROSTER_SLICE_MS = 20 * 1000,
};

/* What active checks say. */
enum rp_roster_health { RP_ROSTER_UNKNOWN, RP_ROSTER_PASSING, RP_ROSTER_FAILING };

/* What the operator says. */
enum rp_roster_order {
    RP_ROSTER_READY,
    RP_ROSTER_DRAIN, /* nothing new but for clients that are bound to it */
    RP_ROSTER_MAINT, /* nothing at all */
};

/* Why a peer rests. */
enum rp_roster_why {
    RP_ROSTER_NO_REASON,
    RP_ROSTER_FAILS,        /* so many in a row */
    RP_ROSTER_SUCCESS_RATE, /* fewer of its answers are good than the others' */
    RP_ROSTER_FAILURES,     /* too many of its answers are bad */
    RP_ROSTER_SLOW,         /* it takes longer than the others */
    RP_ROSTER_WHYS
};

/* A copy; times are of the monotonic clock, which all processes share. */
struct rp_roster_facts {
    uint8_t health, order;  /* enums above */
    uint32_t weight;        /* the operator's; UINT32_MAX: as configured */
    uint32_t fails;         /* in a row */
    uint32_t ejections;     /* in a row: each makes the next rest longer */
    uint64_t rest_until_ms; /* 0: it does not rest */
    uint64_t up_since_ms;   /* it came back then; 0: it was always there */
    uint8_t why;            /* enum rp_roster_why: of the last rest */
    bool check_ok;          /* what the last check said ... */
    uint64_t check_ms;      /* ... and when; 0: there was none */
    uint32_t ejected;       /* rests ever */
    uint32_t noticed;       /* ... that were not given, because the site only wants to know */
};

/* Who brought the peer. */
enum rp_roster_from { RP_ROSTER_SITE, RP_ROSTER_PROVIDER, RP_ROSTER_OPERATOR };

struct rp_roster;

/* Lay out, or find again, in a part of that name. place_n: a power of two.
 * ret   RP_OK; RP_E_INVALID: other numbers, or bad ones; else as rp_zone_part */
RP_MUST rp_err rp_roster_new(struct rp_zone *z, rp_str part, uint32_t worker_n, uint32_t place_n,
                             struct rp_roster **out);
/* One that this process shares with nobody; its worker is 0. */
struct rp_roster *rp_roster_own(uint32_t place_n);
void rp_roster_free(struct rp_roster **r); /* this process's handle */
size_t rp_roster_bytes(uint32_t worker_n, uint32_t place_n);

/* A secret of the instance, the same in all processes. */
struct rp_hash_key rp_roster_key(const struct rp_roster *r);
/* Hold the peer's place; *fresh: nobody knew it. RP_E_CAP: all places are taken. */
RP_MUST rp_err rp_roster_hold(struct rp_roster *r, uint32_t worker, rp_str upstream, rp_str peer,
                              uint32_t *place, bool *fresh);
void rp_roster_drop(struct rp_roster *r, uint32_t worker, uint32_t place);
/* Its place, which nobody need hold yet: for facts about one that is about to be there. */
RP_MUST rp_err rp_roster_reserve(struct rp_roster *r, rp_str upstream, rp_str peer,
                                 uint32_t *place);
/* The place of a peer that somebody holds, by its whole name. */
bool rp_roster_find(const struct rp_roster *r, rp_str upstream, rp_str peer, uint32_t *place);
/* The worker has nothing: it is about to start, or it is dead. */
void rp_roster_forget(struct rp_roster *r, uint32_t worker);

/* Grows with every change of facts: who has seen it need not look again. */
uint64_t rp_roster_epoch(const struct rp_roster *r);
/* Something else changed that decides who may be chosen (shm/members.h): grow. */
void rp_roster_touch(struct rp_roster *r);

/* ---- requests ------------------------------------------------------------------------------- */

void rp_roster_enter(struct rp_roster *r, uint32_t worker, uint32_t place);
/* The same, if there are no more than `most` of all workers then: false, and nothing changed, where there
 * would be. Never is there one more, whoever asks at the same moment. */
RP_MUST bool rp_roster_enter_within(struct rp_roster *r, uint32_t worker, uint32_t place,
                                    uint32_t most);
/* It entered, and comes to nothing: as if it had not. */
void rp_roster_retreat(struct rp_roster *r, uint32_t worker, uint32_t place);
/* The request is over; failed: by the peer's fault. */
void rp_roster_leave(struct rp_roster *r, uint32_t worker, uint32_t place, bool failed);
/* One that has not left failed: it was answered, badly. */
void rp_roster_count_failure(struct rp_roster *r, uint32_t worker, uint32_t place);
uint32_t rp_roster_in_flight(const struct rp_roster *r, uint32_t place); /* of all workers */
struct rp_roster_totals {
    uint64_t in_flight, requests, failures; /* ever, but for workers that died */
};
struct rp_roster_totals rp_roster_totals(const struct rp_roster *r, uint32_t place);
/* The mean latency: a word that is changed by what was read before. False: another did, look again. */
uint64_t rp_roster_latency(const struct rp_roster *r, uint32_t place);
bool rp_roster_swap_latency(struct rp_roster *r, uint32_t place, uint64_t was, uint64_t is);

/* ---- the past ------------------------------------------------------------------------------- */

/* An answer that took so long. Nothing when there is no room for the past of so many places. */
void rp_roster_note_time(struct rp_roster *r, uint32_t worker, uint32_t place, uint64_t us,
                         uint64_t now_ms);
/* A request went well, or did not, by what the outliers of an upstream are judged by. */
void rp_roster_note_result(struct rp_roster *r, uint32_t worker, uint32_t place, bool bad,
                           uint64_t now_ms);
struct rp_roster_past {
    uint64_t n;  /* answers in this time: */
    uint64_t ms; /* how far it goes back */
    uint32_t counts[RP_HISTOGRAM_BUCKETS];
};
/* How long its answers took lately, of all workers; since_ms: not those before (0: all that is kept,
 * 40 to 60 seconds). cost O(workers x buckets) */
void rp_roster_past(const struct rp_roster *r, uint32_t place, uint64_t now_ms, uint64_t since_ms,
                    struct rp_roster_past *out);
struct rp_roster_results {
    uint64_t good, bad;
};
/* Results since this was asked the last time, by whichever process. */
struct rp_roster_results rp_roster_take_results(struct rp_roster *r, uint32_t place);

/* What is told of a peer that somebody holds; names may be cut. */
struct rp_roster_report {
    uint32_t place;
    char upstream[RP_ROSTER_UPSTREAM_BYTES], peer[RP_ROSTER_PEER_BYTES];
    struct rp_roster_facts facts;
    struct rp_roster_totals totals;
    uint32_t latency_us;
    uint8_t from; /* enum rp_roster_from */
};
/* The next one from place *at on, which moves behind it. False: there is none. */
bool rp_roster_next(const struct rp_roster *r, uint32_t *at, struct rp_roster_report *out);

/* ---- facts ---------------------------------------------------------------------------------- */

struct rp_roster_facts rp_roster_facts(const struct rp_roster *r, uint32_t place);
/* One failure more; how many in a row. */
uint32_t rp_roster_fail(struct rp_roster *r, uint32_t place);
/* It works: failures in a row begin anew. */
void rp_roster_succeed(struct rp_roster *r, uint32_t place);
/* Let it rest until then. Only one of several that say so at once counts it: true. */
bool rp_roster_rest(struct rp_roster *r, uint32_t place, uint64_t now_ms, uint64_t until_ms);
bool rp_roster_eject(
    struct rp_roster *r, uint32_t place, uint64_t now_ms, uint64_t until_ms,
    enum rp_roster_why why); /* the same for another reason than failures in a row */
void rp_roster_notice(struct rp_roster *r, uint32_t place); /* it would have */
void rp_roster_note_check(struct rp_roster *r, uint32_t place, bool ok, uint64_t now_ms);
/* It was well for long enough: the next rest is a short one again. */
void rp_roster_forgive(struct rp_roster *r, uint32_t place);
/* True when that is news. now_ms: of a peer that comes back. */
bool rp_roster_set_health(struct rp_roster *r, uint32_t place, enum rp_roster_health health,
                          uint64_t now_ms);
bool rp_roster_set_order(struct rp_roster *r, uint32_t place, enum rp_roster_order order,
                         uint64_t now_ms);
void rp_roster_set_weight(struct rp_roster *r, uint32_t place, uint32_t weight);
enum rp_roster_from rp_roster_from(const struct rp_roster *r, uint32_t place);
void rp_roster_set_from(struct rp_roster *r, uint32_t place, enum rp_roster_from from);
/* Forget what was counted and found out: totals begin at 0, it does not rest. What the operator and
 * active checks said stays. */
void rp_roster_reset(struct rp_roster *r, uint32_t place);

#endif
