/* SPDX-License-Identifier: MIT
 *
 * proxy_header: see proxy_header.h.
 */
#include "net/proxy_header.h"

static const char SIGNATURE[] = "\r\n\r\n\0\r\nQUIT\n"; /* §2.2 */
static const uint8_t MAPPED[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

enum {
    SIGNATURE_BYTES = 12,
    FIXED_BYTES = 16, /* signature, version and command, family, length */
    IP4_BYTES = 4,
    IP6_BYTES = 16,
    TLV_BYTES = 3, /* type and length */
    CRC_BYTES = 4,
};

/* ---- version 1 ------------------------------------------------------------------------------- */

/* Up to the next blank, which is skipped; the last word ends the text. */
static bool next_word(rp_str *rest, rp_str *word)
{
    size_t blank = rp_str_find(*rest, ' ', 0);
    *word = rp_str_head(*rest, blank);
    *rest = rp_str_from(*rest, blank < rest->len ? blank + 1 : blank);
    return word->len > 0;
}

static bool parse_port(rp_str s, uint16_t *port)
{
    uint64_t n = 0;
    bool zeros = s.len > 1 && s.ptr[0] == '0';
    if (zeros || rp_str_u64(s, &n) != RP_OK || n > UINT16_MAX) return false;
    *port = (uint16_t)n;
    return true;
}

/* In brackets is no address of this protocol, and neither is one with a zone. */
static bool parse_ip(rp_str s, bool ip6, struct rp_addr *out)
{
    bool colon = rp_str_find(s, ':', 0) < s.len;
    bool odd = rp_str_find(s, '[', 0) < s.len || rp_str_find(s, '%', 0) < s.len;
    return colon == ip6 && !odd && rp_addr_parse_ip(s, out) == RP_OK;
}

/* "TCP4 10.0.0.1 10.0.0.2 1234 80", "UNKNOWN" and whatever behind it. */
static bool parse_line(rp_str line, struct rp_proxy_header *h)
{
    rp_str protocol, from, to, from_port, to_port;
    if (!next_word(&line, &protocol)) return false;
    if (rp_str_eq(protocol, RP_STR("UNKNOWN"))) return true;
    bool ip6 = rp_str_eq(protocol, RP_STR("TCP6"));
    if (!ip6 && !rp_str_eq(protocol, RP_STR("TCP4"))) return false;
    if (!next_word(&line, &from) || !next_word(&line, &to) || !next_word(&line, &from_port))
        return false;
    to_port = line; /* a blank behind it makes it no number */
    h->has_ends = parse_ip(from, ip6, &h->from) && parse_ip(to, ip6, &h->to) &&
                  parse_port(from_port, &h->from.port) && parse_port(to_port, &h->to.port);
    return h->has_ends;
}

static rp_err parse_v1(rp_str bytes, struct rp_proxy_header *h, size_t *used_n)
{
    static const char START[] = "PROXY ";
    enum { START_BYTES = sizeof START - 1 };
    if (memcmp(bytes.ptr, START, RP_MIN(bytes.len, (size_t)START_BYTES)) != 0)
        return RP_E_PROXY_HEADER;
    rp_str look = rp_str_head(bytes, RP_MIN(bytes.len, (size_t)RP_PROXY_V1_MOST));
    size_t cr = rp_str_find(look, '\r', 0);
    if (cr == look.len) return look.len < RP_PROXY_V1_MOST ? RP_AGAIN : RP_E_PROXY_HEADER;
    if (cr + 1 == look.len) return look.len < RP_PROXY_V1_MOST ? RP_AGAIN : RP_E_PROXY_HEADER;
    if (look.ptr[cr + 1] != '\n' || cr < START_BYTES) return RP_E_PROXY_HEADER;
    h->version = 1;
    if (!parse_line(rp_str_of(look.ptr + START_BYTES, cr - START_BYTES), h))
        return RP_E_PROXY_HEADER;
    *used_n = cr + 2;
    return RP_OK;
}

/* ---- version 2 ------------------------------------------------------------------------------- */

static uint16_t get_u16(const char *p)
{
    return (uint16_t)((uint8_t)p[0] << 8 | (uint8_t)p[1]);
}

static void put_u16(char *p, uint16_t value)
{
    p[0] = (char)(value >> 8);
    p[1] = (char)(value & 0xff);
}

/* CRC-32C (RFC 3720 §12.1) bit by bit: a header is short and comes once. */
static uint32_t crc_add(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    return crc;
}

/* The sum is over the whole header with the sum itself, at `hole`, as zeros (§2.2.7). */
static uint32_t crc_of(rp_str header, size_t hole)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < header.len; i++) {
        bool inside = i >= hole && i < hole + CRC_BYTES;
        crc = crc_add(crc, inside ? 0 : (uint8_t)header.ptr[i]);
    }
    return crc ^ UINT32_MAX;
}

static bool crc_is_right(rp_str header, rp_str sum)
{
    uint32_t said = 0;
    for (size_t i = 0; i < CRC_BYTES; i++) said = said << 8 | (uint8_t)sum.ptr[i];
    return crc_of(header, (size_t)(sum.ptr - header.ptr)) == said;
}

bool rp_proxy_tlv_next(rp_str *rest, uint8_t *type, rp_str *value)
{
    if (rest->len < TLV_BYTES) return false;
    size_t n = get_u16(rest->ptr + 1);
    if (rest->len - TLV_BYTES < n) return false;
    *type = (uint8_t)rest->ptr[0];
    *value = rp_str_of(rest->ptr + TLV_BYTES, n);
    *rest = rp_str_from(*rest, TLV_BYTES + n);
    return true;
}

/* They fill what is left exactly, and a sum among them is right. */
static bool check_tlvs(rp_str header, rp_str tlvs)
{
    uint8_t type;
    rp_str value;
    unsigned sums = 0;
    while (rp_proxy_tlv_next(&tlvs, &type, &value)) {
        if (type != RP_PROXY_TLV_CRC32C) continue;
        /* Of two sums each would have to be right with the other's bytes, and with zeros for them. */
        if (sums++ || value.len != CRC_BYTES || !crc_is_right(header, value)) return false;
    }
    return tlvs.len == 0;
}

static void take_ip(const char *p, size_t n, const char *port, struct rp_addr *out)
{
    bool ip4 = n == IP4_BYTES || memcmp(p, MAPPED, sizeof MAPPED) == 0;
    *out = (struct rp_addr){.family = ip4 ? RP_ADDR_IP4 : RP_ADDR_IP6, .port = get_u16(port)};
    if (n == IP4_BYTES) {
        memcpy(out->ip, MAPPED, sizeof MAPPED);
        memcpy(out->ip + sizeof MAPPED, p, IP4_BYTES);
    } else {
        memcpy(out->ip, p, IP6_BYTES);
    }
}

/* Bytes of the two ends by family and transport (§2.2); -1: values that nobody may send. */
static int ends_bytes(uint8_t family)
{
    switch (family) {
    case 0x00: return 0; /* unspecified */
    case 0x11:
    case 0x12: return 2 * (IP4_BYTES + 2);
    case 0x21:
    case 0x22: return 2 * (IP6_BYTES + 2);
    case 0x31:
    case 0x32: return 2 * 108; /* unix */
    default: return -1;
    }
}

static bool parse_body(rp_str header, uint8_t family, struct rp_proxy_header *h)
{
    rp_str body = rp_str_from(header, FIXED_BYTES);
    int ends = ends_bytes(family);
    if (ends < 0 || body.len < (size_t)ends) return false;
    if (family == 0x11 || family == 0x21) { /* streams of IP: what can come here */
        size_t n = family == 0x11 ? IP4_BYTES : IP6_BYTES;
        const char *ports = body.ptr + 2 * n;
        take_ip(body.ptr, n, ports, &h->from);
        take_ip(body.ptr + n, n, ports + 2, &h->to);
        h->has_ends = true;
    }
    h->tlvs = rp_str_from(body, (size_t)ends);
    return check_tlvs(header, h->tlvs);
}

static rp_err parse_v2(rp_str bytes, struct rp_proxy_header *h, size_t *used_n)
{
    if (bytes.len < FIXED_BYTES) return RP_AGAIN;
    uint8_t command = (uint8_t)bytes.ptr[12];
    size_t whole = FIXED_BYTES + (size_t)get_u16(bytes.ptr + 14);
    if (command != 0x20 && command != 0x21) return RP_E_PROXY_HEADER; /* version 2: LOCAL, PROXY */
    if (whole > RP_PROXY_V2_MOST) return RP_E_PROXY_HEADER;
    if (bytes.len < whole) return RP_AGAIN;
    h->version = 2;
    h->local = command == 0x20;
    /* §2.2: what a LOCAL header says about ends is to be skipped. */
    if (!h->local && !parse_body(rp_str_head(bytes, whole), (uint8_t)bytes.ptr[13], h))
        return RP_E_PROXY_HEADER;
    *used_n = whole;
    return RP_OK;
}

rp_err rp_proxy_header_parse(rp_str bytes, struct rp_proxy_header *out, size_t *used_n)
{
    *out = (struct rp_proxy_header){0};
    *used_n = 0;
    if (bytes.len == 0) return RP_AGAIN;
    size_t n = RP_MIN(bytes.len, (size_t)SIGNATURE_BYTES);
    if (memcmp(bytes.ptr, SIGNATURE, n) != 0) return parse_v1(bytes, out, used_n);
    return n < SIGNATURE_BYTES ? RP_AGAIN : parse_v2(bytes, out, used_n);
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool is_ip(const struct rp_addr *a)
{
    return a->family == RP_ADDR_IP4 || a->family == RP_ADDR_IP6;
}

static char *put(char *p, rp_str s)
{
    memcpy(p, s.ptr, s.len);
    return p + s.len;
}

/* An IPv4 address among IPv6 ones is mapped: the 16 bytes hold it so already. */
static char *put_ip(char *p, const struct rp_addr *a, bool ip6)
{
    char text[RP_ADDR_TEXT_BYTES];
    struct rp_addr plain = *a;
    plain.scope = 0; /* means something on this machine only */
    if (ip6 && a->family == RP_ADDR_IP4) p = put(p, RP_STR("::ffff:"));
    return put(p, rp_str_of(text, rp_addr_put_ip(&plain, text)));
}

static char *put_port(char *p, const struct rp_addr *a)
{
    *p++ = ' ';
    return p + rp_str_put_u64(p, a->port);
}

static size_t put_v1(const struct rp_addr *from, const struct rp_addr *to, char *out)
{
    bool ip6 = from->family == RP_ADDR_IP6 || to->family == RP_ADDR_IP6;
    char *p = out;
    if (!is_ip(from) || !is_ip(to)) {
        p = put(p, RP_STR("PROXY UNKNOWN"));
    } else {
        p = put(p, ip6 ? RP_STR("PROXY TCP6 ") : RP_STR("PROXY TCP4 "));
        p = put_ip(p, from, ip6);
        *p++ = ' ';
        p = put_ip(p, to, ip6);
        p = put_port(put_port(p, from), to);
    }
    return (size_t)(put(p, RP_STR("\r\n")) - out);
}

static size_t put_v2(const struct rp_addr *from, const struct rp_addr *to, char *out)
{
    bool known = is_ip(from) && is_ip(to);
    bool ip6 = from->family == RP_ADDR_IP6 || to->family == RP_ADDR_IP6;
    size_t n = ip6 ? IP6_BYTES : IP4_BYTES, skip = ip6 ? 0 : sizeof MAPPED;
    size_t body = known ? 2 * (n + 2) : 0;
    memcpy(out, SIGNATURE, SIGNATURE_BYTES);
    out[12] = 0x21;
    out[13] = !known ? 0x00 : ip6 ? 0x21 : 0x11;
    put_u16(out + 14, (uint16_t)body);
    if (known) {
        memcpy(out + FIXED_BYTES, from->ip + skip, n);
        memcpy(out + FIXED_BYTES + n, to->ip + skip, n);
        put_u16(out + FIXED_BYTES + 2 * n, from->port);
        put_u16(out + FIXED_BYTES + 2 * n + 2, to->port);
    }
    return FIXED_BYTES + body;
}

size_t rp_proxy_header_put(unsigned version, const struct rp_addr *from, const struct rp_addr *to,
                           char out[RP_PROXY_PUT_MOST])
{
    return version == 1 ? put_v1(from, to, out) : put_v2(from, to, out);
}

static char *put_tlv(char *p, uint8_t type, rp_str value)
{
    if (value.len == 0 || value.len > RP_PROXY_TLV_TEXT_MOST) return p;
    *p++ = (char)type;
    put_u16(p, (uint16_t)value.len);
    return put(p + 2, value);
}

size_t rp_proxy_header_add(char header[RP_PROXY_ADD_MOST], size_t n,
                           const struct rp_proxy_said *said)
{
    if (n < FIXED_BYTES || memcmp(header, SIGNATURE, SIGNATURE_BYTES) != 0) return n;
    char *p = header + n;
    p = put_tlv(p, RP_PROXY_TLV_ALPN, said->alpn);
    p = put_tlv(p, RP_PROXY_TLV_AUTHORITY, said->authority);
    p = put_tlv(p, RP_PROXY_TLV_UNIQUE_ID, said->unique_id);
    if (said->crc32c) p = put_tlv(p, RP_PROXY_TLV_CRC32C, RP_STR("0000")); /* its place */
    size_t whole = (size_t)(p - header);
    put_u16(header + 14, (uint16_t)(whole - FIXED_BYTES));
    if (!said->crc32c) return whole;
    uint32_t crc = crc_of(rp_str_of(header, whole), whole - CRC_BYTES);
    for (unsigned i = 0; i < CRC_BYTES; i++) p[-1 - (int)i] = (char)(crc >> 8 * i & 0xff);
    return whole;
}
