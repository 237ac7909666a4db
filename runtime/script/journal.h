/* SPDX-License-Identifier: MIT
 *
 * journal: what the hooks of one request decide and change, kept for those who asked: shadow
 * instances, traces, the test kit, records. The entries are a Lua table (lua/rproxy/journal.lua) in the
 * request's wrapper; here is what C has to do with it, for the .c files of script/ only.
 *
 * The rule for every ABI function that changes a request, an answer or a response. It checks its
 * arguments as always, so that code in shadow mode meets the same refusals; then
 *
 *     if (rp_journal_only(r)) return RP_OK;
 *
 * right before the change. Its Lua side, after success: `if H.notes ~= 0 then journal.note(..) end`. A
 * change that is made in Lua alone tests `H.notes == journal.ONLY` itself.
 */
#ifndef RP_SCRIPT_JOURNAL_H
#define RP_SCRIPT_JOURNAL_H

#include "script/vm.h"

/* Is what runs now to be noted and not done? */
static inline bool rp_journal_only(const struct rp_req *r)
{
    const struct rp_host *h = r->conf->script;
    return RP_UNLIKELY(h->face.notes == RP_NOTES_ONLY);
}

/* r has a journal from now on, and its handlers are noted and timed; told: for the client that asked.
 * Outside of Lua. */
void rp_journal_begin(struct rp_host *h, struct rp_req *r, bool told);
/* It ends: those who asked get the journal. r is whole still; outside of Lua. */
void rp_journal_end(struct rp_host *h, struct rp_req *r);
/* A handler of r raised in t, whose journal is kept; text.ptr NULL: by req:abort. */
void rp_journal_failed(struct rp_task *t, struct rp_req *r, uint32_t plugin, rp_str text);
/* Its shadow handler is over: see rp_abi_shadow_enter. */
void rp_journal_leave_shadow(struct rp_task *t);
/* The chain that runs the same handlers and notes them; the same one when it cannot be made. */
uint32_t rp_journal_chain(struct rp_host *h, uint32_t chain);
/* What happened so far as one line of at most `most` bytes, in r's arena; ptr NULL: r has no journal. */
rp_str rp_journal_header(struct rp_host *h, struct rp_req *r, size_t most);
/* The hooks of the same names: r carries the token of `trace`. */
void rp_journal_trace(struct rp_req *r);
rp_str rp_journal_trace_text(struct rp_req *r, size_t most);
/* host.journal_keep; the library table and the host lie on top of L, the host goes. */
void rp_journal_open(lua_State *L);

#endif
