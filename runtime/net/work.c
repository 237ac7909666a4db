/* SPDX-License-Identifier: MIT
 *
 * work: see work.h. A thin coat over libuv's thread pool (4 threads; UV_THREADPOOL_SIZE).
 */
#include "net/work.h"

#include "base/fault.h"
#include "net/loop_uv.h"

struct rp_work {
    uv_work_t req;
    void (*run)(void *arg);
    void (*done)(void *arg, bool cancelled);
    void *arg;
};

static void on_run(uv_work_t *req)
{
    struct rp_work *w = RP_CONTAINER(rp_work, req, req);
    w->run(w->arg);
}

static void on_done(uv_work_t *req, int status)
{
    struct rp_work *w = RP_CONTAINER(rp_work, req, req);
    w->done(w->arg, status == UV_ECANCELED);
    rp_free(w);
}

rp_err rp_work_start(struct rp_loop *l, void (*run)(void *arg),
                     void (*done)(void *arg, bool cancelled), void *arg, struct rp_work **out)
{
    struct rp_work *w = rp_alloc(sizeof *w);
    w->run = run;
    w->done = done;
    w->arg = arg;
    if (RP_SYS(work, uv_queue_work(rp_loop_guest(l), &w->req, on_run, on_done)) != 0) {
        rp_free(w);
        return RP_E_OS;
    }
    if (out) *out = w;
    return RP_OK;
}

void rp_work_cancel(struct rp_work *w)
{
    (void)uv_cancel((uv_req_t *)&w->req); /* refused when it runs already; done comes either way */
}
