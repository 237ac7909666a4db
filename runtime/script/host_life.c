/* SPDX-License-Identifier: MIT
 *
 * host_life: a built VM in its worker: attach, start and stop hooks, retire, describe.
 */
#include <unistd.h>

#include "base/log.h"
#include "script/vm.h"

enum {
    LIFE_ARGS = 4,           /* of chain.run_life */
    AGENT_HOOK_MS = 500,     /* thousands of members at once; no client waits there */
    FAREWELL_MS = 20 * 1000, /* a queue has 5 seconds unless its owner says otherwise */
};

static struct rp_host *attached(const struct rp_conf *c)
{
    struct rp_host *h = c->script;
    RP_CHECK(h && h->magic == RP_HOST_MAGIC);
    return h;
}

/* ---- attach --------------------------------------------------------------------------------- */

static void name_crumbs(struct rp_host *h, const struct rp_crumbs *crumbs, uint32_t worker)
{
    const struct rp_conf *c = h->conf;
    uint64_t generation = c->generation;
    h->crumb = rp_crumb_page(crumbs, worker);
    h->plugin_ids = rp_alloc(c->plugins_n * sizeof *h->plugin_ids);
    h->route_ids = rp_alloc(c->routes_n * sizeof *h->route_ids);
    for (uint32_t i = 0; i < c->plugins_n; i++)
        h->plugin_ids[i] =
            (uint16_t)rp_crumb_intern(crumbs, worker, c->plugins[i].name, generation);
    for (uint32_t i = 0; i < c->routes_n; i++)
        h->route_ids[i] = (uint16_t)rp_crumb_intern(crumbs, worker, c->routes[i]->id, generation);
    for (uint32_t p = 0; p < RP_PHASE_COUNT; p++)
        h->hook_ids[p] = (uint16_t)rp_crumb_intern(
            crumbs, worker, rp_str_z(rp_phase_name((enum rp_phase)p)), generation);
    h->hook_ids[RP_PHASE_COUNT] =
        (uint16_t)rp_crumb_intern(crumbs, worker, RP_STR("background"), generation);
    h->hook_ids[RP_TASK_CONNECT] =
        (uint16_t)rp_crumb_intern(crumbs, worker, RP_STR("connect"), generation);
    h->hook_ids[RP_TASK_HELLO] =
        (uint16_t)rp_crumb_intern(crumbs, worker, RP_STR("tls_hello"), generation);
    h->hook_ids[RP_TASK_CERT] =
        (uint16_t)rp_crumb_intern(crumbs, worker, RP_STR("certificate"), generation);
    rp_chain_name_crumbs(h);
}

void rp_host_attach(struct rp_conf *c, struct rp_proxy *p, const struct rp_crumbs *crumbs,
                    uint32_t worker)
{
    struct rp_host *h = attached(c);
    RP_CHECK(!h->proxy);
    h->proxy = p;
    h->worker = worker;
    if (crumbs) name_crumbs(h, crumbs, worker);
    h->face.guilty = (uint16_t *)(void *)&h->crumb->where + 2;
    rp_account_open(h);
    rp_watchdog_start(h);
    if (!h->tool) rp_gc_open(h);
}

/* ---- start and stop hooks ------------------------------------------------------------------- */

static void tell(struct rp_defer *d)
{
    struct rp_vm_life *life = RP_CONTAINER(rp_vm_life, defer, d);
    void (*done)(void *arg, rp_err e) = life->done;
    life->done = NULL;
    if (done) done(life->arg, life->result);
}

static void finish(struct rp_vm_life *life, rp_err e)
{
    if (life->task) life->task->on_end = NULL;
    life->task = NULL;
    life->waits = false;
    life->result = e;
    rp_timer_clear(life->host->proxy->loop, &life->timer);
    rp_loop_defer(life->host->proxy->loop, &life->defer);
}

static void starting_ended(struct rp_task *t, rp_err e)
{
    finish(&t->host->starting, e);
}

static void stopping_ended(struct rp_task *t, rp_err e)
{
    struct rp_vm_life *life = &t->host->stopping;
    life->task = NULL;
    life->result = e;
    life->waits = t->host->proxy->kept_confs > 0;
    if (life->waits) t->on_end = NULL; /* the last farewell, or the deadline, ends it */
    else finish(life, e);
}

static void out_of_time(struct rp_timer *timer)
{
    struct rp_vm_life *life = RP_CONTAINER(rp_vm_life, timer, timer);
    struct rp_task *t = life->task;
    finish(life, RP_E_HOOK_TIMEOUT);
    if (t) rp_task_drop(t);
}

static bool has_life(struct rp_host *h, const char *what)
{
    lua_State *L = h->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->has_life_fn);
    lua_pushstring(L, what);
    bool any = rp_host_call(h, 1, 1) && lua_toboolean(L, -1);
    lua_pop(L, 1);
    return any;
}

/* Push run_life and its arguments; false when there is nothing to run or no memory for it. */
static bool push_life(struct rp_host *h, const char *what, rp_ms deadline_ms)
{
    lua_State *L = h->L;
    if (!has_life(h, what)) return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->life_fn);
    lua_pushstring(L, what);
    lua_pushinteger(L, (lua_Integer)h->proxy->number);
    lua_pushinteger(L, (lua_Integer)getpid());
    lua_pushnumber(L, (lua_Number)deadline_ms / 1000);
    return true;
}

static void run_life(struct rp_host *h, struct rp_vm_life *life, const char *what,
                     void (*ended)(struct rp_task *t, rp_err e), rp_ms deadline_ms)
{
    life->host = h;
    life->defer.run = tell;
    rp_timer_init(&life->timer, out_of_time);
    if (!push_life(h, what, deadline_ms)) {
        life->waits = life == &h->stopping && h->proxy->kept_confs > 0;
        if (life->waits) rp_timer_set(h->proxy->loop, &life->timer, deadline_ms);
        else finish(life, RP_OK);
        return;
    }
    life->task = rp_sched_spawn(h, h->L, LIFE_ARGS, NULL, NULL);
    if (!life->task) {
        lua_pop(h->L, 1 + LIFE_ARGS);
        finish(life, RP_E_NOMEM);
        return;
    }
    life->task->on_end = ended;
    rp_timer_set(h->proxy->loop, &life->timer, deadline_ms);
}

void rp_host_be_agent(struct rp_conf *c)
{
    attached(c)->agent = true;
    rp_watchdog_allow(attached(c), AGENT_HOOK_MS);
}

void rp_host_start(struct rp_conf *c, rp_ms deadline_ms, void (*done)(void *arg, rp_err e),
                   void *arg)
{
    struct rp_host *h = attached(c);
    h->starting.done = done;
    h->starting.arg = arg;
    run_life(h, &h->starting, h->agent ? "agent" : "start", starting_ended, deadline_ms);
}

void rp_host_stop(struct rp_conf *c, rp_ms deadline_ms, void (*done)(void *arg, rp_err e),
                  void *arg)
{
    struct rp_host *h = attached(c);
    h->stopping.done = done;
    h->stopping.arg = arg;
    run_life(h, &h->stopping, h->agent ? "agent_stop" : "stop", stopping_ended, deadline_ms);
}

void rp_host_retire(struct rp_conf *c)
{
    struct rp_host *h = attached(c);
    h->retired = true;
    rp_sock_close_idle(h);
    while (h->background.tasks) {
        struct rp_task *t = h->background.tasks;
        if (t->on_end) t->on_end(t, RP_E_CANCELLED);
        rp_task_drop(t);
    }
}

/* ---- farewell -------------------------------------------------------------------------------- */

/* A generation without requests may have something to send (rp.queue). It lives on for that; the
 * worker's end waits for it. */
static void leaving_ended(struct rp_task *t, rp_err e)
{
    finish(&t->host->leaving, e);
}

static void on_left(void *arg, rp_err e)
{
    struct rp_host *h = arg;
    struct rp_proxy *p = h->proxy;
    struct rp_host *now = p->conf->script;
    struct rp_conf *c = h->conf;
    if (e != RP_OK) rp_log(warn, "a configuration did not end well error=%s", rp_err_name(e));
    p->kept_confs--;
    if (now->stopping.waits && p->kept_confs == 0) finish(&now->stopping, now->stopping.result);
    rp_conf_drop(c);
}

bool rp_life_keep(struct rp_conf *c)
{
    struct rp_host *h = attached(c);
    if (!h->proxy || h->proxy->freeing || h->farewell_said || h->stopping.host) return false;
    h->farewell_said = true;
    if (!has_life(h, "farewell")) return false;
    rp_conf_hold(c);
    h->proxy->kept_confs++;
    h->leaving.done = on_left;
    h->leaving.arg = h;
    run_life(h, &h->leaving, "farewell", leaving_ended, FAREWELL_MS);
    return true;
}

void rp_life_fini(struct rp_host *h)
{
    struct rp_vm_life *lives[] = {&h->starting, &h->stopping, &h->leaving};
    for (size_t i = 0; i < RP_COUNT(lives); i++) {
        if (!lives[i]->host) continue;
        rp_timer_clear(h->proxy->loop, &lives[i]->timer);
        rp_loop_undefer(h->proxy->loop, &lives[i]->defer);
    }
}

/* ---- describe ------------------------------------------------------------------------------- */

struct describing {
    const char *function;
    struct rp_buf *out;
};

static int describe_protected(lua_State *L)
{
    const struct describing *d = lua_touserdata(L, 1);
    size_t n;
    lua_getglobal(L, "require");
    lua_pushliteral(L, "rproxy.config.boot");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, d->function);
    lua_call(L, 0, 1);
    const char *text = lua_tolstring(L, -1, &n);
    if (text) rp_buf_add(d->out, rp_str_of(text, n));
    return 0;
}

void rp_host_describe(const struct rp_conf *c, struct rp_bundle *b, enum rp_describe form,
                      struct rp_buf *out)
{
    struct rp_host *h = attached(c);
    static const char *const FUNCTIONS[] = {[RP_DESCRIBE_TEXT] = "describe",
                                            [RP_DESCRIBE_MODEL] = "model",
                                            [RP_DESCRIBE_WARNINGS] = "warnings"};
    struct describing d = {FUNCTIONS[form], out};
    if (form == RP_DESCRIBE_NOT) return;
    h->bundle = b;
    int failed = lua_cpcall(h->L, describe_protected, &d);
    h->bundle = NULL;
    if (!failed) return;
    rp_buf_addf(out, "%s\n", lua_tostring(h->L, -1) ? lua_tostring(h->L, -1) : "cannot describe");
    lua_pop(h->L, 1);
}
