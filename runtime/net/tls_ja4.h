/* SPDX-License-Identifier: MIT
 *
 * tls_ja4: JA4, a fingerprint of the program that sent a ClientHello, by the public description of its
 * inventors (FoxIO, "JA4: TLS Client Fingerprinting"): "t13d1516h2_8daaf6152771_e5627efa2ab1". Pure.
 */
#ifndef RP_NET_TLS_JA4_H
#define RP_NET_TLS_JA4_H

#include "net/tls_hello.h"

enum { RP_TLS_JA4_BYTES = 36 };

/* h: read with RP_OK. No NUL is added.
 * cost  two digests, and sorting: some microseconds for what programs send */
void rp_tls_ja4_put(const struct rp_tls_hello *h, char out[RP_TLS_JA4_BYTES]);

#endif
