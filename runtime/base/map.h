/* SPDX-License-Identifier: MIT
 *
 * map: bytes -> pointer, open addressing, cap at birth. Built at load time (hosts, names), looked
 * up at run time. Keys are copied, values are borrowed. Keyed hash: safe with keys from the wire.
 */
#ifndef RP_BASE_MAP_H
#define RP_BASE_MAP_H

#include "base/str.h"

struct rp_map_slot {
    uint64_t hash;
    rp_str key; /* our copy, a NUL follows it; ptr NULL = empty slot */
    void *value;
};

struct rp_map {
    struct rp_map_slot *slots; /* NULL until the first set */
    uint32_t n, slot_n, cap_n; /* slot_n: 0 or a power of two, at most 3/4 full */
};

void rp_map_init(struct rp_map *m, uint32_t cap_n);
void rp_map_fini(struct rp_map *m);
/* Add, or replace the value of an equal key. value: not NULL, borrowed for the map's life.
 * RP_E_CAP when cap_n keys are in. */
RP_MUST rp_err rp_map_set(struct rp_map *m, rp_str key, void *value);
void *rp_map_find(const struct rp_map *m, rp_str key); /* NULL = absent */
/* Take a key out; its value, or NULL when it was not there. */
void *rp_map_remove(struct rp_map *m, rp_str key);
/* Walk in no order: *at starts at 0; NULL at the end. No set or remove during a walk. */
const struct rp_map_slot *rp_map_next(const struct rp_map *m, uint32_t *at);

#endif
