/* SPDX-License-Identifier: MIT
 *
 * ears: the listening sockets of one worker across generations, matched by their text.
 *
 * A socket that is given up is not closed at once: with SO_REUSEPORT the kernel has put clients into
 * this socket's own queue and would reset them. They are accepted first.
 */
#ifndef RP_PROCESS_EARS_H
#define RP_PROCESS_EARS_H

#include "net/timer.h"
#include "proxy/proxy.h"

struct rp_ear;
struct rp_ears {
    struct rp_proxy *proxy;
    struct rp_ear *list, *leaving;
    struct rp_timer timer;
    void (*on_quiet)(void *arg); /* the last leaving one is closed */
    void *arg;
};

void rp_ears_init(struct rp_ears *e, struct rp_proxy *p);
void rp_ears_fini(struct rp_ears *e); /* close all */
/* Serve conf's listeners: known ones stay, new ones take fds[i] (own, -1 for known ones), the rest
 * leave. RP_E_OS: one of the new cannot be served; the others are. */
RP_MUST rp_err rp_ears_follow(struct rp_ears *e, const struct rp_conf *conf, int *fds);
/* Give all up, not before listen_ms; done(arg) from the loop when their queues are empty. */
void rp_ears_leave(struct rp_ears *e, rp_ms listen_ms, void (*done)(void *arg), void *arg);

#endif
