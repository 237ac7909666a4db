/* SPDX-License-Identifier: MIT
 *
 * checker: evaluates a site outside the master, in two processes that live for one check:
 *
 *   reader     keeps the master's rights; opens the source files that the evaluator asks for
 *              (regular files ending in .lua, error pages, certificates and keys) and watches
 *              over it
 *   evaluator  drops its rights, then loads Lua and runs the site; never touches the file system
 *
 * A site that loops, crashes or eats memory hurts only them. The result is a boot plan with the
 * bundle of all sources in a sealed memory file, or a text that says file, line and what is wrong.
 */
#ifndef RP_PROCESS_CHECKER_H
#define RP_PROCESS_CHECKER_H

#include "process/os.h"
#include "process/plan.h"
#include "script/host.h"

enum {
    RP_CHECK_LIMIT_MS = 30000,       /* for evaluating a site */
    RP_CHECK_SOURCE_MOST = 16 << 20, /* bytes of one source file */
    RP_CHECK_PAGE_MOST = 64 << 10,   /* ... of one error page */
    RP_CHECK_CERT_MOST = 4 << 20,    /* ... of one file of certificates */
    RP_CHECK_LIST_MOST = 65536,      /* files that one pattern may name */
    RP_CHECK_ERROR_MOST = 64 * 1024,
};

struct rp_check_order {
    const char *site;          /* absolute */
    rp_str overrides;          /* "name=value" lines of -g */
    enum rp_describe describe; /* fill plan->description */
    rp_str sources; /* bundle of the generation that serves: only certificates are read anew */
    rp_str found;   /* routes that providers found; may be empty */
    /* With which the site is evaluated again when it fails with those, and when it fails with these, too,
     * with none: nobody who may start a container keeps a site from being loaded. */
    rp_str found_before;
    bool found_or_fail;                  /* ... not so: the routes are what the check is for */
    int log;                             /* above 2: where the two log to; else their stderr */
    const struct rp_os_account *account; /* whom the evaluator becomes; NULL: nobody else */
    rp_ms limit_ms;                      /* 0: RP_CHECK_LIMIT_MS */
};

/* A checked site. Owns the memory file and its mapping. */
struct rp_checked {
    int fd; /* what workers load the bundle from */
    rp_str flat;
    struct rp_plan *plan;
    char *left_out; /* order->found was, and why: what the site failed with; NULL: it was not */
};
void rp_checked_free(struct rp_checked **c);
/* Take over a sealed file as it came from the checker (own, closed on failure too). */
RP_MUST rp_err rp_checked_open(int fd, struct rp_checked **out);

/* A check under way, watched by its owner's poll loop. */
struct rp_check {
    int pid;     /* of the reader, a child to be reaped; 0: none */
    int channel; /* readable when it has an answer; -1 */
    rp_ms deadline_ms;
};

/* ret   RP_OK; RP_E_OS: cannot fork */
RP_MUST rp_err rp_check_start(const struct rp_check_order *order, struct rp_check *out);
/* The answer, when the channel is readable or the deadline passed.
 * ret   RP_OK and *out; RP_AGAIN: not yet; RP_E_INVALID: the words are in error */
RP_MUST rp_err rp_check_read(struct rp_check *c, struct rp_checked **out, struct rp_buf *error);
/* Close the channel and kill the reader if it still runs. Its pid stays to be reaped. */
void rp_check_stop(struct rp_check *c);
/* All of it, waiting. */
RP_MUST rp_err rp_check_run(const struct rp_check_order *order, struct rp_checked **out,
                            struct rp_buf *error);

/* Open a file for the evaluator: an absolute path without "." and ".." parts of a regular file that
 * ends in ".lua", in ".pem", ".crt", ".cer" or ".key", or in ".html", ".htm", ".json", ".txt" or ".xml"
 * and may be read by everybody. RP_E_NOT_FOUND, RP_E_INVALID, RP_E_TOO_BIG, RP_E_OS. */
RP_MUST rp_err rp_check_open_source(rp_str path, int *fd);
/* The same, or a list of what fits a pattern, for code of this site: a page must lie in its folder. */
RP_MUST rp_err rp_check_open_for(const char *site, rp_str path, int *fd);
/* Is it the path of a file, or a pattern of files, of certificates, keys or what belongs to them? */
bool rp_check_is_cert(rp_str path);
/* What such a file, or list of files, is like: another number when it was written, replaced or removed.
 * Of an open one (one of rp_check_open_list: bytes are what it holds), and by path. */
uint64_t rp_check_stamp_fd(int fd);
uint64_t rp_check_stamp_list(rp_str bytes);
uint64_t rp_check_stamp(rp_str path);

/* The same for a pattern of certificates, a path with "*": fd holds the paths that
 * fit, one a line, in order. */
bool rp_check_is_list(rp_str path);
RP_MUST rp_err rp_check_open_list(rp_str path, int *fd);

#endif
