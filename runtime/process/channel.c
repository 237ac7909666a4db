/* SPDX-License-Identifier: MIT
 *
 * channel: sendmsg and recvmsg with SCM_RIGHTS.
 */
#include "process/channel.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/fault.h"
#include "process/os.h"

enum { CONTROL_BYTES = CMSG_SPACE(sizeof(int) * RP_CHANNEL_FDS) };

union control {
    struct cmsghdr align;
    char bytes[CONTROL_BYTES];
};

rp_err rp_channel_pair(bool non_blocking, int fds[2])
{
    int type = SOCK_SEQPACKET | SOCK_CLOEXEC | (non_blocking ? SOCK_NONBLOCK : 0);
    return RP_SYS(socketpair, socketpair(AF_UNIX, type, 0, fds)) == 0 ? RP_OK : RP_E_OS;
}

static void put_fds(struct msghdr *msg, union control *control, const int *fds, size_t n)
{
    memset(control, 0, sizeof *control);
    msg->msg_control = control->bytes;
    msg->msg_controllen = CMSG_SPACE(sizeof(int) * n);
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
}

rp_err rp_channel_send(int fd, const struct rp_message_head *head, rp_str text, const int *fds,
                       size_t fds_n)
{
    RP_CHECK(fds_n <= RP_CHANNEL_FDS);
    text.len = RP_MIN(text.len, (size_t)RP_CHANNEL_TEXT_BYTES);
    struct iovec parts[2] = {
        {.iov_base = (void *)(uintptr_t)head, .iov_len = sizeof *head},
        {.iov_base = (void *)(uintptr_t)text.ptr, .iov_len = text.len},
    };
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = text.len ? 2 : 1};
    union control control;
    if (fds_n) put_fds(&msg, &control, fds, fds_n);
    ssize_t n;
    do n = RP_SYS(sendmsg, sendmsg(fd, &msg, MSG_NOSIGNAL));
    while (n < 0 && errno == EINTR);
    if (n >= 0) return RP_OK;
    if (errno == EAGAIN) return RP_AGAIN;
    return errno == EPIPE || errno == ECONNRESET ? RP_E_CLOSED : RP_E_OS;
}

static void take_fds(struct msghdr *msg, struct rp_message *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        n = RP_MIN(n, RP_CHANNEL_FDS - m->fds_n); /* the control buffer holds no more */
        memcpy(m->fds + m->fds_n, CMSG_DATA(c), n * sizeof(int));
        m->fds_n += n;
    }
}

rp_err rp_channel_recv(int fd, struct rp_message *m)
{
    struct iovec parts[2] = {
        {.iov_base = &m->head, .iov_len = sizeof m->head},
        {.iov_base = m->text, .iov_len = RP_CHANNEL_TEXT_BYTES},
    };
    union control control;
    struct msghdr msg = {.msg_iov = parts,
                         .msg_iovlen = 2,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    ssize_t n;
    m->fds_n = m->text_n = 0;
    do n = RP_SYS(recvmsg, recvmsg(fd, &msg, MSG_CMSG_CLOEXEC));
    while (n < 0 && errno == EINTR);
    if (n < 0) return errno == EAGAIN ? RP_AGAIN : errno == ECONNRESET ? RP_END : RP_E_OS;
    take_fds(&msg, m);
    if (n == 0 && m->fds_n == 0) return RP_END;
    if (n < (ssize_t)sizeof m->head || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        rp_channel_done(m);
        return RP_E_INVALID;
    }
    m->text_n = (size_t)n - sizeof m->head;
    m->text[m->text_n] = 0;
    return RP_OK;
}

rp_str rp_channel_text(const struct rp_message *m)
{
    return rp_str_of(m->text, m->text_n);
}

int rp_channel_take(struct rp_message *m, size_t i)
{
    if (i >= m->fds_n) return -1;
    int fd = m->fds[i];
    m->fds[i] = -1;
    return fd;
}

void rp_channel_done(struct rp_message *m)
{
    for (size_t i = 0; i < m->fds_n; i++) rp_os_close(&m->fds[i]);
    m->fds_n = 0;
}

rp_err rp_channel_wait(int fd, uint64_t wait_ms)
{
    rp_ms until = rp_os_now_ms() + wait_ms;
    for (;;) {
        rp_ms now = rp_os_now_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n =
            RP_SYS(poll, poll(&p, 1, until > now ? (int)RP_MIN(until - now, (rp_ms)1000000) : 0));
        if (n > 0) return RP_OK;
        if (n < 0 && errno != EINTR) return RP_E_OS;
        if (n == 0 && rp_os_now_ms() >= until) return RP_E_TIMEOUT;
    }
}
