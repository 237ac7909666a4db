/* SPDX-License-Identifier: MIT
 *
 * abi_sock_pool: sockets at rest, by what they were connected with (address, TLS settings, name), the
 * newest taken first. One that has news while it rests, bytes or an end, is closed: it never meets
 * another user.
 *
 * The number of places is bounded; the one that nobody has used for longest goes.
 */
#include "script/vm_sock.h"

#include "base/hash.h"

enum { POOLS_MOST = 256 };

struct rp_sock_pool {
    struct rp_sock_pool *next;
    struct rp_host *host;
    uint64_t hash;
    struct rp_buf key;
    struct rp_tls_memory *memory; /* NULL: none yet */
    struct rp_sock *newest, *oldest;
    uint32_t idle_n;
    rp_ms used_ms;
    struct rp_timer timer; /* of the oldest */
};

/* ---- one place ------------------------------------------------------------------------------ */

static void unlink_idle(struct rp_sock *s)
{
    struct rp_sock_pool *p = s->pool;
    if (s->next) s->next->prev = s->prev;
    else p->newest = s->prev;
    if (s->prev) s->prev->next = s->next;
    else p->oldest = s->next;
    s->next = s->prev = NULL;
    s->pool = NULL;
    p->idle_n--;
}

static void close_idle(struct rp_sock *s)
{
    unlink_idle(s);
    rp_sock_free(s);
}

static void on_timer(struct rp_timer *timer)
{
    struct rp_sock_pool *p = RP_CONTAINER(rp_sock_pool, timer, timer);
    struct rp_loop *l = p->host->proxy->loop;
    rp_ms now = rp_loop_now(l);
    while (p->oldest) {
        rp_ms due = p->oldest->idle_since_ms + p->oldest->keep_ms;
        if (due > now) {
            rp_timer_set(l, &p->timer, due - now);
            return;
        }
        close_idle(p->oldest);
    }
}

static void on_idle_event(struct rp_conn *c, unsigned events)
{
    (void)events;
    close_idle(RP_AS(rp_sock, rp_conn_face(c)->owner, RP_SOCK_MAGIC));
}

static void pool_free(struct rp_sock_pool **where)
{
    struct rp_sock_pool *p = *where;
    *where = p->next;
    p->host->sock_pools_n--;
    while (p->oldest) close_idle(p->oldest);
    rp_timer_clear(p->host->proxy->loop, &p->timer);
    rp_tls_memory_drop(&p->memory);
    rp_buf_fini(&p->key);
    rp_free(p);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static void make_room(struct rp_host *h)
{
    struct rp_sock_pool **last = NULL;
    if (h->sock_pools_n < POOLS_MOST) return;
    for (struct rp_sock_pool **it = &h->sock_pools; *it; it = &(*it)->next)
        if (!last || (*it)->used_ms < (*last)->used_ms) last = it;
    pool_free(last);
}

static struct rp_sock_pool *find(struct rp_host *h, rp_str key)
{
    uint64_t hash = rp_hash_bytes(key);
    struct rp_sock_pool *p = h->sock_pools;
    while (p && !(p->hash == hash && rp_str_eq(rp_buf_str(&p->key), key))) p = p->next;
    if (p) p->used_ms = rp_loop_now(h->proxy->loop);
    return p;
}

static struct rp_sock_pool *find_or_make(struct rp_host *h, rp_str key)
{
    struct rp_sock_pool *p = find(h, key);
    if (p) return p;
    make_room(h);
    p = rp_alloc(sizeof *p);
    p->host = h;
    p->hash = rp_hash_bytes(key);
    p->used_ms = rp_loop_now(h->proxy->loop);
    rp_buf_init(&p->key, RP_SOCK_KEY_MOST);
    rp_buf_add(&p->key, key);
    rp_timer_init(&p->timer, on_timer);
    p->next = h->sock_pools;
    h->sock_pools = p;
    h->sock_pools_n++;
    return p;
}

struct rp_tls_memory *rp_sock_memory(const struct rp_sock *s)
{
    struct rp_sock_pool *p = find_or_make(s->host, rp_buf_str(&s->key));
    if (!p->memory) p->memory = rp_tls_memory_new();
    return p->memory;
}

bool rp_sock_keep(struct rp_sock *s)
{
    struct rp_loop *l = s->host->proxy->loop;
    if (s->host->retired || !s->conn) return false;
    struct rp_sock_pool *p = find_or_make(s->host, rp_buf_str(&s->key));
    rp_buf_fini(&s->in); /* at rest it owns no buffer */
    rp_buf_init(&s->in, s->in.cap);
    s->taken = s->scanned = 0;
    s->pool = p;
    s->idle_since_ms = rp_loop_now(l);
    s->prev = p->newest;
    s->next = NULL;
    if (p->newest) p->newest->next = s;
    else p->oldest = s;
    p->newest = s;
    p->idle_n++;
    rp_conn_face(s->conn)->on_event = on_idle_event;
    rp_conn_resume(s->conn);
    if (!rp_timer_is_armed(&p->timer)) rp_timer_set(l, &p->timer, s->keep_ms);
    while (p->idle_n > s->keep_n) close_idle(p->oldest);
    return true;
}

struct rp_sock *rp_sock_take(const struct rp_sock *like)
{
    struct rp_sock_pool *p = find(like->host, rp_buf_str(&like->key));
    while (p && p->newest) {
        struct rp_sock *s = p->newest;
        bool good = rp_conn_is_quiet(s->conn);
        if (!good) {
            close_idle(s);
            continue;
        }
        unlink_idle(s);
        s->uses++;
        return s;
    }
    return NULL;
}

void rp_sock_close_idle(struct rp_host *h)
{
    while (h->sock_pools) pool_free(&h->sock_pools);
}
