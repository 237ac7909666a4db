/* SPDX-License-Identifier: MIT
 *
 * tls_client: how connections to an upstream use TLS: whom to trust, as whom to appear.
 */
#ifndef RP_NET_TLS_CLIENT_H
#define RP_NET_TLS_CLIENT_H

#include "net/tls_server.h"

struct rp_tls_client;

struct rp_tls_client_rules {
    struct rp_tls_rules base; /* profile, versions, alpn, depth, cas */
    bool verify;
    rp_str sni;               /* sent instead of the peer's name; empty: that, when it is a name */
    rp_str name;              /* checked instead of the peer's name (or of sni) */
    rp_str cert_pem, key_pem; /* our own certificate; empty: none */
};
enum { RP_TLS_ID_BYTES = 32 };

/* rules: copied. NULL with `why`. */
struct rp_tls_client *rp_tls_client_new(const struct rp_tls_client_rules *rules,
                                        char why[RP_TLS_WHY_BYTES]);
struct rp_tls_client *rp_tls_client_hold(struct rp_tls_client *c); /* not atomic: one thread */
void rp_tls_client_drop(struct rp_tls_client **c);
/* Everything that makes two connections to one peer the same or not: settings, trust, our
 * certificate, and the peer's name. The same in each generation that says the same. */
void rp_tls_client_id(const struct rp_tls_client *c, rp_str peer, uint8_t id[RP_TLS_ID_BYTES]);
/* Has a peer without a name of its own (a unix socket) one to be checked? */
bool rp_tls_client_has_name(const struct rp_tls_client *c);

#endif
