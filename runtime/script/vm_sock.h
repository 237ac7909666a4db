/* SPDX-License-Identifier: MIT
 *
 * vm_sock: a stream socket of a VM, for the .c files of script/ only: abi_sock.c (use) and
 * abi_sock_pool.c (rest).
 */
#ifndef RP_SCRIPT_VM_SOCK_H
#define RP_SCRIPT_VM_SOCK_H

#include "script/vm_net.h"

enum { RP_SOCK_KEY_MOST = 1024, RP_SOCK_NAME_BYTES = 256, RP_SOCK_WHY_BYTES = 160 };

enum rp_sock_state { RP_SOCK_FINDING, RP_SOCK_CONNECTING, RP_SOCK_OPEN, RP_SOCK_FAILED };

struct rp_sock {
    uint32_t magic;
    struct rp_hold hold; /* not while it is kept */
    enum rp_sock_state state;
    struct rp_host *host;
    struct rp_vm_target target;
    struct rp_conn *conn;
    struct rp_task *reader, *writer; /* who waits */
    struct rp_tls_client *tls;       /* held; NULL: plain */
    struct rp_buf key;               /* where it leads, and as whom: whose it may be next */
    rp_err fail;
    int os;
    uint32_t uses;   /* connects that it served */
    uint32_t keep_n; /* being released: most idle ones of its kind; else 0 */
    rp_ms keep_ms, idle_since_ms;
    struct rp_chain out;
    struct rp_buf in;
    size_t taken;   /* bytes of `in` that the last read gave away */
    size_t scanned; /* ... that have no mark, the one of this hash */
    uint64_t scanned_for;
    struct rp_sock_pool *pool;   /* while it is kept */
    struct rp_sock *next, *prev; /* newer, older */
    char name[RP_SOCK_NAME_BYTES];
    char why[RP_SOCK_WHY_BYTES];
};

void rp_sock_free(struct rp_sock *s);
void rp_sock_listen(struct rp_sock *s); /* its connection's events are a user's */
/* Lay it by (own). False: it cannot be kept. */
bool rp_sock_keep(struct rp_sock *s);
/* One that leads where s would, ready for use; NULL: there is none. */
struct rp_sock *rp_sock_take(const struct rp_sock *s);
struct rp_tls_memory *rp_sock_memory(
    const struct rp_sock *s); /* what TLS remembers of that place */

#endif
