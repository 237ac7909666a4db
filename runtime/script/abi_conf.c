/* SPDX-License-Identifier: MIT
 *
 * abi_conf: the builder of proxy/conf.h for Lua. A rp_str by value keeps an FFI call from being
 * compiled and its Lua string from being passed as it is, hence one wrapper per builder function.
 */
#include "script/abi.h"

uint32_t rp_abi_version(void)
{
    return RP_ABI_VERSION;
}

rp_err rp_abi_conf_set_number(struct rp_conf *c, const char *key, size_t key_n, double value)
{
    return rp_conf_set_number(c, rp_str_of(key, key_n), value);
}

rp_err rp_abi_conf_set_text(struct rp_conf *c, const char *key, size_t key_n, const char *value,
                            size_t value_n)
{
    return rp_conf_set_text(c, rp_str_of(key, key_n), rp_str_of(value, value_n));
}

rp_err rp_abi_conf_add_listener(struct rp_conf *c, const char *addr, size_t addr_n,
                                bool redirect_https, uint32_t *index, struct rp_conf_error *e)
{
    return rp_conf_add_listener(c, rp_str_of(addr, addr_n), redirect_https, index, e);
}

rp_err rp_abi_conf_set_listener(struct rp_conf *c, uint32_t listener, const char *key, size_t key_n,
                                double value)
{
    return rp_conf_set_listener(c, listener, rp_str_of(key, key_n), value);
}

rp_err rp_abi_conf_add_trust(struct rp_conf *c, const char *cidr, size_t cidr_n,
                             struct rp_conf_error *e)
{
    return rp_conf_add_trust(c, rp_str_of(cidr, cidr_n), e);
}

rp_err rp_abi_conf_add_file(struct rp_conf *c, const char *path, size_t path_n, uint32_t *index)
{
    return rp_conf_add_file(c, rp_str_of(path, path_n), index);
}

rp_err rp_abi_conf_add_zone(struct rp_conf *c, const char *name, size_t name_n, uint32_t kind,
                            double bytes, double tag)
{
    return rp_conf_add_zone(c, rp_str_of(name, name_n), kind, bytes, tag);
}

rp_err rp_abi_conf_add_plugin(struct rp_conf *c, const char *name, size_t name_n, uint32_t on_error,
                              uint32_t *index)
{
    return rp_conf_add_plugin(c, rp_str_of(name, name_n), on_error, index);
}

rp_err rp_abi_conf_set_plugin(struct rp_conf *c, uint32_t plugin, const char *key, size_t key_n,
                              double value)
{
    return rp_conf_set_plugin(c, plugin, rp_str_of(key, key_n), value);
}

rp_err rp_abi_conf_add_upstream(struct rp_conf *c, const char *name, size_t name_n, uint32_t *index,
                                struct rp_conf_error *e)
{
    return rp_conf_add_upstream(c, rp_str_of(name, name_n), index, e);
}

rp_err rp_abi_conf_set_upstream(struct rp_conf *c, uint32_t upstream, const char *key, size_t key_n,
                                double value)
{
    return rp_conf_set_upstream(c, upstream, rp_str_of(key, key_n), value);
}

rp_err rp_abi_conf_set_upstream_text(struct rp_conf *c, uint32_t upstream, const char *key,
                                     size_t key_n, const char *value, size_t value_n)
{
    return rp_conf_set_upstream_text(c, upstream, rp_str_of(key, key_n), rp_str_of(value, value_n));
}

rp_err rp_abi_conf_add_peer(struct rp_conf *c, uint32_t upstream, const char *text, size_t text_n,
                            uint32_t weight, bool backup, struct rp_conf_error *e)
{
    return rp_conf_add_peer(c, upstream, rp_str_of(text, text_n), weight, backup, e);
}

rp_err rp_abi_conf_set_peer(struct rp_conf *c, uint32_t upstream, const char *key, size_t key_n,
                            double value)
{
    return rp_conf_set_peer(c, upstream, rp_str_of(key, key_n), value);
}

rp_err rp_abi_conf_set_peer_text(struct rp_conf *c, uint32_t upstream, const char *key,
                                 size_t key_n, const char *value, size_t value_n)
{
    return rp_conf_set_peer_text(c, upstream, rp_str_of(key, key_n), rp_str_of(value, value_n));
}

rp_err rp_abi_conf_add_statuses(struct rp_conf *c, uint32_t upstream, bool retry, uint32_t low,
                                uint32_t high)
{
    return rp_conf_add_statuses(c, upstream, retry, low, high);
}

rp_err rp_abi_conf_add_hash(struct rp_conf *c, uint32_t upstream, uint32_t part, const char *name,
                            size_t name_n)
{
    return rp_conf_add_hash(c, upstream, part, rp_str_of(name, name_n));
}

rp_err rp_abi_conf_add_host(struct rp_conf *c, bool is_default, uint32_t *index)
{
    return rp_conf_add_host(c, is_default, index);
}

rp_err rp_abi_conf_set_host_text(struct rp_conf *c, uint32_t host, const char *key, size_t key_n,
                                 const char *value, size_t value_n)
{
    return rp_conf_set_host_text(c, host, rp_str_of(key, key_n), rp_str_of(value, value_n));
}

rp_err rp_abi_conf_add_host_name(struct rp_conf *c, uint32_t host, const char *name, size_t name_n,
                                 struct rp_conf_error *e)
{
    return rp_conf_add_host_name(c, host, rp_str_of(name, name_n), e);
}

rp_err rp_abi_conf_add_route(struct rp_conf *c, uint32_t host, const char *methods,
                             size_t methods_n, const char *pattern, size_t pattern_n,
                             bool is_fallback, uint32_t *index, struct rp_conf_error *e)
{
    return rp_conf_add_route(c, host, rp_str_of(methods, methods_n), rp_str_of(pattern, pattern_n),
                             is_fallback, index, e);
}

rp_err rp_abi_conf_set_route(struct rp_conf *c, uint32_t route, const char *key, size_t key_n,
                             double value)
{
    return rp_conf_set_route(c, route, rp_str_of(key, key_n), value);
}

rp_err rp_abi_conf_set_route_text(struct rp_conf *c, uint32_t route, const char *key, size_t key_n,
                                  const char *value, size_t value_n)
{
    return rp_conf_set_route_text(c, route, rp_str_of(key, key_n), rp_str_of(value, value_n));
}

rp_err rp_abi_conf_set_route_chain(struct rp_conf *c, uint32_t route, uint32_t phase, uint32_t ref)
{
    return rp_conf_set_route_chain(c, route, phase, ref);
}

rp_err rp_abi_conf_set_site_chain(struct rp_conf *c, uint32_t phase, uint32_t ref)
{
    return rp_conf_set_site_chain(c, phase, ref);
}

rp_err rp_abi_conf_add_edit(struct rp_conf *c, uint32_t route, uint32_t kind, bool response,
                            const char *name, size_t name_n, const char *value, size_t value_n,
                            struct rp_conf_error *e)
{
    return rp_conf_add_edit(c, route, kind, response, rp_str_of(name, name_n),
                            rp_str_of(value, value_n), e);
}

rp_err rp_abi_conf_add_cond(struct rp_conf *c, uint32_t route, uint32_t kind, uint32_t op,
                            bool negate, const char *name, size_t name_n, const char *value,
                            size_t value_n, struct rp_conf_error *e)
{
    return rp_conf_add_cond(c, route, kind, op, negate, rp_str_of(name, name_n),
                            rp_str_of(value, value_n), e);
}

rp_err rp_abi_conf_add_connect(struct rp_conf *c, uint32_t route, bool deny, const char *text,
                               size_t text_n, struct rp_conf_error *e)
{
    return rp_conf_add_connect(c, route, deny, rp_str_of(text, text_n), e);
}

rp_err rp_abi_conf_add_page(struct rp_conf *c, uint32_t level, uint32_t index, const char *which,
                            size_t which_n, const char *type, size_t type_n, const char *body,
                            size_t body_n, struct rp_conf_error *e)
{
    return rp_conf_add_page(c, level, index, rp_str_of(which, which_n), rp_str_of(type, type_n),
                            rp_str_of(body, body_n), e);
}

rp_err rp_abi_conf_add_stream(struct rp_conf *c, uint32_t *index)
{
    return rp_conf_add_stream(c, index);
}

rp_err rp_abi_conf_set_stream(struct rp_conf *c, uint32_t stream, const char *key, size_t key_n,
                              double value)
{
    return rp_conf_set_stream(c, stream, rp_str_of(key, key_n), value);
}

rp_err rp_abi_conf_add_stream_listener(struct rp_conf *c, uint32_t stream, const char *addr,
                                       size_t addr_n, uint32_t *index, struct rp_conf_error *e)
{
    return rp_conf_add_stream_listener(c, stream, rp_str_of(addr, addr_n), index, e);
}

rp_err rp_abi_conf_add_stream_rule(struct rp_conf *c, uint32_t stream, uint32_t kind,
                                   const char *name, size_t name_n, uint32_t upstream,
                                   struct rp_conf_error *e)
{
    return rp_conf_add_stream_rule(c, stream, kind, rp_str_of(name, name_n), upstream, e);
}

rp_err rp_abi_conf_set_access_log(struct rp_conf *c, uint32_t file, uint32_t format,
                                  uint32_t buffer_bytes, uint32_t flush_ms)
{
    return rp_conf_set_access_log(c, file, format, buffer_bytes, flush_ms);
}

rp_err rp_abi_conf_add_access_field(struct rp_conf *c, const char *name, size_t name_n,
                                    struct rp_conf_error *e)
{
    return rp_conf_add_access_field(c, rp_str_of(name, name_n), e);
}
