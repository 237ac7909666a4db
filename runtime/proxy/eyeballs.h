/* SPDX-License-Identifier: MIT
 *
 * eyeballs: one connection to a peer that has several addresses (RFC 8305 §5, "happy eyeballs"). They
 * are tried in their order, and another one is begun beside those under way when one of them failed or
 * when nothing came of them for a while; the first that is connected is taken, the others are closed.
 *
 * A race hangs at the pick that it is for (rp_pick.race) until it is won or cancelled. It ends with the
 * TCP connection: TLS begins on the winner alone. Its owner is told of every event and looks.
 */
#ifndef RP_PROXY_EYEBALLS_H
#define RP_PROXY_EYEBALLS_H

#include "net/conn.h"
#include "proxy/pick.h"

struct rp_proxy;
struct rp_race;

typedef void (*rp_race_wake_fn)(void *arg);

/* Has the chosen peer other addresses that could be tried as well? */
bool rp_race_is_wanted(const struct rp_proxy *p, const struct rp_pick *k);
/* Begin with the address that was chosen; another follows after delay_ms. wake(arg) may come from the
 * next turn of the loop on. RP_E_UP_CONNECT: all of them failed at once, see *fail. */
RP_MUST rp_err rp_race_begin(struct rp_proxy *p, struct rp_pick *k, rp_ms delay_ms,
                             rp_race_wake_fn wake, void *arg, struct rp_conn_fail *fail);
/* RP_OK: *conn is the caller's (not finished: rp_conn_finish_connect goes on with it), k->pool_slot is
 * of its address, the race is over. RP_AGAIN; RP_E_UP_CONNECT: all addresses failed, *fail is how the last of
 * them did. */
RP_MUST rp_err rp_race_look(struct rp_proxy *p, struct rp_pick *k, struct rp_conn **conn,
                            struct rp_conn_fail *fail);
/* Its owner is another one from now on. */
void rp_race_hand_over(struct rp_pick *k, void *arg);
/* Nobody wants it any more; no effect without one. */
void rp_race_cancel(struct rp_proxy *p, struct rp_pick *k);

#endif
