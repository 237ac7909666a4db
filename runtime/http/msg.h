/* SPDX-License-Identifier: MIT
 *
 * msg: one HTTP message head, request or response, whatever the protocol: start line facts, an
 * ordered field array, and how the body is framed.
 *
 * Names and values are slices of a chunk that does not move, of an arena, or of constant memory.
 * A deleted field stays in place with name_n = 0: every walk skips those.
 */
#ifndef RP_HTTP_MSG_H
#define RP_HTTP_MSG_H

#include "base/arena.h"
#include "http/token.h"
#include "http/uri.h"

struct rp_field {
    const char *name;
    const char *value;
    uint32_t value_n;
    uint16_t name_n; /* 0: deleted */
    uint16_t id;     /* enum rp_header, RP_H_OTHER when unknown */
};

enum rp_framing {
    RP_BODY_NONE,   /* no body at all */
    RP_BODY_LENGTH, /* content_length bytes follow (0 is possible: "Content-Length: 0") */
    RP_BODY_CHUNKED,
    RP_BODY_CLOSE, /* until the connection ends; responses only, and tunnels */
};

struct rp_msg {
    struct rp_field *fields;
    uint16_t fields_n, fields_room; /* used, allocated */
    uint16_t fields_max;            /* limit: more is RP_E_H1_FIELDS_MANY or RP_E_CAP */
    uint16_t status;                /* responses */
    uint8_t version;                /* 10, 11, 20 */
    uint8_t method;                 /* requests: enum rp_method */
    uint8_t framing;                /* enum rp_framing */
    bool keepalive;                 /* the sender lets the connection live on */
    bool expect_continue;           /* requests: Expect: 100-continue */
    bool upgrade;                   /* Connection lists upgrade and Upgrade is there */
    bool te_trailers;               /* requests: TE lists trailers */
    bool conn_options;              /* Connection names other fields, and they are still there */
    uint64_t content_length;        /* with RP_BODY_LENGTH */
    rp_str method_text;             /* requests */
    rp_str target;                  /* requests: as sent */
    rp_str reason;                  /* responses */
    struct rp_uri uri;              /* requests */
    rp_str host;                    /* requests: effective host without port, as sent (see uri) */
    uint16_t port;                  /* requests: from Host or the target; 0 when absent */
};

/* fields: storage for `room` fields, borrowed; grown from the arena up to max. Zeroes the rest. */
void rp_msg_init(struct rp_msg *m, struct rp_field *fields, uint16_t room, uint16_t max);
#ifndef RP_CDEF
/* The same for one that is all zeros. */
static inline void rp_msg_begin(struct rp_msg *m, struct rp_field *fields, uint16_t room,
                                uint16_t max)
{
    m->fields = fields;
    m->fields_room = RP_MIN(room, max);
    m->fields_max = max;
}
#endif
/* As new, with the storage it has. */
void rp_msg_clear(struct rp_msg *m);

/* First live field by known id (id != 0) / by name (any case); NULL when absent. */
struct rp_field *rp_msg_find(const struct rp_msg *m, uint16_t id);
struct rp_field *rp_msg_find_name(const struct rp_msg *m, rp_str name);
/* Next live field with the same name as f, or NULL. */
struct rp_field *rp_msg_find_next(const struct rp_msg *m, const struct rp_field *f);
/* Value of the first such field; ptr NULL when absent. */
rp_str rp_msg_get(const struct rp_msg *m, uint16_t id);
rp_str rp_field_value(const struct rp_field *f);
rp_str rp_field_name(const struct rp_field *f);

/* Append. name and value are kept, not copied. id: known id, or RP_H_OTHER to have it looked up.
 * RP_E_CAP over fields_max or the arena's cap. */
RP_MUST rp_err rp_msg_add(struct rp_msg *m, struct rp_arena *a, uint16_t id, rp_str name,
                          rp_str value);
/* Replace the first such field and delete the others, or append. */
RP_MUST rp_err rp_msg_set(struct rp_msg *m, struct rp_arena *a, uint16_t id, rp_str name,
                          rp_str value);
/* Delete all such fields; returns how many. */
unsigned rp_msg_del(struct rp_msg *m, uint16_t id, rp_str name);
/* The same by an id that is the name's own, RP_H_OTHER for one that is not in token.tbl: nothing is
 * looked up. What is put is a line, "name: value", whose name and value have so many bytes. */
struct rp_field *rp_msg_find_as(const struct rp_msg *m, uint16_t id, rp_str name);
RP_MUST rp_err rp_msg_add_line(struct rp_msg *m, struct rp_arena *a, uint16_t id, const char *line,
                               uint16_t name_n, uint32_t value_n);
RP_MUST rp_err rp_msg_set_line(struct rp_msg *m, struct rp_arena *a, uint16_t id, const char *line,
                               uint16_t name_n, uint32_t value_n);
unsigned rp_msg_del_as(struct rp_msg *m, uint16_t id, rp_str name);
/* Make room for one more field: grows or closes gaps, so earlier field pointers become invalid (so
 * do rp_msg_add and rp_msg_set). RP_E_CAP over fields_max or the arena's cap. */
RP_MUST rp_err rp_msg_reserve(struct rp_msg *m, struct rp_arena *a);
/* Is f a field that Connection names, to be dropped at this hop (RFC 9110 §7.6.1)? Only fields
 * unknown to token.tbl can be. Free when conn_options is false. */
bool rp_msg_is_conn_option(const struct rp_msg *m, const struct rp_field *f);
/* Delete all of them and clear conn_options. The h1 parser has done so before anybody adds a field:
 * a sender can then not make us drop what a hook or a forwarder set. */
void rp_msg_drop_conn_options(struct rp_msg *m);
/* Delete the trailers that the head's Connection names: it speaks for them, too. */
void rp_msg_drop_named(struct rp_msg *trailers, const struct rp_msg *head);
/* Deep enough copy to edit: own field array, shared bytes. RP_E_CAP. */
RP_MUST rp_err rp_msg_clone(struct rp_msg *dst, const struct rp_msg *src, struct rp_arena *a);
/* Reason phrase of a status code ("Not Found"); "Unknown" for unlisted ones. */
rp_str rp_msg_reason(uint16_t status);

#endif
