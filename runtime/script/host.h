/* SPDX-License-Identifier: MIT
 *
 * host: one LuaJIT VM per configuration generation.
 *
 * Life: rp_host_build makes a VM on any thread, runs the site in it and returns a frozen conf whose
 * `script` is the host. On the loop's thread rp_host_attach binds it to the worker. The last
 * rp_conf_drop frees it through rp_hooks.drop_generation.
 */
#ifndef RP_SCRIPT_HOST_H
#define RP_SCRIPT_HOST_H

#include "proxy/conf.h"
#include "proxy/proxy.h"
#include "script/bundle.h"
#include "shm/crumb.h"

/* Exit status of a worker that ended itself because a hook could not be stopped (EX_SOFTWARE). */
enum { RP_HOST_EXIT_STUCK = 70 };

/* Evaluate bundle's site into a frozen conf (refs 0: hold it). Blocking; any thread; touches nothing
 * shared. On failure `error` holds "file:line: what, and what to do" and the result is < 0. */
RP_MUST rp_err rp_host_build(struct rp_bundle *b, uint32_t generation, struct rp_conf **out,
                             struct rp_buf *error);
enum rp_describe {
    RP_DESCRIBE_NOT,
    RP_DESCRIBE_TEXT,  /* of `rproxy -T`: listeners, upstreams, hosts, routes with their chains */
    RP_DESCRIBE_MODEL, /* the same and more as JSON, for tools: see lua/rproxy/config/model.lua */
    RP_DESCRIBE_WARNINGS, /* of `rproxy -t`: what is odd about the order of plugins, a line each */
};
/* b: what c was built from. */
void rp_host_describe(const struct rp_conf *c, struct rp_bundle *b, enum rp_describe form,
                      struct rp_buf *out);

/* Bind to this worker: loop, proxy, breadcrumb pages (NULL: none) and which of them is ours. Before
 * any request uses it. */
void rp_host_attach(struct rp_conf *c, struct rp_proxy *p, const struct rp_crumbs *crumbs,
                    uint32_t worker);
/* The zones of `shared` by the conf's index, memory files of dicts: taken over by the host, as far as
 * they are in use (fds[i] is -1 then). Before attach. RP_E_INVALID, RP_E_OS. */
RP_MUST rp_err rp_host_share(struct rp_conf *c, int *fds);
/* This process is the agent: its hooks run instead of the `start` and `stop` hooks of workers. After
 * attach. */
void rp_host_be_agent(struct rp_conf *c);
/* Run the `start` hooks (they may wait); done(arg, RP_OK or failure) comes from the loop, after at
 * most deadline_ms. Background tasks (rp.every) live until rp_host_retire. */
void rp_host_start(struct rp_conf *c, rp_ms deadline_ms, void (*done)(void *arg, rp_err e),
                   void *arg);
/* This generation takes no new requests: its timers and background tasks end now. */
void rp_host_retire(struct rp_conf *c);
/* Run the `stop` hooks at the end of a drain; done as in rp_host_start. */
void rp_host_stop(struct rp_conf *c, rp_ms deadline_ms, void (*done)(void *arg, rp_err e),
                  void *arg);

/* Ask the VM something for a person: text as lua/rproxy/ask.lua reads it. done(arg, ticket, status, text)
 * comes once, perhaps before this returns. */
typedef void (*rp_host_answer_fn)(void *arg, uint32_t ticket, int status, rp_str text);
void rp_host_ask(struct rp_conf *c, uint32_t ticket, rp_str text, rp_host_answer_fn done,
                 void *arg);

/* ---- tools of the command line -------------------------------------------------------------- */

/* require("rproxy.cli").run(name, args) in a VM of its own: the layer, with all of Lua's libraries and
 * the modules of the system, and with the rights of the process. */
struct rp_host_tool {
    const char *name;
    char **args;
    int args_n;
    rp_bundle_fetch_fn fetch; /* files of sites; `arg` goes with it */
    /* host.tool_call(what, ..) -> status, text: what only the process floor can do. */
    int (*call)(void *arg, rp_str what, const rp_str *args, size_t n, struct rp_buf *out);
    void *arg;
};
/* Exit status; complaints are on stderr. */
int rp_host_run_tool(const struct rp_host_tool *t);

#endif
