/* SPDX-License-Identifier: MIT
 *
 * lookup_line: see lookup_line.h. Lines come from others (lists are downloaded): a bad one is
 * refused with the whole file, because half a list of who may not come in is worse than the old
 * one.
 */
#include "script/lookup_line.h"

#include "net/addr.h"

enum { DOMAIN_MOST = 253, LABEL_MOST = 63 };

static size_t first_of(rp_str s, const char *set)
{
    size_t i = 0;
    while (i < s.len && !memchr(set, s.ptr[i], strlen(set))) i++;
    return i;
}

/* "entry value # comment" */
static void split(rp_str line, rp_str *key, rp_str *value)
{
    size_t end = first_of(line, "#;");
    line = rp_str_trim(rp_str_head(line, end));
    size_t space = first_of(line, " \t");
    *key = rp_str_head(line, space);
    *value = rp_str_trim(rp_str_from(line, space));
}

static rp_err add_net(struct rp_lookup_maker *m, rp_str key, rp_str value)
{
    uint8_t ip[16];
    uint32_t bits;
    rp_err e = rp_cidr_parse(key, ip, &bits);
    return e == RP_OK ? rp_lookup_add_net(m, ip, bits, value) : e;
}

static bool is_domain_char(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_';
}

static rp_err add_domain(struct rp_lookup_maker *m, rp_str key, rp_str value)
{
    char lower[DOMAIN_MOST];
    size_t label = 0;
    if (rp_str_starts(key, RP_STR("*."))) key = rp_str_from(key, 2);
    else if (rp_str_starts(key, RP_STR("."))) key = rp_str_from(key, 1);
    if (rp_str_ends(key, RP_STR("."))) key.len--;
    if (key.len == 0 || key.len > sizeof lower) return RP_E_INVALID;
    for (size_t i = 0; i < key.len; i++) {
        lower[i] = rp_lower(key.ptr[i]);
        if (lower[i] == '.' ? label == 0 : !is_domain_char(lower[i])) return RP_E_INVALID;
        label = lower[i] == '.' ? 0 : label + 1;
        if (label > LABEL_MOST) return RP_E_INVALID;
    }
    if (label == 0) return RP_E_INVALID;
    return rp_lookup_add_text(m, rp_str_of(lower, key.len), value);
}

static rp_err add_text(struct rp_lookup_maker *m, rp_str line)
{
    size_t tab = rp_str_find(line, '\t', 0);
    rp_str value = tab < line.len ? rp_str_from(line, tab + 1) : RP_STR_NONE;
    return rp_lookup_add_text(m, rp_str_head(line, tab), value);
}

rp_err rp_lookup_line_add(struct rp_lookup_maker *m, enum rp_lookup_type type, rp_str line)
{
    rp_str key, value;
    if (rp_str_ends(line, RP_STR("\r"))) line.len--;
    if (line.len && memchr(line.ptr, 0, line.len)) return RP_E_INVALID;
    if (line.len == 0 || line.ptr[0] == '#') return RP_OK;
    if (type == RP_LOOKUP_LINES) return rp_lookup_add_text(m, line, RP_STR_NONE);
    if (type == RP_LOOKUP_TEXTS) return add_text(m, line);
    split(line, &key, &value);
    if (key.len == 0) return value.len == 0 ? RP_OK : RP_E_INVALID;
    return type == RP_LOOKUP_NETS ? add_net(m, key, value) : add_domain(m, key, value);
}
