/* SPDX-License-Identifier: MIT
 *
 * dgram: UDP sockets. One that is bound takes datagrams of many senders and answers from the address
 * that each of them wrote to; one that is connected speaks with one address only: the kernel drops
 * what comes from anywhere else, and tells when nobody listens there.
 *
 * Datagrams come and go in batches, whole: of any size that UDP has, empty ones included. What the
 * kernel does not take at once is dropped, as a network would: nothing is queued here.
 */
#ifndef RP_NET_DGRAM_H
#define RP_NET_DGRAM_H

#include "net/addr.h"
#include "net/loop.h"

enum {
    RP_DGRAM_BATCH = 32,   /* datagrams taken by one call */
    RP_DGRAM_ROOM = 65536, /* for one: more than the largest (65,527 bytes over IPv6) */
};

struct rp_dgram;

struct rp_dgram_item {
    rp_str bytes;
    struct rp_addr from; /* its sender; NONE on a connected socket */
    struct rp_addr
        local; /* our address that it was sent to, without port; NONE: the socket's own */
};

/* What one recv took; one batch serves any number of sockets in turn. 2 MB of address space, of which
 * only what datagrams have filled is memory. */
struct rp_dgram_batch {
    struct rp_dgram_item items[RP_DGRAM_BATCH];
    uint32_t n;
    void *sys;
};

struct rp_dgram_batch *rp_dgram_batch_new(void);
void rp_dgram_batch_free(struct rp_dgram_batch **b);

/* Create and bind (master side, blocking calls); with SO_REUSEPORT, IPv6 only for IPv6.
 * ret   RP_OK; RP_E_INVALID: no IP address; RP_E_BUSY, RP_E_OS with *os = errno */
RP_MUST rp_err rp_dgram_bind(const struct rp_addr *a, int *fd, int *os);
/* UDP sockets that one process may open at most, by its limit of descriptors. */
uint32_t rp_dgram_most(void);

/* Something waits to be received, an error perhaps. It comes again in every tick until that was
 * received: an owner who does not want it now lets the socket rest. */
typedef void (*rp_dgram_fn)(struct rp_dgram *d);

/* Watch a bound socket. fd: borrowed, a copy is kept. RP_E_OS. */
RP_MUST rp_err rp_dgram_open(struct rp_loop *l, int fd, rp_dgram_fn on_ready, void *owner,
                             struct rp_dgram **out);
/* A new socket with a port of the kernel's choice, connected and watched.
 * ret   RP_OK; RP_E_UP_CONNECT: no way there; RP_E_OS: no socket to be had; both with *os = errno */
RP_MUST rp_err rp_dgram_connect(struct rp_loop *l, const struct rp_addr *to, rp_dgram_fn on_ready,
                                void *owner, struct rp_dgram **out, int *os);
void *rp_dgram_owner(const struct rp_dgram *d);
/* on: its owner will not receive for now: no callback comes. Off: what came meanwhile is told. */
void rp_dgram_rest(struct rp_dgram *d, bool on);
/* No callback comes after it. */
void rp_dgram_close(struct rp_dgram *d);

/* Take what waits, at most RP_DGRAM_BATCH datagrams; b is valid until the next call with it.
 * ret   RP_OK: b->n > 0; RP_AGAIN: nothing more; RP_E_UP_CONNECT: an error of the socket (*os), which
 *       is thereby forgotten: ECONNREFUSED says that nobody listened for what was sent last */
RP_MUST rp_err rp_dgram_recv(struct rp_dgram *d, struct rp_dgram_batch *b, int *os);

struct rp_dgram_sent {
    uint32_t sent_n, dropped_n; /* datagrams from the start of the list */
    uint64_t sent_bytes;
    int os; /* of RP_E_UP_CONNECT; or why the last was dropped */
};

/* Send all of a list, n > 0.
 * in    to, from: NULL on a connected socket; from: `local` of what is answered, may be NONE
 * ret   RP_OK: each was sent or dropped; RP_E_UP_CONNECT (connected only): the rest of the list was
 *       not sent, because what was sent before did not arrive or there is no way there */
RP_MUST rp_err rp_dgram_send(struct rp_dgram *d, const struct rp_addr *to,
                             const struct rp_addr *from, const rp_str *list, uint32_t n,
                             struct rp_dgram_sent *sent);

#endif
