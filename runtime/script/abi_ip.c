/* SPDX-License-Identifier: MIT
 *
 * abi_ip: addresses and sets of networks as Lua values.
 */
#include "base/mem.h"
#include "net/addr.h"
#include "script/vm.h"

enum { IP = 16, NETS_MOST = 1 << 20 };

/* ---- addresses: 16 bytes, IPv4 mapped -------------------------------------------------------- */

static bool is_ip4(const uint8_t ip[IP])
{
    static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(ip, MAPPED, sizeof MAPPED) == 0;
}

rp_err rp_abi_ip_parse(struct rp_host_face *f, const char *p, size_t n, char *out)
{
    struct rp_addr a;
    if (rp_addr_parse_ip(rp_str_of(p, n), &a) != RP_OK || a.scope) return RP_E_INVALID;
    memcpy(out, a.ip, IP);
    f->number = is_ip4(a.ip) ? 4 : 6;
    return RP_OK;
}

void rp_abi_ip_text(struct rp_host_face *f, const char *ip)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_addr a = {0};
    char text[RP_ADDR_TEXT_BYTES];
    memcpy(a.ip, ip, IP);
    a.family = is_ip4(a.ip) ? RP_ADDR_IP4 : RP_ADDR_IP6;
    rp_buf_clear(&h->text);
    rp_buf_add(&h->text, rp_str_of(text, rp_addr_put_ip(&a, text)));
    f->out = rp_buf_str(&h->text);
}

rp_err rp_abi_cidr_parse(struct rp_host_face *f, const char *p, size_t n, char *out)
{
    uint8_t ip[IP];
    uint32_t bits;
    rp_err e = rp_cidr_parse(rp_str_of(p, n), ip, &bits);
    if (e != RP_OK) return e;
    memcpy(out, ip, IP);
    f->number = bits;
    return RP_OK;
}

void rp_abi_ip_mask(char *ip, uint32_t bits)
{
    for (uint32_t i = 0; i < IP; i++) {
        uint32_t keep = bits > i * 8 ? RP_MIN(bits - i * 8, 8u) : 0;
        ip[i] = (char)(ip[i] & (int)(0xff00u >> keep));
    }
}

/* ---- sets ------------------------------------------------------------------------------------ */

struct rp_vm_nets {
    struct rp_arena arena;
    struct rp_cidr_set *set;
};

struct rp_vm_nets *rp_abi_nets_new(double most)
{
    if (!(most >= 0) || !(most <= NETS_MOST)) return NULL;
    struct rp_vm_nets *nets = rp_alloc(sizeof *nets);
    rp_arena_init(&nets->arena, NULL, 0, SIZE_MAX / 2);
    nets->set = rp_cidr_set_make(&nets->arena, (size_t)most + 1);
    if (nets->set) return nets;
    rp_abi_nets_free(nets);
    return NULL;
}

void rp_abi_nets_free(struct rp_vm_nets *nets)
{
    rp_arena_reset(&nets->arena);
    rp_free(nets);
}

rp_err rp_abi_nets_add(struct rp_vm_nets *nets, const char *p, size_t n)
{
    return rp_cidr_set_add(nets->set, rp_str_of(p, n));
}

rp_err rp_abi_nets_has(const struct rp_vm_nets *nets, const char *p, size_t n)
{
    struct rp_addr a;
    if (rp_addr_parse_ip(rp_str_of(p, n), &a) != RP_OK) return RP_E_INVALID;
    return rp_cidr_set_has(nets->set, &a) ? RP_OK : RP_E_NOT_FOUND;
}

bool rp_abi_nets_has_ip(const struct rp_vm_nets *nets, const char *ip)
{
    struct rp_addr a = {.family = RP_ADDR_IP6};
    memcpy(a.ip, ip, IP);
    return rp_cidr_set_has(nets->set, &a);
}
