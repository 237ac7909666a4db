/* SPDX-License-Identifier: MIT
 *
 * abi_head: header fields: reading, matching in place, editing what goes upstream or to the client.
 *
 * Framing and connection fields are the proxy's alone: a hook that could write Content-Length or
 * Transfer-Encoding could make two servers disagree on where a message ends.
 */
#include "http/field.h"
#include "script/journal.h"

/* ---- reading -------------------------------------------------------------------------------- */

static const struct rp_field *find(const struct rp_msg *m, uint32_t id, rp_str name)
{
    if (id == RP_H_OTHER) id = rp_token_header(name.ptr, name.len);
    return id == RP_H_OTHER ? rp_msg_find_name(m, name) : rp_msg_find(m, (uint16_t)id);
}

bool rp_abi_head_get(struct rp_host_face *f, const struct rp_msg *m, uint32_t id, const char *name,
                     size_t n)
{
    const struct rp_field *field = find(m, id, rp_str_of(name, n));
    if (!field) return false;
    f->out = rp_field_value(field);
    return true;
}

bool rp_abi_head_nth(struct rp_host_face *f, const struct rp_msg *m, uint32_t id, const char *name,
                     size_t n, uint32_t nth)
{
    const struct rp_field *field = find(m, id, rp_str_of(name, n));
    while (field && nth-- > 0) field = rp_msg_find_next(m, field);
    if (!field) return false;
    f->out = rp_field_value(field);
    return true;
}

bool rp_abi_head_is(const struct rp_msg *m, uint32_t id, const char *name, size_t n,
                    const char *value, size_t value_n)
{
    const struct rp_field *field = find(m, id, rp_str_of(name, n));
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

rp_err rp_abi_head_match(struct rp_host_face *f, const struct rp_msg *m, uint32_t id,
                         const char *name, size_t n, const struct rp_regex *re)
{
    struct rp_host *h = rp_vm_of(f);
    const struct rp_field *field = find(m, id, rp_str_of(name, n));
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

static bool is_ours(uint32_t id)
{
    return rp_token_header_is_hop((uint16_t)id) || id == RP_H_CONTENT_LENGTH ||
           id == RP_H_TRANSFER_ENCODING || id == RP_H_CONNECTION || id == RP_H_TRAILER;
}

struct edit {
    enum rp_edit_kind kind;
    uint32_t id;
    rp_str name, value;
};

static rp_err check(struct edit *d)
{
    if (!rp_field_is_name(d->name)) return RP_E_INVALID;
    if (d->id == RP_H_OTHER) d->id = rp_token_header(d->name.ptr, d->name.len);
    if (is_ours(d->id)) return RP_E_BUSY;
    if (d->kind != RP_EDIT_DEL && !rp_field_is_value(d->value)) return RP_E_INVALID;
    return RP_OK;
}

static rp_err apply(struct rp_msg *m, struct rp_arena *a, const struct edit *d)
{
    if (d->kind == RP_EDIT_DEL) {
        (void)rp_msg_del(m, (uint16_t)d->id, d->name); /* how many does not matter */
        return RP_OK;
    }
    rp_str name = d->id ? rp_token_header_name((uint16_t)d->id) : rp_arena_copy(a, d->name);
    rp_str value = rp_arena_copy(a, d->value);
    if (!name.ptr || !value.ptr) return RP_E_CAP;
    return d->kind == RP_EDIT_SET ? rp_msg_set(m, a, (uint16_t)d->id, name, value)
                                  : rp_msg_add(m, a, (uint16_t)d->id, name, value);
}

rp_err rp_abi_up_edit(struct rp_host_face *f, struct rp_req *r, uint32_t kind, uint32_t id,
                      const char *name, size_t n, const char *value, size_t value_n)
{
    (void)f;
    struct edit d = {(enum rp_edit_kind)kind, id, rp_str_of(name, n), rp_str_of(value, value_n)};
    if (r->phase != RP_PHASE_ACCESS && r->phase != RP_PHASE_REWRITE &&
        r->phase != RP_PHASE_BALANCE && r->phase != RP_PHASE_EARLY)
        return RP_E_PHASE;
    rp_err e = check(&d);
    if (e != RP_OK) return e;
    if (d.id == RP_H_HOST) return RP_E_BUSY; /* req.up.host */
    if (rp_journal_only(r)) return RP_OK;
    struct rp_msg *m = rp_req_edit_up(r);
    return m ? apply(m, &r->x.arena, &d) : RP_E_CAP;
}

static rp_err edit_res(struct rp_req *r, struct edit *d)
{
    rp_err e = check(d);
    if (e != RP_OK) return e;
    if (rp_journal_only(r)) return RP_OK;
    return apply(&r->res, &r->x.arena, d);
}

rp_err rp_abi_res_edit(struct rp_host_face *f, struct rp_req *r, uint32_t kind, uint32_t id,
                       const char *name, size_t n, const char *value, size_t value_n)
{
    (void)f;
    struct edit d = {(enum rp_edit_kind)kind, id, rp_str_of(name, n), rp_str_of(value, value_n)};
    return r->phase == RP_PHASE_HEADER_FILTER && !r->x.head_sent ? edit_res(r, &d) : RP_E_PHASE;
}

rp_err rp_abi_answer_edit(struct rp_host_face *f, struct rp_req *r, uint32_t kind, uint32_t id,
                          const char *name, size_t n, const char *value, size_t value_n)
{
    (void)f;
    struct edit d = {(enum rp_edit_kind)kind, id, rp_str_of(name, n), rp_str_of(value, value_n)};
    bool may = (r->answered || rp_journal_only(r)) && !r->x.head_sent;
    return may ? edit_res(r, &d) : RP_E_PHASE;
}
