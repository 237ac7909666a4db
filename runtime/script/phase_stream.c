/* SPDX-License-Identifier: MIT
 *
 * phase_stream: the hooks of relayed connections: connect and log, run as a request's are (phase.c):
 * on a pooled coroutine, parked while they wait, with the plugin's policy when they fail. A stream has
 * no answer to give: a connect hook that fails closes it unless its plugin says "open".
 */
#include "script/phase_conn.h"

#include "base/log.h"
#include "proxy/server.h"

/* What Lua holds of a stream: s->script. */
struct kept {
    int ref; /* the wrapper table */
    struct rp_scope scope;
};

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

static rp_err push(const struct rp_conn_pass *a, lua_State *L)
{
    struct rp_stream *s = a->owner;
    struct kept *k = s->script;
    if (!k) {
        struct making m = {a->h, s, LUA_NOREF};
        if (lua_cpcall(a->h->L, make_wrapper, &m) != 0) {
            lua_pop(a->h->L, 1);
            return RP_E_NOMEM;
        }
        k = rp_alloc(sizeof *k);
        k->ref = m.ref;
        s->script = k;
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

/* ---- running -------------------------------------------------------------------------------- */

static bool forgive(const struct rp_conn_pass *a, const struct rp_conf_plugin *p, rp_str what)
{
    const struct rp_stream *s = a->owner;
    bool log = a->hook == RP_STREAM_HOOK_LOG;
    rp_log(error, "hook failed plugin=%s hook=%s listener=%s error=\"%.*s\"",
           p ? rp_log_esc(p->name) : "?", log ? "log" : "connect", rp_log_esc(s->serve->text),
           RP_STR_ARG(what));
    s->proxy->stats.hook_errors++;
    return log || (p && p->on_error == RP_PLUGIN_OPEN);
}

static void dress(const struct rp_conn_pass *a, struct rp_task *t)
{
    struct rp_stream *s = a->owner;
    t->stream = s;
    t->scope = &((struct kept *)s->script)->scope;
    t->phase = a->hook == RP_STREAM_HOOK_LOG ? RP_PHASE_LOG : RP_TASK_CONNECT;
}

static rp_err returned(const struct rp_conn_pass *a, lua_State *L)
{
    bool refuse = lua_gettop(L) > 0 && lua_toboolean(L, 1);
    return refuse && a->hook == RP_STREAM_HOOK_CONNECT ? RP_E_DENIED : RP_OK;
}

static rp_err run(struct rp_stream *s, enum rp_stream_hook hook)
{
    static const struct rp_conn_hooks OF = {push, dress, returned, forgive};
    const struct rp_conn_pass a = {&OF, s->conf->script, s, &s->task, hook};
    return rp_conn_pass_run(&a, hook == RP_STREAM_HOOK_LOG ? s->what->log_chain
                                                           : s->what->connect_chain);
}

void rp_phase_stream_hooks(struct rp_hooks *hooks)
{
    hooks->run_stream = run;
    hooks->cancel_stream = cancel;
    hooks->forget_stream = forget;
}
