/* SPDX-License-Identifier: MIT
 *
 * client_cert: see client_cert.h. RFC 9440 §2.1: a byte sequence of RFC 8941, base64 between colons.
 */
#include "proxy/client_cert.h"

#include "base/buf.h"
#include "net/tls_server.h"
#include "proxy/server.h"

static const rp_str NAME = {"Client-Cert", 11}, CHAIN = {"Client-Cert-Chain", 17};

static const struct rp_conf_host *host_of(const struct rp_req *r)
{
    return r->route->host == UINT32_MAX ? NULL : r->conf->hosts[r->route->host];
}

static const struct rp_serve *listener_of(const struct rp_req *r)
{
    return r->x.listener;
}

bool rp_client_cert_is_misdirected(const struct rp_req *r)
{
    const struct rp_conf_host *h = host_of(r);
    const struct rp_tls *t = rp_conn_tls(r->x.conn);
    uint64_t want = h ? h->asks : 0, have = t ? rp_tls_asked(t) : 0;
    if (want == have) return false;
    if ((want ? h->ask : listener_of(r)->ask) == RP_TLS_ASK_REQUIRED) return true;
    return t && rp_tls_has_peer(t);
}

bool rp_client_cert_is_forwarded(const struct rp_req *r)
{
    const struct rp_conf_host *h = r->conf->hosts_ask ? host_of(r) : NULL;
    return h && h->asks ? h->forward_cert : listener_of(r)->forward_cert;
}

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
