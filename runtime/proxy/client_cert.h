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

#endif
