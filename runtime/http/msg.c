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

/* First live field of that id (and name, when the id is RP_H_OTHER) at or after `at`. */
static struct rp_field *find_from(const struct rp_msg *m, unsigned at, uint16_t id, rp_str name)
{
    for (unsigned i = at; i < m->fields_n; i++)
        if (same_name(&m->fields[i], id, name)) return &m->fields[i];
    return NULL;
}

static uint16_t known_id(uint16_t id, rp_str name)
{
    return id == RP_H_OTHER ? rp_token_header(name.ptr, name.len) : id;
}

struct rp_field *rp_msg_find(const struct rp_msg *m, uint16_t id)
{
    for (unsigned i = 0; i < m->fields_n; i++)
        if (m->fields[i].id == id && m->fields[i].name_n) return &m->fields[i];
    return NULL;
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

rp_err rp_msg_add(struct rp_msg *m, struct rp_arena *a, uint16_t id, rp_str name, rp_str value)
{
    return append(m, a, known_id(id, name), name, value);
}

rp_err rp_msg_set(struct rp_msg *m, struct rp_arena *a, uint16_t id, rp_str name, rp_str value)
{
    id = known_id(id, name);
    struct rp_field *f = find_from(m, 0, id, name);
    if (!f) return append(m, a, id, name, value);
    if (value.len > UINT32_MAX) return RP_E_INVALID;
    f->value = value.ptr;
    f->value_n = (uint32_t)value.len;
    while ((f = find_from(m, (unsigned)(f - m->fields) + 1, id, name))) f->name_n = 0;
    return RP_OK;
}

unsigned rp_msg_del(struct rp_msg *m, uint16_t id, rp_str name)
{
    unsigned deleted = 0;
    id = known_id(id, name);
    for (unsigned i = 0; i < m->fields_n; i++) {
        if (!same_name(&m->fields[i], id, name)) continue;
        m->fields[i].name_n = 0;
        deleted++;
    }
    return deleted;
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
