/* SPDX-License-Identifier: MIT
 *
 * connpool: see connpool.h. Each slot has one timer, armed for its oldest connection.
 */
#include "proxy/connpool.h"

#include "base/map.h"
#include "net/timer.h"

struct rp_pool_slot {
    struct rp_connpool *pool;
    struct rp_pool_slot *next, *prev;
    struct rp_addr addr;
    uint64_t owner;
    struct rp_tls_memory *memory; /* NULL: none yet */
    struct rp_up *newest, *oldest;
    struct rp_h2_links links;
    uint32_t dials_n;
    uint32_t idle_n, refs;
    rp_ms idle_ms; /* of the last put */
    rp_ms rest_until;
    struct rp_timer timer;
};

struct rp_connpool {
    struct rp_loop *loop;
    struct rp_pool_slot *slots;
    struct rp_map by_key; /* the same slots */
};

enum {
    KEY_BYTES = sizeof(uint64_t) + sizeof(uint32_t) + RP_ADDR_TEXT_BYTES,
    SLOTS_MOST = 1 << 24,
};

static rp_str key_of(const struct rp_addr *a, uint64_t owner, char out[KEY_BYTES])
{
    size_t n = sizeof owner + sizeof a->scope;
    memcpy(out, &owner, sizeof owner);
    memcpy(out + sizeof owner, &a->scope, sizeof a->scope);
    return rp_str_of(out, n + rp_addr_put(a, out + n));
}

struct rp_connpool *rp_connpool_new(struct rp_loop *l)
{
    struct rp_connpool *p = rp_alloc(sizeof(*p));
    p->loop = l;
    rp_map_init(&p->by_key, SLOTS_MOST);
    return p;
}

static void unlink_idle(struct rp_pool_slot *s, struct rp_up *u)
{
    struct rp_up *f = u;
    if (f->prev) f->prev->next = f->next;
    else s->newest = f->next;
    if (f->next) f->next->prev = f->prev;
    else s->oldest = f->prev;
    f->next = f->prev = NULL;
    s->idle_n--;
    rp_up_bind(u, NULL, NULL);
}

static void close_idle(struct rp_pool_slot *s, struct rp_up *u)
{
    unlink_idle(s, u);
    rp_up_close(u);
}

static void close_all(struct rp_pool_slot *s)
{
    while (s->newest) close_idle(s, s->newest);
    rp_timer_clear(s->pool->loop, &s->timer);
}

static void forget_slot(struct rp_pool_slot *s)
{
    if (s->refs > 0 || s->idle_n > 0 || s->links.n > 0) return;
    if (s->prev) s->prev->next = s->next;
    else s->pool->slots = s->next;
    if (s->next) s->next->prev = s->prev;
    char key[KEY_BYTES];
    rp_map_remove(&s->pool->by_key, key_of(&s->addr, s->owner, key));
    rp_timer_clear(s->pool->loop, &s->timer);
    rp_tls_memory_drop(&s->memory);
    rp_free(s);
}

/* The oldest connections are over their time, the next one arms the timer. */
static void on_timer(struct rp_timer *t)
{
    struct rp_pool_slot *s = RP_CONTAINER(rp_pool_slot, timer, t);
    rp_ms now = rp_loop_now(s->pool->loop);
    while (s->oldest) {
        rp_ms due = s->oldest->idle_since_ms + s->idle_ms;
        if (due > now) {
            rp_timer_set(s->pool->loop, &s->timer, due - now);
            return;
        }
        close_idle(s, s->oldest);
    }
    forget_slot(s);
}

static void on_idle_event(void *user, struct rp_up *u)
{
    struct rp_pool_slot *s = user;
    close_idle(s, u);
    forget_slot(s);
}

static void on_links_empty(struct rp_h2_links *links)
{
    forget_slot(RP_CONTAINER(rp_pool_slot, links, links));
}

struct rp_pool_slot *rp_connpool_hold(struct rp_connpool *p, const struct rp_addr *a,
                                      uint64_t owner)
{
    char bytes[KEY_BYTES];
    rp_str key = key_of(a, owner, bytes);
    struct rp_pool_slot *s = rp_map_find(&p->by_key, key);
    if (!s) {
        s = rp_alloc(sizeof(*s));
        s->pool = p;
        s->addr = *a;
        s->owner = owner;
        s->links.emptied = on_links_empty;
        s->next = p->slots;
        if (s->next) s->next->prev = s;
        p->slots = s;
        rp_timer_init(&s->timer, on_timer);
        RP_IGNORE(rp_map_set(&p->by_key, key, s)); /* more than fit: its holder's alone */
    }
    s->refs++;
    return s;
}

struct rp_tls_memory *rp_connpool_memory(struct rp_pool_slot *s)
{
    if (!s->memory) s->memory = rp_tls_memory_new();
    return s->memory;
}

struct rp_h2_links *rp_connpool_links(struct rp_pool_slot *s)
{
    return &s->links;
}

uint32_t *rp_connpool_dials(struct rp_pool_slot *s)
{
    return &s->dials_n;
}

struct rp_pool_slot *rp_connpool_ref(struct rp_pool_slot *s)
{
    s->refs++;
    return s;
}

void rp_connpool_drop(struct rp_connpool *p, struct rp_pool_slot *s)
{
    (void)p;
    RP_CHECK(s->refs > 0);
    s->refs--;
    forget_slot(s);
}

const struct rp_addr *rp_connpool_addr(const struct rp_pool_slot *s)
{
    return &s->addr;
}

void rp_connpool_set_rest(struct rp_pool_slot *s, rp_ms until)
{
    s->rest_until = until;
}

rp_ms rp_connpool_rest_until(const struct rp_pool_slot *s)
{
    return s->rest_until;
}

struct rp_up *rp_connpool_take(struct rp_pool_slot *s)
{
    struct rp_up *u = s->newest;
    if (u) unlink_idle(s, u);
    return u;
}

void rp_connpool_put(struct rp_pool_slot *s, struct rp_up *u, uint32_t max_idle, rp_ms idle_ms)
{
    if (max_idle == 0 || idle_ms == 0) {
        rp_up_close(u);
        return;
    }
    struct rp_up *f = u;
    rp_up_rest(u);
    f->idle_since_ms = rp_loop_now(s->pool->loop);
    f->prev = NULL;
    f->next = s->newest;
    if (s->newest) s->newest->prev = u;
    else s->oldest = u;
    s->newest = u;
    s->idle_n++;
    s->idle_ms = idle_ms;
    rp_up_bind(u, on_idle_event, s);
    if (!rp_timer_is_armed(&s->timer)) rp_timer_set(s->pool->loop, &s->timer, idle_ms);
    while (s->idle_n > max_idle) close_idle(s, s->oldest);
}

uint32_t rp_connpool_idle(const struct rp_pool_slot *s)
{
    return s->idle_n;
}

void rp_connpool_dump(const struct rp_connpool *p, struct rp_buf *out)
{
    for (const struct rp_pool_slot *s = p->slots; s; s = s->next) {
        char text[RP_ADDR_TEXT_BYTES + 32] = "h2_link peer=";
        size_t n = strlen(text);
        n += rp_addr_put(&s->addr, text + n);
        text[n++] = ' ';
        rp_h2_links_dump(&s->links, rp_str_of(text, n), out);
    }
}

void rp_connpool_clear(struct rp_connpool *p)
{
    for (struct rp_pool_slot *s = p->slots, *next; s; s = next) {
        next = s->next;
        close_all(s);
        rp_h2_links_drain(&s->links);
        forget_slot(s);
    }
}

void rp_connpool_free(struct rp_connpool **p)
{
    if (!*p) return;
    rp_connpool_clear(*p);
    for (struct rp_pool_slot *s = (*p)->slots, *next; s; s = next) {
        next = s->next;
        rp_h2_links_close(&s->links); /* the last one lets the slot go */
    }
    RP_CHECK((*p)->slots == NULL);
    rp_map_fini(&(*p)->by_key);
    rp_free(*p);
    *p = NULL;
}
