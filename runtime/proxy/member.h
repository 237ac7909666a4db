/* SPDX-License-Identifier: MIT
 *
 * member: a peer that is not of the site, as it stands in shared memory (shm/members.h). Pure.
 *
 * A set is lines; what a line says of a peer stands between tabs:
 *
 *   10.0.0.1:80 TAB weight TAB tier TAB max_conns TAB zone TAB identity { TAB key TAB value } LF
 *   ?10.0.0.1:80 TAB ..                 the same, where no other set describes that peer
 *   -10.0.0.1:80 LF                     taken out, by the operator
 */
#ifndef RP_PROXY_MEMBER_H
#define RP_PROXY_MEMBER_H

#include "base/buf.h"
#include "net/addr.h"

enum {
    RP_MEMBER_WEIGHT_MOST = 65535,
    RP_MEMBER_TEXT_MOST = 256, /* bytes of a zone, a key, a value */
    RP_MEMBER_META_MOST = 32,  /* pairs */
};

struct rp_member {
    rp_str name;         /* its address as it is written */
    rp_str host;         /* of a name that is to be looked up; else empty */
    struct rp_addr addr; /* port always set; ip when `host` is empty */
    bool gone;           /* taken out; nothing else is said then */
    bool weak;           /* only where nobody else describes it */
    uint32_t weight, max_conns;
    uint8_t tier;
    rp_str zone;
    rp_str identity; /* whom it must be in TLS; empty: its name or address */
    rp_str meta;     /* key TAB value TAB key .., sorted by key; empty: none */
    uint32_t meta_n;
};

/* "10.0.0.1:80", "[fd00::1]:80", "name:80", "unix:/run/x": name, host and addr of *m, which are parts of
 * text. RP_E_INVALID. */
RP_MUST rp_err rp_member_address(rp_str text, struct rp_member *m);
/* One line without its LF; *m has slices of it. RP_E_INVALID. */
RP_MUST rp_err rp_member_parse(rp_str line, struct rp_member *m);
/* The next line that can be read; false at the end. */
bool rp_member_next(rp_str *rest, struct rp_member *m);
/* May it be a zone, a key or a value? No control characters, not too long; and not empty. */
bool rp_member_is_text(rp_str s);
/* The next pair of meta; false at the end. */
bool rp_member_pair(rp_str *meta, rp_str *key, rp_str *value);
/* Append its line. */
void rp_member_put(struct rp_buf *out, const struct rp_member *m);
/* Is every line one that can be read? *line_n: how many, or the bad one's number. */
RP_MUST rp_err rp_member_check(rp_str text, uint32_t *line_n);

#endif
