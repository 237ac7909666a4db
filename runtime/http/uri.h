/* SPDX-License-Identifier: MIT
 *
 * uri: request targets (RFC 9112 §3.2), authorities, the normal form of paths, query arguments.
 * Pure.
 */
#ifndef RP_HTTP_URI_H
#define RP_HTTP_URI_H

#include "base/arena.h"

enum rp_uri_form { RP_URI_ORIGIN, RP_URI_ABSOLUTE, RP_URI_AUTHORITY, RP_URI_ASTERISK };

/* Slices of the target; `path` is replaced by the normal form after rp_uri_normalize. */
struct rp_uri {
    uint8_t form;     /* enum rp_uri_form */
    bool has_query;   /* a '?' was there, the query may still be empty */
    bool is_normal;   /* path is its normal form already: seen while it was split */
    uint16_t port;    /* of the authority; 0 when absent */
    rp_str scheme;    /* absolute-form only */
    rp_str authority; /* absolute- and authority-form: "host:port" as sent */
    rp_str host;      /* without port; IPv6 literals keep their brackets */
    rp_str raw_path;  /* as sent, no query; "/" when absolute-form had none */
    rp_str path;      /* raw_path until normalised */
    rp_str query;     /* after '?', as sent */
};

/* Split a request target.
 * out   slices of target, or of constant memory where the target has no such part
 * ret   RP_OK; RP_E_H1_TARGET; RP_E_H1_HOST for a bad authority
 * src   RFC 9112 §3.2, RFC 3986 §3. Strict: no fragment, no user info, no byte outside VCHAR.
 *       Of the ASCII that RFC 3986 does not know, clients following the URL Standard send
 *       [ ] ^ ` { | } raw (accepted in path and query) and \ (accepted in a query only: in a path
 *       it is a slash to some servers); " < > # are refused. Malformed %xx: see normalize for
 *       the path; a query keeps it. An OPTIONS in absolute-form without path and query has the
 *       form RP_URI_ASTERISK and raw_path "*" (§3.2.4), and keeps scheme, authority and host.
 */
RP_MUST rp_err rp_uri_parse_target(rp_str target, uint8_t method, struct rp_uri *out);
/* The origin-form that begins at p and ends at a space before `end`, in one walk.
 * out   all zeros before; as rp_uri_parse_target makes it
 * ret   its length; 0: it is something else, or not right. Then out is untouched, and the other has
 *       the word */
size_t rp_uri_parse_origin(const char *p, const char *end, struct rp_uri *out);
/* "host", "host:port", "[::1]:port" -> host and port (0 when absent or empty). RP_E_H1_HOST on an
 * empty or malformed host, user info, a port of 0 or over 65535. A name is letters, digits and
 * "-._~" without empty labels (one final dot is fine), at most 255 bytes: stricter than reg-name of
 * RFC 3986 §3.2.2, whose other characters no DNS name has; IPv6 without zone; no IPvFuture. */
RP_MUST rp_err rp_uri_parse_authority(rp_str authority, rp_str *host, uint16_t *port);
/* The same; bytes up to `end`, when that lies behind it, can be read, which makes it cheaper. */
RP_MUST rp_err rp_uri_parse_authority_within(rp_str authority, const char *end, rp_str *host,
                                             uint16_t *port);
/* Normal form of an absolute path: unreserved characters decoded, RP_CH_LOOSE bytes encoded, hex
 * digits upper case, "//" merged, then dot segments removed (RFC 3986 §5.2.4). %2F and %5C stay
 * encoded. Returns the input itself when it is normal already; so do "*" and "". Idempotent.
 * ret   RP_OK; RP_E_CAP; RP_E_H1_TARGET: not absolute, bad %xx, %00, overlong UTF-8, a climb
 *       above the root, a segment "..;x" or ".;x" (a dot segment where paths have parameters)
 */
RP_MUST rp_err rp_uri_normalize(struct rp_arena *a, rp_str raw, rp_str *out);
/* Next name=value of a query ('&' separated, raw bytes, value "" when no '='); false at the end. */
bool rp_uri_arg_next(rp_str *rest, rp_str *name, rp_str *value);
/* Percent-decoded copy ('+' becomes a space when plus). The input itself when there is nothing to
 * decode; malformed escapes stay as they are. ptr NULL when the arena's cap would be passed. */
rp_str rp_uri_decode(struct rp_arena *a, rp_str s, bool plus);

#endif
