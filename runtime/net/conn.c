/* SPDX-License-Identifier: MIT
 *
 * conn: see conn.h. rp_conn_recv and rp_conn_send are the only places that touch bytes.
 *
 * What the kernel watches for us is `armed`; what somebody wants to hear is `!paused` and
 * `want_write`. They may differ in one direction only: armed for more than is wanted. The
 * difference is taken back when an event proves that it costs something (on_poll), because each
 * change is a system call.
 */
#include "net/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fault.h"
#include "net/addr_sys.h"
#include "net/conn_in.h"
#include "net/timer.h"

enum {
    IOV_MOST = 64, /* 64 pieces of a 16 KB chunk are more than a socket takes */
    DISCARD_BYTES = 16 * 1024,
    POOL_KEEP = 4096, /* 0.7 MB: the conns of a usual rush hour */
    LINGER_POOL_KEEP = 256,
};

/* The owner of a conn that lingers. */
struct lingering {
    struct rp_timer timer;
    struct rp_conn *conn;
    size_t left_bytes;
};

static struct rp_loop *loop_of(const struct rp_conn *c)
{
    return c->poll.loop;
}

/* ---- ends ---------------------------------------------------------------------------------- */

static void end_pack(struct rp_conn_end *e, const struct rp_addr *a)
{
    memcpy(e->ip, a->ip, sizeof e->ip);
    e->scope = a->scope;
    e->port = a->port;
    e->family = a->family;
    e->known = true;
}

static void end_unpack(const struct rp_conn_end *e, struct rp_addr *out)
{
    memcpy(out->ip, e->ip, sizeof e->ip);
    out->scope = e->scope;
    out->port = e->port;
    out->family = e->family;
    out->unix_path[0] = '\0';
}

RP_COLD static void ask_kernel(int fd, int (*ask)(int, struct sockaddr *, socklen_t *),
                               struct rp_addr *out)
{
    struct sockaddr_storage ss;
    socklen_t n = sizeof ss;
    if (ask(fd, (struct sockaddr *)&ss, &n) != 0) n = 0; /* gone already: RP_ADDR_NONE */
    rp_addr_from_sys((const struct sockaddr *)&ss, n, out);
}

static int ask_peer(int fd, struct sockaddr *sa, socklen_t *n)
{
    return getpeername(fd, sa, n);
}

static int ask_local(int fd, struct sockaddr *sa, socklen_t *n)
{
    return getsockname(fd, sa, n);
}

void rp_conn_peer(const struct rp_conn *c, struct rp_addr *out)
{
    if (c->peer.known && c->peer.family != RP_ADDR_UNIX) end_unpack(&c->peer, out);
    else ask_kernel(c->poll.fd, ask_peer, out);
}

void rp_conn_local(struct rp_conn *c, struct rp_addr *out)
{
    if (c->local.known && c->local.family != RP_ADDR_UNIX) {
        end_unpack(&c->local, out);
        return;
    }
    ask_kernel(c->poll.fd, ask_local, out);
    if (out->family != RP_ADDR_NONE) end_pack(&c->local, out);
}

void rp_conn_set_ends(struct rp_conn *c, const struct rp_addr *peer, const struct rp_addr *local)
{
    if (peer) end_pack(&c->peer, peer);
    if (local) end_pack(&c->local, local);
}

/* ---- watching ------------------------------------------------------------------------------ */

/* Whatever is not just bytes for somebody who wants them. */
RP_APART static void on_odd_poll(struct rp_conn *c, unsigned got)
{
    unsigned want = rp_conn_wanted(c);
    if (RP_UNLIKELY(got & RP_POLL_FAILED)) { /* recv, send or SO_ERROR know the reason */
        c->failed = true;
        got = RP_POLL_IN | RP_POLL_OUT;
    } else if (c->state == RP_CONN_CONNECTING) {
        rp_conn_arm(c, want & ~(unsigned)RP_POLL_OUT); /* a first request always fits */
    } else if (got & ~want) {
        rp_conn_arm(c, want);
    }
    if (got & RP_POLL_OUT) {
        c->connect_told = true;
        c->want_write = false;
    }
    got &= want;
    if (RP_UNLIKELY(c->tls != NULL) && c->state != RP_CONN_CONNECTING)
        got = rp_conn_tls_on_poll(c, got);
    unsigned tell =
        (got & RP_POLL_IN ? RP_CONN_READABLE : 0u) | (got & RP_POLL_OUT ? RP_CONN_WRITABLE : 0u);
    if (tell && c->face.on_event) c->face.on_event(c, tell);
}

static void on_poll(struct rp_poll *p, unsigned got)
{
    struct rp_conn *c = RP_CONTAINER(rp_conn, poll, p);
    bool usual = got == RP_POLL_IN && c->state == RP_CONN_OPEN && !(c->paused | c->ended) &&
                 !c->tls && c->face.on_event;
    if (RP_LIKELY(usual)) c->face.on_event(c, RP_CONN_READABLE);
    else on_odd_poll(c, got);
}

void rp_conn_pause(struct rp_conn *c)
{
    c->paused = true;
}

void rp_conn_resume(struct rp_conn *c)
{
    c->paused = false;
    c->failed = false; /* an error nobody heard of is reported again by the kernel */
    if (c->state != RP_CONN_CLOSING) rp_conn_arm_wanted(c);
    if (c->tls && rp_tls_face(c->tls)->more) rp_conn_tls_more(c);
}

/* ---- birth --------------------------------------------------------------------------------- */

void rp_conn_pools_init(struct rp_loop *l)
{
    rp_pool_init(&l->conn_pool, sizeof(struct rp_conn), POOL_KEEP);
    rp_pool_init(&l->linger_pool, sizeof(struct lingering), LINGER_POOL_KEEP);
}

void rp_conn_pools_trim(struct rp_loop *l)
{
    rp_pool_trim(&l->conn_pool);
    rp_pool_trim(&l->linger_pool);
}

void rp_conn_pools_fini(struct rp_loop *l)
{
    rp_pool_fini(&l->conn_pool);
    rp_pool_fini(&l->linger_pool);
}

static rp_err make(struct rp_loop *l, int fd, enum rp_conn_state state, int *os,
                   struct rp_conn **out)
{
    struct rp_conn *c = rp_pool_get(&l->conn_pool);
    memset(c, 0, sizeof *c);
    c->want_write = state == RP_CONN_CONNECTING;
    int e = RP_SYS_OR(watch, errno, rp_poll_start(l, &c->poll, fd, rp_conn_wanted(c), on_poll));
    if (e != 0) { /* not a socket, watched already, or no memory in the kernel */
        rp_pool_put(&l->conn_pool, c);
        *os = e;
        return RP_E_OS;
    }
    c->state = (uint8_t)state;
    c->born_ms = (uint32_t)rp_loop_now(l);
    c->next = l->conns;
    if (l->conns) l->conns->prev = c;
    l->conns = c;
    *out = c;
    return RP_OK;
}

rp_err rp_conn_adopt(struct rp_loop *l, int fd, const struct rp_addr *peer,
                     const struct rp_addr *local, struct rp_conn **out)
{
    int os = 0;
    rp_err e = make(l, fd, RP_CONN_OPEN, &os, out);
    if (e != RP_OK) (void)close(fd); /* nothing was written: nothing can be lost */
    else rp_conn_set_ends(*out, peer, local);
    return e;
}

static int open_socket(const struct rp_addr *to)
{
    int domain = to->family == RP_ADDR_UNIX  ? AF_UNIX
                 : to->family == RP_ADDR_IP6 ? AF_INET6
                                             : AF_INET;
    int fd = RP_SYS(socket, socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), on = 1;
    if (fd >= 0 && domain != AF_UNIX) /* a socket just made cannot refuse it */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/* errno of the attempt; 0 also while it is under way. */
static int start_connect(int fd, const struct rp_addr *to)
{
    struct sockaddr_storage ss;
    socklen_t n = rp_addr_to_sys(to, &ss);
    if (n == 0) return EAFNOSUPPORT;
    /* A connect that was interrupted goes on by itself, like one that is in progress. */
    if (RP_SYS(connect, connect(fd, (const struct sockaddr *)&ss, n)) == 0) return 0;
    (void)RP_FAULT(connect_cut);
    return errno == EINPROGRESS || errno == EINTR ? 0 : errno;
}

/* Where it leads is for the lab to say. */
static rp_err connect_lab(struct rp_loop *l, const struct rp_addr *to, struct rp_conn **out,
                          struct rp_conn_fail *fail)
{
    int fd = l->lab->connect(l->lab->arg, to, false), os = fd < 0 ? -fd : 0;
    if (os == 0 && make(l, fd, RP_CONN_CONNECTING, &os, out) == RP_OK) {
        rp_conn_set_ends(*out, to, NULL);
        return RP_OK;
    }
    if (fd >= 0) (void)close(fd); /* nothing was written: nothing can be lost */
    *fail = (struct rp_conn_fail){RP_E_UP_CONNECT, os, "connect"};
    return RP_E_UP_CONNECT;
}

rp_err rp_conn_connect(struct rp_loop *l, const struct rp_addr *to, struct rp_conn **out,
                       struct rp_conn_fail *fail)
{
    if (RP_UNLIKELY(l->lab != NULL)) return connect_lab(l, to, out, fail);
    int fd = open_socket(to), os = fd < 0 ? errno : start_connect(fd, to);
    if (os == 0 && make(l, fd, RP_CONN_CONNECTING, &os, out) == RP_OK) {
        rp_conn_set_ends(*out, to, NULL);
        return RP_OK;
    }
    if (fd >= 0) (void)close(fd); /* never connected: nothing can be lost */
    *fail = (struct rp_conn_fail){RP_E_UP_CONNECT, os, "connect"};
    return RP_E_UP_CONNECT;
}

rp_err rp_conn_look_connected(struct rp_conn *c)
{
    if (c->face.fail.code != RP_OK || c->state == RP_CONN_OPEN) return c->face.fail.code;
    if (!c->connect_told || c->state == RP_CONN_SHAKING) return RP_AGAIN;
    int os = 0;
    socklen_t n = sizeof os;
    if (RP_SYS(so_error, getsockopt(c->poll.fd, SOL_SOCKET, SO_ERROR, &os, &n)) != 0) os = errno;
    if (os == 0 && c->failed) os = ECONNABORTED; /* an error was reported, and is gone */
    return os == 0 ? RP_OK : rp_conn_fail(c, RP_E_UP_CONNECT, os, "connect");
}

rp_err rp_conn_finish_connect(struct rp_conn *c)
{
    rp_err e = rp_conn_look_connected(c);
    if (e != RP_OK || c->state == RP_CONN_OPEN) return e;
    c->state = c->tls ? RP_CONN_SHAKING : RP_CONN_OPEN;
    return c->tls ? rp_conn_tls_shake(c) : RP_OK;
}

struct rp_conn_face *rp_conn_face(struct rp_conn *c)
{
    return &c->face;
}

struct rp_loop *rp_conn_loop(const struct rp_conn *c)
{
    return loop_of(c);
}

rp_ms rp_conn_life_left(const struct rp_conn *c, rp_ms most)
{
    rp_ms age = (uint32_t)rp_loop_now(loop_of(c)) - c->born_ms;
    return most == 0 ? UINT64_MAX : most > age ? most - age : 0;
}

/* ---- bytes --------------------------------------------------------------------------------- */

rp_err rp_conn_io_fail(struct rp_conn *c, int os, const char *step)
{
    bool gone = os == ECONNRESET || os == EPIPE || os == ETIMEDOUT || os == ECONNABORTED ||
                os == ENOTCONN || os == EHOSTUNREACH || os == ENETUNREACH || os == ENETDOWN ||
                os == ECONNREFUSED || os == ESHUTDOWN;
    return rp_conn_fail(c, gone ? RP_E_CLOSED : RP_E_OS, os, step);
}

static inline ssize_t receive(struct rp_conn *c, char *buf, size_t n)
{
    return RP_SYS(recv, recv(c->poll.fd, buf, RP_SHORT(recv, n), 0));
}

/* The kernel tells of a reset once: where a send met it, a read finds an end that the other side has
 * not sent. With EPIPE its FIN had come before the reset. */
static rp_err end_found(const struct rp_conn *c)
{
    const struct rp_conn_fail *f = &c->face.fail;
    return f->code == RP_E_CLOSED && f->os != EPIPE ? RP_E_CLOSED : RP_END;
}

/* What a recv or a splice said. */
static rp_err received(struct rp_conn *c, ssize_t r, size_t *got)
{
    bool later = r < 0 && (errno == EAGAIN || errno == EINTR); /* an event tells of what is there */
    if (r < 0 && !later) return rp_conn_io_fail(c, errno, "recv");
    if (RP_UNLIKELY(c->failed)) rp_conn_met_failure(c);
    if (r < 0) return RP_AGAIN;
    c->ended = r == 0;
    *got = (size_t)r;
    c->face.in_bytes += (uint64_t)r;
    return r > 0 ? RP_OK : end_found(c);
}

rp_err rp_conn_recv(struct rp_conn *c, char *buf, size_t n, size_t *got)
{
    RP_ASSERT(n > 0 && c->state != RP_CONN_CLOSING);
    if (RP_UNLIKELY(c->tls != NULL)) return rp_conn_tls_recv(c, buf, n, got);
    ssize_t r = receive(c, buf, n);
    if (RP_LIKELY(r > 0 && !c->failed)) {
        *got = (size_t)r;
        c->face.in_bytes += (uint64_t)r;
        return RP_OK;
    }
    *got = 0;
    return received(c, r, got);
}

static ssize_t peek(const struct rp_conn *c, char *buf, size_t n)
{
    return RP_SYS(peek, recv(c->poll.fd, buf, n, MSG_PEEK));
}

rp_err rp_conn_peek(struct rp_conn *c, char *buf, size_t n, size_t *got)
{
    if (c->tls) return rp_conn_tls_peek(c, buf, n, got);
    ssize_t r = peek(c, buf, n);
    while (r < 0 && errno == EINTR) r = peek(c, buf, n);
    *got = r > 0 ? (size_t)r : 0;
    if (r < 0 && errno != EAGAIN) return rp_conn_io_fail(c, errno, "recv");
    return r > 0 ? RP_OK : r == 0 ? RP_END : RP_AGAIN;
}

size_t rp_conn_unsent(const struct rp_conn *c)
{
    int n = 0;
    return ioctl(c->poll.fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}

bool rp_conn_is_quiet(const struct rp_conn *c)
{
    char byte;
    if (c->tls && rp_tls_face(c->tls)->more) return false;
    ssize_t r = peek(c, &byte, 1);
    while (r < 0 && errno == EINTR) r = peek(c, &byte, 1);
    return r < 0 && errno == EAGAIN;
}

/* One send of the front of the chain; *asked is what it tried. */
static ssize_t send_pieces(struct rp_conn *c, const struct rp_chain *chain, int flags,
                           size_t *asked)
{
    struct iovec iov[IOV_MOST];
    int n = rp_chain_iov(chain, iov, IOV_MOST);
    *asked = 0;
    for (int i = 0; i < n; i++) *asked += iov[i].iov_len;
    size_t front = RP_SHORT(send, iov[0].iov_len);
    if (front < iov[0].iov_len) return send(c->poll.fd, iov[0].iov_base, front, flags);
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    return RP_SYS(send, sendmsg(c->poll.fd, &msg, flags));
}

/* What a send of `asked` bytes said. RP_OK: they are in the socket. */
static rp_err sent(struct rp_conn *c, struct rp_chain *chain, ssize_t r, size_t asked)
{
    if (r < 0 && errno == EINTR) return RP_OK; /* then the caller tries again */
    if (r < 0 && errno != EAGAIN) return rp_conn_io_fail(c, errno, "send");
    if (r < 0) {
        c->failed = false;
        return rp_conn_wait(c);
    }
    c->face.out_bytes += (uint64_t)r;
    rp_chain_consume(chain, (size_t)r);
    return (size_t)r < asked ? rp_conn_wait(c) : RP_OK; /* full: a further try would say EAGAIN */
}

static ssize_t send_one(struct rp_conn *c, const struct rp_piece *one, int flags)
{
    return RP_SYS(send, send(c->poll.fd, one->ptr, RP_SHORT(send, one->len), flags));
}

RP_APART static rp_err send_all(struct rp_conn *c, struct rp_chain *chain, int flags)
{
    rp_err e = RP_OK;
    while (chain->bytes > 0 && e == RP_OK) {
        size_t asked = chain->head->len;
        bool one = !chain->head->next;
        ssize_t r = one ? send_one(c, chain->head, flags) : send_pieces(c, chain, flags, &asked);
        e = sent(c, chain, r, asked);
    }
    if (e == RP_OK) c->want_write = false;
    return e;
}

static rp_err plain_send(struct rp_conn *c, struct rp_chain *chain, int flags)
{
    if (chain->head != chain->tail || chain->bytes == 0) return send_all(c, chain, flags);
    size_t asked = chain->bytes; /* one piece: a head, with its small body or without one */
    ssize_t r = send_one(c, chain->head, flags);
    if (RP_LIKELY(r == (ssize_t)asked)) {
        c->face.out_bytes += asked;
        c->want_write = false;
        rp_chain_drop_pieces(chain);
        return RP_OK;
    }
    rp_err e = sent(c, chain, r, asked);
    return e == RP_OK ? send_all(c, chain, flags) : e;
}

RP_APART static rp_err tls_send(struct rp_conn *c, struct rp_chain *chain)
{
    if (!rp_tls_is_kernel(c->tls)) return rp_conn_tls_send(c, chain);
    rp_err ready = rp_conn_tls_ready(c);
    return ready == RP_OK ? plain_send(c, chain, MSG_NOSIGNAL) : ready;
}

rp_err rp_conn_send(struct rp_conn *c, struct rp_chain *chain)
{
    RP_ASSERT(c->state != RP_CONN_CLOSING);
    if (RP_UNLIKELY(c->tls != NULL)) return tls_send(c, chain);
    return plain_send(c, chain, MSG_NOSIGNAL);
}

/* Say that nothing more comes. False: the connection is gone (recv tells the owner). */
static bool end_output(struct rp_conn *c)
{
    if (c->fin_sent) return true;
    if (!c->tls || rp_tls_notify(c->tls) != RP_AGAIN) {
        c->fin_sent = RP_SYS(shutdown, shutdown(c->poll.fd, SHUT_WR)) == 0;
        return c->fin_sent;
    }
    c->fin_wanted = true;
    RP_IGNORE(rp_conn_wait(c)); /* AGAIN, as it always says */
    return true;
}

void rp_conn_uncork(int fd)
{
    int on = 1; /* it is on already: this is how Linux is told to let go */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* of a unix socket: needless */
}

rp_err rp_conn_send_last(struct rp_conn *c, struct rp_chain *chain)
{
    rp_err e = RP_OK;
    RP_ASSERT(c->state != RP_CONN_CLOSING);
    if (c->tls) rp_tls_end_after(c->tls);
    if (chain->bytes > 0) {
        int more = chain->bytes <= RP_CONN_ONE_SEND ? MSG_MORE : 0;
        e = c->tls ? tls_send(c, chain) : plain_send(c, chain, MSG_NOSIGNAL | more);
        if (e == RP_AGAIN && more && !c->tls) rp_conn_uncork(c->poll.fd);
    }
    if (e == RP_OK) (void)end_output(c);
    return e;
}

/* What kernels and seccomp filters without splice say. Where it was about the socket the copying that
 * follows meets the same failure. */
static bool has_no_splice(int os)
{
    return os == EINVAL || os == ENOSYS || os == EPERM || os == EOPNOTSUPP || os == ENOMEM;
}

static ssize_t move(int from, int to, size_t n)
{
    return splice(from, NULL, to, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

rp_err rp_conn_to_pipe(struct rp_conn *c, int pipe_fd, size_t n, size_t *got)
{
    RP_ASSERT(n > 0 && c->state == RP_CONN_OPEN && !c->tls);
    ssize_t r;
    do r = RP_SYS(splice_in, move(c->poll.fd, pipe_fd, RP_SHORT(splice_in, n)));
    while (r < 0 && errno == EINTR);
    *got = 0;
    if (r < 0 && has_no_splice(errno)) return RP_E_BUSY;
    return received(c, r, got);
}

rp_err rp_conn_from_pipe(struct rp_conn *c, int pipe_fd, size_t n, size_t *gone)
{
    RP_ASSERT(n > 0 && c->state == RP_CONN_OPEN && (!c->tls || rp_tls_is_kernel(c->tls)));
    *gone = 0;
    rp_err ready = c->tls ? rp_conn_tls_ready(c) : RP_OK;
    if (ready != RP_OK) return ready;
    ssize_t r;
    do r = RP_SYS(splice_out, move(pipe_fd, c->poll.fd, RP_SHORT(splice_out, n)));
    while (r < 0 && errno == EINTR);
    *gone = 0;
    if (r < 0 && has_no_splice(errno)) return RP_E_BUSY;
    if (r < 0 && errno != EAGAIN) return rp_conn_io_fail(c, errno, "send");
    if (r < 0) c->failed = false;
    else *gone = (size_t)r;
    c->face.out_bytes += *gone;
    if (*gone < n) return rp_conn_wait(c);
    c->want_write = false;
    return RP_OK;
}

/* ---- end ----------------------------------------------------------------------------------- */

static void free_closed(struct rp_poll *p)
{
    struct rp_conn *c = RP_CONTAINER(rp_conn, poll, p);
    rp_pool_put(&loop_of(c)->conn_pool, c);
}

static void on_linger_event(struct rp_conn *c, unsigned events);

static void drop_linger(struct rp_conn *c)
{
    struct lingering *g = c->face.owner;
    if (c->face.on_event != on_linger_event) return;
    rp_timer_clear(loop_of(c), &g->timer);
    rp_pool_put(&loop_of(c)->linger_pool, g);
    c->face.owner = NULL;
}

void rp_conn_close(struct rp_conn *c)
{
    if (c->state == RP_CONN_CLOSING) return;
    drop_linger(c);
    /* A good end says so, or a client could not tell it from one that somebody cut. */
    if (c->tls && c->state == RP_CONN_OPEN) RP_IGNORE(rp_tls_notify(c->tls)); /* what fits */
    rp_conn_tls_drop(c);
    rp_meter_leave(&loop_of(c)->meter, &c->face.pass);
    c->state = RP_CONN_CLOSING;
    c->face.on_event = NULL;
    if (c->next) c->next->prev = c->prev;
    if (c->prev) c->prev->next = c->next;
    else loop_of(c)->conns = c->next;
    rp_poll_end(&c->poll, false, free_closed);
    (void)close(c->poll.fd); /* on a socket an error here says nothing we could act on */
}

void rp_conn_reset(struct rp_conn *c)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (c->state == RP_CONN_CLOSING) return;
    rp_conn_tls_drop(c); /* no close_notify: this is no good end */
    /* Should it be refused, the peer gets a FIN instead. */
    (void)setsockopt(c->poll.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    rp_conn_close(c);
}

void rp_conn_shutdown(struct rp_conn *c)
{
    (void)end_output(c);
}

static void on_linger_timer(struct rp_timer *t)
{
    rp_conn_close(RP_CONTAINER(lingering, timer, t)->conn);
}

static void on_linger_event(struct rp_conn *c, unsigned events)
{
    char discard[DISCARD_BYTES];
    size_t got = 0;
    struct lingering *g = c->face.owner;
    if (!(events & RP_CONN_READABLE)) return; /* close_notify found room */
    rp_err e = rp_conn_recv(c, discard, sizeof discard, &got);
    if (e == RP_AGAIN) return;
    if (e != RP_OK || got >= g->left_bytes) rp_conn_close(c);
    else g->left_bytes -= got;
}

void rp_conn_linger(struct rp_conn *c, rp_ms ms, size_t bytes)
{
    bool pointless = c->state != RP_CONN_OPEN || c->ended || c->face.fail.code != RP_OK;
    if (pointless || bytes == 0 || ms == 0 || !end_output(c)) {
        rp_conn_close(c);
        return;
    }
    if (!c->fin_wanted) rp_conn_tls_drop(c); /* what still comes is thrown away sealed */
    struct lingering *g = rp_pool_get(&loop_of(c)->linger_pool);
    *g = (struct lingering){.conn = c, .left_bytes = bytes};
    rp_timer_init(&g->timer, on_linger_timer);
    rp_timer_set(loop_of(c), &g->timer, ms);
    c->face.owner = g;
    c->face.on_event = on_linger_event;
    c->want_write = c->fin_wanted;
    rp_conn_resume(c);
}
