/* SPDX-License-Identifier: MIT
 *
 * ocsp_fetch: asks one OCSP responder one question (RFC 6960 appendix A): a POST by plain HTTP/1.1 on a
 * connection of its own. Bounded in time and bytes; no redirect is followed.
 */
#ifndef RP_PROXY_OCSP_FETCH_H
#define RP_PROXY_OCSP_FETCH_H

#include "net/dns.h"

struct rp_ocsp_fetch;

/* It is over. body: of a 200 (borrowed until this returns), else empty and `why` says why. */
typedef void (*rp_ocsp_fetch_fn)(void *arg, rp_str body, const char *why);

/* url: "http://...", as a certificate has it; request: copied. fn comes once, not before this returns. */
struct rp_ocsp_fetch *rp_ocsp_fetch_start(struct rp_loop *l, struct rp_dns *dns, rp_str url,
                                          rp_str request, rp_ocsp_fetch_fn fn, void *arg);
void rp_ocsp_fetch_cancel(struct rp_ocsp_fetch **f); /* fn does not come any more */

#endif
