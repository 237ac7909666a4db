/* SPDX-License-Identifier: MIT
 *
 * regex: PCRE2 with JIT behind three calls. The only file that knows PCRE2.
 *
 * A pattern is compiled on any thread and read-only afterwards, so threads may share it. What a
 * match writes to (offsets, JIT stack) belongs to a context: one per thread. Backtracking is bounded
 * by the context's limits: a pattern that explodes on some input costs a millisecond, not a worker.
 * Scanning is not counted by PCRE2: the few patterns that the interpreter runs may cost the square
 * of the subject's length, so whoever matches long subjects bounds them.
 */
#ifndef RP_BASE_REGEX_H
#define RP_BASE_REGEX_H

#include "base/str.h"

struct rp_regex;
struct rp_regex_ctx;

enum {
    RP_REGEX_CASELESS = 1,  /* i */
    RP_REGEX_MULTILINE = 2, /* m: ^ and $ at each line */
    RP_REGEX_DOTALL = 4,    /* s: the dot takes newlines */
    RP_REGEX_EXTENDED = 8,  /* x: white space and comments */
    RP_REGEX_UTF = 16,      /* u: characters, not bytes; invalid UTF-8 in a subject never matches */
    RP_REGEX_ANCHORED = 32, /* a: match only at the start offset */
};

enum {
    RP_REGEX_PATTERN_MAX = 64 * 1024, /* bytes; the longest rules in public WAF sets have 6 KB */
    RP_REGEX_GROUPS_MAX = 99,         /* capture groups of one pattern */
};

/* Why a pattern does not compile. */
struct rp_regex_fault {
    size_t at;      /* offset in the pattern */
    char text[120]; /* PCRE2's words, NUL-terminated */
};

/* One capture: bytes start .. end-1 of the subject; both SIZE_MAX when the group took no part. */
struct rp_regex_span {
    size_t start, end;
};

/* Zero means the default of that limit. */
struct rp_regex_limits {
    uint32_t match_n; /* backtracking steps */
    uint32_t depth_n; /* nested backtracking points, interpreter only */
    uint32_t heap_kb; /* interpreter only */
};

/* Compile for matching; flags of RP_REGEX_*. fault may be NULL.
 * ret   RP_OK and *out; RP_E_INVALID and *fault for a bad pattern; RP_E_CAP (also with *fault) for
 *       one that is too long or has too many groups
 * cost  microseconds to milliseconds: load time; any thread */
RP_MUST rp_err rp_regex_compile(rp_str pattern, unsigned flags, struct rp_regex **out,
                                struct rp_regex_fault *fault);
void rp_regex_free(struct rp_regex **re);
unsigned rp_regex_groups(const struct rp_regex *re); /* capture groups, without the whole match */
bool rp_regex_is_jit(const struct rp_regex *re);     /* false: only the interpreter can */
/* Number of the group of that name, 0 when there is none. */
unsigned rp_regex_group_find(const struct rp_regex *re, rp_str name);
/* Named group i (0.., by name): its name, borrowed from re, and its number; 0 past the last. */
unsigned rp_regex_name(const struct rp_regex *re, unsigned i, rp_str *name);

/* Match memory of one thread, good for any pattern. limits may be NULL. */
struct rp_regex_ctx *rp_regex_ctx_new(const struct rp_regex_limits *limits);
void rp_regex_ctx_free(struct rp_regex_ctx **ctx);

/* Does the pattern occur in the subject? Not found is *hit = false, not an error.
 * ret   RP_OK and *hit; RP_E_CAP when a limit was hit: the answer is unknown */
RP_MUST rp_err rp_regex_test(const struct rp_regex *re, struct rp_regex_ctx *ctx, rp_str subject,
                             bool *hit);
/* First match at or after byte `from`; on a hit all span_n spans are filled: 0 is the whole match,
 * i is group i, groups that do not exist are unset.
 * ret   as rp_regex_test; RP_E_INVALID when from > subject.len or splits a character (UTF) */
RP_MUST rp_err rp_regex_match(const struct rp_regex *re, struct rp_regex_ctx *ctx, rp_str subject,
                              size_t from, struct rp_regex_span *spans, unsigned span_n, bool *hit);

#endif
