/* SPDX-License-Identifier: MIT
 *
 * abi_lookup: the sets of `shared` as Lua calls them: looking, and reading the file on a thread of
 * the pool. A job has a mapping of its own, so it may outlive the generation that began it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/hash.h"
#include "base/mem.h"
#include "net/addr.h"
#include "script/lookup_line.h"
#include "script/vm.h"

enum { PATH_MOST = 4096, CHUNK = 64 * 1024, LINE_MOST = 16 * 1024, ERROR_MOST = 256 };

static const uint64_t FILE_MOST = (uint64_t)4 << 30;

/* ---- reading --------------------------------------------------------------------------------- */

struct load {
    struct rp_vm_job job;
    struct rp_zone *zone;
    struct rp_lookup *lookup;
    enum rp_lookup_type type;
    bool anew; /* try also what was bad before */
    char path[PATH_MOST];
    char error[ERROR_MOST];
    uint64_t line; /* from 1 */
    char left[LINE_MOST];
    size_t left_n; /* of a line whose end was not read yet */
};

static void load_free(struct rp_vm_job *job)
{
    struct load *j = RP_CONTAINER(load, job, job);
    if (j->lookup) rp_lookup_free(&j->lookup);
    rp_zone_free(&j->zone);
    rp_free(j);
}

static rp_err fail(struct load *j, rp_err e, const char *what)
{
    if (j->line)
        (void)snprintf(j->error, sizeof j->error, "line %llu: %s", (unsigned long long)j->line,
                       what);
    else (void)snprintf(j->error, sizeof j->error, "%s", what);
    j->job.out = rp_str_z(j->error);
    return e;
}

/* Workers compile what is published: it must compile. */
static bool is_pattern(rp_str line)
{
    struct rp_regex *re = NULL;
    if (rp_str_ends(line, RP_STR("\r"))) line.len--;
    if (line.len == 0 || line.ptr[0] == '#') return true;
    bool good = rp_regex_compile(line, 0, &re, NULL) == RP_OK;
    rp_regex_free(&re);
    return good;
}

static rp_err add_line(struct load *j, struct rp_lookup_maker *m, rp_str line)
{
    static const char *const WHAT[] = {[RP_LOOKUP_NETS] = "not a network",
                                       [RP_LOOKUP_TEXTS] = "too long, or with a NUL",
                                       [RP_LOOKUP_DOMAINS] = "not a domain name",
                                       [RP_LOOKUP_LINES] = "too long, or with a NUL"};
    j->line++;
    if (j->type == RP_LOOKUP_LINES && !is_pattern(line))
        return fail(j, RP_E_INVALID, "not a pattern");
    rp_err e = rp_lookup_line_add(m, j->type, line);
    if (e == RP_E_CAP) return fail(j, e, "the set's memory is full; give it a larger `size`");
    return e == RP_OK ? RP_OK : fail(j, e, WHAT[j->type]);
}

static rp_err keep_rest(struct load *j, rp_str rest)
{
    if (j->left_n + rest.len > sizeof j->left) {
        j->line++;
        return fail(j, RP_E_INVALID, "too long");
    }
    memcpy(j->left + j->left_n, rest.ptr, rest.len);
    j->left_n += rest.len;
    return RP_OK;
}

static rp_err add_chunk(struct load *j, struct rp_lookup_maker *m, rp_str chunk)
{
    rp_err e = RP_OK;
    while (e == RP_OK && chunk.len > 0) {
        size_t end = rp_str_find(chunk, '\n', 0);
        if (end == chunk.len) return keep_rest(j, chunk);
        rp_str line = rp_str_head(chunk, end);
        if (j->left_n > 0) {
            e = keep_rest(j, line);
            line = rp_str_of(j->left, j->left_n);
        }
        if (e == RP_OK) e = add_line(j, m, line);
        j->left_n = 0;
        chunk = rp_str_from(chunk, end + 1);
    }
    return e;
}

static rp_err read_lines(struct load *j, struct rp_lookup_maker *m, int fd)
{
    static const uint64_t READS_MOST = ((uint64_t)4 << 30) / 512;
    char *chunk = rp_alloc(CHUNK);
    rp_err e = RP_OK;
    ssize_t n = 1;
    for (uint64_t i = 0; e == RP_OK && n > 0 && i < READS_MOST; i++) {
        n = RP_SYS(read, read(fd, chunk, CHUNK));
        if (n < 0 && errno == EINTR) n = 1;
        else if (n < 0) e = fail(j, RP_E_OS, "cannot be read");
        else if (n > 0) e = add_chunk(j, m, rp_str_of(chunk, (size_t)n));
    }
    rp_free(chunk);
    if (e == RP_OK && j->left_n > 0) e = add_line(j, m, rp_str_of(j->left, j->left_n));
    return e;
}

static rp_err identify(struct load *j, int fd, struct rp_lookup_id *id)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return fail(j, RP_E_OS,
                    errno == ENOENT ? "no such file" : "cannot be opened by this account");
    if (!S_ISREG(st.st_mode)) return fail(j, RP_E_INVALID, "not a regular file");
    if ((uint64_t)st.st_size > FILE_MOST) return fail(j, RP_E_TOO_BIG, "larger than 4 GB");
    static const struct rp_hash_key KEY = {0x73657473, 0x66696c65};
    *id = (struct rp_lookup_id){.type = j->type,
                                .path_hash = rp_hash_keyed(&KEY, rp_str_z(j->path)),
                                .bytes = (uint64_t)st.st_size,
                                .mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u +
                                            (uint64_t)st.st_mtim.tv_nsec,
                                .inode = st.st_ino};
    return RP_OK;
}

static rp_err make(struct load *j, int fd, const struct rp_lookup_id *id)
{
    struct rp_lookup_maker *m = NULL;
    rp_err e = rp_lookup_begin(j->lookup, j->type, &m);
    if (e == RP_AGAIN) return RP_END;
    if (e != RP_OK) return fail(j, e, "its memory is busy");
    if (rp_lookup_is(j->lookup, id)) { /* made while we came here */
        rp_lookup_drop(&m, NULL);
        return RP_OK;
    }
    e = read_lines(j, m, fd);
    if (e != RP_OK) {
        rp_lookup_drop(&m, e == RP_E_OS ? NULL : id);
        return e;
    }
    j->line = 0;
    e = rp_lookup_publish(&m, id, (uint64_t)rp_clock_wall());
    return e == RP_OK ? RP_OK : fail(j, e, "the set's memory is full; give it a larger `size`");
}

static void load(struct rp_vm_job *job)
{
    struct load *j = RP_CONTAINER(load, job, job);
    struct rp_lookup_id id;
    int fd = RP_SYS(open, open(j->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    rp_err e = identify(j, fd, &id);
    bool known_bad = e == RP_OK && !j->anew && rp_lookup_is_bad(j->lookup, &id);
    if (known_bad) e = RP_E_STALE;
    else if (e == RP_OK && !rp_lookup_is(j->lookup, &id)) e = make(j, fd, &id);
    if (fd >= 0) close(fd);
    job->result = e;
}

static struct rp_vm_job *no(struct rp_host_face *f, struct load *j, const char *why)
{
    f->out = rp_str_z(why);
    if (j) load_free(&j->job);
    return NULL;
}

struct rp_vm_job *rp_abi_lookup_load(struct rp_host_face *f, const char *zone, size_t zone_n,
                                     uint32_t type, const char *path, size_t path_n, bool anew)
{
    const struct rp_zone *z = rp_shared_zone(rp_vm_of(f), rp_str_of(zone, zone_n));
    if (!z || type < RP_LOOKUP_NETS || type > RP_LOOKUP_LINES) return no(f, NULL, "no such set");
    if (path_n >= PATH_MOST || memchr(path, 0, path_n)) return no(f, NULL, "not a path");
    struct load *j = rp_alloc(sizeof *j);
    j->job = (struct rp_vm_job){.run = load, .release = load_free};
    j->type = (enum rp_lookup_type)type;
    j->anew = anew;
    memcpy(j->path, path, path_n);
    if (rp_zone_again(z, &j->zone) != RP_OK) return no(f, j, "its memory cannot be mapped");
    if (rp_lookup_new(j->zone, &j->lookup) != RP_OK) return no(f, j, "its memory is not a set's");
    if (rp_job_start(rp_vm_of(f), &j->job) != RP_OK) return no(f, j, "busy");
    return &j->job;
}

/* ---- looking --------------------------------------------------------------------------------- */

/* The network with so many bits that the address lies in. */
static void put_net(struct rp_host *h, const struct rp_addr *a, uint32_t bits)
{
    struct rp_addr net = *a;
    char text[RP_ADDR_TEXT_BYTES];
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t keep = bits > i * 8 ? RP_MIN(bits - i * 8, 8u) : 0;
        net.ip[i] = (uint8_t)(net.ip[i] & (0xff00u >> keep));
    }
    size_t n = rp_addr_put_ip(&net, text);
    rp_buf_add(&h->line, rp_str_of(text, n));
    rp_buf_addf(&h->line, "/%u", a->family == RP_ADDR_IP4 ? bits - 96 : bits);
}

static rp_err look_net(struct rp_host *h, const struct rp_lookup *l, rp_str key,
                       struct rp_lookup_hit *hit)
{
    struct rp_addr a;
    static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff};
    if (rp_addr_parse_ip(key, &a) != RP_OK) return RP_E_INVALID;
    rp_err e = rp_lookup_net(l, a.ip, hit);
    if (e != RP_OK) return e;
    if (memcmp(a.ip, MAPPED, sizeof MAPPED) == 0) a.family = RP_ADDR_IP4;
    a.scope = 0;
    rp_buf_clear(&h->line);
    put_net(h, &a, hit->n);
    return RP_OK;
}

rp_err rp_abi_lookup(struct rp_host_face *f, const struct rp_lookup *l, uint32_t type,
                     const char *key, size_t n)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_lookup_hit hit;
    rp_str s = rp_str_of(key, n);
    rp_err e = RP_E_INVALID;
    if (type == RP_LOOKUP_NETS) e = look_net(h, l, s, &hit);
    else if (type == RP_LOOKUP_TEXTS) e = rp_lookup_text(l, s, &hit);
    else if (type == RP_LOOKUP_DOMAINS) e = rp_lookup_domain(l, s, &hit);
    if (e != RP_OK) return e;
    rp_buf_clear(&h->text);
    rp_buf_add(&h->text, rp_str_of(hit.value, hit.value_n));
    f->out = rp_buf_str(&h->text);
    f->out2 = type == RP_LOOKUP_NETS ? rp_buf_str(&h->line) : RP_STR_NONE;
    f->number = hit.n;
    return RP_OK;
}

rp_err rp_abi_lookup_line(struct rp_host_face *f, const struct rp_lookup *l, uint32_t i,
                          double version)
{
    struct rp_host *h = rp_vm_of(f);
    char line[RP_LOOKUP_LINE_MOST];
    uint64_t which = (uint64_t)version;
    uint32_t n = 0;
    rp_err e = rp_lookup_line(l, i, &which, line, &n);
    f->number = (double)which;
    if (e != RP_OK) return e;
    rp_buf_clear(&h->text);
    rp_buf_add(&h->text, rp_str_of(line, n));
    f->out = rp_buf_str(&h->text);
    return RP_OK;
}

double rp_abi_lookup_version(const struct rp_lookup *l)
{
    struct rp_lookup_stats s;
    rp_lookup_stats(l, &s);
    return (double)s.version;
}

void rp_abi_lookup_stats(const struct rp_lookup *l, struct rp_lookup_stats *out)
{
    rp_lookup_stats(l, out);
}
