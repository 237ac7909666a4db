/* SPDX-License-Identifier: MIT
 *
 * conn_in: the inside of a conn, for conn.c and conn_tls.c only.
 */
#ifndef RP_NET_CONN_IN_H
#define RP_NET_CONN_IN_H

#include "net/conn.h"
#include "net/loop_uv.h"

enum rp_conn_state {
    RP_CONN_CONNECTING,
    RP_CONN_SHAKING,
    RP_CONN_ASKING,
    RP_CONN_OPEN,
    RP_CONN_CLOSING,
};

/* The IP form of struct rp_addr. */
struct rp_conn_end {
    uint8_t ip[16];
    uint32_t scope;
    uint16_t port;
    uint8_t family;
    bool known;
};

struct rp_conn {
    struct rp_conn_face face;
    struct rp_conn *next, *prev; /* all conns of the loop */
    struct rp_poll poll;
    uint8_t state; /* enum rp_conn_state */
    bool paused;
    bool want_write;   /* a send or the connect waits for WRITABLE */
    bool connect_told; /* the kernel has decided about the connect */
    bool ended;        /* recv saw the end of the stream */
    bool failed;       /* nothing is armed after an error the owner has not met yet */
    bool fin_wanted;   /* close_notify waits for room; a FIN follows it */
    bool fin_sent;
    struct rp_conn_end peer, local;
    struct rp_tls *tls; /* NULL: plain */
    uint32_t born_ms;   /* of the loop's time, cut to what 32 bits hold: 49 days */
};

/* ---- watching ------------------------------------------------------------------------------ */

static inline void rp_conn_arm(struct rp_conn *c, unsigned events)
{
    if (c->poll.armed != events) rp_poll_arm(&c->poll, events);
}

static inline unsigned rp_conn_wanted(const struct rp_conn *c)
{
    return (c->paused || c->ended ? 0u : RP_POLL_IN) | (c->want_write ? RP_POLL_OUT : 0u);
}

/* Watch for what is wanted, and go on with what is armed already. */
static inline void rp_conn_arm_wanted(struct rp_conn *c)
{
    if (!c->failed) rp_conn_arm(c, c->poll.armed | rp_conn_wanted(c));
}

/* The owner has met the error after which nothing was armed, or there is none any more. */
static inline void rp_conn_met_failure(struct rp_conn *c)
{
    c->failed = false;
    rp_conn_arm_wanted(c);
}

/* Says RP_AGAIN, as who has to wait does. */
static inline rp_err rp_conn_wait(struct rp_conn *c)
{
    c->want_write = true;
    rp_conn_arm_wanted(c);
    return RP_AGAIN;
}

/* First failure sticks. */
static inline rp_err rp_conn_fail(struct rp_conn *c, rp_err code, int os, const char *step)
{
    if (c->face.fail.code == RP_OK) c->face.fail = (struct rp_conn_fail){code, os, step};
    return code;
}

/* conn.c: a socket's errno, as face->fail has it. */
rp_err rp_conn_io_fail(struct rp_conn *c, int os, const char *step);

/* ---- conn_tls.c, of conns with TLS ---------------------------------------------------------- */

/* One step of the handshake. */
RP_MUST rp_err rp_conn_tls_shake(struct rp_conn *c);
/* What the TLS needs of an event comes first; what is left is the owner's. */
unsigned rp_conn_tls_on_poll(struct rp_conn *c, unsigned events);
/* Bytes wait in the TLS: epoll knows nothing of them. */
void rp_conn_tls_more(struct rp_conn *c);
RP_MUST rp_err rp_conn_tls_recv(struct rp_conn *c, char *buf, size_t n, size_t *got);
RP_MUST rp_err rp_conn_tls_peek(struct rp_conn *c, char *buf, size_t n, size_t *got);
RP_MUST rp_err rp_conn_tls_send(struct rp_conn *c, struct rp_chain *chain);
/* Where the kernel seals: what OpenSSL has to say goes first. RP_OK: the socket takes plain bytes. */
RP_MUST rp_err rp_conn_tls_ready(struct rp_conn *c);
void rp_conn_tls_drop(struct rp_conn *c); /* no effect on a plain one */

#endif
