/* SPDX-License-Identifier: MIT
 *
 * meter: see meter.h.
 */
#include "net/meter.h"

#include "base/check.h"

void rp_meter_enter(struct rp_meter *m, struct rp_meter_pass *pass)
{
    RP_CHECK(!pass->counted);
    m->conns_n++;
    pass->counted = true;
}

void rp_meter_leave(struct rp_meter *m, struct rp_meter_pass *pass)
{
    struct rp_meter_pass old = *pass;
    if (!old.counted) return;
    *pass = (struct rp_meter_pass){0};
    m->conns_n--;
    if (m->on_leave) m->on_leave(m->arg, old.seat);
}

static bool is_ip4(const struct rp_addr *a)
{
    static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff};
    return a->family == RP_ADDR_IP4 || memcmp(a->ip, MAPPED, sizeof MAPPED) == 0;
}

bool rp_meter_net(const struct rp_addr *a, uint32_t ip6_bits, uint8_t net[RP_METER_NET_BYTES])
{
    if (a->family != RP_ADDR_IP4 && a->family != RP_ADDR_IP6) return false;
    memcpy(net, a->ip, RP_METER_NET_BYTES);
    if (is_ip4(a)) return true;
    for (uint32_t i = 0; i < RP_METER_NET_BYTES; i++) {
        uint32_t kept = ip6_bits > 8 * i ? RP_MIN(ip6_bits - 8 * i, 8u) : 0;
        net[i] &= (uint8_t)(0xff00u >> kept);
    }
    return true;
}
