/* SPDX-License-Identifier: MIT
 *
 * abi_sock: stream sockets for hooks and tasks, over net/conn, with or without TLS.
 *
 * FINDING -> CONNECTING -> OPEN, or FAILED from any. A socket is a hold (vm_hold.c): of the task and
 * the scope that made it. Events only wake the tasks that wait: one for reading (or the connection),
 * one for writing, so that two tasks may use the two directions.
 */
#include "script/vm_sock.h"

#include "base/hash.h"

enum {
    IN_MOST = 8 << 20, /* longest line or exact read */
    RECV_BYTES = 16 * 1024,
    MARK_MOST = 256, /* bytes of what read_until looks for */
};

/* ---- handles -------------------------------------------------------------------------------- */

void rp_sock_free(struct rp_sock *s)
{
    rp_vm_target_stop(&s->target);
    rp_task_forget_at(&s->reader);
    rp_task_forget_at(&s->writer);
    if (s->conn) rp_conn_close(s->conn);
    rp_tls_client_drop(&s->tls);
    rp_chain_clear(&s->out);
    rp_buf_fini(&s->in);
    rp_buf_fini(&s->key);
    s->magic = 0;
    rp_free(s);
}

static void let_go(struct rp_hold *hold)
{
    struct rp_sock *s = RP_CONTAINER(rp_sock, hold, hold);
    rp_task_wake_at(&s->reader); /* they are told that it is closed */
    rp_task_wake_at(&s->writer);
    if (s->keep_n == 0 || !rp_sock_keep(s)) rp_sock_free(s);
}

static struct rp_sock *sock_new(struct rp_host *h)
{
    struct rp_sock *s = rp_alloc(sizeof *s);
    s->magic = RP_SOCK_MAGIC;
    s->host = h;
    rp_chain_init(&s->out, h->proxy->mem);
    rp_buf_init(&s->in, IN_MOST + RECV_BYTES);
    rp_buf_init(&s->key, RP_SOCK_KEY_MOST);
    return s;
}

/* The socket when it is the running task's; else NULL and Lua is told. */
static struct rp_sock *find(struct rp_host_face *f, double handle)
{
    struct rp_hold *hold = rp_hold_find(rp_vm_of(f), handle, RP_HOLD_SOCK);
    if (hold) return RP_AS(rp_sock, RP_CONTAINER(rp_sock, hold, hold), RP_SOCK_MAGIC);
    (void)rp_vm_say_why(rp_vm_of(f), RP_E_STALE, 0,
                        "the socket is closed, or belongs to another request");
    return NULL;
}

/* ---- waiting and failing -------------------------------------------------------------------- */

static rp_err wait_at(struct rp_sock *s, struct rp_task **place)
{
    rp_err e = rp_task_wait_at(s->host, place);
    return e == RP_AGAIN ? e : rp_vm_say(s->host, e, 0);
}

static rp_err tell_failure(struct rp_sock *s)
{
    return rp_vm_say_why(s->host, s->fail, s->os, s->why[0] ? s->why : NULL);
}

static void note_why(struct rp_sock *s)
{
    const char *why = s->conn && !s->os ? rp_conn_why(s->conn) : NULL;
    size_t n = why ? RP_MIN(strlen(why), sizeof s->why - 1) : 0;
    if (n) memcpy(s->why, why, n);
    s->why[n] = 0;
}

static rp_err failed(struct rp_sock *s, rp_err code, int os)
{
    if (s->state != RP_SOCK_FAILED) {
        s->state = RP_SOCK_FAILED;
        s->fail = code;
        s->os = os;
        note_why(s);
    }
    if (s->conn) rp_conn_close(s->conn);
    s->conn = NULL;
    return tell_failure(s);
}

static rp_err conn_failed(struct rp_sock *s, rp_err code)
{
    return failed(s, code, rp_conn_face(s->conn)->fail.os);
}

/* ---- connecting ----------------------------------------------------------------------------- */

/* Bytes that nobody asks for yet stay in the kernel. */
static void on_event(struct rp_conn *c, unsigned events)
{
    struct rp_sock *s = RP_AS(rp_sock, rp_conn_face(c)->owner, RP_SOCK_MAGIC);
    (void)events; /* under TLS either direction may wait for the other */
    rp_conn_pause(c);
    rp_task_wake_at(&s->reader);
    rp_task_wake_at(&s->writer);
}

void rp_sock_listen(struct rp_sock *s)
{
    struct rp_conn_face *face = rp_conn_face(s->conn);
    face->owner = s;
    face->on_event = on_event;
}

static rp_err make_key(struct rp_sock *s, rp_str host, uint32_t port, rp_str name, rp_str pool)
{
    uint8_t id[RP_TLS_ID_BYTES];
    rp_buf_addf(&s->key, "%u %zu ", port, host.len);
    rp_buf_add(&s->key, host);
    rp_buf_addf(&s->key, " %zu ", pool.len);
    rp_buf_add(&s->key, pool);
    if (s->tls) {
        rp_tls_client_id(s->tls, name, id);
        rp_buf_add(&s->key, rp_str_of((const char *)id, sizeof id));
    }
    return s->key.failed ? RP_E_INVALID : RP_OK;
}

static rp_err describe(struct rp_sock *s, rp_str host, uint32_t port, rp_str name, rp_str pool)
{
    if (name.len >= sizeof s->name) return RP_E_INVALID;
    if (name.len) memcpy(s->name, name.ptr, name.len);
    if (s->tls && !rp_vm_tls_has_name(s->tls, name)) return RP_E_INVALID;
    return make_key(s, host, port, name, pool);
}

/* One that is kept, in place of s. */
static struct rp_sock *use_kept(struct rp_sock *s)
{
    struct rp_sock *kept = rp_sock_take(s);
    if (!kept) return s;
    kept->keep_n = 0;
    rp_sock_free(s);
    rp_sock_listen(kept);
    return kept;
}

double rp_abi_sock_connect(struct rp_host_face *f, const char *host, size_t n, uint32_t port,
                           struct rp_tls_client *tls, const char *name, size_t name_n,
                           const char *pool, size_t pool_n, bool fresh)
{
    struct rp_host *h = rp_vm_of(f);
    rp_str where = rp_str_of(host, n);
    if (!h->current || !h->proxy) return RP_E_PHASE;
    struct rp_sock *s = sock_new(h);
    if (tls) s->tls = rp_tls_client_hold(tls);
    rp_err e = describe(s, where, port, rp_str_of(name, name_n), rp_str_of(pool, pool_n));
    if (e == RP_OK && !fresh) s = use_kept(s);
    if (e == RP_OK && s->state == RP_SOCK_FINDING)
        e = rp_vm_target_find(&s->target, h, where, port, &s->reader);
    if (e == RP_OK) e = rp_hold_open(h, &s->hold, RP_HOLD_SOCK, let_go);
    if (e == RP_OK) return rp_hold_handle(&s->hold);
    rp_sock_free(s);
    return rp_vm_say(h, e, 0);
}

double rp_abi_sock_uses(struct rp_host_face *f, double handle)
{
    const struct rp_sock *s = find(f, handle);
    return s ? s->uses : 0;
}

static void dress(struct rp_sock *s)
{
    if (!s->tls) return;
    rp_conn_use_tls(s->conn, s->tls, rp_str_z(s->name), rp_sock_memory(s));
}

/* Start with the next address. RP_AGAIN: under way. */
static rp_err connect_next(struct rp_sock *s)
{
    struct rp_vm_target *t = &s->target;
    struct rp_conn_fail fail = {.code = s->fail != RP_OK ? s->fail : RP_E_NOT_FOUND, .os = s->os};
    while (t->at < t->addrs_n) {
        rp_err e = rp_conn_connect(s->host->proxy->loop, &t->addrs[t->at++], &s->conn, &fail);
        if (e != RP_OK) continue;
        rp_sock_listen(s);
        dress(s);
        s->state = RP_SOCK_CONNECTING;
        return wait_at(s, &s->reader);
    }
    return failed(s, fail.code, fail.os);
}

static rp_err finish_connect(struct rp_sock *s)
{
    rp_err e = rp_conn_finish_connect(s->conn);
    if (e == RP_AGAIN) return wait_at(s, &s->reader);
    if (e == RP_OK) {
        s->state = RP_SOCK_OPEN;
        s->uses = 1;
        return RP_OK;
    }
    if (s->target.at == s->target.addrs_n) return conn_failed(s, e);
    s->fail = e;
    s->os = rp_conn_face(s->conn)->fail.os;
    rp_conn_close(s->conn);
    s->conn = NULL;
    return connect_next(s);
}

rp_err rp_abi_sock_connected(struct rp_host_face *f, double handle)
{
    struct rp_sock *s = find(f, handle);
    if (!s) return RP_E_STALE;
    switch (s->state) {
    case RP_SOCK_FINDING:
        if (s->target.query) return wait_at(s, &s->reader);
        if (s->target.status != RP_OK) return failed(s, s->target.status, 0);
        return connect_next(s);
    case RP_SOCK_CONNECTING: return finish_connect(s);
    case RP_SOCK_OPEN: return RP_OK;
    case RP_SOCK_FAILED: break;
    }
    return tell_failure(s);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static rp_err give(struct rp_sock *s, size_t n, size_t taken)
{
    s->host->face.out = rp_str_of(s->in.ptr ? s->in.ptr : "", n);
    s->taken = taken;
    s->scanned = 0;
    return RP_OK;
}

/* What a read asks for. */
struct want {
    enum rp_abi_read how;
    size_t n;
    rp_str mark; /* that ends it */
};

/* Up to the mark; what was looked at is not looked at again. */
static rp_err take_marked(struct rp_sock *s, const struct want *w)
{
    rp_str in = rp_buf_str(&s->in);
    const char *hit = NULL;
    uint64_t mark = rp_hash_bytes(w->mark);
    if (s->scanned_for != mark) s->scanned = 0; /* another one was looked for before */
    s->scanned_for = mark;
    if (in.len > s->scanned)
        hit = memmem(in.ptr + s->scanned, in.len - s->scanned, w->mark.ptr, w->mark.len);
    size_t n = hit ? (size_t)(hit - in.ptr) : in.len;
    if (!hit) {
        s->scanned = in.len >= w->mark.len ? in.len - (w->mark.len - 1) : 0;
        return s->scanned > w->n ? RP_E_TOO_BIG : RP_AGAIN;
    }
    if (n > w->n) return RP_E_TOO_BIG;
    bool cr = w->how == RP_READ_LINE && n > 0 && in.ptr[n - 1] == '\r';
    return give(s, cr ? n - 1 : n, n + w->mark.len);
}

/* RP_AGAIN: `in` does not hold what is asked for yet. */
static rp_err take(struct rp_sock *s, const struct want *w)
{
    size_t have = s->in.len;
    switch (w->how) {
    case RP_READ_EXACTLY: return have >= w->n ? give(s, w->n, w->n) : RP_AGAIN;
    case RP_READ_ANY: return have ? give(s, RP_MIN(w->n, have), RP_MIN(w->n, have)) : RP_AGAIN;
    case RP_READ_LINE:
    case RP_READ_UNTIL: return take_marked(s, w);
    }
    return RP_E_INVALID;
}

static rp_err fill(struct rp_sock *s)
{
    char bytes[RECV_BYTES];
    size_t got;
    rp_err e = rp_conn_recv(s->conn, bytes, sizeof bytes, &got);
    if (e == RP_OK) rp_buf_add(&s->in, rp_str_of(bytes, got));
    return e == RP_OK && s->in.failed ? RP_E_TOO_BIG : e;
}

static struct rp_sock *find_open(struct rp_host_face *f, double handle, rp_err *e)
{
    struct rp_sock *s = find(f, handle);
    *e = RP_E_STALE;
    if (!s || s->state == RP_SOCK_OPEN) return s;
    *e = s->state == RP_SOCK_FAILED ? tell_failure(s) : rp_vm_say(s->host, RP_E_BUSY, 0);
    return NULL;
}

static rp_err read_on(struct rp_sock *s, const struct want *w)
{
    rp_err e;
    if (s->reader && s->reader != s->host->current) return rp_vm_say(s->host, RP_E_BUSY, 0);
    rp_buf_consume(&s->in, s->taken);
    s->taken = 0;
    while ((e = take(s, w)) == RP_AGAIN) {
        e = fill(s);
        if (e == RP_AGAIN) {
            rp_conn_resume(s->conn);
            return wait_at(s, &s->reader);
        }
        if (e == RP_END) return rp_vm_say(s->host, e, 0);
        if (e != RP_OK) return conn_failed(s, e);
    }
    return e == RP_OK ? e : rp_vm_say(s->host, e, 0);
}

rp_err rp_abi_sock_read(struct rp_host_face *f, double handle, uint32_t how, double n,
                        const char *mark, size_t mark_n)
{
    rp_err e;
    struct rp_sock *s = find_open(f, handle, &e);
    if (!s) return e;
    if (!(n >= 0 && n <= IN_MOST)) return rp_vm_say(s->host, RP_E_TOO_BIG, 0);
    struct want w = {(enum rp_abi_read)how, (size_t)n, rp_str_of(mark, mark_n)};
    if (how == RP_READ_LINE) w.mark = RP_STR("\n");
    if (how == RP_READ_UNTIL && (mark_n == 0 || mark_n > MARK_MOST))
        return rp_vm_say(s->host, RP_E_INVALID, 0);
    return read_on(s, &w);
}

rp_err rp_abi_sock_flush(struct rp_host_face *f, double handle)
{
    rp_err e;
    struct rp_sock *s = find_open(f, handle, &e);
    if (!s) return e;
    e = rp_conn_send(s->conn, &s->out);
    if (e == RP_AGAIN) return wait_at(s, &s->writer);
    return e == RP_OK ? e : conn_failed(s, e);
}

rp_err rp_abi_sock_write(struct rp_host_face *f, double handle, const char *p, size_t n)
{
    rp_err e;
    struct rp_sock *s = find_open(f, handle, &e);
    if (!s) return e;
    if (s->writer && s->writer != s->host->current) return rp_vm_say(s->host, RP_E_BUSY, 0);
    rp_chain_add_copy(&s->out, rp_str_of(p, n));
    return rp_abi_sock_flush(f, handle);
}

void rp_abi_sock_close(struct rp_host_face *f, double handle)
{
    struct rp_sock *s = find(f, handle);
    if (s) rp_hold_close(&s->hold);
}

bool rp_abi_sock_release(struct rp_host_face *f, double handle, uint32_t most, double idle_s)
{
    struct rp_sock *s = find(f, handle);
    if (!s) return false;
    bool rested = s->state == RP_SOCK_OPEN && s->out.bytes == 0 && s->in.len == s->taken;
    bool kept = rested && most > 0 && idle_s > 0 && !s->host->retired;
    if (kept) {
        s->keep_n = most;
        s->keep_ms = (rp_ms)(RP_MIN(idle_s, 86400.0) * 1000);
    }
    rp_hold_close(&s->hold);
    return kept;
}
