/* SPDX-License-Identifier: MIT
 *
 * master_in: the inside of the master, for the .c files of process/ only.
 */
#ifndef RP_PROCESS_MASTER_IN_H
#define RP_PROCESS_MASTER_IN_H

#include "process/channel.h"
#include "process/checker.h"
#include "process/control.h"
#include "process/errlog.h"
#include "process/found.h"
#include "process/inherit.h"
#include "process/logs.h"
#include "process/master.h"
#include "process/parts.h"
#include "process/pidfile.h"
#include "process/sockets.h"
#include "process/successor.h"
#include "process/upgrade.h"
#include "process/watch.h"
#include "process/zones.h"

/* ---- crew: the workers ---------------------------------------------------------------------- */

enum rp_slot_state {
    RP_SLOT_EMPTY,
    RP_SLOT_STARTING, /* forked, not READY yet */
    RP_SLOT_SERVING,
    RP_SLOT_LEAVING, /* told to drain or stop: its end is no accident */
    RP_SLOT_WAITING, /* died; to be replaced at respawn_ms */
    RP_SLOT_FOREIGN, /* of the other master in an upgrade */
};

enum rp_slot_part { /* in the reload under way */
                    RP_PART_NONE,
                    RP_PART_ASKED,
                    RP_PART_READY,
                    RP_PART_COMMITTED,
};

/* A slot is a process and its page of what is shared; the worker in it has a number. After an upgrade
 * the workers of the version before are there beside those that have their numbers now. */
struct rp_slot {
    enum rp_slot_state state;
    uint32_t number; /* of the worker, from 0 up: its socket of each listener */
    bool wanted;     /* it should serve: it is replaced when it dies */
    bool former;     /* of the version before: it drains; of what it says only DEAF is heard */
    bool deaf;       /* ... and it accepts nobody any more */
    enum rp_slot_part part;
    int pid;
    int channel; /* -1: closed */
    uint32_t generation;
    uint32_t early_deaths; /* in a row, each soon after its start */
    uint32_t respawns;
    rp_ms started_ms, respawn_ms, kill_ms; /* kill_ms: 0, or when patience ends */
    bool failed_told; /* its end was announced by FAILED: one failure, one line */
};

enum { RP_CREW_AGENT = RP_PLAN_SLOTS - 1 }; /* its slot: a worker without listeners */

struct rp_crew {
    struct rp_slot *slots; /* RP_PLAN_SLOTS */
    uint32_t n;            /* workers that should serve: numbers below this */
    bool agent;            /* ... and so should the last */
    bool changed;          /* who may get new clients is to be thought over */
    bool quiet;            /* whoever is started serves nobody before he is told to: an upgrade */
    struct rp_message message;
};

/* ---- reload --------------------------------------------------------------------------------- */

enum rp_reload_step {
    RP_RELOAD_IDLE,
    RP_RELOAD_CHECKING,
    RP_RELOAD_GATHERING, /* waits for workers that are just starting */
    RP_RELOAD_PREPARING,
    RP_RELOAD_COMMITTING,
};

struct rp_reload {
    enum rp_reload_step step;
    uint32_t attempt; /* counts all of them */
    bool again;       /* asked for during this one */
    bool renews;      /* only certificates are read anew */
    bool renew_again; /* such a one was asked for during this one */
    bool reopen;      /* log files are to be reopened when it is over */
    struct rp_check check;
    struct rp_checked *site;
    struct rp_sockets sockets;
    struct rp_logs logs;
    struct rp_zones zones;
    rp_ms deadline_ms;
    rp_ms started_ms;
    bool restores;             /* it goes back to `before` */
    struct rp_checked *before; /* what served before the last reload; NULL: none, or long ago */
    rp_ms before_ms;           /* since when it does not serve */
    uint32_t restored; /* the generation that was given up, whose sources are still on disk; 0 */
};

enum {
    RP_MASTER_STOP_MS = 5000,         /* workers end within 3 s of a stop; then they are killed */
    RP_MASTER_DRAIN_EXTRA_MS = 15000, /* beyond the drain time: settling, aborting, stop hooks */
};

/* ---- master --------------------------------------------------------------------------------- */

enum rp_master_state {
    RP_MASTER_STARTING,
    RP_MASTER_SERVING,
    RP_MASTER_DRAINING,
    RP_MASTER_STOPPING,
};

struct rp_master {
    struct rp_run *run;
    enum rp_master_state state;
    int exit_status;
    bool over;
    struct rp_pidfile pidfile;
    struct rp_pidfile extra; /* of the option `pid` */
    struct rp_errlog errlog;
    struct rp_os_account account;
    bool has_account; /* we are root: children become this one */

    /* the generation that serves */
    struct rp_checked *site;
    uint32_t generation;
    struct rp_sockets sockets;
    struct rp_logs logs;
    struct rp_zones zones; /* of `shared` */

    struct rp_parts parts; /* the memory of what follows */
    struct rp_crumbs *crumbs;
    struct rp_counters *counters;
    struct rp_stats stats; /* where the counters of our table are */
    struct rp_metrics *metrics;
    struct rp_census *census;
    struct rp_roster *roster;
    struct rp_members *members, *orders; /* peers of providers, and of the operator */
    struct rp_splits *splits;
    struct rp_keyring *keyring; /* of session tickets */
    struct rp_once *once;       /* those that brought early data */
    rp_ms rotated_ms;           /* when its keys last changed */
    struct rp_dict *learned;    /* sessions of applications and their peers */
    struct rp_dict *staples;    /* OCSP answers of all workers */
    struct rp_crew crew;
    struct rp_reload reload;
    struct rp_found found; /* routes of providers */
    struct rp_watch watch; /* of the files of certificates */
    struct rp_upgrade upgrade;
    struct rp_succession *succession; /* while we rehearse, or take over; else NULL */
    struct rp_control *control;
    int signals; /* signalfd */
    rp_ms started_ms;
    rp_ms turn_ms;        /* begin of this turn of the loop */
    rp_ms alive_since_ms; /* heartbeats before this do not count: we were suspended ourselves */
    rp_ms limit_ms;       /* of draining or stopping: then the rest is killed; 0: none */
};

/* crew.c */
void rp_crew_start(struct rp_master *m, uint32_t worker);
void rp_crew_read(struct rp_master *m, uint32_t worker);
/* A child ended; false when it is no worker. */
bool rp_crew_reap(struct rp_master *m, int pid, int status);
/* What time brings: respawns, stalls, ends of patience. */
void rp_crew_tick(struct rp_master *m);
/* Earliest time at which rp_crew_tick has something to do. */
rp_ms rp_crew_next(const struct rp_master *m);
/* Send; a worker that does not take it is killed. */
void rp_crew_say(struct rp_master *m, uint32_t worker, const struct rp_message_head *head,
                 const int *fds, size_t fds_n);
/* Send descriptors in as many GIVEs as it takes; -1 entries are skipped. */
void rp_crew_give(struct rp_master *m, uint32_t worker, uint32_t attempt, enum rp_give what,
                  const int *fds, uint32_t n);
/* Tell one, or all, to end: RP_SAY_DRAIN or RP_SAY_STOP; killed after patience_ms. */
void rp_crew_end(struct rp_master *m, uint32_t worker, uint32_t order, rp_ms patience_ms);
void rp_crew_end_all(struct rp_master *m, uint32_t order, rp_ms patience_ms);
void rp_crew_kill_all(struct rp_master *m);
uint32_t rp_crew_alive(const struct rp_master *m);
uint32_t rp_crew_count(const struct rp_master *m, enum rp_slot_state state);
/* A new generation serves: workers that waited long may try again at once. */
void rp_crew_forgive(struct rp_master *m);
/* "worker=3", "agent" for the log. */
const char *rp_crew_name(const struct rp_master *m, uint32_t worker, char text[24]);
/* The slot of the worker with that number that should serve; RP_PLAN_SLOTS: none. */
uint32_t rp_crew_find(const struct rp_master *m, uint32_t number);
/* A slot for a new worker with that number, or for the agent; RP_E_CAP: all are taken. */
RP_MUST rp_err rp_crew_take_slot(struct rp_master *m, uint32_t number, uint32_t *worker);
/* Who may get new clients: tell the kernel. */
void rp_crew_route(struct rp_master *m);
/* For an upgrade: a slot as a record, and back. */
void rp_crew_put(const struct rp_master *m, uint32_t worker, bool channel,
                 struct rp_handover_out *o);
void rp_crew_take(struct rp_slot *slots, struct rp_handover_in *in,
                  const struct rp_handover_record *r);
/* Let go of sockets whose workers are all gone. */
void rp_crew_sweep(struct rp_master *m);
/* The agent is wanted from now on, or not any more. */
void rp_crew_want_agent(struct rp_master *m, bool yes);
/* Change the number of workers. */
void rp_crew_resize(struct rp_master *m, uint32_t n);
void rp_crew_fini(struct rp_master *m);

/* reload.c */
void rp_reload_ask(struct rp_master *m);
/* The same for files of certificates that changed; the rest of the site stays as it serves. */
void rp_reload_renew(struct rp_master *m);
/* The same for routes that providers found; not during another one. */
void rp_reload_find(struct rp_master *m);
/* Back to what served before the last reload, if that was just now: `plugin` fails since. */
void rp_reload_restore(struct rp_master *m, rp_str plugin);
void rp_reload_ask_again(struct rp_master *m); /* if that was put off */
void rp_reload_on_check(struct rp_master *m);  /* the checker's channel is readable */
void rp_reload_on_answer(struct rp_master *m, uint32_t worker, const struct rp_message *answer);
void rp_reload_on_death(struct rp_master *m, uint32_t worker);
void rp_reload_tick(struct rp_master *m);
rp_ms rp_reload_next(const struct rp_master *m);
/* An upgrade is over: do what was put off. */
void rp_reload_resume(struct rp_master *m);
void rp_reload_cancel(struct rp_master *m); /* the master is about to end */
void rp_reload_fini(struct rp_master *m);
/* Reopen the log files everywhere; words of the outcome in out. RP_AGAIN: done after the reload
 * that is under way. */
RP_MUST rp_err rp_reload_reopen(struct rp_master *m, struct rp_buf *out);

/* master.c */
void rp_master_drain(struct rp_master *m);
void rp_master_stop(struct rp_master *m);
/* The start failed: say why and end. */
void rp_master_fail(struct rp_master *m, rp_str why);
/* A worker became ready. */
void rp_master_on_ready(struct rp_master *m);
/* With the routes that are found now. */
struct rp_check_order rp_master_order(struct rp_master *m);
/* Write errors where the current generation says, from its level on. */
void rp_master_use_logs(struct rp_master *m);
/* A line of the log for each of a text: the reasons of a bad site are one per line. */
void rp_master_log_lines(enum rp_log_level level, const char *before, rp_str text);
void rp_master_status(const struct rp_master *m, struct rp_buf *out);

#endif
