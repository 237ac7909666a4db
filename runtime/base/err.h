/* SPDX-License-Identifier: MIT
 *
 * err: result codes. RP_OK is 0, progress codes are > 0, failures are rows of err.tbl and < 0.
 */
#ifndef RP_BASE_ERR_H
#define RP_BASE_ERR_H

#include "base/check.h"

typedef int rp_err;

enum {
    RP_OK = 0,
    RP_AGAIN = 1, /* nothing now; a wake-up will follow */
    RP_END = 2,   /* no more will ever come; not a failure */
};

enum rp_err_index {
#define X(name, status, level, reason, text) RP_EI_##name,
#include "base/err.tbl"
#undef X
    RP_EI_COUNT
};

enum {
#define X(name, status, level, reason, text) RP_E_##name = -1 - (int)RP_EI_##name,
#include "base/err.tbl"
#undef X
};

/* Facts about a failure; codes outside the table are described as INTERNAL. */
const char *rp_err_name(rp_err e);   /* "H1_SYNTAX"; "OK", "AGAIN", "END" for progress */
const char *rp_err_reason(rp_err e); /* "bad_request" */
const char *rp_err_text(rp_err e);   /* "malformed message" */
int rp_err_status(rp_err e);         /* HTTP status, 0 when none fits */
int rp_err_level(rp_err e);          /* enum rp_log_level */
/* Code of a row by its name ("H1_SYNTAX"); RP_E_NOT_FOUND when there is none. */
rp_err rp_err_find(const char *name);

#endif
