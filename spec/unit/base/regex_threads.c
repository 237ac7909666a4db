/* SPDX-License-Identifier: MIT
 *
 * regex_threads: compiles and matches on several threads at once, for regex_spec.lua, which builds
 * it and passes the library's functions.
 */
#include "base/regex.h"

#include <pthread.h>
#include <stdio.h>

struct calls {
    rp_err (*compile)(rp_str, unsigned, struct rp_regex **, struct rp_regex_fault *);
    void (*free)(struct rp_regex **);
    struct rp_regex_ctx *(*ctx_new)(const struct rp_regex_limits *);
    void (*ctx_free)(struct rp_regex_ctx **);
    rp_err (*test)(const struct rp_regex *, struct rp_regex_ctx *, rp_str, bool *);
};

struct job {
    const struct calls *calls;
    const struct rp_regex *shared;
    int seed, wrong;
};

static bool hits(const struct job *j, const struct rp_regex *re, struct rp_regex_ctx *ctx, int n)
{
    char text[64];
    int len = snprintf(text, sizeof text, "/user/%d/edit", n);
    bool hit = false;
    return j->calls->test(re, ctx, rp_str_of(text, (size_t)len), &hit) == RP_OK && hit;
}

static void *work(void *arg)
{
    struct job *j = arg;
    struct rp_regex_ctx *ctx = j->calls->ctx_new(NULL);
    for (int i = 0; i < 300; i++) {
        char pattern[64];
        int len = snprintf(pattern, sizeof pattern, "^/user/(%d)/", j->seed * 1000 + i);
        struct rp_regex *re;
        if (j->calls->compile(rp_str_of(pattern, (size_t)len), 0, &re, NULL) != RP_OK) {
            j->wrong++;
            continue;
        }
        if (!hits(j, re, ctx, j->seed * 1000 + i) || hits(j, re, ctx, j->seed * 1000 + i + 1)) {
            j->wrong++;
        }
        if (!hits(j, j->shared, ctx, i)) j->wrong++;
        j->calls->free(&re);
    }
    j->calls->ctx_free(&ctx);
    return NULL;
}

/* Number of wrong answers from four threads. */
int regex_threads(const struct calls *calls);
int regex_threads(const struct calls *calls)
{
    enum { THREADS = 4 };
    struct rp_regex *shared;
    pthread_t threads[THREADS];
    struct job jobs[THREADS];
    int wrong = 0;
    if (calls->compile(RP_STR("^/user/[0-9]+/edit$"), 0, &shared, NULL) != RP_OK) return -1;
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){calls, shared, i + 1, 0};
        if (pthread_create(&threads[i], NULL, work, &jobs[i]) != 0) return -1;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        wrong += jobs[i].wrong;
    }
    calls->free(&shared);
    return wrong;
}
