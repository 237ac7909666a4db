/* SPDX-License-Identifier: MIT
 *
 * abi_answer: responses that hooks write piece by piece, hints, trailers, whole bodies of responses.
 */
#include "proxy/answer.h"
#include "proxy/lifecycle.h"
#include "script/journal.h"

enum { STATUS_FIRST = 200, STATUS_LAST = 599 };

/* ---- written answers ------------------------------------------------------------------------ */

static rp_ms ms_of(double seconds)
{
    return seconds > 0 ? (rp_ms)(RP_MIN(seconds, 1e9) * 1000 + 0.999) : 0;
}

rp_err rp_abi_respond(struct rp_host_face *f, struct rp_req *r, uint32_t status, double length,
                      double idle_s, double keepalive_s)
{
    struct rp_host *h = rp_vm_of(f);
    /* Only a hook is gone on with while its answer is relayed. */
    bool from_hook = h->current && h->current->is_hook && h->current->req == r;
    if (!from_hook || r->phase > RP_PHASE_CONTENT || r->x.head_sent) return RP_E_PHASE;
    if (status < STATUS_FIRST || status > STATUS_LAST) return RP_E_INVALID;
    if (rp_journal_only(r)) return RP_OK;
    bool known = length >= 0 && length < 9007199254740992.0;
    rp_ms idle_ms = idle_s < 0 ? h->conf->hook_wait_ms : ms_of(idle_s);
    rp_err e = rp_answer_begin(r, (uint16_t)status, known ? (uint64_t)length : UINT64_MAX, idle_ms,
                               ms_of(keepalive_s));
    if (e == RP_OK) rp_slot_answered(h, rp_phase_slot(h, r));
    return e;
}

/* The running task waits until r's client has taken some of what was written. */
static rp_err wait_for_room(struct rp_host *h, struct rp_req *r)
{
    return rp_task_wait_at(h, &rp_phase_slot(h, r)->writer);
}

double rp_abi_respond_write(struct rp_host_face *f, struct rp_req *r, const char *p, size_t n)
{
    struct rp_host *h = rp_vm_of(f);
    if (rp_journal_only(r)) return RP_E_CLOSED;
    struct rp_vm_slot *s = rp_phase_slot(h, r);
    /* Between two parts of one task's piece stands nothing else. */
    if (s->writer && s->writer != h->current) return RP_E_BUSY;
    size_t used;
    rp_err e = rp_answer_write(r, rp_str_of(p, n), &used);
    if (e == RP_AGAIN) e = wait_for_room(h, r);
    return e < 0 ? e : (double)used;
}

rp_err rp_abi_respond_flush(struct rp_host_face *f, struct rp_req *r)
{
    if (rp_journal_only(r)) return RP_E_CLOSED;
    rp_err e = rp_answer_flush(r);
    return e == RP_AGAIN ? wait_for_room(rp_vm_of(f), r) : e;
}

rp_err rp_abi_respond_end(struct rp_req *r)
{
    return rp_journal_only(r) ? RP_E_CLOSED : rp_answer_finish(r);
}

bool rp_abi_req_is_leaving(const struct rp_req *r)
{
    return r->proxy->draining || r->proxy->conf != r->conf;
}

/* ---- hints ---------------------------------------------------------------------------------- */

static bool may_hint(const struct rp_req *r)
{
    return r->phase < RP_PHASE_HEADER_FILTER && !r->x.head_sent;
}

rp_err rp_abi_hint_add(struct rp_req *r, const char *name, size_t n, const char *value,
                       size_t value_n)
{
    if (!may_hint(r)) return RP_E_PHASE;
    return rp_answer_hint(r, rp_str_of(name, n), rp_str_of(value, value_n));
}

void rp_abi_hint_drop(struct rp_req *r)
{
    if (r->answer) rp_msg_init(&r->answer->hint, NULL, 0, RP_ANSWER_FIELDS_MOST);
}

rp_err rp_abi_hint_send(struct rp_req *r)
{
    if (!may_hint(r)) return RP_E_PHASE;
    if (rp_journal_only(r)) {
        rp_abi_hint_drop(r);
        return RP_OK;
    }
    return rp_answer_send_hint(r);
}

/* ---- trailers ------------------------------------------------------------------------------- */

rp_err rp_abi_res_trailer(struct rp_req *r, const char *name, size_t n, const char *value,
                          size_t value_n)
{
    bool writes = r->answer && r->answer->streamed && !r->answer->ended;
    bool filters = r->phase == RP_PHASE_HEADER_FILTER || r->phase == RP_PHASE_BODY_FILTER;
    if ((!writes && !filters) || r->x.response_done) return RP_E_PHASE;
    if (rp_journal_only(r)) return RP_OK;
    return rp_answer_trailer(r, rp_str_of(name, n),
                             value ? rp_str_of(value, value_n) : RP_STR_NONE);
}

/* ---- whole bodies --------------------------------------------------------------------------- */

/* Hooks do not run inside of one: it is asked for again when this one is parked (rp_pass_unpark). */
static rp_err gather(struct rp_req *r, uint64_t most)
{
    if (!rp_respond_needs_hooks(r)) return rp_respond_gather(r, most);
    rp_req_wake(r, RP_WAKE_UP);
    return RP_AGAIN;
}

rp_err rp_abi_res_gather(struct rp_host_face *f, struct rp_req *r, double max)
{
    struct rp_task *t = rp_vm_of(f)->current;
    /* Only a hook is asked again when bytes come. */
    if (!t || !t->is_hook || t->req != r || r->phase != RP_PHASE_HEADER_FILTER) return RP_E_PHASE;
    if (!rp_answer_of(r)) return RP_E_CAP; /* RESPOND looks there for what became of the body */
    double most = RP_MIN(RP_MAX(max, 0), (double)(1ULL << 50));
    rp_err e = t->gathered;
    rp_task_touch(t);
    t->gathered = RP_OK;
    if (e < 0) return e;
    e = gather(r, (uint64_t)most);
    if (e == RP_AGAIN) {
        t->wants_response = true;
        t->body_max = most;
    }
    return e;
}

void rp_abi_res_body_copy(const struct rp_req *r, char *out)
{
    rp_chain_peek(&r->out, out, r->out.bytes);
}

rp_err rp_abi_res_set_body(struct rp_req *r, const char *p, size_t n)
{
    if (r->phase != RP_PHASE_HEADER_FILTER || r->x.head_sent) return RP_E_PHASE;
    if (r->res.status == 206 || r->res.status == 101) return RP_E_INVALID;
    if (rp_journal_only(r)) return RP_OK;
    return rp_answer_set_body(r, rp_str_of(p, n));
}

rp_err rp_abi_res_buffer(struct rp_req *r, double max)
{
    if (r->phase != RP_PHASE_HEADER_FILTER || r->x.head_sent) return RP_E_PHASE;
    if (rp_journal_only(r)) return RP_OK;
    struct rp_answer *a = rp_answer_of(r);
    if (!a) return RP_E_CAP;
    a->buffer_max = RP_MAX(a->buffer_max, (uint64_t)RP_MIN(RP_MAX(max, 0), (double)(1ULL << 50)));
    return RP_OK;
}

/* ---- times ---------------------------------------------------------------------------------- */

double rp_abi_res_time(const struct rp_req *r, uint32_t which)
{
    const rp_ns at[] = {
        [RP_TIME_START] = r->start_ns,           [RP_TIME_CONNECT] = r->connect_start_ns,
        [RP_TIME_CONNECTED] = r->connected_ns,   [RP_TIME_SENT] = r->sent_ns,
        [RP_TIME_FIRST_BYTE] = r->first_byte_ns, [RP_TIME_END] = r->end_ns,
    };
    if (which >= RP_COUNT(at) || at[which] == 0) return -1;
    return (double)(at[which] - r->start_ns) / 1e9;
}
