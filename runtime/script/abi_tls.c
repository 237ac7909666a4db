/* SPDX-License-Identifier: MIT
 *
 * abi_tls: TLS settings for Lua. Certificates and keys are named by their paths: the bytes go from the
 * bundle to the builder, never through the VM, whose strings nobody wipes.
 */
#include <stdio.h>

#include "base/clock.h"
#include "script/vm.h"

rp_err rp_abi_conf_add_tls(struct rp_conf *c, uint32_t *index)
{
    return rp_conf_add_tls(c, index);
}

rp_err rp_abi_conf_set_tls(struct rp_conf *c, uint32_t tls, const char *key, size_t key_n,
                           double value)
{
    return rp_conf_set_tls(c, tls, rp_str_of(key, key_n), value);
}

rp_err rp_abi_conf_set_tls_text(struct rp_conf *c, uint32_t tls, const char *key, size_t key_n,
                                const char *value, size_t value_n)
{
    return rp_conf_set_tls_text(c, tls, rp_str_of(key, key_n), rp_str_of(value, value_n));
}

/* Words for a file that cannot be had. */
static rp_err unreadable(struct rp_conf_error *e, rp_str path, rp_err why)
{
    const char *text = why == RP_E_NOT_FOUND ? "no such file"
                       : why == RP_E_INVALID
                           ? "it must be a regular file named .pem, .crt, .cer, "
                             ".key, .crl or .ocsp, by an absolute path without \"..\""
                       : why == RP_E_TOO_BIG ? "it is larger than 4 MB"
                                             : "the system refuses (permissions?)";
    snprintf(e->text, sizeof e->text, "%.*s: cannot be read: %s", RP_STR_ARG(path), text);
    e->code = why;
    return why;
}

static rp_err read_file(struct rp_host_face *f, rp_str path, rp_str *bytes, struct rp_conf_error *e)
{
    const struct rp_host *h = rp_vm_of(f);
    rp_err err = h->bundle ? rp_bundle_read(h->bundle, path, bytes) : RP_E_PHASE;
    return err == RP_OK ? RP_OK : unreadable(e, path, err);
}

/* The builder's words do not know of files. */
static rp_err with_path(struct rp_conf_error *e, rp_str path, rp_err err)
{
    char words[sizeof e->text];
    if (err == RP_OK) return err;
    memcpy(words, e->text, sizeof words);
    snprintf(e->text, sizeof e->text, "%.*s: %.300s", RP_STR_ARG(path), words);
    return err;
}

rp_err rp_abi_conf_tls_cas(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                           const char *path, size_t path_n, struct rp_conf_error *e)
{
    rp_str bytes, name = rp_str_of(path, path_n);
    rp_err err = read_file(h, name, &bytes, e);
    return err == RP_OK ? rp_conf_set_tls_text(c, tls, RP_STR("cas"), bytes) : err;
}

static bool is_check(struct rp_host_face *h)
{
    return rp_bundle_collects(rp_vm_of(h)->bundle);
}

rp_err rp_abi_conf_tls_crl(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                           const char *path, size_t path_n, struct rp_conf_error *e)
{
    rp_str bytes, name = rp_str_of(path, path_n);
    double ends_s = 0;
    rp_err err = read_file(h, name, &bytes, e);
    if (err != RP_OK) return err;
    err = with_path(e, name, rp_conf_add_crl(c, tls, bytes, &ends_s, e));
    if (err == RP_OK && is_check(h) && ends_s > 0 && ends_s <= rp_clock_wall())
        rp_log(warn, "revocation list has expired: certificates that need it are refused file=%s",
               rp_log_esc(name));
    return err;
}

rp_err rp_abi_conf_make_tls_server(struct rp_conf *c, uint32_t tls, struct rp_conf_error *e)
{
    return rp_conf_make_tls_server(c, tls, e);
}

static void warn_expired(struct rp_host_face *h, rp_str path, double ends_s)
{
    char date[RP_CLOCK_DATE_BYTES];
    double now = rp_clock_wall();
    if (!is_check(h) || ends_s > now) return;
    rp_clock_put_date(date, (int64_t)ends_s);
    rp_log(warn, "certificate has expired file=%s expired=\"%.*s\"", rp_log_esc(path),
           (int)sizeof date, date);
}

static bool has(rp_str text, const char *mark)
{
    return memmem(text.ptr, text.len, mark, strlen(mark)) != NULL;
}

/* Where the key of a certificate lies that is not in its own file. */
static rp_str key_beside(struct rp_arena *a, rp_str cert)
{
    rp_str full = RP_STR("/fullchain.pem"), key = RP_STR("/privkey.pem");
    bool certbot = rp_str_ends(cert, full);
    rp_str stem = rp_str_head(cert, cert.len - (certbot ? full.len : strlen(".pem")));
    return rp_arena_printf(a, "%.*s%s", RP_STR_ARG(stem), certbot ? key.ptr : ".key");
}

static rp_err read_key(struct rp_host_face *f, rp_str cert, rp_str pem, rp_str path, rp_str *key,
                       struct rp_conf_error *e)
{
    struct rp_host *h = rp_vm_of(f);
    if (path.len) return read_file(f, path, key, e);
    *key = pem;
    if (has(pem, "PRIVATE KEY-----")) return RP_OK;
    rp_arena_reset(&h->scratch);
    path = key_beside(&h->scratch, cert);
    if (rp_bundle_read(h->bundle, path, key) == RP_OK) return RP_OK;
    snprintf(e->text, sizeof e->text, "%.*s: there is no private key in it, and none in %.*s",
             RP_STR_ARG(cert), RP_STR_ARG(path));
    return e->code = RP_E_INVALID;
}

rp_err rp_abi_conf_add_cert(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                            const char *cert, size_t cert_n, const char *key, size_t key_n,
                            bool listed, struct rp_conf_error *e)
{
    rp_str path = rp_str_of(cert, cert_n), pem, key_pem;
    double ends_s = 0;
    rp_err err = read_file(h, path, &pem, e);
    if (err == RP_OK && listed && !has(pem, "CERTIFICATE-----")) return RP_END;
    if (err == RP_OK) err = read_key(h, path, pem, rp_str_of(key, key_n), &key_pem, e);
    if (err != RP_OK) return err;
    err = with_path(e, path, rp_conf_add_cert(c, tls, pem, key_pem, &ends_s, e));
    if (err == RP_OK) warn_expired(h, path, ends_s);
    return err;
}

/* Said by the check, once: workers build the same. */
static void tell_staple(rp_str path, const struct rp_conf_staple *s, bool has_file)
{
    if (has_file && s->revoked)
        rp_log(alert, "certificate was revoked: its OCSP answer is not handed out file=%s",
               rp_log_esc(path));
    else if (has_file && !s->good)
        rp_log(warn,
               "the certificate's authority does not know it: its OCSP answer is not handed "
               "out file=%s",
               rp_log_esc(path));
    else if (has_file && !s->in_time)
        rp_log(warn, "OCSP answer beside a certificate is over, or of the future file=%s",
               rp_log_esc(path));
    if (s->ask && s->has_responder && !s->can)
        rp_log(warn, "no OCSP for a certificate whose issuer is not known: add its chain file=%s",
               rp_log_esc(path));
    if (s->must && !s->can && !(has_file && s->good && s->in_time))
        rp_log(warn,
               "certificate wants an OCSP answer with it and there is none: clients may "
               "refuse it; %s file=%s",
               s->ask || !s->has_responder ? "put one beside it" : "set tls.ocsp = true",
               rp_log_esc(path));
}

/* Beside a certificate: absence is no mistake, and neither is a name that is too long. */
static rp_err read_staple(struct rp_host_face *f, rp_str cert, rp_str file, rp_str *der,
                          struct rp_conf_error *e)
{
    struct rp_host *h = rp_vm_of(f);
    *der = RP_STR_NONE;
    if (file.len) return read_file(f, file, der, e);
    rp_arena_reset(&h->scratch);
    rp_str beside = rp_arena_printf(&h->scratch, "%.*s.ocsp", RP_STR_ARG(cert));
    rp_err err = rp_bundle_read(h->bundle, beside, der);
    if (err == RP_OK || err == RP_E_NOT_FOUND || err == RP_E_INVALID) return RP_OK;
    return unreadable(e, beside, err);
}

rp_err rp_abi_conf_add_staple(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                              const char *cert, size_t cert_n, const char *file, size_t file_n,
                              struct rp_conf_error *e)
{
    rp_str path = rp_str_of(cert, cert_n), der;
    struct rp_conf_staple s;
    rp_err err = read_staple(h, path, rp_str_of(file, file_n), &der, e);
    if (err != RP_OK) return err;
    err = rp_conf_add_staple(c, tls, der, rp_clock_wall(), &s, e);
    if (err == RP_OK && is_check(h)) tell_staple(path, &s, der.len > 0);
    if (err == RP_OK) return err;
    char words[sizeof e->text];
    memcpy(words, e->text, sizeof words);
    snprintf(e->text, sizeof e->text, "%.*s: its OCSP answer (%.*s) is not usable: %.200s",
             RP_STR_ARG(path), file_n ? (int)file_n : 5, file_n ? file : ".ocsp", words);
    return err;
}

rp_err rp_abi_conf_use_tls(struct rp_conf *c, uint32_t listener, uint32_t tls)
{
    return rp_conf_use_tls(c, listener, tls);
}

rp_err rp_abi_conf_ask_clients(struct rp_conf *c, uint32_t host, uint32_t tls, const char *name,
                               size_t name_n, struct rp_conf_error *e)
{
    return rp_conf_ask_clients(c, host, tls, rp_str_of(name, name_n), e);
}

rp_err rp_abi_conf_ask_no_clients(struct rp_conf *c, const char *name, size_t name_n)
{
    return rp_conf_ask_no_clients(c, rp_str_of(name, name_n));
}

rp_err rp_abi_conf_make_tls_client(struct rp_host_face *h, struct rp_conf *c, uint32_t tls,
                                   uint32_t upstream, const char *cert, size_t cert_n,
                                   const char *key, size_t key_n, struct rp_conf_error *e)
{
    rp_str pem = RP_STR_NONE, key_pem = RP_STR_NONE;
    rp_err err = RP_OK;
    if (cert_n) err = read_file(h, rp_str_of(cert, cert_n), &pem, e);
    if (err == RP_OK && key_n) err = read_file(h, rp_str_of(key, key_n), &key_pem, e);
    if (err != RP_OK) return err;
    return rp_conf_make_tls_client(c, tls, upstream, pem, key_pem, e);
}
