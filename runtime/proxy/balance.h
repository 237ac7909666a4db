/* SPDX-License-Identifier: MIT
 *
 * balance: choosing among the peers of a group. One file per policy, all pure: time, dice and what
 * is known of the peers are arguments.
 *
 * Two steps. When something changed about the peers (health, weights, members) balance_settle.c
 * makes the list of those that may be chosen now. Each choice is then made from that list, and what
 * moves all the time (requests under way, latency) is looked at for the candidates alone.
 */
#ifndef RP_PROXY_BALANCE_H
#define RP_PROXY_BALANCE_H

#include "base/random.h"
#include "base/str.h"

enum {
    RP_BALANCE_TRIED = 8,
    RP_BALANCE_TIERS = 16,
    RP_BALANCE_WEIGHT_MOST = 1 << 16,
    RP_BALANCE_POINTS = 160, /* on the ring for each unit of the mean weight (libketama's number) */
};

enum rp_balance_health {
    RP_BALANCE_ABSENT, /* no address, or taken out by the operator: never chosen */
    RP_BALANCE_DOWN,   /* resting, ejected or failed its checks: chosen in a panic only */
    RP_BALANCE_UP,
};

struct rp_balance_peer {
    uint64_t key;         /* of its name, the same in every process: for policies that hash */
    int64_t current;      /* round robin's memory */
    uint32_t weight;      /* effective now, 1 .. RP_BALANCE_WEIGHT_MOST; 0: takes nothing new */
    uint32_t full_weight; /* ... when it has warmed up: what tables are made from */
    uint32_t in_flight;   /* in all workers, as last looked at */
    uint32_t latency_us;  /* mean time to a response head, as last looked at; 0: not known */
    uint32_t seats;       /* most in flight; 0: no limit */
    uint8_t tier;         /* priority: lower ones first */
    uint8_t health;       /* enum rp_balance_health */
    bool near;            /* in our zone */
    bool live;            /* settled: may be chosen */
};

/* Hash slots of ring and Maglev. */
struct rp_balance_point {
    uint64_t at;
    uint32_t peer;
};

struct rp_balance_view {
    struct rp_balance_peer *peers;
    uint32_t n;
    /* settled */
    uint32_t *live; /* indexes, in order; room for n */
    uint64_t *sums; /* their weights added up, that one included; room for n */
    uint32_t live_n;
    bool even;     /* ... all have the same weight */
    uint32_t next; /* round robin's place in `live` while they have */
    bool panic;    /* so few are up that health is not asked */
    /* tables, of every peer with a weight; NULL: not that policy */
    struct rp_balance_point *ring;
    uint32_t ring_n;
    uint32_t *maglev;
    uint32_t maglev_n;
    /* Bring in_flight and latency_us of that peer up to date; NULL: they are. */
    void (*look)(struct rp_balance_view *b, uint32_t peer);
    void *user;
};

struct rp_balance_ask {
    uint64_t hash;          /* of what the request is known by */
    struct rp_random *dice; /* the worker's */
    const uint64_t *only;   /* bits of the peers that will do; NULL: all */
    uint32_t bound;         /* hashing: most load, as a percentage of the mean (125); 0: none */
    uint32_t tried_n;
    uint32_t tried[RP_BALANCE_TRIED]; /* not these */
};

/* ---- settling ------------------------------------------------------------------------------- */

struct rp_balance_rules {
    uint8_t panic; /* percent of the weights that must be up, else all are taken; 0: never */
    uint8_t spill; /* percent of a tier's weights that must be up, else the next tier takes part;
                    * 0: it does when none is */
    uint8_t zone;  /* 0: zones do not matter; else percent of our zone's weights that are enough for
                    * all: peers of other zones get what is missing to that */
};

/* Make the list: the first tier that has somebody up, and as many more as the rules say.
 * cost O(n) */
void rp_balance_settle(struct rp_balance_view *b, const struct rp_balance_rules *rules);

/* A peer's weight while it warms up: from a tenth to the whole, in a straight line. */
uint32_t rp_balance_slow_start(uint32_t weight, uint64_t up_ms, uint64_t slow_ms);

/* Would this one do, had it a seat and were it live? (not tried, in `only`) */
bool rp_balance_wants(const struct rp_balance_ask *ask, uint32_t peer);
/* ... and it has a seat free. */
bool rp_balance_suits(struct rp_balance_view *b, const struct rp_balance_ask *ask, uint32_t peer);
/* ... and it is. */
bool rp_balance_may(struct rp_balance_view *b, const struct rp_balance_ask *ask, uint32_t peer);

/* ---- policies: index of a peer, -1 when there is none ------------------------------------------ */

/* Smooth weighted round robin (nginx's algorithm, 2012). cost O(live) */
int rp_balance_round_robin(struct rp_balance_view *b, const struct rp_balance_ask *ask);
/* The first in the list that has a seat free: few peers work, the others may sleep. */
int rp_balance_first(struct rp_balance_view *b, const struct rp_balance_ask *ask);
/* By weight. cost O(log live) */
int rp_balance_random(struct rp_balance_view *b, const struct rp_balance_ask *ask);
/* Fewest requests under way for its weight; among equals by weight. cost O(live) */
int rp_balance_least_conn(struct rp_balance_view *b, const struct rp_balance_ask *ask);
/* Least latency x requests under way for its weight. cost O(live) */
int rp_balance_least_time(struct rp_balance_view *b, const struct rp_balance_ask *ask);
/* The better of two that are drawn (Mitzenmacher 2001), by latency x requests under way.
 * cost O(log live) */
int rp_balance_p2c(struct rp_balance_view *b, const struct rp_balance_ask *ask);
/* The same by latency alone. */
int rp_balance_ewma(struct rp_balance_view *b, const struct rp_balance_ask *ask);

/* Consistent hashing of ask->hash: a peer that goes takes its own keys along and no others. With
 * ask->bound no peer gets more than that share of the load (Mirrokni, Thorup, Zadimoghaddam 2016). */
int rp_balance_ring(struct rp_balance_view *b,
                    const struct rp_balance_ask *ask); /* O(log points) */
int rp_balance_maglev(struct rp_balance_view *b, const struct rp_balance_ask *ask); /* O(1) */
int rp_balance_rendezvous(struct rp_balance_view *b,
                          const struct rp_balance_ask *ask); /* O(live) */

/* Key of a peer's name: the same in every instance. */
uint64_t rp_balance_key(rp_str name);
/* Tables for these, to be made anew when peers or full weights change. */
void rp_balance_ring_make(struct rp_balance_view *b);
void rp_balance_ring_free(struct rp_balance_view *b);
void rp_balance_maglev_make(struct rp_balance_view *b);
void rp_balance_maglev_free(struct rp_balance_view *b);

/* ---- latency -------------------------------------------------------------------------------- */

/* A mean that forgets: what is `age_ms` old counts e^-(age / tau). 0 stands for "nothing known". */
uint32_t rp_balance_mean(uint32_t mean_us, uint64_t age_ms, uint32_t sample_us, uint32_t tau_ms);

/* ---- shared by the policies ------------------------------------------------------------------ */

/* By weight, one that may be taken. cost O(log live), O(live) when hardly any may */
int rp_balance_draw(struct rp_balance_view *b, const struct rp_balance_ask *ask);
/* Is there room under ask->bound for one more at this peer? load: of all live peers, this request
 * included. */
bool rp_balance_has_room(const struct rp_balance_view *b, const struct rp_balance_ask *ask,
                         uint32_t peer, uint64_t load);
/* Look at all live peers: requests under way there and this one. */
uint64_t rp_balance_load(struct rp_balance_view *b);
/* The live one that ranks first by (peer's key, hash), its weight being its share; for policies whose
 * own way found nobody. */
int rp_balance_by_rank(struct rp_balance_view *b, const struct rp_balance_ask *ask, uint64_t load);

#endif
