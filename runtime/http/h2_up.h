/* SPDX-License-Identifier: MIT
 *
 * h2_up: HTTP/2 to an upstream (RFC 9113, by nghttp2): a link is a connection that many requests
 * share, each with a stream of its own behind the border of up.h.
 *
 * Requests are written, and responses read, by the code that does it for HTTP/1: a head crosses this
 * file as text. So whatever a hook or a rule may do to a head is the same for both protocols.
 */
#ifndef RP_HTTP_H2_UP_H
#define RP_HTTP_H2_UP_H

#include "base/buf.h"
#include "http/up.h"

struct rp_h2_link;
struct rp_h2_links { /* one place's connections; embedded in its pool slot. All zero: none */
    struct rp_h2_link *first;
    uint32_t n;
    /* The last one went; may free `all`. NULL: nobody asks. */
    void (*emptied)(struct rp_h2_links *all);
};

struct rp_h2_link_settings {
    uint32_t streams_n;    /* most requests at once; the upstream may allow fewer */
    uint32_t window_bytes; /* response bytes of one stream that may wait to be read */
    uint64_t requests_max; /* on one connection; 0: no limit */
    rp_ms idle_ms;         /* a link without requests lives this long */
};

/* Speak HTTP/2 on conn (own, connected). secure: the scheme is https. The link belongs to `all`,
 * which must not move. NULL without memory. */
struct rp_h2_link *rp_h2_link_open(struct rp_h2_links *all, struct rp_conn *conn,
                                   struct rp_mem *mem, const struct rp_h2_link_settings *settings,
                                   bool secure);
/* The link with room for one more request that has the most of them (so that others can end); NULL
 * when there is none. A new link has room once its upstream said how much. tunnel: for an extended
 * CONNECT (RFC 8441), which not every upstream takes. */
struct rp_h2_link *rp_h2_links_find(struct rp_h2_links *all, bool tunnel);
/* Has one of the upstream's links said that it takes no extended CONNECT / no request at all now?
 * (SETTINGS_MAX_CONCURRENT_STREAMS of 0, RFC 9113 §6.5.2) Another connection would say the same. */
bool rp_h2_links_refuse_tunnels(const struct rp_h2_links *all);
bool rp_h2_links_refuse_all(const struct rp_h2_links *all);
/* Is there a link whose upstream has not said yet how many requests it takes? Its streams are woken when
 * it does. */
bool rp_h2_links_are_settling(const struct rp_h2_links *all);
/* A stream for one request; rp_up_close gives it back. tunnel: the request, a WebSocket's upgrade in
 * HTTP/1 text, goes as an extended CONNECT, and its 2xx comes back as the 101. On a link that is new it
 * has to wait for the upstream's SETTINGS: rp_up_finish_connect says RP_AGAIN, then RP_OK,
 * RP_E_UP_WEBSOCKET when the upstream takes none, or RP_E_UP_CLOSED. */
struct rp_up *rp_h2_link_stream(struct rp_h2_link *k, bool tunnel);
bool rp_h2_up_is_stream(const struct rp_up *u); /* or a connection of its own (h1_up)? */
/* "h2_link requests=.. streams=.." of each, one a line, behind `prefix`. */
void rp_h2_links_dump(const struct rp_h2_links *all, rp_str prefix, struct rp_buf *out);
/* No new requests; links without any close, the others when theirs ended. */
void rp_h2_links_drain(struct rp_h2_links *all);
/* Close all of them now; every stream must have been given back. Not inside a link's callback. */
void rp_h2_links_close(struct rp_h2_links *all);

#endif
