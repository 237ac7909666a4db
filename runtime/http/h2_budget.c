/* SPDX-License-Identifier: MIT
 *
 * h2_budget: see h2_budget.h.
 */
#include "http/h2_budget.h"

#include "base/err.h"

/* What the busiest honest clients need, several times over: a page that is left cancels its
 * hundred streams; a client that measures sends a PING for each window it receives. */
static const struct rule {
    const char *name;
    uint32_t burst, per_second;
} RULES[RP_H2_NUISANCES] = {
    [RP_H2_RESETS] = {"resets", 300, 50},   [RP_H2_CONTROLS] = {"controls", 1000, 200},
    [RP_H2_EMPTIES] = {"empties", 200, 20}, [RP_H2_WINDOWS] = {"windows", 1000, 200},
    [RP_H2_FAULTS] = {"faults", 100, 10},
};

bool rp_h2_budget_take(struct rp_h2_budget *b, enum rp_h2_nuisance kind, rp_ms now)
{
    const struct rule *r = &RULES[kind];
    rp_ms passed = now - b->at_ms[kind];
    uint64_t back = passed >= 60000 ? UINT32_MAX : passed * r->per_second / 1000;
    if (back > 0) {
        b->spent[kind] = back >= b->spent[kind] ? 0 : b->spent[kind] - (uint32_t)back;
        b->at_ms[kind] = now;
    }
    if (b->spent[kind] >= r->burst) return false;
    b->spent[kind]++;
    return true;
}

static void earn(struct rp_h2_budget *b, enum rp_h2_nuisance kind, uint32_t n)
{
    b->spent[kind] -= RP_MIN(b->spent[kind], n);
}

void rp_h2_budget_earn(struct rp_h2_budget *b, bool whole)
{
    earn(b, RP_H2_CONTROLS, 1);
    if (whole) earn(b, RP_H2_WINDOWS, 2); /* of the stream, of the connection */
}

void rp_h2_budget_opened(struct rp_h2_budget *b)
{
    earn(b, RP_H2_WINDOWS, 1);
}

const char *rp_h2_nuisance_name(enum rp_h2_nuisance kind)
{
    return RULES[kind].name;
}
