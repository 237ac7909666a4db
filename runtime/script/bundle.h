/* SPDX-License-Identifier: MIT
 *
 * bundle: every source file of one site as bytes: site.lua and what it required.
 *
 * The checker collects it while it evaluates the site; workers load from it and from nothing else.
 * So all workers run the same bytes, a reload is atomic however long it takes, a respawned worker
 * gets the generation that serves (not a half-edited file), and site files need not be readable by
 * the unprivileged user.
 */
#ifndef RP_SCRIPT_BUNDLE_H
#define RP_SCRIPT_BUNDLE_H

#include "base/buf.h"

/* The name under which a site finds the routes that providers found; no file has it. */
#define RP_BUNDLE_FOUND "=found"

struct rp_bundle;

/* Reads one file while collecting: RP_OK with bytes appended, RP_E_NOT_FOUND, RP_E_OS, RP_E_TOO_BIG.
 * path is absolute. */
typedef rp_err (*rp_bundle_fetch_fn)(void *arg, rp_str path, struct rp_buf *out);

struct rp_bundle *rp_bundle_new(rp_str site_path, rp_bundle_fetch_fn fetch, void *arg);
void rp_bundle_free(struct rp_bundle **b);
rp_str rp_bundle_site(const struct rp_bundle *b);
/* Option overrides of the command line, "name=value" lines, carried along. */
void rp_bundle_set_overrides(struct rp_bundle *b, rp_str lines);
rp_str rp_bundle_overrides(const struct rp_bundle *b);
/* The file's bytes (borrowed, live as long as the bundle): from the bundle, else fetched and kept
 * (absence is remembered too). RP_E_NOT_FOUND, or what fetch said. */
RP_MUST rp_err rp_bundle_read(struct rp_bundle *b, rp_str path, rp_str *bytes);
/* Was it asked for that file, whether or not there is one? */
bool rp_bundle_knows(const struct rp_bundle *b, rp_str path);
/* Does it still read files? Then this is the check, and not a worker. */
bool rp_bundle_collects(const struct rp_bundle *b);
/* What is built from it will never be described (rp_host_describe), and need not keep what for. */
void rp_bundle_leave_undescribed(struct rp_bundle *b);
bool rp_bundle_is_described(const struct rp_bundle *b);
/* One flat text of the whole, and back. Loaded bundles have no fetch. RP_E_INVALID. */
RP_MUST rp_err rp_bundle_save(const struct rp_bundle *b, struct rp_buf *out);
RP_MUST rp_err rp_bundle_load(rp_str flat, struct rp_bundle **out);

#endif
