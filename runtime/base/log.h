/* SPDX-License-Identifier: MIT
 *
 * log: levels, one line per event, and the sink vtable that process/ fills (default: stderr).
 *
 * A line is "time level [pid] message key=value ...". Messages are lower case without a full stop;
 * bytes from the wire go through %s only after rp_log_esc.
 */
#ifndef RP_BASE_LOG_H
#define RP_BASE_LOG_H

#include "base/str.h"

enum rp_log_level {
    RP_LOG_debug,
    RP_LOG_info,
    RP_LOG_notice,
    RP_LOG_warn,
    RP_LOG_error,
    RP_LOG_alert,
};

/* Where lines go: called with one whole line, newline included. */
struct rp_log_sink {
    void (*write)(void *arg, enum rp_log_level level, rp_str line);
    void *arg;
};

extern enum rp_log_level rp_log_threshold; /* set at boot and by reload; one int per process */

void rp_log_set_sink(struct rp_log_sink sink);
void rp_log_write(enum rp_log_level level, const char *fmt, ...) RP_PRINTF(2, 3);
/* Escaped copy in a small ring of static buffers (good for 4 uses in one call); cut at 256 bytes. */
const char *rp_log_esc(rp_str s);
/* "debug" .. "alert"; RP_E_NOT_FOUND otherwise. */
RP_MUST rp_err rp_log_level_find(rp_str name, enum rp_log_level *out);
const char *rp_log_level_name(enum rp_log_level level);

#define rp_log(level, ...)                                                                         \
    do {                                                                                           \
        if (RP_LOG_##level >= rp_log_threshold) rp_log_write(RP_LOG_##level, __VA_ARGS__);         \
    } while (0)

#endif
