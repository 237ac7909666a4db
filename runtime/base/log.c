/* SPDX-License-Identifier: MIT
 *
 * log: formats one line and hands it to the sink. A line stays one line whatever was printed into
 * it: control bytes are escaped here, and what is too long is cut with "...".
 *
 * The sink and the threshold are the process's own (set at boot and by reload). Pool threads may
 * log while a configuration is built: scratch memory is per thread, and a sink takes whole lines.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum {
    LINE_BYTES = 4096, /* a pipe write up to PIPE_BUF is not torn */
    ESC_BYTES = 256 + 4,
    ESC_RING = 4,
};

static const char *const level_names[] = {"debug", "info", "notice", "warn", "error", "alert"};
static const char hex_digits[] = "0123456789abcdef";

static void write_stderr(void *arg, enum rp_log_level level, rp_str line)
{
    (void)arg, (void)level;
    ssize_t written = RP_SYS(write, write(STDERR_FILENO, line.ptr, line.len));
    (void)written; /* nowhere left to complain */
}

enum rp_log_level rp_log_threshold = RP_LOG_info;
static struct rp_log_sink log_sink = {write_stderr, NULL};

void rp_log_set_sink(struct rp_log_sink sink)
{
    log_sink = sink.write ? sink : (struct rp_log_sink){write_stderr, NULL};
}

/* ------------------------------------------------------------------ lines */

/* Copy text with control bytes as \xHH, at most `room` bytes; returns the bytes written, and in
 * *whole whether all of it went in. */
static size_t put_plain(char *out, size_t room, rp_str text, bool *whole)
{
    size_t at = 0;
    *whole = false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char ch = (unsigned char)text.ptr[i];
        bool plain = ch >= 0x20 && ch != 0x7f;
        if (at + (plain ? 1 : 4) > room) return at;
        if (plain) {
            out[at++] = (char)ch;
        } else {
            char escaped[] = {'\\', 'x', hex_digits[ch >> 4], hex_digits[ch & 15]};
            memcpy(out + at, escaped, sizeof escaped);
            at += sizeof escaped;
        }
    }
    *whole = true;
    return at;
}

static size_t put_prefix(char *out, size_t room, enum rp_log_level level)
{
    rp_clock_put_iso(out, rp_clock_wall());
    int n = snprintf(out + RP_CLOCK_ISO_BYTES, room - RP_CLOCK_ISO_BYTES, " %s [%d] ",
                     rp_log_level_name(level), (int)getpid());
    return RP_CLOCK_ISO_BYTES + (size_t)n;
}

void rp_log_write(enum rp_log_level level, const char *fmt, ...)
{
    char text[LINE_BYTES], line[LINE_BYTES];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0) return;
    size_t text_n = RP_MIN((size_t)n, sizeof text - 1);
    static const char cut[] = "...";
    size_t at = put_prefix(line, sizeof line, level);
    bool whole;
    at += put_plain(line + at, sizeof line - at - sizeof cut, rp_str_of(text, text_n), &whole);
    if (!whole || text_n < (size_t)n) {
        memcpy(line + at, cut, sizeof cut - 1);
        at += sizeof cut - 1;
    }
    line[at++] = '\n';
    log_sink.write(log_sink.arg, level, rp_str_of(line, at));
}

/* ------------------------------------------------------------------ helpers of callers */

const char *rp_log_esc(rp_str s)
{
    static _Thread_local char ring[ESC_RING][ESC_BYTES];
    static _Thread_local unsigned turn;
    char *out = ring[turn++ % ESC_RING];
    size_t at = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char ch = (unsigned char)s.ptr[i];
        bool plain = ch >= 0x20 && ch <= 0x7e && ch != '"' && ch != '\\';
        size_t need = plain ? 1 : 4;
        if (at + need > ESC_BYTES - 4) {
            memcpy(out + at, "...", 3);
            at += 3;
            break;
        }
        if (plain) {
            out[at++] = (char)ch;
        } else {
            char escaped[] = {'\\', 'x', hex_digits[ch >> 4], hex_digits[ch & 15]};
            memcpy(out + at, escaped, sizeof escaped);
            at += sizeof escaped;
        }
    }
    out[at] = 0;
    return out;
}

rp_err rp_log_level_find(rp_str name, enum rp_log_level *out)
{
    for (size_t i = 0; i < RP_COUNT(level_names); i++) {
        if (rp_str_eq(name, rp_str_z(level_names[i]))) {
            *out = (enum rp_log_level)i;
            return RP_OK;
        }
    }
    return RP_E_NOT_FOUND;
}

const char *rp_log_level_name(enum rp_log_level level)
{
    return (unsigned)level < RP_COUNT(level_names) ? level_names[level] : "alert";
}
