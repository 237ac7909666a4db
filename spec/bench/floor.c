/* SPDX-License-Identifier: MIT
 *
 * floor: the proxy that does nothing, for comparison. It parses no byte: each client connection gets
 * one upstream connection, and what one side sends goes to the other. What it costs is what the
 * kernel's TCP costs a program with one epoll loop, so a real proxy is measured in multiples of it.
 *
 *   floor LISTEN_PORT ORIGIN_PORT      (127.0.0.1, one thread)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PIECE_BYTES = 64 * 1024, /* one recv; also the most that waits for a slow receiver */
    EVENTS_N = 256,
};

/* One direction's end: bytes read here go to `other`; `held` waits until that can take it. */
struct end {
    int fd;
    struct end *other;
    char *held;
    size_t held_from, held_to;
    uint32_t armed;
    bool dead;
};

static int loop_fd;
static struct end *graveyard[2 * EVENTS_N];
static int graveyard_n;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in local(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return addr;
}

static void set_nodelay(int fd)
{
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void arm(struct end *e, uint32_t events)
{
    if (e->armed == events || e->dead) return;
    struct epoll_event event = {.events = events, .data.ptr = e};
    if (epoll_ctl(loop_fd, EPOLL_CTL_MOD, e->fd, &event) != 0) die("epoll_ctl");
    e->armed = events;
}

/* Events of the same batch may still name a pair: its memory goes at the end of the batch. */
static void bury(struct end *e)
{
    if (e->dead) return;
    struct end *pair[2] = {e, e->other};
    for (int i = 0; i < 2; i++) {
        pair[i]->dead = true;
        close(pair[i]->fd);
        graveyard[graveyard_n++] = pair[i];
    }
}

static struct end *end_new(int fd, uint32_t events)
{
    struct end *e = calloc(1, sizeof *e);
    if (!e) die("calloc");
    e->fd = fd;
    e->armed = events;
    struct epoll_event event = {.events = events, .data.ptr = e};
    if (epoll_ctl(loop_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
    return e;
}

static void welcome(int listener, const struct sockaddr_in *origin)
{
    int down_fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (down_fd < 0) return;
    int up_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (up_fd < 0) die("socket");
    set_nodelay(down_fd);
    set_nodelay(up_fd);
    if (connect(up_fd, (const struct sockaddr *)origin, sizeof *origin) != 0 &&
        errno != EINPROGRESS) {
        close(up_fd);
        close(down_fd);
        return;
    }
    struct end *down = end_new(down_fd, EPOLLIN);
    struct end *up = end_new(up_fd, EPOLLIN);
    down->other = up;
    up->other = down;
}

/* Send bytes read from `from`; what does not fit is held and reading stops until it is gone. */
static void pass(struct end *from, const char *bytes, size_t n)
{
    ssize_t sent = send(from->other->fd, bytes, n, MSG_NOSIGNAL);
    if (sent < 0) {
        /* ENOTCONN: the connect is still under way */
        if (errno != EAGAIN && errno != ENOTCONN) {
            bury(from);
            return;
        }
        sent = 0;
    }
    if ((size_t)sent == n) return;
    if (!from->held && !(from->held = malloc(PIECE_BYTES))) die("malloc");
    memcpy(from->held, bytes + sent, n - (size_t)sent);
    from->held_from = 0;
    from->held_to = n - (size_t)sent;
    arm(from, from->armed & ~(uint32_t)EPOLLIN);
    arm(from->other, from->other->armed | EPOLLOUT);
}

static void on_readable(struct end *e)
{
    static char piece[PIECE_BYTES];
    ssize_t n = recv(e->fd, piece, sizeof piece, 0);
    if (n > 0) {
        pass(e, piece, (size_t)n);
    } else if (n == 0 || errno != EAGAIN) {
        bury(e);
    }
}

static void on_writable(struct end *e)
{
    struct end *from = e->other;
    size_t n = from->held_to - from->held_from;
    ssize_t sent = n ? send(e->fd, from->held + from->held_from, n, MSG_NOSIGNAL) : 0;
    if (sent < 0) {
        if (errno != EAGAIN) bury(e);
        return;
    }
    from->held_from += (size_t)sent;
    if (from->held_from < from->held_to) return;
    arm(e, e->armed & ~(uint32_t)EPOLLOUT);
    arm(from, from->armed | EPOLLIN);
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    struct sockaddr_in addr = local(port);
    if (fd < 0) die("socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr) != 0) die("bind");
    if (listen(fd, 1024) != 0) die("listen");
    return fd;
}

static void free_buried(void)
{
    while (graveyard_n > 0) {
        struct end *e = graveyard[--graveyard_n];
        free(e->held);
        free(e);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: floor LISTEN_PORT ORIGIN_PORT\n");
        return 2;
    }
    loop_fd = epoll_create1(0);
    if (loop_fd < 0) die("epoll_create1");
    int listener = listen_on((int)strtol(argv[1], NULL, 10));
    struct sockaddr_in origin = local((int)strtol(argv[2], NULL, 10));
    struct end *door = end_new(listener, EPOLLIN);
    for (;;) {
        struct epoll_event events[EVENTS_N];
        int n = epoll_wait(loop_fd, events, EVENTS_N, -1);
        for (int i = 0; i < n; i++) {
            struct end *e = events[i].data.ptr;
            if (e == door) {
                welcome(listener, &origin);
                continue;
            }
            if (!e->dead && (events[i].events & EPOLLOUT)) on_writable(e);
            if (!e->dead && (events[i].events & ~(uint32_t)EPOLLOUT)) on_readable(e);
        }
        free_buried();
    }
}
