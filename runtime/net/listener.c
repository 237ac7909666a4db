/* SPDX-License-Identifier: MIT
 *
 * listener: see listener.h. How many connections one event accepts follows the load: the batch
 * doubles while each one leaves more behind and shrinks to what was there, so that neither a storm
 * starves open connections nor every single connection costs an accept that says EAGAIN.
 */
#include "net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "net/addr_sys.h"
#include "net/loop_uv.h"
#include "net/timer.h"

enum {
    BATCH_MOST = 64,  /* about 0.3 ms of accepting */
    STARVED_MS = 250, /* out of descriptors: time for some to close; clients wait in the queue */
};

struct rp_listener {
    struct rp_loop *loop;
    struct rp_listener *next, *prev; /* all listeners of the loop */
    rp_listener_fn on_accept;
    void *owner;
    int fd;
    unsigned batch;
    uint64_t full_tick; /* tick of the last batch that was used up */
    bool starved;       /* out of descriptors, and said so */
    bool closing;
    bool any; /* bound to no certain address */
    struct rp_addr addr;
    struct rp_timer retry;
    struct rp_poll poll;
};

/* ---- binding ------------------------------------------------------------------------------- */

static rp_err os_failure(int *os)
{
    *os = errno;
    return errno == EADDRINUSE ? RP_E_BUSY : RP_E_OS;
}

static bool set_on(int fd, int level, int option)
{
    int on = 1;
    return setsockopt(fd, level, option, &on, sizeof on) == 0;
}

static bool set_options(int fd, const struct rp_addr *a, const struct rp_listener_options *o)
{
    int only = o->ipv6_only;
    if (a->family == RP_ADDR_UNIX) return true;
    if (!set_on(fd, SOL_SOCKET, SO_REUSEADDR)) return false;
    if (o->reuseport && !set_on(fd, SOL_SOCKET, SO_REUSEPORT)) return false;
    if (a->family == RP_ADDR_IP6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) != 0)
        return false;
    return set_on(fd, IPPROTO_TCP, TCP_NODELAY); /* inherited by what is accepted */
}

/* A socket file may be left by a process that died: nobody answers on it. RP_E_BUSY when someone
 * does, and when the file is not a socket at all. */
static rp_err remove_stale(const struct rp_addr *a, int *os)
{
    struct stat st;
    struct sockaddr_storage ss;
    if (a->unix_path[0] == '@' || lstat(a->unix_path, &st) != 0) return RP_OK;
    *os = EADDRINUSE;
    if (!S_ISSOCK(st.st_mode)) return RP_E_BUSY;
    int fd = RP_SYS(socket, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd < 0) return os_failure(os);
    socklen_t n = rp_addr_to_sys(a, &ss);
    bool refused = connect(fd, (const struct sockaddr *)&ss, n) != 0 && errno == ECONNREFUSED;
    (void)close(fd); /* carried nothing */
    if (!refused) return RP_E_BUSY;
    return unlink(a->unix_path) == 0 || errno == ENOENT ? RP_OK : os_failure(os);
}

static rp_err bind_and_listen(int fd, const struct rp_addr *a, const struct rp_listener_options *o,
                              int *os)
{
    struct sockaddr_storage ss;
    socklen_t n = rp_addr_to_sys(a, &ss);
    if (!set_options(fd, a, o)) return os_failure(os);
    if (RP_SYS(bind, bind(fd, (const struct sockaddr *)&ss, n)) != 0) return os_failure(os);
    bool file = a->family == RP_ADDR_UNIX && a->unix_path[0] != '@';
    if (file && chmod(a->unix_path, (mode_t)o->unix_mode) != 0) return os_failure(os);
    return RP_SYS(listen, listen(fd, o->backlog)) == 0 ? RP_OK : os_failure(os);
}

rp_err rp_listener_bind(const struct rp_addr *a, const struct rp_listener_options *o, int *fd,
                        int *os)
{
    struct sockaddr_storage ss;
    *os = 0;
    *fd = -1;
    if (rp_addr_to_sys(a, &ss) == 0) return RP_E_INVALID;
    rp_err e = a->family == RP_ADDR_UNIX ? remove_stale(a, os) : RP_OK;
    if (e != RP_OK) return e;
    int s = RP_SYS(socket, socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (s < 0) return os_failure(os);
    e = bind_and_listen(s, a, o, os);
    if (e == RP_OK) *fd = s;
    else (void)close(s); /* the failure being told is the earlier one */
    return e;
}

/* ---- accepting ----------------------------------------------------------------------------- */

static void on_retry(struct rp_timer *t)
{
    rp_poll_arm(&RP_CONTAINER(rp_listener, retry, t)->poll, RP_POLL_IN);
}

/* Errors of one connection that died in the queue (accept(2)), or of a signal: try the next one. */
static bool is_passing(int os)
{
    return os == ECONNABORTED || os == EINTR || os == EPROTO || os == EPERM || os == ENETDOWN ||
           os == ENOPROTOOPT || os == EHOSTDOWN || os == ENONET || os == EHOSTUNREACH ||
           os == ENETUNREACH || os == EOPNOTSUPP;
}

/* No descriptor or no memory: accepting again at once would only spin. */
static void rest(struct rp_listener *ln, int os)
{
    char where[RP_ADDR_TEXT_BYTES];
    rp_poll_arm(&ln->poll, 0);
    rp_timer_set(ln->loop, &ln->retry, STARVED_MS);
    if (ln->starved) return;
    ln->starved = true;
    (void)rp_addr_put(&ln->addr, where); /* NUL-terminated */
    rp_log(error, "cannot accept, pausing listener=%s os=%s pause_ms=%d", where, uv_err_name(-os),
           STARVED_MS);
}

static void deliver(struct rp_listener *ln, int fd, const struct sockaddr *sa, socklen_t n)
{
    struct rp_addr peer;
    struct rp_conn *c = NULL;
    rp_addr_from_sys(sa, n, &peer);
    rp_err e = rp_conn_adopt(ln->loop, fd, &peer, ln->any ? NULL : &ln->addr, &c);
    if (e == RP_OK) ln->on_accept(ln, c);
    else rp_log(error, "cannot watch an accepted connection fd=%d", fd);
}

/* One accept. False: stop here. */
static bool accept_one(struct rp_listener *ln)
{
    struct sockaddr_storage ss;
    socklen_t n = sizeof ss;
    int fd =
        RP_SYS(accept, accept4(ln->fd, (struct sockaddr *)&ss, &n, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd >= 0) {
        ln->starved = false;
        deliver(ln, fd, (const struct sockaddr *)&ss, n);
        return !ln->closing;
    }
    if (is_passing(errno)) return true;
    if (errno != EAGAIN) rest(ln, errno);
    return false;
}

static void on_poll(struct rp_poll *p, unsigned events)
{
    struct rp_listener *ln = RP_CONTAINER(rp_listener, poll, p);
    unsigned done = 0;
    if (events & RP_POLL_FAILED) { /* nothing more will come */
        rp_log(error, "listening socket failed fd=%d", ln->fd);
        return;
    }
    if (ln->full_tick + 1 == ln->loop->tick) ln->batch = RP_MIN(ln->batch * 2, BATCH_MOST);
    while (done < ln->batch && accept_one(ln)) done++;
    if (done == ln->batch) ln->full_tick = ln->loop->tick;
    else ln->batch = RP_MAX(done, 1u);
}

/* ---- life ---------------------------------------------------------------------------------- */

rp_err rp_listener_open(struct rp_loop *l, int fd, rp_listener_fn on_accept, void *owner,
                        struct rp_listener **out)
{
    struct sockaddr_storage ss;
    socklen_t n = sizeof ss;
    struct rp_listener *ln = rp_alloc(sizeof *ln);
    if (getsockname(fd, (struct sockaddr *)&ss, &n) != 0 ||
        RP_SYS(watch, rp_poll_start(l, &ln->poll, fd, RP_POLL_IN, on_poll)) != 0) {
        rp_free(ln);
        return RP_E_OS;
    }
    rp_addr_from_sys((const struct sockaddr *)&ss, n, &ln->addr);
    if (ln->addr.family != RP_ADDR_UNIX) (void)set_on(fd, IPPROTO_TCP, TCP_NODELAY); /* a wish */
    ln->loop = l;
    ln->on_accept = on_accept;
    ln->owner = owner;
    ln->fd = fd;
    ln->batch = 1;
    ln->full_tick = UINT64_MAX - 1; /* never */
    ln->any = rp_addr_is_any(&ln->addr);
    rp_timer_init(&ln->retry, on_retry);
    ln->next = l->listeners;
    if (l->listeners) l->listeners->prev = ln;
    l->listeners = ln;
    *out = ln;
    return RP_OK;
}

void *rp_listener_owner(const struct rp_listener *ln)
{
    return ln->owner;
}

const struct rp_addr *rp_listener_addr(const struct rp_listener *ln)
{
    return &ln->addr;
}

static void free_closed(struct rp_poll *p)
{
    rp_free(RP_CONTAINER(rp_listener, poll, p));
}

void rp_listener_close(struct rp_listener *ln)
{
    if (!ln || ln->closing) return;
    ln->closing = true;
    rp_timer_clear(ln->loop, &ln->retry);
    if (ln->next) ln->next->prev = ln->prev;
    if (ln->prev) ln->prev->next = ln->next;
    else ln->loop->listeners = ln->next;
    rp_poll_end(&ln->poll, true, free_closed); /* the descriptor is not ours to close */
}
