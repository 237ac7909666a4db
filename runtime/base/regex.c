/* SPDX-License-Identifier: MIT
 *
 * regex: doorkeeper of PCRE2 (8-bit library).
 */
#include "base/regex.h"

#include "base/mem.h"

#include <stdio.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    JIT_STACK_MIN = 32 * 1024,
    JIT_STACK_MAX = 1024 * 1024, /* the library's own 32 KB ends too early for long subjects */
    LIMIT_MATCH = 100 * 1000,    /* 0.3-0.6 ms in JIT code, 2 ms in the interpreter */
    LIMIT_DEPTH = 10 * 1000,
    LIMIT_HEAP_KB = 4 * 1024,
    NAME_BYTES = 33, /* PCRE2 allows 32 code units and we add the NUL */
    NEST_MAX = 100,  /* parentheses in parentheses: bounds the compiler's recursion */
};

struct rp_regex {
    pcre2_code *code;
    unsigned groups;
    bool jit;
    bool fast; /* to be matched by what pcre2_match would call after its checks */
};

struct rp_regex_ctx {
    pcre2_match_context *limits;
    pcre2_match_data *data; /* room for every group a pattern may have */
    pcre2_jit_stack *stack;
};

/* ------------------------------------------------------------------ compiling */

static const struct {
    unsigned flag;
    uint32_t option;
} options[] = {
    {RP_REGEX_CASELESS, PCRE2_CASELESS},
    {RP_REGEX_MULTILINE, PCRE2_MULTILINE},
    {RP_REGEX_DOTALL, PCRE2_DOTALL},
    {RP_REGEX_EXTENDED, PCRE2_EXTENDED},
    {RP_REGEX_UTF, PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF},
    {RP_REGEX_ANCHORED, PCRE2_ANCHORED},
};

static uint32_t options_of(unsigned flags)
{
    /* \C may split a character. A pattern cannot turn UTF on by itself: without our options its
     * subjects would be refused instead of not matching. */
    uint32_t bits = PCRE2_NEVER_BACKSLASH_C;
    if (!(flags & RP_REGEX_UTF)) bits |= PCRE2_NEVER_UTF;
    for (size_t i = 0; i < RP_COUNT(options); i++) {
        if (flags & options[i].flag) bits |= options[i].option;
    }
    return bits;
}

static rp_err refuse(struct rp_regex_fault *fault, rp_err e, size_t at, const char *text)
{
    if (fault) {
        fault->at = at;
        snprintf(fault->text, sizeof fault->text, "%s", text);
    }
    return e;
}

static pcre2_code *compile(rp_str pattern, unsigned flags, int *error, size_t *at)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    RP_CHECK(context);
    pcre2_set_parens_nest_limit(context, NEST_MAX);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)(pattern.ptr ? pattern.ptr : ""), pattern.len,
                                     options_of(flags), error, at, context);
    pcre2_compile_context_free(context);
    return code;
}

static unsigned groups_of(const pcre2_code *code)
{
    uint32_t n = 0;
    (void)pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &n); /* fails on bad arguments only */
    return n;
}

rp_err rp_regex_compile(rp_str pattern, unsigned flags, struct rp_regex **out,
                        struct rp_regex_fault *fault)
{
    if (pattern.len > RP_REGEX_PATTERN_MAX) {
        return refuse(fault, RP_E_CAP, RP_REGEX_PATTERN_MAX, "pattern too long");
    }
    int error = 0;
    size_t at = 0;
    pcre2_code *code = compile(pattern, flags, &error, &at);
    if (!code) {
        PCRE2_UCHAR text[120];
        pcre2_get_error_message(error, text, sizeof text); /* cut when longer, still terminated */
        return refuse(fault, RP_E_INVALID, at, (const char *)text);
    }
    if (groups_of(code) > RP_REGEX_GROUPS_MAX) {
        pcre2_code_free(code);
        return refuse(fault, RP_E_CAP, 0, "too many capture groups");
    }
    struct rp_regex *re = rp_alloc(sizeof *re);
    re->code = code;
    re->groups = groups_of(code);
    /* What the JIT cannot do (a few rare items) the interpreter does, under the same limits. */
    re->jit = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
    re->fast = re->jit && !(flags & RP_REGEX_UTF); /* nothing checks the subject then */
    *out = re;
    return RP_OK;
}

void rp_regex_free(struct rp_regex **re)
{
    if (!*re) return;
    pcre2_code_free((*re)->code);
    rp_free(*re);
    *re = NULL;
}

unsigned rp_regex_groups(const struct rp_regex *re)
{
    return re->groups;
}

bool rp_regex_is_jit(const struct rp_regex *re)
{
    return re->jit;
}

unsigned rp_regex_group_find(const struct rp_regex *re, rp_str name)
{
    char text[NAME_BYTES];
    if (name.len == 0 || name.len >= sizeof text || memchr(name.ptr, 0, name.len)) return 0;
    memcpy(text, name.ptr, name.len);
    text[name.len] = 0;
    int n = pcre2_substring_number_from_name(re->code, (PCRE2_SPTR)text);
    return n > 0 ? (unsigned)n : 0;
}

/* An entry of PCRE2's table: the number in two bytes, most significant first, then the name. */
unsigned rp_regex_name(const struct rp_regex *re, unsigned i, rp_str *name)
{
    uint32_t n = 0, entry_bytes = 0;
    PCRE2_SPTR table = NULL;
    (void)pcre2_pattern_info(re->code, PCRE2_INFO_NAMECOUNT, &n);
    (void)pcre2_pattern_info(re->code, PCRE2_INFO_NAMEENTRYSIZE, &entry_bytes);
    (void)pcre2_pattern_info(re->code, PCRE2_INFO_NAMETABLE, &table);
    if (i >= n) return 0;
    PCRE2_SPTR entry = table + (size_t)i * entry_bytes;
    *name = rp_str_z((const char *)entry + 2);
    return (unsigned)entry[0] << 8 | entry[1];
}

/* ------------------------------------------------------------------ contexts */

static uint32_t limit_or(uint32_t asked, uint32_t otherwise)
{
    return asked ? asked : otherwise;
}

struct rp_regex_ctx *rp_regex_ctx_new(const struct rp_regex_limits *limits)
{
    struct rp_regex_limits want = limits ? *limits : (struct rp_regex_limits){0};
    struct rp_regex_ctx *ctx = rp_alloc(sizeof *ctx);
    ctx->limits = pcre2_match_context_create(NULL);
    ctx->data = pcre2_match_data_create(RP_REGEX_GROUPS_MAX + 1, NULL);
    ctx->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
    RP_CHECK(ctx->limits && ctx->data && ctx->stack);
    pcre2_set_match_limit(ctx->limits, limit_or(want.match_n, LIMIT_MATCH));
    pcre2_set_depth_limit(ctx->limits, limit_or(want.depth_n, LIMIT_DEPTH));
    pcre2_set_heap_limit(ctx->limits, limit_or(want.heap_kb, LIMIT_HEAP_KB));
    pcre2_jit_stack_assign(ctx->limits, NULL, ctx->stack);
    return ctx;
}

void rp_regex_ctx_free(struct rp_regex_ctx **ctx)
{
    struct rp_regex_ctx *old = *ctx;
    if (!old) return;
    pcre2_jit_stack_free(old->stack);
    pcre2_match_data_free(old->data);
    pcre2_match_context_free(old->limits);
    rp_free(old);
    *ctx = NULL;
}

/* ------------------------------------------------------------------ matching */

static rp_err result_of(int rc, bool *hit)
{
    *hit = rc >= 0; /* the count of groups set, 0 when there were more than the data holds */
    switch (rc) {
    case PCRE2_ERROR_NOMATCH: return RP_OK;
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
    case PCRE2_ERROR_JIT_STACKLIMIT: return RP_E_CAP;
    case PCRE2_ERROR_BADOFFSET:
    case PCRE2_ERROR_BADUTFOFFSET: return RP_E_INVALID;
    default: return rc >= 0 ? RP_OK : RP_E_INTERNAL;
    }
}

static rp_err run(const struct rp_regex *re, struct rp_regex_ctx *ctx, rp_str subject, size_t from,
                  bool *hit)
{
    PCRE2_SPTR ptr = (PCRE2_SPTR)(subject.ptr ? subject.ptr : "");
    int rc = PCRE2_ERROR_JIT_BADOPTION; /* it has no machine code after all: (*NO_JIT) */
    if (re->fast && from <= subject.len)
        rc = pcre2_jit_match(re->code, ptr, subject.len, from, 0, ctx->data, ctx->limits);
    if (rc == PCRE2_ERROR_JIT_BADOPTION)
        rc = pcre2_match(re->code, ptr, subject.len, from, 0, ctx->data, ctx->limits);
    return result_of(rc, hit);
}

rp_err rp_regex_test(const struct rp_regex *re, struct rp_regex_ctx *ctx, rp_str subject, bool *hit)
{
    return run(re, ctx, subject, 0, hit);
}

rp_err rp_regex_match(const struct rp_regex *re, struct rp_regex_ctx *ctx, rp_str subject,
                      size_t from, struct rp_regex_span *spans, unsigned span_n, bool *hit)
{
    rp_err e = run(re, ctx, subject, from, hit);
    if (e != RP_OK || !*hit) return e;
    /* PCRE2 sets every group of the pattern; those that took no part are PCRE2_UNSET = SIZE_MAX. */
    const size_t *pairs = pcre2_get_ovector_pointer(ctx->data);
    for (unsigned i = 0; i < span_n; i++) {
        bool exists = i <= re->groups;
        spans[i].start = exists ? pairs[2 * (size_t)i] : SIZE_MAX;
        spans[i].end = exists ? pairs[2 * (size_t)i + 1] : SIZE_MAX;
    }
    return RP_OK;
}
