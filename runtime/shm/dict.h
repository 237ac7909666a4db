/* SPDX-License-Identifier: MIT
 *
 * dict: keys with values that every worker sees: what `rp.shared` is made of. One dict fills one
 * zone and is of one kind:
 *
 *   STORE    values; refuses what does not fit
 *   CACHE    values; what was used longest ago makes room; leases, so that one loads for all
 *   BUCKETS  small states of limiters, each changed by one call; the longest unused makes room
 *
 * Memory is blocks of one size, chained for what is longer, so that any free block is of use to
 * anyone: nothing fragments. It is divided into shards by the key's hash; each has a robust lock of
 * its own. Who dies inside one leaves it to the next comer, who rebuilds the shard from what is
 * whole in it (docs/internals/shm.md). Time is an argument: nanoseconds or milliseconds of the monotonic
 * clock.
 */
#ifndef RP_SHM_DICT_H
#define RP_SHM_DICT_H

#include "base/buf.h"
#include "base/clock.h"
#include "shm/zone.h"

enum {
    RP_DICT_KEY_MOST = 1024,         /* bytes of a key */
    RP_DICT_BYTES_LEAST = 64 * 1024, /* of a zone */
    RP_DICT_WORKERS_MOST = 1024,     /* numbers of workers that may hold something */
};

enum rp_dict_kind {
    RP_DICT_STORE = 1,
    RP_DICT_CACHE = 2,
    RP_DICT_BUCKETS = 3,
};

enum rp_dict_type {
    RP_DICT_NOTHING = 0, /* a lease without a value; nobody reads it */
    RP_DICT_NUMBER = 1,
    RP_DICT_STRING = 2,
    RP_DICT_BOOLEAN = 3, /* number 0 or 1 */
    RP_DICT_ABSENT = 4,  /* known not to exist (CACHE) */
};

struct rp_dict;

struct rp_dict_item {
    uint32_t type; /* enum rp_dict_type */
    double number;
    rp_ms expires_ms; /* 0: never */
    rp_ms fresh_ms;   /* CACHE: until then it is not stale; 0: while it is there */
};

struct rp_dict_stats {
    uint64_t entries, bytes_used, bytes; /* bytes: that values and keys may take in all */
    uint64_t hits, misses;
    uint64_t evictions; /* live entries that made room for others */
    uint64_t expired;   /* entries removed after their time */
    uint64_t refused;   /* writes that found no room */
    uint64_t repairs;   /* shards rebuilt after a death inside */
};

/* Lay out, or find again, the dict that fills a zone. bytes of the zone: at least
 * RP_DICT_BYTES_LEAST. Fresh ones by the master only.
 * ret   RP_OK; RP_E_INVALID: the zone holds something else; RP_E_OS */
RP_MUST rp_err rp_dict_new(struct rp_zone *z, enum rp_dict_kind kind, struct rp_dict **out);
void rp_dict_free(struct rp_dict **d); /* this process's handle; the zone keeps the contents */
enum rp_dict_kind rp_dict_kind_of(const struct rp_dict *d);
size_t rp_dict_value_most(const struct rp_dict *d); /* bytes that key and value may have together */
/* As it is at some moment of the call; takes no lock. */
void rp_dict_stats(const struct rp_dict *d, struct rp_dict_stats *out);

/* ---- values (STORE, CACHE). Each may return RP_E_BUSY: the shard's lock is held by who does not
 * run; and RP_E_INVALID for a key that is empty or too long. ---- */

/* text: gets a string value appended; NULL: the item alone.
 * ret   RP_OK; RP_E_NOT_FOUND (also when its time is over, and for RP_DICT_NOTHING) */
RP_MUST rp_err rp_dict_get(struct rp_dict *d, rp_str key, rp_ms now, struct rp_dict_item *out,
                           struct rp_buf *text);
enum rp_dict_mode {
    RP_DICT_SET,
    RP_DICT_ADD,     /* only when there is none */
    RP_DICT_REPLACE, /* only when there is one */
};
/* text: of a STRING. Nothing is left half done: an entry is the old or the new one.
 * ret   RP_OK; RP_END: mode says no; RP_E_CAP: full (STORE); RP_E_TOO_BIG */
RP_MUST rp_err rp_dict_set(struct rp_dict *d, rp_str key, const struct rp_dict_item *item,
                           rp_str text, enum rp_dict_mode mode, rp_ms now);
/* Replace `old` by `item`, when it is what is there. old NULL: when nothing is; item NULL: by
 * nothing. ret   as rp_dict_set; RP_END: something else is there */
RP_MUST rp_err rp_dict_swap(struct rp_dict *d, rp_str key, const struct rp_dict_item *old,
                            rp_str old_text, const struct rp_dict_item *item, rp_str text,
                            rp_ms now);
RP_MUST rp_err rp_dict_delete(struct rp_dict *d, rp_str key, rp_ms now); /* RP_E_NOT_FOUND */
/* Add to a number. init: what an absent one is first, with expires_ms; NULL: RP_E_NOT_FOUND.
 * ret   RP_OK and *sum; RP_END: no number; RP_E_CAP; RP_E_NOT_FOUND */
RP_MUST rp_err rp_dict_incr(struct rp_dict *d, rp_str key, double by, const double *init,
                            rp_ms expires_ms, rp_ms now, double *sum);
/* Another time to go; 0: never. RP_E_NOT_FOUND. */
RP_MUST rp_err rp_dict_expire(struct rp_dict *d, rp_str key, rp_ms expires_ms, rp_ms now);
/* Forget everything. */
RP_MUST rp_err rp_dict_flush(struct rp_dict *d);
/* Walk over the keys: *at is 0 at first, text gets the key appended. What is written meanwhile may
 * be seen or not. RP_END: no more. */
RP_MUST rp_err rp_dict_next(struct rp_dict *d, double *at, rp_ms now, struct rp_buf *text);

/* Look up for loading (CACHE).
 * ret   RP_OK: fresh, in out; RP_END: the caller is to load it and set it, within until_ms, or to
 *       call rp_dict_unlease; RP_AGAIN: another one does. In the last two out is what there is,
 *       stale, or RP_DICT_NOTHING */
RP_MUST rp_err rp_dict_lease(struct rp_dict *d, rp_str key, rp_ms until_ms, rp_ms now,
                             struct rp_dict_item *out, struct rp_buf *text);
RP_MUST rp_err rp_dict_unlease(struct rp_dict *d, rp_str key, rp_ms now);

/* A lock (STORE): an entry with a number, which is there while somebody holds it.
 * ret   RP_OK: the caller holds it until until_ms, and *fence is greater than that of every holder
 *       before; RP_AGAIN: somebody else does, and *wait_ms is how long at most; RP_E_CAP: full */
RP_MUST rp_err rp_dict_lock(struct rp_dict *d, rp_str key, rp_ms until_ms, rp_ms now, double *fence,
                            rp_ms *wait_ms);
/* Hold it until another time, or (until_ms 0) let go of it. RP_E_NOT_FOUND: it is not that holder's
 * any more. */
RP_MUST rp_err rp_dict_relock(struct rp_dict *d, rp_str key, double fence, rp_ms until_ms,
                              rp_ms now);

/* ---- limiters (BUCKETS); also RP_E_BUSY, RP_E_INVALID: key, or numbers that cannot be ---- */

struct rp_dict_verdict {
    bool allowed;
    double remaining; /* what could be taken right now, after this */
    double wait;      /* seconds until the same call would be allowed; 0 when it was */
    double reset;     /* seconds until nothing is used up */
};

/* A token bucket: `burst` at most, `rate` more each second; take `cost`, all or nothing. cost 0
 * looks. cost > burst: never allowed, wait is infinite. */
RP_MUST rp_err rp_dict_take(struct rp_dict *d, rp_str key, double cost, double rate, double burst,
                            rp_ns now, struct rp_dict_verdict *out);
/* A leaky bucket: a queue that `rate` leave each second and that takes `burst` beside the one whose
 * turn it is. Allowed: wait is how long this one waits for its turn. cost 0 looks. */
RP_MUST rp_err rp_dict_leak(struct rp_dict *d, rp_str key, double cost, double rate, double burst,
                            rp_ns now, struct rp_dict_verdict *out);
/* At most `limit` in any `window` seconds, where the window before counts by the part of it that is
 * still covered. */
RP_MUST rp_err rp_dict_window(struct rp_dict *d, rp_str key, double cost, double limit,
                              double window, rp_ns now, struct rp_dict_verdict *out);
/* One of `limit` seats, for `lease` seconds (up to a third longer): *ticket is for the release.
 * `lease` is the same for all callers of a key. */
RP_MUST rp_err rp_dict_acquire(struct rp_dict *d, rp_str key, double limit, double lease, rp_ns now,
                               struct rp_dict_verdict *out, double *ticket);
RP_MUST rp_err rp_dict_release(struct rp_dict *d, rp_str key, double ticket, rp_ns now);
/* One of `limit` places, for a worker (below RP_DICT_WORKERS_MOST), until it gives it back or is
 * dead. */
RP_MUST rp_err rp_dict_hold(struct rp_dict *d, rp_str key, double limit, uint32_t worker, rp_ns now,
                            struct rp_dict_verdict *out);
/* RP_E_NOT_FOUND: it has none. */
RP_MUST rp_err rp_dict_unhold(struct rp_dict *d, rp_str key, uint32_t worker, rp_ns now);
/* That worker is dead: it holds nothing. Takes no lock. Master only. */
void rp_dict_forget(struct rp_dict *d, uint32_t worker);

#endif
