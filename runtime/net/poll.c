/* SPDX-License-Identifier: MIT
 *
 * poll: see poll.h. Closing a descriptor takes it out of epoll, unless the file is open elsewhere too:
 * a program that was started has all descriptors from fork to exec. So after a fork each of them is
 * taken out by hand when its watching ends; a process that never forks saves that call.
 *
 * With nothing armed an entry stays in epoll, edge-triggered: hang-up and error, which epoll tells
 * whether one asks or not, then come once and not in every wait. One that was taken out might fail
 * to come back, where the kernel has no memory.
 */
#include "net/poll.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "net/loop_uv.h"

/* Events of one wait. What is left comes with the next one, behind the jobs of these. */
enum { BATCH = 256 };

/* ---- forks --------------------------------------------------------------------------------- */

static unsigned forks; /* of this process, by whichever thread */

static void note_fork(void)
{
    (void)__atomic_add_fetch(&forks, 1, __ATOMIC_RELAXED);
}

static unsigned forks_now(void)
{
    return __atomic_load_n(&forks, __ATOMIC_RELAXED);
}

__attribute__((constructor)) static void watch_fork(void)
{
    RP_CHECK(pthread_atfork(note_fork, NULL, NULL) == 0);
}

/* ---- one descriptor ------------------------------------------------------------------------- */

static int control(struct rp_poll *p, int how, unsigned events)
{
    struct epoll_event e = {.events = events ? events : (uint32_t)EPOLLET, .data.ptr = p};
    return epoll_ctl(p->loop->polls.epoll, how, p->fd, &e) == 0 ? 0 : errno;
}

RP_COLD static void tell_kernel(struct rp_poll *p)
{
    p->known = p->armed;
    int os = control(p, EPOLL_CTL_MOD, p->armed); /* needs no memory: only a wrong fd is refused */
    RP_CHECK(os == 0);
}

int rp_poll_start(struct rp_loop *l, struct rp_poll *p, int fd, unsigned events,
                  rp_poll_fn on_events)
{
    *p = (struct rp_poll){.loop = l, .on_events = on_events, .fd = fd};
    p->armed = p->known = (uint16_t)events;
    return control(p, EPOLL_CTL_ADD, events);
}

void rp_poll_arm(struct rp_poll *p, unsigned events)
{
    p->armed = (uint16_t)events;
    if (p->armed != p->known) tell_kernel(p);
}

void rp_poll_end(struct rp_poll *p, bool stays, void (*free)(struct rp_poll *p))
{
    struct rp_polls *all = &p->loop->polls;
    if (stays || forks_now() != all->forks)
        (void)control(p, EPOLL_CTL_DEL, 0); /* c-ares may have closed it: then it is out */
    p->armed = p->known = 0;
    if (!free) return;
    p->free = free;
    p->next_dead = all->dead;
    all->dead = p;
}

/* ---- all of a loop -------------------------------------------------------------------------- */

bool rp_polls_init(struct rp_polls *all)
{
    all->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (all->epoll < 0) return false;
    all->forks = forks_now();
    all->batch = rp_alloc(sizeof *all->batch * BATCH);
    return true;
}

void rp_polls_fini(struct rp_polls *all)
{
    rp_polls_bury(all);
    (void)close(all->epoll); /* carries nothing */
    rp_free(all->batch);
}

int rp_polls_wait(struct rp_polls *all, int ms)
{
    int n = epoll_wait(all->epoll, all->batch, BATCH, ms);
    return RP_MAX(n, 0); /* a signal: whoever waits for it finds it by a descriptor of its own */
}

/* Hang-up alone is told as whatever was asked for: doing it finds the reason. */
static unsigned meaning(unsigned events, unsigned armed)
{
    if (events & EPOLLERR) return (events & armed) | RP_POLL_FAILED;
    unsigned wanted = events & armed;
    return wanted || !(events & EPOLLHUP) ? wanted : armed;
}

/* An error, a hang-up, or what nobody wants to hear of. */
RP_COLD static void tell_odd(struct rp_poll *p, unsigned events)
{
    unsigned got = meaning(events, p->armed);
    if (p->armed == 0) { /* ended, or an error was told that nobody looked at */
        if (p->known) tell_kernel(p);
        return;
    }
    if (got & RP_POLL_FAILED) p->armed = 0;
    if (got) p->on_events(p, got);
}

void rp_polls_tell(struct rp_polls *all, int n)
{
    for (const struct epoll_event *e = all->batch, *end = e + n; e < end; e++) {
        struct rp_poll *p = e->data.ptr;
        if (RP_UNLIKELY(e->events & ~(uint32_t)p->armed)) tell_odd(p, e->events);
        else p->on_events(p, e->events);
    }
}

void rp_polls_bury(struct rp_polls *all)
{
    while (RP_UNLIKELY(all->dead != NULL)) {
        struct rp_poll *p = all->dead;
        all->dead = p->next_dead;
        p->free(p);
    }
}
