/* SPDX-License-Identifier: MIT
 *
 * child: a program that is run: fed from memory, its outputs gathered in memory up to a cap.
 */
#ifndef RP_NET_CHILD_H
#define RP_NET_CHILD_H

#include "base/buf.h"
#include "net/loop.h"

struct rp_child_spec {
    char *const *argv; /* ended by NULL; argv[0] without a slash is looked up in env's PATH */
    char *const *env;  /* ended by NULL */
    const char *cwd;   /* NULL: as it is */
    rp_str in;         /* copied */
    size_t out_most;   /* bytes of each output */
};

struct rp_child_end {
    rp_err code;     /* RP_OK; RP_E_TOO_BIG: it was killed for an output beyond out_most */
    int64_t status;  /* its exit status */
    int killed_by;   /* a signal; 0: it ended by itself */
    rp_str out, err; /* until close */
};

struct rp_child;
/* Start it, without a shell, with no descriptor but its three and the leader of a process group.
 * ended(arg) comes once from the loop, when it has ended and its outputs are closed (or nothing has
 * come for a moment: who inherited them may keep them open). why (of RP_E_OS): constant words.
 * ret   RP_OK; RP_E_OS */
RP_MUST rp_err rp_child_start(struct rp_loop *l, const struct rp_child_spec *spec,
                              void (*ended)(void *arg), void *arg, struct rp_child **out,
                              const char **why);
bool rp_child_has_ended(const struct rp_child *c, struct rp_child_end *end);
/* Kill its process group if it runs still; it is reaped and freed later. No callback after this. */
void rp_child_close(struct rp_child **c);

#endif
