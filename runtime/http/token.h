/* SPDX-License-Identifier: MIT
 *
 * token: ids of known field names and methods, from token.tbl.
 */
#ifndef RP_HTTP_TOKEN_H
#define RP_HTTP_TOKEN_H

#include "base/str.h"

enum rp_header { /* id 0 = a name that is not in the table */
                 RP_H_OTHER,
#define F(id, name, flags) RP_H_##id,
#include "http/token.tbl"
#undef F
                 RP_H_COUNT
};

enum rp_method { /* id 0 = a method that is not in the table */
                 RP_M_OTHER,
#define M(id, name, flags) RP_M_##id,
#include "http/token.tbl"
#undef M
                 RP_M_COUNT
};

/* Known id of a field name (ASCII case ignored) or RP_H_OTHER. A few ns: perfect hash, one compare. */
uint16_t rp_token_header(const char *name, size_t n);
rp_str rp_token_header_name(uint16_t id);    /* lower case; NONE for 0 and out of range */
bool rp_token_header_is_hop(uint16_t id);    /* hop-by-hop, never forwarded */
bool rp_token_header_is_single(uint16_t id); /* at most one field line may have this name */
/* Methods are case-sensitive (RFC 9110 §9.1). */
uint8_t rp_token_method(const char *name, size_t n);
rp_str rp_token_method_name(uint8_t id);
bool rp_token_method_is_safe(uint8_t id);       /* RP_M_OTHER: false */
bool rp_token_method_is_idempotent(uint8_t id); /* RP_M_OTHER: false */

#endif
