/* SPDX-License-Identifier: MIT
 *
 * abi_gzip: gzip (RFC 1952) and zlib (RFC 1950), piece by piece, with a bound on what comes out.
 */
#include <zlib.h>

#include "base/mem.h"
#include "script/vm.h"

enum {
    STEP_MOST = 8 << 20, /* bytes that one call takes */
    PIECE = 32 * 1024,
    GZIP_BITS = 15 + 16,
    ZLIB_BITS = 15,
    MEMBERS_MOST = 1024, /* gzip files one behind the other */
};

struct rp_vm_gzip {
    z_stream z;
    bool unpack, gzip, ended, failed;
    uint32_t members;
    double out_n, most;
};

struct rp_vm_gzip *rp_abi_gzip_new(bool unpack, bool gzip, uint32_t level, double most)
{
    struct rp_vm_gzip *g = rp_alloc(sizeof *g);
    int bits = gzip ? GZIP_BITS : ZLIB_BITS;
    *g = (struct rp_vm_gzip){.unpack = unpack, .gzip = gzip, .most = most};
    int e = unpack ? inflateInit2(&g->z, bits)
                   : deflateInit2(&g->z, (int)RP_MIN(level, 9u), Z_DEFLATED, bits, 8,
                                  Z_DEFAULT_STRATEGY);
    if (e == Z_OK) return g;
    rp_free(g);
    return NULL;
}

void rp_abi_gzip_free(struct rp_vm_gzip *g)
{
    if (g->unpack) (void)inflateEnd(&g->z); /* says only that it was not at its end */
    else (void)deflateEnd(&g->z);
    rp_free(g);
}

/* One more member follows the one that ended (RFC 1952 §2.2). */
static rp_err next_member(struct rp_vm_gzip *g)
{
    if (!g->gzip || ++g->members >= MEMBERS_MOST) return RP_E_INVALID;
    return inflateReset(&g->z) == Z_OK ? RP_OK : RP_E_INTERNAL;
}

static rp_err unpack(struct rp_vm_gzip *g)
{
    if (g->ended) {
        if (g->z.avail_in == 0) return RP_END;
        rp_err e = next_member(g);
        if (e != RP_OK) return e;
        g->ended = false;
    }
    int e = inflate(&g->z, Z_NO_FLUSH);
    if (e == Z_STREAM_END) g->ended = true;
    else if (e == Z_BUF_ERROR) return RP_END; /* it wants more */
    else if (e != Z_OK) return e == Z_MEM_ERROR ? RP_E_NOMEM : RP_E_INVALID;
    return RP_OK;
}

static rp_err pack(struct rp_vm_gzip *g, bool last)
{
    int e = deflate(&g->z, last ? Z_FINISH : Z_NO_FLUSH);
    if (e == Z_STREAM_END) g->ended = true;
    if (e == Z_STREAM_END || e == Z_BUF_ERROR) return RP_END;
    return e == Z_OK ? RP_OK : RP_E_INTERNAL;
}

/* Until the input is used up and nothing more comes out. */
static rp_err run(struct rp_vm_gzip *g, bool last, struct rp_buf *out)
{
    char piece[PIECE];
    rp_err e = RP_OK;
    while (e == RP_OK) {
        g->z.next_out = (Bytef *)piece;
        g->z.avail_out = PIECE;
        e = g->unpack ? unpack(g) : pack(g, last);
        size_t n = PIECE - g->z.avail_out;
        g->out_n += (double)n;
        if (g->out_n > g->most) return RP_E_TOO_BIG;
        rp_buf_add(out, rp_str_of(piece, n));
        if (out->failed) return RP_E_TOO_BIG;
        if (e == RP_OK && g->z.avail_in == 0 && n < PIECE && !(last && !g->unpack)) break;
    }
    return e < 0 ? e : RP_OK;
}

rp_err rp_abi_gzip_step(struct rp_host_face *f, struct rp_vm_gzip *g, const char *p, size_t n,
                        bool last)
{
    struct rp_host *h = rp_vm_of(f);
    if (g->failed || (!g->unpack && g->ended)) return RP_E_PHASE;
    if (n > STEP_MOST) return RP_E_CAP;
    g->z.next_in = (Bytef *)(uintptr_t)p;
    g->z.avail_in = (uInt)n;
    rp_buf_clear(&h->text);
    rp_err e = run(g, last, &h->text);
    if (e == RP_OK && last && g->unpack && !g->ended) e = RP_E_INVALID; /* it was cut off */
    g->z.next_in = NULL;
    g->failed = e != RP_OK;
    f->out = rp_buf_str(&h->text);
    return e;
}
