/* SPDX-License-Identifier: MIT
 *
 * h1_write: see h1_write.h. RFC 9112 §4, §5, §7.1.
 */
#include "http/h1_write.h"

#include "http/h1_parse.h"

enum { FIELD_EXTRA = 4 }; /* ": " and CRLF */

extern inline void rp_h1_put(struct rp_h1_writer *w, rp_str s);
extern inline void rp_h1_put_three(struct rp_h1_writer *w, rp_str a, rp_str b, rp_str c);

#define H 1
#define L 0
#define IN_WORD(id, word) (RP_H_##id / 64 == (word) ? UINT64_C(1) << (RP_H_##id % 64) : 0)
const struct rp_h1_skip rp_h1_hop = {.bits = {
#define F(id, name, flags) ((flags) ? IN_WORD(id, 0) : 0) |
#include "http/token.tbl"
#undef F
                                         IN_WORD(CONTENT_LENGTH, 0),
#define F(id, name, flags) ((flags) ? IN_WORD(id, 1) : 0) |
#include "http/token.tbl"
#undef F
                                         IN_WORD(CONTENT_LENGTH, 1),
                                     }};
#undef IN_WORD
#undef L
#undef H

size_t rp_h1_fields_bound(const struct rp_msg *m)
{
    size_t n = 2 + m->reason.len;
    for (uint16_t i = 0; i < m->fields_n; i++) {
        n += (size_t)m->fields[i].name_n + m->fields[i].value_n + FIELD_EXTRA;
    }
    return n;
}

struct rp_h1_writer rp_h1_writer_new(struct rp_mem *mem, size_t bound)
{
    struct rp_chunk *c = rp_chunk_new(mem, bound);
    return (struct rp_h1_writer){.p = c->data, .end = c->data + c->room, .chunk = c};
}

void rp_h1_put_u64(struct rp_h1_writer *w, uint64_t value)
{
    RP_CHECK((size_t)(w->end - w->p) >= 20);
    w->p += rp_str_put_u64(w->p, value);
}

void rp_h1_put_field(struct rp_h1_writer *w, rp_str name, rp_str value)
{
    size_t room = (size_t)(w->end - w->p);
    RP_CHECK(name.len <= room && value.len <= room - name.len &&
             room - name.len - value.len >= FIELD_EXTRA);
    char *p = w->p;
    if (name.len) memcpy(p, name.ptr, name.len);
    p += name.len;
    memcpy(p, ": ", 2);
    if (value.len) memcpy(p + 2, value.ptr, value.len);
    p += 2 + value.len;
    memcpy(p, "\r\n", 2);
    w->p = p + 2;
}

/* Does f lie as "name: value" in one piece? */
static inline bool is_in_one(const struct rp_field *f)
{
    const char *colon = f->name + f->name_n;
    return f->value == colon + 2 && memcmp(colon, ": ", 2) == 0;
}

static inline bool is_left_out(const struct rp_field *f, const struct rp_h1_skip *skip)
{
    return f->name_n == 0 || rp_h1_skip_has(skip, f->id);
}

/* Lines that lie behind each other, the CRLF of the last written anew: it may be another's. */
static inline void put_run(struct rp_h1_writer *w, const char *run, const char *behind)
{
    if (!run) return;
    rp_h1_put_three(w, rp_str_of(run, (size_t)(behind - run) - 2), RP_STR("\r\n"), RP_STR(""));
}

static inline void put_live_fields(struct rp_h1_writer *w, const struct rp_msg *m,
                                   const struct rp_h1_skip *skip)
{
    const struct rp_field *f = m->fields, *end = f + m->fields_n;
    const char *run = NULL, *behind = NULL; /* what is not copied yet, and where it would go on */
    for (; f < end; f++) {
        if (is_left_out(f, skip)) continue;
        if (RP_UNLIKELY(!is_in_one(f))) {
            put_run(w, run, behind);
            run = behind = NULL;
            rp_h1_put_field(w, rp_field_name(f), rp_field_value(f));
            continue;
        }
        if (f->name != behind) {
            put_run(w, run, behind);
            run = f->name;
        }
        behind = f->value + f->value_n + 2;
    }
    put_run(w, run, behind);
}

/* Connection names some of them, which no parsed head has. */
static RP_COLD void put_unnamed_fields(struct rp_h1_writer *w, const struct rp_msg *m,
                                       const struct rp_h1_skip *skip)
{
    for (const struct rp_field *f = m->fields, *end = f + m->fields_n; f < end; f++)
        if (!is_left_out(f, skip) && !rp_msg_is_conn_option(m, f))
            rp_h1_put_field(w, rp_field_name(f), rp_field_value(f));
}

void rp_h1_put_fields(struct rp_h1_writer *w, const struct rp_msg *m, const struct rp_h1_skip *skip)
{
    if (RP_UNLIKELY(m->conn_options)) put_unnamed_fields(w, m, skip);
    else put_live_fields(w, m, skip);
}

void rp_h1_put_status(struct rp_h1_writer *w, const struct rp_msg *m)
{
    unsigned status = m->status;
    bool is_ok = m->reason.len == 2 && memcmp(m->reason.ptr, "OK", 2) == 0;
    if (RP_LIKELY(status == 200 && is_ok)) {
        rp_h1_put(w, RP_STR("HTTP/1.1 200 OK\r\n"));
        return;
    }
    rp_str reason = m->reason.len ? m->reason : rp_msg_reason(m->status);
    char *line = w->p;
    RP_CHECK(status >= 100 && status <= 999);
    rp_h1_put_three(w, RP_STR("HTTP/1.1 200 "), reason, RP_STR("\r\n"));
    line[9] = (char)('0' + status / 100);
    line[10] = (char)('0' + status / 10 % 10);
    line[11] = (char)('0' + status % 10);
}

void rp_h1_writer_finish(struct rp_h1_writer *w, struct rp_chain *out)
{
    struct rp_chunk *chunk = w->chunk;
    chunk->used = (uint32_t)(w->p - chunk->data);
    *w = (struct rp_h1_writer){0};
    rp_chain_give(out, chunk, chunk->data, chunk->used);
}

void rp_h1_put_chunk(struct rp_chain *out, struct rp_chain *in)
{
    if (in->bytes == 0) return;
    char size[20];
    size_t at = sizeof(size);
    size[--at] = '\n';
    size[--at] = '\r';
    for (size_t left = in->bytes; left; left >>= 4) size[--at] = "0123456789abcdef"[left & 15];
    rp_chain_add_copy(out, rp_str_of(size + at, sizeof(size) - at));
    rp_chain_move(out, in, in->bytes);
    rp_chain_add_const(out, RP_STR("\r\n"));
}

void rp_h1_put_last_chunk(struct rp_chain *out, const struct rp_msg *trailers)
{
    if (!trailers) {
        rp_chain_add_const(out, RP_STR("0\r\n\r\n"));
        return;
    }
    struct rp_h1_writer w = rp_h1_writer_new(out->mem, rp_h1_fields_bound(trailers) + 8);
    rp_h1_put(&w, RP_STR("0\r\n"));
    rp_h1_put_fields(&w, trailers, &rp_h1_hop);
    rp_h1_put(&w, RP_STR("\r\n"));
    rp_h1_writer_finish(&w, out);
}
