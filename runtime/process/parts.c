/* SPDX-License-Identifier: MIT
 *
 * parts: see parts.h. A part whose memory changes its meaning gets another number at the end of its
 * name: that is how a new version knows what it may go on with.
 */
#include "process/parts.h"

#include "process/master_in.h"
#include "process/stats.h"
#include "proxy/staples.h"
#include "proxy/sticky.h"
#include "shm/dict.h"

/* Room for the largest number of workers that a reload may ask for; pages that nobody touches take
 * no memory. */
static size_t crumbs_bytes(void)
{
    return rp_crumb_bytes(RP_PLAN_SLOTS, RP_CRUMB_NAMES_DEFAULT);
}

static rp_err crumbs_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    return rp_crumb_new(z, name, RP_PLAN_SLOTS, RP_CRUMB_NAMES_DEFAULT, &m->crumbs);
}

static size_t counters_bytes(void)
{
    return rp_counter_bytes(RP_PLAN_SLOTS, RP_STATS_CAP);
}

static rp_err counters_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    rp_err e = rp_counter_new(z, name, RP_PLAN_SLOTS, RP_STATS_CAP, &m->counters);
    if (e != RP_OK) return e;
    e = rp_stats_register(m->counters, &m->stats);
    if (e != RP_OK) rp_counter_free(&m->counters);
    return e;
}

static size_t metrics_bytes(void)
{
    return rp_metric_bytes(RP_PLAN_SLOTS);
}

static rp_err metrics_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    return rp_metric_new(z, name, RP_PLAN_SLOTS, &m->metrics);
}

static rp_err keyring_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    return rp_keyring_new(z, name, &m->keyring);
}

static rp_err once_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    return rp_once_new(z, name, &m->once);
}

static size_t census_bytes(void)
{
    return rp_census_bytes(RP_PLAN_SLOTS, RP_CENSUS_NETS_DEFAULT);
}

static rp_err census_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    return rp_census_new(z, name, RP_PLAN_SLOTS, RP_CENSUS_NETS_DEFAULT, &m->census);
}

static size_t roster_bytes(void)
{
    return rp_roster_bytes(RP_PLAN_SLOTS, RP_ROSTER_PLACES_DEFAULT);
}

static rp_err roster_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    return rp_roster_new(z, name, RP_PLAN_SLOTS, RP_ROSTER_PLACES_DEFAULT, &m->roster);
}

/* Two of a kind: one is written by the agent, the other by the master. Both tell the roster. */
static size_t members_bytes(void)
{
    return rp_members_bytes(RP_MEMBERS_SETS_DEFAULT, RP_MEMBERS_TEXT_DEFAULT);
}

static rp_err members_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    return rp_members_new(z, name, RP_MEMBERS_SETS_DEFAULT, RP_MEMBERS_TEXT_DEFAULT, m->roster,
                          &m->members);
}

static size_t orders_bytes(void)
{
    return rp_members_bytes(RP_MEMBERS_SETS_DEFAULT, RP_MEMBERS_TEXT_OPERATOR);
}

static rp_err orders_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    return rp_members_new(z, name, RP_MEMBERS_SETS_DEFAULT, RP_MEMBERS_TEXT_OPERATOR, m->roster,
                          &m->orders);
}

static size_t splits_bytes(void)
{
    return rp_splits_bytes(RP_PLAN_SLOTS, RP_SPLITS_PLACES);
}

static rp_err splits_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    return rp_splits_new(z, name, RP_PLAN_SLOTS, RP_SPLITS_PLACES, &m->splits);
}

static size_t staples_bytes(void)
{
    return RP_STAPLES_BYTES;
}

static rp_err staples_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    (void)name; /* a dict fills its zone, and knows its layout itself */
    return rp_dict_new(z, RP_DICT_CACHE, &m->staples);
}

static size_t learned_bytes(void)
{
    return RP_STICKY_LEARNED_BYTES;
}

static rp_err learned_open(struct rp_master *m, struct rp_zone *z, rp_str name)
{
    (void)name; /* as above */
    return rp_dict_new(z, RP_DICT_CACHE, &m->learned);
}

static const struct part {
    const char *name;
    size_t (*bytes)(void);
    rp_err (*open)(struct rp_master *m, struct rp_zone *z, rp_str name);
} PARTS[] = {
    {"crumbs1", crumbs_bytes, crumbs_open},    {"counters1", counters_bytes, counters_open},
    {"metrics1", metrics_bytes, metrics_open}, {"tickets1", rp_keyring_bytes, keyring_open},
    {"early1", rp_once_bytes, once_open},      {"census1", census_bytes, census_open},
    {"roster1", roster_bytes, roster_open},    {"staples1", staples_bytes, staples_open},
    {"splits1", splits_bytes, splits_open},    {"members1", members_bytes, members_open},
    {"orders1", orders_bytes, orders_open},    {"sticky1", learned_bytes, learned_open},
};

_Static_assert(RP_COUNT(PARTS) <= RP_PARTS_MOST, "there is a place for each");

uint32_t rp_parts_count(void)
{
    return RP_COUNT(PARTS);
}

const char *rp_parts_name(uint32_t i)
{
    return PARTS[i].name;
}

/* RP_END: it is not laid out as ours. */
static rp_err take_over(struct rp_master *m, uint32_t i, const struct rp_zone *old)
{
    struct rp_zone *z;
    rp_err e = rp_zone_again(old, &z);
    if (e != RP_OK) return e;
    /* The zone is named as its part is: a dict inside has a name of its own. */
    bool same = rp_str_eq(rp_zone_name(z), rp_str_z(PARTS[i].name));
    e = same ? PARTS[i].open(m, z, rp_str_z(PARTS[i].name)) : RP_E_INVALID;
    if (e == RP_OK) m->parts.zones[i] = z;
    else rp_zone_free(&z);
    return e == RP_E_INVALID || e == RP_E_CAP ? RP_END : e;
}

static rp_err lay_out(struct rp_master *m, uint32_t i)
{
    rp_str name = rp_str_z(PARTS[i].name);
    rp_err e = rp_zone_new(name, PARTS[i].bytes(), &m->parts.zones[i]);
    return e == RP_OK ? PARTS[i].open(m, m->parts.zones[i], name) : e;
}

rp_err rp_parts_open(struct rp_master *m, const struct rp_parts *old, struct rp_buf *lost,
                     struct rp_buf *error)
{
    for (uint32_t i = 0; i < RP_COUNT(PARTS); i++) {
        const struct rp_zone *was = old ? old->zones[i] : NULL;
        rp_err e = was ? take_over(m, i, was) : RP_END;
        if (was && e == RP_END)
            rp_buf_addf(lost, "%s starts anew: this version lays it out otherwise\n",
                        PARTS[i].name);
        if (e == RP_END) e = lay_out(m, i);
        if (e == RP_OK) continue;
        rp_buf_addf(error, "no shared memory for %s: %s", PARTS[i].name, rp_err_text(e));
        return e;
    }
    return RP_OK;
}

void rp_parts_close(struct rp_master *m)
{
    rp_census_free(&m->census);
    rp_members_free(&m->members);
    rp_members_free(&m->orders);
    rp_roster_free(&m->roster);
    rp_splits_free(&m->splits);
    rp_keyring_free(&m->keyring);
    rp_once_free(&m->once);
    rp_metric_free(&m->metrics);
    rp_counter_free(&m->counters);
    rp_crumb_free(&m->crumbs);
    rp_dict_free(&m->staples);
    rp_dict_free(&m->learned);
    for (uint32_t i = 0; i < RP_PARTS_MOST; i++) rp_zone_free(&m->parts.zones[i]);
}
