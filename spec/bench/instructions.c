/* SPDX-License-Identifier: MIT
 *
 * instructions: one worker's data path in one process, for counting its instructions.
 *
 *   instructions SITE N
 *
 * Serves a site of spec/bench/sites and ends after N requests. Client and origin are a child process
 * with one connection each, which sends a request when it has the answer to the one before: so each
 * round of the loop does the same work in each run, and the difference of two runs is a number of
 * instructions that hardly moves. See instructions.sh.
 */
#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "net/loop_uv.h"
#include "proxy/server.h"
#include "script/host.h"
#include "shm/share.h"

static const char REQUEST[] = "GET /plain HTTP/1.1\r\nHost: 127.0.0.1:21084\r\n\r\n"; /* as wrk's */
static const char ANSWER[] = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n"
                             "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\n"
                             "Content-Length: 64\r\nConnection: keep-alive\r\n\r\n"
                             "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
enum { ANSWER_LEAST = 64 + 40 };

/* The ports that stand in the sites become free ones of as many digits. */
static const char *const SITE_PORTS[2] = {"21080", "21084"};
static char free_ports[2][6];

static void die(const char *what)
{
    perror(what);
    _exit(2);
}

/* ---------------------------------------------------------------- the other side */

static struct sockaddr_in at_port(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A listening socket on a free port of five digits, and that port. */
static int listen_somewhere(char port[6])
{
    struct sockaddr_in a = at_port(0);
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, 8) != 0) die("listen");
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0) die("getsockname");
    snprintf(port, 6, "%05u", ntohs(a.sin_port));
    return fd;
}

static void send_all(int fd, const char *p, size_t n)
{
    if (send(fd, p, n, MSG_NOSIGNAL) != (ssize_t)n) die("send");
}

static void receive(int fd, size_t least)
{
    char buf[4096];
    for (size_t have = 0; have < least;) {
        ssize_t n = recv(fd, buf + have, sizeof buf - have, 0);
        if (n <= 0) die("recv");
        have += (size_t)n;
        if (have >= 12 && memcmp(buf, "HTTP/1.1 200", 12) != 0 &&
            memcmp(buf, "GET /plain", 10) != 0)
            die("not the answer that was expected");
    }
}

static void run_peers(int origin_fd, int requests_n)
{
    struct sockaddr_in a = at_port(atoi(free_ports[1]));
    int client = socket(AF_INET, SOCK_STREAM, 0), origin = -1;
    if (connect(client, (struct sockaddr *)&a, sizeof a) != 0) die("connect");
    for (int i = 0; i < requests_n; i++) {
        send_all(client, REQUEST, sizeof REQUEST - 1);
        if (origin < 0) origin = accept(origin_fd, NULL, NULL);
        receive(origin, sizeof REQUEST - 1);
        send_all(origin, ANSWER, sizeof ANSWER - 1);
        receive(client, ANSWER_LEAST);
    }
    _exit(0);
}

/* ---------------------------------------------------------------- the proxy */

static struct rp_proxy *proxy;
static struct rp_conf *conf;
static int origin_fd, requests_n;
static pid_t child;

static rp_err fetch(void *arg, rp_str path, struct rp_buf *out)
{
    (void)arg;
    char name[PATH_MAX], text[16 * 1024];
    snprintf(name, sizeof name, "%.*s", RP_STR_ARG(path));
    FILE *file = fopen(name, "r");
    if (!file) return RP_E_NOT_FOUND;
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    for (int i = 0; i < 2; i++)
        for (char *p = text; (p = strstr(p, SITE_PORTS[i])) != NULL;) memcpy(p, free_ports[i], 5);
    rp_buf_add_z(out, text);
    return RP_OK;
}

/* The memory of `shared`, as the master makes it. */
static void share(struct rp_conf *c)
{
    int fds[8];
    for (uint32_t i = 0; i < c->zones_n; i++) {
        struct rp_zone *zone;
        struct rp_share made;
        if (i == 8 || rp_zone_new(c->zones[i].name, c->zones[i].bytes, &zone) != RP_OK ||
            rp_share_open(zone, c->zones[i].kind, &made) != RP_OK)
            die("shared");
        fds[i] = dup(zone->fd);
    }
    if (rp_host_share(c, fds) != RP_OK) die("shared");
}

static void on_child(uv_signal_t *handle, int number)
{
    (void)number;
    int status;
    if (waitpid(child, &status, WNOHANG) != child) return;
    if (status != 0) _exit(2); /* it said why */
    rp_loop_stop(handle->data);
}

static void started(void *arg, rp_err e)
{
    (void)arg;
    if (e != RP_OK) die("start");
    for (uint32_t i = 0; i < conf->listeners_n; i++) {
        int fd, os_error;
        const struct rp_listener_options options = {.backlog = 16};
        struct rp_listener *ln;
        if (rp_listener_bind(&conf->listeners[i].addr, &options, &fd, &os_error) != RP_OK ||
            rp_proxy_listen(proxy, fd, &conf->listeners[i], &ln) != RP_OK)
            die("listen");
    }
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run_peers(origin_fd, requests_n);
    }
}

int main(int argc, char **argv)
{
    char site[PATH_MAX];
    if (argc != 3 || !realpath(argv[1], site)) return 2;
    requests_n = atoi(argv[2]);
    int other = listen_somewhere(free_ports[1]);
    origin_fd = listen_somewhere(free_ports[0]);
    close(other); /* free again: the proxy takes it */

    struct rp_bundle *bundle = rp_bundle_new(rp_str_z(site), fetch, NULL);
    struct rp_buf error;
    rp_buf_init(&error, 64 * 1024);
    if (rp_host_build(bundle, 1, &conf, &error) != RP_OK) {
        fprintf(stderr, "%.*s\n", (int)error.len, error.ptr);
        return 2;
    }
    struct rp_mem *mem = rp_mem_new();
    struct rp_loop *loop = rp_loop_new(mem);
    uv_signal_t on_sigchld = {.data = loop};
    if (uv_signal_init(rp_loop_guest(loop), &on_sigchld) != 0 ||
        uv_signal_start(&on_sigchld, on_child, SIGCHLD) != 0)
        die("signal");
    share(conf);
    rp_conf_hold(conf);
    proxy = rp_proxy_new(loop, mem, conf);
    rp_host_attach(conf, proxy, NULL, 0);
    rp_host_start(conf, 5000, started, NULL);
    rp_loop_run(loop);
    exit(0); /* a build that is being trained writes its profile now */
}
