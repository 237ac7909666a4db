/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of WebSocket frames: what goes on, and how it ends, does not depend on how the bytes are
 * cut; what goes on is a prefix of what came. Byte 0 chooses rules, byte 1 the cuts.
 */
#include <stdlib.h>

#include "base/check.h"
#include "http/ws_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    rp_err e;
    size_t passed_n, held_n, controls_n;
    char *passed;
    struct rp_ws ws;
};

static size_t next_read(uint32_t *dice, size_t left)
{
    if (*dice <= 1) return *dice ? 1 : left;
    *dice = *dice * 1664525 + 1013904223;
    size_t n = 1 + (*dice >> 16) % 40;
    return RP_MIN(n, left);
}

static void feed(struct result *r, const struct rp_ws_rules *rules, rp_str in)
{
    while (in.len > 0) {
        size_t used = 0;
        rp_str pass;
        rp_err e = rp_ws_next(&r->ws, rules, in, &used, &pass);
        RP_CHECK(used <= in.len && (e < 0 || used > 0));
        in = rp_str_from(in, used);
        if (e < 0) {
            r->e = e;
            return;
        }
        if (e == RP_AGAIN) {
            RP_CHECK(in.len == 0 && pass.len == 0 && r->ws.left == 0);
            return;
        }
        RP_CHECK(pass.len > 0);
        memcpy(r->passed + r->passed_n, pass.ptr, pass.len);
        r->passed_n += pass.len;
        if (e == RP_END) {
            char payload[RP_WS_CONTROL_MOST];
            RP_CHECK(rp_ws_payload(&r->ws, payload) <= RP_WS_CONTROL_MOST);
            RP_CHECK(rp_ws_is_between(&r->ws));
            r->controls_n++;
        }
    }
}

static void run(rp_str all, const struct rp_ws_rules *rules, uint32_t dice, struct result *r)
{
    *r = (struct result){.passed = malloc(all.len + 1)};
    RP_CHECK(r->passed);
    rp_ws_init(&r->ws);
    while (all.len > 0 && r->e == RP_OK) {
        size_t n = next_read(&dice, all.len);
        feed(r, rules, rp_str_head(all, n));
        all = rp_str_from(all, n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct result whole, cut;
    if (size < 2) return 0;
    struct rp_ws_rules rules = {.from_client = data[0] & 1, .extended = data[0] & 2};
    if (data[0] & 4) rules.frame_max = data[0];
    if (data[0] & 8) rules.message_max = 2u * data[0];
    rp_str all = rp_str_of((const char *)data + 2, size - 2);
    run(all, &rules, 0, &whole);
    RP_CHECK(memcmp(whole.passed, all.ptr, whole.passed_n) == 0);
    const uint32_t seeds[] = {1, data[1] + 2u};
    for (size_t i = 0; i < RP_COUNT(seeds); i++) {
        run(all, &rules, seeds[i], &cut);
        RP_CHECK(cut.e == whole.e && cut.passed_n == whole.passed_n);
        RP_CHECK(memcmp(cut.passed, whole.passed, whole.passed_n) == 0);
        RP_CHECK(cut.controls_n == whole.controls_n && cut.ws.left == whole.ws.left);
        RP_CHECK(cut.ws.frames == whole.ws.frames && cut.ws.closed == whole.ws.closed);
        free(cut.passed);
    }
    free(whole.passed);
    return 0;
}
