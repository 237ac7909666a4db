/* SPDX-License-Identifier: MIT
 *
 * host: the life of one VM. LuaJIT's own allocator stays (it gives whole segments back when the VM
 * is closed, so reloads leave nothing behind); a counter in front of it enforces the heap cap.
 */
#include "script/host.h"

#include "base/log.h"
#include "net/dgram.h"
#include "script/embed.h"
#include "script/journal.h"

enum {
    /* Until the options are read: sites may build big tables, none may eat the machine. */
    HEAP_WHILE_BUILDING = 1 << 30,
    SCRATCH_MOST = 16 << 20, /* longest text decoded or encoded at once */
    LOG_LINE_MOST = 16 * 1024,
    ERROR_TEXT_MOST = 64 * 1024,
};

/* ---- heap ----------------------------------------------------------------------------------- */

static void *counted_alloc(void *arg, void *p, size_t old_n, size_t n)
{
    struct rp_host *h = arg;
    if (n > old_n && h->heap_bytes + (n - old_n) > h->heap_cap) {
        h->heap_hit = true;
        h->face.attention = 1;
        return NULL;
    }
    if (RP_UNLIKELY(h->fuel && n > old_n) && !rp_fuel_take(h->fuel, n - old_n)) return NULL;
    void *got = h->alloc(h->alloc_arg, p, old_n, n);
    if (got || n == 0) {
        h->heap_bytes += n - old_n; /* wraps as it should when it shrinks */
        if (n > old_n) {
            h->since_gc_bytes += n - old_n;
            h->allocated_bytes += n - old_n;
            if (h->since_gc_bytes > RP_GC_IDLE_BYTES) h->face.attention = 1;
            if (RP_UNLIKELY(rp_host_is_full(h))) {
                h->face.attention = 1;
                if (!h->gc.urged && h->proxy && !h->tool) rp_gc_urge(h);
            }
        }
    }
    return got;
}

bool rp_host_open_state(struct rp_host *h)
{
    h->L = luaL_newstate();
    if (!h->L) return false;
    h->alloc = lua_getallocf(h->L, &h->alloc_arg);
    h->heap_bytes = (size_t)lua_gc(h->L, LUA_GCCOUNT, 0) * 1024;
    h->heap_cap = HEAP_WHILE_BUILDING;
    lua_setallocf(h->L, counted_alloc, h);
    return true;
}

static void close_state(struct rp_host *h)
{
    if (!h->L) return;
    /* lua_close frees the allocator's segments only when it sees the allocator itself. */
    lua_setallocf(h->L, h->alloc, h->alloc_arg);
    lua_close(h->L);
    h->L = NULL;
}

/* ---- functions for the layer: module rproxy.host -------------------------------------------- */

struct rp_host *rp_host_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static const struct rp_embed *embed_find(const char *name)
{
    unsigned low = 0, high = rp_embed_n;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        int order = strcmp(rp_embed_table[mid].name, name);
        if (order == 0) return &rp_embed_table[mid];
        if (order < 0) low = mid + 1;
        else high = mid;
    }
    return NULL;
}

/* embedded(name) -> text, path | nil */
static int lua_embedded(lua_State *L)
{
    const struct rp_embed *e = embed_find(luaL_checkstring(L, 1));
    if (!e) return 0;
    lua_pushlstring(L, e->bytes, e->n);
    lua_pushstring(L, e->path);
    return 2;
}

/* read(path) -> text | nil when there is no such file | nil, what went wrong */
static int lua_read(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    size_t n;
    const char *path = luaL_checklstring(L, 1, &n);
    if (!h->bundle) return luaL_error(L, "site files can be loaded while the site is built only");
    rp_str bytes;
    rp_err e = rp_bundle_read(h->bundle, rp_str_of(path, n), &bytes);
    if (e == RP_OK) {
        lua_pushlstring(L, bytes.ptr, bytes.len);
        return 1;
    }
    lua_pushnil(L);
    if (e == RP_E_NOT_FOUND) return 1;
    lua_pushstring(L, rp_err_text(e));
    return 2;
}

/* The package loader of the built-in layer. */
static int lua_load_embedded(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const struct rp_embed *e = strncmp(name, "rproxy", 6) == 0 ? embed_find(name) : NULL;
    if (!e) {
        lua_pushfstring(L, "\n\tnot built in: '%s'", name);
        return 1;
    }
    lua_pushfstring(L, "@%s", e->path);
    if (luaL_loadbuffer(L, e->bytes, e->n, lua_tostring(L, -1)) != 0) return lua_error(L);
    return 1;
}

static const luaL_Reg LIBRARY[] = {
    {"embedded", lua_embedded},
    {"read", lua_read},
    {NULL, NULL},
};

/* All that C adds is package.loaded["rproxy.host"]; modules come from the binary alone, those of
 * tools from the system's folders too. */
void rp_host_open_library(lua_State *L, struct rp_host *h)
{
    luaL_openlibs(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    lua_newtable(L);
    lua_pushlightuserdata(L, h);
    luaL_openlib(L, NULL, LIBRARY, 1);
    lua_pushlightuserdata(L, h);
    rp_chain_open(L);
    lua_pushlightuserdata(L, h);
    rp_sched_open(L);
    lua_pushlightuserdata(L, h);
    rp_vm_json_open(L);
    lua_pushlightuserdata(L, h);
    rp_ask_open(L);
    lua_pushlightuserdata(L, h);
    rp_guests_open(L);
    lua_pushlightuserdata(L, h);
    rp_journal_open(L);
    lua_pushlightuserdata(L, h);
    rp_fuel_open(L);
    rp_lab_open(L, h);
    lua_pushlightuserdata(L, &h->face);
    lua_setfield(L, -2, "face");
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    const struct rp_embed *abi = embed_find("rproxy.abi.h");
    if (abi) {
        lua_pushlstring(L, abi->bytes, abi->n);
        lua_setfield(L, -2, "declarations");
    }
    lua_setfield(L, -2, "rproxy.host");
    lua_pop(L, 1);
    /* Instead of the loaders for files and C libraries. */
    lua_createtable(L, 5, 0);
    lua_getfield(L, -2, "loaders");
    lua_rawgeti(L, -1, 1); /* package.preload: jit.*, string.buffer, table.new .. */
    lua_rawseti(L, -3, 1);
    for (int i = 2; h->tool && i <= 4; i++) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -3, i + 1);
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, lua_load_embedded);
    lua_rawseti(L, -2, 2);
    lua_setfield(L, -2, "loaders");
    lua_pop(L, 1);
}

/* ---- building ------------------------------------------------------------------------------- */

struct build {
    struct rp_host *host;
    struct rp_bundle *bundle;
    rp_str source;
    bool taped; /* the site is known to record */
};

static void push_str(lua_State *L, rp_str s)
{
    lua_pushlstring(L, s.ptr ? s.ptr : "", s.len);
}

static void require_vm(lua_State *L, const char *function)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "rproxy.vm");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, function);
    lua_remove(L, -2);
}

void rp_host_take_entries(lua_State *L, struct rp_host *h)
{
    require_vm(L, "entries");
    lua_call(L, 0, 9);
    h->relink_fn = luaL_ref(L, LUA_REGISTRYINDEX);
    h->guests_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    h->wrap_guest_fn = luaL_ref(L, LUA_REGISTRYINDEX);
    h->wrap_conn_fn = luaL_ref(L, LUA_REGISTRYINDEX);
    h->abort_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    h->has_life_fn = luaL_ref(L, LUA_REGISTRYINDEX);
    h->life_fn = luaL_ref(L, LUA_REGISTRYINDEX);
    h->rest_fn = luaL_ref(L, LUA_REGISTRYINDEX);
    h->wrap_fn = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int build_protected(lua_State *L)
{
    const struct build *b = lua_touserdata(L, 1);
    struct rp_host *h = b->host;
    rp_host_open_library(L, h);
    rp_host_take_entries(L, h);
    require_vm(L, "build");
    lua_pushlightuserdata(L, h->conf);
    push_str(L, rp_bundle_site(b->bundle));
    push_str(L, b->source);
    push_str(L, rp_bundle_overrides(b->bundle));
    lua_pushboolean(L, b->taped);
    lua_pushboolean(L, rp_bundle_is_described(b->bundle));
    lua_call(L, 6, 0);
    return 0;
}

bool rp_host_call(struct rp_host *h, int nargs, int nresults)
{
    if (lua_pcall(h->L, nargs, nresults, 0) == 0) return true;
    const char *text = lua_tostring(h->L, -1);
    rp_log(error, "the script layer failed error=\"%s\"", rp_log_esc(rp_str_z(text)));
    return false;
}

static void add_message(struct rp_buf *error, lua_State *L)
{
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    if (text) rp_buf_add(error, rp_str_of(text, n));
    else rp_buf_addf(error, "the site raised a %s", luaL_typename(L, -1));
}

struct rp_host *rp_host_new(struct rp_conf *c, struct rp_bundle *b)
{
    struct rp_host *h = rp_alloc(sizeof *h);
    h->magic = RP_HOST_MAGIC;
    h->conf = c;
    h->face.conf = c;
    h->bundle = b;
    h->hooks = rp_phase_hooks;
    rp_phase_stream_hooks(&h->hooks);
    rp_phase_guest_hooks(&h->hooks);
    h->crumb = &h->own_crumb;
    h->face.guilty = (uint16_t *)(void *)&h->own_crumb.where + 2;
    h->regex = rp_regex_ctx_new(NULL);
    rp_arena_init(&h->scratch, h->scratch_first, sizeof h->scratch_first, SCRATCH_MOST);
    rp_buf_init(&h->line, LOG_LINE_MOST);
    rp_buf_init(&h->text, SCRATCH_MOST);
    rp_buf_init(&h->bytes, 0);
    rp_sched_init(h);
    rp_account_init(h);
    return h;
}

void rp_host_leave_conf(struct rp_host *h)
{
    rp_free(h->plugin_ids);
    rp_free(h->route_ids);
    h->plugin_ids = h->route_ids = NULL;
}

void rp_host_free(struct rp_host *h)
{
    rp_lab_free(h);
    rp_life_fini(h);
    rp_ask_fini(h);
    rp_sched_fini(h);
    rp_account_fini(h);
    rp_sock_close_idle(h);
    rp_dgram_batch_free(&h->datagrams);
    rp_hold_fini(h);
    rp_watchdog_free(h);
    rp_fuel_drop(&h->fuel);
    rp_phase_slots_free(h);
    rp_guests_fini(h);
    close_state(h);
    rp_chain_fini(h);
    rp_job_fini(h);
    rp_digest_fini(h);
    rp_shared_fini(h);
    rp_host_leave_conf(h);
    rp_regex_ctx_free(&h->regex);
    rp_arena_reset(&h->scratch);
    rp_buf_fini(&h->line);
    rp_buf_fini(&h->text);
    rp_buf_fini(&h->bytes);
    rp_free(h);
}

/* Evaluate and freeze; on failure `error` says why. */
static rp_err build_conf(struct rp_host *h, struct rp_bundle *b, bool taped, struct rp_buf *error)
{
    struct build build = {.host = h, .bundle = b, .taped = taped};
    rp_err e = rp_bundle_read(b, rp_bundle_site(b), &build.source);
    if (e != RP_OK) {
        rp_str path = rp_bundle_site(b);
        rp_buf_addf(error, "%.*s: cannot be read: %s", RP_STR_ARG(path), rp_err_text(e));
        return e;
    }
    if (!rp_host_open_state(h)) {
        rp_buf_add(error, RP_STR("no memory for a Lua VM"));
        return RP_E_NOMEM;
    }
    int rc = lua_cpcall(h->L, build_protected, &build);
    if (rc != 0) {
        add_message(error, h->L);
        return rc == LUA_ERRMEM ? RP_E_NOMEM : RP_E_INVALID;
    }
    struct rp_conf_error fault = {.code = RP_OK};
    e = rp_conf_freeze(h->conf, &fault);
    if (e != RP_OK) {
        rp_str path = rp_bundle_site(b);
        rp_buf_addf(error, "%.*s: %s", RP_STR_ARG(path),
                    fault.text[0] ? fault.text : rp_err_text(e));
    }
    return e;
}

/* The conf, whose script is its VM; NULL on failure. */
static rp_err build_vm(struct rp_bundle *b, uint32_t generation, bool taped, struct rp_conf **out,
                       struct rp_buf *error)
{
    struct rp_conf *c = rp_conf_new(generation);
    struct rp_host *h = rp_host_new(c, b);
    rp_err e = build_conf(h, b, taped, error);
    h->bundle = NULL;
    if (e == RP_OK && c->record == taped) {
        c->script = h;
        *out = c;
        return RP_OK;
    }
    rp_host_free(h);
    rp_conf_free(&c);
    *out = NULL;
    return e;
}

/* What evaluating left; its compiled code went already (config/boot). */
static void drop_garbage(struct rp_host *h)
{
    size_t before = h->heap_bytes;
    (void)lua_gc(h->L, LUA_GCCOLLECT, 0);
    rp_host_drop_pages(h, before - RP_MIN(before, h->heap_bytes));
    rp_heap_trim();
}

rp_err rp_host_build(struct rp_bundle *b, uint32_t generation, struct rp_conf **out,
                     struct rp_buf *error)
{
    struct rp_conf *c;
    rp_err e = build_vm(b, generation, false, &c, error);
    /* The tape has to be there before code of the site is loaded, and only the site says so. */
    if (e == RP_OK && !c) e = build_vm(b, generation, true, &c, error);
    if (e == RP_OK && !c) {
        rp_buf_add(error, RP_STR("the site has `record` only at times"));
        e = RP_E_INVALID;
    }
    if (e != RP_OK) return e;
    struct rp_host *h = c->script;
    drop_garbage(h);
    h->heap_cap = RP_MAX((size_t)c->heap_bytes, h->heap_bytes + (8 << 20));
    c->hooks = &h->hooks;
    *out = c;
    return RP_OK;
}
