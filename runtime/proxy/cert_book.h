/* SPDX-License-Identifier: MIT
 *
 * cert_book: the certificates that hooks gave, by the name that was asked for: what a worker remembers
 * of them, and who waits for one. However many clients ask for a name, its hooks run once (a flight);
 * they run for whoever asked first and go on as long as anybody waits. What they say is kept for
 * a time that they choose, failures are not.
 *
 * Names belong to a listener's chain of one generation: a reload begins with an empty book, and
 * flights of before go on for those who wait, unseen by others.
 */
#ifndef RP_PROXY_CERT_BOOK_H
#define RP_PROXY_CERT_BOOK_H

#include "proxy/guest.h"

/* A guest whose handshake needs a certificate.
 * ret   RP_OK: g->cert says which; RP_E_TLS_REFUSED; RP_AGAIN: it waits (g->flight), and when it leads
 *       its hooks are to be run */
RP_MUST rp_err rp_cert_book_ask(struct rp_guest *g);
bool rp_cert_book_leads(const struct rp_guest *g);
/* The leader's hooks ended with e: everybody who waits is told (rp_tls_door_decided). */
void rp_cert_book_land(struct rp_flight *f, rp_err e);
/* A guest waits no more. It keeps its flight as long as that goes on and it leads. */
void rp_cert_book_leave(struct rp_guest *g);
void rp_cert_book_clear(struct rp_proxy *p); /* a reload */
void rp_cert_book_free(struct rp_proxy *p);  /* nobody waits */

#endif
