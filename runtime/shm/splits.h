/* SPDX-License-Identifier: MIT
 *
 * splits: how the requests of routes are divided among upstreams, as all processes see it.
 *
 * A split has a place by its name and the names of its sides, for as long as somebody holds it: a
 * reload, which holds the new before it lets go of the old, changes nothing, unless the site's own
 * numbers are others (`tag`); nor does the death of workers. One that a reload took away and a later
 * one brings back begins anew. Each of RP_SPLIT_POSITIONS positions belongs to a side; a client that keeps its
 * position keeps its side until that side has to give positions away, and nobody gives away more than
 * its share shrank by. Of two sides the first is always the positions from 0 on.
 *
 * A split may have a rollout: steps of the share of one side, the canary. Where it stands, and what
 * was counted since the step began, is here, too; who judges is the agent.
 */
#ifndef RP_SHM_SPLITS_H
#define RP_SHM_SPLITS_H

#include "base/buf.h"
#include "shm/zone.h"

enum {
    RP_SPLITS_PLACES = 256, /* 10 MB, of which only those that are used take memory */
    RP_SPLIT_POSITIONS = 10000,
    RP_SPLIT_SIDES = 8,
    RP_SPLIT_STEPS = 16,
    RP_SPLIT_NAME_BYTES = 192, /* a NUL included; longer names are cut where they are shown */
    RP_SPLIT_SIDE_BYTES = 64,
    RP_SPLIT_WHY_BYTES = 160,
    RP_SPLIT_TIMES = 112, /* four to each doubling of the time, from 1 us to 2 minutes */
};

enum rp_rollout {
    RP_ROLLOUT_NONE,
    RP_ROLLOUT_RUNS,
    RP_ROLLOUT_PAUSED, /* by the operator */
    RP_ROLLOUT_BACK,   /* the canary was worse, or the operator said so: it has nothing */
    RP_ROLLOUT_DONE,   /* the last step is reached */
};
extern const char
    *const RP_ROLLOUT_NAMES[]; /* "none", "running", "paused", "rolled back", "done" */

enum rp_split_word { RP_SPLIT_PAUSE, RP_SPLIT_RESUME, RP_SPLIT_ROLLBACK, RP_SPLIT_PROMOTE };

/* What a site says. Shares are of RP_SPLIT_POSITIONS and add up to it. */
struct rp_split_plan {
    rp_str name;
    uint32_t generation;    /* of the site; each reload's is larger */
    uint32_t sides_n, base; /* base: the side that gives to the others and takes back from them */
    rp_str sides[RP_SPLIT_SIDES];
    uint32_t shares[RP_SPLIT_SIDES];
    uint32_t canary; /* with steps: their side; base has the rest */
    uint32_t steps_n;
    uint32_t steps[RP_SPLIT_STEPS];
};

struct rp_splits;

/* Lay out, or find again, in a part of that name. ret as rp_roster_new */
RP_MUST rp_err rp_splits_new(struct rp_zone *z, rp_str part, uint32_t worker_n, uint32_t place_n,
                             struct rp_splits **out);
/* Some that this process shares with nobody; its worker is 0. */
struct rp_splits *rp_splits_own(uint32_t place_n);
void rp_splits_free(struct rp_splits **s); /* this process's handle */
size_t rp_splits_bytes(uint32_t worker_n, uint32_t place_n);

/* Hold the split's place; a new one, and one of a site with other numbers, gets those of the plan.
 * RP_E_CAP: all places are taken; RP_E_INVALID: a plan that cannot be; RP_E_BUSY. */
RP_MUST rp_err rp_splits_hold(struct rp_splits *s, uint32_t worker,
                              const struct rp_split_plan *plan, uint64_t now_ms, uint32_t *place);
void rp_splits_drop(struct rp_splits *s, uint32_t worker, uint32_t place);
void rp_splits_forget(struct rp_splits *s, uint32_t worker); /* it has nothing: it is dead */

/* ---- requests ------------------------------------------------------------------------------- */

/* Whose is the position? Always a side of the split. */
uint32_t rp_splits_side(const struct rp_splits *s, uint32_t place, uint32_t position);
/* A request of that side is over. us: until its response head came; 0: not known. */
void rp_splits_count(struct rp_splits *s, uint32_t place, uint32_t side, bool failed, uint64_t us);

/* ---- looking -------------------------------------------------------------------------------- */

struct rp_split_counts {
    uint64_t requests, failures, timed; /* timed: those of `times` */
    uint32_t times[RP_SPLIT_TIMES];
};

struct rp_split_side {
    char name[RP_SPLIT_SIDE_BYTES];
    uint32_t share, said;             /* now; by the site */
    struct rp_split_counts all, step; /* ever; since the step began, or the shares changed */
};

struct rp_split_report {
    uint32_t place, sides_n, base, canary;
    uint32_t state, step, steps_n; /* enum rp_rollout; of steps */
    uint32_t steps[RP_SPLIT_STEPS];
    uint64_t since_ms, born; /* of the step; a number that is larger for a younger place */
    char name[RP_SPLIT_NAME_BYTES], why[RP_SPLIT_WHY_BYTES];
    struct rp_split_side sides[RP_SPLIT_SIDES];
};

/* One that somebody holds. False: nobody does. */
bool rp_splits_look(const struct rp_splits *s, uint32_t place, struct rp_split_report *out);
/* The next one from place *at on, which moves behind it. False: there is none. */
bool rp_splits_next(const struct rp_splits *s, uint32_t *at, struct rp_split_report *out);
/* The youngest that is held under that name. */
bool rp_splits_find(const struct rp_splits *s, rp_str name, uint32_t *place);
/* The time in us that a share of `per_million` of the requests did not take longer than: the upper end
 * of its class. 0: none was timed. */
uint64_t rp_split_quantile(const struct rp_split_counts *c, uint32_t per_million);

/* Metrics of all that are held, for Prometheus. s may be NULL. */
void rp_splits_text(const struct rp_splits *s, struct rp_buf *out);

/* ---- changing ------------------------------------------------------------------------------- */

/* Other shares, by the operator; a rollout that runs is paused by that. They are of RP_SPLIT_POSITIONS,
 * one for each side. RP_E_INVALID, RP_E_BUSY. */
RP_MUST rp_err rp_splits_set(struct rp_splits *s, uint32_t place, const uint32_t *shares,
                             uint32_t shares_n, uint64_t now_ms);
/* Back to what the site says; a rollout begins anew. RP_E_BUSY. */
RP_MUST rp_err rp_splits_reset(struct rp_splits *s, uint32_t place, uint64_t now_ms);
/* A word about a rollout, and why (may be empty). step: only while it runs at that step;
 * UINT32_MAX: whatever it does. RP_E_INVALID: there is no rollout, or that is no word for its state;
 * RP_E_STALE: it is elsewhere by now; RP_E_BUSY. */
RP_MUST rp_err rp_splits_say(struct rp_splits *s, uint32_t place, enum rp_split_word word,
                             uint32_t step, rp_str why, uint64_t now_ms);

#endif
