/* SPDX-License-Identifier: MIT
 *
 * plan: what the checker hands to the master: the boot plan (listeners, files, user, numbers) and
 * the bundle of sources that the workers build from, as one flat text in a sealed memory file.
 *
 * The master reads it, and an unprivileged process that ran site code wrote it: every length,
 * address and text is checked before it is used.
 */
#ifndef RP_PROCESS_PLAN_H
#define RP_PROCESS_PLAN_H

#include "base/buf.h"
#include "net/addr.h"

struct rp_conf;

enum {
    RP_PLAN_SLOTS = 1024, /* processes that may serve: workers, and the agent */
    RP_PLAN_WORKERS_MOST = RP_PLAN_SLOTS - 1,
    RP_PLAN_LISTENERS_MOST = 4096,
    RP_PLAN_FILES_MOST = 1024,
    RP_PLAN_ZONES_MOST = 64,
    RP_PLAN_WATCHED_MOST = 1 << 18,
    RP_PLAN_TEXT_MOST = 4096,     /* bytes of one name or path */
    RP_PLAN_BYTES_MOST = 1 << 28, /* of the whole: 256 MB of sources are a mistake */
    RP_PLAN_NO_FILE = 0xffffffff,
};

#ifndef RP_CDEF
/* The row of a slot in roster and metrics, whose readers go through all rows up to the last one that was
 * ever used: the agent, the last slot, has the first. */
static inline uint32_t rp_plan_row(uint32_t slot)
{
    return (slot + 1) % RP_PLAN_SLOTS;
}
#endif

struct rp_plan_listener {
    struct rp_addr addr;
    rp_str text; /* as written; its identity across reloads */
    bool udp;
};

struct rp_plan_zone {
    rp_str name;
    uint32_t kind; /* enum rp_share_kind */
    uint64_t bytes, tag;
};

/* A file, or a pattern of files, of certificates, and what it was like when it was read. */
struct rp_plan_watched {
    rp_str path;
    uint64_t stamp; /* process/checker.h */
};

/* Texts are views into the flat form. */
struct rp_plan {
    uint32_t workers;        /* 1 .. RP_PLAN_WORKERS_MOST */
    bool agent;              /* there is work for one */
    uint32_t log_level;      /* enum rp_log_level */
    uint32_t error_log_file; /* index of files; RP_PLAN_NO_FILE: stderr */
    uint64_t drain_ms;
    uint64_t ticket_keys_ms;     /* at least a minute */
    rp_str user, pid_file;       /* empty: not said */
    rp_str user_at, pid_file_at; /* where the site says so */
    struct rp_plan_listener *listeners;
    uint32_t listeners_n;
    rp_str *files;
    uint32_t files_n;
    rp_str *upstreams; /* their names, for orders about them */
    uint32_t upstreams_n;
    struct rp_plan_zone *zones;
    uint32_t zones_n;
    struct rp_plan_watched *watched; /* none when the site does not want it */
    uint32_t watched_n;
    rp_str bundle;      /* see script/bundle.h */
    rp_str description; /* for `rproxy -T`; empty unless asked for */
};

/* Append the flat form of a frozen configuration. watched: its files of certificates. */
void rp_plan_save(const struct rp_conf *c, rp_str bundle, rp_str description,
                  const struct rp_plan_watched *watched, uint32_t watched_n, struct rp_buf *out);
/* flat: borrowed for the plan's life. RP_E_INVALID when anything is not as it must be. */
RP_MUST rp_err rp_plan_load(rp_str flat, struct rp_plan **out);
void rp_plan_free(struct rp_plan **p);

#endif
