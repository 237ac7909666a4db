/* SPDX-License-Identifier: MIT
 *
 * control: the master's unix socket, by which `rproxy reload` and the other commands talk to it.
 * One COMMAND message, one ANSWER with exit status and text.
 *
 * "ask WORKER TEXT" passes a text on to a worker (a number, or "any") and its answer back; the
 * connection stays for more, and is a session. One session at a time may ask for "repl".
 */
#ifndef RP_PROCESS_CONTROL_H
#define RP_PROCESS_CONTROL_H

#include "base/buf.h"
#include "process/handover.h"

enum { RP_CONTROL_CLIENTS = 16 }; /* at a time; more wait in the backlog */

struct rp_master;
struct rp_control;
struct pollfd;

/* Bind the socket (0600). RP_E_OS with words in error. */
RP_MUST rp_err rp_control_open(const char *path, struct rp_control **out, struct rp_buf *error);
void rp_control_close(struct rp_control **c);
/* Fill what to poll for, at most RP_CONTROL_CLIENTS + 1 entries; returns how many. */
size_t rp_control_poll(const struct rp_control *c, struct pollfd *out);
/* Handle what poll said about those entries. */
void rp_control_serve(struct rp_control *c, struct rp_master *m, const struct pollfd *in, size_t n);
/* The reload that clients wait for is over. */
void rp_control_reloaded(struct rp_control *c, int status, rp_str text);
/* The upgrade that clients wait for has succeeded or failed. */
void rp_control_upgraded(struct rp_control *c, int status, rp_str text);
/* For an upgrade: the socket and who waits for an outcome, as records; true: the record was one. */
void rp_control_put(const struct rp_control *c, struct rp_handover_out *o);
bool rp_control_take(struct rp_control **c, struct rp_handover_in *in,
                     const struct rp_handover_record *r);
/* A worker answered what a client had asked it; it died and will not. */
void rp_control_told(struct rp_control *c, uint32_t ticket, int status, rp_str text);
void rp_control_lost(struct rp_control *c, uint32_t worker);
/* Clients that asked during a reload wait for the next one: call when that begins. */
void rp_control_begin_reload(struct rp_control *c);

/* ---- the command's side ---- */

/* Run a command at the master behind the socket; blocks at most limit_ms.
 * ret   RP_OK: *status and text are its answer; RP_E_CLOSED: nobody there, or it died meanwhile;
 *       RP_E_TIMEOUT; RP_E_OS */
RP_MUST rp_err rp_control_ask(const char *path, rp_str command, uint64_t limit_ms, int *status,
                              struct rp_buf *text);
/* The same in two steps, for a session. connect: RP_E_CLOSED, RP_E_TOO_BIG, RP_E_OS. */
RP_MUST rp_err rp_control_connect(const char *path, int *fd);
RP_MUST rp_err rp_control_say(int fd, rp_str command, uint64_t limit_ms, int *status,
                              struct rp_buf *text);

#endif
