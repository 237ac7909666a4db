/* SPDX-License-Identifier: MIT
 *
 * trace: see trace.h.
 */
#include "proxy/trace.h"

#include <openssl/crypto.h>

/* In a time that does not depend on where they differ. */
static bool is_same(rp_str a, rp_str b)
{
    return a.len == b.len && CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0;
}

void rp_trace_look(struct rp_req *r)
{
    const struct rp_conf *c = r->conf;
    struct rp_msg *head = &r->x.head;
    bool right = false;
    const struct rp_field *f = rp_msg_find_name(head, c->trace_header);
    if (!f) return;
    for (; f; f = rp_msg_find_next(head, f)) right |= is_same(rp_field_value(f), c->trace_token);
    (void)rp_msg_del(head, RP_H_OTHER, c->trace_header); /* how many does not matter */
    if (right && c->hooks && c->hooks->trace) c->hooks->trace(r);
}

void rp_trace_tell(struct rp_req *r)
{
    const struct rp_conf *c = r->conf;
    rp_str text = c->hooks && c->hooks->trace_text ? c->hooks->trace_text(r, RP_TRACE_TEXT_BYTES)
                                                   : RP_STR_NONE;
    if (!text.ptr) return;
    rp_err e = rp_msg_set(&r->res, &r->x.arena, RP_H_OTHER, c->trace_header, text);
    (void)e; /* a head that is full goes without */
}
