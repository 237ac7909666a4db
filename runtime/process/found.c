/* SPDX-License-Identifier: MIT
 *
 * found: see found.h.
 */
#include "process/found.h"

#include <unistd.h>

#include "process/master_in.h"
#include "script/bundle.h"
#include "shm/found.h"

enum {
    AGAIN_MS = 60000, /* routes that a reload did not take are tried again */
    ASK_LIMIT_MS = 5000,
};

void rp_found_init(struct rp_found *f)
{
    *f = (struct rp_found){0};
    rp_buf_init(&f->text, RP_MEMBERS_SET_MOST);
    rp_buf_init(&f->before, RP_MEMBERS_SET_MOST);
}

void rp_found_fini(struct rp_found *f)
{
    rp_buf_fini(&f->text);
    rp_buf_fini(&f->before);
}

rp_str rp_found_read(struct rp_master *m)
{
    struct rp_found *f = &m->found;
    struct rp_buf fresh;
    uint32_t version;
    if (!m->members) return RP_STR_NONE;
    rp_buf_init(&fresh, RP_MEMBERS_SET_MOST);
    rp_err e = rp_members_get(m->members, RP_STR(RP_FOUND_ROUTES), &fresh, &version);
    if (e == RP_OK) {
        rp_buf_fini(&f->text);
        f->text = fresh;
        f->version = version;
    } else { /* it changes all the time: what was read before is not wrong */
        rp_buf_fini(&fresh);
    }
    return rp_buf_str(&f->text);
}

rp_str rp_found_serving(struct rp_master *m)
{
    struct rp_found *f = &m->found;
    if (!m->members) return RP_STR_NONE;
    rp_buf_clear(&f->before);
    rp_err e = rp_members_get(m->members, RP_STR(RP_FOUND_SERVING), &f->before, NULL);
    if (e != RP_OK) rp_buf_clear(&f->before); /* then it goes on with none */
    return rp_buf_str(&f->before);
}

void rp_found_keep(struct rp_master *m)
{
    struct rp_bundle *b;
    rp_str has = RP_STR_NONE;
    if (!m->members || rp_bundle_load(m->site->plan->bundle, &b) != RP_OK) return;
    bool asks = rp_bundle_knows(b, RP_STR(RP_BUNDLE_FOUND));
    if (asks && rp_bundle_read(b, RP_STR(RP_BUNDLE_FOUND), &has) != RP_OK) has = RP_STR_NONE;
    /* No room: a check that fails has an older text, or none. */
    rp_ignore(rp_members_put(m->members, RP_STR(RP_FOUND_SERVING), has, NULL));
    rp_bundle_free(&b);
}

void rp_found_tell(const struct rp_checked *site)
{
    if (!site->left_out) return;
    rp_log(error,
           "routes that were found last are left out, the site cannot be loaded with them "
           "why=\"%s\"",
           rp_log_esc(rp_str_z(site->left_out)));
}

/* Was the serving generation built with this text, or does it not ask for any? */
static bool serves(const struct rp_master *m, rp_str text)
{
    struct rp_bundle *b;
    rp_str has = RP_STR_NONE;
    if (rp_bundle_load(m->site->plan->bundle, &b) != RP_OK) return false;
    bool asks = rp_bundle_knows(b, RP_STR(RP_BUNDLE_FOUND));
    rp_err e = asks ? rp_bundle_read(b, RP_STR(RP_BUNDLE_FOUND), &has) : RP_E_NOT_FOUND;
    bool same = !asks || (e == RP_OK ? rp_str_eq(has, text) : text.len == 0);
    rp_bundle_free(&b);
    return same;
}

void rp_found_tick(struct rp_master *m)
{
    struct rp_found *f = &m->found;
    bool idle = m->state == RP_MASTER_SERVING && m->reload.step == RP_RELOAD_IDLE;
    if (!idle || rp_upgrade_is_on(m)) return;
    uint32_t version = rp_members_version(m->members, RP_STR(RP_FOUND_ROUTES));
    bool waits = version == f->tried && m->turn_ms < f->again_ms;
    if (version == f->serving || waits) return;
    rp_str text = rp_found_read(m);
    if (serves(m, text)) {
        f->serving = f->version;
        return;
    }
    f->tried = f->version;
    f->again_ms = m->turn_ms + AGAIN_MS;
    rp_log(info, "routes that were found changed, reloading site=%s", m->run->site);
    rp_reload_find(m);
}

/* ---- the command's side -------------------------------------------------------------------- */

void rp_found_ask(const char *site, const char *pid_path, struct rp_buf *out)
{
    struct rp_pidfile p;
    struct rp_buf error;
    int stale, status = 1;
    rp_buf_init(&error, RP_CHANNEL_TEXT_BYTES);
    rp_err e = rp_pidfile_locate(&p, site, pid_path, false, &error);
    if (e == RP_OK && rp_pidfile_find(&p, &stale) == 0) e = RP_E_NOT_FOUND;
    if (e == RP_OK) e = rp_control_ask(p.sock, RP_STR("found"), ASK_LIMIT_MS, &status, out);
    if (e != RP_OK || status != 0) rp_buf_clear(out); /* no instance, or an older one */
    rp_buf_fini(&error);
}

rp_err rp_found_open(const char *site, int *fd)
{
    struct rp_buf text;
    *fd = -1;
    rp_buf_init(&text, RP_MEMBERS_SET_MOST);
    rp_found_ask(site, NULL, &text);
    rp_err e = RP_E_NOT_FOUND;
    if (text.len) e = rp_os_memfd_seal("rproxy-found", rp_buf_str(&text), fd);
    if (e == RP_OK && lseek(*fd, 0, SEEK_SET) != 0) e = RP_E_OS;
    if (e != RP_OK) rp_os_close(fd);
    rp_buf_fini(&text);
    return e;
}
