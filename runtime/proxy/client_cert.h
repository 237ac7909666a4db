/* SPDX-License-Identifier: MIT
 *
 * client_cert: the client's certificate for the upstream, as the field Client-Cert (RFC 9440).
 */
#ifndef RP_PROXY_CLIENT_CERT_H
#define RP_PROXY_CLIENT_CERT_H

#include "proxy/request.h"

/* For listeners that forward certificates: replace what the client says in Client-Cert and
 * Client-Cert-Chain by its own, verified certificate, or by nothing. RP_E_CAP. */
RP_MUST rp_err rp_client_cert_put(struct rp_req *r);

/* Is the request for a host whose clients are asked for certificates by other rules than those that
 * held in the connection's handshake? Nothing that was verified there counts for it (RFC 9110 §7.4). */
bool rp_client_cert_is_misdirected(const struct rp_req *r);
/* Are certificates of clients forwarded to its upstream? */
bool rp_client_cert_is_forwarded(const struct rp_req *r);

#endif
