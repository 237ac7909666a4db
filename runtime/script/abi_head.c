/* SPDX-License-Identifier: MIT
 *
 * abi_head: header fields: reading, matching in place, editing what goes upstream or to the client.
 *
 * Framing and connection fields are the proxy's alone: a hook that could write Content-Length or
 * Transfer-Encoding could make two servers disagree on where a message ends.
 */
#include "http/field.h"
#include "script/journal.h"

/* ---- names ---------------------------------------------------------------------------------- */

static bool is_ours(uint16_t id)
{
    return rp_token_header_is_hop(id) || id == RP_H_CONTENT_LENGTH ||
           id == RP_H_TRANSFER_ENCODING || id == RP_H_CONNECTION || id == RP_H_TRAILER;
}

void rp_abi_name_read(struct rp_abi_name *name, const char *line, size_t n)
{
    bool is_name = n <= UINT16_MAX && rp_field_is_name(rp_str_of(line, n));
    *name = (struct rp_abi_name){.line = line,
                                 .n = is_name ? (uint32_t)n : 0,
                                 .id = is_name ? rp_token_header(line, n) : RP_H_OTHER,
                                 .refused = RP_OK};
    if (!is_name) name->refused = RP_E_INVALID;
    else if (is_ours(name->id)) name->refused = RP_E_BUSY;
}

static rp_str text_of(const struct rp_abi_name *name)
{
    return rp_str_of(name->line, name->n);
}

/* ---- reading -------------------------------------------------------------------------------- */

static const struct rp_field *find(const struct rp_msg *m, const struct rp_abi_name *name)
{
    return rp_msg_find_as(m, name->id, text_of(name));
}

bool rp_abi_head_get(struct rp_host_face *f, const struct rp_msg *m, const struct rp_abi_name *name)
{
    const struct rp_field *field = find(m, name);
    if (!field) return false;
    f->out = rp_field_value(field);
    return true;
}

bool rp_abi_head_nth(struct rp_host_face *f, const struct rp_msg *m, const struct rp_abi_name *name,
                     uint32_t nth)
{
    const struct rp_field *field = find(m, name);
    while (field && nth-- > 0) field = rp_msg_find_next(m, field);
    if (!field) return false;
    f->out = rp_field_value(field);
    return true;
}

bool rp_abi_head_is(const struct rp_msg *m, const struct rp_abi_name *name, const char *value,
                    size_t value_n)
{
    const struct rp_field *field = find(m, name);
    return field && rp_str_eq(rp_field_value(field), rp_str_of(value, value_n));
}

uint32_t rp_abi_head_walk(struct rp_host_face *f, const struct rp_msg *m, uint32_t at)
{
    for (; at < m->fields_n; at++) {
        const struct rp_field *field = &m->fields[at];
        if (field->name_n == 0) continue;
        f->out = rp_field_name(field);
        f->out2 = rp_field_value(field);
        return at + 1;
    }
    return 0;
}

rp_err rp_abi_head_match(struct rp_host_face *f, const struct rp_msg *m,
                         const struct rp_abi_name *name, const struct rp_regex *re)
{
    struct rp_host *h = rp_vm_of(f);
    const struct rp_field *field = find(m, name);
    for (; field; field = rp_msg_find_next(m, field)) {
        bool hit = false;
        f->out = rp_field_value(field);
        rp_err e = rp_regex_match(re, h->regex, f->out, 0, f->spans, rp_regex_groups(re) + 1, &hit);
        if (e != RP_OK) return e;
        if (hit) return RP_OK;
    }
    return RP_END;
}

/* ---- editing -------------------------------------------------------------------------------- */

enum { BLOCK = RP_ABI_NAME_PAD, LINE_EXTRA = 4 }; /* ": " and CRLF */

/* By whole blocks: behind the text is padding, and in the copy what is written next. */
static inline void put_name(char *line, const struct rp_abi_name *name)
{
    const char *from = name->line;
    for (size_t i = 0, n = (size_t)name->n + 2; i < n; i += BLOCK)
        memcpy(line + i, from + i, BLOCK);
}

static inline rp_err put_line(struct rp_msg *m, struct rp_arena *a, bool add,
                              const struct rp_abi_name *name, char *line, size_t n)
{
    memcpy(line + name->n + 2 + n, "\r\n", 2);
    return add ? rp_msg_add_line(m, a, name->id, line, (uint16_t)name->n, (uint32_t)n)
               : rp_msg_set_line(m, a, name->id, line, (uint16_t)name->n, (uint32_t)n);
}

/* Put a line into m, made in one piece, as the writer of heads likes them. */
static RP_COLD rp_err put_any(struct rp_msg *m, struct rp_arena *a, bool add,
                              const struct rp_abi_name *name, const char *value, size_t n)
{
    if (n > UINT32_MAX || !rp_field_is_value(rp_str_of(value, n))) return RP_E_INVALID;
    char *line = rp_arena_alloc(a, name->n + n + LINE_EXTRA);
    if (!line) return RP_E_CAP;
    put_name(line, name);
    if (n) memcpy(line + name->n + 2, value, n);
    return put_line(m, a, add, name, line, n);
}

/* The bytes of a word below 0x20, HTAB too, or 0x7f: not 0 when there is one. */
static inline uint64_t odd_bytes(uint64_t word)
{
    const uint64_t ones = UINT64_MAX / 0xff;
    uint64_t del = word ^ ones * 0x7f;
    return (((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & ones * 0x80;
}

/* Copy 1 to 15 bytes, by words that overlap. The odd ones among them, see above. */
static inline uint64_t put_short(char *to, const char *from, size_t n)
{
    if (n >= 8) {
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, from + n - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + n - 8, &last, 8);
        return odd_bytes(first) | odd_bytes(last);
    }
    if (n >= 4) {
        uint32_t first, last;
        memcpy(&first, from, 4);
        memcpy(&last, from + n - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + n - 4, &last, 4);
        return odd_bytes(first | (uint64_t)last << 32);
    }
    uint8_t first = (uint8_t)from[0], middle = (uint8_t)from[n / 2], last = (uint8_t)from[n - 1];
    to[0] = (char)first;
    to[n / 2] = (char)middle;
    to[n - 1] = (char)last;
    return odd_bytes(UINT64_C(0x2020202020000000) | first | (uint64_t)middle << 8 |
                     (uint64_t)last << 16);
}

/* Most values are short and plain: these are copied and looked at in one go. On any
 * doubt the other one has the word, and what was begun of the line is lost. */
static rp_err put(struct rp_msg *m, struct rp_arena *a, bool add, const struct rp_abi_name *name,
                  const char *value, size_t n)
{
    if (n - 1 >= 15 || value[0] == ' ' || value[n - 1] == ' ')
        return put_any(m, a, add, name, value, n);
    char *line = rp_arena_alloc_here(a, name->n + n + LINE_EXTRA);
    if (RP_UNLIKELY(!line)) return put_any(m, a, add, name, value, n);
    put_name(line, name);
    if (RP_UNLIKELY(put_short(line + name->n + 2, value, n)))
        return put_any(m, a, add, name, value, n);
    return put_line(m, a, add, name, line, n);
}

static inline rp_err edit(struct rp_msg *m, struct rp_arena *a, uint32_t kind,
                          const struct rp_abi_name *name, const char *value, size_t n)
{
    if (kind != RP_EDIT_DEL) return put(m, a, kind == RP_EDIT_ADD, name, value, n);
    (void)rp_msg_del_as(m, name->id, text_of(name)); /* how many does not matter */
    return RP_OK;
}

/* What edit would say, of code that changes nothing. */
static RP_COLD rp_err look(uint32_t kind, const char *value, size_t n)
{
    return kind == RP_EDIT_DEL || rp_field_is_value(rp_str_of(value, n)) ? RP_OK : RP_E_INVALID;
}

rp_err rp_abi_up_edit(struct rp_req *r, uint32_t kind, const struct rp_abi_name *name,
                      const char *value, size_t value_n)
{
    const unsigned may = 1u << RP_PHASE_ACCESS | 1u << RP_PHASE_REWRITE | 1u << RP_PHASE_BALANCE |
                         1u << RP_PHASE_EARLY;
    if (!(may >> r->phase & 1)) return RP_E_PHASE;
    if (name->refused != RP_OK) return name->refused;
    if (name->id == RP_H_HOST) return RP_E_BUSY; /* req.up.host */
    if (rp_journal_only(r)) return look(kind, value, value_n);
    struct rp_msg *m = rp_req_edit_up(r);
    return m ? edit(m, &r->x.arena, kind, name, value, value_n) : RP_E_CAP;
}

static inline rp_err edit_res(struct rp_req *r, uint32_t kind, const struct rp_abi_name *name,
                              const char *value, size_t value_n)
{
    if (name->refused != RP_OK) return name->refused;
    if (rp_journal_only(r)) return look(kind, value, value_n);
    return edit(&r->res, &r->x.arena, kind, name, value, value_n);
}

rp_err rp_abi_res_edit(struct rp_req *r, uint32_t kind, const struct rp_abi_name *name,
                       const char *value, size_t value_n)
{
    if (r->phase != RP_PHASE_HEADER_FILTER || r->x.head_sent) return RP_E_PHASE;
    return edit_res(r, kind, name, value, value_n);
}

rp_err rp_abi_answer_edit(struct rp_req *r, uint32_t kind, const struct rp_abi_name *name,
                          const char *value, size_t value_n)
{
    if ((!r->answered && !rp_journal_only(r)) || r->x.head_sent) return RP_E_PHASE;
    return edit_res(r, kind, name, value, value_n);
}
