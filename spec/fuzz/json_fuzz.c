/* SPDX-License-Identifier: MIT
 *
 * json_fuzz: the reader on any bytes. Tokens lie inside the text and nest as they should, the depth
 * limit holds, what strings mean is UTF-8 and fits in the room stated.
 */
#include "base/json.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_string(rp_str raw, bool mend)
{
    size_t room = mend ? raw.len * 3 : raw.len, out_n = 0;
    char *out = rp_alloc(room ? room : 1);
    rp_err e = rp_json_unescape(raw, mend, out, &out_n);
    RP_CHECK(e == RP_OK || !mend);
    if (e == RP_OK) {
        RP_CHECK(out_n <= room);
        for (size_t i = 0, len; i < out_n; i += len) {
            len = rp_str_utf8_len(rp_str_of(out + i, out_n - i));
            RP_CHECK(len > 0);
        }
    }
    rp_free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    enum { DEPTH = 20 };
    rp_str in = rp_str_of((const char *)data, n);
    struct rp_json j;
    struct rp_json_token t = {.kind = RP_JSON_NULL};
    uint32_t depth = 0;
    rp_json_init(&j, in, DEPTH);
    while (rp_json_next(&j, &t) == RP_OK && t.kind != RP_JSON_END) {
        if (t.kind == RP_JSON_OBJECT || t.kind == RP_JSON_ARRAY) depth++;
        if (t.kind == RP_JSON_OBJECT_END || t.kind == RP_JSON_ARRAY_END) depth--;
        RP_CHECK(depth == j.depth && depth <= DEPTH && j.at <= n);
        if (t.kind == RP_JSON_KEY || t.kind == RP_JSON_STRING || t.kind == RP_JSON_NUMBER)
            RP_CHECK(t.text.ptr >= in.ptr && t.text.ptr + t.text.len <= in.ptr + n);
        if (t.kind == RP_JSON_KEY || t.kind == RP_JSON_STRING) {
            check_string(t.text, false);
            check_string(t.text, true);
        } else if (t.kind == RP_JSON_NUMBER) {
            double value;
            bool exact;
            (void)rp_json_number(t.text, &value, &exact); /* either outcome is fine */
        }
    }
    RP_CHECK(t.kind != RP_JSON_END || depth == 0);
    return 0;
}
