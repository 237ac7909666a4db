/* SPDX-License-Identifier: MIT
 *
 * abi_file: files, for rp.fs: each call is one job on a thread of the pool, while the task waits.
 *
 * RUNNING -> DONE -> taken by Lua. A job that is let go of while it runs is an orphan: its thread
 * finishes what it began, and it is freed then.
 *
 * A job of a plugin that was granted a folder looks its path up beneath that folder (file_beneath.c), so
 * that no link leads out of it, also not one that is made meanwhile. All jobs go by a folder and a name
 * in it; without a grant these are the current folder and the whole path.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "net/work.h"
#include "script/file_beneath.h"
#include "script/vm.h"

enum {
    JOBS_MOST = 1024,      /* of one VM at a time; each holds what it writes */
    READ_MOST = 256 << 20, /* bytes of one file, whatever the caller says */
    PIECE = 64 * 1024,
    NAMES_MOST = 1 << 20,
};

struct job {
    struct rp_hold hold; /* first; host NULL: an orphan */
    bool running;
    double task;
    enum rp_abi_file_op op;
    double number;
    char *path, *text;        /* ended by NUL, too */
    double root_n, to_root_n; /* of path and text: see rp_abi_file */
    size_t text_n;
    rp_err result;
    int os; /* errno of RP_E_OS */
    struct rp_file_stat stat;
    struct rp_buf out;
};

static void job_free(struct job *j)
{
    rp_free(j->path);
    rp_free(j->text);
    rp_buf_fini(&j->out);
    rp_free(j);
}

/* ---- on a thread of the pool ---------------------------------------------------------------- */

static rp_err system_failed(struct job *j)
{
    j->os = errno;
    return RP_E_OS;
}

/* The job's path itself, links followed as far as they may be. */
static int open_path(const struct job *j, int flags, mode_t mode)
{
    return rp_file_open(j->path, j->root_n, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
}

/* Whatever is no plain file could keep the thread for ever. */
static rp_err check_plain(struct job *j, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return system_failed(j);
    return S_ISREG(st.st_mode) ? RP_OK : RP_E_INVALID;
}

static rp_err read_all(struct job *j, int fd)
{
    size_t most = (size_t)RP_MIN(j->number, (double)READ_MOST);
    char *piece = rp_alloc(PIECE);
    rp_err e = RP_OK;
    for (;;) {
        ssize_t n = read(fd, piece, PIECE);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) e = system_failed(j);
        if (n <= 0) break;
        if ((size_t)n > most - j->out.len) {
            e = RP_E_TOO_BIG;
            break;
        }
        rp_buf_add(&j->out, rp_str_of(piece, (size_t)n));
    }
    rp_free(piece);
    return e;
}

static rp_err do_read(struct job *j)
{
    int fd = open_path(j, O_RDONLY, 0);
    if (fd < 0) return system_failed(j);
    rp_err e = check_plain(j, fd);
    if (e == RP_OK) e = read_all(j, fd);
    (void)close(fd);
    return e;
}

static rp_err write_all(struct job *j, int fd)
{
    size_t done = 0;
    while (done < j->text_n) {
        ssize_t n = write(fd, j->text + done, j->text_n - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_failed(j);
        done += (size_t)n;
    }
    return RP_OK;
}

/* Some file systems say only at close that there was no room. */
static rp_err close_written(struct job *j, int fd, rp_err e)
{
    if (close(fd) != 0 && errno != EINTR && e == RP_OK) return system_failed(j);
    return e;
}

static rp_err do_write(struct job *j, int flags)
{
    int fd = open_path(j, O_WRONLY | O_CREAT | flags, (mode_t)j->number & 07777);
    if (fd < 0) return system_failed(j);
    rp_err e = check_plain(j, fd);
    if (e == RP_OK) e = write_all(j, fd);
    return close_written(j, fd, e);
}

/* A new file beside the one that it will replace: its descriptor and name. */
static int open_beside(const struct rp_file_at *at, char *name, size_t room)
{
    for (int tries = 0; tries < 16; tries++) {
        uint32_t dice;
        rp_random_bytes(&dice, sizeof dice);
        int n = snprintf(name, room, "%s.%08" PRIx32, at->name, dice);
        if (n < 0 || (size_t)n >= room) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = openat(at->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

static rp_err swap_in(struct job *j, const struct rp_file_at *at)
{
    char name[PATH_MAX];
    int fd = open_beside(at, name, sizeof name);
    if (fd < 0) return system_failed(j);
    rp_err e = write_all(j, fd);
    if (e == RP_OK && fchmod(fd, (mode_t)j->number & 07777) != 0) e = system_failed(j);
    if (e == RP_OK && fsync(fd) != 0) e = system_failed(j);
    e = close_written(j, fd, e);
    if (e == RP_OK && renameat(at->dir, name, at->dir, at->name) != 0) e = system_failed(j);
    if (e != RP_OK) (void)unlinkat(at->dir, name, 0); /* the failure is reported already */
    return e;
}

/* The name stands for the old bytes or all of the new ones, also after a crash of the system. */
static rp_err do_swap(struct job *j)
{
    struct rp_file_at at;
    if (!rp_file_find(j->path, j->root_n, &at)) return system_failed(j);
    rp_err e = swap_in(j, &at);
    rp_file_let_go(&at);
    return e;
}

static uint32_t letter(mode_t mode)
{
    if (S_ISREG(mode)) return 'f';
    if (S_ISDIR(mode)) return 'd';
    return S_ISLNK(mode) ? 'l' : 'o';
}

static rp_err do_stat(struct job *j)
{
    struct stat st;
    int fd = rp_file_open(j->path, j->root_n, O_PATH | O_CLOEXEC, 0);
    if (fd < 0) return system_failed(j);
    bool known = fstat(fd, &st) == 0;
    if (!known) (void)system_failed(j);
    (void)close(fd);
    if (!known) return RP_E_OS;
    j->stat = (struct rp_file_stat){
        .kind = letter(st.st_mode),
        .mode = (uint32_t)st.st_mode & 07777,
        .bytes = (double)st.st_size,
        .modified = (double)st.st_mtim.tv_sec + (double)st.st_mtim.tv_nsec / 1e9,
        .inode = (double)st.st_ino,
        .device = (double)st.st_dev,
    };
    return RP_OK;
}

static char entry_letter(int dir, const struct dirent *d)
{
    struct stat st;
    switch (d->d_type) {
    case DT_REG: return 'f';
    case DT_DIR: return 'd';
    case DT_LNK: return 'l';
    case DT_UNKNOWN:
        if (fstatat(dir, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) return (char)letter(st.st_mode);
        return 'o';
    default: return 'o';
    }
}

static rp_err list_names(struct job *j, DIR *dir)
{
    double left = RP_MIN(j->number, (double)NAMES_MOST);
    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (!d) return errno ? system_failed(j) : RP_OK;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) continue;
        if (--left < 0) return RP_E_TOO_BIG;
        char kind = entry_letter(dirfd(dir), d);
        rp_buf_add(&j->out, rp_str_of(&kind, 1));
        rp_buf_add(&j->out, rp_str_of(d->d_name, strlen(d->d_name) + 1));
    }
}

static rp_err do_list(struct job *j)
{
    int fd = open_path(j, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return system_failed(j);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        rp_err failed = system_failed(j);
        (void)close(fd);
        return failed;
    }
    rp_err e = list_names(j, dir);
    (void)closedir(dir);
    return e;
}

static rp_err remove_in(struct job *j, const struct rp_file_at *at)
{
    if (unlinkat(at->dir, at->name, 0) == 0) return RP_OK;
    /* A folder: Linux says EISDIR, POSIX EPERM. */
    if ((errno == EISDIR || errno == EPERM) && unlinkat(at->dir, at->name, AT_REMOVEDIR) == 0)
        return RP_OK;
    return system_failed(j);
}

static rp_err do_remove(struct job *j)
{
    struct rp_file_at at;
    if (!rp_file_find(j->path, j->root_n, &at)) return system_failed(j);
    rp_err e = remove_in(j, &at);
    rp_file_let_go(&at);
    return e;
}

static bool is_folder(const struct rp_file_at *at)
{
    struct stat st;
    return fstatat(at->dir, at->name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

/* One folder; `there`: it is no failure that it is there. */
static rp_err make_folder(struct job *j, mode_t mode, bool there)
{
    struct rp_file_at at;
    if (!rp_file_find(j->path, j->root_n, &at)) return system_failed(j);
    rp_err e = mkdirat(at.dir, at.name, mode) == 0 ? RP_OK : system_failed(j);
    /* "/proc" says EACCES, not EEXIST. */
    if (e != RP_OK && there && is_folder(&at)) e = RP_OK;
    rp_file_let_go(&at);
    return e;
}

static rp_err do_mkdir(struct job *j)
{
    mode_t mode = (mode_t)j->number & 07777;
    bool parents = j->text_n == 1 && j->text[0] == 'p';
    size_t from = j->root_n > 0 ? (size_t)j->root_n : 0; /* the root is there */
    char *p = parents ? strchr(j->path + RP_MAX(from, (size_t)1), '/') : NULL;
    if (p && (size_t)(p - j->path) == from) p = strchr(p + 1, '/');
    for (; p; p = strchr(p + 1, '/')) {
        *p = 0;
        rp_err e = make_folder(j, mode, true);
        *p = '/';
        if (e != RP_OK) return e;
    }
    return make_folder(j, mode, parents);
}

static rp_err do_rename(struct job *j)
{
    struct rp_file_at from, to;
    if (!rp_file_find(j->path, j->root_n, &from)) return system_failed(j);
    bool found = rp_file_find(j->text, j->to_root_n, &to);
    bool done = found && renameat(from.dir, from.name, to.dir, to.name) == 0;
    rp_err e = done ? RP_OK : system_failed(j);
    if (found) rp_file_let_go(&to);
    rp_file_let_go(&from);
    return e;
}

static void run(void *arg)
{
    struct job *j = arg;
    switch (j->op) {
    case RP_FILE_READ: j->result = do_read(j); break;
    case RP_FILE_WRITE: j->result = do_write(j, O_TRUNC); break;
    case RP_FILE_SWAP: j->result = do_swap(j); break;
    case RP_FILE_APPEND: j->result = do_write(j, O_APPEND); break;
    case RP_FILE_STAT: j->result = do_stat(j); break;
    case RP_FILE_LIST: j->result = do_list(j); break;
    case RP_FILE_REMOVE: j->result = do_remove(j); break;
    case RP_FILE_MKDIR: j->result = do_mkdir(j); break;
    case RP_FILE_RENAME: j->result = do_rename(j); break;
    }
}

/* ---- on the loop ---------------------------------------------------------------------------- */

static void done(void *arg, bool cancelled)
{
    struct job *j = arg;
    struct rp_host *h = j->hold.host;
    (void)cancelled; /* nobody cancels */
    j->running = false;
    if (!h) {
        job_free(j);
        return;
    }
    h->files_n--;
    rp_abi_task_wake(&h->face, j->task);
}

static void let_go(struct rp_hold *hold)
{
    struct job *j = (struct job *)(void *)hold;
    if (!j->running) {
        job_free(j);
        return;
    }
    hold->host->files_n--;
    hold->host = NULL;
}

static char *copy(const char *p, size_t n)
{
    char *out = rp_alloc(n + 1);
    if (n) memcpy(out, p, n);
    out[n] = 0;
    return out;
}

static rp_err start(struct rp_host *h, struct job *j)
{
    rp_err e = rp_hold_open(h, &j->hold, RP_HOLD_FILE, let_go);
    if (e != RP_OK) {
        job_free(j);
        return e;
    }
    j->task = rp_abi_task_self(&h->face);
    j->running = true;
    h->files_n++;
    e = rp_work_start(h->proxy->loop, run, done, j, NULL);
    if (e == RP_OK) {
        h->face.handle = rp_hold_handle(&j->hold);
        return e;
    }
    j->running = false;
    h->files_n--;
    rp_hold_close(&j->hold);
    return RP_E_BUSY;
}

rp_err rp_abi_file(struct rp_host_face *f, uint32_t op, const char *path, size_t path_n,
                   double root_n, const char *text, size_t n, double to_root_n, double number)
{
    struct rp_host *h = rp_vm_of(f);
    if (op > RP_FILE_RENAME || path_n == 0 || !(number >= 0)) return RP_E_INVALID;
    if (!(root_n <= (double)path_n) || !(to_root_n <= (double)n)) return RP_E_INVALID;
    if (h->files_n >= JOBS_MOST) return RP_E_BUSY;
    struct job *j = rp_alloc(sizeof *j);
    j->op = (enum rp_abi_file_op)op;
    j->path = copy(path, path_n);
    j->text = copy(text, n);
    j->text_n = n;
    j->root_n = root_n;
    j->to_root_n = to_root_n;
    j->number = number;
    rp_buf_init(&j->out, (size_t)READ_MOST + 1);
    return start(h, j);
}

rp_err rp_abi_file_done(struct rp_host_face *f, double handle)
{
    struct rp_host *h = rp_vm_of(f);
    struct job *j = (struct job *)(void *)rp_hold_find(h, handle, RP_HOLD_FILE);
    if (!j) return RP_E_STALE;
    if (j->running) return RP_AGAIN;
    rp_err e = j->result == RP_OK && j->out.failed ? RP_E_TOO_BIG : j->result;
    f->file_stat = j->stat;
    f->number = j->os;
    rp_buf_fini(&h->bytes);
    h->bytes = j->out; /* good until the next job's end */
    rp_buf_init(&j->out, 0);
    f->out =
        e == RP_OK ? rp_buf_str(&h->bytes) : rp_str_z(j->os ? strerror(j->os) : rp_err_text(e));
    rp_hold_close(&j->hold);
    return e;
}
