/* SPDX-License-Identifier: MIT
 *
 * successor: the new program's side of an upgrade (upgrade.h). It runs twice: as a child of the old
 * master that rehearses, and then in the old master's place, where it takes over.
 */
#ifndef RP_PROCESS_SUCCESSOR_H
#define RP_PROCESS_SUCCESSOR_H

#include "process/logs.h"
#include "process/parts.h"
#include "process/sockets.h"
#include "process/upgrade.h"
#include "process/zones.h"

struct rp_master;
struct rp_message;
struct rp_slot;

/* What the other version said there is. Descriptors are own; -1: none. */
struct rp_succession {
    uint64_t kind; /* enum rp_handover_kind */
    int pid;       /* of the master */
    char version[RP_UPGRADE_VERSION_BYTES], binary[RP_UPGRADE_PATH_BYTES];
    char site[512], pid_path[512], extra[512];
    struct rp_buf overrides, user;
    int program, channel, terminal, pid_file, pid_file_2, state;
    int *given;
    uint32_t given_n;
    uint32_t generation, workers;
    uint64_t rotated_ms, started_ms, began_ms;
    int successor; /* takes over: its pid */
    bool again, renew_again, reopen;
    struct rp_sockets sockets;
    struct rp_zones zones;
    struct rp_parts parts;
    struct rp_slot *slots; /* RP_PLAN_SLOTS; an empty one has no pid */
    struct rp_control *control;
    struct rp_buf lost; /* lines: what this version cannot go on with */
    bool staffed;       /* said already */
};

/* Was this program started to be a successor? */
bool rp_successor_is_wanted(void);
/* Then this is all that it does. Returns the exit status. */
int rp_successor_run(char **argv);
/* ---- for master.c: the rehearsal's events ---- */
/* The slots of the other master's workers are taken, and its agent still is the one; ours serve
 * nobody. */
void rp_successor_reserve(struct rp_master *m);
void rp_successor_on_ready(struct rp_master *m);
void rp_successor_read(struct rp_master *m);
/* ---- for boot.c: all that there is, adopted; RP_E_INVALID or RP_E_OS with words in error ---- */
RP_MUST rp_err rp_successor_take_over(struct rp_master *m, struct rp_buf *error);
/* The old workers drain, the new ones serve. */
void rp_successor_begin(struct rp_master *m);
/* All that was not taken is let go of; texts stay. */
void rp_succession_done(struct rp_succession *s);

#endif
