/* SPDX-License-Identifier: MIT
 *
 * access: the access log: one line per request, combined or JSON, buffered per worker.
 */
#ifndef RP_PROXY_ACCESS_H
#define RP_PROXY_ACCESS_H

#include "proxy/request.h"

struct rp_access;
struct rp_access *rp_access_new(struct rp_loop *l);
void rp_access_free(struct rp_access **a); /* flushes */
/* Descriptors by conf->files index (own; closes the ones it had after flushing to them). */
void rp_access_set_files(struct rp_access *a, const int *fds, uint32_t n);
/* Format and buffer r's line by r->conf->access. Full disk or a broken pipe: lines are dropped,
 * counted and reported in the error log at most once a minute; serving goes on. */
void rp_access_write(struct rp_access *a, const struct rp_req *r);
/* A line made elsewhere, newline included, by c->access, which is on. now: the current generation,
 * whose numbers the open files have. */
void rp_access_write_line(struct rp_access *a, const struct rp_conf *now, const struct rp_conf *c,
                          rp_str line);
/* The same, to c's log of decisions, should it have one. */
void rp_access_write_decision(struct rp_access *a, const struct rp_conf *now,
                              const struct rp_conf *c, rp_str line);
void rp_access_flush(struct rp_access *a);
/* Is `name` a field that JSON logs may choose ("status", "ctx.tenant" is checked by prefix)? */
bool rp_access_is_field(rp_str name);

#endif
