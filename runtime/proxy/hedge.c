/* SPDX-License-Identifier: MIT
 *
 * hedge: see hedge.h.
 *
 * Invariants: outside of rp_hedge_turn the first of two tries is the one in the request. The second
 * is at another peer, counts as a try and as a retry under way, and never waits in a queue. A spool
 * is read by one try at a time. A try is let go of with its own fields in the request.
 */
#include "proxy/hedge.h"

#include "proxy/attempt_retry.h"
#include "proxy/eyeballs.h"
#include "proxy/guard.h"
#include "proxy/proxy.h"
#include "proxy/queue.h"
#include "proxy/retry.h"
#include "proxy/upstream.h"

enum {
    BOOK_LEAST = 100, /* latencies: of fewer nobody knows a quantile */
    BOOK_MOST = 4096, /* then all are halved: what was long ago counts less */
    BOOK_LOOK = 32,   /* the quantile is looked at again after so many */
};

/* ---- what is known of latencies ------------------------------------------------------------ */

struct rp_hedge_book *rp_hedge_book_of(struct rp_group *g)
{
    rp_str name = g->conf->name;
    if (g->hedges) return g->hedges;
    struct rp_hedge_book *b = g->proxy->hedge_books;
    while (b && !rp_str_eq(rp_str_of(b->name, b->name_n), name)) b = b->next;
    if (!b) { /* a walk is fine: once per upstream and generation */
        b = rp_alloc(sizeof *b + name.len);
        b->name_n = name.len;
        memcpy(b->name, name.ptr, name.len);
        b->purse = RP_RETRY_PURSE_MOST;
        b->next = g->proxy->hedge_books;
        g->proxy->hedge_books = b;
    }
    g->hedges = b;
    return b;
}

void rp_hedge_books_free(struct rp_proxy *p)
{
    for (struct rp_hedge_book *b = p->hedge_books, *next; b; b = next) {
        next = b->next;
        rp_free(b);
    }
    p->hedge_books = NULL;
}

void rp_hedge_book_add(struct rp_hedge_book *b, uint64_t us)
{
    b->counts[rp_histogram_bucket(us)]++;
    b->counted_n++;
    b->fresh_n++;
    if (b->counted_n < BOOK_MOST) return;
    b->counted_n = 0;
    for (uint32_t i = 0; i < RP_HISTOGRAM_BUCKETS; i++) b->counted_n += b->counts[i] /= 2;
}

uint32_t rp_hedge_book_quantile(struct rp_hedge_book *b, uint32_t permille)
{
    if (b->counted_n < BOOK_LEAST) return 0;
    bool known = b->quantile_us && b->permille == permille && b->fresh_n < BOOK_LOOK;
    if (!known) {
        b->quantile_us = rp_histogram_quantile(b->counts, (double)permille / 1000);
        b->permille = (uint16_t)permille;
        b->fresh_n = 0;
    }
    return b->quantile_us;
}

void rp_hedge_note(struct rp_req *r)
{
    if (r->upstream->hedge_quantile && r->pick.group)
        rp_hedge_book_add(rp_hedge_book_of(r->pick.group),
                          rp_upstream_spent_us(r->proxy, &r->pick));
}

/* ---- exchanging two tries ------------------------------------------------------------------ */

/* The fields of a request that belong to one try, beside its deadline and whether it is the second.
 */
#define TRY_FIELDS(X)                                                                              \
    X(step)                                                                                        \
    X(phase)                                                                                       \
    X(interim_n)                                                                                   \
    X(up_reused)                                                                                   \
    X(dials)                                                                                       \
    X(up_fresh)                                                                                    \
    X(up_http1)                                                                                    \
    X(body_sent)                                                                                   \
    X(hook_late)                                                                                   \
    X(timer_means)                                                                                 \
    X(waiting_for)                                                                                 \
    X(upstream)                                                                                    \
    X(up)                                                                                          \
    X(up_out_base)                                                                                 \
    X(connect_start_ns)                                                                            \
    X(connected_ns)                                                                                \
    X(sent_ns)                                                                                     \
    X(first_byte_ns)                                                                               \
    X(pick)

static void save(const struct rp_req *r, struct rp_try *t)
{
#define SAVE(field) t->field = r->field;
    TRY_FIELDS(SAVE)
#undef SAVE
    t->second = r->hedge && r->hedge->second;
    t->ends_ms = rp_timer_is_armed(&r->timer) ? r->timer.at_ms : 0;
}

/* A breach of L1: both tries are in steps that lifecycle.c set. */
static void load(struct rp_req *r, const struct rp_try *t)
{
#define LOAD(field) r->field = t->field;
    TRY_FIELDS(LOAD)
#undef LOAD
    if (r->hedge) r->hedge->second = t->second;
}

static void set_timer(struct rp_loop *l, struct rp_timer *t, rp_ms at)
{
    rp_ms now = rp_loop_now(l);
    if (at) rp_timer_set(l, t, at > now ? at - now : 1);
    else rp_timer_clear(l, t);
}

static void exchange(struct rp_req *r)
{
    struct rp_hedge *h = r->hedge;
    struct rp_try parked = h->other;
    save(r, &h->other);
    load(r, &parked);
    set_timer(r->proxy->loop, &r->timer, parked.ends_ms);
    set_timer(r->proxy->loop, &h->timer, h->other.ends_ms);
}

void rp_try_hand_over(struct rp_req *from, struct rp_req *to)
{
    struct rp_try t;
    save(from, &t);
    load(to, &t);
    to->tries = from->tries;
    to->wakes &= ~(unsigned)RP_WAKE_TIMEOUT; /* of what it waited for before */
    if (RP_UNLIKELY(from->guard != NULL)) rp_guard_hand_over(from, to);
    if (to->up) rp_attempt_bind(to);
    rp_race_hand_over(&to->pick, to);
    set_timer(to->proxy->loop, &to->timer, t.ends_ms);
    from->up = NULL;
    from->dials = false;
    from->pick = (struct rp_pick){.group = t.pick.group, .subset = t.pick.subset};
}

static void cancel_hook(struct rp_req *r)
{
    if (r->step != RP_STEP_PICK || r->phase != RP_PHASE_BALANCE) return;
    if (r->task) r->conf->hooks->cancel(r);
    r->phase = RP_PHASE_COUNT;
    r->timer_means = RP_OK;
}

/* Nothing is held against the peer of a try that was cancelled; but how long it took already is
 * known, and counts where that is more than what was known of it. */
static void note_cut(struct rp_req *r)
{
    const struct rp_peer *peer = r->pick.peer;
    if (!peer || r->step == RP_STEP_PICK) return;
    rp_hedge_note(r);
    if (peer->place == RP_PEER_UNPLACED || peer->group->peers_n == 1) return;
    uint32_t mean = (uint32_t)rp_roster_latency(r->proxy->roster, peer->place);
    if (rp_upstream_spent_us(r->proxy, &r->pick) > mean)
        rp_upstream_note_latency(r->proxy, &r->pick);
}

/* The try in the request, which nobody wants any more. */
static void cancel_try(struct rp_req *r)
{
    cancel_hook(r);
    rp_attempt_release(r);
    rp_upstream_unpick(r->proxy, &r->pick, RP_PICK_WELL);
}

/* ---- may there be a second try? ------------------------------------------------------------ */

/* As for a retry (RFC 9110 §9.2.2), but that nothing has failed yet. */
static bool is_repeatable(const struct rp_req *r)
{
    bool idempotent = r->upstream->hedge_any || rp_token_method_is_idempotent(r->up_head->method);
    bool spent = r->body_whole && r->body.bytes > 0;
    bool none = r->x.head.framing == RP_BODY_NONE && !r->payload && !spent;
    return idempotent && !r->x.early && !r->upgrading && r->x.head.method != RP_M_CONNECT &&
           (none || r->spool);
}

/* When it begins, after the first; 0: nobody knows. */
static rp_ms delay_of(struct rp_req *r)
{
    const struct rp_conf_upstream *c = r->upstream;
    if (c->hedge_ms) return c->hedge_ms;
    return (rp_hedge_book_quantile(r->pick.group->hedges, c->hedge_quantile) + 999) / 1000;
}

static void on_timer(struct rp_timer *t)
{
    struct rp_hedge *h = RP_CONTAINER(rp_hedge, timer, t);
    if (h->on) h->late = true;
    else h->due = true;
    rp_req_wake(h->req, RP_WAKE_UP);
}

static struct rp_hedge *hedge_of(struct rp_req *r)
{
    if (r->hedge) return r->hedge;
    struct rp_hedge *h = rp_arena_zalloc(&r->x.arena, sizeof *h);
    if (!h) return NULL;
    h->req = r;
    rp_timer_init(&h->timer, on_timer);
    r->hedge = h;
    return h;
}

/* A client that is bound to a peer wants that one. */
static bool is_hedged(const struct rp_req *r)
{
    const struct rp_group *g = r->pick.group;
    bool others = g->peers_n > 1 || r->upstream->balance == RP_BALANCE_HOOK;
    return others && !r->pick.bound.id && is_repeatable(r);
}

void rp_hedge_arm(struct rp_req *r)
{
    struct rp_loop *loop = r->proxy->loop;
    struct rp_hedge_book *book = rp_hedge_book_of(r->pick.group);
    if (r->tries == 1) rp_retry_earn(&book->purse, r->upstream->hedge_budget);
    struct rp_hedge *h = r->hedge;
    if (h) {
        rp_timer_clear(loop, &h->timer);
        h->due = h->second = false;
    }
    rp_ms after = is_hedged(r) ? delay_of(r) : 0;
    if (!after || (h && h->n >= r->upstream->hedge_max)) return;
    h = hedge_of(r);
    if (!h) return; /* its arena is full: no second try then */
    rp_ms spent = rp_upstream_spent_us(r->proxy, &r->pick) / 1000;
    rp_timer_set(loop, &h->timer, after > spent ? after - spent : 1);
}

/* Keeps `due` where it only has to wait for the body to be sent. */
static bool may_begin(struct rp_req *r)
{
    struct rp_hedge *h = r->hedge;
    const struct rp_conf_upstream *c = r->upstream;
    if (r->spool && r->step == RP_STEP_AWAIT && !r->body_sent) return false;
    h->due = false;
    if (r->step != RP_STEP_CONNECT && r->step != RP_STEP_AWAIT) return false;
    if (h->n >= c->hedge_max || r->tries >= c->tries) return false;
    const struct rp_group *g = r->pick.group;
    bool hook = c->balance == RP_BALANCE_HOOK;
    if (!hook && !rp_upstream_has_other(r->proxy, &r->pick)) return false;
    if (!rp_retry_afford(g->active, g->retrying, c->retry_budget)) return false;
    return rp_retry_spend(&g->hedges->purse);
}

/* ---- the second try ------------------------------------------------------------------------ */

static void note_tried(struct rp_pick *k, struct rp_peer_ref p)
{
    for (unsigned i = 0; p.id && i < RP_PICK_TRIED_MOST && k->tried[i].id != p.id; i++) {
        if (k->tried[i].id) continue;
        k->tried[i] = p;
        return;
    }
}

static struct rp_peer_ref ref_of(const struct rp_peer *p)
{
    struct rp_peer_ref nobody = {0};
    return p ? (struct rp_peer_ref){.id = p->id, .index = p->index} : nobody;
}

/* The request's try is parked, and the fields are those of one that has not begun. */
static void begin(struct rp_req *r)
{
    struct rp_hedge *h = r->hedge;
    rp_timer_clear(r->proxy->loop, &h->timer); /* it may stand for the next one */
    save(r, &h->other);
    struct rp_try fresh = {
        .step = RP_STEP_PICK,
        .phase = RP_PHASE_COUNT,
        .second = true,
        .upstream = r->upstream,
        .pick = {.group = r->pick.group,
                 .hash = r->pick.hash,
                 .subset = r->pick.subset,
                 .again = true},
    };
    memcpy(fresh.pick.tried, r->pick.tried, sizeof fresh.pick.tried);
    note_tried(&fresh.pick, ref_of(r->pick.peer));
    load(r, &fresh);
    rp_timer_clear(r->proxy->loop, &r->timer);
    set_timer(r->proxy->loop, &h->timer, h->other.ends_ms);
    h->on = true;
    h->late = false;
    h->n++;
}

/* It came to nothing before a peer was asked: as if it had not been begun. */
static enum rp_verdict give_up(struct rp_req *r)
{
    cancel_try(r);
    (void)rp_hedge_fall_back(r); /* there are two */
    return RP_STEP_GO;
}

/* A balance hook may name anybody. */
static bool is_same(const struct rp_pick *a, const struct rp_pick *b)
{
    return a->peer ? a->peer == b->peer : !b->peer && a->pool_slot == b->pool_slot;
}

static rp_err take_seat(struct rp_req *r)
{
    return RP_UNLIKELY(rp_queue_is_behind(r)) ? RP_E_UP_FULL : rp_upstream_pick(r->proxy, &r->pick);
}

/* PICK of a second try: who finds no peer at once has none. */
static enum rp_verdict pick(struct rp_req *r)
{
    if (r->upstream->balance == RP_BALANCE_HOOK) {
        rp_err e = rp_step_hook(r, RP_PHASE_BALANCE);
        if (e == RP_AGAIN) return rp_step_wait_hook(r);
        if (e == RP_END) return rp_step_to(r, RP_STEP_RESPOND);
        if (e != RP_OK) return give_up(r); /* was logged */
        r->pick.group = rp_groups_at(rp_groups_find(r->proxy, r->conf), r->upstream->index);
    }
    if (take_seat(r) != RP_OK || is_same(&r->pick, &r->hedge->other.pick)) return give_up(r);
    r->tries++;
    r->proxy->stats.hedges++;
    return rp_step_to(r, RP_STEP_CONNECT);
}

static enum rp_verdict run_try(struct rp_req *r)
{
    switch ((enum rp_step)r->step) {
    case RP_STEP_PICK: return pick(r);
    case RP_STEP_CONNECT: return rp_step_connect(r);
    case RP_STEP_SEND: return rp_step_send(r);
    default: return rp_step_await(r);
    }
}

static enum rp_verdict timed_out(struct rp_req *r)
{
    if (r->step == RP_STEP_PICK) return give_up(r); /* its hook */
    return r->timer_means == RP_OK ? RP_STEP_GO : rp_attempt_timeout(r, r->timer_means);
}

enum rp_verdict rp_hedge_turn(struct rp_req *r)
{
    struct rp_hedge *h = r->hedge;
    if (r->step > RP_STEP_AWAIT) return RP_STEP_WAIT;
    if (h->on) {
        exchange(r);
    } else {
        if (!h->due || !may_begin(r)) return RP_STEP_WAIT;
        begin(r);
    }
    bool late = h->late;
    h->late = false;
    enum rp_verdict v = late ? timed_out(r) : RP_STEP_GO;
    while (v == RP_STEP_GO && h->on && r->step <= RP_STEP_AWAIT) v = run_try(r);
    if (!h->on || r->step > RP_STEP_AWAIT) return v;
    exchange(r);
    return RP_STEP_WAIT;
}

bool rp_hedge_fall_back(struct rp_req *r)
{
    struct rp_hedge *h = r->hedge;
    if (!h || !h->on) return false;
    for (unsigned i = 0; i < RP_PICK_TRIED_MOST; i++) note_tried(&h->other.pick, r->pick.tried[i]);
    exchange(r);
    h->on = h->late = false;
    rp_timer_clear(r->proxy->loop, &h->timer);
    return true;
}

bool rp_hedge_may_send(struct rp_req *r)
{
    const struct rp_try *o = &r->hedge->other;
    if (!r->spool || o->step != RP_STEP_AWAIT || o->body_sent) return true;
    (void)give_up(r); /* always GO */
    return false;
}

void rp_hedge_end(struct rp_req *r)
{
    struct rp_hedge *h = r->hedge;
    bool answered = r->step == RP_STEP_RESPOND && r->up && !r->answered;
    if (answered && h->second && !h->won) {
        h->won = true;
        r->proxy->stats.hedges_won++;
    }
    h->due = false;
    rp_timer_clear(r->proxy->loop, &h->timer);
    if (!h->on) return;
    exchange(r);
    if (answered) note_cut(r);
    cancel_try(r);
    exchange(r);
    h->on = h->late = false;
    rp_timer_clear(r->proxy->loop, &h->timer);
}

bool rp_hedge_awaits(const struct rp_req *r, const struct rp_pool_slot *slot)
{
    const struct rp_try *t = &r->hedge->other;
    return r->hedge->on && t->step == RP_STEP_CONNECT && !t->up && t->pick.pool_slot == slot;
}
