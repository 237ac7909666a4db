/* SPDX-License-Identifier: MIT
 *
 * sink: an origin that takes bodies. It reads each request to its end and answers with the number of
 * bytes that its body had, so a proxy that loses or repeats some is found out.
 *
 *   sink PORT      (127.0.0.1, one thread; Content-Length only, connections are kept)
 */
#include <arpa/inet.h>
#include <errno.h>
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
    PIECE_BYTES = 256 * 1024,
    HEAD_MOST = 16 * 1024,
    EVENTS_N = 256,
};

struct client {
    int fd;
    bool in_body;
    uint64_t body_n, left;
    size_t head_n;
    char head[HEAD_MOST];
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static bool answer(struct client *c)
{
    char number[32], text[128];
    int digits = snprintf(number, sizeof number, "%llu", (unsigned long long)c->body_n);
    int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", digits,
                     number);
    c->in_body = false;
    c->head_n = 0;
    return send(c->fd, text, (size_t)n, MSG_NOSIGNAL) == n;
}

/* Bytes of the head go into `head`; returns how many of `bytes` were used, 0 when it does not fit. */
static size_t take_head(struct client *c, const char *bytes, size_t n)
{
    size_t before = c->head_n, room = HEAD_MOST - 1 - before;
    size_t part = n < room ? n : room;
    memcpy(c->head + before, bytes, part);
    c->head_n += part;
    c->head[c->head_n] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return part;
    end[2] = '\0';
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    c->body_n = c->left = length ? strtoull(length + 17, NULL, 10) : 0;
    c->in_body = true;
    return (size_t)(end + 4 - c->head) - before;
}

static bool take(struct client *c, const char *bytes, size_t n)
{
    while (n > 0 || (c->in_body && c->left == 0)) {
        size_t used;
        if (c->in_body) {
            used = n < c->left ? n : (size_t)c->left;
            c->left -= used;
            if (c->left == 0 && !answer(c)) return false;
        } else if ((used = take_head(c, bytes, n)) == 0) {
            return false;
        }
        bytes += used;
        n -= used;
    }
    return true;
}

static void on_readable(struct client *c)
{
    static char piece[PIECE_BYTES];
    ssize_t n = recv(c->fd, piece, sizeof piece, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n > 0 && take(c, piece, (size_t)n)) return;
    close(c->fd);
    free(c);
}

static void welcome(int loop, int listener)
{
    for (;;) {
        int one = 1;
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct client *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: sink PORT\n");
        return 2;
    }
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)strtol(argv[1], NULL, 10))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int loop = epoll_create1(EPOLL_CLOEXEC);
    if (listener < 0 || loop < 0) die("start");
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) != 0) die("bind");
    if (listen(listener, 1024) != 0) die("listen");
    struct epoll_event door = {.events = EPOLLIN};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, listener, &door) != 0) die("epoll_ctl");
    for (;;) {
        struct epoll_event events[EVENTS_N];
        int n = epoll_wait(loop, events, EVENTS_N, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) on_readable(events[i].data.ptr);
            else welcome(loop, listener);
        }
    }
}
