/* SPDX-License-Identifier: MIT
 *
 * access_field: names of access log fields, turned into codes when the configuration is built, so
 * that a request costs no look-up by name.
 */
#ifndef RP_PROXY_ACCESS_FIELD_H
#define RP_PROXY_ACCESS_FIELD_H

#include "base/arena.h"

enum rp_access_kind {
#define A(id, name, doc) RP_ACCESS_##id,
#include "proxy/access.tbl"
#undef A
    RP_ACCESS_REQUEST_HEADER,
    RP_ACCESS_RESPONSE_HEADER,
    RP_ACCESS_CTX,
};

struct rp_access_field {
    uint8_t kind;    /* enum rp_access_kind */
    uint16_t header; /* enum rp_header of a header field */
    rp_str name;     /* as chosen */
    rp_str key;      /* header name or ctx key: what follows the dot */
    rp_str label;    /* ,"name": */
};

/* Compile a name; strings lie in the arena. RP_E_NOT_FOUND; RP_E_CAP. */
RP_MUST rp_err rp_access_field_make(struct rp_arena *a, rp_str name, struct rp_access_field *out);

/* What a JSON log writes when nothing was chosen. */
enum { RP_ACCESS_DEFAULT_FIELDS = 14 };
extern const char *const rp_access_default_fields[];

#endif
