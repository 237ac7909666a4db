/* SPDX-License-Identifier: MIT
 *
 * exchange: see exchange.h. What is the same for every session.
 */
#include "http/exchange.h"

rp_err rp_exchange_check_pace(struct rp_exchange *x, const struct rp_pace_rule *rule, uint64_t got,
                              rp_err e)
{
    rp_ms now = rp_loop_now(rp_conn_loop(x->conn));
    rp_pace_go(&x->body_pace, now);
    x->body_pace.bytes += got;
    if (e != RP_AGAIN) return e;
    if (rp_pace_is_slow(&x->body_pace, rule, now)) return RP_E_BODY_SLOW;
    if (!x->head.expect_continue || x->body_in_bytes > 0) rp_pace_wait(&x->body_pace, now);
    return e;
}
