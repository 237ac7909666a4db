/* SPDX-License-Identifier: MIT
 *
 * vm_chain: the chains of one VM, by number. The functions are made in lua/rproxy/chain.lua.
 */
#include "script/vm.h"

static struct rp_vm_chain *chain_add(struct rp_host *h)
{
    if (h->chains_n == h->chains_room) {
        uint32_t room = h->chains_room ? h->chains_room * 2 : 16;
        h->chains = rp_realloc(h->chains, room * sizeof *h->chains);
        h->chains_room = room;
    }
    struct rp_vm_chain *c = rp_alloc(sizeof *c);
    c->fn = c->timed_fn = LUA_NOREF;
    h->chains[h->chains_n++] = c;
    return c;
}

static struct rp_vm_chain *chain_new(struct rp_host *h)
{
    if (h->chains_n == 0) (void)chain_add(h); /* number 0 is none */
    struct rp_vm_chain *c = chain_add(h);
    c->until = c->period = 1;
    return c;
}

static void name_crumbs(const struct rp_host *h, struct rp_vm_chain *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t plugin = c->plugins[i];
        c->crumb_ids[i] = h->plugin_ids && plugin < h->conf->plugins_n ? h->plugin_ids[plugin] : 0;
    }
}

/* chain_new { plugin indexes } -> number, ids (light userdata: uint16_t *) */
static int lua_chain_new(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    struct rp_vm_chain *c = chain_new(h);
    c->n = (uint32_t)lua_objlen(L, 1);
    c->plugins = rp_alloc(c->n * sizeof *c->plugins);
    c->crumb_ids = rp_alloc(c->n * sizeof *c->crumb_ids);
    c->rest = rp_alloc(c->n * sizeof *c->rest);
    for (uint32_t i = 0; i < c->n; i++) {
        lua_rawgeti(L, 1, (int)i + 1);
        c->plugins[i] = (uint32_t)lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    name_crumbs(h, c);
    rp_account_chain(h, c);
    lua_pushnumber(L, (double)(h->chains_n - 1));
    lua_pushlightuserdata(L, c->crumb_ids);
    return 2;
}

/* What runs keeps the function it has. */
static void put_fn(lua_State *L, int *ref)
{
    int before = *ref;
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
    if (before != LUA_NOREF) luaL_unref(L, LUA_REGISTRYINDEX, before);
}

/* chain_set(number, fn, timed fn) */
static int lua_chain_set(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    uint32_t ref = (uint32_t)luaL_checknumber(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    luaL_argcheck(L, ref > 0 && ref < h->chains_n, 1, "no such chain");
    lua_settop(L, 3);
    put_fn(L, &h->chains[ref]->timed_fn);
    put_fn(L, &h->chains[ref]->fn);
    return 0;
}

static const luaL_Reg LIBRARY[] = {
    {"chain_new", lua_chain_new},
    {"chain_set", lua_chain_set},
    {NULL, NULL},
};

void rp_chain_open(lua_State *L)
{
    luaL_openlib(L, NULL, LIBRARY, 1);
}

void rp_chain_name_crumbs(struct rp_host *h)
{
    for (uint32_t i = 1; i < h->chains_n; i++) name_crumbs(h, h->chains[i]);
}

uint32_t rp_chain_plugin(const struct rp_host *h, uint32_t chain, uint32_t at)
{
    if (chain == 0) return at >= 1 && at <= h->conf->plugins_n ? at - 1 : UINT32_MAX;
    if (chain >= h->chains_n) return UINT32_MAX;
    const struct rp_vm_chain *c = h->chains[chain];
    return at >= 1 && at <= c->n && c->plugins[at - 1] < h->conf->plugins_n ? c->plugins[at - 1]
                                                                            : UINT32_MAX;
}

/* Tasks without a chain, and the builder, keep 1 + the index in face.at. */
uint32_t rp_vm_running(const struct rp_host *h)
{
    if (h->current) return rp_chain_plugin(h, h->current->chain, h->face.at);
    return h->proxy ? UINT32_MAX : rp_chain_plugin(h, 0, h->face.at);
}

rp_err rp_chain_rest(struct rp_host *h, uint32_t chain, uint32_t at, uint32_t *rest)
{
    struct rp_vm_chain *c = h->chains[chain];
    *rest = 0;
    if (at >= c->n) return RP_OK;
    if (c->rest[at - 1] == 0) {
        lua_rawgeti(h->L, LUA_REGISTRYINDEX, h->rest_fn);
        lua_pushnumber(h->L, chain);
        lua_pushnumber(h->L, at);
        bool made = rp_host_call(h, 2, 1);
        if (made) c->rest[at - 1] = (uint32_t)lua_tonumber(h->L, -1);
        if (made && c->traced == chain) h->chains[c->rest[at - 1]]->traced = c->rest[at - 1];
        lua_pop(h->L, 1);
        if (!made) return RP_E_HOOK;
    }
    *rest = c->rest[at - 1];
    return RP_OK;
}

void rp_chain_fini(struct rp_host *h)
{
    for (uint32_t i = 0; i < h->chains_n; i++) {
        struct rp_vm_chain *c = h->chains[i];
        rp_free(c->plugins);
        rp_free(c->crumb_ids);
        rp_free(c->rest);
        rp_free(c->calls);
        rp_free(c);
    }
    rp_free(h->chains);
}
