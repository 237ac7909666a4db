/* SPDX-License-Identifier: MIT
 *
 * phase: the hooks of proxy/hook.h: run a request's chain of one phase on a pooled coroutine, park
 * it, go on with it, and apply a plugin's policy when it fails.
 *
 * A hook that raises is logged once, with its traceback on the same line, and its plugin's on_error
 * decides: "500" answers 500; "closed" answers 503, a refusal that says nothing about the client;
 * "open" goes on with the handlers after the one that failed. A body_filter that fails under "500"
 * or "closed" breaks the response off: half of it may be out already. Log hooks only log.
 */
#include "script/pass.h"

#include "base/log.h"
#include "proxy/answer.h"
#include "proxy/payload.h"
#include "script/journal.h"
#include "script/vm_call.h"
#include "script/vm_run.h"

/* ---- wrappers ------------------------------------------------------------------------------- */

struct rp_vm_slot *rp_phase_slot(struct rp_host *h, const struct rp_req *r)
{
    return r->slot < h->slots_n ? h->slots[r->slot] : NULL;
}

static struct rp_vm_slot *slot_make(struct rp_host *h, const struct rp_req *r)
{
    if (r->slot >= h->slots_n) {
        uint32_t n = (r->slot / 64 + 1) * 64;
        h->slots = rp_realloc(h->slots, n * sizeof *h->slots);
        memset(h->slots + h->slots_n, 0, (n - h->slots_n) * sizeof *h->slots);
        h->slots_n = n;
    }
    struct rp_vm_slot *s = rp_alloc(sizeof *s);
    s->ref = LUA_NOREF;
    s->place = ++h->places_n;
    h->slots[r->slot] = s;
    return s;
}

struct making {
    struct rp_host *h;
    struct rp_req *r;
    struct rp_vm_slot *slot;
};

static int make_wrapper(lua_State *L)
{
    const struct making *m = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, m->h->wrap_fn);
    lua_pushlightuserdata(L, m->r);
    lua_pushlightuserdata(L, &m->slot->dirty);
    lua_pushnumber(L, m->slot->scope.wrapper);
    lua_pushnumber(L, m->slot->place);
    lua_call(L, 4, 1);
    m->slot->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* The table stays with the slot; writing nil or a pointer to its array part allocates nothing. */
rp_err rp_phase_push_wrapper(struct rp_host *h, struct rp_req *r, lua_State *L)
{
    struct rp_vm_slot *s = rp_phase_slot(h, r);
    if (RP_UNLIKELY(!s)) s = slot_make(h, r);
    if (RP_UNLIKELY(s->ref == LUA_NOREF)) {
        RP_CHECK(!h->current);
        struct making m = {h, r, s};
        s->scope.wrapper = ++h->wrappers_made;
        if (lua_cpcall(h->L, make_wrapper, &m) != 0) {
            lua_pop(h->L, 1);
            return RP_E_NOMEM;
        }
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->ref);
    s->bound = true;
    return RP_OK;
}

void rp_phase_release_task(struct rp_host *h, struct rp_vm_slot *s)
{
    struct rp_task *t = s->task;
    s->task = s->at_hand = NULL;
    if (!t) return;
    h->own_tasks_n--;
    t->is_slots = false;
    if (t->state != RP_TASK_FREE) return; /* it goes there when it ends */
    if (t->co) lua_settop(t->co, 0);
    rp_task_clear(t);
    t->next = h->free_tasks;
    h->free_tasks = t;
}

static void set_nil(lua_State *L, int first, int last)
{
    for (int i = first; i <= last; i++) {
        lua_pushnil(L);
        lua_rawseti(L, -2, i);
    }
}

/* Whoever still holds the table finds nothing of the request in it. The request itself it finds only
 * where H.wrapper says so, which no later task can but one that a hook has detached. */
static void empty(struct rp_host *h, struct rp_vm_slot *s)
{
    lua_rawgeti(h->L, LUA_REGISTRYINDEX, s->ref);
    set_nil(h->L, RP_WRAP_CTX, RP_WRAP_LAST_DROPPED);
    set_nil(h->L, RP_WRAP_REQ_CHUNK, RP_WRAP_SOURCE);
    if (s->leaked) set_nil(h->L, RP_WRAP_POINTER, RP_WRAP_POINTER);
    lua_pop(h->L, 1);
    if (!s->leaked) return;
    rp_phase_release_task(h, s);
    luaL_unref(h->L, LUA_REGISTRYINDEX, s->ref);
    s->ref = LUA_NOREF;
}

static void unbind(struct rp_host *h, struct rp_vm_slot *s)
{
    if (RP_UNLIKELY(s->dirty || s->leaked)) empty(h, s);
    s->bound = s->leaked = s->answered = false; /* journal and traced: rp_journal_end */
    s->dirty = 0;
    s->ends_ms = 0;
}

static void forget(struct rp_req *r)
{
    struct rp_host *h = r->conf->script;
    struct rp_vm_slot *s = rp_phase_slot(h, r);
    if (r->task) rp_task_drop(r->task);
    r->task = NULL;
    if (!s || !s->bound) return;
    if (RP_UNLIKELY(s->journal)) rp_journal_end(h, r);
    if (RP_UNLIKELY(s->scope.tasks || s->scope.holds)) rp_scope_close(h, &s->scope);
    unbind(h, s);
}

void rp_phase_slots_free(struct rp_host *h)
{
    for (uint32_t i = 0; i < h->slots_n; i++) rp_free(h->slots[i]);
    rp_free(h->slots);
}

/* ---- failures ------------------------------------------------------------------------------- */

static const char *plugin_name(const struct rp_host *h, uint32_t plugin)
{
    return plugin == UINT32_MAX ? "?" : rp_log_esc(h->conf->plugins[plugin].name);
}

void rp_pass_log_failure(const struct rp_pass *a, uint32_t plugin, rp_str what)
{
    struct rp_req *r = a->r;
    rp_log(error, "hook failed plugin=%s hook=%s route=\"%s\" request=%s error=\"%.*s\"",
           plugin_name(a->h, plugin), rp_phase_name(a->phase),
           r->route ? rp_log_esc(r->route->id) : "-", rp_req_id(r).ptr, RP_STR_ARG(what));
}

static rp_err refuse(const struct rp_pass *a)
{
    struct rp_req *r = a->r;
    if (a->phase == RP_PHASE_BODY_FILTER || r->x.head_sent) return RP_E_HOOK;
    if (r->fail == RP_OK) r->fail = RP_E_HOOK;
    rp_req_answer_error(r, RP_E_BUSY); /* 503 */
    return RP_END;
}

static rp_err go_on_after(const struct rp_pass *a, uint32_t chain, uint32_t at)
{
    uint32_t rest;
    if (a->writes) return RP_END; /* the response is under way: the others come too late */
    rp_err e = rp_chain_rest(a->h, chain, at, &rest);
    if (e != RP_OK) return e;
    if (rest) return rp_pass_enter(a, rest);
    if (a->in) rp_pass_take_piece(a);
    return RP_OK;
}

static rp_err by_policy(const struct rp_pass *a, uint32_t chain, uint32_t at, rp_err e)
{
    uint32_t plugin = rp_chain_plugin(a->h, chain, at);
    uint32_t policy = plugin == UINT32_MAX ? RP_PLUGIN_500 : a->h->conf->plugins[plugin].on_error;
    a->r->proxy->stats.hook_errors++;
    rp_account_error(a->h, plugin);
    if (a->writes) return e; /* half of the response is out */
    /* A hook that answered and then failed: half an answer is no reason to go on. */
    bool open = policy == RP_PLUGIN_OPEN && !rp_phase_slot(a->h, a->r)->answered;
    if (a->phase == RP_PHASE_LOG || open) return go_on_after(a, chain, at);
    return policy == RP_PLUGIN_CLOSED ? refuse(a) : e;
}

static bool is_abort(const struct rp_task *t)
{
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, t->host->abort_ref);
    bool same = lua_rawequal(t->co, -1, -2) != 0;
    lua_pop(t->co, 1);
    return same;
}

static rp_err raised(const struct rp_pass *a, struct rp_task *t, bool stopped)
{
    uint32_t chain = t->chain, at = t->at, plugin = rp_chain_plugin(a->h, chain, at);
    bool shadow = t->notes == RP_NOTES_ONLY; /* its req:abort answered nobody */
    if (is_abort(t) && (shadow || rp_phase_slot(a->h, a->r)->answered)) {
        if (RP_UNLIKELY(t->notes)) rp_journal_failed(t, a->r, plugin, RP_STR_NONE);
        if (!shadow) rp_account_answer(a->h, plugin, a->r->res.status);
        if (shadow) rp_journal_leave_shadow(t);
        rp_task_drop(t);
        return shadow ? go_on_after(a, chain, at) : RP_END;
    }
    rp_str what = rp_task_complaint(t);
    rp_pass_log_failure(a, plugin, what);
    if (RP_UNLIKELY(t->notes)) rp_journal_failed(t, a->r, plugin, what);
    if (RP_UNLIKELY(shadow)) rp_journal_leave_shadow(t);
    rp_task_drop(t);
    return by_policy(a, chain, at, stopped ? RP_E_HOOK_BUDGET : RP_E_HOOK);
}

/* ---- running -------------------------------------------------------------------------------- */

static bool must_answer(enum rp_phase p)
{
    return p <= RP_PHASE_REQUEST_BODY;
}

/* The task of a slot is ready for the next hook with nothing more done to it. */
static void end_well(const struct rp_pass *a, struct rp_task *t)
{
    struct rp_vm_slot *s = rp_phase_slot(a->h, a->r);
    if (!t->is_slots) {
        rp_task_put(t);
        return;
    }
    if (lua_gettop(t->co) > 1) lua_settop(t->co, 1);
    rp_account_calls(a->h->chains[t->chain], t->at);
    rp_task_rest(t);
    t->weight = 0;
    if (!s->traced && !a->h->journal_all) s->at_hand = t;
}

static rp_err returned(const struct rp_pass *a, struct rp_task *t)
{
    uint32_t chain = t->chain, at = t->at;
    /* Chains of pieces may return one. */
    bool stop = lua_gettop(t->co) > 1 && lua_toboolean(t->co, 2) && !lua_isstring(t->co, 2);
    end_well(a, t);
    if (a->in && !(stop && must_answer(a->phase))) {
        rp_pass_take_piece(a);
        return RP_OK;
    }
    bool answered = rp_phase_slot(a->h, a->r)->answered;
    if (answered && !a->writes)
        rp_account_answer(a->h, rp_chain_plugin(a->h, chain, at), a->r->res.status);
    if (a->writes || answered) return RP_END;
    if (!stop || !must_answer(a->phase)) return RP_OK;
    rp_pass_log_failure(a, rp_chain_plugin(a->h, chain, at),
                        RP_STR("it returned a true value without req:exit or req:redirect"));
    return by_policy(a, chain, at, RP_E_HOOK);
}

/* Where a task of such a pass is while it is parked. */
static void **place(const struct rp_pass *a)
{
    if (a->writes) return &a->r->answer->task;
    return a->phase == RP_PHASE_REQUEST_BODY ? &a->r->payload->task : &a->r->task;
}

/* A hook that has begun to write the response goes on beside the life, which sends it. */
static rp_err park(const struct rp_pass *a, struct rp_task *t)
{
    struct rp_answer *w = a->r->answer;
    bool begins = w && w->streamed && !a->writes && a->phase <= RP_PHASE_CONTENT;
    bool reads = t->wants_body != RP_WANTS_NOTHING;
    if (begins) {
        rp_account_answer(a->h, rp_chain_plugin(a->h, t->chain, t->at), a->r->res.status);
        w->task = t;
    } else {
        *place(a) = t;
    }
    if (begins || a->writes) w->awaits_body = reads;
    else if (a->phase == RP_PHASE_REQUEST_BODY) a->r->payload->reads = reads;
    else a->r->hook_reads = reads;
    return begins ? RP_END : RP_AGAIN;
}

static rp_err settle(const struct rp_pass *a, struct rp_task *t, int rc)
{
    bool stopped = rp_watchdog_leave(a->h);
    if (rc == 0) return returned(a, t);
    if (rc != LUA_YIELD) return raised(a, t, stopped);
    if (t->state != RP_TASK_RUNNING) return park(a, t);
    uint32_t chain = t->chain, at = t->at;
    rp_pass_log_failure(a, rp_chain_plugin(a->h, chain, at),
                        RP_STR("coroutine.yield outside of a coroutine of its own"));
    rp_task_drop(t);
    return by_policy(a, chain, at, RP_E_HOOK);
}

/* Arguments; how many, or < 0. */
static int push_arguments(const struct rp_pass *a, lua_State *co)
{
    switch (a->phase) {
    case RP_PHASE_EARLY:
    case RP_PHASE_ACCESS:
    case RP_PHASE_REWRITE:
    case RP_PHASE_CONTENT:
    case RP_PHASE_HEADER_FILTER:
    case RP_PHASE_LOG: return 0; /* chains find req and res by H.place: pushed, they cost more */
    case RP_PHASE_BALANCE:
    case RP_PHASE_REQUEST_BODY:
    case RP_PHASE_BODY_FILTER:
    case RP_PHASE_COUNT: break;
    }
    lua_pushvalue(co, 1);
    if (a->phase == RP_PHASE_REQUEST_BODY)
        return rp_pass_push_piece(a, co) == RP_OK ? 3 : RP_E_NOMEM;
    lua_rawgeti(co, 1, a->phase == RP_PHASE_BALANCE ? RP_WRAP_UP : RP_WRAP_RES);
    if (a->phase == RP_PHASE_BALANCE) return 2;
    return rp_pass_push_piece(a, co) == RP_OK ? 4 : RP_E_NOMEM;
}

/* A task with r's wrapper at the bottom of its stack: the slot's own, or while that waits, and where so
 * many have one already, one of the pool. */
static rp_err find_task(struct rp_host *h, struct rp_req *r, struct rp_task **out)
{
    struct rp_vm_slot *s = rp_phase_slot(h, r);
    struct rp_task *t = s ? s->task : NULL;
    bool is_free = t && t->state == RP_TASK_FREE;
    if (is_free && t->co && !rp_host_is_full(h)) {
        t->gen++;
        t->chain = 0;
        s->at_hand = NULL;
        *out = t;
        return RP_OK;
    }
    if (is_free) rp_phase_release_task(h, s); /* the pool makes it fit for use */
    t = rp_task_get(h);
    if (!t) return RP_E_BUSY;
    rp_err e = rp_phase_push_wrapper(h, r, t->co);
    if (e != RP_OK) {
        rp_task_put(t);
        return e;
    }
    s = rp_phase_slot(h, r);
    t->is_slots = !s->task && h->own_tasks_n < RP_OWN_TASKS_MOST;
    if (t->is_slots) {
        s->task = t;
        h->own_tasks_n++;
    }
    *out = t;
    return RP_OK;
}

static void dress(const struct rp_pass *a, struct rp_task *t, uint32_t chain)
{
    struct rp_vm_slot *s = rp_phase_slot(a->h, a->r);
    a->h->face.place = s->place;
    s->answered = false;
    s->bound = true;
    t->notes = s->traced;
    t->req = a->r;
    t->scope = &s->scope;
    t->is_hook = true;
    t->phase = (uint8_t)a->phase;
    t->chain = chain;
    t->at = 1;
}

/* The breadcrumb of chain c for r's route, which is nearly always that of the pass before. */
RP_APART static void find_where(const struct rp_host *h, struct rp_vm_chain *c,
                                const struct rp_req *r, enum rp_phase phase)
{
    uint16_t route = r->route && h->route_ids ? h->route_ids[r->route->index] : 0;
    c->route = r->route;
    c->where = rp_crumb_where(c->crumb_ids[0], h->hook_ids[phase], route);
}

rp_err rp_pass_enter(const struct rp_pass *a, uint32_t chain)
{
    struct rp_host *h = a->h;
    struct rp_vm_slot *s = rp_phase_slot(h, a->r);
    if (RP_UNLIKELY(h->journal_all) && !(s && s->bound)) {
        rp_journal_begin(h, a->r, false);
        s = rp_phase_slot(h, a->r);
    }
    if (RP_UNLIKELY(s && s->traced)) chain = rp_journal_chain(h, chain);
    struct rp_task *t;
    rp_err e = find_task(h, a->r, &t);
    if (e != RP_OK) return e;
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, rp_account_enter(h->chains[chain], t));
    int nargs = push_arguments(a, t->co);
    if (nargs < 0) {
        rp_task_put(t);
        return nargs;
    }
    dress(a, t, chain);
    find_where(h, h->chains[chain], a->r, a->phase); /* the first pass of all comes here */
    return settle(a, t, rp_task_run(t, nargs));
}

RP_APART static rp_err settle_at_hand(struct rp_host *h, struct rp_req *r, struct rp_task *t,
                                      int rc)
{
    const struct rp_pass a = {.h = h, .r = r, .phase = (enum rp_phase)t->phase};
    rp_phase_slot(h, r)->at_hand = NULL; /* end_well */
    if (rc == LUA_YIELD || h->face.attention) rp_task_end_measured(h, t, rc);
    t->at = h->face.at;
    t->notes = h->face.notes;
    rp_task_is_left(h);
    return settle(&a, t, rc);
}

/* rp_pass_enter and all that follows for most hooks: the task of the slot is free and as its last hook
 * has left it, this pass is not measured, and nothing happens in it but that it returns. */
static inline rp_err enter_at_hand(struct rp_host *h, struct rp_req *r, struct rp_vm_slot *s,
                                   enum rp_phase phase, uint32_t chain)
{
    struct rp_task *t = s->at_hand;
    struct rp_vm_chain *c = h->chains[chain];
    RP_ASSERT(t->req == r && t->scope == &s->scope && t->is_hook && !t->touched && !t->weight);
    RP_CHECK(!h->current); /* compiled code that called C cannot be entered again */
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, c->fn);
    c->until--;
    if (RP_UNLIKELY(c->route != r->route)) find_where(h, c, r, phase);
    s->answered = false;
    s->bound = true;
    t->gen++;
    t->state = RP_TASK_RUNNING;
    t->phase = (uint8_t)phase;
    t->chain = chain;
    h->current = t;
    h->face.req = r;
    h->face.wrapper = s->scope.wrapper;
    h->face.place = s->place;
    h->face.at = 1;
    rp_crumb_enter(h->crumb, c->where);
    int rc = lua_resume(t->co, 0);
    rp_crumb_leave(h->crumb);
    if (RP_UNLIKELY(rc != 0 || h->face.attention)) return settle_at_hand(h, r, t, rc);
    rp_account_calls(c, h->face.at);
    rp_task_is_left(h);
    t->state = RP_TASK_FREE;
    return RP_OK;
}

/* A body that the hook waits for is there, or why it is not. */
static bool has_body(const struct rp_pass *a, struct rp_task *t)
{
    uint64_t max = (uint64_t)t->body_max;
    if (t->wants_body == RP_WANTS_PIECE) return rp_payload_read(a->r, max) != RP_AGAIN;
    if (t->wants_body) return rp_req_buffer_body(a->r, max) != RP_AGAIN;
    if (!t->wants_response) return false;
    t->gathered = rp_respond_gather(a->r, max);
    return t->gathered != RP_AGAIN;
}

bool rp_pass_unpark(const struct rp_pass *a, struct rp_task *t)
{
    if (t->state == RP_TASK_PARKED && has_body(a, t)) {
        rp_timer_clear(a->r->proxy->loop, &t->timer);
        t->state = RP_TASK_READY; /* the hook asks again and gets the body or the failure */
        t->fired = true;
    }
    if (t->state != RP_TASK_READY) return false;
    if (t->wants_body) t->ends_ms = 0; /* the time was its client's: what follows has its own */
    t->wants_body = RP_WANTS_NOTHING;
    t->wants_response = false;
    *place(a) = NULL;
    lua_settop(t->co, 0);
    lua_pushboolean(t->co, t->fired);
    return true;
}

rp_err rp_pass_go_on(const struct rp_pass *a, struct rp_task *t)
{
    return rp_pass_unpark(a, t) ? settle(a, t, rp_task_resume(t, 1)) : RP_AGAIN;
}

/* Each attempt is chosen anew. */
static uint32_t balance_chain(struct rp_req *r)
{
    r->pick.want.id = 0;
    r->pick.want_addr.family = RP_ADDR_NONE;
    return r->upstream ? r->upstream->balance_chain : 0;
}

/* A site has early hooks only, and no route has chains of those, nor of balance hooks. */
static inline uint32_t conf_chain(const struct rp_req *r, enum rp_phase p)
{
    return (r->route ? &r->route->chains : &r->conf->site_chains)->at[p];
}

static uint32_t chain_of(struct rp_req *r, enum rp_phase p)
{
    return p == RP_PHASE_BALANCE ? balance_chain(r) : conf_chain(r, p);
}

RP_APART static rp_err run_any(struct rp_req *r, enum rp_phase p)
{
    const struct rp_pass a = {.h = r->conf->script, .r = r, .phase = p};
    if (r->task) return rp_pass_go_on(&a, r->task);
    uint32_t chain = chain_of(r, p);
    return chain ? rp_pass_enter(&a, chain) : RP_OK;
}

static rp_err run(struct rp_req *r, enum rp_phase p)
{
    struct rp_host *h = r->conf->script;
    struct rp_vm_slot *s = rp_phase_slot(h, r);
    bool usual = s && s->at_hand && !r->task && !h->face.attention;
    uint32_t chain = conf_chain(r, p);
    /* No chain: [0], whose `until` is 0. */
    if (RP_UNLIKELY(!usual || h->chains[chain]->until <= 1)) return run_any(r, p);
    return enter_at_hand(h, r, s, p, chain);
}

static rp_err write_on(struct rp_req *r)
{
    struct rp_host *h = r->conf->script;
    struct rp_task *t = r->answer->task;
    struct rp_vm_slot *s = rp_phase_slot(h, r);
    if (s) rp_task_wake_at(&s->writer); /* there is room: whoever waits for it writes on */
    if (!t) return RP_END;
    const struct rp_pass a = {.h = h, .r = r, .phase = (enum rp_phase)t->phase, .writes = true};
    r->phase = t->phase;
    rp_err e = rp_pass_go_on(&a, t);
    r->phase = RP_PHASE_COUNT;
    return e;
}

static void cancel(struct rp_req *r)
{
    struct rp_vm_slot *s = rp_phase_slot(r->conf->script, r);
    if (r->task) rp_task_drop(r->task);
    r->task = NULL;
    if (rp_payload_is_parked(r)) rp_task_drop(r->payload->task);
    if (r->payload) r->payload->task = NULL;
    if (!r->answer) return;
    if (r->answer->task) rp_task_drop(r->answer->task);
    r->answer->task = NULL;
    if (s) rp_task_wake_at(&s->writer); /* of another request: it hears that this one is over */
}

/* ---- the rest ------------------------------------------------------------------------------- */

struct reading {
    struct rp_host *h;
    struct rp_req *r;
    rp_str key, text;
};

static int read_ctx(lua_State *L)
{
    struct reading *g = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rp_phase_slot(g->h, g->r)->ref);
    lua_rawgeti(L, -1, RP_WRAP_CTX);
    if (!lua_istable(L, -1)) return 0;
    lua_pushlstring(L, g->key.ptr, g->key.len);
    lua_rawget(L, -2);
    size_t n;
    const char *text = NULL;
    if (lua_type(L, -1) == LUA_TBOOLEAN) {
        text = lua_toboolean(L, -1) ? "true" : "false";
        n = strlen(text);
    } else {
        text = lua_tolstring(L, -1, &n);
    }
    if (text) g->text = rp_arena_copy(&g->r->x.arena, rp_str_of(text, n));
    return 0;
}

static rp_str ctx_text(struct rp_req *r, rp_str key)
{
    struct reading g = {.h = r->conf->script, .r = r, .key = key};
    struct rp_vm_slot *s = rp_phase_slot(g.h, r);
    if (!s || !s->bound) return RP_STR_NONE;
    if (lua_cpcall(g.h->L, read_ctx, &g) != 0) lua_pop(g.h->L, 1);
    return g.text;
}

static void drop_generation(struct rp_conf *c)
{
    struct rp_host *h = c->script;
    c->script = NULL;
    c->hooks = NULL;
    rp_host_free(h);
}

const struct rp_hooks rp_phase_hooks = {
    .run = run,
    .filter_request = rp_phase_filter_request,
    .pull_body = rp_phase_pull_body,
    .filter_body = rp_phase_filter_body,
    .write_on = write_on,
    .cancel = cancel,
    .forget = forget,
    .ctx_text = ctx_text,
    .trace = rp_journal_trace,
    .trace_text = rp_journal_trace_text,
    .leave_upstreams = rp_call_leave_upstreams,
    .drop_generation = drop_generation,
    .keep_generation = rp_life_keep,
};
