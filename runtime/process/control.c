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
#include "process/gates.h"
#include "process/peers.h"
#include "process/shares.h"
#include "shm/roster_text.h"

enum {
    BACKLOG = 16,
    TEXT_MOST = 4 * 1024 * 1024,
    METRICS_MOST = 16 * 1024 * 1024, /* more than all series of full tables */
};

enum want {
    NOTHING_YET,
    THIS_RELOAD,
    NEXT_RELOAD,
    UPGRADE
}; /* numbers stay: a handover has them */

struct client {
    int fd; /* -1: free */
    enum want want;
    uint32_t ticket; /* of what a worker was asked and has not answered; 0: nothing */
    uint32_t worker; /* that was asked last */
    bool repl;       /* has the session */
    struct ucred who;
};

struct rp_control {
    int fd;
    char path[RP_PIDFILE_PATH_BYTES];
    struct client clients[RP_CONTROL_CLIENTS];
    uint32_t tickets; /* given so far */
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

static void send_answer(int fd, int status, rp_str text)
{
    struct rp_message_head head = {.kind = RP_SAY_ANSWER, .a = (uint32_t)status};
    int file = text.len > RP_CHANNEL_TEXT_BYTES ? memory_file(text) : -1;
    rp_ignore(rp_channel_send(fd, &head, file < 0 ? text : RP_STR_NONE, &file, file >= 0));
    rp_os_close(&file); /* the command may be gone: then nobody misses it */
}

static void answer(struct client *k, int status, rp_str text)
{
    send_answer(k->fd, status, text);
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

void rp_control_upgraded(struct rp_control *c, int status, rp_str text)
{
    for (size_t i = 0; c && i < RP_CONTROL_CLIENTS; i++)
        if (c->clients[i].want == UPGRADE) answer(&c->clients[i], status, text);
}

/* ---- upgrades ------------------------------------------------------------------------------ */

/* One that was just accepted, or is between two questions, is answered by the new version. What a
 * worker was asked, and a session in one, end with the worker. */
static bool goes_along(const struct client *k)
{
    return k->fd >= 0 && (k->want != NOTHING_YET || (!k->ticket && !k->repl));
}

void rp_control_put(const struct rp_control *c, struct rp_handover_out *o)
{
    RP_HANDOVER_PUT(o, "control", rp_str_z(c->path), rp_handover_fd(o, c->fd));
    for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++) {
        const struct client *k = &c->clients[i];
        if (goes_along(k))
            RP_HANDOVER_PUT(o, "client", RP_STR_NONE, rp_handover_fd(o, k->fd), k->want);
    }
}

static bool find_who(int fd, struct ucred *who)
{
    socklen_t n = sizeof *who;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, who, &n) == 0;
}

static bool take_client(struct rp_control *c, int fd, uint64_t want)
{
    struct ucred who;
    bool known = c && want <= UPGRADE && find_who(fd, &who);
    for (size_t i = 0; known && i < RP_CONTROL_CLIENTS; i++) {
        if (c->clients[i].fd >= 0) continue;
        c->clients[i] = (struct client){.fd = fd, .want = (enum want)want, .who = who};
        return true;
    }
    rp_os_close(&fd); /* what it waits for is not known here: it hears that it is over */
    return true;
}

bool rp_control_take(struct rp_control **cp, struct rp_handover_in *in,
                     const struct rp_handover_record *r)
{
    bool listens = rp_handover_is(r, "control");
    if (!listens && !rp_handover_is(r, "client")) return false;
    int fd = rp_handover_fd_of(in, r->n[0]);
    if (!rp_os_set_cloexec(fd, true) || (listens && *cp)) {
        in->bad = true;
        return true;
    }
    if (!listens) return take_client(*cp, fd, r->n[1]);
    struct rp_control *c = *cp = rp_alloc(sizeof *c);
    for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++) c->clients[i].fd = -1;
    snprintf(c->path, sizeof c->path, "%.*s", RP_STR_ARG(r->text));
    c->fd = fd;
    return true;
}

/* ---- commands ------------------------------------------------------------------------------ */

static void do_reload(struct rp_master *m, struct client *k)
{
    k->want = NEXT_RELOAD;
    rp_reload_ask(m);
}

/* "upgrade", "upgrade PATH" */
static void do_upgrade(struct rp_master *m, struct client *k, rp_str binary)
{
    enum want before = k->want;
    k->want = UPGRADE;
    if (rp_upgrade_ask(m, binary)) return;
    k->want = before;
    answer(k, 1, RP_STR("not upgraded: an upgrade is under way already"));
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

/* Routes that providers found, as they are handed to checks. */
static void do_found(struct rp_master *m, struct client *k)
{
    answer(k, 0, rp_found_read(m));
}

static void do_metrics(struct rp_master *m, struct client *k)
{
    struct rp_buf out;
    rp_buf_init(&out, METRICS_MOST);
    rp_metric_text(m->metrics, m->counters, m->turn_ms, &out);
    rp_splits_text(m->splits, &out);
    rp_roster_text(m->roster, m->turn_ms, &out);
    answer(k, 0, rp_buf_str(&out));
    rp_buf_fini(&out);
}

/* ---- what workers are asked ------------------------------------------------------------------ */

/* An answer that leaves the connection open. */
static void answer_on(struct client *k, int status, rp_str text)
{
    k->ticket = 0;
    send_answer(k->fd, status, text);
}

void rp_control_told(struct rp_control *c, uint32_t ticket, int status, rp_str text)
{
    if (!c || ticket == 0) return;
    for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++)
        if (c->clients[i].fd >= 0 && c->clients[i].ticket == ticket)
            answer_on(&c->clients[i], status, text);
}

void rp_control_lost(struct rp_control *c, uint32_t worker)
{
    if (!c) return;
    for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++) {
        struct client *k = &c->clients[i];
        if (k->fd >= 0 && k->ticket && k->worker == worker)
            answer_on(k, 1, RP_STR("the worker died; see the error log"));
    }
}

static bool is_repl(rp_str text)
{
    return rp_str_starts(text, RP_STR("repl"));
}

static bool other_has_session(const struct rp_control *c, const struct client *k)
{
    for (size_t i = 0; i < RP_CONTROL_CLIENTS; i++)
        if (&c->clients[i] != k && c->clients[i].fd >= 0 && c->clients[i].repl) return true;
    return false;
}

/* A serving worker: the one that is named, else the first; or the agent. */
static bool find_worker(const struct rp_master *m, rp_str name, uint32_t *worker)
{
    uint64_t number;
    if (rp_str_eq(name, RP_STR("agent"))) {
        *worker = RP_CREW_AGENT;
        return m->crew.slots[RP_CREW_AGENT].state == RP_SLOT_SERVING;
    }
    bool any = rp_str_eq(name, RP_STR("any"));
    if (!any && (rp_str_u64(name, &number) != RP_OK || number >= RP_PLAN_WORKERS_MOST))
        return false;
    for (uint32_t i = any ? 0 : (uint32_t)number; i < m->crew.n; i++) {
        uint32_t at = rp_crew_find(m, i);
        bool serves = at < RP_PLAN_SLOTS && m->crew.slots[at].state == RP_SLOT_SERVING;
        if (serves) *worker = at;
        if (serves || !any) return serves;
    }
    return false;
}

static rp_err send_to(const struct rp_master *m, uint32_t worker, uint32_t ticket, rp_str text)
{
    struct rp_message_head head = {.kind = RP_SAY_ASK, .a = ticket};
    return rp_channel_send(m->crew.slots[worker].channel, &head, text, NULL, 0);
}

/* "WORKER TEXT" */
static void ask_worker(struct rp_control *c, struct rp_master *m, struct client *k, rp_str words)
{
    size_t space = rp_str_find(words, ' ', 0);
    rp_str text = rp_str_from(words, RP_MIN(space + 1, words.len));
    if (k->ticket) {
        answer(k, 1, RP_STR("one question at a time"));
    } else if (!find_worker(m, rp_str_of(words.ptr, space), &k->worker)) {
        answer_on(k, 1, RP_STR("no such worker serves"));
    } else if (is_repl(text) && other_has_session(c, k)) {
        answer_on(k, 1, RP_STR("another session is open; one at a time"));
    } else {
        k->repl = k->repl || is_repl(text);
        if (++c->tickets == 0) c->tickets = 1;
        k->ticket = c->tickets;
        rp_log(notice, "a worker is asked worker=%u uid=%u pid=%d text=\"%s\"",
               m->crew.slots[k->worker].number, (unsigned)k->who.uid, (int)k->who.pid,
               rp_log_esc(text));
        if (send_to(m, k->worker, k->ticket, text) != RP_OK)
            answer_on(k, 1, RP_STR("the worker does not listen"));
    }
}

/* Its session ends with its connection. */
static void forget(struct rp_master *m, struct client *k)
{
    bool serves = m->crew.slots[k->worker].state == RP_SLOT_SERVING;
    if (k->repl && serves) rp_ignore(send_to(m, k->worker, 0, RP_STR("repl-end"))); /* tidiness */
    rp_os_close(&k->fd);
    *k = (struct client){.fd = -1};
}

/* ---- peers ------------------------------------------------------------------------------------ */

static void do_upstreams(struct rp_master *m, struct client *k)
{
    struct rp_buf out;
    rp_buf_init(&out, METRICS_MOST);
    rp_peers_table(m->roster, m->turn_ms, &out);
    answer_on(k, 0, rp_buf_str(&out));
    rp_buf_fini(&out);
}

static void do_circuits(struct rp_master *m, struct client *k)
{
    struct rp_buf out;
    rp_buf_init(&out, METRICS_MOST);
    rp_gates_table(m->roster, m->turn_ms, &out);
    answer_on(k, 0, rp_buf_str(&out));
    rp_buf_fini(&out);
}

/* "peer UPSTREAM PEER WORD" */
static void order_peer(struct rp_master *m, struct client *k, rp_str words)
{
    struct rp_buf out;
    rp_buf_init(&out, TEXT_MOST);
    struct rp_peers all = {
        .roster = m->roster, .members = m->members, .orders = m->orders, .plan = m->site->plan};
    rp_err e = rp_peers_order(&all, words, m->turn_ms, &out);
    answer_on(k, e == RP_OK ? 0 : 1, rp_buf_str(&out));
    rp_buf_fini(&out);
}

/* ---- splits ----------------------------------------------------------------------------------- */

static void do_splits(struct rp_master *m, struct client *k)
{
    struct rp_buf out;
    rp_buf_init(&out, TEXT_MOST);
    rp_shares_table(m->splits, m->turn_ms, &out);
    answer_on(k, 0, rp_buf_str(&out));
    rp_buf_fini(&out);
}

/* "split NAME\tWORD.." */
static void order_split(struct rp_master *m, struct client *k, rp_str words)
{
    struct rp_buf out;
    rp_buf_init(&out, TEXT_MOST);
    rp_err e = rp_shares_order(m->splits, words, m->turn_ms, &out);
    answer_on(k, e == RP_OK ? 0 : 1, rp_buf_str(&out));
    rp_buf_fini(&out);
}

/* ---- all commands ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(struct rp_master *m, struct client *k);
} COMMANDS[] = {
    {"reload", do_reload},     {"stop", do_stop},           {"quit", do_quit},
    {"reopen", do_reopen},     {"status", do_status},       {"metrics", do_metrics},
    {"found", do_found},       {"upstreams", do_upstreams}, {"splits", do_splits},
    {"circuits", do_circuits},
};

static void obey(struct rp_master *m, struct client *k, rp_str command)
{
    if (rp_str_starts(command, RP_STR("ask "))) {
        ask_worker(m->control, m, k, rp_str_from(command, 4));
        return;
    }
    if (rp_str_starts(command, RP_STR("peer "))) {
        order_peer(m, k, rp_str_from(command, 5));
        return;
    }
    if (rp_str_starts(command, RP_STR("split "))) {
        order_split(m, k, rp_str_from(command, 6));
        return;
    }
    if (rp_str_eq(command, RP_STR("upgrade")) || rp_str_starts(command, RP_STR("upgrade "))) {
        do_upgrade(m, k, rp_str_from(command, RP_MIN(command.len, (size_t)8)));
        return;
    }
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
    int fd = RP_SYS(accept, accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd < 0) return;
    bool known = find_who(fd, &who) && (who.uid == 0 || who.uid == geteuid());
    for (size_t i = 0; known && i < RP_CONTROL_CLIENTS; i++) {
        if (c->clients[i].fd >= 0) continue;
        c->clients[i] = (struct client){.fd = fd, .who = who};
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
    forget(m, k); /* it went away; the reload it asked for goes on */
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

rp_err rp_control_say(int fd, rp_str command, uint64_t limit_ms, int *status, struct rp_buf *text)
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

rp_err rp_control_connect(const char *path, int *fd)
{
    struct sockaddr_un un;
    *fd = -1;
    if (!put_address(&un, path)) return RP_E_TOO_BIG;
    *fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (*fd < 0) return RP_E_OS;
    if (connect(*fd, (const struct sockaddr *)&un, sizeof un) == 0) return RP_OK;
    rp_os_close(fd);
    return RP_E_CLOSED;
}

rp_err rp_control_ask(const char *path, rp_str command, uint64_t limit_ms, int *status,
                      struct rp_buf *text)
{
    int fd;
    rp_err e = rp_control_connect(path, &fd);
    if (e == RP_OK) e = rp_control_say(fd, command, limit_ms, status, text);
    rp_os_close(&fd);
    return e;
}
