/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of ClientHellos: however the bytes are cut the result is the same, and what is found lies in
 * the message and keeps its promises. The first byte chooses the cuts.
 */
#include "net/tls_hello.h"

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
    if (one == RP_OK) check_found(&a);
    else RP_CHECK(!a.sni.ptr && !a.alpn.ptr);
    return 0;
}
