/* SPDX-License-Identifier: MIT
 *
 * vm_job: what takes long (passwords, large files) on a thread of the pool, while the task waits.
 * Where nothing can wait (setup) it is done at once.
 *
 * RUNNING -> DONE -> freed by Lua. A job that Lua lets go of while it runs (its task was cancelled,
 * the VM is closed) is an orphan: it wakes nobody and is freed when the thread is done with it.
 */
#include "net/work.h"
#include "script/vm.h"

enum { JOBS_MOST = 64 }; /* of one VM at a time: threads are few, and hashes take memory */

static void enlist(struct rp_host *h, struct rp_vm_job *j)
{
    j->host = h;
    j->running = true;
    j->next = h->jobs;
    if (j->next) j->next->prev = j;
    h->jobs = j;
    h->jobs_n++;
}

static void unlist(struct rp_vm_job *j)
{
    struct rp_host *h = j->host;
    if (j->prev) j->prev->next = j->next;
    else h->jobs = j->next;
    if (j->next) j->next->prev = j->prev;
    j->next = j->prev = NULL;
    j->host = NULL;
    h->jobs_n--;
}

static void run(void *arg)
{
    struct rp_vm_job *j = arg;
    j->run(j);
}

static void done(void *arg, bool cancelled)
{
    struct rp_vm_job *j = arg;
    struct rp_host *h = j->host;
    (void)cancelled; /* nobody cancels */
    j->running = false;
    if (!h) {
        j->release(j);
        return;
    }
    unlist(j);
    rp_abi_task_wake(&h->face, j->task);
}

rp_err rp_job_start(struct rp_host *h, struct rp_vm_job *j)
{
    if (!h->current || !h->proxy) {
        run(j);
        return RP_OK;
    }
    if (h->jobs_n >= JOBS_MOST) return RP_E_BUSY;
    j->task = rp_task_handle(h->current);
    enlist(h, j);
    rp_err e = rp_work_start(h->proxy->loop, run, done, j, NULL);
    if (e == RP_OK) return RP_OK;
    unlist(j);
    j->running = false;
    return e;
}

rp_err rp_abi_job_result(struct rp_host_face *f, struct rp_vm_job *j)
{
    if (j->running) return RP_AGAIN;
    f->out = j->out;
    return j->result;
}

void rp_abi_job_free(struct rp_vm_job *j)
{
    if (!j->running) {
        j->release(j);
        return;
    }
    if (j->host) unlist(j);
}

/* What runs and was not let go by Lua: a hook may be stopped anywhere. */
void rp_job_fini(struct rp_host *h)
{
    while (h->jobs) unlist(h->jobs);
}
