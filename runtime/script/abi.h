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
#include "http/multipart.h"
#include "proxy/answer.h"
#include "proxy/guest.h"
#include "proxy/proxy.h"
#include "proxy/stream.h"
#include "proxy/upstream.h"
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
    uint32_t at;      /* position in its chain of the handler that runs; chains write it */
    uint8_t notes;    /* enum rp_notes, of the running task; shadow.lua and journal.lua write it */
    double *cells;    /* the worker's page of shm/metric.h; NULL while the site is built */
    uint16_t *guilty; /* where the breadcrumb page names the plugin; chains write it */
    rp_str out, out2; /* results */
    const struct rp_conf *conf; /* this generation's, also while it is built */
    struct rp_req *req;         /* the running task's request; NULL in the background */
    double wrapper;             /* number of the one that the running task may use; 0: none */
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
 * asks nobody about that upstream; WAITING: not yet; OVER: not any more. */
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
rp_err rp_abi_call_head(struct rp_host_face *h, double call); /* until RP_OK: it is there */
/* The response's head; its trailers, once read said RP_END (NULL: none). Good until the close. */
const struct rp_msg *rp_abi_call_msg(struct rp_host_face *h, double call, bool trailers);
rp_err rp_abi_call_read(struct rp_host_face *h, double call); /* a piece into out; RP_END: all */
void rp_abi_call_close(struct rp_host_face *h, double call);

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
/* 0 .. buckets - 1. */
uint32_t rp_abi_jump(const char *p, size_t n, uint32_t buckets);

/* ---- shared zones ---------------------------------------------------------------------------- */

/* The zone of that name; NULL: there is none, or the host is not attached yet. Good for the life of
 * the host. What follows is shm/dict.h with the clock added; seconds from now on, < 0: never. */
/* A pointer of the kind's own type. */
void *rp_abi_shared_find(struct rp_host_face *h, const char *name, size_t n);
/* The value: item, and out when it is a string. number: seconds left, < 0: no end. */
rp_err rp_abi_shared_get(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n);
/* What a get would give, without a string's bytes. number: seconds left, < 0: no end. */
rp_err rp_abi_shared_look(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n);
/* ttl, and how much longer it may be served stale. text: of a RP_DICT_STRING. */
rp_err rp_abi_shared_set(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                         uint32_t mode, uint32_t type, double number, const char *text,
                         size_t text_n, double ttl, double stale);
/* Replace what is believed to be there (type 0: nothing) by another value (type 0: nothing). RP_END:
 * something else is. */
rp_err rp_abi_shared_swap(struct rp_dict *d, const char *key, size_t n, uint32_t old_type,
                          double old_number, const char *old_text, size_t old_n, uint32_t type,
                          double number, const char *text, size_t text_n, double ttl);
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
rp_err rp_abi_shared_leak(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                          double cost, double rate, double burst);
rp_err rp_abi_shared_window(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                            double cost, double limit, double window);
rp_err rp_abi_shared_acquire(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                             double limit, double lease); /* number: the ticket */
rp_err rp_abi_shared_release(struct rp_dict *d, const char *key, size_t n, double ticket);
/* A place for the running task's request (or background task), given back with it. number: the
 * handle, when the verdict allows. RP_E_PHASE: nothing runs. */
rp_err rp_abi_shared_hold(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                          double limit);
rp_err rp_abi_shared_unhold(struct rp_host_face *h, double handle); /* RP_E_STALE */

/* Counters. kind: enum rp_tally_kind. number: what add, set and sum take. */
rp_err rp_abi_tally_name(struct rp_host_face *h, struct rp_tally *t, const char *name, size_t n,
                         uint32_t kind);
void rp_abi_tally_add(struct rp_host_face *h, struct rp_tally *t, uint32_t at, double n);
void rp_abi_tally_set(struct rp_host_face *h, struct rp_tally *t, uint32_t at, double n);
double rp_abi_tally_sum(const struct rp_tally *t, uint32_t at);
bool rp_abi_tally_at(struct rp_host_face *h, const struct rp_tally *t, uint32_t at); /* out */
double rp_abi_tally_room(const struct rp_tally *t);

rp_err rp_abi_top_add(struct rp_top *t, const char *key, size_t n, double count);
/* At most 1000; number: how many. Good until the next ABI call. */
const struct rp_top_item *rp_abi_top_list(struct rp_host_face *h, struct rp_top *t, double most);
rp_err rp_abi_top_flush(struct rp_top *t);
void rp_abi_top_stats(const struct rp_top *t, struct rp_top_stats *out);

rp_err rp_abi_distinct_add(struct rp_distinct *d, const char *name, size_t n, const char *item,
                           size_t item_n);
/* number: for count and clear. */
rp_err rp_abi_distinct_find(struct rp_host_face *h, const struct rp_distinct *d, const char *name,
                            size_t n);
double rp_abi_distinct_count(const struct rp_distinct *d, const uint32_t *list, uint32_t n);
void rp_abi_distinct_clear(struct rp_distinct *d, uint32_t at);
bool rp_abi_distinct_at(struct rp_host_face *h, const struct rp_distinct *d, uint32_t at); /* out */

/* Sets. Read the file when it is not the one that is in the set. Results: RP_OK; RP_END: another worker
 * reads it; RP_E_STALE: it was tried and is bad, as it was told then (not with anew); else out says
 * what is wrong. NULL: out says why. */
struct rp_vm_job *rp_abi_lookup_load(struct rp_host_face *h, const char *zone, size_t zone_n,
                                     uint32_t type, const char *path, size_t path_n, bool anew);
/* By its type. out: the value; out2: of networks, which one. number: of names, bytes of the entry.
 * RP_E_NOT_FOUND; RP_E_INVALID: no address; RP_E_BUSY. */
rp_err rp_abi_lookup(struct rp_host_face *h, const struct rp_lookup *l, uint32_t type,
                     const char *key, size_t n);
/* Line i of a version (0: whichever), into out; number: the version. */
rp_err rp_abi_lookup_line(struct rp_host_face *h, const struct rp_lookup *l, uint32_t i,
                          double version);
double rp_abi_lookup_version(const struct rp_lookup *l);
void rp_abi_lookup_stats(const struct rp_lookup *l, struct rp_lookup_stats *out);

/* ---- locks, seats, files, processes: handles of things that belong to the running task's request (or
 * background task) and are given back with it; RP_E_STALE for one that is gone, or another owner's. A
 * task that is cancelled or fails gives back at once what it made. ------------------------------- */

/* A lock for all workers, in a store. RP_OK: handle, and number: its fence; RP_AGAIN: taken; number:
 * seconds until that lease is over. */
rp_err rp_abi_lock(struct rp_host_face *h, struct rp_dict *d, const char *key, size_t n,
                   double lease);
/* Hold it for `lease` seconds from now on. RP_E_NOT_FOUND: the lease was over. */
rp_err rp_abi_lock_renew(struct rp_host_face *h, double lock, double lease);
rp_err rp_abi_lock_release(struct rp_host_face *h, double lock); /* RP_E_NOT_FOUND: as above */

/* `limit` seats of this worker; `waiting` may wait for one, in order. */
struct rp_sem;
struct rp_sem *rp_abi_sem_new(double limit, double waiting);
void rp_abi_sem_free(struct rp_sem *sem); /* when its last seat is given back */
/* RP_OK: seated; RP_AGAIN: in the queue, whose end wakes the task; both: handle. RP_E_BUSY: the queue
 * is full. */
rp_err rp_abi_sem_enter(struct rp_host_face *h, struct rp_sem *sem);
bool rp_abi_sem_is_seated(struct rp_host_face *h, double seat);
rp_err rp_abi_sem_leave(struct rp_host_face *h, double seat);
double rp_abi_sem_count(const struct rp_sem *sem, bool waiting); /* seats taken, or tasks waiting */

enum rp_abi_file_op {
    RP_FILE_READ,   /* number: most bytes; out: the bytes */
    RP_FILE_WRITE,  /* number: mode bits */
    RP_FILE_SWAP,   /* the same through a new file that takes the name (rename) when it is whole */
    RP_FILE_APPEND, /* number: mode bits */
    RP_FILE_STAT,   /* file_stat */
    RP_FILE_LIST, /* number: most names; out: for each a letter (f d l o) and the name, ended by NUL */
    RP_FILE_REMOVE, /* a file or an empty folder */
    RP_FILE_MKDIR,  /* number: mode bits; text "p": the folders above it, too */
    RP_FILE_RENAME, /* text: the new path */
};
/* Start on the thread pool; handle; the job's end wakes the task. Copies. RP_E_BUSY: too many.
 * root_n: bytes at the beginning of the path that are a folder which no link may lead out of (what would
 * is RP_E_OS, EACCES); < 0: links are followed wherever they lead. to_root_n: the same of RENAME's text. */
rp_err rp_abi_file(struct rp_host_face *h, uint32_t op, const char *path, size_t path_n,
                   double root_n, const char *text, size_t n, double to_root_n, double number);
/* RP_AGAIN: it runs: park. Else its result, and the handle is gone. RP_E_TOO_BIG: READ and LIST;
 * RP_E_INVALID: READ of what is no plain file; RP_E_OS: number is the errno and out its words. */
rp_err rp_abi_file_done(struct rp_host_face *h, double job);

/* Start a program without a shell: argv and env are texts ended by NUL each, one after the other; cwd
 * empty: as it is. It has no descriptor but its three, a process group of its own, and is killed with
 * that group when it is let go of. out_most: bytes of each of its outputs; more is RP_E_TOO_BIG.
 * RP_OK: handle, and its end wakes the task. RP_E_BUSY; RP_E_OS: out says why. */
rp_err rp_abi_exec(struct rp_host_face *h, const char *argv, size_t argv_n, const char *env,
                   size_t env_n, const char *cwd, const char *in, size_t in_n, double out_most);
/* RP_AGAIN: it runs. RP_OK: out and out2 are its outputs, number its exit status, or - the signal.
 * They are good until the handle is let go of. */
rp_err rp_abi_exec_done(struct rp_host_face *h, double child);
void rp_abi_exec_free(struct rp_host_face *h, double child);
double rp_abi_pid(void); /* the worker's */

/* Addresses are 16 bytes, IPv4 mapped (::ffff:0:0/96). parse: out has room for them; number: 4 or 6.
 * RP_E_INVALID. */
rp_err rp_abi_ip_parse(struct rp_host_face *h, const char *p, size_t n, char *out);
void rp_abi_ip_text(struct rp_host_face *h, const char *ip); /* into out */
void rp_abi_ip_mask(char *ip, uint32_t bits);                /* of 128 */
rp_err rp_abi_cidr_parse(struct rp_host_face *h, const char *p, size_t n,
                         char *out); /* number: bits of 128 */
/* A set of networks of this VM, with room for so many. NULL: too many. Nothing is added after the first
 * question. */
struct rp_vm_nets;
struct rp_vm_nets *rp_abi_nets_new(double most);
void rp_abi_nets_free(struct rp_vm_nets *nets);
rp_err rp_abi_nets_add(struct rp_vm_nets *nets, const char *p, size_t n); /* RP_E_INVALID */
/* RP_OK: it is in it; RP_E_NOT_FOUND; RP_E_INVALID: no address. */
rp_err rp_abi_nets_has(const struct rp_vm_nets *nets, const char *p, size_t n);
bool rp_abi_nets_has_ip(const struct rp_vm_nets *nets, const char *ip);

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

/* Of encrypted tokens (RFC 7518 §4, §5); results in out. RP_E_INVALID: not such a key; RP_END: it
 * cannot be done, or is not what was made; RP_E_CAP. cbc: AES-128 with padding. keywrap: RFC 3394. oaep: with
 * SHA-256. ecdh: what two keys of one curve agree on, own a private one. */
rp_err rp_abi_cbc(struct rp_host_face *h, bool seal, const char *key, size_t key_n, const char *iv,
                  size_t iv_n, const char *text, size_t n);
rp_err rp_abi_keywrap(struct rp_host_face *h, bool wrap, const char *kek, size_t kek_n,
                      const char *key, size_t n);
rp_err rp_abi_oaep(struct rp_host_face *h, bool seal, struct rp_key *key, const char *text,
                   size_t n);
rp_err rp_abi_ecdh(struct rp_host_face *h, struct rp_key *own, struct rp_key *other);
struct rp_key *rp_abi_key_draw(struct rp_host_face *h, uint32_t kind); /* a new one, of a curve */
bool rp_abi_key_point(struct rp_host_face *h, struct rp_key *key);     /* out: x, out2: y */

/* Certificates. From PEM (the first one) or DER. NULL: out says why. */
struct rp_x509;
struct rp_x509 *rp_abi_x509_new(struct rp_host_face *h, const char *p, size_t n);
void rp_abi_x509_free(struct rp_x509 *c);
/* As rp_abi_key_pem. */
struct rp_key *rp_abi_x509_key(struct rp_host_face *h, const struct rp_x509 *c);
enum rp_abi_x509_text {
    RP_X509_SUBJECT, /* RFC 2253 */
    RP_X509_ISSUER,
    RP_X509_SERIAL,      /* hex */
    RP_X509_FINGERPRINT, /* SHA-256, hex */
    RP_X509_PEM,
    RP_X509_DER,
};
enum rp_abi_x509_number {
    RP_X509_NOT_BEFORE, /* seconds since 1970 */
    RP_X509_NOT_AFTER,
    RP_X509_IS_CA,
    RP_X509_VERSION,
};
bool rp_abi_x509_text(struct rp_host_face *h, const struct rp_x509 *c, uint32_t what);
double rp_abi_x509_number(const struct rp_x509 *c, uint32_t what);
/* Alternative name i, "DNS:a.example"; empty: of a kind that is not read. False past the last. */
bool rp_abi_x509_san(struct rp_host_face *h, const struct rp_x509 *c, uint32_t i);
bool rp_abi_x509_is_for(const struct rp_x509 *c, const char *name, size_t n, bool is_ip);
/* Authorities. NULL: out says why. */
struct rp_x509_store;
struct rp_x509_store *rp_abi_x509_store_new(struct rp_host_face *h, const char *p, size_t n);
void rp_abi_x509_store_free(struct rp_x509_store *s);
/* chain: PEM of what is between, may be empty. purpose: "server", "client", "any". RP_END: out says
 * why not. */
rp_err rp_abi_x509_verify(struct rp_host_face *h, const struct rp_x509 *c,
                          const struct rp_x509_store *s, const char *chain, size_t chain_n,
                          const char *purpose, double time);

/* A body of multipart/form-data, by its Content-Type. NULL: no such type. */
struct rp_multipart;
struct rp_multipart *rp_abi_multipart_new(const char *type, size_t type_n, uint32_t parts);
void rp_abi_multipart_free(struct rp_multipart *m);
rp_err rp_abi_multipart_feed(struct rp_multipart *m, const char *p, size_t n);
/* The next event, as rp_multipart_next; number: which. PART: out is the name, out2 the filename
 * (absent: its ptr is NULL), its type by rp_abi_multipart_type. DATA: out. */
rp_err rp_abi_multipart_next(struct rp_host_face *h, struct rp_multipart *m);
void rp_abi_multipart_type(struct rp_host_face *h, const struct rp_multipart *m);

/* Packing: gzip or zlib; most: bytes that may come out in all. */
struct rp_vm_gzip;
struct rp_vm_gzip *rp_abi_gzip_new(bool unpack, bool gzip, uint32_t level, double most);
void rp_abi_gzip_free(struct rp_vm_gzip *g);
/* Into out. RP_E_INVALID: no such text, or cut off; RP_E_TOO_BIG; RP_E_CAP: more than 8 MB at once;
 * RP_E_PHASE: it is over. */
rp_err rp_abi_gzip_step(struct rp_host_face *h, struct rp_vm_gzip *g, const char *p, size_t n,
                        bool last);

/* What runs on the pool while the task waits: park while rp_abi_job_result returns RP_AGAIN. Then it is
 * the job's result, with `out`. Where nothing can wait it has run already. */
struct rp_vm_job;
rp_err rp_abi_job_result(struct rp_host_face *h, struct rp_vm_job *job);
void rp_abi_job_free(struct rp_vm_job *job);

/* Derive a key from a password: alg "" is scrypt (RFC 7914; rounds: N, block: r, parallel: p,
 * together at most 64 MB), else the digest of PBKDF2 ("SHA256"). NULL: out says why. Result:
 * RP_E_INVALID: OpenSSL does not take these numbers. */
struct rp_vm_job *rp_abi_derive(struct rp_host_face *h, const char *alg, const char *password,
                                size_t password_n, const char *salt, size_t salt_n, double rounds,
                                double block, double parallel, double bytes);
/* Result: RP_OK: it is the password; RP_END: it is not; RP_E_INVALID: not a hash that is known. */
struct rp_vm_job *rp_abi_password_check(struct rp_host_face *h, const char *hash, size_t hash_n,
                                        const char *password, size_t n);
/* prefix: as crypt_gensalt(3) has them, "$2b$". cost 0: the library's. */
struct rp_vm_job *rp_abi_password_make(struct rp_host_face *h, const char *prefix, double cost,
                                       const char *password, size_t n);

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
rp_err rp_abi_conf_tls_crl(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                           const char *path, size_t path_n, struct rp_conf_error *e);
rp_err rp_abi_conf_make_tls_server(struct rp_conf *c, uint32_t tls, struct rp_conf_error *e);
/* key empty: in the same file, or in the one beside it (x.key for x.crt and x.pem, privkey.pem for
 * fullchain.pem). listed: a file without a certificate is passed over, with RP_END. */
rp_err rp_abi_conf_add_cert(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                            const char *cert, size_t cert_n, const char *key, size_t key_n,
                            bool listed, struct rp_conf_error *e);
/* The OCSP answer for the certificate that was added last, whose path is cert. file empty: the one
 * beside it (cert.ocsp), if there is one. */
rp_err rp_abi_conf_add_staple(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                              const char *cert, size_t cert_n, const char *file, size_t file_n,
                              struct rp_conf_error *e);
rp_err rp_abi_conf_use_tls(struct rp_conf *c, uint32_t listener, uint32_t tls);
rp_err rp_abi_conf_ask_clients(struct rp_conf *c, uint32_t host, uint32_t tls, const char *name,
                               size_t name_n, struct rp_conf_error *e);
rp_err rp_abi_conf_ask_no_clients(struct rp_conf *c, const char *name, size_t name_n);
/* cert and key empty: no certificate of our own. */
rp_err rp_abi_conf_make_tls_client(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                                   uint32_t upstream, const char *cert, size_t cert_n,
                                   const char *key, size_t key_n, struct rp_conf_error *e);
rp_err rp_abi_conf_add_trust(struct rp_conf *c, const char *cidr, size_t cidr_n,
                             struct rp_conf_error *e);
rp_err rp_abi_conf_add_file(struct rp_conf *c, const char *path, size_t path_n, uint32_t *index);
rp_err rp_abi_conf_add_zone(struct rp_conf *c, const char *name, size_t name_n, uint32_t kind,
                            double bytes, double tag);
rp_err rp_abi_conf_add_plugin(struct rp_conf *c, const char *name, size_t name_n, uint32_t on_error,
                              uint32_t *index);
rp_err rp_abi_conf_set_plugin(struct rp_conf *c, uint32_t plugin, const char *key, size_t key_n,
                              double value);
rp_err rp_abi_conf_add_upstream(struct rp_conf *c, const char *name, size_t name_n, uint32_t *index,
                                struct rp_conf_error *e);
rp_err rp_abi_conf_set_upstream(struct rp_conf *c, uint32_t upstream, const char *key, size_t key_n,
                                double value);
rp_err rp_abi_conf_set_upstream_text(struct rp_conf *c, uint32_t upstream, const char *key,
                                     size_t key_n, const char *value, size_t value_n);
rp_err rp_abi_conf_add_peer(struct rp_conf *c, uint32_t upstream, const char *text, size_t text_n,
                            uint32_t weight, bool backup, struct rp_conf_error *e);
rp_err rp_abi_conf_set_peer(struct rp_conf *c, uint32_t upstream, const char *key, size_t key_n,
                            double value);
rp_err rp_abi_conf_set_peer_text(struct rp_conf *c, uint32_t upstream, const char *key,
                                 size_t key_n, const char *value, size_t value_n);
rp_err rp_abi_conf_add_statuses(struct rp_conf *c, uint32_t upstream, bool retry, uint32_t low,
                                uint32_t high);
rp_err rp_abi_conf_add_hash(struct rp_conf *c, uint32_t upstream, uint32_t part, const char *name,
                            size_t name_n);
rp_err rp_abi_conf_add_split(struct rp_conf *c, const char *name, size_t name_n, uint32_t *index);
rp_err rp_abi_conf_add_split_side(struct rp_conf *c, uint32_t split, uint32_t upstream,
                                  uint32_t share);
rp_err rp_abi_conf_add_split_step(struct rp_conf *c, uint32_t split, uint32_t share);
rp_err rp_abi_conf_add_split_hash(struct rp_conf *c, uint32_t split, uint32_t part,
                                  const char *name, size_t name_n);
rp_err rp_abi_conf_add_split_rule(struct rp_conf *c, uint32_t split, uint32_t upstream);
rp_err rp_abi_conf_add_split_cond(struct rp_conf *c, uint32_t split, uint32_t kind, uint32_t op,
                                  bool negate, const char *name, size_t name_n, const char *value,
                                  size_t value_n, struct rp_conf_error *e);
rp_err rp_abi_conf_set_split(struct rp_conf *c, uint32_t split, const char *key, size_t key_n,
                             double value);
rp_err rp_abi_conf_set_split_text(struct rp_conf *c, uint32_t split, const char *key, size_t key_n,
                                  const char *value, size_t value_n);
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
