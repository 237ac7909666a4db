/* SPDX-License-Identifier: MIT
 *
 * route_cond: see route_cond.h. Arguments are compared decoded ("+" is a space) without a copy.
 */
#include "proxy/route_cond.h"

#include "base/regex.h"
#include "http/chars.h"
#include "http/field.h"

enum answer { NO, YES, UNKNOWN };

static enum answer unknown(struct rp_route_facts *facts)
{
    if (facts->trouble == RP_OK) facts->trouble = RP_E_CAP;
    return UNKNOWN;
}

static enum answer test_regex(const struct rp_conf_cond *cond, rp_str s,
                              struct rp_route_facts *facts)
{
    bool hit = false;
    if (rp_regex_test(cond->regex, facts->ctx, s, &hit) != RP_OK) return unknown(facts);
    return hit ? YES : NO;
}

/* ---- headers ------------------------------------------------------------------------------- */

static enum answer test_value(const struct rp_conf_cond *cond, rp_str value,
                              struct rp_route_facts *facts)
{
    switch ((enum rp_cond_op)cond->op) {
    case RP_COND_EXISTS: return YES;
    case RP_COND_EQUALS: return rp_str_eq(value, cond->value) ? YES : NO;
    case RP_COND_PREFIX: return rp_str_starts(value, cond->value) ? YES : NO;
    case RP_COND_REGEX: return test_regex(cond, value, facts);
    case RP_COND_IN: break;
    }
    return NO;
}

static enum answer test_header(const struct rp_conf_cond *cond, struct rp_route_facts *facts)
{
    const struct rp_msg *head = facts->head;
    const struct rp_field *f =
        cond->id ? rp_msg_find(head, cond->id) : rp_msg_find_name(head, cond->name);
    enum answer answer = NO;
    for (; f && answer == NO; f = rp_msg_find_next(head, f))
        answer = test_value(cond, rp_field_value(f), facts);
    return answer;
}

/* Of one name's cookies the first counts: that is the one that servers look at. */
static enum answer test_cookie(const struct rp_conf_cond *cond, struct rp_route_facts *facts)
{
    const struct rp_field *f = rp_msg_find(facts->head, RP_H_COOKIE);
    for (; f; f = rp_msg_find_next(facts->head, f)) {
        rp_str value = rp_field_cookie(rp_field_value(f), cond->name);
        if (value.ptr) return test_value(cond, value, facts);
    }
    return NO;
}

/* ---- query arguments -------------------------------------------------------------------------- */

/* Decode the byte at raw[*at] and step over it; the rules of rp_uri_decode. */
static char next_decoded(rp_str raw, size_t *at)
{
    char ch = raw.ptr[*at];
    size_t left = raw.len - *at;
    *at += 1;
    if (ch == '+') return ' ';
    if (ch != '%' || left < 3) return ch;
    char high = raw.ptr[*at], low = raw.ptr[*at + 1];
    if (!rp_chars_is(high, RP_CH_HEX) || !rp_chars_is(low, RP_CH_HEX)) return ch;
    *at += 2;
    return (char)(rp_chars_hex(high) << 4 | rp_chars_hex(low));
}

/* Does the decoded text start with `want`; and is there nothing after it, unless more_is_fine? */
static bool decoded_is(rp_str raw, rp_str want, bool more_is_fine)
{
    size_t at = 0, n = 0;
    while (n < want.len && at < raw.len)
        if (next_decoded(raw, &at) != want.ptr[n++]) return false;
    return n == want.len && (more_is_fine || at == raw.len);
}

static enum answer test_arg(const struct rp_conf_cond *cond, rp_str raw,
                            struct rp_route_facts *facts)
{
    switch ((enum rp_cond_op)cond->op) {
    case RP_COND_EXISTS: return YES;
    case RP_COND_EQUALS: return decoded_is(raw, cond->value, false) ? YES : NO;
    case RP_COND_PREFIX: return decoded_is(raw, cond->value, true) ? YES : NO;
    case RP_COND_REGEX: {
        rp_str decoded = rp_uri_decode(facts->scratch, raw, true);
        return decoded.ptr || raw.len == 0 ? test_regex(cond, decoded, facts) : unknown(facts);
    }
    case RP_COND_IN: break;
    }
    return NO;
}

static enum answer test_query(const struct rp_conf_cond *cond, struct rp_route_facts *facts)
{
    rp_str rest = facts->head->uri.query, name, value;
    enum answer answer = NO;
    while (answer == NO && rp_uri_arg_next(&rest, &name, &value))
        if (decoded_is(name, cond->name, false)) answer = test_arg(cond, value, facts);
    return answer;
}

/* ---- all ------------------------------------------------------------------------------------ */

static enum answer test(const struct rp_conf_cond *cond, struct rp_route_facts *facts)
{
    switch ((enum rp_cond_kind)cond->kind) {
    case RP_COND_HEADER: return test_header(cond, facts);
    case RP_COND_QUERY: return test_query(cond, facts);
    case RP_COND_SOURCE: return rp_cidr_set_has(cond->cidrs, facts->client) ? YES : NO;
    case RP_COND_COOKIE: return test_cookie(cond, facts);
    }
    return NO;
}

bool rp_route_cond_holds(const struct rp_conf_cond *cond, struct rp_route_facts *facts)
{
    enum answer answer = test(cond, facts);
    return answer != UNKNOWN && (answer == YES) != cond->negate;
}
