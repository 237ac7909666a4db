/* SPDX-License-Identifier: MIT
 *
 * connect_allow: whom a CONNECT may reach: a list of names and networks with ports, of one route.
 * Built with the configuration, pure afterwards.
 *
 * A name on the list says nothing about the addresses that it resolves to: whoever answers for the
 * name could point it at this machine (DNS rebinding). So addresses that nobody outside should ever
 * reach through us (this machine, the link, multicast, the metadata services of clouds) need an entry
 * of their own, a network within theirs: "127.0.0.1:5432" opens one, "0.0.0.0/0" opens none.
 */
#ifndef RP_PROXY_CONNECT_ALLOW_H
#define RP_PROXY_CONNECT_ALLOW_H

#include "base/arena.h"
#include "net/addr.h"

enum { RP_CONNECT_RULES_MOST = 1024 }; /* they are walked */

struct rp_connect_allow;
struct rp_conf_error;

struct rp_connect_allow *rp_connect_allow_make(struct rp_arena *a); /* NULL: the arena's cap */
/* HOST, HOST:PORT or HOST:LOW-HIGH; HOST is a name, "*." and a name (one or more labels in front), an
 * address or a network; an IPv6 one with a port stands in brackets: "[fd00::/8]:22". Copied.
 * RP_E_INVALID and *e with what is wrong; RP_E_CAP. */
RP_MUST rp_err rp_connect_allow_add(struct rp_connect_allow *c, rp_str text,
                                    struct rp_conf_error *e);
/* An address or network that is never reached, whatever the list says. */
RP_MUST rp_err rp_connect_allow_deny(struct rp_connect_allow *c, rp_str text,
                                     struct rp_conf_error *e);
bool rp_connect_allow_is_empty(const struct rp_connect_allow *c);

/* The target of a CONNECT, as in struct rp_uri: an IPv6 literal has its brackets.
 * ret  RP_OK: literal is the address to connect to, or has family NONE: a name, to be resolved;
 *      RP_E_CONNECT_DENIED */
RP_MUST rp_err rp_connect_allow_check(const struct rp_connect_allow *c, rp_str host, uint16_t port,
                                      struct rp_addr *literal);
/* May an address (port set) be used that a name on the list resolved to? */
bool rp_connect_allow_has(const struct rp_connect_allow *c, const struct rp_addr *a);

#endif
