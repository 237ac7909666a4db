/* SPDX-License-Identifier: MIT
 *
 * stream_udp: a session's life: see stream_udp.h. Its states are a stream's without HELLO and
 * CONNECT: HOOK, PICK, RELAY, LOG. Datagrams are passed on where they are found, in the callbacks of
 * the two sockets; whatever changes the state goes through rp_stream_wake, as for streams.
 */
#include "proxy/stream_udp.h"

#include "base/log.h"
#include "proxy/hash_key.h"
#include "proxy/lifecycle.h"
#include "proxy/upstream.h"

enum {
    TURNS = 4,                         /* batches of answers before others get their turn */
    HELD_MOST = 8,                     /* datagrams of one session that wait */
    COPY_BYTES = 4096,                 /* larger ones are not copied for a second peer */
    HELD_BYTES_MOST = 8 * 1024 * 1024, /* of one worker; a forged flood cannot make more wait */
    COPIES_MOST = HELD_BYTES_MOST / 2, /* copies leave room for what has not been sent yet */
    COPY_MS = 2000,                    /* a refusal has come by then, or will not come */
    SAY_MS = 1000,                     /* between two lines about peers that failed */
    SHUN_MS = 1000, /* a client that was refused is asked about again after this long */
};

static struct rp_udp_session *session_of(struct rp_stream *s)
{
    return RP_CONTAINER(rp_udp_session, s, s);
}

uint64_t rp_stream_datagrams(const struct rp_stream *s, bool up)
{
    const struct rp_udp_session *u = (const struct rp_udp_session *)(const void *)s;
    if (!s->udp) return 0;
    return up ? u->up_n : u->down_n;
}

/* ---- datagrams that wait --------------------------------------------------------------------- */

static bool hold(struct rp_udp_session *u, rp_str bytes)
{
    struct rp_udp *udp = u->s.proxy->udp;
    if (u->held_n == HELD_MOST || udp->held_bytes + bytes.len > HELD_BYTES_MOST) return false;
    struct rp_udp_held *h = rp_alloc(sizeof *h + bytes.len);
    h->len = bytes.len;
    if (bytes.len) memcpy(h->bytes, bytes.ptr, bytes.len);
    *u->held_end = h;
    u->held_end = &h->next;
    u->held_n++;
    udp->held_bytes += bytes.len;
    return true;
}

static void hold_all(struct rp_udp_session *u, const rp_str *list, uint32_t n)
{
    uint32_t held = 0;
    while (held < n && hold(u, list[held])) held++;
    if (held < n) rp_udp_door_drop(u->door, n - held, "too many wait");
}

static void drop_held(struct rp_udp_session *u)
{
    while (u->held) {
        struct rp_udp_held *h = u->held;
        u->held = h->next;
        u->s.proxy->udp->held_bytes -= h->len;
        rp_free(h);
    }
    u->held_end = &u->held;
    u->held_n = 0;
}

/* ---- passing on ------------------------------------------------------------------------------ */

static void touch(struct rp_udp_session *u)
{
    u->s.timer_means = RP_E_IDLE_TIMEOUT;
    rp_timer_set(u->s.proxy->loop, &u->s.timer, u->s.idle_ms);
}

static void note_broken(struct rp_udp_session *u, int os)
{
    u->broken = true;
    u->os = os;
    rp_stream_wake(&u->s, RP_WAKE_UP);
}

/* To the peer. How many of the list are dealt with; fewer than n: the socket broke. */
static uint32_t pass_up(struct rp_udp_session *u, const rp_str *list, uint32_t n)
{
    struct rp_dgram_sent sent;
    rp_err e = rp_dgram_send(u->up, NULL, NULL, list, n, &sent);
    u->up_n += sent.sent_n;
    u->owed_n += (uint64_t)u->responses * sent.sent_n;
    u->s.up_bytes += sent.sent_bytes;
    if (sent.dropped_n) rp_udp_door_drop(u->door, sent.dropped_n, strerror(sent.os));
    if (e != RP_OK) note_broken(u, sent.os);
    return sent.sent_n + sent.dropped_n;
}

static bool may_copy(const struct rp_udp_session *u)
{
    rp_ns age = rp_loop_now_ns(u->s.proxy->loop) - u->s.connected_ns;
    return u->run_tries && age < (rp_ns)COPY_MS * 1000000 &&
           u->s.proxy->udp->held_bytes < COPIES_MOST;
}

/* Should nobody listen at this peer, another one gets them: for as many as fit. */
static void copy_some(struct rp_udp_session *u, const rp_str *list, uint32_t n)
{
    if (!may_copy(u)) {
        drop_held(u);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        if (list[i].len <= COPY_BYTES && !hold(u, list[i])) return;
}

/* It has had its share: its client's next datagram begins another session, with a peer of its own.
 * This one waits for answers still. */
static void retire(struct rp_udp_session *u)
{
    rp_flows_remove(&u->door->flows, &u->flow);
}

void rp_udp_session_take(struct rp_udp_session *u, const rp_str *list, uint32_t n)
{
    if (u->refused) {
        u->s.proxy->stats.udp_dropped += n;
        return;
    }
    if (u->down_n > 0) rp_udp_door_unlist(u); /* it got our answers: the address is its own */
    if (u->s.state != RP_STREAM_RELAY || u->broken || !u->up) {
        hold_all(u, list, n);
        if (u->s.state == RP_STREAM_RELAY) rp_stream_wake(&u->s, RP_WAKE_BODY);
        return;
    }
    uint32_t done = pass_up(u, list, n);
    copy_some(u, list, done);
    if (done < n) hold_all(u, list + done, n - done);
    touch(u);
    if (u->requests && u->up_n >= u->requests) retire(u);
}

/* The first answer since the session began or its peer failed. */
static void answered(struct rp_udp_session *u)
{
    const struct rp_peer *peer = u->s.pick.peer;
    rp_upstream_succeed(u->s.proxy, &u->s.pick);
    if (peer && peer->group->peers_n > 1) rp_upstream_note_latency(u->s.proxy, &u->s.pick);
    u->run_tries = 0;
    memset(u->s.pick.tried, 0, sizeof u->s.pick.tried);
    drop_held(u);
}

/* To the client. */
static void pass_down(struct rp_udp_session *u, const struct rp_dgram_batch *b)
{
    struct rp_proxy *p = u->s.proxy;
    struct rp_dgram_sent sent;
    rp_str list[RP_DGRAM_BATCH];
    for (uint32_t i = 0; i < b->n; i++) list[i] = b->items[i].bytes;
    /* It fails on connected sockets only. */
    RP_IGNORE(rp_dgram_send(u->door->socket, &u->s.client, &u->local, list, b->n, &sent));
    u->down_n += b->n; /* what the peer answered; the client may not have got it */
    u->owed_n -= RP_MIN(u->owed_n, (uint64_t)b->n);
    u->s.down_bytes += sent.sent_bytes;
    p->stats.udp_out += sent.sent_n;
    if (sent.dropped_n) rp_udp_door_drop(u->door, sent.dropped_n, strerror(sent.os));
}

static bool is_complete(const struct rp_udp_session *u)
{
    return u->responses && u->down_n > 0 && u->owed_n == 0;
}

static void on_answer(struct rp_dgram *up)
{
    struct rp_udp_session *u = rp_dgram_owner(up);
    struct rp_dgram_batch *b = u->s.proxy->udp->batch;
    int os = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        rp_err e = rp_dgram_recv(up, b, &os);
        if (e < 0) note_broken(u, os);
        if (e != RP_OK) return;
        if (u->held || u->run_tries) answered(u);
        pass_down(u, b);
        touch(u);
        if (is_complete(u)) rp_stream_wake(&u->s, RP_WAKE_BODY);
        if (b->n < RP_DGRAM_BATCH) return;
    }
}

/* ---- states ---------------------------------------------------------------------------------- */

enum verdict { GO, WAIT, OVER };

static enum verdict to(struct rp_udp_session *u, enum rp_stream_state next)
{
    u->s.state = (uint8_t)next;
    return GO;
}

static enum verdict finish(struct rp_udp_session *u, rp_err e)
{
    if (u->s.fail == RP_OK) u->s.fail = e;
    return to(u, RP_STREAM_LOG);
}

/* As long as the same thing is waited for, the deadline stands. */
static enum verdict await(struct rp_udp_session *u, const char *what, rp_ms ms, rp_err failure)
{
    struct rp_stream *s = &u->s;
    bool same = s->timer_means == failure && rp_timer_is_armed(&s->timer);
    s->waiting_for = what;
    s->timer_means = failure;
    if (!same) rp_timer_set(s->proxy->loop, &s->timer, ms);
    return WAIT;
}

/* Datagrams go on coming. The session stays for a moment to swallow them: hooks and the log then
 * cost a client that is refused once a second what they would cost for each datagram. */
static enum verdict refuse(struct rp_udp_session *u, rp_err e)
{
    u->refused = true;
    u->s.proxy->stats.udp_dropped += u->held_n;
    drop_held(u);
    u->s.waiting_for = "the end of a refusal";
    u->s.timer_means = e;
    rp_timer_set(u->s.proxy->loop, &u->s.timer, SHUN_MS);
    (void)to(u, RP_STREAM_RELAY); /* it waits there */
    return WAIT;
}

/* The upstream stands. */
static enum verdict leave_hook(struct rp_udp_session *u)
{
    struct rp_stream *s = &u->s;
    if (!s->upstream) return refuse(u, RP_E_NO_STREAM);
    rp_str name = s->upstream->name;
    s->upstream_n = (uint8_t)RP_MIN(name.len, sizeof s->upstream_name);
    memcpy(s->upstream_name, name.ptr, s->upstream_n);
    s->pick.group = rp_groups_at(rp_groups_find(s->proxy, s->conf), s->upstream->index);
    s->pick.hash = rp_hash_key_client(s->proxy, s->upstream, &s->client);
    return to(u, RP_STREAM_PICK);
}

static enum verdict step_hook(struct rp_udp_session *u)
{
    struct rp_stream *s = &u->s;
    if (!s->what->connect_chain) return leave_hook(u);
    rp_err e = s->conf->hooks->run_stream(s, RP_STREAM_HOOK_CONNECT);
    if (e == RP_AGAIN) return await(u, "hook", s->conf->hook_wait_ms, RP_E_HOOK_TIMEOUT);
    return e == RP_OK ? leave_hook(u) : refuse(u, e);
}

/* ---- PICK ------------------------------------------------------------------------------------ */

static void close_up(struct rp_udp_session *u, bool failed)
{
    rp_dgram_close(u->up);
    u->up = NULL;
    u->broken = false;
    rp_upstream_unpick(u->s.proxy, &u->s.pick, failed ? RP_PICK_DOWN : RP_PICK_WELL);
}

/* With a forged sender each datagram is a session that fails: a line a second is enough. */
static void say_failed(struct rp_udp_session *u, rp_err e, int os)
{
    const struct rp_stream *s = &u->s;
    struct rp_udp_door *door = u->door;
    rp_ms now = rp_loop_now(s->proxy->loop);
    char addr[RP_ADDR_TEXT_BYTES];
    door->failed_n++;
    if (door->failed_ms && now - door->failed_ms < SAY_MS) return;
    (void)rp_addr_put(&s->peer_addr, addr); /* NUL-terminated */
    rp_log(warn, "%s upstream=%s peer=%s try=%u error=\"%s\" listener=%s failed_n=%llu",
           rp_err_text(e), rp_log_esc(rp_str_of(s->upstream_name, s->upstream_n)), addr,
           u->run_tries, os ? strerror(os) : rp_err_reason(e), rp_log_esc(s->serve->text),
           (unsigned long long)door->failed_n);
    door->failed_ms = now;
    door->failed_n = 0;
}

static enum verdict try_failed(struct rp_udp_session *u, rp_err e, int os)
{
    struct rp_stream *s = &u->s;
    say_failed(u, e, os);
    s->proxy->stats.up_failures++;
    s->try_fail = e;
    u->owed_n = 0;
    close_up(u, true);
    if (!s->upstream || u->run_tries >= s->upstream->tries) return finish(u, e);
    if (!u->held) return to(u, RP_STREAM_RELAY); /* the next datagram finds another peer */
    s->proxy->stats.retries++;
    return to(u, RP_STREAM_PICK);
}

/* What waited goes out, and stays until an answer comes. */
static enum verdict send_held(struct rp_udp_session *u)
{
    rp_str list[HELD_MOST];
    uint32_t n = 0;
    for (const struct rp_udp_held *h = u->held; h; h = h->next)
        list[n++] = rp_str_of(h->bytes, h->len);
    uint32_t done = n ? pass_up(u, list, n) : 0;
    if (done < n) return try_failed(u, RP_E_UP_CONNECT, u->os);
    if (!may_copy(u)) drop_held(u);
    if (u->requests && u->up_n >= u->requests) retire(u);
    touch(u);
    return to(u, RP_STREAM_RELAY);
}

static enum verdict step_pick(struct rp_udp_session *u)
{
    struct rp_stream *s = &u->s;
    int os = 0;
    if (!s->upstream) return finish(u, s->try_fail); /* a reload took it away */
    rp_err e = rp_upstream_pick(s->proxy, &s->pick);
    if (e == RP_AGAIN) return await(u, "upstream names", s->upstream->connect_ms, RP_E_UP_RESOLVE);
    if (e != RP_OK) return finish(u, u->run_tries ? s->try_fail : e); /* all were tried */
    s->peer_addr = *rp_connpool_addr(s->pick.pool_slot);
    if (s->tries < UINT8_MAX) s->tries++;
    u->run_tries++;
    s->proxy->stats.up_connects++;
    e = rp_dgram_connect(s->proxy->loop, &s->peer_addr, on_answer, u, &u->up, &os);
    if (e == RP_E_UP_CONNECT) return try_failed(u, e, os);
    if (e != RP_OK) { /* no fault of the peer */
        rp_udp_door_drop(u->door, u->held_n, strerror(os));
        return finish(u, e);
    }
    s->connected_ns = rp_loop_now_ns(s->proxy->loop);
    s->relayed = true;
    return send_held(u);
}

/* ---- RELAY, LOG ------------------------------------------------------------------------------ */

static enum verdict step_relay(struct rp_udp_session *u)
{
    if (u->refused) return WAIT;
    if (u->broken) return try_failed(u, RP_E_UP_CONNECT, u->os);
    if (!u->up && u->held) return to(u, RP_STREAM_PICK);
    if (is_complete(u)) return finish(u, RP_OK);
    u->s.waiting_for = "datagrams";
    u->s.timer_means = RP_E_IDLE_TIMEOUT; /* its end is that of the last datagram */
    if (!rp_timer_is_armed(&u->s.timer)) touch(u);
    return WAIT;
}

static void end_relay(struct rp_udp_session *u)
{
    struct rp_stream *s = &u->s;
    if (s->end_ns) return;
    s->end_ns = rp_loop_now_ns(s->proxy->loop);
    s->timer_means = RP_OK;
    rp_timer_clear(s->proxy->loop, &s->timer);
    rp_flows_remove(&u->door->flows, &u->flow);
    rp_udp_door_unlist(u);
    close_up(u, s->fail == RP_E_NO_ANSWER);
    drop_held(u);
    s->proxy->stats.bytes_in += s->up_bytes;
    s->proxy->stats.bytes_out += s->down_bytes;
}

static enum verdict session_free(struct rp_udp_session *u)
{
    struct rp_udp_door *door = u->door;
    struct rp_proxy *p = u->s.proxy;
    rp_udp_door_forget(door); /* before the proxy may hear that it is drained */
    rp_stream_end(&u->s);
    rp_pool_put(&p->udp->pool, u);
    return OVER;
}

static enum verdict step_log(struct rp_udp_session *u)
{
    struct rp_stream *s = &u->s;
    end_relay(u);
    if (s->what && s->what->log_chain) {
        rp_err e = s->conf->hooks->run_stream(s, RP_STREAM_HOOK_LOG);
        if (e == RP_AGAIN) return await(u, "hook", s->conf->hook_wait_ms, RP_E_HOOK_TIMEOUT);
    }
    if (s->access_log) rp_stream_log(s);
    return session_free(u);
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* Silence is how sessions end. Where answers were expected and none came, it is the peer's fault. */
static rp_err meaning(const struct rp_udp_session *u, bool stop)
{
    if (u->refused) return u->s.timer_means;
    if (stop) return u->evicted ? RP_E_EVICTED : RP_E_DRAINING;
    if (u->s.timer_means != RP_E_IDLE_TIMEOUT) return u->s.timer_means;
    return u->responses && u->up_n && u->down_n == 0 ? RP_E_NO_ANSWER : RP_OK;
}

/* Things that end a session whatever it waits for. */
static enum verdict handle_wakes(struct rp_udp_session *u, unsigned wakes)
{
    struct rp_stream *s = &u->s;
    bool stop = (wakes & RP_WAKE_STOP) != 0;
    bool timeout = (wakes & RP_WAKE_TIMEOUT) && s->timer_means != RP_OK;
    timeout &= !rp_timer_is_armed(&s->timer); /* a datagram came in the same tick */
    if (!stop && !timeout) return GO;
    rp_err means = meaning(u, stop);
    if (s->task) s->conf->hooks->cancel_stream(s);
    s->timer_means = RP_OK;
    if (s->state ==
        RP_STREAM_LOG) { /* a log hook waited too long: the line is written without it */
        if (s->access_log) rp_stream_log(s);
        return session_free(u);
    }
    return finish(u, means);
}

static enum verdict run_state(struct rp_udp_session *u)
{
    switch ((enum rp_stream_state)u->s.state) {
    case RP_STREAM_HOOK: return step_hook(u);
    case RP_STREAM_PICK: return step_pick(u);
    case RP_STREAM_RELAY: return step_relay(u);
    case RP_STREAM_LOG: return step_log(u);
    case RP_STREAM_HELLO:
    case RP_STREAM_CONNECT: break; /* datagrams need neither */
    }
    RP_CHECK(false);
    return OVER;
}

static void run(struct rp_defer *d)
{
    struct rp_stream *s = RP_CONTAINER(rp_stream, run, d);
    struct rp_udp_session *u = session_of(s);
    unsigned wakes = s->wakes;
    s->wakes = 0;
    enum verdict v = handle_wakes(u, wakes);
    if (v == GO) s->waiting_for = NULL;
    while (v == GO) v = run_state(u);
}

struct rp_udp_session *rp_udp_session_open(struct rp_udp_door *door, const struct rp_flow_key *key,
                                           const struct rp_dgram_item *first)
{
    struct rp_udp *udp = door->serve->proxy->udp;
    struct rp_udp_session *u = rp_pool_get(&udp->pool);
    memset(u, 0, sizeof *u);
    rp_stream_begin(&u->s, door->serve);
    u->s.udp = true;
    u->s.run.run = run;
    u->s.client = first->from;
    u->s.idle_ms = u->s.what->udp_idle_ms;
    u->local = first->local;
    u->door = door;
    u->held_end = &u->held;
    u->responses = u->s.what->udp_responses;
    u->requests = u->s.what->udp_requests;
    u->flow.key = *key;
    rp_flows_add(&door->flows, &u->flow);
    rp_udp_door_list(u);
    door->sessions_n++;
    udp->sessions_n++;
    rp_stream_wake(&u->s, RP_WAKE_START);
    return u;
}
