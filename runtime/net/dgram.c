/* SPDX-License-Identifier: MIT
 *
 * dgram: see dgram.h. As conns are, sockets are read and written here.
 */
#include "net/dgram.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fault.h"
#include "net/addr_sys.h"
#include "net/loop_uv.h"

enum {
    /* What may wait in a bound socket while the worker does something else: about 2,000 datagrams
     * of the usual size. The kernel cuts it to net.core.rmem_max for who is not root. */
    RECEIVE_BYTES = 4 * 1024 * 1024,
    /* A cmsghdr and an in6_pktinfo, the larger of the two that are asked for. */
    CONTROL_BYTES = 64,
    MOST_SHARE = 2, /* half of the descriptors: the rest is for connections and files */
};

struct rp_dgram {
    struct rp_loop *loop;
    struct rp_dgram *next, *prev; /* all of the loop */
    rp_dgram_fn on_ready;
    void *owner;
    int fd;
    bool connected, closing, resting;
    struct rp_poll poll;
};

/* ---- sockets --------------------------------------------------------------------------------- */

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

/* What a sender of "fragmentation needed" says is not believed, whom anybody can be: routers may cut
 * our datagrams, as they may those of the client. IPv6 has no such routers. A wish. */
static void let_fragment(int fd, int family)
{
    int how = IP_PMTUDISC_OMIT;
    if (family == AF_INET) (void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &how, sizeof how);
}

/* Wishes: a small buffer works, and loses more in a burst. */
static void ask_for_room(int fd)
{
    int bytes = RECEIVE_BYTES;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) == 0) return;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

/* No SO_REUSEADDR: on UDP it would let any other program of the machine take our datagrams. */
static rp_err bind_it(int fd, const struct sockaddr_storage *ss, socklen_t n, int *os)
{
    if (!set_on(fd, SOL_SOCKET, SO_REUSEPORT)) return os_failure(os);
    if (ss->ss_family == AF_INET6 && !set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY)) return os_failure(os);
    ask_for_room(fd);
    let_fragment(fd, ss->ss_family);
    return RP_SYS(bind, bind(fd, (const struct sockaddr *)ss, n)) == 0 ? RP_OK : os_failure(os);
}

rp_err rp_dgram_bind(const struct rp_addr *a, int *fd, int *os)
{
    struct sockaddr_storage ss;
    *os = 0;
    *fd = -1;
    if (a->family != RP_ADDR_IP4 && a->family != RP_ADDR_IP6) return RP_E_INVALID;
    socklen_t n = rp_addr_to_sys(a, &ss);
    int s = RP_SYS(socket, socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (s < 0) return os_failure(os);
    rp_err e = bind_it(s, &ss, n, os);
    if (e == RP_OK) *fd = s;
    else (void)close(s); /* the failure being told is the earlier one */
    return e;
}

uint32_t rp_dgram_most(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 512;
    return (uint32_t)RP_MIN((uint64_t)limit.rlim_cur / MOST_SHARE, (uint64_t)UINT32_MAX);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_poll(struct rp_poll *p, unsigned events)
{
    struct rp_dgram *d = RP_CONTAINER(rp_dgram, poll, p);
    d->on_ready(d);
    /* recv has taken the error, or its owner wants to hear of it later. */
    if ((events & RP_POLL_FAILED) && !d->closing && !d->resting) rp_poll_arm(p, RP_POLL_IN);
}

static rp_err make(struct rp_loop *l, int fd, rp_dgram_fn on_ready, void *owner,
                   struct rp_dgram **out)
{
    struct rp_dgram *d = rp_alloc(sizeof *d);
    if (RP_SYS(watch, rp_poll_start(l, &d->poll, fd, RP_POLL_IN, on_poll)) != 0) {
        rp_free(d);
        return RP_E_OS;
    }
    d->loop = l;
    d->fd = fd;
    d->on_ready = on_ready;
    d->owner = owner;
    d->next = l->dgrams;
    if (d->next) d->next->prev = d;
    l->dgrams = d;
    *out = d;
    return RP_OK;
}

/* Which of our addresses was written to? Bound to one, there is nothing to ask. */
static bool ask_for_local(int fd)
{
    struct sockaddr_storage ss;
    struct rp_addr local;
    socklen_t n = sizeof ss;
    if (getsockname(fd, (struct sockaddr *)&ss, &n) != 0) return false;
    rp_addr_from_sys((const struct sockaddr *)&ss, n, &local);
    if (!rp_addr_is_any(&local)) return true;
    if (local.family == RP_ADDR_IP4) return set_on(fd, IPPROTO_IP, IP_PKTINFO);
    return set_on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
}

rp_err rp_dgram_open(struct rp_loop *l, int fd, rp_dgram_fn on_ready, void *owner,
                     struct rp_dgram **out)
{
    int copy = RP_SYS(dup, fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (copy < 0) return RP_E_OS;
    rp_err e = ask_for_local(copy) ? make(l, copy, on_ready, owner, out) : RP_E_OS;
    if (e != RP_OK) (void)close(copy); /* the failure being told is the earlier one */
    return e;
}

/* Where it leads is for the lab to say. */
static rp_err connect_lab(struct rp_loop *l, const struct rp_addr *to, rp_dgram_fn on_ready,
                          void *owner, struct rp_dgram **out, int *os)
{
    int fd = l->lab->connect(l->lab->arg, to, true);
    rp_err e = fd < 0 ? RP_E_UP_CONNECT : make(l, fd, on_ready, owner, out);
    if (fd < 0) *os = -fd;
    else if (e != RP_OK) (void)close(fd); /* nothing was sent */
    else (*out)->connected = true;
    return e;
}

rp_err rp_dgram_connect(struct rp_loop *l, const struct rp_addr *to, rp_dgram_fn on_ready,
                        void *owner, struct rp_dgram **out, int *os)
{
    struct sockaddr_storage ss;
    *os = 0;
    if (to->family != RP_ADDR_IP4 && to->family != RP_ADDR_IP6) return RP_E_UP_CONNECT;
    if (RP_UNLIKELY(l->lab != NULL)) return connect_lab(l, to, on_ready, owner, out, os);
    socklen_t n = rp_addr_to_sys(to, &ss);
    int fd = RP_SYS(socket, socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (fd < 0) {
        *os = errno;
        return RP_E_OS;
    }
    let_fragment(fd, ss.ss_family);
    rp_err e = RP_OK;
    if (RP_SYS(connect, connect(fd, (const struct sockaddr *)&ss, n)) != 0) e = RP_E_UP_CONNECT;
    if (e != RP_OK) *os = errno;
    else e = make(l, fd, on_ready, owner, out);
    if (e == RP_E_OS) *os = ENOMEM;  /* epoll takes no more */
    if (e != RP_OK) (void)close(fd); /* the failure being told is the earlier one */
    else (*out)->connected = true;
    return e;
}

void *rp_dgram_owner(const struct rp_dgram *d)
{
    return d->owner;
}

void rp_dgram_rest(struct rp_dgram *d, bool on)
{
    if (d->resting == on) return;
    d->resting = on;
    rp_poll_arm(&d->poll, on ? 0 : RP_POLL_IN);
}

static void free_closed(struct rp_poll *p)
{
    rp_free(RP_CONTAINER(rp_dgram, poll, p));
}

void rp_dgram_close(struct rp_dgram *d)
{
    if (!d || d->closing) return;
    d->closing = true;
    if (d->next) d->next->prev = d->prev;
    if (d->prev) d->prev->next = d->next;
    else d->loop->dgrams = d->next;
    rp_poll_end(&d->poll, !d->connected, free_closed); /* a bound one is a copy of the master's */
    (void)close(d->fd); /* on a socket an error here says nothing we could act on */
}

/* ---- batches --------------------------------------------------------------------------------- */

union control {
    struct cmsghdr align;
    char bytes[CONTROL_BYTES];
};

/* What the kernel fills, set up once. */
struct batch_sys {
    struct mmsghdr messages[RP_DGRAM_BATCH];
    struct iovec vectors[RP_DGRAM_BATCH];
    struct sockaddr_storage names[RP_DGRAM_BATCH];
    union control controls[RP_DGRAM_BATCH];
    char *room;
};

struct rp_dgram_batch *rp_dgram_batch_new(void)
{
    struct rp_dgram_batch *b = rp_alloc(sizeof *b);
    struct batch_sys *sys = rp_alloc(sizeof *sys);
    sys->room = rp_alloc((size_t)RP_DGRAM_BATCH * RP_DGRAM_ROOM);
    for (size_t i = 0; i < RP_DGRAM_BATCH; i++) {
        struct msghdr *m = &sys->messages[i].msg_hdr;
        sys->vectors[i] =
            (struct iovec){.iov_base = sys->room + i * RP_DGRAM_ROOM, .iov_len = RP_DGRAM_ROOM};
        m->msg_iov = &sys->vectors[i];
        m->msg_iovlen = 1;
        m->msg_name = &sys->names[i];
        m->msg_control = &sys->controls[i];
    }
    b->sys = sys;
    return b;
}

void rp_dgram_batch_free(struct rp_dgram_batch **where)
{
    struct rp_dgram_batch *b = *where;
    if (!b) return;
    struct batch_sys *sys = b->sys;
    rp_free(sys->room);
    rp_free(sys);
    rp_free(b);
    *where = NULL;
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Says nothing about the other end: this datagram alone is lost. */
static bool is_own(int os)
{
    return os == EAGAIN || os == ENOBUFS || os == ENOMEM || os == EMSGSIZE || os == EINVAL;
}

/* An answer cannot come from a group's address: then the kernel chooses one. */
static bool is_group(const struct in6_addr *a)
{
    return IN6_IS_ADDR_MULTICAST(a);
}

static void local_of(struct msghdr *m, struct rp_addr *out)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            in4.sin_addr = info.ipi_spec_dst; /* ours also when it came as a broadcast */
            rp_addr_from_sys((const struct sockaddr *)&in4, sizeof in4, out);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            if (is_group(&info.ipi6_addr)) continue;
            in6.sin6_addr = info.ipi6_addr;
            in6.sin6_scope_id = info.ipi6_ifindex; /* kept for link-local ones */
            rp_addr_from_sys((const struct sockaddr *)&in6, sizeof in6, out);
        }
    }
}

static void fill_item(const struct rp_dgram *d, struct mmsghdr *m, struct rp_dgram_item *item)
{
    struct msghdr *h = &m->msg_hdr;
    item->bytes = rp_str_of(h->msg_iov->iov_base, m->msg_len);
    item->from.family = item->local.family = RP_ADDR_NONE;
    if (d->connected) return;
    rp_addr_from_sys(h->msg_name, h->msg_namelen, &item->from);
    local_of(h, &item->local);
}

static int receive(struct rp_dgram *d, struct batch_sys *sys)
{
    int n;
    for (size_t i = 0; i < RP_DGRAM_BATCH; i++) { /* the kernel wrote what it used of them */
        sys->messages[i].msg_hdr.msg_namelen = sizeof sys->names[i];
        sys->messages[i].msg_hdr.msg_controllen = sizeof sys->controls[i];
    }
    do n = RP_SYS(dgram_recv, recvmmsg(d->fd, sys->messages, RP_DGRAM_BATCH, MSG_DONTWAIT, NULL));
    while (n < 0 && errno == EINTR);
    return n;
}

rp_err rp_dgram_recv(struct rp_dgram *d, struct rp_dgram_batch *b, int *os)
{
    struct batch_sys *sys = b->sys;
    b->n = 0;
    int n = receive(d, sys);
    if (n < 0 && is_own(errno)) return RP_AGAIN; /* EMSGSIZE: a large one met a narrow path */
    if (n < 0) {
        *os = errno;
        return RP_E_UP_CONNECT;
    }
    for (int i = 0; i < n; i++) fill_item(d, &sys->messages[i], &b->items[i]);
    b->n = (uint32_t)n;
    return n > 0 ? RP_OK : RP_AGAIN;
}

/* ---- sending --------------------------------------------------------------------------------- */

static size_t put_control(struct msghdr *m, int level, int type, const void *data, size_t n)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(n);
    memcpy(CMSG_DATA(c), data, n);
    return CMSG_SPACE(n);
}

/* Leave from this address of ours. */
static void put_from(const struct rp_addr *from, union control *control, struct msghdr *m)
{
    struct sockaddr_storage ss;
    if (!from || rp_addr_to_sys(from, &ss) == 0) return;
    memset(control, 0, sizeof *control);
    m->msg_control = control;
    m->msg_controllen = sizeof *control;
    if (ss.ss_family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst =
                                      ((const struct sockaddr_in *)(const void *)&ss)->sin_addr};
        m->msg_controllen = put_control(m, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_addr =
                                       ((const struct sockaddr_in6 *)(const void *)&ss)->sin6_addr,
                                   .ipi6_ifindex = from->scope};
        m->msg_controllen = put_control(m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
}

/* As many of list as one call takes, 0 with errno set. */
static uint32_t send_some(const struct rp_dgram *d, const struct msghdr *how, const rp_str *list,
                          uint32_t n)
{
    struct mmsghdr messages[RP_DGRAM_BATCH];
    struct iovec vectors[RP_DGRAM_BATCH];
    int done;
    n = RP_MIN(n, (uint32_t)RP_DGRAM_BATCH);
    for (uint32_t i = 0; i < n; i++) {
        vectors[i] =
            (struct iovec){.iov_base = (void *)(uintptr_t)list[i].ptr, .iov_len = list[i].len};
        messages[i].msg_hdr = *how;
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    do done = RP_SYS(dgram_send, sendmmsg(d->fd, messages, n, MSG_DONTWAIT | MSG_NOSIGNAL));
    while (done < 0 && errno == EINTR);
    return done < 0 ? 0 : (uint32_t)done;
}

rp_err rp_dgram_send(struct rp_dgram *d, const struct rp_addr *to, const struct rp_addr *from,
                     const rp_str *list, uint32_t n, struct rp_dgram_sent *sent)
{
    struct sockaddr_storage ss;
    struct msghdr how = {0};
    union control control;
    uint32_t at = 0;
    *sent = (struct rp_dgram_sent){0};
    if (to) {
        how.msg_namelen = rp_addr_to_sys(to, &ss);
        how.msg_name = &ss;
        put_from(from, &control, &how);
    }
    while (at < n) {
        uint32_t some = send_some(d, &how, list + at, n - at);
        if (some == 0) { /* what is wrong with list[at] */
            sent->os = errno;
            if (d->connected && !is_own(sent->os)) return RP_E_UP_CONNECT;
            sent->dropped_n++;
            at++;
        }
        sent->sent_n += some;
        for (; some > 0; some--) sent->sent_bytes += list[at++].len;
    }
    return RP_OK;
}
