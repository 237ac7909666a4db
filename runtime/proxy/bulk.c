/* SPDX-License-Identifier: MIT
 *
 * bulk: see bulk.h.
 */
#include "proxy/bulk.h"

#include "http/h1_up.h"
#include "proxy/proxy.h"
#include "proxy/tap.h"

/* Bytes of a body, behind those at hand. Below it two system calls more (the first piece is with the
 * head anyway) cost what the copying of so few does. */
enum { BULK_LEAST = 64 * 1024 };

static bool is_plain(const struct rp_req *r)
{
    return rp_splice_can(r->up->conn, r->x.conn) && !rp_tap_of(r);
}

/* ---- responses -------------------------------------------------------------------------------- */

static bool is_bulk(const struct rp_req *r)
{
    const struct rp_exchange_ops *ops = r->x.ops;
    bool small = r->res.framing == RP_BODY_LENGTH && r->res.content_length < BULK_LEAST;
    if (small || !r->up || !ops->pipe_room || r->out.bytes > 0 || r->res_spool) return false;
    if (r->res.framing == RP_BODY_CHUNKED) return false; /* as behind body_filter hooks */
    uint64_t n = rp_up_unseen(r->up);
    if (n == 0 || (n < BULK_LEAST && !r->bulk)) return false;
    uint64_t room = ops->pipe_room(&r->x);
    return room >= n && (n == UINT64_MAX || room - n >= rp_up_at_hand(r->up)) && is_plain(r);
}

rp_err rp_bulk_read(struct rp_req *r, size_t *most)
{
    if (!is_bulk(r)) return RP_E_BUSY;
    size_t at_hand = rp_up_at_hand(r->up);
    if (at_hand > 0) {
        *most = at_hand;
        return RP_E_BUSY;
    }
    rp_err e = rp_up_splice(r->up, &r->pipe);
    r->bulk = e == RP_OK || e == RP_AGAIN;
    bool over = e == RP_END || (e == RP_OK && rp_up_unseen(r->up) == 0);
    if (over) rp_attempt_release(r);
    return e == RP_END ? RP_OK : e;
}

rp_err rp_bulk_flush(struct rp_req *r)
{
    return r->x.ops->send_pipe(&r->x, &r->pipe);
}

/* ---- requests --------------------------------------------------------------------------------- */

static bool is_bulk_body(const struct rp_req *r)
{
    const struct rp_exchange_ops *ops = r->x.ops;
    if (!ops->unseen || r->body_ended || r->body.bytes > 0) return false;
    uint64_t n = ops->unseen(&r->x);
    if (n == 0 || (n < BULK_LEAST && !r->bulk_body)) return false;
    return rp_up_pipe_room(r->up) >= n && is_plain(r);
}

rp_err rp_bulk_read_body(struct rp_req *r, size_t *most)
{
    if (!is_bulk_body(r)) return RP_E_BUSY;
    uint64_t at_hand = rp_up_pipe_room(r->up) - r->x.ops->unseen(&r->x);
    if (at_hand > 0) {
        *most = RP_MIN(*most, (size_t)at_hand);
        return RP_E_BUSY;
    }
    rp_err e = r->x.ops->read_pipe(&r->x, &r->body_pipe);
    r->bulk_body = e == RP_OK || e == RP_AGAIN;
    if (e == RP_OK) rp_up_expect_pipe(r->up, rp_splice_bytes(r->body_pipe));
    return e;
}

rp_err rp_bulk_flush_body(struct rp_req *r)
{
    return rp_up_send_pipe(r->up, &r->body_pipe);
}
