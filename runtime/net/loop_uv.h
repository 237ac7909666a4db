/* SPDX-License-Identifier: MIT
 *
 * loop_uv: the inside of struct rp_loop and libuv, its guest, for the .c files of net/ and process/ only.
 */
#ifndef RP_NET_LOOP_UV_H
#define RP_NET_LOOP_UV_H

#include <uv.h>

#include "net/lab.h"
#include "net/loop.h"
#include "net/meter.h"
#include "net/poll.h"
#include "net/splice.h"
#include "net/wheel.h"

struct rp_child;
struct rp_conn;
struct rp_dgram;
struct rp_listener;

struct rp_defer_queue {
    struct rp_defer *head, *tail;
    size_t n;
};

struct rp_loop {
    struct rp_loop_time time; /* first: loop.h */
    struct rp_polls polls;
    bool stopped;         /* rp_loop_stop */
    bool guest_stirred;   /* libuv has something to do that its descriptor does not tell */
    rp_ms guest_due_ms;   /* its first timer; UINT64_MAX: it has none */
    struct rp_poll guest; /* its descriptor */
    uv_loop_t uv;
    uv_async_t kept; /* makes libuv look at its descriptors also when nothing is under way there */
    rp_ms now_ms;    /* of this tick */
    struct rp_mem *mem;
    struct rp_defer_queue jobs, bulk;
    struct rp_idle *idle; /* jobs for ticks without events, in turn */
    rp_ns share_ns;       /* of a tick for bulk jobs, at least */
    rp_ns share_ends_ns;  /* this tick's */
    rp_ns left_ns;        /* since when some of them wait for their next share; 0: none */
    uint64_t tick;        /* counts rounds of poll */
    double wall;          /* 0: not read in this tick */
    int64_t date_s;
    char date[RP_CLOCK_DATE_BYTES];
    struct rp_conn *conns; /* all open ones, so that rp_loop_free can close them */
    struct rp_listener *listeners;
    struct rp_dgram *dgrams;
    struct rp_child *children; /* whose end is awaited */
    struct rp_pool conn_pool, linger_pool;
    struct rp_tls_room *tls_room; /* tls_bio.c; NULL until a connection speaks TLS */
    struct rp_splice_pool splices;
    struct rp_meter meter;
    const struct rp_lab_net *lab; /* lab.h; NULL: an ordinary loop */
    uint64_t ran_n;               /* deferred jobs, ever */
    struct rp_wheel wheel;
};

/* libuv's loop, to start, change or close something there. To be asked for each time, because what it
 * is asked to do it does in the loop's next tick, if that knows. Inside of its callbacks there is no need. */
uv_loop_t *rp_loop_guest(struct rp_loop *l);

/* Sizes that only conn.c knows, for rp_loop_new. */
void rp_conn_pools_init(struct rp_loop *l);
void rp_conn_pools_trim(struct rp_loop *l);
void rp_conn_pools_fini(struct rp_loop *l);
/* Last bytes of up to RP_CONN_ONE_SEND are sent with MSG_MORE, so that the kernel keeps their packet until
 * the FIN is in it. When not all of them found room, the packet must not wait: rp_conn_uncork. */
enum { RP_CONN_ONE_SEND = 16 * 1024 };
void rp_conn_uncork(int fd);
/* The loop is freed: nobody waits for its end any more. */
void rp_child_abandon(struct rp_child *c);

#endif
