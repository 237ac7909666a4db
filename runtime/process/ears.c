/* SPDX-License-Identifier: MIT
 *
 * ears: see ears.h.
 */
#include "process/ears.h"

#include <poll.h>

#include "base/log.h"
#include "base/mem.h"
#include "process/os.h"

enum {
    LOOK_MS = 2,      /* between two looks at a queue that is being emptied */
    LOOKS_MOST = 500, /* about a second: a queue that never gets empty is cut off then */
};

struct rp_ear {
    struct rp_ear *next;
    rp_str text; /* own */
    int fd;
    struct rp_listener *listener;
    struct rp_udp_door *udp; /* instead of a listener */
    unsigned looks;
    bool wanted;
};

static void ear_close(struct rp_ears *all, struct rp_ear *ear)
{
    if (ear->udp) rp_proxy_unlisten_udp(all->proxy, ear->udp);
    else rp_proxy_unlisten(all->proxy, ear->listener);
    rp_os_close(&ear->fd);
    rp_free((void *)(uintptr_t)ear->text.ptr);
    rp_free(ear);
}

static bool has_clients(const struct rp_ear *ear)
{
    struct pollfd p = {.fd = ear->fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

static void look(struct rp_timer *t)
{
    struct rp_ears *all = RP_CONTAINER(rp_ears, timer, t);
    struct rp_ear **at = &all->leaving;
    while (*at) {
        struct rp_ear *ear = *at;
        if (has_clients(ear) && ear->looks++ < LOOKS_MOST) {
            at = &ear->next; /* the loop accepts them meanwhile */
            continue;
        }
        *at = ear->next;
        ear_close(all, ear);
    }
    if (all->leaving) {
        rp_timer_set(all->proxy->loop, &all->timer, LOOK_MS);
    } else if (all->on_quiet) {
        void (*done)(void *arg) = all->on_quiet;
        all->on_quiet = NULL;
        done(all->arg);
    }
}

static void start_leaving(struct rp_ears *all, bool every, rp_ms listen_ms)
{
    struct rp_ear **at = &all->list;
    while (*at) {
        struct rp_ear *ear = *at;
        if (ear->wanted && !every) {
            at = &ear->next;
            continue;
        }
        *at = ear->next;
        ear->next = all->leaving;
        all->leaving = ear;
    }
    if (all->leaving || all->on_quiet)
        rp_timer_set(all->proxy->loop, &all->timer, RP_MAX(listen_ms, (rp_ms)LOOK_MS));
}

static struct rp_ear *find(const struct rp_ears *all, rp_str text)
{
    for (struct rp_ear *ear = all->list; ear; ear = ear->next)
        if (rp_str_eq(ear->text, text)) return ear;
    return NULL;
}

/* Descriptors come by number, from the master: served as another listener than it is bound for, a
 * socket would lead clients past TLS or into it. Port 0 is the system's choice; unix ones are told
 * apart by their files. */
static bool is_bound_for(const struct rp_listener *ln, const struct rp_conf_listener *which)
{
    const struct rp_addr *bound = rp_listener_addr(ln);
    if (which->addr.family == RP_ADDR_UNIX) return bound->family == RP_ADDR_UNIX;
    return which->addr.port == 0 || rp_addr_eq(bound, &which->addr);
}

static rp_err add(struct rp_ears *all, struct rp_conf_listener *which, int *fd)
{
    struct rp_listener *listener = NULL;
    struct rp_udp_door *udp = NULL;
    rp_err e = RP_E_OS;
    if (*fd >= 0 && which->udp) e = rp_proxy_listen_udp(all->proxy, *fd, which, &udp);
    else if (*fd >= 0) e = rp_proxy_listen(all->proxy, *fd, which, &listener);
    if (listener && !is_bound_for(listener, which)) {
        rp_log(alert, "a listening socket is bound to another address listener=%s",
               rp_log_esc(which->text));
        rp_proxy_unlisten(all->proxy, listener);
        e = RP_E_OS;
    }
    if (e != RP_OK) {
        rp_log(error, "cannot serve a listening socket listener=%s", rp_log_esc(which->text));
        return RP_E_OS;
    }
    struct rp_ear *ear = rp_alloc(sizeof *ear);
    *ear = (struct rp_ear){
        .next = all->list, .fd = *fd, .listener = listener, .udp = udp, .wanted = true};
    ear->text = rp_str_of(rp_strdup_n(which->text.ptr, which->text.len), which->text.len);
    all->list = ear;
    *fd = -1;
    return RP_OK;
}

rp_err rp_ears_follow(struct rp_ears *all, const struct rp_conf *conf, int *fds)
{
    rp_err worst = RP_OK;
    for (struct rp_ear *ear = all->list; ear; ear = ear->next) ear->wanted = false;
    for (uint32_t i = 0; i < conf->listeners_n; i++) {
        struct rp_ear *ear = find(all, conf->listeners[i].text);
        if (ear) ear->wanted = true;
        else if (add(all, &conf->listeners[i], &fds[i]) != RP_OK) worst = RP_E_OS;
        rp_os_close(&fds[i]);
    }
    start_leaving(all, false, 0);
    return worst;
}

void rp_ears_leave(struct rp_ears *all, rp_ms listen_ms, void (*done)(void *arg), void *arg)
{
    all->on_quiet = done;
    all->arg = arg;
    start_leaving(all, true, listen_ms);
}

void rp_ears_init(struct rp_ears *all, struct rp_proxy *p)
{
    *all = (struct rp_ears){.proxy = p};
    rp_timer_init(&all->timer, look);
}

void rp_ears_fini(struct rp_ears *all)
{
    all->on_quiet = NULL;
    start_leaving(all, true, 0);
    rp_timer_clear(all->proxy->loop, &all->timer);
    while (all->leaving) {
        struct rp_ear *ear = all->leaving;
        all->leaving = ear->next;
        ear_close(all, ear);
    }
}
