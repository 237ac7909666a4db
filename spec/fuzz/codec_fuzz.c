/* SPDX-License-Identifier: MIT
 *
 * codec_fuzz: every decoder on any bytes. What a strict decoder takes must encode back to the very
 * same text, and no decoder writes more than it states.
 */
#include "base/codec.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

typedef rp_err (*decode_fn)(rp_str in, char *out, size_t *out_n);
typedef size_t (*encode_fn)(rp_str in, char *out);

/* fold: the text may differ in the case of its letters. */
static void there_and_back(rp_str in, decode_fn decode, encode_fn encode, size_t room, bool fold)
{
    size_t n = 0;
    char *bytes = rp_alloc(room);
    if (decode(in, bytes, &n) == RP_OK) {
        RP_CHECK(n <= room);
        char *text = rp_alloc(in.len);
        rp_str back = rp_str_of(text, encode(rp_str_of(bytes, n), text));
        RP_CHECK(fold ? rp_str_ieq(back, in) : rp_str_eq(back, in));
        rp_free(text);
    }
    rp_free(bytes);
}

static void percent(rp_str in, unsigned flags)
{
    size_t n = 0;
    char *bytes = rp_alloc(in.len);
    rp_err e = rp_codec_percent_decode(in, flags, bytes, &n);
    RP_CHECK(e == RP_OK || !(flags & RP_CODEC_LAX));
    if (e == RP_OK) {
        RP_CHECK(n <= in.len);
        rp_str plain = rp_str_of(bytes, n);
        for (unsigned keep = RP_CODEC_KEEP_COMPONENT; keep <= RP_CODEC_KEEP_QUERY; keep++) {
            size_t room = rp_codec_percent_len(plain, keep), again = 0;
            char *text = rp_alloc(room), *back = rp_alloc(room);
            RP_CHECK(rp_codec_percent_encode(plain, keep, text) == room);
            RP_CHECK(rp_codec_percent_decode(rp_str_of(text, room), 0, back, &again) == RP_OK);
            RP_CHECK(rp_str_eq(rp_str_of(back, again), plain));
            rp_free(text);
            rp_free(back);
        }
    }
    rp_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    rp_str in = rp_str_of((const char *)data, n);
    size_t room = n / 4 * 3 + 2;
    there_and_back(in, rp_codec_base64_decode, rp_codec_base64_encode, room, false);
    there_and_back(in, rp_codec_base64url_decode, rp_codec_base64url_encode, room, false);
    there_and_back(in, rp_codec_hex_decode, rp_codec_hex_encode, n / 2, true);
    for (unsigned flags = 0; flags <= (RP_CODEC_PLUS | RP_CODEC_LAX); flags++) percent(in, flags);

    /* Every element lies inside the list and has no space at its ends. */
    rp_str rest = in, item;
    while (rp_str_list_next(&rest, &item)) {
        RP_CHECK(item.len > 0 && item.ptr >= in.ptr && item.ptr + item.len <= in.ptr + in.len);
        RP_CHECK(rp_str_trim(item).len == item.len);
    }
    return 0;
}
