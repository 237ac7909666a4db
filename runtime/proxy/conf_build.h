/* SPDX-License-Identifier: MIT
 *
 * conf_build: what the files of the builder share: the draft (what is known only while a generation
 * is built), growing arrays, setters by table.
 */
#ifndef RP_PROXY_CONF_BUILD_H
#define RP_PROXY_CONF_BUILD_H

#include "base/map.h"
#include "proxy/conf.h"

struct rp_route_pattern; /* proxy/route_pattern.h */
struct rp_route_hosts;   /* proxy/route_host.h */

/* Beside conf->routes, same index. */
struct rp_conf_draft_route {
    struct rp_route_pattern *pattern; /* NULL: a fallback, not in the tree */
    uint64_t said_methods;            /* as written, without the HEAD that GET brings */
    bool body_limit_set;
};

struct rp_conf_draft {
    struct rp_arena arena;              /* what nobody needs once the router is built */
    struct rp_conf_draft_route *routes; /* routes_n of conf */
    struct rp_route_hosts *hosts;       /* becomes the router's */
    struct rp_map upstream_names;       /* name -> struct rp_conf_upstream */
    struct rp_conf_upstream *fresh;     /* what each begins as; NULL: as conf.tbl says */
    rp_str *trust;                      /* checked texts of networks */
    uint32_t trust_n;
    uint32_t default_host; /* UINT32_MAX: none */
};

/* One row of a table in conf.tbl. Field width by `bytes`; 0 bytes: the setter knows. */
struct rp_conf_number {
    const char *key;
    size_t offset, bytes;
    uint64_t first, least, most; /* first: the default */
};

enum rp_conf_check { RP_CONF_ANY, RP_CONF_VALUE, RP_CONF_TOKEN, RP_CONF_PATH };
struct rp_conf_text {
    const char *key;
    size_t offset;
    const char *first;
    uint8_t check; /* enum rp_conf_check */
};

/* Give the draft back; c->draft becomes NULL. */
void rp_conf_close_draft(struct rp_conf *c);

/* Fill *e (NULL: nobody wants to know) and return code. */
rp_err rp_conf_fail(struct rp_conf_error *e, rp_err code, const char *fmt, ...) RP_PRINTF(3, 4);
/* RP_E_CAP in words. */
rp_err rp_conf_full(struct rp_conf_error *e);

/* Array `old` of n elements with room for one more: itself or a larger copy (rooms are powers of
 * two, so the room needs no field). New elements are zero. NULL at the arena's cap. */
void *rp_conf_grow(struct rp_arena *a, void *old, uint32_t n, size_t element_bytes);
/* Copy s into the arena. RP_E_CAP. */
RP_MUST rp_err rp_conf_copy(struct rp_conf *c, rp_str s, rp_str *out);

/* Set a field of `object` by its row. RP_E_NOT_FOUND, RP_E_INVALID, RP_E_CAP. */
RP_MUST rp_err rp_conf_put_number(void *object, const struct rp_conf_number *rows, size_t rows_n,
                                  rp_str key, double value);
RP_MUST rp_err rp_conf_put_text(struct rp_conf *c, void *object, const struct rp_conf_text *rows,
                                size_t rows_n, rp_str key, rp_str value);
void rp_conf_put_defaults(void *object, const struct rp_conf_number *rows, size_t rows_n);

/* Make what no_host and no_route of `host` (UINT32_MAX: the site) need. */
RP_MUST rp_err rp_conf_make_fallback(struct rp_conf *c, uint32_t host, struct rp_conf_error *e);

/* rp_conf_add_cond for a list that is somebody else's. */
RP_MUST rp_err rp_conf_append_cond(struct rp_conf *c, struct rp_conf_cond **conds,
                                   uint32_t *conds_n, uint32_t kind, uint32_t op, bool negate,
                                   rp_str name, rp_str value, struct rp_conf_error *e);

/* The same for parts of what is hashed. RP_E_INVALID, RP_E_CAP. */
RP_MUST rp_err rp_conf_append_hash(struct rp_conf *c, struct rp_conf_hash **hash, uint32_t *hash_n,
                                   uint32_t part, rp_str name);

/* Splits as a whole: shares add up, numbers of sides are of some. */
RP_MUST rp_err rp_conf_finish_splits(struct rp_conf *c, struct rp_conf_error *e);

/* Does a route take CONNECT and nothing else? */
bool rp_conf_is_connect_only(const struct rp_route *r);

/* Streams as a whole: rules in order, each name once, something to do. */
RP_MUST rp_err rp_conf_finish_streams(struct rp_conf *c, struct rp_conf_error *e);

/* Default certificates go into their places. */
RP_MUST rp_err rp_conf_finish_tls(struct rp_conf *c, struct rp_conf_error *e);

/* Units of conf.tbl. */
#define MB (UINT64_C(1024) * 1024)
#define SECOND UINT64_C(1000)
#define MONTH (UINT64_C(31) * 24 * 3600 * SECOND)
#define NO_LIMIT UINT64_MAX

#endif
