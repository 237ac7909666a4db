/* SPDX-License-Identifier: MIT
 *
 * abi_conf: part of abi.h, whose rules hold: the builder of configurations (proxy/conf.h), one to one.
 */
#ifndef RP_SCRIPT_ABI_CONF_H
#define RP_SCRIPT_ABI_CONF_H

#include "proxy/conf.h"

struct rp_host_face;

/* ---- configuration: proxy/conf.h's builder, one to one */

rp_err rp_abi_conf_set_number(struct rp_conf *c, const char *key, size_t key_n, double value);
rp_err rp_abi_conf_set_text(struct rp_conf *c, const char *key, size_t key_n, const char *value,
                            size_t value_n);
rp_err rp_abi_conf_add_listener(struct rp_conf *c, const char *addr, size_t addr_n,
                                bool redirect_https, uint32_t *index, struct rp_conf_error *e);
rp_err rp_abi_conf_set_listener(struct rp_conf *c, uint32_t listener, const char *key, size_t key_n,
                                double value);
rp_err rp_abi_conf_add_tls(struct rp_conf *c, uint32_t *index);
rp_err rp_abi_conf_set_tls(struct rp_conf *c, uint32_t tls, const char *key, size_t key_n,
                           double value);
rp_err rp_abi_conf_set_tls_text(struct rp_conf *c, uint32_t tls, const char *key, size_t key_n,
                                const char *value, size_t value_n);
/* Paths are absolute. The files go from the bundle to OpenSSL and never become Lua strings. */
rp_err rp_abi_conf_tls_cas(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                           const char *path, size_t path_n, struct rp_conf_error *e);
rp_err rp_abi_conf_tls_crl(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                           const char *path, size_t path_n, struct rp_conf_error *e);
rp_err rp_abi_conf_make_tls_server(struct rp_conf *c, uint32_t tls, struct rp_conf_error *e);
/* key empty: in the same file, or in the one beside it (x.key for x.crt and x.pem, privkey.pem for
 * fullchain.pem). listed: a file without a certificate is passed over, with RP_END. */
rp_err rp_abi_conf_add_cert(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                            const char *cert, size_t cert_n, const char *key, size_t key_n,
                            bool listed, struct rp_conf_error *e);
/* The OCSP answer for the certificate that was added last, whose path is cert. file empty: the one
 * beside it (cert.ocsp), if there is one. */
rp_err rp_abi_conf_add_staple(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                              const char *cert, size_t cert_n, const char *file, size_t file_n,
                              struct rp_conf_error *e);
rp_err rp_abi_conf_use_tls(struct rp_conf *c, uint32_t listener, uint32_t tls);
rp_err rp_abi_conf_ask_clients(struct rp_conf *c, uint32_t host, uint32_t tls, const char *name,
                               size_t name_n, struct rp_conf_error *e);
rp_err rp_abi_conf_ask_no_clients(struct rp_conf *c, const char *name, size_t name_n);
/* cert and key empty: no certificate of our own. */
rp_err rp_abi_conf_make_tls_client(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                                   uint32_t upstream, const char *cert, size_t cert_n,
                                   const char *key, size_t key_n, struct rp_conf_error *e);
rp_err rp_abi_conf_add_trust(struct rp_conf *c, const char *cidr, size_t cidr_n,
                             struct rp_conf_error *e);
rp_err rp_abi_conf_add_file(struct rp_conf *c, const char *path, size_t path_n, uint32_t *index);
rp_err rp_abi_conf_add_zone(struct rp_conf *c, const char *name, size_t name_n, uint32_t kind,
                            double bytes, double tag);
rp_err rp_abi_conf_add_plugin(struct rp_conf *c, const char *name, size_t name_n, uint32_t on_error,
                              uint32_t *index);
rp_err rp_abi_conf_set_plugin(struct rp_conf *c, uint32_t plugin, const char *key, size_t key_n,
                              double value);
rp_err rp_abi_conf_add_upstream(struct rp_conf *c, const char *name, size_t name_n, uint32_t *index,
                                struct rp_conf_error *e);
rp_err rp_abi_conf_set_upstream(struct rp_conf *c, uint32_t upstream, const char *key, size_t key_n,
                                double value);
rp_err rp_abi_conf_set_upstream_text(struct rp_conf *c, uint32_t upstream, const char *key,
                                     size_t key_n, const char *value, size_t value_n);
rp_err rp_abi_conf_add_peer(struct rp_conf *c, uint32_t upstream, const char *text, size_t text_n,
                            uint32_t weight, bool backup, struct rp_conf_error *e);
rp_err rp_abi_conf_set_peer(struct rp_conf *c, uint32_t upstream, const char *key, size_t key_n,
                            double value);
rp_err rp_abi_conf_set_peer_text(struct rp_conf *c, uint32_t upstream, const char *key,
                                 size_t key_n, const char *value, size_t value_n);
rp_err rp_abi_conf_add_statuses(struct rp_conf *c, uint32_t upstream, bool retry, uint32_t low,
                                uint32_t high);
rp_err rp_abi_conf_add_hash(struct rp_conf *c, uint32_t upstream, uint32_t part, const char *name,
                            size_t name_n);
rp_err rp_abi_conf_add_split(struct rp_conf *c, const char *name, size_t name_n, uint32_t *index);
rp_err rp_abi_conf_add_split_side(struct rp_conf *c, uint32_t split, uint32_t upstream,
                                  uint32_t share);
rp_err rp_abi_conf_add_split_step(struct rp_conf *c, uint32_t split, uint32_t share);
rp_err rp_abi_conf_add_split_hash(struct rp_conf *c, uint32_t split, uint32_t part,
                                  const char *name, size_t name_n);
rp_err rp_abi_conf_add_split_rule(struct rp_conf *c, uint32_t split, uint32_t upstream);
rp_err rp_abi_conf_add_split_cond(struct rp_conf *c, uint32_t split, uint32_t kind, uint32_t op,
                                  bool negate, const char *name, size_t name_n, const char *value,
                                  size_t value_n, struct rp_conf_error *e);
rp_err rp_abi_conf_set_split(struct rp_conf *c, uint32_t split, const char *key, size_t key_n,
                             double value);
rp_err rp_abi_conf_set_split_text(struct rp_conf *c, uint32_t split, const char *key, size_t key_n,
                                  const char *value, size_t value_n);
rp_err rp_abi_conf_add_host(struct rp_conf *c, bool is_default, uint32_t *index);
rp_err rp_abi_conf_set_host_text(struct rp_conf *c, uint32_t host, const char *key, size_t key_n,
                                 const char *value, size_t value_n);
rp_err rp_abi_conf_add_host_name(struct rp_conf *c, uint32_t host, const char *name, size_t name_n,
                                 struct rp_conf_error *e);
rp_err rp_abi_conf_add_route(struct rp_conf *c, uint32_t host, const char *methods,
                             size_t methods_n, const char *pattern, size_t pattern_n,
                             bool is_fallback, uint32_t *index, struct rp_conf_error *e);
rp_err rp_abi_conf_set_route(struct rp_conf *c, uint32_t route, const char *key, size_t key_n,
                             double value);
rp_err rp_abi_conf_set_route_text(struct rp_conf *c, uint32_t route, const char *key, size_t key_n,
                                  const char *value, size_t value_n);
rp_err rp_abi_conf_set_route_chain(struct rp_conf *c, uint32_t route, uint32_t phase, uint32_t ref);
rp_err rp_abi_conf_set_site_chain(struct rp_conf *c, uint32_t phase, uint32_t ref);
rp_err rp_abi_conf_add_edit(struct rp_conf *c, uint32_t route, uint32_t kind, bool response,
                            const char *name, size_t name_n, const char *value, size_t value_n,
                            struct rp_conf_error *e);
rp_err rp_abi_conf_add_cond(struct rp_conf *c, uint32_t route, uint32_t kind, uint32_t op,
                            bool negate, const char *name, size_t name_n, const char *value,
                            size_t value_n, struct rp_conf_error *e);
rp_err rp_abi_conf_add_connect(struct rp_conf *c, uint32_t route, bool deny, const char *text,
                               size_t text_n, struct rp_conf_error *e);
rp_err rp_abi_conf_add_page(struct rp_conf *c, uint32_t level, uint32_t index, const char *which,
                            size_t which_n, const char *type, size_t type_n, const char *body,
                            size_t body_n, struct rp_conf_error *e);
rp_err rp_abi_conf_add_stream(struct rp_conf *c, uint32_t *index);
rp_err rp_abi_conf_set_stream(struct rp_conf *c, uint32_t stream, const char *key, size_t key_n,
                              double value);
rp_err rp_abi_conf_add_stream_listener(struct rp_conf *c, uint32_t stream, const char *addr,
                                       size_t addr_n, uint32_t *index, struct rp_conf_error *e);
rp_err rp_abi_conf_add_stream_rule(struct rp_conf *c, uint32_t stream, uint32_t kind,
                                   const char *name, size_t name_n, uint32_t upstream,
                                   struct rp_conf_error *e);
rp_err rp_abi_conf_set_access_log(struct rp_conf *c, uint32_t file, uint32_t format,
                                  uint32_t buffer_bytes, uint32_t flush_ms);
rp_err rp_abi_conf_add_access_field(struct rp_conf *c, const char *name, size_t name_n,
                                    struct rp_conf_error *e);

#endif
