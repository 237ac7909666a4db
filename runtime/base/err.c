/* SPDX-License-Identifier: MIT
 *
 * err: the rows of err.tbl as a table indexed by -1 - code.
 */
#include "base/err.h"

#include "base/log.h"

struct err_row {
    const char *name, *reason, *text;
    int status, level;
};

static const struct err_row rows[] = {
#define X(name, status, level, reason, text) {#name, reason, text, status, (int)RP_LOG_##level},
#include "base/err.tbl"
#undef X
};

/* Progress codes, indexed by value: none of them answers a client. */
static const struct err_row progress[] = {
    {"OK", "ok", "ok", 0, RP_LOG_debug},
    {"AGAIN", "again", "not ready yet", 0, RP_LOG_debug},
    {"END", "end", "no more to come", 0, RP_LOG_debug},
};

static const struct err_row *row_of(rp_err e)
{
    if (e >= 0 && e < (int)RP_COUNT(progress)) return &progress[e];
    if (e < 0 && e >= -(int)RP_EI_COUNT) return &rows[-1 - e];
    return &rows[RP_EI_INTERNAL];
}

const char *rp_err_name(rp_err e)
{
    return row_of(e)->name;
}

const char *rp_err_reason(rp_err e)
{
    return row_of(e)->reason;
}

const char *rp_err_text(rp_err e)
{
    return row_of(e)->text;
}

int rp_err_status(rp_err e)
{
    return row_of(e)->status;
}

int rp_err_level(rp_err e)
{
    return row_of(e)->level;
}

rp_err rp_err_find(const char *name)
{
    for (int i = 0; i < (int)RP_EI_COUNT; i++) {
        if (strcmp(rows[i].name, name) == 0) return -1 - i;
    }
    return RP_E_NOT_FOUND;
}
