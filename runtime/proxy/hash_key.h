/* SPDX-License-Identifier: MIT
 *
 * hash_key: what a request is known by, for upstreams that hash.
 */
#ifndef RP_PROXY_HASH_KEY_H
#define RP_PROXY_HASH_KEY_H

#include "proxy/request.h"

/* The hash of the parts that the upstream names, in that order, on what the client sent. False: the
 * request has none of them. The same in every worker and instance. */
bool rp_hash_key_of(const struct rp_req *r, const struct rp_conf_upstream *u, uint64_t *hash);

/* The hash of other parts than an upstream's, with a salt. False: none of them is there. */
bool rp_hash_key_parts(const struct rp_req *r, const struct rp_conf_hash *parts, uint32_t n,
                       uint64_t salt, uint64_t *hash);

/* The same of a stream's client, of whom only the address is known; else by chance. */
uint64_t rp_hash_key_client(struct rp_proxy *p, const struct rp_conf_upstream *u,
                            const struct rp_addr *client);

#endif
