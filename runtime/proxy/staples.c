/* SPDX-License-Identifier: MIT
 *
 * staples: see staples.h. What the dict has of a certificate is a record: numbers, then the answer.
 */
#include "proxy/staples.h"

#include <stdio.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/random.h"
#include "net/tls_server.h"
#include "net/tls_staple.h"
#include "proxy/ocsp_fetch.h"
#include "shm/dict.h"

enum {
    FETCHES_MOST = 4, /* of a worker at once */
    ENTRIES_MOST = 1 << 20,
    LEASE_MS = 12000,  /* a fetch has 10 s, and may wait for the loop */
    REST_LEAST_S = 10, /* between two answers, however short they hold */
    REST_MOST_S = 24 * 3600,
    RETRY_S = 2, /* after a first failure; doubled by each further one .. */
    RETRY_MOST_S = 3600,
    DOUBLINGS = 11, /* .. until here */
    PEEK_S = 2,     /* somebody else fetches: look again */
    KEY_BYTES = RP_TLS_STAPLE_ID_BYTES + 1,
};

/* As it lies in the dict, in front of the answer. */
struct record {
    int64_t again_s, this_s, next_s; /* when to ask again; of the answer */
    uint32_t fails;                  /* in a row */
    uint8_t status;                  /* enum rp_tls_staple_status, of the last well-signed answer */
};

struct entry {
    struct rp_staples *all;
    struct rp_tls_server *server; /* held, for the staple */
    struct rp_tls_staple *staple;
    struct rp_ocsp_fetch *fetch;
    struct record last; /* as we know it */
    int64_t look_s;
};

struct rp_staples {
    struct rp_proxy *proxy;
    struct rp_dict *shared;
    struct entry *entries;
    uint32_t n, fetches_n;
    double seen; /* version of the dict that we have taken */
    bool stuck;  /* a lock in it hangs, and each try costs patience: no more in this turn */
    struct rp_random dice;
};

/* ---- the shared dict ----------------------------------------------------------------------- */

static const rp_str VERSION = {"version", 7};

static rp_ms now_ms(void)
{
    return rp_clock_mono_ns() / 1000000;
}

static int64_t wall_s(const struct rp_staples *s)
{
    return (int64_t)rp_loop_wall(s->proxy->loop);
}

static rp_str key_of(const struct entry *e, char kind, char out[KEY_BYTES])
{
    rp_str id = rp_tls_staple_id(e->staple);
    out[0] = kind;
    memcpy(out + 1, id.ptr, RP_TLS_STAPLE_ID_BYTES);
    return rp_str_of(out, KEY_BYTES);
}

/* The record of an entry, and the answer behind it (a view into buf). False: there is none. */
static bool load(const struct entry *e, struct record *r, struct rp_buf *buf, rp_str *der)
{
    char key[KEY_BYTES];
    struct rp_dict_item item;
    struct rp_dict *d = e->all->shared;
    if (!d || e->all->stuck) return false;
    rp_err got = rp_dict_get(d, key_of(e, 'a', key), now_ms(), &item, buf);
    e->all->stuck = got == RP_E_BUSY;
    if (got != RP_OK) return false;
    if (item.type != RP_DICT_STRING || buf->len < sizeof *r) return false;
    memcpy(r, buf->ptr, sizeof *r);
    *der = rp_str_from(rp_buf_str(buf), sizeof *r);
    return der->len <= RP_TLS_STAPLE_MOST;
}

/* A dict that has no room, or whose lock hangs, costs others a fetch of their own. */
static void save(const struct entry *e, rp_str der)
{
    char key[KEY_BYTES];
    struct rp_buf buf;
    struct rp_dict *d = e->all->shared;
    struct rp_dict_item item = {.type = RP_DICT_STRING};
    double first = 1, sum;
    if (!d) return;
    rp_buf_init(&buf, sizeof e->last + RP_TLS_STAPLE_MOST);
    rp_buf_add(&buf, rp_str_of((const char *)&e->last, sizeof e->last));
    rp_buf_add(&buf, der);
    rp_err set =
        rp_dict_set(d, key_of(e, 'a', key), &item, rp_buf_str(&buf), RP_DICT_SET, now_ms());
    if (set == RP_OK) set = rp_dict_incr(d, VERSION, 1, &first, 0, now_ms(), &sum);
    (void)set;
    rp_buf_fini(&buf);
}

static bool take_lease(const struct entry *e)
{
    char key[KEY_BYTES];
    struct rp_dict_item item = {
        .type = RP_DICT_NUMBER, .number = 1, .expires_ms = now_ms() + LEASE_MS};
    struct rp_dict *d = e->all->shared;
    rp_err taken = RP_OK;
    if (d) taken = rp_dict_set(d, key_of(e, 'l', key), &item, RP_STR_NONE, RP_DICT_ADD, now_ms());
    e->all->stuck = taken == RP_E_BUSY;
    return taken == RP_OK;
}

static void give_lease(const struct entry *e)
{
    char key[KEY_BYTES];
    rp_err gone = RP_OK;
    if (e->all->shared) gone = rp_dict_delete(e->all->shared, key_of(e, 'l', key), now_ms());
    (void)gone; /* it ends anyway */
}

/* Does the dict say anything that we have not seen? */
static bool is_changed(struct rp_staples *s)
{
    struct rp_dict_item item = {.type = RP_DICT_NOTHING};
    if (!s->shared || rp_dict_get(s->shared, VERSION, now_ms(), &item, NULL) != RP_OK) return false;
    bool changed = item.number < s->seen || item.number > s->seen;
    s->seen = item.number;
    return changed;
}

/* ---- taking over --------------------------------------------------------------------------- */

static void hand_out(struct entry *e, const struct record *r, rp_str der)
{
    int64_t now = wall_s(e->all), this_s = 0;
    if (r->status == RP_TLS_STAPLE_REVOKED) {
        rp_tls_staple_set(e->staple, RP_STR_NONE, 0, 0);
        return;
    }
    bool has = rp_tls_staple_get(e->staple, now, &this_s, NULL).len > 0;
    if (der.len && r->next_s > now && (!has || r->this_s > this_s)) /* one of a file may be newer */
        rp_tls_staple_set(e->staple, der, r->this_s, r->next_s);
}

/* What others have found out. */
static void adopt(struct entry *e)
{
    struct rp_buf buf;
    struct record r;
    rp_str der;
    rp_buf_init(&buf, sizeof r + RP_TLS_STAPLE_MOST);
    if (load(e, &r, &buf, &der)) {
        int64_t now = wall_s(e->all);
        e->last = r;
        /* Further away than any pause: the clock was wrong when it was written. */
        e->look_s = r.again_s > now + REST_MOST_S ? now : r.again_s;
        hand_out(e, &r, der);
    }
    rp_buf_fini(&buf);
}

/* ---- asking -------------------------------------------------------------------------------- */

/* Half of its time from now, less a fifth of that at most: certificates that were fetched together are
 * not asked for together for ever. */
static int64_t rest_of(struct rp_staples *s, int64_t next_s, int64_t now)
{
    int64_t half = RP_MIN((next_s - now) / 2, (int64_t)REST_MOST_S);
    if (half > 0) half -= (int64_t)rp_random_below(&s->dice, (uint64_t)half / 5 + 1);
    return RP_MAX(half, (int64_t)REST_LEAST_S);
}

static int64_t pause_of(struct rp_staples *s, uint32_t fails)
{
    int64_t pause =
        RP_MIN((int64_t)RETRY_S << RP_MIN(fails - 1, (uint32_t)DOUBLINGS), (int64_t)RETRY_MOST_S);
    return pause + (int64_t)rp_random_below(&s->dice, (uint64_t)pause / 4 + 1);
}

static void fetch_failed(struct entry *e, const char *why)
{
    struct rp_staples *s = e->all;
    int64_t now = wall_s(s);
    struct record *r = &e->last;
    rp_str have = rp_tls_staple_get(e->staple, now, &r->this_s, &r->next_s);
    bool bad = !have.len && rp_tls_staple_is_must(e->staple);
    r->fails++;
    r->again_s = e->look_s = now + pause_of(s, r->fails);
    s->proxy->stats.ocsp_failed++;
    /* One warning for each row of failures. */
    enum rp_log_level level = r->fails == 1 ? RP_LOG_warn : RP_LOG_info;
    if (level >= rp_log_threshold)
        rp_log_write(level,
                     "no OCSP answer%s certificate=%s error=\"%s\" responder=%s failures=%u "
                     "again_s=%lld",
                     bad ? ", and clients may refuse a certificate that asks for one" : "",
                     rp_log_esc(rp_tls_staple_name(e->staple)), rp_log_esc(rp_str_z(why)),
                     rp_log_esc(rp_tls_staple_url(e->staple)), r->fails,
                     (long long)(r->again_s - now));
    save(e, r->status == RP_TLS_STAPLE_REVOKED ? RP_STR_NONE : have);
}

static void fetch_good(struct entry *e, rp_str der, const struct rp_tls_staple_answer *a)
{
    int64_t now = wall_s(e->all);
    bool revoked = a->status == RP_TLS_STAPLE_REVOKED;
    e->last = (struct record){.again_s = now + rest_of(e->all, a->next_s, now),
                              .this_s = a->this_s,
                              .next_s = a->next_s,
                              .status = a->status};
    e->look_s = e->last.again_s;
    e->all->proxy->stats.ocsp_fetched++;
    if (revoked)
        rp_log(alert,
               "certificate was revoked: nothing is stapled to it certificate=%s responder=%s",
               rp_log_esc(rp_tls_staple_name(e->staple)), rp_log_esc(rp_tls_staple_url(e->staple)));
    else
        rp_log(debug, "OCSP answer certificate=%s again_s=%lld",
               rp_log_esc(rp_tls_staple_name(e->staple)), (long long)(e->look_s - now));
    hand_out(e, &e->last, der);
    save(e, revoked ? RP_STR_NONE : der);
}

/* The way to the responder is open to everybody: an answer from before a revocation, which is still in
 * time, must not take its place. */
static bool is_older(const struct entry *e, const struct rp_tls_staple_answer *a)
{
    return a->this_s < e->last.this_s && e->last.next_s > wall_s(e->all);
}

static void on_fetched(void *arg, rp_str body, const char *why)
{
    struct entry *e = arg;
    struct rp_tls_staple_answer a;
    char words[RP_TLS_WHY_BYTES];
    e->fetch = NULL;
    e->all->fetches_n--;
    snprintf(words, sizeof words, "%s", why);
    rp_err good =
        body.len ? rp_tls_staple_check(e->staple, body, wall_s(e->all), &a, words) : RP_E_INVALID;
    if (good != RP_OK) fetch_failed(e, words);
    else if (!a.in_time) fetch_failed(e, "the answer is over, or of the future");
    else if (a.status == RP_TLS_STAPLE_UNKNOWN) fetch_failed(e, "the responder does not know it");
    else if (is_older(e, &a)) fetch_failed(e, "the answer is older than the one before");
    else fetch_good(e, body, &a);
    give_lease(e);
}

static void ask(struct entry *e)
{
    struct rp_staples *s = e->all;
    int64_t now = wall_s(s);
    if (!take_lease(e)) {
        e->look_s = now + PEEK_S;
        return;
    }
    adopt(e); /* it may have come since */
    if (e->look_s > now) {
        give_lease(e);
        return;
    }
    s->fetches_n++;
    e->fetch = rp_ocsp_fetch_start(s->proxy->loop, s->proxy->dns, rp_tls_staple_url(e->staple),
                                   rp_tls_staple_request(e->staple), on_fetched, e);
}

void rp_staples_beat(struct rp_proxy *p)
{
    struct rp_staples *s = p->staples;
    if (!s || s->n == 0) return;
    int64_t now = wall_s(s);
    s->stuck = false;
    bool changed = is_changed(s);
    for (uint32_t i = 0; i < s->n && !s->stuck; i++) {
        struct entry *e = &s->entries[i];
        if (changed && !e->fetch) adopt(e);
        if (!e->fetch && e->look_s <= now && s->fetches_n < FETCHES_MOST && !p->draining) ask(e);
    }
    if (s->stuck) s->seen = -1; /* all of it in the next one */
}

/* ---- generations --------------------------------------------------------------------------- */

static void forget(struct rp_staples *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        struct entry *e = &s->entries[i];
        if (e->fetch) give_lease(e);
        rp_ocsp_fetch_cancel(&e->fetch);
        rp_tls_server_drop(&e->server);
    }
    rp_free(s->entries);
    s->entries = NULL;
    s->n = s->fetches_n = 0;
}

static uint32_t count(const struct rp_conf *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->tls_n; i++) {
        const struct rp_tls_server *server = c->tls[i]->server;
        struct rp_tls_staple *t = server ? rp_tls_server_staples(server) : NULL;
        for (; t; t = rp_tls_staple_next(t)) n += rp_tls_staple_url(t).len > 0;
    }
    return n;
}

static void fill(struct rp_staples *s, const struct rp_conf *c)
{
    for (uint32_t i = 0; i < c->tls_n; i++) {
        struct rp_tls_server *server = c->tls[i]->server;
        struct rp_tls_staple *t = server ? rp_tls_server_staples(server) : NULL;
        for (; t; t = rp_tls_staple_next(t)) {
            if (rp_tls_staple_url(t).len == 0) continue;
            struct entry *e = &s->entries[s->n++];
            *e = (struct entry){.all = s, .server = rp_tls_server_hold(server), .staple = t};
            adopt(e);
        }
    }
}

/* What the generation before knew, where the dict had to forget it. */
static void pass_on(struct rp_staples *s, const struct entry *olds, uint32_t olds_n)
{
    struct rp_map by_id;
    int64_t now = wall_s(s);
    rp_map_init(&by_id, ENTRIES_MOST);
    for (uint32_t i = 0; i < olds_n; i++)
        if (rp_map_set(&by_id, rp_tls_staple_id(olds[i].staple), (void *)(uintptr_t)&olds[i]) !=
            RP_OK)
            break; /* full: the rest is asked for again */
    for (uint32_t i = 0; i < s->n; i++) {
        struct entry *e = &s->entries[i];
        const struct entry *old = rp_map_find(&by_id, rp_tls_staple_id(e->staple));
        if (!old || e->last.again_s >= old->last.again_s) continue;
        e->last = old->last;
        e->look_s = old->last.again_s;
        hand_out(e, &e->last, rp_tls_staple_get(old->staple, now, NULL, NULL));
    }
    rp_map_fini(&by_id);
}

void rp_staples_follow(struct rp_proxy *p)
{
    uint32_t n = count(p->conf);
    struct rp_staples *s = p->staples;
    if (!s && n == 0) return;
    if (!s) {
        s = p->staples = rp_alloc(sizeof *s);
        s->proxy = p;
        rp_random_seed(&s->dice);
    }
    s->shared = p->staples_shared;
    struct rp_staples old = *s;
    s->entries = rp_alloc(sizeof *s->entries * n);
    s->n = s->fetches_n = 0;
    s->stuck = false;
    fill(s, p->conf);
    pass_on(s, old.entries, old.n);
    forget(&old);
}

void rp_staples_use(struct rp_proxy *p, struct rp_dict *shared)
{
    p->staples_shared = shared;
    rp_staples_follow(p);
}

void rp_staples_stop(struct rp_proxy *p)
{
    struct rp_staples *s = p->staples;
    for (uint32_t i = 0; s && i < s->n; i++) {
        struct entry *e = &s->entries[i];
        if (!e->fetch) continue;
        give_lease(e);
        rp_ocsp_fetch_cancel(&e->fetch);
        s->fetches_n--;
    }
}

void rp_staples_free(struct rp_proxy *p)
{
    if (!p->staples) return;
    forget(p->staples);
    rp_free(p->staples);
    p->staples = NULL;
}
