/* SPDX-License-Identifier: MIT
 *
 * os: the system calls of process management with their traps handled: EINTR, partial writes,
 * sealed memory files, closing what was inherited, becoming another user.
 */
#ifndef RP_PROCESS_OS_H
#define RP_PROCESS_OS_H

#include "base/buf.h"
#include "base/clock.h"

#ifndef RP_CDEF
/* A result that says nothing that anybody could act on; a word why stands beside each use. */
static inline void rp_ignore(rp_err e)
{
    (void)e;
}
#endif

/* Close *fd when it is one, and set it to -1. */
void rp_os_close(int *fd);
/* All bytes, whatever signals come. RP_E_OS. */
RP_MUST rp_err rp_os_write_all(int fd, rp_str bytes);
/* Append the rest of a file, at most `most` bytes of it. RP_E_TOO_BIG, RP_E_OS. */
RP_MUST rp_err rp_os_read_all(int fd, size_t most, struct rp_buf *out);

/* A memory file with these bytes that nobody can change any more (close-on-exec). RP_E_OS. */
RP_MUST rp_err rp_os_memfd_seal(const char *name, rp_str bytes, int *fd);
/* Map such a file for reading. RP_E_INVALID when it is not sealed, so that it could change or
 * shrink under us; RP_E_TOO_BIG; RP_E_OS. */
RP_MUST rp_err rp_os_memfd_map(int fd, size_t most, rp_str *bytes);
void rp_os_unmap(rp_str *bytes); /* NONE is accepted */

/* A duplicate that exec closes; -1 when there is none left. */
int rp_os_dup(int fd);
/* Shall exec close it? False: it is not open. */
bool rp_os_set_cloexec(int fd, bool yes);
/* Close every descriptor from 3 on but these n, whose order changes. */
void rp_os_close_others(int *keep, size_t n);
/* Default actions for all signals but those of a crash (a sanitizer may have them), none blocked. */
void rp_os_reset_signals(void);

/* What ps calls this process from now on; 15 bytes of it. */
void rp_os_set_name(const char *name);
/* Monotonic milliseconds. */
rp_ms rp_os_now_ms(void);
/* One letter of /proc/PID/stat: 'R', 'S', 'T' (stopped) ...; '?' when there is no such process. */
char rp_os_process_state(int pid);
/* Processors that this process may use; at least 1. */
uint32_t rp_os_cores(void);
/* Room for the deepest recursion that Lua allows, where each level is a C function that calls back (gsub:
 * 9 KB of 5,400 levels): without it that is a crash instead of an error. The stack grows into it as
 * it is used; the kernel keeps 128 MB free below it. */
void rp_os_raise_stack(void);
/* Raise the soft limit of open files to the hard one; returns what it is now. */
uint64_t rp_os_raise_files(void);

struct rp_os_account {
    uint32_t uid, gid;
    char name[64];
};
/* RP_E_NOT_FOUND: no such account. */
RP_MUST rp_err rp_os_account_find(rp_str name, struct rp_os_account *out);
/* Whom a root master's children become: `name`, or when empty "rproxy", else "nobody". */
RP_MUST rp_err rp_os_account_choose(rp_str name, struct rp_os_account *out);
/* Become this account for good: groups, ids, no new privileges by exec. RP_E_OS: then the process
 * must end. */
RP_MUST rp_err rp_os_become(const struct rp_os_account *a);
/* Processes whose parent died below us become our children, or not any more. False: refused. */
bool rp_os_adopt_orphans(bool yes);
/* Get signal `number` when the parent dies; false when it has died already (it was `parent`). */
bool rp_os_die_with(int parent, int number);

/* "exit status 3", "signal 11 (Segmentation fault)" of a wait status. */
void rp_os_describe_end(int status, char out[64]);

#endif
