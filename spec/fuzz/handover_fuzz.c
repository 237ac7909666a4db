/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of the text that two versions of the program hand over to each other: records end with the
 * input, what is taken is bounded, and what is read can be written and read again.
 */
#include "process/handover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct rp_handover_record *r)
{
    struct rp_handover_out o;
    struct rp_handover_in in;
    struct rp_handover_record same;
    char key[256];
    if (r->key.len >= sizeof key || memchr(r->key.ptr, 0, r->key.len)) return;
    memcpy(key, r->key.ptr, r->key.len);
    key[r->key.len] = 0;
    rp_handover_begin(&o, false);
    rp_handover_put(&o, key, r->n, RP_HANDOVER_NUMBERS, r->text);
    rp_handover_open(&in, rp_buf_str(&o.text), NULL, 0);
    RP_CHECK(rp_handover_next(&in, &same));
    RP_CHECK(rp_str_eq(same.key, r->key) && rp_str_eq(same.text, r->text));
    RP_CHECK(memcmp(same.n, r->n, sizeof r->n) == 0);
    RP_CHECK(!rp_handover_next(&in, &same) && !in.bad);
    rp_handover_close(&in);
    rp_handover_end(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int fds[] = {5, 6, 7};
    struct rp_handover_in in;
    struct rp_handover_record r;
    size_t n = 0;
    rp_handover_open(&in, rp_str_of((const char *)data, size), fds, 3);
    for (; rp_handover_next(&in, &r); n++) {
        int fd = rp_handover_fd_of(&in, r.n[0]);
        RP_CHECK(r.key.len && r.text.len <= RP_HANDOVER_TEXT_MOST);
        RP_CHECK(r.n[0] < 3 ? fd == fds[r.n[0]] : fd == -1);
        check_again(&r);
    }
    RP_CHECK(n <= size && (in.bad || in.rest.len == 0));
    rp_handover_close(&in);
    return 0;
}
