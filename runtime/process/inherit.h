/* SPDX-License-Identifier: MIT
 *
 * inherit: the one list of what a worker takes from the master across fork. Everything else that
 * was open in the master is closed before the worker does anything.
 *
 *   descriptors   0, 1, 2 · its channel · the site's memory file · its listening sockets · log files · shared zones
 *   memory        the zone (same address), with breadcrumb and counter pages; the boot plan
 *   identity      its number, its generation, whom to become
 *
 * Later generations bring the same things over the channel (channel.h).
 */
#ifndef RP_PROCESS_INHERIT_H
#define RP_PROCESS_INHERIT_H

#include "process/os.h"
#include "process/stats.h"
#include "shm/census.h"
#include "shm/keyring.h"
#include "shm/counter.h"
#include "shm/crumb.h"
#include "shm/members.h"
#include "shm/metric.h"
#include "shm/once.h"
#include "shm/roster.h"
#include "shm/splits.h"

struct rp_inherit {
    uint32_t worker; /* its slot: its page of what is shared */
    uint32_t number; /* what sites and people call it, from 0 up; its socket of each listener */
    bool agent;      /* no worker: it has no listeners, and does what is done once per instance */
    bool quiet;      /* serve nobody before RP_SAY_LISTEN */
    uint32_t generation;
    int master; /* pid */
    int channel;
    int site;             /* sealed memory file: plan and bundle */
    const int *listeners; /* by index of the plan; borrowed during the start */
    uint32_t listeners_n;
    const int *files; /* log files by index of the plan */
    uint32_t files_n;
    const int *zones; /* of `shared`, by index of the plan */
    uint32_t zones_n;
    const struct rp_os_account *account; /* NULL: stay who we are */
    struct rp_crumbs *crumbs;
    struct rp_counters *counters;
    const struct rp_stats *stats; /* where our counters are on a page */
    struct rp_metrics *metrics;
    struct rp_census *census;
    struct rp_roster *roster;
    struct rp_members *members; /* peers that providers bring: the agent writes */
    struct rp_members *orders;  /* ... and what the operator adds and takes out: the master does */
    struct rp_splits *splits;
    struct rp_keyring *keyring;
    struct rp_once *once;    /* tickets that brought early data */
    struct rp_dict *learned; /* sessions of applications, proxy/sticky.h */
    struct rp_dict *staples; /* OCSP answers, proxy/staples.h */
};

#endif
