/* SPDX-License-Identifier: MIT
 *
 * connpool: idle upstream connections of one worker, by address and owner, newest first.
 *
 * The owner is what an upstream is across generations (struct rp_group, pool_key), so a reload keeps
 * warm connections and no upstream meets those that another one made with other settings. A connection that has
 * news while idle (FIN, reset, stray bytes) is closed at once: it never meets a request.
 */
#ifndef RP_PROXY_CONNPOOL_H
#define RP_PROXY_CONNPOOL_H

#include "http/h1_up.h"
#include "http/h2_up.h"

struct rp_connpool;
struct rp_pool_slot; /* the idle list of one address and owner; counted by its users */

struct rp_connpool *rp_connpool_new(struct rp_loop *l);
void rp_connpool_free(
    struct rp_connpool **p); /* closes all idle connections; no slot may be held */
/* The idle list of an owner's connections to an address. */
struct rp_pool_slot *rp_connpool_hold(struct rp_connpool *p, const struct rp_addr *a,
                                      uint64_t owner);
/* What TLS remembers of that address, made at first use. */
struct rp_tls_memory *rp_connpool_memory(struct rp_pool_slot *s);
/* One more user of a slot that somebody holds. */
struct rp_pool_slot *rp_connpool_ref(struct rp_pool_slot *s);
void rp_connpool_drop(struct rp_connpool *p, struct rp_pool_slot *s);
const struct rp_addr *rp_connpool_addr(const struct rp_pool_slot *s);
/* Its connections in HTTP/2: in use or not, they stay in the pool. */
struct rp_h2_links *rp_connpool_links(struct rp_pool_slot *s);
/* Connections under way that will speak HTTP/2, as far as anybody knows: worth waiting for. */
uint32_t *rp_connpool_dials(struct rp_pool_slot *s);
/* Newest idle connection, unbound; NULL when there is none. */
struct rp_up *rp_connpool_take(struct rp_pool_slot *s);
/* Keep a reusable connection (own). Over max_idle the oldest goes; each lives idle_ms at most. */
void rp_connpool_put(struct rp_pool_slot *s, struct rp_up *u, uint32_t max_idle, rp_ms idle_ms);
/* Connecting there failed: a name with other addresses passes over this one until then. */
void rp_connpool_set_rest(struct rp_pool_slot *s, rp_ms until);
rp_ms rp_connpool_rest_until(const struct rp_pool_slot *s); /* 0: it does not rest */
uint32_t rp_connpool_idle(const struct rp_pool_slot *s);
/* Its connections in HTTP/2, one a line. */
void rp_connpool_dump(const struct rp_connpool *p, struct rp_buf *out);
/* Close every idle connection (drain). */
void rp_connpool_clear(struct rp_connpool *p);

#endif
