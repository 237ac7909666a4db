/* SPDX-License-Identifier: MIT
 *
 * stream: see stream.h. The life; the relaying itself is stream_relay.c.
 */
#include "proxy/stream.h"

#include "base/log.h"
#include "net/proxy_header.h"
#include "proxy/eyeballs.h"
#include "proxy/hash_key.h"
#include "proxy/lifecycle.h"
#include "proxy/server.h"
#include "proxy/stream_route.h"
#include "proxy/upstream.h"

enum { ALERT_LINGER_MS = 1000, ALERT_LINGER_BYTES = 64 * 1024 };

/* ---- waking and waiting ---------------------------------------------------------------------- */

void rp_stream_wake(struct rp_stream *s, unsigned why)
{
    s->wakes |= why;
    if (s->to_up.bulk || s->to_down.bulk) rp_loop_defer_bulk(s->proxy->loop, &s->run);
    else rp_loop_defer(s->proxy->loop, &s->run);
}

static void on_event(struct rp_conn *c, unsigned events)
{
    struct rp_stream *s = rp_conn_face(c)->owner;
    if (events & RP_CONN_READABLE) *(c == s->down ? &s->to_up.ready : &s->to_down.ready) = true;
    rp_stream_wake(s, c == s->down ? RP_WAKE_BODY : RP_WAKE_UP);
}

static void on_timer(struct rp_timer *t)
{
    rp_stream_wake(RP_CONTAINER(rp_stream, timer, t), RP_WAKE_TIMEOUT);
}

/* What a state says: go on at once, or wait, or the stream is gone. */
enum verdict { GO, WAIT, OVER };

static enum verdict to(struct rp_stream *s, enum rp_stream_state next)
{
    s->state = (uint8_t)next;
    return GO;
}

/* As long as the same thing is waited for, the deadline stands. */
static enum verdict await(struct rp_stream *s, const char *what, rp_ms ms, rp_err failure)
{
    bool same = s->timer_means == failure && rp_timer_is_armed(&s->timer);
    s->waiting_for = what;
    s->timer_means = failure;
    if (!same) rp_timer_set(s->proxy->loop, &s->timer, ms);
    return WAIT;
}

static enum verdict finish(struct rp_stream *s, rp_err e)
{
    if (s->fail == RP_OK) s->fail = e;
    return to(s, RP_STREAM_LOG);
}

/* ---- HELLO ------------------------------------------------------------------------------------ */

static void drop_peek(struct rp_stream *s)
{
    rp_free(s->peek);
    s->peek = NULL;
}

/* A fatal alert in the clear tells a TLS client why (RFC 8446 §6.2, unrecognized_name). */
static enum verdict refuse_name(struct rp_stream *s)
{
    static const char ALERT[] = {21, 3, 3, 0, 2, 2, 112};
    rp_chain_add_const(&s->to_down.bytes, rp_str_of(ALERT, sizeof ALERT));
    RP_IGNORE(rp_conn_send(s->down, &s->to_down.bytes)); /* a courtesy: nothing depends on it */
    s->down_bytes = rp_conn_face(s->down)->out_bytes;
    rp_conn_linger(s->down, ALERT_LINGER_MS, ALERT_LINGER_BYTES);
    s->down = NULL;
    return finish(s, RP_E_NO_STREAM);
}

static enum verdict hello_read(struct rp_stream *s)
{
    const struct rp_tls_hello *h = &s->peek->hello;
    s->upstream = rp_stream_route_find(s->what, h->sni, h->alpn);
    s->sni_n = (uint8_t)h->sni.len;
    if (h->sni.len) memcpy(s->sni, h->sni.ptr, h->sni.len);
    return to(s, RP_STREAM_HOOK);
}

static enum verdict step_hello(struct rp_stream *s)
{
    rp_conn_resume(s->down);
    while (s->to_up.ready) {
        size_t got;
        struct rp_chunk *chunk = rp_chunk_new(s->proxy->mem, RP_CHUNK_SMALL);
        rp_err e = rp_conn_recv(s->down, chunk->data, chunk->room, &got);
        if (e == RP_OK) {
            chunk->used = (uint32_t)got;
            rp_chain_add(&s->to_up.bytes, chunk, chunk->data, got);
            s->to_up.ready = got == chunk->room;
            e = rp_tls_hello_feed(&s->peek->hello, rp_str_of(chunk->data, got));
        } else if (e == RP_AGAIN) {
            s->to_up.ready = false;
        } else {
            e = RP_E_CLIENT_GONE; /* also at a FIN: half a hello has no answer */
        }
        rp_chunk_drop(chunk);
        if (e == RP_OK) return hello_read(s);
        if (e < 0) return finish(s, e);
    }
    return await(s, "client hello", s->what->hello_ms, RP_E_HELLO_TIMEOUT);
}

/* ---- HOOK ------------------------------------------------------------------------------------- */

rp_err rp_stream_set_upstream(struct rp_stream *s, uint32_t index)
{
    if (s->state != RP_STREAM_HOOK) return RP_E_PHASE;
    if (index >= s->conf->upstreams_n) return RP_E_NOT_FOUND;
    struct rp_conf_upstream *u = s->conf->upstreams[index];
    if (u->balance == RP_BALANCE_HOOK || (s->udp && !rp_conf_takes_udp(u))) return RP_E_INVALID;
    s->upstream = u;
    return RP_OK;
}

rp_str rp_stream_alpn(const struct rp_stream *s)
{
    return s->peek ? s->peek->hello.alpn : RP_STR_NONE;
}

/* The one protocol that the client offers; of several the upstream's TLS chooses, unseen by us. */
static rp_str only_alpn(const struct rp_stream *s)
{
    rp_str rest = rp_stream_alpn(s), first;
    bool one = rp_tls_hello_alpn_next(&rest, &first) && rest.len == 0;
    return one ? first : RP_STR_NONE;
}

/* Before what was peeked at; now, while the ClientHello is at hand. */
static void put_proxy_header(struct rp_stream *s)
{
    char text[RP_PROXY_ADD_MOST];
    struct rp_addr to;
    struct rp_chain rest;
    uint8_t says = s->upstream->proxy_tlvs;
    struct rp_proxy_said said = {.crc32c = (says & RP_PROXY_SAYS_CRC) != 0};
    rp_conn_local(s->down, &to);
    if (says & RP_PROXY_SAYS_AUTHORITY) said.authority = rp_str_of(s->sni, s->sni_n);
    if (says & RP_PROXY_SAYS_ALPN) said.alpn = only_alpn(s);
    size_t n = rp_proxy_header_put(s->upstream->proxy_protocol, &s->client, &to, text);
    n = rp_proxy_header_add(text, n, &said);
    rp_chain_init(&rest, s->proxy->mem);
    rp_chain_move(&rest, &s->to_up.bytes, s->to_up.bytes.bytes);
    rp_chain_add_copy(&s->to_up.bytes, rp_str_of(text, n));
    s->greeting_n = (uint16_t)n;
    rp_chain_move(&s->to_up.bytes, &rest, rest.bytes);
}

/* The upstream stands. */
static enum verdict leave_hook(struct rp_stream *s)
{
    bool tls = s->peek != NULL;
    if (s->upstream && s->upstream->proxy_protocol) put_proxy_header(s);
    drop_peek(s);
    s->timer_means = RP_OK;
    rp_timer_clear(s->proxy->loop, &s->timer);
    if (!s->upstream) return tls ? refuse_name(s) : finish(s, RP_E_NO_STREAM);
    rp_str name = s->upstream->name;
    s->upstream_n = (uint8_t)RP_MIN(name.len, sizeof s->upstream_name);
    memcpy(s->upstream_name, name.ptr, s->upstream_n);
    s->pick.group = rp_groups_at(rp_groups_find(s->proxy, s->conf), s->upstream->index);
    s->pick.hash = rp_hash_key_client(s->proxy, s->upstream, &s->client);
    return to(s, RP_STREAM_PICK);
}

/* From here on nothing is read from the client until the upstream is connected. */
static enum verdict step_hook(struct rp_stream *s)
{
    rp_conn_pause(s->down);
    if (!s->what->connect_chain) return leave_hook(s);
    rp_err e = s->conf->hooks->run_stream(s, RP_STREAM_HOOK_CONNECT);
    if (e == RP_AGAIN) return await(s, "hook", s->conf->hook_wait_ms, RP_E_HOOK_TIMEOUT);
    return e == RP_OK ? leave_hook(s) : finish(s, e);
}

/* ---- PICK, CONNECT ---------------------------------------------------------------------------- */

static enum verdict step_pick(struct rp_stream *s)
{
    rp_err e = rp_upstream_pick(s->proxy, &s->pick);
    if (e == RP_AGAIN) return await(s, "upstream names", s->upstream->connect_ms, RP_E_UP_RESOLVE);
    if (e != RP_OK) return finish(s, s->tries ? s->try_fail : e); /* all were tried */
    s->peer_addr = *rp_connpool_addr(s->pick.pool_slot);
    s->tries++;
    return to(s, RP_STREAM_CONNECT);
}

/* why NULL: e says all. */
static void log_failure(struct rp_stream *s, rp_err e, const struct rp_addr *at, const char *why)
{
    char addr[RP_ADDR_TEXT_BYTES];
    (void)rp_addr_put(at, addr); /* NUL-terminated */
    rp_log(warn, "%s upstream=%s peer=%s try=%u error=\"%s\" listener=%s", rp_err_text(e),
           rp_log_esc(s->upstream->name), addr, s->tries, why ? why : rp_err_reason(e),
           rp_log_esc(s->serve->text));
    s->proxy->stats.up_failures++;
}

static enum verdict try_failed(struct rp_stream *s, rp_err e, int os)
{
    const char *why = s->up ? rp_conn_why(s->up) : os ? strerror(os) : NULL;
    log_failure(s, e, &s->peer_addr, why);
    s->try_fail = e;
    s->timer_means = RP_OK;
    rp_timer_clear(s->proxy->loop, &s->timer);
    if (s->up) rp_conn_close(s->up);
    s->up = NULL;
    rp_upstream_unpick(s->proxy, &s->pick, RP_PICK_DOWN);
    if (s->tries >= s->upstream->tries) return finish(s, e);
    s->proxy->stats.retries++;
    return to(s, RP_STREAM_PICK);
}

static enum verdict connected(struct rp_stream *s)
{
    rp_upstream_succeed(s->proxy, &s->pick);
    if (s->pick.group->peers_n > 1) rp_upstream_note_latency(s->proxy, &s->pick);
    s->connected_ns = rp_loop_now_ns(s->proxy->loop);
    s->relayed = true;
    if (rp_conn_tls(s->up)) rp_chain_consume(&s->to_up.bytes, s->greeting_n); /* it has gone */
    s->to_up.ready = s->to_down.ready = true; /* the first reads tell */
    return to(s, RP_STREAM_RELAY);
}

/* To an upstream with TLS the PROXY header goes before the handshake. It stays in front of the bytes
 * until a peer is reached. */
static void greet(struct rp_stream *s)
{
    char text[RP_PROXY_ADD_MOST];
    if (!s->greeting_n || !rp_conn_tls(s->up)) return;
    rp_chain_peek(&s->to_up.bytes, text, s->greeting_n);
    rp_conn_greet(s->up, rp_str_of(text, s->greeting_n));
}

static void on_race(void *arg)
{
    rp_stream_wake(arg, RP_WAKE_UP);
}

static void on_address_failed(void *arg, const struct rp_addr *addr, rp_err e, int os)
{
    log_failure(arg, e, addr, os ? strerror(os) : NULL);
}

static const struct rp_race_owner RACE = {.wake = on_race, .failed = on_address_failed};

static rp_ms connect_ms(const struct rp_stream *s)
{
    return s->what->connect_ms ? s->what->connect_ms : s->upstream->connect_ms;
}

/* RP_OK: s->up is begun, or even connected already; RP_AGAIN: several addresses are being tried. */
static rp_err begin_connect(struct rp_stream *s, struct rp_conn_fail *fail)
{
    struct rp_loop *loop = s->proxy->loop;
    if (s->pick.race) return rp_race_look(&s->pick, &s->up, fail);
    if (rp_race_is_wanted(s->proxy, &s->pick)) {
        rp_err e = rp_race_begin(s->proxy, &s->pick, connect_ms(s), &RACE, s, fail);
        return e == RP_OK ? RP_AGAIN : e;
    }
    s->proxy->stats.up_connects++;
    return rp_conn_connect(loop, &s->peer_addr, &s->up, fail);
}

static enum verdict step_connect(struct rp_stream *s)
{
    rp_ms ms = connect_ms(s);
    if (!s->up) {
        struct rp_conn_fail fail = {0};
        rp_err e = begin_connect(s, &fail);
        s->peer_addr = *rp_connpool_addr(s->pick.pool_slot);
        if (e == RP_AGAIN) return await(s, "upstream connect", ms, RP_E_UP_CONNECT_TIMEOUT);
        if (e != RP_OK) {
            s->up = NULL;
            return try_failed(s, e, fail.os);
        }
        rp_conn_face(s->up)->owner = s;
        rp_conn_face(s->up)->on_event = on_event;
        rp_upstream_dress(&s->pick, s->up);
        greet(s);
    }
    rp_err e = rp_conn_finish_connect(s->up);
    if (e == RP_AGAIN) return await(s, "upstream connect", ms, RP_E_UP_CONNECT_TIMEOUT);
    return e == RP_OK ? connected(s) : try_failed(s, e, rp_conn_face(s->up)->fail.os);
}

/* ---- RELAY ------------------------------------------------------------------------------------ */

static enum verdict step_relay(struct rp_stream *s)
{
    rp_err e = rp_stream_relay(s);
    if (e != RP_AGAIN) return finish(s, e);
    s->waiting_for = "bytes";
    s->timer_means = RP_E_IDLE_TIMEOUT;
    rp_timer_set(s->proxy->loop, &s->timer, s->idle_ms); /* each time: something moved */
    return WAIT;
}

/* What the same listener does in a generation. */
static const struct rp_conf_stream *same_stream(const struct rp_conf *c, rp_str listener)
{
    for (uint32_t i = 0; i < c->listeners_n; i++)
        if (rp_str_eq(c->listeners[i].text, listener)) return c->listeners[i].stream;
    return NULL;
}

static void rehome(struct rp_stream *s)
{
    struct rp_conf *old = s->conf, *fresh = s->proxy->conf;
    if (s->state != RP_STREAM_RELAY || old == fresh) return;
    if (s->script && old->hooks) old->hooks->forget_stream(s);
    rp_upstream_rehome(s->proxy, &s->pick, fresh);
    s->conf = rp_conf_hold(fresh);
    s->what = same_stream(fresh, s->serve->text);
    s->upstream = NULL;
    rp_lifecycle_drop_conf(s->proxy, old);
}

void rp_stream_rehome_all(struct rp_proxy *p)
{
    for (struct rp_stream *s = p->streams; s; s = s->next) rehome(s);
}

/* ---- LOG -------------------------------------------------------------------------------------- */

void rp_stream_end(struct rp_stream *s)
{
    struct rp_proxy *p = s->proxy;
    struct rp_conf *c = s->conf;
    if (s->script && c->hooks) c->hooks->forget_stream(s);
    rp_timer_clear(p->loop, &s->timer);
    rp_loop_undefer(p->loop, &s->run);
    if (s->prev) s->prev->next = s->next;
    else p->streams = s->next;
    if (s->next) s->next->prev = s->prev;
    p->stats.streams_active--;
    s->magic = 0;
    rp_lifecycle_drop_conf(p, c);
    if (p->draining) rp_server_check_drained(p);
}

static void stream_free(struct rp_stream *s)
{
    struct rp_proxy *p = s->proxy;
    rp_stream_end(s);
    rp_pool_put(&p->stream_pool, s);
}

static void end_relay(struct rp_stream *s)
{
    struct rp_proxy_stats *stats = &s->proxy->stats;
    if (s->end_ns) return;
    s->end_ns = rp_loop_now_ns(s->proxy->loop);
    s->timer_means = RP_OK;
    rp_timer_clear(s->proxy->loop, &s->timer);
    rp_stream_close(s);
    rp_upstream_unpick(s->proxy, &s->pick, RP_PICK_WELL);
    drop_peek(s);
    stats->bytes_in += s->up_bytes;
    stats->bytes_out += s->down_bytes;
}

static enum verdict step_log(struct rp_stream *s)
{
    end_relay(s);
    if (s->what && s->what->log_chain) {
        rp_err e = s->conf->hooks->run_stream(s, RP_STREAM_HOOK_LOG);
        if (e == RP_AGAIN) return await(s, "hook", s->conf->hook_wait_ms, RP_E_HOOK_TIMEOUT);
    }
    if (s->access_log) rp_stream_log(s);
    stream_free(s);
    return OVER;
}

/* ---- the loop --------------------------------------------------------------------------------- */

/* Things that end a stream whatever it waits for. */
static enum verdict handle_wakes(struct rp_stream *s, unsigned wakes)
{
    bool stop = (wakes & RP_WAKE_STOP) != 0;
    bool timeout = (wakes & RP_WAKE_TIMEOUT) && s->timer_means != RP_OK;
    if (!stop && !timeout) return GO;
    rp_err means = stop ? RP_E_DRAINING : s->timer_means;
    if (s->task) s->conf->hooks->cancel_stream(s);
    s->timer_means = RP_OK;
    if (s->state ==
        RP_STREAM_LOG) { /* a log hook waited too long: the line is written without it */
        if (s->access_log) rp_stream_log(s);
        stream_free(s);
        return OVER;
    }
    if (!stop && s->state == RP_STREAM_CONNECT) {
        rp_race_give_up(&s->pick);
        s->peer_addr = *rp_connpool_addr(s->pick.pool_slot);
        return try_failed(s, means, 0);
    }
    return finish(s, means);
}

static enum verdict run_state(struct rp_stream *s)
{
    switch ((enum rp_stream_state)s->state) {
    case RP_STREAM_HELLO: return step_hello(s);
    case RP_STREAM_HOOK: return step_hook(s);
    case RP_STREAM_PICK: return step_pick(s);
    case RP_STREAM_CONNECT: return step_connect(s);
    case RP_STREAM_RELAY: return step_relay(s);
    case RP_STREAM_LOG: return step_log(s);
    }
    RP_CHECK(false);
    return OVER;
}

static void run(struct rp_defer *d)
{
    struct rp_stream *s = RP_CONTAINER(rp_stream, run, d);
    unsigned wakes = s->wakes;
    s->wakes = 0;
    enum verdict v = handle_wakes(s, wakes);
    if (v == GO) s->waiting_for = NULL;
    while (v == GO) v = run_state(s);
}

/* ---- birth and death -------------------------------------------------------------------------- */

static void start_peek(struct rp_stream *s)
{
    s->peek = rp_alloc(sizeof *s->peek);
    rp_tls_hello_init(&s->peek->hello, s->peek->body);
}

void rp_stream_begin(struct rp_stream *s, struct rp_serve *serve)
{
    struct rp_proxy *p = serve->proxy;
    s->magic = RP_STREAM_MAGIC;
    s->proxy = p;
    s->serve = serve;
    s->conf = rp_conf_hold(serve->stream_conf);
    s->what = serve->stream;
    s->upstream = s->what->upstream;
    s->idle_ms = s->what->idle_ms;
    s->access_log = s->what->access_log;
    s->state = RP_STREAM_HOOK;
    s->start_ns = rp_loop_now_ns(p->loop);
    rp_timer_init(&s->timer, on_timer);
    s->next = p->streams;
    if (s->next) s->next->prev = s;
    p->streams = s;
    p->stats.streams++;
    p->stats.streams_active++;
}

/* The TLS was ended here: what a ClientHello tells is known, and it chooses as one would. */
static void know_name(struct rp_stream *s, const struct rp_tls *t)
{
    rp_str sni = rp_tls_sni(t);
    if (rp_tls_hello_is_name(sni) && sni.len <= sizeof s->sni) s->sni_n = (uint8_t)sni.len;
    for (uint8_t i = 0; i < s->sni_n; i++) s->sni[i] = rp_lower(sni.ptr[i]);
    rp_str name = s->sni_n ? rp_str_of(s->sni, s->sni_n) : RP_STR_NONE;
    if (s->what->peek) s->upstream = rp_stream_route_find(s->what, name, RP_STR_NONE);
}

void rp_stream_open(struct rp_serve *serve, struct rp_conn *c)
{
    struct rp_proxy *p = serve->proxy;
    const struct rp_tls *t = rp_conn_tls(c);
    struct rp_stream *s = rp_pool_get(&p->stream_pool);
    memset(s, 0, sizeof *s);
    rp_stream_begin(s, serve);
    bool peek = s->what->peek && !t;
    if (peek) s->state = RP_STREAM_HELLO;
    s->down = c;
    s->run.run = run;
    rp_conn_peer(c, &s->client);
    rp_chain_init(&s->to_up.bytes, p->mem);
    rp_chain_init(&s->to_down.bytes, p->mem);
    if (peek) start_peek(s);
    if (t) know_name(s, t);
    rp_conn_face(c)->owner = s;
    rp_conn_face(c)->on_event = on_event;
    rp_stream_wake(s, RP_WAKE_START);
}

void rp_stream_wake_picking(struct rp_proxy *p)
{
    for (struct rp_stream *s = p->streams; s; s = s->next)
        if (s->state == RP_STREAM_PICK) rp_stream_wake(s, RP_WAKE_UP);
}

void rp_stream_abort_all(struct rp_proxy *p)
{
    for (struct rp_stream *s = p->streams; s; s = s->next) rp_stream_wake(s, RP_WAKE_STOP);
}

uint64_t rp_stream_oldest(const struct rp_proxy *p)
{
    uint64_t oldest = UINT64_MAX;
    for (const struct rp_stream *s = p->streams; s; s = s->next)
        oldest = RP_MIN(oldest, (uint64_t)s->conf->generation);
    return oldest;
}

void rp_stream_dump(const struct rp_proxy *p, struct rp_buf *out)
{
    static const char *const NAMES[] = {"HELLO", "HOOK", "PICK", "CONNECT", "RELAY", "LOG"};
    for (const struct rp_stream *s = p->streams; s; s = s->next) {
        char ip[RP_ADDR_TEXT_BYTES + 1];
        ip[rp_addr_put_ip(&s->client, ip)] = '\0';
        rp_ns age = rp_loop_now_ns(p->loop) - s->start_ns;
        rp_buf_addf(out, "stream state=%s waiting_for=\"%s\" age_ms=%llu client=%s listener=\"",
                    NAMES[s->state], s->waiting_for ? s->waiting_for : "",
                    (unsigned long long)(age / 1000000), ip);
        rp_buf_add_escaped(out, s->serve->text);
        rp_buf_add(out, RP_STR("\"\n"));
    }
}
