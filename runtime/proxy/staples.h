/* SPDX-License-Identifier: MIT
 *
 * staples: keeps the OCSP answers of the current generation's certificates fresh (net/tls_staple). One
 * worker asks for all: answers, and when to ask again, lie in a dict that all workers share; who
 * asks holds a lease there, and when it dies another one asks.
 *
 * An answer is asked for again at half of what is left of its time, and after a failure with growing
 * pauses; meanwhile the last good one is handed out until it ends. Of a revoked certificate nothing
 * is handed out.
 */
#ifndef RP_PROXY_STAPLES_H
#define RP_PROXY_STAPLES_H

#include "proxy/proxy.h"

struct rp_dict; /* shm/dict.h */

enum {
    RP_STAPLES_BYTES = 16 << 20
}; /* of the dict: some 5,000 answers; unused pages take nothing */

/* Before the first beat. shared (NULL: this worker asks for itself): kept. */
void rp_staples_use(struct rp_proxy *p, struct rp_dict *shared);
/* p->conf is another one: what is known goes over to it at once. */
void rp_staples_follow(struct rp_proxy *p);
/* Once a second: take what others fetched, ask for what is due. */
void rp_staples_beat(struct rp_proxy *p);
/* Nothing is asked for any more. */
void rp_staples_stop(struct rp_proxy *p);
void rp_staples_free(struct rp_proxy *p);

#endif
