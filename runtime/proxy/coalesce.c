/* SPDX-License-Identifier: MIT
 *
 * coalesce: see coalesce.h.
 *
 * Invariants: a request that waits for another is in PICK and has asked nobody. No answer is shared
 * that its sender meant for one client (RFC 9111 §3.5, §5.2.2.5, §5.2.2.7), and no request takes
 * part that says who its client is, unless the site's key does. Bodies in hand are bounded by the
 * route's limit, whoever is slow.
 */
#include "proxy/coalesce.h"

#include "base/hash.h"
#include "http/h1_up.h"
#include "proxy/client_cert.h"
#include "proxy/deadline.h"
#include "proxy/hedge.h"
#include "proxy/payload.h"
#include "proxy/proxy.h"
#include "proxy/server.h"
#include "proxy/sticky.h"

enum {
    LEADERS_MOST = 3,    /* failures before they are everybody's */
    ROUNDS_MOST = 4,     /* then it asks for itself */
    KEY_PARTS_MOST = 32, /* of the site and ours */
    HEAD_BYTES = 64 * 1024 * 2,
    PASSES = 256,       /* places that remember what is not shared */
    PASS_MS = 10 * 1000 /* ... for so long */
};

struct rp_coalescing {
    struct rp_flights flights;
    struct {
        uint64_t hash;
        rp_ms until_ms;
    } passes[PASSES];
};

/* What those who wait get. */
struct shared {
    rp_err fail; /* or an answer: */
    struct rp_msg head;
    struct rp_chain body;
    struct rp_arena arena;
};

static struct rp_coalescing *coalescing_of(struct rp_proxy *p)
{
    if (!p->coalescing) {
        p->coalescing = rp_alloc(sizeof *p->coalescing);
        rp_flights_init(&p->coalescing->flights);
    }
    return p->coalescing;
}

void rp_coalescing_free(struct rp_proxy *p)
{
    if (!p->coalescing) return;
    rp_flights_fini(&p->coalescing->flights);
    rp_free(p->coalescing);
    p->coalescing = NULL;
}

/* ---- who may take part --------------------------------------------------------------------------
 */

static bool is_in_key(const struct rp_req *r, rp_str name)
{
    rp_str rest = r->route->coalesce_key, item;
    while (rp_str_list_next(&rest, &item))
        if (rp_str_ieq(item, name)) return true;
    return false;
}

/* Fields that say who asks. */
static bool has_credentials(const struct rp_req *r)
{
    static const char *const NAMES[] = {"authorization", "cookie", "x-api-key", "x-auth-token",
                                        "x-csrf-token"};
    for (size_t i = 0; i < RP_COUNT(NAMES); i++) {
        rp_str name = rp_str_z(NAMES[i]);
        if (rp_msg_find_name(r->up_head, name) && !is_in_key(r, name)) return true;
    }
    return r->x.secure && rp_client_cert_is_forwarded(r);
}

/* It asks for a part, or for something other than it has: its answer says little to others. */
static bool is_special(const struct rp_msg *h)
{
    static const uint16_t IDS[] = {
        RP_H_RANGE,  RP_H_IF_RANGE,          RP_H_IF_MATCH, RP_H_IF_NONE_MATCH,
        RP_H_EXPECT, RP_H_IF_MODIFIED_SINCE, RP_H_PRAGMA,   RP_H_IF_UNMODIFIED_SINCE};
    for (size_t i = 0; i < RP_COUNT(IDS); i++)
        if (rp_msg_find(h, IDS[i])) return true;
    return false;
}

/* Does some line of that list have the item, with or without a value? */
static bool has_item(const struct rp_msg *m, uint16_t id, rp_str wanted)
{
    const struct rp_field *f = rp_msg_find(m, id);
    for (; f; f = rp_msg_find_next(m, f)) {
        rp_str rest = rp_field_value(f), item;
        while (rp_str_list_next(&rest, &item)) {
            bool more = item.len > wanted.len && item.ptr[wanted.len] != '=';
            if (rp_str_istarts(item, wanted) && !more) return true;
        }
    }
    return false;
}

static bool says(const struct rp_msg *m, rp_str directive)
{
    return has_item(m, RP_H_CACHE_CONTROL, directive);
}

static bool may_take_part(const struct rp_req *r)
{
    const struct rp_msg *h = r->up_head;
    const struct rp_conf_upstream *u = r->upstream;
    bool plain = h->method == RP_M_GET || h->method == RP_M_HEAD;
    plain = plain && r->x.head.framing == RP_BODY_NONE && !r->payload && !r->body_whole;
    if (!plain || r->x.early || r->upgrading || (r->own && r->own->tls)) return false;
    if (u->proxy_protocol || rp_sticky_is_on(u)) return false; /* they know each client */
    if (is_special(h) || says(h, RP_STR("no-cache")) || says(h, RP_STR("no-store"))) return false;
    return !has_credentials(r);
}

/* ---- what makes two requests the same
 * ------------------------------------------------------------ */

struct key {
    rp_str parts[KEY_PARTS_MOST];
    uint32_t n;
    bool full;
};

static void put(struct key *k, rp_str part)
{
    if (k->n == KEY_PARTS_MOST) k->full = true;
    else k->parts[k->n++] = part;
}

/* All lines of it; none is not the same as an empty one. */
static void put_field(struct key *k, const struct rp_msg *h, rp_str name)
{
    const struct rp_field *f = rp_msg_find_name(h, name);
    for (; f; f = rp_msg_find_next(h, f)) put(k, rp_field_value(f));
    put(k, RP_STR_NONE);
}

static bool is_of_each(rp_str name)
{
    static const char *const NAMES[] = {"x-request-id",     "x-correlation-id",  "traceparent",
                                        "tracestate",       "x-real-ip",         "max-forwards",
                                        "x-forwarded-for",  "x-forwarded-proto", "x-forwarded-host",
                                        "x-forwarded-port", "forwarded"};
    for (size_t i = 0; i < RP_COUNT(NAMES); i++)
        if (rp_str_ieq(name, rp_str_z(NAMES[i]))) return true;
    return false;
}

/* The client's own line, not one that only looks like it. */
static bool is_sent(const struct rp_req *r, const struct rp_field *of)
{
    const struct rp_field *f = rp_msg_find_name(&r->x.head, rp_field_name(of));
    while (f && f->value != of->value) f = rp_msg_find_next(&r->x.head, f);
    return f != NULL;
}

/* What the site says to the upstream of this request, such as who its client is. */
static void put_made(struct key *k, const struct rp_req *r)
{
    const struct rp_msg *m = r->up_head;
    for (uint16_t i = 0; m != &r->x.head && i < m->fields_n; i++) {
        const struct rp_field *f = &m->fields[i];
        if (!f->name_n || is_of_each(rp_field_name(f)) || is_sent(r, f)) continue;
        put(k, rp_field_name(f));
        put(k, rp_field_value(f));
    }
}

static void gather_key(struct key *k, const struct rp_req *r)
{
    static const char *const FACTS[] = {"x-forwarded-proto", "x-forwarded-host", "x-forwarded-port",
                                        "forwarded"};
    const struct rp_msg *h = &r->x.head;
    put(k, r->up_head->method_text);
    put(k, h->uri.authority);
    put(k, rp_msg_get(h, RP_H_HOST));
    put(k, r->up_host);
    put(k, h->target);
    put(k, r->up_path);
    put(k, r->consumer);
    for (size_t i = 0; r->from_trusted && i < RP_COUNT(FACTS); i++)
        put_field(k, r->up_head, rp_str_z(FACTS[i]));
    rp_str rest = r->route->coalesce_key, item;
    while (rp_str_list_next(&rest, &item)) put_field(k, r->up_head, item);
    put_made(k, r);
}

/* Numbers first, then each part with its length. ptr NULL: there is no room for it. */
static rp_str write_key(struct rp_req *r, const struct key *k)
{
    const struct rp_serve *s = r->x.listener;
    const uint64_t facts[] = {r->conf->generation, r->route->index, r->upstream->index, s->port,
                              (uint64_t)r->x.secure << 1 | r->from_trusted};
    size_t n = sizeof facts;
    for (uint32_t i = 0; i < k->n; i++) n += sizeof(uint64_t) + k->parts[i].len;
    char *out = k->full ? NULL : rp_arena_alloc(&r->x.arena, n), *at = out;
    if (!out) return RP_STR_NONE;
    memcpy(at, facts, sizeof facts);
    at += sizeof facts;
    for (uint32_t i = 0; i < k->n; i++) {
        uint64_t len = k->parts[i].ptr ? k->parts[i].len : UINT64_MAX;
        memcpy(at, &len, sizeof len);
        at += sizeof len;
        if (k->parts[i].len) memcpy(at, k->parts[i].ptr, k->parts[i].len);
        at += k->parts[i].len;
    }
    return rp_str_of(out, n);
}

static rp_str key_of(struct rp_req *r)
{
    struct key k = {.n = 0};
    gather_key(&k, r);
    return write_key(r, &k);
}

/* ---- what was not shared lately
 * ------------------------------------------------------------------ */

static bool is_passed(struct rp_coalescing *all, uint64_t hash, rp_ms now)
{
    return all->passes[hash % PASSES].hash == hash && all->passes[hash % PASSES].until_ms > now;
}

static void note_pass(struct rp_req *r)
{
    struct rp_coalescing *all = coalescing_of(r->proxy);
    uint64_t hash = r->coalesce->hash;
    all->passes[hash % PASSES].hash = hash;
    all->passes[hash % PASSES].until_ms = rp_loop_now(r->proxy->loop) + PASS_MS;
}

/* ---- waiting
 * -------------------------------------------------------------------------------------- */

static struct rp_coalesce *of(struct rp_flight_seat *s)
{
    return RP_CONTAINER(rp_coalesce, seat, s);
}

static void on_wake(struct rp_flight_seat *s)
{
    rp_req_wake(of(s)->req, RP_WAKE_UP);
}

static void join(struct rp_req *r)
{
    struct rp_coalesce *c = r->coalesce;
    struct rp_coalescing *all = coalescing_of(r->proxy);
    rp_str key = c->rounds++ < ROUNDS_MOST ? key_of(r) : RP_STR_NONE;
    c->alone = true;
    if (!key.ptr) return;
    c->hash = rp_hash_bytes(key);
    if (is_passed(all, c->hash, rp_loop_now(r->proxy->loop))) return;
    c->seat.wake = on_wake;
    c->alone = rp_flight_join(&all->flights, key, &c->seat) != RP_OK;
}

static void enter(struct rp_req *r)
{
    struct rp_coalesce *c = rp_arena_zalloc(&r->x.arena, sizeof *c);
    if (!c) return; /* no room: it asks for itself */
    c->req = r;
    c->until_ms = rp_loop_now(r->proxy->loop) + r->route->coalesce_ms;
    r->coalesce = c;
    join(r);
}

static void share_chain(struct rp_chain *to, const struct rp_chain *from)
{
    for (const struct rp_piece *p = from->head; p; p = p->next) {
        if (p->chunk) rp_chain_add(to, p->chunk, p->ptr, p->len);
        else rp_chain_add_const(to, rp_str_of(p->ptr, p->len));
    }
}

/* A head of its own: the other may go. RP_E_CAP */
static rp_err copy_head(struct rp_msg *to, const struct rp_msg *from, struct rp_arena *a)
{
    rp_err e = RP_OK;
    for (uint16_t i = 0; i < from->fields_n && e == RP_OK; i++) {
        const struct rp_field *f = &from->fields[i];
        if (!f->name_n) continue;
        rp_str name = rp_arena_copy(a, rp_field_name(f));
        rp_str value = rp_arena_copy(a, rp_field_value(f));
        e = name.ptr && value.ptr ? rp_msg_add(to, a, f->id, name, value) : RP_E_CAP;
    }
    to->status = from->status;
    to->version = from->version;
    to->framing = from->framing;
    to->keepalive = from->keepalive;
    to->content_length = from->content_length;
    to->reason = rp_arena_copy(a, from->reason);
    return e == RP_OK && !to->reason.ptr ? RP_E_CAP : e;
}

static void init_head(struct rp_req *r)
{
    rp_msg_init(&r->res, r->res_fields, RP_EXCHANGE_FIELDS, r->res.fields_max);
}

static enum rp_verdict take(struct rp_req *r, const struct shared *s)
{
    if (s->fail != RP_OK) return rp_step_fail(r, s->fail);
    init_head(r);
    rp_err e = copy_head(&r->res, &s->head, &r->x.arena);
    if (e != RP_OK) return rp_step_fail(r, e);
    share_chain(&r->out, &s->body);
    r->from = RP_FROM_CACHE;
    r->coalesce->shared = true;
    r->proxy->stats.coalesced++;
    return rp_step_to(r, RP_STEP_RESPOND);
}

static enum rp_verdict wait_for_leader(struct rp_req *r, rp_ms now)
{
    rp_ms left = r->coalesce->until_ms - now;
    rp_err failure = RP_OK; /* then it is run again, and asks for itself */
    rp_deadline_cap(r, &left, &failure);
    return rp_step_wait(r, "the answer to another request", left, failure);
}

bool rp_coalesce_settle(struct rp_req *r, enum rp_verdict *v)
{
    rp_ms now = rp_loop_now(r->proxy->loop);
    if (!r->coalesce && r->tries == 0 && may_take_part(r)) enter(r);
    struct rp_coalesce *c = r->coalesce;
    if (!c || c->alone || c->seat.leads) return true;
    if (!rp_flight_has_ended(&c->seat)) {
        if (now < c->until_ms) {
            *v = wait_for_leader(r, now);
            return false;
        }
        rp_coalesce_end(r);
        return true;
    }
    const struct shared *s = rp_flight_result(&c->seat);
    bool mine = s && c->hash; /* not: it differs in what the answer depends on */
    if (mine) *v = take(r, s);
    rp_flight_leave(&c->seat);
    if (mine) return false;
    c->alone = true;
    if (!s) return true;
    join(r); /* there may be others like it */
    return rp_coalesce_settle(r, v);
}

/* ---- sharing
 * -------------------------------------------------------------------------------------- */

static void drop_shared(void *result)
{
    struct shared *s = result;
    rp_chain_clear(&s->body);
    rp_arena_reset(&s->arena);
    rp_free(s);
}

static struct shared *new_shared(struct rp_req *r)
{
    struct shared *s = rp_alloc(sizeof *s);
    rp_arena_init(&s->arena, NULL, 0, HEAD_BYTES);
    rp_chain_init(&s->body, r->proxy->mem);
    rp_msg_init(&s->head, NULL, 0, r->res.fields_max);
    return s;
}

/* RFC 9111 §3: what a shared cache must not keep is not for others. */
static bool is_for_one(const struct rp_req *r)
{
    const struct rp_msg *h = &r->res;
    rp_str type = rp_msg_get(h, RP_H_CONTENT_TYPE);
    if (rp_str_istarts(type, RP_STR("text/event-stream"))) return true; /* without an end */
    return rp_msg_find(h, RP_H_SET_COOKIE) || says(h, RP_STR("private")) ||
           says(h, RP_STR("no-store")) || has_item(h, RP_H_VARY, RP_STR("*")) || h->status == 101 ||
           h->status == 206;
}

/* The same lines in the same order? */
static bool is_same_field(const struct rp_msg *a, const struct rp_msg *b, rp_str name)
{
    const struct rp_field *f = rp_msg_find_name(a, name), *g = rp_msg_find_name(b, name);
    while (f && g && rp_str_eq(rp_field_value(f), rp_field_value(g))) {
        f = rp_msg_find_next(a, f);
        g = rp_msg_find_next(b, g);
    }
    return !f && !g;
}

/* RFC 9111 §4.1 */
static bool varies(const struct rp_req *r, const struct rp_req *other)
{
    const struct rp_field *f = rp_msg_find(&r->res, RP_H_VARY);
    for (; f; f = rp_msg_find_next(&r->res, f)) {
        rp_str rest = rp_field_value(f), item;
        while (rp_str_list_next(&rest, &item))
            if (!is_same_field(r->up_head, other->up_head, item)) return true;
    }
    return false;
}

static void publish(struct rp_req *r)
{
    struct rp_coalesce *c = r->coalesce;
    struct shared *s = new_shared(r);
    bool unknown = r->res.framing == RP_BODY_CHUNKED || r->res.framing == RP_BODY_CLOSE;
    if (unknown && r->up_head->method != RP_M_HEAD) {
        r->res.framing = RP_BODY_LENGTH;
        r->res.content_length = r->out.bytes;
    }
    if (copy_head(&s->head, &r->res, &s->arena) != RP_OK) {
        drop_shared(s);
        rp_flight_end(&c->seat, NULL, NULL);
        return;
    }
    share_chain(&s->body, &r->out);
    for (struct rp_flight_seat *o = rp_flight_next(&c->seat); o; o = rp_flight_next(o))
        if (varies(r, of(o)->req)) of(o)->hash = 0;
    rp_flight_end(&c->seat, s, drop_shared);
}

/* Its upstream did not answer, or said that it could not. */
static bool is_of_upstream(const struct rp_req *r)
{
    int status = rp_err_status(r->fail);
    return r->fail != RP_E_DEADLINE && status >= 502 && status <= 504;
}

/* r has no answer for others. */
static void give_lead_away(struct rp_req *r)
{
    struct rp_flight_seat *seat = &r->coalesce->seat;
    if (is_of_upstream(r) && rp_flight_leaders(seat) >= LEADERS_MOST) {
        struct shared *s = new_shared(r);
        s->fail = r->fail;
        rp_flight_end(seat, s, drop_shared);
    } else {
        rp_flight_leave(seat);
    }
}

/* Each for himself, and so whoever asks for it soon. */
static void do_not_share(struct rp_req *r)
{
    note_pass(r);
    rp_flight_end(&r->coalesce->seat, NULL, NULL);
}

/* A body that comes slowly, or never ends, is not kept from its client for others' sake. False: so
 * it is. */
static bool wait_for_body(struct rp_req *r, enum rp_verdict *v)
{
    rp_ms now = rp_loop_now(r->proxy->loop), until = r->coalesce->until_ms;
    rp_ms most = rp_req_wait_ms(r, RP_WAIT_IDLE, r->route->idle_ms, r->upstream->idle_ms);
    if (now >= until) return false;
    bool idle = most < until - now; /* else it is run again, and goes on without the others */
    *v = rp_step_wait(r, "upstream response body", idle ? most : until - now,
                      idle ? RP_E_UP_IDLE_TIMEOUT : RP_OK);
    return true;
}

bool rp_coalesce_share(struct rp_req *r, enum rp_verdict *v)
{
    struct rp_flight_seat *seat = &r->coalesce->seat;
    if (!seat->leads) return true;
    bool nobody = rp_flight_seats(seat) == 1;
    bool again = r->res.status >= 500 && rp_flight_leaders(seat) < LEADERS_MOST;
    if (r->answered || nobody || again) {
        give_lead_away(r);
        return true;
    }
    rp_err e = is_for_one(r) ? RP_E_TOO_BIG : rp_respond_gather(r, r->route->coalesce_max);
    if (e == RP_AGAIN && wait_for_body(r, v)) return false;
    if (e == RP_AGAIN) e = RP_E_TOO_BIG;
    if (e == RP_OK && !r->x.res_trailers) {
        publish(r);
        return true;
    }
    if (e == RP_OK || e == RP_E_TOO_BIG || e == RP_E_INVALID || e == RP_E_PHASE) {
        do_not_share(r);
        return true;
    }
    rp_attempt_log_failure(r, e);
    *v = rp_step_fail(r, e); /* and with it to the next leader */
    return false;
}

/* ---- going away
 * ----------------------------------------------------------------------------------- */

static bool has_field(const struct rp_msg *m, const struct rp_field *like)
{
    const struct rp_field *f = rp_msg_find_name(m, rp_field_name(like));
    while (f && !rp_str_eq(rp_field_value(f), rp_field_value(like))) f = rp_msg_find_next(m, f);
    return f != NULL;
}

static bool has_all(const struct rp_msg *m, const struct rp_msg *of)
{
    for (uint16_t i = 0; i < of->fields_n; i++) {
        const struct rp_field *f = &of->fields[i];
        if (f->name_n && !is_of_each(rp_field_name(f)) && !has_field(m, f)) return false;
    }
    return true;
}

/* Whatever Vary of the answer will say, or r's own said of those behind n: is it the same for both? */
static bool is_like(const struct rp_req *r, const struct rp_req *n)
{
    return has_all(r->up_head, n->up_head) && has_all(n->up_head, r->up_head);
}

void rp_coalesce_abandon(struct rp_req *r)
{
    struct rp_coalesce *c = r->coalesce;
    struct rp_flight_seat *heir = c->seat.leads ? rp_flight_next(&c->seat) : NULL;
    bool trying = r->step == RP_STEP_CONNECT || r->step == RP_STEP_AWAIT;
    bool reading = r->step == RP_STEP_RESPOND && r->up && !r->answered;
    if (!heir || !(trying || reading)) return;
    struct rp_req *n = of(heir)->req;
    if (!is_like(r, n)) return; /* what was asked for may depend on it: the next one asks anew */
    if (reading) {
        init_head(n);
        if (copy_head(&n->res, &r->res, &n->x.arena) != RP_OK) return; /* the next one asks anew */
        (void)rp_chain_move(&n->out, &r->out, r->out.bytes);           /* all of it */
        n->from = RP_FROM_UPSTREAM;
    }
    if (r->hedge) rp_hedge_end(r);
    rp_try_hand_over(r, n);
    rp_flight_leave(&c->seat); /* wakes it */
}

void rp_coalesce_end(struct rp_req *r)
{
    rp_flight_leave(&r->coalesce->seat);
    r->coalesce->alone = true;
}
