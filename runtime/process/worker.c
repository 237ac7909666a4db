/* SPDX-License-Identifier: MIT
 *
 * worker: see worker.h. What comes over the channel is worker_orders.c.
 */
#include "process/worker.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "process/worker_in.h"
#include "proxy/access.h"
#include "proxy/split.h"
#include "proxy/staples.h"
#include "proxy/stream.h"
#include "script/host.h"

enum {
    BEAT_MS = 1000,       /* heartbeat, counters */
    SETTLE_MS = 250,      /* clients accepted last, and idle ones, hear "close" with an answer */
    ABORT_MS = 1000,      /* requests get this long to end after they were aborted */
    STOP_HOOKS_MS = 2000, /* stop hooks of a fast stop */
    SAY_TRIES = 10,       /* of a word to the master ... */
    SAY_WAIT_MS = 100,    /* ... with so much time for room between them */
};

/* ---- heartbeat ----------------------------------------------------------------------------- */

/* Breadcrumb names that only ended generations used may be taken again. */
static void forget_old_names(struct rp_worker *w)
{
    uint64_t oldest = w->proxy->conf->generation;
    for (const struct rp_req *r = w->proxy->live; r; r = r->next)
        if (r->conf) oldest = RP_MIN(oldest, r->conf->generation);
    oldest = RP_MIN(oldest, rp_stream_oldest(w->proxy));
    if (oldest == w->oldest) return;
    w->oldest = oldest;
    rp_crumb_retire(w->in.crumbs, w->in.worker, oldest);
}

/* May this ticket bring early data? Asked during handshakes. */
static bool is_first(void *arg, const uint8_t *id)
{
    struct rp_worker *w = arg;
    bool first = rp_once_take(w->in.once, id, rp_os_now_ms(), (uint64_t)rp_clock_wall());
    if (!first) w->proxy->stats.tls_early_refused++;
    return first;
}

static void take_keys(struct rp_worker *w)
{
    struct rp_tls_tickets t = {.ready = true, .is_first = is_first, .arg = w};
    uint8_t keys[RP_KEYRING_KEYS][RP_KEYRING_KEY_BYTES];
    RP_CHECK(sizeof keys == sizeof t.keys);
    if (!rp_keyring_read(w->in.keyring, &w->keys_version, keys)) return;
    memcpy(t.keys, keys, sizeof keys);
    rp_proxy_set_tickets(w->proxy, &t);
    explicit_bzero(keys, sizeof keys);
    explicit_bzero(&t, sizeof t);
}

/* What the script layer would like the master to do. */
static void ask_master(struct rp_worker *w)
{
    struct rp_proxy_wishes *wish = &w->proxy->wishes;
    if (w->state != RP_WORKER_SERVING) return;
    if (wish->successor) rp_worker_say(w, RP_SAY_WORN, NULL, RP_STR_NONE);
    if (wish->restore) rp_worker_say(w, RP_SAY_RESTORE, NULL, rp_str_z(wish->plugin));
    wish->successor = wish->restore = false;
}

static void beat(struct rp_worker *w)
{
    rp_crumb_tick(w->page, rp_os_now_ms());
    if (!w->proxy) return;
    take_keys(w);
    rp_proxy_beat(w->proxy);
    rp_stats_publish(w->in.stats, w->counts, &w->proxy->stats, &w->published);
    ask_master(w);
    forget_old_names(w);
}

static void on_beat(struct rp_timer *t)
{
    struct rp_worker *w = RP_CONTAINER(rp_worker, beat, t);
    beat(w);
    rp_timer_set(w->loop, &w->beat, BEAT_MS);
}

/* ---- serving ------------------------------------------------------------------------------- */

void rp_worker_use_logs(struct rp_worker *w, const struct rp_conf *conf, int *files)
{
    bool has_file = conf->error_log_file < conf->files_n;
    rp_errlog_use(&w->errlog, has_file ? files[conf->error_log_file] : -1);
    rp_log_threshold = (enum rp_log_level)conf->log_level;
    rp_proxy_set_files(w->proxy, files, conf->files_n);
    for (uint32_t i = 0; i < conf->files_n; i++) files[i] = -1; /* the proxy's now */
}

/* The master waits for these words: one that is lost would leave it waiting. So a full channel, or a
 * system without buffers, is waited for, shortly; behind that, another worker may have more luck. */
void rp_worker_say(struct rp_worker *w, uint32_t kind, const struct rp_stage *s, rp_str text)
{
    struct rp_message_head head = {.kind = kind};
    if (s) head.attempt = s->attempt;
    if (s) head.generation = s->generation;
    for (int i = 0; i < SAY_TRIES; i++) {
        struct pollfd room = {.fd = w->in.channel, .events = POLLOUT};
        rp_err e = rp_channel_send(w->in.channel, &head, text, NULL, 0);
        if (e == RP_OK || e == RP_E_CLOSED) return; /* a dead master is found soon */
        rp_ignore(poll(&room, 1, SAY_WAIT_MS));     /* sending says how it is */
    }
    rp_log(alert, "the master does not hear this worker, which ends");
    w->exit_code = 1;
    rp_loop_stop(w->loop);
}

static void fail_to_boot(struct rp_worker *w, struct rp_stage *s)
{
    rp_worker_say(w, RP_SAY_FAILED, s, rp_buf_str(&s->error));
    w->exit_code = 1;
    rp_loop_stop(w->loop);
}

void rp_worker_listen(struct rp_worker *w)
{
    struct rp_stage *s = w->stage;
    if (w->state != RP_WORKER_STARTING || !s || s->busy) return;
    if (!w->in.agent && rp_ears_follow(&w->ears, w->proxy->conf, s->listeners) != RP_OK) {
        rp_buf_add(&s->error, RP_STR("a listening socket cannot be served"));
        fail_to_boot(w, s);
        return;
    }
    w->state = RP_WORKER_SERVING;
    if (!w->in.quiet) {
        beat(w);
        rp_worker_say(w, RP_SAY_READY, s, RP_STR_NONE);
    }
    rp_stage_drop(&w->stage);
}

/* The first generation is built and started, or not. */
static void on_boot(void *arg, struct rp_stage *s)
{
    struct rp_worker *w = arg;
    if (s->result != RP_OK) {
        fail_to_boot(w, s);
        return;
    }
    s->conf = NULL; /* the proxy has it */
    w->page->generation = s->generation;
    if (w->in.quiet) {
        beat(w);
        rp_worker_say(w, RP_SAY_READY, s, RP_STR_NONE);
    } else {
        rp_worker_listen(w);
    }
}

static void boot(struct rp_worker *w)
{
    struct rp_stage *s;
    struct rp_inherit *in = &w->in;
    if (rp_stage_new(0, in->generation, in->site, in->listeners_n, in->files_n, &s) != RP_OK)
        exit(1);
    in->site = -1;
    memcpy(s->listeners, in->listeners, sizeof(int) * in->listeners_n);
    memcpy(s->files, in->files, sizeof(int) * in->files_n);
    RP_CHECK(in->zones_n <= RP_PLAN_ZONES_MOST);
    if (in->zones_n) memcpy(s->zones, in->zones, sizeof(int) * in->zones_n);
    w->stage = s;
    rp_stage_build_here(s);
    rp_loop_reread(w->loop); /* half a minute may have passed: start hooks have their own time */
    if (s->result != RP_OK) {
        rp_worker_say(w, RP_SAY_FAILED, s, rp_buf_str(&s->error));
        rp_stage_drop(&w->stage);
        w->exit_code = 1;
        return;
    }
    w->proxy = rp_proxy_new(w->loop, w->mem, s->conf);
    take_keys(w);
    if (!in->agent) rp_affinity_follow(&w->affinity, w->loop, s->conf->cpu_affinity, in->number);
    if (!in->agent) rp_proxy_use_census(w->proxy, in->census, in->worker); /* it accepts nobody */
    rp_proxy_use_roster(w->proxy, in->roster, rp_plan_row(in->worker));
    rp_proxy_use_members(w->proxy, in->members, in->orders);
    rp_proxy_use_splits(w->proxy, in->splits, rp_plan_row(in->worker));
    w->proxy->learned = in->learned;
    rp_staples_use(w->proxy, in->staples);
    w->proxy->metrics = in->metrics;
    w->proxy->metrics_row = rp_plan_row(in->worker);
    w->proxy->counters = in->counters;
    w->proxy->number = in->number;
    rp_ears_init(&w->ears, w->proxy);
    rp_worker_use_logs(w, s->conf, s->files);
    rp_worker_dress(w, s);
    s->on_end = on_boot;
    rp_stage_begin(s);
}

void rp_worker_dress(struct rp_worker *w, struct rp_stage *s)
{
    s->proxy = w->proxy;
    s->crumbs = w->in.crumbs;
    s->worker = w->in.worker;
    s->agent = w->in.agent;
    s->hooks_ms = RP_WORKER_HOOKS_MS;
    s->arg = w;
}

/* ---- ending -------------------------------------------------------------------------------- */

static void on_stopped(void *arg, rp_err e)
{
    struct rp_worker *w = arg;
    if (e != RP_OK) rp_log(warn, "stop hooks did not end well error=%s", rp_err_name(e));
    rp_loop_stop(w->loop);
}

static void run_stop_hooks(struct rp_worker *w)
{
    if (w->state == RP_WORKER_STOPPING) return;
    rp_ms limit = w->fast ? STOP_HOOKS_MS : RP_WORKER_HOOKS_MS;
    w->state = RP_WORKER_STOPPING;
    rp_timer_clear(w->loop, &w->limit);
    rp_timer_clear(w->loop, &w->settle);
    rp_host_stop(w->proxy->conf, limit, on_stopped, w);
}

static void on_drained(void *arg)
{
    run_stop_hooks(arg);
}

/* Waiting is over: end what still runs, then stop whatever is left. */
static void on_limit(struct rp_timer *t)
{
    struct rp_worker *w = RP_CONTAINER(rp_worker, limit, t);
    if (w->aborted) {
        run_stop_hooks(w);
        return;
    }
    w->aborted = true;
    rp_log(warn, "requests did not end in time requests=%llu",
           (unsigned long long)w->proxy->stats.requests_active);
    rp_timer_set(w->loop, &w->limit, ABORT_MS);
    rp_proxy_abort_all(w->proxy);
}

static void on_settled(struct rp_timer *t)
{
    struct rp_worker *w = RP_CONTAINER(rp_worker, settle, t);
    w->state = RP_WORKER_DRAINING;
    rp_proxy_drain(w->proxy, on_drained, w);
}

static void on_quiet(void *arg)
{
    struct rp_worker *w = arg;
    w->deaf = true;
    rp_worker_say(w, RP_SAY_DEAF, NULL, RP_STR_NONE);
    if (w->state == RP_WORKER_LEAVING) rp_timer_set(w->loop, &w->settle, SETTLE_MS);
}

void rp_worker_drain(struct rp_worker *w, rp_ms listen_ms)
{
    if (w->state == RP_WORKER_STARTING) rp_loop_stop(w->loop);     /* nobody was served */
    if (w->deaf) rp_worker_say(w, RP_SAY_DEAF, NULL, RP_STR_NONE); /* told twice: answer both */
    if (w->state != RP_WORKER_SERVING) return;
    w->state = RP_WORKER_LEAVING;
    rp_stage_drop(&w->stage);
    w->proxy->settings.draining = true; /* answers say "close" from now on */
    rp_timer_set(w->loop, &w->limit, listen_ms + w->proxy->conf->drain_ms);
    rp_ears_leave(&w->ears, listen_ms, on_quiet, w);
}

void rp_worker_stop(struct rp_worker *w)
{
    if (w->state == RP_WORKER_STARTING) rp_loop_stop(w->loop);
    if (w->state == RP_WORKER_STARTING || w->state == RP_WORKER_STOPPING) return;
    w->fast = w->aborted = true;
    w->state = RP_WORKER_DRAINING;
    rp_stage_drop(&w->stage);
    rp_ears_fini(&w->ears);
    rp_timer_clear(w->loop, &w->settle);
    rp_timer_set(w->loop, &w->limit, ABORT_MS);
    rp_proxy_drain(w->proxy, on_drained, w);
    if (w->state == RP_WORKER_DRAINING) rp_proxy_abort_all(w->proxy);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void on_signal(uv_signal_t *s, int number)
{
    struct rp_worker *w = s->data;
    if (number == SIGTERM) rp_worker_stop(w);
    else rp_worker_drain(w, 0);
}

/* The terminal sends INT and HUP to the whole group, and the master tells us what they mean. */
static void set_signals(void)
{
    /* XFSZ: a file that reaches RLIMIT_FSIZE is a failed write. */
    static const int ignored[] = {SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2, SIGXFSZ};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    rp_os_reset_signals();
    for (size_t i = 0; i < RP_COUNT(ignored); i++)
        (void)sigaction(ignored[i], &ignore, NULL); /* cannot fail for these */
}

static void watch_signals(struct rp_worker *w)
{
    uv_signal_t *handles[] = {&w->term_signal, &w->quit_signal};
    static const int numbers[] = {SIGTERM, SIGQUIT};
    for (size_t i = 0; i < RP_COUNT(handles); i++) {
        RP_CHECK(uv_signal_init(rp_loop_guest(w->loop), handles[i]) == 0);
        handles[i]->data = w;
        RP_CHECK(uv_signal_start(handles[i], on_signal, numbers[i]) == 0);
    }
}

static void close_the_rest(const struct rp_inherit *in)
{
    size_t n = 2 + in->listeners_n + in->files_n + in->zones_n;
    int *keep = rp_alloc(sizeof *keep * n);
    keep[0] = in->channel;
    keep[1] = in->site;
    if (in->listeners_n) memcpy(keep + 2, in->listeners, sizeof *keep * in->listeners_n);
    if (in->files_n) memcpy(keep + 2 + in->listeners_n, in->files, sizeof *keep * in->files_n);
    if (in->zones_n) memcpy(keep + n - in->zones_n, in->zones, sizeof *keep * in->zones_n);
    rp_os_close_others(keep, n);
    rp_free(keep);
}

static struct rp_worker *worker_new(const struct rp_inherit *in)
{
    struct rp_worker *w = rp_alloc(sizeof *w);
    w->in = *in;
    w->page = rp_crumb_page(in->crumbs, in->worker);
    w->counts = rp_counter_page(in->counters, in->worker);
    rp_crumb_start(in->crumbs, in->worker, (uint32_t)getpid(), rp_clock_wall(), rp_os_now_ms());
    rp_counter_start(in->counters, in->worker);
    rp_metric_start(in->metrics, rp_plan_row(in->worker));
    rp_errlog_open(&w->errlog);
    w->mem = rp_mem_new();
    w->loop = rp_loop_new(w->mem);
    RP_CHECK(w->loop);
    rp_timer_init(&w->beat, on_beat);
    rp_timer_init(&w->limit, on_limit);
    rp_timer_init(&w->settle, on_settled);
    return w;
}

static void worker_free(struct rp_worker *w)
{
    rp_timer_clear(w->loop, &w->beat);
    rp_timer_clear(w->loop, &w->limit);
    rp_timer_clear(w->loop, &w->settle);
    rp_stage_drop(&w->stage);
    beat(w);
    rp_ears_fini(&w->ears);
    rp_proxy_free(&w->proxy);
    rp_loop_free(&w->loop);
    rp_mem_free(&w->mem);
    rp_errlog_close(&w->errlog);
    rp_free(w);
}

void rp_worker_run(const struct rp_inherit *in)
{
    if (in->agent) rp_os_set_name("rproxy-agent");
    set_signals();
    rp_os_raise_stack();
    close_the_rest(in);
    if (in->account && rp_os_become(in->account) != RP_OK) {
        rp_log(alert, "cannot become the unprivileged user user=%s", in->account->name);
        _exit(1);
    }
    struct rp_worker *w = worker_new(in);
    watch_signals(w);
    rp_worker_watch_channel(w);
    boot(w);
    if (w->proxy) {
        rp_timer_set(w->loop, &w->beat, BEAT_MS);
        rp_loop_run(w->loop);
    }
    int code = w->exit_code;
    if (w->proxy) rp_access_flush(w->proxy->access);
    /* Requests that could not even be aborted still point everywhere: leave it all to the kernel. */
    if (!w->proxy || w->proxy->live || w->proxy->streams || w->state == RP_WORKER_STARTING)
        _exit(code);
    worker_free(w);
    exit(code);
}
