/* SPDX-License-Identifier: MIT
 *
 * codec: percent, base64, base64url and hex, both ways. Pure; decoders are strict.
 *
 * Encoders write exactly the number of bytes that their _len function says and return it. Decoders
 * write at most the bytes stated; on RP_E_INVALID what was written so far is garbage. No NUL is
 * added. Decoding percent and hex may be done in place (out == in.ptr).
 */
#ifndef RP_BASE_CODEC_H
#define RP_BASE_CODEC_H

#include "base/str.h"

/* ---- percent (RFC 3986 §2.1) */

/* Which bytes stay as they are. */
enum rp_codec_keep {
    RP_CODEC_KEEP_COMPONENT, /* unreserved only (§2.3): safe anywhere in a URI */
    RP_CODEC_KEEP_PATH,      /* pchar and "/" (§3.3) */
    RP_CODEC_KEEP_QUERY,     /* pchar, "/" and "?" (§3.4) */
};
size_t rp_codec_percent_len(rp_str in, enum rp_codec_keep keep);
size_t rp_codec_percent_encode(rp_str in, enum rp_codec_keep keep, char *out);

enum {
    RP_CODEC_PLUS = 1, /* "+" decodes to a space (HTML forms) */
    RP_CODEC_LAX = 2,  /* a "%" without two hex digits stays as it is */
};
/* At most in.len bytes into out. RP_E_INVALID on a bad escape unless RP_CODEC_LAX. */
RP_MUST rp_err rp_codec_percent_decode(rp_str in, unsigned flags, char *out, size_t *out_n);

/* ---- base64 (RFC 4648 §4) and base64url without padding (§5, as RFC 7515 uses it) */

size_t rp_codec_base64_len(size_t n); /* n < SIZE_MAX / 2 */
size_t rp_codec_base64_encode(rp_str in, char *out);
size_t rp_codec_base64url_len(size_t n);
size_t rp_codec_base64url_encode(rp_str in, char *out);
/* At most in.len / 4 * 3 + 2 bytes into out. RP_E_INVALID on foreign bytes, missing (base64) or
 * present (base64url) padding, and spare bits that are not zero: one text per value. */
RP_MUST rp_err rp_codec_base64_decode(rp_str in, char *out, size_t *out_n);
RP_MUST rp_err rp_codec_base64url_decode(rp_str in, char *out, size_t *out_n);

/* ---- hex (RFC 4648 §8): lower case out, either case in */

size_t rp_codec_hex_encode(rp_str in, char *out); /* writes and returns 2 * in.len */
/* in.len / 2 bytes into out. RP_E_INVALID on odd length or foreign bytes. */
RP_MUST rp_err rp_codec_hex_decode(rp_str in, char *out, size_t *out_n);

/* Value of a hex digit, -1 for any other byte. */
int rp_codec_hex_digit(char ch);

#endif
