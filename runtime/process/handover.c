/* SPDX-License-Identifier: MIT
 *
 * handover: see handover.h.
 */
#include "process/handover.h"

#include "base/codec.h"
#include "base/mem.h"

/* ---- writing ------------------------------------------------------------------------------- */

void rp_handover_begin(struct rp_handover_out *o, bool indexed)
{
    *o = (struct rp_handover_out){.indexed = indexed};
    rp_buf_init(&o->text, RP_HANDOVER_BYTES_MOST);
}

void rp_handover_end(struct rp_handover_out *o)
{
    rp_buf_fini(&o->text);
    rp_free(o->fds);
    *o = (struct rp_handover_out){0};
}

uint64_t rp_handover_fd(struct rp_handover_out *o, int fd)
{
    if (fd < 0) return RP_HANDOVER_NO_FD;
    if (o->fds_n == o->fds_room) {
        o->fds_room = o->fds_room ? o->fds_room * 2 : 64;
        o->fds = rp_realloc(o->fds, sizeof *o->fds * o->fds_room);
    }
    o->fds[o->fds_n++] = fd;
    return o->indexed ? o->fds_n - 1 : (uint64_t)fd;
}

void rp_handover_put(struct rp_handover_out *o, const char *key, const uint64_t *numbers, size_t n,
                     rp_str text)
{
    RP_CHECK(n <= RP_HANDOVER_NUMBERS && text.len <= RP_HANDOVER_TEXT_MOST);
    rp_buf_add_z(&o->text, key);
    for (size_t i = 0; i < n; i++) {
        rp_buf_add_ch(&o->text, ' ');
        rp_buf_add_u64(&o->text, numbers[i]);
    }
    if (text.len) rp_buf_add(&o->text, RP_STR(" ="));
    for (size_t i = 0; i < text.len; i++) {
        char hex[2];
        (void)rp_codec_hex_encode(rp_str_of(text.ptr + i, 1), hex); /* always two */
        rp_buf_add(&o->text, rp_str_of(hex, sizeof hex));
    }
    rp_buf_add_ch(&o->text, '\n');
}

/* ---- reading ------------------------------------------------------------------------------- */

void rp_handover_open(struct rp_handover_in *in, rp_str text, const int *fds, uint32_t fds_n)
{
    *in = (struct rp_handover_in){.rest = text, .fds = fds, .fds_n = fds_n};
    rp_buf_init(&in->text, RP_HANDOVER_TEXT_MOST);
}

void rp_handover_close(struct rp_handover_in *in)
{
    rp_buf_fini(&in->text);
}

static bool take_text(struct rp_handover_in *in, rp_str hex)
{
    if (hex.len > 2 * RP_HANDOVER_TEXT_MOST || hex.len % 2) return false;
    for (size_t i = 0; i < hex.len; i += 2) {
        char byte;
        size_t n;
        if (rp_codec_hex_decode(rp_str_of(hex.ptr + i, 2), &byte, &n) != RP_OK) return false;
        rp_buf_add_ch(&in->text, byte);
    }
    return true;
}

static bool take_word(struct rp_handover_in *in, struct rp_handover_record *r, rp_str word,
                      size_t *numbers)
{
    uint64_t number;
    if (word.len && word.ptr[0] == '=') return take_text(in, rp_str_from(word, 1));
    if (rp_str_u64(word, &number) != RP_OK) return false;
    if (*numbers < RP_HANDOVER_NUMBERS) r->n[*numbers] = number;
    ++*numbers;
    return true;
}

bool rp_handover_next(struct rp_handover_in *in, struct rp_handover_record *r)
{
    *r = (struct rp_handover_record){0};
    rp_buf_clear(&in->text);
    if (in->rest.len == 0 || in->bad) return false;
    size_t end = rp_str_find(in->rest, '\n', 0), numbers = 0;
    rp_str line = rp_str_head(in->rest, end);
    in->bad = end == in->rest.len; /* cut off */
    size_t space = rp_str_find(line, ' ', 0);
    r->key = rp_str_head(line, space);
    if (space == 0) in->bad = true;
    while (space < line.len && !in->bad) {
        size_t next = rp_str_find(line, ' ', space + 1);
        if (!take_word(in, r, rp_str_of(line.ptr + space + 1, next - space - 1), &numbers))
            in->bad = true;
        space = next;
    }
    if (in->bad) return false;
    in->rest = rp_str_from(in->rest, end + 1);
    r->text = rp_buf_str(&in->text);
    return true;
}

bool rp_handover_is(const struct rp_handover_record *r, const char *key)
{
    return rp_str_eq(r->key, rp_str_z(key));
}

int rp_handover_fd_of(const struct rp_handover_in *in, uint64_t number)
{
    if (!in->fds) return number < RP_HANDOVER_FDS_MOST ? (int)number : -1;
    return number < in->fds_n ? in->fds[number] : -1;
}
