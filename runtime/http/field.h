/* SPDX-License-Identifier: MIT
 *
 * field: grammar of field names and values (RFC 9110 §5), cookies, forwarding headers. Pure.
 */
#ifndef RP_HTTP_FIELD_H
#define RP_HTTP_FIELD_H

#include "base/arena.h"
#include "net/addr.h"

bool rp_field_is_name(rp_str s);  /* token */
bool rp_field_is_value(rp_str s); /* no control bytes but HTAB, no leading or trailing blanks */
/* Value of cookie `name` in one Cookie value (RFC 6265 §4.2, lenient on spaces); ptr NULL: absent. */
rp_str rp_field_cookie(rp_str cookies, rp_str name);
/* The client's address by an X-Forwarded-For list: walk from the right while the address is in
 * `trusted`; the first that is not is the client; the leftmost when all are. Elements may carry
 * ports and brackets. RP_E_INVALID when the walk meets something that is no address (then *out is
 * the last good one, or the given peer). */
RP_MUST rp_err rp_field_forwarded_for(rp_str list, const struct rp_addr *conn_addr,
                                      const struct rp_cidr_set *trusted, struct rp_addr *out);
/* The same for a Forwarded value (RFC 7239): its for= parameters. */
RP_MUST rp_err rp_field_forwarded(rp_str list, const struct rp_addr *conn_addr,
                                  const struct rp_cidr_set *trusted, struct rp_addr *out);
/* q-value weight (0-1000) of `item` in an Accept-style list (RFC 9110 §12.4.2), -1 when absent. */
int rp_field_weight(rp_str list, rp_str item);

#endif
