/* SPDX-License-Identifier: MIT
 *
 * census: how many client connections all workers have, in all and per client network, so that caps
 * on them are exact.
 *
 * What a worker holds is written by it alone, one word per fact, and a total is the sum over the
 * workers: so a worker that is killed in the middle of anything leaves nothing to repair, and what
 * it held is forgotten in one go. Coming in under a cap looks and writes under a short spin lock;
 * leaving takes none. Memory is fixed: a network is kept while somebody has a connection from it,
 * and when its two sets of places are taken it is not counted (RP_E_CAP).
 */
#ifndef RP_SHM_CENSUS_H
#define RP_SHM_CENSUS_H

#include "shm/zone.h"

enum {
    RP_CENSUS_NET_BYTES = 16,
    RP_CENSUS_NETS_MIN = 1024,
    RP_CENSUS_NETS_DEFAULT = 65536, /* 1 MB, and 256 KB per worker, where they are used */
};

struct rp_census;

/* Lay out (or, in an adopted zone, find again) a census in a part of that name. net_n: networks that
 * it has room for, a power of two from RP_CENSUS_NETS_MIN on.
 * ret   RP_OK; RP_E_INVALID: exists with other numbers, or bad ones; else as rp_zone_part */
RP_MUST rp_err rp_census_new(struct rp_zone *z, rp_str part, uint32_t worker_n, uint32_t net_n,
                             struct rp_census **out);
void rp_census_free(struct rp_census **c); /* this process's handle; the zone keeps the numbers */
/* Zone bytes that it takes; pages that nobody touches take no memory. */
size_t rp_census_bytes(uint32_t worker_n, uint32_t net_n);

/* The worker has nothing, and no lock: it is about to start, or it is dead. worker < worker_n. */
void rp_census_forget(struct rp_census *c, uint32_t worker);

/* One more connection of this worker. most: over all workers; 0: no limit, and no lock.
 * ret   RP_OK; RP_E_CONNS_MANY: so many are there */
RP_MUST rp_err rp_census_enter(struct rp_census *c, uint32_t worker, uint64_t most);
void rp_census_leave(struct rp_census *c, uint32_t worker);

/* One more connection of this network. most: over all workers, not 0.
 * out   *seat: for rp_census_part; never 0
 * ret   RP_OK; RP_E_CONNS_CLIENT: so many are there; RP_E_CAP: no room to count it
 * cost  about 50 ns and a cache line per worker */
RP_MUST rp_err rp_census_join(struct rp_census *c, uint32_t worker,
                              const uint8_t net[RP_CENSUS_NET_BYTES], uint64_t most,
                              uint32_t *seat);
void rp_census_part(struct rp_census *c, uint32_t worker, uint32_t seat);

/* Over all workers, as it is at some moment of the call. */
uint64_t rp_census_total(const struct rp_census *c);
uint64_t rp_census_of(struct rp_census *c, const uint8_t net[RP_CENSUS_NET_BYTES]);

#endif
