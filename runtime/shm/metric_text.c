/* SPDX-License-Identifier: MIT
 *
 * metric_text: what the pages say, for Prometheus and for people.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "shm/metric_in.h"

/* ---- pieces --------------------------------------------------------------------------------- */

static void put_number(struct rp_buf *out, double v)
{
    if (isnan(v)) rp_buf_add_z(out, "NaN");
    else if (isinf(v)) rp_buf_add_z(out, v > 0 ? "+Inf" : "-Inf");
    else rp_buf_addf(out, "%.15g", v);
}

/* A label's value: backslash, quote and end of line are escaped; help texts have no quotes to
 * escape. */
static void put_escaped(struct rp_buf *out, rp_str text, bool quotes)
{
    for (size_t i = 0; i < text.len; i++) {
        char ch = text.ptr[i];
        if (ch == '\n') rp_buf_add_z(out, "\\n");
        else {
            if (ch == '\\' || (quotes && ch == '"')) rp_buf_add_ch(out, '\\');
            rp_buf_add_ch(out, ch);
        }
    }
}

void rp_metric_put_label(struct rp_buf *out, const char *text)
{
    put_escaped(out, rp_str_z(text), true);
}

static void put_head(struct rp_buf *out, rp_str name, const char *type, rp_str help)
{
    if (help.len) {
        rp_buf_addf(out, "# HELP %.*s ", RP_STR_ARG(name));
        put_escaped(out, help, false);
        rp_buf_add_ch(out, '\n');
    }
    rp_buf_addf(out, "# TYPE %.*s %s\n", RP_STR_ARG(name), type);
}

/* name suffix {labels, le="bound"} value */
static void put_sample(struct rp_buf *out, rp_str name, const char *suffix, rp_str labels,
                       const double *bound, double value)
{
    rp_buf_addf(out, "%.*s%s", RP_STR_ARG(name), suffix);
    if (labels.len || bound) {
        rp_buf_addf(out, "{%.*s%s", RP_STR_ARG(labels), labels.len && bound ? "," : "");
        if (bound) {
            rp_buf_add_z(out, "le=\"");
            put_number(out, *bound);
            rp_buf_add_ch(out, '"');
        }
        rp_buf_add_ch(out, '}');
    }
    rp_buf_add_ch(out, ' ');
    put_number(out, value);
    rp_buf_add_ch(out, '\n');
}

/* ---- series --------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const struct rp_metric_series *x = a, *y = b;
    int order = rp_str_cmp(x->name, y->name);
    if (order) return order;
    if (x->family != y->family) {
        if (x->stamp != y->stamp) return x->stamp > y->stamp ? -1 : 1;
        return x->family > y->family ? -1 : 1;
    }
    return rp_str_cmp(x->labels, y->labels);
}

static struct rp_metric_series *gather(const struct rp_metrics *m, bool instances, uint32_t *n)
{
    uint32_t count = rp_metric_count(m);
    struct rp_metric_series *list = rp_alloc(sizeof *list * (count + 1));
    *n = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!rp_metric_at(m, i, &list[*n])) continue;
        if ((list[*n].kind == RP_METRIC_INSTANCE) == instances) ++*n;
    }
    return list;
}

static void put_histogram(const struct rp_metrics *m, const struct rp_metric_series *s,
                          struct rp_buf *out)
{
    double count = 0, above = INFINITY;
    for (uint32_t i = 0; i <= s->bounds_n; i++) {
        count += rp_metric_sum(m, s->cell + i);
        put_sample(out, s->name, "_bucket", s->labels, i < s->bounds_n ? &s->bounds[i] : &above,
                   count);
    }
    put_sample(out, s->name, "_sum", s->labels, NULL, rp_metric_sum(m, s->cell + s->bounds_n + 1));
    put_sample(out, s->name, "_count", s->labels, NULL, count);
}

static void put_series(const struct rp_metrics *m, struct rp_buf *out)
{
    static const char *const TYPES[] = {"untyped", "counter",   "gauge",
                                        "gauge",   "histogram", "untyped"};
    uint32_t n;
    struct rp_metric_series *list = gather(m, false, &n);
    const struct rp_metric_series *shown = NULL;
    if (n) qsort(list, n, sizeof *list, by_name);
    for (uint32_t i = 0; i < n; i++) {
        const struct rp_metric_series *s = &list[i];
        bool same_name = shown && rp_str_eq(shown->name, s->name);
        if (same_name && shown->family != s->family) continue; /* replaced by a reload */
        if (!same_name) put_head(out, s->name, TYPES[s->kind <= 5 ? s->kind : 0], s->help);
        shown = s;
        if (s->kind == RP_METRIC_HISTOGRAM) put_histogram(m, s, out);
        else if (s->kind == RP_METRIC_GAUGE_MAX)
            put_sample(out, s->name, "", s->labels, NULL, rp_metric_max(m, s->cell));
        else put_sample(out, s->name, "", s->labels, NULL, rp_metric_sum(m, s->cell));
    }
    rp_free(list);
}

/* ---- instances ------------------------------------------------------------------------------ */

static const struct {
    uint32_t cell;
    const char *name, *help;
} ACCOUNTS[] = {
    {RP_ACCOUNT_CALLS, "rproxy_plugin_calls_total", "Hooks of the instance that ran."},
    {RP_ACCOUNT_ERRORS, "rproxy_plugin_errors_total", "Hooks and tasks that raised."},
    {RP_ACCOUNT_ANSWERS, "rproxy_plugin_answers_total", "Requests that it answered itself."},
    {RP_ACCOUNT_DENIALS, "rproxy_plugin_denials_total", "Answers of 400 or more, refusals."},
    {RP_ACCOUNT_CPU, "rproxy_plugin_cpu_seconds_total", "Time that its Lua ran."},
    {RP_ACCOUNT_WAIT, "rproxy_plugin_wait_seconds_total", "Time that its hooks waited."},
    {RP_ACCOUNT_BYTES, "rproxy_plugin_allocated_bytes_total", "Allocated in Lua."},
    {RP_ACCOUNT_SLOW, "rproxy_plugin_slow_total", "Calls over its breaker's limit of time."},
    {RP_ACCOUNT_TRIPS, "rproxy_plugin_breaker_trips_total", "Times that its breaker opened."},
    {RP_ACCOUNT_SKIPPED, "rproxy_plugin_skipped_total", "Calls that its open breaker prevented."},
    {RP_ACCOUNT_SHADOW_ANSWERS, "rproxy_plugin_shadow_answers_total",
     "Answers that shadow mode held back."},
    {RP_ACCOUNT_SHADOW_DENIALS, "rproxy_plugin_shadow_denials_total",
     "Refusals that shadow mode held back."},
    {RP_ACCOUNT_SHADOW_EDITS, "rproxy_plugin_shadow_edits_total",
     "Edits that shadow mode held back."},
};

static void put_account(struct rp_buf *out, const char *name, rp_str instance, double value)
{
    rp_buf_addf(out, "%s{instance=\"", name);
    put_escaped(out, instance, true);
    rp_buf_add_z(out, "\"} ");
    put_number(out, value);
    rp_buf_add_ch(out, '\n');
}

static enum rp_metric_breaker state_of(const struct rp_metrics *m, uint32_t cell, uint64_t now_ms)
{
    uint64_t until;
    return rp_metric_breaker_now(rp_metric_word(m, cell), now_ms, &until);
}

static void put_accounts(const struct rp_metrics *m, uint64_t now_ms, struct rp_buf *out)
{
    uint32_t n;
    struct rp_metric_series *list = gather(m, true, &n);
    if (n) qsort(list, n, sizeof *list, by_name);
    for (size_t a = 0; n && a < RP_COUNT(ACCOUNTS); a++) {
        put_head(out, rp_str_z(ACCOUNTS[a].name), "counter", rp_str_z(ACCOUNTS[a].help));
        for (uint32_t i = 0; i < n; i++)
            put_account(out, ACCOUNTS[a].name, list[i].labels,
                        rp_metric_sum(m, list[i].cell + ACCOUNTS[a].cell));
    }
    if (n)
        put_head(out, RP_STR("rproxy_plugin_breaker"), "gauge",
                 RP_STR("State of its breaker: 0 closed, 1 open, 2 trying."));
    for (uint32_t i = 0; i < n; i++)
        put_account(out, "rproxy_plugin_breaker", list[i].labels,
                    (double)state_of(m, list[i].cell, now_ms));
    rp_free(list);
}

/* ---- the proxy's own counters --------------------------------------------------------------- */

static void put_counters(const struct rp_counters *c, struct rp_buf *out)
{
    for (uint32_t i = 0; i < rp_counter_count(c); i++) {
        char name[RP_COUNTER_NAME_BYTES + 16];
        bool gauge = rp_counter_kind_of(c, i) == RP_COUNTER_GAUGE;
        rp_str plain = rp_counter_name(c, i);
        int n =
            snprintf(name, sizeof name, "rproxy_%.*s%s", RP_STR_ARG(plain), gauge ? "" : "_total");
        rp_str full = rp_str_of(name, (size_t)n);
        put_head(out, full, gauge ? "gauge" : "counter", RP_STR_NONE);
        rp_buf_addf(out, "%.*s %llu\n", RP_STR_ARG(full), (unsigned long long)rp_counter_sum(c, i));
    }
}

void rp_metric_text(const struct rp_metrics *m, const struct rp_counters *c, uint64_t now_ms,
                    struct rp_buf *out)
{
    if (c) put_counters(c, out);
    put_accounts(m, now_ms, out);
    put_head(out, RP_STR("rproxy_metrics_refused_total"), "counter",
             RP_STR("Label sets over a cap: counted as other."));
    put_sample(out, RP_STR("rproxy_metrics_refused_total"), "", RP_STR_NONE, NULL,
               rp_metric_sum(m, RP_METRIC_CELL_REFUSED));
    put_series(m, out);
}

/* ---- the table ------------------------------------------------------------------------------ */

struct row {
    rp_str label;
    double cpu;
    uint32_t cell;
};

static int by_cpu(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->cpu > y->cpu) return -1;
    if (x->cpu < y->cpu) return 1;
    return rp_str_cmp(x->label, y->label);
}

static const char *breaker_of(const struct rp_metrics *m, uint32_t cell, uint64_t now_ms)
{
    static const char *const WORDS[] = {"-", "open", "trying"};
    return WORDS[state_of(m, cell, now_ms)];
}

static void put_row(const struct rp_metrics *m, const struct row *r, uint64_t now_ms,
                    struct rp_buf *out)
{
    double v[RP_ACCOUNT_CELLS];
    for (uint32_t i = 0; i < RP_ACCOUNT_CELLS; i++) v[i] = rp_metric_sum(m, r->cell + i);
    rp_buf_addf(out, "%10.3f %12.0f %10.3f %10.0f %10.0f %10.0f %12.1f %-7s ", v[RP_ACCOUNT_CPU],
                v[RP_ACCOUNT_CALLS], v[RP_ACCOUNT_WAIT], v[RP_ACCOUNT_ERRORS],
                v[RP_ACCOUNT_ANSWERS], v[RP_ACCOUNT_DENIALS], v[RP_ACCOUNT_BYTES] / 1048576,
                breaker_of(m, r->cell, now_ms));
    rp_buf_add_escaped(out, r->label);
    if (v[RP_ACCOUNT_SHADOW_ANSWERS] + v[RP_ACCOUNT_SHADOW_DENIALS] + v[RP_ACCOUNT_SHADOW_EDITS] >
        0)
        rp_buf_addf(out, " (held back: answers=%.0f denials=%.0f edits=%.0f)",
                    v[RP_ACCOUNT_SHADOW_ANSWERS], v[RP_ACCOUNT_SHADOW_DENIALS],
                    v[RP_ACCOUNT_SHADOW_EDITS]);
    rp_buf_add_ch(out, '\n');
}

void rp_metric_table(const struct rp_metrics *m, uint64_t now_ms, struct rp_buf *out)
{
    uint32_t n;
    struct rp_metric_series *list = gather(m, true, &n);
    struct row *rows = rp_alloc(sizeof *rows * (n + 1));
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct row){list[i].labels, rp_metric_sum(m, list[i].cell + RP_ACCOUNT_CPU),
                               list[i].cell};
    if (n) qsort(rows, n, sizeof *rows, by_cpu);
    if (n)
        rp_buf_addf(out, "%10s %12s %10s %10s %10s %10s %12s %-7s %s\n", "cpu_s", "calls", "wait_s",
                    "errors", "answers", "denials", "alloc_mb", "breaker", "plugin");
    for (uint32_t i = 0; i < n; i++) put_row(m, &rows[i], now_ms, out);
    rp_free(rows);
    rp_free(list);
}
