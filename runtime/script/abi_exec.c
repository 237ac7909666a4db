/* SPDX-License-Identifier: MIT
 *
 * abi_exec: programs, for rp.exec: over net/child. A program that is let go of is killed.
 */
#include <unistd.h>

#include "net/child.h"
#include "script/vm.h"

enum {
    CHILDREN_MOST = 64, /* of one VM at a time */
    WORDS_MOST = 1024,  /* arguments, and variables */
    OUT_MOST = 64 << 20,
};

struct exec {
    struct rp_hold hold; /* first */
    struct rp_child *child;
    double task;
};

static void let_go(struct rp_hold *hold)
{
    struct exec *x = (struct exec *)(void *)hold;
    if (x->child) hold->host->children_n--;
    rp_child_close(&x->child);
    rp_free(x);
}

static void ended(void *arg)
{
    struct exec *x = arg;
    rp_abi_task_wake(&x->hold.host->face, x->task);
}

/* Pointers to the words of a text; NULL when they are too many or the last one has no end. */
static char **words(const char *p, size_t n)
{
    if (n > 0 && p[n - 1] != 0) return NULL;
    char **list = rp_alloc((WORDS_MOST + 1) * sizeof(char *));
    size_t count = 0;
    for (size_t at = 0; at < n; at += strlen(p + at) + 1) {
        if (count == WORDS_MOST) {
            rp_free(list);
            return NULL;
        }
        list[count++] = (char *)(uintptr_t)(p + at);
    }
    list[count] = NULL;
    return list;
}

static rp_err start(struct rp_host *h, const struct rp_child_spec *spec)
{
    const char *why = "";
    struct exec *x = rp_alloc(sizeof *x);
    rp_err e = rp_hold_open(h, &x->hold, RP_HOLD_CHILD, let_go);
    if (e != RP_OK) {
        rp_free(x);
        return e;
    }
    x->task = rp_abi_task_self(&h->face);
    e = rp_child_start(h->proxy->loop, spec, ended, x, &x->child, &why);
    if (e == RP_OK) {
        h->children_n++;
        h->face.handle = rp_hold_handle(&x->hold);
        return e;
    }
    h->face.out = rp_str_z(why);
    rp_hold_close(&x->hold);
    return e;
}

rp_err rp_abi_exec(struct rp_host_face *f, const char *argv, size_t argv_n, const char *env,
                   size_t env_n, const char *cwd, const char *in, size_t in_n, double out_most)
{
    struct rp_host *h = rp_vm_of(f);
    if (argv_n == 0 || !(out_most >= 0 && out_most <= OUT_MOST)) return RP_E_INVALID;
    if (h->children_n >= CHILDREN_MOST) return RP_E_BUSY;
    struct rp_child_spec spec = {.argv = words(argv, argv_n),
                                 .env = words(env, env_n),
                                 .cwd = cwd[0] ? cwd : NULL,
                                 .in = rp_str_of(in, in_n),
                                 .out_most = (size_t)out_most};
    rp_err e = spec.argv && spec.env ? start(h, &spec) : RP_E_INVALID;
    rp_free((void *)(uintptr_t)spec.argv);
    rp_free((void *)(uintptr_t)spec.env);
    return e;
}

static struct exec *find(struct rp_host_face *f, double handle)
{
    return (struct exec *)(void *)rp_hold_find(rp_vm_of(f), handle, RP_HOLD_CHILD);
}

rp_err rp_abi_exec_done(struct rp_host_face *f, double handle)
{
    const struct exec *x = find(f, handle);
    struct rp_child_end end;
    if (!x) return RP_E_STALE;
    if (!rp_child_has_ended(x->child, &end)) return RP_AGAIN;
    f->out = end.out;
    f->out2 = end.err;
    f->number = end.killed_by ? -(double)end.killed_by : (double)end.status;
    return end.code;
}

void rp_abi_exec_free(struct rp_host_face *f, double handle)
{
    struct exec *x = find(f, handle);
    if (x) rp_hold_close(&x->hold);
}

double rp_abi_pid(void)
{
    return getpid();
}
