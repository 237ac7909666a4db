/* SPDX-License-Identifier: MIT
 *
 * abi_req_tls: what a request's TLS agreed on, for req.conn.tls. In log hooks little is known any
 * more: the connection serves others by then.
 */
#include "script/vm.h"

static const struct rp_tls *tls_of(const struct rp_req *r)
{
    return r->x.conn ? rp_conn_tls(r->x.conn) : NULL;
}

static bool give(struct rp_host_face *f, rp_str s)
{
    f->out = s;
    return s.len > 0;
}

static bool give_peer(struct rp_host_face *f, const struct rp_tls *t, enum rp_tls_peer_text what)
{
    struct rp_host *h = rp_vm_of(f);
    rp_buf_clear(&h->text);
    return rp_tls_peer_text(t, what, &h->text) && give(f, rp_buf_str(&h->text));
}

static bool give_kept(struct rp_host_face *f, const struct rp_req_tls *kept, uint32_t what)
{
    if (what == RP_TLS_TEXT_SNI) return give(f, kept->sni);
    if (what == RP_TLS_TEXT_VERSION) return give(f, kept->version);
    return what == RP_TLS_TEXT_CIPHER && give(f, kept->cipher);
}

bool rp_abi_req_tls_text(struct rp_host_face *f, const struct rp_req *r, uint32_t what)
{
    const struct rp_tls *t = tls_of(r);
    if (!t && r->tls) return give_kept(f, r->tls, what);
    if (!t) return false;
    switch ((enum rp_abi_tls_text)what) {
    case RP_TLS_TEXT_SNI: return give(f, rp_tls_sni(t));
    case RP_TLS_TEXT_ALPN: return give(f, rp_tls_alpn(t));
    case RP_TLS_TEXT_VERSION: return give(f, rp_tls_version(t));
    case RP_TLS_TEXT_CIPHER: return give(f, rp_tls_cipher(t));
    case RP_TLS_TEXT_SUBJECT: return give_peer(f, t, RP_TLS_PEER_SUBJECT);
    case RP_TLS_TEXT_ISSUER: return give_peer(f, t, RP_TLS_PEER_ISSUER);
    case RP_TLS_TEXT_SERIAL: return give_peer(f, t, RP_TLS_PEER_SERIAL);
    case RP_TLS_TEXT_FINGERPRINT: return give_peer(f, t, RP_TLS_PEER_FINGERPRINT);
    case RP_TLS_TEXT_PEM: return give_peer(f, t, RP_TLS_PEER_PEM);
    }
    return false;
}

bool rp_abi_req_tls_name(struct rp_host_face *f, const struct rp_req *r, uint32_t i)
{
    struct rp_host *h = rp_vm_of(f);
    const struct rp_tls *t = tls_of(r);
    rp_buf_clear(&h->text);
    return t && rp_tls_peer_name(t, i, &h->text) && give(f, rp_buf_str(&h->text));
}

double rp_abi_req_tls_number(const struct rp_req *r, uint32_t what)
{
    const struct rp_tls *t = tls_of(r);
    if (!t) return what == RP_TLS_NUMBER_IS_TLS && r->tls;
    switch ((enum rp_abi_tls_number)what) {
    case RP_TLS_NUMBER_IS_TLS: return 1;
    case RP_TLS_NUMBER_EARLY: return r->x.early;
    case RP_TLS_NUMBER_RESUMED: return rp_tls_is_resumed(t);
    case RP_TLS_NUMBER_HAS_CERT: return rp_tls_has_peer(t);
    case RP_TLS_NUMBER_VERIFIED: return rp_tls_is_verified(t);
    case RP_TLS_NUMBER_EXPIRES: return rp_tls_peer_end(t);
    }
    return 0;
}
