/* SPDX-License-Identifier: MIT
 *
 * upgrade: another program takes the place of this one, in the same process, and nobody is dropped.
 *
 *   REHEARSING  the new program runs as a child, the successor: it is told what there is
 *               (handover.h), evaluates the site and starts workers, which serve nobody yet
 *   RESTING     they are ready; our agent is told to end
 *   STAFFING    the successor starts its agent, and sends its state: a text and descriptors
 *   then this process executes the new program, which reads that state and ours, lets the new
 *   workers listen, and the old ones drain; the successor ends, and its workers become children
 *   of this process. Old and new workers have the same sockets: that the upgrade is done is told
 *   when the old ones accept nobody any more (rp_upgrade_settle)
 *   ENDING      or it failed: its end is waited for, and all is as it was
 *
 * Until the execution nothing of ours changed but for the agent. What the successor says on its
 * channel is HELLO, STAFFED, CARRY.., STATE, in this order; what it hears is RELIEVE and the end.
 */
#ifndef RP_PROCESS_UPGRADE_H
#define RP_PROCESS_UPGRADE_H

#include "base/buf.h"
#include "base/clock.h"
#include "process/handover.h"

#define RP_UPGRADE_VARIABLE "RPROXY_HANDOVER" /* of the environment: the text's descriptor */

/* First number of the first record; what the text is for. */
enum rp_handover_kind { RP_HANDOVER_REHEARSE = 1, RP_HANDOVER_TAKE_OVER, RP_HANDOVER_STATE };

enum rp_upgrade_step {
    RP_UPGRADE_IDLE,
    RP_UPGRADE_ASKED, /* a reload is under way */
    RP_UPGRADE_REHEARSING,
    RP_UPGRADE_RESTING,
    RP_UPGRADE_STAFFING,
    RP_UPGRADE_ENDING,
};

enum { RP_UPGRADE_PATH_BYTES = 4096, RP_UPGRADE_VERSION_BYTES = 64 };

struct rp_upgrade {
    enum rp_upgrade_step step;
    int pid;     /* of the successor, a child to be reaped; 0: none */
    int channel; /* -1 */
    int words;   /* memory file: what it wrote to stderr before it had an error log; -1 */
    int program; /* what is executed, so that both times it is the same; -1 */
    int *given;  /* descriptors of its state, own */
    uint32_t given_n, given_room;
    int heir;    /* the successor of an upgrade that succeeded, to be reaped; 0: none */
    bool rested; /* our agent was told to end for it */
    rp_ms deadline_ms, started_ms;
    char binary[RP_UPGRADE_PATH_BYTES];
    char why[512]; /* it failed; empty: not yet */
    /* one that succeeded and has not been told of */
    rp_ms settle_ms; /* when it is told at the latest; 0: there is none */
    char from[RP_UPGRADE_VERSION_BYTES];
    struct rp_buf outcome;
};

struct rp_master;

/* binary: an absolute path; empty: the program as it was started. The outcome is told to the log
 * and to clients of the control socket. False: one is under way already. */
bool rp_upgrade_ask(struct rp_master *m, rp_str binary);
/* From its begin until it has failed: then nothing else may change. */
bool rp_upgrade_is_on(const struct rp_master *m);
/* It has succeeded. Everybody hears of it as soon as no worker of the version before accepts
 * clients: whoever asks after that is answered by this one. The outcome is copied. */
void rp_upgrade_settle(struct rp_master *m, const char *from, rp_ms began_ms, rp_str outcome);
void rp_upgrade_read(struct rp_master *m); /* the channel is readable */
/* A child ended; false: it is another's. */
bool rp_upgrade_reap(struct rp_master *m, int pid, int status);
void rp_upgrade_tick(struct rp_master *m);
rp_ms rp_upgrade_next(const struct rp_master *m);
void rp_upgrade_cancel(struct rp_master *m, const char *why);
void rp_upgrade_init(struct rp_upgrade *u);
void rp_upgrade_fini(struct rp_upgrade *u);
/* The path of the running program as it was started; called once, first. False: unknown. */
bool rp_upgrade_find_self(const char *argv0, char out[RP_UPGRADE_PATH_BYTES]);

#endif
