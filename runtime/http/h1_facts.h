/* SPDX-License-Identifier: MIT
 *
 * h1_facts: what the fields of an HTTP/1 head decide: host, framing, connection life, expectations.
 * Pure. Used by h1_parse and h2_msg.
 */
#ifndef RP_HTTP_H1_FACTS_H
#define RP_HTTP_H1_FACTS_H

#include "http/msg.h"

struct rp_h1_facts {
    const char *end;                 /* values may be looked at up to here; NULL: not behind them */
    uint16_t host_at;                /* index of the Host field; valid when hosts_n > 0 */
    uint8_t hosts_n;                 /* 2 stands for more, too */
    uint8_t options_n;               /* connection options seen, all Connection lines together */
    bool length, coding;             /* Content-Length, Transfer-Encoding is there */
    bool close, keep_alive, upgrade; /* connection options */
    bool upgrade_field, expect_continue;
};

/* Ids above this never decide anything: the parser skips the call below for them. */
#define RP_H1_FACTS_LAST RP_H_EXPECT

/* Take note of a field of m (id 1 to RP_H1_FACTS_LAST). RP_E_H1_FRAMING, RP_E_H1_CODING,
 * RP_E_H1_FIELD. */
RP_MUST rp_err rp_h1_facts_note(struct rp_h1_facts *f, struct rp_msg *m,
                                const struct rp_field *field);
/* After the last field: fill the facts of a request / response (see h1_parse.h for `method`).
 * RP_E_H1_HOST, RP_E_H1_FRAMING. */
RP_MUST rp_err rp_h1_facts_request(const struct rp_h1_facts *f, struct rp_msg *m);
RP_MUST rp_err rp_h1_facts_response(const struct rp_h1_facts *f, struct rp_msg *m, uint8_t method);

#endif
