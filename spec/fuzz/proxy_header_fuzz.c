/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of PROXY headers: what is taken is within bounds, does not depend on how it is cut, and is
 * read again as it was when it is written.
 */
#include "net/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tlvs(rp_str all, rp_str tlvs)
{
    uint8_t type;
    rp_str value;
    if (tlvs.len == 0) return;
    RP_CHECK(tlvs.ptr >= all.ptr && tlvs.ptr + tlvs.len <= all.ptr + all.len);
    while (rp_proxy_tlv_next(&tlvs, &type, &value)) {
        RP_CHECK(value.ptr >= all.ptr && value.ptr + value.len <= all.ptr + all.len);
    }
    RP_CHECK(tlvs.len == 0);
}

static void check_written(const struct rp_proxy_header *h)
{
    struct rp_proxy_header again;
    char out[RP_PROXY_PUT_MOST];
    size_t used = 0;
    for (unsigned version = 1; version <= 2; version++) {
        size_t n = rp_proxy_header_put(version, &h->from, &h->to, out);
        RP_CHECK(n <= sizeof out);
        rp_err e = rp_proxy_header_parse(rp_str_of(out, n), &again, &used);
        RP_CHECK(e == RP_OK && used == n && again.version == version && again.has_ends);
        RP_CHECK(rp_addr_eq(&again.from, &h->from) && rp_addr_eq(&again.to, &h->to));
    }
}

/* A v2 header with the input's own bytes as its texts. */
static void check_added(const struct rp_proxy_header *h, rp_str all)
{
    struct rp_proxy_header again;
    char out[RP_PROXY_ADD_MOST];
    uint8_t type;
    rp_str value;
    size_t used = 0;
    struct rp_proxy_said said = {.authority = all,
                                 .alpn = rp_str_head(all, all.len / 2),
                                 .unique_id = h->tlvs,
                                 .crc32c = (all.len & 1) != 0};
    size_t n = rp_proxy_header_add(out, rp_proxy_header_put(2, &h->from, &h->to, out), &said);
    RP_CHECK(n <= sizeof out);
    rp_err e = rp_proxy_header_parse(rp_str_of(out, n), &again, &used);
    RP_CHECK(e == RP_OK && used == n && rp_addr_eq(&again.from, &h->from));
    while (rp_proxy_tlv_next(&again.tlvs, &type, &value)) {
        if (type == RP_PROXY_TLV_AUTHORITY) RP_CHECK(rp_str_eq(value, said.authority));
        if (type == RP_PROXY_TLV_ALPN) RP_CHECK(rp_str_eq(value, said.alpn));
        if (type == RP_PROXY_TLV_UNIQUE_ID) RP_CHECK(rp_str_eq(value, said.unique_id));
    }
}

/* A shorter piece asks for more; no piece is taken for something else. */
static void check_cuts(rp_str all, rp_err e, size_t used)
{
    struct rp_proxy_header h;
    size_t n = 0;
    for (size_t cut = 0; cut < RP_MIN(all.len, (size_t)128); cut++) {
        rp_err part = rp_proxy_header_parse(rp_str_head(all, cut), &h, &n);
        if (e == RP_OK) RP_CHECK(cut < used ? part == RP_AGAIN : part == RP_OK && n == used);
        else RP_CHECK(part == RP_AGAIN || (part == e && e != RP_AGAIN));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rp_str all = rp_str_of((const char *)data, size);
    struct rp_proxy_header h;
    size_t used = 0;
    rp_err e = rp_proxy_header_parse(all, &h, &used);
    RP_CHECK(e == RP_OK || e == RP_AGAIN || e == RP_E_PROXY_HEADER);
    check_cuts(all, e, used);
    if (e != RP_OK) return 0;
    RP_CHECK(used > 0 && used <= size);
    RP_CHECK(used <= (h.version == 1 ? RP_PROXY_V1_MOST : RP_PROXY_V2_MOST));
    RP_CHECK(!h.local || !h.has_ends);
    check_tlvs(rp_str_head(all, used), h.tlvs);
    if (h.has_ends) check_written(&h);
    if (h.has_ends) check_added(&h, all);
    return 0;
}
