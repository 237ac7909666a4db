/* SPDX-License-Identifier: MIT
 *
 * client_cert: see client_cert.h. RFC 9440 §2.1: a byte sequence of RFC 8941, base64 between colons.
 */
#include "proxy/client_cert.h"

#include "base/buf.h"

static const rp_str NAME = {"Client-Cert", 11}, CHAIN = {"Client-Cert-Chain", 17};

static rp_err add(struct rp_req *r, struct rp_msg *m, const struct rp_tls *t)
{
    struct rp_buf text;
    rp_buf_init(&text, RP_TLS_PEER_MOST);
    rp_buf_add_ch(&text, ':');
    bool found = rp_tls_peer_text(t, RP_TLS_PEER_BASE64, &text);
    rp_buf_add_ch(&text, ':');
    rp_str value = found ? rp_arena_copy(&r->x.arena, rp_buf_str(&text)) : RP_STR_NONE;
    rp_buf_fini(&text);
    return value.ptr ? rp_msg_add(m, &r->x.arena, 0, NAME, value) : RP_E_CAP;
}

rp_err rp_client_cert_put(struct rp_req *r)
{
    const struct rp_tls *t = rp_conn_tls(r->x.conn);
    struct rp_msg *m = rp_req_edit_up(r);
    if (!m) return RP_E_CAP;
    (void)rp_msg_del(m, 0, NAME); /* how many does not matter */
    (void)rp_msg_del(m, 0, CHAIN);
    return t && rp_tls_is_verified(t) ? add(r, m, t) : RP_OK;
}
