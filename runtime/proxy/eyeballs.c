/* SPDX-License-Identifier: MIT
 *
 * eyeballs: see eyeballs.h.
 *
 * Invariants: 1 callbacks of sockets and of the timer only wake the owner; connections are begun and
 * closed when it looks. 2 A lane holds its slot as long as the race lives: the peer may learn other
 * addresses meanwhile. 3 What a race finds out is noted at the slots, so that the next one begins with what
 * works: an address that failed rests for fail_rest, one that was overtaken for REMEMBER_MS.
 * 4 Each address that failed is told to the owner once: the last one by the end of the race, the
 * others by failed().
 */
#include "proxy/eyeballs.h"

#include "net/lab.h"
#include "proxy/proxy.h"
#include "proxy/upstream.h"

enum {
    REMEMBER_MS = 10 * 60 * 1000, /* RFC 6555 §4.2: on the order of ten minutes */
    DELAY_LEAST_MS = 10,          /* RFC 8305 §8: MUST NOT be less */
};

struct lane {
    struct rp_pool_slot *slot; /* held */
    struct rp_conn *conn;      /* NULL: not begun, or failed */
};

struct rp_race {
    struct rp_proxy *proxy;
    const struct rp_race_owner *owner; /* kept */
    void *arg;
    struct rp_timer timer; /* for the next address */
    rp_ms delay_ms;
    struct rp_conn_fail fail; /* of the last that failed ... */
    uint32_t failed_at;       /* ... which was this one */
    uint32_t next, n, going;  /* next: to be begun */
    bool due;
    struct lane lanes[RP_PEER_ADDRS];
};

/* ---- lanes ---------------------------------------------------------------------------------- */

static rp_ms now_of(const struct rp_race *c)
{
    return rp_loop_now(c->proxy->loop);
}

/* Those that failed lately, or were slow, come last; else in the peer's order, from the chosen one on: there the
 * families take turns (RFC 8305 §4). */
static void line_up(struct rp_race *c, const struct rp_peer *peer, const struct rp_pool_slot *first)
{
    uint32_t at = 0;
    while (at < peer->slots_n && peer->slots[at] != first) at++;
    for (int rests = 0; rests < 2; rests++) {
        for (uint32_t i = 0; i < peer->slots_n; i++) {
            struct rp_pool_slot *s = peer->slots[(at + i) % peer->slots_n];
            bool last = i > 0 && rp_connpool_rest_until(s) > now_of(c);
            if (last == (rests == 1)) c->lanes[c->n++].slot = rp_connpool_ref(s);
        }
    }
}

static void on_event(struct rp_conn *conn, unsigned events)
{
    struct rp_race *c = rp_conn_face(conn)->owner;
    (void)events;
    c->owner->wake(c->arg);
}

static void on_timer(struct rp_timer *t)
{
    struct rp_race *c = RP_CONTAINER(rp_race, timer, t);
    c->due = true;
    c->owner->wake(c->arg);
}

/* Those that follow are to have a turn each, and the last one time as well. */
static rp_ms delay_of(const struct rp_pick *k, rp_ms connect_ms)
{
    rp_ms usual = k->group->conf->next_address_ms;
    rp_ms share = connect_ms / (k->peer->slots_n + 1);
    return connect_ms ? RP_MIN(usual, RP_MAX(share, (rp_ms)DELAY_LEAST_MS)) : usual;
}

/* It does not go any more. */
static void note_failure(struct rp_race *c, const struct rp_pick *k, uint32_t lane, rp_err e)
{
    const struct rp_conf_upstream *u = k->group->conf;
    struct rp_pool_slot *s = c->lanes[lane].slot;
    bool is_last = c->going == 0 && c->next == c->n;
    c->failed_at = lane;
    c->due = true; /* the next one does not wait for its time (RFC 8305 §5) */
    if (u->max_fails) rp_connpool_set_rest(s, now_of(c) + u->fail_rest_ms);
    if (!is_last) c->owner->failed(c->arg, rp_connpool_addr(s), e, c->fail.os);
}

/* Begin with the next address that lets itself be begun with. */
static void begin_next(struct rp_race *c, const struct rp_pick *k)
{
    struct rp_loop *loop = c->proxy->loop;
    while (c->due && c->next < c->n) {
        uint32_t lane = c->next++;
        struct rp_conn *conn = NULL;
        c->proxy->stats.up_connects++;
        if (rp_conn_connect(loop, rp_connpool_addr(c->lanes[lane].slot), &conn, &c->fail) !=
            RP_OK) {
            note_failure(c, k, lane, RP_E_UP_CONNECT);
            continue;
        }
        c->lanes[lane].conn = conn;
        rp_conn_face(conn)->owner = c;
        rp_conn_face(conn)->on_event = on_event;
        c->going++;
        c->due = false;
    }
    if (c->next < c->n) rp_timer_set(loop, &c->timer, c->delay_ms);
    else rp_timer_clear(loop, &c->timer);
}

static void end(struct rp_race *c, struct rp_pick *k)
{
    rp_timer_clear(c->proxy->loop, &c->timer);
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->lanes[i].conn) rp_conn_close(c->lanes[i].conn);
        rp_connpool_drop(c->proxy->pool, c->lanes[i].slot);
    }
    rp_free(c);
    k->race = NULL;
}

static void move_to(struct rp_race *c, struct rp_pick *k, uint32_t lane)
{
    struct rp_pool_slot *was = k->pool_slot;
    k->pool_slot = rp_connpool_ref(c->lanes[lane].slot);
    if (was) rp_connpool_drop(c->proxy->pool, was);
}

/* ---- for the owner -------------------------------------------------------------------------- */

bool rp_race_is_wanted(const struct rp_proxy *p, const struct rp_pick *k)
{
    if (RP_LIKELY(!k->peer || k->peer->slots_n < 2)) return false;
    return rp_loop_lab(p->loop) == NULL; /* where names have one address */
}

rp_err rp_race_begin(struct rp_proxy *p, struct rp_pick *k, rp_ms connect_ms,
                     const struct rp_race_owner *owner, void *arg, struct rp_conn_fail *fail)
{
    struct rp_race *c = rp_alloc(sizeof *c);
    *c = (struct rp_race){.proxy = p, .owner = owner, .arg = arg, .due = true};
    c->delay_ms = delay_of(k, connect_ms);
    rp_timer_init(&c->timer, on_timer);
    line_up(c, k->peer, k->pool_slot);
    k->race = c;
    k->raced = true;
    begin_next(c, k);
    if (c->going) return RP_OK;
    *fail = c->fail;
    move_to(c, k, c->failed_at);
    end(c, k);
    return RP_E_UP_CONNECT;
}

/* It took a while, and another one was there sooner: that one is asked first from now on. */
static void win(struct rp_race *c, struct rp_pick *k, uint32_t lane, struct rp_conn **conn)
{
    for (uint32_t i = 0; i < lane; i++)
        if (c->lanes[i].conn) rp_connpool_set_rest(c->lanes[i].slot, now_of(c) + REMEMBER_MS);
    *conn = c->lanes[lane].conn;
    c->lanes[lane].conn = NULL;
    rp_conn_face(*conn)->owner = NULL;
    rp_conn_face(*conn)->on_event = NULL;
    rp_connpool_set_rest(c->lanes[lane].slot, 0);
    move_to(c, k, lane);
    k->raced = false;
    end(c, k);
}

rp_err rp_race_look(struct rp_pick *k, struct rp_conn **conn, struct rp_conn_fail *fail)
{
    struct rp_race *c = k->race;
    for (uint32_t i = 0; i < c->next; i++) {
        struct lane *lane = &c->lanes[i];
        rp_err e = lane->conn ? rp_conn_look_connected(lane->conn) : RP_AGAIN;
        if (e == RP_AGAIN) continue;
        if (e == RP_OK) {
            win(c, k, i, conn);
            return RP_OK;
        }
        c->fail = rp_conn_face(lane->conn)->fail;
        rp_conn_close(lane->conn);
        lane->conn = NULL;
        c->going--;
        note_failure(c, k, i, RP_E_UP_CONNECT);
    }
    if (c->due) begin_next(c, k);
    if (c->going) return RP_AGAIN;
    *fail = c->fail;
    move_to(c, k, c->failed_at);
    end(c, k);
    return RP_E_UP_CONNECT;
}

void rp_race_hand_over(struct rp_pick *k, void *arg)
{
    if (k->race) k->race->arg = arg;
}

void rp_race_give_up(struct rp_pick *k)
{
    struct rp_race *c = k->race;
    if (!c) return;
    c->next = c->n; /* no other one is begun */
    c->fail = (struct rp_conn_fail){0};
    for (uint32_t i = 0; i < c->n; i++) {
        if (!c->lanes[i].conn) continue;
        rp_conn_close(c->lanes[i].conn);
        c->lanes[i].conn = NULL;
        c->going--;
        note_failure(c, k, i, RP_E_UP_CONNECT_TIMEOUT);
    }
    move_to(c, k, c->failed_at);
    end(c, k);
}

void rp_race_cancel(struct rp_pick *k)
{
    if (k->race) end(k->race, k);
}
