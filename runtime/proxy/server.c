/* SPDX-License-Identifier: MIT
 *
 * server: see server.h and proxy.h.
 */
#include "proxy/server.h"

#include <stdio.h>

#include "base/log.h"
#include "proxy/access.h"
#include "proxy/coalesce.h"
#include "proxy/door.h"
#include "proxy/guard.h"
#include "proxy/hedge.h"
#include "proxy/split.h"
#include "proxy/staples.h"
#include "proxy/lifecycle.h"
#include "net/tls_server.h"
#include "proxy/stream.h"
#include "proxy/tls_door.h"
#include "proxy/stream_udp.h"
#include "proxy/upstream.h"
#include "shm/roster.h"
#include "shm/dict.h"
#include "shm/splits.h"
#include "shm/zone.h"

enum {
    ROSTER_PLACES = 4096,      /* of a proxy without other workers beside it */
    LINGER_MS = 5000,          /* a client gets this long to read an answer that closes */
    UP_HEAD_BYTES = 64 * 1024, /* response heads: cookies make them large */
    UP_FIELDS = 250,
    RUSH = 2048,         /* connections that ended, 1.2 MB: worth looking for pages to give back */
    STREAMS_KEPT = 1024, /* 1 MB of relayed connections that ended, for the next ones */
};

/* ---- the user of sessions ------------------------------------------------------------------------ */

static struct rp_exchange *open_exchange(void *arg, void *listener)
{
    const struct rp_serve *s = listener;
    struct rp_exchange *x = &rp_req_new(arg)->x;
    x->half_closed = s->half_closed;
    return x;
}

static const struct rp_serve *s_of(const struct rp_exchange *x)
{
    return x->listener;
}

static void start_exchange(struct rp_exchange *x, rp_err head)
{
    const struct rp_tls *t = rp_conn_tls(x->conn);
    x->secure = t != NULL || s_of(x)->as_secure;
    x->early = t && rp_tls_is_early(t);
    rp_lifecycle_start(RP_CONTAINER(rp_req, x, x), head);
}

static void wake_exchange(struct rp_exchange *x, unsigned why)
{
    rp_req_wake(RP_CONTAINER(rp_req, x, x), why);
}

/* ---- life -------------------------------------------------------------------------------------------- */

static void drop_stream_conf(struct rp_serve *s)
{
    struct rp_conf *old = s->stream_conf;
    s->stream = NULL;
    s->stream_conf = NULL;
    if (old) rp_lifecycle_drop_conf(s->proxy, old);
}

/* The hooks of its handshakes. */
static void drop_hook_conf(struct rp_serve *s)
{
    struct rp_conf *old = s->hook_conf;
    s->hook_conf = NULL;
    if (old) rp_lifecycle_drop_conf(s->proxy, old);
}

static void follow_hooks(struct rp_serve *s, const struct rp_conf_listener *l)
{
    drop_hook_conf(s);
    s->hello_chain = l->hello_chain;
    s->cert_chain = l->cert_chain;
    s->asks = l->hello_chain || l->cert_chain;
    if (s->asks) s->hook_conf = rp_conf_hold(s->proxy->conf);
}

/* The current generation has this listener: it does what that says. */
static void follow(struct rp_serve *s, const struct rp_conf_listener *l)
{
    s->own = l->redirect_https || l->metrics;
    s->metrics = l->metrics;
    s->proxy_protocol = l->proxy_protocol;
    s->half_closed = l->half_closed;
    rp_tls_server_drop(&s->tls);
    if (l->tls) s->tls = rp_tls_server_hold(l->tls->server);
    s->forward_cert = l->tls && l->tls->forward;
    s->ask = l->tls ? l->tls->ask : RP_TLS_ASK_NONE;
    follow_hooks(s, l);
    drop_stream_conf(s);
    s->stream = l->stream;
    s->relays = l->stream != NULL;
    if (l->stream) s->stream_conf = rp_conf_hold(s->proxy->conf);
}

static void apply_settings(struct rp_proxy *p)
{
    const struct rp_conf *c = p->conf;
    p->settings.limits = (struct rp_h1_limits){.head_bytes = (uint32_t)c->head_bytes,
                                               .uri_bytes = (uint32_t)c->uri_bytes,
                                               .fields_n = (uint16_t)c->fields_n};
    p->settings.requests_max = c->keepalive_requests;
    p->settings.age_ms = c->connection_ms;
    p->settings.head_ms = c->head_ms;
    p->settings.keepalive_ms = c->keepalive_ms;
    p->settings.linger_ms = LINGER_MS;
    p->settings.h2 = c->http2 ? &p->h2_sessions : NULL;
    p->h2_sessions.settings = (struct rp_h2_settings){.streams_n = (uint32_t)c->h2_streams,
                                                      .window_bytes = (uint32_t)c->h2_window};
    p->settings.body_pace =
        (struct rp_pace_rule){.rate = c->body_rate, .grace_ms = c->rate_grace_ms};
    p->settings.send_pace =
        (struct rp_pace_rule){.rate = c->send_rate, .grace_ms = c->rate_grace_ms};
    for (struct rp_serve *s = p->serves; s; s = s->next) {
        for (uint32_t i = 0; i < c->listeners_n; i++) {
            if (rp_str_eq(c->listeners[i].text, s->text)) follow(s, &c->listeners[i]);
        }
    }
}

/* What the site says of names. */
static void adjust_dns(struct rp_proxy *p)
{
    const struct rp_conf *c = p->conf;
    struct rp_dns_options o = rp_dns_defaults;
    char *servers = rp_strdup_n(c->dns_servers.ptr, c->dns_servers.len);
    o.servers = *servers ? servers : NULL;
    o.ttl_least_ms = c->dns_ttl_least_ms;
    o.ttl_most_ms = c->dns_ttl_most_ms;
    o.absent_ms = c->dns_absent_ms;
    o.stale_ms = c->dns_stale_ms;
    o.timeout_ms = c->dns_timeout_ms;
    o.tries = (int)c->dns_tries;
    if (rp_dns_adjust(p->dns, &o) != RP_OK)
        rp_log(error, "resolver.servers cannot be used, the ones before stay servers=%s",
               rp_log_esc(c->dns_servers));
    rp_free(servers);
}

struct rp_proxy *rp_proxy_new(struct rp_loop *l, struct rp_mem *m, struct rp_conf *conf)
{
    struct rp_proxy *p = rp_alloc(sizeof(*p));
    p->loop = l;
    p->mem = m;
    p->conf = rp_conf_hold(conf);
    p->dns = rp_dns_new(l);
    adjust_dns(p);
    rp_pool_init(&p->stream_pool, sizeof(struct rp_stream), STREAMS_KEPT);
    p->pool = rp_connpool_new(l);
    p->access = rp_access_new(l);
    p->spill = rp_spill_new(l, &p->stats.spill);
    p->user = (struct rp_exchange_user){
        .open = open_exchange, .start = start_exchange, .wake = wake_exchange, .arg = p};
    p->up_limits = (struct rp_h1_limits){
        .head_bytes = UP_HEAD_BYTES, .uri_bytes = UP_HEAD_BYTES, .fields_n = UP_FIELDS};
    rp_random_seed(&p->dice);
    p->roster = p->roster_own = rp_roster_own(ROSTER_PLACES);
    (void)rp_groups_new(p, conf); /* found again by its conf */
    rp_splits_open(p, conf);
    rp_h2_downs_init(&p->h2_sessions, m, &p->settings, &p->user, &p->stats.h2);
    apply_settings(p);
    return p;
}

void rp_proxy_free(struct rp_proxy **where)
{
    struct rp_proxy *p = *where;
    if (!p) return;
    RP_CHECK(p->live == NULL && p->streams == NULL);
    p->freeing = true;
    rp_door_close(p);
    rp_tls_door_close(p);
    rp_tls_door_forget(p);
    rp_staples_free(p);
    while (p->serves) {
        struct rp_serve *s = p->serves;
        p->serves = s->next;
        if (s->listener) rp_listener_close(s->listener);
        if (s->udp) rp_udp_door_leave(s->udp); /* no session is left: it closes at once */
        drop_stream_conf(s);
        drop_hook_conf(s);
        rp_tls_server_drop(&s->tls);
        rp_free((void *)s->text.ptr);
        rp_free(s);
    }
    rp_h1_downs_close_idle(&p->sessions);
    rp_door_use(p, NULL, 0); /* what still lingers is the loop's */
    rp_h2_downs_abort(&p->h2_sessions);
    rp_h2_downs_fini(&p->h2_sessions);
    rp_lifecycle_drop_conf(p, p->conf);
    while (p->groups) {
        struct rp_groups *gs = p->groups;
        rp_groups_free(&gs);
    }
    rp_roster_free(&p->roster_own);
    rp_hedge_books_free(p);
    rp_coalescing_free(p);
    rp_splits_free(&p->splits_own);
    if (p->learned_own) rp_dict_free(&p->learned);
    rp_zone_free(&p->learned_own);
    rp_connpool_free(&p->pool);
    rp_access_free(&p->access);
    rp_spill_drop(&p->spill);
    rp_dns_free(&p->dns);
    rp_pool_fini(&p->stream_pool);
    rp_udp_free(p);
    rp_tls_door_free(p);
    for (uint32_t i = 0; i < p->slots_n; i++) rp_req_drop_slot(p->slots[i]);
    rp_free(p->slots);
    rp_free(p);
    *where = NULL;
}

void rp_proxy_flip(struct rp_proxy *p, struct rp_conf *conf)
{
    struct rp_conf *old = p->conf;
    if (old == conf) return;
    p->conf = rp_conf_hold(conf);
    adjust_dns(p);
    (void)rp_groups_new(p, conf); /* found again by its conf */
    rp_splits_open(p, conf);
    rp_tls_door_flip(p);
    apply_settings(p);
    rp_staples_follow(p);
    for (struct rp_req *r = p->live; r; r = r->next) {
        if (r->step == RP_STEP_TUNNEL) rp_tunnel_rehome(r);
    }
    rp_stream_rehome_all(p);
    rp_lifecycle_drop_conf(p, old);
}

/* ---- listening ---------------------------------------------------------------------------------------- */

void rp_server_speak(struct rp_serve *s, struct rp_conn *c)
{
    struct rp_proxy *p = s->proxy;
    const struct rp_tls *t = rp_conn_tls(c);
    if (s->relays) { /* never HTTP, also when the listener went while the client was greeted */
        if (s->stream && !(t && rp_tls_is_early(t))) rp_stream_open(s, c);
        else rp_conn_reset(c);
        return;
    }
    if (t && rp_str_eq(rp_tls_alpn(t), RP_STR("h2"))) {
        rp_h2_down_open(&p->h2_sessions, c, s, ++p->next_conn_id, NULL, RP_STR_NONE);
        return;
    }
    rp_h1_down_open(c, p->mem, &p->settings, &p->user, &p->sessions, s, ++p->next_conn_id);
}

void rp_proxy_set_tickets(struct rp_proxy *p, const struct rp_tls_tickets *tickets)
{
    if (tickets) p->tls.tickets = *tickets;
    else p->tls.tickets.ready = false;
}

void rp_server_begin(struct rp_serve *s, struct rp_conn *c)
{
    if (s->tls) rp_tls_door_open(s, c);
    else rp_server_speak(s, c);
}

static void on_accept(struct rp_listener *ln, struct rp_conn *c)
{
    struct rp_serve *s = rp_listener_owner(ln);
    s->proxy->stats.conns_accepted++;
    rp_door_open(s, c);
}

static struct rp_serve *serve_new(struct rp_proxy *p, const struct rp_conf_listener *which)
{
    struct rp_serve *s = rp_alloc(sizeof(*s));
    s->proxy = p;
    s->port = which->addr.port;
    int n = snprintf(s->port_line, sizeof s->port_line, "X-Forwarded-Port: %u\r\n", s->port);
    s->port_line_n = (uint8_t)n; /* five digits fit */
    s->text = rp_str_of(rp_strdup_n(which->text.ptr, which->text.len), which->text.len);
    return s;
}

/* e: whether its socket could be opened. */
static rp_err begin_serve(struct rp_serve *s, const struct rp_conf_listener *which, rp_err e)
{
    if (e != RP_OK) {
        rp_free((void *)s->text.ptr);
        rp_free(s);
        return e;
    }
    follow(s, which);
    s->next = s->proxy->serves;
    s->proxy->serves = s;
    return RP_OK;
}

rp_err rp_proxy_listen(struct rp_proxy *p, int fd, struct rp_conf_listener *which,
                       struct rp_listener **out)
{
    struct rp_serve *s = serve_new(p, which);
    rp_err e = rp_listener_open(p->loop, fd, on_accept, s, out);
    s->listener = e == RP_OK ? *out : NULL;
    return begin_serve(s, which, e);
}

struct rp_serve *rp_proxy_stand_in(struct rp_proxy *p, const struct rp_conf_listener *which)
{
    struct rp_serve *s = serve_new(p, which);
    RP_IGNORE(begin_serve(s, which, RP_OK)); /* no socket can fail */
    return s;
}

rp_err rp_proxy_listen_udp(struct rp_proxy *p, int fd, struct rp_conf_listener *which,
                           struct rp_udp_door **door)
{
    struct rp_serve *s = serve_new(p, which);
    rp_err e = rp_udp_door_open(s, fd, door);
    s->udp = e == RP_OK ? *door : NULL;
    return begin_serve(s, which, e);
}

void rp_proxy_unlisten_udp(struct rp_proxy *p, struct rp_udp_door *door)
{
    for (struct rp_serve *s = p->serves; s; s = s->next) {
        if (s->udp != door) continue;
        drop_stream_conf(s);
        rp_udp_door_leave(door);
        return;
    }
}

void rp_proxy_unlisten(struct rp_proxy *p, struct rp_listener *ln)
{
    for (struct rp_serve *s = p->serves; s; s = s->next) {
        if (s->listener != ln) continue;
        rp_listener_close(ln); /* its sessions still point to s */
        s->listener = NULL;
        drop_stream_conf(s);
        drop_hook_conf(s);
    }
}

/* ---- ending --------------------------------------------------------------------------------------------- */

void rp_server_check_drained(struct rp_proxy *p)
{
    if (!p->draining || p->live || p->streams || !p->on_drained) return;
    void (*done)(void *arg) = p->on_drained;
    p->on_drained = NULL;
    done(p->on_drained_arg);
}

void rp_proxy_drain(struct rp_proxy *p, void (*done)(void *arg), void *arg)
{
    p->draining = p->settings.draining = true;
    p->on_drained = done;
    p->on_drained_arg = arg;
    rp_door_close(p);
    rp_tls_door_close(p);
    rp_staples_stop(p);
    rp_h1_downs_close_idle(&p->sessions);
    rp_h2_downs_drain(&p->h2_sessions);
    rp_connpool_clear(p->pool);
    for (struct rp_req *r = p->live; r; r = r->next) {
        if (r->step == RP_STEP_TUNNEL) rp_req_wake(r, RP_WAKE_UP); /* it may say goodbye */
    }
    rp_server_check_drained(p);
}

void rp_proxy_abort_all(struct rp_proxy *p)
{
    p->draining = p->settings.draining = true;
    for (struct rp_req *r = p->live; r; r = r->next) rp_req_wake(r, RP_WAKE_STOP);
    rp_stream_abort_all(p);
    rp_door_close(p);
    rp_tls_door_close(p);
    rp_h1_downs_close_idle(&p->sessions);
    rp_h2_downs_abort(&p->h2_sessions);
}

void rp_proxy_set_files(struct rp_proxy *p, const int *fds, uint32_t n)
{
    rp_access_set_files(p->access, fds, n);
}

void rp_proxy_use_census(struct rp_proxy *p, struct rp_census *census, uint32_t worker)
{
    rp_door_use(p, census, worker);
}

void rp_proxy_beat(struct rp_proxy *p)
{
    uint32_t n = rp_loop_meter(p->loop)->conns_n;
    rp_staples_beat(p);
    rp_groups_beat(p);
    rp_guard_beat(p);
    p->stats.conns_active = n;
    p->stats.conns_idle = p->sessions.idle_n + p->h2_sessions.n - p->h2_sessions.busy_n;
    p->conns_peak = RP_MAX(p->conns_peak, n);
    if (p->conns_peak - n < RUSH || n > p->conns_peak / 2) return;
    p->conns_peak = n;
    rp_loop_give_back(p->loop);
}

static void dump_request(const struct rp_req *r, struct rp_buf *out)
{
    struct rp_loop *l = r->proxy->loop;
    bool began = r->start_ns != 0; /* else its head is still coming */
    rp_ms age =
        began ? (rp_loop_now_ns(l) - r->start_ns) / 1000000 : rp_loop_now(l) - r->x.opened_ms;
    const char *waits = r->waiting_for ? r->waiting_for : "";
    char ip[RP_ADDR_TEXT_BYTES + 1];
    struct rp_addr client = r->client;
    if (!began) rp_conn_peer(r->x.conn, &client);
    ip[rp_addr_put_ip(&client, ip)] = '\0';
    rp_buf_addf(out, "slot=%u step=%s waiting_for=\"%s\" age_ms=%llu conn=%llu ", r->slot,
                rp_step_name((enum rp_step)r->step), began ? waits : "request head",
                (unsigned long long)age, (unsigned long long)r->x.conn_id);
    if (r->x.stream_id) rp_buf_addf(out, "stream=%u ", r->x.stream_id);
    rp_buf_addf(out, "client=%s target=\"", ip);
    rp_buf_add_escaped(out, r->x.head.target);
    rp_buf_add(out, RP_STR("\"\n"));
}

void rp_proxy_dump(struct rp_proxy *p, struct rp_buf *out)
{
    for (const struct rp_req *r = p->live; r; r = r->next) dump_request(r, out);
    rp_h2_downs_dump(&p->h2_sessions, out);
    rp_connpool_dump(p->pool, out);
    rp_stream_dump(p, out);
    rp_tls_door_dump(p, out);
}
