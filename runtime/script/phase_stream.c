/* SPDX-License-Identifier: MIT
 *
 * phase_stream: the hooks of relayed connections: connect and log, run as a request's are (phase.c):
 * on a pooled coroutine, parked while they wait, with the plugin's policy when they fail. A stream has
 * no answer to give: a connect hook that fails closes it unless its plugin says "open".
 */
#include "script/vm.h"

#include "base/log.h"
#include "proxy/server.h"

/* What Lua holds of a stream: s->script. */
struct kept {
    int ref; /* the wrapper table */
    struct rp_scope scope;
};

struct pass {
    struct rp_host *h;
    struct rp_stream *s;
    enum rp_stream_hook hook;
};

static rp_err enter(const struct pass *a, uint32_t chain);

/* ---- wrappers ------------------------------------------------------------------------------- */

struct making {
    struct rp_host *h;
    struct rp_stream *s;
    int ref;
};

static int make_wrapper(lua_State *L)
{
    struct making *m = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, m->h->wrap_conn_fn);
    lua_pushlightuserdata(L, m->s);
    lua_call(L, 1, 1);
    m->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static rp_err push_wrapper(const struct pass *a, lua_State *L)
{
    struct kept *k = a->s->script;
    if (!k) {
        struct making m = {a->h, a->s, LUA_NOREF};
        if (lua_cpcall(a->h->L, make_wrapper, &m) != 0) {
            lua_pop(a->h->L, 1);
            return RP_E_NOMEM;
        }
        k = rp_alloc(sizeof *k);
        k->ref = m.ref;
        a->s->script = k;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, k->ref);
    return RP_OK;
}

/* Whoever still holds the table finds no connection in it. */
static void forget(struct rp_stream *s)
{
    struct rp_host *h = s->conf->script;
    struct kept *k = s->script;
    if (s->task) rp_task_drop(s->task);
    s->task = NULL;
    s->script = NULL;
    rp_scope_close(h, &k->scope);
    lua_rawgeti(h->L, LUA_REGISTRYINDEX, k->ref);
    for (int i = 1; i <= 2; i++) {
        lua_pushnil(h->L);
        lua_rawseti(h->L, -2, i);
    }
    lua_pop(h->L, 1);
    luaL_unref(h->L, LUA_REGISTRYINDEX, k->ref);
    rp_free(k);
}

static void cancel(struct rp_stream *s)
{
    if (s->task) rp_task_drop(s->task);
    s->task = NULL;
}

/* ---- failures ------------------------------------------------------------------------------- */

static rp_err failed(const struct pass *a, struct rp_task *t, rp_str what, rp_err e)
{
    uint32_t chain = t->chain, at = t->at, rest = 0;
    uint32_t plugin = rp_chain_plugin(a->h, chain, at);
    const struct rp_conf_plugin *p = plugin == UINT32_MAX ? NULL : &a->h->conf->plugins[plugin];
    rp_log(error, "hook failed plugin=%s hook=%s listener=%s error=\"%.*s\"",
           p ? rp_log_esc(p->name) : "?", a->hook == RP_STREAM_HOOK_LOG ? "log" : "connect",
           rp_log_esc(a->s->serve->text), RP_STR_ARG(what));
    rp_task_drop(t);
    a->s->proxy->stats.hook_errors++;
    if (a->hook != RP_STREAM_HOOK_LOG && !(p && p->on_error == RP_PLUGIN_OPEN)) return e;
    rp_err found = rp_chain_rest(a->h, chain, at, &rest);
    if (found != RP_OK) return found;
    return rest ? enter(a, rest) : RP_OK;
}

/* ---- running -------------------------------------------------------------------------------- */

static rp_err settle(const struct pass *a, struct rp_task *t, int rc)
{
    bool stopped = rp_watchdog_leave(a->h);
    if (rc == 0) {
        bool refuse = lua_gettop(t->co) > 0 && lua_toboolean(t->co, 1);
        rp_task_put(t);
        return refuse && a->hook == RP_STREAM_HOOK_CONNECT ? RP_E_DENIED : RP_OK;
    }
    if (rc != LUA_YIELD)
        return failed(a, t, rp_task_complaint(t), stopped ? RP_E_HOOK_BUDGET : RP_E_HOOK);
    if (t->state == RP_TASK_RUNNING)
        return failed(a, t, RP_STR("coroutine.yield outside of a coroutine of its own"), RP_E_HOOK);
    a->s->task = t;
    return RP_AGAIN;
}

static rp_err enter(const struct pass *a, uint32_t chain)
{
    struct rp_task *t = rp_task_get(a->h);
    if (!t) return RP_E_BUSY;
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, a->h->chains[chain].fn);
    rp_err e = push_wrapper(a, t->co);
    if (e != RP_OK) {
        rp_task_put(t);
        return e;
    }
    t->stream = a->s;
    t->scope = &((struct kept *)a->s->script)->scope;
    t->is_hook = true;
    t->phase = a->hook == RP_STREAM_HOOK_LOG ? RP_PHASE_LOG : RP_TASK_CONNECT;
    t->chain = chain;
    t->at = 1;
    return settle(a, t, rp_task_resume(t, 1));
}

static rp_err go_on(const struct pass *a, struct rp_task *t)
{
    if (t->state != RP_TASK_READY) return RP_AGAIN;
    a->s->task = NULL;
    lua_settop(t->co, 0);
    lua_pushboolean(t->co, t->fired);
    return settle(a, t, rp_task_resume(t, 1));
}

static rp_err run(struct rp_stream *s, enum rp_stream_hook hook)
{
    const struct pass a = {.h = s->conf->script, .s = s, .hook = hook};
    if (s->task) return go_on(&a, s->task);
    return enter(&a, hook == RP_STREAM_HOOK_LOG ? s->what->log_chain : s->what->connect_chain);
}

void rp_phase_stream_hooks(struct rp_hooks *hooks)
{
    hooks->run_stream = run;
    hooks->cancel_stream = cancel;
    hooks->forget_stream = forget;
}
