/* SPDX-License-Identifier: MIT
 *
 * abi_shared: rp.shared, the zones of a generation as Lua calls them: shm/dict.h with the clock,
 * and what else may be in a zone.
 */
#include "base/mem.h"
#include "script/vm.h"

/* A view of a zone that is this host's own: generations come and go, the memory stays. */
struct rp_vm_zone {
    struct rp_zone *zone;
    struct rp_share share;
};

static const double TTL_MOST = 1e9; /* 31 years: as good as never, and no sum overflows */

/* ---- life ------------------------------------------------------------------------------------ */

static rp_err map(struct rp_vm_zone *z, uint32_t kind, int *fd)
{
    rp_err e = rp_zone_adopt(*fd, &z->zone);
    if (e != RP_OK) return e;
    *fd = -1;
    return rp_share_open(z->zone, kind, &z->share);
}

rp_err rp_host_share(struct rp_conf *c, int *fds)
{
    struct rp_host *h = c->script;
    rp_err e = RP_OK;
    RP_CHECK(h && h->magic == RP_HOST_MAGIC && !h->zones);
    h->zones = rp_alloc(sizeof *h->zones * c->zones_n);
    h->zones_n = c->zones_n;
    for (uint32_t i = 0; i < c->zones_n; i++) h->zones[i] = (struct rp_vm_zone){0};
    for (uint32_t i = 0; i < c->zones_n && e == RP_OK; i++)
        e = map(&h->zones[i], c->zones[i].kind, &fds[i]);
    return e;
}

void rp_shared_fini(struct rp_host *h)
{
    for (uint32_t i = 0; i < h->zones_n; i++) {
        rp_share_close(&h->zones[i].share);
        rp_zone_free(&h->zones[i].zone);
    }
    rp_free(h->zones);
    h->zones = NULL;
    h->zones_n = 0;
}

static struct rp_vm_zone *zone_of(const struct rp_host *h, rp_str name)
{
    for (uint32_t i = 0; i < h->zones_n; i++)
        if (rp_str_eq(h->conf->zones[i].name, name)) return &h->zones[i];
    return NULL;
}

void *rp_abi_shared_find(struct rp_host_face *f, const char *name, size_t n)
{
    const struct rp_vm_zone *z = zone_of(rp_vm_of(f), rp_str_of(name, n));
    if (!z) return NULL;
    void *of_kind[] = {z->share.dict, z->share.tally, z->share.lookup, z->share.top,
                       z->share.distinct};
    for (size_t i = 0; i < RP_COUNT(of_kind); i++)
        if (of_kind[i]) return of_kind[i];
    return NULL;
}

const struct rp_zone *rp_shared_zone(const struct rp_host *h, rp_str name)
{
    const struct rp_vm_zone *z = zone_of(h, name);
    return z && z->share.lookup ? z->zone : NULL;
}

/* ---- time ------------------------------------------------------------------------------------ */

static rp_ms now_ms(void)
{
    return rp_clock_mono_ns() / 1000000;
}

/* When `seconds` from now are over; 0: never. At least the next millisecond. */
static rp_ms after(rp_ms now, double seconds)
{
    if (!(seconds >= 0) || seconds >= TTL_MOST) return 0;
    return now + RP_MAX((rp_ms)(seconds * 1000), (rp_ms)1);
}

/* ---- values ---------------------------------------------------------------------------------- */

static struct rp_buf *empty_text(struct rp_host_face *f)
{
    struct rp_host *h = rp_vm_of(f);
    rp_buf_clear(&h->text);
    return &h->text;
}

static rp_err give(struct rp_host_face *f, rp_err e)
{
    f->out = rp_buf_str(&rp_vm_of(f)->text);
    return e;
}

static double seconds_left(const struct rp_dict_item *item, rp_ms now)
{
    rp_ms end = item->fresh_ms ? item->fresh_ms : item->expires_ms;
    return end ? (double)(end - RP_MIN(now, end)) / 1000 : -1;
}

rp_err rp_abi_shared_get(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n)
{
    rp_ms now = now_ms();
    rp_err e = rp_dict_get(d, rp_str_of(key, n), now, &f->item, empty_text(f));
    f->number = seconds_left(&f->item, now);
    return give(f, e);
}

rp_err rp_abi_shared_look(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n)
{
    rp_ms now = now_ms();
    rp_err e = rp_dict_get(d, rp_str_of(key, n), now, &f->item, NULL);
    f->number = seconds_left(&f->item, now);
    return e;
}

rp_err rp_abi_shared_set(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n,
                         uint32_t mode, uint32_t type, double number, const char *text,
                         size_t text_n, double ttl, double stale)
{
    rp_ms now = now_ms();
    struct rp_dict_item item = {.type = type, .number = number, .expires_ms = after(now, ttl)};
    (void)f;
    if (stale > 0 && item.expires_ms) {
        item.fresh_ms = item.expires_ms;
        item.expires_ms = after(now, ttl + stale);
    }
    rp_str value = type == RP_DICT_STRING ? rp_str_of(text, text_n) : RP_STR_NONE;
    return rp_dict_set(d, rp_str_of(key, n), &item, value, (enum rp_dict_mode)mode, now);
}

rp_err rp_abi_shared_swap(struct rp_dict *d, const char *key, size_t n, uint32_t old_type,
                          double old_number, const char *old_text, size_t old_n, uint32_t type,
                          double number, const char *text, size_t text_n, double ttl)
{
    rp_ms now = now_ms();
    struct rp_dict_item old = {.type = old_type, .number = old_number};
    struct rp_dict_item item = {.type = type, .number = number, .expires_ms = after(now, ttl)};
    return rp_dict_swap(d, rp_str_of(key, n), old_type ? &old : NULL, rp_str_of(old_text, old_n),
                        type ? &item : NULL, rp_str_of(text, text_n), now);
}

rp_err rp_abi_shared_delete(struct rp_dict *d, const char *key, size_t n)
{
    return rp_dict_delete(d, rp_str_of(key, n), now_ms());
}

rp_err rp_abi_shared_incr(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n,
                          double by, bool has_init, double init, double ttl)
{
    rp_ms now = now_ms();
    return rp_dict_incr(d, rp_str_of(key, n), by, has_init ? &init : NULL, after(now, ttl), now,
                        &f->number);
}

rp_err rp_abi_shared_expire(struct rp_dict *d, const char *key, size_t n, double ttl)
{
    rp_ms now = now_ms();
    return rp_dict_expire(d, rp_str_of(key, n), after(now, ttl), now);
}

rp_err rp_abi_shared_flush(struct rp_dict *d)
{
    return rp_dict_flush(d);
}

rp_err rp_abi_shared_next(struct rp_host_face *f, struct rp_dict *d, double at)
{
    f->number = at;
    return give(f, rp_dict_next(d, &f->number, now_ms(), empty_text(f)));
}

void rp_abi_shared_stats(struct rp_host_face *f, const struct rp_dict *d)
{
    rp_dict_stats(d, &f->zone_stats);
}

rp_err rp_abi_shared_lease(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n,
                           double seconds)
{
    rp_ms now = now_ms();
    return give(
        f, rp_dict_lease(d, rp_str_of(key, n), after(now, seconds), now, &f->item, empty_text(f)));
}

rp_err rp_abi_shared_unlease(struct rp_dict *d, const char *key, size_t n)
{
    return rp_dict_unlease(d, rp_str_of(key, n), now_ms());
}

/* ---- limiters -------------------------------------------------------------------------------- */

rp_err rp_abi_shared_take(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n,
                          double cost, double rate, double burst)
{
    return rp_dict_take(d, rp_str_of(key, n), cost, rate, burst, rp_clock_mono_ns(), &f->verdict);
}

rp_err rp_abi_shared_leak(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n,
                          double cost, double rate, double burst)
{
    return rp_dict_leak(d, rp_str_of(key, n), cost, rate, burst, rp_clock_mono_ns(), &f->verdict);
}

rp_err rp_abi_shared_window(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n,
                            double cost, double limit, double window)
{
    return rp_dict_window(d, rp_str_of(key, n), cost, limit, window, rp_clock_mono_ns(),
                          &f->verdict);
}

rp_err rp_abi_shared_acquire(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n,
                             double limit, double lease)
{
    return rp_dict_acquire(d, rp_str_of(key, n), limit, lease, rp_clock_mono_ns(), &f->verdict,
                           &f->number);
}

rp_err rp_abi_shared_release(struct rp_dict *d, const char *key, size_t n, double ticket)
{
    return rp_dict_release(d, rp_str_of(key, n), ticket, rp_clock_mono_ns());
}

/* ---- places: held by a request --------------------------------------------------------------- */

struct place {
    struct rp_hold hold;
    struct rp_dict *dict;
    size_t key_n;
    char key[];
};

/* A shard whose lock is not to be had within its 0.2 seconds: the place stays taken until the
 * worker ends. */
static void give_place(struct rp_hold *hold)
{
    struct place *p = RP_CONTAINER(place, hold, hold);
    rp_err e = rp_dict_unhold(p->dict, rp_str_of(p->key, p->key_n), hold->host->worker,
                              rp_clock_mono_ns());
    if (e == RP_E_BUSY) rp_log(warn, "a place of a limiter was not given back: its zone is busy");
    rp_free(p);
}

static void drop_place(struct rp_hold *hold)
{
    rp_free(RP_CONTAINER(place, hold, hold));
}

rp_err rp_abi_shared_hold(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n,
                          double limit)
{
    struct rp_host *h = rp_vm_of(f);
    if (n > RP_DICT_KEY_MOST) return RP_E_INVALID;
    struct place *p = rp_alloc(sizeof *p + n);
    p->dict = d;
    p->key_n = n;
    memcpy(p->key, key, n);
    rp_err e = rp_hold_open(h, &p->hold, RP_HOLD_PLACE, give_place);
    if (e != RP_OK) {
        rp_free(p);
        return e;
    }
    e = rp_dict_hold(d, rp_str_of(key, n), limit, h->worker, rp_clock_mono_ns(), &f->verdict);
    f->number = rp_hold_handle(&p->hold);
    if (e == RP_OK && f->verdict.allowed) return RP_OK;
    p->hold.let_go = drop_place;
    rp_hold_close(&p->hold);
    return e;
}

rp_err rp_abi_shared_unhold(struct rp_host_face *f, double handle)
{
    struct rp_hold *hold = rp_hold_find(rp_vm_of(f), handle, RP_HOLD_PLACE);
    if (!hold) return RP_E_STALE;
    rp_hold_close(hold);
    return RP_OK;
}
