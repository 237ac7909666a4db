/* SPDX-License-Identifier: MIT
 *
 * member: see member.h.
 */
#include "proxy/member.h"

#include "http/chars.h"
#include "proxy/conf.h"

enum { LABEL_MAX = 63 }; /* bytes of one label of a DNS name (RFC 1035 §2.3.4) */

/* ---- addresses ------------------------------------------------------------------------------ */

/* A name to be looked up in DNS: letters, digits, '-', '_' in labels of 1 to 63 bytes. One whose
 * last label is a number is an IPv4 address that somebody mistyped. */
static bool is_dns_name(rp_str s)
{
    size_t label = 0;
    bool digits = true;
    for (size_t i = 0; i < s.len; i++) {
        char ch = rp_lower(s.ptr[i]);
        bool digit = rp_chars_is(ch, RP_CH_DIGIT);
        if (ch == '.') {
            if (label == 0) return false;
            if (i + 1 == s.len) break; /* a final dot: the name is complete */
            label = 0;
            digits = true;
            continue;
        }
        if (!digit && !(ch >= 'a' && ch <= 'z') && ch != '-' && ch != '_') return false;
        digits &= digit;
        if (++label > LABEL_MAX) return false;
    }
    return label > 0 && !digits;
}

/* "name:80": what is no address. */
static rp_err parse_name(rp_str text, struct rp_member *m)
{
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':') colon--;
    uint64_t port = 0;
    if (colon == 0 || rp_str_u64(rp_str_from(text, colon), &port) != RP_OK) return RP_E_INVALID;
    m->host = rp_str_head(text, colon - 1);
    if (port == 0 || port > UINT16_MAX || !is_dns_name(m->host)) return RP_E_INVALID;
    m->addr = (struct rp_addr){.family = RP_ADDR_NONE, .port = (uint16_t)port};
    return RP_OK;
}

rp_err rp_member_address(rp_str text, struct rp_member *m)
{
    m->name = text;
    m->host = RP_STR_NONE;
    bool any = text.len > 0 && (text.ptr[0] == '*' || text.ptr[0] == ':');
    if (!any && rp_addr_parse(text, &m->addr) == RP_OK &&
        (m->addr.family == RP_ADDR_UNIX || m->addr.port != 0))
        return RP_OK;
    return parse_name(text, m);
}

/* ---- lines ---------------------------------------------------------------------------------- */

bool rp_member_is_text(rp_str s)
{
    if (s.len == 0 || s.len > RP_MEMBER_TEXT_MOST) return false;
    for (size_t i = 0; i < s.len; i++)
        if ((uint8_t)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f) return false;
    return true;
}

static rp_str next_part(rp_str *rest, char end)
{
    size_t n = rp_str_find(*rest, end, 0);
    rp_str part = rp_str_head(*rest, n);
    *rest = rp_str_from(*rest, RP_MIN(n + 1, rest->len));
    return part;
}

static bool read_number(rp_str *rest, uint64_t least, uint64_t most, uint64_t *out)
{
    return rp_str_u64(next_part(rest, '\t'), out) == RP_OK && *out >= least && *out <= most;
}

bool rp_member_pair(rp_str *meta, rp_str *key, rp_str *value)
{
    if (meta->len == 0) return false;
    *key = next_part(meta, '\t');
    *value = next_part(meta, '\t');
    return true;
}

static rp_err read_meta(rp_str rest, struct rp_member *m)
{
    rp_str key, value, before = RP_STR_NONE;
    m->meta = rest;
    m->meta_n = 0;
    while (rp_member_pair(&rest, &key, &value)) {
        if (!rp_member_is_text(key) || !rp_member_is_text(value)) return RP_E_INVALID;
        if (before.len && rp_str_cmp(before, key) >= 0) return RP_E_INVALID;
        if (++m->meta_n > RP_MEMBER_META_MOST) return RP_E_INVALID;
        before = key;
    }
    return RP_OK;
}

static bool is_bare(rp_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((uint8_t)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f) return false;
    return s.len > 0;
}

rp_err rp_member_parse(rp_str line, struct rp_member *m)
{
    uint64_t weight, tier, conns;
    *m = (struct rp_member){.weight = 1};
    if (line.len > 0 && line.ptr[0] == '-') {
        m->gone = true;
        m->name = rp_str_from(line, 1);
        return is_bare(m->name) ? RP_OK : RP_E_INVALID; /* whatever the site called it */
    }
    m->weak = line.len > 0 && line.ptr[0] == '?';
    line = rp_str_from(line, m->weak);
    rp_str address = next_part(&line, '\t');
    if (!is_bare(address) || rp_member_address(address, m) != RP_OK) return RP_E_INVALID;
    if (!read_number(&line, 1, RP_MEMBER_WEIGHT_MOST, &weight) ||
        !read_number(&line, 0, RP_CONF_TIERS - 1, &tier) ||
        !read_number(&line, 0, UINT32_MAX, &conns))
        return RP_E_INVALID;
    m->weight = (uint32_t)weight;
    m->tier = (uint8_t)tier;
    m->max_conns = (uint32_t)conns;
    m->zone = next_part(&line, '\t');
    m->identity = next_part(&line, '\t');
    if (m->zone.len && !rp_member_is_text(m->zone)) return RP_E_INVALID;
    if (m->identity.len && !is_dns_name(m->identity)) return RP_E_INVALID;
    return read_meta(line, m);
}

bool rp_member_next(rp_str *rest, struct rp_member *m)
{
    while (rest->len) {
        if (rp_member_parse(next_part(rest, '\n'), m) == RP_OK) return true;
    }
    return false;
}

rp_err rp_member_check(rp_str text, uint32_t *line_n)
{
    struct rp_member m;
    *line_n = 0;
    while (text.len) {
        ++*line_n;
        if (rp_member_parse(next_part(&text, '\n'), &m) != RP_OK) return RP_E_INVALID;
    }
    return RP_OK;
}

void rp_member_put(struct rp_buf *out, const struct rp_member *m)
{
    if (m->gone || m->weak) rp_buf_add_ch(out, m->gone ? '-' : '?');
    rp_buf_add(out, m->name);
    if (!m->gone) {
        rp_buf_addf(out, "\t%u\t%u\t%u\t", m->weight, m->tier, m->max_conns);
        rp_buf_add(out, m->zone);
        rp_buf_add_ch(out, '\t');
        rp_buf_add(out, m->identity);
        if (m->meta.len) rp_buf_add_ch(out, '\t');
        rp_buf_add(out, m->meta);
    }
    rp_buf_add_ch(out, '\n');
}
