/* SPDX-License-Identifier: MIT
 *
 * vm: the inside of one Lua host, for the .c files of script/ only.
 *
 * Owns: the lua_State, its chains, a pool of tasks (each with its coroutine), what Lua holds of
 * every request slot, and the sockets of running tasks. One thread at a time: the one that builds
 * it, then the loop's.
 */
#ifndef RP_SCRIPT_VM_H
#define RP_SCRIPT_VM_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <signal.h>

#include "base/buf.h"
#include "script/abi.h"
#include "script/host.h"

enum {
    RP_HOST_MAGIC = 0x484f5354,
    RP_TASK_MAGIC = 0x5441534b,
    RP_SOCK_MAGIC = 0x534f434b,
    RP_HOLD_MAGIC = 0x484f4c44
};

enum {
    RP_TASKS_MOST = 1 << 18,      /* live tasks of one VM; a coroutine takes about 1 KB */
    RP_OWN_TASKS_MOST = 1024,     /* of these, those that stay with a request's slot */
    RP_HOLDS_MOST = 1 << 18,      /* locks, seats, jobs and processes of one VM */
    RP_SCRATCH_BYTES = 4096,      /* first block for decoded bytes */
    RP_HEAP_SPARE = 8,            /* a heap is full when less than this part of it is left */
    RP_GC_IDLE_BYTES = 16 * 1024, /* garbage after which the collector runs at the end of a tick */
};

/* ---- chains --------------------------------------------------------------------------------- */

/* One Lua function that runs the handlers of one phase in order. Its number (from 1) is what conf
 * keeps in struct rp_chains. */
struct rp_vm_chain {
    int fn;                       /* registry reference */
    uint32_t n;                   /* handlers */
    uint32_t until;               /* the pass that is measured next, 1: the next one */
    double **calls;               /* counted there, by position; NULL until attached */
    uint64_t where;               /* the breadcrumb of its first handler, for ... */
    const struct rp_route *route; /* ... requests of this route */
    uint8_t period;               /* how many passes a measured one stands for */
    bool always;                  /* is measured */
    int timed_fn;        /* the same function with marks between the handlers; LUA_NOREF: fn */
    uint32_t *plugins;   /* index in conf->plugins, by position */
    uint16_t *crumb_ids; /* name ids of the breadcrumb page, by position; Lua reads them too */
    uint32_t *rest;      /* chain that begins after a position, made when needed; 0 not yet */
    uint32_t exact_n;    /* passes that were measured for themselves */
    uint32_t traced;     /* the chain that runs the same and notes it; 0 not made yet */
};

/* ---- tasks ---------------------------------------------------------------------------------- */

/* What ends together: a request's or a background task's sockets, holds and child tasks. */
struct rp_scope {
    struct rp_hold *holds;
    struct rp_task *tasks; /* whose parent has ended, or was a hook; not the owner of the scope */
    double wrapper;        /* number of the request's; a detached task has that of who made it */
};

/* A task's `phase` while the connect hooks of a stream, or those of a handshake, run; RP_PHASE_COUNT is
 * no hook's. */
enum { RP_TASK_CONNECT = RP_PHASE_COUNT + 1, RP_TASK_HELLO, RP_TASK_CERT, RP_TASK_PHASES };

enum rp_task_state {
    RP_TASK_FREE,
    RP_TASK_RUNNING,
    RP_TASK_PARKED, /* waits for an event or its timer */
    RP_TASK_READY,  /* one of them came: to be resumed */
};

/* Of the request body. */
enum rp_wants { RP_WANTS_NOTHING, RP_WANTS_WHOLE, RP_WANTS_PIECE };

struct rp_task {
    uint32_t magic;
    uint32_t index, gen; /* handle for Lua */
    struct rp_host *host;
    lua_State *co;
    int co_ref;
    uint8_t state; /* enum rp_task_state */
    bool counted;  /* one of the background tasks that are bounded in number */
    bool is_slots; /* a slot's own: not in the pool; its stack begins with the wrapper */

    /* From `chain` to `on_end`: all zero while it is free in the pool, see rp_task_give_back. */
    uint32_t chain, at;       /* where a hook is; no chain: 1 + whose plugin it is, 0 none */
    uint8_t phase;            /* of a hook; RP_PHASE_COUNT for others */
    uint8_t notes;            /* enum rp_notes; face.notes while it runs */
    bool is_hook;             /* resumed by the request's life, not by us */
    uint8_t weight;           /* measured passes stand for so many; 0: this one is not measured */
    struct rp_req *req;       /* whose hook or child it is; NULL in the background */
    struct rp_stream *stream; /* the relayed connection whose hook it is */
    struct rp_guest *guest;   /* the client whose handshake's hook it is */
    struct rp_scope *scope;   /* what it makes belongs here */
    /* From `touched` on: also of a slot's own task. */
    bool touched;        /* rp_task_touch: something of what follows, or ties (rp_task_has_ties) */
    bool fired;          /* the event came, not the deadline */
    bool cancelled;      /* ended by itself while running: drop it when it yields */
    bool failed;         /* what it ran raised, and the layer caught it: rp_abi_task_failed */
    uint8_t wants_body;  /* enum rp_wants: parked until that is there */
    bool wants_response; /* parked until the whole body of the response is there */
    rp_err gathered;     /* < 0: why the response does not come, for when it asks again */
    rp_ms ends_ms;       /* hooks: when the request stops waiting for it; 0: not asked yet */
    uint64_t spent_ns;   /* by the handler that runs, waits included */
    void (*on_end)(struct rp_task *t, rp_err e); /* start and stop hooks */

    struct rp_scope own; /* the scope of a background task */
    double body_max;
    size_t piece_n;     /* body_filter: bytes of the input given to Lua */
    uint64_t parked_ns; /* since when; 0: it runs */
    const char *why;    /* what it waits for */
    struct rp_timer timer;
    struct rp_fuel *fuel; /* of untrusted code that it runs; host->fuel while the task runs */
    struct rp_task *next, *prev; /* free list (next), ready queue */
    /* Who ends with whom: a task that fails or is cancelled takes its kids along; one that ends well
     * leaves them to its parent, or to the scope. */
    struct rp_task *parent, *kids;
    struct rp_task **list; /* its parent's kids, the scope's, the background's: where it stands */
    struct rp_task *sib_next, *sib_prev;
    struct rp_task **waits_at; /* what it waits for names it there */
    /* Who waits for the end of whom. */
    struct rp_task *joins, *joiners, *join_next, *join_prev;
    /* While a shadow handler runs: when it began, and what the hooks before it had left; 0: all. */
    rp_ms shadow_ms, kept_ends_ms, kept_left_ms;
};

/* What Lua holds of a request slot. */
struct rp_vm_slot {
    int ref;       /* the wrapper table; LUA_NOREF: none yet */
    int32_t place; /* from 1, where chain.lua has it, too */
    uint8_t dirty; /* Lua put something into the wrapper that must not outlive the request */
    uint8_t bound; /* the wrapper is a live request's; Lua reads it behind `dirty` */
    bool answered; /* a hook answered since the chain was entered */
    bool leaked;   /* a task may outlive the request with the wrapper in hand: make a new one */
    bool journal;  /* its wrapper has a journal: to be closed with the request */
    bool traced;   /* what runs for it is noted and timed */
    struct rp_task *task;    /* its own, for its hooks; NULL: none yet */
    struct rp_task *at_hand; /* the same, while it can be entered just so: phase.c */
    struct rp_scope scope;
    rp_ms ends_ms;          /* what hooks of the request wait for ends by then; 0: no such limit */
    struct rp_task *writer; /* waits until the client has taken what was written: answer.h */
    uint32_t source_by;     /* 1 + index of the instance that gave such a function */
};

/* Array positions in a wrapper table; lua/rproxy/object.lua has the same. */
enum {
    RP_WRAP_CTX = 2,
    RP_WRAP_PARAMS = 3,
    RP_WRAP_BODY = 4,
    RP_WRAP_CHUNK = 5,        /* body_filter: the piece as edited so far */
    RP_WRAP_LAST_DROPPED = 5, /* 2..5 go when the request ends */
    RP_WRAP_UP = 6,
    RP_WRAP_RES = 7,
    RP_WRAP_POINTER = 9,    /* cdata pointer to the request; 10: to the slot's `dirty` */
    RP_WRAP_JOURNAL = 11,   /* false: none */
    RP_WRAP_REQ_CHUNK = 12, /* request_body: the piece as edited so far; dropped like 2..5 */
    RP_WRAP_SOURCE = 13,    /* the function that makes the request body; dropped, too */
    RP_WRAP_NUMBER = 14,    /* from 1, never used again in this VM; see face.wrapper */
};

/* Array positions in the table of a guest; lua/rproxy/guest.lua has the same. */
enum { RP_GUEST_POINTER = 1, RP_GUEST_CTX = 2 };
enum { RP_GUEST_ACCESS_DENIED = 49 }; /* the alert of a refusal without one (RFC 8446 §6.2) */

/* Functions that journal.lua gives C. */
enum rp_journal_fn {
    RP_JOURNAL_END,    /* (req): it ends; hand out its journal */
    RP_JOURNAL_FAILED, /* (req, instance, task, text): a handler raised; text nil: by req:abort */
    RP_JOURNAL_HEADER, /* (req, most) -> the text for a response header */
    RP_JOURNAL_BEGIN,  /* (req, told) */
    RP_JOURNAL_CHAIN,  /* (number) -> number of the chain that runs the same and notes it */
    RP_JOURNAL_FNS,
};

/* ---- accounts ------------------------------------------------------------------------------- */

struct rp_vm_window { /* the counts at a moment */
    uint64_t at_ms;
    double calls, failures;
};

/* Of one instance, by its index in conf->plugins. */
struct rp_vm_account {
    double *cells;    /* enum rp_metric_account; of the worker's page, or nowhere */
    uint32_t cell;    /* where in the page; 0: nowhere */
    uint8_t linked;   /* enum rp_metric_breaker: what its chains run now */
    uint32_t passed;  /* calls let through that ended well */
    uint64_t slow_ns; /* 0: no limit */
    uint64_t word;    /* of its breaker, as last seen */
    struct rp_vm_window before, window;
};

/* ---- the collector -------------------------------------------------------------------------- */

/* vm_gc.c. Sizes are of the heap unless they say otherwise. */
struct rp_vm_gc {
    bool running; /* a round is under way; else it rests */
    bool by_time; /* it began because some time had passed */
    uint8_t calm; /* such rounds, in a row, that freed little */
    /* Rest: */
    size_t rest_bytes;     /* the next round begins when it is so large */
    rp_ns rested_ns;       /* since when it rests */
    rp_ns rest_ns;         /* ... and how long, before time alone begins a round */
    uint64_t looked_at;    /* rp_host.allocated_bytes at the last look */
    uint64_t hook_seq;     /* of the breadcrumb when the last round began: has Lua run since? */
    uint32_t dropped_n;    /* coroutines thrown away, ever */
    uint32_t dropped_seen; /* ... when the last round began */
    /* A round: */
    size_t began_bytes;
    rp_ns spent_ns; /* on it so far */
    uint64_t ahead; /* steps done in idle time that ticks need not do */
    /* Of LuaJIT itself: */
    uint64_t held_at;  /* rp_host.allocated_bytes when it was last held off */
    size_t held_bytes; /* ... and how much more may be allocated until it helps itself */
    size_t debt_bytes; /* what it would pay at once, at most */
    bool urged;        /* it steps wherever it may */
    /* A heap that is full: */
    rp_ns full_again_ns; /* when all may be collected again though little was allocated */
    uint64_t full_bytes; /* rp_host.allocated_bytes at the last whole collection for want of room */
    rp_ms full_ms;       /* when the last of the following was counted */
    uint32_t full_n;     /* whole collections, in a row, that left it full */
    struct rp_defer defer;
    struct rp_idle idle;
    struct rp_timer timer;
};

struct rp_watchdog;
struct rp_fuel;

struct rp_lab;

struct rp_vm_life { /* a run of the start or stop hooks */
    struct rp_task *task;
    struct rp_timer timer;
    struct rp_defer defer;
    struct rp_host *host;
    void (*done)(void *arg, rp_err e);
    void *arg;
    rp_err result;
    bool waits; /* stop: for the farewells of generations before */
};

struct rp_host {
    struct rp_host_face face; /* first: Lua's pointer is the host's */
    uint32_t magic;
    lua_State *L;
    /* What entering a hook looks at, together. */
    struct rp_task *current;     /* running now */
    struct rp_crumb *crumb;      /* the page, or own_crumb */
    struct rp_vm_chain **chains; /* by number; [0] is never run */
    uint32_t chains_n, chains_room;
    struct rp_vm_slot **slots; /* by request slot */
    uint32_t slots_n;
    struct rp_conf *conf;
    uint32_t worker; /* which of them we are in, from 0 */
    bool agent;      /* ... or in the agent */
    struct rp_hooks hooks;
    struct rp_bundle *bundle;        /* while the site is evaluated; of a tool always */
    const struct rp_host_tool *tool; /* whose VM this is; NULL: a generation's */
    struct rp_vm_ask *asks;          /* of people, not answered yet */

    /* heap: LuaJIT's own allocator behind a counter */
    lua_Alloc alloc;
    void *alloc_arg;
    size_t heap_bytes, heap_cap;
    size_t since_gc_bytes;    /* allocated since the collector was last told */
    uint64_t allocated_bytes; /* ever */
    bool heap_hit;            /* an allocation was refused: collect everything soon */
    struct rp_vm_gc gc;

    /* Lua functions and values by registry reference */
    int wrap_fn, wrap_conn_fn, rest_fn, life_fn, has_life_fn, abort_ref;
    int wrap_guest_fn, guests_ref;   /* the latter: wrappers of guests by number */
    bool journal_all;                /* every request that meets a hook has one */
    int journal_fns[RP_JOURNAL_FNS]; /* of lua/rproxy/journal.lua; 0: not loaded */

    struct rp_task **tasks; /* by index */
    uint32_t tasks_n, tasks_room;
    uint32_t own_tasks_n; /* rp_vm_slot.task */
    struct rp_task *free_tasks;
    struct rp_fuel *fuel; /* of the untrusted code that runs, or has called what runs */
    int strings_meta_ref, strings_key_ref, strings_ref; /* vm_fuel.c: methods of strings */
    struct rp_scope background;                         /* tasks without a request */
    uint32_t background_n;    /* of these, those that `lua.background_tasks` bounds */
    struct rp_scope services; /* tasks of the layer that live as long as the VM */
    struct rp_task *ready_head, *ready_tail;
    struct rp_defer ready;

    double wrappers_made;
    int32_t places_n; /* of slots */

    struct rp_vm_guest *guests; /* all that have a wrapper */
    struct rp_guest *knowing;   /* that one is being made for */

    struct rp_call *calls;            /* requests of site code, under way */
    struct rp_dgram_batch *datagrams; /* room for what is received; NULL: nobody asked yet */
    struct rp_sock_pool *sock_pools;  /* idle sockets, by where they lead */
    uint32_t sock_pools_n;

    struct rp_hold **holds; /* by index; NULL: free */
    uint32_t *hold_gens, *hold_free;
    uint32_t holds_n, hold_free_n;
    uint64_t holds_made;          /* ever: the serial of the last one */
    uint32_t files_n, children_n; /* holds of these kinds that are under way */

    struct rp_metrics *metrics, *own_metrics; /* the latter: where the proxy has none */
    struct rp_vm_account *accounts;           /* by index in conf->plugins; NULL until attached */
    double nowhere[RP_ACCOUNT_CELLS];         /* for instances that have no place */
    uint64_t mark_ns, mark_bytes;             /* where the running handler began, or was measured */
    bool has_breakers;
    int relink_fn;
    struct rp_timer breaker_timer;
    struct rp_defer relink;

    struct rp_proxy *proxy; /* NULL until attached */
    struct rp_crumb own_crumb;
    uint16_t *plugin_ids, *route_ids; /* names on the page, by conf index */
    uint16_t hook_ids[RP_TASK_PHASES];
    struct rp_watchdog *watchdog;
    volatile sig_atomic_t overdue; /* its signal handler has set the debug hook for what runs */
    struct rp_vm_life starting, stopping, leaving;
    bool retired;
    bool farewell_said;
    struct rp_lab *lab; /* of a tool that asked for it */

    struct rp_regex_ctx *regex;
    struct rp_arena scratch; /* decoded bytes; reset by each call that uses it */
    struct rp_buf line;      /* the log line being built */
    struct rp_buf text;      /* encoded and decoded text */
    struct rp_buf bytes;     /* of the last file read */
    struct rp_vm_digest *digest;
    struct rp_vm_job *jobs; /* on the thread pool */
    uint32_t jobs_n;
    struct rp_vm_zone *zones; /* of `shared`, by the conf's index; NULL: not attached */
    uint32_t zones_n;
    char scratch_first[RP_SCRATCH_BYTES] __attribute__((aligned(16)));
};

static inline struct rp_host *rp_vm_of(struct rp_host_face *f)
{
    return (struct rp_host *)(void *)f;
}

/* Is it a hook that writes its request's response (answer.h)? */
static inline bool rp_task_is_writing(const struct rp_task *t)
{
    const struct rp_answer *w = t->req ? t->req->answer : NULL;
    return w && w->streamed && t->phase <= RP_PHASE_CONTENT;
}

/* ---- vm_task.c ------------------------------------------------------------------------------ */

/* A task with an empty coroutine; NULL when there are too many or the VM's heap is full. */
static inline struct rp_task *rp_task_get(struct rp_host *h);
struct rp_task *rp_task_make(struct rp_host *h); /* the same, when it is not simply at hand */
/* Back to the pool: its coroutine returned and is reusable. */
void rp_task_put(struct rp_task *t);
/* End it wherever it is; its coroutine is thrown away unless it never ran. */
void rp_task_drop(struct rp_task *t);
struct rp_task *rp_task_find(struct rp_host *h, double handle); /* NULL when stale */
double rp_task_handle(const struct rp_task *t);
/* Put it on a list of who ends together, take it off. */
void rp_task_enlist(struct rp_task **list, struct rp_task *t);
void rp_task_unlist(struct rp_task *t);
/* The event or the deadline came. */
void rp_task_ready(struct rp_task *t, bool fired);
/* The running task is the one that `place` wakes. RP_AGAIN; RP_E_BUSY: another one waits there. */
RP_MUST rp_err rp_task_wait_at(struct rp_host *h, struct rp_task **place);
void rp_task_wake_at(struct rp_task **place);   /* it has news */
void rp_task_forget_at(struct rp_task **place); /* it goes */
/* Enter or go on: nargs values are on its stack. The breadcrumb is set for the time it runs.
 * Result of lua_resume. */
int rp_task_resume(struct rp_task *t, int nargs);
/* The text of what a failed coroutine raised, with traceback on one line; borrowed until the next
 * call. */
rp_str rp_task_complaint(struct rp_task *t);
/* A message handler for xpcall: error -> the same text, not escaped. */
int rp_task_trace(lua_State *L);
void rp_scope_close(struct rp_host *h, struct rp_scope *s);

/* Its end, or its wait, takes more than that of a hook that did nothing special. It runs. */
static inline void rp_task_touch(struct rp_task *t)
{
    t->touched = true;
    t->host->face.attention = 1;
}

/* So does that of a pass in which a hook answered. */
static inline void rp_slot_answered(struct rp_host *h, struct rp_vm_slot *s)
{
    s->answered = true;
    h->face.attention = 1;
}

static inline bool rp_host_is_full(const struct rp_host *h)
{
    return h->heap_bytes > h->heap_cap - h->heap_cap / RP_HEAP_SPARE;
}

static inline struct rp_task *rp_task_get(struct rp_host *h)
{
    struct rp_task *t = h->free_tasks;
    if (RP_UNLIKELY(!t || !t->co || rp_host_is_full(h))) return rp_task_make(h);
    h->free_tasks = t->next;
    t->next = NULL;
    t->gen++;
    t->state = RP_TASK_RUNNING;
    return t;
}

/* ---- vm_fuel.c ------------------------------------------------------------------------------ */

/* host.fuel_begin and its like; the library table and the host lie on top of L, the host goes. */
void rp_fuel_open(lua_State *L);
/* n bytes more; false: refuse them. */
bool rp_fuel_take(struct rp_fuel *m, size_t n);
/* The task is left: its meter is put away, and off whatever went wrong. */
void rp_fuel_leave(struct rp_host *h, struct rp_task *t);
struct rp_fuel *rp_fuel_hold(struct rp_fuel *m); /* NULL stays NULL */
void rp_fuel_drop(struct rp_fuel **m);

/* ---- sched.c -------------------------------------------------------------------------------- */

/* host.spawn(detached, fn, ...), host.park(); the library table and the host lie on top of L, the
 * host goes. */
void rp_sched_open(lua_State *L);
/* A new task that will call the function below the nargs values on top of L (all are moved). It
 * belongs to `parent`, or with NULL to the background. NULL: too many (the values stay). */
struct rp_task *rp_sched_spawn(struct rp_host *h, lua_State *L, int nargs, struct rp_scope *parent,
                               struct rp_req *r);
void rp_sched_init(struct rp_host *h);
void rp_sched_fini(struct rp_host *h); /* ends every task */

/* ---- vm_gc.c -------------------------------------------------------------------------------- */

void rp_gc_init(struct rp_host *h);
void rp_gc_open(struct rp_host *h); /* attached: from now on it works when we say so */
void rp_gc_leave_loop(struct rp_host *h);
/* Some garbage was made: let the collector look when the tick ends. */
void rp_gc_note(struct rp_host *h);
/* The heap became full while code runs. Allocates nothing: called by the allocator. */
void rp_gc_urge(struct rp_host *h);
/* Little of the heap is left: collect, if that helps. */
void rp_gc_make_room(struct rp_host *h);

/* ---- phase.c -------------------------------------------------------------------------------- */

extern const struct rp_hooks rp_phase_hooks;
struct rp_vm_slot *rp_phase_slot(struct rp_host *h, const struct rp_req *r); /* NULL: none yet */
/* Push r's wrapper on L, making and binding it when needed. RP_E_NOMEM: nothing is pushed. */
RP_MUST rp_err rp_phase_push_wrapper(struct rp_host *h, struct rp_req *r, lua_State *L);
void rp_phase_slots_free(struct rp_host *h);
void rp_phase_release_task(struct rp_host *h, struct rp_vm_slot *s); /* its own goes to the pool */

/* ---- phase_stream.c ------------------------------------------------------------------------- */

/* Fill in the hooks of relayed connections. */
void rp_phase_stream_hooks(struct rp_hooks *hooks);

/* ---- phase_guest.c -------------------------------------------------------------------------- */

/* Fill in the hooks of TLS handshakes. */
void rp_phase_guest_hooks(struct rp_hooks *hooks);
/* Number of g's wrapper in this VM; 0: it has none, keep_guest(wrapper) follows. */
uint32_t rp_guest_ref(struct rp_host *h, struct rp_guest *g);
/* host.keep_guest; the library table and the host lie on top of L, the host goes. */
void rp_guests_open(lua_State *L);
void rp_guests_fini(struct rp_host *h);

/* ---- host.c --------------------------------------------------------------------------------- */

struct rp_host *rp_host_of(lua_State *L); /* in a function with the host as its upvalue */
/* A host without a VM; open_state gives it one (false: no memory), open_library the libraries, which
 * may raise. */
struct rp_host *rp_host_new(struct rp_conf *c, struct rp_bundle *b);
bool rp_host_open_state(struct rp_host *h);
void rp_host_open_library(lua_State *L, struct rp_host *h);
/* Give the pages of free memory in the VM's heap back to the system. free_bytes: about how much is free
 * and was used before; no more than that is asked for. The heap's size does not change.
 * cost  a system call or two for each of the larger pieces */
void rp_host_drop_pages(struct rp_host *h, size_t free_bytes);
void rp_host_free(struct rp_host *h);
/* What the host knows by number of its conf goes; the VM stays (lab.c). */
void rp_host_leave_conf(struct rp_host *h);
/* Take what require("rproxy.vm").entries() gives: before the first hook. May raise. */
void rp_host_take_entries(lua_State *L, struct rp_host *h);
/* lua_pcall without a way to escape: false when it raised (message on top of L). */
bool rp_host_call(struct rp_host *h, int nargs, int nresults);

/* ---- lab.c ---------------------------------------------------------------------------------- */

/* host.lab, of the hosts of tools; the library table lies on top of L. */
void rp_lab_open(lua_State *L, struct rp_host *h);
void rp_lab_free(struct rp_host *h);

/* ---- vm_chain.c ----------------------------------------------------------------------------- */

/* host.chain_new, host.chain_set; the library table and the host lie on top of L, the host goes. */
void rp_chain_open(lua_State *L);
/* Plugin names on the breadcrumb page are known now. */
void rp_chain_name_crumbs(struct rp_host *h);
/* The chain of what follows position `at`; 0 when nothing does. RP_E_HOOK when it cannot be
 * made. */
RP_MUST rp_err rp_chain_rest(struct rp_host *h, uint32_t chain, uint32_t at, uint32_t *rest);
/* Index of the plugin at a position; UINT32_MAX when there is none. */
uint32_t rp_chain_plugin(const struct rp_host *h, uint32_t chain, uint32_t at);
/* Index in conf->plugins of the instance whose code runs now: of a hook by its place in the chain; of a
 * task (spawned, background, start and stop hooks) that of who made it; while the site is built
 * that of setup or init. UINT32_MAX: nobody's, the layer's own. */
uint32_t rp_vm_running(const struct rp_host *h);
void rp_chain_fini(struct rp_host *h);

/* ---- vm_account.c --------------------------------------------------------------------------- */

void rp_account_init(struct rp_host *h);
void rp_account_open(struct rp_host *h); /* attached: instances get their places */
void rp_account_fini(struct rp_host *h);
void rp_account_chain(struct rp_host *h, struct rp_vm_chain *c);         /* a new one */
struct rp_vm_account *rp_account_of(struct rp_host *h, uint32_t plugin); /* NULL: none */
/* Time is measured of the first passes of a chain, then of every so many-th, which counts as many. */
enum { RP_ACCOUNT_EXACT = 64, RP_ACCOUNT_SAMPLE = 64 };
/* The function of a chain that t is to run: with or without marks. */
int rp_account_measure(struct rp_vm_chain *c, struct rp_task *t);
static inline int rp_account_enter(struct rp_vm_chain *c, struct rp_task *t)
{
    if (RP_UNLIKELY(c->until <= 1)) return rp_account_measure(c, t);
    c->until--;
    t->weight = 0;
    return c->fn;
}
/* t begins to run, or goes on; it came back; it is dropped where it waits. */
void rp_account_begin(struct rp_host *h, struct rp_task *t);
void rp_account_leave(struct rp_host *h, struct rp_task *t, bool parked);
void rp_account_drop(struct rp_host *h, struct rp_task *t);
/* The pass of a chain is over: its handlers up to where it came to were called. */
static inline void rp_account_calls(const struct rp_vm_chain *c, uint32_t at)
{
    if (RP_UNLIKELY(!c->calls || at == 0)) return;
    ++*c->calls[0];
    for (uint32_t i = 1, n = RP_MIN(at, c->n); i < n; i++) ++*c->calls[i];
}
void rp_account_error(struct rp_host *h, uint32_t plugin);
void rp_account_answer(struct rp_host *h, uint32_t plugin, uint32_t status);
void rp_account_denial(struct rp_host *h, uint32_t plugin); /* a connection or handshake */

/* ---- host_life.c ---------------------------------------------------------------------------- */

void rp_life_fini(struct rp_host *h);
/* The hook of the same name: let what the layer still has to send be sent. */
bool rp_life_keep(struct rp_conf *c);

/* ---- host_ask.c ----------------------------------------------------------------------------- */

/* host.answer; the library table and the host lie on top of L, the host goes. */
void rp_ask_open(lua_State *L);
void rp_ask_fini(struct rp_host *h); /* before the VM is closed */

/* ---- vm_json.c ------------------------------------------------------------------------------ */

/* host.json_decode, host.json_encode; the library table and the host lie on top of L, the host
 * goes. */
void rp_vm_json_open(lua_State *L);

/* ---- abi_sock.c ----------------------------------------------------------------------------- */

void rp_sock_close_idle(struct rp_host *h);

/* ---- vm_hold.c ------------------------------------------------------------------------------ */

enum rp_hold_kind {
    RP_HOLD_LOCK = 1,
    RP_HOLD_SEAT,
    RP_HOLD_FILE,
    RP_HOLD_CHILD,
    RP_HOLD_PLACE,
    RP_HOLD_SOCK,
    RP_HOLD_UDP,
    RP_HOLD_NAME,
    RP_HOLD_CALL,
};

/* Something that a scope has and that must be given back: first member of what it is. Lua knows it
 * by a handle, good in the scope that made it. */
struct rp_hold {
    uint32_t magic, index;
    uint8_t kind; /* enum rp_hold_kind */
    uint64_t serial;
    struct rp_host *host;
    struct rp_scope *scope;
    const struct rp_task *task; /* that made it; NULL: it ended well */
    struct rp_hold *next, *prev;
    void (*let_go)(struct rp_hold *hold); /* unlinked already; frees it, now or later */
};

/* Give it to the running task and its scope. RP_E_PHASE: nothing runs; RP_E_CAP. */
RP_MUST rp_err rp_hold_open(struct rp_host *h, struct rp_hold *hold, enum rp_hold_kind kind,
                            void (*let_go)(struct rp_hold *hold));
double rp_hold_handle(const struct rp_hold *hold);
/* NULL: let go of, or another scope's. */
struct rp_hold *rp_hold_find(struct rp_host *h, double handle, enum rp_hold_kind kind);
void rp_hold_close(struct rp_hold *hold); /* let go of it */
/* The task ended: what it made is the scope's (well), or is let go of. */
void rp_hold_forget_task(struct rp_scope *s, const struct rp_task *t, bool well);
void rp_hold_close_all(struct rp_scope *s);
void rp_hold_fini(struct rp_host *h);

/* ---- abi_shared.c --------------------------------------------------------------------------- */

void rp_shared_fini(struct rp_host *h);
/* The memory of a set; NULL: there is none of that name. */
const struct rp_zone *rp_shared_zone(const struct rp_host *h, rp_str name);

/* ---- abi_crypto.c --------------------------------------------------------------------------- */

void rp_digest_fini(struct rp_host *h);

/* ---- vm_job.c ------------------------------------------------------------------------------- */

/* First member of a job. Filled in: run (on a thread of the pool; sets result and out), release. */
struct rp_vm_job {
    struct rp_host *host;          /* NULL: an orphan */
    struct rp_vm_job *next, *prev; /* the host's running ones */
    double task;                   /* to be woken */
    bool running;
    rp_err result;
    rp_str out;
    void (*run)(struct rp_vm_job *j);
    void (*release)(struct rp_vm_job *j); /* frees it */
};
/* Run it beside the task, or at once where nothing can wait. RP_E_BUSY: it did not run, and is still
 * the caller's. */
RP_MUST rp_err rp_job_start(struct rp_host *h, struct rp_vm_job *j);
void rp_job_fini(struct rp_host *h); /* after the VM is closed */

/* ---- watchdog.c ----------------------------------------------------------------------------- */

/* Watch the hooks of h, which run on the calling thread. */
void rp_watchdog_start(struct rp_host *h);
void rp_watchdog_allow(struct rp_host *h, uint32_t ms); /* a hook may take so long at least */
void rp_watchdog_free(struct rp_host *h);
/* A coroutine came back: did the watchdog stop it? */
static inline bool rp_watchdog_leave(struct rp_host *h);
bool rp_watchdog_rest(struct rp_host *h); /* the same, when it may have; true */
/* Has its debug hook been set for what runs? Others that set one leave it alone then, or set it again. */
bool rp_watchdog_fired(const struct rp_host *h);
void rp_watchdog_insist(const struct rp_host *h, lua_State *L);

static inline bool rp_watchdog_leave(struct rp_host *h)
{
    return RP_UNLIKELY(h->overdue) && rp_watchdog_rest(h);
}

#endif
