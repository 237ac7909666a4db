/* SPDX-License-Identifier: MIT
 *
 * scratch: see scratch.h.
 */
#include "net/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "net/work.h"

enum { MAGIC = 0x53435254 };

enum job { JOB_NONE, JOB_WRITE, JOB_READ, JOB_CLOSE };

struct rp_scratch {
    uint32_t magic;
    uint8_t job; /* enum job: under way, or ended and not yet taken */
    bool busy;   /* the job is the pool's */
    bool closed; /* nobody waits for its end */
    int fd;      /* -1: not made yet */
    int os;      /* errno of the last failure */
    struct rp_loop *loop;
    void (*done)(void *user);
    void *user;
    void (*gone)(void *arg);
    void *gone_arg;
    struct rp_chain bytes;  /* WRITE */
    struct rp_chunk *chunk; /* READ */
    size_t n;               /* bytes that the job is about */
    size_t moved_n;         /* ... and those that it got through */
    uint64_t at;
    char dir[];
};

struct rp_scratch *rp_scratch_new(struct rp_loop *l, rp_str dir, void (*done)(void *user),
                                  void *user, void (*gone)(void *arg), void *arg)
{
    struct rp_scratch *s = rp_alloc(sizeof *s + dir.len + 1);
    s->magic = MAGIC;
    s->fd = -1;
    s->loop = l;
    s->done = done;
    s->user = user;
    s->gone = gone;
    s->gone_arg = arg;
    rp_chain_init(&s->bytes, rp_loop_mem(l));
    if (dir.len) memcpy(s->dir, dir.ptr, dir.len);
    return s;
}

bool rp_scratch_is_busy(const struct rp_scratch *s)
{
    return s->busy;
}

/* ---- on the pool ---------------------------------------------------------------------------- */

/* File systems without nameless files: the name lives for the moment between two calls. */
static int open_named(const char *dir)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/rproxy-XXXXXX", dir);
    if (n < 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) (void)unlink(path); /* refused only in a folder that is being changed under us */
    return fd;
}

static int open_file(const char *dir)
{
    int fd;
    do fd = RP_SYS(open, open(dir, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
    while (fd < 0 && errno == EINTR);
    /* EISDIR: a kernel that does not know the flag sees a folder that is opened for writing. */
    bool unknown = fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL);
    return unknown ? open_named(dir) : fd;
}

/* n: bytes at p; how many were written before a failure, which is noted. */
static size_t write_piece(struct rp_scratch *s, const char *p, size_t n)
{
    size_t sum = 0;
    while (sum < n) {
        off_t at = (off_t)(s->at + s->moved_n + sum);
        ssize_t got = RP_SYS(write, pwrite(s->fd, p + sum, RP_SHORT(write, n - sum), at));
        if (got > 0) {
            sum += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            s->os = got == 0 ? ENOSPC : errno;
            break;
        }
    }
    return sum;
}

static void run_write(struct rp_scratch *s)
{
    if (s->fd < 0) s->fd = open_file(s->dir);
    if (s->fd < 0) {
        s->os = errno;
        return;
    }
    for (const struct rp_piece *p = s->bytes.head; p && s->os == 0; p = p->next)
        s->moved_n += write_piece(s, p->ptr, p->len);
}

static void run_read(struct rp_scratch *s)
{
    while (s->moved_n < s->n) {
        ssize_t got =
            RP_SYS(read, pread(s->fd, s->chunk->data + s->moved_n,
                               RP_SHORT(read, s->n - s->moved_n), (off_t)(s->at + s->moved_n)));
        if (got > 0) {
            s->moved_n += (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            s->os = got == 0 ? EIO : errno; /* what was written is not there: somebody cut it */
            return;
        }
    }
}

static void run_job(void *arg)
{
    struct rp_scratch *s = arg;
    switch ((enum job)s->job) {
    case JOB_WRITE: run_write(s); break;
    case JOB_READ: run_read(s); break;
    case JOB_CLOSE: (void)close(s->fd); break; /* nothing that it may say matters any more */
    case JOB_NONE: break;
    }
}

/* ---- on the loop ---------------------------------------------------------------------------- */

static void free_scratch(struct rp_scratch *s)
{
    if (s->gone) s->gone(s->gone_arg);
    s->magic = 0;
    rp_free(s);
}

static void start_close(struct rp_scratch *s);

static void on_job(void *arg, bool cancelled)
{
    struct rp_scratch *s = RP_AS(rp_scratch, arg, MAGIC);
    RP_CHECK(!cancelled); /* nobody does */
    s->busy = false;
    if (s->job == JOB_CLOSE) free_scratch(s);
    else if (s->closed) start_close(s);
    else s->done(s->user);
}

static rp_err start(struct rp_scratch *s, enum job job)
{
    s->job = (uint8_t)job;
    s->moved_n = 0;
    s->os = 0;
    rp_err e = rp_work_start(s->loop, run_job, on_job, s, NULL);
    s->busy = e == RP_OK;
    if (e == RP_OK) return e;
    s->job = JOB_NONE;
    s->os = EAGAIN;
    return RP_E_OS;
}

static void start_close(struct rp_scratch *s)
{
    rp_chain_clear(&s->bytes);
    rp_chunk_drop(s->chunk);
    s->chunk = NULL;
    if (s->fd >= 0) {
        if (start(s, JOB_CLOSE) == RP_OK) return;
        (void)close(s->fd); /* better here than never */
    }
    free_scratch(s);
}

void rp_scratch_close(struct rp_scratch *s)
{
    s->closed = true;
    if (!s->busy) start_close(s);
}

/* `back` goes in front of what is left of `in`. */
static void put_back(struct rp_chain *in, struct rp_chain *back)
{
    rp_chain_move(back, in, in->bytes);
    rp_chain_move(in, back, back->bytes);
}

rp_err rp_scratch_write(struct rp_scratch *s, struct rp_chain *in, size_t n, uint64_t at)
{
    RP_CHECK(!s->busy && s->bytes.bytes == 0);
    s->at = at;
    s->n = rp_chain_move(&s->bytes, in, n);
    rp_err e = start(s, JOB_WRITE);
    if (e != RP_OK) put_back(in, &s->bytes);
    return e;
}

rp_err rp_scratch_read(struct rp_scratch *s, uint64_t at, size_t n)
{
    RP_CHECK(!s->busy && !s->chunk && s->fd >= 0 && n <= RP_CHUNK_LARGE);
    s->at = at;
    s->n = n;
    s->chunk = rp_chunk_new(rp_loop_mem(s->loop), n);
    rp_err e = start(s, JOB_READ);
    if (e == RP_OK) return e;
    rp_chunk_drop(s->chunk);
    s->chunk = NULL;
    return e;
}

rp_err rp_scratch_take(struct rp_scratch *s, struct rp_chain *out)
{
    RP_CHECK(!s->busy);
    if (s->job == JOB_WRITE) {
        rp_chain_consume(&s->bytes, s->moved_n);
        rp_chain_move(out, &s->bytes, s->bytes.bytes);
    } else if (s->job == JOB_READ) {
        s->chunk->used = (uint32_t)s->moved_n;
        if (s->os == 0) rp_chain_add(out, s->chunk, s->chunk->data, s->moved_n);
        rp_chunk_drop(s->chunk);
        s->chunk = NULL;
    }
    s->job = JOB_NONE;
    return s->os == 0 ? RP_OK : RP_E_OS;
}

int rp_scratch_errno(const struct rp_scratch *s)
{
    return s->os;
}
