/* SPDX-License-Identifier: MIT
 *
 * abi_split: splits for Lua: the builder's part, and what the agent sees and says of rollouts.
 */
#include "proxy/proxy.h"
#include "script/vm.h"
#include "shm/splits.h"

/* ---- builder -------------------------------------------------------------------------------- */

rp_err rp_abi_conf_add_split(struct rp_conf *c, const char *name, size_t name_n, uint32_t *index)
{
    return rp_conf_add_split(c, rp_str_of(name, name_n), index);
}

rp_err rp_abi_conf_add_split_side(struct rp_conf *c, uint32_t split, uint32_t upstream,
                                  uint32_t share)
{
    return rp_conf_add_split_side(c, split, upstream, share);
}

rp_err rp_abi_conf_add_split_step(struct rp_conf *c, uint32_t split, uint32_t share)
{
    return rp_conf_add_split_step(c, split, share);
}

rp_err rp_abi_conf_add_split_hash(struct rp_conf *c, uint32_t split, uint32_t part,
                                  const char *name, size_t name_n)
{
    return rp_conf_add_split_hash(c, split, part, rp_str_of(name, name_n));
}

rp_err rp_abi_conf_add_split_rule(struct rp_conf *c, uint32_t split, uint32_t upstream)
{
    return rp_conf_add_split_rule(c, split, upstream);
}

rp_err rp_abi_conf_add_split_cond(struct rp_conf *c, uint32_t split, uint32_t kind, uint32_t op,
                                  bool negate, const char *name, size_t name_n, const char *value,
                                  size_t value_n, struct rp_conf_error *e)
{
    return rp_conf_add_split_cond(c, split, kind, op, negate, rp_str_of(name, name_n),
                                  rp_str_of(value, value_n), e);
}

rp_err rp_abi_conf_set_split(struct rp_conf *c, uint32_t split, const char *key, size_t key_n,
                             double value)
{
    return rp_conf_set_split(c, split, rp_str_of(key, key_n), value);
}

rp_err rp_abi_conf_set_split_text(struct rp_conf *c, uint32_t split, const char *key, size_t key_n,
                                  const char *value, size_t value_n)
{
    return rp_conf_set_split_text(c, split, rp_str_of(key, key_n), rp_str_of(value, value_n));
}

/* ---- rollouts ------------------------------------------------------------------------------- */

/* NULL: there is none, or this configuration is not in use yet. */
static struct rp_splits *find(const struct rp_host *h, uint32_t split, uint32_t *place)
{
    if (!h->proxy || !h->conf || split >= h->conf->splits_n) return NULL;
    *place = h->conf->splits[split]->place;
    return *place == UINT32_MAX ? NULL : h->proxy->splits;
}

bool rp_abi_split_look(const struct rp_host_face *f, uint32_t split, struct rp_abi_rollout *out)
{
    uint32_t place;
    struct rp_split_report report;
    const struct rp_host *h = (const struct rp_host *)(const void *)f;
    const struct rp_splits *s = find(h, split, &place);
    if (!s || !rp_splits_look(s, place, &report)) return false;
    *out = (struct rp_abi_rollout){.state = report.state,
                                   .step = report.step,
                                   .steps_n = report.steps_n,
                                   .share = report.sides[report.canary].share};
    uint64_t now = rp_loop_now(h->proxy->loop);
    out->age_s = now > report.since_ms ? (double)(now - report.since_ms) / 1000 : 0;
    const struct rp_split_side *sides[] = {&report.sides[report.canary],
                                           &report.sides[report.base]};
    for (uint32_t i = 0; i < RP_COUNT(sides); i++) {
        out->sides[i].requests = (double)sides[i]->step.requests;
        out->sides[i].failures = (double)sides[i]->step.failures;
        out->sides[i].timed = (double)sides[i]->step.timed;
    }
    return true;
}

double rp_abi_split_time(const struct rp_host_face *f, uint32_t split, bool of_canary,
                         double quantile)
{
    uint32_t place;
    struct rp_split_report report;
    const struct rp_splits *s = find((const struct rp_host *)(const void *)f, split, &place);
    if (!s || !rp_splits_look(s, place, &report) || !(quantile >= 0 && quantile <= 1)) return 0;
    const struct rp_split_side *side = &report.sides[of_canary ? report.canary : report.base];
    return (double)rp_split_quantile(&side->step, (uint32_t)(quantile * 1e6)) / 1e6;
}

rp_err rp_abi_split_say(struct rp_host_face *f, uint32_t split, uint32_t word, uint32_t step,
                        const char *why, size_t why_n)
{
    uint32_t place;
    const struct rp_host *h = rp_vm_of(f);
    struct rp_splits *s = find(h, split, &place);
    if (!s || word > RP_SPLIT_PROMOTE) return RP_E_INVALID;
    return rp_splits_say(s, place, (enum rp_split_word)word, step, rp_str_of(why, why_n),
                         rp_loop_now(h->proxy->loop));
}
