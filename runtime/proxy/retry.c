/* SPDX-License-Identifier: MIT
 *
 * retry: see retry.h.
 */
#include "proxy/retry.h"

enum rp_retry rp_retry_decide(const struct rp_retry_facts *f)
{
    if (f->stage == RP_RETRY_CONNECTING) {
        return f->tries < f->tries_max ? RP_RETRY_OTHER : RP_RETRY_NO;
    }
    if (f->answered || f->body_used) return RP_RETRY_NO;
    if (f->unprocessed) return f->tries < f->tries_max ? RP_RETRY_AGAIN : RP_RETRY_NO;
    if ((!f->idempotent || f->early) && !f->unsent) return RP_RETRY_NO;
    return f->reused ? RP_RETRY_SAME : RP_RETRY_NO;
}
