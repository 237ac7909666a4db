/* SPDX-License-Identifier: MIT
 *
 * h1_parse: strict zero-copy parser of HTTP/1 heads and trailers (RFC 9112). Pure.
 */
#ifndef RP_HTTP_H1_PARSE_H
#define RP_HTTP_H1_PARSE_H

#include "http/msg.h"

struct rp_h1_limits {
    uint32_t head_bytes; /* start line and fields together */
    uint32_t uri_bytes;  /* request target */
    uint16_t fields_n;
};

enum {
    RP_H1_METHOD_MOST = 32, /* bytes; the longest registered one has 17 */
    RP_H1_NAME_MOST = 256,  /* of a field name; the scripting interface promises the same limit */
};

/* Bytes of empty lines (CRLF, at most 4 of them) before a request line (RFC 9112 §2.2). */
size_t rp_h1_skip_empty_lines(const char *p, size_t n);

/* Where does the head end? `scanned` starts at 0 and keeps the place between calls with more bytes.
 * ret: length of the head including its empty line, 0 when the end is not there yet. An empty line
 * made with bare LF ends it too, so that the parser can refuse it. cost O(new bytes), SIMD. */
size_t rp_h1_head_end(const char *p, size_t n, size_t *scanned);

/* Could these first bytes still become a request line? False as soon as it is clear they cannot
 * (TLS hello, binary), so that garbage is refused before a timeout. */
bool rp_h1_maybe_request(const char *p, size_t n);

/* Parse one whole request head (p, n as found by rp_h1_head_end).
 * out   fresh from rp_msg_init; slices into p; fields in out's storage (grown from a)
 *       also decides: uri, host/port (RFC 9112 §3.2), framing (§6), keep-alive (§9.3), expect,
 *       upgrade. The path is left raw: see rp_uri_normalize. Fields that Connection names are
 *       deleted already (rp_msg_drop_conn_options); Host carries the authority of an
 *       absolute-form target (§3.2.2).
 * ret   RP_OK; RP_E_H1_*, RP_E_CAP (the arena); after a failure out holds the fields that
 *       were read, for logs and the answer; what they decide must not be used
 * src   RFC 9112 §2-§6, RFC 9110 §5; stricter: bare LF, obs-fold, space before colon, NUL and
 *       control bytes, repeated or differing Content-Length, Content-Length with
 *       Transfer-Encoding, any coding but a final "chunked" are refused
 */
RP_MUST rp_err rp_h1_parse_request(const char *p, size_t n, const struct rp_h1_limits *limits,
                                   struct rp_arena *a, struct rp_msg *out);

/* A quick first try, before anybody looked for the end: parse the head that these bytes begin with.
 * ret   its length, and out is what rp_h1_parse_request makes of it; 0: it is not all there, or not
 *       right. Then out is fresh again, and rp_h1_head_end and rp_h1_parse_request have the word. */
size_t rp_h1_try_request(const char *p, size_t n, const struct rp_h1_limits *limits,
                         struct rp_arena *a, struct rp_msg *out);

/* Parse one whole response head from an upstream. `method` is the request's (enum rp_method): it
 * decides whether a body follows (RFC 9112 §6.3). obs-fold is replaced by spaces in place (§5.2).
 * Framing NONE with a Content-Length field: a response to HEAD, or 304 (it may be forwarded); 204
 * (it must not). 101 has framing NONE: the session knows whether it asked for a tunnel.
 * ret   RP_OK; RP_E_UP_BAD_RESPONSE, RP_E_UP_HEAD_BIG, RP_E_CAP */
RP_MUST rp_err rp_h1_parse_response(char *p, size_t n, const struct rp_h1_limits *limits,
                                    uint8_t method, struct rp_arena *a, struct rp_msg *out);

/* As rp_h1_try_request. Folds may have become spaces already, which changes no answer. */
size_t rp_h1_try_response(char *p, size_t n, const struct rp_h1_limits *limits, uint8_t method,
                          struct rp_arena *a, struct rp_msg *out);

/* Parse a trailer section (field lines and the final empty line). Fields that frame, route or
 * authenticate (RFC 9110 §6.5.1) are dropped. ret RP_OK; RP_E_H1_FIELD, RP_E_H1_FIELDS_MANY */
RP_MUST rp_err rp_h1_parse_trailers(const char *p, size_t n, struct rp_arena *a,
                                    struct rp_msg *out);
/* May a field with this id stand in a trailer section? */
bool rp_h1_trailer_is_allowed(uint16_t id);

#endif
