/* SPDX-License-Identifier: MIT
 *
 * access_line: one request as one line of text.
 */
#ifndef RP_PROXY_ACCESS_LINE_H
#define RP_PROXY_ACCESS_LINE_H

#include "base/buf.h"
#include "proxy/request.h"

/* Texts of the current second, made once a second. */
struct rp_access_clock {
    int64_t second; /* INT64_MIN: none yet */
    char clf[26];   /* "06/Nov/1994:08:49:37 +0000" */
    char iso[24];   /* "1994-11-06T08:49:37.000Z", milliseconds to be filled in */
};

/* Append r's line, newline included, by r->conf->access. wall: seconds since the epoch; now_ns: loop
 * time, for requests whose end is not noted. Wire bytes are escaped: a line stays one line.
 * cost  combined: about 150 ns */
void rp_access_line(struct rp_buf *out, const struct rp_req *r, double wall, rp_ns now_ns,
                    struct rp_access_clock *clock);

#endif
