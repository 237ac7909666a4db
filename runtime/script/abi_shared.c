/* SPDX-License-Identifier: MIT
 *
 * abi_shared: rp.shared, the zones of a generation as Lua calls them: shm/dict.h with the clock.
 */
#include "base/mem.h"
#include "script/vm.h"

/* A view of a zone that is this host's own: generations come and go, the memory stays. */
struct rp_vm_zone {
    struct rp_zone *zone;
    struct rp_dict *dict;
};

static const double TTL_MOST = 1e9; /* 31 years: as good as never, and no sum overflows */

/* ---- life ------------------------------------------------------------------------------------ */

static rp_err map(struct rp_vm_zone *z, uint32_t kind, int *fd)
{
    rp_err e = rp_zone_adopt(*fd, &z->zone);
    if (e != RP_OK) return e;
    *fd = -1;
    return rp_dict_new(z->zone, (enum rp_dict_kind)kind, &z->dict);
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
        if (h->zones[i].dict) rp_dict_free(&h->zones[i].dict);
        rp_zone_free(&h->zones[i].zone);
    }
    rp_free(h->zones);
    h->zones = NULL;
    h->zones_n = 0;
}

struct rp_dict *rp_abi_shared_find(struct rp_host_face *f, const char *name, size_t n)
{
    const struct rp_host *h = rp_vm_of(f);
    for (uint32_t i = 0; i < h->zones_n; i++)
        if (rp_str_eq(h->conf->zones[i].name, rp_str_of(name, n))) return h->zones[i].dict;
    return NULL;
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

rp_err rp_abi_shared_get(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n)
{
    return give(f, rp_dict_get(d, rp_str_of(key, n), now_ms(), &f->item, empty_text(f)));
}

rp_err rp_abi_shared_look(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n)
{
    rp_ms now = now_ms();
    rp_err e = rp_dict_get(d, rp_str_of(key, n), now, &f->item, NULL);
    rp_ms end = f->item.fresh_ms ? f->item.fresh_ms : f->item.expires_ms;
    f->number = end ? (double)(end - RP_MIN(now, end)) / 1000 : -1;
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
