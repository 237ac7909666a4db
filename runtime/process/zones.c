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
    bool kept; /* memory that was there before */
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

static rp_err make(struct rp_zones_one *one)
{
    rp_err e = rp_zone_new(rp_str_z(one->name), one->bytes, &one->zone);
    return e == RP_OK ? rp_share_open(one->zone, one->kind, &one->share) : e;
}

/* RP_END: it is laid out otherwise. */
static rp_err go_on_with(struct rp_zones_one *one, const struct rp_zones_one *before)
{
    rp_err e = rp_zone_again(before->zone, &one->zone);
    if (e != RP_OK) return e;
    e = rp_share_open(one->zone, one->kind, &one->share);
    if (e != RP_E_INVALID && e != RP_E_CAP) return e;
    rp_share_close(&one->share);
    rp_zone_free(&one->zone);
    return RP_END;
}

static rp_err open_zone(struct rp_zones_one *one, const struct rp_zones_one *before)
{
    rp_err e = is_same(one, before) ? go_on_with(one, before) : RP_END;
    one->kept = e == RP_OK;
    return e == RP_END ? make(one) : e;
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

void rp_zones_tell(const struct rp_zones *z, const struct rp_zones *old, struct rp_buf *out)
{
    for (uint32_t i = 0; i < old->n; i++) {
        const struct rp_zones_one *was = &old->list[i], *is = find(z, was->name);
        if (!is) rp_buf_addf(out, "shared.%s is gone with its contents\n", was->name);
        else if (!is_same(is, was))
            rp_buf_addf(out, "shared.%s starts empty: was %s of %llu bytes, is %s of %llu bytes\n",
                        was->name, rp_share_kind_name(was->kind), (unsigned long long)was->bytes,
                        rp_share_kind_name(is->kind), (unsigned long long)is->bytes);
        else if (!is->kept)
            rp_buf_addf(out, "shared.%s starts empty: this version lays it out otherwise\n",
                        was->name);
    }
}

void rp_zones_put(const struct rp_zones *z, struct rp_handover_out *o)
{
    for (uint32_t i = 0; i < z->n; i++) {
        const struct rp_zones_one *one = &z->list[i];
        RP_HANDOVER_PUT(o, "zone", rp_str_z(one->name), rp_handover_fd(o, one->zone->fd), one->kind,
                        one->bytes, one->tag);
    }
}

bool rp_zones_take(struct rp_zones *z, struct rp_handover_in *in,
                   const struct rp_handover_record *r, struct rp_buf *lost)
{
    struct rp_zone *zone = NULL;
    struct rp_zones_one one = {
        .kind = (uint32_t)r->n[1], .bytes = r->n[2], .tag = r->n[3], .kept = true};
    int fd = rp_handover_fd_of(in, r->n[0]);
    if (!rp_handover_is(r, "zone")) return false;
    bool fine = z->n < RP_PLAN_ZONES_MOST && r->text.len < sizeof one.name && r->text.len &&
                rp_os_set_cloexec(fd, true);
    in->bad = in->bad || !fine;
    if (!fine) return false;
    memcpy(one.name, r->text.ptr, r->text.len);
    if (rp_zone_adopt(fd, &zone) != RP_OK) {
        rp_os_close(&fd);
        rp_buf_addf(lost, "shared.%s is lost: its memory is not known to this version\n", one.name);
        return false;
    }
    one.zone = zone;
    z->list = rp_realloc(z->list, sizeof *z->list * (z->n + 1));
    z->fds = rp_realloc(z->fds, sizeof *z->fds * (z->n + 1));
    z->fds[z->n] = zone->fd;
    z->list[z->n++] = one;
    return true;
}

rp_err rp_zones_use(struct rp_zones *z)
{
    for (uint32_t i = 0; i < z->n; i++) {
        rp_err e = rp_share_open(z->list[i].zone, z->list[i].kind, &z->list[i].share);
        if (e != RP_OK) return e;
    }
    return RP_OK;
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
