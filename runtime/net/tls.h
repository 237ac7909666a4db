/* SPDX-License-Identifier: MIT
 *
 * tls: the TLS of one connection (TLS 1.2 and 1.3, by OpenSSL), driven by net/conn: upper floors call
 * rp_conn_secure and rp_conn_use_tls, then recv and send as on any conn, and ask here what was agreed.
 *
 * Records are sealed into a room that the loop has for all connections and leave with one send; what
 * the socket does not take is kept here, one batch at most. Reading is ahead of what the caller asked
 * for: `more` says that bytes wait in here, of which epoll knows nothing. A connection at rest owns no
 * buffer. RFC 8446, RFC 5246, RFC 5746, RFC 6066, RFC 7301.
 */
#ifndef RP_NET_TLS_H
#define RP_NET_TLS_H

#include "base/buf.h"
#include "base/chain.h"
#include "net/loop.h"
#include "net/tls_ask.h"

struct rp_tls;        /* of one connection */
struct rp_tls_server; /* of a listener: settings, certificates by name; tls_server.h */
struct rp_tls_client; /* of an upstream: settings, whom to trust; tls_client.h */

/* ---- ticket keys ---------------------------------------------------------------------------- */

/* Keys of session tickets (RFC 5077, RFC 8446 §4.6.1), the same in all workers. The one to come is
 * accepted already: workers learn of a rotation at different moments. */
enum { RP_TLS_KEY_NEXT, RP_TLS_KEY_NOW, RP_TLS_KEY_LAST, RP_TLS_KEYS };
struct rp_tls_key {
    uint8_t name[16], cipher[32], mac[32];
};
enum { RP_TLS_EARLY_MOST = 16 * 1024 }; /* bytes of early data of a connection */
struct rp_tls_tickets {
    struct rp_tls_key keys[RP_TLS_KEYS];
    bool ready; /* else no tickets are given or taken */
    /* May the ticket with this id (32 bytes) bring early data: never twice, in all processes that
     * share the keys? NULL: there is no early data. */
    bool (*is_first)(void *arg, const uint8_t *id);
    void *arg;
};

/* ---- what a client remembers ---------------------------------------------------------------- */

/* The last session with one server, for the next handshake with it. Counted: its connections outlive
 * whoever made it. */
struct rp_tls_memory;
struct rp_tls_memory *rp_tls_memory_new(void); /* held once */
struct rp_tls_memory *rp_tls_memory_hold(struct rp_tls_memory *m);
void rp_tls_memory_drop(struct rp_tls_memory **m);

/* ---- what was agreed ------------------------------------------------------------------------ */

/* All of these after the handshake. Texts live as long as the connection. */
rp_str rp_tls_version(const struct rp_tls *t); /* "TLSv1.3" */
rp_str rp_tls_cipher(const struct rp_tls *t);  /* "TLS_AES_128_GCM_SHA256" */
rp_str rp_tls_alpn(const struct rp_tls *t);    /* empty: none */
rp_str rp_tls_sni(const struct rp_tls *t);     /* as the client sent it; empty: none */
bool rp_tls_is_resumed(const struct rp_tls *t);
bool rp_tls_is_stapled(const struct rp_tls *t); /* the client got an OCSP answer */
/* The handshake is not over, and has brought early data (RFC 8446 §2.3): what is read may be a copy of
 * what somebody else once sent. */
bool rp_tls_is_early(const struct rp_tls *t);
/* What rp_conn_attach put there; NULL: nothing. */
void *rp_tls_attached(const struct rp_tls *t);
/* Does the server refuse this client, unless somebody else gives it a certificate? */
bool rp_tls_lacks_cert(const struct rp_tls *t);
/* Why it failed, in OpenSSL's words; NULL when it did not, or when the system did. */
const char *rp_tls_why(const struct rp_tls *t);

enum rp_tls_peer_text {
    RP_TLS_PEER_SUBJECT, /* RFC 2253: "CN=a,O=b" */
    RP_TLS_PEER_ISSUER,
    RP_TLS_PEER_SERIAL,      /* hex, lower case */
    RP_TLS_PEER_FINGERPRINT, /* SHA-256 of the certificate, hex, lower case */
    RP_TLS_PEER_PEM,
    RP_TLS_PEER_BASE64, /* of its DER form */
};
enum { RP_TLS_PEER_MOST = 16 * 1024 }; /* bytes of such a text */
/* Of the other side's certificate, appended. False: it has none, or the text is too long. */
bool rp_tls_peer_text(const struct rp_tls *t, enum rp_tls_peer_text what, struct rp_buf *out);
enum { RP_TLS_NAMES_MOST = 100 };
/* Subject alternative name i, as "DNS:a.example", "IP:10.0.0.1", "email:a@b", "URI:spiffe://x";
 * false past the last, or past RP_TLS_NAMES_MOST. Names of other kinds, and those with odd bytes, are
 * left out. Asked for in order, until false, the certificate is taken apart once. */
bool rp_tls_peer_name(const struct rp_tls *t, uint32_t i, struct rp_buf *out);
double rp_tls_peer_end(const struct rp_tls *t); /* when it ends, seconds since 1970; 0: none */
/* Does the other side have a certificate, and was it verified? (X509_V_OK; optional ones may not be) */
bool rp_tls_has_peer(const struct rp_tls *t);
bool rp_tls_is_verified(const struct rp_tls *t);

/* ---- digests ---------------------------------------------------------------------------------- */

enum { RP_TLS_SHA1_BYTES = 20 };
/* Of texts one behind the other, where a protocol wants it: it protects nothing. */
void rp_tls_sha1(const rp_str *parts, size_t n, uint8_t out[RP_TLS_SHA1_BYTES]);

/* ---- for conn.c ------------------------------------------------------------------------------ */

struct rp_tls_face {
    struct rp_defer again; /* conn's: tells the owner that `more` waits */
    void *conn;
    uint64_t *in_bytes, *out_bytes; /* counters of the socket */
    bool more;                      /* bytes or an end wait in here */
    int os;                         /* errno of a failure of the socket */
};
struct rp_tls_face *rp_tls_face(struct rp_tls *t);

/* Answers to questions, as in conn.h. rp_tls_shake goes on afterwards. */
void rp_tls_ask(struct rp_tls *t, unsigned questions);
unsigned rp_tls_question(const struct rp_tls *t);
void rp_tls_answer_hello(struct rp_tls *t, const struct rp_tls_choice *choice);
void rp_tls_answer_cert(struct rp_tls *t, struct rp_tls_cert *cert);
bool rp_tls_take_hello(struct rp_tls *t, struct rp_tls_hello *out);
void rp_tls_attach(struct rp_tls *t, void *thing, void (*drop)(void *thing));

struct rp_tls *rp_tls_accept(struct rp_loop *l, int fd, struct rp_tls_server *s,
                             const struct rp_tls_tickets *tickets);
/* name: of the server, for SNI and for the check of its certificate; a host name, or an address as
 * text. memory: held if not NULL. */
struct rp_tls *rp_tls_connect(struct rp_loop *l, int fd, struct rp_tls_client *c, rp_str name,
                              struct rp_tls_memory *memory);
/* Offer these protocols (as on the wire) instead of the client's; before the handshake. */
void rp_tls_offer(struct rp_tls *t, rp_str alpn);
void rp_tls_free(struct rp_tls **t);
/* Go on with the handshake. RP_OK; RP_AGAIN: for bytes, for room (rp_tls_is_flushed says no), or for an
 * answer (rp_tls_question);
 * RP_E_TLS_PLAIN_HTTP, RP_E_TLS_HANDSHAKE, RP_E_UP_TLS_HANDSHAKE, RP_E_UP_TLS_VERIFY, RP_E_CLOSED */
RP_MUST rp_err rp_tls_shake(struct rp_tls *t);
/* Does the kernel seal what is sent? Then it is sent as on a plain socket, when rp_tls_kernel_ready. */
bool rp_tls_is_kernel(const struct rp_tls *t);
RP_MUST rp_err rp_tls_kernel_ready(struct rp_tls *t); /* RP_OK; RP_AGAIN: for room; RP_E_CLOSED */
/* While early: fn is called once, when the handshake is over, has failed or will never be. It must not
 * touch the connection. NULL: nobody is to be called any more. */
void rp_tls_on_shaken(struct rp_tls *t, void (*fn)(void *arg), void *arg);
void *rp_tls_shaken_arg(const struct rp_tls *t); /* of that; NULL: nobody is to be called */
void rp_tls_break(struct rp_tls *t); /* nothing more goes in or out: recv says RP_E_CLOSED */
/* As rp_conn_recv, _peek and _send. RP_E_CLOSED: reset, broken, or (from a server) cut off. */
RP_MUST rp_err rp_tls_recv(struct rp_tls *t, char *buf, size_t n, size_t *got);
RP_MUST rp_err rp_tls_peek(struct rp_tls *t, char *buf, size_t n, size_t *got);
/* After RP_AGAIN the chain holds at least a byte: the same chain is given again. */
RP_MUST rp_err rp_tls_send(struct rp_tls *t, struct rp_chain *chain);
/* Servers: whose rules for clients' certificates held in the handshake (rp_tls_clients_id); 0: the
 * server's own. */
uint64_t rp_tls_asked(const struct rp_tls *t);
/* Before the handshake: bytes that go in front of it, in the clear (a PROXY header). */
void rp_tls_greet(struct rp_tls *t, rp_str bytes);
/* What is sent next is the last: close_notify leaves with its end. */
void rp_tls_end_after(struct rp_tls *t);
/* Say that nothing more comes (close_notify). RP_AGAIN: it waits for room. */
RP_MUST rp_err rp_tls_notify(struct rp_tls *t);
RP_MUST rp_err rp_tls_flush(struct rp_tls *t); /* RP_OK, RP_AGAIN, RP_E_CLOSED */
bool rp_tls_is_flushed(const struct rp_tls *t);
/* For rp_loop_free. */
void rp_tls_room_free(struct rp_loop *l);

#endif
