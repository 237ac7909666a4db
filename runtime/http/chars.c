/* SPDX-License-Identifier: MIT
 *
 * chars: the table of byte classes, computed by the compiler from the grammar.
 */
#include "http/chars.h"

#define IS_DIGIT(c) ((c) >= '0' && (c) <= '9')
#define IS_ALPHA(c) (((c) | 0x20) >= 'a' && ((c) | 0x20) <= 'z')
#define IS_HEX(c) (IS_DIGIT(c) || (((c) | 0x20) >= 'a' && ((c) | 0x20) <= 'f'))
/* RFC 3986 §2.3 */
#define IS_UNRESERVED(c)                                                                           \
    (IS_ALPHA(c) || IS_DIGIT(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
/* RFC 3986 §2.2 */
#define IS_SUB_DELIM(c)                                                                            \
    ((c) == '!' || (c) == '$' || (c) == '&' || (c) == '\'' || (c) == '(' || (c) == ')' ||          \
     (c) == '*' || (c) == '+' || (c) == ',' || (c) == ';' || (c) == '=')
#define IS_PATH(c) (IS_UNRESERVED(c) || IS_SUB_DELIM(c) || (c) == ':' || (c) == '@' || (c) == '/')
/* The URL Standard lets clients send these raw in a query, some of them in a path. */
#define IS_LOOSE(c)                                                                                \
    ((c) == '[' || (c) == ']' || (c) == '^' || (c) == '`' || (c) == '{' || (c) == '|' || (c) == '}')
/* RFC 9110 §5.6.2 */
#define IS_TOKEN(c)                                                                                \
    (IS_ALPHA(c) || IS_DIGIT(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' ||         \
     (c) == '&' || (c) == '\'' || (c) == '*' || (c) == '+' || (c) == '-' || (c) == '.' ||          \
     (c) == '^' || (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')
#define IS_VALUE(c) ((c) == '\t' || ((c) >= 0x20 && (c) != 0x7f))

#define ROW(c)                                                                                     \
    [(c)] = (IS_TOKEN(c) ? RP_CH_TOKEN : 0) | (IS_DIGIT(c) ? RP_CH_DIGIT : 0) |                    \
            (IS_HEX(c) ? RP_CH_HEX : 0) | (IS_UNRESERVED(c) ? RP_CH_UNRESERVED : 0) |              \
            (IS_PATH(c) ? RP_CH_PATH : 0) | (IS_LOOSE(c) ? RP_CH_LOOSE : 0) |                      \
            (IS_VALUE(c) ? RP_CH_VALUE : 0) | (IS_UNRESERVED(c) && (c) != '.' ? RP_CH_LABEL : 0)
#define ROW4(c) ROW(c), ROW((c) + 1), ROW((c) + 2), ROW((c) + 3)
#define ROW16(c) ROW4(c), ROW4((c) + 4), ROW4((c) + 8), ROW4((c) + 12)
#define ROW64(c) ROW16(c), ROW16((c) + 16), ROW16((c) + 32), ROW16((c) + 48)

const uint8_t rp_chars[256] = {ROW64(0), ROW64(64), ROW64(128), ROW64(192)};
