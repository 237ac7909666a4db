/* SPDX-License-Identifier: MIT
 *
 * headers: what a gateway changes in heads on their way through: hop-by-hop fields (RFC 9110 §7.6.1),
 * Via (§7.6.3), X-Forwarded-*, Forwarded (RFC 7239), Host (§7.2), configured edits.
 */
#ifndef RP_PROXY_HEADERS_H
#define RP_PROXY_HEADERS_H

#include "proxy/request.h"

/* Apply the route's request edits to the outgoing head. RP_E_CAP. */
RP_MUST rp_err rp_headers_edit_request(struct rp_req *r);
/* OPTIONS and TRACE may be told how far to go (RFC 9110 §7.6.2): count this hop. RP_OK go on; RP_END
 * not any further: the answer is ours; RP_E_LOOP it was here too often; RP_E_CAP. */
RP_MUST rp_err rp_headers_count_hop(struct rp_req *r);
/* The request head for the upstream as bytes; *framing and *length tell how its body must go out. */
void rp_headers_put_request(struct rp_req *r, struct rp_chain *out, enum rp_framing *framing,
                            uint64_t *length);
/* An upstream's response head is in r->res: note that it went through us. */
RP_MUST rp_err rp_headers_note_response(struct rp_req *r);
/* Apply the route's response edits to r->res. RP_E_CAP. */
RP_MUST rp_err rp_headers_edit_response(struct rp_req *r);
/* Is this an upgrade that we relay? Only "websocket": h2c through a proxy bypasses its rules. */
bool rp_headers_is_upgrade(const struct rp_req *r);

#endif
