/* SPDX-License-Identifier: MIT
 *
 * codec: byte texts. Pure: no allocation, no state.
 */
#include "base/codec.h"

int rp_codec_hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9') return ch - '0';
    ch = rp_lower(ch);
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* The byte of two hex digits, -1 when one is none. */
static int hex_pair(const char *p)
{
    int high = rp_codec_hex_digit(p[0]), low = rp_codec_hex_digit(p[1]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* ------------------------------------------------------------------ percent */

static const char *const kept_marks[] = {
    [RP_CODEC_KEEP_COMPONENT] = "-._~",
    [RP_CODEC_KEEP_PATH] = "-._~!$&'()*+,;=:@/",
    [RP_CODEC_KEEP_QUERY] = "-._~!$&'()*+,;=:@/?",
};

static inline bool is_kept(char ch, enum rp_codec_keep keep)
{
    char low = rp_lower(ch);
    if ((low >= 'a' && low <= 'z') || (ch >= '0' && ch <= '9')) return true;
    return ch && strchr(kept_marks[keep], ch);
}

size_t rp_codec_percent_len(rp_str in, enum rp_codec_keep keep)
{
    size_t n = in.len;
    for (size_t i = 0; i < in.len; i++) {
        if (!is_kept(in.ptr[i], keep)) n += 2;
    }
    return n;
}

size_t rp_codec_percent_encode(rp_str in, enum rp_codec_keep keep, char *out)
{
    /* RFC 3986 §2.1: producers SHOULD use upper case digits. */
    static const char digits[] = "0123456789ABCDEF";
    char *p = out;
    for (size_t i = 0; i < in.len; i++) {
        char ch = in.ptr[i];
        if (is_kept(ch, keep)) {
            *p++ = ch;
        } else {
            *p++ = '%';
            *p++ = digits[(unsigned char)ch >> 4];
            *p++ = digits[(unsigned char)ch & 15];
        }
    }
    return (size_t)(p - out);
}

rp_err rp_codec_percent_decode(rp_str in, unsigned flags, char *out, size_t *out_n)
{
    char *p = out;
    for (size_t i = 0; i < in.len; i++) {
        char ch = in.ptr[i];
        if (ch == '%') {
            int byte = in.len - i > 2 ? hex_pair(in.ptr + i + 1) : -1;
            if (byte < 0 && !(flags & RP_CODEC_LAX)) return RP_E_INVALID;
            if (byte >= 0) {
                ch = (char)byte;
                i += 2;
            }
        } else if (ch == '+' && flags & RP_CODEC_PLUS) {
            ch = ' ';
        }
        *p++ = ch;
    }
    *out_n = (size_t)(p - out);
    return RP_OK;
}

/* ------------------------------------------------------------------ base64 */

#define ALPHANUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
static const char alphabet[] = ALPHANUM "+/";
static const char alphabet_url[] = ALPHANUM "-_";

static int digit_of(char ch, const char *digits)
{
    if (ch >= 'A' && ch <= 'Z') return ch - 'A';
    if (ch >= 'a' && ch <= 'z') return ch - 'a' + 26;
    if (ch >= '0' && ch <= '9') return ch - '0' + 52;
    return ch == digits[62] ? 62 : ch == digits[63] ? 63 : -1;
}

size_t rp_codec_base64_len(size_t n)
{
    return (n + 2) / 3 * 4;
}

size_t rp_codec_base64url_len(size_t n)
{
    return n / 3 * 4 + (n % 3 ? n % 3 + 1 : 0);
}

static char *encode_group(char *p, const unsigned char *in, size_t n, const char *digits)
{
    unsigned word = (unsigned)in[0] << 16;
    if (n > 1) word |= (unsigned)in[1] << 8;
    if (n > 2) word |= in[2];
    for (size_t i = 0; i <= n; i++) *p++ = digits[word >> (18 - 6 * i) & 63];
    return p;
}

static char *encode_all(rp_str in, char *p, const char *digits)
{
    const unsigned char *from = (const unsigned char *)in.ptr;
    for (size_t left = in.len; left;) {
        size_t n = RP_MIN(left, (size_t)3);
        p = encode_group(p, from, n, digits);
        from += n;
        left -= n;
    }
    return p;
}

size_t rp_codec_base64_encode(rp_str in, char *out)
{
    char *p = encode_all(in, out, alphabet);
    while ((p - out) % 4) *p++ = '=';
    return (size_t)(p - out);
}

size_t rp_codec_base64url_encode(rp_str in, char *out)
{
    return (size_t)(encode_all(in, out, alphabet_url) - out);
}

/* One group of 2..4 digits into n - 1 bytes; false on a foreign byte or spare bits that are set. */
static bool decode_group(const char *in, size_t n, const char *digits, char *out)
{
    unsigned word = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = i < n ? digit_of(in[i], digits) : 0;
        if (digit < 0) return false;
        word = word << 6 | (unsigned)digit;
    }
    for (size_t i = 0; i + 1 < n; i++) out[i] = (char)(word >> (16 - 8 * i));
    unsigned spare = n == 2 ? 0xffff : n == 3 ? 0xff : 0;
    return (word & spare) == 0;
}

static rp_err decode_all(rp_str in, const char *digits, char *out, size_t *out_n)
{
    char *p = out;
    while (in.len) {
        size_t n = RP_MIN(in.len, (size_t)4);
        if (n == 1 || !decode_group(in.ptr, n, digits, p)) return RP_E_INVALID;
        p += n - 1;
        in = rp_str_from(in, n);
    }
    *out_n = (size_t)(p - out);
    return RP_OK;
}

rp_err rp_codec_base64_decode(rp_str in, char *out, size_t *out_n)
{
    if (in.len % 4) return RP_E_INVALID;
    for (int i = 0; i < 2 && in.len && in.ptr[in.len - 1] == '='; i++) in.len--;
    return decode_all(in, alphabet, out, out_n);
}

rp_err rp_codec_base64url_decode(rp_str in, char *out, size_t *out_n)
{
    return decode_all(in, alphabet_url, out, out_n);
}

/* ------------------------------------------------------------------ hex */

size_t rp_codec_hex_encode(rp_str in, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < in.len; i++) {
        unsigned char byte = (unsigned char)in.ptr[i];
        out[2 * i] = digits[byte >> 4];
        out[2 * i + 1] = digits[byte & 15];
    }
    return 2 * in.len;
}

rp_err rp_codec_hex_decode(rp_str in, char *out, size_t *out_n)
{
    if (in.len % 2) return RP_E_INVALID;
    for (size_t i = 0; i < in.len / 2; i++) {
        int byte = hex_pair(in.ptr + 2 * i);
        if (byte < 0) return RP_E_INVALID;
        out[i] = (char)byte;
    }
    *out_n = in.len / 2;
    return RP_OK;
}
