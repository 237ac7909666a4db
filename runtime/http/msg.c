/* SPDX-License-Identifier: MIT
 *
 * msg: the ordered field array of a message head and its edits.
 *
 * Invariants: fields_n <= fields_room <= fields_max; a known id and its name always agree; deleted
 * fields have name_n 0 and keep their place until an append needs the room.
 */
#include "http/msg.h"

enum { FIRST_ROOM = 16 }; /* fields of the first array from an arena, when the caller gave none */

/* ------------------------------------------------------------------ search */

static bool same_name(const struct rp_field *f, uint16_t id, rp_str name)
{
    if (f->name_n == 0 || f->id != id) return false;
    return id != RP_H_OTHER || rp_str_ieq(rp_field_name(f), name);
}

static inline struct rp_field *find_known(const struct rp_msg *m, unsigned at, uint16_t id)
{
    struct rp_field *f = m->fields;
    for (unsigned i = at, n = m->fields_n; i < n; i++)
        if (f[i].id == id && f[i].name_n) return &f[i];
    return NULL;
}

/* Length and id, read at once: of an unknown name the length alone. */
static inline uint32_t word_of(const struct rp_field *f)
{
    return f->name_n | (uint32_t)f->id << 16;
}

/* Few of a head's unknown names have the same length. */
static inline struct rp_field *find_other(const struct rp_msg *m, unsigned at, const char *name,
                                          size_t name_n)
{
    struct rp_field *f = m->fields;
    if (name_n == 0) return NULL; /* name_n of a deleted one */
    for (unsigned i = at, n = m->fields_n; i < n; i++) {
        if (RP_LIKELY(word_of(&f[i]) != name_n)) continue;
        if (rp_str_ieq(rp_field_name(&f[i]), rp_str_of(name, name_n))) return &f[i];
    }
    return NULL;
}

/* First live field of that id (and name, when the id is RP_H_OTHER) at or after `at`. */
static inline struct rp_field *find_from(const struct rp_msg *m, unsigned at, uint16_t id,
                                         rp_str name)
{
    return id == RP_H_OTHER ? find_other(m, at, name.ptr, name.len) : find_known(m, at, id);
}

static uint16_t known_id(uint16_t id, rp_str name)
{
    return id == RP_H_OTHER ? rp_token_header(name.ptr, name.len) : id;
}

struct rp_field *rp_msg_find(const struct rp_msg *m, uint16_t id)
{
    return find_known(m, 0, id);
}

struct rp_field *rp_msg_find_as(const struct rp_msg *m, uint16_t id, rp_str name)
{
    return find_from(m, 0, id, name);
}

struct rp_field *rp_msg_find_name(const struct rp_msg *m, rp_str name)
{
    return find_from(m, 0, known_id(RP_H_OTHER, name), name);
}

struct rp_field *rp_msg_find_next(const struct rp_msg *m, const struct rp_field *f)
{
    return find_from(m, (unsigned)(f - m->fields) + 1, f->id, rp_field_name(f));
}

rp_str rp_msg_get(const struct rp_msg *m, uint16_t id)
{
    const struct rp_field *f = rp_msg_find(m, id);
    return f ? rp_field_value(f) : RP_STR_NONE;
}

rp_str rp_field_value(const struct rp_field *f)
{
    return rp_str_of(f->value, f->value_n);
}

rp_str rp_field_name(const struct rp_field *f)
{
    return rp_str_of(f->name, f->name_n);
}

/* ------------------------------------------------------------------ room */

/* Close the gaps of deleted fields. Moves fields, as growing does. */
static void compact(struct rp_msg *m)
{
    uint16_t to = 0;
    for (unsigned i = 0; i < m->fields_n; i++)
        if (m->fields[i].name_n) m->fields[to++] = m->fields[i];
    m->fields_n = to;
}

static rp_err move_fields(struct rp_msg *m, struct rp_arena *a, unsigned room)
{
    struct rp_field *bigger = rp_arena_alloc(a, room * sizeof *bigger);
    if (!bigger) return RP_E_CAP;
    if (m->fields_n) memcpy(bigger, m->fields, m->fields_n * sizeof *bigger);
    m->fields = bigger;
    m->fields_room = (uint16_t)room;
    return RP_OK;
}

rp_err rp_msg_reserve(struct rp_msg *m, struct rp_arena *a)
{
    if (RP_LIKELY(m->fields_n < m->fields_room)) return RP_OK;
    compact(m);
    if (m->fields_n < m->fields_room) return RP_OK;
    if (m->fields_n >= m->fields_max) return RP_E_CAP;
    unsigned room = RP_MAX(m->fields_room * 2u, (unsigned)FIRST_ROOM);
    return move_fields(m, a, RP_MIN(room, (unsigned)m->fields_max));
}

/* ------------------------------------------------------------------ edits */

void rp_msg_init(struct rp_msg *m, struct rp_field *fields, uint16_t room, uint16_t max)
{
    memset(m, 0, sizeof *m);
    rp_msg_begin(m, fields, room, max);
}

void rp_msg_clear(struct rp_msg *m)
{
    rp_msg_init(m, m->fields, m->fields_room, m->fields_max);
}

static rp_err append(struct rp_msg *m, struct rp_arena *a, uint16_t id, rp_str name, rp_str value)
{
    if (name.len == 0 || name.len > UINT16_MAX || value.len > UINT32_MAX) return RP_E_INVALID;
    rp_err e = rp_msg_reserve(m, a);
    if (e != RP_OK) return e;
    m->fields[m->fields_n++] = (struct rp_field){
        .name = name.ptr,
        .name_n = (uint16_t)name.len,
        .value = value.ptr,
        .value_n = (uint32_t)value.len,
        .id = id,
    };
    return RP_OK;
}

static inline void push_line(struct rp_msg *m, uint16_t id, const char *line, uint16_t name_n,
                             uint32_t value_n)
{
    m->fields[m->fields_n++] = (struct rp_field){
        .name = line, .value = line + name_n + 2, .value_n = value_n, .name_n = name_n, .id = id};
}

rp_err rp_msg_add_line(struct rp_msg *m, struct rp_arena *a, uint16_t id, const char *line,
                       uint16_t name_n, uint32_t value_n)
{
    rp_err e = rp_msg_reserve(m, a);
    if (e == RP_OK) push_line(m, id, line, name_n, value_n);
    return e;
}

/* f gets the value, others of its name behind it go. */
static RP_COLD rp_err replace(struct rp_msg *m, struct rp_field *f, const char *value,
                              uint32_t value_n)
{
    f->value = value;
    f->value_n = value_n;
    for (struct rp_field *o = f + 1; o < m->fields + m->fields_n; o++)
        if (same_name(o, f->id, rp_field_name(f))) o->name_n = 0;
    return RP_OK;
}

/* May a field of that name be there? No is certain. */
static inline bool may_have(const struct rp_msg *m, uint16_t id, uint16_t name_n)
{
    const struct rp_field *f = m->fields, *end = f + m->fields_n;
    if (id != RP_H_OTHER) {
        for (; f < end; f++)
            if (f->id == id) return true;
    } else {
        for (; f < end; f++)
            if (word_of(f) == name_n) return true;
    }
    return false;
}

static RP_COLD rp_err set_line_any(struct rp_msg *m, struct rp_arena *a, uint16_t id,
                                   const char *line, uint16_t name_n, uint32_t value_n)
{
    struct rp_field *f = find_from(m, 0, id, rp_str_of(line, name_n));
    return f ? replace(m, f, line + name_n + 2, value_n)
             : rp_msg_add_line(m, a, id, line, name_n, value_n);
}

/* What is set is new, as a rule, and there is room for it: nothing is called then, which spares a
 * frame. */
rp_err rp_msg_set_line(struct rp_msg *m, struct rp_arena *a, uint16_t id, const char *line,
                       uint16_t name_n, uint32_t value_n)
{
    if (RP_UNLIKELY(m->fields_n >= m->fields_room || may_have(m, id, name_n)))
        return set_line_any(m, a, id, line, name_n, value_n);
    push_line(m, id, line, name_n, value_n);
    return RP_OK;
}

rp_err rp_msg_add(struct rp_msg *m, struct rp_arena *a, uint16_t id, rp_str name, rp_str value)
{
    return append(m, a, known_id(id, name), name, value);
}

rp_err rp_msg_set(struct rp_msg *m, struct rp_arena *a, uint16_t id, rp_str name, rp_str value)
{
    id = known_id(id, name);
    struct rp_field *f = find_from(m, 0, id, name);
    if (!f) return append(m, a, id, name, value);
    return value.len > UINT32_MAX ? RP_E_INVALID : replace(m, f, value.ptr, (uint32_t)value.len);
}

unsigned rp_msg_del_as(struct rp_msg *m, uint16_t id, rp_str name)
{
    unsigned deleted = 0;
    for (unsigned i = 0; i < m->fields_n; i++) {
        if (!same_name(&m->fields[i], id, name)) continue;
        m->fields[i].name_n = 0;
        deleted++;
    }
    return deleted;
}

unsigned rp_msg_del(struct rp_msg *m, uint16_t id, rp_str name)
{
    return rp_msg_del_as(m, known_id(id, name), name);
}

rp_err rp_msg_clone(struct rp_msg *dst, const struct rp_msg *src, struct rp_arena *a)
{
    *dst = *src;
    unsigned room = RP_MAX(src->fields_room, (unsigned)src->fields_n);
    return room ? move_fields(dst, a, room) : RP_OK;
}

/* ------------------------------------------------------------------ connection options */

/* RFC 9110 §7.6.1: a sender MUST NOT name a field that is meant for all recipients. Whoever does
 * wants a field lost between two hops (Host, Authorization, X-Forwarded-For ..), so only names that
 * token.tbl does not know are taken at their word; its hop-by-hop fields never travel anyway. */
bool rp_msg_is_conn_option(const struct rp_msg *m, const struct rp_field *f)
{
    if (RP_LIKELY(!m->conn_options) || f->id != RP_H_OTHER) return false;
    const struct rp_field *c = rp_msg_find(m, RP_H_CONNECTION);
    for (; c; c = rp_msg_find_next(m, c))
        if (rp_str_list_has(rp_field_value(c), rp_field_name(f))) return true;
    return false;
}

void rp_msg_drop_conn_options(struct rp_msg *m)
{
    for (unsigned i = 0; m->conn_options && i < m->fields_n; i++)
        if (m->fields[i].name_n && rp_msg_is_conn_option(m, &m->fields[i])) m->fields[i].name_n = 0;
    m->conn_options = false;
}

void rp_msg_drop_named(struct rp_msg *trailers, const struct rp_msg *head)
{
    const struct rp_field *c = rp_msg_find(head, RP_H_CONNECTION);
    for (; c; c = rp_msg_find_next(head, c)) {
        for (unsigned i = 0; i < trailers->fields_n; i++) {
            struct rp_field *f = &trailers->fields[i];
            if (f->name_n == 0 || f->id != RP_H_OTHER) continue;
            if (rp_str_list_has(rp_field_value(c), rp_field_name(f))) f->name_n = 0;
        }
    }
}

/* ------------------------------------------------------------------ reasons */

static const struct {
    uint16_t status;
    const char *text;
} reasons[] = {
    /* RFC 9110 §15; 425, 428, 429, 431, 451, 507, 508, 511 from the IANA registry */
    {100, "Continue"},
    {101, "Switching Protocols"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {208, "Already Reported"},
    {226, "IM Used"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {305, "Use Proxy"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {418, "I'm a Teapot"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {511, "Network Authentication Required"},
};

rp_str rp_msg_reason(uint16_t status)
{
    size_t low = 0, high = RP_COUNT(reasons);
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (reasons[mid].status == status) return rp_str_z(reasons[mid].text);
        if (reasons[mid].status < status) low = mid + 1;
        else high = mid;
    }
    return RP_STR("Unknown");
}
