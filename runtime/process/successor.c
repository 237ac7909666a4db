/* SPDX-License-Identifier: MIT
 *
 * successor: see successor.h. Texts of handovers come from a master of another version: of our own
 * rights, but not of our own mind, so numbers are checked before they become indices or
 * descriptors.
 */
#include "process/successor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/mem.h"
#include "process/boot.h"
#include "process/master_in.h"
#include "process/notify.h"

enum {
    SAY_TRIES = 100, /* of a word to the other master ... */
    SAY_WAIT_MS = 100,
    HANDSHAKE_MS = 1000, /* as crew.c */
    TEXT_MOST = 64 * 1024,
};

bool rp_successor_is_wanted(void)
{
    return getenv(RP_UPGRADE_VARIABLE) != NULL;
}

/* ---- reading what there is ----------------------------------------------------------------- */

static void take_string(rp_str text, char *out, size_t room)
{
    size_t n = RP_MIN(text.len, room - 1);
    if (n) memcpy(out, text.ptr, n);
    out[n] = 0;
}

/* A descriptor that a record names, ours from now on. */
static int take_fd(struct rp_handover_in *in, uint64_t number)
{
    int fd = number == RP_HANDOVER_NO_FD ? -1 : rp_handover_fd_of(in, number);
    if (fd >= 0 && rp_os_set_cloexec(fd, true)) return fd;
    in->bad = in->bad || number != RP_HANDOVER_NO_FD;
    return -1;
}

/* The length of a part's name without the number of its layout. */
static size_t stem(rp_str name)
{
    while (name.len && name.ptr[name.len - 1] >= '0' && name.ptr[name.len - 1] <= '9') name.len--;
    return name.len;
}

static struct rp_zone **place_of(struct rp_parts *parts, rp_str name)
{
    for (uint32_t i = 0; i < rp_parts_count(); i++) {
        rp_str ours = rp_str_z(rp_parts_name(i));
        if (rp_str_eq(rp_str_head(ours, stem(ours)), rp_str_head(name, stem(name))))
            return &parts->zones[i];
    }
    return NULL;
}

static void take_part(struct rp_succession *s, struct rp_handover_in *in,
                      const struct rp_handover_record *r)
{
    struct rp_zone *zone = NULL, **place = place_of(&s->parts, r->text);
    int fd = take_fd(in, r->n[0]);
    if (fd < 0) return;
    if (place && !*place && rp_zone_adopt(fd, &zone) == RP_OK) {
        *place = zone;
        return;
    }
    rp_os_close(&fd);
    rp_buf_addf(&s->lost, "%.*s is lost: this version does not know it\n", RP_STR_ARG(r->text));
}

static void take_given(struct rp_succession *s, struct rp_handover_in *in, uint64_t number)
{
    s->given = rp_realloc(s->given, sizeof *s->given * (s->given_n + 1));
    s->given[s->given_n++] = take_fd(in, number);
}

static void take_numbers(struct rp_succession *s, const struct rp_handover_record *r)
{
    s->generation = (uint32_t)r->n[0];
    s->workers = (uint32_t)RP_MIN(r->n[1], (uint64_t)RP_PLAN_WORKERS_MOST);
    s->rotated_ms = r->n[2];
    s->started_ms = r->n[3];
    s->began_ms = r->n[4];
}

static bool take_text(struct rp_succession *s, const struct rp_handover_record *r)
{
    if (rp_handover_is(r, "site")) take_string(r->text, s->site, sizeof s->site);
    else if (rp_handover_is(r, "overrides")) rp_buf_add(&s->overrides, r->text);
    else if (rp_handover_is(r, "pid-path")) take_string(r->text, s->pid_path, sizeof s->pid_path);
    else if (rp_handover_is(r, "user")) rp_buf_add(&s->user, r->text);
    else if (rp_handover_is(r, "binary")) take_string(r->text, s->binary, sizeof s->binary);
    else return false;
    return true;
}

static void take_asked(struct rp_succession *s, const struct rp_handover_record *r)
{
    s->again = r->n[0] != 0;
    s->renew_again = r->n[1] != 0;
    s->reopen = r->n[2] != 0;
}

static void take_record(struct rp_succession *s, struct rp_handover_in *in,
                        const struct rp_handover_record *r)
{
    if (take_text(s, r) || rp_sockets_take(&s->sockets, in, r)) return;
    if (rp_zones_take(&s->zones, in, r, &s->lost) || rp_control_take(&s->control, in, r)) return;
    if (rp_handover_is(r, "slot")) rp_crew_take(s->slots, in, r);
    else if (rp_handover_is(r, "part")) take_part(s, in, r);
    else if (rp_handover_is(r, "serving")) take_numbers(s, r);
    else if (rp_handover_is(r, "given")) take_given(s, in, r->n[0]);
    else if (rp_handover_is(r, "program")) s->program = take_fd(in, r->n[0]);
    else if (rp_handover_is(r, "channel")) s->channel = take_fd(in, r->n[0]);
    else if (rp_handover_is(r, "stderr")) s->terminal = take_fd(in, r->n[0]);
    else if (rp_handover_is(r, "state")) s->state = take_fd(in, r->n[0]);
    else if (rp_handover_is(r, "pid-file")) s->pid_file = take_fd(in, r->n[0]);
    else if (rp_handover_is(r, "asked")) take_asked(s, r);
    else if (rp_handover_is(r, "successor")) {
        s->successor = (int)RP_MIN(r->n[0], (uint64_t)INT32_MAX);
        s->channel = take_fd(in, r->n[1]);
    } else if (rp_handover_is(r, "pid-file-2")) {
        take_string(r->text, s->extra, sizeof s->extra);
        s->pid_file_2 = take_fd(in, r->n[0]);
    }
}

static struct rp_succession *succession_new(void)
{
    struct rp_succession *s = rp_alloc(sizeof *s);
    *s = (struct rp_succession){.program = -1,
                                .channel = -1,
                                .terminal = -1,
                                .pid_file = -1,
                                .pid_file_2 = -1,
                                .state = -1};
    rp_buf_init(&s->overrides, RP_HANDOVER_TEXT_MOST);
    rp_buf_init(&s->user, 256);
    rp_buf_init(&s->lost, TEXT_MOST);
    s->slots = rp_alloc(sizeof *s->slots * RP_PLAN_SLOTS);
    memset(s->slots, 0, sizeof *s->slots * RP_PLAN_SLOTS);
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) s->slots[i].channel = -1;
    return s;
}

/* Its sockets stay open, and so do files of unix sockets: they are the other master's, or were
 * taken. */
void rp_succession_done(struct rp_succession *s)
{
    rp_zones_close(&s->zones);
    for (uint32_t i = 0; i < RP_PARTS_MOST; i++) rp_zone_free(&s->parts.zones[i]);
    rp_os_close(&s->program);
    rp_os_close(&s->channel);
    rp_os_close(&s->terminal);
    rp_os_close(&s->state);
    for (uint32_t i = 0; i < s->given_n; i++) rp_os_close(&s->given[i]);
    s->given_n = 0;
    rp_free(s->given);
    rp_free(s->slots);
    s->given = NULL;
    s->slots = NULL;
    rp_buf_fini(&s->lost);
}

/* The first record says who wrote it, for what, and in which form. */
static bool is_for_us(struct rp_succession *s, const struct rp_handover_record *r)
{
    take_string(r->text, s->version, sizeof s->version);
    s->kind = r->n[0];
    s->pid = (int)RP_MIN(r->n[2], (uint64_t)INT32_MAX);
    int pid = s->kind == RP_HANDOVER_TAKE_OVER ? (int)getpid() : (int)getppid();
    return rp_handover_is(r, "rproxy") && r->n[1] == RP_HANDOVER_FORMAT && s->pid == pid;
}

static rp_err read_all(struct rp_succession *s, rp_str text, struct rp_buf *error)
{
    struct rp_handover_in in;
    struct rp_handover_record r;
    rp_handover_open(&in, text, NULL, 0);
    bool fine = rp_handover_next(&in, &r) && is_for_us(s, &r);
    if (!fine)
        rp_buf_addf(error,
                    "this version (%s) does not understand what the running one hands "
                    "over: it takes a restart",
                    RP_VERSION);
    while (fine && rp_handover_next(&in, &r)) take_record(s, &in, &r);
    if (in.bad && fine)
        rp_buf_add(error, RP_STR("what the running version hands over is malformed"));
    fine = fine && !in.bad;
    rp_handover_close(&in);
    return fine ? RP_OK : RP_E_INVALID;
}

static rp_err receive(struct rp_succession *s, struct rp_buf *error)
{
    uint64_t number = 0;
    rp_str name = rp_str_z(getenv(RP_UPGRADE_VARIABLE)), text = RP_STR_NONE;
    rp_err e = rp_str_u64(name, &number);
    int fd = e == RP_OK && number < RP_HANDOVER_FDS_MOST ? (int)number : -1;
    (void)unsetenv(RP_UPGRADE_VARIABLE); /* the name is a good one */
    if (fd >= 0) e = rp_os_memfd_map(fd, RP_HANDOVER_BYTES_MOST, &text);
    if (e != RP_OK)
        rp_buf_add(error, RP_STR(RP_UPGRADE_VARIABLE " names nothing that was handed over"));
    else e = read_all(s, text, error);
    rp_os_unmap(&text);
    rp_os_close(&fd);
    return e;
}

/* ---- rehearsal ----------------------------------------------------------------------------- */

/* The other master may be busy; it is never long. False: it is gone, or does not read. */
static bool say(int channel, const struct rp_message_head *head, rp_str text, const int *fds,
                size_t fds_n)
{
    for (int i = 0; i < SAY_TRIES; i++) {
        struct pollfd room = {.fd = channel, .events = POLLOUT};
        rp_err e = rp_channel_send(room.fd, head, text, fds, fds_n);
        if (e == RP_OK) return true;
        if (e == RP_E_CLOSED) return false;
        (void)RP_SYS(poll, poll(&room, 1, SAY_WAIT_MS)); /* sending says how it is */
    }
    return false;
}

static void put_state(const struct rp_master *m, struct rp_handover_out *o)
{
    RP_HANDOVER_PUT(o, "rproxy", rp_str_z(RP_VERSION), RP_HANDOVER_STATE, RP_HANDOVER_FORMAT, 0);
    RP_HANDOVER_PUT(o, "built", RP_STR_NONE, rp_handover_fd(o, m->site->fd));
    for (uint32_t i = 0; i < m->logs.n; i++)
        RP_HANDOVER_PUT(o, "log", RP_STR_NONE, rp_handover_fd(o, m->logs.fds[i]));
    rp_sockets_put(&m->sockets, o);
    for (uint32_t i = 0; i < rp_parts_count(); i++)
        RP_HANDOVER_PUT(o, "part", rp_str_z(rp_parts_name(i)),
                        rp_handover_fd(o, m->parts.zones[i]->fd));
    rp_zones_put(&m->zones, o);
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++)
        if (m->crew.slots[i].pid) rp_crew_put(m, i, true, o);
    rp_str lost = rp_buf_str(&m->succession->lost);
    RP_HANDOVER_PUT(o, "lost", rp_str_head(lost, RP_MIN(lost.len, (size_t)RP_HANDOVER_TEXT_MOST)),
                    0);
}

static bool send_state(struct rp_master *m, const struct rp_handover_out *o)
{
    struct rp_message_head carry = {.kind = RP_SAY_CARRY};
    struct rp_message_head state = {.kind = RP_SAY_STATE, .a = o->fds_n};
    int file = -1;
    bool sent =
        !o->text.failed && rp_os_memfd_seal("rproxy-state", rp_buf_str(&o->text), &file) == RP_OK;
    for (uint32_t i = 0; i < o->fds_n && sent; i += RP_CHANNEL_FDS)
        sent = say(m->succession->channel, &carry, RP_STR_NONE, o->fds + i,
                   RP_MIN(o->fds_n - i, (uint32_t)RP_CHANNEL_FDS));
    sent = sent && say(m->succession->channel, &state, RP_STR_NONE, &file, 1);
    rp_os_close(&file);
    return sent;
}

/* All is said: what is here belongs to the master, which closes the channel when it has taken it.
 * Who dies meanwhile is reaped by it. */
RP_NORETURN static void leave_it_all(struct rp_master *m)
{
    struct pollfd end = {.fd = m->succession->channel, .events = POLLIN};
    struct rp_message *said = rp_alloc(sizeof *said);
    rp_err e = RP_AGAIN;
    while (e == RP_AGAIN || e == RP_OK) {
        (void)RP_SYS(poll, poll(&end, 1, -1)); /* receiving says how it is */
        e = rp_channel_recv(end.fd, said);
        if (e == RP_OK) rp_channel_done(said);
    }
    _exit(0);
}

static void give_state(struct rp_master *m)
{
    struct rp_handover_out o;
    rp_handover_begin(&o, true);
    put_state(m, &o);
    bool sent = send_state(m, &o);
    rp_handover_end(&o);
    if (sent) leave_it_all(m);
    rp_master_fail(m, RP_STR("the running master does not take the state"));
}

void rp_successor_on_ready(struct rp_master *m)
{
    struct rp_message_head staffed = {.kind = RP_SAY_STAFFED};
    struct rp_succession *s = m->succession;
    if (s->staffed) {
        give_state(m);
        return;
    }
    s->staffed = true;
    if (!say(m->succession->channel, &staffed, RP_STR_NONE, NULL, 0))
        rp_master_fail(m, RP_STR("the running master is gone"));
}

static void hear_relieve(struct rp_master *m)
{
    if (!m->succession->staffed || m->crew.agent) return;
    m->crew.slots[RP_CREW_AGENT].state = RP_SLOT_EMPTY;
    rp_crew_want_agent(m, m->site->plan->agent);
    if (!m->crew.agent) give_state(m);
}

void rp_successor_read(struct rp_master *m)
{
    struct rp_message *said = rp_alloc(sizeof *said);
    rp_err e = rp_channel_recv(m->succession->channel, said);
    bool relieve = e == RP_OK && said->head.kind == RP_SAY_RELIEVE;
    if (e == RP_OK) rp_channel_done(said);
    rp_free(said);
    if (relieve) hear_relieve(m);
    if (e == RP_OK || e == RP_AGAIN) return;
    rp_os_close(&m->succession->channel);
    rp_master_fail(m, RP_STR("the upgrade was given up"));
}

void rp_successor_reserve(struct rp_master *m)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++)
        if (m->succession->slots[i].state != RP_SLOT_EMPTY)
            m->crew.slots[i].state = RP_SLOT_FOREIGN;
    m->crew.slots[RP_CREW_AGENT].state = RP_SLOT_FOREIGN;
    m->crew.quiet = true;
}

/* ---- taking over --------------------------------------------------------------------------- */

static void take_log(struct rp_master *m, int fd)
{
    m->logs.fds = rp_realloc(m->logs.fds, sizeof *m->logs.fds * (m->logs.n + 1));
    m->logs.fds[m->logs.n++] = fd;
}

static bool take_built(struct rp_master *m, int fd)
{
    return fd >= 0 && !m->site && rp_checked_open(fd, &m->site) == RP_OK;
}

static void take_state_record(struct rp_master *m, struct rp_parts *parts,
                              struct rp_handover_in *in, const struct rp_handover_record *r)
{
    struct rp_zone *zone = NULL, **place;
    if (rp_sockets_take(&m->sockets, in, r) ||
        rp_zones_take(&m->zones, in, r, &m->succession->lost))
        return;
    if (rp_handover_is(r, "built")) in->bad = in->bad || !take_built(m, take_fd(in, r->n[0]));
    else if (rp_handover_is(r, "log")) take_log(m, take_fd(in, r->n[0]));
    else if (rp_handover_is(r, "slot")) rp_crew_take(m->crew.slots, in, r);
    else if (rp_handover_is(r, "lost")) rp_buf_add(&m->succession->lost, r->text);
    else if (rp_handover_is(r, "part")) {
        int fd = take_fd(in, r->n[0]);
        place = place_of(parts, r->text);
        if (place && !*place && rp_zone_adopt(fd, &zone) == RP_OK) *place = zone;
        else in->bad = true;
    }
}

static rp_err read_state(struct rp_master *m, struct rp_parts *parts)
{
    struct rp_handover_in in;
    struct rp_handover_record r;
    struct rp_succession *s = m->succession;
    rp_str text = RP_STR_NONE;
    rp_err e = rp_os_memfd_map(s->state, RP_HANDOVER_BYTES_MOST, &text);
    if (e != RP_OK) return e;
    rp_handover_open(&in, text, s->given ? s->given : &(int){-1}, s->given_n);
    bool fine = rp_handover_next(&in, &r) && r.n[0] == RP_HANDOVER_STATE &&
                rp_str_eq(r.text, RP_STR(RP_VERSION));
    while (fine && rp_handover_next(&in, &r)) take_state_record(m, parts, &in, &r);
    fine = fine && !in.bad && m->site && m->logs.n == m->site->plan->files_n &&
           m->sockets.n == m->site->plan->listeners_n && m->zones.n == m->site->plan->zones_n;
    rp_handover_close(&in);
    rp_os_unmap(&text);
    s->given_n = 0; /* all are somebody's now */
    return fine ? RP_OK : RP_E_INVALID;
}

static rp_err take_parts(struct rp_master *m, struct rp_parts *parts, struct rp_buf *error)
{
    struct rp_buf lost;
    rp_buf_init(&lost, TEXT_MOST);
    rp_err e = rp_parts_open(m, parts, &lost, error);
    if (e == RP_OK && lost.len) e = RP_E_INVALID; /* this program laid them out */
    for (uint32_t i = 0; i < RP_PARTS_MOST; i++) rp_zone_free(&parts->zones[i]);
    rp_buf_fini(&lost);
    return e;
}

/* Those of the version before: they drain. */
static void take_former(struct rp_master *m)
{
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        const struct rp_slot *was = &m->succession->slots[i];
        struct rp_slot *s = &m->crew.slots[i];
        if (!was->pid || s->pid) continue;
        *s = *was;
        s->state = RP_SLOT_LEAVING;
        s->former = true;
        s->wanted = false;
    }
}

rp_err rp_successor_take_over(struct rp_master *m, struct rp_buf *error)
{
    struct rp_succession *s = m->succession;
    struct rp_parts parts = {0};
    rp_err e = read_state(m, &parts);
    if (e == RP_OK) e = take_parts(m, &parts, error);
    if (e == RP_OK) e = rp_zones_use(&m->zones);
    if (e == RP_OK && !s->control) e = RP_E_INVALID;
    if (e != RP_OK) {
        rp_buf_addf(error, "what the rehearsal left cannot be taken over: %s", rp_err_text(e));
        return e;
    }
    take_former(m);
    m->pidfile.fd = s->pid_file;
    if (s->pid_file_2 >= 0) {
        snprintf(m->extra.path, sizeof m->extra.path, "%s", s->extra);
        m->extra.fd = s->pid_file_2;
    }
    m->control = s->control;
    s->control = NULL;
    m->generation = s->generation + 1;
    m->rotated_ms = s->rotated_ms;
    m->started_ms = s->started_ms;
    m->reload.again = s->again;
    m->reload.renew_again = s->renew_again;
    m->reload.reopen = s->reopen;
    return RP_OK;
}

static void announce(struct rp_master *m)
{
    struct rp_succession *s = m->succession;
    struct rp_buf text;
    rp_buf_init(&text, TEXT_MOST);
    rp_master_log_lines(RP_LOG_warn, "upgrade: ", rp_buf_str(&s->lost));
    rp_buf_add(&text, rp_buf_str(&s->lost));
    rp_buf_addf(&text, "upgraded: version %s to %s, generation %u, %u worker%s", s->version,
                RP_VERSION, m->generation, m->crew.n, m->crew.n == 1 ? "" : "s");
    rp_upgrade_settle(m, s->version, s->began_ms, rp_buf_str(&text));
    rp_buf_fini(&text);
}

void rp_successor_begin(struct rp_master *m)
{
    struct rp_succession *s = m->succession;
    struct rp_message_head listen = {.kind = RP_SAY_LISTEN};
    rp_ms patience = m->site->plan->drain_ms + RP_MASTER_DRAIN_EXTRA_MS;
    m->state = RP_MASTER_SERVING;
    m->crew.n = RP_MIN(s->workers, m->site->plan->workers);
    m->crew.agent = m->crew.slots[RP_CREW_AGENT].wanted;
    /* Sockets of numbers that nobody has any more are left as in a reload to fewer workers. */
    for (uint32_t i = m->crew.n; i < s->workers; i++) rp_sockets_leave(&m->sockets, i);
    rp_crew_route(m);
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++)
        if (m->crew.slots[i].pid && !m->crew.slots[i].former) rp_crew_say(m, i, &listen, NULL, 0);
    for (uint32_t i = 0; i < RP_PLAN_SLOTS; i++) {
        struct rp_slot *was = &m->crew.slots[i];
        bool surplus = was->number >= m->crew.n;
        struct rp_message_head drain = {.kind = RP_SAY_DRAIN, .a = surplus ? HANDSHAKE_MS : 0};
        if (!was->former) continue;
        was->kill_ms = m->turn_ms + patience;
        rp_crew_say(m, i, &drain, NULL, 0);
    }
    rp_sockets_forget(&s->sockets, &m->sockets);
    rp_crew_sweep(m);
    if (m->site->plan->workers != m->crew.n) rp_crew_resize(m, m->site->plan->workers);
    rp_os_close(&s->channel); /* its workers become our children when it ends, which is at once */
    announce(m);
    m->upgrade.heir = s->successor;
    rp_succession_done(s);
    m->succession = NULL;
    rp_reload_resume(m);
}

/* ---- the program --------------------------------------------------------------------------- */

static void set_name(const char *binary)
{
    const char *slash = strrchr(binary, '/');
    rp_os_set_name(slash ? slash + 1 : binary); /* executed by descriptor, it has none of its own */
}

static int run_as(struct rp_succession *s, int complaints, char **argv)
{
    struct rp_run run = {
        .site = s->site,
        .overrides = rp_buf_str(&s->overrides),
        .pid_path = s->pid_path[0] ? s->pid_path : NULL,
        .user = rp_buf_str(&s->user),
        .complaints = complaints,
        .ready = -1,
        .argv = argv,
        .binary = s->binary,
        .succession = s,
    };
    return rp_master_run(&run);
}

/* What is complained of is read by the other master; stderr is again what it was. */
static int rehearse(struct rp_succession *s, char **argv)
{
    struct rp_message_head hello = {.kind = RP_SAY_HELLO, .a = RP_HANDOVER_FORMAT};
    int words = rp_os_dup(STDERR_FILENO);
    if (!rp_os_die_with(s->pid, SIGKILL) || words < 0 || s->channel < 0) return 1;
    if (s->terminal < 0 || dup2(s->terminal, STDERR_FILENO) < 0) return 1;
    rp_os_close(&s->terminal);
    if (!say(s->channel, &hello, RP_STR(RP_VERSION), NULL, 0)) return 1;
    return run_as(s, words, argv);
}

int rp_successor_run(char **argv)
{
    struct rp_run run = {.complaints = STDERR_FILENO};
    struct rp_succession *s = succession_new();
    struct rp_buf error;
    int status = 1;
    rp_buf_init(&error, TEXT_MOST);
    rp_err e = receive(s, &error);
    set_name(s->binary);
    if (e != RP_OK) rp_boot_complain(&run, rp_buf_str(&error));
    else if (s->kind == RP_HANDOVER_REHEARSE) status = rehearse(s, argv);
    else status = run_as(s, STDERR_FILENO, argv);
    rp_buf_fini(&error);
    rp_sockets_forget(&s->sockets, &s->sockets); /* files of unix sockets stay: they are in use */
    rp_succession_done(s);
    rp_buf_fini(&s->overrides);
    rp_buf_fini(&s->user);
    rp_free(s);
    return status;
}
