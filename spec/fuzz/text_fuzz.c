/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of the small readers and writers of text: decimal numbers, and what escapes bytes of the
 * wire for logs, JSON and pages.
 */
#include "base/buf.h"
#include "base/log.h"
#include "proxy/deadline.h"
#include "proxy/page.h"

enum { ROOM = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Leading zeros aside a number reads back as it was written. */
static void check_number(rp_str s)
{
    uint64_t n;
    char out[20];
    if (rp_str_u64(s, &n) != RP_OK) return;
    rp_str again = rp_str_of(out, rp_str_put_u64(out, n));
    while (s.len > 1 && s.ptr[0] == '0') s = rp_str_from(s, 1);
    RP_CHECK(rp_str_eq(s, again));
}

/* What is told on of a client's timeout is never more than it said. */
static void check_timeout(rp_str s)
{
    rp_ms ms, again = 0;
    char out[RP_GRPC_TIMEOUT_BYTES];
    if (rp_deadline_parse_grpc(s, &ms) != RP_OK) return;
    rp_str told = rp_str_of(out, rp_deadline_put_grpc(ms, out));
    RP_CHECK(rp_deadline_parse_grpc(told, &again) == RP_OK && again <= ms);
}

static bool has_outside(rp_str s, unsigned char least, unsigned char most)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char ch = (unsigned char)s.ptr[i];
        if (ch < least || ch > most) return true;
    }
    return false;
}

static void check_escapes(rp_str s)
{
    struct rp_buf b;
    rp_buf_init(&b, ROOM);
    rp_buf_add_escaped(&b, s);
    RP_CHECK(b.failed || !has_outside(rp_buf_str(&b), 0x20, 0x7e));
    RP_CHECK(rp_str_find(rp_buf_str(&b), '"', 0) == b.len);
    rp_buf_clear(&b);
    rp_buf_add_json(&b, s);
    RP_CHECK(b.failed || !has_outside(rp_buf_str(&b), 0x20, 0xff));
    rp_buf_fini(&b);
    RP_CHECK(!has_outside(rp_str_z(rp_log_esc(s)), 0x20, 0x7e));
}

/* A page is the operator's, what is filled in may be anybody's. */
static void check_page(rp_str s)
{
    struct rp_page_facts facts = {
        .status = 404, .error = RP_STR("Not Found"), .reason = s, .request_id = RP_STR("id")};
    struct rp_buf b;
    rp_buf_init(&b, ROOM);
    rp_page_expand(&b, s, &facts);
    RP_CHECK(b.len <= ROOM);
    for (unsigned form = RP_PAGE_HTML; form <= RP_PAGE_TEXT; form++) {
        rp_buf_clear(&b);
        rp_page_put(&b, (enum rp_page_form)form, &facts);
        RP_CHECK(b.failed || b.len > 0);
    }
    rp_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rp_str s = rp_str_of((const char *)data, size);
    check_timeout(s);
    check_number(s);
    check_escapes(s);
    check_page(s);
    return 0;
}
