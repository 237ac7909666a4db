/* SPDX-License-Identifier: MIT
 *
 * lab_world: what is around a site in the lab: places that connections lead to, names, and the far ends
 * of socket pairs, which Lua reads and writes by number. lua/rproxy/lab/world.lua plays it.
 */
#include "script/lab_in.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ENDS_MOST = 4096,     /* that nobody took yet */
    PLACES_MOST = 4096,   /* destinations, names */
    NAME_ADDRS_MOST = 16, /* of one name */
    READ_BYTES = 64 * 1024,
};

/* What connecting to an address does. */
enum manner { ACCEPTS, REFUSES, HANGS, RESETS, MANNERS };
static const char *const MANNER[] = {"accept", "refuse", "hang", "reset"};

struct rp_lab_place {
    struct rp_addr addr;
    enum manner manner;
};

struct rp_lab_name {
    char *text; /* own; lower case */
    struct rp_addr addrs[NAME_ADDRS_MOST];
    size_t n;
    rp_err status;
};

struct rp_lab_arrival {
    int fd;
    bool datagrams;
    struct rp_addr to;
};

/* ---- the world --------------------------------------------------------------------------------- */

static void note_stray(struct rp_lab *lab, const char *what, rp_str who)
{
    rp_buf_addf(&lab->strays, "%s %.*s\n", what, RP_STR_ARG(who));
}

static const struct rp_lab_place *find_place(const struct rp_lab *lab, const struct rp_addr *a)
{
    for (uint32_t i = 0; i < lab->places_n; i++)
        if (rp_addr_eq(&lab->places[i].addr, a)) return &lab->places[i];
    return NULL;
}

/* Nothing can be written any more, so the connection seems to be under way. */
static void fill(int fd)
{
    static const char zeros[4096];
    while (send(fd, zeros, sizeof zeros, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {}
}

static void add_arrival(struct rp_lab *lab, int fd, const struct rp_addr *to, bool datagrams)
{
    lab->arrivals = rp_realloc(lab->arrivals, (lab->arrivals_n + 1) * sizeof *lab->arrivals);
    lab->arrivals[lab->arrivals_n++] = (struct rp_lab_arrival){fd, datagrams, *to};
}

static int on_connect(void *arg, const struct rp_addr *to, bool datagrams)
{
    struct rp_lab *lab = arg;
    const struct rp_lab_place *p = find_place(lab, to);
    char text[RP_ADDR_TEXT_BYTES];
    int ends[2], type = datagrams ? SOCK_DGRAM : SOCK_STREAM;
    if (!p) note_stray(lab, "connect", rp_str_of(text, rp_addr_put(to, text)));
    if (!p || p->manner == REFUSES || lab->arrivals_n == ENDS_MOST) return -ECONNREFUSED;
    if (p->manner == RESETS) return -ECONNRESET;
    if (socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) return -errno;
    if (p->manner == HANGS) fill(ends[0]);
    add_arrival(lab, ends[1], to, datagrams);
    return ends[0];
}

static struct rp_lab_name *find_name(const struct rp_lab *lab, rp_str name)
{
    for (uint32_t i = 0; i < lab->names_n; i++)
        if (rp_str_ieq(rp_str_z(lab->names[i].text), name)) return &lab->names[i];
    return NULL;
}

static rp_err on_resolve(void *arg, rp_str name, struct rp_addr *out, size_t room, size_t *n)
{
    struct rp_lab *lab = arg;
    const struct rp_lab_name *found = find_name(lab, name);
    *n = 0;
    if (!found) note_stray(lab, "look-up", name);
    if (!found) return RP_E_NOT_FOUND;
    if (found->status != RP_OK) return found->status;
    *n = RP_MIN(room, found->n);
    memcpy(out, found->addrs, *n * sizeof *out);
    return RP_OK;
}

void rp_lab_world_open(struct rp_lab *lab)
{
    lab->net = (struct rp_lab_net){.arg = lab, .connect = on_connect, .resolve = on_resolve};
    rp_loop_cut_off(lab->loop, &lab->net);
}

void rp_lab_world_forget(struct rp_lab *lab)
{
    for (uint32_t i = 0; i < lab->arrivals_n; i++) (void)close(lab->arrivals[i].fd);
    for (uint32_t i = 0; i < lab->names_n; i++) rp_free(lab->names[i].text);
    rp_free(lab->arrivals);
    rp_free(lab->names);
    rp_free(lab->places);
    lab->arrivals = NULL;
    lab->names = NULL;
    lab->places = NULL;
    lab->arrivals_n = lab->names_n = lab->places_n = 0;
}

/* ---- ends of connections ----------------------------------------------------------------------- */

/* connect(listener, secure, ip, port) -> fd */
static int lab_connect(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of_site(L);
    uint32_t at = (uint32_t)luaL_checkinteger(L, 1) - 1;
    size_t n;
    const char *ip = luaL_checklstring(L, 3, &n);
    struct rp_addr from, to;
    struct rp_conn *c;
    int ends[2];
    luaL_argcheck(L, at < lab->serves_n, 1, "no such listener");
    luaL_argcheck(L, rp_addr_parse_ip(rp_str_of(ip, n), &from) == RP_OK, 3, "no IP address");
    from.port = (uint16_t)luaL_checkinteger(L, 4);
    to = lab->conf->listeners[at].addr;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return luaL_error(L, "no socket: %s", strerror(errno));
    if (rp_conn_adopt(lab->loop, ends[0], &from, &to, &c) != RP_OK) {
        (void)close(ends[1]);
        return luaL_error(L, "a socket cannot be watched");
    }
    lab->serves[at]->as_secure = lua_toboolean(L, 2) != 0;
    rp_server_speak(lab->serves[at], c);
    lua_pushinteger(L, ends[1]);
    return 1;
}

/* recv(fd, keep) -> bytes | nil: nothing yet | false, "closed" or "reset". keep: the last byte stays in
 * the socket and is left out next time, so that closing it is a reset. */
static int lab_recv(lua_State *L)
{
    static char room[READ_BYTES];
    int fd = (int)luaL_checkinteger(L, 1);
    bool keep = lua_toboolean(L, 2) != 0;
    ssize_t n = recv(fd, room, sizeof room, MSG_DONTWAIT | (keep ? MSG_PEEK : 0));
    if (n > 0) {
        lua_pushlstring(L, room, (size_t)n);
        return 1;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    lua_pushboolean(L, 0);
    lua_pushstring(L, n == 0 ? "closed" : "reset");
    return 2;
}

/* send(fd, bytes) -> how many were taken; nil: the other side is gone */
static int lab_send(lua_State *L)
{
    size_t n;
    int fd = (int)luaL_checkinteger(L, 1);
    const char *bytes = luaL_checklstring(L, 2, &n);
    ssize_t sent = n ? send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) sent = 0;
    if (sent < 0) return 0;
    lua_pushnumber(L, (lua_Number)sent);
    return 1;
}

static int lab_finish(lua_State *L)
{
    (void)shutdown((int)luaL_checkinteger(L, 1), SHUT_WR); /* gone already: as good */
    return 0;
}

/* drop(fd): a reset when bytes are left unread in it */
static int lab_drop(lua_State *L)
{
    (void)close((int)luaL_checkinteger(L, 1)); /* nothing is lost that is not to be lost */
    return 0;
}

/* ---- what is out there ------------------------------------------------------------------------- */

static void check_addr(lua_State *L, int arg, struct rp_addr *out)
{
    size_t n;
    const char *text = luaL_checklstring(L, arg, &n);
    if (rp_addr_parse(rp_str_of(text, n), out) != RP_OK)
        luaL_error(L, "\"%s\" is no address with a port", text);
}

/* place(address, manner): what connecting to it does */
static int lab_place(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    struct rp_lab_place p = {.manner = (enum manner)luaL_checkoption(L, 2, "accept", MANNER)};
    check_addr(L, 1, &p.addr);
    struct rp_lab_place *old = (struct rp_lab_place *)(uintptr_t)find_place(lab, &p.addr);
    if (!old) {
        if (lab->places_n == PLACES_MOST) return luaL_error(L, "too many places");
        lab->places = rp_realloc(lab->places, (lab->places_n + 1) * sizeof *lab->places);
        old = &lab->places[lab->places_n++];
    }
    *old = p;
    return 0;
}

static int fail_name(lua_State *L, struct rp_lab_name *one, const char *how)
{
    if (strcmp(how, "absent") == 0) one->status = RP_E_NOT_FOUND;
    else if (strcmp(how, "timeout") == 0) one->status = RP_E_TIMEOUT;
    else if (strcmp(how, "fail") == 0) one->status = RP_E_UP_RESOLVE;
    else return luaL_error(L, "a name has addresses, or is \"absent\", \"timeout\" or \"fail\"");
    return 0;
}

/* name(name, { ip, .. } or "absent", "timeout", "fail") */
static int lab_name(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    struct rp_lab_name *one = find_name(lab, rp_str_of(text, n));
    if (!one) {
        if (lab->names_n == PLACES_MOST) return luaL_error(L, "too many names");
        lab->names = rp_realloc(lab->names, (lab->names_n + 1) * sizeof *lab->names);
        one = &lab->names[lab->names_n++];
        one->text = rp_strdup_n(text, n);
    }
    one->status = RP_OK;
    one->n = 0;
    if (lua_type(L, 2) == LUA_TSTRING) return fail_name(L, one, lua_tostring(L, 2));
    luaL_checktype(L, 2, LUA_TTABLE);
    for (int i = 1; i <= (int)lua_objlen(L, 2) && one->n < NAME_ADDRS_MOST; i++) {
        lua_rawgeti(L, 2, i);
        size_t ip_n;
        const char *ip = luaL_checklstring(L, -1, &ip_n);
        if (rp_addr_parse_ip(rp_str_of(ip, ip_n), &one->addrs[one->n]) != RP_OK)
            return luaL_error(L, "%s: \"%s\" is no IP address", text, ip);
        one->n++;
        lua_pop(L, 1);
    }
    return 0;
}

/* arrivals() -> { { fd =, to =, datagrams = } .. }: connections that were made since */
static int lab_arrivals(lua_State *L)
{
    struct rp_lab *lab = rp_lab_of(L);
    char text[RP_ADDR_TEXT_BYTES];
    if (lab->arrivals_n == 0) return 0;
    lua_createtable(L, (int)lab->arrivals_n, 0);
    for (uint32_t i = 0; i < lab->arrivals_n; i++) {
        const struct rp_lab_arrival *a = &lab->arrivals[i];
        lua_createtable(L, 0, 3);
        lua_pushinteger(L, a->fd);
        lua_setfield(L, -2, "fd");
        lua_pushlstring(L, text, rp_addr_put(&a->to, text));
        lua_setfield(L, -2, "to");
        lua_pushboolean(L, a->datagrams);
        lua_setfield(L, -2, "datagrams");
        lua_rawseti(L, -2, (int)i + 1);
    }
    lab->arrivals_n = 0;
    return 1;
}

/* strays() -> a line for each place that nothing is at; they are forgotten */
static int lab_strays(lua_State *L)
{
    return rp_lab_push(L, &rp_lab_of(L)->strays);
}

const luaL_Reg rp_lab_world_library[] = {
    {"connect", lab_connect}, {"recv", lab_recv},   {"send", lab_send}, {"finish", lab_finish},
    {"drop", lab_drop},       {"place", lab_place}, {"name", lab_name}, {"arrivals", lab_arrivals},
    {"strays", lab_strays},   {NULL, NULL},
};
