/* SPDX-License-Identifier: MIT
 *
 * json: reading JSON texts (RFC 8259), token by token. Pure and strict: nothing that the grammar does
 * not have is taken. Nesting is bounded, and costs a bit for each level, not stack.
 */
#ifndef RP_BASE_JSON_H
#define RP_BASE_JSON_H

#include "base/str.h"

enum {
    RP_JSON_DEPTH_MAX = 1000,  /* most that a depth limit may be */
    RP_JSON_NUMBER_MAX = 1024, /* bytes of one number: more is no number that anybody means */
};

enum rp_json_kind {
    RP_JSON_END, /* of the text */
    RP_JSON_OBJECT,
    RP_JSON_OBJECT_END,
    RP_JSON_ARRAY,
    RP_JSON_ARRAY_END,
    RP_JSON_KEY, /* of a member; its colon is taken along */
    RP_JSON_STRING,
    RP_JSON_NUMBER,
    RP_JSON_TRUE,
    RP_JSON_FALSE,
    RP_JSON_NULL,
};

struct rp_json_token {
    enum rp_json_kind kind;
    rp_str text; /* as written: of strings what is between the quotes */
};

struct rp_json {
    rp_str in;
    size_t at; /* also where a failure is */
    uint32_t depth, depth_max;
    uint32_t expect;
    const char *why;                              /* after a failure; constant */
    uint8_t is_object[RP_JSON_DEPTH_MAX / 8 + 1]; /* a bit for each open level */
};

/* in is borrowed until the last token is used. depth_max is brought down to RP_JSON_DEPTH_MAX. */
void rp_json_init(struct rp_json *j, rp_str in, uint32_t depth_max);
/* The next token. RP_E_INVALID, or RP_E_CAP for too deep nesting; at and why tell more. */
RP_MUST rp_err rp_json_next(struct rp_json *j, struct rp_json_token *t);

/* What the text of a KEY or STRING token means, into out. mend: bytes that are not UTF-8 and lone
 * surrogates become U+FFFD and out has room for 3 * raw.len, else it has raw.len and they are
 * RP_E_INVALID. */
RP_MUST rp_err rp_json_unescape(rp_str raw, bool mend, char *out, size_t *out_n);
/* The nearest double of a NUMBER token. RP_E_INVALID when there is none (1e999). exact: is it an
 * integer written without fraction and exponent that a double cannot hold exactly? then false. */
RP_MUST rp_err rp_json_number(rp_str text, double *out, bool *exact);

#endif
