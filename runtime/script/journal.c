/* SPDX-License-Identifier: MIT
 *
 * journal: see journal.h. C tells journal.lua of a request's beginning and end and of handlers that
 * raised; nothing is called for a request without a journal.
 */
#include "script/journal.h"

#include "base/log.h"
#include "proxy/access.h"

void rp_abi_journal_begin(struct rp_host_face *f, const struct rp_req *r, bool traced)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_vm_slot *s = rp_phase_slot(h, r);
    if (!s || !s->bound) return;
    s->journal = true;
    s->traced |= traced;
    if (traced) s->at_hand = NULL;
    bool ours = traced && h->current && h->current->req == r;
    if (ours) rp_task_touch(h->current); /* the end of its hook must see it: end_well */
    if (ours && f->notes == RP_NOTES_NONE) f->notes = RP_NOTES_TAKEN;
}

void rp_abi_journal_all(struct rp_host_face *f, bool on)
{
    struct rp_host *h = rp_vm_of(f);
    h->journal_all = on;
    if (h->current) rp_task_touch(h->current); /* the same */
    for (uint32_t i = 0; i < h->slots_n; i++)
        if (h->slots[i]) h->slots[i]->at_hand = NULL;
}

/* ---- the time of shadow handlers --------------------------------------------------------------- */

enum { SPARE_MS = 100 }; /* a handler hears of its deadline before the request gives up on it */

/* The request whose timer bounds this hook: lifecycle.c arms it when a phase begins to wait. NULL: no
 * timer is armed for it. */
static struct rp_req *timed_request(const struct rp_task *t)
{
    struct rp_req *r = t->phase == RP_PHASE_REQUEST_BODY ? NULL : t->req;
    bool armed = r && r->timer_means == RP_E_HOOK_TIMEOUT && rp_timer_is_armed(&r->timer);
    return armed ? r : NULL;
}

/* The CPU budget begins anew: what a shadow computes is not the other hooks'. */
static void new_budget(struct rp_host *h)
{
    uint64_t where = h->crumb->where;
    rp_crumb_leave(h->crumb);
    rp_crumb_enter(h->crumb, where);
}

double rp_abi_shadow_enter(struct rp_host_face *f)
{
    struct rp_host *h = rp_vm_of(f);
    new_budget(h);
    struct rp_task *t = h->current;
    rp_ms now = rp_loop_now(h->proxy->loop), most = h->conf->hook_wait_ms;
    struct rp_req *r = timed_request(t);
    t->shadow_ms = now;
    rp_task_touch(t);
    t->kept_ends_ms = t->ends_ms;
    t->ends_ms = 0;
    t->kept_left_ms = 0;
    if (r) {
        t->kept_left_ms = r->timer.at_ms > now ? r->timer.at_ms - now : 1;
        r->hook_late = false;
        rp_timer_set(h->proxy->loop, &r->timer, t->kept_left_ms + most);
    }
    return (double)(now + most - RP_MIN(most / 10, (rp_ms)SPARE_MS)) / 1000;
}

void rp_journal_leave_shadow(struct rp_task *t)
{
    struct rp_host *h = t->host;
    struct rp_loop *loop = h->proxy->loop;
    struct rp_req *r = timed_request(t);
    t->ends_ms = t->kept_ends_ms ? t->kept_ends_ms + (rp_loop_now(loop) - t->shadow_ms) : 0;
    if (r && t->kept_left_ms) rp_timer_set(loop, &r->timer, t->kept_left_ms);
    else if (r) rp_timer_clear(loop, &r->timer); /* the next one that waits arms it anew */
}

bool rp_abi_shadow_leave(struct rp_host_face *f)
{
    struct rp_host *h = rp_vm_of(f);
    new_budget(h);
    if (rp_watchdog_leave(h))
        return false; /* compiled code saw nothing of it, the next hook would */
    rp_journal_leave_shadow(h->current);
    return true;
}

/* ---- decisions --------------------------------------------------------------------------------- */

bool rp_abi_decision_is_logged(const struct rp_host_face *f)
{
    return f->conf->decisions_file < f->conf->files_n;
}

void rp_abi_decision_write(struct rp_host_face *f, const char *line, size_t n)
{
    struct rp_proxy *p = rp_vm_of(f)->proxy;
    if (p && p->access) rp_access_write_decision(p->access, p->conf, f->conf, rp_str_of(line, n));
}

void rp_abi_shadow_count(struct rp_host_face *f, uint32_t plugin, uint32_t cell)
{
    struct rp_vm_account *a = rp_account_of(rp_vm_of(f), plugin);
    if (a && cell < RP_ACCOUNT_CELLS) a->cells[cell]++;
}

/* ---- calling Lua ----------------------------------------------------------------------------- */

struct call {
    struct rp_host *h;
    struct rp_req *r;
    enum rp_journal_fn fn;
    bool told;               /* BEGIN */
    const struct rp_task *t; /* FAILED */
    uint32_t plugin;
    rp_str text; /* FAILED; HEADER: the result */
    size_t most;
};

static int push_failure(lua_State *L, const struct call *c)
{
    if (c->plugin == UINT32_MAX) lua_pushnil(L);
    else lua_pushnumber(L, c->plugin);
    lua_pushnumber(L, rp_task_handle(c->t));
    if (c->text.ptr) lua_pushlstring(L, c->text.ptr, c->text.len);
    else lua_pushnil(L);
    return 3;
}

static int push_more(lua_State *L, const struct call *c)
{
    switch (c->fn) {
    case RP_JOURNAL_BEGIN: lua_pushboolean(L, c->told); return 1;
    case RP_JOURNAL_FAILED: return push_failure(L, c);
    case RP_JOURNAL_HEADER: lua_pushnumber(L, (double)c->most); return 1;
    case RP_JOURNAL_END:
    case RP_JOURNAL_CHAIN:
    case RP_JOURNAL_FNS: break;
    }
    return 0;
}

static int call_protected(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->h->journal_fns[c->fn]);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rp_phase_slot(c->h, c->r)->ref);
    lua_call(L, 1 + push_more(L, c), 1);
    size_t n;
    const char *made = c->fn == RP_JOURNAL_HEADER ? lua_tolstring(L, -1, &n) : NULL;
    if (c->fn == RP_JOURNAL_HEADER) {
        bool fits = made && n <= c->most;
        c->text = fits ? rp_arena_copy(&c->r->x.arena, rp_str_of(made, n)) : RP_STR_NONE;
    }
    return 0;
}

static void call(struct call *c)
{
    lua_State *L = c->h->L;
    if (c->h->journal_fns[c->fn] == 0) return;
    c->h->face.wrapper = rp_phase_slot(c->h, c->r)->scope.wrapper; /* a task sets its own */
    int rc = lua_cpcall(L, call_protected, c);
    c->h->face.wrapper = 0;
    if (rc == 0) return;
    const char *text = lua_tostring(L, -1);
    rp_log(error, "the journal of a request failed error=\"%s\"", rp_log_esc(rp_str_z(text)));
    lua_pop(L, 1);
}

void rp_journal_begin(struct rp_host *h, struct rp_req *r, bool told)
{
    if (rp_phase_push_wrapper(h, r, h->L) != RP_OK) return;
    lua_pop(h->L, 1);
    struct call c = {.h = h, .r = r, .fn = RP_JOURNAL_BEGIN, .told = told};
    call(&c);
}

void rp_journal_end(struct rp_host *h, struct rp_req *r)
{
    struct call c = {.h = h, .r = r, .fn = RP_JOURNAL_END};
    struct rp_vm_slot *s = rp_phase_slot(h, r);
    call(&c);
    s->journal = s->traced = false;
    lua_rawgeti(h->L, LUA_REGISTRYINDEX, s->ref);
    lua_pushboolean(h->L, 0);
    lua_rawseti(h->L, -2, RP_WRAP_JOURNAL);
    lua_pop(h->L, 1);
}

void rp_journal_failed(struct rp_task *t, struct rp_req *r, uint32_t plugin, rp_str text)
{
    struct call c = {
        .h = t->host, .r = r, .fn = RP_JOURNAL_FAILED, .t = t, .plugin = plugin, .text = text};
    call(&c);
}

rp_str rp_journal_header(struct rp_host *h, struct rp_req *r, size_t most)
{
    const struct rp_vm_slot *s = rp_phase_slot(h, r);
    if (!s || !s->journal) return RP_STR_NONE;
    struct call c = {.h = h, .r = r, .fn = RP_JOURNAL_HEADER, .most = most};
    call(&c);
    return c.text;
}

void rp_journal_trace(struct rp_req *r)
{
    rp_journal_begin(r->conf->script, r, true);
}

rp_str rp_journal_trace_text(struct rp_req *r, size_t most)
{
    return rp_journal_header(r->conf->script, r, most);
}

/* ---- chains that note ------------------------------------------------------------------------ */

uint32_t rp_journal_chain(struct rp_host *h, uint32_t chain)
{
    if (h->chains[chain]->traced) return h->chains[chain]->traced;
    if (h->journal_fns[RP_JOURNAL_CHAIN] == 0) return chain;
    lua_rawgeti(h->L, LUA_REGISTRYINDEX, h->journal_fns[RP_JOURNAL_CHAIN]);
    lua_pushnumber(h->L, chain);
    bool made = rp_host_call(h, 1, 1);
    uint32_t number = made ? (uint32_t)lua_tonumber(h->L, -1) : 0;
    lua_pop(h->L, 1);
    if (number == 0 || number >= h->chains_n) return chain;
    h->chains[number]->traced = number;
    h->chains[chain]->traced = number;
    return number;
}

/* ---- library --------------------------------------------------------------------------------- */

/* journal_keep(enum rp_journal_fn, fn) */
static int lua_journal_keep(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    int which = luaL_checkint(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    luaL_argcheck(L, which >= 0 && which < RP_JOURNAL_FNS, 1, "no such function");
    lua_settop(L, 2);
    h->journal_fns[which] = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static const luaL_Reg LIBRARY[] = {
    {"journal_keep", lua_journal_keep},
    {NULL, NULL},
};

void rp_journal_open(lua_State *L)
{
    luaL_openlib(L, NULL, LIBRARY, 1);
}
