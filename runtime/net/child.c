/* SPDX-License-Identifier: MIT
 *
 * child: see child.h. Over libuv's processes and pipes. The memory goes when all four handles have
 * closed, which they do in any order.
 */
#include "net/child.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/loop_uv.h"
#include "net/timer.h"

enum {
    PIECE = 16 * 1024,
    GRACE_MS = 200, /* after its end, for outputs that somebody else keeps open */
    PIPES = 3,
};

struct rp_child {
    uv_process_t process;
    uv_pipe_t pipes[PIPES];
    uv_write_t write;
    struct rp_loop *loop;
    struct rp_child *next, *prev; /* of the loop, until it exits */
    struct rp_timer grace;
    void (*ended)(void *arg); /* NULL: told, or nobody asks any more */
    void *arg;
    int open_n;          /* handles that have not closed */
    int reading_n;       /* outputs that have not ended */
    bool exited, closed; /* closed: free it with the last handle */
    struct rp_child_end end;
    struct rp_buf in, outs[2];
    char piece[PIECE];
};

static void free_when_closed(struct rp_child *c)
{
    if (c->open_n > 0 || !c->closed) return;
    rp_timer_clear(c->loop, &c->grace);
    rp_buf_fini(&c->in);
    rp_buf_fini(&c->outs[0]);
    rp_buf_fini(&c->outs[1]);
    rp_free(c);
}

static void on_closed(uv_handle_t *h)
{
    struct rp_child *c = h->data;
    c->open_n--;
    free_when_closed(c);
}

static void close_handle(uv_handle_t *h)
{
    struct rp_child *c = h->data;
    if (uv_is_closing(h)) return;
    (void)rp_loop_guest(c->loop); /* it has something to do */
    uv_close(h, on_closed);
}

static void kill_group(struct rp_child *c)
{
    /* Not reaped yet, so the number is still its own. */
    if (!c->exited && c->process.pid > 0) (void)kill(-c->process.pid, SIGKILL);
}

/* ---- its end -------------------------------------------------------------------------------- */

static void tell(struct rp_child *c)
{
    void (*ended)(void *arg) = c->ended;
    for (int i = 0; i < PIPES; i++) close_handle((uv_handle_t *)&c->pipes[i]);
    rp_timer_clear(c->loop, &c->grace);
    c->ended = NULL;
    if (ended) ended(c->arg);
}

static void tell_when_ended(struct rp_child *c)
{
    if (!c->exited) return;
    if (c->reading_n == 0) tell(c);
    else if (!rp_timer_is_armed(&c->grace)) rp_timer_set(c->loop, &c->grace, GRACE_MS);
}

static void on_grace(struct rp_timer *t)
{
    struct rp_child *c = RP_CONTAINER(rp_child, grace, t);
    c->reading_n = 0;
    tell(c);
}

static void enlist(struct rp_child *c)
{
    c->next = c->loop->children;
    if (c->next) c->next->prev = c;
    c->loop->children = c;
}

static void unlist(struct rp_child *c)
{
    if (c->prev) c->prev->next = c->next;
    else c->loop->children = c->next;
    if (c->next) c->next->prev = c->prev;
}

static void on_exit_status(uv_process_t *p, int64_t status, int number)
{
    struct rp_child *c = p->data;
    c->exited = true;
    unlist(c);
    c->end.status = status;
    c->end.killed_by = number;
    close_handle((uv_handle_t *)p);
    tell_when_ended(c);
}

/* ---- pipes ---------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    struct rp_child *c = h->data;
    (void)hint;
    *buf = uv_buf_init(c->piece, PIECE);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct rp_child *c = s->data;
    struct rp_buf *out = &c->outs[(uv_pipe_t *)(void *)s == &c->pipes[2]];
    if (n == 0) return;
    if (n > 0) {
        if (c->end.code == RP_OK) rp_buf_add(out, rp_str_of(buf->base, (size_t)n));
        if (!out->failed || c->end.code != RP_OK) return;
        c->end.code = RP_E_TOO_BIG;
        kill_group(c);
        return;
    }
    c->reading_n--;
    close_handle((uv_handle_t *)s);
    tell_when_ended(c);
}

/* It may not care for its input: that is no failure. */
static void on_written(uv_write_t *w, int status)
{
    struct rp_child *c = w->data;
    (void)status;
    close_handle((uv_handle_t *)&c->pipes[0]);
}

static void feed(struct rp_child *c)
{
    uv_buf_t buf = uv_buf_init(c->in.ptr, (unsigned)c->in.len);
    c->write.data = c;
    if (c->in.len == 0 ||
        uv_write(&c->write, (uv_stream_t *)&c->pipes[0], &buf, 1, on_written) != 0)
        close_handle((uv_handle_t *)&c->pipes[0]);
}

static void listen_to(struct rp_child *c, int i)
{
    if (uv_read_start((uv_stream_t *)&c->pipes[i], on_alloc, on_read) == 0) c->reading_n++;
    else close_handle((uv_handle_t *)&c->pipes[i]);
}

/* ---- life ----------------------------------------------------------------------------------- */

/* All that the worker has open says by itself that no program gets it; this is for what a library
 * may have opened. A kernel older than 5.11 refuses. */
static void keep_descriptors(void)
{
#ifdef SYS_close_range
    enum { MARK_ONLY = 1 << 2 }; /* CLOSE_RANGE_CLOEXEC */
    (void)syscall(SYS_close_range, 3U, ~0U, MARK_ONLY);
#endif
}

static int spawn(struct rp_child *c, const struct rp_child_spec *spec)
{
    static const int FLOWS[PIPES] = {UV_READABLE_PIPE, UV_WRITABLE_PIPE, UV_WRITABLE_PIPE};
    uv_stdio_container_t stdio[PIPES];
    for (int i = 0; i < PIPES; i++) {
        stdio[i].flags = (uv_stdio_flags)(UV_CREATE_PIPE | FLOWS[i]);
        stdio[i].data.stream = (uv_stream_t *)&c->pipes[i];
    }
    uv_process_options_t options = {
        .exit_cb = on_exit_status,
        .file = spec->argv[0],
        .args = (char **)(uintptr_t)spec->argv,
        .env = (char **)(uintptr_t)spec->env,
        .cwd = spec->cwd,
        .flags = UV_PROCESS_DETACHED, /* a session, and so a group, of its own */
        .stdio_count = PIPES,
        .stdio = stdio,
    };
    keep_descriptors();
    return uv_spawn(rp_loop_guest(c->loop), &c->process, &options);
}

static struct rp_child *child_new(struct rp_loop *l, const struct rp_child_spec *spec)
{
    struct rp_child *c = rp_alloc(sizeof *c);
    c->loop = l;
    rp_timer_init(&c->grace, on_grace);
    rp_buf_init(&c->in, spec->in.len);
    rp_buf_add(&c->in, spec->in);
    for (int i = 0; i < 2; i++) rp_buf_init(&c->outs[i], spec->out_most);
    for (int i = 0; i < PIPES; i++) {
        RP_CHECK(uv_pipe_init(rp_loop_guest(l), &c->pipes[i], 0) == 0); /* never fails */
        c->pipes[i].data = c;
    }
    c->process.data = c;
    c->open_n = PIPES + 1;
    return c;
}

rp_err rp_child_start(struct rp_loop *l, const struct rp_child_spec *spec, void (*ended)(void *arg),
                      void *arg, struct rp_child **out, const char **why)
{
    struct rp_child *c = child_new(l, spec);
    int rc = spawn(c, spec);
    if (rc != 0) {
        *why = uv_strerror(rc);
        c->exited = true;
        close_handle((uv_handle_t *)&c->process);
        for (int i = 0; i < PIPES; i++) close_handle((uv_handle_t *)&c->pipes[i]);
        c->closed = true;
        return RP_E_OS;
    }
    enlist(c);
    c->ended = ended;
    c->arg = arg;
    feed(c);
    listen_to(c, 1);
    listen_to(c, 2);
    *out = c;
    return RP_OK;
}

bool rp_child_has_ended(const struct rp_child *c, struct rp_child_end *end)
{
    if (c->ended) return false;
    *end = c->end;
    end->out = rp_buf_str(&c->outs[0]);
    end->err = rp_buf_str(&c->outs[1]);
    return true;
}

void rp_child_close(struct rp_child **where)
{
    struct rp_child *c = *where;
    *where = NULL;
    if (!c) return;
    kill_group(c);
    c->ended = NULL;
    for (int i = 0; i < PIPES; i++) close_handle((uv_handle_t *)&c->pipes[i]);
    c->closed = true;
    rp_timer_clear(c->loop, &c->grace);
    free_when_closed(c);
}

void rp_child_abandon(struct rp_child *c)
{
    struct rp_child *mine = c;
    kill_group(c);
    c->exited = true;
    unlist(c);
    close_handle((uv_handle_t *)&c->process);
    rp_child_close(&mine);
}
