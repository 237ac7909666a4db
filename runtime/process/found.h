/* SPDX-License-Identifier: MIT
 *
 * found: routes that providers found (lua/rproxy/discover/routes.lua). The agent keeps them as one
 * text in the shared memory of members, where they outlive it, reloads and upgrades. Every check
 * of the site is given the text; when it is another one than the serving generation was built with,
 * that generation's sources are evaluated anew with it.
 *
 * The master does not read it: it copies it, compares it, and hands it on.
 */
#ifndef RP_PROCESS_FOUND_H
#define RP_PROCESS_FOUND_H

#include "base/buf.h"
#include "process/os.h"

struct rp_checked;
struct rp_master;

struct rp_found {
    struct rp_buf text;      /* as it was when it was read last */
    struct rp_buf before;    /* the text that serves, likewise */
    uint32_t version;        /* of that text; 0: there never was one */
    uint32_t serving, tried; /* the version that serves; the one that was last tried */
    rp_ms again_ms;          /* when the latter may be tried again */
};

void rp_found_init(struct rp_found *f);
void rp_found_fini(struct rp_found *f);
/* What there is now, for a check. */
rp_str rp_found_read(struct rp_master *m);
/* Begin a reload when what was found is not what serves. */
void rp_found_tick(struct rp_master *m);
/* The text that serves, for checks that fail with another one. */
rp_str rp_found_serving(struct rp_master *m);
/* This generation serves from now on: what it was built with is kept where an upgrade finds it. */
void rp_found_keep(struct rp_master *m);
/* A word about a check that held only without what was found. */
void rp_found_tell(const struct rp_checked *site);
/* What a running instance of that site (absolute) has, for commands; nothing when there is none. */
void rp_found_ask(const char *site, const char *pid_path, struct rp_buf *out);
/* The same as a file. RP_E_NOT_FOUND, RP_E_OS. */
RP_MUST rp_err rp_found_open(const char *site, int *fd);

#endif
