/* SPDX-License-Identifier: MIT
 *
 * os: see os.h. The one file of process/ with platform knowledge (Linux).
 */
#include "process/os.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"

enum { READ_STEP = 64 * 1024 };

/* ---- descriptors and files ----------------------------------------------------------------- */

void rp_os_close(int *fd)
{
    if (*fd >= 0) (void)close(*fd); /* Linux frees the number whatever the result */
    *fd = -1;
}

rp_err rp_os_write_all(int fd, rp_str bytes)
{
    while (bytes.len) {
        ssize_t n = RP_SYS(write, write(fd, bytes.ptr, RP_SHORT(write, bytes.len)));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return RP_E_OS;
        bytes = rp_str_from(bytes, (size_t)n);
    }
    return RP_OK;
}

rp_err rp_os_read_all(int fd, size_t most, struct rp_buf *out)
{
    char *step = malloc(READ_STEP);
    RP_CHECK(step);
    size_t total = 0;
    rp_err e = RP_OK;
    for (;;) {
        ssize_t n = RP_SYS(read, read(fd, step, RP_SHORT(read, READ_STEP)));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) e = RP_E_OS;
        if (n <= 0) break;
        total += (size_t)n;
        if (total > most) {
            e = RP_E_TOO_BIG;
            break;
        }
        rp_buf_add(out, rp_str_of(step, (size_t)n));
    }
    free(step);
    return e == RP_OK && out->failed ? RP_E_TOO_BIG : e;
}

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };

rp_err rp_os_memfd_seal(const char *name, rp_str bytes, int *fd)
{
    *fd = RP_SYS(memfd, memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (*fd < 0) return RP_E_OS;
    if (rp_os_write_all(*fd, bytes) == RP_OK && RP_SYS(seal, fcntl(*fd, F_ADD_SEALS, SEALS)) == 0)
        return RP_OK;
    rp_os_close(fd);
    return RP_E_OS;
}

rp_err rp_os_memfd_map(int fd, size_t most, rp_str *bytes)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS); /* fails on files that know no seals */
    if (seals < 0 || (seals & SEALS) != SEALS) return RP_E_INVALID;
    if (fstat(fd, &st) != 0) return RP_E_OS;
    if (st.st_size <= 0) return RP_E_INVALID;
    if ((uint64_t)st.st_size > most) return RP_E_TOO_BIG;
    void *p =
        RP_SYS_OR(mmap, MAP_FAILED, mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0));
    if (p == MAP_FAILED) return RP_E_OS;
    *bytes = rp_str_of(p, (size_t)st.st_size);
    return RP_OK;
}

void rp_os_unmap(rp_str *bytes)
{
    if (bytes->ptr) (void)munmap((void *)(uintptr_t)bytes->ptr, bytes->len); /* was mapped so */
    *bytes = RP_STR_NONE;
}

int rp_os_dup(int fd)
{
    return RP_SYS(dup, fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

bool rp_os_set_cloexec(int fd, bool yes)
{
    return fcntl(fd, F_SETFD, yes ? FD_CLOEXEC : 0) == 0;
}

static int by_number(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* Kernels before 5.9 and some sandboxes do not have close_range. */
static void close_from_to(unsigned first, unsigned last)
{
    if (first > last || close_range(first, last, 0) == 0) return;
    long most = sysconf(_SC_OPEN_MAX);
    for (unsigned fd = first; fd <= last && (long)fd < most; fd++) (void)close((int)fd);
}

void rp_os_close_others(int *keep, size_t n)
{
    unsigned next = 3;
    if (n) qsort(keep, n, sizeof *keep, by_number);
    for (size_t i = 0; i < n; i++) {
        if (keep[i] < (int)next) continue; /* not open, a standard one, or named twice */
        close_from_to(next, (unsigned)keep[i] - 1);
        next = (unsigned)keep[i] + 1;
    }
    close_from_to(next, ~0u);
}

/* ---- processes ----------------------------------------------------------------------------- */

void rp_os_reset_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int s = 1; s < NSIG; s++) {
        bool crash = s == SIGSEGV || s == SIGBUS || s == SIGFPE || s == SIGILL || s == SIGABRT;
        if (!crash) (void)sigaction(s, &standard, NULL); /* KILL, STOP: refused */
    }
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL); /* cannot fail with these arguments */
}

void rp_os_set_name(const char *name)
{
    (void)prctl(PR_SET_NAME, name, 0, 0, 0); /* for people only */
}

rp_ms rp_os_now_ms(void)
{
    return rp_clock_mono_ns() / 1000000;
}

char rp_os_process_state(int pid)
{
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = RP_SYS(open, open(path, O_RDONLY | O_CLOEXEC));
    if (fd < 0) return '?';
    ssize_t n = read(fd, text, sizeof text);
    rp_os_close(&fd);
    /* "pid (name) S ...": the name may hold anything, a parenthesis too. */
    for (ssize_t i = n - 3; i > 0; i--)
        if (text[i] == ')') return text[i + 2];
    return '?';
}

uint32_t rp_os_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

enum { STACK_BYTES = 96 << 20 };

void rp_os_raise_stack(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) != 0) return;
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= STACK_BYTES) return;
    limit.rlim_cur = RP_MIN(limit.rlim_max, (rlim_t)STACK_BYTES);
    (void)setrlimit(RLIMIT_STACK, &limit); /* lower is worse, and no reason not to serve */
}

uint64_t rp_os_raise_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return before;
    }
    return limit.rlim_cur;
}

bool rp_os_adopt_orphans(bool yes)
{
    return prctl(PR_SET_CHILD_SUBREAPER, yes, 0, 0, 0) == 0;
}

bool rp_os_die_with(int parent, int number)
{
    return prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) == 0 && getppid() == parent;
}

void rp_os_describe_end(int status, char out[64])
{
    if (WIFSIGNALED(status))
        snprintf(out, 64, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else snprintf(out, 64, "exit status %d", WEXITSTATUS(status));
}

/* ---- accounts ------------------------------------------------------------------------------ */

rp_err rp_os_account_find(rp_str name, struct rp_os_account *out)
{
    *out = (struct rp_os_account){0};
    if (name.len == 0 || name.len >= sizeof out->name) return RP_E_NOT_FOUND;
    memcpy(out->name, name.ptr, name.len);
    const struct passwd *pw = getpwnam(out->name);
    if (!pw) return RP_E_NOT_FOUND;
    out->uid = pw->pw_uid;
    out->gid = pw->pw_gid;
    return RP_OK;
}

rp_err rp_os_account_choose(rp_str name, struct rp_os_account *out)
{
    if (name.len) return rp_os_account_find(name, out);
    if (rp_os_account_find(RP_STR("rproxy"), out) == RP_OK) return RP_OK;
    return rp_os_account_find(RP_STR("nobody"), out);
}

rp_err rp_os_become(const struct rp_os_account *a)
{
    if (initgroups(a->name, a->gid) != 0 || setresgid(a->gid, a->gid, a->gid) != 0 ||
        setresuid(a->uid, a->uid, a->uid) != 0)
        return RP_E_OS;
    /* There must be no way back. */
    if (a->uid != 0 && (setuid(0) == 0 || seteuid(0) == 0)) return RP_E_OS;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return RP_E_OS;
#ifdef RP_DEBUG
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* core files and leak checks; a wish */
#endif
    return RP_OK;
}
