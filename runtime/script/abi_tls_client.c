/* SPDX-License-Identifier: MIT
 *
 * abi_tls_client: TLS as a client, for Lua's sockets and HTTP clients. Files are named by path and go
 * from the bundle to OpenSSL; keys never become Lua strings.
 */
#include "script/vm_net.h"

#include <stdio.h>

enum { CAS_MOST = 4 << 20 }; /* bytes of the system's list of authorities */

static const char *const SYSTEM_CAS[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
};

/* A hook wants the system's list, which nobody thought of while the site was loaded: an ordinary read,
 * once in a VM's life. */
static bool read_now(const char *path, struct rp_buf *out)
{
    char bytes[16 * 1024];
    size_t n;
    FILE *file = fopen(path, "rbe");
    if (!file) return false;
    while ((n = fread(bytes, 1, sizeof bytes, file)) > 0) rp_buf_add(out, rp_str_of(bytes, n));
    bool good = !ferror(file) && !out->failed && out->len > 0;
    (void)fclose(file); /* it was only read */
    return good;
}

static bool system_cas(struct rp_host *h, struct rp_buf *own, rp_str *pem)
{
    for (size_t i = 0; i < RP_COUNT(SYSTEM_CAS); i++) {
        if (h->bundle) {
            if (rp_bundle_read(h->bundle, rp_str_z(SYSTEM_CAS[i]), pem) == RP_OK) return true;
            continue;
        }
        rp_buf_clear(own);
        if (!read_now(SYSTEM_CAS[i], own)) continue;
        *pem = rp_buf_str(own);
        return true;
    }
    return false;
}

/* Words for a file that cannot be had; NULL: it can. */
static const char *read_file(struct rp_host *h, rp_str path, rp_str *pem)
{
    if (path.len == 0) return NULL;
    if (!h->bundle) return "files are read while the site is loaded: make it there, with rp.tls";
    rp_err e = rp_bundle_read(h->bundle, path, pem);
    if (e == RP_OK) return NULL;
    return e == RP_E_NOT_FOUND ? "no such file" : rp_err_text(e);
}

static struct rp_tls_client *refuse(struct rp_host *h, rp_str path, const char *why)
{
    rp_buf_clear(&h->text);
    if (path.len) rp_buf_addf(&h->text, "%.*s: ", RP_STR_ARG(path));
    rp_buf_add_z(&h->text, why);
    h->face.out = rp_buf_str(&h->text);
    return NULL;
}

struct rp_tls_client *rp_abi_tls_client_new(struct rp_host_face *f, bool verify, const char *sni,
                                            size_t sni_n, const char *name, size_t name_n,
                                            const char *cas, size_t cas_n, const char *cert,
                                            size_t cert_n, const char *key, size_t key_n)
{
    struct rp_host *h = rp_vm_of(f);
    char why[RP_TLS_WHY_BYTES];
    struct rp_tls_client_rules rules = {
        .verify = verify, .sni = rp_str_of(sni, sni_n), .name = rp_str_of(name, name_n)};
    struct {
        rp_str path, *pem;
    } files[] = {{rp_str_of(cas, cas_n), &rules.base.cas},
                 {rp_str_of(cert, cert_n), &rules.cert_pem},
                 {rp_str_of(key, key_n), &rules.key_pem}};
    for (size_t i = 0; i < RP_COUNT(files); i++) {
        const char *fault = read_file(h, files[i].path, files[i].pem);
        if (fault) return refuse(h, files[i].path, fault);
    }
    struct rp_buf own;
    rp_buf_init(&own, CAS_MOST);
    bool missing = verify && cas_n == 0 && !system_cas(h, &own, &rules.base.cas);
    struct rp_tls_client *made = missing ? NULL : rp_tls_client_new(&rules, why);
    rp_buf_fini(&own);
    if (made) return made;
    return refuse(h, files[0].path,
                  missing ? "the system has no list of authorities: set ca" : why);
}

void rp_abi_tls_client_free(struct rp_tls_client *c)
{
    rp_tls_client_drop(&c);
}
