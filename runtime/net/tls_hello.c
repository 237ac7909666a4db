/* SPDX-License-Identifier: MIT
 *
 * tls_hello: see tls_hello.h.
 *
 * Two layers: records (type, version, length, fragment) are taken apart as bytes come in, and their
 * fragments gathered; the handshake message that they make is read when its last byte is there.
 */
#include "net/tls_hello.h"

enum {
    RECORD_HANDSHAKE = 22,
    RECORD_HEADER_BYTES = 5,
    RECORD_MOST = 16 * 1024, /* bytes of one fragment (RFC 8446 §5.1) */
    MESSAGE_CLIENT_HELLO = 1,
    MESSAGE_HEADER_BYTES = 4,
    RANDOM_BYTES = 32,
    SESSION_ID_MOST = 32,
    EXTENSION_SNI = 0,
    EXTENSION_SIGALGS = 13,
    EXTENSION_ALPN = 16,
    EXTENSION_VERSIONS = 43,
    NAME_TYPE_HOST = 0,
};

/* ---- taking bytes ---------------------------------------------------------------------------- */

/* What is left of a vector; `bad` sticks and makes every later answer empty. */
struct take {
    rp_str rest;
    bool bad;
};

static rp_str take_bytes(struct take *t, size_t n)
{
    if (t->bad || n > t->rest.len) {
        t->bad = true;
        return RP_STR_NONE;
    }
    rp_str s = rp_str_head(t->rest, n);
    t->rest = rp_str_from(t->rest, n);
    return s;
}

/* A big-endian number of n bytes. */
static uint32_t take_number(struct take *t, size_t n)
{
    uint32_t value = 0;
    rp_str s = take_bytes(t, n);
    for (size_t i = 0; i < s.len; i++) value = value << 8 | (uint8_t)s.ptr[i];
    return value;
}

/* A vector whose length stands in front of it in n bytes. */
static rp_str take_vector(struct take *t, size_t n)
{
    return take_bytes(t, take_number(t, n));
}

/* ---- extensions ------------------------------------------------------------------------------ */

bool rp_tls_hello_is_name(rp_str s)
{
    size_t label = 0;
    if (s.len == 0 || s.len > RP_TLS_NAME_MOST) return false;
    for (size_t i = 0; i < s.len; i++) {
        char ch = rp_lower(s.ptr[i]);
        bool word = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_';
        if (ch == '.' ? label == 0 : !word || label == 63) return false;
        label = ch == '.' ? 0 : label + 1;
    }
    return label > 0;
}

/* The list may hold one name of each type, and host names are the only type there is. */
static bool read_sni(struct rp_tls_hello *h, rp_str data)
{
    struct take outer = {.rest = data};
    struct take t = {.rest = take_vector(&outer, 2)};
    uint32_t type = take_number(&t, 1);
    rp_str name = take_vector(&t, 2);
    if (outer.bad || t.bad || outer.rest.len || t.rest.len || h->sni.ptr) return false;
    if (type != NAME_TYPE_HOST || !rp_tls_hello_is_name(name)) return false;
    char *own = h->body + (name.ptr - h->body);
    for (size_t i = 0; i < name.len; i++) own[i] = rp_lower(own[i]);
    h->sni = name;
    return true;
}

static bool read_alpn(struct rp_tls_hello *h, rp_str data)
{
    struct take outer = {.rest = data};
    rp_str list = take_vector(&outer, 2);
    struct take t = {.rest = list};
    if (outer.bad || outer.rest.len || list.len == 0 || h->alpn.ptr) return false;
    while (t.rest.len && !t.bad) {
        rp_str name = take_vector(&t, 1);
        if (name.len == 0) return false; /* empty names are forbidden */
    }
    if (!t.bad) h->alpn = list;
    return !t.bad;
}

/* A list of numbers of two bytes, its length in n bytes in front; one at least (RFC 8446 §4.2.1, .3). */
static bool read_codes(rp_str *list, rp_str data, size_t n)
{
    struct take t = {.rest = data};
    rp_str codes = take_vector(&t, n);
    if (t.bad || t.rest.len || codes.len < 2 || codes.len % 2 || list->ptr) return false;
    *list = codes;
    return true;
}

static bool read_extension(struct rp_tls_hello *h, struct take *t)
{
    uint32_t type = take_number(t, 2);
    rp_str data = take_vector(t, 2);
    if (t->bad) return false;
    /* The same extension twice is refused by these: MUST NOT (RFC 8446 §4.2). */
    switch (type) {
    case EXTENSION_SNI: return read_sni(h, data);
    case EXTENSION_ALPN: return read_alpn(h, data);
    case EXTENSION_VERSIONS: return read_codes(&h->versions, data, 1);
    case EXTENSION_SIGALGS: return read_codes(&h->sigalgs, data, 2);
    default: return true;
    }
}

/* ---- the message ------------------------------------------------------------------------------ */

static bool read_hello(struct rp_tls_hello *h, rp_str message)
{
    struct take t = {.rest = message};
    h->version = (uint16_t)take_number(&t, 2);
    if (h->version >> 8 != 3) return false; /* SSL 3.0 and all TLS (RFC 8446 §4.1.2) */
    (void)take_bytes(&t, RANDOM_BYTES);
    if (take_vector(&t, 1).len > SESSION_ID_MOST) return false;
    h->ciphers = take_vector(&t, 2);
    rp_str compressions = take_vector(&t, 1);
    if (t.bad || h->ciphers.len < 2 || h->ciphers.len % 2 || compressions.len == 0) return false;
    if (t.rest.len == 0) return true; /* before TLS 1.3 there may be no extensions at all */
    h->extensions = take_vector(&t, 2);
    if (t.bad || t.rest.len) return false;
    struct take each = {.rest = h->extensions};
    while (each.rest.len)
        if (!read_extension(h, &each)) return false;
    return true;
}

/* The message as far as it has come. */
static rp_err read_message(struct rp_tls_hello *h)
{
    if (h->body_n > 0 && h->body[0] != MESSAGE_CLIENT_HELLO) return RP_E_TLS_HELLO;
    if (h->body_n < MESSAGE_HEADER_BYTES) return RP_AGAIN;
    struct take t = {.rest = rp_str_of(h->body + 1, h->body_n - 1)};
    uint32_t n = take_number(&t, 3);
    if (n > RP_TLS_HELLO_MOST - MESSAGE_HEADER_BYTES - RECORD_HEADER_BYTES)
        return RP_E_TLS_HELLO_BIG;
    if (t.rest.len < n) return RP_AGAIN;
    return read_hello(h, rp_str_head(t.rest, n)) ? RP_OK : RP_E_TLS_HELLO;
}

/* ---- records ---------------------------------------------------------------------------------- */

/* One more byte of a record's header. Each is checked at once: what is not TLS shows at its first. */
static rp_err read_header(struct rp_tls_hello *h, uint8_t byte)
{
    h->header[h->header_n++] = byte;
    if (h->header[0] != RECORD_HANDSHAKE) return RP_E_TLS_HELLO;
    if (h->header_n > 1 && h->header[1] != 3) return RP_E_TLS_HELLO;
    if (h->header_n < RECORD_HEADER_BYTES) return RP_AGAIN;
    h->header_n = 0;
    h->record_left = (uint32_t)h->header[3] << 8 | h->header[4];
    /* Empty handshake fragments are forbidden (RFC 8446 §5.1). */
    return h->record_left == 0 || h->record_left > RECORD_MOST ? RP_E_TLS_HELLO : RP_AGAIN;
}

static rp_err feed(struct rp_tls_hello *h, rp_str bytes)
{
    rp_err e = RP_AGAIN;
    while (bytes.len > 0 && e == RP_AGAIN) {
        if (h->wire_n == RP_TLS_HELLO_MOST) return RP_E_TLS_HELLO_BIG;
        if (h->record_left == 0) {
            e = read_header(h, (uint8_t)bytes.ptr[0]);
            bytes = rp_str_from(bytes, 1);
            h->wire_n++;
            continue;
        }
        size_t n = RP_MIN(bytes.len, (size_t)RP_MIN(h->record_left, RP_TLS_HELLO_MOST - h->wire_n));
        memcpy(h->body + h->body_n, bytes.ptr, n); /* body_n < wire_n <= RP_TLS_HELLO_MOST */
        bytes = rp_str_from(bytes, n);
        h->body_n += (uint32_t)n;
        h->wire_n += (uint32_t)n;
        h->record_left -= (uint32_t)n;
        e = read_message(h);
    }
    return e;
}

void rp_tls_hello_init(struct rp_tls_hello *h, char *body)
{
    *h = (struct rp_tls_hello){.body = body, .result = RP_AGAIN};
}

static rp_err conclude(struct rp_tls_hello *h, rp_err e)
{
    h->result = e;
    if (e == RP_OK) return e;
    h->sni = h->alpn = h->extensions = h->ciphers = h->versions = h->sigalgs = RP_STR_NONE;
    h->version = 0;
    return e;
}

rp_err rp_tls_hello_feed(struct rp_tls_hello *h, rp_str bytes)
{
    return h->result == RP_AGAIN ? conclude(h, feed(h, bytes)) : h->result;
}

rp_err rp_tls_hello_take(struct rp_tls_hello *h, rp_str message)
{
    if (message.len > RP_TLS_HELLO_MOST) return conclude(h, RP_E_TLS_HELLO_BIG);
    memcpy(h->body, message.ptr, message.len);
    h->body_n = h->wire_n = (uint32_t)message.len;
    rp_err e = read_message(h);
    return conclude(h, e == RP_AGAIN ? RP_E_TLS_HELLO : e);
}

bool rp_tls_hello_alpn_next(rp_str *rest, rp_str *name)
{
    struct take t = {.rest = *rest};
    if (rest->len == 0) return false;
    *name = take_vector(&t, 1);
    *rest = t.rest;
    return !t.bad;
}

/* 0x0a0a, 0x1a1a .. 0xfafa (RFC 8701 §2). */
static bool is_grease(uint32_t code)
{
    return (code & 0x0f0f) == 0x0a0a && code >> 8 == (code & 0xff);
}

bool rp_tls_hello_code_next(rp_str *rest, uint16_t *code)
{
    struct take t = {.rest = *rest};
    uint32_t value = 0;
    do value = take_number(&t, 2);
    while (!t.bad && is_grease(value));
    *rest = t.bad ? RP_STR_NONE : t.rest;
    *code = (uint16_t)value;
    return !t.bad;
}

bool rp_tls_hello_extension_next(rp_str *rest, uint16_t *type)
{
    struct take t = {.rest = *rest};
    uint32_t value = 0;
    do {
        value = take_number(&t, 2);
        (void)take_vector(&t, 2);
    } while (!t.bad && is_grease(value));
    *rest = t.bad ? RP_STR_NONE : t.rest;
    *type = (uint16_t)value;
    return !t.bad;
}
