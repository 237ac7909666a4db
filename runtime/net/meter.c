/* SPDX-License-Identifier: MIT
 *
 * meter: see meter.h. Keys come from the wire, so the hash is keyed.
 */
#include "net/meter.h"

#include "base/hash.h"
#include "base/mem.h"

enum {
    FIRST_SLOTS = 64,
    KEEP = 1024, /* 48 KB of clients that left, for the next ones */
    NET_BYTES = 16,
    NET6_BYTES = 8, /* a /64: the least that one customer gets */
    MAPPED_BYTES = 12,
};

struct rp_meter_client {
    struct rp_meter_client *next;
    uint32_t n;
    uint32_t hash;
    uint8_t net[NET_BYTES];
};

void rp_meter_init(struct rp_meter *m)
{
    *m = (struct rp_meter){0};
    rp_pool_init(&m->pool, sizeof(struct rp_meter_client), KEEP);
}

void rp_meter_fini(struct rp_meter *m)
{
    RP_CHECK(m->conns_n == 0 && m->clients_n == 0);
    rp_free(m->slots);
    m->slots = NULL;
    rp_pool_fini(&m->pool);
}

/* ---- clients --------------------------------------------------------------------------------- */

static bool net_of(const struct rp_addr *a, uint8_t net[NET_BYTES])
{
    static const uint8_t MAPPED[MAPPED_BYTES] = {[10] = 0xff, [11] = 0xff};
    if (a->family != RP_ADDR_IP4 && a->family != RP_ADDR_IP6) return false;
    memcpy(net, a->ip, NET_BYTES);
    bool ip4 = a->family == RP_ADDR_IP4 || memcmp(net, MAPPED, MAPPED_BYTES) == 0;
    if (!ip4) memset(net + NET6_BYTES, 0, NET_BYTES - NET6_BYTES);
    return true;
}

static struct rp_meter_client **slot_of(const struct rp_meter *m, uint32_t hash)
{
    return &m->slots[hash & (m->slots_n - 1)];
}

static void grow(struct rp_meter *m)
{
    struct rp_meter_client **old = m->slots;
    uint32_t old_n = m->slots_n;
    if (m->clients_n < old_n) return;
    m->slots_n = old_n ? old_n * 2 : FIRST_SLOTS;
    m->slots = rp_alloc(sizeof(*m->slots) * m->slots_n);
    for (uint32_t i = 0; i < old_n; i++) {
        for (struct rp_meter_client *c = old[i], *next; c; c = next) {
            struct rp_meter_client **slot = slot_of(m, c->hash);
            next = c->next;
            c->next = *slot;
            *slot = c;
        }
    }
    rp_free(old);
}

static struct rp_meter_client *find(const struct rp_meter *m, const uint8_t *net, uint32_t hash)
{
    struct rp_meter_client *c = m->slots_n ? *slot_of(m, hash) : NULL;
    while (c && memcmp(c->net, net, NET_BYTES) != 0) c = c->next;
    return c;
}

static struct rp_meter_client *add(struct rp_meter *m, const uint8_t *net, uint32_t hash)
{
    grow(m);
    struct rp_meter_client *c = rp_pool_get(&m->pool);
    struct rp_meter_client **slot = slot_of(m, hash);
    *c = (struct rp_meter_client){.next = *slot, .hash = hash};
    memcpy(c->net, net, NET_BYTES);
    *slot = c;
    m->clients_n++;
    return c;
}

static void forget(struct rp_meter *m, struct rp_meter_client *c)
{
    struct rp_meter_client **at = slot_of(m, c->hash);
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    m->clients_n--;
    rp_pool_put(&m->pool, c);
}

/* ---- passes ---------------------------------------------------------------------------------- */

rp_err rp_meter_enter(struct rp_meter *m, uint64_t most, struct rp_meter_pass *pass)
{
    RP_CHECK(!pass->meter);
    if (most && m->conns_n >= most) return RP_E_CONNS_MANY;
    m->conns_n++;
    pass->meter = m;
    return RP_OK;
}

rp_err rp_meter_join(struct rp_meter_pass *pass, const struct rp_addr *client, uint64_t most)
{
    uint8_t net[NET_BYTES];
    RP_CHECK(pass->meter && !pass->client);
    if (!net_of(client, net)) return RP_OK;
    struct rp_meter *m = pass->meter;
    uint32_t hash = (uint32_t)rp_hash_bytes(rp_str_of((const char *)net, sizeof net));
    struct rp_meter_client *c = find(m, net, hash);
    if (most && c && c->n >= most) return RP_E_CONNS_CLIENT;
    if (!c) c = add(m, net, hash);
    c->n++;
    pass->client = c;
    return RP_OK;
}

void rp_meter_leave(struct rp_meter_pass *pass)
{
    struct rp_meter *m = pass->meter;
    if (!m) return;
    if (pass->client && --pass->client->n == 0) forget(m, pass->client);
    m->conns_n--;
    *pass = (struct rp_meter_pass){0};
}
