/* SPDX-License-Identifier: MIT
 *
 * subset: which peers of a group a request may go to, by what is said of them: {version = "v2"}.
 *
 * A wish is pairs of key and value between tabs, sorted by key. Only keys that the upstream lists in
 * `subsets` count; "zone" is the peer's zone, all else its meta. What a wish comes to is worked out once
 * and kept until peers come or go.
 */
#ifndef RP_PROXY_SUBSET_H
#define RP_PROXY_SUBSET_H

#include "proxy/upstream.h"

enum { RP_SUBSETS_MOST = 256 }; /* kept at once; wishes beyond begin anew */

struct rp_subset {
    struct rp_subset *next;
    rp_str wish;
    uint64_t *bits; /* by index of the peer */
    uint32_t n;     /* peers in it */
};

/* NULL: the wish says nothing that the upstream asks about, all will do. Good until the next call or until
 * the group is settled. */
const struct rp_subset *rp_subset_find(struct rp_group *g, rp_str wish);
void rp_subsets_forget(struct rp_group *g); /* other peers are there now, or none any more */
/* Is it pairs, sorted by key, of texts that are not empty? */
bool rp_subset_is_wish(rp_str wish);

#endif
