/* SPDX-License-Identifier: MIT
 *
 * stage: see stage.h.
 */
#include "process/stage.h"

#include "base/mem.h"
#include "net/work.h"
#include "process/checker.h"
#include "script/host.h"

static int *no_fds(uint32_t n)
{
    int *fds = rp_alloc(sizeof *fds * n);
    for (uint32_t i = 0; i < n; i++) fds[i] = -1;
    return fds;
}

static void close_fds(int **fds, uint32_t n)
{
    for (uint32_t i = 0; *fds && i < n; i++) rp_os_close(&(*fds)[i]);
    rp_free(*fds);
    *fds = NULL;
}

rp_err rp_stage_new(uint32_t attempt, uint32_t generation, int site, uint32_t listeners_n,
                    uint32_t files_n, struct rp_stage **out)
{
    if (listeners_n > RP_PLAN_LISTENERS_MOST || files_n > RP_PLAN_FILES_MOST || site < 0) {
        rp_os_close(&site);
        return RP_E_INVALID;
    }
    struct rp_stage *s = rp_alloc(sizeof *s);
    *s = (struct rp_stage){.attempt = attempt,
                           .generation = generation,
                           .site = site,
                           .listeners_n = listeners_n,
                           .files_n = files_n};
    s->listeners = no_fds(listeners_n);
    s->files = no_fds(files_n);
    for (uint32_t i = 0; i < RP_PLAN_ZONES_MOST; i++) s->zones[i] = -1;
    rp_buf_init(&s->error, RP_CHECK_ERROR_MOST);
    *out = s;
    return RP_OK;
}

rp_err rp_stage_give(struct rp_stage *s, struct rp_message *m)
{
    bool files = m->head.b == RP_GIVE_FILES, zones = m->head.b == RP_GIVE_ZONES;
    int *fds = zones ? s->zones : files ? s->files : s->listeners;
    uint32_t n = zones ? RP_PLAN_ZONES_MOST : files ? s->files_n : s->listeners_n;
    if (m->head.a > n || m->fds_n > n - m->head.a) return RP_E_INVALID;
    for (size_t i = 0; i < m->fds_n; i++) {
        rp_os_close(&fds[m->head.a + i]);
        fds[m->head.a + i] = rp_channel_take(m, i);
    }
    return RP_OK;
}

/* ---- building ------------------------------------------------------------------------------ */

static bool has_the_same_zones(const struct rp_stage *s, const struct rp_plan *p)
{
    const struct rp_conf *c = s->conf;
    if (c->zones_n != p->zones_n) return false;
    for (uint32_t i = 0; i < p->zones_n; i++)
        if (!rp_str_eq(c->zones[i].name, p->zones[i].name) || s->zones[i] < 0 ||
            c->zones[i].kind != p->zones[i].kind || c->zones[i].bytes != p->zones[i].bytes ||
            c->zones[i].tag != p->zones[i].tag)
            return false;
    return true;
}

/* Descriptors come by the plan's index: a site that says things in another order would mix them. */
static bool says_the_same(const struct rp_stage *s, const struct rp_plan *p)
{
    const struct rp_conf *c = s->conf;
    if (c->listeners_n != p->listeners_n || c->files_n != p->files_n) return false;
    if (s->listeners_n != p->listeners_n || s->files_n != p->files_n) return false;
    for (uint32_t i = 0; i < c->listeners_n; i++)
        if (!rp_str_eq(c->listeners[i].text, p->listeners[i].text)) return false;
    for (uint32_t i = 0; i < c->files_n; i++)
        if (!rp_str_eq(c->files[i], p->files[i])) return false;
    return has_the_same_zones(s, p);
}

static rp_err build(struct rp_stage *s, const struct rp_checked *checked)
{
    struct rp_bundle *bundle = NULL;
    rp_err e = rp_bundle_load(checked->plan->bundle, &bundle);
    if (e != RP_OK) {
        rp_buf_add(&s->error, RP_STR("the bundle of sources is malformed"));
        return e;
    }
    rp_bundle_leave_undescribed(bundle);
    e = rp_host_build(bundle, s->generation, &s->conf, &s->error);
    rp_bundle_free(&bundle);
    if (e != RP_OK) return e;
    if (says_the_same(s, checked->plan)) return RP_OK;
    rp_buf_add(&s->error, RP_STR("the site says something else each time it is evaluated: its "
                                 "listeners, log files or shared zones are not those that were "
                                 "checked"));
    return RP_E_INVALID;
}

void rp_stage_build_here(struct rp_stage *s)
{
    struct rp_checked *checked = NULL;
    s->result = rp_checked_open(s->site, &checked);
    s->site = -1;
    if (s->result == RP_OK) s->result = build(s, checked);
    else rp_buf_add(&s->error, RP_STR("the checked site cannot be read"));
    rp_checked_free(&checked);
}

static void run_build(void *arg)
{
    rp_stage_build_here(arg);
}

/* The work is done: tell, or free what nobody wants any more. */
static void end(struct rp_stage *s, rp_err e)
{
    s->busy = false;
    s->result = e;
    if (s->dropped) rp_stage_free(&s);
    else s->on_end(s->arg, s);
}

static void on_started(void *arg, rp_err e)
{
    struct rp_stage *s = arg;
    if (e != RP_OK) rp_buf_addf(&s->error, "start hook: %s", rp_err_text(e));
    end(s, e);
}

void rp_stage_begin(struct rp_stage *s)
{
    s->busy = true;
    rp_err e = rp_host_share(s->conf, s->zones);
    if (e != RP_OK) {
        rp_buf_addf(&s->error, "shared memory cannot be mapped: %s", rp_err_text(e));
        end(s, e);
        return;
    }
    s->attached = true;
    rp_host_attach(s->conf, s->proxy, s->crumbs, s->worker);
    if (s->agent) rp_host_be_agent(s->conf);
    rp_host_start(s->conf, s->hooks_ms, on_started, s);
}

static void on_built(void *arg, bool cancelled)
{
    struct rp_stage *s = arg;
    if (cancelled) s->result = RP_E_CANCELLED;
    if (s->result != RP_OK || s->dropped) end(s, s->result);
    else rp_stage_begin(s);
}

void rp_stage_build(struct rp_stage *s, struct rp_loop *l)
{
    s->busy = true;
    if (rp_work_start(l, run_build, on_built, s, NULL) == RP_OK) return;
    rp_buf_add(&s->error, RP_STR("no thread to build the configuration"));
    end(s, RP_E_OS);
}

/* ---- ending -------------------------------------------------------------------------------- */

void rp_stage_free(struct rp_stage **sp)
{
    struct rp_stage *s = *sp;
    if (!s) return;
    *sp = NULL;
    RP_CHECK(!s->busy);
    if (s->conf && s->attached) rp_host_retire(s->conf);
    if (s->conf) rp_conf_drop(rp_conf_hold(s->conf));
    rp_os_close(&s->site);
    close_fds(&s->listeners, s->listeners_n);
    close_fds(&s->files, s->files_n);
    for (uint32_t i = 0; i < RP_PLAN_ZONES_MOST; i++) rp_os_close(&s->zones[i]);
    rp_buf_fini(&s->error);
    rp_free(s);
}

void rp_stage_drop(struct rp_stage **sp)
{
    struct rp_stage *s = *sp;
    *sp = NULL;
    if (!s) return;
    s->dropped = true;
    if (!s->busy) rp_stage_free(&s);
    else if (s->attached) rp_host_retire(s->conf); /* ends the start hooks: on_started comes */
}
