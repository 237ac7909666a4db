/* SPDX-License-Identifier: MIT
 *
 * lab_in: the inside of a lab, for the .c files of script/ only: lab.c (sites and time) and
 * lab_world.c (what is around them).
 */
#ifndef RP_SCRIPT_LAB_IN_H
#define RP_SCRIPT_LAB_IN_H

#include "net/lab.h"
#include "proxy/server.h"
#include "script/vm.h"
#include "shm/census.h"

enum {
    RP_LAB_TEXT_MOST = 1 << 20, /* bytes of error log, and of lists, that wait to be read */
    RP_LAB_FILES_MOST = 64,     /* log files of a site */
    RP_LAB_LISTENERS_MOST = 64, /* ... and listeners */
};

struct rp_lab_place;
struct rp_lab_name;
struct rp_lab_arrival;

struct rp_lab {
    struct rp_host *host;
    struct rp_conf *own_conf; /* of the tool; the host's while no site is open */
    struct rp_conf *conf;     /* the open site's, or the draft of one */
    struct rp_mem *mem;
    struct rp_loop *loop;
    struct rp_lab_net net;
    struct rp_proxy *proxy; /* NULL: no site is open */
    struct rp_serve *serves[RP_LAB_LISTENERS_MOST];
    uint32_t serves_n;
    int files[RP_LAB_FILES_MOST];
    uint32_t files_n;
    struct rp_zone *census_zone;
    struct rp_census *census;
    struct rp_lab_place *places;
    struct rp_lab_name *names;
    uint32_t places_n, names_n;
    struct rp_lab_arrival *arrivals;
    uint32_t arrivals_n;
    struct rp_buf strays; /* where somebody wanted to go and nothing is; a line each */
    struct rp_buf log;
    rp_ns now_ns;
    double wall;
    uint32_t generation;
    bool starting;
    bool watched; /* hooks have their CPU budget */
    rp_err start;
};

/* The lab of the calling tool, made when needed; with a site that is open, or it raises. */
struct rp_lab *rp_lab_of(lua_State *L);
struct rp_lab *rp_lab_of_site(lua_State *L);
/* Push what is in b, which is empty then. 1. */
int rp_lab_push(lua_State *L, struct rp_buf *b);

/* ---- lab_world.c ---------------------------------------------------------------------------- */

extern const luaL_Reg rp_lab_world_library[];
/* Connections and names lead into the lab. */
void rp_lab_world_open(struct rp_lab *lab);
/* Nothing is there any more. */
void rp_lab_world_forget(struct rp_lab *lab);

#endif
