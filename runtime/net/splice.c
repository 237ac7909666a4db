/* SPDX-License-Identifier: MIT
 *
 * splice: see splice.h.
 */
#include "net/splice.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fault.h"
#include "net/conn.h"
#include "net/loop_uv.h"

enum {
    /* A move costs the same system calls whatever its size: 256 KB takes a third less time than
     * 64 KB for each byte, and 1 MB nothing less than that. */
    ROOM_BYTES = 256 * 1024,
    ROOM_LEAST = 64 * 1024, /* what a user over pipe-user-pages-soft gets is smaller, and no use */
    MOST = 128,             /* pipes with bytes in them; further transfers are copied */
    MOST_SHARE = 32,        /* ... and no more than this part of the descriptors, two each */
    IDLE_MOST = 16,
    TIDY_MS = 2000,
    REST_MS = 1000,
};

struct rp_splice {
    struct rp_splice *next;
    struct rp_loop *loop;
    size_t bytes; /* in the pipe */
    size_t room;
    int out_fd, in_fd;
};

/* ---- pipes --------------------------------------------------------------------------------- */

static void rest(struct rp_loop *l)
{
    l->splices.rest_until_ms = rp_loop_now(l) + REST_MS;
}

static void pipe_free(struct rp_splice *s)
{
    (void)close(s->out_fd); /* a pipe has nothing to report */
    (void)close(s->in_fd);
    rp_free(s);
}

/* Of a first pipe: splice knows no MSG_NOSIGNAL. */
static bool is_deadly(void)
{
    struct sigaction now;
    return sigaction(SIGPIPE, NULL, &now) != 0 || now.sa_handler != SIG_IGN;
}

static uint32_t find_most(void)
{
    struct rlimit limit;
    if (is_deadly()) return 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return MOST;
    return (uint32_t)RP_MIN((uint64_t)limit.rlim_cur / 2 / MOST_SHARE, (uint64_t)MOST);
}

/* NULL: the system has none for us. */
static struct rp_splice *pipe_new(struct rp_loop *l)
{
    int fds[2];
    if (RP_SYS(pipe2, pipe2(fds, O_NONBLOCK | O_CLOEXEC)) != 0) return NULL;
    (void)fcntl(fds[1], F_SETPIPE_SZ, ROOM_BYTES); /* refused over a user's limit: we ask below */
    int room = fcntl(fds[1], F_GETPIPE_SZ);
    if (room < ROOM_LEAST) {
        (void)close(fds[0]); /* it was never used */
        (void)close(fds[1]);
        return NULL;
    }
    struct rp_splice *s = rp_alloc(sizeof *s);
    *s = (struct rp_splice){.loop = l, .room = (size_t)room, .out_fd = fds[0], .in_fd = fds[1]};
    return s;
}

static struct rp_splice *pipe_take(struct rp_loop *l)
{
    struct rp_splice_pool *p = &l->splices;
    if (rp_loop_now(l) < p->rest_until_ms) return NULL;
    if (p->most_n == 0) p->most_n = find_most();
    if (p->most_n == 0) rest(l);
    if (p->live_n >= p->most_n) return NULL;
    struct rp_splice *s = p->idle;
    if (s) {
        p->idle = s->next;
        p->idle_n--;
        p->least_idle_n = RP_MIN(p->least_idle_n, p->idle_n);
    } else {
        s = pipe_new(l);
    }
    if (s) p->live_n++;
    else rest(l);
    return s;
}

static void close_idle(struct rp_splice_pool *p, uint32_t n)
{
    for (; n > 0; n--) {
        struct rp_splice *s = p->idle;
        p->idle = s->next;
        p->idle_n--;
        pipe_free(s);
    }
}

static void tidy(struct rp_timer *t)
{
    struct rp_splice_pool *p = RP_CONTAINER(rp_splice_pool, tidy, t);
    struct rp_loop *l = RP_CONTAINER(rp_loop, splices, p);
    close_idle(p, p->least_idle_n);
    p->least_idle_n = p->idle_n;
    if (p->idle_n > 0) rp_timer_set(l, &p->tidy, TIDY_MS);
}

/* It is empty, or not to be used again. */
static void pipe_put(struct rp_splice *s)
{
    struct rp_loop *l = s->loop;
    struct rp_splice_pool *p = &l->splices;
    p->live_n--;
    if (s->bytes > 0 || p->idle_n >= IDLE_MOST) {
        pipe_free(s);
        return;
    }
    s->next = p->idle;
    p->idle = s;
    p->idle_n++;
    if (rp_timer_is_armed(&p->tidy)) return;
    rp_timer_init(&p->tidy, tidy);
    rp_timer_set(l, &p->tidy, TIDY_MS);
    p->least_idle_n = 0; /* a first one was in use just now */
}

void rp_splice_pool_fini(struct rp_loop *l)
{
    struct rp_splice_pool *p = &l->splices;
    RP_CHECK(p->live_n == 0);
    if (rp_timer_is_armed(&p->tidy)) rp_timer_clear(l, &p->tidy);
    close_idle(p, p->idle_n);
}

/* ---- bytes --------------------------------------------------------------------------------- */

bool rp_splice_can(const struct rp_conn *from, const struct rp_conn *to)
{
    const struct rp_tls *t = rp_conn_tls(to);
    return !rp_conn_tls(from) && (!t || rp_tls_is_kernel(t));
}

rp_err rp_splice_take(struct rp_conn *from, size_t n, struct rp_splice **s, size_t *got)
{
    struct rp_loop *l = rp_conn_loop(from);
    RP_CHECK(!*s);
    *got = 0;
    struct rp_splice *fresh = pipe_take(l);
    if (!fresh) return RP_E_BUSY;
    rp_err e = rp_conn_to_pipe(from, fresh->in_fd, RP_MIN(n, fresh->room), got);
    fresh->bytes = *got;
    if (e == RP_OK) *s = fresh;
    else pipe_put(fresh);
    if (e == RP_E_BUSY) rest(l);
    return e;
}

/* The kernel took them in and does not let them out this way. */
static rp_err send_copied(struct rp_conn *to, struct rp_splice **sp, struct rp_chain *chain)
{
    struct rp_splice *s = *sp;
    while (s->bytes > 0) {
        struct rp_chunk *chunk = rp_chunk_new(rp_loop_mem(s->loop), RP_CHUNK_LARGE);
        ssize_t n = read(s->out_fd, chunk->data, RP_MIN(s->bytes, (size_t)chunk->room));
        RP_CHECK(n > 0); /* they are in there */
        chunk->used = (uint32_t)n;
        rp_chain_add(chain, chunk, chunk->data, (size_t)n);
        rp_chunk_drop(chunk);
        s->bytes -= (size_t)n;
    }
    rest(s->loop);
    *sp = NULL;
    pipe_put(s);
    return rp_conn_send(to, chain);
}

rp_err rp_splice_give(struct rp_conn *to, struct rp_splice **sp, struct rp_chain *chain)
{
    struct rp_splice *s = *sp;
    size_t gone = 0;
    rp_err e = rp_conn_from_pipe(to, s->out_fd, s->bytes, &gone);
    s->bytes -= gone;
    if (e == RP_E_BUSY) return send_copied(to, sp, chain);
    if (s->bytes > 0) return e;
    *sp = NULL;
    pipe_put(s);
    return e;
}

void rp_splice_drop(struct rp_splice **sp)
{
    struct rp_splice *s = *sp;
    *sp = NULL;
    if (s) pipe_put(s);
}

size_t rp_splice_bytes(const struct rp_splice *s)
{
    return s ? s->bytes : 0;
}
