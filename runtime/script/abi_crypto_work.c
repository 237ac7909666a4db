/* SPDX-License-Identifier: MIT
 *
 * abi_crypto_work: keys from passwords, and passwords against what is kept of them. Both are slow
 * on purpose: jobs.
 *
 * What is kept of a password is one of: crypt(5) as libcrypt knows it (bcrypt, yescrypt, scrypt,
 * SHA-512, SHA-256, MD5), argon2 in its PHC form, and what htpasswd writes ("$apr1$", "{SHA}").
 */
#include <argon2.h>
#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "script/abi_crypto_in.h"

enum {
    OUT_MOST = 1024,     /* bytes of a derived key */
    IN_MOST = 64 * 1024, /* of password and salt */
    SCRYPT_MEMORY = 64 << 20,
    ROUNDS_MOST = 10 * 1000 * 1000,
    PASSWORD_MOST = 512,      /* CRYPT_MAX_PASSPHRASE_SIZE; nobody types more */
    HASH_MOST = 512,          /* CRYPT_OUTPUT_SIZE is 384 */
    BCRYPT_COST = 16,         /* seconds */
    ARGON_MEMORY_KB = 262144, /* 256 MB: what a hash may ask for */
    ARGON_ROUNDS = 64,
    ARGON_LANES = 64,
};

/* ---- keys ------------------------------------------------------------------------------------ */

struct derive {
    struct rp_vm_job job;
    char md[8]; /* of PBKDF2; empty: scrypt */
    uint64_t rounds, block, parallel;
    char *in; /* password, then salt */
    size_t password_n, salt_n, out_n;
    unsigned char out[OUT_MOST];
};

static void derive_free(struct rp_vm_job *job)
{
    struct derive *j = RP_CONTAINER(derive, job, job);
    OPENSSL_cleanse(j->in, j->password_n + j->salt_n);
    rp_free(j->in);
    OPENSSL_cleanse(j, sizeof *j);
    rp_free(j);
}

static void derive(struct rp_vm_job *job)
{
    struct derive *j = RP_CONTAINER(derive, job, job);
    const unsigned char *salt = (const unsigned char *)j->in + j->password_n;
    bool ok;
    if (j->md[0]) {
        EVP_MD *md = EVP_MD_fetch(NULL, j->md, NULL);
        ok = md && PKCS5_PBKDF2_HMAC(j->in, (int)j->password_n, salt, (int)j->salt_n,
                                     (int)j->rounds, md, (int)j->out_n, j->out) == 1;
        EVP_MD_free(md);
    } else {
        ok = EVP_PBE_scrypt(j->in, j->password_n, salt, j->salt_n, j->rounds, j->block, j->parallel,
                            SCRYPT_MEMORY, j->out, j->out_n) == 1;
    }
    ERR_clear_error();
    job->out = rp_str_of((const char *)j->out, j->out_n);
    job->result = ok ? RP_OK : RP_E_INVALID;
}

static struct rp_vm_job *begin(struct rp_host_face *f, struct rp_vm_job *job)
{
    if (rp_job_start(rp_vm_of(f), job) == RP_OK) return job;
    f->out = RP_STR("busy");
    job->release(job);
    return NULL;
}

struct rp_vm_job *rp_abi_derive(struct rp_host_face *f, const char *alg, const char *password,
                                size_t password_n, const char *salt, size_t salt_n, double rounds,
                                double block, double parallel, double bytes)
{
    bool fits = password_n <= IN_MOST && salt_n <= IN_MOST && bytes >= 1 && bytes <= OUT_MOST &&
                rounds >= 1 && rounds <= ROUNDS_MOST && block >= 1 && block <= 64 &&
                parallel >= 1 && parallel <= 64;
    f->out = RP_STR("a number is out of range");
    if (!fits || strlen(alg) >= sizeof((struct derive *)0)->md) return NULL;
    struct derive *j = rp_alloc(sizeof *j);
    *j = (struct derive){.job = {.run = derive, .release = derive_free},
                         .rounds = (uint64_t)rounds,
                         .block = (uint64_t)block,
                         .parallel = (uint64_t)parallel,
                         .password_n = password_n,
                         .salt_n = salt_n,
                         .out_n = (size_t)bytes,
                         .in = rp_alloc(password_n + salt_n + 1)};
    memcpy(j->md, alg, strlen(alg));
    if (password_n) memcpy(j->in, password, password_n);
    if (salt_n) memcpy(j->in + password_n, salt, salt_n);
    return begin(f, &j->job);
}

/* ---- passwords ------------------------------------------------------------------------------- */

struct password {
    struct rp_vm_job job;
    bool make; /* hash holds the setting; else it is what the password should give */
    char hash[HASH_MOST + 1], password[PASSWORD_MOST + 1];
    size_t password_n;
    struct crypt_data crypt; /* 32 KB */
};

static void password_free(struct rp_vm_job *job)
{
    struct password *j = RP_CONTAINER(password, job, job);
    OPENSSL_cleanse(j, sizeof *j);
    rp_free(j);
}

static bool is_same(const char *a, const char *b)
{
    size_t n = strlen(a);
    return n == strlen(b) && CRYPTO_memcmp(a, b, n) == 0;
}

/* "{SHA}" and base64 of SHA-1: old files of htpasswd. */
static rp_err check_sha(const struct password *j)
{
    unsigned char digest[EVP_MAX_MD_SIZE], text[40] = {0};
    unsigned n = 0;
    if (EVP_Digest(j->password, j->password_n, digest, &n, EVP_sha1(), NULL) != 1)
        return RP_E_INTERNAL;
    (void)EVP_EncodeBlock(text, digest, (int)n); /* 28 bytes */
    return is_same((const char *)text, j->hash + 5) ? RP_OK : RP_END;
}

/* ---- "$apr1$": MD5 a thousand times, as Apache made of FreeBSD's ---- */

enum { APR_SALT = 8, MD5 = 16, APR_ROUNDS = 1000 };

struct apr {
    EVP_MD_CTX *ctx;
    rp_str password, salt;
    bool ok;
};

static void apr_add(struct apr *a, const void *p, size_t n)
{
    a->ok = a->ok && EVP_DigestUpdate(a->ctx, p, n) == 1;
}

static void apr_start(struct apr *a)
{
    a->ok = a->ok && EVP_DigestInit_ex2(a->ctx, EVP_md5(), NULL) == 1;
}

static void apr_end(struct apr *a, unsigned char out[MD5])
{
    a->ok = a->ok && EVP_DigestFinal_ex(a->ctx, out, NULL) == 1;
}

static void apr_digest(struct apr *a, unsigned char sum[MD5])
{
    apr_start(a);
    apr_add(a, a->password.ptr, a->password.len);
    apr_add(a, a->salt.ptr, a->salt.len);
    apr_add(a, a->password.ptr, a->password.len);
    apr_end(a, sum);
    apr_start(a);
    apr_add(a, a->password.ptr, a->password.len);
    apr_add(a, "$apr1$", 6);
    apr_add(a, a->salt.ptr, a->salt.len);
    for (size_t left = a->password.len; left > 0; left -= RP_MIN(left, (size_t)MD5))
        apr_add(a, sum, RP_MIN(left, (size_t)MD5));
    for (size_t n = a->password.len; n > 0; n >>= 1) apr_add(a, n & 1 ? "" : a->password.ptr, 1);
    apr_end(a, sum);
    for (int i = 0; i < APR_ROUNDS; i++) {
        apr_start(a);
        apr_add(a, i & 1 ? a->password.ptr : (const char *)sum, i & 1 ? a->password.len : MD5);
        if (i % 3) apr_add(a, a->salt.ptr, a->salt.len);
        if (i % 7) apr_add(a, a->password.ptr, a->password.len);
        apr_add(a, i & 1 ? (const char *)sum : a->password.ptr, i & 1 ? MD5 : a->password.len);
        apr_end(a, sum);
    }
}

static void apr_text(const unsigned char sum[MD5], char out[23])
{
    static const char DIGITS[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static const uint8_t ORDER[] = {0, 6, 12, 1, 7, 13, 2, 8, 14, 3, 9, 15, 4, 10, 5};
    for (int i = 0; i < 5; i++) {
        uint32_t bits = (uint32_t)sum[ORDER[i * 3]] << 16 | (uint32_t)sum[ORDER[i * 3 + 1]] << 8 |
                        sum[ORDER[i * 3 + 2]];
        for (int k = 0; k < 4; k++, bits >>= 6) *out++ = DIGITS[bits & 63];
    }
    *out++ = DIGITS[sum[11] & 63];
    *out++ = DIGITS[sum[11] >> 6];
    *out = '\0';
}

static rp_err check_apr(const struct password *j)
{
    rp_str rest = rp_str_z(j->hash + 6);
    size_t end = rp_str_find(rest, '$', 0);
    unsigned char sum[MD5];
    char text[23];
    if (end == rest.len) return RP_E_INVALID;
    struct apr a = {.ctx = EVP_MD_CTX_new(),
                    .ok = true,
                    .password = rp_str_of(j->password, j->password_n),
                    .salt = rp_str_head(rest, RP_MIN(end, (size_t)APR_SALT))};
    a.ok = a.ctx != NULL;
    apr_digest(&a, sum);
    EVP_MD_CTX_free(a.ctx);
    if (!a.ok) return RP_E_INTERNAL;
    apr_text(sum, text);
    return is_same(text, rest.ptr + end + 1) ? RP_OK : RP_END;
}

/* ---- argon2 ---- */

/* "m=65536,t=3,p=4" of the text: more than this is not begun. */
static bool argon_fits(rp_str hash)
{
    static const struct {
        char name;
        uint64_t most;
    } PARTS[] = {{'m', ARGON_MEMORY_KB}, {'t', ARGON_ROUNDS}, {'p', ARGON_LANES}};
    size_t at = rp_str_find(hash, 'm', 8); /* behind "$argon2?" */
    for (size_t i = 0; i < RP_COUNT(PARTS); i++) {
        uint64_t n;
        rp_str rest = at <= hash.len ? rp_str_from(hash, at) : RP_STR_NONE;
        size_t end = RP_MIN(rp_str_find(rest, ',', 0), rp_str_find(rest, '$', 0));
        if (end < 3 || end == rest.len || rest.ptr[0] != PARTS[i].name || rest.ptr[1] != '=')
            return false;
        if (rp_str_u64(rp_str_from(rp_str_head(rest, end), 2), &n) != RP_OK || n > PARTS[i].most)
            return false;
        at += end + 1;
    }
    return true;
}

static rp_err check_argon(const struct password *j)
{
    argon2_type type = strncmp(j->hash, "$argon2id$", 10) == 0 ? Argon2_id
                       : strncmp(j->hash, "$argon2i$", 9) == 0 ? Argon2_i
                                                               : Argon2_d;
    if (!argon_fits(rp_str_z(j->hash))) return RP_E_INVALID;
    int e = argon2_verify(j->hash, j->password, j->password_n, type);
    if (e == ARGON2_VERIFY_MISMATCH) return RP_END;
    return e == ARGON2_OK ? RP_OK : RP_E_INVALID;
}

/* ---- all of them ---- */

/* A hash that asks for minutes of a thread is not begun: "$2b$12$..", "$6$rounds=5000$..". */
static bool crypt_fits(rp_str hash)
{
    uint64_t n;
    if (rp_str_starts(hash, RP_STR("$2"))) {
        rp_str cost = hash.len > 6 ? rp_str_of(hash.ptr + 4, 2) : RP_STR_NONE;
        return rp_str_u64(cost, &n) == RP_OK && n <= BCRYPT_COST;
    }
    if (hash.len < 11 || !rp_str_eq(rp_str_of(hash.ptr + 2, 8), RP_STR("$rounds="))) return true;
    rp_str rest = rp_str_from(hash, 10);
    rest = rp_str_head(rest, rp_str_find(rest, '$', 0));
    return rp_str_u64(rest, &n) == RP_OK && n <= ROUNDS_MOST;
}

/* crypt(5). crypt_rn says NULL when it cannot. */
static rp_err check_crypt(struct password *j)
{
    /* What is no setting could be the old DES: two letters, eight characters of the password. */
    if (j->hash[0] != '$' || !crypt_fits(rp_str_z(j->hash))) return RP_E_INVALID;
    const char *made = crypt_rn(j->password, j->hash, &j->crypt, (int)sizeof j->crypt);
    if (!made || made[0] == '*') return RP_E_INVALID;
    return is_same(made, j->hash) ? RP_OK : RP_END;
}

static rp_err make(struct password *j)
{
    const char *made = crypt_rn(j->password, j->hash, &j->crypt, (int)sizeof j->crypt);
    if (!made || made[0] == '*') return RP_E_INVALID;
    j->job.out = rp_str_z(made);
    return RP_OK;
}

static void check(struct rp_vm_job *job)
{
    struct password *j = RP_CONTAINER(password, job, job);
    if (j->make) job->result = make(j);
    else if (strncmp(j->hash, "$argon2", 7) == 0) job->result = check_argon(j);
    else if (strncmp(j->hash, "$apr1$", 6) == 0) job->result = check_apr(j);
    else if (strncmp(j->hash, "{SHA}", 5) == 0) job->result = check_sha(j);
    else job->result = check_crypt(j);
    ERR_clear_error();
}

static struct password *password_new(const char *hash, size_t hash_n, const char *password,
                                     size_t n)
{
    struct password *j = rp_alloc(sizeof *j);
    j->job = (struct rp_vm_job){.run = check, .release = password_free};
    memcpy(j->hash, hash, hash_n);
    memcpy(j->password, password, n);
    j->password_n = n;
    return j;
}

/* NULs would end it early for some of them. */
static bool fits(const char *p, size_t n, size_t most)
{
    return n <= most && !memchr(p, 0, n);
}

struct rp_vm_job *rp_abi_password_check(struct rp_host_face *f, const char *hash, size_t hash_n,
                                        const char *password, size_t n)
{
    f->out = RP_STR("invalid");
    if (!fits(hash, hash_n, HASH_MOST) || !fits(password, n, PASSWORD_MOST)) return NULL;
    return begin(f, &password_new(hash, hash_n, password, n)->job);
}

struct rp_vm_job *rp_abi_password_make(struct rp_host_face *f, const char *prefix, double cost,
                                       const char *password, size_t n)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    f->out = RP_STR("invalid");
    if (!fits(password, n, PASSWORD_MOST) || !(cost >= 0) || !(cost <= 1e6)) return NULL;
    if (!crypt_gensalt_rn(prefix, (unsigned long)cost, NULL, 0, setting, sizeof setting))
        return NULL;
    struct password *j = password_new(setting, strlen(setting), password, n);
    j->make = true;
    return begin(f, &j->job);
}
