/* SPDX-License-Identifier: MIT
 *
 * request: slots, wake-ups and the helpers that hooks use. The life itself is lifecycle.c.
 */
#include "proxy/request.h"

#include "base/random.h"
#include "net/tls_client.h"
#include "proxy/buffering.h"
#include "proxy/lifecycle.h"
#include "proxy/local.h"
#include "proxy/payload.h"
#include "proxy/proxy.h"

enum {
    SLOTS_STEP = 64,
    ARENA_CAP = 1 << 20,   /* bytes one request may take beyond its slot: hooks edit heads here */
    BODY_READ = 64 * 1024, /* bytes asked for at once while buffering */
};

const char *rp_step_name(enum rp_step s)
{
    static const char *const NAMES[] = {
#define S(name, next, doc) #name,
#include "proxy/steps.tbl"
#undef S
    };
    return s < RP_STEP_COUNT ? NAMES[s] : "?";
}

/* ---- slots ---------------------------------------------------------------------------------- */

/* What is cleared between requests ends with an address. */
#define PATH_AT offsetof(struct rp_req, pick.want_addr.unix_path)
_Static_assert(offsetof(struct rp_req, res) - PATH_AT <
                   sizeof(((struct rp_addr *)0)->unix_path) + 8,
               "the pick's address is the last field that is cleared");

static struct rp_req *new_slot(struct rp_proxy *p)
{
    if (p->slots_n == p->slots_room) {
        p->slots_room += SLOTS_STEP;
        p->slots = rp_realloc(p->slots, p->slots_room * sizeof(p->slots[0]));
    }
    struct rp_req *r = rp_alloc(sizeof(*r));
    r->slot = p->slots_n;
    r->proxy = p;
    rp_timer_init(&r->timer, rp_lifecycle_timeout);
    p->slots[p->slots_n++] = r;
    return r;
}

void rp_req_drop_slot(struct rp_req *r)
{
    rp_timer_clear(r->proxy->loop, &r->timer);
    rp_free(r);
}

/* Everything but the slot's identity, and what is large and made before it is read. */
static void clear_slot(struct rp_req *r)
{
    uint32_t slot = r->slot, gen = r->slot_gen;
    memset(r, 0, PATH_AT); /* without the path of an address that has none */
    r->id[0] = '\0';
    r->match.route = NULL;
    r->match.params_n = 0;
    memset(&r->x, 0, offsetof(struct rp_exchange, fields));
    r->slot = slot;
    r->slot_gen = gen + 1;
}

struct rp_req *rp_req_new(struct rp_proxy *p)
{
    struct rp_req *r = p->free_reqs;
    if (r) p->free_reqs = r->next;
    else r = new_slot(p);
    clear_slot(r);
    r->magic = RP_REQ_MAGIC;
    r->proxy = p;
    r->conf = rp_conf_hold(p->conf);
    r->phase = RP_PHASE_COUNT;
    r->up_head = &r->x.head;
    r->run.run = rp_lifecycle_run;
    rp_arena_init(&r->x.arena, r->x.arena_first, RP_EXCHANGE_ARENA_BYTES, ARENA_CAP);
    rp_msg_begin(&r->x.head, r->x.fields, RP_EXCHANGE_FIELDS, (uint16_t)r->conf->fields_n);
    rp_msg_init(&r->res, r->res_fields, RP_EXCHANGE_FIELDS, RP_LOCAL_FIELDS);
    rp_chain_init(&r->body, p->mem);
    rp_chain_init(&r->out, p->mem);
    rp_chain_init(&r->filtered, p->mem);
    r->next = p->live;
    if (r->next) r->next->prev = r;
    p->live = r;
    p->stats.requests++;
    p->stats.requests_active++;
    return r;
}

void rp_req_free(struct rp_req *r)
{
    struct rp_proxy *p = r->proxy;
    rp_timer_rest(&r->timer);
    RP_ASSERT(!r->spool && !r->res_spool); /* LOG gave them back */
    rp_loop_undefer(p->loop, &r->run);
    rp_chain_clear(&r->body);
    rp_chain_clear(&r->out);
    rp_chain_clear(&r->filtered);
    if (RP_UNLIKELY(r->payload != NULL)) rp_payload_end(r);
    if (RP_UNLIKELY(r->own != NULL)) rp_tls_client_drop(&r->own->tls);
    rp_chunk_drop(r->res_chunk);
    rp_chunk_drop(r->x.head_chunk);
    rp_arena_reset(&r->x.arena);
    if (r->prev) r->prev->next = r->next;
    else p->live = r->next;
    if (r->next) r->next->prev = r->prev;
    r->magic = 0;
    r->next = p->free_reqs;
    r->prev = NULL;
    p->free_reqs = r;
    p->stats.requests_active--;
}

struct rp_req *rp_req_find(struct rp_proxy *p, uint32_t slot, uint32_t slot_gen)
{
    if (slot >= p->slots_n) return NULL;
    struct rp_req *r = p->slots[slot];
    return r->magic == RP_REQ_MAGIC && r->slot_gen == slot_gen ? r : NULL;
}

void rp_req_wake(struct rp_req *r, unsigned why)
{
    r->wakes |= why;
    if (RP_UNLIKELY(r->heavy)) rp_loop_defer_bulk(r->proxy->loop, &r->run);
    else rp_loop_defer(r->proxy->loop, &r->run);
}

size_t rp_req_piece(const struct rp_req *r, size_t usual)
{
    bool small = !r->heavy && rp_loop_is_crowded(r->proxy->loop);
    return small ? RP_MIN(usual, (size_t)RP_REQ_HEAVY_BYTES) : usual;
}

bool rp_req_is_turn_over(const struct rp_req *r, bool was_light)
{
    return r->heavy && (was_light || rp_loop_is_late(r->proxy->loop));
}

/* ---- what hooks use ------------------------------------------------------------------------- */

rp_str rp_req_id(struct rp_req *r)
{
    static const char HEX[] = "0123456789abcdef";
    if (!r->id[0]) {
        uint8_t bytes[16];
        rp_random_bytes(bytes, sizeof(bytes));
        for (unsigned i = 0; i < sizeof(bytes); i++) {
            r->id[2 * i] = HEX[bytes[i] >> 4];
            r->id[2 * i + 1] = HEX[bytes[i] & 15];
        }
    }
    return rp_str_of(r->id, 32);
}

struct rp_msg *rp_req_edit_up(struct rp_req *r)
{
    if (r->up_head == &r->up_head_own) return r->up_head;
    if (rp_msg_clone(&r->up_head_own, &r->x.head, &r->x.arena) != RP_OK) return NULL;
    r->up_head_own.fields_max = RP_LOCAL_FIELDS;
    r->up_head = &r->up_head_own;
    return r->up_head;
}

/* A client that waits for 100 (Continue) gets it when somebody wants its body (RFC 9110 §10.1.1). */
rp_err rp_req_invite_body(struct rp_req *r)
{
    struct rp_msg info;
    if (!r->x.head.expect_continue || r->x.body_in_bytes > 0 || r->x.head_sent) return RP_OK;
    r->x.head.expect_continue = false;
    rp_msg_init(&info, NULL, 0, 0);
    info.status = 100;
    rp_err e = r->x.ops->send_info(&r->x, &info);
    if (e != RP_OK) return e;
    e = r->x.ops->flush(&r->x);
    return e < 0 ? e : RP_OK;
}

rp_err rp_req_buffer_body(struct rp_req *r, uint64_t max)
{
    if (r->body_whole) return r->body.bytes <= max ? RP_OK : RP_E_TOO_BIG;
    if (r->step >= RP_STEP_SEND) return RP_E_PHASE;
    if (r->payload && (r->payload->taken || r->payload->sourced)) return RP_E_STALE;
    if (r->payload && r->payload->begun && !r->spool) return RP_E_PHASE;
    if (r->x.head.framing == RP_BODY_LENGTH && r->x.head.content_length > max) return RP_E_TOO_BIG;
    if (r->spool) return rp_buffering_collect(r, max);
    rp_err e = rp_req_invite_body(r);
    while (e == RP_OK) {
        if (r->body.bytes > max) return RP_E_TOO_BIG;
        e = r->x.ops->read_body(&r->x, &r->body, BODY_READ);
    }
    if (e != RP_END) return e;
    if (r->body.bytes > max) return RP_E_TOO_BIG;
    r->body_whole = r->body_ended = true;
    return RP_OK;
}

rp_err rp_req_set_body(struct rp_req *r, rp_str body)
{
    if (r->step >= RP_STEP_SEND) return RP_E_PHASE;
    rp_err e = r->payload ? rp_payload_replace(r) : RP_OK;
    if (e != RP_OK) return e;
    if (!r->body_ended) r->x.ops->skip_body(&r->x);
    if (r->spool) rp_buffering_end(r);
    rp_chain_clear(&r->body);
    rp_chain_add_copy(&r->body, body);
    r->body_whole = r->body_ended = true;
    return RP_OK;
}

/* ---- what hooks say of one request ---------------------------------------------------------- */

struct rp_req_own *rp_req_own_of(struct rp_req *r)
{
    if (!r->own) r->own = rp_arena_zalloc(&r->x.arena, sizeof *r->own);
    return r->own;
}

rp_err rp_req_set_tls(struct rp_req *r, struct rp_tls_client *tls)
{
    struct rp_req_own *own = rp_req_own_of(r);
    if (!own) return RP_E_CAP;
    struct rp_tls_client *before = own->tls;
    own->tls = tls ? rp_tls_client_hold(tls) : NULL;
    rp_tls_client_drop(&before);
    return RP_OK;
}

static bool is_note_name(rp_str s)
{
    if (s.len == 0 || s.len > 64) return false;
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.ptr[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
        bool ok = letter || (ch >= '0' && ch <= '9') || ch == '_' || ch == '.' || ch == '-';
        if (!ok) return false;
    }
    return true;
}

/* The note of that name, or a new one behind the others; NULL over a cap. */
static struct rp_req_note *note_of(struct rp_req *r, rp_str name)
{
    struct rp_req_own *own = rp_req_own_of(r);
    if (!own) return NULL;
    struct rp_req_note **at = &own->notes;
    for (; *at; at = &(*at)->next)
        if (rp_str_eq((*at)->name, name)) return *at;
    rp_str kept = rp_arena_copy(&r->x.arena, name);
    if (own->notes_n == RP_REQ_NOTES_MOST || !kept.ptr) return NULL;
    *at = rp_arena_zalloc(&r->x.arena, sizeof **at);
    if (!*at) return NULL;
    own->notes_n++;
    (*at)->name = kept;
    return *at;
}

rp_err rp_req_note(struct rp_req *r, rp_str name, rp_str value, bool bare)
{
    if (!is_note_name(name)) return RP_E_INVALID;
    rp_str some = rp_str_head(value, RP_MIN(value.len, (size_t)RP_REQ_NOTE_BYTES));
    rp_str kept = rp_arena_copy(&r->x.arena, some);
    struct rp_req_note *note = kept.ptr ? note_of(r, name) : NULL;
    if (!note) return RP_E_CAP;
    note->value = kept;
    note->bare = bare;
    return RP_OK;
}

rp_err rp_req_set_upstream(struct rp_req *r, uint32_t index)
{
    if (r->step > RP_STEP_PICK) return RP_E_PHASE;
    if (index >= r->conf->upstreams_n) return RP_E_NOT_FOUND;
    if (r->route && r->route->action != RP_ACTION_UPSTREAM) return RP_E_INVALID;
    r->upstream = r->conf->upstreams[index];
    r->split_by = 0; /* a hook's word, not the split's */
    return RP_OK;
}
