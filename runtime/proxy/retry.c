/* SPDX-License-Identifier: MIT
 *
 * retry: see retry.h.
 */
#include "proxy/retry.h"

enum { ALWAYS = 10, DOUBLINGS = 16, WHOLE = 100 };

/* Sent, or partly, and nothing is known of it: may a copy follow? */
static bool is_harmless(const struct rp_retry_facts *f)
{
    return (f->idempotent && !f->early) || f->unsent;
}

static enum rp_retry decide_lost(const struct rp_retry_facts *f)
{
    bool late = f->stage == RP_RETRY_LATE;
    if ((f->answered && !late) || f->body_used) return RP_RETRY_NO;
    bool more = f->tries < f->tries_max;
    if (f->unprocessed) return more ? RP_RETRY_AGAIN : RP_RETRY_NO;
    if (!is_harmless(f)) return RP_RETRY_NO;
    if (f->reused && !late) return RP_RETRY_SAME;
    bool wanted = f->on & (late ? RP_ON_TIMEOUT : RP_ON_RESET);
    return wanted && more && f->afford ? RP_RETRY_OTHER : RP_RETRY_NO;
}

enum rp_retry rp_retry_decide(const struct rp_retry_facts *f)
{
    bool more = f->tries < f->tries_max;
    switch ((enum rp_retry_stage)f->stage) {
    case RP_RETRY_CONNECTING:
        /* It costs nobody anything, and peers that cannot be reached are soon left alone: the budget
         * is for requests that are sent twice. */
        return more && (f->on & RP_ON_CONNECT) ? RP_RETRY_OTHER : RP_RETRY_NO;
    case RP_RETRY_AWAITING:
    case RP_RETRY_LATE: return decide_lost(f);
    case RP_RETRY_ANSWERED: break;
    }
    bool may = f->idempotent && !f->early && !f->body_used;
    return may && more && f->afford ? RP_RETRY_OTHER : RP_RETRY_NO;
}

bool rp_retry_afford(uint32_t active, uint32_t retrying, uint32_t share)
{
    return retrying < ALWAYS || (uint64_t)retrying * 100 < (uint64_t)active * share;
}

void rp_retry_earn(uint32_t *purse, uint32_t share)
{
    *purse = RP_MIN(*purse + share, (uint32_t)RP_RETRY_PURSE_MOST);
}

bool rp_retry_spend(uint32_t *purse)
{
    if (*purse < WHOLE) return false;
    *purse -= WHOLE;
    return true;
}

rp_ms rp_retry_pause(struct rp_random *dice, uint32_t n, rp_ms base, rp_ms most)
{
    uint32_t doublings = n > DOUBLINGS ? DOUBLINGS : n > 0 ? n - 1 : 0;
    rp_ms cap = base << doublings;
    if (cap > most) cap = most;
    return cap ? rp_random_below(dice, cap) + 1 : 0;
}
