/* SPDX-License-Identifier: MIT
 *
 * flow: see flow.h. Chains in a power of two of slots, at most one flow a slot in the mean.
 */
#include "proxy/flow.h"

#include "base/hash.h"
#include "base/mem.h"

enum { FIRST_SLOTS = 64 };

void rp_flow_key_make(struct rp_flow_key *k, const struct rp_addr *client,
                      const struct rp_addr *local)
{
    memset(k, 0, sizeof *k); /* compared as bytes */
    memcpy(k->client, client->ip, sizeof k->client);
    k->scopes[0] = client->scope;
    k->port = client->port;
    k->families = client->family;
    if (local->family == RP_ADDR_NONE) return;
    memcpy(k->local, local->ip, sizeof k->local);
    k->scopes[1] = local->scope;
}

bool rp_flow_key_eq(const struct rp_flow_key *a, const struct rp_flow_key *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static uint32_t hash_of(const struct rp_flow_key *k)
{
    return (uint32_t)rp_hash_bytes(rp_str_of((const char *)k, sizeof *k));
}

static struct rp_flow **slot_of(const struct rp_flows *t, uint32_t hash)
{
    return &t->slots[hash & (t->slots_n - 1)];
}

struct rp_flow *rp_flows_find(const struct rp_flows *t, const struct rp_flow_key *k)
{
    if (t->n == 0) return NULL;
    uint32_t hash = hash_of(k);
    struct rp_flow *f = *slot_of(t, hash);
    while (f && (f->hash != hash || !rp_flow_key_eq(&f->key, k))) f = f->next;
    return f;
}

static void put(struct rp_flows *t, struct rp_flow *f)
{
    struct rp_flow **slot = slot_of(t, f->hash);
    f->next = *slot;
    *slot = f;
}

static void grow(struct rp_flows *t)
{
    struct rp_flow **old = t->slots;
    uint32_t old_n = t->slots_n;
    t->slots_n = old_n ? old_n * 2 : FIRST_SLOTS;
    t->slots = rp_alloc(sizeof(struct rp_flow *) * t->slots_n);
    for (uint32_t i = 0; i < old_n; i++) {
        for (struct rp_flow *f = old[i], *next; f; f = next) {
            next = f->next;
            put(t, f);
        }
    }
    rp_free(old);
}

void rp_flows_add(struct rp_flows *t, struct rp_flow *f)
{
    RP_CHECK(!f->found);
    if (t->n == t->slots_n) grow(t);
    f->hash = hash_of(&f->key);
    f->found = true;
    put(t, f);
    t->n++;
}

void rp_flows_remove(struct rp_flows *t, struct rp_flow *f)
{
    if (!f->found) return;
    struct rp_flow **at = slot_of(t, f->hash);
    while (*at != f) at = &(*at)->next;
    *at = f->next;
    f->found = false;
    t->n--;
}

void rp_flows_fini(struct rp_flows *t)
{
    RP_CHECK(t->n == 0);
    rp_free(t->slots);
    *t = (struct rp_flows){0};
}
