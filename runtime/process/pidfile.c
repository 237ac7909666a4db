/* SPDX-License-Identifier: MIT
 *
 * pidfile: the lock is a POSIX record lock: it belongs to the process, not to the descriptor, so
 * children do not inherit it, and the kernel tells who holds it. The price: no other descriptor of
 * the file may be closed by the master.
 */
#include "process/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/fault.h"
#include "base/hash.h"
#include "process/os.h"

enum {
    NAME_BYTES = 80,
    NAME_PLAIN = 60, /* longer names are shortened: a socket path has 107 bytes in all */
    NAME_TAIL = 40,  /* what is kept of a long one; its hash follows */
    TAKE_TRIES = 16, /* another master's file may vanish between open and lock */
};

/* ---- names --------------------------------------------------------------------------------- */

/* Without "." and empty parts; false when a ".." is in the way. */
static bool squeeze(const char *in, char *out)
{
    size_t n = 0;
    while (*in) {
        size_t len = strcspn(in, "/");
        if (len == 2 && memcmp(in, "..", 2) == 0) return false;
        if (len && !(len == 1 && in[0] == '.')) {
            out[n++] = '/';
            memcpy(out + n, in, len);
            n += len;
        }
        in += len + (in[len] == '/');
    }
    out[n] = 0;
    return true;
}

/* What ".." means depends on links: the kernel resolves the folder. */
static rp_err resolve_folder(const char *path, char out[512])
{
    char folder[PATH_MAX], real[PATH_MAX];
    const char *file = strrchr(path, '/') + 1;
    size_t n = (size_t)(file - path);
    if (n >= sizeof folder) return RP_E_TOO_BIG;
    memcpy(folder, path, n);
    folder[n] = 0;
    if (strcmp(file, "..") == 0) return RP_E_INVALID;
    if (!realpath(folder, real)) return RP_E_OS;
    int len = snprintf(out, 512, "%s/%s", strcmp(real, "/") == 0 ? "" : real, file);
    return len < 512 ? RP_OK : RP_E_TOO_BIG;
}

rp_err rp_pidfile_site(const char *site, char out[512])
{
    char whole[PATH_MAX], cwd[PATH_MAX] = "";
    if (site[0] != '/' && !getcwd(cwd, sizeof cwd)) return RP_E_OS;
    int n = snprintf(whole, sizeof whole, "%s/%s", cwd, site);
    if (n >= 512) return RP_E_TOO_BIG;
    return squeeze(whole, out) ? RP_OK : resolve_folder(whole, out);
}

static size_t escape(const char *site, char *out, size_t room)
{
    size_t n = 0;
    for (const char *p = site + 1; *p && n + 4 < room; p++) {
        if (*p == '/') out[n++] = '-';
        else if (*p == '-' || *p == '%') n += (size_t)snprintf(out + n, 4, "%%%02x", *p);
        else out[n++] = *p;
    }
    out[n] = 0;
    return n;
}

void rp_pidfile_name(const char *site, char out[80])
{
    /* A name must be the same in every process: the key is fixed. */
    static const struct rp_hash_key key = {0x7270726f78793031, 0x73697465206e616d};
    char name[3 * 512];
    size_t n = escape(site, name, sizeof name);
    if (n <= NAME_PLAIN) {
        memcpy(out, name, n + 1);
        return;
    }
    uint64_t hash = rp_hash_keyed(&key, rp_str_z(site));
    snprintf(out, NAME_BYTES, "%s-%016llx", name + n - NAME_TAIL, (unsigned long long)hash);
}

/* ---- the run directory --------------------------------------------------------------------- */

static void run_directory(char *out, size_t room, bool *shared)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    *shared = geteuid() == 0;
    if (*shared) snprintf(out, room, "/run/rproxy");
    else if (xdg && xdg[0] == '/') snprintf(out, room, "%s/rproxy", xdg);
    else snprintf(out, room, "/tmp/rproxy-%u", (unsigned)geteuid());
}

/* Anybody can make folders in /tmp: what another user owns or may write to is not ours. */
static rp_err check_directory(const char *path, struct rp_buf *error)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        rp_buf_addf(error, "run directory %s: %s", path, strerror(errno));
        return RP_E_OS;
    }
    if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 022) == 0) return RP_OK;
    rp_buf_addf(error,
                "run directory %s is not safe: it must be a folder of user %u that nobody else can "
                "write to; remove it, or choose a place with -g pid=/path",
                path, (unsigned)geteuid());
    return RP_E_INVALID;
}

static rp_err make_directory(const char *path, bool shared, struct rp_buf *error)
{
    if (mkdir(path, shared ? 0755 : 0700) != 0 && errno != EEXIST) {
        rp_buf_addf(error, "run directory %s: %s", path, strerror(errno));
        return RP_E_OS;
    }
    return check_directory(path, error);
}

static rp_err check_paths(const struct rp_pidfile *p, int n, struct rp_buf *error)
{
    struct sockaddr_un un;
    if (n < RP_PIDFILE_PATH_BYTES && strlen(p->sock) < sizeof un.sun_path) return RP_OK;
    rp_buf_addf(error, "path too long for the control socket: %s; use a shorter -g pid=/path",
                p->sock);
    return RP_E_TOO_BIG;
}

rp_err rp_pidfile_locate(struct rp_pidfile *p, const char *site, const char *at, bool make,
                         struct rp_buf *error)
{
    *p = (struct rp_pidfile){.fd = -1};
    if (at) {
        if (at[0] != '/') {
            rp_buf_addf(error, "pid file %s: an absolute path is needed", at);
            return RP_E_INVALID;
        }
        size_t len = strlen(at);
        size_t stem = rp_str_ends(rp_str_z(at), RP_STR(".pid")) ? len - 4 : len;
        snprintf(p->path, sizeof p->path, "%s", at);
        int n = snprintf(p->sock, sizeof p->sock, "%.*s.sock", (int)stem, at);
        return check_paths(p, n, error);
    }
    char folder[256], name[NAME_BYTES];
    bool shared;
    run_directory(folder, sizeof folder, &shared);
    rp_err e = make ? make_directory(folder, shared, error) : RP_OK;
    if (e != RP_OK) return e;
    struct stat st;
    if (!make && lstat(folder, &st) == 0) e = check_directory(folder, error);
    if (e != RP_OK) return e;
    rp_pidfile_name(site, name);
    snprintf(p->path, sizeof p->path, "%s/%s.pid", folder, name);
    int n = snprintf(p->sock, sizeof p->sock, "%s/%s.sock", folder, name);
    return check_paths(p, n, error);
}

/* ---- the lock ------------------------------------------------------------------------------ */

static struct flock whole_file(short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET};
}

/* Pid of who holds the lock of an open file, 0 when nobody does. */
static int holder(int fd)
{
    struct flock lock = whole_file(F_WRLCK);
    if (fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return 0;
    return lock.l_pid;
}

static int read_pid(int fd)
{
    char text[24];
    uint64_t pid = 0;
    ssize_t n = pread(fd, text, sizeof text, 0);
    if (n <= 0) return 0;
    size_t len = 0;
    while (len < (size_t)n && text[len] >= '0' && text[len] <= '9') len++;
    if (rp_str_u64(rp_str_of(text, len), &pid) != RP_OK || pid > INT_MAX) return 0;
    return (int)pid;
}

int rp_pidfile_find(const struct rp_pidfile *p, int *stale)
{
    *stale = 0;
    int fd = RP_SYS(open, open(p->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (fd < 0) return 0;
    int pid = holder(fd);
    if (pid == 0) *stale = read_pid(fd);
    rp_os_close(&fd);
    return pid;
}

/* Is the file behind the path still the one that we have open? */
static bool is_same_file(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static rp_err write_pid(struct rp_pidfile *p)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (RP_SYS(ftruncate, ftruncate(p->fd, 0)) != 0) return RP_E_OS;
    return rp_os_write_all(p->fd, rp_str_of(text, (size_t)n));
}

static rp_err try_take(struct rp_pidfile *p, struct rp_buf *error)
{
    p->fd =
        RP_SYS(open, open(p->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644));
    if (p->fd < 0) {
        rp_buf_addf(error, "pid file %s: %s", p->path, strerror(errno));
        return RP_E_OS;
    }
    struct flock lock = whole_file(F_WRLCK);
    if (fcntl(p->fd, F_SETLK, &lock) != 0) {
        rp_buf_addf(error, "a master serves this site already: pid %d (pid file %s)", holder(p->fd),
                    p->path);
        rp_os_close(&p->fd);
        return RP_E_BUSY;
    }
    if (is_same_file(p->fd, p->path)) return RP_OK;
    rp_os_close(&p->fd); /* its owner ended and removed it just now */
    return RP_AGAIN;
}

rp_err rp_pidfile_take(struct rp_pidfile *p, struct rp_buf *error)
{
    rp_err e = RP_AGAIN;
    for (int i = 0; i < TAKE_TRIES && e == RP_AGAIN; i++) e = try_take(p, error);
    if (e == RP_OK) e = write_pid(p);
    if (e == RP_OK || e == RP_E_BUSY) return e;
    if (error->len == 0) rp_buf_addf(error, "pid file %s cannot be written", p->path);
    rp_os_close(&p->fd);
    return RP_E_OS;
}

void rp_pidfile_release(struct rp_pidfile *p)
{
    if (p->fd < 0) return;
    if (is_same_file(p->fd, p->path)) (void)unlink(p->path); /* nothing depends on it */
    rp_os_close(&p->fd);
}
