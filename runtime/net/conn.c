/* SPDX-License-Identifier: MIT
 *
 * conn: see conn.h. rp_conn_recv and rp_conn_send are the only places that touch bytes.
 *
 * What the kernel watches for us is `armed`; what somebody wants to hear is `!paused` and
 * `want_write`. They may differ in one direction only: armed for more than is wanted. The
 * difference is taken back when an event proves that it costs something (on_poll), because each
 * change is two epoll_ctl calls under uv_poll.
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
#include "net/loop_uv.h"
#include "net/timer.h"

enum {
    IOV_MOST = 64, /* 64 pieces of a 16 KB chunk are more than a socket takes */
    DISCARD_BYTES = 16 * 1024,
    POOL_KEEP = 4096, /* 1.3 MB: the conns of a usual rush hour */
    LINGER_POOL_KEEP = 256,
};

enum state { CONNECTING, SHAKING, ASKING, OPEN, CLOSING };

/* The IP form of struct rp_addr. */
struct end {
    uint8_t ip[16];
    uint32_t scope;
    uint16_t port;
    uint8_t family;
    bool known;
};

struct rp_conn {
    struct rp_conn_face face;
    struct rp_conn *next, *prev; /* all conns of the loop */
    int fd;
    uint8_t state; /* enum state */
    uint8_t armed; /* UV_READABLE | UV_WRITABLE given to uv_poll_start */
    bool paused;
    bool want_write;   /* a send or the connect waits for WRITABLE */
    bool connect_told; /* the kernel has decided about the connect */
    bool ended;        /* recv saw the end of the stream */
    bool failed;       /* uv_poll gave up on an error the owner has not met yet */
    bool fin_wanted;   /* close_notify waits for room; a FIN follows it */
    bool fin_sent;
    struct end peer, local;
    struct rp_tls *tls; /* NULL: plain */
    uint32_t born_ms;   /* of the loop's time, cut to what 32 bits hold: 49 days */
    uv_poll_t poll;     /* its data is the loop */
};

/* The owner of a conn that lingers. */
struct lingering {
    struct rp_timer timer;
    struct rp_conn *conn;
    size_t left_bytes;
};

static struct rp_loop *loop_of(const struct rp_conn *c)
{
    return c->poll.data;
}

/* ---- ends ---------------------------------------------------------------------------------- */

static void end_pack(struct end *e, const struct rp_addr *a)
{
    memcpy(e->ip, a->ip, sizeof e->ip);
    e->scope = a->scope;
    e->port = a->port;
    e->family = a->family;
    e->known = true;
}

static void end_unpack(const struct end *e, struct rp_addr *out)
{
    memcpy(out->ip, e->ip, sizeof e->ip);
    out->scope = e->scope;
    out->port = e->port;
    out->family = e->family;
    out->unix_path[0] = '\0';
}

static void ask_kernel(int fd, int (*ask)(int, struct sockaddr *, socklen_t *), struct rp_addr *out)
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
    else ask_kernel(c->fd, ask_peer, out);
}

void rp_conn_local(struct rp_conn *c, struct rp_addr *out)
{
    if (c->local.known && c->local.family != RP_ADDR_UNIX) {
        end_unpack(&c->local, out);
        return;
    }
    ask_kernel(c->fd, ask_local, out);
    if (out->family != RP_ADDR_NONE) end_pack(&c->local, out);
}

void rp_conn_set_ends(struct rp_conn *c, const struct rp_addr *peer, const struct rp_addr *local)
{
    if (peer) end_pack(&c->peer, peer);
    if (local) end_pack(&c->local, local);
}

/* ---- watching ------------------------------------------------------------------------------ */

static void on_poll(uv_poll_t *h, int status, int events);

static void arm(struct rp_conn *c, unsigned events)
{
    if (c->armed == events) return;
    c->armed = (uint8_t)events;
    /* It fails only when another handle watches this fd, which rp_conn_adopt has ruled out. */
    int e = uv_poll_start(&c->poll, (int)events, on_poll);
    RP_CHECK(e == 0);
}

static unsigned wanted(const struct rp_conn *c)
{
    return (c->paused || c->ended ? 0u : UV_READABLE) | (c->want_write ? UV_WRITABLE : 0u);
}

/* Watch for what is wanted, and go on with what is armed already. */
static void arm_wanted(struct rp_conn *c)
{
    if (!c->failed) arm(c, c->armed | wanted(c));
}

/* The owner has met the error that made uv_poll give up, or there is none any more. */
static void failure_met(struct rp_conn *c)
{
    c->failed = false;
    arm_wanted(c);
}

static unsigned tls_on_poll(struct rp_conn *c, unsigned events);

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct rp_conn *c = RP_CONTAINER(rp_conn, poll, h);
    unsigned want = wanted(c), got = (unsigned)events;
    if (status < 0) { /* EPOLLERR: the handle is stopped; recv, send or SO_ERROR know the reason */
        c->armed = 0;
        c->failed = true;
        got = UV_READABLE | UV_WRITABLE;
    } else if (c->state == CONNECTING) {
        arm(c, want & ~(unsigned)UV_WRITABLE); /* a first request always fits */
    } else if (got & ~want) {
        arm(c, want);
    }
    if (got & UV_WRITABLE) {
        c->connect_told = true;
        c->want_write = false;
    }
    got &= want;
    if (RP_UNLIKELY(c->tls != NULL) && c->state != CONNECTING) got = tls_on_poll(c, got);
    unsigned tell =
        (got & UV_READABLE ? RP_CONN_READABLE : 0u) | (got & UV_WRITABLE ? RP_CONN_WRITABLE : 0u);
    if (tell && c->face.on_event) c->face.on_event(c, tell);
}

/* Bytes wait in the TLS: epoll knows nothing of them. */
static void tell_more(struct rp_conn *c)
{
    rp_loop_defer(loop_of(c), &rp_tls_face(c->tls)->again);
}

void rp_conn_pause(struct rp_conn *c)
{
    c->paused = true;
}

void rp_conn_resume(struct rp_conn *c)
{
    c->paused = false;
    c->failed = false; /* an error nobody heard of is reported again by the kernel */
    if (c->state != CLOSING) arm_wanted(c);
    if (c->tls && rp_tls_face(c->tls)->more) tell_more(c);
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

static rp_err make(struct rp_loop *l, int fd, enum state state, int *os, struct rp_conn **out)
{
    struct rp_conn *c = rp_pool_get(&l->conn_pool);
    int e = RP_SYS_OR(watch, -errno, uv_poll_init(&l->uv, &c->poll, fd));
    if (e != 0) { /* not a socket, watched already, or no memory in the kernel */
        rp_pool_put(&l->conn_pool, c);
        *os = -e;
        return RP_E_OS;
    }
    memset(c, 0, offsetof(struct rp_conn, poll));
    c->fd = fd;
    c->state = (uint8_t)state;
    c->born_ms = (uint32_t)rp_loop_now(l);
    c->poll.data = l;
    c->next = l->conns;
    if (l->conns) l->conns->prev = c;
    l->conns = c;
    c->want_write = state == CONNECTING;
    arm_wanted(c);
    *out = c;
    return RP_OK;
}

rp_err rp_conn_adopt(struct rp_loop *l, int fd, const struct rp_addr *peer,
                     const struct rp_addr *local, struct rp_conn **out)
{
    int os = 0;
    rp_err e = make(l, fd, OPEN, &os, out);
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
    if (os == 0 && make(l, fd, CONNECTING, &os, out) == RP_OK) {
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
    if (os == 0 && make(l, fd, CONNECTING, &os, out) == RP_OK) {
        rp_conn_set_ends(*out, to, NULL);
        return RP_OK;
    }
    if (fd >= 0) (void)close(fd); /* never connected: nothing can be lost */
    *fail = (struct rp_conn_fail){RP_E_UP_CONNECT, os, "connect"};
    return RP_E_UP_CONNECT;
}

static rp_err wait_writable(struct rp_conn *c)
{
    c->want_write = true;
    arm_wanted(c);
    return RP_AGAIN;
}

/* First failure sticks. */
static rp_err note_failure(struct rp_conn *c, rp_err code, int os, const char *step)
{
    if (c->face.fail.code == RP_OK) c->face.fail = (struct rp_conn_fail){code, os, step};
    return code;
}

/* The handshake waits for its owner's answer. Nothing is read; that the client leaves is seen all the
 * same, and it is the one event besides room that can come. */
static void begin_asking(struct rp_conn *c)
{
    c->state = ASKING;
    c->paused = true;
    arm(c, wanted(c) | UV_DISCONNECT);
}

/* One step of the handshake. */
static rp_err shake(struct rp_conn *c)
{
    rp_err e = rp_tls_shake(c->tls);
    struct rp_tls_face *f = rp_tls_face(c->tls);
    if (e < 0) {
        /* An upstream that broke it off is one of the reasons of a handshake's failure. */
        bool up = e == RP_E_CLOSED && c->connect_told;
        return note_failure(c, up ? RP_E_UP_TLS_HANDSHAKE : e, f->os, "tls");
    }
    if (c->failed) failure_met(c);
    if (!rp_tls_is_flushed(c->tls)) RP_IGNORE(wait_writable(c)); /* AGAIN, as it always says */
    if (rp_tls_is_early(c->tls)) e = RP_OK;                      /* the rest is go_on_shaking's */
    if (e == RP_OK) c->state = OPEN;
    if (e == RP_OK && f->more) tell_more(c);
    if (e == RP_AGAIN && rp_tls_question(c->tls)) begin_asking(c);
    return e;
}

rp_err rp_conn_finish_connect(struct rp_conn *c)
{
    if (c->face.fail.code != RP_OK || c->state == OPEN) return c->face.fail.code;
    if (!c->connect_told || c->state == SHAKING) return RP_AGAIN;
    int os = 0;
    socklen_t n = sizeof os;
    if (RP_SYS(so_error, getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &os, &n)) != 0) os = errno;
    if (os == 0 && c->failed) os = ECONNABORTED; /* an error was reported, and is gone */
    if (os != 0) return note_failure(c, RP_E_UP_CONNECT, os, "connect");
    c->state = c->tls ? SHAKING : OPEN;
    return c->tls ? shake(c) : RP_OK;
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

/* ---- TLS ----------------------------------------------------------------------------------- */

/* A step of the handshake, and what is to be told of it. */
static unsigned shake_on(struct rp_conn *c)
{
    return shake(c) == RP_AGAIN && c->state == SHAKING ? 0 : UV_WRITABLE;
}

static void run_again(struct rp_defer *d)
{
    const struct rp_tls_face *f = RP_CONTAINER(rp_tls_face, again, d);
    struct rp_conn *c = f->conn;
    if (c->state == SHAKING) { /* an answer came */
        if (shake_on(c) && c->face.on_event) c->face.on_event(c, RP_CONN_WRITABLE);
        return;
    }
    if (!f->more || c->paused || c->state != OPEN || !c->face.on_event) return;
    c->face.on_event(c, RP_CONN_READABLE);
    /* As epoll does, tell again who neither read nor paused. c is there until uv's close callback. */
    if (c->tls && c->state == OPEN && !c->paused && rp_tls_face(c->tls)->more) tell_more(c);
}

static void wear_tls(struct rp_conn *c, struct rp_tls *t)
{
    struct rp_tls_face *f = rp_tls_face(t);
    f->again.run = run_again;
    f->conn = c;
    f->in_bytes = &c->face.in_bytes;
    f->out_bytes = &c->face.out_bytes;
    c->tls = t;
}

static void drop_tls(struct rp_conn *c)
{
    if (!c->tls) return;
    rp_loop_undefer(loop_of(c), &rp_tls_face(c->tls)->again);
    rp_tls_free(&c->tls);
}

void rp_conn_start_tls(struct rp_conn *c, struct rp_tls_server *server,
                       const struct rp_tls_tickets *tickets)
{
    RP_CHECK(c->state == OPEN && !c->tls);
    wear_tls(c, rp_tls_accept(loop_of(c), c->fd, server, tickets));
    c->state = SHAKING;
}

rp_err rp_conn_finish_tls(struct rp_conn *c)
{
    bool busy = c->state == SHAKING || c->state == ASKING;
    return busy && c->face.fail.code == RP_OK ? RP_AGAIN : c->face.fail.code;
}

void rp_conn_ask_tls(struct rp_conn *c, unsigned questions)
{
    RP_CHECK(c->state == SHAKING);
    rp_tls_ask(c->tls, questions);
}

unsigned rp_conn_question(const struct rp_conn *c)
{
    return c->state == ASKING && c->face.fail.code == RP_OK ? rp_tls_question(c->tls) : 0;
}

static void answered(struct rp_conn *c)
{
    c->state = SHAKING;
    c->paused = false;
    if (!c->failed) arm(c, wanted(c));
    tell_more(c);
}

void rp_conn_answer_hello(struct rp_conn *c, const struct rp_tls_choice *choice)
{
    rp_tls_answer_hello(c->tls, choice);
    answered(c);
}

void rp_conn_answer_cert(struct rp_conn *c, struct rp_tls_cert *cert)
{
    rp_tls_answer_cert(c->tls, cert);
    answered(c);
}

bool rp_conn_take_hello(struct rp_conn *c, struct rp_tls_hello *out)
{
    return c->tls && rp_tls_take_hello(c->tls, out);
}

void rp_conn_attach(struct rp_conn *c, void *thing, void (*drop)(void *thing))
{
    rp_tls_attach(c->tls, thing, drop);
}

void rp_conn_on_shaken(struct rp_conn *c, void (*fn)(void *arg), void *arg)
{
    if (c->tls) rp_tls_on_shaken(c->tls, fn, arg);
}

void rp_conn_give_up(struct rp_conn *c)
{
    RP_CHECK(c->state == OPEN && c->tls);
    RP_IGNORE(note_failure(c, RP_E_TLS_TIMEOUT, 0, "tls")); /* the code again */
    rp_tls_break(c->tls);
    tell_more(c);
}

void rp_conn_stop_tls(struct rp_conn *c)
{
    RP_CHECK(c->state == SHAKING || c->state == ASKING);
    drop_tls(c);
    c->state = OPEN;
    c->want_write = false;
    c->face.fail = (struct rp_conn_fail){0};
}

void rp_conn_use_tls(struct rp_conn *c, struct rp_tls_client *client, rp_str name,
                     struct rp_tls_memory *memory)
{
    RP_CHECK(c->state == CONNECTING && !c->tls);
    if (RP_UNLIKELY(loop_of(c)->lab != NULL)) return; /* lab.h */
    wear_tls(c, rp_tls_connect(loop_of(c), c->fd, client, name, memory));
}

void rp_conn_greet(struct rp_conn *c, rp_str bytes)
{
    RP_CHECK(c->state == CONNECTING && c->tls);
    rp_tls_greet(c->tls, bytes);
}

void rp_conn_offer(struct rp_conn *c, rp_str alpn)
{
    if (RP_UNLIKELY(loop_of(c)->lab != NULL)) return;
    RP_CHECK(c->state == CONNECTING && c->tls);
    rp_tls_offer(c->tls, alpn);
}

const struct rp_tls *rp_conn_tls(const struct rp_conn *c)
{
    return c->tls;
}

const char *rp_conn_why(const struct rp_conn *c)
{
    const char *why = c->tls ? rp_tls_why(c->tls) : NULL;
    return why ? why : c->face.fail.os ? strerror(c->face.fail.os) : NULL;
}

/* Room again: what was kept goes first, then the FIN that waited for it. */
static rp_err flush_tls(struct rp_conn *c)
{
    rp_err e = rp_tls_flush(c->tls);
    if (e == RP_AGAIN) return wait_writable(c);
    if (rp_tls_is_early(c->tls)) return e; /* close_notify comes first */
    if (c->fin_wanted) c->fin_sent = RP_SYS(shutdown, shutdown(c->fd, SHUT_WR)) == 0;
    c->fin_wanted = false; /* where it is refused, recv tells why */
    return e;
}

/* What was armed for a client that leaves is disarmed by that alone (on_poll). */
static unsigned asking_on_poll(struct rp_conn *c)
{
    if (c->armed & UV_DISCONNECT) {
        RP_IGNORE(flush_tls(c));                           /* a failure is found by the handshake */
        if (!c->failed) arm(c, wanted(c) | UV_DISCONNECT); /* on_poll would drop it with the rest */
        return 0;
    }
    RP_IGNORE(note_failure(c, RP_E_CLOSED, 0, "tls")); /* told by finish_tls */
    return UV_WRITABLE;
}

/* Early data has come, and the owner reads and answers it; the handshake goes on behind that, also
 * while the owner pauses. */
static unsigned go_on_shaking(struct rp_conn *c, unsigned events)
{
    rp_err e = rp_tls_shake(c->tls);
    const struct rp_tls_face *f = rp_tls_face(c->tls);
    if (e < 0) RP_IGNORE(note_failure(c, e, f->os, "tls")); /* recv says it */
    if (c->failed) failure_met(c);
    if (e == RP_AGAIN) arm(c, c->armed | UV_READABLE);
    if (!rp_tls_is_flushed(c->tls)) RP_IGNORE(wait_writable(c)); /* AGAIN, as it always says */
    else if (e == RP_OK && c->fin_wanted) events |= UV_WRITABLE; /* for the FIN */
    events &= UV_WRITABLE;
    return f->more && !c->paused ? events | UV_READABLE : events;
}

/* What the TLS needs of an event comes first; what is left is the owner's. */
static unsigned tls_on_poll(struct rp_conn *c, unsigned events)
{
    if (c->state == SHAKING) return shake_on(c);
    if (c->state == ASKING) return asking_on_poll(c);
    if (rp_tls_is_early(c->tls)) events = go_on_shaking(c, events);
    if ((events & UV_WRITABLE) && flush_tls(c) == RP_AGAIN) events &= ~(unsigned)UV_WRITABLE;
    return events;
}

/* ---- bytes --------------------------------------------------------------------------------- */

static rp_err io_failure(struct rp_conn *c, int os, const char *step)
{
    bool gone = os == ECONNRESET || os == EPIPE || os == ETIMEDOUT || os == ECONNABORTED ||
                os == ENOTCONN || os == EHOSTUNREACH || os == ENETUNREACH || os == ENETDOWN ||
                os == ECONNREFUSED || os == ESHUTDOWN;
    return note_failure(c, gone ? RP_E_CLOSED : RP_E_OS, os, step);
}

static ssize_t receive(struct rp_conn *c, char *buf, size_t n)
{
    return RP_SYS(recv, recv(c->fd, buf, RP_SHORT(recv, n), 0));
}

static rp_err tls_failure(struct rp_conn *c, const char *step)
{
    int os = rp_tls_face(c->tls)->os;
    return os ? io_failure(c, os, step) : note_failure(c, RP_E_CLOSED, 0, "tls");
}

static rp_err tls_recv(struct rp_conn *c, char *buf, size_t n, size_t *got)
{
    rp_err e = rp_tls_recv(c->tls, buf, n, got);
    if (e < 0) return tls_failure(c, "recv");
    if (c->failed) failure_met(c);
    if (e == RP_END) c->ended = true;
    if (!rp_tls_is_flushed(c->tls)) RP_IGNORE(wait_writable(c)); /* AGAIN, as it always says */
    if (rp_tls_face(c->tls)->more) tell_more(c);
    return e;
}

/* The kernel tells of a reset once: where a send met it, a read finds an end that the other side has
 * not sent. With EPIPE its FIN had come before the reset. */
static rp_err end_found(const struct rp_conn *c)
{
    const struct rp_conn_fail *f = &c->face.fail;
    return f->code == RP_E_CLOSED && f->os != EPIPE ? RP_E_CLOSED : RP_END;
}

/* What a recv or a splice said. */
static inline rp_err received(struct rp_conn *c, ssize_t r, size_t *got)
{
    if (RP_UNLIKELY(r < 0 && errno != EAGAIN)) return io_failure(c, errno, "recv");
    if (RP_UNLIKELY(c->failed)) failure_met(c);
    if (r < 0) return RP_AGAIN;
    c->ended = r == 0;
    *got = (size_t)r;
    c->face.in_bytes += (uint64_t)r;
    return r > 0 ? RP_OK : end_found(c);
}

rp_err rp_conn_recv(struct rp_conn *c, char *buf, size_t n, size_t *got)
{
    RP_ASSERT(n > 0 && c->state != CLOSING);
    if (RP_UNLIKELY(c->tls != NULL)) return tls_recv(c, buf, n, got);
    ssize_t r = receive(c, buf, n);
    while (r < 0 && errno == EINTR) r = receive(c, buf, n);
    *got = 0;
    return received(c, r, got);
}

static ssize_t peek(const struct rp_conn *c, char *buf, size_t n)
{
    return RP_SYS(peek, recv(c->fd, buf, n, MSG_PEEK));
}

rp_err rp_conn_peek(struct rp_conn *c, char *buf, size_t n, size_t *got)
{
    if (c->tls) {
        rp_err e = rp_tls_peek(c->tls, buf, n, got);
        if (rp_tls_face(c->tls)->more) tell_more(c);
        return e < 0 ? tls_failure(c, "recv") : e;
    }
    ssize_t r = peek(c, buf, n);
    while (r < 0 && errno == EINTR) r = peek(c, buf, n);
    *got = r > 0 ? (size_t)r : 0;
    if (r < 0 && errno != EAGAIN) return io_failure(c, errno, "recv");
    return r > 0 ? RP_OK : r == 0 ? RP_END : RP_AGAIN;
}

size_t rp_conn_unsent(const struct rp_conn *c)
{
    int n = 0;
    return ioctl(c->fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
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
static ssize_t send_front(struct rp_conn *c, const struct rp_chain *chain, int flags, size_t *asked)
{
    const struct rp_piece *first = chain->head;
    if (!first->next) { /* a head, with its small body or without one */
        *asked = first->len;
        return RP_SYS(send, send(c->fd, first->ptr, RP_SHORT(send, first->len), flags));
    }
    struct iovec iov[IOV_MOST];
    int n = rp_chain_iov(chain, iov, IOV_MOST);
    *asked = 0;
    for (int i = 0; i < n; i++) *asked += iov[i].iov_len;
    size_t front = RP_SHORT(send, iov[0].iov_len);
    if (front < iov[0].iov_len) return send(c->fd, iov[0].iov_base, front, flags);
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
    return RP_SYS(send, sendmsg(c->fd, &msg, flags));
}

static inline rp_err plain_send(struct rp_conn *c, struct rp_chain *chain, int flags);

/* Where the kernel seals: what OpenSSL has to say goes first. RP_OK: the socket takes plain bytes. */
static rp_err kernel_ready(struct rp_conn *c)
{
    rp_err e = rp_tls_kernel_ready(c->tls);
    if (e < 0) return tls_failure(c, "send");
    if (e == RP_OK) return e;
    c->failed = false;
    return wait_writable(c);
}

static rp_err tls_send(struct rp_conn *c, struct rp_chain *chain)
{
    if (rp_tls_is_kernel(c->tls)) {
        rp_err ready = kernel_ready(c);
        return ready == RP_OK ? plain_send(c, chain, MSG_NOSIGNAL) : ready;
    }
    rp_err e = rp_tls_send(c->tls, chain);
    if (e < 0) return tls_failure(c, "send");
    if (e == RP_AGAIN) {
        c->failed = false;
        return wait_writable(c);
    }
    c->want_write = false;
    return RP_OK;
}

static inline rp_err plain_send(struct rp_conn *c, struct rp_chain *chain, int flags)
{
    while (chain->bytes > 0) {
        size_t asked = 0;
        ssize_t r = send_front(c, chain, flags, &asked);
        if (RP_UNLIKELY(r < 0)) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN) return io_failure(c, errno, "send");
            c->failed = false;
            return wait_writable(c);
        }
        c->face.out_bytes += (uint64_t)r;
        rp_chain_consume(chain, (size_t)r);
        if ((size_t)r < asked) return wait_writable(c); /* full: a further try would say EAGAIN */
    }
    c->want_write = false;
    return RP_OK;
}

rp_err rp_conn_send(struct rp_conn *c, struct rp_chain *chain)
{
    RP_ASSERT(c->state != CLOSING);
    if (RP_UNLIKELY(c->tls != NULL)) return tls_send(c, chain);
    return plain_send(c, chain, MSG_NOSIGNAL);
}

/* Say that nothing more comes. False: the connection is gone (recv tells the owner). */
static bool end_output(struct rp_conn *c)
{
    if (c->fin_sent) return true;
    if (!c->tls || rp_tls_notify(c->tls) != RP_AGAIN) {
        c->fin_sent = RP_SYS(shutdown, shutdown(c->fd, SHUT_WR)) == 0;
        return c->fin_sent;
    }
    c->fin_wanted = true;
    RP_IGNORE(wait_writable(c)); /* AGAIN, as it always says */
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
    RP_ASSERT(c->state != CLOSING);
    if (c->tls) rp_tls_end_after(c->tls);
    if (chain->bytes > 0) {
        int more = chain->bytes <= RP_CONN_ONE_SEND ? MSG_MORE : 0;
        e = c->tls ? tls_send(c, chain) : plain_send(c, chain, MSG_NOSIGNAL | more);
        if (e == RP_AGAIN && more && !c->tls) rp_conn_uncork(c->fd);
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
    RP_ASSERT(n > 0 && c->state == OPEN && !c->tls);
    ssize_t r;
    do r = RP_SYS(splice_in, move(c->fd, pipe_fd, RP_SHORT(splice_in, n)));
    while (r < 0 && errno == EINTR);
    *got = 0;
    if (r < 0 && has_no_splice(errno)) return RP_E_BUSY;
    return received(c, r, got);
}

rp_err rp_conn_from_pipe(struct rp_conn *c, int pipe_fd, size_t n, size_t *gone)
{
    RP_ASSERT(n > 0 && c->state == OPEN && (!c->tls || rp_tls_is_kernel(c->tls)));
    *gone = 0;
    rp_err ready = c->tls ? kernel_ready(c) : RP_OK;
    if (ready != RP_OK) return ready;
    ssize_t r;
    do r = RP_SYS(splice_out, move(pipe_fd, c->fd, RP_SHORT(splice_out, n)));
    while (r < 0 && errno == EINTR);
    *gone = 0;
    if (r < 0 && has_no_splice(errno)) return RP_E_BUSY;
    if (r < 0 && errno != EAGAIN) return io_failure(c, errno, "send");
    if (r < 0) c->failed = false;
    else *gone = (size_t)r;
    c->face.out_bytes += *gone;
    if (*gone < n) return wait_writable(c);
    c->want_write = false;
    return RP_OK;
}

/* ---- end ----------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *h)
{
    struct rp_conn *c = RP_CONTAINER(rp_conn, poll, (uv_poll_t *)h);
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
    if (c->state == CLOSING) return;
    drop_linger(c);
    /* A good end says so, or a client could not tell it from one that somebody cut. */
    if (c->tls && c->state == OPEN) RP_IGNORE(rp_tls_notify(c->tls)); /* what fits */
    drop_tls(c);
    rp_meter_leave(&loop_of(c)->meter, &c->face.pass);
    c->state = CLOSING;
    c->face.on_event = NULL;
    if (c->next) c->next->prev = c->prev;
    if (c->prev) c->prev->next = c->next;
    else loop_of(c)->conns = c->next;
    uv_close((uv_handle_t *)&c->poll, on_closed);
    (void)close(c->fd); /* on a socket an error here says nothing we could act on */
}

void rp_conn_reset(struct rp_conn *c)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (c->state == CLOSING) return;
    drop_tls(c); /* no close_notify: this is no good end */
    /* Should it be refused, the peer gets a FIN instead. */
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
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
    bool pointless = c->state != OPEN || c->ended || c->face.fail.code != RP_OK;
    if (pointless || bytes == 0 || ms == 0 || !end_output(c)) {
        rp_conn_close(c);
        return;
    }
    if (!c->fin_wanted) drop_tls(c); /* what still comes is thrown away sealed */
    struct lingering *g = rp_pool_get(&loop_of(c)->linger_pool);
    *g = (struct lingering){.conn = c, .left_bytes = bytes};
    rp_timer_init(&g->timer, on_linger_timer);
    rp_timer_set(loop_of(c), &g->timer, ms);
    c->face.owner = g;
    c->face.on_event = on_linger_event;
    c->want_write = c->fin_wanted;
    rp_conn_resume(c);
}
