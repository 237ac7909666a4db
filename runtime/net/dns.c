/* SPDX-License-Identifier: MIT
 *
 * dns: see dns.h. c-ares asks (its sockets in the loop's epoll, its timeouts on the wheel), this file
 * remembers. One entry per name: the last good answer, when it ends, who waits.
 *
 * A c-ares callback only stores an answer and queues the delivery for the end of the tick: c-ares
 * may call back from inside ares_getaddrinfo (hosts file), and our callers must not be called from
 * inside rp_dns_resolve.
 */
#include "net/dns.h"

#include <ares.h>
#include <errno.h>
#include <netdb.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/map.h"
#include "net/addr_sys.h"
#include "net/loop_uv.h"
#include "net/timer.h"

enum {
    NAME_MOST = RP_DNS_NAME_MOST,
    ADDRS_MOST = 1024,    /* of one name */
    SERVICES_MOST = 1024, /* of one name */
    SERVICE_MARK = '\1',  /* what keys of services begin with; no name has it */
    CLASS_IN = 1,         /* RFC 1035 §3.2.4 */
    TYPE_SRV = 33,        /* RFC 2782 */
};

const struct rp_dns_options rp_dns_defaults = {
    .timeout_ms = 2000,
    .tries = 2,
    .ttl_least_ms = 5000,
    .ttl_most_ms = 3600 * 1000,
    .absent_ms = 5000,
    .stale_ms = 30 * 1000,
    .retry_ms = 1000,
    .names_most = 4096,
};

/* Counted: it may be replaced while somebody reads it. */
struct answer {
    uint32_t refs;
    rp_err status;
    size_t n, services_n;
    struct rp_dns_service *services;
    struct rp_addr addrs[];
};

struct rp_dns_query {
    struct rp_dns_query *next, *prev; /* in a queue */
    struct queue *queue;
    struct entry *entry;
    rp_dns_fn fn;
    void *arg;
};

struct queue {
    struct rp_dns_query *head, *tail;
    size_t n;
};

struct entry {
    struct rp_dns *dns;
    struct queue waiting;  /* for the query in flight */
    struct answer *answer; /* what is told until fresh_until; NULL before the first one */
    bool in_flight;
    bool cut;       /* the last answer was too long */
    size_t ready_n; /* queries in dns->ready that will be told `answer` */
    rp_ms fresh_until, stale_until, used_ms;
    size_t name_n;
    char name[]; /* lower case, NUL-terminated; of services behind SERVICE_MARK */
};

/* One socket of c-ares. */
struct watch {
    struct rp_poll poll;
    struct rp_dns *dns;
    struct watch *next, *prev;
};

struct rp_dns {
    struct rp_loop *loop;
    ares_channel channel;
    struct rp_dns_options o;
    struct rp_timer timer;
    struct rp_defer deliver;
    struct queue ready; /* an answer is there */
    struct watch *watches;
    bool closing, moving; /* to another channel */
    char *servers;        /* o.servers */
    struct rp_map names;  /* -> struct entry */
};

/* ---- queues and answers -------------------------------------------------------------------- */

static void queue_add(struct queue *q, struct rp_dns_query *one)
{
    one->queue = q;
    one->next = NULL;
    one->prev = q->tail;
    if (q->tail) q->tail->next = one;
    else q->head = one;
    q->tail = one;
    q->n++;
}

static void queue_remove(struct rp_dns_query *one)
{
    struct queue *q = one->queue;
    if (one->next) one->next->prev = one->prev;
    else q->tail = one->prev;
    if (one->prev) one->prev->next = one->next;
    else q->head = one->next;
    q->n--;
}

static void queue_clear(struct queue *q)
{
    while (q->head) {
        struct rp_dns_query *one = q->head;
        queue_remove(one);
        rp_free(one);
    }
}

static struct answer *answer_new(rp_err status, size_t room)
{
    struct answer *a = rp_alloc(sizeof *a + room * sizeof a->addrs[0]);
    a->refs = 1;
    a->status = status;
    return a;
}

static void answer_drop(struct answer *a)
{
    if (!a || --a->refs > 0) return;
    rp_free(a->services);
    rp_free(a);
}

static void answer_put(struct entry *e, struct answer *a, rp_ms fresh_ms)
{
    answer_drop(e->answer);
    e->answer = a;
    e->fresh_until = rp_loop_now(e->dns->loop) + fresh_ms;
}

static void ask(struct entry *e);

/* ---- entries ------------------------------------------------------------------------------- */

static bool is_pinned(const struct entry *e)
{
    return e->in_flight || e->ready_n > 0 || e->waiting.n > 0;
}

static void entry_free(struct entry *e)
{
    queue_clear(&e->waiting);
    answer_drop(e->answer);
    rp_free(e);
}

/* Make room by dropping the entry that was asked for longest ago; false when all are in use. */
static bool evict_one(struct rp_dns *d)
{
    const struct rp_map_slot *slot = NULL;
    struct entry *oldest = NULL;
    for (uint32_t at = 0; (slot = rp_map_next(&d->names, &at));) {
        struct entry *e = slot->value;
        if (!is_pinned(e) && (!oldest || e->used_ms < oldest->used_ms)) oldest = e;
    }
    if (!oldest) return false;
    (void)rp_map_remove(&d->names, rp_str_of(oldest->name, oldest->name_n)); /* it is `oldest` */
    entry_free(oldest);
    return true;
}

static struct entry *entry_make(struct rp_dns *d, rp_str name)
{
    if (d->names.n >= d->o.names_most && !evict_one(d)) return NULL;
    struct entry *e = rp_alloc(sizeof *e + name.len + 1);
    memcpy(e->name, name.ptr, name.len);
    e->name_n = name.len;
    e->dns = d;
    if (rp_map_set(&d->names, name, e) == RP_OK) return e;
    rp_free(e);
    return NULL;
}

/* ---- answers come -------------------------------------------------------------------------- */

/* All who waited will be told what the entry says now. */
static void make_ready(struct entry *e)
{
    struct rp_dns *d = e->dns;
    while (e->waiting.head) {
        struct rp_dns_query *one = e->waiting.head;
        queue_remove(one);
        queue_add(&d->ready, one);
        e->ready_n++;
    }
    if (d->ready.n > 0) rp_loop_defer(d->loop, &d->deliver);
}

/* Some of the answer is not used: once for each time that a name gets too long an answer. */
static void tell_cut(struct entry *e, size_t n, size_t most, const char *what)
{
    size_t mark = e->name_n && e->name[0] == SERVICE_MARK;
    rp_str name = rp_str_of(e->name + mark, e->name_n - mark);
    if (n > most && !e->cut)
        rp_log(warn, "a name has more %s than are used name=%s all=%llu used=%llu", what,
               rp_log_esc(name), (unsigned long long)n, (unsigned long long)most);
    e->cut = n > most;
}

static void store_addrs(struct entry *e, const struct ares_addrinfo *info)
{
    const struct rp_dns_options *o = &e->dns->o;
    size_t room = 0;
    rp_ms ttl_ms = o->ttl_most_ms;
    for (const struct ares_addrinfo_node *it = info->nodes; it; it = it->ai_next) room++;
    struct answer *a = answer_new(RP_OK, RP_MIN(room, (size_t)ADDRS_MOST));
    for (const struct ares_addrinfo_node *it = info->nodes; it && a->n < ADDRS_MOST;
         it = it->ai_next) {
        rp_addr_from_sys(it->ai_addr, (socklen_t)it->ai_addrlen, &a->addrs[a->n++]);
        rp_ms node_ms = it->ai_ttl > 0 ? (rp_ms)it->ai_ttl * 1000 : 0;
        ttl_ms = RP_MIN(ttl_ms, node_ms);
    }
    for (const struct ares_addrinfo_cname *it = info->cnames; it; it = it->next) {
        rp_ms alias_ms = it->ttl > 0 ? (rp_ms)it->ttl * 1000 : 0;
        ttl_ms = RP_MIN(ttl_ms, alias_ms);
    }
    answer_put(e, a, RP_MAX(ttl_ms, o->ttl_least_ms));
    e->stale_until = e->fresh_until + o->stale_ms;
    tell_cut(e, room, ADDRS_MOST, "addresses");
}

static rp_err err_of(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
    case ARES_ENODATA: return RP_E_NOT_FOUND;
    case ARES_ETIMEOUT: return RP_E_TIMEOUT;
    case ARES_EBADNAME: return RP_E_INVALID;
    default: return RP_E_UP_RESOLVE;
    }
}

static void store_services(struct entry *e, const struct ares_srv_reply *list)
{
    const struct rp_dns_options *o = &e->dns->o;
    struct answer *a = answer_new(RP_OK, 0);
    size_t room = 1, all = 0;
    for (const struct ares_srv_reply *it = list; it; it = it->next) room++;
    a->services = rp_alloc(RP_MIN(room, (size_t)SERVICES_MOST) * sizeof a->services[0]);
    for (const struct ares_srv_reply *it = list; it; it = it->next) {
        size_t n = strlen(it->host);
        if (n == 0 || n > NAME_MOST || all++ >= SERVICES_MOST) continue; /* ".": there is none */
        struct rp_dns_service *s = &a->services[a->services_n++];
        s->priority = it->priority;
        s->weight = it->weight;
        s->port = it->port;
        s->name_n = (uint8_t)n;
        memcpy(s->name, it->host, n);
    }
    if (a->services_n == 0) a->status = RP_E_NOT_FOUND;
    answer_put(e, a, o->ttl_least_ms); /* c-ares does not tell the TTL of these */
    e->stale_until = e->fresh_until + o->stale_ms;
    tell_cut(e, all, SERVICES_MOST, "services");
}

/* A name that is gone is believed at once; a silent or broken server is not: the last good answer
 * stands in for `stale_ms`. */
static void store_failure(struct entry *e, rp_err status)
{
    const struct rp_dns_options *o = &e->dns->o;
    bool gone = status == RP_E_NOT_FOUND || status == RP_E_INVALID;
    bool good = e->answer && e->answer->status == RP_OK;
    rp_ms now = rp_loop_now(e->dns->loop);
    if (!gone && good && now < e->stale_until) e->fresh_until = now + o->retry_ms;
    else answer_put(e, answer_new(status, 0), gone ? o->absent_ms : o->retry_ms);
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct entry *e = arg;
    (void)timeouts;
    e->in_flight = false;
    if (e->dns->moving) {
        ask(e);
    } else if (!e->dns->closing) {
        if (status == ARES_SUCCESS && info && info->nodes) store_addrs(e, info);
        else store_failure(e, err_of(status == ARES_SUCCESS ? ARES_ENODATA : status));
        make_ready(e);
    }
    if (info) ares_freeaddrinfo(info);
}

static void on_services(void *arg, int status, int timeouts, unsigned char *bytes, int n)
{
    struct entry *e = arg;
    struct ares_srv_reply *list = NULL;
    (void)timeouts;
    e->in_flight = false;
    if (e->dns->moving) ask(e);
    if (e->dns->closing || e->dns->moving) return;
    if (status == ARES_SUCCESS) status = ares_parse_srv_reply(bytes, n, &list);
    if (status == ARES_SUCCESS && list) store_services(e, list);
    else store_failure(e, err_of(status == ARES_SUCCESS ? ARES_ENODATA : status));
    if (list) ares_free_data(list);
    make_ready(e);
}

static void tell(struct rp_dns_query *one)
{
    struct answer *a = one->entry->answer;
    rp_ms now = rp_loop_now(one->entry->dns->loop), until = one->entry->fresh_until;
    struct rp_dns_answer told = {.status = a->status,
                                 .ttl_ms = until > now ? until - now : 0,
                                 .addrs = a->addrs,
                                 .addrs_n = a->n,
                                 .services = a->services,
                                 .services_n = a->services_n};
    rp_dns_fn fn = one->fn;
    void *arg = one->arg;
    one->entry->ready_n--;
    queue_remove(one);
    rp_free(one);
    a->refs++; /* fn may ask again, and that may replace the entry's answer */
    fn(arg, &told);
    answer_drop(a);
}

static void on_deliver(struct rp_defer *job)
{
    struct rp_dns *d = RP_CONTAINER(rp_dns, deliver, job);
    /* Those that callbacks add wait for the next round. */
    for (size_t n = d->ready.n; n > 0 && d->ready.head; n--) tell(d->ready.head);
    if (d->ready.head) rp_loop_defer(d->loop, &d->deliver);
}

/* ---- c-ares on the loop -------------------------------------------------------------------- */

static void set_timer(struct rp_dns *d)
{
    struct timeval tv;
    if (!ares_timeout(d->channel, NULL, &tv)) {
        rp_timer_clear(d->loop, &d->timer);
        return;
    }
    rp_timer_set(d->loop, &d->timer, (rp_ms)tv.tv_sec * 1000 + (rp_ms)tv.tv_usec / 1000 + 1);
}

static void on_timer(struct rp_timer *t)
{
    struct rp_dns *d = RP_CONTAINER(rp_dns, timer, t);
    ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(d);
}

static void on_poll(struct rp_poll *p, unsigned events)
{
    struct rp_dns *d = RP_CONTAINER(watch, poll, p)->dns;
    bool failed = events & RP_POLL_FAILED; /* c-ares finds the reason and closes the socket */
    ares_socket_t in = failed || events & RP_POLL_IN ? p->fd : ARES_SOCKET_BAD;
    ares_socket_t out = failed || events & RP_POLL_OUT ? p->fd : ARES_SOCKET_BAD;
    ares_process_fd(d->channel, in, out); /* p may have ended now */
    /* The error was taken by something else, a send perhaps: c-ares waits on. */
    if (failed && p->known && !p->armed) rp_poll_arm(p, p->known);
    set_timer(d);
}

static void free_closed(struct rp_poll *p)
{
    rp_free(RP_CONTAINER(watch, poll, p));
}

static void watch_close(struct watch *w)
{
    if (w->next) w->next->prev = w->prev;
    if (w->prev) w->prev->next = w->next;
    else w->dns->watches = w->next;
    rp_poll_end(&w->poll, true, free_closed); /* c-ares closes it when it likes */
}

static void watch_open(struct rp_dns *d, ares_socket_t fd, unsigned events)
{
    struct watch *w = rp_alloc(sizeof *w);
    if (RP_SYS(watch, rp_poll_start(d->loop, &w->poll, fd, events, on_poll)) != 0) {
        rp_free(w); /* the query will time out */
        return;
    }
    w->dns = d;
    w->next = d->watches;
    if (d->watches) d->watches->prev = w;
    d->watches = w;
}

/* c-ares tells what it wants of a socket; nothing at all: it will close it now. */
static void on_sock_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct rp_dns *d = arg;
    unsigned events = (readable ? RP_POLL_IN : 0u) | (writable ? RP_POLL_OUT : 0u);
    struct watch *w = d->watches;
    while (w && w->poll.fd != fd) w = w->next;
    if (!w && events) watch_open(d, fd, events);
    else if (w && events) rp_poll_arm(&w->poll, events);
    else if (w) watch_close(w);
}

/* What c-ares would say. */
static int fault_status(int os)
{
    return os == ENOMEM         ? ARES_ENOMEM
           : os == ETIMEDOUT    ? ARES_ETIMEOUT
           : os == ENOENT       ? ARES_ENOTFOUND
           : os == ECONNREFUSED ? ARES_ECONNREFUSED
                                : ARES_ESERVFAIL;
}

/* Nothing is remembered: the lab may say something else next time. */
static void ask_lab(struct entry *e)
{
    const struct rp_lab_net *lab = e->dns->loop->lab;
    struct answer *a = answer_new(RP_E_NOT_FOUND, ADDRS_MOST); /* it has no services */
    if (e->name[0] != SERVICE_MARK)
        a->status =
            lab->resolve(lab->arg, rp_str_of(e->name, e->name_n), a->addrs, ADDRS_MOST, &a->n);
    if (a->status != RP_OK) a->n = 0;
    answer_put(e, a, 0);
    make_ready(e);
}

static void ask(struct entry *e)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (RP_UNLIKELY(e->dns->loop->lab != NULL)) {
        ask_lab(e);
        return;
    }
    e->in_flight = true;
    int os = RP_FAULT(dns_ask);
    if (e->name[0] == SERVICE_MARK) {
        if (os) on_services(e, fault_status(os), 0, NULL, 0);
        else ares_query(e->dns->channel, e->name + 1, CLASS_IN, TYPE_SRV, on_services, e);
    } else if (os) on_answer(e, fault_status(os), 0, NULL);
    else ares_getaddrinfo(e->dns->channel, e->name, NULL, &hints, on_answer, e);
    set_timer(e->dns);
}

/* ---- exports ------------------------------------------------------------------------------- */

/* Names that are addresses need no server. */
static void answer_ip(struct entry *e)
{
    struct rp_addr ip;
    if (rp_addr_parse_ip(rp_str_of(e->name, e->name_n), &ip) != RP_OK) return;
    struct answer *a = answer_new(RP_OK, 1);
    a->n = 1;
    a->addrs[0] = ip;
    answer_put(e, a, e->dns->o.ttl_most_ms);
}

static rp_err clean_name(rp_str name, char out[NAME_MOST + 1])
{
    if (name.len == 0 || name.len > NAME_MOST || name.ptr[0] == '[') return RP_E_INVALID;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char ch = (unsigned char)name.ptr[i];
        if (ch <= ' ' || ch >= 0x7f) return RP_E_INVALID; /* IDNs come in their ASCII form */
        out[i] = rp_lower((char)ch);
    }
    out[name.len] = '\0';
    return RP_OK;
}

static rp_err resolve(struct rp_dns *d, rp_str key, rp_dns_fn fn, void *arg,
                      struct rp_dns_query **out)
{
    struct entry *e = rp_map_find(&d->names, key);
    if (!e) {
        e = entry_make(d, key);
        if (!e) return RP_E_CAP;
        answer_ip(e);
    }
    struct rp_dns_query *one = rp_alloc(sizeof *one);
    one->entry = e;
    one->fn = fn;
    one->arg = arg;
    e->used_ms = rp_loop_now(d->loop);
    queue_add(&e->waiting, one);
    if (e->answer && e->used_ms < e->fresh_until) make_ready(e);
    else if (!e->in_flight) ask(e);
    *out = one;
    return RP_OK;
}

rp_err rp_dns_resolve(struct rp_dns *d, rp_str name, rp_dns_fn fn, void *arg,
                      struct rp_dns_query **out)
{
    char clean[NAME_MOST + 1];
    if (!d) return RP_E_UP_RESOLVE; /* rp_dns_new has failed */
    rp_err err = clean_name(name, clean);
    return err == RP_OK ? resolve(d, rp_str_of(clean, name.len), fn, arg, out) : err;
}

rp_err rp_dns_resolve_services(struct rp_dns *d, rp_str name, rp_dns_fn fn, void *arg,
                               struct rp_dns_query **out)
{
    char clean[1 + NAME_MOST + 1] = {SERVICE_MARK};
    if (!d) return RP_E_UP_RESOLVE;
    rp_err err = clean_name(name, clean + 1);
    return err == RP_OK ? resolve(d, rp_str_of(clean, 1 + name.len), fn, arg, out) : err;
}

void rp_dns_cancel(struct rp_dns_query *one)
{
    if (!one) return;
    if (one->queue != &one->entry->waiting) one->entry->ready_n--;
    queue_remove(one);
    rp_free(one);
}

static int open_channel(struct rp_dns *d)
{
    struct ares_options ao = {
        .timeout = (int)RP_MIN(d->o.timeout_ms, (rp_ms)60 * 1000),
        .tries = d->o.tries,
        .sock_state_cb = on_sock_state,
        .sock_state_cb_data = d,
    };
    int status = RP_SYS_OR(dns_open, ARES_ENOMEM, ares_library_init(ARES_LIB_INIT_ALL));
    if (status != ARES_SUCCESS) return status;
    status = ares_init_options(&d->channel, &ao,
                               ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status == ARES_SUCCESS && d->o.servers) {
        status = ares_set_servers_ports_csv(d->channel, d->o.servers);
        if (status != ARES_SUCCESS) ares_destroy(d->channel);
    }
    if (status != ARES_SUCCESS) ares_library_cleanup();
    return status;
}

static void use_options(struct rp_dns *d, const struct rp_dns_options *o)
{
    rp_free(d->servers);
    d->o = *o;
    d->servers = o->servers ? rp_strdup_n(o->servers, strlen(o->servers)) : NULL;
    d->o.servers = d->servers;
}

struct rp_dns *rp_dns_new_with(struct rp_loop *l, const struct rp_dns_options *o)
{
    struct rp_dns *d = rp_alloc(sizeof *d);
    d->loop = l;
    use_options(d, o ? o : &rp_dns_defaults);
    d->deliver.run = on_deliver;
    rp_map_init(&d->names, (uint32_t)RP_MIN(d->o.names_most, (size_t)UINT32_MAX));
    rp_timer_init(&d->timer, on_timer);
    if (open_channel(d) == ARES_SUCCESS) return d;
    rp_map_fini(&d->names);
    rp_free(d->servers);
    rp_free(d);
    return NULL;
}

rp_err rp_dns_adjust(struct rp_dns *d, const struct rp_dns_options *o)
{
    if (!d) return RP_OK;
    const struct rp_dns_options was = d->o;
    ares_channel old = d->channel;
    bool same = rp_str_eq(rp_str_z(was.servers), rp_str_z(o->servers)) &&
                was.timeout_ms == o->timeout_ms && was.tries == o->tries;
    if (!same) {
        d->o.servers = o->servers; /* looked at by open_channel alone */
        d->o.timeout_ms = o->timeout_ms;
        d->o.tries = o->tries;
        if (open_channel(d) != ARES_SUCCESS) {
            d->o = was;
            d->channel = old;
            return RP_E_INVALID;
        }
    }
    use_options(d, o);
    d->o.names_most = was.names_most;
    if (same) return RP_OK;
    d->moving = true;
    ares_destroy(old); /* what is open there is asked again */
    ares_library_cleanup();
    d->moving = false;
    set_timer(d);
    return RP_OK;
}

struct rp_dns *rp_dns_new(struct rp_loop *l)
{
    return rp_dns_new_with(l, NULL);
}

void rp_dns_free(struct rp_dns **dp)
{
    struct rp_dns *d = *dp;
    if (!d) return;
    *dp = NULL;
    d->closing = true;
    ares_destroy(d->channel); /* closes its sockets; every open query ends in on_answer */
    ares_library_cleanup();
    queue_clear(&d->ready);
    const struct rp_map_slot *slot = NULL;
    for (uint32_t at = 0; (slot = rp_map_next(&d->names, &at));) entry_free(slot->value);
    rp_map_fini(&d->names);
    rp_timer_clear(d->loop, &d->timer);
    rp_loop_undefer(d->loop, &d->deliver);
    rp_free(d->servers);
    rp_free(d);
}
