/* SPDX-License-Identifier: MIT
 *
 * access: the access log's writer: a buffer per file, whole lines per write.
 *
 * Invariants: a file's buffer starts at the beginning of a line, or (`torn`) with the rest of the one
 * line that a short write cut; after a failed write nothing else is kept, so a full disk costs lines
 * and neither memory nor time. The process ignores SIGPIPE: a broken pipe is EPIPE here.
 */
#include "proxy/access.h"

#include "base/buf.h"
#include "base/fault.h"
#include "base/log.h"
#include "proxy/access_line.h"
#include "proxy/proxy.h"

#include <errno.h>
#include <unistd.h>

enum {
    LINES_CAP_BYTES = 16 * 1024 * 1024, /* of one buffer: the builder's largest (1 MB) and a line */
    KEEP_BYTES = 4 * 1024 * 1024,       /* a buffer that grew beyond this is given back */
    DECISIONS_BYTES = 64 * 1024,        /* gathered of the log of decisions */
    REPORT_MS = 60 * 1000,              /* between two complaints about one file */
};

struct log_file {
    int fd;   /* -1: not open */
    bool own; /* close it */
    bool torn;
    struct rp_buf lines;
    uint64_t dropped_n; /* lines since the last complaint */
    int os;             /* errno of the last failed write; 0: no descriptor */
    bool reported;      /* ... once; reported_ms is valid */
    rp_ms reported_ms;
};

struct rp_access {
    struct rp_loop *loop;
    struct log_file *files; /* by conf->files index of the current generation */
    uint32_t files_n;
    struct log_file out, err; /* "stdout", "stderr" */
    struct rp_timer timer;    /* armed while a buffer holds lines */
    struct rp_access_clock clock;
};

/* ---- one file -------------------------------------------------------------------------------- */

static void open_file(struct log_file *f, int fd, bool own)
{
    *f = (struct log_file){.fd = fd, .own = own};
    rp_buf_init(&f->lines, LINES_CAP_BYTES);
}

static uint64_t count_lines(rp_str s)
{
    uint64_t n = 0;
    for (size_t at = rp_str_find(s, '\n', 0); at < s.len; at = rp_str_find(s, '\n', at + 1)) n++;
    return n;
}

/* At most once a minute, and the first time at once. */
static void report(struct rp_access *a, struct log_file *f)
{
    rp_ms now = rp_loop_now(a->loop);
    if (f->dropped_n == 0 || (f->reported && now - f->reported_ms < REPORT_MS)) return;
    rp_log(warn, "access log lines dropped lines=%llu fd=%d errno=%d",
           (unsigned long long)f->dropped_n, f->fd, f->os);
    f->dropped_n = 0;
    f->reported = true;
    f->reported_ms = now;
}

/* The write failed or was short after `written` bytes: keep only the rest of a line cut in two. */
static void drop_lines(struct log_file *f, size_t written)
{
    rp_str all = rp_buf_str(&f->lines);
    bool cut = written > 0 ? all.ptr[written - 1] != '\n' : f->torn;
    size_t keep_end = cut ? rp_str_find(all, '\n', written) + 1 : written;
    f->dropped_n += count_lines(rp_str_from(all, keep_end));
    rp_buf_consume(&f->lines, written);
    f->lines.len = keep_end - written;
    f->torn = cut;
}

static void flush_file(struct rp_access *a, struct log_file *f)
{
    rp_str rest = rp_buf_str(&f->lines);
    while (rest.len > 0) {
        ssize_t n =
            f->fd >= 0 ? RP_SYS(write, write(f->fd, rest.ptr, RP_SHORT(write, rest.len))) : -1;
        if (n < 0 && f->fd >= 0 && errno == EINTR) continue;
        if (n <= 0) {
            f->os = f->fd >= 0 ? errno : 0;
            drop_lines(f, f->lines.len - rest.len);
            report(a, f);
            return;
        }
        rest = rp_str_from(rest, (size_t)n);
    }
    f->torn = false;
    if (f->lines.room > KEEP_BYTES) rp_buf_fini(&f->lines); /* usable again */
    rp_buf_clear(&f->lines);
    report(a, f);
}

static void close_file(struct rp_access *a, struct log_file *f)
{
    flush_file(a, f);
    rp_buf_fini(&f->lines);
    if (f->own && f->fd >= 0) close(f->fd);
    f->fd = -1;
}

/* ---- the writer ------------------------------------------------------------------------------ */

static void fire(struct rp_timer *t)
{
    rp_access_flush(RP_CONTAINER(rp_access, timer, t));
}

struct rp_access *rp_access_new(struct rp_loop *l)
{
    struct rp_access *a = rp_alloc(sizeof *a);
    a->loop = l;
    a->clock.second = INT64_MIN;
    open_file(&a->out, STDOUT_FILENO, false);
    open_file(&a->err, STDERR_FILENO, false);
    rp_timer_init(&a->timer, fire);
    return a;
}

static void close_files(struct rp_access *a)
{
    for (uint32_t i = 0; i < a->files_n; i++) close_file(a, &a->files[i]);
    rp_free(a->files);
    a->files = NULL;
    a->files_n = 0;
}

void rp_access_free(struct rp_access **a)
{
    struct rp_access *old = *a;
    if (!old) return;
    rp_timer_clear(old->loop, &old->timer);
    close_files(old);
    close_file(old, &old->out);
    close_file(old, &old->err);
    rp_free(old);
    *a = NULL;
}

void rp_access_set_files(struct rp_access *a, const int *fds, uint32_t n)
{
    close_files(a);
    if (n == 0) return;
    a->files = rp_alloc(n * sizeof *a->files);
    a->files_n = n;
    for (uint32_t i = 0; i < n; i++) open_file(&a->files[i], fds[i], true);
}

void rp_access_flush(struct rp_access *a)
{
    rp_timer_clear(a->loop, &a->timer);
    for (uint32_t i = 0; i < a->files_n; i++) flush_file(a, &a->files[i]);
    flush_file(a, &a->out);
    flush_file(a, &a->err);
}

/* ---- one line -------------------------------------------------------------------------------- */

/* Files are numbered by the current generation; a request of an older one knows its file by name. */
static uint32_t current_index(const struct rp_conf *now, const struct rp_conf *c, uint32_t index)
{
    if (now == c) return index;
    for (uint32_t i = 0; i < now->files_n; i++)
        if (rp_str_eq(now->files[i], c->files[index])) return i;
    return UINT32_MAX;
}

/* Where a line of c for one of its files goes; NULL: nowhere, it is no longer written to. */
static struct log_file *file_of(struct rp_access *a, const struct rp_conf *now,
                                const struct rp_conf *c, uint32_t file)
{
    uint32_t index = current_index(now, c, file);
    if (index < a->files_n && a->files[index].fd >= 0) return &a->files[index];
    rp_str name = c->files[file];
    if (rp_str_eq(name, RP_STR("stdout"))) return &a->out;
    if (rp_str_eq(name, RP_STR("stderr"))) return &a->err;
    return index < a->files_n ? &a->files[index] : NULL;
}

static void flush_or_arm(struct rp_access *a, struct log_file *f, size_t buffer, rp_ms flush_ms)
{
    if (flush_ms == 0 || f->lines.len >= buffer) flush_file(a, f);
    else if (!rp_timer_is_armed(&a->timer)) rp_timer_set(a->loop, &a->timer, flush_ms);
}

/* Over the cap: a line is written whole or not at all. */
static void take_back(struct log_file *f, size_t before)
{
    if (!f->lines.failed) return;
    f->lines.len = before;
    f->lines.failed = false;
    f->dropped_n++;
}

void rp_access_write(struct rp_access *a, const struct rp_req *r)
{
    const struct rp_conf_access_log *log = &r->conf->access;
    const struct rp_conf *now = r->proxy ? r->proxy->conf : r->conf;
    struct log_file *f = log->on ? file_of(a, now, r->conf, log->file) : NULL;
    if (!f) return;
    size_t before = f->lines.len;
    rp_access_line(&f->lines, r, rp_loop_wall(a->loop), rp_loop_now_ns(a->loop), &a->clock);
    take_back(f, before);
    flush_or_arm(a, f, log->buffer_bytes, log->flush_ms);
}

static void write_line(struct rp_access *a, struct log_file *f, rp_str line, size_t buffer,
                       rp_ms flush_ms)
{
    if (!f) return;
    size_t before = f->lines.len;
    rp_buf_add(&f->lines, line);
    take_back(f, before);
    flush_or_arm(a, f, buffer, flush_ms);
}

void rp_access_write_line(struct rp_access *a, const struct rp_conf *now, const struct rp_conf *c,
                          rp_str line)
{
    const struct rp_conf_access_log *log = &c->access;
    write_line(a, file_of(a, now, c, log->file), line, log->buffer_bytes, log->flush_ms);
}

void rp_access_write_decision(struct rp_access *a, const struct rp_conf *now,
                              const struct rp_conf *c, rp_str line)
{
    if (c->decisions_file >= c->files_n) return;
    write_line(a, file_of(a, now, c, c->decisions_file), line, DECISIONS_BYTES,
               c->decisions_flush_ms);
}
