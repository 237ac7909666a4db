/* SPDX-License-Identifier: MIT
 *
 * tap: copies of the bodies of one request, for hooks that want to know them when all is over: what the
 * upstream was sent, and what the client got. Nothing waits for them, and no framing changes; the only
 * cost beside the copies is that the bodies are not spliced.
 */
#ifndef RP_PROXY_TAP_H
#define RP_PROXY_TAP_H

#include "base/buf.h"
#include "proxy/request.h"

enum { RP_TAP_MOST = 1024 * 1024 }; /* bytes of one body */

struct rp_tap_side {
    struct rp_buf bytes;
    uint32_t max; /* 0: not wanted */
    bool cut;     /* there was more */
};

struct rp_tap {
    struct rp_tap_side sent, got;
};

/* Begin, until the first attempt; at most RP_TAP_MOST bytes of each, 0: none of it. Again: the larger
 * wishes count. RP_E_PHASE, RP_E_INVALID, RP_E_CAP. */
RP_MUST rp_err rp_tap_begin(struct rp_req *r, uint32_t sent_max, uint32_t got_max);
void rp_tap_take(struct rp_tap_side *s, const struct rp_chain *bytes);
/* Another attempt begins: what the one before was sent is forgotten. */
void rp_tap_restart(struct rp_tap *t);

#ifndef RP_CDEF
/* NULL for most. */
static inline struct rp_tap *rp_tap_of(const struct rp_req *r)
{
    return RP_UNLIKELY(r->own != NULL) ? r->own->tap : NULL;
}
static inline void rp_tap_sent(const struct rp_req *r, const struct rp_chain *bytes)
{
    struct rp_tap *t = rp_tap_of(r);
    if (RP_UNLIKELY(t != NULL)) rp_tap_take(&t->sent, bytes);
}
static inline void rp_tap_got(const struct rp_req *r, const struct rp_chain *bytes)
{
    struct rp_tap *t = rp_tap_of(r);
    if (RP_UNLIKELY(t != NULL)) rp_tap_take(&t->got, bytes);
}
#endif

#endif
