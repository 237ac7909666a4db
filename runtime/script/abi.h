/* SPDX-License-Identifier: MIT
 *
 * abi: everything that Lua and C know of each other, with its parts abi_conf.h, abi_lib.h and
 * abi_net.h. C includes this file, lua/rproxy/abi.lua gives the same text (preprocessed, embedded)
 * to ffi.cdef and compares RP_ABI_VERSION.
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
#include "http/multipart.h"
#include "proxy/answer.h"
#include "proxy/guest.h"
#include "proxy/proxy.h"
#include "proxy/stream.h"
#include "proxy/upstream.h"
#include "script/abi_conf.h"
#include "script/abi_lib.h"
#include "script/abi_net.h"
#include "shm/metric.h"
#include "shm/share.h"

enum { RP_ABI_VERSION = 1 };
uint32_t rp_abi_version(void);

struct rp_file_stat {
    uint32_t kind;                         /* a letter: f d l o */
    uint32_t mode;                         /* permission bits */
    double bytes, modified, inode, device; /* modified: seconds since 1970 */
};

/* Is what the running code does to its request noted in the journal of that request
 * (lua/rproxy/journal.lua)? In ONLY it is noted and not done: the code of a shadow instance. */
enum rp_notes { RP_NOTES_NONE, RP_NOTES_TAKEN, RP_NOTES_ONLY };

/* What Lua sees of its host: one per VM, first member of struct rp_host. */
struct rp_host_face {
    uint32_t at;   /* position in its chain of the handler that runs; chains write it */
    uint8_t notes; /* enum rp_notes, of the running task; shadow.lua and journal.lua write it */
    /* Something is to be seen to when the task that runs is left: it is overdue, has a meter, was
     * touched, has answered or ended its chain, made garbage, or there is little room. Whoever makes
     * one of these true sets it; chains do for their end. */
    volatile int attention;
    int32_t place;      /* of the wrapper for which a chain is entered, in chain.lua */
    struct rp_req *req; /* the running task's request; NULL in the background */
    double wrapper;     /* number of the one that the running task may use; 0: none */
    double *cells;      /* the worker's page of shm/metric.h; NULL while the site is built */
    uint16_t *guilty;   /* where the breadcrumb page names the plugin; chains write it */
    rp_str out, out2;   /* results */
    const struct rp_conf *conf; /* this generation's, also while it is built */
    struct rp_regex_span spans[RP_REGEX_GROUPS_MAX + 1]; /* of the last match */
    uint32_t at_pattern;                                 /* of a set: which could not be decided */
    struct rp_dict_item item;                            /* of shared zones: results */
    struct rp_dict_verdict verdict;
    struct rp_dict_stats zone_stats;
    double number;
    double handle; /* of what was made */
    struct rp_file_stat file_stat;
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
    RP_TEXT_UP_ERROR, /* how the last attempt failed, by its err.tbl word */
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
/* Why r's route was chosen, by the head as it is now: proxy/route_explain.h's JSON into out. Slow.
 * RP_E_PHASE: there is no route yet; RP_E_CAP. phases: all but early */
rp_err rp_abi_route_explain(struct rp_host_face *h, const struct rp_req *r);
/* Decoded value of the nth (0..) query argument `name`, into out. */
bool rp_abi_req_arg(struct rp_host_face *h, const struct rp_req *r, const char *name, size_t n,
                    uint32_t nth);
/* Walk a form-encoded text from byte `from`: decoded name into out, value into out2. Returns where
 * the next one starts, 0 at the end. */
size_t rp_abi_form_next(struct rp_host_face *h, const char *p, size_t n, size_t from);
bool rp_abi_req_cookie(struct rp_host_face *h, const struct rp_req *r, const char *name, size_t n);
/* How long this request waits for its upstream: what is enum rp_req_wait; 0: as the route says. */
rp_err rp_abi_req_wait(struct rp_req *r, uint32_t what, double seconds);
/* A field of its line in the access log. RP_E_INVALID: no such name; RP_E_CAP. */
rp_err rp_abi_req_note(struct rp_req *r, const char *name, size_t n, const char *value,
                       size_t value_n, bool bare);
/* Its place in the queue of an upstream whose peers are all busy: higher ones first, at most
 * RP_ABI_PRIORITY_MOST from 0. RP_E_INVALID: no such whole number; RP_E_PHASE: it was sent on. */
enum { RP_ABI_PRIORITY_MOST = 1000 };
rp_err rp_abi_req_set_priority(struct rp_req *r, double priority);
/* Keep copies of its bodies, at most so many bytes of each: proxy/tap.h. */
rp_err rp_abi_req_tap(struct rp_req *r, double sent_max, double got_max);
/* One of the copies, into out: what the upstream was sent, or what the client got. RP_E_NOT_FOUND:
 * nobody asked for it, no upstream was asked, or it broke off; RP_E_TOO_BIG. phases: log */
rp_err rp_abi_req_tapped(struct rp_host_face *h, const struct rp_req *r, bool of_response);
/* End it, and the connection, without an answer, at the end of the tick. phases: before the response */
rp_err rp_abi_req_drop(struct rp_req *r);
double rp_abi_req_duration(const struct rp_req *r); /* seconds so far, or in all */
double rp_abi_req_start(struct rp_req *r);          /* when it began, in seconds since the epoch */
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
    RP_TLS_NUMBER_EARLY,   /* 0 or 1: the request began in early data, which others may repeat */
};
/* Into out; false when absent. In log hooks there are SNI, VERSION and CIPHER only. */
bool rp_abi_req_tls_text(struct rp_host_face *h, const struct rp_req *r, uint32_t what);
/* Alternative name i of the client's certificate, "DNS:a.example", into out; false past the last. */
bool rp_abi_req_tls_name(struct rp_host_face *h, const struct rp_req *r, uint32_t i);
double rp_abi_req_tls_number(const struct rp_req *r, uint32_t what);

/* ---- the journal of a request (script/journal.h) --------------------------------------------- */

/* It has one from now on, kept in its wrapper; with traced its handlers are timed, from the next phase
 * on. */
void rp_abi_journal_begin(struct rp_host_face *h, const struct rp_req *r, bool traced);
void rp_abi_journal_all(struct rp_host_face *h, bool on); /* of every request that meets a hook */
/* A line (newline included) for the log of decisions, and is there one? */
void rp_abi_decision_write(struct rp_host_face *h, const char *line, size_t n);
bool rp_abi_decision_is_logged(const struct rp_host_face *h);
/* Count in the account of an instance; cell: RP_ACCOUNT_SHADOW_.. */
void rp_abi_shadow_count(struct rp_host_face *h, uint32_t plugin, uint32_t cell);
/* A handler of a shadow instance begins: what it waits for and computes is none of the time of the
 * request's other hooks. Returns the loop time at which it has waited long enough. leave: it ended;
 * false: it has used up its CPU budget. */
double rp_abi_shadow_enter(struct rp_host_face *h);
bool rp_abi_shadow_leave(struct rp_host_face *h);

/* ---- heads: of the request (r.x.head), what goes upstream (r.up_head), the response (r.res) */

/* A name that was looked at once (lua/rproxy/header.lua keeps them): written by rp_abi_name_read
 * alone, and trusted by what takes one. */
struct rp_abi_name {
    const char *line; /* "name: " and its padding, the caller's */
    uint32_t n;       /* bytes of the name; 0: it is none */
    uint16_t id;      /* enum rp_header */
    rp_err refused;   /* why it cannot be edited: RP_E_INVALID, no name; RP_E_BUSY, the proxy's */
};
/* line: "name: " and so many bytes of padding, kept; its first n are the name, whatever they are. */
enum { RP_ABI_NAME_PAD = 16 };
void rp_abi_name_read(struct rp_abi_name *name, const char *line, size_t n);
/* First value into out; false when absent. */
bool rp_abi_head_get(struct rp_host_face *h, const struct rp_msg *m,
                     const struct rp_abi_name *name);
bool rp_abi_head_nth(struct rp_host_face *h, const struct rp_msg *m, const struct rp_abi_name *name,
                     uint32_t nth);
bool rp_abi_head_is(const struct rp_msg *m, const struct rp_abi_name *name, const char *value,
                    size_t value_n);
/* Field at or after position `at`: name into out, value into out2. The next position, or 0. */
uint32_t rp_abi_head_walk(struct rp_host_face *h, const struct rp_msg *m, uint32_t at);
/* Match any line of that name. RP_OK: yes, spans are filled and out is the subject; RP_END: no;
 * RP_E_CAP: the pattern's limits were hit. */
rp_err rp_abi_head_match(struct rp_host_face *h, const struct rp_msg *m,
                         const struct rp_abi_name *name, const struct rp_regex *re);
/* Edit one field: kind is enum rp_edit_kind. Copies. RP_E_INVALID for a malformed name or value;
 * RP_E_BUSY for fields that only the proxy writes (framing, Connection); RP_E_CAP.
 * phases: early access rewrite balance (up); header_filter (res) */
rp_err rp_abi_up_edit(struct rp_req *r, uint32_t kind, const struct rp_abi_name *name,
                      const char *value, size_t value_n);
rp_err rp_abi_res_edit(struct rp_req *r, uint32_t kind, const struct rp_abi_name *name,
                       const char *value, size_t value_n);
/* The same on an answer just given by rp_abi_answer, in any phase before the head is sent. */
rp_err rp_abi_answer_edit(struct rp_req *r, uint32_t kind, const struct rp_abi_name *name,
                          const char *value, size_t value_n);

/* ---- bodies and answers --------------------------------------------------------------------- */

/* RP_OK: whole, RP_AGAIN: park, then call again; see rp_req_buffer_body. phases: early access
 * rewrite content balance */
rp_err rp_abi_body_buffer(struct rp_host_face *h, struct rp_req *r, double max);
void rp_abi_body_copy(const struct rp_req *r, char *out); /* r.body.bytes bytes */
rp_err rp_abi_body_set(struct rp_req *r, const char *p, size_t n);
/* Take up to max bytes of the client's body into out. RP_AGAIN: park, then call again; RP_END: all was
 * taken. phases: access rewrite content, and functions that make bodies */
rp_err rp_abi_body_read(struct rp_host_face *h, struct rp_req *r, double max);
/* The function in the wrapper makes the body that goes upstream. RP_E_PHASE; RP_E_CAP. phases: early
 * access rewrite balance */
rp_err rp_abi_body_source(struct rp_host_face *h, struct rp_req *r);
/* Answer instead of the upstream. type NULL: by the body. RP_E_PHASE once the head is sent. */
rp_err rp_abi_answer(struct rp_req *r, uint32_t status, const char *type, size_t type_n,
                     const char *body, size_t body_n);
rp_err rp_abi_res_set_status(struct rp_req *r, uint32_t status); /* phases: header_filter */

/* ---- written answers, hints, trailers, whole bodies (proxy/answer.h) ------------------------- */

/* Answer with a body that is written from now on. length < 0: unknown; idle_s: most seconds between two
 * signs of life, 0 no limit, < 0 as hooks wait; keepalive_s: 0 none. phases: early access rewrite
 * content */
rp_err rp_abi_respond(struct rp_host_face *h, struct rp_req *r, uint32_t status, double length,
                      double idle_s, double keepalive_s);
/* Bytes of p that were taken: fewer than n: noted that the running task waits: park, then go on with the
 * rest. < 0: RP_E_CLOSED, RP_E_TOO_BIG (more than announced), RP_E_BUSY another task is writing. */
double rp_abi_respond_write(struct rp_host_face *h, struct rp_req *r, const char *p, size_t n);
rp_err rp_abi_respond_flush(struct rp_host_face *h, struct rp_req *r); /* RP_AGAIN: park */
rp_err rp_abi_respond_end(struct rp_req *r); /* RP_E_INVALID: less than announced */
/* There is a newer generation than r's, or the worker is about to stop: who goes on for hours should end. */
bool rp_abi_req_is_leaving(const struct rp_req *r);
/* A field of the next 103; forget them; send it (RP_END: not to this client). phases: before
 * header_filter */
rp_err rp_abi_hint_add(struct rp_req *r, const char *name, size_t n, const char *value,
                       size_t value_n);
void rp_abi_hint_drop(struct rp_req *r);
rp_err rp_abi_hint_send(struct rp_req *r);
/* value NULL: no such trailer. phases: header_filter, body_filter, while writing */
rp_err rp_abi_res_trailer(struct rp_req *r, const char *name, size_t n, const char *value,
                          size_t value_n);
/* The whole body of the response into r.out. RP_OK; RP_AGAIN: park, then call again; RP_E_TOO_BIG; < 0
 * why it does not come. phases: header_filter */
rp_err rp_abi_res_gather(struct rp_host_face *h, struct rp_req *r, double max);
void rp_abi_res_body_copy(const struct rp_req *r, char *out);          /* r.out.bytes bytes */
rp_err rp_abi_res_set_body(struct rp_req *r, const char *p, size_t n); /* phases: header_filter */
rp_err rp_abi_res_buffer(struct rp_req *r, double max);                /* phases: header_filter */
enum rp_abi_time {
    RP_TIME_START,
    RP_TIME_CONNECT,
    RP_TIME_CONNECTED,
    RP_TIME_SENT,
    RP_TIME_FIRST_BYTE,
    RP_TIME_END,
};
/* Seconds since the request began; < 0: it did not happen. */
double rp_abi_res_time(const struct rp_req *r, uint32_t which);

/* ---- upstream ------------------------------------------------------------------------------- */

int32_t rp_abi_upstream_find(const struct rp_host_face *h, const char *name, size_t n); /* -1 */
rp_err rp_abi_req_set_upstream(struct rp_req *r, uint32_t index); /* phases: before balance */
/* The peer of this attempt: a peer's name, or with port > 0 an IP address. RP_E_NOT_FOUND when name
 * is neither. phases: balance */
rp_err rp_abi_up_pick(struct rp_req *r, const char *name, size_t n, uint32_t port);
/* TLS settings for the attempts to come; NULL: the upstream's. phases: access rewrite balance */
rp_err rp_abi_up_tls(struct rp_req *r, struct rp_tls_client *tls);
/* Do not choose the peer of that name for this request any more. phases: balance */
rp_err rp_abi_up_exclude(struct rp_req *r, const char *name, size_t n);
/* Only peers of which this is said (proxy/subset.h); empty: as the route says. */
rp_err rp_abi_up_subset(struct rp_req *r, const char *wish, size_t n);

/* ---- metrics -------------------------------------------------------------------------------- */

/* Number of a family, or rp_err: RP_E_PHASE while the site is built; RP_E_CAP, RP_E_BUSY, RP_E_INVALID.
 * kind: enum rp_metric_kind. */
double rp_abi_metric_family(struct rp_host_face *h, uint32_t kind, const char *name, size_t name_n,
                            const char *help, size_t help_n, const double *bounds,
                            uint32_t bounds_n);
/* The first cell (of face.cells) of a series, or rp_err: RP_E_CAP: its family has `most`; RP_E_TOO_BIG. */
double rp_abi_metric_series(struct rp_host_face *h, double family, const char *labels, size_t n,
                            double most);
void rp_abi_metric_observe(double *cells, const double *bounds, uint32_t n, double value);
rp_err rp_abi_metric_text(struct rp_host_face *h); /* all of them, for Prometheus, into out */

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
/* Index in conf->plugins of the instance whose code runs: its hook, what that spawned, its setup; -1:
 * the layer's own code, or a module that is being loaded. */
double rp_abi_running(const struct rp_host_face *h);
void rp_abi_denied(
    struct rp_host_face *h); /* a plugin was refused what it is not granted: count it */
/* One handler of a measured chain ended, before H.at names the next. */
void rp_abi_mark(struct rp_host_face *h);
void rp_abi_failed(
    struct rp_host_face *h); /* code of the running instance raised, and that was caught */
void rp_abi_breaker_passed(struct rp_host_face *h,
                           uint32_t plugin); /* a call let through ended well */
void rp_abi_breaker_skipped(struct rp_host_face *h, uint32_t plugin); /* a call that was not made */
double rp_abi_task_self(const struct rp_host_face *h);      /* handle of the running task */
void rp_abi_task_wake(struct rp_host_face *h, double task); /* stale handles do nothing */
void rp_abi_task_cancel(struct rp_host_face *h, double task);
/* The running task will park until that one has ended, well or not. False: it has. */
bool rp_abi_task_join(struct rp_host_face *h, double task);
/* The running task, no hook, will return at once: what it ran raised. It ends as one that failed. */
void rp_abi_task_failed(struct rp_host_face *h);
/* A moment, and what the running task made after it is let go of: a round of rp.every that failed. */
double rp_abi_holds_mark(const struct rp_host_face *h);
void rp_abi_holds_undo(struct rp_host_face *h, double mark);
/* Seconds until what the running task waits for must have come: the request's end (below), or that
 * of its hook. < 0: there is no limit. */
double rp_abi_left(struct rp_host_face *h);
/* Loop time by which all that r's tasks wait for ends; 0: no limit. */
rp_err rp_abi_req_set_end(struct rp_host_face *h, struct rp_req *r, double at);
double rp_abi_now(const struct rp_host_face *h);  /* loop time, seconds; fixed within a tick */
double rp_abi_wall(const struct rp_host_face *h); /* seconds since the epoch */
double rp_abi_clock_ns(void);

/* May this generation say who the members of that upstream are? YES: it is in use, or the one that is
 * asks nobody about that upstream; WAITING: not yet; OVER: not any more. An empty name: about the site. */
enum rp_abi_use { RP_USE_WAITING, RP_USE_YES, RP_USE_OVER };
uint32_t rp_abi_conf_use(const struct rp_host_face *h, const char *upstream, size_t n);

/* ---- peers: members and checks, in the agent ---- */
/* What checks say of a peer, enum rp_roster_health; -1: this configuration is not in use, or has no
 * such peer. */
int32_t rp_abi_peer_health(const struct rp_host_face *f, uint32_t upstream, const char *name,
                           size_t n);
/* They say so now. True: that is news. */
bool rp_abi_peer_report(struct rp_host_face *f, uint32_t upstream, const char *name, size_t n,
                        uint32_t health, bool ok); /* ok: what the check said */
/* The circuit of an upstream now: 0 closed, 1 open, 2 half-open; -1: it has none. */
int32_t rp_abi_upstream_circuit(const struct rp_host_face *f, uint32_t upstream);
/* Names of the peers that it has now into out, a line each. RP_E_NOT_FOUND: not in use. */
rp_err rp_abi_peer_names(struct rp_host_face *f, uint32_t upstream);
/* What the balancer of this process sees of it, a line for each peer, into out: name, weight as it is and
 * as it counts now, "up", "down" or "absent", "live" or "-". RP_E_NOT_FOUND: not in use. */
rp_err rp_abi_peer_view(struct rp_host_face *f, uint32_t upstream);
/* Grows when members of any upstream changed. */
double rp_abi_members_epoch(const struct rp_host_face *f);
/* The provider's whole set (proxy/member.h). RP_END: it was so already. RP_E_PHASE: this configuration is
 * not in use yet; RP_E_STALE: not any more; RP_E_NOT_FOUND: no such upstream with a provider;
 * RP_E_INVALID: out says which member; RP_E_CAP, RP_E_TOO_BIG, RP_E_BUSY. */
rp_err rp_abi_members_put(struct rp_host_face *f, const char *name, size_t name_n, const char *text,
                          size_t text_n);
rp_err rp_abi_members_get(struct rp_host_face *f, const char *name, size_t n); /* into out */
/* Routes that providers found, for the master to reload with (process/found.h); told: what was said
 * about others. As members_put; get: into out. */
rp_err rp_abi_found_put(struct rp_host_face *f, bool told, const char *text, size_t n);
rp_err rp_abi_found_get(struct rp_host_face *f, bool told);
/* ---- rollouts of splits (the agent) ---- */
struct rp_abi_rollout {
    uint32_t state, step, steps_n; /* enum rp_rollout; from 0 */
    uint32_t share;                /* of the canary, of 10,000 */
    double age_s;                  /* of the step */
    struct {
        double requests, failures, timed; /* since it began */
    } sides[2];                           /* canary, base */
};
/* False: the configuration is not in use. */
bool rp_abi_split_look(const struct rp_host_face *f, uint32_t split, struct rp_abi_rollout *out);
/* Seconds that so many of its requests since the step began did not take longer than (0..1); 0: none
 * was timed. */
double rp_abi_split_time(const struct rp_host_face *f, uint32_t split, bool of_canary,
                         double quantile);
/* word: enum rp_split_word; as rp_splits_say. */
rp_err rp_abi_split_say(struct rp_host_face *f, uint32_t split, uint32_t word, uint32_t step,
                        const char *why, size_t why_n);
double rp_abi_real_ns(void); /* ... also in the lab: what something costs */

/* ---- log ------------------------------------------------------------------------------------ */

/* One line: begin, fields, end. Everything is escaped; request id and plugin are attached. */
void rp_abi_log_begin(struct rp_host_face *h, const char *msg, size_t n);
void rp_abi_log_field(struct rp_host_face *h, const char *key, size_t key_n, const char *value,
                      size_t value_n);
void rp_abi_log_end(struct rp_host_face *h, uint32_t level);

/* ---- clients during their TLS handshake (hooks tls_hello, certificate) ------------------------ */

enum rp_abi_guest_text {
    RP_GUEST_TEXT_SNI,
    RP_GUEST_TEXT_REMOTE_IP,
    RP_GUEST_TEXT_LISTENER,
    RP_GUEST_TEXT_JA4,
};
/* Into out; false when absent. */
bool rp_abi_guest_text(struct rp_host_face *h, struct rp_guest *g, uint32_t what);
uint32_t rp_abi_guest_port(const struct rp_guest *g);
/* Name i of the client's ALPN list into out; false past the last. */
bool rp_abi_guest_alpn(struct rp_host_face *h, const struct rp_guest *g, uint32_t i);
/* What it offers, in its order, as numbers of TLS, without those that mean nothing (GREASE); how many. */
enum rp_abi_guest_codes { RP_GUEST_CIPHERS, RP_GUEST_VERSIONS };
uint32_t rp_abi_guest_codes(const struct rp_guest *g, uint32_t what, uint16_t *out, uint32_t most);
/* See proxy/guest.h; RP_E_PHASE everywhere else. phases: tls_hello */
rp_err rp_abi_guest_refuse(struct rp_guest *g, uint32_t alert, const char *reason, size_t n);
rp_err rp_abi_guest_set_name(struct rp_guest *g, const char *name, size_t n);
rp_err rp_abi_guest_set_min_version(struct rp_guest *g, uint32_t version);
rp_err rp_abi_guest_set_client(struct rp_guest *g, uint32_t ask);
rp_err rp_abi_guest_set_alpn(struct rp_guest *g, const char *list, size_t n);
/* phases: certificate */
rp_err rp_abi_guest_give_cert(struct rp_guest *g, struct rp_tls_cert *cert, double ttl);
/* Whose connection a request came on; NULL: no hook had a say in it. */
struct rp_guest *rp_abi_req_guest(const struct rp_req *r);
/* Its number in the table of known ones; 0: host.keep_guest(wrapper) is to follow at once. */
uint32_t rp_abi_guest_ref(struct rp_host_face *h, struct rp_guest *g);

/* A certificate with chain and key (PEM; the texts may be the same). NULL: out says why. */
struct rp_tls_cert *rp_abi_tls_cert_new(struct rp_host_face *h, const char *cert, size_t cert_n,
                                        const char *key, size_t key_n);
/* Put in those of another: one of each kind of key. */
void rp_abi_tls_cert_join(struct rp_tls_cert *c, const struct rp_tls_cert *more);
void rp_abi_tls_cert_free(struct rp_tls_cert *c);

#endif
