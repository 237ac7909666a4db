/* SPDX-License-Identifier: MIT
 *
 * abi_log: log lines of hooks: message and fields escaped, request id and plugin attached.
 */
#include "base/log.h"
#include "script/vm.h"

static bool is_key(rp_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char ch = rp_lower(s.ptr[i]);
        if (!(ch >= 'a' && ch <= 'z') && !(ch >= '0' && ch <= '9') && ch != '_' && ch != '.')
            return false;
    }
    return s.len > 0;
}

/* As the core writes them: `request=` of every line is found by one search. */
static bool needs_quotes(rp_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char ch = (unsigned char)s.ptr[i];
        if (ch <= ' ' || ch >= 0x7f || ch == '"' || ch == '\\' || ch == '=') return true;
    }
    return s.len == 0;
}

static void add_field(struct rp_host *h, rp_str key, rp_str value)
{
    rp_buf_add_ch(&h->line, ' ');
    if (is_key(key)) rp_buf_add(&h->line, key);
    else rp_buf_add_ch(&h->line, '?');
    rp_buf_add_ch(&h->line, '=');
    bool quoted = needs_quotes(value);
    if (quoted) rp_buf_add_ch(&h->line, '"');
    rp_buf_add_escaped(&h->line, value);
    if (quoted) rp_buf_add_ch(&h->line, '"');
}

void rp_abi_log_begin(struct rp_host_face *f, const char *msg, size_t n)
{
    struct rp_host *h = rp_vm_of(f);
    rp_buf_clear(&h->line);
    rp_buf_add_escaped(&h->line, rp_str_of(msg, n));
}

void rp_abi_log_field(struct rp_host_face *f, const char *key, size_t key_n, const char *value,
                      size_t value_n)
{
    add_field(rp_vm_of(f), rp_str_of(key, key_n), rp_str_of(value, value_n));
}

/* A line over the cap keeps what fitted before the field that did not. */
void rp_abi_log_end(struct rp_host_face *f, uint32_t level)
{
    struct rp_host *h = rp_vm_of(f);
    const struct rp_task *t = h->current;
    uint32_t plugin = t ? rp_chain_plugin(h, t->chain, f->at) : UINT32_MAX;
    if (plugin != UINT32_MAX) add_field(h, RP_STR("plugin"), h->conf->plugins[plugin].name);
    if (t && t->req) add_field(h, RP_STR("request"), rp_req_id(t->req));
    if (level > RP_LOG_alert) level = RP_LOG_alert;
    rp_str line = rp_buf_str(&h->line);
    if (level >= rp_log_threshold)
        rp_log_write((enum rp_log_level)level, "%.*s%s", RP_STR_ARG(line),
                     h->line.failed ? " (cut)" : "");
}
