/* SPDX-License-Identifier: MIT
 *
 * clock: reading the clocks, and dates without the C library's locale and time zone.
 *
 * The wall clock may jump: nothing but rp_clock_wall reads it, and only texts come from it.
 */
#include "base/clock.h"

#include <errno.h>
#include <time.h>

#include "base/fault.h"

static const char days[] = "ThuFriSatSunMonTueWed"; /* the epoch was a Thursday */
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

enum { DAY_S = 86400 };
/* Four-digit years only: what is outside is shown as the nearest date that fits. */
#define EPOCH_MIN (-62167219200LL) /* 0000-01-01T00:00:00Z */
#define EPOCH_MAX 253402300799LL   /* 9999-12-31T23:59:59Z */

/* Times that a lab gives; written by its one thread, in a process that serves nobody. */
static struct {
    bool on;
    rp_ns mono_ns;
    double wall;
} held;

void rp_clock_hold(rp_ns mono_ns, double wall)
{
    held.mono_ns = mono_ns;
    held.wall = wall;
    held.on = true;
}

RP_NO_ARRAYS rp_ns rp_clock_mono_ns(void)
{
    return RP_UNLIKELY(held.on) ? held.mono_ns : rp_clock_real_ns();
}

RP_NO_ARRAYS rp_ns rp_clock_real_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (rp_ns)t.tv_sec * 1000000000u + (rp_ns)t.tv_nsec;
}

double rp_clock_wall(void)
{
    struct timespec t;
    if (RP_UNLIKELY(held.on)) return held.wall;
    clock_gettime(CLOCK_REALTIME, &t);
    int jump = RP_FAULT(wall);
    if (jump) t.tv_sec += jump == ERANGE ? 3652 * (time_t)DAY_S : -3600;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ------------------------------------------------------------------ calendar */

struct civil {
    unsigned year, month, day, weekday; /* month 0-11, day 1-31, weekday: index of days[] */
    unsigned hour, minute, second;
};

/* Proleptic Gregorian date. Years are counted from 1 March, so the leap day is the last one:
 * a 400-year era has 146097 days, and month lengths from March follow (153 * m + 2) / 5. */
static struct civil civil_of(int64_t epoch_s)
{
    epoch_s = RP_MIN(RP_MAX(epoch_s, EPOCH_MIN), EPOCH_MAX);
    uint64_t since = (uint64_t)(epoch_s - EPOCH_MIN); /* from 0000-01-01, a Saturday */
    unsigned second = (unsigned)(since % DAY_S);
    unsigned day_n = (unsigned)(since / DAY_S) + 146097 - 60; /* from 1 March of year -400 */
    unsigned era = day_n / 146097, of_era = day_n % 146097;
    unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
    unsigned march_month = (5 * of_year + 2) / 153;
    unsigned month = march_month < 10 ? march_month + 2 : march_month - 10;
    return (struct civil){
        .year = era * 400 + year + (month < 2) - 400,
        .month = month,
        .day = of_year - (153 * march_month + 2) / 5 + 1,
        .weekday = (unsigned)(since / DAY_S + 2) % 7,
        .hour = second / 3600,
        .minute = second / 60 % 60,
        .second = second % 60,
    };
}

/* ------------------------------------------------------------------ text */

static char *put2(char *p, unsigned value)
{
    p[0] = (char)('0' + value / 10);
    p[1] = (char)('0' + value % 10);
    return p + 2;
}

static char *put4(char *p, unsigned value)
{
    return put2(put2(p, value / 100), value % 100);
}

static char *put_word(char *p, const char *word, size_t n)
{
    memcpy(p, word, n);
    return p + n;
}

static char *put_time(char *p, const struct civil *c)
{
    p = put2(p, c->hour);
    *p++ = ':';
    p = put2(p, c->minute);
    *p++ = ':';
    return put2(p, c->second);
}

void rp_clock_put_date(char out[29], int64_t epoch_s)
{
    struct civil c = civil_of(epoch_s);
    char *p = put_word(out, days + (size_t)c.weekday * 3, 3);
    p = put2(put_word(p, ", ", 2), c.day);
    *p++ = ' ';
    p = put_word(p, months + (size_t)c.month * 3, 3);
    *p++ = ' ';
    p = put4(p, c.year);
    *p++ = ' ';
    put_word(put_time(p, &c), " GMT", 4);
}

void rp_clock_put_clf(char out[26], int64_t epoch_s)
{
    struct civil c = civil_of(epoch_s);
    char *p = put2(out, c.day);
    *p++ = '/';
    p = put_word(p, months + (size_t)c.month * 3, 3);
    *p++ = '/';
    p = put4(p, c.year);
    *p++ = ':';
    put_word(put_time(p, &c), " +0000", 6);
}

void rp_clock_put_iso(char out[24], double epoch)
{
    /* The comparisons also send a NaN to the lower bound. */
    if (!(epoch > (double)EPOCH_MIN)) epoch = (double)EPOCH_MIN;
    if (epoch > (double)EPOCH_MAX + 0.9995) epoch = (double)EPOCH_MAX + 0.9995;
    int64_t epoch_s = (int64_t)epoch;
    if ((double)epoch_s > epoch) epoch_s--; /* down, also before 1970 */
    /* A double holds today's time to 0.2 us: lift by more than that, so .123 does not print .122. */
    unsigned ms = (unsigned)((epoch - (double)epoch_s) * 1000.0 + 0.001);
    ms = RP_MIN(ms, 999u);
    struct civil c = civil_of(epoch_s);
    char *p = put4(out, c.year);
    *p++ = '-';
    p = put2(p, c.month + 1);
    *p++ = '-';
    p = put2(p, c.day);
    *p++ = 'T';
    p = put_time(p, &c);
    *p++ = '.';
    *p++ = (char)('0' + ms / 100);
    p = put2(p, ms % 100);
    *p = 'Z';
}
