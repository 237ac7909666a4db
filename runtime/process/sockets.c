/* SPDX-License-Identifier: MIT
 *
 * sockets: see sockets.h.
 */
#include "process/sockets.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "net/addr_sys.h"
#include "net/dgram.h"
#include "net/listener.h"
#include "process/os.h"

enum {
    BACKLOG = 4096,   /* the kernel cuts it to net.core.somaxconn */
    UNIX_MODE = 0666, /* who may connect is decided by the folder's rights */
    /* Instructions: of add_client and what surrounds the bids, of a bid. The kernel bounds programs
     * (net.core.optmem_max, 20 KB on older ones); more workers than this share by remainder. */
    CLIENT_CODE = 16,
    BID_CODE = 12,
    BIDDERS_MOST = 64,
};

/* One socket of a listener. A TCP listener's members are in the order of the kernel's group: new
 * ones come last, and the last takes the place of one that is closed. */
struct member {
    int fd;
    uint32_t worker; /* EVERY_WORKER: a unix socket */
    bool leaving;    /* its worker drains: nobody new is sent there */
};
enum { EVERY_WORKER = 0xffffffff };

#define MIX UINT32_C(0x9e3779b1) /* odd, its bits well spread: 2^32 divided by the golden ratio */

struct rp_socket {
    uint32_t refs; /* generations that use it */
    struct rp_addr addr;
    rp_str text; /* own */
    struct member *members;
    uint32_t n, room;
    bool udp;
    uint32_t secret; /* udp: of the choice by client */
    bool routed;     /* the kernel has a program of ours */
    dev_t dev;       /* the file of a unix socket, to remove only our own */
    ino_t ino;
};

/* ---- words --------------------------------------------------------------------------------- */

static const char *advice(int os, bool udp)
{
    switch (os) {
    case EADDRINUSE:
        return udp ? "; another program listens there (ss -lunp shows which)"
                   : "; another program listens there (ss -ltnp shows which)";
    case EACCES:
        return "; ports below 1024 need root or CAP_NET_BIND_SERVICE, unix sockets a "
               "folder that we may write to";
    case EADDRNOTAVAIL: return "; no interface of this machine has this address";
    case EAFNOSUPPORT: return "; this machine has no IPv6";
    case ENOENT: return "; the folder does not exist";
    case EMFILE: return "; raise the limit of open files (ulimit -n)";
    default: return "";
    }
}

static rp_err complain(const struct rp_socket *s, int os, struct rp_buf *error)
{
    rp_buf_addf(error, "cannot listen on %.*s: %s%s", RP_STR_ARG(s->text), strerror(os),
                advice(os, s->udp));
    return RP_E_OS;
}

/* ---- binding ------------------------------------------------------------------------------- */

/* SO_REUSEPORT lets a second rproxy of the same user bind the port of a first one, and the kernel
 * would share clients out between them. A plain bind finds that out. */
static int foreign_use(const struct rp_addr *a, bool udp)
{
    struct sockaddr_storage ss;
    int on = 1, os = 0;
    socklen_t n = rp_addr_to_sys(a, &ss);
    int type = (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC;
    int fd = RP_SYS(socket, socket(ss.ss_family, type, 0));
    if (fd < 0) return errno;
    if (!udp) /* TIME_WAIT does not count; on UDP it would let two share a port */
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->family == RP_ADDR_IP6) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (RP_SYS(bind, bind(fd, (const struct sockaddr *)&ss, n)) != 0) os = errno;
    rp_os_close(&fd);
    return os;
}

/* Our own wildcard and specific sockets of one port do not count as foreign. */
static bool has_port(const struct rp_sockets *s, uint16_t port, bool udp)
{
    for (uint32_t i = 0; s && i < s->n; i++) {
        if (!s->list[i] || s->list[i]->udp != udp) continue;
        if (s->list[i]->addr.family != RP_ADDR_UNIX && s->list[i]->addr.port == port) return true;
    }
    return false;
}

static rp_err bind_one(struct rp_socket *s, int *fd, struct rp_buf *error)
{
    struct rp_listener_options options = {
        .backlog = BACKLOG, .reuseport = true, .ipv6_only = true, .unix_mode = UNIX_MODE};
    int os = 0;
    rp_err e =
        s->udp ? rp_dgram_bind(&s->addr, fd, &os) : rp_listener_bind(&s->addr, &options, fd, &os);
    return e == RP_OK ? RP_OK : complain(s, os ? os : EINVAL, error);
}

static void remember_file(struct rp_socket *s)
{
    struct stat st;
    if (s->addr.unix_path[0] == '@' || lstat(s->addr.unix_path, &st) != 0) return;
    s->dev = st.st_dev;
    s->ino = st.st_ino;
}

static struct member *member_of(const struct rp_socket *s, uint32_t worker)
{
    for (uint32_t i = 0; i < s->n; i++) {
        struct member *k = &s->members[i];
        if (k->worker == EVERY_WORKER || (k->worker == worker && !k->leaving)) return k;
    }
    return NULL;
}

static void add_member(struct rp_socket *s, int fd, uint32_t worker, bool leaving)
{
    if (s->n == s->room) {
        s->room = s->room ? s->room * 2 : 8;
        s->members = rp_realloc(s->members, sizeof *s->members * s->room);
    }
    s->members[s->n++] = (struct member){.fd = fd, .worker = worker, .leaving = leaving};
}

static rp_err socket_ensure(struct rp_socket *s, uint32_t worker, struct rp_buf *error)
{
    int fd;
    if (member_of(s, worker)) return RP_OK;
    rp_err e = bind_one(s, &fd, error);
    if (e != RP_OK) return e;
    add_member(s, fd, s->addr.family == RP_ADDR_UNIX ? EVERY_WORKER : worker, false);
    return RP_OK;
}

/* ---- one listener -------------------------------------------------------------------------- */

static void socket_drop(struct rp_socket *s)
{
    struct stat st;
    if (!s || --s->refs > 0) return;
    bool file = s->addr.family == RP_ADDR_UNIX && s->ino;
    for (uint32_t i = 0; i < s->n; i++) rp_os_close(&s->members[i].fd);
    if (file && lstat(s->addr.unix_path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
        (void)unlink(s->addr.unix_path); /* a stale file is replaced by the next start */
    rp_free((void *)(uintptr_t)s->text.ptr);
    rp_free(s->members);
    rp_free(s);
}

static struct rp_socket *find(const struct rp_sockets *s, rp_str text)
{
    for (uint32_t i = 0; s && i < s->n; i++)
        if (s->list[i] && rp_str_eq(s->list[i]->text, text)) return s->list[i];
    return NULL;
}

static void socket_route(struct rp_socket *s, const bool *able);

/* Before the first datagram: so that none of its client's goes elsewhere later. */
static void route_all(struct rp_socket *s)
{
    bool able[RP_PLAN_WORKERS_MOST];
    memset(able, true, sizeof able);
    rp_random_bytes(&s->secret, sizeof s->secret);
    socket_route(s, able);
}

static rp_err socket_open(struct rp_socket *s, bool ours, uint32_t workers, struct rp_buf *error)
{
    int os = s->addr.family == RP_ADDR_UNIX || ours ? 0 : foreign_use(&s->addr, s->udp);
    if (os) return complain(s, os, error);
    rp_err e = RP_OK;
    for (uint32_t i = 0; i < workers && e == RP_OK; i++) e = socket_ensure(s, i, error);
    if (e == RP_OK && s->addr.family == RP_ADDR_UNIX) remember_file(s);
    if (e == RP_OK && s->udp) route_all(s);
    return e;
}

/* ---- one generation's ---------------------------------------------------------------------- */

rp_err rp_sockets_open(struct rp_sockets *s, const struct rp_sockets *old,
                       const struct rp_plan *plan, uint32_t workers, struct rp_buf *error)
{
    *s = (struct rp_sockets){.n = plan->listeners_n};
    s->list = rp_alloc(sizeof(struct rp_socket *) * plan->listeners_n);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct rp_plan_listener *l = &plan->listeners[i];
        struct rp_socket *known = find(old, l->text);
        bool ours = has_port(old, l->addr.port, l->udp) || has_port(s, l->addr.port, l->udp);
        s->list[i] = known ? known : rp_alloc(sizeof **s->list);
        s->list[i]->refs++;
        if (known) continue;
        s->list[i]->addr = l->addr;
        s->list[i]->udp = l->udp;
        s->list[i]->text = rp_str_of(rp_strdup_n(l->text.ptr, l->text.len), l->text.len);
        rp_err e = socket_open(s->list[i], ours, workers, error);
        if (e == RP_OK) continue;
        rp_sockets_close(s);
        return e;
    }
    return RP_OK;
}

rp_err rp_sockets_ensure(struct rp_sockets *s, uint32_t worker, struct rp_buf *error)
{
    for (uint32_t i = 0; i < s->n; i++) {
        rp_err e = socket_ensure(s->list[i], worker, error);
        if (e != RP_OK) return e;
    }
    return RP_OK;
}

void rp_sockets_close(struct rp_sockets *s)
{
    for (uint32_t i = 0; i < s->n; i++) socket_drop(s->list[i]);
    rp_free(s->list);
    *s = (struct rp_sockets){0};
}

int rp_sockets_fd(const struct rp_sockets *s, uint32_t i, uint32_t worker)
{
    const struct member *k = member_of(s->list[i], worker);
    return k ? k->fd : -1;
}

bool rp_sockets_is_known(const struct rp_sockets *s, uint32_t i, const struct rp_sockets *old)
{
    return find(old, s->list[i]->text) != NULL;
}

/* ---- upgrades ------------------------------------------------------------------------------ */

static void put_socket(const struct rp_socket *s, struct rp_handover_out *o)
{
    struct sockaddr_storage ss;
    socklen_t n = rp_addr_to_sys(&s->addr, &ss);
    RP_HANDOVER_PUT(o, "listener", s->text, s->udp, s->secret, s->routed, s->dev, s->ino);
    RP_HANDOVER_PUT(o, "address", rp_str_of((const char *)&ss, n), 0);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct member *k = &s->members[i];
        RP_HANDOVER_PUT(o, "socket", RP_STR_NONE, rp_handover_fd(o, k->fd), k->worker, k->leaving);
    }
}

void rp_sockets_put(const struct rp_sockets *s, struct rp_handover_out *o)
{
    for (uint32_t i = 0; i < s->n; i++) put_socket(s->list[i], o);
}

static bool take_listener(struct rp_sockets *s, const struct rp_handover_record *r)
{
    if (s->n >= RP_PLAN_LISTENERS_MOST || r->text.len == 0) return false;
    s->list = rp_realloc(s->list, sizeof *s->list * (s->n + 1));
    struct rp_socket *k = s->list[s->n++] = rp_alloc(sizeof *k);
    *k = (struct rp_socket){.refs = 1,
                            .udp = r->n[0] != 0,
                            .secret = (uint32_t)r->n[1],
                            .routed = r->n[2] != 0,
                            .dev = (dev_t)r->n[3],
                            .ino = (ino_t)r->n[4]};
    k->text = rp_str_of(rp_strdup_n(r->text.ptr, r->text.len), r->text.len);
    return true;
}

static bool take_address(struct rp_socket *s, rp_str bytes)
{
    struct sockaddr_storage ss = {0};
    if (bytes.len == 0 || bytes.len > sizeof ss) return false;
    memcpy(&ss, bytes.ptr, bytes.len);
    rp_addr_from_sys((const struct sockaddr *)&ss, (socklen_t)bytes.len, &s->addr);
    return s->addr.family != RP_ADDR_NONE;
}

/* A descriptor that is no such socket would be served as one. */
static bool is_socket(int fd, bool udp)
{
    int type = 0;
    socklen_t n = sizeof type;
    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 &&
           type == (udp ? SOCK_DGRAM : SOCK_STREAM) && rp_os_set_cloexec(fd, true);
}

static bool take_member(struct rp_socket *s, int fd, const struct rp_handover_record *r)
{
    bool every = r->n[1] == EVERY_WORKER;
    if (!is_socket(fd, s->udp) || (!every && r->n[1] >= RP_PLAN_WORKERS_MOST)) return false;
    add_member(s, fd, (uint32_t)r->n[1], r->n[2] != 0);
    return true;
}

bool rp_sockets_take(struct rp_sockets *s, struct rp_handover_in *in,
                     const struct rp_handover_record *r)
{
    struct rp_socket *last = s->n ? s->list[s->n - 1] : NULL;
    bool fine;
    if (rp_handover_is(r, "listener")) fine = take_listener(s, r);
    else if (rp_handover_is(r, "address")) fine = last && take_address(last, r->text);
    else if (rp_handover_is(r, "socket"))
        fine = last && take_member(last, rp_handover_fd_of(in, r->n[0]), r);
    else return false;
    in->bad = in->bad || !fine;
    return fine;
}

void rp_sockets_succeed(struct rp_sockets *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        for (uint32_t k = 0; s->list[i]->udp && k < s->list[i]->n; k++)
            s->list[i]->members[k].leaving = true;
}

void rp_sockets_forget(struct rp_sockets *old, const struct rp_sockets *now)
{
    for (uint32_t i = 0; i < old->n; i++)
        if (find(now, old->list[i]->text)) old->list[i]->ino = 0;
    rp_sockets_close(old);
}

/* ---- who gets new clients ------------------------------------------------------------------ */

void rp_sockets_leave(struct rp_sockets *s, uint32_t worker)
{
    for (uint32_t i = 0; i < s->n; i++) {
        struct member *k = member_of(s->list[i], worker);
        if (k && k->worker == worker) k->leaving = true;
    }
}

void rp_sockets_gone(struct rp_sockets *s, uint32_t worker)
{
    for (uint32_t i = 0; i < s->n; i++) {
        struct rp_socket *k = s->list[i];
        for (uint32_t at = 0; at < k->n;) {
            if (k->members[at].worker != worker || !k->members[at].leaving) {
                at++;
                continue;
            }
            rp_os_close(&k->members[at].fd); /* the last copy: the kernel reorders as we do */
            k->members[at] = k->members[--k->n];
        }
    }
}

static void add_code(struct sock_filter *code, uint16_t *len, uint32_t op, uint32_t k)
{
    code[(*len)++] = (struct sock_filter)BPF_STMT((uint16_t)op, k);
}

static void add_jump(struct sock_filter *code, uint16_t *len, uint32_t op, uint32_t k, uint8_t no)
{
    code[(*len)++] = (struct sock_filter)BPF_JUMP((uint16_t)op, k, 0, no);
}

static void install(const struct rp_socket *s, struct sock_filter *code, uint16_t len)
{
    struct sock_fprog program = {.len = len, .filter = code};
    if (setsockopt(s->members[0].fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
                   sizeof program) != 0)
        rp_log(warn, "new clients cannot be kept from a worker listener=%s os=\"%s\"",
               rp_log_esc(s->text), strerror(errno));
}

/* Return the place of this number. */
static void add_choice(struct sock_filter *code, uint16_t *len, const uint32_t *places, uint32_t n)
{
    add_code(code, len, BPF_ALU | BPF_MOD | BPF_K, n);
    for (uint32_t i = 0; i < n; i++) {
        if (i + 1 < n) add_jump(code, len, BPF_JMP | BPF_JEQ | BPF_K, i, 1);
        add_code(code, len, BPF_RET | BPF_K, places[i]);
    }
}

/* A program that picks one of these places of the group, evenly. A place that does not exist makes
 * the kernel fall back to its own choice. */
static void attach(const struct rp_socket *s, const uint32_t *places, uint32_t n)
{
    struct sock_filter *code = rp_alloc(sizeof *code * (2 + 2 * (size_t)n));
    uint16_t len = 0;
    add_code(code, &len, BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
    add_choice(code, &len, places, n);
    install(s, code, len);
    rp_free(code);
}

/* A number of the client's own, the same for all its datagrams: its port and the last four bytes of
 * its address, which tell clients apart for IPv6 too, mixed with a secret, so that nobody can aim at
 * one worker. The port follows an IPv4 header of 20 bytes; behind options of the header it is a part
 * of those instead, which are as constant. */
static void add_client(const struct rp_socket *s, struct sock_filter *code, uint16_t *len)
{
    bool ip6 = s->addr.family == RP_ADDR_IP6;
    add_code(code, len, BPF_LD | BPF_H | BPF_ABS, (uint32_t)(SKF_NET_OFF + (ip6 ? 40 : 20)));
    add_code(code, len, BPF_ALU | BPF_MUL | BPF_K, s->secret | 1);
    add_code(code, len, BPF_MISC | BPF_TAX, 0);
    add_code(code, len, BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_NET_OFF + (ip6 ? 20 : 12)));
    add_code(code, len, BPF_ALU | BPF_XOR | BPF_X, 0);
    add_code(code, len, BPF_ALU | BPF_MUL | BPF_K, MIX);
}

/* How much this worker wants the client (its number in M[0]); the one that wants it most so far is
 * in M[1], its place in M[2]. */
static void add_bid(struct sock_filter *code, uint16_t *len, uint32_t seed, uint32_t place)
{
    add_code(code, len, BPF_LD | BPF_MEM, 0);
    add_code(code, len, BPF_ALU | BPF_XOR | BPF_K, seed);
    add_code(code, len, BPF_ALU | BPF_MUL | BPF_K, MIX);
    add_code(code, len, BPF_MISC | BPF_TAX, 0);
    add_code(code, len, BPF_ALU | BPF_RSH | BPF_K, 15);
    add_code(code, len, BPF_ALU | BPF_XOR | BPF_X, 0);
    add_code(code, len, BPF_ALU | BPF_MUL | BPF_K, MIX);
    add_code(code, len, BPF_LDX | BPF_MEM, 1);
    add_jump(code, len, BPF_JMP | BPF_JGT | BPF_X, 0, 3);
    add_code(code, len, BPF_ST, 1);
    add_code(code, len, BPF_LD | BPF_IMM, place);
    add_code(code, len, BPF_ST, 2);
}

/* A program for datagrams: each client has one worker, as long as that is there; when it goes or a
 * new one comes, no client moves but those of it (rendezvous hashing). */
static void attach_by_client(const struct rp_socket *s, const uint32_t *places, uint32_t n)
{
    struct sock_filter *code = rp_alloc(sizeof *code * (CLIENT_CODE + BID_CODE * (size_t)n));
    uint16_t len = 0;
    add_client(s, code, &len);
    if (n > BIDDERS_MOST) {
        add_code(code, &len, BPF_ALU | BPF_RSH | BPF_K, 12); /* high bits depend on all */
        add_choice(code, &len, places, n);
    } else {
        add_code(code, &len, BPF_ST, 0);
        add_code(code, &len, BPF_LD | BPF_IMM, 0);
        add_code(code, &len, BPF_ST, 1);
        add_code(code, &len, BPF_LD | BPF_IMM, places[0]);
        add_code(code, &len, BPF_ST, 2);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t worker = s->members[places[i]].worker;
            add_bid(code, &len, (uint32_t)rp_hash_mix(s->secret + worker), places[i]);
        }
        add_code(code, &len, BPF_LD | BPF_MEM, 2);
        add_code(code, &len, BPF_RET | BPF_A, 0);
    }
    install(s, code, len);
    rp_free(code);
}

static void socket_route(struct rp_socket *s, const bool *able)
{
    uint32_t n = 0;
    int none = 0;
    if (s->addr.family == RP_ADDR_UNIX || s->n == 0) return;
    uint32_t *places = rp_alloc(sizeof *places * s->n);
    for (uint32_t i = 0; i < s->n; i++)
        if (!s->members[i].leaving && able[s->members[i].worker]) places[n++] = i;
    bool all = n == s->n || n == 0; /* with nobody able they wait where they are */
    if (s->udp && n > 0) attach_by_client(s, places, n);
    else if (!all) attach(s, places, n);
    else if (s->routed) /* fails when nothing is attached: as it should be then */
        (void)setsockopt(s->members[0].fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof none);
    s->routed = !all || (s->udp && n > 0);
    rp_free(places);
}

void rp_sockets_route(struct rp_sockets *s, const bool *able)
{
    for (uint32_t i = 0; i < s->n; i++) socket_route(s->list[i], able);
}
