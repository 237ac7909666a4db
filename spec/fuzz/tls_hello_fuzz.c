/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of ClientHellos: however the bytes are cut the result is the same, and what is found lies in
 * the message and keeps its promises; the message alone reads as it does in records; its fingerprint has
 * its form. The first byte chooses the cuts.
 */
#include "net/tls_ja4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char whole[RP_TLS_HELLO_MOST], cut[RP_TLS_HELLO_MOST];

static void check_inside(rp_str s, const struct rp_tls_hello *h)
{
    if (s.len) RP_CHECK(s.ptr >= h->body && s.ptr + s.len <= h->body + h->body_n);
}

static void check_found(const struct rp_tls_hello *h)
{
    rp_str rest = h->alpn, name;
    size_t walked = 0;
    check_inside(h->sni, h);
    check_inside(h->alpn, h);
    RP_CHECK(h->body_n <= h->wire_n && h->wire_n <= RP_TLS_HELLO_MOST);
    if (h->sni.ptr) RP_CHECK(rp_tls_hello_is_name(h->sni));
    for (size_t i = 0; i < h->sni.len; i++) RP_CHECK(rp_lower(h->sni.ptr[i]) == h->sni.ptr[i]);
    while (rp_tls_hello_alpn_next(&rest, &name)) {
        RP_CHECK(name.len > 0);
        walked += name.len + 1;
    }
    RP_CHECK(rest.len == 0 && walked == h->alpn.len);
}

static void check_codes(const struct rp_tls_hello *h, rp_str list)
{
    uint16_t code;
    size_t n = 0;
    check_inside(list, h);
    RP_CHECK(list.len % 2 == 0);
    for (rp_str rest = list; rp_tls_hello_code_next(&rest, &code); n++)
        RP_CHECK(code >> 8 != (code & 0xff) || (code & 0xf) != 0xa);
    RP_CHECK(n <= list.len / 2);
}

static void check_more(const struct rp_tls_hello *h)
{
    static char alone[RP_TLS_HELLO_MOST];
    struct rp_tls_hello again;
    char ja4[RP_TLS_JA4_BYTES];
    rp_str rest = h->extensions;
    uint16_t type;
    check_inside(h->extensions, h);
    check_codes(h, h->ciphers);
    check_codes(h, h->versions);
    check_codes(h, h->sigalgs);
    while (rp_tls_hello_extension_next(&rest, &type)) RP_CHECK(rest.len < h->extensions.len);
    rp_tls_ja4_put(h, ja4);
    RP_CHECK(ja4[0] == 't' && ja4[10] == '_' && ja4[23] == '_');
    RP_CHECK((ja4[3] == 'd') == (h->sni.ptr != NULL));
    rp_tls_hello_init(&again, alone);
    RP_CHECK(rp_tls_hello_take(&again, rp_str_of(h->body, h->body_n)) == RP_OK);
    RP_CHECK(rp_str_eq(again.sni, h->sni) && rp_str_eq(again.extensions, h->extensions));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rp_tls_hello a, b;
    if (size == 0) return 0;
    rp_str bytes = rp_str_of((const char *)data + 1, size - 1);
    size_t step = (size_t)data[0] + 1;
    rp_tls_hello_init(&a, whole);
    rp_tls_hello_init(&b, cut);
    rp_err one = rp_tls_hello_feed(&a, bytes), many = RP_AGAIN;
    for (size_t at = 0; at < bytes.len && many == RP_AGAIN; at += step) {
        size_t n = RP_MIN(step, bytes.len - at);
        many = rp_tls_hello_feed(&b, rp_str_of(bytes.ptr + at, n));
    }
    RP_CHECK(one == many);
    RP_CHECK(rp_str_eq(a.sni, b.sni) && rp_str_eq(a.alpn, b.alpn));
    if (one == RP_OK) {
        check_found(&a);
        check_more(&a);
    } else {
        RP_CHECK(!a.sni.ptr && !a.alpn.ptr && !a.extensions.ptr && !a.ciphers.ptr);
    }
    return 0;
}
