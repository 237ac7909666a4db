/* SPDX-License-Identifier: MIT
 *
 * abi_req: facts of a request as text, and what hooks may assign. All that reaches a head or a
 * request line is checked here: a hook that copies wire text about cannot split a message.
 */
#include "http/chars.h"
#include "http/field.h"
#include "proxy/tap.h"
#include "script/journal.h"

/* ---- reading -------------------------------------------------------------------------------- */

static bool give(struct rp_host_face *f, rp_str s)
{
    f->out = s;
    return s.ptr != NULL;
}

static bool give_ip(struct rp_host_face *f, const struct rp_addr *a)
{
    struct rp_host *h = rp_vm_of(f);
    rp_arena_reset(&h->scratch);
    char *text = rp_arena_alloc(&h->scratch, RP_ADDR_TEXT_BYTES);
    if (a->family == RP_ADDR_NONE) return give(f, RP_STR_NONE);
    return give(f, rp_str_of(text, rp_addr_put_ip(a, text)));
}

/* Path and query that go upstream as things stand. */
struct target {
    rp_str path, query; /* query.ptr NULL: no '?' */
};

static struct target up_target(const struct rp_req *r)
{
    const struct rp_uri *u = &r->x.head.uri;
    struct target t = {u->raw_path, u->has_query ? u->query : RP_STR_NONE};
    if (r->up_path.ptr) {
        size_t mark = rp_str_find(r->up_path, '?', 0);
        t.path = rp_str_head(r->up_path, mark);
        t.query = mark < r->up_path.len ? rp_str_from(r->up_path, mark + 1) : RP_STR_NONE;
        return t;
    }
    rp_str strip = r->route ? r->route->strip_prefix : RP_STR_NONE;
    if (strip.len && rp_str_starts(t.path, strip)) {
        /* The '/' that a prefix ends with stays part of the path. */
        size_t keep = strip.ptr[strip.len - 1] == '/' ? strip.len - 1 : strip.len;
        t.path = rp_str_from(t.path, keep);
        if (t.path.len == 0) t.path = RP_STR("/");
    }
    return t;
}

/* In rewrite a hook reads back what it (or one before it) assigned. */
static bool is_rewritten(const struct rp_req *r)
{
    return r->phase == RP_PHASE_REWRITE && r->up_path.ptr;
}

static rp_str peer_text(struct rp_host *h, const struct rp_req *r)
{
    if (r->pick.peer) return r->pick.peer->conf->name;
    if (r->pick.want_addr.family == RP_ADDR_NONE) return RP_STR_NONE;
    rp_arena_reset(&h->scratch);
    char *text = rp_arena_alloc(&h->scratch, RP_ADDR_TEXT_BYTES);
    return rp_str_of(text, rp_addr_put(&r->pick.want_addr, text));
}

static rp_str host_text(const struct rp_req *r)
{
    return r->phase == RP_PHASE_REWRITE && r->up_host.ptr ? r->up_host : r->x.head.host;
}

static rp_str query_text(const struct rp_req *r)
{
    const struct rp_uri *u = &r->x.head.uri;
    if (is_rewritten(r)) return up_target(r).query;
    return u->has_query ? u->query : RP_STR_NONE;
}

bool rp_abi_req_text(struct rp_host_face *f, struct rp_req *r, uint32_t what)
{
    switch ((enum rp_abi_text)what) {
    case RP_TEXT_METHOD:
        return give(f,
                    r->phase == RP_PHASE_REWRITE ? r->up_head->method_text : r->x.head.method_text);
    case RP_TEXT_HOST: return give(f, host_text(r));
    case RP_TEXT_PATH: return give(f, is_rewritten(r) ? up_target(r).path : r->x.head.uri.path);
    case RP_TEXT_QUERY: return give(f, query_text(r));
    case RP_TEXT_ID: return give(f, rp_req_id(r));
    case RP_TEXT_REMOTE_IP: return give_ip(f, &r->client);
    case RP_TEXT_PEER_IP: return give_ip(f, &r->conn_addr);
    case RP_TEXT_CONSUMER: return give(f, r->consumer);
    case RP_TEXT_UP_PATH: return give(f, up_target(r).path);
    case RP_TEXT_UP_HOST: return give(f, r->up_host);
    case RP_TEXT_UP_PEER: return give(f, peer_text(rp_vm_of(f), r));
    case RP_TEXT_UPSTREAM: return give(f, r->upstream ? r->upstream->name : RP_STR_NONE);
    case RP_TEXT_UP_ERROR:
        return give(f, r->try_fail < 0 ? rp_str_z(rp_err_reason(r->try_fail)) : RP_STR_NONE);
    }
    return give(f, RP_STR_NONE);
}

bool rp_abi_req_param(struct rp_host_face *f, const struct rp_req *r, uint32_t i)
{
    struct rp_host *h = rp_vm_of(f);
    if (!r->route || i >= r->match.params_n || i >= r->route->params_n) return false;
    rp_arena_reset(&h->scratch);
    f->out = r->route->param_names[i];
    f->out2 = rp_uri_decode(&h->scratch, r->match.params[i], false);
    return f->out2.ptr != NULL;
}

/* ---- arguments and cookies ------------------------------------------------------------------ */

/* Does a name as sent mean `name`? The common case decodes nothing. */
static bool arg_is(struct rp_host *h, rp_str raw, rp_str name)
{
    if (rp_str_eq(raw, name)) return true;
    if (raw.len <= name.len)
        return raw.len == name.len && rp_str_find(raw, '+', 0) < raw.len &&
               rp_str_eq(rp_uri_decode(&h->scratch, raw, true), name);
    return rp_str_find(raw, '%', 0) < raw.len &&
           rp_str_eq(rp_uri_decode(&h->scratch, raw, true), name);
}

bool rp_abi_req_arg(struct rp_host_face *f, const struct rp_req *r, const char *name, size_t n,
                    uint32_t nth)
{
    struct rp_host *h = rp_vm_of(f);
    rp_str rest = query_text(r), raw, value;
    rp_arena_reset(&h->scratch);
    while (rest.ptr && rp_uri_arg_next(&rest, &raw, &value)) {
        if (!arg_is(h, raw, rp_str_of(name, n)) || nth-- > 0) continue;
        return give(f, rp_uri_decode(&h->scratch, value, true));
    }
    return give(f, RP_STR_NONE);
}

size_t rp_abi_form_next(struct rp_host_face *f, const char *p, size_t n, size_t from)
{
    struct rp_host *h = rp_vm_of(f);
    rp_str whole = rp_str_of(p, n), name, value;
    if (from >= n) return 0;
    rp_str rest = rp_str_from(whole, from);
    if (!rp_uri_arg_next(&rest, &name, &value)) return 0;
    rp_arena_reset(&h->scratch);
    f->out = rp_uri_decode(&h->scratch, name, true);
    f->out2 = rp_uri_decode(&h->scratch, value, true);
    if (!f->out.ptr || !f->out2.ptr) return 0;
    return rest.len ? (size_t)(rest.ptr - p) : n;
}

bool rp_abi_req_cookie(struct rp_host_face *f, const struct rp_req *r, const char *name, size_t n)
{
    const struct rp_field *c = rp_msg_find(&r->x.head, RP_H_COOKIE);
    for (; c; c = rp_msg_find_next(&r->x.head, c)) {
        rp_str value = rp_field_cookie(rp_field_value(c), rp_str_of(name, n));
        if (value.ptr) return give(f, value);
    }
    return give(f, RP_STR_NONE);
}

double rp_abi_req_duration(const struct rp_req *r)
{
    rp_ns end = r->end_ns ? r->end_ns : rp_loop_now_ns(r->proxy->loop);
    return (double)(end - r->start_ns) / 1e9;
}

double rp_abi_req_start(struct rp_req *r)
{
    const struct rp_loop *l = r->proxy->loop;
    if (r->start_wall <= 0)
        r->start_wall = rp_loop_wall(l) - (double)(rp_loop_now_ns(l) - r->start_ns) / 1e9;
    return r->start_wall;
}

double rp_abi_up_time(const struct rp_req *r, uint32_t which)
{
    rp_ns from = r->connect_start_ns ? r->connect_start_ns : r->connected_ns;
    rp_ns to = which == 0 ? r->connected_ns : which == 1 ? r->first_byte_ns : r->end_ns;
    if (which == 1) from = r->sent_ns ? r->sent_ns : r->connected_ns;
    return from && to >= from ? (double)(to - from) / 1e9 : -1;
}

/* ---- assigning ------------------------------------------------------------------------------ */

/* Visible ASCII, whole escapes, none of `refused`. */
static bool is_clean(rp_str s, const char *refused)
{
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.ptr[i];
        if (ch <= 0x20 || ch >= 0x7f || strchr(refused, ch)) return false;
        if (ch != '%') continue;
        if (s.len - i < 3 || !rp_chars_is(s.ptr[i + 1], RP_CH_HEX) ||
            !rp_chars_is(s.ptr[i + 2], RP_CH_HEX))
            return false;
    }
    return true;
}

static bool is_path(rp_str s)
{
    return s.len && s.ptr[0] == '/' && is_clean(s, "?#\\\"<>");
}

static rp_err set_up_target(struct rp_req *r, rp_str path, rp_str query)
{
    if (rp_journal_only(r)) return RP_OK;
    rp_str made =
        query.ptr ? rp_arena_printf(&r->x.arena, "%.*s?%.*s", RP_STR_ARG(path), RP_STR_ARG(query))
                  : rp_arena_copy(&r->x.arena, path);
    if (!made.ptr) return RP_E_CAP;
    r->up_path = made;
    return RP_OK;
}

static rp_err set_path(struct rp_req *r, rp_str s, bool early)
{
    if (!is_path(s)) return RP_E_INVALID;
    if (!early) return set_up_target(r, s, up_target(r).query);
    struct rp_uri *u = &r->x.head.uri;
    rp_str kept = rp_arena_copy(&r->x.arena, s), normal;
    if (!kept.ptr) return RP_E_CAP;
    rp_err e = rp_uri_normalize(&r->x.arena, kept, &normal);
    if (e != RP_OK) return e == RP_E_CAP ? e : RP_E_INVALID;
    if (rp_journal_only(r)) return RP_OK;
    u->raw_path = kept;
    u->path = normal;
    u->form = RP_URI_ORIGIN;
    return RP_OK;
}

static rp_err set_query(struct rp_req *r, rp_str s, bool early)
{
    if (!is_clean(s, "#\"<>")) return RP_E_INVALID;
    if (!early) return set_up_target(r, up_target(r).path, s);
    if (rp_journal_only(r)) return RP_OK;
    rp_str kept = s.ptr ? rp_arena_copy(&r->x.arena, s) : RP_STR("");
    if (!kept.ptr) return RP_E_CAP;
    r->x.head.uri.query = kept;
    r->x.head.uri.has_query = s.ptr != NULL;
    return RP_OK;
}

static rp_err set_method(struct rp_req *r, rp_str s, bool early)
{
    /* CONNECT would turn the message into something else: a tunnel. */
    if (!rp_field_is_name(s) || rp_str_eq(s, RP_STR("CONNECT"))) return RP_E_INVALID;
    if (rp_journal_only(r)) return RP_OK;
    struct rp_msg *m = early ? &r->x.head : rp_req_edit_up(r);
    rp_str kept = rp_arena_copy(&r->x.arena, s);
    if (!m || !kept.ptr) return RP_E_CAP;
    m->method_text = kept;
    m->method = rp_token_method(kept.ptr, kept.len);
    return RP_OK;
}

static rp_err set_host(struct rp_req *r, rp_str s, bool early)
{
    rp_str host, kept = rp_arena_copy(&r->x.arena, s);
    uint16_t port;
    if (!kept.ptr) return RP_E_CAP;
    if (rp_uri_parse_authority(kept, &host, &port) != RP_OK) return RP_E_INVALID;
    if (rp_journal_only(r)) return RP_OK;
    if (!early) {
        r->up_host = kept;
        return RP_OK;
    }
    r->x.head.host = host;
    r->x.head.port = port;
    if (r->x.head.uri.authority.len) r->x.head.uri.authority = kept;
    return rp_msg_set(&r->x.head, &r->x.arena, RP_H_HOST, RP_STR("Host"), kept);
}

static rp_err set_consumer(struct rp_req *r, rp_str s)
{
    if (rp_journal_only(r)) return RP_OK;
    rp_str kept = s.ptr ? rp_arena_copy(&r->x.arena, s) : RP_STR_NONE;
    if (s.ptr && !kept.ptr) return RP_E_CAP;
    r->consumer = kept;
    return RP_OK;
}

rp_err rp_abi_req_assign(struct rp_host_face *f, struct rp_req *r, uint32_t what, const char *p,
                         size_t n)
{
    (void)f;
    rp_str s = p ? rp_str_of(p, n) : RP_STR_NONE;
    uint8_t phase = r->phase;
    bool early = phase == RP_PHASE_EARLY;
    bool facing_up =
        phase == RP_PHASE_ACCESS || phase == RP_PHASE_REWRITE || phase == RP_PHASE_BALANCE;
    if (what == RP_TEXT_CONSUMER)
        return early || phase == RP_PHASE_ACCESS || phase == RP_PHASE_REWRITE ? set_consumer(r, s)
                                                                              : RP_E_PHASE;
    if (what == RP_TEXT_UP_PATH) return facing_up ? set_path(r, s, false) : RP_E_PHASE;
    if (what == RP_TEXT_UP_HOST) return facing_up ? set_host(r, s, false) : RP_E_PHASE;
    if (!early && phase != RP_PHASE_REWRITE) return RP_E_PHASE;
    if (!p && what != RP_TEXT_QUERY) return RP_E_INVALID;
    if (what == RP_TEXT_METHOD) return set_method(r, s, early);
    if (what == RP_TEXT_HOST) return set_host(r, s, early);
    if (what == RP_TEXT_PATH) return set_path(r, s, early);
    if (what == RP_TEXT_QUERY) return set_query(r, s, early);
    return RP_E_INVALID;
}

rp_err rp_abi_req_wait(struct rp_req *r, uint32_t what, double seconds)
{
    if (what >= RP_WAITS || !(seconds >= 0 && seconds <= 1e9)) return RP_E_INVALID;
    if (rp_journal_only(r)) return RP_OK;
    struct rp_req_own *own = rp_req_own_of(r);
    if (!own) return RP_E_CAP;
    own->wait_ms[what] = (rp_ms)(seconds * 1000 + 0.999);
    return RP_OK;
}

rp_err rp_abi_req_set_priority(struct rp_req *r, double priority)
{
    bool fits = priority >= -RP_ABI_PRIORITY_MOST && priority <= RP_ABI_PRIORITY_MOST;
    if (!fits || priority != (int32_t)priority) return RP_E_INVALID;
    if (r->step >= RP_STEP_PICK) return RP_E_PHASE;
    if (!rp_journal_only(r)) r->priority = (int32_t)priority;
    return RP_OK;
}

rp_err rp_abi_req_tap(struct rp_req *r, double sent_max, double got_max)
{
    bool fits = sent_max >= 0 && sent_max <= RP_TAP_MOST && got_max >= 0 && got_max <= RP_TAP_MOST;
    if (!fits) return RP_E_INVALID;
    return rp_tap_begin(r, (uint32_t)sent_max, (uint32_t)got_max);
}

rp_err rp_abi_req_tapped(struct rp_host_face *h, const struct rp_req *r, bool of_response)
{
    const struct rp_tap *t = rp_tap_of(r);
    const struct rp_tap_side *side = t ? of_response ? &t->got : &t->sent : NULL;
    if (r->step < RP_STEP_LOG) return RP_E_PHASE;
    if (!side || !side->max || !r->tries || (of_response && r->fail != RP_OK))
        return RP_E_NOT_FOUND;
    if (!of_response && !r->body_sent) return RP_E_NOT_FOUND;
    if (side->cut) return RP_E_TOO_BIG;
    h->out = rp_buf_str(&side->bytes);
    return RP_OK;
}

rp_err rp_abi_req_drop(struct rp_req *r)
{
    if (r->x.head_sent || r->step >= RP_STEP_RELAY) return RP_E_PHASE;
    if (rp_journal_only(r)) return RP_OK;
    if (r->x.fail == RP_OK) r->x.fail = RP_E_DENIED;
    rp_req_wake(r, RP_WAKE_ABORT);
    return RP_OK;
}

rp_err rp_abi_req_note(struct rp_req *r, const char *name, size_t n, const char *value,
                       size_t value_n, bool bare)
{
    if (rp_journal_only(r)) return RP_OK;
    return rp_req_note(r, rp_str_of(name, n), rp_str_of(value, value_n), bare);
}
