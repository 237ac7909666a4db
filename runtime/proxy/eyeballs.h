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

/* Who a race is for. */
struct rp_race_owner {
    void (*wake)(void *arg); /* from the next turn of the loop after it began on: look */
    /* That address could not be reached; others may still be. Only while the owner begins, looks or
     * gives up. Not told of the last one: its failure is that of the race. */
    void (*failed)(void *arg, const struct rp_addr *addr, rp_err e, int os);
};

/* Has the chosen peer other addresses that could be tried as well? */
bool rp_race_is_wanted(const struct rp_proxy *p, const struct rp_pick *k);
/* Begin with the address that was chosen; another follows after the upstream's next_address, sooner
 * where connect_ms (0: no end) would be over before each had its turn. RP_E_UP_CONNECT: all of
 * them failed at once, see *fail. */
RP_MUST rp_err rp_race_begin(struct rp_proxy *p, struct rp_pick *k, rp_ms connect_ms,
                             const struct rp_race_owner *owner, void *arg,
                             struct rp_conn_fail *fail);
/* RP_OK: *conn is the caller's (not finished: rp_conn_finish_connect goes on with it), k->pool_slot is
 * of its address, the race is over. RP_AGAIN; RP_E_UP_CONNECT: all addresses failed, *fail is how the last of
 * them did. */
RP_MUST rp_err rp_race_look(struct rp_pick *k, struct rp_conn **conn, struct rp_conn_fail *fail);
/* Its owner is another one from now on. */
void rp_race_hand_over(struct rp_pick *k, void *arg);
/* The time for connecting is over: those under way have failed, k->pool_slot is of the last of them.
 * No effect without a race. */
void rp_race_give_up(struct rp_pick *k);
/* Nobody wants it any more; no effect without one. */
void rp_race_cancel(struct rp_pick *k);

#endif
