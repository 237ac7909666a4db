/* SPDX-License-Identifier: MIT
 *
 * check: the one place where a broken invariant ends the process.
 */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void rp_check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what);
    abort();
}
