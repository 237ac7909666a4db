/* SPDX-License-Identifier: MIT
 *
 * conf_tunnel: the builder's half for tunnels: whom a CONNECT route may reach.
 */
#include "http/token.h"
#include "proxy/conf_build.h"
#include "proxy/connect_allow.h"

rp_err rp_conf_add_connect(struct rp_conf *c, uint32_t route, bool deny, rp_str text,
                           struct rp_conf_error *e)
{
    if (c->frozen) return rp_conf_fail(e, RP_E_PHASE, "the configuration is frozen");
    if (route >= c->routes_n) return rp_conf_fail(e, RP_E_NOT_FOUND, "no such route");
    struct rp_route *r = c->routes[route];
    if (!r->connect) r->connect = rp_connect_allow_make(&c->arena);
    if (!r->connect) return rp_conf_full(e);
    return deny ? rp_connect_allow_deny(r->connect, text, e)
                : rp_connect_allow_add(r->connect, text, e);
}

bool rp_conf_is_connect_only(const struct rp_route *r)
{
    return r->methods == UINT64_C(1) << RP_M_CONNECT && r->other_methods_n == 0;
}
