/* SPDX-License-Identifier: MIT
 *
 * plan: the flat form: magic, numbers, then texts as a u64 length and its bytes, all in the
 * machine's order: a plan never leaves the machine.
 */
#include "process/plan.h"

#include "base/log.h"
#include "base/mem.h"
#include "process/os.h"
#include "proxy/conf.h"
#include "shm/share.h"

static const char MAGIC[8] = "RPplan1";
enum { DRAIN_MOST_MS = 0x7fffffff, /* 24 days */ KEYS_LEAST_MS = 60000, KEYS_MOST_MS = 0x7fffffff };

enum { ZONE_NAME_MOST = 32 };
static const uint64_t ZONE_BYTES_MOST = UINT64_C(1) << 36;

/* ---- writing ------------------------------------------------------------------------------- */

static void put(struct rp_buf *out, const void *p, size_t n)
{
    rp_buf_add(out, rp_str_of(p, n));
}

static void put_u64(struct rp_buf *out, uint64_t value)
{
    put(out, &value, sizeof value);
}

static void put_text(struct rp_buf *out, rp_str s)
{
    put_u64(out, s.len);
    rp_buf_add(out, s);
}

void rp_plan_save(const struct rp_conf *c, rp_str bundle, rp_str description,
                  const struct rp_plan_watched *watched, uint32_t watched_n, struct rp_buf *out)
{
    if (!c->watch) watched_n = 0;
    uint64_t workers = c->workers ? c->workers : rp_os_cores();
    put(out, MAGIC, sizeof MAGIC);
    put_u64(out, RP_MIN(workers, (uint64_t)RP_PLAN_WORKERS_MOST));
    put_u64(out, c->agent);
    put_u64(out, c->log_level);
    put_u64(out, RP_MIN(c->error_log_file, (uint64_t)RP_PLAN_NO_FILE));
    put_u64(out, RP_MIN(c->drain_ms, (uint64_t)DRAIN_MOST_MS));
    put_u64(out, RP_MIN(c->ticket_keys_ms, (uint64_t)KEYS_MOST_MS));
    put_text(out, c->user);
    put_text(out, c->pid_file);
    put_text(out, c->user_at);
    put_text(out, c->pid_file_at);
    put_u64(out, c->listeners_n);
    for (uint32_t i = 0; i < c->listeners_n; i++) {
        put(out, &c->listeners[i].addr, sizeof c->listeners[i].addr);
        put_text(out, c->listeners[i].text);
        put_u64(out, c->listeners[i].udp);
    }
    put_u64(out, c->files_n);
    for (uint32_t i = 0; i < c->files_n; i++) put_text(out, c->files[i]);
    put_u64(out, c->upstreams_n);
    for (uint32_t i = 0; i < c->upstreams_n; i++) put_text(out, c->upstreams[i]->name);
    put_u64(out, c->zones_n);
    for (uint32_t i = 0; i < c->zones_n; i++) {
        put_text(out, c->zones[i].name);
        put_u64(out, c->zones[i].kind);
        put_u64(out, c->zones[i].bytes);
        put_u64(out, c->zones[i].tag);
    }
    put_u64(out, watched_n);
    for (uint32_t i = 0; i < watched_n; i++) {
        put_text(out, watched[i].path);
        put_u64(out, watched[i].stamp);
    }
    put_text(out, bundle);
    put_text(out, description);
}

/* ---- reading ------------------------------------------------------------------------------- */

/* What is left of the flat form; `bad` sticks and makes every later answer empty. */
struct reader {
    rp_str rest;
    bool bad;
};

static void get(struct reader *r, void *out, size_t n)
{
    memset(out, 0, n);
    if (r->bad || r->rest.len < n) {
        r->bad = true;
        return;
    }
    memcpy(out, r->rest.ptr, n);
    r->rest = rp_str_from(r->rest, n);
}

static uint64_t get_u64(struct reader *r, uint64_t least, uint64_t most)
{
    uint64_t value;
    get(r, &value, sizeof value);
    if (value >= least && value <= most) return value;
    r->bad = true;
    return least;
}

static rp_str get_bytes(struct reader *r, uint64_t most)
{
    uint64_t n = get_u64(r, 0, most);
    if (r->bad || n > r->rest.len) {
        r->bad = true;
        return RP_STR_NONE;
    }
    rp_str s = rp_str_head(r->rest, (size_t)n);
    r->rest = rp_str_from(r->rest, (size_t)n);
    return s;
}

/* A name or path: something that is safe to log and to give to the system. */
static rp_str get_text(struct reader *r)
{
    rp_str s = get_bytes(r, RP_PLAN_TEXT_MOST);
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f) r->bad = true;
    return s;
}

static bool is_address(const struct rp_addr *a)
{
    if (a->family == RP_ADDR_IP4 || a->family == RP_ADDR_IP6) return true;
    return a->family == RP_ADDR_UNIX && a->unix_path[0] != 0 &&
           memchr(a->unix_path, 0, sizeof a->unix_path) != NULL;
}

static void get_listeners(struct reader *r, struct rp_plan *p)
{
    p->listeners_n = (uint32_t)get_u64(r, 0, RP_PLAN_LISTENERS_MOST);
    p->listeners = rp_alloc(sizeof *p->listeners * p->listeners_n);
    for (uint32_t i = 0; i < p->listeners_n && !r->bad; i++) {
        get(r, &p->listeners[i].addr, sizeof p->listeners[i].addr);
        p->listeners[i].text = get_text(r);
        p->listeners[i].udp = get_u64(r, 0, 1);
        if (!is_address(&p->listeners[i].addr)) r->bad = true;
        if (p->listeners[i].udp && p->listeners[i].addr.family == RP_ADDR_UNIX) r->bad = true;
    }
}

static void get_files(struct reader *r, struct rp_plan *p)
{
    p->files_n = (uint32_t)get_u64(r, 0, RP_PLAN_FILES_MOST);
    p->files = rp_alloc(sizeof *p->files * p->files_n);
    for (uint32_t i = 0; i < p->files_n && !r->bad; i++) {
        p->files[i] = get_text(r);
        if (p->files[i].len == 0) r->bad = true;
    }
}

static void get_upstreams(struct reader *r, struct rp_plan *p)
{
    uint64_t n = get_u64(r, 0, UINT32_MAX);
    if (n > r->rest.len / sizeof(uint64_t)) r->bad = true; /* more than there is room for */
    if (r->bad) return;
    p->upstreams = rp_alloc(sizeof *p->upstreams * (n + 1));
    for (uint32_t i = 0; i < n && !r->bad; i++)
        p->upstreams[p->upstreams_n++] = get_bytes(r, RP_PLAN_BYTES_MOST); /* only compared */
}

static void get_zones(struct reader *r, struct rp_plan *p)
{
    p->zones_n = (uint32_t)get_u64(r, 0, RP_PLAN_ZONES_MOST);
    p->zones = rp_alloc(sizeof *p->zones * p->zones_n);
    for (uint32_t i = 0; i < p->zones_n && !r->bad; i++) {
        struct rp_plan_zone *z = &p->zones[i];
        z->name = get_text(r);
        z->kind = (uint32_t)get_u64(r, RP_SHARE_STORE, RP_SHARE_KINDS);
        z->bytes = get_u64(r, RP_DICT_BYTES_LEAST, ZONE_BYTES_MOST);
        z->tag = get_u64(r, 0, UINT64_MAX);
        if (z->name.len == 0 || z->name.len > ZONE_NAME_MOST) r->bad = true;
    }
}

static void get_watched(struct reader *r, struct rp_plan *p)
{
    uint64_t n = get_u64(r, 0, RP_PLAN_WATCHED_MOST);
    if (n > r->rest.len / sizeof(uint64_t)) r->bad = true; /* more than there is room for */
    if (r->bad) return;
    p->watched = rp_alloc(sizeof *p->watched * n);
    for (uint32_t i = 0; i < n && !r->bad; i++) {
        p->watched[p->watched_n++].path = get_text(r);
        p->watched[i].stamp = get_u64(r, 0, UINT64_MAX);
    }
}

static void get_plan(struct reader *r, struct rp_plan *p)
{
    char magic[sizeof MAGIC];
    get(r, magic, sizeof magic);
    if (memcmp(magic, MAGIC, sizeof magic) != 0) r->bad = true;
    p->workers = (uint32_t)get_u64(r, 1, RP_PLAN_WORKERS_MOST);
    p->agent = get_u64(r, 0, 1) != 0;
    p->log_level = (uint32_t)get_u64(r, RP_LOG_debug, RP_LOG_alert);
    p->error_log_file = (uint32_t)get_u64(r, 0, RP_PLAN_NO_FILE);
    p->drain_ms = get_u64(r, 0, DRAIN_MOST_MS);
    p->ticket_keys_ms = get_u64(r, KEYS_LEAST_MS, KEYS_MOST_MS);
    p->user = get_text(r);
    p->pid_file = get_text(r);
    p->user_at = get_text(r);
    p->pid_file_at = get_text(r);
    get_listeners(r, p);
    get_files(r, p);
    get_upstreams(r, p);
    get_zones(r, p);
    get_watched(r, p);
    p->bundle = get_bytes(r, RP_PLAN_BYTES_MOST);
    p->description = get_bytes(r, RP_PLAN_BYTES_MOST);
    if (p->error_log_file >= p->files_n && p->error_log_file != RP_PLAN_NO_FILE) r->bad = true;
    if (r->rest.len) r->bad = true;
}

rp_err rp_plan_load(rp_str flat, struct rp_plan **out)
{
    struct reader r = {.rest = flat};
    struct rp_plan *p = rp_alloc(sizeof *p);
    get_plan(&r, p);
    if (r.bad) {
        rp_plan_free(&p);
        return RP_E_INVALID;
    }
    *out = p;
    return RP_OK;
}

void rp_plan_free(struct rp_plan **p)
{
    if (!*p) return;
    rp_free((*p)->listeners);
    rp_free((*p)->files);
    rp_free((*p)->upstreams);
    rp_free((*p)->zones);
    rp_free((*p)->watched);
    rp_free(*p);
    *p = NULL;
}
