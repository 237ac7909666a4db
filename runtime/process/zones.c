/* SPDX-License-Identifier: MIT
 *
 * zones: see zones.h. The master takes no lock in a zone: it only adds up counts.
 */
#include "process/zones.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "process/os.h"

struct rp_zones_one {
    char name[RP_ZONE_NAME_BYTES];
    uint32_t kind;
    uint64_t bytes, tag;
    struct rp_zone *zone;
    struct rp_share share;
};

static const struct rp_zones_one *find(const struct rp_zones *z, const char *name)
{
    for (uint32_t i = 0; z && i < z->n; i++)
        if (strcmp(z->list[i].name, name) == 0) return &z->list[i];
    return NULL;
}

static bool is_same(const struct rp_zones_one *a, const struct rp_zones_one *b)
{
    return a && b && a->kind == b->kind && a->bytes == b->bytes && a->tag == b->tag;
}

static rp_err open_zone(struct rp_zones_one *one, const struct rp_zones_one *before)
{
    if (!is_same(one, before)) return rp_zone_new(rp_str_z(one->name), one->bytes, &one->zone);
    int fd = rp_os_dup(before->zone->fd);
    if (fd < 0) return RP_E_OS;
    rp_err e = rp_zone_adopt(fd, &one->zone);
    if (e != RP_OK) rp_os_close(&fd);
    return e;
}

rp_err rp_zones_open(struct rp_zones *z, const struct rp_zones *old, const struct rp_plan *plan,
                     struct rp_buf *error)
{
    *z = (struct rp_zones){.list = rp_alloc(sizeof *z->list * plan->zones_n),
                           .fds = rp_alloc(sizeof *z->fds * plan->zones_n)};
    for (uint32_t i = 0; i < plan->zones_n; i++) {
        const struct rp_plan_zone *p = &plan->zones[i];
        struct rp_zones_one *one = &z->list[z->n++];
        *one = (struct rp_zones_one){.kind = p->kind, .bytes = p->bytes, .tag = p->tag};
        memcpy(one->name, p->name.ptr, RP_MIN(p->name.len, sizeof one->name - 1));
        rp_err e = open_zone(one, find(old, one->name));
        if (e == RP_OK) e = rp_share_open(one->zone, one->kind, &one->share);
        if (e != RP_OK) {
            rp_buf_addf(error, "shared.%s: no memory of %llu bytes: %s", one->name,
                        (unsigned long long)one->bytes, rp_err_text(e));
            rp_zones_close(z);
            return e;
        }
        z->fds[i] = one->zone->fd;
    }
    return RP_OK;
}

void rp_zones_close(struct rp_zones *z)
{
    for (uint32_t i = 0; i < z->n; i++) {
        rp_share_close(&z->list[i].share);
        rp_zone_free(&z->list[i].zone);
    }
    rp_free(z->list);
    rp_free(z->fds);
    *z = (struct rp_zones){0};
}

void rp_zones_tell(const struct rp_zones *z, const struct rp_zones *old)
{
    for (uint32_t i = 0; i < old->n; i++) {
        const struct rp_zones_one *was = &old->list[i], *is = find(z, was->name);
        if (is && !is_same(is, was))
            rp_log(notice, "shared.%s starts empty: was %s of %llu bytes, is %s of %llu bytes",
                   was->name, rp_share_kind_name(was->kind), (unsigned long long)was->bytes,
                   rp_share_kind_name(is->kind), (unsigned long long)is->bytes);
        else if (!is) rp_log(notice, "shared.%s is gone with its contents", was->name);
    }
}

void rp_zones_forget(struct rp_zones *z, uint32_t worker)
{
    for (uint32_t i = 0; i < z->n; i++) rp_share_forget(&z->list[i].share, worker);
}

void rp_zones_status(const struct rp_zones *z, struct rp_buf *out)
{
    for (uint32_t i = 0; i < z->n; i++) {
        rp_buf_addf(out, "shared.%s: %s, ", z->list[i].name, rp_share_kind_name(z->list[i].kind));
        rp_share_status(&z->list[i].share, out);
        rp_buf_add_ch(out, '\n');
    }
}
