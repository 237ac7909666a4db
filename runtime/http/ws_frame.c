/* SPDX-License-Identifier: MIT
 *
 * ws_frame: see ws_frame.h. RFC 6455.
 */
#include "http/ws_frame.h"

#include "base/codec.h"
#include "net/tls.h"

enum {
    FIN = 0x80,
    RSV = 0x70,
    OPCODE = 0x0f,
    CONTROL = 0x08, /* bit of an opcode */
    MASKED = 0x80,
    LENGTH = 0x7f,
    LENGTH_16 = 126, /* the length stands in the next 2 bytes */
    LENGTH_64 = 127, /* ... 8 bytes */
    MASK_BYTES = 4,
    KEY_BYTES = 16, /* of a Sec-WebSocket-Key; in base64: */
    KEY_TEXT = 24,
};

void rp_ws_init(struct rp_ws *w)
{
    *w = (struct rp_ws){0};
}

bool rp_ws_is_between(const struct rp_ws *w)
{
    return w->left == 0;
}

/* ---- heads --------------------------------------------------------------------------------- */

static bool is_control(const struct rp_ws *w)
{
    return (w->opcode & CONTROL) != 0;
}

/* Bytes of a head by its second byte. */
static uint8_t head_bytes(uint8_t second)
{
    unsigned length = second & LENGTH;
    unsigned n = 2 + (length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0);
    return (uint8_t)(n + (second & MASKED ? MASK_BYTES : 0));
}

/* What the first two bytes tell. */
static rp_err check_start(const struct rp_ws *w, const struct rp_ws_rules *rules)
{
    uint8_t first = w->held[0], second = w->held[1], opcode = first & OPCODE;
    bool control = opcode & CONTROL, fin = first & FIN;
    /* §5.2: the meaning of RSV bits is an extension's. Opcodes that nobody defined fail also then. */
    if ((first & RSV) && (control || !rules->extended)) return RP_E_WS_PROTOCOL;
    if (opcode > (control ? RP_WS_PONG : RP_WS_BINARY)) return RP_E_WS_PROTOCOL;
    /* §5.1: a frame MUST be masked when it comes from a client, and MUST NOT be otherwise. */
    if (((second & MASKED) != 0) != rules->from_client) return RP_E_WS_PROTOCOL;
    if (control) { /* §5.5: short, and not in pieces */
        return fin && (second & LENGTH) <= RP_WS_CONTROL_MOST ? RP_OK : RP_E_WS_PROTOCOL;
    }
    /* §5.4: a message begins with its kind and goes on without. */
    return w->in_message == (opcode == RP_WS_CONTINUATION) ? RP_OK : RP_E_WS_PROTOCOL;
}

static uint64_t read_number(const uint8_t *p, int n)
{
    uint64_t value = 0;
    for (int i = 0; i < n; i++) value = value << 8 | p[i];
    return value;
}

/* §5.2: the shortest form MUST be used, and the highest bit of 64 is 0. */
static rp_err read_length(const struct rp_ws *w, uint64_t *out)
{
    unsigned length = w->held[1] & LENGTH;
    *out = length;
    if (length == LENGTH_16) {
        *out = read_number(w->held + 2, 2);
        return *out >= LENGTH_16 ? RP_OK : RP_E_WS_PROTOCOL;
    }
    if (length == LENGTH_64) {
        *out = read_number(w->held + 2, 8);
        return *out > UINT16_MAX && *out <= INT64_MAX ? RP_OK : RP_E_WS_PROTOCOL;
    }
    return RP_OK;
}

static rp_err begin_data(struct rp_ws *w, const struct rp_ws_rules *rules, uint64_t length)
{
    uint64_t before = w->opcode == RP_WS_CONTINUATION ? w->message : 0;
    uint64_t message = 0;
    if (rules->frame_max && length > rules->frame_max) return RP_E_WS_FRAME_BIG;
    if (__builtin_add_overflow(before, length, &message)) return RP_E_WS_MESSAGE_BIG;
    if (rules->message_max && message > rules->message_max) return RP_E_WS_MESSAGE_BIG;
    w->message = message;
    w->in_message = !(w->held[0] & FIN);
    w->left = length;
    return RP_OK;
}

/* §7.4: codes that may be sent; 1005, 1006 and 1015 never are. */
static bool is_close_code(unsigned code)
{
    if (code >= 3000) return code < 5000;
    return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}

static rp_err check_close(const struct rp_ws *w)
{
    char payload[RP_WS_CONTROL_MOST];
    size_t n = rp_ws_payload(w, payload);
    if (n == 0) return RP_OK;
    if (n == 1) return RP_E_WS_PROTOCOL; /* §5.5.1: the first two bytes are the code */
    return is_close_code((unsigned)read_number((const uint8_t *)payload, 2)) ? RP_OK
                                                                             : RP_E_WS_PROTOCOL;
}

/* ---- reading ------------------------------------------------------------------------------- */

/* A byte was added to what is held. RP_AGAIN: more are needed; RP_OK: the head of a data frame is
 * whole; RP_END: a control frame is. */
static rp_err look(struct rp_ws *w, const struct rp_ws_rules *rules)
{
    uint64_t length = 0;
    if (w->held_n == 2) {
        rp_err bad = check_start(w, rules);
        if (bad != RP_OK) return bad;
        w->opcode = w->held[0] & OPCODE;
        w->head_n = head_bytes(w->held[1]);
    }
    if (w->held_n < 2 || w->held_n < w->head_n) return RP_AGAIN;
    if (w->held_n == w->head_n) w->frames++;
    if (is_control(w)) {
        if (w->held_n < w->head_n + (w->held[1] & LENGTH)) return RP_AGAIN;
        rp_err bad = w->opcode == RP_WS_CLOSE ? check_close(w) : RP_OK;
        if (bad != RP_OK) return bad;
        w->closed |= w->opcode == RP_WS_CLOSE;
        return RP_END;
    }
    rp_err bad = read_length(w, &length);
    return bad == RP_OK ? begin_data(w, rules, length) : bad;
}

static size_t take_payload(struct rp_ws *w, size_t have)
{
    size_t n = (size_t)RP_MIN((uint64_t)have, w->left);
    w->left -= n;
    return n;
}

rp_err rp_ws_next(struct rp_ws *w, const struct rp_ws_rules *rules, rp_str in, size_t *used,
                  rp_str *pass)
{
    size_t n = 0;
    *used = 0;
    *pass = RP_STR_NONE;
    if (w->left > 0) {
        n = take_payload(w, in.len);
        *used = n;
        *pass = rp_str_head(in, n);
        return n ? RP_OK : RP_AGAIN;
    }
    if (w->went_on) w->held_n = w->head_n = 0;
    w->went_on = false;
    size_t old = w->held_n;
    while (n < in.len) {
        w->held[w->held_n++] = (uint8_t)in.ptr[n++];
        rp_err e = look(w, rules);
        if (e == RP_AGAIN) continue;
        *used = n;
        if (e < 0) return e;
        w->went_on = true;
        if (old > 0) { /* it began in bytes that are gone */
            *pass = rp_str_of((const char *)w->held, w->held_n);
            return e;
        }
        if (e == RP_OK) *used = n += take_payload(w, in.len - n);
        *pass = rp_str_head(in, n);
        return e;
    }
    *used = n;
    return RP_AGAIN;
}

size_t rp_ws_payload(const struct rp_ws *w, char out[RP_WS_CONTROL_MOST])
{
    size_t n = RP_MIN((size_t)(w->held[1] & LENGTH), (size_t)RP_WS_CONTROL_MOST);
    bool masked = w->held[1] & MASKED;
    const uint8_t *mask = w->held + 2, *from = mask + (masked ? MASK_BYTES : 0);
    for (size_t i = 0; i < n; i++) {
        out[i] = (char)(from[i] ^ (masked ? mask[i % MASK_BYTES] : 0));
    }
    return n;
}

/* ---- making -------------------------------------------------------------------------------- */

size_t rp_ws_put(char out[RP_WS_FRAME_MOST], uint8_t opcode, rp_str payload, const uint8_t *mask)
{
    size_t len = RP_MIN(payload.len, (size_t)RP_WS_CONTROL_MOST), n = 0;
    out[n++] = (char)(FIN | opcode);
    out[n++] = (char)(len | (mask ? MASKED : 0));
    for (size_t i = 0; mask && i < MASK_BYTES; i++) out[n++] = (char)mask[i];
    for (size_t i = 0; i < len; i++) {
        out[n++] = (char)((uint8_t)payload.ptr[i] ^ (mask ? mask[i % MASK_BYTES] : 0));
    }
    return n;
}

size_t rp_ws_put_close(char out[RP_WS_FRAME_MOST], uint16_t code, rp_str reason,
                       const uint8_t *mask)
{
    char payload[RP_WS_CONTROL_MOST] = {(char)(code >> 8), (char)(code & 0xff)};
    size_t n = RP_MIN(reason.len, sizeof payload - 2);
    if (n > 0) memcpy(payload + 2, reason.ptr, n);
    return rp_ws_put(out, RP_WS_CLOSE, rp_str_of(payload, n + 2), mask);
}

/* ---- the handshake ------------------------------------------------------------------------- */

bool rp_ws_is_key(rp_str key)
{
    char bytes[KEY_TEXT];
    size_t n = 0;
    if (key.len != KEY_TEXT) return false;
    return rp_codec_base64_decode(key, bytes, &n) == RP_OK && n == KEY_BYTES;
}

void rp_ws_accept(rp_str key, char out[RP_WS_ACCEPT_BYTES])
{
    static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint8_t digest[RP_TLS_SHA1_BYTES];
    const rp_str parts[] = {key, RP_STR(GUID)};
    rp_tls_sha1(parts, RP_COUNT(parts), digest);
    size_t n = rp_codec_base64_encode(rp_str_of((const char *)digest, sizeof digest), out);
    RP_CHECK(n == RP_WS_ACCEPT_BYTES);
}
