/* SPDX-License-Identifier: MIT
 *
 * vm_task: tasks: a pooled coroutine, what it waits for and what it belongs to.
 *
 * FREE -> RUNNING -> PARKED -> READY -> RUNNING .. -> FREE. A task that ends by itself gives its
 * coroutine back to the pool; one that fails or is dropped while parked loses it (LuaJIT has no way
 * to reset a coroutine), and the next user of the task makes a new one.
 */
#include "proxy/deadline.h"
#include "script/vm_run.h"

enum {
    /* Lua holds a task as index + gen * HANDLE_GEN: below 2^53 for 2^35 uses of one index. */
    HANDLE_GEN = RP_TASKS_MOST,
    TRACE_MOST = 4096, /* bytes of a traceback in a log line */
    HOOK_SPARE_MS = 100,
};

/* ---- pool ----------------------------------------------------------------------------------- */

static int make_thread(lua_State *L)
{
    struct rp_task *t = lua_touserdata(L, 1);
    t->co = lua_newthread(L);
    t->co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static struct rp_task *task_new(struct rp_host *h)
{
    if (h->tasks_n == RP_TASKS_MOST) return NULL;
    if (h->tasks_n == h->tasks_room) {
        h->tasks_room = h->tasks_room ? h->tasks_room * 2 : 64;
        h->tasks = rp_realloc(h->tasks, h->tasks_room * sizeof *h->tasks);
    }
    struct rp_task *t = rp_alloc(sizeof *t);
    t->magic = RP_TASK_MAGIC;
    t->host = h;
    t->index = h->tasks_n;
    t->co_ref = LUA_NOREF;
    h->tasks[h->tasks_n++] = t;
    return t;
}

static void on_deadline(struct rp_timer *timer)
{
    rp_task_ready(RP_CONTAINER(rp_task, timer, timer), false);
}

struct rp_task *rp_task_make(struct rp_host *h)
{
    if (RP_UNLIKELY(rp_host_is_full(h))) rp_gc_make_room(h);
    struct rp_task *t = h->free_tasks;
    if (t) h->free_tasks = t->next;
    else if (!(t = task_new(h))) return NULL;
    if (!t->co && lua_cpcall(h->L, make_thread, t) != 0) {
        lua_pop(h->L, 1);
        t->co = NULL;
        t->next = h->free_tasks;
        h->free_tasks = t;
        return NULL;
    }
    t->next = NULL;
    t->gen++;
    t->state = RP_TASK_RUNNING;
    return t;
}

void rp_task_enlist(struct rp_task **list, struct rp_task *t)
{
    t->list = list;
    t->sib_prev = NULL;
    t->sib_next = *list;
    if (*list) (*list)->sib_prev = t;
    *list = t;
}

void rp_task_unlist(struct rp_task *t)
{
    if (!t->list) return;
    if (t->sib_prev) t->sib_prev->sib_next = t->sib_next;
    else *t->list = t->sib_next;
    if (t->sib_next) t->sib_next->sib_prev = t->sib_prev;
    t->sib_next = t->sib_prev = NULL;
    t->list = NULL;
}

static void unqueue(struct rp_task *t)
{
    struct rp_host *h = t->host;
    if (t->prev) t->prev->next = t->next;
    else h->ready_head = t->next;
    if (t->next) t->next->prev = t->prev;
    else h->ready_tail = t->prev;
    t->next = t->prev = NULL;
}

/* It ended well: its kids go on. A background task is a whole of its own. */
static void leave_kids(struct rp_task *t)
{
    struct rp_task **to = t->parent ? &t->parent->kids : &t->scope->tasks;
    if (t->scope == &t->own) {
        while (t->kids) rp_task_drop(t->kids);
        return;
    }
    while (t->kids) {
        struct rp_task *kid = t->kids;
        rp_task_unlist(kid);
        kid->parent = t->parent;
        rp_task_enlist(to, kid);
    }
}

static void unjoin(struct rp_task *t)
{
    if (t->join_prev) t->join_prev->join_next = t->join_next;
    else t->joins->joiners = t->join_next;
    if (t->join_next) t->join_next->join_prev = t->join_prev;
    t->joins = t->join_next = t->join_prev = NULL;
}

static void wake_joiners(struct rp_task *t)
{
    while (t->joiners) {
        struct rp_task *j = t->joiners;
        unjoin(j);
        rp_task_ready(j, true);
    }
}

static void leave_lists(struct rp_task *t)
{
    rp_task_unlist(t);
    wake_joiners(t);
    t->parent = NULL;
    if (!t->counted) return;
    t->counted = false;
    t->host->background_n--;
    t->host->proxy->stats.tasks_background--; /* it ran, so there is one */
}

void rp_task_cut_ties(struct rp_task *t, bool well)
{
    struct rp_host *h = t->host;
    if (t->timer.link.next) rp_timer_clear(h->proxy->loop, &t->timer);
    if (t->waits_at) rp_task_forget_at(t->waits_at);
    if (t->joins) unjoin(t);
    if (t->kids) leave_kids(t);
    if (t->scope->holds) rp_hold_forget_task(t->scope, t, well);
    if (t->parked_ns) rp_account_drop(h, t);
    if (!t->is_hook) leave_lists(t);
    t->state = RP_TASK_FREE;
    if (t->own.tasks || t->own.holds) rp_scope_close(h, &t->own);
    if (t->fuel) rp_fuel_drop(&t->fuel);
}

void rp_task_put(struct rp_task *t)
{
    lua_settop(t->co, t->is_slots ? 1 : 0);
    rp_task_give_back(t, true);
}

static void drop_one(struct rp_task *t)
{
    struct rp_host *h = t->host;
    if (t->state == RP_TASK_READY && !t->is_hook) unqueue(t);
    luaL_unref(h->L, LUA_REGISTRYINDEX, t->co_ref);
    if (t->co) h->gc.dropped_n++;
    t->co_ref = LUA_NOREF;
    t->co = NULL;
    rp_task_give_back(t, false);
}

/* Kids first, however deep: a loop, as site code decides how deep. */
void rp_task_drop(struct rp_task *t)
{
    if (t->state == RP_TASK_FREE) return;
    for (struct rp_task *at = t;;) {
        while (at->kids) at = at->kids;
        struct rp_task *up = at->parent;
        bool last = at == t;
        drop_one(at);
        if (last) return;
        at = up;
    }
}

double rp_task_handle(const struct rp_task *t)
{
    return (double)t->index + (double)t->gen * HANDLE_GEN;
}

struct rp_task *rp_task_find(struct rp_host *h, double handle)
{
    if (!(handle >= 0 && handle < 9007199254740992.0)) return NULL;
    uint64_t n = (uint64_t)handle;
    uint32_t index = (uint32_t)(n % HANDLE_GEN);
    if (index >= h->tasks_n) return NULL;
    struct rp_task *t = h->tasks[index];
    return t->state != RP_TASK_FREE && t->gen == (uint32_t)(n / HANDLE_GEN) ? t : NULL;
}

void rp_scope_close(struct rp_host *h, struct rp_scope *s)
{
    (void)h;
    while (s->tasks) rp_task_drop(s->tasks);
    if (s->holds) rp_hold_close_all(s);
}

/* ---- running -------------------------------------------------------------------------------- */

void rp_task_ready(struct rp_task *t, bool fired)
{
    struct rp_host *h = t->host;
    if (t->state != RP_TASK_PARKED) return;
    rp_timer_clear(h->proxy->loop, &t->timer);
    if (t->waits_at) rp_task_forget_at(t->waits_at); /* it would wake whatever waits next */
    if (t->joins) unjoin(t);
    t->state = RP_TASK_READY;
    t->fired = fired;
    if (t->is_hook) {
        if (t->req) rp_req_wake(t->req, RP_WAKE_TASK);
        else if (t->stream) rp_stream_wake(t->stream, RP_WAKE_TASK);
        else rp_guest_wake(t->guest);
        return;
    }
    t->next = NULL;
    t->prev = h->ready_head ? h->ready_tail : NULL;
    if (h->ready_head) h->ready_tail->next = t;
    else h->ready_head = t;
    h->ready_tail = t;
    rp_loop_defer(h->proxy->loop, &h->ready);
}

rp_err rp_task_wait_at(struct rp_host *h, struct rp_task **place)
{
    struct rp_task *t = h->current;
    if (*place && *place != t) return RP_E_BUSY;
    if (t->waits_at && t->waits_at != place) rp_task_forget_at(t->waits_at);
    *place = t;
    t->waits_at = place;
    rp_task_touch(t);
    return RP_AGAIN;
}

void rp_task_forget_at(struct rp_task **place)
{
    if (!*place) return;
    (*place)->waits_at = NULL;
    *place = NULL;
}

void rp_task_wake_at(struct rp_task **place)
{
    struct rp_task *t = *place;
    rp_task_forget_at(place);
    if (t) rp_task_ready(t, true);
}

void rp_task_begin_measured(struct rp_host *h, struct rp_task *t)
{
    if (t->weight || t->parked_ns) rp_account_begin(h, t);
    h->fuel = t->fuel;
}

void rp_task_end_measured(struct rp_host *h, struct rp_task *t, int rc)
{
    if (h->fuel || t->fuel) rp_fuel_leave(h, t);
    if (t->weight || rc == LUA_YIELD) rp_account_leave(h, t, rc == LUA_YIELD);
    if (h->since_gc_bytes > RP_GC_IDLE_BYTES || h->heap_hit) rp_gc_note(h);
    h->face.attention = rp_host_is_full(h);
}

int rp_task_resume(struct rp_task *t, int nargs)
{
    return rp_task_run(t, nargs);
}

/* ---- failures ------------------------------------------------------------------------------- */

/* A frame of the layer, of a chain or of C says nothing to whoever wrote the code that failed. */
static bool is_own_frame(rp_str line)
{
    static const char *const OWN[] = {"\tlua/rproxy/", "\tchain:", "\t[C]:", "\t[builtin:"};
    for (size_t i = 0; i < RP_COUNT(OWN); i++)
        if (rp_str_starts(line, rp_str_z(OWN[i]))) return true;
    return false;
}

/* A traceback in one line of h->text: the message, then the frames of the site and its plugins. */
static void put_trace(struct rp_host *h, rp_str text, bool escape)
{
    rp_str title = RP_STR("stack traceback:");
    bool titled = false;
    rp_buf_clear(&h->text);
    text = rp_str_head(text, RP_MIN(text.len, (size_t)TRACE_MOST));
    while (text.len) {
        size_t n = rp_str_find(text, '\n', 0);
        rp_str line = rp_str_head(text, n);
        text = rp_str_from(text, RP_MIN(n + 1, text.len));
        if (rp_str_eq(line, title) || is_own_frame(line)) continue;
        bool frame = rp_str_starts(line, RP_STR("\t"));
        if (h->text.len) rp_buf_add_z(&h->text, " | ");
        if (frame && !titled) rp_buf_add_z(&h->text, "stack traceback: | ");
        titled |= frame;
        if (escape) rp_buf_add_escaped(&h->text, rp_str_trim(line));
        else rp_buf_add(&h->text, rp_str_trim(line));
    }
}

static int trace_protected(lua_State *L)
{
    struct rp_task *t = lua_touserdata(L, 1);
    const char *message = lua_tostring(t->co, -1);
    if (!message) message = lua_pushfstring(L, "(a %s was raised)", luaL_typename(t->co, -1));
    luaL_traceback(L, t->co, message, 0);
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    put_trace(t->host, rp_str_of(text, n), true);
    return 0;
}

int rp_task_trace(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    const char *message = lua_tostring(L, 1);
    if (!message) message = lua_pushfstring(L, "(a %s was raised)", luaL_typename(L, 1));
    luaL_traceback(L, L, message, 1);
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    put_trace(h, rp_str_of(text, n), false);
    lua_pushlstring(L, h->text.ptr ? h->text.ptr : "", h->text.len);
    return 1;
}

rp_str rp_task_complaint(struct rp_task *t)
{
    struct rp_host *h = t->host;
    rp_buf_clear(&h->text);
    if (lua_cpcall(h->L, trace_protected, t) != 0) {
        lua_pop(h->L, 1);
        rp_buf_clear(&h->text);
        rp_buf_add_z(&h->text, "not enough memory");
    }
    return rp_buf_str(&h->text);
}

/* ---- ABI ------------------------------------------------------------------------------------ */

void rp_abi_park(struct rp_host_face *f, const char *why, double seconds)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_task *t = h->current;
    if (!t || !h->proxy) return;
    t->state = RP_TASK_PARKED;
    t->why = why;
    rp_task_touch(t);
    if (seconds < 0) return;
    rp_timer_init(&t->timer, on_deadline);
    rp_timer_set(h->proxy->loop, &t->timer, (rp_ms)(RP_MIN(seconds, 1e9) * 1000 + 0.999));
}

double rp_abi_running(const struct rp_host_face *f)
{
    uint32_t at = rp_vm_running((const struct rp_host *)(const void *)f);
    return at == UINT32_MAX ? -1 : (double)at;
}

void rp_abi_denied(struct rp_host_face *f)
{
    struct rp_host *h = rp_vm_of(f);
    if (h->proxy) h->proxy->stats.grants_denied++;
}

double rp_abi_task_self(const struct rp_host_face *f)
{
    const struct rp_host *h = (const struct rp_host *)(const void *)f;
    return h->current ? rp_task_handle(h->current) : -1;
}

void rp_abi_task_wake(struct rp_host_face *f, double task)
{
    struct rp_task *t = rp_task_find(rp_vm_of(f), task);
    if (t) rp_task_ready(t, true);
}

bool rp_abi_task_join(struct rp_host_face *f, double task)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_task *t = rp_task_find(h, task), *me = h->current;
    if (!t || !me || t == me) return false;
    if (me->joins) unjoin(me);
    me->joins = t;
    rp_task_touch(me);
    me->join_next = t->joiners;
    if (t->joiners) t->joiners->join_prev = me;
    t->joiners = me;
    return true;
}

void rp_abi_task_cancel(struct rp_host_face *f, double task)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_task *t = rp_task_find(h, task);
    if (!t || t->is_hook) return;
    /* It may be the running one or own what runs: it is dropped when its turn comes. */
    t->cancelled = true;
    if (t != h->current) rp_task_ready(t, true);
}

void rp_abi_task_failed(struct rp_host_face *f)
{
    struct rp_task *t = rp_vm_of(f)->current;
    if (t && !t->is_hook) t->failed = true;
}

/* A hook hears of a deadline before its request gives up on it. */
static rp_ms hook_end(const struct rp_host *h, struct rp_task *t)
{
    rp_ms most = h->conf->hook_wait_ms;
    const struct rp_answer *w = t->req ? t->req->answer : NULL;
    if (rp_task_is_writing(t)) /* each sign of life gives it more time */
        return w->idle_ms ? w->last_ms + w->idle_ms - RP_MIN(w->idle_ms / 10, HOOK_SPARE_MS)
                          : UINT64_MAX;
    rp_task_touch(t);
    if (!t->ends_ms)
        t->ends_ms = rp_loop_now(h->proxy->loop) + most - RP_MIN(most / 10, HOOK_SPARE_MS);
    return t->ends_ms;
}

double rp_abi_left(struct rp_host_face *f)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_task *t = h->current;
    if (!t || !h->proxy) return -1;
    const struct rp_vm_slot *slot = t->req ? rp_phase_slot(h, t->req) : NULL;
    rp_ms now = rp_loop_now(h->proxy->loop), ends = UINT64_MAX;
    if (t->is_hook) ends = hook_end(h, t);
    if (slot && slot->ends_ms) ends = RP_MIN(ends, slot->ends_ms);
    if (slot && rp_deadline_of(t->req)) ends = RP_MIN(ends, rp_deadline_of(t->req));
    if (ends == UINT64_MAX) return -1;
    return ends > now ? (double)(ends - now) / 1000 : 0;
}

rp_err rp_abi_req_set_end(struct rp_host_face *f, struct rp_req *r, double at)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_vm_slot *slot = rp_phase_slot(h, r);
    if (!slot || !slot->bound) return RP_E_PHASE;
    if (f->notes == RP_NOTES_ONLY) return RP_OK;
    slot->ends_ms = at > 0 ? (rp_ms)(RP_MIN(at, 1e12) * 1000) : 0;
    return rp_deadline_set(r, slot->ends_ms);
}

double rp_abi_now(const struct rp_host_face *f)
{
    const struct rp_host *h = (const struct rp_host *)(const void *)f;
    return h->proxy ? (double)rp_loop_now(h->proxy->loop) / 1000 : 0;
}

double rp_abi_wall(const struct rp_host_face *f)
{
    const struct rp_host *h = (const struct rp_host *)(const void *)f;
    return h->proxy ? rp_loop_wall(h->proxy->loop) : rp_clock_wall();
}

double rp_abi_real_ns(void)
{
    return (double)rp_clock_real_ns();
}

double rp_abi_clock_ns(void)
{
    return (double)rp_clock_mono_ns();
}
