/* SPDX-License-Identifier: MIT
 *
 * phase_guest: the hooks of clients' TLS handshakes, tls_hello and certificate, run as those of requests
 * are (phase.c): on a pooled coroutine, parked while they wait, with the plugin's policy when they fail.
 * There is no answer to give: a hook that fails refuses the client unless its plugin says "open".
 *
 * What Lua has of a guest is one table (lua/rproxy/guest.lua), kept by number in a table of the VM, for
 * as long as the connection lives and this VM does: the requests of the connection find it there.
 */
#include "script/phase_conn.h"

#include "base/log.h"

/* g->script: what this VM keeps of a guest. */
struct rp_vm_guest {
    struct rp_host *host;
    struct rp_guest *guest;
    struct rp_vm_guest *next, *prev; /* all of the host */
    int ref;                         /* of its wrapper, in the table of them */
    struct rp_scope scope;           /* during the handshake */
};

/* ---- wrappers ------------------------------------------------------------------------------- */

static struct rp_vm_guest *keep(struct rp_host *h, struct rp_guest *g, int ref)
{
    struct rp_vm_guest *k = rp_alloc(sizeof *k);
    k->host = h;
    k->guest = g;
    k->ref = ref;
    k->next = h->guests;
    if (k->next) k->next->prev = k;
    h->guests = k;
    g->script = k;
    g->hooks = &h->hooks;
    return k;
}

struct making {
    struct rp_host *h;
    struct rp_guest *g;
    int ref;
};

static int make_wrapper(lua_State *L)
{
    struct making *m = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, m->h->guests_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, m->h->wrap_guest_fn);
    lua_pushlightuserdata(L, m->g);
    lua_call(L, 1, 1);
    m->ref = luaL_ref(L, -2);
    return 0;
}

static rp_err push(const struct rp_conn_pass *a, lua_State *L)
{
    struct rp_guest *g = a->owner;
    struct rp_vm_guest *k = g->script;
    if (!k) {
        struct making m = {a->h, g, LUA_NOREF};
        if (lua_cpcall(a->h->L, make_wrapper, &m) != 0) {
            lua_pop(a->h->L, 1);
            return RP_E_NOMEM;
        }
        k = keep(a->h, g, m.ref);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->h->guests_ref);
    lua_rawgeti(L, -1, k->ref);
    lua_remove(L, -2);
    return RP_OK;
}

static void unlist(struct rp_vm_guest *k)
{
    if (k->prev) k->prev->next = k->next;
    else k->host->guests = k->next;
    if (k->next) k->next->prev = k->prev;
    k->guest->script = NULL;
    k->guest->hooks = NULL;
}

/* Nothing of it runs any more. */
static void cancel(struct rp_guest *g)
{
    struct rp_vm_guest *k = g->script;
    if (g->task) rp_task_drop(g->task);
    g->task = NULL;
    if (k) rp_scope_close(k->host, &k->scope);
}

/* Whoever still holds the table finds no client in it. */
static void forget(struct rp_guest *g)
{
    struct rp_vm_guest *k = g->script;
    lua_State *L = k->host->L;
    cancel(g);
    unlist(k);
    lua_rawgeti(L, LUA_REGISTRYINDEX, k->host->guests_ref);
    lua_rawgeti(L, -1, k->ref);
    for (int i = RP_GUEST_POINTER; i <= RP_GUEST_CTX; i++) {
        lua_pushnil(L);
        lua_rawseti(L, -2, i);
    }
    lua_pop(L, 1);
    luaL_unref(L, -1, k->ref);
    lua_pop(L, 1);
    rp_free(k);
}

void rp_guests_fini(struct rp_host *h)
{
    while (h->guests) {
        struct rp_vm_guest *k = h->guests;
        unlist(k);
        rp_free(k);
    }
}

uint32_t rp_guest_ref(struct rp_host *h, struct rp_guest *g)
{
    const struct rp_vm_guest *k = g->script;
    h->knowing = g;
    return k && k->host == h ? (uint32_t)k->ref : 0;
}

/* keep_guest(wrapper): of the guest that rp_guest_ref was asked for just now. */
static int lua_keep_guest(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    struct rp_guest *g = h->knowing;
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!g) return luaL_error(L, "no guest to keep");
    h->knowing = NULL;
    lua_settop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->guests_ref);
    lua_insert(L, 1);
    int ref = luaL_ref(L, 1);
    if (g->hooks) g->hooks->forget_guest(g); /* a generation of before */
    (void)keep(h, g, ref);
    return 0;
}

static const luaL_Reg LIBRARY[] = {
    {"keep_guest", lua_keep_guest},
    {NULL, NULL},
};

void rp_guests_open(lua_State *L)
{
    luaL_openlib(L, NULL, LIBRARY, 1);
}

/* ---- running -------------------------------------------------------------------------------- */

static bool forgive(const struct rp_conn_pass *a, const struct rp_conf_plugin *p, rp_str what)
{
    struct rp_guest *g = a->owner;
    char ip[RP_ADDR_TEXT_BYTES + 1];
    ip[rp_addr_put_ip(&g->client, ip)] = '\0';
    rp_log(error, "hook failed plugin=%s hook=%s listener=%s client=%s sni=%s error=\"%.*s\"",
           p ? rp_log_esc(p->name) : "?", a->hook == RP_GUEST_HELLO ? "tls_hello" : "certificate",
           rp_log_esc(g->listener), ip, rp_log_esc(g->hello.sni), RP_STR_ARG(what));
    g->proxy->stats.hook_errors++;
    if (!(p && p->on_error == RP_PLUGIN_OPEN)) return false;
    if (!p->shadow) g->cert.ttl_s = 0; /* what is said without it is not kept */
    return true;
}

static void dress(const struct rp_conn_pass *a, struct rp_task *t)
{
    struct rp_guest *g = a->owner;
    t->guest = g;
    t->scope = &((struct rp_vm_guest *)g->script)->scope;
    t->phase = a->hook == RP_GUEST_HELLO ? RP_TASK_HELLO : RP_TASK_CERT;
}

/* False from tls_hello is a refusal without words; rp_guest_refuse came first where there are some. */
static rp_err returned(const struct rp_conn_pass *a, lua_State *L)
{
    struct rp_guest *g = a->owner;
    bool refuse = lua_gettop(L) > 0 && lua_type(L, 1) == LUA_TBOOLEAN && !lua_toboolean(L, 1);
    if (!refuse || a->hook != RP_GUEST_HELLO || g->refused) return RP_OK;
    return rp_guest_refuse(g, RP_GUEST_ACCESS_DENIED, RP_STR_NONE);
}

static rp_err run(struct rp_guest *g, enum rp_guest_hook hook)
{
    static const struct rp_conn_hooks OF = {push, dress, returned, forgive};
    const struct rp_conn_pass a = {&OF, g->conf->script, g, &g->task, hook};
    return rp_conn_pass_run(&a, hook == RP_GUEST_HELLO ? g->hello_chain : g->cert_chain);
}

void rp_phase_guest_hooks(struct rp_hooks *hooks)
{
    hooks->run_guest = run;
    hooks->cancel_guest = cancel;
    hooks->forget_guest = forget;
}
