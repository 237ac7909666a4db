/* SPDX-License-Identifier: MIT
 *
 * dict_in: the inside of a dict, for dict*.c only.
 *
 * A zone's part is shards of equal size, each: head, slots (heads of hash chains), blocks. Indices
 * of blocks count from 1; 0 is none. What is read from shared memory is checked where it becomes an
 * index or a length: `rp_dict_at` gives NULL for what is no block.
 */
#ifndef RP_SHM_DICT_IN_H
#define RP_SHM_DICT_IN_H

#include "base/hash.h"
#include "shm/dict.h"
#include "shm/lock.h"

enum {
    RP_DICT_BLOCK = 128,   /* bytes; two cache lines, which the prefetcher brings together */
    RP_DICT_MORE_AT = 32,  /* where data begins in a block that continues another */
    RP_DICT_VALUE_AT = 72, /* ... in a head of STORE and CACHE */
    RP_DICT_STATE_AT = 96, /* ... in a head of BUCKETS */
    RP_DICT_WORDS = 4,
};

/* A head is LIVE from the last step of its making to the first of its end, and for a repair nothing
 * else counts. */
enum rp_dict_state { RP_DICT_FREE = 0, RP_DICT_LIVE = 0x4c };

struct rp_dict_block {
    uint32_t next; /* block that continues this one, or next free one */
    uint32_t mark; /* a repair has met it */
    /* of a head: */
    uint32_t link;         /* next entry of the same slot */
    uint32_t older, newer; /* by use; 0: the oldest, the newest */
    uint32_t hash;
    uint32_t value_n;
    uint16_t key_n;
    uint8_t state, type;
    uint64_t seq; /* of two entries with one key the greater one counts */
    rp_ms expires_ms, fresh_ms, lease_ms;
    uint64_t
        words[RP_DICT_WORDS]; /* a number in [0]; a limiter's state; data may begin after [0] */
    char data[RP_DICT_BLOCK - RP_DICT_STATE_AT];
};

struct rp_dict_shard {
    pthread_mutex_t lock;
    uint32_t free;      /* list of free blocks */
    uint32_t free_n;    /* in it */
    uint32_t touched_n; /* blocks beyond were never used: their pages take no memory */
    uint32_t oldest, newest;
    uint32_t swept; /* where the search for entries past their time goes on */
    uint64_t seq;
    struct rp_dict_stats stats; /* entries and counts */
};

struct rp_dict_head {
    uint32_t kind, shards_n;
    struct rp_hash_key key;
    uint32_t groups_n;                    /* of workers that ever held something */
    uint32_t lives[RP_DICT_WORKERS_MOST]; /* how many of each worker there were: what is held by
                                           * one of another number is held by a dead one */
};

/* One shard as this process sees it: sizes come from the handle. */
struct rp_dict_view {
    struct rp_dict *dict;
    struct rp_dict_shard *s;
    uint32_t *slots;
    struct rp_dict_block *blocks; /* [0] is block 1 */
    uint32_t slots_n, blocks_n;
    uint32_t hash; /* of the key that led here */
};

struct rp_dict {
    struct rp_dict_head *head;
    char *shards;
    size_t shard_bytes;
    uint32_t shards_n, slots_n, blocks_n;
    enum rp_dict_kind kind;
    struct rp_hash_key key;
};

static inline struct rp_dict_block *rp_dict_at(const struct rp_dict_view *v, uint32_t i)
{
    return i >= 1 && i <= v->blocks_n ? &v->blocks[i - 1] : NULL;
}

static inline uint32_t rp_dict_index(const struct rp_dict_view *v, const struct rp_dict_block *b)
{
    return (uint32_t)(b - v->blocks) + 1;
}

/* Lock the key's shard; when its holder died, repair it first.
 * ret   RP_OK and *v: rp_dict_leave follows; RP_E_BUSY; RP_E_INVALID: no such key */
RP_MUST rp_err rp_dict_enter(struct rp_dict *d, rp_str key, struct rp_dict_view *v);
RP_MUST rp_err rp_dict_enter_shard(struct rp_dict *d, uint32_t shard, struct rp_dict_view *v);
void rp_dict_leave(struct rp_dict_view *v);

/* Are these the bytes from `from` on of what the entry holds, key first? */
bool rp_dict_holds(const struct rp_dict_view *v, const struct rp_dict_block *b, size_t from,
                   rp_str bytes);
/* The live entry of that key (BUCKETS: and type); one whose time is over is removed. */
struct rp_dict_block *rp_dict_find(struct rp_dict_view *v, rp_str key, uint32_t type, rp_ms now);
/* A new head with key and text in it, not LIVE yet; room is made as the kind allows.
 * old: an entry that it replaces, may be taken for room (*old is then NULL); NULL: none */
RP_MUST rp_err rp_dict_make(struct rp_dict_view *v, rp_str key, rp_str text,
                            struct rp_dict_block **old, rp_ms now, struct rp_dict_block **out);
/* It is complete: others may see it. */
void rp_dict_publish(struct rp_dict_view *v, struct rp_dict_block *b);
void rp_dict_remove(struct rp_dict_view *v, struct rp_dict_block *b);
void rp_dict_touch(struct rp_dict_view *v, struct rp_dict_block *b); /* it was used now */
/* Append bytes [from, from + n) of what the entry holds, key first. */
RP_MUST rp_err rp_dict_read(const struct rp_dict_view *v, const struct rp_dict_block *b,
                            size_t from, size_t n, struct rp_buf *out);
void rp_dict_wipe(struct rp_dict_view *v); /* nothing is in it */

#endif
