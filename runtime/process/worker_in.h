/* SPDX-License-Identifier: MIT
 *
 * worker_in: the inside of a worker, for the .c files of process/ only.
 */
#ifndef RP_PROCESS_WORKER_IN_H
#define RP_PROCESS_WORKER_IN_H

#include "net/loop_uv.h"
#include "process/affinity.h"
#include "process/channel.h"
#include "process/ears.h"
#include "process/errlog.h"
#include "process/inherit.h"
#include "process/stage.h"
#include "process/stats.h"
#include "process/worker.h"

enum rp_worker_state {
    RP_WORKER_STARTING,
    RP_WORKER_SERVING,
    RP_WORKER_LEAVING,
    RP_WORKER_DRAINING,
    RP_WORKER_STOPPING,
};

struct rp_worker {
    struct rp_inherit in;
    enum rp_worker_state state;
    bool deaf;    /* accepts nobody any more */
    bool fast;    /* told to stop, not to drain */
    bool aborted; /* running requests were told to end */
    int exit_code;
    struct rp_mem *mem;
    struct rp_loop *loop;
    struct rp_proxy *proxy; /* NULL until the first generation is built */
    struct rp_errlog errlog;
    struct rp_crumb *page;
    uint64_t *counts; /* our page of counters */
    struct rp_proxy_stats published;
    uint64_t keys_version; /* of the ticket keys that the proxy has */
    uint64_t oldest;       /* generation that still had a request at the last beat */
    struct rp_poll channel;
    uv_signal_t term_signal, quit_signal;
    struct rp_timer beat, limit, settle;
    struct rp_ears ears;
    struct rp_affinity affinity;
    struct rp_stage *stage; /* the generation to come; NULL: none */
    int *reopened;          /* log files of a REOPEN that are still being given */
    uint32_t reopened_n, reopened_have;
    struct rp_message message;
};

/* worker_orders.c */
void rp_worker_watch_channel(struct rp_worker *w);

/* worker.c */
void rp_worker_say(struct rp_worker *w, uint32_t kind, const struct rp_stage *s, rp_str text);
void rp_worker_use_logs(struct rp_worker *w, const struct rp_conf *conf, int *files);
/* All is started: serve who comes. */
void rp_worker_listen(struct rp_worker *w);
/* Tell a stage where it is to serve. */
void rp_worker_dress(struct rp_worker *w, struct rp_stage *s);
/* listen_ms: go on accepting for so long at least. */
void rp_worker_drain(struct rp_worker *w, rp_ms listen_ms);
void rp_worker_stop(struct rp_worker *w);

#endif
