/* SPDX-License-Identifier: MIT
 *
 * server: a worker's listening sockets and their sessions: where connections become exchanges.
 */
#ifndef RP_PROXY_SERVER_H
#define RP_PROXY_SERVER_H

#include "proxy/proxy.h"

/* One listening socket in service; x->listener of its exchanges. Outlives generations. */
struct rp_serve {
    struct rp_proxy *proxy;
    struct rp_listener *listener; /* NULL once closed; freed with the proxy */
    struct rp_udp_door *udp;      /* instead of a listener; NULL once closed */
    struct rp_serve *next;
    rp_str text; /* as configured: identity across reloads; own */
    uint16_t port;
    char port_line[28]; /* "X-Forwarded-Port: 8080\r\n" */
    uint8_t port_line_n;
    bool own;                         /* of the current generation: it answers by itself, */
    bool metrics;                     /* with metrics; else with a redirect to https */
    bool proxy_protocol;              /* ... too */
    bool half_closed;                 /* ... too */
    bool forward_cert;                /* ... too */
    uint8_t ask;                      /* of its clients: enum rp_tls_ask */
    bool relays;                      /* said to be a stream's last; stays when `stream` goes */
    bool asks;                        /* hooks have a say in its TLS; stays when `hook_conf` goes */
    bool as_secure;                   /* lab: taken for one with TLS */
    uint32_t hello_chain, cert_chain; /* of hook_conf */
    struct rp_conf *hook_conf;        /* held while hooks are to be asked; NULL: there are none */
    struct rp_tls_server
        *tls; /* ends TLS: held, also when the listener was given up; NULL: plain */
    const struct rp_conf_stream *stream; /* relays bytes; NULL: speaks HTTP */
    struct rp_conf *stream_conf; /* held while `stream` is set: clients that wait in the queue of a
                                  * listener that was given up get what it promised */
};

/* A listener without a socket: connections are handed to rp_server_speak. For the lab. */
struct rp_serve *rp_proxy_stand_in(struct rp_proxy *p, const struct rp_conf_listener *which);
/* Serve a connection that the door let in (own). */
void rp_server_begin(struct rp_serve *s, struct rp_conn *c);
/* Serve a connection that is ready to be spoken on: plain, or its handshake is over (own). */
void rp_server_speak(struct rp_serve *s, struct rp_conn *c);
/* A request ended while draining: tell the worker when it was the last. */
void rp_server_check_drained(struct rp_proxy *p);

#endif
