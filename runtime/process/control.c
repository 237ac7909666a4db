/* SPDX-License-Identifier: MIT
 *
 * control: see control.h. A client that asked for a reload is answered when that is over; all other
 * commands are answered at once.
 */
#include "process/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "process/master_in.h"

enum {
    BACKLOG = 16,
    TEXT_MOST = 4 * 1024 * 1024,
    METRICS_MOST = 16 * 1024 * 1024, /* more than all series of full tables */
};

enum want { NOTHING_YET, THIS_RELOAD, NEXT_RELOAD };

struct client {
    int fd; /* -1: free */
    enum want want;
};

struct rp_control {
    int fd;
    char path[RP_PIDFILE_PATH_BYTES];
    struct client clients[RP_CONTROL_CLIENTS];
    struct rp_message message;
};

/* ---- life ---------------------------------------------------------------------------------- */

static bool put_address(struct sockaddr_un *un, const char *path)
{
    size_t n = strlen(path);
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (n >= sizeof un->sun_path) return false;
    memcpy(un->sun_path, path, n + 1);
    return true;
}

/* The pid file's lock is ours: a socket file that lies there is a dead master's. */
static bool bind_socket(int fd, const char *path)
{
    struct sockaddr_un un;
    if (!put_address(&un, path)) return false;
    if (unlink(path) != 0 && errno != ENOENT) return false;
    mode_t before = umask(0177);
    bool bound = RP_SYS(bind, bind(fd, (const struct sockaddr *)&un, sizeof un)) == 0;
    (void)umask(before); /* cannot fail */
    return bound && RP_SYS(listen, listen(fd, BACKLOG)) == 0;
}

rp_err rp_control_open(const char *path, struct rp_control **out, struct rp_buf *error)
{
    struct rp_control *c = rp_alloc(sizeof *c);
    for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++) c->clients[i].fd = -1;
    snprintf(c->path, sizeof c->path, "%s", path);
    c->fd = RP_SYS(socket, socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (c->fd >= 0 && bind_socket(c->fd, path)) {
        *out = c;
        return RP_OK;
    }
    rp_buf_addf(error, "control socket %s: %s", path, strerror(errno));
    rp_os_close(&c->fd);
    rp_free(c);
    return RP_E_OS;
}

void rp_control_close(struct rp_control **cp)
{
    struct rp_control *c = *cp;
    if (!c) return;
    *cp = NULL;
    (void)unlink(c->path); /* a left one is replaced by the next start */
    for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++) rp_os_close(&c->clients[i].fd);
    rp_os_close(&c->fd);
    rp_free(c);
}

/* ---- answers ------------------------------------------------------------------------------- */

/* What does not fit into a message travels as a file. */
static int memory_file(rp_str text)
{
    int fd = RP_SYS(memfd, memfd_create("rproxy-answer", MFD_CLOEXEC));
    if (fd < 0) return -1;
    if (rp_os_write_all(fd, text) != RP_OK || lseek(fd, 0, SEEK_SET) != 0) rp_os_close(&fd);
    return fd;
}

static void read_file(int fd, struct rp_buf *out)
{
    char part[16 * 1024];
    ssize_t n;
    while ((n = read(fd, part, sizeof part)) > 0) rp_buf_add(out, rp_str_of(part, (size_t)n));
}

static void answer(struct client *k, int status, rp_str text)
{
    struct rp_message_head head = {.kind = RP_SAY_ANSWER, .a = (uint32_t)status};
    int file = text.len > RP_CHANNEL_TEXT_BYTES ? memory_file(text) : -1;
    rp_ignore(rp_channel_send(k->fd, &head, file < 0 ? text : RP_STR_NONE, &file, file >= 0));
    rp_os_close(&file); /* the command may be gone: then nobody misses it */
    rp_os_close(&k->fd);
    k->want = NOTHING_YET;
}

void rp_control_begin_reload(struct rp_control *c)
{
    for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++)
        if (c->clients[i].want == NEXT_RELOAD) c->clients[i].want = THIS_RELOAD;
}

void rp_control_reloaded(struct rp_control *c, int status, rp_str text)
{
    for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++)
        if (c->clients[i].want == THIS_RELOAD) answer(&c->clients[i], status, text);
}

/* ---- commands ------------------------------------------------------------------------------ */

static void do_reload(struct rp_master *m, struct client *k)
{
    k->want = NEXT_RELOAD;
    rp_reload_ask(m);
}

/* How long the end may take; the command waits for it by itself. */
static void answer_patience(struct client *k, rp_ms patience_ms)
{
    char text[20];
    answer(k, 0, rp_str_of(text, rp_str_put_u64(text, patience_ms)));
}

static void do_stop(struct rp_master *m, struct client *k)
{
    answer_patience(k, RP_MASTER_STOP_MS);
    rp_master_stop(m);
}

static void do_quit(struct rp_master *m, struct client *k)
{
    answer_patience(k, m->site->plan->drain_ms + RP_MASTER_DRAIN_EXTRA_MS);
    rp_master_drain(m);
}

static void do_reopen(struct rp_master *m, struct client *k)
{
    struct rp_buf out;
    rp_buf_init(&out, TEXT_MOST);
    rp_err e = rp_reload_reopen(m, &out);
    answer(k, e == RP_OK || e == RP_AGAIN ? 0 : 1, rp_buf_str(&out));
    rp_buf_fini(&out);
}

static void do_status(struct rp_master *m, struct client *k)
{
    struct rp_buf out;
    rp_buf_init(&out, TEXT_MOST);
    rp_master_status(m, &out);
    answer(k, 0, rp_buf_str(&out));
    rp_buf_fini(&out);
}

static void do_metrics(struct rp_master *m, struct client *k)
{
    struct rp_buf out;
    rp_buf_init(&out, METRICS_MOST);
    rp_metric_text(m->metrics, m->counters, m->turn_ms, &out);
    answer(k, 0, rp_buf_str(&out));
    rp_buf_fini(&out);
}

static const struct {
    const char *name;
    void (*run)(struct rp_master *m, struct client *k);
} COMMANDS[] = {
    {"reload", do_reload}, {"stop", do_stop},     {"quit", do_quit},
    {"reopen", do_reopen}, {"status", do_status},
    {"metrics", do_metrics},
};

static void obey(struct rp_master *m, struct client *k, rp_str command)
{
    for (size_t i = 0; i < RP_COUNT(COMMANDS); i++) {
        if (!rp_str_eq(command, rp_str_z(COMMANDS[i].name))) continue;
        COMMANDS[i].run(m, k);
        return;
    }
    answer(k, 2, RP_STR("unknown command"));
}

/* ---- the poll loop's side ------------------------------------------------------------------ */

size_t rp_control_poll(const struct rp_control *c, struct pollfd *out)
{
    size_t n = 0, free_n = 0;
    for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++) {
        if (c->clients[i].fd >= 0)
            out[n++] = (struct pollfd){.fd = c->clients[i].fd, .events = POLLIN};
        else free_n++;
    }
    if (free_n) out[n++] = (struct pollfd){.fd = c->fd, .events = POLLIN};
    return n;
}

static void accept_client(struct rp_control *c)
{
    struct ucred who;
    socklen_t n = sizeof who;
    int fd = RP_SYS(accept, accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd < 0) return;
    bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 &&
                 (who.uid == 0 || who.uid == geteuid());
    for (size_t i = 0; known && i < RP_CONTROL_CLIENTS; i++) {
        if (c->clients[i].fd >= 0) continue;
        c->clients[i] = (struct client){.fd = fd};
        return;
    }
    rp_os_close(&fd);
}

static void read_client(struct rp_control *c, struct rp_master *m, struct client *k)
{
    rp_err e = rp_channel_recv(k->fd, &c->message);
    rp_channel_done(&c->message);
    if (e == RP_AGAIN) return;
    if (e == RP_OK && c->message.head.kind == RP_SAY_COMMAND && k->want == NOTHING_YET) {
        obey(m, k, rp_channel_text(&c->message));
        return;
    }
    rp_os_close(&k->fd); /* it went away; the reload it asked for goes on */
    k->want = NOTHING_YET;
}

void rp_control_serve(struct rp_control *c, struct rp_master *m, const struct pollfd *in, size_t n)
{
    for (size_t at = 0; at < n; at++) {
        if (in[at].revents == 0) continue;
        if (in[at].fd == c->fd) accept_client(c);
        for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++) {
            if (c->clients[i].fd != in[at].fd) continue;
            read_client(c, m, &c->clients[i]);
            break;
        }
    }
}

/* ---- the command's side -------------------------------------------------------------------- */

static rp_err ask(int fd, rp_str command, uint64_t limit_ms, int *status, struct rp_buf *text)
{
    struct rp_message_head head = {.kind = RP_SAY_COMMAND};
    rp_err e = rp_channel_send(fd, &head, command, NULL, 0);
    if (e == RP_OK) e = rp_channel_wait(fd, limit_ms);
    if (e != RP_OK) return e;
    struct rp_message *m = rp_alloc(sizeof *m);
    e = rp_channel_recv(fd, m);
    if (e == RP_OK && m->head.kind == RP_SAY_ANSWER) {
        *status = (int)RP_MIN(m->head.a, 255u);
        rp_buf_add(text, rp_channel_text(m));
        int file = rp_channel_take(m, 0);
        if (file >= 0) read_file(file, text);
        rp_os_close(&file);
    } else {
        e = e == RP_END ? RP_E_CLOSED : RP_E_OS;
    }
    rp_channel_done(m);
    rp_free(m);
    return e;
}

rp_err rp_control_ask(const char *path, rp_str command, uint64_t limit_ms, int *status,
                      struct rp_buf *text)
{
    struct sockaddr_un un;
    if (!put_address(&un, path)) return RP_E_TOO_BIG;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) return RP_E_OS;
    rp_err e = RP_E_CLOSED;
    if (connect(fd, (const struct sockaddr *)&un, sizeof un) == 0)
        e = ask(fd, command, limit_ms, status, text);
    rp_os_close(&fd);
    return e;
}
