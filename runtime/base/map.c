/* SPDX-License-Identifier: MIT
 *
 * map: linear probing. Invariant: between a key's home slot and its place no slot is empty;
 * remove moves later keys back to keep it so, which needs no tombstones.
 */
#include "base/map.h"

#include "base/hash.h"
#include "base/mem.h"

enum { SLOTS_MIN = 8 };

void rp_map_init(struct rp_map *m, uint32_t cap_n)
{
    RP_CHECK(cap_n <= UINT32_MAX / 4);
    *m = (struct rp_map){.cap_n = cap_n};
}

void rp_map_fini(struct rp_map *m)
{
    for (uint32_t i = 0; i < m->slot_n; i++) rp_free((void *)(uintptr_t)m->slots[i].key.ptr);
    rp_free(m->slots);
    *m = (struct rp_map){.cap_n = m->cap_n};
}

/* The slot that holds the key, or the empty slot where it would go. slot_n > 0. */
static struct rp_map_slot *probe(const struct rp_map *m, uint64_t hash, rp_str key)
{
    uint32_t mask = m->slot_n - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        struct rp_map_slot *slot = &m->slots[i];
        if (!slot->key.ptr || (slot->hash == hash && rp_str_eq(slot->key, key))) return slot;
    }
}

void *rp_map_find(const struct rp_map *m, rp_str key)
{
    return m->n ? probe(m, rp_hash_bytes(key), key)->value : NULL;
}

static void grow(struct rp_map *m)
{
    struct rp_map old = *m;
    m->slot_n = old.slot_n ? old.slot_n * 2 : SLOTS_MIN;
    m->slots = rp_alloc(m->slot_n * sizeof *m->slots);
    for (uint32_t i = 0; i < old.slot_n; i++) {
        struct rp_map_slot *slot = &old.slots[i];
        if (slot->key.ptr) *probe(m, slot->hash, slot->key) = *slot;
    }
    rp_free(old.slots);
}

rp_err rp_map_set(struct rp_map *m, rp_str key, void *value)
{
    RP_CHECK(value);
    uint64_t hash = rp_hash_bytes(key);
    struct rp_map_slot *slot = m->slot_n ? probe(m, hash, key) : NULL;
    if (slot && slot->key.ptr) {
        slot->value = value;
        return RP_OK;
    }
    if (m->n >= m->cap_n) return RP_E_CAP;
    if (m->n + 1 > m->slot_n / 4 * 3) {
        grow(m);
        slot = probe(m, hash, key);
    }
    *slot = (struct rp_map_slot){hash, rp_str_of(rp_strdup_n(key.ptr, key.len), key.len), value};
    m->n++;
    return RP_OK;
}

/* Close the hole at i: pull back each later key of the run whose home is not after the hole. */
static void close_hole(struct rp_map *m, uint32_t hole)
{
    uint32_t mask = m->slot_n - 1;
    for (uint32_t i = (hole + 1) & mask; m->slots[i].key.ptr; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)m->slots[i].hash & mask;
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole] = (struct rp_map_slot){0};
}

void *rp_map_remove(struct rp_map *m, rp_str key)
{
    struct rp_map_slot *slot = m->n ? probe(m, rp_hash_bytes(key), key) : NULL;
    if (!slot || !slot->key.ptr) return NULL;
    void *value = slot->value;
    rp_free((void *)(uintptr_t)slot->key.ptr);
    close_hole(m, (uint32_t)(slot - m->slots));
    m->n--;
    return value;
}

const struct rp_map_slot *rp_map_next(const struct rp_map *m, uint32_t *at)
{
    while (*at < m->slot_n) {
        const struct rp_map_slot *slot = &m->slots[(*at)++];
        if (slot->key.ptr) return slot;
    }
    return NULL;
}
