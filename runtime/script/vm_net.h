/* SPDX-License-Identifier: MIT
 *
 * vm_net: what sockets, lookups and calls of a VM share: from a name to addresses, and how Lua is
 * told of a failure; for the .c files of script/ only.
 */
#ifndef RP_SCRIPT_VM_NET_H
#define RP_SCRIPT_VM_NET_H

#include "net/dns.h"
#include "net/tls_client.h"
#include "script/vm.h"

enum { RP_VM_ADDRS = 8 }; /* of one name that are tried */

/* Where something is connected to. FINDING (query) -> found: addrs, or status says why there are
 * none. */
struct rp_vm_target {
    struct rp_dns_query *query;
    struct rp_task **waiter; /* is woken when the answer is there */
    rp_err status;
    uint16_t port;
    uint32_t addrs_n, at; /* at: the one to be tried next */
    struct rp_addr addrs[RP_VM_ADDRS];
};

/* Begin to look for it: a name or an address, or with port 0 a unix path. RP_OK: found, or the waiter
 * will be woken; RP_E_INVALID, RP_E_CAP. */
RP_MUST rp_err rp_vm_target_find(struct rp_vm_target *t, struct rp_host *h, rp_str host,
                                 uint32_t port, struct rp_task **waiter);
void rp_vm_target_stop(struct rp_vm_target *t); /* no wake-up comes any more */

/* Tell Lua: out2 is the word that programs compare, out the rest of it. os: errno, or 0. Returns
 * code. */
rp_err rp_vm_say(struct rp_host *h, rp_err code, int os);
/* ... with words of one's own for out; NULL: as above. */
rp_err rp_vm_say_why(struct rp_host *h, rp_err code, int os, const char *why);
/* May this client speak with a place of that name? Who verifies must know whom. */
bool rp_vm_tls_has_name(const struct rp_tls_client *tls, rp_str name);

#endif
