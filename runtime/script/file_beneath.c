/* SPDX-License-Identifier: MIT */
#include "script/file_beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TRIES = 8 }; /* of a look-up that somebody else's rename came between */

static int open_retry(int dir, const char *path, int flags, mode_t mode)
{
    int fd;
    do fd = openat(dir, path, flags, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* For kernels without openat2: each name is a folder of the one before, no name is a link. */
static int walk(int root, const char *rest, int flags, mode_t mode)
{
    char name[NAME_MAX + 1];
    int dir = root;
    for (;;) {
        size_t n = strcspn(rest, "/");
        if (n == 0 || n >= sizeof name) {
            errno = n ? ENAMETOOLONG : ENOENT;
            break;
        }
        memcpy(name, rest, n);
        name[n] = 0;
        bool last = rest[n] == 0;
        int fd = -1;
        if (strcmp(name, "..") == 0) errno = EACCES;
        else if (last) fd = open_retry(dir, name, flags | O_NOFOLLOW, mode);
        else fd = open_retry(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        int os = errno;
        if (dir != root) (void)close(dir);
        errno = os;
        if (last || fd < 0) return fd;
        dir = fd;
        rest += n + 1;
    }
    int os = errno;
    if (dir != root) (void)close(dir);
    errno = os;
    return -1;
}

static int look_up(int root, const char *rest, int flags, mode_t mode)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)flags,
                           .mode = flags & O_CREAT ? mode : 0,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = -1;
    for (int tries = 0; tries < TRIES; tries++) {
        fd = syscall(SYS_openat2, root, rest, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
    }
    /* EPERM: filters of system calls that do not know this one. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM)) fd = walk(root, rest, flags, mode);
    if (fd < 0 && (errno == EXDEV || errno == ELOOP)) errno = EACCES;
    return (int)fd;
}

static int open_root(const char *path, size_t n)
{
    char root[PATH_MAX];
    if (n >= sizeof root) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(root, path, n);
    root[n] = 0;
    return open_retry(AT_FDCWD, n ? root : ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

static int open_beneath(const char *path, size_t root_n, size_t n, int flags, mode_t mode)
{
    char rest[PATH_MAX];
    while (root_n < n && path[root_n] == '/') root_n++;
    if (n - root_n >= sizeof rest) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int root = open_root(path, root_n);
    if (root < 0 || root_n == n) return root;
    memcpy(rest, path + root_n, n - root_n);
    rest[n - root_n] = 0;
    int fd = look_up(root, rest, flags, mode), os = errno;
    (void)close(root);
    errno = os;
    return fd;
}

int rp_file_open(const char *path, double root_n, int flags, mode_t mode)
{
    if (root_n < 0) return open_retry(AT_FDCWD, path, flags, mode);
    return open_beneath(path, (size_t)root_n, strlen(path), flags, mode);
}

bool rp_file_find(const char *path, double root_n, struct rp_file_at *out)
{
    *out = (struct rp_file_at){.dir = AT_FDCWD, .name = path};
    if (root_n < 0) return true;
    const char *slash = strrchr(path, '/');
    size_t parent_n = slash ? (size_t)(slash - path) : 0;
    if (slash) out->name = slash + 1;
    if (parent_n < (size_t)root_n) parent_n = (size_t)root_n; /* the root is "/" */
    out->dir = open_beneath(path, (size_t)root_n, parent_n, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    return out->dir >= 0;
}

void rp_file_let_go(struct rp_file_at *at)
{
    if (at->dir != AT_FDCWD) (void)close(at->dir);
    at->dir = AT_FDCWD;
}
