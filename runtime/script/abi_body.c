/* SPDX-License-Identifier: MIT
 *
 * abi_body: request bodies, answers, and the choice of upstream and peer.
 */
#include "script/journal.h"

#include "proxy/answer.h"
#include "proxy/payload.h"
#include "proxy/subset.h"

enum { PIECE_BYTES = 64 * 1024 }; /* most that a reader gets at once */
enum { STATUS_FIRST = 200, STATUS_LAST = 599 };

/* ---- request body --------------------------------------------------------------------------- */

rp_err rp_abi_body_buffer(struct rp_host_face *f, struct rp_req *r, double max)
{
    struct rp_task *t = rp_vm_of(f)->current;
    /* Only a hook is asked again when body bytes come. */
    if (!t || !t->is_hook || t->req != r || r->phase > RP_PHASE_BALANCE) return RP_E_PHASE;
    double most = RP_MIN(RP_MAX(max, 0), (double)(1ULL << 50));
    rp_err e = rp_req_buffer_body(r, (uint64_t)most);
    if (e == RP_AGAIN) {
        t->wants_body = RP_WANTS_WHOLE;
        rp_task_touch(t);
        t->body_max = most;
    }
    return e;
}

void rp_abi_body_copy(const struct rp_req *r, char *out)
{
    rp_chain_peek(&r->body, out, r->body.bytes);
}

rp_err rp_abi_body_set(struct rp_req *r, const char *p, size_t n)
{
    if (r->phase > RP_PHASE_BALANCE) return RP_E_PHASE;
    if (rp_journal_only(r)) return RP_OK;
    return rp_req_set_body(r, rp_str_of(p, n));
}

/* The function that makes the body may be what reads, and changes, the client's. Once the request
 * is answered, what is left of its body is thrown away, unless the hook is writing its answer still. */
static bool may_read(const struct rp_task *t, const struct rp_req *r)
{
    if (r->answered && !rp_answer_may_read(r)) return false;
    if (!t || !t->is_hook || t->req != r || r->body_whole || r->spool) return false;
    if (t->phase == RP_PHASE_REQUEST_BODY) return !t->chain;
    return t->phase >= RP_PHASE_ACCESS && t->phase <= RP_PHASE_CONTENT; /* limits are the route's */
}

rp_err rp_abi_body_read(struct rp_host_face *f, struct rp_req *r, double max)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_task *t = h->current;
    if (!may_read(t, r)) return RP_E_PHASE;
    if (rp_journal_only(r)) return RP_E_PHASE; /* it would take what others are to have */
    if (!rp_payload_get(r)) return RP_E_CAP;
    size_t most = (size_t)RP_MIN(RP_MAX(max, 1), (double)PIECE_BYTES);
    rp_err e = rp_payload_read(r, most);
    if (e == RP_AGAIN) {
        t->wants_body = RP_WANTS_PIECE;
        rp_task_touch(t);
        t->body_max = (double)most;
    }
    if (e != RP_OK) return e;
    size_t n = RP_MIN(r->body.bytes, most);
    rp_arena_reset(&h->scratch);
    char *bytes = rp_arena_alloc(&h->scratch, n);
    if (!bytes) return RP_E_CAP;
    rp_payload_take(r, bytes, n);
    f->out = rp_str_of(bytes, n);
    return RP_OK;
}

rp_err rp_abi_body_source(struct rp_host_face *f, struct rp_req *r)
{
    struct rp_host *h = rp_vm_of(f);
    if (r->phase > RP_PHASE_BALANCE) return RP_E_PHASE;
    if (rp_journal_only(r)) return RP_OK;
    rp_err e = rp_payload_set_source(r);
    if (e == RP_OK) rp_phase_slot(h, r)->source_by = rp_vm_running(h) + 1; /* none: 0 */
    return e;
}

/* ---- answers -------------------------------------------------------------------------------- */

static struct rp_vm_slot *slot_of(const struct rp_req *r)
{
    return rp_phase_slot(r->conf->script, r);
}

static bool is_status(uint32_t status)
{
    return status >= STATUS_FIRST && status <= STATUS_LAST;
}

rp_err rp_abi_answer(struct rp_req *r, uint32_t status, const char *type, size_t type_n,
                     const char *body, size_t body_n)
{
    if (r->phase > RP_PHASE_HEADER_FILTER) return RP_E_PHASE;
    if (!is_status(status)) return RP_E_INVALID;
    if (rp_journal_only(r)) return RP_OK;
    rp_str content = type ? rp_str_of(type, type_n) : RP_STR_NONE;
    rp_err e = rp_req_answer(r, RP_FROM_PLUGIN, (uint16_t)status, content, rp_str_of(body, body_n));
    if (e == RP_OK) rp_slot_answered(r->conf->script, slot_of(r));
    return e;
}

rp_err rp_abi_res_set_status(struct rp_req *r, uint32_t status)
{
    if (r->phase != RP_PHASE_HEADER_FILTER || r->x.head_sent) return RP_E_PHASE;
    if (!is_status(status) || r->res.status == 101) return RP_E_INVALID;
    if (rp_journal_only(r)) return RP_OK;
    r->res.status = (uint16_t)status;
    r->res.reason = RP_STR_NONE;
    return RP_OK;
}

/* ---- upstream ------------------------------------------------------------------------------- */

int32_t rp_abi_upstream_find(const struct rp_host_face *f, const char *name, size_t n)
{
    const struct rp_conf *c = f->conf;
    for (uint32_t i = 0; i < c->upstreams_n; i++)
        if (rp_str_eq(c->upstreams[i]->name, rp_str_of(name, n))) return (int32_t)i;
    return -1;
}

rp_err rp_abi_req_set_upstream(struct rp_req *r, uint32_t index)
{
    if (r->phase != RP_PHASE_ACCESS && r->phase != RP_PHASE_REWRITE) return RP_E_PHASE;
    const struct rp_conf_upstream *before = r->upstream;
    rp_err e = rp_req_set_upstream(r, index);
    if (rp_journal_only(r)) r->upstream = before; /* checked, not done */
    return e;
}

/* Balance hooks see the members that there are now. */
static struct rp_peer_ref peer_find(const struct rp_req *r, rp_str name)
{
    struct rp_group *g = r->pick.group;
    if (!g) return (struct rp_peer_ref){0};
    rp_group_settle(g);
    int at = rp_group_find(g, name);
    return at < 0 ? (struct rp_peer_ref){0} : rp_group_ref(g, (uint32_t)at);
}

rp_err rp_abi_up_pick(struct rp_req *r, const char *name, size_t n, uint32_t port)
{
    if (r->phase != RP_PHASE_BALANCE) return RP_E_PHASE;
    rp_str text = rp_str_of(name, n);
    struct rp_addr addr = {.family = RP_ADDR_NONE};
    struct rp_peer_ref peer = {0};
    if (port == 0) {
        peer = peer_find(r, text);
        if (!peer.id) return RP_E_NOT_FOUND;
    } else {
        if (port > UINT16_MAX || rp_addr_parse_ip(text, &addr) != RP_OK) return RP_E_NOT_FOUND;
        addr.port = (uint16_t)port;
    }
    if (rp_journal_only(r)) return RP_OK;
    r->pick.want = peer;
    r->pick.want_addr = addr;
    return RP_OK;
}

rp_err rp_abi_up_tls(struct rp_req *r, struct rp_tls_client *tls)
{
    uint8_t phase = r->phase;
    bool facing_up =
        phase == RP_PHASE_ACCESS || phase == RP_PHASE_REWRITE || phase == RP_PHASE_BALANCE;
    if (!facing_up) return RP_E_PHASE;
    return rp_journal_only(r) ? RP_OK : rp_req_set_tls(r, tls);
}

rp_err rp_abi_up_exclude(struct rp_req *r, const char *name, size_t n)
{
    if (r->phase != RP_PHASE_BALANCE) return RP_E_PHASE;
    struct rp_peer_ref peer = peer_find(r, rp_str_of(name, n));
    if (!peer.id) return RP_E_NOT_FOUND;
    if (rp_journal_only(r)) return RP_OK;
    for (int i = 0; i < RP_PICK_TRIED_MOST; i++) {
        if (r->pick.tried[i].id == peer.id) return RP_OK;
        if (r->pick.tried[i].id) continue;
        r->pick.tried[i] = peer;
        return RP_OK;
    }
    return RP_E_CAP;
}

rp_err rp_abi_up_subset(struct rp_req *r, const char *wish, size_t n)
{
    uint8_t phase = r->phase;
    rp_str text = rp_str_of(wish, n);
    bool facing_up =
        phase == RP_PHASE_ACCESS || phase == RP_PHASE_REWRITE || phase == RP_PHASE_BALANCE;
    if (!facing_up) return RP_E_PHASE;
    if (n && !rp_subset_is_wish(text)) return RP_E_INVALID;
    if (rp_journal_only(r)) return RP_OK;
    if (n) text = rp_arena_copy(&r->x.arena, text);
    if (n && !text.ptr) return RP_E_CAP;
    r->pick.subset = text;
    return RP_OK;
}
