/* SPDX-License-Identifier: MIT
 *
 * tls_staple: what an authority says of a certificate (OCSP, RFC 6960), as a server hands it to
 * clients that ask (RFC 6066 §8). One staple per certificate of a server that has something to
 * hand out, or a responder to be asked. No I/O, no clock: others fetch answers, and tell the time.
 */
#ifndef RP_NET_TLS_STAPLE_H
#define RP_NET_TLS_STAPLE_H

#include "net/tls_server.h"

struct rp_tls_staple;

enum {
    RP_TLS_STAPLE_ID_BYTES = 32,
    RP_TLS_STAPLE_MOST = 16 * 1024, /* bytes of an answer; those with a chain in them have 5 KB */
};

enum rp_tls_staple_status { RP_TLS_STAPLE_GOOD, RP_TLS_STAPLE_REVOKED, RP_TLS_STAPLE_UNKNOWN };

/* What a well-signed answer says. Times in seconds since 1970. */
struct rp_tls_staple_answer {
    uint8_t status; /* enum rp_tls_staple_status */
    bool in_time;   /* it is neither of the future nor past its end */
    int64_t this_s, next_s;
};

/* The first staple of a server, and the one behind; NULL: no more. They live as long as the server. */
struct rp_tls_staple *rp_tls_server_staples(const struct rp_tls_server *s);
struct rp_tls_staple *rp_tls_staple_next(const struct rp_tls_staple *p);

/* The same bytes for the same certificate and issuer in each process and generation. */
rp_str rp_tls_staple_id(const struct rp_tls_staple *p);
rp_str rp_tls_staple_url(const struct rp_tls_staple *p); /* "http://..."; empty: nobody to ask */
rp_str rp_tls_staple_request(const struct rp_tls_staple *p); /* what to post there */
rp_str rp_tls_staple_name(const struct rp_tls_staple *p);    /* of the certificate, for messages */
bool rp_tls_staple_is_must(const struct rp_tls_staple *p);   /* clients insist on one (RFC 7633) */

/* Look at an answer: for this certificate, signed by its issuer or by whom that named for it.
 * ret   RP_OK and *out, whatever the answer says; RP_E_INVALID and `why`
 * src   RFC 6960 §3.2, §4.2.2 */
RP_MUST rp_err rp_tls_staple_check(const struct rp_tls_staple *p, rp_str der, int64_t now_s,
                                   struct rp_tls_staple_answer *out, char why[RP_TLS_WHY_BYTES]);
/* Hand it out until next_s; copied. Empty: none. It was checked. */
void rp_tls_staple_set(struct rp_tls_staple *p, rp_str der, int64_t this_s, int64_t next_s);
/* What is handed out now (borrowed until the next set); empty: nothing. next_s may be NULL. */
rp_str rp_tls_staple_get(const struct rp_tls_staple *p, int64_t now_s, int64_t *this_s,
                         int64_t *next_s);

#endif
