/* SPDX-License-Identifier: MIT
 *
 * listener: a listening socket in a worker, made by the master (rp_listener_bind) and inherited.
 */
#ifndef RP_NET_LISTENER_H
#define RP_NET_LISTENER_H

#include "net/conn.h"

struct rp_listener;
struct rp_listener_options {
    int backlog;
    bool reuseport;
    bool ipv6_only;
    uint32_t unix_mode; /* permission bits of a unix socket, e.g. 0666 */
};

/* Create, bind and listen (master side, blocking calls). RP_E_OS with *os = errno. A stale unix
 * socket file nobody listens on is replaced; a live one is RP_E_BUSY. */
RP_MUST rp_err rp_listener_bind(const struct rp_addr *a, const struct rp_listener_options *o,
                                int *fd, int *os);

typedef void (*rp_listener_fn)(struct rp_listener *ln, struct rp_conn *c);
/* Accept from fd (kept, not closed by us): each new connection is given to on_accept, non-blocking,
 * TCP_NODELAY set. Accepts in batches; when out of descriptors it pauses for a while and logs once. */
RP_MUST rp_err rp_listener_open(struct rp_loop *l, int fd, rp_listener_fn on_accept, void *owner,
                                struct rp_listener **out);
void *rp_listener_owner(const struct rp_listener *ln);
const struct rp_addr *rp_listener_addr(const struct rp_listener *ln);
/* Stop accepting. The fd stays open for its real owner. */
void rp_listener_close(struct rp_listener *ln);

#endif
