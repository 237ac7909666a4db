/* SPDX-License-Identifier: MIT
 *
 * h2_msg: HTTP/2 field blocks (RFC 9113 §8) to and from struct rp_msg. Pure.
 *
 * nghttp2 has checked the syntax (RFC 9113 §8.2.1: lower-case names, no control bytes, no connection
 * fields) and that pseudo-header fields come first and once. What is decided here is what the
 * message means, by the same code that decides it for HTTP/1 (h1_facts.h), so that no hook and no
 * upstream can tell the protocol from the head.
 */
#ifndef RP_HTTP_H2_MSG_H
#define RP_HTTP_H2_MSG_H

#include "http/h1_facts.h"
#include "http/h1_parse.h"

/* A request head that is being received. All zero: nothing came yet. */
struct rp_h2_head {
    rp_str method, scheme, authority, path, protocol; /* pseudo-header fields; NONE: absent */
    size_t bytes;                                     /* names, values, 4 for each field */
    char *crumbs; /* of Cookie behind the first one, each after "; "; in the arena */
    size_t crumbs_n, crumbs_room;
    rp_err bad; /* first failure: what comes after it is passed over */
    struct rp_h1_facts facts;
};

/* One field, in the order of the block; the bytes are copied into the arena. Failures are kept in
 * h->bad: RP_E_H1_HEAD_BIG, RP_E_H1_FIELDS_MANY, RP_E_H1_URI_LONG, RP_E_H1_FIELD, RP_E_H1_FRAMING. */
void rp_h2_head_add(struct rp_h2_head *h, struct rp_msg *m, struct rp_arena *a,
                    const struct rp_h1_limits *limits, rp_str name, rp_str value);
/* The block is whole: fill in m's facts. ended: no content follows (END_STREAM).
 * An extended CONNECT for websocket (RFC 8441) becomes what HTTP/1 has for it: a GET with Upgrade
 * and a fresh Sec-WebSocket-Key. Crumbs of Cookie are joined (RFC 9113 §8.2.3).
 * ret  h->bad; RP_E_H1_METHOD, RP_E_H1_TARGET, RP_E_H1_HOST (Host and :authority differ, too),
 *      RP_E_H1_FIELDS_MANY (with Host), RP_E_H1_FRAMING, RP_E_H1_SYNTAX, RP_E_CAP */
RP_MUST rp_err rp_h2_head_finish(struct rp_h2_head *h, struct rp_msg *m, struct rp_arena *a,
                                 bool ended);
/* One trailer field into t; those that must not be trailers (RFC 9110 §6.5.1) are passed over.
 * RP_E_H1_FIELDS_MANY, RP_E_CAP. */
RP_MUST rp_err rp_h2_trailer_add(struct rp_msg *t, struct rp_arena *a, rp_str name, rp_str value);
/* Is this field left out of an HTTP/2 block? Hop-by-hop ones (RFC 9113 §8.2.2), deleted ones, and
 * Content-Length: the session writes it. */
bool rp_h2_field_is_dropped(const struct rp_field *f);

#endif
