/* SPDX-License-Identifier: MIT
 *
 * keyring: see keyring.h. The version is odd while the keys are being written; whoever copies looks
 * at it before and after.
 */
#include "shm/keyring.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "base/random.h"

struct shared {
    _Atomic uint64_t version; /* starts at 2 */
    uint8_t keys[RP_KEYRING_KEYS][RP_KEYRING_KEY_BYTES];
};

struct rp_keyring {
    struct shared *shared;
};

size_t rp_keyring_bytes(void)
{
    return sizeof(struct shared) + 64; /* parts are aligned */
}

rp_err rp_keyring_new(struct rp_zone *z, rp_str part, struct rp_keyring **out)
{
    void *p;
    bool fresh;
    rp_err e = rp_zone_part(z, part, sizeof(struct shared), &p, &fresh);
    if (e != RP_OK) return e;
    struct rp_keyring *k = rp_alloc(sizeof *k);
    k->shared = p;
    if (fresh) {
        rp_random_bytes(k->shared->keys, sizeof k->shared->keys);
        atomic_store_explicit(&k->shared->version, 2, memory_order_release);
    }
    *out = k;
    return RP_OK;
}

void rp_keyring_free(struct rp_keyring **k)
{
    rp_free(*k);
    *k = NULL;
}

void rp_keyring_rotate(struct rp_keyring *k)
{
    struct shared *s = k->shared;
    uint64_t version = atomic_load_explicit(&s->version, memory_order_relaxed);
    version += version % 2; /* whoever wrote before died in the middle */
    atomic_store_explicit(&s->version, version + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    memmove(s->keys[1], s->keys[0], sizeof s->keys - sizeof s->keys[0]);
    rp_random_bytes(s->keys[0], sizeof s->keys[0]);
    atomic_store_explicit(&s->version, version + 2, memory_order_release);
}

bool rp_keyring_read(const struct rp_keyring *k, uint64_t *version,
                     uint8_t out[RP_KEYRING_KEYS][RP_KEYRING_KEY_BYTES])
{
    const struct shared *s = k->shared;
    uint8_t copy[RP_KEYRING_KEYS][RP_KEYRING_KEY_BYTES];
    uint64_t before = atomic_load_explicit(&s->version, memory_order_acquire);
    if (before == *version || before % 2 != 0) return false;
    memcpy(copy, s->keys, sizeof copy);
    atomic_thread_fence(memory_order_acquire);
    bool whole = atomic_load_explicit(&s->version, memory_order_relaxed) == before;
    if (whole) memcpy(out, copy, sizeof copy);
    if (whole) *version = before;
    explicit_bzero(copy, sizeof copy);
    return whole;
}
