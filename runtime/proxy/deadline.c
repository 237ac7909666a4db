/* SPDX-License-Identifier: MIT
 *
 * deadline: see deadline.h. A deadline that passes says nothing about a peer: a client could give
 * one that nobody can meet.
 */
#include "proxy/deadline.h"

#include "net/loop.h"
#include "proxy/proxy.h"

enum { DIGITS_MOST = 8, MOST = 99999999 }; /* grpc: "at most 8 digits" */

/* ---- grpc-timeout -------------------------------------------------------------------------------
 */

rp_err rp_deadline_parse_grpc(rp_str s, rp_ms *out)
{
    static const struct {
        char unit;
        uint32_t ns_or_ms; /* nanoseconds of a unit below a millisecond, else its milliseconds */
        bool small;
    } UNITS[] = {{'H', 3600 * 1000, false}, {'M', 60 * 1000, false}, {'S', 1000, false},
                 {'m', 1, false},           {'u', 1000, true},       {'n', 1, true}};
    uint64_t n = 0;
    if (s.len < 2 || s.len > DIGITS_MOST + 1) return RP_E_INVALID;
    for (size_t i = 0; i + 1 < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') return RP_E_INVALID;
        n = n * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    for (size_t i = 0; i < RP_COUNT(UNITS); i++) {
        if (UNITS[i].unit != s.ptr[s.len - 1]) continue;
        n *= UNITS[i].ns_or_ms;
        *out = UNITS[i].small ? (n + 999999) / 1000000 : n;
        return RP_OK;
    }
    return RP_E_INVALID;
}

size_t rp_deadline_put_grpc(rp_ms ms, char out[RP_GRPC_TIMEOUT_BYTES])
{
    char unit = 'm', text[24];
    uint64_t n = ms;
    if (n > MOST) {
        n /= 1000;
        unit = 'S';
    }
    size_t len = rp_str_put_u64(text, RP_MIN(n, (uint64_t)MOST));
    memcpy(out, text, len);
    out[len] = unit;
    return len + 1;
}

/* ---- the request's ------------------------------------------------------------------------------
 */

rp_err rp_deadline_set(struct rp_req *r, rp_ms ends_ms)
{
    struct rp_req_own *own = ends_ms ? rp_req_own_of(r) : r->own;
    if (!own) return ends_ms ? RP_E_CAP : RP_OK;
    own->ends_ms = ends_ms;
    return RP_OK;
}

static rp_str timeout_of(const struct rp_req *r)
{
    const struct rp_field *f = rp_msg_find_name(&r->x.head, RP_STR("grpc-timeout"));
    return f ? rp_field_value(f) : RP_STR_NONE;
}

void rp_deadline_take(struct rp_req *r)
{
    rp_ms ms;
    rp_str value = timeout_of(r);
    if (!value.len || rp_deadline_parse_grpc(value, &ms) != RP_OK) return; /* not ours to judge */
    /* No room for it: as if it were not said. */
    RP_IGNORE(rp_deadline_set(r, rp_loop_now(r->proxy->loop) + ms));
}

bool rp_deadline_is_over(const struct rp_req *r)
{
    rp_ms at = rp_deadline_of(r);
    return at && rp_loop_now(r->proxy->loop) >= at;
}

void rp_deadline_cap(const struct rp_req *r, rp_ms *ms, rp_err *failure)
{
    rp_ms at = rp_deadline_of(r), now = rp_loop_now(r->proxy->loop);
    if (!at) return;
    rp_ms left = at > now ? at - now : 1;
    if (*ms && *ms <= left) return;
    *ms = left;
    *failure = RP_E_DEADLINE;
}

/* ---- the upstream's -----------------------------------------------------------------------------
 */

static bool is_grpc(const struct rp_req *r)
{
    return rp_str_istarts(rp_msg_get(&r->x.head, RP_H_CONTENT_TYPE), RP_STR("application/grpc"));
}

static rp_err put(struct rp_req *r, rp_str name, const char *text, size_t n)
{
    struct rp_msg *head = rp_req_edit_up(r);
    rp_str value = rp_arena_copy(&r->x.arena, rp_str_of(text, n));
    if (!head || !value.ptr) return RP_E_CAP;
    return rp_msg_set(head, &r->x.arena, RP_H_OTHER, name, value);
}

/* The client's own word counts where that is less. */
static rp_err tell_grpc(struct rp_req *r, rp_ms left)
{
    rp_ms theirs;
    char text[RP_GRPC_TIMEOUT_BYTES];
    if (rp_deadline_parse_grpc(timeout_of(r), &theirs) == RP_OK) left = RP_MIN(left, theirs);
    return put(r, RP_STR("grpc-timeout"), text, rp_deadline_put_grpc(left, text));
}

rp_err rp_deadline_tell(struct rp_req *r, rp_ms most)
{
    rp_ms at = rp_deadline_of(r), now = rp_loop_now(r->proxy->loop);
    rp_ms left = at > now ? at - now : 1;
    rp_str name = r->upstream->deadline_header;
    rp_err e = at && is_grpc(r) ? tell_grpc(r, left) : RP_OK;
    if (e != RP_OK || !name.len) return e;
    char text[24];
    return put(r, name, text, rp_str_put_u64(text, at ? RP_MIN(left, most) : most));
}
