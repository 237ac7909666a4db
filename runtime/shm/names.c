/* SPDX-License-Identifier: MIT
 *
 * names: see names.h.
 */
#include "shm/names.h"

#include "base/hash.h"
#include "shm/lock.h"

struct rp_names_head {
    pthread_mutex_t lock;
    uint32_t count; /* complete ones */
    struct rp_hash_key key;
};

struct rp_names_one {
    uint32_t kind, bytes;
    char text[RP_NAMES_BYTES];
};

enum { LINE = 64 };

static size_t round_up(size_t n)
{
    return (n + LINE - 1) & ~(size_t)(LINE - 1);
}

/* Half of them stay empty. */
static uint32_t slots_for(uint32_t most)
{
    uint32_t n = 16;
    while (n < most * 2) n *= 2;
    return n;
}

size_t rp_names_bytes(uint32_t most)
{
    return round_up(sizeof(struct rp_names_head)) + round_up(sizeof(uint32_t) * slots_for(most)) +
           round_up(sizeof(struct rp_names_one) * most);
}

rp_err rp_names_open(struct rp_names *n, void *at, uint32_t most, bool fresh)
{
    char *p = at;
    n->most = most;
    n->slots_n = slots_for(most);
    n->head = at;
    n->slots = (uint32_t *)(void *)(p + round_up(sizeof *n->head));
    n->list =
        (struct rp_names_one *)(void *)((char *)n->slots + round_up(sizeof(uint32_t) * n->slots_n));
    if (!fresh) return RP_OK;
    rp_hash_key_draw(&n->head->key);
    return rp_lock_make(&n->head->lock) ? RP_OK : RP_E_OS;
}

uint32_t rp_names_count(const struct rp_names *n)
{
    return RP_MIN(__atomic_load_n(&n->head->count, __ATOMIC_ACQUIRE), n->most);
}

rp_str rp_names_text(const struct rp_names *n, uint32_t at)
{
    const struct rp_names_one *one = &n->list[at];
    return rp_str_of(one->text, RP_MIN((size_t)one->bytes, sizeof one->text));
}

uint32_t rp_names_kind(const struct rp_names *n, uint32_t at)
{
    return n->list[at].kind;
}

static uint32_t slot_of(const struct rp_names *n, rp_str name)
{
    return (uint32_t)rp_hash_keyed(&n->head->key, name) & (n->slots_n - 1);
}

rp_err rp_names_find(const struct rp_names *n, rp_str name, uint32_t kind, uint32_t *at)
{
    uint32_t count = rp_names_count(n), slot = slot_of(n, name);
    for (uint32_t i = 0; i < n->slots_n; i++) {
        uint32_t one = __atomic_load_n(&n->slots[(slot + i) & (n->slots_n - 1)], __ATOMIC_ACQUIRE);
        if (one == 0) return RP_E_NOT_FOUND;
        if (one > count || !rp_str_eq(rp_names_text(n, one - 1), name)) continue;
        *at = one - 1;
        return rp_names_kind(n, one - 1) == kind ? RP_OK : RP_END;
    }
    return RP_E_NOT_FOUND;
}

static void put_in_slot(struct rp_names *n, uint32_t at)
{
    uint32_t slot = slot_of(n, rp_names_text(n, at));
    for (uint32_t i = 0; i < n->slots_n; i++) {
        uint32_t *here = &n->slots[(slot + i) & (n->slots_n - 1)];
        if (*here == at + 1) return;
        if (*here != 0) continue;
        __atomic_store_n(here, at + 1, __ATOMIC_RELEASE);
        return;
    }
}

/* Who was in here died: the last name may not be in its slot. */
static rp_err mend(struct rp_names *n)
{
    uint32_t count = rp_names_count(n);
    if (count > 0) put_in_slot(n, count - 1);
    return rp_lock_mend(&n->head->lock);
}

static rp_err append(struct rp_names *n, rp_str name, uint32_t kind, uint32_t *at)
{
    uint32_t count = rp_names_count(n);
    if (count == n->most) return RP_E_CAP;
    struct rp_names_one *one = &n->list[count];
    one->kind = kind;
    one->bytes = (uint32_t)name.len;
    memcpy(one->text, name.ptr, name.len);
    __atomic_store_n(&n->head->count, count + 1, __ATOMIC_RELEASE);
    put_in_slot(n, count);
    *at = count;
    return RP_OK;
}

rp_err rp_names_add(struct rp_names *n, rp_str name, uint32_t kind, uint32_t *at)
{
    if (name.len == 0 || name.len > RP_NAMES_BYTES) return RP_E_INVALID;
    rp_err e = rp_names_find(n, name, kind, at);
    if (e != RP_E_NOT_FOUND) return e;
    e = rp_lock_take(&n->head->lock);
    if (e == RP_END) e = mend(n);
    if (e != RP_OK) return e;
    e = rp_names_find(n, name, kind, at); /* somebody may have been faster */
    if (e == RP_E_NOT_FOUND) e = append(n, name, kind, at);
    rp_lock_leave(&n->head->lock);
    return e;
}
