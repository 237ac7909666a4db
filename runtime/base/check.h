/* SPDX-License-Identifier: MIT
 *
 * check: assertions, result attributes and overflow-checked arithmetic.
 *
 * RP_CHECK stays in every build: it guards memory safety only. RP_ASSERT exists in debug builds
 * (RP_DEBUG) and guards logic. Neither may depend on input nor have side effects.
 */
#ifndef RP_BASE_CHECK_H
#define RP_BASE_CHECK_H

#ifndef RP_CDEF
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define RP_MUST __attribute__((warn_unused_result))
#define RP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define RP_NORETURN __attribute__((noreturn))
/* A definition in a header that also gets one exported symbol: `extern inline` in the .c. */
#define RP_INLINE inline
#define RP_LIKELY(x) __builtin_expect(!!(x), 1)
#define RP_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* What a hot function does not need each time: out of its frame; and what is seldom: away from its code. */
#define RP_APART __attribute__((noinline))
#define RP_COLD __attribute__((cold, noinline))
/* A hot function that has no array in its frame, nor has what is inlined into it: no write there can run
 * over anything, so it goes without the canary that the address of a local brings about. */
#if __has_attribute(no_stack_protector)
#define RP_NO_ARRAYS __attribute__((no_stack_protector))
#else
#define RP_NO_ARRAYS
#endif
#else
#define RP_MUST
#define RP_PRINTF(fmt, args)
#define RP_NORETURN
#define RP_INLINE
#endif

/* Print "file:line: what" to stderr and abort. */
RP_NORETURN void rp_check_failed(const char *file, int line, const char *what);

#define RP_CHECK(cond)                                                                             \
    ((void)(RP_LIKELY(cond) ? 0 : (rp_check_failed(__FILE__, __LINE__, #cond), 0)))

#ifdef RP_DEBUG
#define RP_ASSERT(cond) RP_CHECK(cond)
#else
#define RP_ASSERT(cond) ((void)0)
#endif

/* Cast of a callback's pointer to its struct; debug builds check the magic in the first field. */
#ifdef RP_DEBUG
#define RP_AS(type, p, magic_value)                                                                \
    (RP_CHECK((p) && *(const uint32_t *)(const void *)(p) == (magic_value)), (struct type *)(p))
#else
#define RP_AS(type, p, magic_value) ((struct type *)(p))
#endif

/* A result nobody can use here; say why beside it. (gcc does not take a cast to void for an answer.) */
#define RP_IGNORE(expr)                                                                            \
    do {                                                                                           \
        __typeof__(expr) ignored_ = (expr);                                                        \
        (void)ignored_;                                                                            \
    } while (0)

#define RP_CONTAINER(type, field, p)                                                               \
    ((struct type *)(void *)((char *)(p)-offsetof(struct type, field)))
#define RP_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RP_MIN(a, b) ((a) < (b) ? (a) : (b))
#define RP_MAX(a, b) ((a) > (b) ? (a) : (b))

#ifndef RP_CDEF
/* Checked arithmetic on sizes from outside: true when the result does not fit. */
static inline bool rp_add_overflows(size_t a, size_t b, size_t *sum)
{
    return __builtin_add_overflow(a, b, sum);
}
static inline bool rp_mul_overflows(size_t a, size_t b, size_t *product)
{
    return __builtin_mul_overflow(a, b, product);
}
#endif

#endif
