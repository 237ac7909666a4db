/* SPDX-License-Identifier: MIT
 *
 * file_beneath: paths that are looked up beneath a folder which no symbolic link leads out of, whoever
 * makes links there meanwhile. openat2(2) does it in one go; kernels before 5.6 have it done name by
 * name, and follow no link at all below the folder.
 */
#ifndef RP_SCRIPT_FILE_BENEATH_H
#define RP_SCRIPT_FILE_BENEATH_H

#include "base/err.h"

#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

/* A name and the folder that it is in: for the calls that end in "at". */
struct rp_file_at {
    int dir;          /* AT_FDCWD: none was opened */
    const char *name; /* within the path; borrowed */
};

/* Open a path. root_n: bytes of it that are the folder; < 0: any link may be followed.
 * ret   a descriptor, or -1 and errno; EACCES: a link leads out */
int rp_file_open(const char *path, double root_n, int flags, mode_t mode);
/* Find the folder that the path's last name is in; false: errno. let_go closes it. */
bool rp_file_find(const char *path, double root_n, struct rp_file_at *out);
void rp_file_let_go(struct rp_file_at *at);

#endif
