/* SPDX-License-Identifier: MIT
 *
 * tls_bio: the socket as OpenSSL sees it. Reading is recv, straight into OpenSSL's buffer. Writing
 * goes to the loop's room, so that the records of one send leave together.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/fault.h"
#include "base/mem.h"
#include "net/loop_uv.h"
#include "net/tls_in.h"

enum { READS_MOST = 16 }; /* of up to 16 KB, in one call: a recv of 64 KB needs five */

/* ---- room ---------------------------------------------------------------------------------- */

struct rp_tls_room *rp_tls_room_of(struct rp_loop *l)
{
    if (!l->tls_room) l->tls_room = rp_alloc(sizeof(struct rp_tls_room));
    return l->tls_room;
}

void rp_tls_room_free(struct rp_loop *l)
{
    rp_free(l->tls_room);
    l->tls_room = NULL;
}

/* ---- sending ------------------------------------------------------------------------------- */

/* What the socket takes of n bytes. RP_OK and *took (0: it is full); RP_E_CLOSED. Behind close_notify
 * in a last send the FIN comes at once. */
static rp_err offer(struct rp_tls *t, const char *p, size_t n, size_t *took)
{
    int more = t->last && t->notified && n <= RP_CONN_ONE_SEND ? MSG_MORE : 0;
    ssize_t r;
    do r = RP_SYS(send, send(t->fd, p, RP_SHORT(send, n), MSG_NOSIGNAL | more));
    while (r < 0 && errno == EINTR);
    *took = r > 0 ? (size_t)r : 0;
    if (more && *took < n) rp_conn_uncork(t->fd);
    *t->face.out_bytes += *took;
    if (r >= 0 || errno == EAGAIN) return RP_OK;
    t->face.os = errno;
    t->broken = true;
    return RP_E_CLOSED;
}

void rp_tls_drop_left(struct rp_tls *t)
{
    rp_free(t->left);
    t->left = NULL;
    t->left_n = t->left_at = 0;
    t->held = false;
}

rp_err rp_tls_flush(struct rp_tls *t)
{
    size_t took = 0;
    if (!t->left) return RP_OK;
    t->held = false; /* from now on it waits for room, if at all */
    if (t->kernel) return rp_tls_kernel_flush(t);
    rp_err e = offer(t, t->left + t->left_at, t->left_n - t->left_at, &took);
    t->left_at += (uint32_t)took;
    if (e == RP_OK && t->left_at < t->left_n) return RP_AGAIN;
    rp_tls_drop_left(t);
    return e;
}

bool rp_tls_is_flushed(const struct rp_tls *t)
{
    return t->left == NULL || t->held;
}

rp_err rp_tls_keep(struct rp_tls *t, const char *p, uint32_t n)
{
    uint32_t old = t->left_n - t->left_at;
    if (old + n > RP_TLS_LEFT_MOST) { /* alerts and key updates of a peer that does not read */
        t->broken = true;
        return RP_E_CLOSED;
    }
    char *fresh = rp_alloc(old + n);
    if (old) memcpy(fresh, t->left + t->left_at, old);
    memcpy(fresh + old, p, n);
    rp_tls_drop_left(t);
    t->left = fresh;
    t->left_n = old + n;
    return RP_AGAIN;
}

rp_err rp_tls_push(struct rp_tls *t)
{
    struct rp_tls_room *room = rp_tls_room_of(t->loop);
    uint32_t n = room->sealed_n;
    size_t took = 0;
    room->sealed_n = 0;
    if (room->over) {
        room->over = false;
        t->broken = true;
        return RP_E_CLOSED;
    }
    if (n == 0 && t->held) return RP_OK;
    rp_err e = rp_tls_flush(t);
    if (n == 0 || e < 0) return e;
    if (e == RP_OK) e = offer(t, room->sealed, n, &took);
    if (e < 0 || took == n) return e;
    return rp_tls_keep(t, room->sealed + took, n - (uint32_t)took);
}

void rp_tls_greet(struct rp_tls *t, rp_str bytes)
{
    RP_CHECK(!t->left && !t->shaken && bytes.len <= RP_TLS_RECORD);
    RP_IGNORE(
        rp_tls_keep(t, bytes.ptr, (uint32_t)bytes.len)); /* AGAIN, as it says of so few bytes */
}

void rp_tls_hold(struct rp_tls *t)
{
    struct rp_tls_room *room = rp_tls_room_of(t->loop);
    uint32_t n = room->sealed_n;
    RP_CHECK(!t->left && n > 0);
    room->sealed_n = 0;
    RP_IGNORE(rp_tls_keep(t, room->sealed, n)); /* AGAIN, as it says of so few bytes */
    t->held = true;
}

void rp_tls_unhold(struct rp_tls *t)
{
    struct rp_tls_room *room = rp_tls_room_of(t->loop);
    RP_CHECK(t->held && room->sealed_n == 0);
    memcpy(room->sealed, t->left, t->left_n);
    room->sealed_n = t->left_n;
    rp_tls_drop_left(t);
}

/* ---- BIO ----------------------------------------------------------------------------------- */

static int bio_write(BIO *b, const char *p, size_t n, size_t *written)
{
    struct rp_tls *t = BIO_get_data(b);
    struct rp_tls_room *room = rp_tls_room_of(t->loop);
    BIO_clear_retry_flags(b);
    *written = n;
    if (t->kernel) return rp_tls_kernel_write(t, p, n);
    if (n > sizeof room->sealed - room->sealed_n) {
        room->over = true;
        return 0;
    }
    memcpy(room->sealed + room->sealed_n, p, n);
    room->sealed_n += (uint32_t)n;
    return 1;
}

static int bio_read(BIO *b, char *p, size_t n, size_t *got)
{
    struct rp_tls *t = BIO_get_data(b);
    ssize_t r = -1;
    BIO_clear_retry_flags(b);
    *got = 0;
    if (rp_tls_is_flood(t)) return -1;
    if (!t->drained) {
        do r = RP_SYS(recv, recv(t->fd, p, RP_SHORT(recv, n), 0));
        while (r < 0 && errno == EINTR);
        if (r < 0 && errno != EAGAIN) {
            t->face.os = errno;
            return -1;
        }
        /* Records that bring nothing must not keep others waiting: epoll tells of the rest. */
        t->drained = r < (ssize_t)n || ++t->reads == READS_MOST;
        t->cut = r == 0;
    }
    if (r < 0) BIO_set_retry_read(b);
    if (r <= 0) return 0;
    *got = (size_t)r;
    *t->face.in_bytes += (uint64_t)r;
    return 1;
}

/* OpenSSL asks its socket BIO so (crypto/bio/bss_sock.c); its public headers name but the questions. */
enum { SET_KTLS = 72, SET_KTLS_KIND = 74, CLEAR_KTLS_KIND = 75 };

static long bio_ctrl(BIO *b, int command, long number, void *p)
{
    struct rp_tls *t = BIO_get_data(b);
    switch (command) {
    case BIO_CTRL_EOF: return t->cut;
    case BIO_CTRL_FLUSH: return 1;
    case BIO_CTRL_GET_KTLS_SEND: return t->kernel;
    case SET_KTLS: return number != 0 && rp_tls_kernel_start(t, p); /* 0: for what we read */
    case SET_KTLS_KIND: t->kind = (uint8_t)number; return 0;
    case CLEAR_KTLS_KIND: t->kind = 0; return 0;
    default: return 0;
    }
}

static BIO_METHOD *make_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "rproxy");
    RP_CHECK(m && BIO_meth_set_write_ex(m, bio_write) && BIO_meth_set_read_ex(m, bio_read) &&
             BIO_meth_set_ctrl(m, bio_ctrl));
    return m;
}

/* One method for the whole process, as OpenSSL's own have. */
static BIO_METHOD *method;
static CRYPTO_ONCE method_once = CRYPTO_ONCE_STATIC_INIT;

static void set_method(void)
{
    method = make_method();
}

BIO *rp_tls_bio_new(struct rp_tls *t)
{
    RP_CHECK(CRYPTO_THREAD_run_once(&method_once, set_method));
    BIO *b = BIO_new(method);
    RP_CHECK(b);
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    return b;
}
