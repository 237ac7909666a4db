/* SPDX-License-Identifier: MIT
 *
 * field: grammar of field names and values, and the few values that C code must understand.
 *
 * Forwarding headers are trusted from the right: each element was written by the hop after it, so
 * an element counts only when everything to its right is a trusted hop.
 */
#include "http/field.h"
#include "http/scan.h"

enum {
    HOPS_MAX = 64,      /* elements of one Forwarded value; real chains have a handful */
    WEIGHT_FULL = 1000, /* q=1 */
};

bool rp_field_is_name(rp_str s)
{
    return s.len > 0 && rp_chars_all(s, RP_CH_TOKEN);
}

bool rp_field_is_value(rp_str s)
{
    if (s.len == 0) return true;
    const char *end = s.ptr + s.len;
    return rp_scan_value(s.ptr, end) == end && rp_str_trim(s).len == s.len;
}

/* Split at the first ch: *head before it, *rest behind it (empty when there is none). */
static void split_at(rp_str s, char ch, rp_str *head, rp_str *rest)
{
    size_t at = rp_str_find(s, ch, 0);
    *head = rp_str_head(s, at);
    *rest = rp_str_from(s, at < s.len ? at + 1 : at);
}

rp_str rp_field_cookie(rp_str cookies, rp_str name)
{
    rp_str pair, key, value;
    while (cookies.len > 0) {
        split_at(cookies, ';', &pair, &cookies);
        size_t equals = rp_str_find(pair, '=', 0);
        if (equals == pair.len) continue; /* no '=': not a pair */
        split_at(pair, '=', &key, &value);
        if (rp_str_eq(rp_str_trim(key), name)) return rp_str_trim(value);
    }
    return RP_STR_NONE;
}

/* ------------------------------------------------------------------ forwarding */

/* "1.2.3.4", "1.2.3.4:80", "::1", "[::1]", "[::1]:80". A port that is no number (RFC 7239 §6.3
 * allows "_name") counts as none. */
static rp_err parse_node(rp_str s, struct rp_addr *out)
{
    struct rp_addr addr;
    rp_str ip = s, port = RP_STR_NONE;
    size_t colon = rp_str_find(s, ':', 0);
    if (s.len > 0 && s.ptr[0] == '[') {
        size_t close = rp_str_find(s, ']', 0);
        if (close == s.len) return RP_E_INVALID;
        ip = rp_str_of(s.ptr + 1, close - 1);
        port = rp_str_from(s, close + 1);
        if (port.len > 0 && port.ptr[0] != ':') return RP_E_INVALID;
        if (port.len > 0) port = rp_str_from(port, 1);
        if (rp_str_find(ip, ':', 0) == ip.len) return RP_E_INVALID; /* brackets are for IPv6 */
    } else if (colon < s.len && rp_str_find(s, ':', colon + 1) == s.len) {
        split_at(s, ':', &ip, &port);
    }
    if (rp_str_find(ip, '%', 0) < ip.len)
        return RP_E_INVALID; /* zones mean nothing on other hosts */
    uint64_t number = 0;
    rp_err e = rp_addr_parse_ip(ip, &addr);
    if (e != RP_OK) return RP_E_INVALID;
    if (port.len > 0 && rp_str_u64(port, &number) != RP_OK) number = 0;
    addr.port = number <= UINT16_MAX ? (uint16_t)number : 0;
    *out = addr;
    return RP_OK;
}

rp_err rp_field_forwarded_for(rp_str list, const struct rp_addr *conn_addr,
                              const struct rp_cidr_set *trusted, struct rp_addr *out)
{
    *out = *conn_addr;
    while (rp_cidr_set_has(trusted, out)) {
        size_t start = list.len;
        while (start > 0 && list.ptr[start - 1] != ',') start--;
        if (list.len == 0) return RP_OK;
        rp_str node = rp_str_trim(rp_str_from(list, start));
        list.len = start > 0 ? start - 1 : 0;
        if (node.len == 0) continue; /* RFC 9110 §5.6.1.2: empty elements are ignored */
        rp_err e = parse_node(node, out);
        if (e != RP_OK) return e;
    }
    return RP_OK;
}

/* The next of `;`-separated parameters, quoted strings respected. false at the end. */
static bool next_param(rp_str *rest, rp_str *param)
{
    bool quoted = false;
    size_t i = 0;
    if (rest->len == 0) return false;
    for (; i < rest->len && (quoted || rest->ptr[i] != ';'); i++) {
        if (rest->ptr[i] == '"') quoted = !quoted;
        if (quoted && rest->ptr[i] == '\\' && i + 1 < rest->len) i++;
    }
    *param = rp_str_trim(rp_str_head(*rest, i));
    *rest = rp_str_from(*rest, i < rest->len ? i + 1 : i);
    return true;
}

/* The for= parameter of one forwarded-element (RFC 7239 §4). An address needs no quoted-pair, so a
 * backslash in it fails as an address. A second for= is malformed (§4: once per element). */
static rp_err parse_element(rp_str element, struct rp_addr *out)
{
    rp_str param, key, value, node = RP_STR_NONE;
    while (next_param(&element, &param)) {
        split_at(param, '=', &key, &value);
        if (!rp_str_ieq(key, RP_STR("for"))) continue;
        if (node.ptr) return RP_E_INVALID;
        node = value;
    }
    if (!node.ptr) return RP_E_INVALID;
    if (node.len >= 2 && node.ptr[0] == '"' && node.ptr[node.len - 1] == '"')
        node = rp_str_of(node.ptr + 1, node.len - 2);
    return parse_node(node, out);
}

rp_err rp_field_forwarded(rp_str list, const struct rp_addr *conn_addr,
                          const struct rp_cidr_set *trusted, struct rp_addr *out)
{
    rp_str elements[HOPS_MAX];
    size_t n = 0;
    *out = *conn_addr;
    if (!rp_cidr_set_has(trusted, out)) return RP_OK;
    for (rp_str item; rp_str_list_next(&list, &item); n++) {
        if (n == HOPS_MAX) return RP_E_INVALID;
        elements[n] = item;
    }
    while (n > 0 && rp_cidr_set_has(trusted, out)) {
        rp_err e = parse_element(elements[--n], out);
        if (e != RP_OK) return e;
    }
    return RP_OK;
}

/* ------------------------------------------------------------------ weights */

/* qvalue = "0" [ "." 0*3DIGIT ] / "1" [ "." 0*3"0" ]. Malformed ones count as 0: not wanted. */
static int parse_weight(rp_str s)
{
    int value = 0, unit = WEIGHT_FULL / 10;
    if (s.len == 0 || s.len > 5 || (s.ptr[0] != '0' && s.ptr[0] != '1')) return 0;
    if (s.len > 1 && s.ptr[1] != '.') return 0;
    for (size_t i = 2; i < s.len; i++, unit /= 10) {
        if (!rp_chars_is(s.ptr[i], RP_CH_DIGIT)) return 0;
        value += (s.ptr[i] - '0') * unit;
    }
    if (s.ptr[0] == '0') return value;
    return value == 0 ? WEIGHT_FULL : 0;
}

static int weight_of(rp_str params)
{
    rp_str param, key, value;
    while (next_param(&params, &param)) {
        split_at(param, '=', &key, &value);
        if (rp_str_ieq(rp_str_trim(key), RP_STR("q"))) return parse_weight(rp_str_trim(value));
    }
    return WEIGHT_FULL;
}

int rp_field_weight(rp_str list, rp_str item)
{
    rp_str element, name, params;
    while (rp_str_list_next(&list, &element)) {
        split_at(element, ';', &name, &params);
        if (rp_str_ieq(rp_str_trim(name), item)) return weight_of(params);
    }
    return -1;
}
