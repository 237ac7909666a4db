/* SPDX-License-Identifier: MIT
 *
 * abi_file: files, for rp.fs: each call is one job on a thread of the pool, while the task waits.
 *
 * RUNNING -> DONE -> taken by Lua. A job that is let go of while it runs is an orphan: its thread
 * finishes what it began, and it is freed then.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/work.h"
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
    char *path, *text; /* ended by NUL, too */
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

static int open_retry(const char *path, int flags, mode_t mode)
{
    int fd;
    do fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
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
    int fd = open_retry(j->path, O_RDONLY, 0);
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
    int fd = open_retry(j->path, O_WRONLY | O_CREAT | flags, (mode_t)j->number & 07777);
    if (fd < 0) return system_failed(j);
    rp_err e = check_plain(j, fd);
    if (e == RP_OK) e = write_all(j, fd);
    return close_written(j, fd, e);
}

/* The name stands for the old bytes or all of the new ones, also after a crash of the system. */
static rp_err do_swap(struct job *j)
{
    char name[PATH_MAX];
    int n = snprintf(name, sizeof name, "%s.XXXXXX", j->path);
    if (n < 0 || (size_t)n >= sizeof name) {
        errno = ENAMETOOLONG;
        return system_failed(j);
    }
    int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0) return system_failed(j);
    rp_err e = write_all(j, fd);
    if (e == RP_OK && fchmod(fd, (mode_t)j->number & 07777) != 0) e = system_failed(j);
    if (e == RP_OK && fsync(fd) != 0) e = system_failed(j);
    e = close_written(j, fd, e);
    if (e == RP_OK && rename(name, j->path) != 0) e = system_failed(j);
    if (e != RP_OK) (void)unlink(name); /* the failure is reported already */
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
    if (stat(j->path, &st) != 0) return system_failed(j);
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
    DIR *dir = opendir(j->path);
    if (!dir) return system_failed(j);
    rp_err e = list_names(j, dir);
    (void)closedir(dir);
    return e;
}

static rp_err do_remove(struct job *j)
{
    if (unlink(j->path) == 0) return RP_OK;
    /* A folder: Linux says EISDIR, POSIX EPERM. */
    if ((errno == EISDIR || errno == EPERM) && rmdir(j->path) == 0) return RP_OK;
    return system_failed(j);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static rp_err make_parents(struct job *j, mode_t mode)
{
    for (char *p = strchr(j->path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        bool there = mkdir(j->path, mode) == 0 || errno == EEXIST;
        rp_err e = there ? RP_OK : system_failed(j);
        if (!there && is_folder(j->path)) e = RP_OK; /* "/proc" says EACCES, not EEXIST */
        *p = '/';
        if (e != RP_OK) return e;
    }
    return RP_OK;
}

static rp_err do_mkdir(struct job *j)
{
    mode_t mode = (mode_t)j->number & 07777;
    bool parents = j->text_n == 1 && j->text[0] == 'p';
    rp_err e = parents ? make_parents(j, mode) : RP_OK;
    if (e != RP_OK || mkdir(j->path, mode) == 0) return e;
    e = system_failed(j);
    return parents && j->os == EEXIST && is_folder(j->path) ? RP_OK : e;
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
    case RP_FILE_RENAME:
        j->result = rename(j->path, j->text) == 0 ? RP_OK : system_failed(j);
        break;
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
                   const char *text, size_t n, double number)
{
    struct rp_host *h = rp_vm_of(f);
    if (op > RP_FILE_RENAME || path_n == 0 || !(number >= 0)) return RP_E_INVALID;
    if (h->files_n >= JOBS_MOST) return RP_E_BUSY;
    struct job *j = rp_alloc(sizeof *j);
    j->op = (enum rp_abi_file_op)op;
    j->path = copy(path, path_n);
    j->text = copy(text, n);
    j->text_n = n;
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
