/* SPDX-License-Identifier: MIT
 *
 * abi: everything that Lua and C know of each other. C includes this file, lua/rproxy/abi.lua gives
 * the same text (preprocessed, embedded) to ffi.cdef and compares RP_ABI_VERSION.
 *
 * Rules. An ABI function is a leaf: it reads, copies or notes an intention; it never enters Lua, a
 * step or a completion. Strings go in as (pointer, bytes) and come out through the face's `out` and
 * `out2`, valid until the next ABI call. No struct is passed by value: such calls do not compile.
 * Lua reads the fields of struct rp_req itself and writes none. Waiting is a call that returns
 * RP_AGAIN, then one park (lua/rproxy/task.lua), then the same call again.
 *
 * "phases" names where a function is legal; elsewhere it returns RP_E_PHASE. No word: everywhere
 * that its arguments exist.
 */
#ifndef RP_SCRIPT_ABI_H
#define RP_SCRIPT_ABI_H

#include "base/log.h"
#include "base/regex.h"
#include "proxy/proxy.h"
#include "proxy/stream.h"
#include "proxy/upstream.h"
#include "shm/dict.h"

enum { RP_ABI_VERSION = 1 };
uint32_t rp_abi_version(void);

/* What Lua sees of its host: one per VM, first member of struct rp_host. */
struct rp_host_face {
    uint32_t at;      /* position in its chain of the handler that runs; chains write it */
    uint16_t *guilty; /* where the breadcrumb page names the plugin; chains write it */
    rp_str out, out2; /* results */
    const struct rp_conf *conf; /* this generation's, also while it is built */
    struct rp_req *req;         /* the running task's request; NULL in the background */
    struct rp_regex_span spans[RP_REGEX_GROUPS_MAX + 1]; /* of the last match */
    uint32_t at_pattern;                                 /* of a set: which could not be decided */
    struct rp_dict_item item;                            /* of shared zones: results */
    struct rp_dict_verdict verdict;
    struct rp_dict_stats zone_stats;
    double number;
};

/* ---- request -------------------------------------------------------------------------------- */

enum rp_abi_text {
    RP_TEXT_METHOD, /* as text: for methods without a known id */
    RP_TEXT_HOST,   /* without port; in rewrite after an assignment: what goes upstream */
    RP_TEXT_PATH,   /* normal form; in rewrite after an assignment: what goes upstream */
    RP_TEXT_QUERY,  /* without '?'; absent when there is no '?' */
    RP_TEXT_ID,
    RP_TEXT_REMOTE_IP, /* after `trust` */
    RP_TEXT_PEER_IP,   /* the other end of the connection */
    RP_TEXT_CONSUMER,
    RP_TEXT_UP_PATH,  /* what goes upstream, without query */
    RP_TEXT_UP_HOST,  /* Host that goes upstream; absent: the upstream's rule decides */
    RP_TEXT_UP_PEER,  /* text of the peer bound or last tried */
    RP_TEXT_UPSTREAM, /* name of the chosen upstream */
};
/* Into out; false when absent. */
bool rp_abi_req_text(struct rp_host_face *h, struct rp_req *r, uint32_t what);
/* Assign METHOD, HOST, PATH, QUERY (early: what is routed; rewrite: what goes upstream), CONSUMER
 * (early access rewrite), UP_PATH, UP_HOST (access rewrite balance). p NULL: remove (QUERY,
 * CONSUMER). RP_E_INVALID for bytes that have no place there, RP_E_PHASE, RP_E_CAP. */
rp_err rp_abi_req_assign(struct rp_host_face *h, struct rp_req *r, uint32_t what, const char *p,
                         size_t n);
/* Parameter i of the route: name into out, decoded value into out2; false past the last. */
bool rp_abi_req_param(struct rp_host_face *h, const struct rp_req *r, uint32_t i);
/* Decoded value of the nth (0..) query argument `name`, into out. */
bool rp_abi_req_arg(struct rp_host_face *h, const struct rp_req *r, const char *name, size_t n,
                    uint32_t nth);
/* Walk a form-encoded text from byte `from`: decoded name into out, value into out2. Returns where
 * the next one starts, 0 at the end. */
size_t rp_abi_form_next(struct rp_host_face *h, const char *p, size_t n, size_t from);
bool rp_abi_req_cookie(struct rp_host_face *h, const struct rp_req *r, const char *name, size_t n);
double rp_abi_req_duration(const struct rp_req *r); /* seconds so far, or in all */
/* Seconds an attempt took: 0 connect, 1 to the first byte, 2 whole; < 0 when it did not happen. */
double rp_abi_up_time(const struct rp_req *r, uint32_t which);

enum rp_abi_tls_text {
    RP_TLS_TEXT_SNI,
    RP_TLS_TEXT_ALPN,
    RP_TLS_TEXT_VERSION,
    RP_TLS_TEXT_CIPHER,
    RP_TLS_TEXT_SUBJECT, /* of the client's certificate, as what follows */
    RP_TLS_TEXT_ISSUER,
    RP_TLS_TEXT_SERIAL,
    RP_TLS_TEXT_FINGERPRINT,
    RP_TLS_TEXT_PEM,
};
enum rp_abi_tls_number {
    RP_TLS_NUMBER_IS_TLS, /* 0 or 1 */
    RP_TLS_NUMBER_RESUMED,
    RP_TLS_NUMBER_HAS_CERT,
    RP_TLS_NUMBER_VERIFIED,
    RP_TLS_NUMBER_EXPIRES, /* seconds since 1970 */
};
/* Into out; false when absent. In log hooks there are SNI, VERSION and CIPHER only. */
bool rp_abi_req_tls_text(struct rp_host_face *h, const struct rp_req *r, uint32_t what);
/* Alternative name i of the client's certificate, "DNS:a.example", into out; false past the last. */
bool rp_abi_req_tls_name(struct rp_host_face *h, const struct rp_req *r, uint32_t i);
double rp_abi_req_tls_number(const struct rp_req *r, uint32_t what);

/* ---- heads: of the request (r.x.head), what goes upstream (r.up_head), the response (r.res) */

/* id: enum rp_header, or 0 to go by name. First value into out; false when absent. */
bool rp_abi_head_get(struct rp_host_face *h, const struct rp_msg *m, uint32_t id, const char *name,
                     size_t n);
bool rp_abi_head_nth(struct rp_host_face *h, const struct rp_msg *m, uint32_t id, const char *name,
                     size_t n, uint32_t nth);
bool rp_abi_head_is(const struct rp_msg *m, uint32_t id, const char *name, size_t n,
                    const char *value, size_t value_n);
/* Field at or after position `at`: name into out, value into out2. The next position, or 0. */
uint32_t rp_abi_head_walk(struct rp_host_face *h, const struct rp_msg *m, uint32_t at);
/* Match any line of that name. RP_OK: yes, spans are filled and out is the subject; RP_END: no;
 * RP_E_CAP: the pattern's limits were hit. */
rp_err rp_abi_head_match(struct rp_host_face *h, const struct rp_msg *m, uint32_t id,
                         const char *name, size_t n, const struct rp_regex *re);
/* Edit one field: kind is enum rp_edit_kind. Copies. RP_E_INVALID for a malformed name or value;
 * RP_E_BUSY for fields that only the proxy writes (framing, Connection); RP_E_CAP.
 * phases: early access rewrite balance (up); header_filter (res) */
rp_err rp_abi_up_edit(struct rp_host_face *h, struct rp_req *r, uint32_t kind, uint32_t id,
                      const char *name, size_t n, const char *value, size_t value_n);
rp_err rp_abi_res_edit(struct rp_host_face *h, struct rp_req *r, uint32_t kind, uint32_t id,
                       const char *name, size_t n, const char *value, size_t value_n);
/* The same on an answer just given by rp_abi_answer, in any phase before the head is sent. */
rp_err rp_abi_answer_edit(struct rp_host_face *h, struct rp_req *r, uint32_t kind, uint32_t id,
                          const char *name, size_t n, const char *value, size_t value_n);

/* ---- bodies and answers --------------------------------------------------------------------- */

/* RP_OK: whole, RP_AGAIN: park, then call again; see rp_req_buffer_body. phases: early access
 * rewrite content balance */
rp_err rp_abi_body_buffer(struct rp_host_face *h, struct rp_req *r, double max);
void rp_abi_body_copy(const struct rp_req *r, char *out); /* r.body.bytes bytes */
rp_err rp_abi_body_set(struct rp_req *r, const char *p, size_t n);
/* Answer instead of the upstream. type NULL: by the body. RP_E_PHASE once the head is sent. */
rp_err rp_abi_answer(struct rp_req *r, uint32_t status, const char *type, size_t type_n,
                     const char *body, size_t body_n);
rp_err rp_abi_res_set_status(struct rp_req *r, uint32_t status); /* phases: header_filter */

/* ---- upstream ------------------------------------------------------------------------------- */

int32_t rp_abi_upstream_find(const struct rp_host_face *h, const char *name, size_t n); /* -1 */
rp_err rp_abi_req_set_upstream(struct rp_req *r, uint32_t index); /* phases: before balance */
/* The peer of this attempt: a peer's name, or with port > 0 an IP address. RP_E_NOT_FOUND when name
 * is neither. phases: balance */
rp_err rp_abi_up_pick(struct rp_req *r, const char *name, size_t n, uint32_t port);
/* Do not choose the peer of that name for this request any more. phases: balance */
rp_err rp_abi_up_exclude(struct rp_req *r, const char *name, size_t n);

/* ---- relayed connections -------------------------------------------------------------------- */

enum rp_abi_conn_text {
    RP_CONN_TEXT_REMOTE_IP,
    RP_CONN_TEXT_LISTENER, /* as configured */
    RP_CONN_TEXT_SNI,
    RP_CONN_TEXT_UPSTREAM,  /* name of the chosen one */
    RP_CONN_TEXT_PEER,      /* address last tried */
    RP_CONN_TEXT_REASON,    /* first failure by its err.tbl word */
    RP_CONN_TEXT_TRANSPORT, /* "tcp", "udp" */
};
enum rp_abi_conn_number {
    RP_CONN_NUMBER_PORT, /* of the listener */
    RP_CONN_NUMBER_BYTES_UP,
    RP_CONN_NUMBER_BYTES_DOWN,
    RP_CONN_NUMBER_DURATION, /* seconds */
    RP_CONN_NUMBER_TRIES,
    RP_CONN_NUMBER_DATAGRAMS_UP,
    RP_CONN_NUMBER_DATAGRAMS_DOWN,
};
/* Into out; false when absent. */
bool rp_abi_conn_text(struct rp_host_face *h, const struct rp_stream *s, uint32_t what);
double rp_abi_conn_number(const struct rp_stream *s, uint32_t what); /* bytes: in log */
/* Protocol i (0..) of the client's ALPN list into out; false past the last. phases: connect */
bool rp_abi_conn_alpn(struct rp_host_face *h, const struct rp_stream *s, uint32_t i);
/* phases: connect. RP_E_INVALID: the upstream has a balance hook, or takes no datagrams. */
rp_err rp_abi_conn_set_upstream(struct rp_stream *s, uint32_t index);

/* ---- tasks, time ---------------------------------------------------------------------------- */

/* The running task will park: `why` (constant text) shows in dumps; after `seconds` it is resumed
 * with false (< 0: no deadline). Followed by host.park(). */
void rp_abi_park(struct rp_host_face *h, const char *why, double seconds);
double rp_abi_task_self(const struct rp_host_face *h);      /* handle of the running task */
void rp_abi_task_wake(struct rp_host_face *h, double task); /* stale handles do nothing */
void rp_abi_task_cancel(struct rp_host_face *h, double task);
double rp_abi_now(const struct rp_host_face *h);  /* loop time, seconds; fixed within a tick */
double rp_abi_wall(const struct rp_host_face *h); /* seconds since the epoch */
double rp_abi_clock_ns(void);

/* ---- sockets: handles >= 0; they belong to the request (or background task) that made them */

/* Start connecting to a name or address and port, or with port 0 to a unix path. < 0: rp_err. */
double rp_abi_sock_connect(struct rp_host_face *h, const char *host, size_t n, uint32_t port);
/* Each: RP_AGAIN = noted that the running task waits: park, call again. RP_E_STALE for a handle
 * that is closed or another owner's; failures carry their words in out. */
rp_err rp_abi_sock_connected(struct rp_host_face *h, double sock);
enum rp_abi_read { RP_READ_EXACTLY, RP_READ_LINE, RP_READ_ANY };
/* Bytes into out, consumed by the next call. n: how many, or the most. RP_END: end of stream. */
rp_err rp_abi_sock_read(struct rp_host_face *h, double sock, uint32_t how, double n);
rp_err rp_abi_sock_write(struct rp_host_face *h, double sock, const char *p, size_t n); /* copies */
rp_err rp_abi_sock_flush(struct rp_host_face *h, double sock);
void rp_abi_sock_close(struct rp_host_face *h, double sock);

/* ---- log ------------------------------------------------------------------------------------ */

/* One line: begin, fields, end. Everything is escaped; request id and plugin are attached. */
void rp_abi_log_begin(struct rp_host_face *h, const char *msg, size_t n);
void rp_abi_log_field(struct rp_host_face *h, const char *key, size_t key_n, const char *value,
                      size_t value_n);
void rp_abi_log_end(struct rp_host_face *h, uint32_t level);

/* ---- regex, text, crypto -------------------------------------------------------------------- */

/* NULL: out says why. flags: letters i m s x u a. */
struct rp_regex *rp_abi_regex_compile(struct rp_host_face *h, const char *p, size_t n,
                                      const char *flags, size_t flags_n);
void rp_abi_regex_free(struct rp_regex *re);
/* As rp_abi_head_match, on a text. RP_E_INVALID: from is past the end. */
rp_err rp_abi_regex_match(struct rp_host_face *h, const struct rp_regex *re, const char *p,
                          size_t n, size_t from);
/* Index (from..n-1) of the first of n patterns that occurs in the text; n: none does; < 0: rp_err,
 * and the pattern that hit its limits is face->at_pattern. any: occurs whenever one of them does
 * (all of them in one pass), or NULL. */
double rp_abi_regex_first(struct rp_host_face *h, const struct rp_regex *any,
                          struct rp_regex *const *list, uint32_t n, uint32_t from, const char *p,
                          size_t p_n);

enum rp_abi_codec {
    RP_ABI_BASE64,
    RP_ABI_BASE64URL,
    RP_ABI_HEX,
    RP_ABI_URI_COMPONENT,
    RP_ABI_URI_PATH,
};
/* Into out. decode: RP_E_INVALID. RP_E_CAP when the text is absurdly long. */
rp_err rp_abi_encode(struct rp_host_face *h, uint32_t codec, const char *p, size_t n);
rp_err rp_abi_decode(struct rp_host_face *h, uint32_t codec, const char *p, size_t n);

enum { RP_ABI_DIGEST_BYTES = 64 };
/* Digest of several pieces: begin, add.., end into out. key NULL: plain digest, else HMAC.
 * RP_E_NOT_FOUND for an unknown algorithm ("md5" "sha1" "sha256" "sha384" "sha512"). */
rp_err rp_abi_digest_begin(struct rp_host_face *h, const char *alg, const char *key, size_t key_n);
void rp_abi_digest_add(struct rp_host_face *h, const char *p, size_t n);
rp_err rp_abi_digest_end(struct rp_host_face *h);
void rp_abi_random(char *out, size_t n);
bool rp_abi_equal(const char *a, const char *b, size_t n); /* time depends on n alone */
double rp_abi_hash(const char *p, size_t n); /* 52 bits, the same in every process and release */

/* ---- shared zones ---------------------------------------------------------------------------- */

/* The zone of that name; NULL: there is none, or the host is not attached yet. Good for the life of
 * the host. What follows is shm/dict.h with the clock added; seconds from now on, < 0: never. */
struct rp_dict *rp_abi_shared_find(struct rp_host_face *h, const char *name, size_t n);
/* The value: item, and out when it is a string. */
rp_err rp_abi_shared_get(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n);
/* What a get would give, without a string's bytes. number: seconds left, < 0: no end. */
rp_err rp_abi_shared_look(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n);
/* ttl, and how much longer it may be served stale. text: of a RP_DICT_STRING. */
rp_err rp_abi_shared_set(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                         uint32_t mode, uint32_t type, double number, const char *text,
                         size_t text_n, double ttl, double stale);
rp_err rp_abi_shared_delete(struct rp_dict *d, const char *key, size_t n);
rp_err rp_abi_shared_incr(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                          double by, bool has_init, double init, double ttl); /* number: the sum */
rp_err rp_abi_shared_expire(struct rp_dict *d, const char *key, size_t n, double ttl);
rp_err rp_abi_shared_flush(struct rp_dict *d);
rp_err rp_abi_shared_next(struct rp_host_face *h, struct rp_dict *d,
                          double at);                                      /* number: next at */
void rp_abi_shared_stats(struct rp_host_face *h, const struct rp_dict *d); /* zone_stats */
rp_err rp_abi_shared_lease(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                           double seconds);
rp_err rp_abi_shared_unlease(struct rp_dict *d, const char *key, size_t n);
/* verdict */
rp_err rp_abi_shared_take(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                          double cost, double rate, double burst);
rp_err rp_abi_shared_window(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                            double cost, double limit, double window);
rp_err rp_abi_shared_acquire(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                             double limit, double lease); /* number: the ticket */
rp_err rp_abi_shared_release(struct rp_dict *d, const char *key, size_t n, double ticket);

/* A key for signatures: RSA of 2048 to 8192 bits, EC on P-256, P-384, P-521, Ed25519. */
struct rp_key;
enum rp_abi_key_kind {
    RP_KEY_RSA = 1,
    RP_KEY_P256,
    RP_KEY_P384,
    RP_KEY_P521,
    RP_KEY_ED25519,
};
/* From PEM: a public key, a private key without password, or a certificate. NULL: out says why. */
struct rp_key *rp_abi_key_pem(struct rp_host_face *h, const char *p, size_t n);
/* From numbers, most significant byte first (RFC 7518 §6): RSA a = n, b = e; EC a = x, b = y; Ed25519
 * a = x. d: the private part, or empty. NULL: out says why. */
struct rp_key *rp_abi_key_parts(struct rp_host_face *h, uint32_t kind, const char *a, size_t a_n,
                                const char *b, size_t b_n, const char *d, size_t d_n);
void rp_abi_key_free(struct rp_key *key);
uint32_t rp_abi_key_kind(const struct rp_key *key);
bool rp_abi_key_is_private(const struct rp_key *key);
/* alg: a name of RFC 7518 §3.1 or RFC 8037 for signatures ("ES256"). sign: into out. verify: RP_OK; RP_END: does
 * not verify. RP_E_NOT_FOUND: no such alg; RP_E_INVALID: not for a key of this kind. */
rp_err rp_abi_key_sign(struct rp_host_face *h, struct rp_key *key, const char *alg, const char *p,
                       size_t n);
rp_err rp_abi_key_verify(struct rp_host_face *h, struct rp_key *key, const char *alg, const char *p,
                         size_t n, const char *sig, size_t sig_n);
/* "aes-128-gcm" "aes-256-gcm" "chacha20-poly1305"; nonces have 12 bytes, the tag (16) follows the
 * text. seal and open: into out. RP_E_NOT_FOUND: no such alg; RP_E_INVALID: length of key or nonce;
 * RP_E_CAP: too long; RP_END: the tag is wrong. */
rp_err rp_abi_aead(struct rp_host_face *h, bool seal, const char *alg, const char *key,
                   size_t key_n, const char *nonce, size_t nonce_n, const char *text, size_t n,
                   const char *aad, size_t aad_n);

/* Begin to derive a key from a password: alg "" is scrypt (RFC 7914; rounds: N, block: r, parallel:
 * p, together at most 64 MB), else the digest of PBKDF2 ("SHA256"). In a task it runs on the pool:
 * park while rp_abi_derived returns RP_AGAIN. NULL: out says why. */
struct rp_vm_job;
struct rp_vm_job *rp_abi_derive(struct rp_host_face *h, const char *alg, const char *password,
                                size_t password_n, const char *salt, size_t salt_n, double rounds,
                                double block, double parallel, double bytes);
/* Into out. RP_AGAIN: it runs; RP_E_INVALID: OpenSSL does not take these numbers. */
rp_err rp_abi_derived(struct rp_host_face *h, struct rp_vm_job *job);
void rp_abi_derive_free(struct rp_vm_job *job);

/* ---- configuration: proxy/conf.h's builder, one to one */

rp_err rp_abi_conf_set_number(struct rp_conf *c, const char *key, size_t key_n, double value);
rp_err rp_abi_conf_set_text(struct rp_conf *c, const char *key, size_t key_n, const char *value,
                            size_t value_n);
rp_err rp_abi_conf_add_listener(struct rp_conf *c, const char *addr, size_t addr_n,
                                bool redirect_https, uint32_t *index, struct rp_conf_error *e);
rp_err rp_abi_conf_set_listener(struct rp_conf *c, uint32_t listener, const char *key, size_t key_n,
                                double value);
rp_err rp_abi_conf_add_tls(struct rp_conf *c, uint32_t *index);
rp_err rp_abi_conf_set_tls(struct rp_conf *c, uint32_t tls, const char *key, size_t key_n,
                           double value);
rp_err rp_abi_conf_set_tls_text(struct rp_conf *c, uint32_t tls, const char *key, size_t key_n,
                                const char *value, size_t value_n);
/* Paths are absolute. The files go from the bundle to OpenSSL and never become Lua strings. */
rp_err rp_abi_conf_tls_cas(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                           const char *path, size_t path_n, struct rp_conf_error *e);
rp_err rp_abi_conf_make_tls_server(struct rp_conf *c, uint32_t tls, struct rp_conf_error *e);
/* key empty: in the same file, or in the one beside it (x.key for x.crt and x.pem, privkey.pem for
 * fullchain.pem). listed: a file without a certificate is passed over, with RP_END. */
rp_err rp_abi_conf_add_cert(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                            const char *cert, size_t cert_n, const char *key, size_t key_n,
                            bool listed, struct rp_conf_error *e);
rp_err rp_abi_conf_use_tls(struct rp_conf *c, uint32_t listener, uint32_t tls);
/* cert and key empty: no certificate of our own. */
rp_err rp_abi_conf_make_tls_client(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                                   uint32_t upstream, const char *cert, size_t cert_n,
                                   const char *key, size_t key_n, struct rp_conf_error *e);
rp_err rp_abi_conf_add_trust(struct rp_conf *c, const char *cidr, size_t cidr_n,
                             struct rp_conf_error *e);
rp_err rp_abi_conf_add_file(struct rp_conf *c, const char *path, size_t path_n, uint32_t *index);
rp_err rp_abi_conf_add_zone(struct rp_conf *c, const char *name, size_t name_n, uint32_t kind,
                            double bytes);
rp_err rp_abi_conf_add_plugin(struct rp_conf *c, const char *name, size_t name_n, uint32_t on_error,
                              uint32_t *index);
rp_err rp_abi_conf_add_upstream(struct rp_conf *c, const char *name, size_t name_n, uint32_t *index,
                                struct rp_conf_error *e);
rp_err rp_abi_conf_set_upstream(struct rp_conf *c, uint32_t upstream, const char *key, size_t key_n,
                                double value);
rp_err rp_abi_conf_set_upstream_text(struct rp_conf *c, uint32_t upstream, const char *key,
                                     size_t key_n, const char *value, size_t value_n);
rp_err rp_abi_conf_add_peer(struct rp_conf *c, uint32_t upstream, const char *text, size_t text_n,
                            uint32_t weight, bool backup, struct rp_conf_error *e);
rp_err rp_abi_conf_add_host(struct rp_conf *c, bool is_default, uint32_t *index);
rp_err rp_abi_conf_set_host_text(struct rp_conf *c, uint32_t host, const char *key, size_t key_n,
                                 const char *value, size_t value_n);
rp_err rp_abi_conf_add_host_name(struct rp_conf *c, uint32_t host, const char *name, size_t name_n,
                                 struct rp_conf_error *e);
rp_err rp_abi_conf_add_route(struct rp_conf *c, uint32_t host, const char *methods,
                             size_t methods_n, const char *pattern, size_t pattern_n,
                             bool is_fallback, uint32_t *index, struct rp_conf_error *e);
rp_err rp_abi_conf_set_route(struct rp_conf *c, uint32_t route, const char *key, size_t key_n,
                             double value);
rp_err rp_abi_conf_set_route_text(struct rp_conf *c, uint32_t route, const char *key, size_t key_n,
                                  const char *value, size_t value_n);
rp_err rp_abi_conf_set_route_chain(struct rp_conf *c, uint32_t route, uint32_t phase, uint32_t ref);
rp_err rp_abi_conf_set_site_chain(struct rp_conf *c, uint32_t phase, uint32_t ref);
rp_err rp_abi_conf_add_edit(struct rp_conf *c, uint32_t route, uint32_t kind, bool response,
                            const char *name, size_t name_n, const char *value, size_t value_n,
                            struct rp_conf_error *e);
rp_err rp_abi_conf_add_cond(struct rp_conf *c, uint32_t route, uint32_t kind, uint32_t op,
                            bool negate, const char *name, size_t name_n, const char *value,
                            size_t value_n, struct rp_conf_error *e);
rp_err rp_abi_conf_add_connect(struct rp_conf *c, uint32_t route, bool deny, const char *text,
                               size_t text_n, struct rp_conf_error *e);
rp_err rp_abi_conf_add_page(struct rp_conf *c, uint32_t level, uint32_t index, const char *which,
                            size_t which_n, const char *type, size_t type_n, const char *body,
                            size_t body_n, struct rp_conf_error *e);
rp_err rp_abi_conf_add_stream(struct rp_conf *c, uint32_t *index);
rp_err rp_abi_conf_set_stream(struct rp_conf *c, uint32_t stream, const char *key, size_t key_n,
                              double value);
rp_err rp_abi_conf_add_stream_listener(struct rp_conf *c, uint32_t stream, const char *addr,
                                       size_t addr_n, uint32_t *index, struct rp_conf_error *e);
rp_err rp_abi_conf_add_stream_rule(struct rp_conf *c, uint32_t stream, uint32_t kind,
                                   const char *name, size_t name_n, uint32_t upstream,
                                   struct rp_conf_error *e);
rp_err rp_abi_conf_set_access_log(struct rp_conf *c, uint32_t file, uint32_t format,
                                  uint32_t buffer_bytes, uint32_t flush_ms);
rp_err rp_abi_conf_add_access_field(struct rp_conf *c, const char *name, size_t name_n,
                                    struct rp_conf_error *e);

#endif
