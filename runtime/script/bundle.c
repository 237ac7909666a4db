/* SPDX-License-Identifier: MIT
 *
 * bundle: an array of (path, state, bytes) in the order of first use; sites have tens of files.
 *
 * Flat form: "RPB1", u32 count, then the site path, the overrides and per file a state byte, path
 * and bytes; every text is a u64 length and its bytes. Numbers are in the machine's order: a bundle
 * never leaves the machine.
 */
#include "script/bundle.h"

#include "base/mem.h"

enum {
    FILE_MOST = 64 << 20, /* bytes of one file */
    FILES_MOST = 65536,
};

static const char MAGIC[4] = {'R', 'P', 'B', '1'};

struct file {
    rp_str path, bytes; /* ours; bytes.ptr is NULL for an absent file */
};

struct rp_bundle {
    bool undescribed;
    rp_str site, overrides; /* ours */
    rp_bundle_fetch_fn fetch;
    void *arg;
    struct file *files;
    uint32_t files_n, files_room;
};

static rp_str keep(rp_str s)
{
    return rp_str_of(rp_strdup_n(s.ptr ? s.ptr : "", s.len), s.len);
}

/* Keys pass through here. */
static void forget(rp_str *s)
{
    if (s->ptr) explicit_bzero((void *)(uintptr_t)s->ptr, s->len);
    rp_free((void *)(uintptr_t)s->ptr);
    *s = RP_STR_NONE;
}

struct rp_bundle *rp_bundle_new(rp_str site_path, rp_bundle_fetch_fn fetch, void *arg)
{
    struct rp_bundle *b = rp_alloc(sizeof *b);
    *b = (struct rp_bundle){.site = keep(site_path), .fetch = fetch, .arg = arg};
    b->overrides = keep(RP_STR(""));
    return b;
}

void rp_bundle_free(struct rp_bundle **bp)
{
    struct rp_bundle *b = *bp;
    if (!b) return;
    *bp = NULL;
    for (uint32_t i = 0; i < b->files_n; i++) {
        forget(&b->files[i].path);
        forget(&b->files[i].bytes);
    }
    rp_free(b->files);
    forget(&b->site);
    forget(&b->overrides);
    rp_free(b);
}

rp_str rp_bundle_site(const struct rp_bundle *b)
{
    return b->site;
}

void rp_bundle_set_overrides(struct rp_bundle *b, rp_str lines)
{
    rp_str copy = keep(lines);
    forget(&b->overrides);
    b->overrides = copy;
}

rp_str rp_bundle_overrides(const struct rp_bundle *b)
{
    return b->overrides;
}

/* ---- files ---------------------------------------------------------------------------------- */

static struct file *find(const struct rp_bundle *b, rp_str path)
{
    for (uint32_t i = 0; i < b->files_n; i++)
        if (rp_str_eq(b->files[i].path, path)) return &b->files[i];
    return NULL;
}

/* bytes.ptr NULL: the file is known to be absent. */
static struct file *add(struct rp_bundle *b, rp_str path, rp_str bytes)
{
    if (b->files_n == b->files_room) {
        b->files_room = b->files_room ? b->files_room * 2 : 16;
        b->files = rp_realloc(b->files, b->files_room * sizeof *b->files);
    }
    struct file *f = &b->files[b->files_n++];
    f->path = keep(path);
    f->bytes = bytes.ptr ? keep(bytes) : RP_STR_NONE;
    return f;
}

static rp_err fetch(struct rp_bundle *b, rp_str path, struct file **out)
{
    if (!b->fetch || b->files_n >= FILES_MOST) return b->fetch ? RP_E_CAP : RP_E_NOT_FOUND;
    struct rp_buf buf;
    rp_buf_init(&buf, FILE_MOST);
    rp_err e = b->fetch(b->arg, path, &buf);
    if (e == RP_OK && buf.failed) e = RP_E_TOO_BIG;
    if (e == RP_OK) *out = add(b, path, buf.ptr ? rp_buf_str(&buf) : RP_STR(""));
    if (e == RP_E_NOT_FOUND) *out = add(b, path, RP_STR_NONE);
    if (buf.ptr) explicit_bzero(buf.ptr, buf.len);
    rp_buf_fini(&buf);
    return e;
}

rp_err rp_bundle_read(struct rp_bundle *b, rp_str path, rp_str *bytes)
{
    struct file *f = find(b, path);
    if (!f) {
        rp_err e = fetch(b, path, &f);
        if (e != RP_OK) return e;
    }
    if (!f->bytes.ptr) return RP_E_NOT_FOUND;
    *bytes = f->bytes;
    return RP_OK;
}

bool rp_bundle_knows(const struct rp_bundle *b, rp_str path)
{
    return find(b, path) != NULL;
}

void rp_bundle_leave_undescribed(struct rp_bundle *b)
{
    b->undescribed = true;
}

bool rp_bundle_is_described(const struct rp_bundle *b)
{
    return !b->undescribed;
}

bool rp_bundle_collects(const struct rp_bundle *b)
{
    return b->fetch != NULL;
}

/* ---- flat form ------------------------------------------------------------------------------ */

static void put(struct rp_buf *out, const void *p, size_t n)
{
    rp_buf_add(out, rp_str_of(p, n));
}

static void put_text(struct rp_buf *out, rp_str s)
{
    uint64_t n = s.len;
    put(out, &n, sizeof n);
    if (n) put(out, s.ptr, s.len);
}

rp_err rp_bundle_save(const struct rp_bundle *b, struct rp_buf *out)
{
    put(out, MAGIC, sizeof MAGIC);
    put(out, &b->files_n, sizeof b->files_n);
    put_text(out, b->site);
    put_text(out, b->overrides);
    for (uint32_t i = 0; i < b->files_n; i++) {
        const struct file *f = &b->files[i];
        rp_buf_add_ch(out, f->bytes.ptr ? 1 : 0);
        put_text(out, f->path);
        put_text(out, f->bytes);
    }
    return out->failed ? RP_E_CAP : RP_OK;
}

static bool take(rp_str *rest, void *out, size_t n)
{
    if (rest->len < n) return false;
    memcpy(out, rest->ptr, n);
    *rest = rp_str_from(*rest, n);
    return true;
}

static bool take_text(rp_str *rest, rp_str *out)
{
    uint64_t n;
    if (!take(rest, &n, sizeof n) || rest->len < n) return false;
    *out = rp_str_head(*rest, n);
    *rest = rp_str_from(*rest, n);
    return true;
}

static bool take_file(rp_str *rest, struct rp_bundle *b)
{
    char present;
    rp_str path, bytes;
    if (!take(rest, &present, 1) || !take_text(rest, &path) || !take_text(rest, &bytes))
        return false;
    (void)add(b, path, present ? bytes : RP_STR_NONE);
    return true;
}

rp_err rp_bundle_load(rp_str flat, struct rp_bundle **out)
{
    char magic[sizeof MAGIC];
    uint32_t files_n;
    rp_str site, overrides;
    if (!take(&flat, magic, sizeof magic) || memcmp(magic, MAGIC, sizeof magic) != 0 ||
        !take(&flat, &files_n, sizeof files_n) || files_n > FILES_MOST ||
        !take_text(&flat, &site) || !take_text(&flat, &overrides))
        return RP_E_INVALID;
    struct rp_bundle *b = rp_bundle_new(site, NULL, NULL);
    rp_bundle_set_overrides(b, overrides);
    bool whole = true;
    for (uint32_t i = 0; whole && i < files_n; i++) whole = take_file(&flat, b);
    if (!whole || flat.len != 0) {
        rp_bundle_free(&b);
        return RP_E_INVALID;
    }
    *out = b;
    return RP_OK;
}
