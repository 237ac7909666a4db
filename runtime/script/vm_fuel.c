/* SPDX-License-Identifier: MIT
 *
 * vm_fuel: exact bounds for the code of untrusted plugins: instructions and bytes of one call.
 *
 * lua/rproxy/confine.lua calls begin when it enters such code, pause and resume around each call of
 * that code into the layer, and end. Between begin or resume and pause or end the meter is ARMED: a
 * count hook (which is the VM's, not a coroutine's) takes instructions off in steps, and methods of
 * strings are those of the sandbox. It is never armed across a yield: only the layer waits.
 *
 * Kids of a task (rp.spawn) share its meter: spawning makes no budget.
 *
 * Steps are taken off before they are run, so the bound is never passed; what is left of a step when
 * the code calls the layer is lost to it. The JIT is off for such code: no instruction escapes.
 * Bytes are counted as they are allocated, also in the layer, where OVERDRAFT_BYTES more may be had,
 * so that it is the plugin's code that fails and not what it has in common with others.
 */
#include "script/vm.h"

enum {
    STEP = 32,
    OVERDRAFT_BYTES = 1 << 20,
};

struct rp_fuel {
    uint32_t refs;      /* the task that began it, and its kids */
    uint64_t left;      /* instructions */
    int64_t bytes_left; /* < 0: in overdraft */
    int strings_ref;    /* methods of strings while it is armed; borrowed */
    bool armed;
    bool spent;        /* no instruction is left */
    bool memory_spent; /* an allocation was refused, or made in overdraft */
};

/* ---- bytes ---------------------------------------------------------------------------------- */

bool rp_fuel_take(struct rp_fuel *m, size_t n)
{
    int64_t most = m->armed ? 0 : -OVERDRAFT_BYTES;
    if (n > INT64_MAX / 2 || m->bytes_left - (int64_t)n < most) {
        m->memory_spent = true;
        return false;
    }
    m->bytes_left -= (int64_t)n;
    m->memory_spent |= m->bytes_left < 0;
    return true;
}

/* ---- instructions --------------------------------------------------------------------------- */

static struct rp_host *host_of(lua_State *L)
{
    void *h;
    (void)lua_getallocf(L, &h);
    return h;
}

static void on_step(lua_State *L, lua_Debug *ar);
static void disarm(struct rp_host *h, lua_State *L);

/* Allow the next step; false: there is none. */
static bool allow(lua_State *L, struct rp_fuel *m)
{
    uint64_t n = RP_MIN(m->left, (uint64_t)STEP);
    if (n == 0) m->spent = true;
    m->left -= n;
    lua_sethook(L, on_step, LUA_MASKCOUNT, n ? (int)n : 1);
    return n > 0;
}

static void on_step(lua_State *L, lua_Debug *ar)
{
    struct rp_host *h = host_of(L);
    (void)ar;
    if (!h->fuel || !h->fuel->armed || allow(L, h->fuel)) return;
    disarm(h, L);
    luaL_error(L, "it used up its instructions");
}

/* ---- on and off ----------------------------------------------------------------------------- */

/* Methods of strings come from this table: a rawset of a field that exists, which allocates nothing. */
static void set_strings(struct rp_host *h, lua_State *L, int ref)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->strings_meta_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->strings_key_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static void disarm(struct rp_host *h, lua_State *L)
{
    struct rp_fuel *m = h->fuel;
    if (!m || !m->armed) return;
    m->armed = false;
    set_strings(h, L, h->strings_ref);
    if (!rp_watchdog_fired(h)) lua_sethook(L, NULL, 0, 0);
    if (rp_watchdog_fired(h)) rp_watchdog_insist(h, L); /* its tick came between */
}

static void arm(struct rp_host *h, lua_State *L)
{
    struct rp_fuel *m = h->fuel;
    m->spent |= m->left == 0;
    if (m->spent || m->memory_spent) {
        disarm(h, L);
        luaL_error(L, "it used up its %s", m->memory_spent ? "memory" : "instructions");
    }
    if (!m->armed) set_strings(h, L, m->strings_ref);
    m->armed = true;
    (void)allow(L, m); /* there is some */
    if (rp_watchdog_fired(h)) rp_watchdog_insist(h, L);
}

void rp_fuel_leave(struct rp_host *h, struct rp_task *t)
{
    if (h->fuel && h->fuel->armed) disarm(h, h->L);
    t->fuel = h->fuel;
    h->fuel = NULL;
}

struct rp_fuel *rp_fuel_hold(struct rp_fuel *m)
{
    if (m) m->refs++;
    return m;
}

void rp_fuel_drop(struct rp_fuel **m)
{
    if (*m && --(*m)->refs == 0) rp_free(*m);
    *m = NULL;
}

/* ---- functions for confine.lua -------------------------------------------------------------- */

/* Once in a VM: what set_strings needs. */
static void learn_strings(struct rp_host *h, lua_State *L)
{
    if (h->strings_meta_ref) return;
    lua_pushliteral(L, "__index");
    h->strings_key_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushliteral(L, "");
    if (!lua_getmetatable(L, -1)) luaL_error(L, "strings have no methods");
    lua_getfield(L, -1, "__index");
    h->strings_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    h->strings_meta_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
}

/* fuel_strings(table) -> number for begin: methods of strings in a sandbox. */
static int lua_fuel_strings(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    learn_strings(rp_host_of(L), L);
    lua_settop(L, 1);
    lua_pushnumber(L, luaL_ref(L, LUA_REGISTRYINDEX));
    return 1;
}

/* fuel_begin(instructions, bytes, strings): where the task has none; else what it has is armed again. */
static int lua_fuel_begin(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    double instructions = luaL_checknumber(L, 1), bytes = luaL_checknumber(L, 2);
    if (!h->fuel) {
        struct rp_fuel *m = rp_alloc(sizeof *m);
        m->refs = 1;
        m->left = (uint64_t)instructions;
        m->bytes_left = (int64_t)bytes;
        m->strings_ref = (int)luaL_checknumber(L, 3);
        h->fuel = m;
        h->face.attention = 1;
    }
    arm(h, L);
    return 0;
}

static int lua_fuel_pause(lua_State *L)
{
    disarm(rp_host_of(L), L);
    return 0;
}

/* fuel_resume(): raises when nothing is left. */
static int lua_fuel_resume(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    if (!h->fuel) return luaL_error(L, "no meter runs");
    arm(h, L);
    return 0;
}

/* fuel_charge(n): so many instructions are taken off for work that C does in one. */
static int lua_fuel_charge(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    double n = luaL_checknumber(L, 1);
    struct rp_fuel *m = h->fuel;
    if (!m || !m->armed) return 0;
    if (n >= 0 && n < (double)m->left) {
        m->left -= (uint64_t)n;
        return 0;
    }
    m->left = 0;
    m->spent = true;
    disarm(h, L);
    return luaL_error(L, "it used up its instructions");
}

/* fuel_runs() -> does the running task have any? */
static int lua_fuel_runs(lua_State *L)
{
    lua_pushboolean(L, rp_host_of(L)->fuel != NULL);
    return 1;
}

static void push_spent(lua_State *L, const struct rp_fuel *m)
{
    if (m && m->memory_spent) lua_pushliteral(L, "memory");
    else if (m && m->spent) lua_pushliteral(L, "instructions");
    else lua_pushnil(L);
}

/* fuel_spent() -> "memory", "instructions", nil */
static int lua_fuel_spent(lua_State *L)
{
    push_spent(L, rp_host_of(L)->fuel);
    return 1;
}

/* fuel_end() -> what fuel_spent says, instructions that are left, bytes that are left */
static int lua_fuel_end(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    struct rp_fuel *m = h->fuel;
    if (!m) return 0;
    disarm(h, L);
    push_spent(L, m);
    lua_pushnumber(L, (double)m->left);
    lua_pushnumber(L, (double)m->bytes_left);
    rp_fuel_drop(&h->fuel);
    return 3;
}

static const luaL_Reg LIBRARY[] = {
    {"fuel_strings", lua_fuel_strings},
    {"fuel_begin", lua_fuel_begin},
    {"fuel_pause", lua_fuel_pause},
    {"fuel_resume", lua_fuel_resume},
    {"fuel_charge", lua_fuel_charge},
    {"fuel_runs", lua_fuel_runs},
    {"fuel_spent", lua_fuel_spent},
    {"fuel_end", lua_fuel_end},
    {NULL, NULL},
};

void rp_fuel_open(lua_State *L)
{
    luaL_openlib(L, NULL, LIBRARY, 1);
}
