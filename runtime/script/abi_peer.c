/* SPDX-License-Identifier: MIT
 *
 * abi_peer: what Lua may know and say about peers of upstreams, in the agent: members that providers
 * bring, and what checks find.
 */
#include "base/log.h"
#include "proxy/guard.h"
#include "proxy/member.h"
#include "proxy/upstream.h"
#include "script/vm.h"
#include "shm/members.h"

/* NULL: there is none, or this configuration is not in use. */
static struct rp_group *find_group(const struct rp_host *h, uint32_t upstream)
{
    if (!h->proxy) return NULL;
    return rp_groups_at(rp_groups_find(h->proxy, h->conf), upstream);
}

static const struct rp_peer *find_peer(const struct rp_host *h, uint32_t upstream, rp_str name)
{
    const struct rp_group *g = find_group(h, upstream);
    int at = g ? rp_group_find(g, name) : -1;
    return at < 0 ? NULL : g->peers[at];
}

int32_t rp_abi_upstream_circuit(const struct rp_host_face *f, uint32_t upstream)
{
    const struct rp_host *h = (const struct rp_host *)(const void *)f;
    const struct rp_group *g = find_group(h, upstream);
    return g ? rp_guard_circuit(g) : -1;
}

/* ---- checks --------------------------------------------------------------------------------- */

int32_t rp_abi_peer_health(const struct rp_host_face *f, uint32_t upstream, const char *name,
                           size_t n)
{
    const struct rp_host *h = (const struct rp_host *)(const void *)f;
    const struct rp_peer *p = find_peer(h, upstream, rp_str_of(name, n));
    if (!p) return -1;
    if (p->place == RP_PEER_UNPLACED) return RP_ROSTER_UNKNOWN;
    return rp_roster_facts(h->proxy->roster, p->place).health;
}

bool rp_abi_peer_report(struct rp_host_face *f, uint32_t upstream, const char *name, size_t n,
                        uint32_t health, bool ok)
{
    const struct rp_host *h = rp_vm_of(f);
    const struct rp_peer *p = find_peer(h, upstream, rp_str_of(name, n));
    if (!p || p->place == RP_PEER_UNPLACED || health > RP_ROSTER_FAILING) return false;
    rp_roster_note_check(h->proxy->roster, p->place, ok, rp_loop_now(h->proxy->loop));
    return rp_roster_set_health(h->proxy->roster, p->place, (enum rp_roster_health)health,
                                rp_loop_now(h->proxy->loop));
}

rp_err rp_abi_peer_names(struct rp_host_face *f, uint32_t upstream)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_group *g = find_group(h, upstream);
    if (!g) return RP_E_NOT_FOUND;
    rp_group_settle(g);
    rp_buf_clear(&h->text);
    for (uint32_t i = 0; i < g->peers_n; i++) {
        rp_buf_add(&h->text, g->peers[i]->conf->name);
        rp_buf_add_ch(&h->text, '\n');
    }
    f->out = rp_buf_str(&h->text);
    return h->text.failed ? RP_E_TOO_BIG : RP_OK;
}

rp_err rp_abi_peer_view(struct rp_host_face *f, uint32_t upstream)
{
    static const char *const HEALTH[] = {"absent", "down", "up"};
    struct rp_host *h = rp_vm_of(f);
    struct rp_group *g = find_group(h, upstream);
    if (!g) return RP_E_NOT_FOUND;
    rp_group_settle(g);
    rp_buf_clear(&h->text);
    for (uint32_t i = 0; i < g->peers_n; i++) {
        const struct rp_balance_peer *v = &g->view.peers[i];
        rp_buf_add_escaped(&h->text, g->peers[i]->conf->name);
        rp_buf_addf(&h->text, "\t%u\t%u\t%s\t%s\n", v->full_weight, v->weight, HEALTH[v->health],
                    v->live ? "live" : "-");
    }
    f->out = rp_buf_str(&h->text);
    return h->text.failed ? RP_E_TOO_BIG : RP_OK;
}

/* ---- members -------------------------------------------------------------------------------- */

double rp_abi_members_epoch(const struct rp_host_face *f)
{
    const struct rp_host *h = (const struct rp_host *)(const void *)f;
    uint64_t sum = 0;
    for (int i = 0; h->proxy && i < 2; i++)
        if (h->proxy->members[i]) sum += rp_members_epoch(h->proxy->members[i]);
    return (double)sum;
}

static bool has_provider(const struct rp_conf *c, rp_str name)
{
    for (uint32_t i = 0; i < c->upstreams_n; i++)
        if (rp_str_eq(c->upstreams[i]->name, name)) return c->upstreams[i]->live;
    return false;
}

static rp_err refuse(struct rp_host *h, rp_str text, uint32_t line_n)
{
    rp_str line = text;
    for (uint32_t i = 1; i < line_n; i++)
        line = rp_str_from(line, RP_MIN(rp_str_find(line, '\n', 0) + 1, line.len));
    line = rp_str_head(line, rp_str_find(line, '\n', 0));
    rp_buf_clear(&h->text);
    rp_buf_add_z(&h->text, "this cannot be a member: ");
    rp_buf_add_escaped(&h->text, rp_str_head(line, RP_MIN(line.len, (size_t)200)));
    h->face.out = rp_buf_str(&h->text);
    return RP_E_INVALID;
}

rp_err rp_abi_members_put(struct rp_host_face *f, const char *name, size_t name_n, const char *text,
                          size_t text_n)
{
    struct rp_host *h = rp_vm_of(f);
    bool changed;
    uint32_t line_n;
    rp_str set = rp_str_of(text, text_n), upstream = rp_str_of(name, name_n);
    if (!h->proxy) return RP_E_PHASE;
    if (rp_abi_conf_use(f, name, name_n) == RP_USE_WAITING) return RP_E_PHASE;
    if (rp_abi_conf_use(f, name, name_n) == RP_USE_OVER) return RP_E_STALE;
    if (!h->proxy->members[0] || !has_provider(h->conf, upstream)) return RP_E_NOT_FOUND;
    if (rp_member_check(set, &line_n) != RP_OK) return refuse(h, set, line_n);
    rp_err e = rp_members_put(h->proxy->members[0], upstream, set, &changed);
    if (e == RP_OK) return changed ? RP_OK : RP_END;
    rp_log(error, "members of an upstream have no room: %s upstream=%s bytes=%zu", rp_err_text(e),
           rp_log_esc(upstream), text_n);
    return e;
}

rp_err rp_abi_members_get(struct rp_host_face *f, const char *name, size_t n)
{
    struct rp_host *h = rp_vm_of(f);
    if (!h->proxy || !h->proxy->members[0]) return RP_E_NOT_FOUND;
    rp_buf_clear(&h->text);
    rp_err e = rp_members_get(h->proxy->members[0], rp_str_of(name, n), &h->text, NULL);
    f->out = rp_buf_str(&h->text);
    return e;
}
