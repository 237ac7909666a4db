/* SPDX-License-Identifier: MIT
 *
 * conf: life of a generation, and its scalars by name. The other halves of the builder are
 * conf_build.c (listeners, upstreams, hosts), conf_route.c (routes) and conf_freeze.c.
 */
#include "proxy/conf_build.h"

#include "base/log.h"
#include "base/mem.h"
#include "http/chars.h"
#include "http/field.h"
#include "proxy/route_host.h"

#include <stdarg.h>
#include <stdio.h>

/* A generation holds the bodies of static answers: generous, but not a leak's playground. */
static const size_t ARENA_CAP_BYTES = (size_t)1 << 30;
/* Host and upstream names of one site. */
enum { NAMES_MAX = 1 << 20 };

#define N(key, field, first, least, most)                                                          \
    {key, offsetof(struct rp_conf, field), sizeof(((struct rp_conf *)0)->field), first, least,     \
     most},
static const struct rp_conf_number NUMBERS[] = {
#include "proxy/conf.tbl"
};
#undef N

#define T(key, field, first, check) {key, offsetof(struct rp_conf, field), first, RP_CONF_##check},
static const struct rp_conf_text TEXTS[] = {
#include "proxy/conf.tbl"
};
#undef T

/* ---- life ------------------------------------------------------------------------------- */

static void free_draft(void *draft)
{
    struct rp_conf_draft *d = draft;
    rp_map_fini(&d->upstream_names);
    rp_arena_reset(&d->arena);
}

static bool make_draft(struct rp_conf *c)
{
    struct rp_conf_draft *d = rp_arena_zalloc(&c->arena, sizeof *d);
    if (!d) return false;
    c->draft = d;
    d->default_host = UINT32_MAX;
    rp_arena_init(&d->arena, NULL, 0, ARENA_CAP_BYTES);
    rp_map_init(&d->upstream_names, NAMES_MAX);
    if (rp_arena_defer(&c->arena, free_draft, d) != RP_OK) return false;
    d->hosts = rp_route_hosts_make(&c->arena, NAMES_MAX);
    return d->hosts != NULL;
}

struct rp_conf *rp_conf_new(uint32_t generation)
{
    struct rp_conf *c = rp_alloc(sizeof *c);
    c->generation = generation;
    rp_arena_init(&c->arena, NULL, 0, ARENA_CAP_BYTES);
    bool made = make_draft(c);
    RP_CHECK(made); /* an empty arena has room for it */
    rp_conf_put_defaults(c, NUMBERS, RP_COUNT(NUMBERS));
    for (size_t i = 0; i < RP_COUNT(TEXTS); i++) {
        rp_str *field = (rp_str *)(void *)((char *)c + TEXTS[i].offset);
        *field = rp_str_z(TEXTS[i].first);
    }
    return c;
}

void rp_conf_free(struct rp_conf **c)
{
    struct rp_conf *old = *c;
    if (!old) return;
    RP_CHECK(old->refs == 0);
    rp_arena_reset(&old->arena);
    rp_free(old);
    *c = NULL;
}

struct rp_conf *rp_conf_hold(struct rp_conf *c)
{
    RP_CHECK(c->frozen && c->refs < UINT32_MAX);
    c->refs++;
    return c;
}

void rp_conf_drop(struct rp_conf *c)
{
    RP_CHECK(c->refs > 0);
    if (--c->refs > 0) return;
    if (c->hooks && c->hooks->keep_generation && c->hooks->keep_generation(c)) return;
    if (c->hooks && c->hooks->drop_generation) c->hooks->drop_generation(c);
    rp_conf_free(&c);
    rp_heap_trim();
}

void rp_conf_close_draft(struct rp_conf *c)
{
    free_draft(c->draft); /* again when the generation goes, which does no harm */
    c->draft = NULL;
}

/* ---- what the builder's files share --------------------------------------------------------- */

rp_err rp_conf_fail(struct rp_conf_error *e, rp_err code, const char *fmt, ...)
{
    if (!e) return code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    e->code = code;
    e->route = e->other_route = UINT32_MAX;
    return code;
}

rp_err rp_conf_full(struct rp_conf_error *e)
{
    return rp_conf_fail(e, RP_E_CAP, "the configuration is larger than %zu MB",
                        ARENA_CAP_BYTES >> 20);
}

void *rp_conf_grow(struct rp_arena *a, void *old, uint32_t n, size_t element_bytes)
{
    size_t bytes = 0;
    if ((n & (n - 1)) != 0) return old; /* rooms are 1, 2, 4, ...: full only at those */
    if (n > UINT32_MAX / 2) return NULL;
    size_t room = n ? (size_t)n * 2 : 1;
    if (rp_mul_overflows(room, element_bytes, &bytes)) return NULL;
    void *grown = rp_arena_zalloc(a, bytes);
    if (grown && n) memcpy(grown, old, n * element_bytes);
    return grown;
}

rp_err rp_conf_copy(struct rp_conf *c, rp_str s, rp_str *out)
{
    rp_str copy = rp_arena_copy(&c->arena, s);
    if (!copy.ptr) return RP_E_CAP;
    *out = copy;
    return RP_OK;
}

/* ---- fields by name ------------------------------------------------------------------------- */

static void store(void *object, const struct rp_conf_number *row, uint64_t value)
{
    char *field = (char *)object + row->offset;
    uint8_t u8 = (uint8_t)value;
    uint16_t u16 = (uint16_t)value;
    uint32_t u32 = (uint32_t)value;
    switch (row->bytes) {
    case sizeof u8: memcpy(field, &u8, sizeof u8); break;
    case sizeof u16: memcpy(field, &u16, sizeof u16); break;
    case sizeof u32: memcpy(field, &u32, sizeof u32); break;
    default: RP_CHECK(row->bytes == sizeof value); memcpy(field, &value, sizeof value);
    }
}

/* Lua's numbers are doubles: whole ones below 2^53 are exact, infinity is "no limit". */
static rp_err whole_number(double value, const struct rp_conf_number *row, uint64_t *out)
{
    const double exact_most = 9007199254740992.0; /* 2^53 */
    if (!(value >= 0)) return RP_E_INVALID;       /* also catches NaN */
    if (value > exact_most) {
        *out = NO_LIMIT;
        return row->most == NO_LIMIT ? RP_OK : RP_E_INVALID;
    }
    *out = (uint64_t)value;
    if ((double)*out != value || *out < row->least || *out > row->most) return RP_E_INVALID;
    return RP_OK;
}

rp_err rp_conf_put_number(void *object, const struct rp_conf_number *rows, size_t rows_n,
                          rp_str key, double value)
{
    for (size_t i = 0; i < rows_n; i++) {
        uint64_t n = 0;
        if (!rp_str_eq(key, rp_str_z(rows[i].key))) continue;
        rp_err e = whole_number(value, &rows[i], &n);
        if (e == RP_OK) store(object, &rows[i], n);
        return e;
    }
    return RP_E_NOT_FOUND;
}

void rp_conf_put_defaults(void *object, const struct rp_conf_number *rows, size_t rows_n)
{
    for (size_t i = 0; i < rows_n; i++) store(object, &rows[i], rows[i].first);
}

static bool text_passes(uint8_t check, rp_str s)
{
    switch ((enum rp_conf_check)check) {
    case RP_CONF_ANY: return true;
    case RP_CONF_VALUE: return s.len == 0 || rp_field_is_value(s);
    case RP_CONF_TOKEN: return rp_field_is_name(s); /* the same grammar, RFC 9110 §5.1 */
    case RP_CONF_PATH: return s.len == 0 || s.ptr[0] == '/';
    }
    return false;
}

rp_err rp_conf_put_text(struct rp_conf *c, void *object, const struct rp_conf_text *rows,
                        size_t rows_n, rp_str key, rp_str value)
{
    for (size_t i = 0; i < rows_n; i++) {
        if (!rp_str_eq(key, rp_str_z(rows[i].key))) continue;
        if (!text_passes(rows[i].check, value)) return RP_E_INVALID;
        return rp_conf_copy(c, value, (rp_str *)(void *)((char *)object + rows[i].offset));
    }
    return RP_E_NOT_FOUND;
}

rp_err rp_conf_set_number(struct rp_conf *c, rp_str key, double value)
{
    if (c->frozen) return RP_E_PHASE;
    return rp_conf_put_number(c, NUMBERS, RP_COUNT(NUMBERS), key, value);
}

rp_err rp_conf_set_text(struct rp_conf *c, rp_str key, rp_str value)
{
    if (c->frozen) return RP_E_PHASE;
    return rp_conf_put_text(c, c, TEXTS, RP_COUNT(TEXTS), key, value);
}
