/* SPDX-License-Identifier: MIT
 *
 * abi_net: part of abi.h, whose rules hold: sockets, names, and requests of our own.
 */
#ifndef RP_SCRIPT_ABI_NET_H
#define RP_SCRIPT_ABI_NET_H

#include "base/err.h"
#include "net/tls_client.h"

struct rp_host_face;

/* ---- sockets and names: handles >= 0; they belong to the request (or background task) that made
 * them, and to the task, until that has ended well. Failures carry their word in out2 and more of it in
 * out. RP_E_STALE: a handle that is closed or another owner's. RP_AGAIN: noted that the running task
 * waits: park, call again; RP_E_BUSY: another task waits for it already. */

/* TLS as a client: whom to trust, as whom to appear. Files (empty: cas those of the system, no
 * certificate) are absolute paths, read while the site is loaded. sni and name:
 * instead of the host's. NULL: out says why. */
struct rp_tls_client *rp_abi_tls_client_new(struct rp_host_face *h, bool verify, const char *sni,
                                            size_t sni_n, const char *name, size_t name_n,
                                            const char *cas, size_t cas_n, const char *cert,
                                            size_t cert_n, const char *key, size_t key_n);
void rp_abi_tls_client_free(struct rp_tls_client *c);

/* Start connecting to a name or address and port, or with port 0 to a unix path; tls NULL: plain; name:
 * of the other side. One at rest that was made so, and for the same `pool`, is taken unless fresh.
 * < 0: rp_err. */
double rp_abi_sock_connect(struct rp_host_face *h, const char *host, size_t n, uint32_t port,
                           struct rp_tls_client *tls, const char *name, size_t name_n,
                           const char *pool, size_t pool_n, bool fresh);
rp_err rp_abi_sock_connected(struct rp_host_face *h, double sock);
double rp_abi_sock_uses(struct rp_host_face *h, double sock); /* 1: nobody had it before */
enum rp_abi_read { RP_READ_EXACTLY, RP_READ_LINE, RP_READ_ANY, RP_READ_UNTIL };
/* Bytes into out, consumed by the next call. n: how many, or the most; mark: for UNTIL. RP_END: end of
 * stream. RP_E_TOO_BIG: no end of line, or mark, within n bytes. */
rp_err rp_abi_sock_read(struct rp_host_face *h, double sock, uint32_t how, double n,
                        const char *mark, size_t mark_n);
rp_err rp_abi_sock_write(struct rp_host_face *h, double sock, const char *p, size_t n); /* copies */
rp_err rp_abi_sock_flush(struct rp_host_face *h, double sock);
void rp_abi_sock_close(struct rp_host_face *h, double sock);
/* Lay it by for whoever connects there next: at most `most` of its kind, each for idle_s seconds.
 * False: it was closed, as something is unread or unwritten. */
bool rp_abi_sock_release(struct rp_host_face *h, double sock, uint32_t most, double idle_s);

/* Datagrams. A failure of what was sent before is told by the next call, once. */
double rp_abi_udp_connect(struct rp_host_face *h, const char *host, size_t n, uint32_t port);
rp_err rp_abi_udp_connected(struct rp_host_face *h, double sock);
rp_err rp_abi_udp_send(struct rp_host_face *h, double sock, const char *p, size_t n);
rp_err rp_abi_udp_receive(struct rp_host_face *h, double sock); /* one datagram into out */
void rp_abi_udp_close(struct rp_host_face *h, double sock);

/* Addresses of a name. */
double rp_abi_dns_start(struct rp_host_face *h, const char *name, size_t n, bool services);
rp_err rp_abi_dns_answer(struct rp_host_face *h, double lookup);
/* Text of address i into out; 4 or 6; 0 past the last. */
uint32_t rp_abi_dns_addr(struct rp_host_face *h, double lookup, uint32_t i);
/* Name of service i into out, priority, weight and port into the last; false past the last. */
bool rp_abi_dns_service(struct rp_host_face *h, double lookup, uint32_t i, uint32_t out[3]);
void rp_abi_dns_end(struct rp_host_face *h, double lookup);

/* ---- requests of our own: handles as above ---------------------------------------------------- */

enum rp_abi_http { RP_HTTP_1, RP_HTTP_2, RP_HTTP_AUTO };
/* Begin to write a request. target: path and query. < 0: rp_err; RP_E_INVALID for bytes that have no
 * place there. */
double rp_abi_call_new(struct rp_host_face *h, const char *method, size_t method_n,
                       const char *target, size_t target_n, const char *host, size_t host_n);
/* RP_E_INVALID; RP_E_BUSY for fields that only we write (framing, Connection, Host). */
rp_err rp_abi_call_field(struct rp_host_face *h, double call, const char *name, size_t n,
                         const char *value, size_t value_n);
rp_err rp_abi_call_body(struct rp_host_face *h, double call, const char *p, size_t n); /* copies */
/* ... which will be given by pieces, behind the start: length bytes of it, < 0: nobody knows. */
rp_err rp_abi_call_stream(struct rp_host_face *h, double call, double length);
/* May the next piece be sent? RP_AGAIN as above; RP_END: nobody wants it, the response is there (as
 * rp_abi_call_head says). */
rp_err rp_abi_call_ready(struct rp_host_face *h, double call);
rp_err rp_abi_call_send(struct rp_host_face *h, double call, const char *p, size_t n,
                        bool last); /* copies. After ready */
/* It is whole: to whom it goes (as rp_abi_sock_connect). mode: enum rp_abi_http. The connection is kept
 * with at most keep_n others, for keep_s seconds. */
rp_err rp_abi_call_start(struct rp_host_face *h, double call, uint32_t mode, const char *host,
                         size_t n, uint32_t port, struct rp_tls_client *tls, const char *name,
                         size_t name_n, uint32_t keep_n, double keep_s);
/* ... or to an upstream of the site, by its balancer, TLS, connections and times. RP_E_NOT_FOUND;
 * RP_E_PHASE: its generation is not in use; RP_E_INVALID: with PROXY protocol; RP_E_UP_CIRCUIT. */
rp_err rp_abi_call_start_up(struct rp_host_face *h, double call, const char *upstream, size_t n);
/* The Host of requests to that upstream, unless they say another, into out. RP_E_NOT_FOUND. */
rp_err rp_abi_upstream_host(struct rp_host_face *h, const char *name, size_t n);
rp_err rp_abi_call_head(struct rp_host_face *h, double call); /* until RP_OK: it is there */
/* The response's head; its trailers, once read said RP_END (NULL: none). Good until the close. */
const struct rp_msg *rp_abi_call_msg(struct rp_host_face *h, double call, bool trailers);
rp_err rp_abi_call_read(struct rp_host_face *h, double call); /* a piece into out; RP_END: all */
void rp_abi_call_close(struct rp_host_face *h, double call);

#endif
