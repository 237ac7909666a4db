/* SPDX-License-Identifier: MIT
 *
 * vm_json: JSON texts from and to Lua values. base/json.h reads; here values are made of tokens, and
 * tokens of values. Anything here may raise for want of memory, so nothing is held that is not the
 * VM's or the host's.
 *
 * host.json_decode(text, depth, flags, array_meta) -> value | nil, what went wrong
 * host.json_encode(value, depth, flags, array_meta) -> text | nil, what went wrong
 */
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "script/vm.h"

/* lua/rproxy/json.lua has the same. */
enum {
    FLAG_MEND = 1,       /* what is not UTF-8 becomes U+FFFD */
    FLAG_BIG_STRING = 2, /* integers that no double holds are decoded as strings */
    FLAG_LAST_WINS = 4,  /* of members of one name the last is taken; else they are refused */
    FLAG_SORT = 8,       /* members in the order of their names' bytes */
};

enum { TEXT_KEEP = 256 * 1024 }; /* a longer output's memory is given back */

/* ---- decoding ------------------------------------------------------------------------------- */

struct decode {
    lua_State *L;
    struct rp_host *host;
    unsigned flags;
    const char *why;
    int counts[RP_JSON_DEPTH_MAX + 1]; /* elements of the open arrays, by depth */
};

static bool push_text(struct decode *d, rp_str raw)
{
    bool mend = d->flags & FLAG_MEND;
    size_t n = 0, room = mend ? raw.len * 3 : raw.len;
    rp_arena_reset(&d->host->scratch);
    char *out = rp_arena_alloc(&d->host->scratch, room + 1);
    if (!out) {
        d->why = "a string that is too long";
        return false;
    }
    if (rp_json_unescape(raw, mend, out, &n) != RP_OK) {
        d->why = "a string that is not UTF-8";
        return false;
    }
    lua_pushlstring(d->L, out, n);
    return true;
}

/* The object lies below the name. */
static bool push_key(struct decode *d, rp_str raw)
{
    if (!push_text(d, raw)) return false;
    if (d->flags & FLAG_LAST_WINS) return true;
    lua_pushvalue(d->L, -1);
    lua_rawget(d->L, -3);
    bool again = !lua_isnil(d->L, -1);
    lua_pop(d->L, 1);
    if (again) d->why = "a name that the object has already";
    return !again;
}

static bool push_number(struct decode *d, rp_str text)
{
    double value;
    bool exact;
    if (rp_json_number(text, &value, &exact) != RP_OK) {
        d->why = "a number out of range";
        return false;
    }
    if (!exact && (d->flags & FLAG_BIG_STRING)) lua_pushlstring(d->L, text.ptr, text.len);
    else lua_pushnumber(d->L, value);
    return true;
}

/* The value on top goes into what is open: a name lies between it and an object. */
static void store(struct decode *d, const struct rp_json *j)
{
    if (j->depth == 0) return;
    bool object = j->is_object[j->depth / 8] >> (j->depth % 8) & 1;
    if (object) lua_rawset(d->L, -3);
    else lua_rawseti(d->L, -2, ++d->counts[j->depth]);
}

static bool take(struct decode *d, const struct rp_json *j, const struct rp_json_token *t)
{
    switch (t->kind) {
    case RP_JSON_OBJECT: lua_newtable(d->L); return true;
    case RP_JSON_ARRAY:
        lua_newtable(d->L);
        lua_pushvalue(d->L, 4);
        lua_setmetatable(d->L, -2);
        d->counts[j->depth] = 0;
        return true;
    case RP_JSON_KEY: return push_key(d, t->text);
    case RP_JSON_STRING:
        if (!push_text(d, t->text)) return false;
        break;
    case RP_JSON_NUMBER:
        if (!push_number(d, t->text)) return false;
        break;
    case RP_JSON_TRUE:
    case RP_JSON_FALSE: lua_pushboolean(d->L, t->kind == RP_JSON_TRUE); break;
    case RP_JSON_NULL: lua_pushlightuserdata(d->L, NULL); break;
    case RP_JSON_OBJECT_END:
    case RP_JSON_ARRAY_END:
    case RP_JSON_END: break;
    }
    store(d, j);
    return true;
}

static int json_decode(lua_State *L)
{
    struct rp_json j;
    struct rp_json_token t;
    struct decode d = {.L = L, .host = rp_host_of(L)};
    size_t n;
    const char *p = luaL_checklstring(L, 1, &n);
    rp_json_init(&j, rp_str_of(p, n), (uint32_t)luaL_checkinteger(L, 2));
    d.flags = (unsigned)luaL_checkinteger(L, 3);
    luaL_checktype(L, 4, LUA_TTABLE);
    luaL_checkstack(L, 2 * (int)j.depth_max + 8, "json");
    do {
        if (rp_json_next(&j, &t) != RP_OK) d.why = j.why;
        else if (t.kind == RP_JSON_END) return 1;
    } while (!d.why && take(&d, &j, &t));
    lua_settop(L, 4);
    lua_pushnil(L);
    lua_pushfstring(L, "%s at byte %d", d.why, (int)RP_MIN(j.at + 1, (size_t)1 << 30));
    return 2;
}

/* ---- encoding ------------------------------------------------------------------------------- */

struct encode {
    lua_State *L;
    struct rp_buf *out;
    unsigned flags;
    int depth_most;
    const char *why;
};

static bool put_value(struct encode *e, int depth);

static bool fail(struct encode *e, const char *why)
{
    e->why = why;
    return false;
}

static bool is_utf8(rp_str s)
{
    for (size_t i = 0, n; i < s.len; i += n) {
        n = rp_str_utf8_len(rp_str_of(s.ptr + i, s.len - i));
        if (n == 0) return false;
    }
    return true;
}

static bool put_text(struct encode *e, rp_str s)
{
    if (!(e->flags & FLAG_MEND) && !is_utf8(s)) return fail(e, "a string that is not UTF-8");
    rp_buf_add_ch(e->out, '"');
    rp_buf_add_json(e->out, s);
    rp_buf_add_ch(e->out, '"');
    return true;
}

/* The shortest of the usual forms that reads back as the same number. */
static bool put_number(struct encode *e, double value)
{
    char z[32];
    if (!isfinite(value)) return fail(e, "a number that is infinite or none");
    if (value == floor(value) && fabs(value) <= 9007199254740992.0) {
        snprintf(z, sizeof z, "%.0f", value);
    } else {
        for (int digits = 14; digits <= 17; digits++) {
            snprintf(z, sizeof z, "%.*g", digits, value);
            if (strtod(z, NULL) == value) break;
        }
    }
    rp_buf_add_z(e->out, z);
    return true;
}

/* Made by rp.array or by decoding a list? */
static bool is_marked(lua_State *L, int table)
{
    if (!lua_getmetatable(L, table)) return false;
    bool same = lua_rawequal(L, -1, 4);
    lua_pop(L, 1);
    return same;
}

static bool is_list(lua_State *L, int table)
{
    if (is_marked(L, table)) return true;
    lua_rawgeti(L, table, 1);
    bool first = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return first;
}

/* Nothing but 1..n: what else is in it would be lost. */
static bool is_whole(lua_State *L, int table, size_t n)
{
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TNUMBER) {
            lua_pop(L, 2);
            return false;
        }
        count++;
    }
    return count == n;
}

static bool put_list(struct encode *e, int table, int depth)
{
    lua_State *L = e->L;
    size_t n = lua_objlen(L, table);
    if (!is_whole(L, table, n)) return fail(e, "a list with holes or with names");
    rp_buf_add_ch(e->out, '[');
    for (size_t i = 1; i <= n; i++) {
        if (i > 1) rp_buf_add_ch(e->out, ',');
        lua_rawgeti(L, table, (int)i);
        if (!put_value(e, depth)) return false;
        lua_settop(L, table);
    }
    rp_buf_add_ch(e->out, ']');
    return true;
}

/* The value is on top. */
static bool put_member(struct encode *e, rp_str name, bool first, int depth)
{
    if (!first) rp_buf_add_ch(e->out, ',');
    if (!put_text(e, name)) return false;
    rp_buf_add_ch(e->out, ':');
    return put_value(e, depth);
}

static rp_str text_at(lua_State *L, int at)
{
    size_t n;
    const char *p = lua_tolstring(L, at, &n);
    return rp_str_of(p, n);
}

static bool put_members(struct encode *e, int table, int depth)
{
    lua_State *L = e->L;
    bool first = true;
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_settop(L, table + 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) return fail(e, "a name that is no string");
        if (!put_member(e, text_at(L, table + 1), first, depth)) return false;
        first = false;
    }
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return rp_str_cmp(*(const rp_str *)a, *(const rp_str *)b);
}

/* The names are kept by the table; the list of them is the collector's. */
static bool put_sorted(struct encode *e, int table, int depth)
{
    lua_State *L = e->L;
    size_t n = 0, i = 0;
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) n++;
    rp_str *names = lua_newuserdata(L, n ? n * sizeof *names : 1);
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) return fail(e, "a name that is no string");
        names[i++] = text_at(L, -2);
    }
    if (n) qsort(names, n, sizeof *names, compare_names);
    for (i = 0; i < n; i++) {
        lua_pushlstring(L, names[i].ptr, names[i].len);
        lua_rawget(L, table);
        if (!put_member(e, names[i], i == 0, depth)) return false;
        lua_settop(L, table + 1);
    }
    return true;
}

/* Recursion ends at depth_most, which the layer bounds. */
static bool put_table(struct encode *e, int depth)
{
    lua_State *L = e->L;
    int table = lua_gettop(L);
    if (depth == e->depth_most) return fail(e, "nested too deep, or a circle");
    luaL_checkstack(L, 8, "json");
    if (is_list(L, table)) return put_list(e, table, depth + 1);
    rp_buf_add_ch(e->out, '{');
    bool ok =
        e->flags & FLAG_SORT ? put_sorted(e, table, depth + 1) : put_members(e, table, depth + 1);
    rp_buf_add_ch(e->out, '}');
    return ok;
}

/* The value on top of the stack. */
static bool put_value(struct encode *e, int depth)
{
    lua_State *L = e->L;
    if (e->out->failed) return fail(e, "too large");
    switch (lua_type(L, -1)) {
    case LUA_TSTRING: return put_text(e, text_at(L, -1));
    case LUA_TNUMBER: return put_number(e, lua_tonumber(L, -1));
    case LUA_TBOOLEAN: rp_buf_add_z(e->out, lua_toboolean(L, -1) ? "true" : "false"); return true;
    case LUA_TTABLE: return put_table(e, depth);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, -1)) return fail(e, "a value that JSON does not have");
        rp_buf_add(e->out, RP_STR("null"));
        return true;
    default: return fail(e, "a value that JSON does not have");
    }
}

static int json_encode(lua_State *L)
{
    struct rp_host *h = rp_host_of(L);
    struct encode e = {.L = L, .out = &h->text, .depth_most = (int)luaL_checkinteger(L, 2)};
    e.flags = (unsigned)luaL_checkinteger(L, 3);
    luaL_checktype(L, 4, LUA_TTABLE);
    lua_settop(L, 4);
    rp_buf_clear(&h->text);
    lua_pushvalue(L, 1);
    bool ok = put_value(&e, 0);
    lua_settop(L, 4);
    if (ok && h->text.failed) ok = fail(&e, "too large");
    if (ok) {
        lua_pushlstring(L, h->text.ptr, h->text.len);
    } else {
        lua_pushnil(L);
        lua_pushstring(L, e.why);
    }
    if (h->text.room > TEXT_KEEP) {
        size_t cap = h->text.cap;
        rp_buf_fini(&h->text);
        rp_buf_init(&h->text, cap);
    }
    return ok ? 1 : 2;
}

static const luaL_Reg LIBRARY[] = {
    {"json_decode", json_decode},
    {"json_encode", json_encode},
    {NULL, NULL},
};

void rp_vm_json_open(lua_State *L)
{
    luaL_openlib(L, NULL, LIBRARY, 1);
}
