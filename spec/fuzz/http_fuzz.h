/* SPDX-License-Identifier: MIT
 *
 * http_fuzz: what the HTTP fuzzers share: the invariants of docs/internals/http.md as checks.
 */
#ifndef RP_HTTP_FUZZ_H
#define RP_HTTP_FUZZ_H

#include "base/arena.h"
#include "http/field.h"
#include "http/msg.h"
#include "http/scan.h"

enum { FUZZ_ARENA_CAP = 1 << 20, FUZZ_ROOM = 4, FUZZ_FIELDS_MAX = 120 };

/* The slice lies inside the input (an empty one may be a constant). */
static inline void check_inside(rp_str s, const char *p, size_t n)
{
    if (s.len == 0) return;
    RP_CHECK(s.ptr >= p && s.ptr + s.len <= p + n);
}

/* What a peer would take for the end of a line, or of a string, never gets through. */
static inline void check_clean(rp_str s)
{
    for (size_t i = 0; i < s.len; i++)
        RP_CHECK(s.ptr[i] != '\r' && s.ptr[i] != '\n' && s.ptr[i] != '\0');
}

static inline void check_fields(const struct rp_msg *m, const char *p, size_t n)
{
    RP_CHECK(m->fields_n <= m->fields_room && m->fields_room <= m->fields_max);
    for (unsigned i = 0; i < m->fields_n; i++) {
        const struct rp_field *f = &m->fields[i];
        if (f->name_n == 0) continue;
        check_inside(rp_field_name(f), p, n);
        check_inside(rp_field_value(f), p, n);
        check_clean(rp_field_value(f));
        RP_CHECK(rp_field_is_name(rp_field_name(f)));
        RP_CHECK(rp_field_is_value(rp_field_value(f)));
        RP_CHECK(f->id == rp_token_header(f->name, f->name_n));
        RP_CHECK(!rp_msg_is_conn_option(m, f));
    }
}

static inline void check_same_fields(const struct rp_msg *a, const struct rp_msg *b)
{
    unsigned at = 0;
    for (unsigned i = 0; i < a->fields_n; i++) {
        if (a->fields[i].name_n == 0) continue;
        RP_CHECK(at < b->fields_n);
        RP_CHECK(rp_str_eq(rp_field_name(&a->fields[i]), rp_field_name(&b->fields[at])));
        RP_CHECK(rp_str_eq(rp_field_value(&a->fields[i]), rp_field_value(&b->fields[at])));
        at++;
    }
    RP_CHECK(at == b->fields_n);
}

/* Deleted ones, too. */
static inline void check_equal_fields(const struct rp_msg *a, const struct rp_msg *b)
{
    RP_CHECK(a->fields_n == b->fields_n);
    for (unsigned i = 0; i < a->fields_n; i++) {
        RP_CHECK(a->fields[i].id == b->fields[i].id);
        RP_CHECK(rp_str_eq(rp_field_name(&a->fields[i]), rp_field_name(&b->fields[i])));
        RP_CHECK(rp_str_eq(rp_field_value(&a->fields[i]), rp_field_value(&b->fields[i])));
    }
}

static inline void check_same_facts(const struct rp_msg *a, const struct rp_msg *b)
{
    RP_CHECK(a->version == b->version && a->method == b->method && a->status == b->status);
    RP_CHECK(a->framing == b->framing && a->content_length == b->content_length);
    RP_CHECK(a->keepalive == b->keepalive && a->upgrade == b->upgrade);
    RP_CHECK(a->expect_continue == b->expect_continue && a->te_trailers == b->te_trailers);
    RP_CHECK(a->port == b->port && rp_str_eq(a->host, b->host));
}

/* Append the live fields and the empty line. */
static inline char *put_fields(char *to, const struct rp_msg *m)
{
    for (unsigned i = 0; i < m->fields_n; i++) {
        const struct rp_field *f = &m->fields[i];
        if (f->name_n == 0) continue;
        memcpy(to, f->name, f->name_n);
        to += f->name_n;
        *to++ = ':';
        if (f->value_n) memcpy(to, f->value, f->value_n);
        to += f->value_n;
        *to++ = '\r';
        *to++ = '\n';
    }
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static inline char *put_str(char *to, rp_str s)
{
    if (s.len) memcpy(to, s.ptr, s.len);
    return to + s.len;
}

#endif
