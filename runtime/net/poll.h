/* SPDX-License-Identifier: MIT
 *
 * poll: one descriptor in the loop's epoll, for the .c files of net/ and process/ only.
 *
 * It is level-triggered, and entered once for the descriptor's life: what is armed may change, nothing
 * armed costs nothing, and neither can fail. An owner's memory that holds one goes at the end of the
 * tick (rp_poll_end), because events that were fetched in it may still point there.
 */
#ifndef RP_NET_POLL_H
#define RP_NET_POLL_H

#include <sys/epoll.h>

#include "net/loop.h"

enum rp_poll_event {
    RP_POLL_IN = EPOLLIN,
    RP_POLL_OUT = EPOLLOUT,
    RP_POLL_GONE = EPOLLRDHUP, /* the other end will send nothing more */
    RP_POLL_FAILED = EPOLLERR, /* an error waits; nothing is armed any more. Not to be asked for */
};

struct rp_poll;
/* events: armed ones; or RP_POLL_FAILED, perhaps with others. */
typedef void (*rp_poll_fn)(struct rp_poll *p, unsigned events);

struct rp_poll {
    struct rp_loop *loop;
    union {
        rp_poll_fn on_events;
        void (*free)(struct rp_poll *p); /* of one that ended */
    };
    struct rp_poll *next_dead;
    int fd;
    uint16_t armed; /* what the owner is told */
    uint16_t known; /* what the kernel tells us; more than `armed` only for a while */
};

/* Watch fd (kept), at first for these events.
 * ret   0; an errno: it cannot be watched, is watched already, or the kernel has no memory */
RP_MUST int rp_poll_start(struct rp_loop *l, struct rp_poll *p, int fd, unsigned events,
                          rp_poll_fn on_events);
/* Watch for these events from now on; 0: for none. */
void rp_poll_arm(struct rp_poll *p, unsigned events);
/* No event comes any more. `free` (NULL: nothing) comes at the end of the tick, when p may go.
 * stays: the file will be open after this, here or in another process, so that closing the descriptor
 * is not the end of it. The caller closes the descriptor, if it does, behind this. */
void rp_poll_end(struct rp_poll *p, bool stays, void (*free)(struct rp_poll *p));

/* For loop.c. */
struct rp_polls {
    int epoll;
    unsigned forks; /* of this process, when the loop began */
    struct rp_poll *dead;
    struct epoll_event *batch;
};
RP_MUST bool rp_polls_init(struct rp_polls *all);
void rp_polls_fini(struct rp_polls *all);
/* Wait for at most ms (-1: without end) and return how many events are in the batch. */
int rp_polls_wait(struct rp_polls *all, int ms);
void rp_polls_tell(struct rp_polls *all, int n);
/* Free what ended. Not while a batch is being told. */
void rp_polls_bury(struct rp_polls *all);

#endif
