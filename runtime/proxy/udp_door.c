/* SPDX-License-Identifier: MIT
 *
 * udp_door: the bound socket of a stream's datagrams: takes them in batches, finds or opens the
 * session of each, and says no when there are too many.
 */
#include "proxy/stream_udp.h"

#include "base/log.h"

enum {
    TURNS = 4,            /* batches taken before others get their turn */
    SAY_MS = 1000,        /* between two lines about drops */
    SPARE_MS = 1000,      /* a session younger than this is not put out: its answer is under way */
    LINGER_MS = 2000,     /* a door that a reload took away waits this long for answers */
    SESSIONS_KEPT = 1024, /* freed ones, for the next: 1 MB */
};

/* ---- dropping -------------------------------------------------------------------------------- */

void rp_udp_door_drop(struct rp_udp_door *door, uint64_t n, const char *why)
{
    struct rp_proxy *p = door->serve->proxy;
    rp_ms now = rp_loop_now(p->loop);
    p->stats.udp_dropped += n;
    door->unsaid_n += n;
    if (n == 0 || (door->said_ms && now - door->said_ms < SAY_MS)) return;
    door->said_ms = now;
    rp_log(warn, "datagrams dropped why=\"%s\" listener=%s dropped_n=%llu sessions_n=%u", why,
           rp_log_esc(door->serve->text), (unsigned long long)door->unsaid_n, door->sessions_n);
    door->unsaid_n = 0;
}

void rp_udp_door_list(struct rp_udp_session *u)
{
    struct rp_udp_door *door = u->door;
    u->listed = true;
    u->elder = door->youngest;
    if (u->elder) u->elder->younger = u;
    else door->eldest = u;
    door->youngest = u;
}

void rp_udp_door_unlist(struct rp_udp_session *u)
{
    struct rp_udp_door *door = u->door;
    if (!u->listed) return;
    *(u->younger ? &u->younger->elder : &door->youngest) = u->elder;
    *(u->elder ? &u->elder->younger : &door->eldest) = u->younger;
    u->younger = u->elder = NULL;
    u->listed = false;
}

/* ---- letting in ------------------------------------------------------------------------------ */

static bool is_full(const struct rp_udp_door *door)
{
    const struct rp_udp *udp = door->serve->proxy->udp;
    return door->sessions_n >= door->serve->stream->udp_sessions ||
           udp->sessions_n >= udp->sessions_most;
}

/* It ends at the end of this tick, before the new one asks for its socket. */
static bool make_room(struct rp_udp_door *door)
{
    struct rp_udp_session *u = door->eldest;
    struct rp_loop *l = door->serve->proxy->loop;
    if (!u || rp_loop_now_ns(l) - u->s.start_ns < (rp_ns)SPARE_MS * 1000000) return false;
    rp_udp_door_unlist(u);
    u->evicted = true;
    door->serve->proxy->stats.udp_evicted++;
    rp_stream_wake(&u->s, RP_WAKE_STOP);
    return true;
}

/* The session of a key; NULL: there is none, and no room for one. */
static struct rp_udp_session *session_of(struct rp_udp_door *door, const struct rp_flow_key *key,
                                         const struct rp_dgram_item *first, uint32_t n)
{
    struct rp_flow *f = rp_flows_find(&door->flows, key);
    if (f) return RP_CONTAINER(rp_udp_session, flow, f);
    if (door->leaving) {
        door->serve->proxy->stats.udp_dropped += n; /* as if the socket were gone already */
        return NULL;
    }
    if (is_full(door) && !make_room(door)) {
        rp_udp_door_drop(door, n, "too many sessions");
        return NULL;
    }
    return rp_udp_session_open(door, key, first);
}

/* ---- taking ---------------------------------------------------------------------------------- */

static void take_batch(struct rp_udp_door *door, const struct rp_dgram_batch *b)
{
    struct rp_flow_key keys[RP_DGRAM_BATCH];
    rp_str list[RP_DGRAM_BATCH];
    for (uint32_t i = 0; i < b->n; i++) {
        rp_flow_key_make(&keys[i], &b->items[i].from, &b->items[i].local);
        list[i] = b->items[i].bytes;
    }
    for (uint32_t i = 0, end; i < b->n; i = end) { /* what one client said at once goes at once */
        for (end = i + 1; end < b->n && rp_flow_key_eq(&keys[end], &keys[i]);) end++;
        struct rp_udp_session *u = session_of(door, &keys[i], &b->items[i], end - i);
        if (u) rp_udp_session_take(u, list + i, end - i);
    }
}

static void on_ready(struct rp_dgram *socket)
{
    struct rp_udp_door *door = rp_dgram_owner(socket);
    struct rp_proxy *p = door->serve->proxy;
    struct rp_dgram_batch *b = p->udp->batch;
    int os;
    for (int turn = 0; turn < TURNS; turn++) {
        if (rp_dgram_recv(socket, b, &os) != RP_OK) return; /* of an error nothing is left */
        p->stats.udp_in += b->n;
        take_batch(door, b);
        if (b->n < RP_DGRAM_BATCH) return;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct rp_udp *udp_of(struct rp_proxy *p)
{
    if (p->udp) return p->udp;
    p->udp = rp_alloc(sizeof *p->udp);
    p->udp->batch = rp_dgram_batch_new();
    p->udp->sessions_most = rp_dgram_most();
    rp_pool_init(&p->udp->pool, sizeof(struct rp_udp_session), SESSIONS_KEPT);
    return p->udp;
}

void rp_udp_free(struct rp_proxy *p)
{
    if (!p->udp) return;
    rp_dgram_batch_free(&p->udp->batch);
    rp_pool_fini(&p->udp->pool);
    rp_free(p->udp);
    p->udp = NULL;
}

static void door_close(struct rp_udp_door *door)
{
    rp_timer_clear(door->serve->proxy->loop, &door->linger);
    rp_dgram_close(door->socket);
    rp_flows_fini(&door->flows);
    door->serve->udp = NULL;
    rp_free(door);
}

/* What is left is ended now. */
static void on_linger(struct rp_timer *t)
{
    struct rp_udp_door *door = RP_CONTAINER(rp_udp_door, linger, t);
    struct rp_proxy *p = door->serve->proxy;
    for (struct rp_stream *s = p->streams; s; s = s->next)
        if (s->serve == door->serve) rp_stream_wake(s, RP_WAKE_STOP);
}

rp_err rp_udp_door_open(struct rp_serve *s, int fd, struct rp_udp_door **out)
{
    struct rp_udp_door *door = rp_alloc(sizeof *door);
    (void)udp_of(s->proxy); /* there from now on */
    door->serve = s;
    rp_timer_init(&door->linger, on_linger);
    rp_err e = rp_dgram_open(s->proxy->loop, fd, on_ready, door, &door->socket);
    if (e != RP_OK) {
        rp_free(door);
        return e;
    }
    *out = door;
    return RP_OK;
}

/* A draining worker keeps its clients up to its own deadline. A door that a reload took away must
 * leave the port soon: the next reload may want it back. */
void rp_udp_door_leave(struct rp_udp_door *door)
{
    struct rp_proxy *p = door->serve->proxy;
    door->leaving = true;
    if (door->sessions_n == 0) door_close(door);
    else if (!p->draining && !p->settings.draining) rp_timer_set(p->loop, &door->linger, LINGER_MS);
}

void rp_udp_door_forget(struct rp_udp_door *door)
{
    door->sessions_n--;
    door->serve->proxy->udp->sessions_n--;
    if (door->leaving && door->sessions_n == 0) door_close(door);
}
