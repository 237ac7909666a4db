/* SPDX-License-Identifier: MIT
 *
 * abi_text: regular expressions and text codecs.
 */
#include "base/codec.h"
#include "base/mem.h"
#include "script/vm.h"

/* ---- regular expressions -------------------------------------------------------------------- */

static const struct {
    char letter;
    unsigned flag;
} FLAGS[] = {
    {'i', RP_REGEX_CASELESS}, {'m', RP_REGEX_MULTILINE}, {'s', RP_REGEX_DOTALL},
    {'x', RP_REGEX_EXTENDED}, {'u', RP_REGEX_UTF},       {'a', RP_REGEX_ANCHORED},
};

static bool read_flags(rp_str letters, unsigned *flags)
{
    *flags = 0;
    for (size_t i = 0; i < letters.len; i++) {
        size_t k = 0;
        while (k < RP_COUNT(FLAGS) && FLAGS[k].letter != letters.ptr[i]) k++;
        if (k == RP_COUNT(FLAGS)) return false;
        *flags |= FLAGS[k].flag;
    }
    return true;
}

struct rp_regex *rp_abi_regex_compile(struct rp_host_face *f, const char *p, size_t n,
                                      const char *letters, size_t letters_n)
{
    struct rp_host *h = rp_vm_of(f);
    struct rp_regex_fault fault;
    struct rp_regex *re = NULL;
    unsigned flags;
    rp_buf_clear(&h->text);
    if (!read_flags(rp_str_of(letters, letters_n), &flags)) {
        rp_buf_addf(&h->text, "unknown flags \"%s\"; known: i m s x u a",
                    rp_log_esc(rp_str_of(letters, letters_n)));
    } else if (rp_regex_compile(rp_str_of(p, n), flags, &re, &fault) != RP_OK) {
        rp_buf_addf(&h->text, "%s at byte %zu", fault.text, fault.at + 1);
    }
    f->out = rp_buf_str(&h->text);
    return re;
}

void rp_abi_regex_free(struct rp_regex *re)
{
    rp_regex_free(&re);
}

rp_err rp_abi_regex_match(struct rp_host_face *f, const struct rp_regex *re, const char *p,
                          size_t n, size_t from)
{
    bool hit = false;
    rp_err e = rp_regex_match(re, rp_vm_of(f)->regex, rp_str_of(p, n), from, f->spans,
                              rp_regex_groups(re) + 1, &hit);
    return e != RP_OK ? e : hit ? RP_OK : RP_END;
}

rp_err rp_abi_regex_test(struct rp_host_face *f, const struct rp_regex *re, const char *p, size_t n)
{
    bool hit = false;
    rp_err e = rp_regex_test(re, rp_vm_of(f)->regex, rp_str_of(p, n), &hit);
    return e != RP_OK ? e : hit ? RP_OK : RP_END;
}

/* Most texts hold none of the patterns: one pass of their alternation says so (50 patterns: 27 times
 * faster than one after the other on 20 bytes, twice on 500). Where it cannot tell, each is asked. */
double rp_abi_regex_first(struct rp_host_face *f, const struct rp_regex *any,
                          struct rp_regex *const *list, uint32_t n, uint32_t from, const char *p,
                          size_t p_n)
{
    struct rp_regex_ctx *ctx = rp_vm_of(f)->regex;
    rp_str subject = rp_str_of(p, p_n);
    bool hit = false;
    if (any && from == 0 && rp_regex_test(any, ctx, subject, &hit) == RP_OK && !hit)
        return (double)n;
    for (uint32_t i = from; i < n; i++) {
        rp_err e = rp_regex_test(list[i], ctx, subject, &hit);
        f->at_pattern = i;
        if (e != RP_OK) return (double)e;
        if (hit) return (double)i;
    }
    return (double)n;
}

/* ---- codecs --------------------------------------------------------------------------------- */

enum { TEXT_MOST = 8 << 20 }; /* bytes coded at once: percent triples them, scratch holds 16 MB */

static char *room(struct rp_host *h, size_t n)
{
    rp_arena_reset(&h->scratch);
    return rp_arena_alloc(&h->scratch, n + 1);
}

static size_t encoded_len(uint32_t codec, rp_str in)
{
    switch ((enum rp_abi_codec)codec) {
    case RP_ABI_BASE64: return rp_codec_base64_len(in.len);
    case RP_ABI_BASE64URL: return rp_codec_base64url_len(in.len);
    case RP_ABI_HEX: return in.len * 2;
    case RP_ABI_URI_COMPONENT: return rp_codec_percent_len(in, RP_CODEC_KEEP_COMPONENT);
    case RP_ABI_URI_PATH: return rp_codec_percent_len(in, RP_CODEC_KEEP_PATH);
    }
    return 0;
}

static size_t encode(uint32_t codec, rp_str in, char *out)
{
    switch ((enum rp_abi_codec)codec) {
    case RP_ABI_BASE64: return rp_codec_base64_encode(in, out);
    case RP_ABI_BASE64URL: return rp_codec_base64url_encode(in, out);
    case RP_ABI_HEX: return rp_codec_hex_encode(in, out);
    case RP_ABI_URI_COMPONENT: return rp_codec_percent_encode(in, RP_CODEC_KEEP_COMPONENT, out);
    case RP_ABI_URI_PATH: return rp_codec_percent_encode(in, RP_CODEC_KEEP_PATH, out);
    }
    return 0;
}

rp_err rp_abi_encode(struct rp_host_face *f, uint32_t codec, const char *p, size_t n)
{
    rp_str in = rp_str_of(p, n);
    if (n > TEXT_MOST) return RP_E_CAP;
    char *out = room(rp_vm_of(f), encoded_len(codec, in));
    if (!out) return RP_E_CAP;
    f->out = rp_str_of(out, encode(codec, in, out));
    return RP_OK;
}

rp_err rp_abi_decode(struct rp_host_face *f, uint32_t codec, const char *p, size_t n)
{
    rp_str in = rp_str_of(p, n);
    size_t out_n = 0;
    char *out = n > TEXT_MOST ? NULL : room(rp_vm_of(f), n + 2);
    if (!out) return RP_E_CAP;
    rp_err e = RP_E_INVALID;
    switch ((enum rp_abi_codec)codec) {
    case RP_ABI_BASE64: e = rp_codec_base64_decode(in, out, &out_n); break;
    case RP_ABI_BASE64URL: e = rp_codec_base64url_decode(in, out, &out_n); break;
    case RP_ABI_HEX: e = rp_codec_hex_decode(in, out, &out_n); break;
    case RP_ABI_URI_COMPONENT:
    case RP_ABI_URI_PATH: e = rp_codec_percent_decode(in, 0, out, &out_n); break;
    }
    f->out = rp_str_of(out, out_n);
    return e;
}

/* ---- forms in parts -------------------------------------------------------------------------- */

struct rp_multipart *rp_abi_multipart_new(const char *type, size_t type_n, uint32_t parts)
{
    char boundary[RP_MULTIPART_BOUNDARY_MOST];
    size_t n;
    if (rp_multipart_boundary(rp_str_of(type, type_n), boundary, &n) != RP_OK) return NULL;
    struct rp_multipart *m = rp_alloc(sizeof *m);
    if (rp_multipart_init(m, rp_str_of(boundary, n), parts) == RP_OK) return m;
    rp_abi_multipart_free(m);
    return NULL;
}

void rp_abi_multipart_free(struct rp_multipart *m)
{
    rp_multipart_fini(m);
    rp_free(m);
}

rp_err rp_abi_multipart_feed(struct rp_multipart *m, const char *p, size_t n)
{
    return rp_multipart_feed(m, rp_str_of(p, n));
}

rp_err rp_abi_multipart_next(struct rp_host_face *f, struct rp_multipart *m)
{
    enum rp_multipart_event event = RP_MULTIPART_DONE;
    rp_err e = rp_multipart_next(m, &event);
    f->number = event;
    f->out = event == RP_MULTIPART_PART ? m->name : m->data;
    f->out2 = m->has_filename ? m->filename : RP_STR_NONE;
    if (m->has_filename && !f->out2.ptr) f->out2 = RP_STR("");
    return e;
}

void rp_abi_multipart_type(struct rp_host_face *f, const struct rp_multipart *m)
{
    f->out = m->type;
}
