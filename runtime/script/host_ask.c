/* SPDX-License-Identifier: MIT
 *
 * host_ask: what people ask a running VM (`rproxy repl`, `rproxy jit`): lua/rproxy/ask.lua answers, on
 * a background task that may wait. An answer comes once, whatever becomes of the task.
 */
#include "base/mem.h"
#include "script/vm.h"

struct rp_vm_ask {
    struct rp_host *host;
    struct rp_task *task;
    uint32_t ticket;
    rp_host_answer_fn done;
    void *arg;
    struct rp_vm_ask *next;
};

/* Take it off the list and answer. */
static void answer(struct rp_vm_ask *ask, int status, rp_str text)
{
    struct rp_vm_ask **at = &ask->host->asks;
    while (*at != ask) at = &(*at)->next;
    *at = ask->next;
    if (ask->task) ask->task->on_end = NULL;
    ask->done(ask->arg, ask->ticket, status, text);
    rp_free(ask);
}

static void task_ended(struct rp_task *t, rp_err e)
{
    for (struct rp_vm_ask *ask = t->host->asks; ask; ask = ask->next) {
        if (ask->task != t) continue;
        ask->task = NULL;
        answer(ask, 1,
               e == RP_E_CANCELLED     ? RP_STR("ended by a reload")
               : e == RP_E_HOOK_BUDGET ? RP_STR("stopped: it took more than lua.cpu_budget")
                                       : RP_STR("ended without an answer; see the error log"));
        return;
    }
}

/* answer(ticket, status, text) */
static int lua_answer(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    uint32_t ticket = (uint32_t)luaL_checknumber(L, 1);
    int status = (int)luaL_checkinteger(L, 2);
    size_t n;
    const char *text = luaL_checklstring(L, 3, &n);
    for (struct rp_vm_ask *ask = h->asks; ask; ask = ask->next) {
        if (ask->ticket != ticket) continue;
        answer(ask, status, rp_str_of(text, n));
        return 0;
    }
    return 0; /* it was told already that the task is over */
}

void rp_ask_open(lua_State *L)
{
    static const luaL_Reg library[] = {{"answer", lua_answer}, {NULL, NULL}};
    luaL_openlib(L, NULL, library, 1);
}

struct spawning {
    struct rp_host *host;
    uint32_t ticket;
    rp_str text;
    struct rp_task *task;
};

static int spawn_protected(lua_State *L)
{
    struct spawning *s = lua_touserdata(L, 1);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "rproxy.ask");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "run");
    lua_pushnumber(L, s->ticket);
    lua_pushlstring(L, s->text.len ? s->text.ptr : "", s->text.len);
    s->task = rp_sched_spawn(s->host, L, 2, NULL, NULL);
    return 0;
}

void rp_host_ask(struct rp_conf *c, uint32_t ticket, rp_str text, rp_host_answer_fn done, void *arg)
{
    struct rp_host *h = c->script;
    struct spawning s = {.host = h, .ticket = ticket, .text = text};
    RP_CHECK(h && h->magic == RP_HOST_MAGIC && h->proxy);
    if (lua_cpcall(h->L, spawn_protected, &s) != 0) lua_pop(h->L, 1); /* no memory, most likely */
    if (!s.task) {
        done(arg, ticket, 1, RP_STR("the Lua VM has no room for a task"));
        return;
    }
    struct rp_vm_ask *ask = rp_alloc(sizeof *ask);
    *ask = (struct rp_vm_ask){
        .host = h, .task = s.task, .ticket = ticket, .done = done, .arg = arg, .next = h->asks};
    s.task->on_end = task_ended;
    h->asks = ask;
}

void rp_ask_fini(struct rp_host *h)
{
    while (h->asks) answer(h->asks, 1, RP_STR("ended by a reload"));
}
