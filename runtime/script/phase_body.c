/* SPDX-License-Identifier: MIT
 *
 * phase_body: bodies through Lua: pieces for body_filter and request_body hooks, and request bodies
 * that a function of site code makes.
 *
 * A piece is one Lua string, made once for all handlers of a pass. What they return lies in the
 * wrapper until the pass is over, so that a handler that fails under "open" loses nothing of those
 * before it.
 */
#include "script/pass.h"

#include "proxy/payload.h"

enum { EMPTY_MOST = 100 * 1000 }; /* in a row, without waiting: it would go on for ever */

/* ---- pieces --------------------------------------------------------------------------------- */

struct pushing {
    const struct rp_pass *pass;
    lua_State *co;
};

static int push_piece(lua_State *L)
{
    const struct pushing *p = lua_touserdata(L, 1);
    const struct rp_chain *in = p->pass->in;
    struct rp_buf *joined = &p->pass->h->text;
    if (in->head && !in->head->next) {
        lua_pushlstring(L, in->head->ptr, in->head->len);
    } else {
        rp_buf_clear(joined);
        for (const struct rp_piece *it = in->head; it; it = it->next)
            rp_buf_add(joined, rp_str_of(it->ptr, it->len));
        if (joined->failed) return luaL_error(L, "body piece too large");
        lua_pushlstring(L, joined->ptr ? joined->ptr : "", joined->len);
    }
    lua_xmove(L, p->co, 1);
    return 0;
}

/* A request and its response may be under way at the same time. */
static int chunk_place(const struct rp_pass *a)
{
    return a->phase == RP_PHASE_REQUEST_BODY ? RP_WRAP_REQ_CHUNK : RP_WRAP_CHUNK;
}

rp_err rp_pass_push_piece(const struct rp_pass *a, lua_State *co)
{
    lua_rawgeti(co, 1, chunk_place(a));
    if (lua_isnil(co, -1)) {
        lua_pop(co, 1);
        struct pushing p = {a, co};
        if (lua_cpcall(a->h->L, push_piece, &p) != 0) {
            lua_pop(a->h->L, 1);
            return RP_E_NOMEM;
        }
    }
    lua_pushboolean(co, a->last);
    return RP_OK;
}

void rp_pass_take_piece(const struct rp_pass *a)
{
    lua_State *L = a->h->L;
    struct rp_vm_slot *s = rp_phase_slot(a->h, a->r);
    int at = chunk_place(a);
    size_t n;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->ref);
    lua_rawgeti(L, -1, at);
    const char *made = lua_tolstring(L, -1, &n);
    if (made) {
        rp_chain_add_copy(a->out, rp_str_of(made, n)); /* before: never where `in` is */
        rp_chain_clear(a->in);
        lua_pushnil(L);
        lua_rawseti(L, -3, at);
    } else {
        (void)rp_chain_move(a->out, a->in, a->in->bytes); /* all of it */
    }
    lua_pop(L, 2);
}

static rp_err filter(const struct rp_pass *a, struct rp_task *parked)
{
    if (parked) return rp_pass_go_on(a, parked);
    uint32_t chain = a->r->route ? a->r->route->chains.at[a->phase] : 0;
    if (chain) return rp_pass_enter(a, chain);
    (void)rp_chain_move(a->out, a->in, a->in->bytes); /* all of it */
    return RP_OK;
}

rp_err rp_phase_filter_body(struct rp_req *r, struct rp_chain *in, bool last, struct rp_chain *out)
{
    const struct rp_pass a = {.h = r->conf->script,
                              .r = r,
                              .phase = RP_PHASE_BODY_FILTER,
                              .in = in,
                              .out = out,
                              .last = last};
    return filter(&a, r->task);
}

rp_err rp_phase_filter_request(struct rp_req *r, struct rp_chain *in, bool last,
                               struct rp_chain *out)
{
    const struct rp_pass a = {.h = r->conf->script,
                              .r = r,
                              .phase = RP_PHASE_REQUEST_BODY,
                              .in = in,
                              .out = out,
                              .last = last};
    return filter(&a, r->payload->task);
}

/* ---- a function that makes the body --------------------------------------------------------- */

static rp_err source_failed(const struct rp_pass *a, struct rp_task *t, rp_str what, rp_err e)
{
    rp_pass_log_failure(a, rp_chain_plugin(a->h, t->chain, t->at), what);
    a->r->proxy->stats.hook_errors++;
    rp_task_drop(t);
    return e;
}

static rp_err source_returned(const struct rp_pass *a, struct rp_task *t)
{
    lua_State *co = t->co;
    struct rp_payload *p = a->r->payload;
    size_t n;
    bool some = lua_type(co, 1) == LUA_TSTRING, end = lua_isnoneornil(co, 1);
    if (!some && !end)
        return source_failed(a, t, RP_STR("the function of set_body returned no string"),
                             RP_E_HOOK);
    if (end && lua_type(co, 2) == LUA_TSTRING) { /* nil, err: it knows no more */
        const char *why = lua_tolstring(co, 2, &n);
        return source_failed(a, t, rp_str_z(rp_log_esc(rp_str_of(why, n))), RP_E_HOOK);
    }
    if (some) {
        const char *piece = lua_tolstring(co, 1, &n);
        p->empty_n = n ? 0 : p->empty_n + 1;
        if (p->empty_n == EMPTY_MOST)
            return source_failed(a, t, RP_STR("the function of set_body gives only empty pieces"),
                                 RP_E_HOOK);
        rp_chain_add_copy(a->out, rp_str_of(piece, n));
    }
    rp_task_put(t);
    return end ? RP_END : RP_OK;
}

static rp_err settle_source(const struct rp_pass *a, struct rp_task *t, int rc)
{
    bool stopped = rp_watchdog_leave(a->h);
    if (rc == 0) return source_returned(a, t);
    if (rc != LUA_YIELD)
        return source_failed(a, t, rp_task_complaint(t), stopped ? RP_E_HOOK_BUDGET : RP_E_HOOK);
    if (t->state == RP_TASK_RUNNING)
        return source_failed(a, t, RP_STR("coroutine.yield outside of a coroutine of its own"),
                             RP_E_HOOK);
    a->r->payload->empty_n = 0;
    a->r->payload->task = t;
    a->r->payload->reads = t->wants_body != RP_WANTS_NOTHING;
    return RP_AGAIN;
}

static rp_err enter_source(const struct rp_pass *a)
{
    struct rp_vm_slot *s = rp_phase_slot(a->h, a->r);
    struct rp_task *t = s && s->bound ? rp_task_get(a->h) : NULL;
    if (!t) return RP_E_BUSY;
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, s->ref);
    lua_rawgeti(t->co, -1, RP_WRAP_SOURCE);
    lua_remove(t->co, 1);
    t->notes = s->traced;
    t->req = a->r;
    t->scope = &s->scope;
    t->is_hook = true;
    t->phase = RP_PHASE_REQUEST_BODY;
    t->at = s->source_by;
    return settle_source(a, t, rp_task_resume(t, 0));
}

rp_err rp_phase_pull_body(struct rp_req *r, struct rp_chain *out)
{
    const struct rp_pass a = {
        .h = r->conf->script, .r = r, .phase = RP_PHASE_REQUEST_BODY, .out = out};
    struct rp_task *t = r->payload->task;
    if (!t) return enter_source(&a);
    return rp_pass_unpark(&a, t) ? settle_source(&a, t, rp_task_resume(t, 1)) : RP_AGAIN;
}
