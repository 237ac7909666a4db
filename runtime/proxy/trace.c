/* SPDX-License-Identifier: MIT
 *
 * trace: see trace.h.
 */
#include "proxy/trace.h"

/* In a time that does not depend on where they differ. */
static bool is_same(rp_str a, rp_str b)
{
    unsigned differ = 0;
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++) differ |= (unsigned char)(a.ptr[i] ^ b.ptr[i]);
    return differ == 0;
}

void rp_trace_look(struct rp_req *r)
{
    const struct rp_conf *c = r->conf;
    struct rp_msg *head = &r->x.head;
    bool right = false;
    uint16_t id = rp_token_header(c->trace_header.ptr, c->trace_header.len);
    const struct rp_field *f =
        id == RP_H_OTHER ? rp_msg_find_name(head, c->trace_header) : rp_msg_find(head, id);
    if (!f) return;
    for (; f; f = rp_msg_find_next(head, f)) right |= is_same(rp_field_value(f), c->trace_token);
    (void)rp_msg_del(head, id, c->trace_header); /* how many does not matter */
    if (right && c->hooks && c->hooks->trace) c->hooks->trace(r);
}

void rp_trace_tell(struct rp_req *r)
{
    const struct rp_conf *c = r->conf;
    rp_str text = c->hooks && c->hooks->trace_text ? c->hooks->trace_text(r, RP_TRACE_TEXT_BYTES)
                                                   : RP_STR_NONE;
    if (!text.ptr) return;
    uint16_t id = rp_token_header(c->trace_header.ptr, c->trace_header.len);
    /* A head that is full goes without. */
    RP_IGNORE(rp_msg_set(&r->res, &r->x.arena, id, c->trace_header, text));
}
