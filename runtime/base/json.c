/* SPDX-License-Identifier: MIT
 *
 * json: see json.h. The state is what may come next; open levels are bits.
 */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>

enum expect {
    VALUE,
    VALUE_OR_END, /* after "[" */
    KEY_OR_END,   /* after "{" */
    KEY,          /* after a comma in an object */
    COMMA_OR_END,
    NOTHING, /* after the one value of the text */
};

void rp_json_init(struct rp_json *j, rp_str in, uint32_t depth_max)
{
    *j = (struct rp_json){.in = in, .depth_max = RP_MIN(depth_max, (uint32_t)RP_JSON_DEPTH_MAX)};
    j->expect = VALUE;
}

/* ---- scanning ------------------------------------------------------------------------------- */

static rp_err refuse(struct rp_json *j, const char *why)
{
    j->why = why;
    return RP_E_INVALID;
}

/* The byte at the reading position; -1 at the end. */
static int peek(const struct rp_json *j)
{
    return j->at < j->in.len ? (unsigned char)j->in.ptr[j->at] : -1;
}

static void skip_space(struct rp_json *j)
{
    for (;;) {
        int ch = peek(j);
        if (ch != ' ' && ch != '\t' && ch != '\n' && ch != '\r') return;
        j->at++;
    }
}

static bool is_digit(int ch)
{
    return ch >= '0' && ch <= '9';
}

static int hex_of(unsigned char ch)
{
    if (is_digit(ch)) return ch - '0';
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* §7: after the opening quote; the text ends before the closing one. */
static rp_err scan_string(struct rp_json *j, rp_str *text)
{
    size_t from = ++j->at;
    for (;; j->at++) {
        int ch = peek(j);
        if (ch < 0) return refuse(j, "the string does not end");
        if (ch == '"') break;
        if (ch < 0x20) return refuse(j, "a control byte in a string");
        if (ch != '\\') continue;
        j->at++;
        ch = peek(j);
        if (ch < 0 || ch == 0 || !strchr("\"\\/bfnrtu", ch)) return refuse(j, "a bad escape");
        if (ch != 'u') continue;
        for (int i = 0; i < 4; i++) {
            j->at++;
            ch = peek(j);
            if (ch < 0 || hex_of((unsigned char)ch) < 0) return refuse(j, "a bad escape");
        }
    }
    *text = rp_str_of(j->in.ptr + from, j->at - from);
    j->at++;
    return RP_OK;
}

static bool scan_digits(struct rp_json *j)
{
    size_t from = j->at;
    while (is_digit(peek(j))) j->at++;
    return j->at > from;
}

/* §6: no leading zeros, no bare point, no plus in front. */
static rp_err scan_number(struct rp_json *j, rp_str *text)
{
    size_t from = j->at;
    if (peek(j) == '-') j->at++;
    if (peek(j) == '0') j->at++;
    else if (!scan_digits(j)) return refuse(j, "expected a value");
    if (is_digit(peek(j))) return refuse(j, "a number with a leading zero");
    if (peek(j) == '.') {
        j->at++;
        if (!scan_digits(j)) return refuse(j, "expected digits");
    }
    if (peek(j) == 'e' || peek(j) == 'E') {
        j->at++;
        if (peek(j) == '+' || peek(j) == '-') j->at++;
        if (!scan_digits(j)) return refuse(j, "expected digits");
    }
    *text = rp_str_of(j->in.ptr + from, j->at - from);
    return text->len > RP_JSON_NUMBER_MAX ? refuse(j, "a number that is too long") : RP_OK;
}

static rp_err scan_word(struct rp_json *j, struct rp_json_token *t)
{
    static const struct {
        rp_str word;
        enum rp_json_kind kind;
    } WORDS[] = {
        {{"true", 4}, RP_JSON_TRUE}, {{"false", 5}, RP_JSON_FALSE}, {{"null", 4}, RP_JSON_NULL}};
    for (size_t i = 0; i < RP_COUNT(WORDS); i++) {
        size_t n = WORDS[i].word.len;
        if (j->in.len - j->at >= n && memcmp(j->in.ptr + j->at, WORDS[i].word.ptr, n) == 0) {
            j->at += n;
            t->kind = WORDS[i].kind;
            return RP_OK;
        }
    }
    return refuse(j, "expected a value");
}

/* ---- structure ------------------------------------------------------------------------------ */

static bool in_object(const struct rp_json *j)
{
    return j->is_object[j->depth / 8] >> (j->depth % 8) & 1;
}

static rp_err open_level(struct rp_json *j, struct rp_json_token *t, bool object)
{
    if (j->depth == j->depth_max) {
        j->why = "nested too deep";
        return RP_E_CAP;
    }
    j->at++;
    j->depth++;
    uint8_t bit = (uint8_t)(1U << (j->depth % 8));
    j->is_object[j->depth / 8] &= (uint8_t)~bit;
    if (object) j->is_object[j->depth / 8] |= bit;
    j->expect = object ? KEY_OR_END : VALUE_OR_END;
    t->kind = object ? RP_JSON_OBJECT : RP_JSON_ARRAY;
    return RP_OK;
}

static void value_is_over(struct rp_json *j)
{
    j->expect = j->depth ? COMMA_OR_END : NOTHING;
}

static rp_err close_level(struct rp_json *j, struct rp_json_token *t)
{
    t->kind = in_object(j) ? RP_JSON_OBJECT_END : RP_JSON_ARRAY_END;
    j->at++;
    j->depth--;
    value_is_over(j);
    return RP_OK;
}

static rp_err read_key(struct rp_json *j, struct rp_json_token *t)
{
    if (peek(j) != '"') return refuse(j, "expected a name in quotes");
    rp_err e = scan_string(j, &t->text);
    if (e != RP_OK) return e;
    skip_space(j);
    if (peek(j) != ':') return refuse(j, "expected a colon");
    j->at++;
    t->kind = RP_JSON_KEY;
    j->expect = VALUE;
    return RP_OK;
}

static rp_err read_value(struct rp_json *j, struct rp_json_token *t)
{
    rp_err e;
    int ch = peek(j);
    if (ch == '{' || ch == '[') return open_level(j, t, ch == '{');
    if (ch == '"') {
        t->kind = RP_JSON_STRING;
        e = scan_string(j, &t->text);
    } else if (ch == '-' || is_digit(ch)) {
        t->kind = RP_JSON_NUMBER;
        e = scan_number(j, &t->text);
    } else {
        e = scan_word(j, t);
    }
    if (e == RP_OK) value_is_over(j);
    return e;
}

rp_err rp_json_next(struct rp_json *j, struct rp_json_token *t)
{
    skip_space(j);
    int ch = peek(j);
    if (j->expect == COMMA_OR_END) {
        if (ch == (in_object(j) ? '}' : ']')) return close_level(j, t);
        if (ch != ',') return refuse(j, "expected a comma or the end of the list or object");
        j->at++;
        j->expect = in_object(j) ? KEY : VALUE;
        skip_space(j);
        ch = peek(j);
    }
    switch ((enum expect)j->expect) {
    case VALUE_OR_END: return ch == ']' ? close_level(j, t) : read_value(j, t);
    case KEY_OR_END: return ch == '}' ? close_level(j, t) : read_key(j, t);
    case KEY: return read_key(j, t);
    case VALUE: return read_value(j, t);
    case COMMA_OR_END: break; /* dealt with above */
    case NOTHING:
        t->kind = RP_JSON_END;
        return ch < 0 ? RP_OK : refuse(j, "something follows the value");
    }
    return RP_E_INTERNAL;
}

/* ---- strings and numbers -------------------------------------------------------------------- */

static size_t put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char LEAD[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(LEAD[n] | code);
    return n;
}

static uint32_t unit_at(const char *p)
{
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++) unit = unit << 4 | (uint32_t)hex_of((unsigned char)p[i]);
    return unit;
}

/* One escape at raw[*at]; its character, or 0xd800 for half a surrogate pair. */
static uint32_t read_escape(rp_str raw, size_t *at)
{
    static const char FROM[] = "bfnrt", TO[] = "\b\f\n\r\t";
    char ch = raw.ptr[*at + 1];
    const char *found = strchr(FROM, ch);
    if (ch != 'u') {
        *at += 2;
        return (uint32_t)(unsigned char)(found ? TO[found - FROM] : ch);
    }
    uint32_t high = unit_at(raw.ptr + *at + 2);
    *at += 6;
    if (high < 0xd800 || high > 0xdfff) return high;
    bool pair =
        high < 0xdc00 && raw.len - *at >= 6 && raw.ptr[*at] == '\\' && raw.ptr[*at + 1] == 'u';
    uint32_t low = pair ? unit_at(raw.ptr + *at + 2) : 0;
    if (low < 0xdc00 || low > 0xdfff) return 0xd800;
    *at += 6;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

rp_err rp_json_unescape(rp_str raw, bool mend, char *out, size_t *out_n)
{
    enum { REPLACEMENT = 0xfffd };
    size_t n = 0, at = 0;
    while (at < raw.len) {
        unsigned char ch = (unsigned char)raw.ptr[at];
        if (ch == '\\') {
            uint32_t code = read_escape(raw, &at);
            if (code == 0xd800 && !mend) return RP_E_INVALID;
            n += put_utf8(out + n, code == 0xd800 ? REPLACEMENT : code);
            continue;
        }
        size_t len = ch < 0x80 ? 1 : rp_str_utf8_len(rp_str_of(raw.ptr + at, raw.len - at));
        if (len == 0 && !mend) return RP_E_INVALID;
        if (len == 0) n += put_utf8(out + n, REPLACEMENT);
        for (size_t i = 0; i < len; i++) out[n++] = raw.ptr[at + i];
        at += len ? len : 1;
    }
    *out_n = n;
    return RP_OK;
}

rp_err rp_json_number(rp_str text, double *out, bool *exact)
{
    enum { MOST = RP_JSON_NUMBER_MAX };
    char z[MOST + 1];
    if (text.len > MOST) return RP_E_INVALID;
    bool integer = true;
    for (size_t i = 0; i < text.len; i++) {
        z[i] = text.ptr[i];
        integer &= is_digit(z[i]) || z[i] == '-';
    }
    z[text.len] = 0;
    *out = strtod(z, NULL);
    *exact = !integer || fabs(*out) <= 9007199254740992.0;
    if (integer && fabs(*out) == 9007199254740992.0) /* 2^53 + 1 rounds to it */
        *exact = z[text.len - 1] == '2';
    return isfinite(*out) ? RP_OK : RP_E_INVALID;
}
