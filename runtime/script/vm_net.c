/* SPDX-License-Identifier: MIT
 *
 * vm_net: see vm_net.h.
 */
#include "script/vm_net.h"

#include <errno.h>

/* ---- names ---------------------------------------------------------------------------------- */

static void on_answer(void *arg, const struct rp_dns_answer *answer)
{
    struct rp_vm_target *t = arg;
    t->query = NULL;
    t->status = answer->status;
    t->addrs_n = (uint32_t)RP_MIN(answer->addrs_n, (size_t)RP_VM_ADDRS);
    for (uint32_t i = 0; i < t->addrs_n; i++) {
        t->addrs[i] = answer->addrs[i];
        t->addrs[i].port = t->port;
    }
    if (t->status == RP_OK && t->addrs_n == 0) t->status = RP_E_NOT_FOUND;
    rp_task_wake_at(t->waiter);
}

static rp_err take_path(struct rp_addr *a, rp_str path)
{
    if (path.len == 0 || path.len >= sizeof a->unix_path || memchr(path.ptr, 0, path.len))
        return RP_E_INVALID;
    a->family = RP_ADDR_UNIX;
    memcpy(a->unix_path, path.ptr, path.len);
    return RP_OK;
}

rp_err rp_vm_target_find(struct rp_vm_target *t, struct rp_host *h, rp_str host, uint32_t port,
                         struct rp_task **waiter)
{
    struct rp_addr *a = &t->addrs[0];
    t->waiter = waiter;
    t->addrs_n = 1;
    t->port = (uint16_t)port;
    if (port > UINT16_MAX) return RP_E_INVALID;
    if (port == 0) return take_path(a, host);
    if (rp_addr_parse_ip(host, a) == RP_OK) {
        a->port = t->port;
        return RP_OK;
    }
    t->addrs_n = 0;
    return rp_dns_resolve(h->proxy->dns, host, on_answer, t, &t->query);
}

void rp_vm_target_stop(struct rp_vm_target *t)
{
    if (t->query) rp_dns_cancel(t->query);
    t->query = NULL;
}

/* ---- failures ------------------------------------------------------------------------------- */

struct words {
    int of; /* errno or rp_err */
    const char *code, *text;
};

static const struct words OF_SYSTEM[] = {
    {ECONNREFUSED, "refused", "connection refused"},
    {ECONNRESET, "reset", "connection reset"},
    {EPIPE, "reset", "connection reset"},
    {ENOENT, "not_found", "no such unix socket"},
    {EACCES, "denied", "permission denied"},
    {EPERM, "denied", "permission denied"},
    {EHOSTUNREACH, "unreachable", "unreachable"},
    {ENETUNREACH, "unreachable", "unreachable"},
    {ETIMEDOUT, "timeout", "timed out"},
    {EMSGSIZE, "too_big", "larger than a datagram can be"},
    {EMFILE, "fd_limit", "out of file descriptors"},
    {ENFILE, "fd_limit", "out of file descriptors"},
};

static const struct words OF_CODE[] = {
    {RP_END, "closed", "the other side ended the stream"},
    {RP_E_CLOSED, "reset", "connection reset"},
    {RP_E_NOT_FOUND, "not_found", "no such name"},
    {RP_E_UP_RESOLVE, "resolve", "the name could not be looked up"},
    {RP_E_STALE, "stale", "it is closed, or belongs to another request"},
    {RP_E_BUSY, "busy", "another task waits for it"},
    {RP_E_UP_CONNECT, "connect", "it could not be connected"},
    {RP_E_UP_TLS_HANDSHAKE, "tls_handshake", "the TLS handshake failed"},
    {RP_E_UP_TLS_VERIFY, "tls_verify", "the certificate is not accepted"},
    {RP_E_UP_ALPN, "alpn", "it does not speak HTTP/2 over TLS"},
    {RP_E_UP_SEND, "reset", "connection reset"},
    {RP_E_UP_CLOSED, "closed", "it closed before its response"},
    {RP_E_UP_BAD_RESPONSE, "bad_response", "malformed response"},
    {RP_E_UP_HEAD_BIG, "head_too_big", "response head too large"},
    {RP_E_UP_TRUNCATED, "truncated", "the response ended early"},
    {RP_E_UP_STREAMS, "busy", "it takes no requests now"},
};

static const struct words *find_words(const struct words *list, size_t n, int of)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].of == of) return &list[i];
    return NULL;
}

rp_err rp_vm_say_why(struct rp_host *h, rp_err code, int os, const char *why)
{
    const struct words *w = os ? find_words(OF_SYSTEM, RP_COUNT(OF_SYSTEM), os)
                               : find_words(OF_CODE, RP_COUNT(OF_CODE), code);
    struct words other = {0, os ? "os" : rp_err_reason(code),
                          os ? "the system refused" : rp_err_text(code)};
    if (!w) w = &other;
    h->face.out2 = rp_str_z(w->code);
    h->face.out = rp_str_z(why ? why : w->text);
    return code;
}

rp_err rp_vm_say(struct rp_host *h, rp_err code, int os)
{
    return rp_vm_say_why(h, code, os, NULL);
}

bool rp_vm_tls_has_name(const struct rp_tls_client *tls, rp_str name)
{
    bool usable = name.len > 0 && name.len < 256 && !memchr(name.ptr, 0, name.len);
    return usable || rp_tls_client_has_name(tls);
}
