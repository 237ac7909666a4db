/* SPDX-License-Identifier: MIT
 *
 * worker_orders: what the master tells a worker over the channel.
 */
#include "base/mem.h"
#include "process/worker_in.h"
#include "script/host.h"

/* ---- reload -------------------------------------------------------------------------------- */

/* A stage is ready or failed; only the awaited one gets here. */
static void on_staged(void *arg, struct rp_stage *s)
{
    struct rp_worker *w = arg;
    if (s->result == RP_OK) {
        rp_worker_say(w, RP_SAY_READY, s, RP_STR_NONE);
        return;
    }
    rp_str text = s->error.len ? rp_buf_str(&s->error) : rp_str_z(rp_err_text(s->result));
    rp_worker_say(w, RP_SAY_FAILED, s, text);
    rp_stage_drop(&w->stage);
}

static bool is_awaited(const struct rp_worker *w)
{
    return w->stage && w->state == RP_WORKER_SERVING &&
           w->stage->attempt == w->message.head.attempt;
}

static void prepare(struct rp_worker *w)
{
    const struct rp_message_head *h = &w->message.head;
    int site = rp_channel_take(&w->message, 0);
    if (w->state != RP_WORKER_SERVING) {
        rp_os_close(&site);
        return;
    }
    rp_stage_drop(&w->stage);
    if (rp_stage_new(h->attempt, h->generation, site, h->a, h->b, &w->stage) != RP_OK)
        rp_log(error, "malformed order from the master order=prepare");
}

static void give_reopened(struct rp_worker *w)
{
    struct rp_message *m = &w->message;
    if (m->head.a > w->reopened_n || m->fds_n > w->reopened_n - m->head.a) return;
    for (size_t i = 0; i < m->fds_n; i++) {
        rp_os_close(&w->reopened[m->head.a + i]);
        w->reopened[m->head.a + i] = rp_channel_take(m, i);
        w->reopened_have++;
    }
    if (w->reopened_have < w->reopened_n) return;
    rp_worker_use_logs(w, w->proxy->conf, w->reopened);
    rp_free(w->reopened);
    w->reopened = NULL;
    w->reopened_n = 0;
}

static void give(struct rp_worker *w)
{
    if (w->reopened_n && w->message.head.b == RP_GIVE_FILES && w->message.head.attempt == 0)
        give_reopened(w);
    else if (is_awaited(w) && rp_stage_give(w->stage, &w->message) != RP_OK)
        rp_log(error, "malformed order from the master order=give");
}

static void build(struct rp_worker *w)
{
    if (!is_awaited(w) || w->stage->busy) return;
    rp_worker_dress(w, w->stage);
    w->stage->on_end = on_staged;
    rp_stage_build(w->stage, w->loop);
}

static void commit(struct rp_worker *w)
{
    struct rp_stage *s = w->stage;
    if (!is_awaited(w) || s->busy || !s->conf) return;
    struct rp_conf *conf = s->conf;
    s->conf = NULL;
    rp_host_retire(w->proxy->conf); /* first: it may be gone after the flip */
    rp_proxy_flip(w->proxy, conf);
    rp_worker_use_logs(w, conf, s->files);
    if (!w->in.agent) {
        rp_affinity_follow(&w->affinity, w->loop, conf->cpu_affinity, w->in.number);
        rp_ignore(rp_ears_follow(&w->ears, conf, s->listeners)); /* logged; the others are served */
    }
    w->page->generation = s->generation;
    rp_worker_say(w, RP_SAY_FLIPPED, s, RP_STR_NONE);
    rp_stage_drop(&w->stage);
}

static void abandon(struct rp_worker *w)
{
    if (is_awaited(w)) rp_stage_drop(&w->stage);
}

/* ---- log files ----------------------------------------------------------------------------- */

static void reopen(struct rp_worker *w)
{
    if (!w->proxy || w->message.head.a != w->proxy->conf->files_n || w->message.head.a == 0) return;
    for (uint32_t i = 0; i < w->reopened_n; i++) rp_os_close(&w->reopened[i]);
    rp_free(w->reopened);
    w->reopened_n = w->message.head.a;
    w->reopened_have = 0;
    w->reopened = rp_alloc(sizeof *w->reopened * w->reopened_n);
    for (uint32_t i = 0; i < w->reopened_n; i++) w->reopened[i] = -1;
}

/* ---- what people ask ----------------------------------------------------------------------- */

static void tell(void *arg, uint32_t ticket, int status, rp_str text)
{
    struct rp_worker *w = arg;
    struct rp_message_head head = {.kind = RP_SAY_TOLD, .a = ticket, .b = (uint32_t)status};
    if (ticket == 0) return;
    rp_err e = rp_channel_send(w->in.channel, &head, text, NULL, 0);
    if (e != RP_OK) rp_log(warn, "an answer is lost ticket=%u error=%s", ticket, rp_err_name(e));
}

static void ask(struct rp_worker *w)
{
    uint32_t ticket = w->message.head.a;
    if (w->proxy && w->state == RP_WORKER_SERVING)
        rp_host_ask(w->proxy->conf, ticket, rp_channel_text(&w->message), tell, w);
    else tell(w, ticket, 1, RP_STR("the worker does not serve"));
}

/* ---- the channel --------------------------------------------------------------------------- */

static void obey(struct rp_worker *w)
{
    switch ((enum rp_message_kind)w->message.head.kind) {
    case RP_SAY_PREPARE: prepare(w); break;
    case RP_SAY_GIVE: give(w); break;
    case RP_SAY_BUILD: build(w); break;
    case RP_SAY_COMMIT: commit(w); break;
    case RP_SAY_ABORT: abandon(w); break;
    case RP_SAY_REOPEN: reopen(w); break;
    case RP_SAY_DRAIN: rp_worker_drain(w, w->message.head.a); break;
    case RP_SAY_STOP: rp_worker_stop(w); break;
    case RP_SAY_ASK: ask(w); break;
    case RP_SAY_LISTEN: rp_worker_listen(w); break;
    case RP_SAY_READY:
    case RP_SAY_FAILED:
    case RP_SAY_FLIPPED:
    case RP_SAY_WORN:
    case RP_SAY_RESTORE:
    case RP_SAY_TOLD:
    case RP_SAY_FETCH:
    case RP_SAY_FILE:
    case RP_SAY_RESULT:
    case RP_SAY_CHANGED:
    case RP_SAY_DEAF:
    case RP_SAY_COMMAND:
    case RP_SAY_HELLO:
    case RP_SAY_STAFFED:
    case RP_SAY_RELIEVE:
    case RP_SAY_CARRY:
    case RP_SAY_STATE:
    case RP_SAY_ANSWER: break; /* nobody says these to a worker */
    }
}

/* Nobody would respawn or reload us: answer what runs and go. */
static void lose_master(struct rp_worker *w)
{
    rp_poll_arm(&w->channel, 0);
    if (w->in.quiet && w->state == RP_WORKER_STARTING)
        rp_log(info, "the upgrade was given up, ending"); /* nobody was served */
    else rp_log(alert, "the master is gone, draining master=%d", w->in.master);
    rp_worker_drain(w, 0);
}

static void on_channel(struct rp_poll *p, unsigned events)
{
    struct rp_worker *w = RP_CONTAINER(rp_worker, channel, p);
    rp_err e = events & RP_POLL_FAILED ? RP_END : RP_OK;
    while (e == RP_OK || e == RP_E_INVALID) {
        e = rp_channel_recv(w->in.channel, &w->message);
        if (e == RP_OK) obey(w);
        if (e == RP_OK) rp_channel_done(&w->message);
    }
    if (e != RP_AGAIN) lose_master(w);
}

void rp_worker_watch_channel(struct rp_worker *w)
{
    RP_CHECK(rp_poll_start(w->loop, &w->channel, w->in.channel, RP_POLL_IN, on_channel) == 0);
}
