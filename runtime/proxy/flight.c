/* SPDX-License-Identifier: MIT
 *
 * flight: see flight.h.
 */
#include "proxy/flight.h"

#include "base/mem.h"

enum { FLIGHTS_MOST = 1 << 20 };

struct rp_flight {
    struct rp_flights *all; /* NULL: it has ended, and is not found any more */
    struct rp_flight_seat *first, *last;
    uint32_t seats_n, leaders_n;
    void *result;
    void (*drop)(void *result);
    size_t key_n;
    char key[];
};

void rp_flights_init(struct rp_flights *fs)
{
    rp_map_init(&fs->map, FLIGHTS_MOST);
}

void rp_flights_fini(struct rp_flights *fs)
{
    RP_CHECK(fs->map.n == 0);
    rp_map_fini(&fs->map);
}

static void unlist(struct rp_flight *f)
{
    if (f->all) (void)rp_map_remove(&f->all->map, rp_str_of(f->key, f->key_n)); /* it is there */
    f->all = NULL;
}

static rp_err open_flight(struct rp_flights *fs, rp_str key, struct rp_flight **out)
{
    struct rp_flight *f = rp_alloc(sizeof *f + key.len);
    f->all = fs;
    f->key_n = key.len;
    memcpy(f->key, key.ptr, key.len);
    rp_err e = rp_map_set(&fs->map, key, f);
    if (e != RP_OK) {
        rp_free(f);
        return e;
    }
    *out = f;
    return RP_OK;
}

rp_err rp_flight_join(struct rp_flights *fs, rp_str key, struct rp_flight_seat *s)
{
    struct rp_flight *f = rp_map_find(&fs->map, key);
    rp_err e = f ? RP_OK : open_flight(fs, key, &f);
    if (e != RP_OK) return e;
    s->flight = f;
    s->next = NULL;
    s->prev = f->last;
    if (f->last) f->last->next = s;
    else f->first = s;
    f->last = s;
    f->seats_n++;
    s->leads = f->seats_n == 1;
    f->leaders_n += s->leads;
    return RP_OK;
}

static void close_flight(struct rp_flight *f)
{
    unlist(f);
    if (f->drop) f->drop(f->result);
    rp_free(f);
}

/* Out of the list. */
static void stand_up(struct rp_flight_seat *s)
{
    struct rp_flight *f = s->flight;
    if (s->prev) s->prev->next = s->next;
    else f->first = s->next;
    if (s->next) s->next->prev = s->prev;
    else f->last = s->prev;
    s->next = s->prev = NULL;
    s->flight = NULL;
    s->leads = false;
    f->seats_n--;
    if (f->seats_n == 0) close_flight(f);
}

void rp_flight_leave(struct rp_flight_seat *s)
{
    struct rp_flight *f = s->flight;
    if (!f) return;
    struct rp_flight_seat *heir = s->leads && f->all ? s->next : NULL;
    stand_up(s);
    if (!heir) return;
    heir->leads = true;
    f->leaders_n++;
    heir->wake(heir);
}

void rp_flight_end(struct rp_flight_seat *s, void *result, void (*drop)(void *result))
{
    struct rp_flight *f = s->flight;
    RP_CHECK(f && f->all && s->leads);
    unlist(f);
    f->result = result;
    f->drop = drop;
    for (struct rp_flight_seat *other = s->next; other; other = other->next) other->wake(other);
    stand_up(s);
}

bool rp_flight_has_ended(const struct rp_flight_seat *s)
{
    return s->flight->all == NULL;
}

void *rp_flight_result(const struct rp_flight_seat *s)
{
    return s->flight->result;
}

uint32_t rp_flight_leaders(const struct rp_flight_seat *s)
{
    return s->flight->leaders_n;
}

uint32_t rp_flight_seats(const struct rp_flight_seat *s)
{
    return s->flight->seats_n;
}

struct rp_flight_seat *rp_flight_next(const struct rp_flight_seat *s)
{
    return s->next;
}
