/* SPDX-License-Identifier: MIT
 *
 * proxy_header: the PROXY protocol, versions 1 and 2, both ways: what a proxy says about the
 * connection it passes on, before the first byte of that. Pure.
 *
 * Source: "The PROXY protocol", HAProxy, 2020/03/05; sections below are its.
 */
#ifndef RP_NET_PROXY_HEADER_H
#define RP_NET_PROXY_HEADER_H

#include "net/addr.h"

enum {
    RP_PROXY_V1_MOST = 107,  /* §2.1: the longest line, CRLF included */
    RP_PROXY_V2_MOST = 4096, /* ours: 16 + 36 bytes of ends, the rest for TLVs */
    RP_PROXY_PUT_MOST = RP_PROXY_V1_MOST,
    RP_PROXY_TLV_TEXT_MOST = 255, /* bytes of a name or id that we write */
    RP_PROXY_ADD_MOST = RP_PROXY_PUT_MOST + 3 * (3 + RP_PROXY_TLV_TEXT_MOST) + 3 + 4,
};

struct rp_proxy_header {
    uint8_t version; /* 1, 2 */
    bool local;      /* the proxy's own connection (a health check): its ends are the real ones */
    bool has_ends;   /* from and to are set: IPv4 or IPv6 */
    struct rp_addr from, to;
    rp_str tlvs; /* v2: well-formed, for rp_proxy_tlv_next; slice of the input */
};

enum { /* types of TLVs, §2.2.7 */
       RP_PROXY_TLV_ALPN = 0x01,
       RP_PROXY_TLV_AUTHORITY = 0x02,
       RP_PROXY_TLV_CRC32C = 0x03,
       RP_PROXY_TLV_NOOP = 0x04,
       RP_PROXY_TLV_UNIQUE_ID = 0x05,
       RP_PROXY_TLV_SSL = 0x20,
};

/* Parse the header that a connection begins with. A v2 header's ends of another kind (unix, datagram,
 * unspecified) are skipped: has_ends stays false. A checksum that is there must be right.
 * ret   RP_OK and *used_n; RP_AGAIN: all bytes given belong to a header and more of it must come;
 *       RP_E_PROXY_HEADER: no header, or a malformed or too large one */
RP_MUST rp_err rp_proxy_header_parse(rp_str bytes, struct rp_proxy_header *out, size_t *used_n);
/* The next TLV of `rest` (advanced). False: none is left. */
bool rp_proxy_tlv_next(rp_str *rest, uint8_t *type, rp_str *value);
/* Write a header of version 1 or 2 for a connection between these ends; returns its length, at most
 * RP_PROXY_PUT_MOST. Ends that are not both IP are said to be unknown; an IPv4 one beside an IPv6 one
 * is written as a mapped address. */
size_t rp_proxy_header_put(unsigned version, const struct rp_addr *from, const struct rp_addr *to,
                           char out[RP_PROXY_PUT_MOST]);

/* What a header of version 2 may say besides; a text without bytes, or over RP_PROXY_TLV_TEXT_MOST,
 * is left out. */
struct rp_proxy_said {
    rp_str authority; /* host name that the client asked for: SNI */
    rp_str alpn;      /* protocol in use */
    rp_str unique_id;
    bool crc32c; /* a checksum over all */
};
/* Add TLVs to a header of n bytes; returns its new length. One of version 1 stays as it is. */
size_t rp_proxy_header_add(char header[RP_PROXY_ADD_MOST], size_t n,
                           const struct rp_proxy_said *said);

#endif
