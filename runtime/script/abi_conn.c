/* SPDX-License-Identifier: MIT
 *
 * abi_conn: facts of a relayed connection, and where a connect hook sends it.
 */
#include "proxy/server.h"
#include "proxy/stream_udp.h"
#include "script/journal.h"

static bool give(struct rp_host_face *f, rp_str s)
{
    f->out = s;
    return s.len > 0;
}

static bool give_addr(struct rp_host_face *f, const struct rp_addr *a, bool port)
{
    struct rp_host *h = rp_vm_of(f);
    rp_arena_reset(&h->scratch);
    char *text = rp_arena_alloc(&h->scratch, RP_ADDR_TEXT_BYTES);
    if (a->family == RP_ADDR_NONE) return give(f, RP_STR_NONE);
    return give(f, rp_str_of(text, port ? rp_addr_put(a, text) : rp_addr_put_ip(a, text)));
}

static rp_str upstream_of(const struct rp_stream *s)
{
    return s->upstream ? s->upstream->name : rp_str_of(s->upstream_name, s->upstream_n);
}

bool rp_abi_conn_text(struct rp_host_face *f, const struct rp_stream *s, uint32_t what)
{
    switch ((enum rp_abi_conn_text)what) {
    case RP_CONN_TEXT_REMOTE_IP: return give_addr(f, &s->client, false);
    case RP_CONN_TEXT_LISTENER: return give(f, s->serve->text);
    case RP_CONN_TEXT_SNI: return give(f, rp_str_of(s->sni, s->sni_n));
    case RP_CONN_TEXT_UPSTREAM: return give(f, upstream_of(s));
    case RP_CONN_TEXT_PEER: return give_addr(f, &s->peer_addr, true);
    case RP_CONN_TEXT_REASON:
        return give(f, s->fail < 0 ? rp_str_z(rp_err_reason(s->fail)) : RP_STR_NONE);
    case RP_CONN_TEXT_TRANSPORT: return give(f, s->udp ? RP_STR("udp") : RP_STR("tcp"));
    }
    return give(f, RP_STR_NONE);
}

double rp_abi_conn_number(const struct rp_stream *s, uint32_t what)
{
    rp_ns end = s->end_ns ? s->end_ns : rp_loop_now_ns(s->proxy->loop);
    switch ((enum rp_abi_conn_number)what) {
    case RP_CONN_NUMBER_PORT: return s->serve->port;
    case RP_CONN_NUMBER_BYTES_UP: return (double)s->up_bytes;
    case RP_CONN_NUMBER_BYTES_DOWN: return (double)s->down_bytes;
    case RP_CONN_NUMBER_DURATION: return (double)(end - s->start_ns) / 1e9;
    case RP_CONN_NUMBER_TRIES: return s->tries;
    case RP_CONN_NUMBER_DATAGRAMS_UP: return (double)rp_stream_datagrams(s, true);
    case RP_CONN_NUMBER_DATAGRAMS_DOWN: return (double)rp_stream_datagrams(s, false);
    }
    return 0;
}

bool rp_abi_conn_alpn(struct rp_host_face *f, const struct rp_stream *s, uint32_t i)
{
    rp_str rest = rp_stream_alpn(s), name;
    while (rp_tls_hello_alpn_next(&rest, &name))
        if (i-- == 0) return give(f, name);
    return give(f, RP_STR_NONE);
}

rp_err rp_abi_conn_set_upstream(struct rp_stream *s, uint32_t index)
{
    const struct rp_host *h = s->conf->script;
    struct rp_conf_upstream *before = s->upstream;
    rp_err e = rp_stream_set_upstream(s, index);
    if (h->face.notes == RP_NOTES_ONLY) s->upstream = before; /* checked, not done */
    return e;
}
