/* SPDX-License-Identifier: MIT
 *
 * abi_crypto_work: keys from passwords, which is slow on purpose: on a thread of the pool, while the
 * task waits. Where nothing can wait (setup) it is done at once.
 *
 * RUNNING -> DONE -> freed by Lua. A job that Lua lets go of while it runs (its task was cancelled,
 * the VM is closed) is an orphan: it wakes nobody and is freed when the thread is done with it.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "net/work.h"
#include "script/abi_crypto_in.h"

enum {
    OUT_MOST = 1024,     /* bytes of a derived key */
    IN_MOST = 64 * 1024, /* of password and salt */
    SCRYPT_MEMORY = 64 << 20,
    ROUNDS_MOST = 10 * 1000 * 1000,
    JOBS_MOST = 64, /* of one VM at a time: threads are few, and scrypt takes memory */
};

struct rp_vm_job {
    struct rp_host *host;          /* NULL: an orphan */
    struct rp_vm_job *next, *prev; /* the host's running ones */
    double task;                   /* to be woken */
    bool running, ok;
    char md[8]; /* of PBKDF2; empty: scrypt */
    uint64_t rounds, block, parallel;
    char *in; /* password, then salt */
    size_t password_n, salt_n, out_n;
    unsigned char out[OUT_MOST];
};

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

static void job_free(struct rp_vm_job *j)
{
    OPENSSL_cleanse(j->in, j->password_n + j->salt_n);
    rp_free(j->in);
    OPENSSL_cleanse(j, sizeof *j);
    rp_free(j);
}

static void run(void *arg)
{
    struct rp_vm_job *j = arg;
    const unsigned char *salt = (const unsigned char *)j->in + j->password_n;
    if (j->md[0]) {
        EVP_MD *md = EVP_MD_fetch(NULL, j->md, NULL);
        j->ok = md && PKCS5_PBKDF2_HMAC(j->in, (int)j->password_n, salt, (int)j->salt_n,
                                        (int)j->rounds, md, (int)j->out_n, j->out) == 1;
        EVP_MD_free(md);
    } else {
        j->ok = EVP_PBE_scrypt(j->in, j->password_n, salt, j->salt_n, j->rounds, j->block,
                               j->parallel, SCRYPT_MEMORY, j->out, j->out_n) == 1;
    }
    ERR_clear_error();
}

static void done(void *arg, bool cancelled)
{
    struct rp_vm_job *j = arg;
    struct rp_host *h = j->host;
    (void)cancelled; /* nobody cancels; ok says whether it ran */
    j->running = false;
    if (!h) {
        job_free(j);
        return;
    }
    unlist(j);
    rp_abi_task_wake(&h->face, j->task);
}

static rp_err start(struct rp_host *h, struct rp_vm_job *j)
{
    if (!h->current || !h->proxy) {
        run(j);
        return RP_OK;
    }
    if (h->jobs_n == JOBS_MOST) return RP_E_BUSY;
    j->task = rp_task_handle(h->current);
    enlist(h, j);
    rp_err e = rp_work_start(h->proxy->loop, run, done, j, NULL);
    if (e != RP_OK) unlist(j);
    return e;
}

struct rp_vm_job *rp_abi_derive(struct rp_host_face *f, const char *alg, const char *password,
                                size_t password_n, const char *salt, size_t salt_n, double rounds,
                                double block, double parallel, double bytes)
{
    bool fits = password_n <= IN_MOST && salt_n <= IN_MOST && bytes >= 1 && bytes <= OUT_MOST &&
                rounds >= 1 && rounds <= ROUNDS_MOST && block >= 1 && block <= 64 &&
                parallel >= 1 && parallel <= 64;
    f->out = RP_STR("a number is out of range");
    if (!fits || strlen(alg) >= sizeof((struct rp_vm_job *)0)->md) return NULL;
    struct rp_vm_job *j = rp_alloc(sizeof *j);
    *j = (struct rp_vm_job){.rounds = (uint64_t)rounds,
                            .block = (uint64_t)block,
                            .parallel = (uint64_t)parallel,
                            .password_n = password_n,
                            .salt_n = salt_n,
                            .out_n = (size_t)bytes,
                            .in = rp_alloc(password_n + salt_n + 1)};
    memcpy(j->md, alg, strlen(alg));
    if (password_n) memcpy(j->in, password, password_n);
    if (salt_n) memcpy(j->in + password_n, salt, salt_n);
    rp_err e = start(rp_vm_of(f), j);
    if (e == RP_OK) return j;
    f->out = RP_STR("busy");
    job_free(j);
    return NULL;
}

rp_err rp_abi_derived(struct rp_host_face *f, struct rp_vm_job *j)
{
    if (j->running) return RP_AGAIN;
    f->out = rp_str_of((const char *)j->out, j->out_n);
    return j->ok ? RP_OK : RP_E_INVALID;
}

void rp_abi_derive_free(struct rp_vm_job *j)
{
    if (!j->running) {
        job_free(j);
        return;
    }
    if (j->host) unlist(j);
}

/* What runs and was not let go by Lua: a hook may be stopped anywhere. */
void rp_crypto_work_fini(struct rp_host *h)
{
    while (h->jobs) unlist(h->jobs);
}
