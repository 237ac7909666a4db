/* SPDX-License-Identifier: MIT
 *
 * sched: tasks that no request's life resumes: children of requests (rp.spawn), background tasks
 * (rp.detach, rp.every, rp.after, start and stop hooks). They run from one end-of-tick job, in the
 * order in which they became ready.
 */
#include "script/vm.h"

enum {
    RUN_MOST = 256, /* tasks resumed in one go before sockets get their turn */
};

/* ---- running -------------------------------------------------------------------------------- */

static void log_failure(struct rp_task *t)
{
    const struct rp_host *h = t->host;
    uint32_t plugin = rp_chain_plugin(h, t->chain, t->at);
    rp_str what = rp_task_complaint(t);
    rp_account_error(t->host, plugin);
    rp_log(error, "background task failed plugin=%s error=\"%.*s\"",
           plugin == UINT32_MAX ? "-" : rp_log_esc(h->conf->plugins[plugin].name),
           RP_STR_ARG(what));
}

static void end(struct rp_task *t, rp_err e)
{
    if (t->on_end) t->on_end(t, e);
    if (e == RP_OK) rp_task_put(t);
    else rp_task_drop(t);
}

static void after(struct rp_task *t, int rc)
{
    bool stopped = rp_watchdog_leave(t->host);
    if (rc == LUA_YIELD && t->state != RP_TASK_RUNNING && !t->cancelled) return;
    if (rc == 0) {
        end(t, t->failed ? RP_E_HOOK : RP_OK);
    } else if (t->cancelled) {
        end(t, RP_E_CANCELLED);
    } else if (rc == LUA_YIELD) {
        rp_log(error, "background task failed error=\"coroutine.yield outside of a coroutine\"");
        end(t, RP_E_HOOK);
    } else {
        log_failure(t);
        end(t, stopped ? RP_E_HOOK_BUDGET : RP_E_HOOK);
    }
}

static void run_one(struct rp_task *t)
{
    if (t->cancelled) {
        t->state = RP_TASK_RUNNING; /* it left the queue */
        end(t, RP_E_CANCELLED);
        return;
    }
    int nargs = lua_gettop(t->co);
    if (lua_status(t->co) == LUA_YIELD) {
        lua_settop(t->co, 0);
        lua_pushboolean(t->co, t->fired);
        nargs = 1;
    } else {
        nargs--; /* the function */
    }
    after(t, rp_task_resume(t, nargs));
}

static void run_ready(struct rp_defer *d)
{
    struct rp_host *h = RP_CONTAINER(rp_host, ready, d);
    for (int n = 0; h->ready_head && n < RUN_MOST; n++) {
        struct rp_task *t = h->ready_head;
        h->ready_head = t->next;
        if (h->ready_head) h->ready_head->prev = NULL;
        else h->ready_tail = NULL;
        t->next = t->prev = NULL;
        run_one(t);
    }
    if (h->ready_head) rp_loop_defer(h->proxy->loop, &h->ready);
}

/* ---- making --------------------------------------------------------------------------------- */

struct rp_task *rp_sched_spawn(struct rp_host *h, lua_State *L, int nargs, struct rp_scope *parent,
                               struct rp_req *r)
{
    struct rp_task *t = rp_task_get(h);
    if (!t) return NULL;
    t->phase = RP_PHASE_COUNT;
    t->weight = 1;
    t->notes = h->face.notes; /* a task of a shadow is one */
    t->why = "its turn";
    t->req = r;
    t->scope = parent ? parent : &t->own;
    t->own.wrapper = h->current ? h->current->scope->wrapper : 0;
    if (h->current) t->at = rp_chain_plugin(h, h->current->chain, h->face.at) + 1; /* none: 0 */
    bool is_kid = parent && h->current && h->current->scope == parent;
    t->parent = is_kid ? h->current : NULL;
    if (h->current) rp_task_touch(h->current);
    if (is_kid) rp_task_enlist(&h->current->kids, t);
    else rp_task_enlist(parent ? &parent->tasks : &h->background.tasks, t);
    if (is_kid) t->fuel = rp_fuel_hold(h->fuel);
    lua_xmove(L, t->co, nargs + 1);
    t->state = RP_TASK_PARKED;
    rp_task_ready(t, true);
    return t;
}

/* From the background to what ends with the VM. */
static void make_service(struct rp_task *t)
{
    rp_task_unlist(t);
    rp_task_enlist(&t->host->services.tasks, t);
    t->notes = RP_NOTES_NONE; /* it works for all */
    t->own.wrapper = 0;
}

static int nothing(lua_State *L)
{
    (void)L;
    return 0;
}

/* Making a task may have called another lua_State. LuaJIT (until 2023) takes an error that is raised
 * after that for one of that state; a call of this one puts it right. */
static int too_many(lua_State *L)
{
    if (lua_cpcall(L, nothing, NULL) != 0) lua_pop(L, 1); /* it was entered all the same */
    return luaL_error(L, "too many tasks");
}

/* spawn(how, fn, ...) -> handle. how: false: a child, which belongs to what runs now and ends with it;
 * true: in the background; "service": for the layer, it ends with the VM. */
static int lua_spawn(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    bool detached = lua_toboolean(L, 1) != 0, service = lua_type(L, 1) == LUA_TSTRING;
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (!h->current) return luaL_error(L, "tasks start in hooks: move this into a start hook");
    int nargs = lua_gettop(L) - 2;
    if (nargs > 16) return luaL_error(L, "too many arguments for a task");
    struct rp_req *r = h->current->req;
    bool counted = detached && !service;
    if (counted && h->background_n >= h->conf->background_tasks) {
        h->proxy->stats.tasks_refused++;
        return 0;
    }
    if (counted && r) rp_phase_slot(h, r)->leaked = true;
    struct rp_task *t =
        rp_sched_spawn(h, L, nargs, detached ? NULL : h->current->scope, detached ? NULL : r);
    if (!t) return too_many(L);
    if (service) make_service(t);
    if (counted) {
        t->counted = true;
        h->background_n++;
        h->proxy->stats.tasks_background++;
    }
    lua_pushnumber(L, rp_task_handle(t));
    return 1;
}

/* The C function that called back into Lua, by which a coroutine cannot yield: "gsub", "sort". The
 * first C frame is our own. */
static const char *between(lua_State *L)
{
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        bool is_c = lua_getinfo(L, "Sn", &ar) && strcmp(ar.what, "C") == 0;
        if (!is_c) continue;
        if (!ar.name) break;
        if (strcmp(ar.name, "pcall") != 0 && strcmp(ar.name, "xpcall") != 0) return ar.name;
    }
    return "a C function";
}

/* park() -> true when the event came, false at the deadline. After an rp_abi_park. */
static int lua_park(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    struct rp_task *t = h->current;
    if (!t) return luaL_error(L, "only hooks can wait: move this into a start hook");
    if (t->co == L && lua_isyieldable(L)) return lua_yield(L, 0);
    t->state = RP_TASK_RUNNING;
    rp_timer_clear(h->proxy->loop, &t->timer);
    if (t->waits_at) rp_task_forget_at(t->waits_at);
    if (t->co != L)
        return luaL_error(L, "cannot wait inside a coroutine.create of one's own: use rp.spawn");
    return luaL_error(L, "cannot wait inside a function that %s calls: collect first, then wait",
                      between(L));
}

static const luaL_Reg LIBRARY[] = {
    {"spawn", lua_spawn},
    {"park", lua_park},
    {"trace", rp_task_trace},
    {NULL, NULL},
};

void rp_sched_open(lua_State *L)
{
    luaL_openlib(L, NULL, LIBRARY, 1);
}

/* ---- life ----------------------------------------------------------------------------------- */

void rp_sched_init(struct rp_host *h)
{
    h->ready.run = run_ready;
    rp_gc_init(h);
}

void rp_sched_fini(struct rp_host *h)
{
    if (h->L)
        for (uint32_t i = 0; i < h->tasks_n; i++) rp_task_drop(h->tasks[i]);
    for (uint32_t i = 0; i < h->tasks_n; i++) rp_free(h->tasks[i]);
    rp_free(h->tasks);
    if (!h->proxy) return;
    rp_loop_undefer(h->proxy->loop, &h->ready);
    rp_gc_leave_loop(h);
}
