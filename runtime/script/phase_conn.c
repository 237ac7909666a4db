/* SPDX-License-Identifier: MIT
 *
 * phase_conn: see phase_conn.h.
 */
#include "script/phase_conn.h"

static rp_err enter(const struct rp_conn_pass *a, uint32_t chain);

static rp_err failed(const struct rp_conn_pass *a, struct rp_task *t, rp_str what, rp_err e)
{
    uint32_t chain = t->chain, at = t->at, rest = 0;
    uint32_t plugin = rp_chain_plugin(a->h, chain, at);
    bool forgiven =
        a->of->forgive(a, plugin == UINT32_MAX ? NULL : &a->h->conf->plugins[plugin], what);
    rp_task_drop(t);
    rp_account_error(a->h, plugin);
    if (!forgiven) return e;
    rp_err found = rp_chain_rest(a->h, chain, at, &rest);
    if (found != RP_OK) return found;
    return rest ? enter(a, rest) : RP_OK;
}

static rp_err settle(const struct rp_conn_pass *a, struct rp_task *t, int rc)
{
    bool stopped = rp_watchdog_leave(a->h);
    if (rc == 0) {
        rp_err e = a->of->returned(a, t->co);
        if (e < 0) rp_account_denial(a->h, rp_chain_plugin(a->h, t->chain, t->at));
        rp_task_put(t);
        return e;
    }
    if (rc != LUA_YIELD)
        return failed(a, t, rp_task_complaint(t), stopped ? RP_E_HOOK_BUDGET : RP_E_HOOK);
    if (t->state == RP_TASK_RUNNING)
        return failed(a, t, RP_STR("coroutine.yield outside of a coroutine of its own"), RP_E_HOOK);
    *a->task = t;
    return RP_AGAIN;
}

static rp_err enter(const struct rp_conn_pass *a, uint32_t chain)
{
    struct rp_task *t = rp_task_get(a->h);
    if (!t) return RP_E_BUSY;
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, rp_account_enter(a->h->chains[chain], t));
    rp_err e = a->of->push(a, t->co);
    if (e != RP_OK) {
        rp_task_put(t);
        return e;
    }
    a->of->dress(a, t);
    t->is_hook = true;
    t->chain = chain;
    t->at = 1;
    return settle(a, t, rp_task_resume(t, 1));
}

static rp_err go_on(const struct rp_conn_pass *a, struct rp_task *t)
{
    if (t->state != RP_TASK_READY) return RP_AGAIN;
    *a->task = NULL;
    lua_settop(t->co, 0);
    lua_pushboolean(t->co, t->fired);
    return settle(a, t, rp_task_resume(t, 1));
}

rp_err rp_conn_pass_run(const struct rp_conn_pass *a, uint32_t chain)
{
    return *a->task ? go_on(a, *a->task) : enter(a, chain);
}
