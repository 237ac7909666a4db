/* SPDX-License-Identifier: MIT
 *
 * host_tool: the VM of a tool of the command line. It is a host without a generation: its conf stays
 * empty, no loop runs, and what needs a request or a worker says so.
 */
#include <stdio.h>

#include "base/log.h"
#include "script/vm.h"

enum {
    STATUS_TROUBLE = 2,
    ARGS_MOST = 16,          /* of one tool_call */
    TEXT_MOST = 64 << 20,    /* of one answer */
    HEAP_MOST_MB = 4 * 1024, /* a tool may read what it likes, but not eat the machine */
};

struct running {
    struct rp_host *host;
    const struct rp_host_tool *tool;
    int status;
};

/* tool_call(what, ..) -> status, text */
static int lua_tool_call(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    rp_str args[ARGS_MOST];
    int n = lua_gettop(L) - 1;
    if (n > ARGS_MOST) return luaL_error(L, "too many arguments");
    rp_str what = rp_str_z(luaL_checkstring(L, 1));
    for (int i = 0; i < n; i++) {
        size_t len;
        const char *text = luaL_checklstring(L, i + 2, &len);
        args[i] = rp_str_of(text, len);
    }
    struct rp_buf out;
    rp_buf_init(&out, TEXT_MOST);
    lua_pushinteger(L, h->tool->call(h->tool->arg, what, args, (size_t)RP_MAX(n, 0), &out));
    lua_pushlstring(L, out.len ? rp_buf_str(&out).ptr : "", out.len);
    rp_buf_fini(&out);
    return 2;
}

static void add_functions(lua_State *L, struct rp_host *h)
{
    static const luaL_Reg functions[] = {{"tool_call", lua_tool_call}, {NULL, NULL}};
    lua_getglobal(L, "require");
    lua_pushliteral(L, "rproxy.host");
    lua_call(L, 1, 1);
    lua_pushlightuserdata(L, h);
    luaL_openlib(L, NULL, functions, 1);
    lua_pop(L, 1);
}

static int run_protected(lua_State *L)
{
    struct running *r = lua_touserdata(L, 1);
    rp_host_open_library(L, r->host);
    add_functions(L, r->host);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "rproxy.cli");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "run");
    lua_pushstring(L, r->tool->name);
    lua_createtable(L, r->tool->args_n, 0);
    for (int i = 0; i < r->tool->args_n; i++) {
        lua_pushstring(L, r->tool->args[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_call(L, 2, 1);
    r->status = (int)luaL_checkinteger(L, -1);
    return 0;
}

int rp_host_run_tool(const struct rp_host_tool *t)
{
    struct rp_conf *c = rp_conf_new(1);
    struct rp_bundle *b = rp_bundle_new(RP_STR(""), t->fetch, t->arg);
    struct rp_host *h = rp_host_new(c, b);
    struct running r = {.host = h, .tool = t, .status = STATUS_TROUBLE};
    h->tool = t;
    if (!rp_host_open_state(h)) {
        fprintf(stderr, "rproxy: no memory for a Lua VM\n");
    } else {
        h->heap_cap = (size_t)HEAP_MOST_MB << 20;
        if (lua_cpcall(h->L, run_protected, &r) != 0) {
            const char *text = lua_tostring(h->L, -1);
            fprintf(stderr, "rproxy: %s: %s\n", t->name, text ? text : "the tool failed");
            r.status = STATUS_TROUBLE;
        }
    }
    rp_host_free(h);
    rp_conf_free(&c);
    rp_bundle_free(&b);
    return r.status;
}
