/* SPDX-License-Identifier: MIT
 *
 * lab: a site served inside the VM of a tool, without a socket that leads anywhere, at a time that is
 * moved by hand. What lua/rproxy/lab.lua is made of; nothing else may use it.
 *
 * One host, many sites, one after the other: each gets a conf and a proxy of its own on one loop, while
 * VM, tasks and layer stay. Ends of connections are socket pairs: the far end of each is a number
 * that Lua reads and writes. Only a tool's host has a lab, and a tool serves nobody.
 */
#include "script/lab_in.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "proxy/access.h"

enum {
    CENSUS_WORKERS = 1,
    START_LIMIT_MS = 30 * 1000, /* start hooks; as a worker's */
    CLOSE_ROUNDS = 10000,
    WAIT_MS = 20, /* for what runs elsewhere */
    BUDGET_TIMES =
        20, /* of CPU: a debugger, a sanitizer or a busy machine makes no mistake of a hook */
};

/* Sites begin at whole days of loop time, so that windows of limiters lie alike in each run. */
#define DAY_NS ((rp_ns)86400 * 1000000000)

static void on_log(void *arg, enum rp_log_level level, rp_str line)
{
    struct rp_lab *lab = arg;
    (void)level;
    if (lab->log.len + line.len <= RP_LAB_TEXT_MOST) rp_buf_add(&lab->log, line);
}

/* ---- life of the lab --------------------------------------------------------------------------- */

static void drop_generation(struct rp_conf *c);

static bool keep_generation(struct rp_conf *c)
{
    (void)c;
    return false; /* what is left to be said is not said */
}

static void open_loop(struct rp_lab *lab)
{
    lab->now_ns = DAY_NS;
    lab->wall = (double)(int64_t)rp_clock_wall();
    rp_clock_hold(lab->now_ns, lab->wall);
    lab->mem = rp_mem_new();
    lab->loop = rp_loop_new(lab->mem);
    RP_CHECK(lab->loop);
    rp_lab_world_open(lab);
}

static void open_census(struct rp_lab *lab)
{
    size_t bytes = rp_census_bytes(CENSUS_WORKERS, RP_CENSUS_NETS_MIN);
    rp_err e = rp_zone_new(RP_STR("lab"), bytes, &lab->census_zone);
    if (e == RP_OK)
        e = rp_census_new(lab->census_zone, RP_STR("census"), CENSUS_WORKERS, RP_CENSUS_NETS_MIN,
                          &lab->census);
    if (e != RP_OK) rp_log(warn, "caps on connections do not hold error=%s", rp_err_name(e));
}

static struct rp_lab *lab_new(struct rp_host *h)
{
    struct rp_lab *lab = rp_alloc(sizeof *lab);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    lab->host = h;
    lab->own_conf = h->conf;
    lab->watched = true;
    rp_buf_init(&lab->strays, RP_LAB_TEXT_MOST);
    rp_buf_init(&lab->log, RP_LAB_TEXT_MOST);
    (void)sigaction(SIGPIPE, &ignore, NULL); /* cannot fail for it */
    open_census(lab);
    open_loop(lab);
    rp_log_set_sink((struct rp_log_sink){on_log, lab});
    h->hooks.drop_generation = drop_generation;
    h->hooks.keep_generation = keep_generation;
    return lab;
}

static void close_site(struct rp_lab *lab);

void rp_lab_free(struct rp_host *h)
{
    struct rp_lab *lab = h->lab;
    if (!lab) return;
    close_site(lab);
    h->lab = NULL;
    rp_log_set_sink((struct rp_log_sink){NULL, NULL});
    rp_lab_world_forget(lab);
    rp_loop_free(&lab->loop);
    rp_mem_free(&lab->mem);
    rp_census_free(&lab->census);
    rp_zone_free(&lab->census_zone);
    rp_buf_fini(&lab->strays);
    rp_buf_fini(&lab->log);
    rp_free(lab);
}

struct rp_lab *rp_lab_of(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    RP_CHECK(h->tool); /* whoever serves has no lab */
    if (!h->lab) h->lab = lab_new(h);
    return h->lab;
}

struct rp_lab *rp_lab_of_site(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    if (!lab->proxy) luaL_error(L, "no site is open");
    return lab;
}

/* ---- a site goes ------------------------------------------------------------------------------- */

static void leave_tasks(struct rp_host *h)
{
    for (uint32_t i = 0; i < h->tasks_n; i++) rp_task_drop(h->tasks[i]);
    rp_loop_undefer(h->proxy->loop, &h->ready);
    rp_gc_leave_loop(h);
}

static void leave_slots(struct rp_host *h)
{
    for (uint32_t i = 0; i < h->slots_n; i++) {
        if (!h->slots[i]) continue;
        rp_phase_release_task(h, h->slots[i]);
        luaL_unref(h->L, LUA_REGISTRYINDEX, h->slots[i]->ref);
    }
    rp_phase_slots_free(h);
    h->slots = NULL;
    h->slots_n = 0;
    h->places_n = 0; /* the next lab's wrappers take the places of these */
}

static void leave_chains(struct rp_host *h)
{
    for (uint32_t i = 0; i < h->chains_n; i++) {
        luaL_unref(h->L, LUA_REGISTRYINDEX, h->chains[i]->fn);
        luaL_unref(h->L, LUA_REGISTRYINDEX, h->chains[i]->timed_fn);
    }
    rp_chain_fini(h);
    h->chains = NULL;
    h->chains_n = h->chains_room = 0;
}

/* As rp_host_free, but for what the next site goes on with. */
static void leave(struct rp_host *h)
{
    if (h->proxy) {
        rp_life_fini(h);
        leave_tasks(h);
        rp_account_fini(h);
        rp_sock_close_idle(h);
        rp_watchdog_free(h);
    }
    leave_slots(h);
    rp_guests_fini(h);
    leave_chains(h);
    rp_job_fini(h);
    rp_shared_fini(h);
    rp_host_leave_conf(h);
    h->proxy = NULL;
    h->starting = h->stopping = h->leaving = (struct rp_vm_life){0};
    h->retired = h->farewell_said = h->has_breakers = false;
    h->metrics = NULL;
    h->face.cells = NULL;
    h->conf = h->lab->own_conf;
    h->face.conf = h->conf;
}

static void drop_generation(struct rp_conf *c)
{
    struct rp_host *h = c->script;
    c->script = NULL;
    c->hooks = NULL;
    leave(h);
}

static void move_to(struct rp_lab *lab, rp_ns now_ns)
{
    lab->wall += (double)(now_ns - lab->now_ns) / 1e9;
    lab->now_ns = now_ns;
    rp_clock_hold(lab->now_ns, lab->wall);
    rp_loop_catch_up(lab->loop);
}

/* One turn; false: nothing happened. */
static bool turn(struct rp_lab *lab)
{
    uint64_t before = rp_loop_ran(lab->loop);
    rp_ms now = lab->now_ns / 1000000;
    if (rp_loop_first_timer(lab->loop) <= now) rp_loop_catch_up(lab->loop);
    rp_loop_turn(lab->loop, 0);
    return rp_loop_ran(lab->loop) != before;
}

/* All end; what waits for something gets it by passing time. */
static void abort_all(struct rp_lab *lab)
{
    struct rp_proxy *p = lab->proxy;
    rp_proxy_abort_all(p);
    for (int i = 0; i < CLOSE_ROUNDS && (p->live || p->streams); i++) {
        if (turn(lab) || turn(lab)) continue;
        if (rp_loop_is_awaiting(lab->loop)) rp_loop_turn(lab->loop, WAIT_MS);
        rp_ms first = rp_loop_first_timer(lab->loop);
        if (first != UINT64_MAX) move_to(lab, RP_MAX(first * 1000000, lab->now_ns));
    }
    RP_CHECK(!p->live && !p->streams);
}

static void close_site(struct rp_lab *lab)
{
    if (!lab->conf) return;
    if (lab->proxy) {
        abort_all(lab);
        rp_host_retire(lab->conf);
        rp_proxy_free(&lab->proxy); /* the conf goes with it, by drop_generation */
    } else {
        leave(lab->host);
        lab->conf->script = NULL;
        lab->conf->hooks = NULL;
        rp_conf_free(&lab->conf);
    }
    lab->conf = NULL;
    lab->starting = false;
    for (uint32_t i = 0; i < lab->files_n; i++) (void)close(lab->files[i]);
    lab->files_n = lab->serves_n = 0;
    rp_lab_world_forget(lab);
    for (int i = 0; i < 4; i++) rp_loop_turn(lab->loop, 0); /* handles close */
}

/* close() */
static int lab_close_site(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    lua_State *main = lab->host->L;
    if (lab->host->current) return luaL_error(L, "a hook cannot close the site that it runs in");
    lab->host->L = L;
    close_site(lab);
    lab->host->L = main;
    return 0;
}

/* ---- a site comes ------------------------------------------------------------------------------ */

/* entries(fn ..): what the VM of a generation has from the beginning */
static int lab_entries(lua_State *L)
{
    rp_host_take_entries(L, rp_host_of(L));
    return 0;
}

/* draft() -> struct rp_conf *, to be filled */
static int lab_draft(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    if (lab->conf) return luaL_error(L, "a site is open");
    move_to(lab, (lab->now_ns / DAY_NS + 1) * DAY_NS);
    lab->conf = rp_conf_new(++lab->generation);
    lab->host->conf = lab->conf;
    lab->host->face.conf = lab->conf;
    lua_pushlightuserdata(L, lab->conf);
    return 1;
}

static rp_err share(struct rp_lab *lab)
{
    struct rp_conf *c = lab->conf;
    int *fds = rp_alloc((c->zones_n + 1) * sizeof *fds);
    rp_err e = RP_OK;
    for (uint32_t i = 0; i < c->zones_n; i++) fds[i] = -1;
    for (uint32_t i = 0; i < c->zones_n && e == RP_OK; i++) {
        struct rp_zone *z = NULL;
        e = rp_zone_new(c->zones[i].name, c->zones[i].bytes, &z);
        if (e == RP_OK) fds[i] = dup(z->fd);
        if (e == RP_OK && fds[i] < 0) e = RP_E_OS;
        rp_zone_free(&z);
    }
    if (e == RP_OK) e = rp_host_share(c, fds);
    for (uint32_t i = 0; i < c->zones_n; i++)
        if (fds[i] >= 0) (void)close(fds[i]);
    rp_free(fds);
    return e;
}

static void open_files(struct rp_lab *lab)
{
    int fds[RP_LAB_FILES_MOST];
    uint32_t n = RP_MIN(lab->conf->files_n, (uint32_t)RP_LAB_FILES_MOST);
    for (uint32_t i = 0; i < n; i++) {
        fds[i] = memfd_create("lab", MFD_CLOEXEC);
        lab->files[lab->files_n++] = fds[i] < 0 ? -1 : dup(fds[i]);
    }
    rp_proxy_set_files(lab->proxy, fds, n);
}

static rp_err serve(struct rp_lab *lab)
{
    struct rp_conf *c = lab->conf;
    struct rp_host *h = lab->host;
    c->script = h;
    c->hooks = &h->hooks;
    rp_err e = share(lab);
    if (e != RP_OK) return e;
    lab->proxy = rp_proxy_new(lab->loop, lab->mem, c);
    if (lab->census) rp_proxy_use_census(lab->proxy, lab->census, 0);
    open_files(lab);
    uint64_t budget = c->cpu_budget_us;
    c->cpu_budget_us = lab->watched ? budget * BUDGET_TIMES : 0;
    rp_host_attach(c, lab->proxy, NULL, 0);
    c->cpu_budget_us = budget;
    rp_log_threshold = (enum rp_log_level)c->log_level;
    for (uint32_t i = 0; i < c->listeners_n && i < RP_LAB_LISTENERS_MOST; i++)
        lab->serves[lab->serves_n++] = rp_proxy_stand_in(lab->proxy, &c->listeners[i]);
    return RP_OK;
}

/* open() -> true | nil, what is wrong. The draft is frozen and served. */
static int lab_open(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    struct rp_conf_error fault = {.code = RP_OK};
    if (!lab->conf || lab->proxy) return luaL_error(L, "there is no draft");
    rp_err e = rp_conf_freeze(lab->conf, &fault);
    if (e == RP_OK) e = serve(lab);
    lua_pushboolean(L, e == RP_OK);
    lua_pushstring(L, fault.text[0] ? fault.text : rp_err_text(e));
    return 2;
}

static void on_started(void *arg, rp_err e)
{
    struct rp_lab *lab = arg;
    lab->starting = false;
    lab->start = e;
}

/* start(): the start hooks begin */
static int lab_start(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of_site(L);
    lab->starting = true;
    rp_host_start(lab->conf, START_LIMIT_MS, on_started, lab);
    return 0;
}

/* stop(): the stop hooks begin */
static int lab_stop(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of_site(L);
    lab->starting = true;
    rp_host_stop(lab->conf, START_LIMIT_MS, on_started, lab);
    return 0;
}

/* started() -> nil: they still run | true | false, why */
static int lab_started(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of_site(L);
    if (lab->starting) return 0;
    lua_pushboolean(L, lab->start == RP_OK);
    lua_pushstring(L, rp_err_text(lab->start));
    return 2;
}

/* listeners() -> texts, in the order of their numbers (from 1) */
static int lab_listeners(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of_site(L);
    lua_newtable(L);
    for (uint32_t i = 0; i < lab->serves_n; i++) {
        rp_str text = lab->serves[i]->text;
        lua_createtable(L, 0, 3);
        lua_pushlstring(L, text.ptr, text.len);
        lua_setfield(L, -2, "address");
        lua_pushboolean(L, lab->serves[i]->tls != NULL);
        lua_setfield(L, -2, "tls");
        lua_pushboolean(L, lab->serves[i]->relays);
        lua_setfield(L, -2, "stream");
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* ---- time -------------------------------------------------------------------------------------- */

/* turn() -> anything happened, something runs elsewhere. Waits a little for the latter. */
static int lab_turn(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    lua_State *main = lab->host->L;
    bool ran = false, awaiting;
    if (lab->host->current) return luaL_error(L, "a hook cannot turn the loop that it runs in");
    lab->host->L = L;
    ran = turn(lab);
    awaiting = rp_loop_is_awaiting(lab->loop);
    if (!ran && awaiting) rp_loop_turn(lab->loop, WAIT_MS);
    lab->host->L = main;
    lua_pushboolean(L, ran);
    lua_pushboolean(L, awaiting);
    return 2;
}

/* now() -> loop time, wall time */
static int lab_now(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    lua_pushnumber(L, (double)lab->now_ns / 1e9);
    lua_pushnumber(L, lab->wall);
    return 2;
}

/* next() -> seconds to the first timer; nil: there is none */
static int lab_next(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    rp_ms first = rp_loop_first_timer(lab->loop);
    if (first == UINT64_MAX) return 0;
    rp_ns at = first * 1000000;
    lua_pushnumber(L, at > lab->now_ns ? (double)(at - lab->now_ns) / 1e9 : 0);
    return 1;
}

/* pass(seconds): time passes; what is due runs. */
static int lab_pass(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e9, 1, "seconds from 0 to 1e9");
    if (lab->host->current) return luaL_error(L, "a hook cannot move the clock it runs by");
    lua_State *main = lab->host->L;
    lab->host->L = L;
    /* Rounded up to the nanosecond, so that nothing is due a moment later than was asked. */
    move_to(lab, lab->now_ns + (rp_ns)(seconds * 1e9 + 0.5));
    lab->host->L = main;
    return 0;
}

/* set_wall(seconds since the epoch) */
static int lab_set_wall(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    lab->wall = luaL_checknumber(L, 1);
    rp_clock_hold(lab->now_ns, lab->wall);
    rp_loop_catch_up(lab->loop); /* reads it anew */
    return 0;
}

static int lab_seed(lua_State *L)
{
    (void)rp_lab_of(L);
    rp_random_fix((uint64_t)luaL_checknumber(L, 1));
    return 0;
}

/* watch(on): do hooks have their CPU budget? Of the sites to come. */
static int lab_watch(lua_State *L)
{
    rp_lab_of(L)->watched = lua_toboolean(L, 1) != 0;
    return 0;
}

/* ---- what is said ------------------------------------------------------------------------------ */

int rp_lab_push(lua_State *L, struct rp_buf *b)
{
    lua_pushlstring(L, b->len ? rp_buf_str(b).ptr : "", b->len);
    rp_buf_clear(b);
    return 1;
}

/* log() -> lines of the error log since the last call */
static int lab_log(lua_State *L)
{
    return rp_lab_push(L, &rp_lab_of(L)->log);
}

/* dump() -> a line for each live request: where it is, what it waits for */
static int lab_dump(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of_site(L);
    struct rp_buf out;
    rp_buf_init(&out, RP_LAB_TEXT_MOST);
    rp_proxy_dump(lab->proxy, &out);
    rp_lab_push(L, &out);
    rp_buf_fini(&out);
    return 1;
}

/* access(file) -> what was written to a log file of the site (from 1) */
static int lab_access(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of_site(L);
    uint32_t at = (uint32_t)luaL_checkinteger(L, 1) - 1;
    char room[4096];
    luaL_Buffer b;
    off_t from = 0;
    ssize_t n;
    if (at >= lab->files_n) return 0;
    rp_access_flush(lab->proxy->access);
    luaL_buffinit(L, &b);
    while ((n = pread(lab->files[at], room, sizeof room, from)) > 0) {
        luaL_addlstring(&b, room, (size_t)n);
        from += n;
    }
    luaL_pushresult(&b);
    return 1;
}

/* live() -> how many requests are */
static int lab_live(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of_site(L);
    lua_pushnumber(L, (lua_Number)lab->proxy->stats.requests_active);
    return 1;
}

static const luaL_Reg LIBRARY[] = {
    {"entries", lab_entries},   {"draft", lab_draft},
    {"open", lab_open},         {"start", lab_start},
    {"started", lab_started},   {"stop", lab_stop},
    {"close", lab_close_site},  {"listeners", lab_listeners},
    {"turn", lab_turn},         {"now", lab_now},
    {"next", lab_next},         {"pass", lab_pass},
    {"set_wall", lab_set_wall}, {"seed", lab_seed},
    {"watch", lab_watch},       {"log", lab_log},
    {"dump", lab_dump},         {"access", lab_access},
    {"live", lab_live},         {NULL, NULL},
};

void rp_lab_open(lua_State *L, struct rp_host *h)
{
    if (!h->tool) return;
    lua_newtable(L);
    lua_pushlightuserdata(L, h);
    luaL_openlib(L, NULL, LIBRARY, 1);
    lua_pushlightuserdata(L, h);
    luaL_openlib(L, NULL, rp_lab_world_library, 1);
    lua_setfield(L, -2, "lab");
}
