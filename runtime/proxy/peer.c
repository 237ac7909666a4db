/* SPDX-License-Identifier: MIT
 *
 * peer: one peer of a group: its addresses, the lookups of its name, its place in the roster, and its
 * end. See upstream.h.
 */
#include "base/hash.h"
#include "base/log.h"
#include "net/lab.h"
#include "net/tls_client.h"
#include "proxy/proxy.h"
#include "proxy/stream.h"
#include "proxy/upstream.h"

enum {
    REFRESH_LEAST_MS = 1000, /* between lookups of a name that resolves, whatever its TTL is */
    REFRESH_MOST_MS = 3600 * 1000,
    REFRESH_LAB_MS = 30 * 1000, /* ... in the lab, whose names have no TTL */
    REFRESH_SPREAD = 16,        /* ... later by up to this part of it: workers do not ask at once */
    REFRESH_FAILED_MS = 2 * 1000, /* ... of one that does not */
};

/* ---- names --------------------------------------------------------------------------------- */

static void drop_slots(struct rp_peer *p)
{
    struct rp_connpool *pool = p->group->proxy->pool;
    for (uint32_t i = 0; i < p->slots_n; i++) rp_connpool_drop(pool, p->slots[i]);
    p->slots_n = 0;
}

void rp_upstream_wake_waiting(struct rp_proxy *p)
{
    for (struct rp_req *r = p->live; r; r = r->next) {
        if (r->step == RP_STEP_PICK) rp_req_wake(r, RP_WAKE_UP);
    }
    rp_stream_wake_picking(p);
}

rp_str rp_peer_identity(const struct rp_conf_peer *peer, const struct rp_addr *a,
                        char buf[RP_ADDR_TEXT_BYTES])
{
    if (peer && peer->identity.len) return peer->identity;
    if (peer && peer->host.len) return peer->host;
    if (a->family == RP_ADDR_UNIX) return RP_STR_NONE;
    return rp_str_of(buf, rp_addr_put_ip(a, buf));
}

struct rp_pool_slot *rp_group_hold_slot(const struct rp_group *g, const struct rp_conf_peer *peer,
                                        const struct rp_addr *a)
{
    uint64_t key = g->pool_key;
    uint8_t id[RP_TLS_ID_BYTES];
    char buf[RP_ADDR_TEXT_BYTES];
    if (g->conf->tls) {
        rp_tls_client_id(g->conf->tls, rp_peer_identity(peer, a, buf), id);
        key = rp_hash_mix(key ^ rp_hash_bytes(rp_str_of((const char *)id, sizeof id)));
    }
    return rp_connpool_hold(g->proxy->pool, a, key);
}

static rp_ms refresh_ms(struct rp_proxy *proxy, const struct rp_dns_answer *answer)
{
    if (rp_loop_lab(proxy->loop)) return REFRESH_LAB_MS;
    rp_ms ttl = RP_MAX(answer->ttl_ms, (rp_ms)REFRESH_LEAST_MS);
    ttl = RP_MIN(ttl, (rp_ms)REFRESH_MOST_MS);
    return ttl + rp_random_below(&proxy->dice, ttl / REFRESH_SPREAD + 1);
}

/* The next address of that family from *at on; NULL: there is none. */
static const struct rp_addr *next_of(const struct rp_dns_answer *answer, size_t *at, bool ip6)
{
    while (*at < answer->addrs_n) {
        const struct rp_addr *a = &answer->addrs[(*at)++];
        if ((a->family == RP_ADDR_IP6) == ip6) return a;
    }
    return NULL;
}

/* In the order of the answer (RFC 6724), but the families by turns (RFC 8305 §4). */
static uint32_t take_addrs(struct rp_peer *p, const struct rp_dns_answer *answer,
                           struct rp_pool_slot *fresh[RP_PEER_ADDRS])
{
    size_t at[2] = {0, 0};
    bool ip6 = answer->addrs[0].family == RP_ADDR_IP6, both[2] = {false, false};
    uint32_t n = 0;
    while (n < RP_PEER_ADDRS) {
        const struct rp_addr *next = next_of(answer, &at[ip6], ip6);
        if (!next) ip6 = !ip6;
        if (!next) next = next_of(answer, &at[ip6], ip6);
        if (!next) break;
        struct rp_addr a = *next;
        a.port = p->conf->addr.port;
        fresh[n++] = rp_group_hold_slot(p->group, p->conf, &a);
        both[ip6] = true;
        ip6 = !ip6;
    }
    p->dual = both[0] && both[1];
    return n;
}

static void on_answer(void *arg, const struct rp_dns_answer *answer)
{
    struct rp_peer *p = arg;
    struct rp_proxy *proxy = p->group->proxy;
    p->query = NULL;
    bool good = answer->status == RP_OK && answer->addrs_n > 0;
    if (good) {
        struct rp_pool_slot *fresh[RP_PEER_ADDRS];
        uint32_t n = take_addrs(p, answer, fresh);
        drop_slots(p); /* after holding: what stays in use keeps its connections */
        memcpy(p->slots, fresh, n * sizeof(fresh[0]));
        p->slots_n = n;
    } else if (!p->looked_up || p->slots_n == 0) {
        rp_log(warn, "upstream name did not resolve name=%s upstream=%s", rp_log_esc(p->conf->host),
               rp_log_esc(p->group->conf->name));
    }
    p->looked_up = p->group->stale = true;
    rp_timer_set(proxy->loop, &p->refresh, good ? refresh_ms(proxy, answer) : REFRESH_FAILED_MS);
    rp_upstream_wake_waiting(proxy);
}

static void look_up(struct rp_timer *t)
{
    struct rp_peer *p = RP_CONTAINER(rp_peer, refresh, t);
    rp_err e = rp_dns_resolve(p->group->proxy->dns, p->conf->host, on_answer, p, &p->query);
    if (e != RP_OK) {
        p->looked_up = p->group->stale = true;
        rp_timer_set(p->group->proxy->loop, &p->refresh, REFRESH_FAILED_MS);
        rp_upstream_wake_waiting(p->group->proxy);
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

struct rp_peer *rp_peer_new(struct rp_group *g, const struct rp_conf_peer *conf, uint8_t from)
{
    struct rp_peer *p = rp_alloc(sizeof *p);
    if (++g->proxy->peer_ids == 0) g->proxy->peer_ids = 1;
    p->id = g->proxy->peer_ids;
    if (!conf) p->live = rp_alloc(sizeof *p->live);
    p->conf = conf ? conf : p->live;
    p->group = g;
    p->refs = 1;
    p->from = from;
    p->place = RP_PEER_UNPLACED;
    rp_timer_init(&p->refresh, look_up);
    if (conf) rp_peer_begin(p);
    return p;
}

void rp_peer_begin(struct rp_peer *p)
{
    if (p->conf->host.len == 0) {
        p->slots[0] = rp_group_hold_slot(p->group, p->conf, &p->conf->addr);
        p->slots_n = 1;
        p->looked_up = true;
    } else {
        look_up(&p->refresh);
    }
}

void rp_peers_tell_unplaced(const struct rp_group *g, uint32_t n)
{
    if (n == 0) return;
    rp_log(warn,
           "no room for what workers share of peers: each knows of these what it sees itself "
           "peers=%u upstream=%s",
           n, rp_log_esc(g->conf->name));
}

bool rp_peer_place(struct rp_peer *p)
{
    const struct rp_group *g = p->group;
    struct rp_proxy *proxy = g->proxy;
    bool fresh;
    rp_err e = rp_roster_hold(proxy->roster, proxy->roster_row, g->conf->name, p->conf->name,
                              &p->place, &fresh);
    if (e == RP_OK) {
        rp_roster_set_from(proxy->roster, p->place, (enum rp_roster_from)p->from);
        /* Nobody checks it any more: what was said of it does not hold. */
        if (!g->conf->health)
            (void)rp_roster_set_health(proxy->roster, p->place, RP_ROSTER_UNKNOWN,
                                       0); /* news or not */
        return true;
    }
    p->place = RP_PEER_UNPLACED;
    return false;
}

void rp_peer_displace(struct rp_peer *p)
{
    struct rp_proxy *proxy = p->group->proxy;
    if (p->place != RP_PEER_UNPLACED) rp_roster_drop(proxy->roster, proxy->roster_row, p->place);
    p->place = RP_PEER_UNPLACED;
}

void rp_peer_leave(struct rp_peer *p)
{
    p->index = RP_PEER_LEFT;
    if (p->query) rp_dns_cancel(p->query);
    p->query = NULL;
    rp_timer_clear(p->group->proxy->loop, &p->refresh);
    rp_peer_drop(p);
}

void rp_peer_drop(struct rp_peer *p)
{
    if (--p->refs > 0) return;
    rp_peer_displace(p);
    drop_slots(p);
    rp_free(p->name_text);
    rp_free(p->more_text);
    rp_free(p->live);
    rp_free(p);
}
