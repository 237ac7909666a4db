/* SPDX-License-Identifier: MIT
 *
 * h1_chunk: the chunked transfer coding (RFC 9112 §7.1) as a state machine.
 *
 * The answer depends on the bytes alone, never on how they were cut into reads. The trailer section
 * is not consumed before it is whole, so its parser sees it contiguous.
 */
#include "http/h1_chunk.h"
#include "http/scan.h"

enum {
    SIZE_DIGITS_MAX = 16,      /* leading zeros included */
    LINE_MAX_BYTES = 8 * 1024, /* of one size line, of the trailer section */
    OVERHEAD_MAX = 16 * 1024,  /* extension bytes that no data has paid for */
};
#define SIZE_MAX_BYTES (UINT64_C(1) << 60) /* sums of sizes stay far from overflow */

enum chunk_state {
    AT_SIZE,      /* hex digits */
    AT_EXTENSION, /* behind ';' */
    AT_SIZE_LF,   /* CR of the size line was seen */
    AT_DATA,
    AT_DATA_CR, /* data complete, CRLF is due */
    AT_DATA_LF,
    AT_TRAILERS,
    AT_END,
    BROKEN,
};

void rp_h1_chunk_init(struct rp_h1_chunk *c)
{
    memset(c, 0, sizeof *c);
}

static rp_err broken(struct rp_h1_chunk *c)
{
    c->state = BROKEN;
    return RP_E_H1_CHUNK;
}

/* chunk-size = 1*HEXDIG. No sign, no prefix, no whitespace: RFC 9112 §7.1.1 lets recipients read
 * past bad whitespace before ';'; refused, since servers disagree about it. */
static rp_err take_size(struct rp_h1_chunk *c, char ch)
{
    if (rp_chars_is(ch, RP_CH_HEX)) {
        if (++c->digits > SIZE_DIGITS_MAX) return broken(c); /* 64 bits hold that many */
        c->left = c->left << 4 | rp_chars_hex(ch);
        return c->left > SIZE_MAX_BYTES ? broken(c) : RP_OK;
    }
    if (c->digits == 0) return broken(c);
    if (ch == '\r') c->state = AT_SIZE_LF;
    else if (ch == ';') c->state = AT_EXTENSION;
    else return broken(c);
    return RP_OK;
}

/* RFC 9112 §7.1.1: unrecognised extensions MUST be ignored, and their total length SHOULD be
 * limited. Each data byte pays for one; without the sum, 8 KB lines could carry one byte of data
 * each. */
static rp_err take_extension(struct rp_h1_chunk *c, const char **p, const char *end)
{
    const char *stop = rp_scan_value(*p, end);
    size_t n = (size_t)(stop - *p);
    if (n > LINE_MAX_BYTES - c->line_bytes || n > OVERHEAD_MAX - c->overhead) return broken(c);
    c->line_bytes += (uint32_t)n;
    c->overhead += (uint32_t)n;
    *p = stop;
    if (stop == end) return RP_OK;
    if (*stop != '\r') return broken(c);
    *p = stop + 1;
    c->state = AT_SIZE_LF;
    return RP_OK;
}

static rp_err expect(struct rp_h1_chunk *c, char ch, char due, enum chunk_state next)
{
    if (ch != due) return broken(c);
    c->state = (uint8_t)next;
    return RP_OK;
}

static void begin_size(struct rp_h1_chunk *c)
{
    c->left = 0;
    c->line_bytes = 0;
    c->digits = 0;
}

static rp_str take_data(struct rp_h1_chunk *c, const char *p, size_t room)
{
    size_t n = c->left < room ? (size_t)c->left : room;
    c->left -= n;
    c->overhead -= (uint32_t)RP_MIN(n, (size_t)c->overhead);
    if (c->left == 0) c->state = AT_DATA_CR;
    return rp_str_of(p, n);
}

/* The section is whole when an empty line came. line_bytes: where the first incomplete line starts.
 */
static rp_err find_trailers_end(struct rp_h1_chunk *c, const char *p, size_t n, size_t *section_n)
{
    const char *end = p + RP_MIN(n, (size_t)LINE_MAX_BYTES);
    for (const char *line = p + c->line_bytes;;) {
        const char *lf = rp_scan_byte(line, end, '\n');
        if (lf == end) break;
        if (lf == line || lf[-1] != '\r') return broken(c);
        c->line_bytes = (uint32_t)(lf + 1 - p);
        if (lf - line == 1) {
            *section_n = c->line_bytes;
            c->state = AT_END;
            return RP_END;
        }
        line = lf + 1;
    }
    return n >= LINE_MAX_BYTES ? broken(c) : RP_AGAIN;
}

/* One step of the framing at p < end; RP_OK to go on. */
static rp_err step(struct rp_h1_chunk *c, const char **p, const char *end)
{
    rp_err e = RP_E_H1_CHUNK;
    switch ((enum chunk_state)c->state) {
    case AT_SIZE: return take_size(c, *(*p)++);
    case AT_EXTENSION: return take_extension(c, p, end);
    case AT_SIZE_LF:
        e = expect(c, *(*p)++, '\n', c->left ? AT_DATA : AT_TRAILERS);
        c->line_bytes = 0;
        return e;
    case AT_DATA_CR: return expect(c, *(*p)++, '\r', AT_DATA_LF);
    case AT_DATA_LF:
        e = expect(c, *(*p)++, '\n', AT_SIZE);
        if (e == RP_OK) begin_size(c);
        return e;
    case AT_DATA:
    case AT_TRAILERS:
    case AT_END:
    case BROKEN: break;
    }
    return e;
}

rp_err rp_h1_chunk_next(struct rp_h1_chunk *c, const char *p, size_t n, size_t *used_n,
                        rp_str *data)
{
    *data = RP_STR_NONE;
    *used_n = 0;
    if (c->state == AT_END) return RP_END;
    if (n == 0) return c->state == BROKEN ? RP_E_H1_CHUNK : RP_AGAIN;
    const char *at = p, *end = p + n;
    rp_err e = RP_OK;
    while (e == RP_OK && at < end && c->state != AT_DATA && c->state != AT_TRAILERS)
        e = step(c, &at, end);
    *used_n = (size_t)(at - p);
    if (e != RP_OK) return e;
    if (at == end) return RP_AGAIN;
    if (c->state == AT_DATA) {
        *data = take_data(c, at, (size_t)(end - at));
        *used_n += data->len;
        return RP_OK;
    }
    size_t section_n = 0;
    e = find_trailers_end(c, at, (size_t)(end - at), &section_n);
    if (e == RP_END) {
        *data = rp_str_of(at, section_n);
        *used_n += section_n;
    }
    return e;
}
