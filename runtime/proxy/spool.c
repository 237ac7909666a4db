/* SPDX-License-Identifier: MIT
 *
 * spool: see spool.h.
 */
#include "proxy/spool.h"

#include <string.h>

#include "base/log.h"
#include "net/scratch.h"

enum {
    COPY_MAX = 4 * 1024,    /* bytes: lesser pieces are put together, so that they hold no chunks */
    READ_BYTES = 64 * 1024, /* of one read */
    SAY_EVERY_MS = 10 * 1000 /* failures of the disk come in swarms */
};

/* ---- the worker's account ------------------------------------------------------------------- */

struct rp_spill {
    struct rp_loop *loop;
    struct rp_spill_counts *counts; /* NULL: their owner went */
    uint64_t used;                  /* bytes of all files */
    uint32_t refs;                  /* its owner, and each file */
    uint32_t unsaid_n;              /* failures since the last log line */
    rp_ms said_ms;                  /* of that line; 0: none yet */
};

/* One file's part of the account. It outlives its spool while the file is being closed. */
struct part {
    struct rp_spill *spill;
    uint64_t bytes;
};

struct rp_spill *rp_spill_new(struct rp_loop *l, struct rp_spill_counts *counts)
{
    struct rp_spill *s = rp_alloc(sizeof *s);
    s->loop = l;
    s->counts = counts;
    s->refs = 1;
    return s;
}

static void drop_spill(struct rp_spill *s)
{
    RP_CHECK(s->refs > 0);
    if (--s->refs == 0) rp_free(s);
}

void rp_spill_drop(struct rp_spill **where)
{
    struct rp_spill *s = *where;
    if (!s) return;
    *where = NULL;
    s->counts = NULL;
    drop_spill(s);
}

static struct part *open_part(struct rp_spill *s)
{
    struct part *p = rp_alloc(sizeof *p);
    p->spill = s;
    s->refs++;
    if (s->counts) {
        s->counts->files++;
        s->counts->files_active++;
    }
    return p;
}

static void set_part(struct part *p, uint64_t bytes)
{
    struct rp_spill *s = p->spill;
    s->used += bytes - p->bytes;
    if (s->counts) s->counts->bytes_active += bytes - p->bytes;
    p->bytes = bytes;
}

/* The file's blocks are free again. */
static void on_gone(void *arg)
{
    struct part *p = arg;
    set_part(p, 0);
    if (p->spill->counts) p->spill->counts->files_active--;
    drop_spill(p->spill);
    rp_free(p);
}

static void say_failure(struct rp_spill *s, rp_str dir, int os)
{
    rp_ms now = rp_loop_now(s->loop);
    if (s->counts) s->counts->failures++;
    s->unsaid_n++;
    if (s->said_ms && now - s->said_ms < SAY_EVERY_MS) return;
    s->said_ms = now;
    rp_log(error, "a body cannot be kept in a file dir=%s errno=%d error=\"%s\" failures_n=%u",
           rp_log_esc(dir), os, strerror(os), s->unsaid_n);
    s->unsaid_n = 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

struct rp_spool {
    struct rp_spill *spill;
    struct rp_spool_rule rule;
    void (*wake)(void *user);
    void *user;
    struct rp_scratch *file; /* NULL: nothing was written yet */
    struct part *part;       /* the file's */
    struct rp_chain queue;   /* behind the file and the job that writes */
    struct rp_chain ahead;   /* read from the file: [got, got + ahead.bytes) */
    size_t writing_n;        /* bytes of the job that writes */
    uint64_t put_n, got;
    uint64_t base_at, file_end; /* the file holds [base_at, file_end) */
    rp_err end;                 /* RP_OK: more may come */
    rp_err fail;                /* nothing can be got any more; of a kept one also: put in */
    bool reading, stale;        /* a job reads; for a position that nobody wants now */
    bool broken;                /* the file takes no more */
};

struct rp_spool *rp_spool_new(struct rp_spill *s, const struct rp_spool_rule *rule,
                              void (*wake)(void *user), void *user)
{
    struct rp_spool *sp = rp_alloc(sizeof *sp);
    sp->spill = s;
    sp->rule = *rule;
    sp->wake = wake;
    sp->user = user;
    rp_chain_init(&sp->queue, rp_loop_mem(s->loop));
    rp_chain_init(&sp->ahead, rp_loop_mem(s->loop));
    return sp;
}

void rp_spool_free(struct rp_spool **where)
{
    struct rp_spool *sp = *where;
    if (!sp) return;
    *where = NULL;
    if (sp->file) rp_scratch_close(sp->file); /* on_gone settles the account */
    rp_chain_clear(&sp->queue);
    rp_chain_clear(&sp->ahead);
    rp_free(sp);
}

/* ---- jobs ----------------------------------------------------------------------------------- */

static void file_failed(struct rp_spool *sp)
{
    say_failure(sp->spill, sp->rule.dir, rp_scratch_errno(sp->file));
}

/* What could not be written stays in memory, in its place: only a kept one cannot go on. */
static void end_write(struct rp_spool *sp)
{
    struct rp_chain rest;
    rp_chain_init(&rest, sp->queue.mem);
    rp_err e = rp_scratch_take(sp->file, &rest);
    uint64_t written = sp->writing_n - rest.bytes;
    sp->file_end += written;
    sp->writing_n = 0;
    if (sp->spill->counts) sp->spill->counts->bytes += written;
    if (rest.bytes) {
        rp_chain_move(&rest, &sp->queue, sp->queue.bytes);
        rp_chain_move(&sp->queue, &rest, rest.bytes);
    }
    if (e == RP_OK) return;
    file_failed(sp);
    sp->broken = true;
    if (sp->rule.kept) sp->fail = RP_E_SPILL;
}

static void end_read(struct rp_spool *sp)
{
    struct rp_chain bytes;
    rp_chain_init(&bytes, sp->queue.mem);
    rp_err e = rp_scratch_take(sp->file, &bytes);
    if (e != RP_OK && !sp->stale) {
        file_failed(sp);
        sp->fail = RP_E_SPILL;
    }
    if (!sp->stale) rp_chain_move(&sp->ahead, &bytes, bytes.bytes);
    rp_chain_clear(&bytes);
    sp->reading = sp->stale = false;
}

static void on_job(void *user)
{
    struct rp_spool *sp = user;
    if (sp->reading) end_read(sp);
    else end_write(sp);
    sp->wake(sp->user);
}

static bool is_busy(const struct rp_spool *sp)
{
    return sp->reading || sp->writing_n > 0;
}

/* Bytes of the file that the reader has not got, beyond those read ahead. */
static uint64_t unread(const struct rp_spool *sp)
{
    uint64_t from = sp->got + sp->ahead.bytes;
    return from < sp->file_end ? sp->file_end - from : 0;
}

static void start_read(struct rp_spool *sp)
{
    size_t n = (size_t)RP_MIN(unread(sp), (uint64_t)READ_BYTES);
    uint64_t at = sp->got + sp->ahead.bytes - sp->base_at;
    if (rp_scratch_read(sp->file, at, n) == RP_OK) {
        sp->reading = true;
        return;
    }
    file_failed(sp);
    sp->fail = RP_E_SPILL;
}

/* May n more bytes go to the file? Sets aside what they take. */
static rp_err reserve(struct rp_spool *sp, size_t n)
{
    struct rp_spill *s = sp->spill;
    uint64_t extent = sp->file_end - sp->base_at + n, has = sp->part ? sp->part->bytes : 0;
    if (!sp->rule.kept && extent > sp->rule.max) return RP_E_SPILL_FULL;
    if (extent > has && (s->used > sp->rule.most || extent - has > sp->rule.most - s->used))
        return RP_E_SPILL_FULL;
    if (!sp->file) {
        sp->part = open_part(s);
        sp->file = rp_scratch_new(s->loop, sp->rule.dir, on_job, sp, on_gone, sp->part);
    }
    if (extent > has) set_part(sp->part, extent);
    return RP_OK;
}

static rp_err start_write(struct rp_spool *sp)
{
    size_t n = sp->queue.bytes;
    bool drained = !sp->rule.kept && sp->got == sp->file_end;
    if (drained) sp->base_at = sp->file_end; /* its blocks are written over */
    rp_err e = reserve(sp, n);
    if (e != RP_OK) return e;
    e = rp_scratch_write(sp->file, &sp->queue, n, sp->file_end - sp->base_at);
    if (e == RP_OK) sp->writing_n = n;
    if (e == RP_OK) return e;
    file_failed(sp);
    sp->broken = true;
    return RP_E_SPILL;
}

/* ---- in ------------------------------------------------------------------------------------- */

/* Small pieces are copied together: a sender of a few bytes at a time would else make us keep a
 * whole chunk for each. */
void rp_spool_put(struct rp_spool *sp, struct rp_chain *in)
{
    RP_ASSERT(sp->end == RP_OK);
    sp->put_n += in->bytes;
    while (in->head) {
        size_t n = in->head->len;
        if (n > COPY_MAX) {
            rp_chain_move(&sp->queue, in, n);
        } else {
            rp_chain_add_copy(&sp->queue, rp_str_of(in->head->ptr, n));
            rp_chain_consume(in, n);
        }
    }
}

/* The slice [from, from + n) of `src` as far as it goes; src keeps its own. */
static void add_slice(struct rp_chain *dst, const struct rp_chain *src, size_t from, size_t n)
{
    for (const struct rp_piece *p = src->head; p && n; p = p->next) {
        if (from >= p->len) {
            from -= p->len;
            continue;
        }
        size_t part = RP_MIN(n, p->len - from);
        if (p->chunk) rp_chain_add(dst, p->chunk, p->ptr + from, part);
        else rp_chain_add_const(dst, rp_str_of(p->ptr + from, part));
        from = 0;
        n -= part;
    }
}

void rp_spool_share(struct rp_spool *sp, const struct rp_chain *in)
{
    sp->put_n += in->bytes;
    add_slice(&sp->queue, in, 0, in->bytes);
}

bool rp_spool_has_room(const struct rp_spool *sp)
{
    return sp->queue.bytes + sp->writing_n < sp->rule.memory;
}

rp_err rp_spool_push(struct rp_spool *sp)
{
    if (sp->fail != RP_OK) return sp->fail;
    if (is_busy(sp) || sp->queue.bytes < sp->rule.memory) return RP_OK;
    rp_err e = sp->broken ? RP_E_SPILL : start_write(sp);
    if (!sp->rule.kept) return RP_OK; /* the reader will come */
    sp->fail = e;
    return e;
}

void rp_spool_end(struct rp_spool *sp, rp_err why)
{
    RP_ASSERT(why != RP_OK);
    if (sp->end == RP_OK) sp->end = why;
}

rp_err rp_spool_settle(struct rp_spool *sp)
{
    if (sp->fail != RP_OK) return sp->fail;
    return sp->writing_n ? RP_AGAIN : RP_OK;
}

/* ---- out ------------------------------------------------------------------------------------ */

static void take(struct rp_spool *sp, struct rp_chain *from, struct rp_chain *out, size_t max)
{
    sp->got += rp_chain_move(out, from, max);
}

static void take_queue(struct rp_spool *sp, struct rp_chain *out, size_t max)
{
    size_t at = (size_t)(sp->got - sp->file_end);
    size_t n = RP_MIN(max, sp->queue.bytes - at);
    if (!sp->rule.kept) {
        take(sp, &sp->queue, out, n);
        sp->file_end = sp->base_at =
            sp->got; /* the file, if any, is empty: what follows is behind */
        return;
    }
    add_slice(out, &sp->queue, at, n);
    sp->got += n;
}

rp_err rp_spool_get(struct rp_spool *sp, struct rp_chain *out, size_t max)
{
    if (sp->ahead.bytes) {
        take(sp, &sp->ahead, out, max);
        if (sp->ahead.bytes == 0 && unread(sp) && !is_busy(sp)) start_read(sp);
        return RP_OK; /* a failure is told by the next call */
    }
    if (sp->fail != RP_OK) return sp->fail;
    if (unread(sp)) {
        if (!is_busy(sp)) start_read(sp);
        return sp->fail != RP_OK ? sp->fail : RP_AGAIN;
    }
    if (sp->writing_n) return RP_AGAIN; /* these bytes come next */
    if (sp->got < sp->file_end + sp->queue.bytes) {
        take_queue(sp, out, max);
        return RP_OK;
    }
    return sp->end == RP_OK ? RP_AGAIN : sp->end;
}

bool rp_spool_is_reading(const struct rp_spool *sp)
{
    return is_busy(sp) && sp->got < sp->put_n;
}

void rp_spool_rewind(struct rp_spool *sp)
{
    RP_ASSERT(sp->rule.kept);
    sp->got = 0;
    rp_chain_clear(&sp->ahead);
    sp->stale = sp->reading;
}

uint64_t rp_spool_bytes(const struct rp_spool *sp)
{
    return sp->put_n;
}

uint64_t rp_spool_left(const struct rp_spool *sp)
{
    return sp->put_n - sp->got;
}

bool rp_spool_is_ended(const struct rp_spool *sp)
{
    return sp->end != RP_OK;
}

bool rp_spool_is_finished(const struct rp_spool *sp)
{
    return sp->end == RP_END && sp->got == sp->put_n;
}
