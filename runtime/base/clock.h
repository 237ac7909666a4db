/* SPDX-License-Identifier: MIT
 *
 * clock: the three times, with units in their names, and the text forms that headers and logs use.
 */
#ifndef RP_BASE_CLOCK_H
#define RP_BASE_CLOCK_H

#include "base/str.h"

typedef uint64_t rp_ms; /* milliseconds of the monotonic clock */
typedef uint64_t rp_ns; /* nanoseconds of the monotonic clock */

rp_ns rp_clock_mono_ns(void);
/* ... also where the clock is held: for measuring what something costs. */
rp_ns rp_clock_real_ns(void);
double rp_clock_wall(void); /* seconds since the epoch */
/* For the lab alone (script/lab.c): from now on these are the times. */
void rp_clock_hold(rp_ns mono_ns, double wall);

enum { RP_CLOCK_DATE_BYTES = 29, RP_CLOCK_CLF_BYTES = 26, RP_CLOCK_ISO_BYTES = 24 };
/* "Sun, 06 Nov 1994 08:49:37 GMT" (IMF-fixdate, RFC 9110 §5.6.7); exactly 29 bytes, no NUL. */
void rp_clock_put_date(char out[29], int64_t epoch_s);
/* "06/Nov/1994:08:49:37 +0000"; exactly 26 bytes, no NUL, always UTC. */
void rp_clock_put_clf(char out[26], int64_t epoch_s);
/* "1994-11-06T08:49:37.123Z"; exactly 24 bytes, no NUL. */
void rp_clock_put_iso(char out[24], double epoch);

#endif
