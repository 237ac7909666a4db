/* SPDX-License-Identifier: MIT
 *
 * tls_hello: reads a TLS ClientHello: the two things that a proxy can route by without ending the TLS,
 * the server name (SNI, RFC 6066 §3) and the application protocols (ALPN, RFC 7301), and the lists of
 * numbers that tell clients apart. Pure.
 *
 * The message may be cut into records, and records into reads, anywhere. What is not a well-formed
 * ClientHello is refused: a lenient reading that differs from the server's would let a client be
 * routed by one name and served by another.
 */
#ifndef RP_NET_TLS_HELLO_H
#define RP_NET_TLS_HELLO_H

#include "base/str.h"

enum {
    RP_TLS_HELLO_MOST = 16 * 1024, /* bytes on the wire; real ones are 0.3 to 2 KB */
    RP_TLS_NAME_MOST = 255,        /* bytes of a server name (RFC 1035 §2.3.4) */
};

struct rp_tls_hello {
    char *body;      /* caller's room for RP_TLS_HELLO_MOST bytes: the message without records */
    uint32_t body_n; /* bytes in it */
    uint32_t wire_n; /* bytes seen */
    uint32_t record_left; /* bytes of the current record still to come */
    uint8_t header[5];    /* of the record that begins */
    uint8_t header_n;
    rp_err result; /* RP_AGAIN until decided */

    /* when RP_OK: views into body */
    rp_str sni;        /* lower case; ptr NULL: none was sent */
    rp_str alpn;       /* list as on the wire, checked; walk it with rp_tls_hello_alpn_next */
    rp_str extensions; /* all of them; walk them with rp_tls_hello_extension_next */
    rp_str ciphers;    /* numbers of two bytes, as those that follow: rp_tls_hello_code_next */
    rp_str versions;   /* of supported_versions; ptr NULL: it was not sent */
    rp_str sigalgs;    /* of signature_algorithms; ptr NULL: it was not sent */
    uint16_t version;  /* what TLS 1.2 and older look at */
};

void rp_tls_hello_init(struct rp_tls_hello *h, char *body);
/* Go on with the next bytes of the connection.
 * ret   RP_OK: the message is whole, sni and alpn are set (bytes behind it are not looked at);
 *       RP_AGAIN; RP_E_TLS_HELLO: not TLS, or malformed; RP_E_TLS_HELLO_BIG. Each sticks.
 * cost  O(n) over new bytes; the whole message once when it is there
 * src   RFC 8446 §5.1, §4.1.2, §4.2; RFC 6066 §3; RFC 7301 §3.1 */
RP_MUST rp_err rp_tls_hello_feed(struct rp_tls_hello *h, rp_str bytes);
/* The same of a message that somebody else took out of its records (with its header of four bytes): it
 * is copied to body, which needs no more room than that. Instead of feed.
 * ret   RP_OK; RP_E_TLS_HELLO; RP_E_TLS_HELLO_BIG */
RP_MUST rp_err rp_tls_hello_take(struct rp_tls_hello *h, rp_str message);
/* A DNS name as SNI carries it: labels of 1 to 63 letters, digits, '-', '_', and no final dot. */
bool rp_tls_hello_is_name(rp_str s);
/* Next protocol name of a checked list; advances *rest; false at its end. */
bool rp_tls_hello_alpn_next(rp_str *rest, rp_str *name);
/* Next number of a list, or type of an extension, that means something: clients mix in reserved ones
 * (GREASE, RFC 8701), which are passed over. Advances *rest; false at its end. */
bool rp_tls_hello_code_next(rp_str *rest, uint16_t *code);
bool rp_tls_hello_extension_next(rp_str *rest, uint16_t *type);

#endif
