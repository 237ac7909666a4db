/* SPDX-License-Identifier: MIT
 *
 * tap: see tap.h.
 */
#include "proxy/tap.h"

static void free_tap(void *arg)
{
    struct rp_tap *t = arg;
    rp_buf_fini(&t->sent.bytes);
    rp_buf_fini(&t->got.bytes);
}

static struct rp_tap *tap_new(struct rp_req *r)
{
    struct rp_tap *t = rp_arena_zalloc(&r->x.arena, sizeof *t);
    if (!t) return NULL;
    rp_buf_init(&t->sent.bytes, RP_TAP_MOST);
    rp_buf_init(&t->got.bytes, RP_TAP_MOST);
    return rp_arena_defer(&r->x.arena, free_tap, t) == RP_OK ? t : NULL;
}

rp_err rp_tap_begin(struct rp_req *r, uint32_t sent_max, uint32_t got_max)
{
    if (r->step >= RP_STEP_PICK) return RP_E_PHASE;
    if (sent_max > RP_TAP_MOST || got_max > RP_TAP_MOST) return RP_E_INVALID;
    struct rp_req_own *own = rp_req_own_of(r);
    if (!own) return RP_E_CAP;
    if (!own->tap) own->tap = tap_new(r);
    if (!own->tap) return RP_E_CAP;
    own->tap->sent.max = RP_MAX(own->tap->sent.max, sent_max);
    own->tap->got.max = RP_MAX(own->tap->got.max, got_max);
    return RP_OK;
}

void rp_tap_take(struct rp_tap_side *s, const struct rp_chain *bytes)
{
    if (!s->max || s->cut) return;
    if (bytes->bytes > s->max - s->bytes.len) { /* nobody wants a part */
        s->cut = true;
        rp_buf_clear(&s->bytes);
        return;
    }
    for (const struct rp_piece *p = bytes->head; p; p = p->next)
        rp_buf_add(&s->bytes, rp_str_of(p->ptr, p->len));
}

void rp_tap_restart(struct rp_tap *t)
{
    t->sent.cut = false;
    rp_buf_clear(&t->sent.bytes);
}
