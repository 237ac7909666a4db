/* SPDX-License-Identifier: MIT
 *
 * addr_sys: struct rp_addr to and from the kernel's form, for the .c files of net/ and process/.
 */
#ifndef RP_NET_ADDR_SYS_H
#define RP_NET_ADDR_SYS_H

#include <sys/socket.h>

#include "net/addr.h"

/* Returns the length, 0 for RP_ADDR_NONE. */
socklen_t rp_addr_to_sys(const struct rp_addr *a, struct sockaddr_storage *out);
/* An IPv4-mapped IPv6 address becomes IPv4; an unknown family RP_ADDR_NONE. */
void rp_addr_from_sys(const struct sockaddr *sa, socklen_t n, struct rp_addr *out);
/* 0.0.0.0 or :: */
bool rp_addr_is_any(const struct rp_addr *a);

#endif
