/* SPDX-License-Identifier: MIT
 *
 * stream_log: a stream's line of the access log. In a combined log it begins as a request's line
 * does, so that what reads such logs gets past it, and goes on with key=value; in a JSON log it is an
 * object with a fixed set of members.
 */
#include "proxy/access.h"
#include "proxy/server.h"
#include "proxy/stream_udp.h"

enum { LINE_CAP_BYTES = 8192, NS_PER_MS = 1000000, CLF_BYTES = 26, ISO_BYTES = 24 };

static void add_seconds(struct rp_buf *out, rp_ns from, rp_ns till)
{
    uint64_t ms = till > from ? (till - from) / NS_PER_MS : 0;
    rp_buf_addf(out, "%llu.%03llu", (unsigned long long)(ms / 1000),
                (unsigned long long)(ms % 1000));
}

static const char *reason(const struct rp_stream *s)
{
    return s->fail < 0 ? rp_err_reason(s->fail) : "";
}

/* ---- combined --------------------------------------------------------------------------------- */

static void add_word(struct rp_buf *out, const char *key, rp_str value)
{
    rp_buf_addf(out, " %s=", key);
    if (value.len) rp_buf_add_escaped(out, value);
    else rp_buf_add_ch(out, '-');
}

static void add_combined(struct rp_buf *out, const struct rp_stream *s, double wall)
{
    char text[RP_ADDR_TEXT_BYTES], clf[CLF_BYTES];
    size_t n = rp_addr_put_ip(&s->client, text);
    rp_clock_put_clf(clf, (int64_t)wall);
    rp_buf_add(out, n ? rp_str_of(text, n) : RP_STR("-"));
    rp_buf_addf(out, " - - [%.*s] \"STREAM ", CLF_BYTES, clf);
    rp_buf_add_escaped(out, s->serve->text);
    rp_buf_addf(out, "\" 0 %llu \"-\" \"-\"", (unsigned long long)s->down_bytes);
    add_word(out, "sni", rp_str_of(s->sni, s->sni_n));
    add_word(out, "upstream", rp_str_of(s->upstream_name, s->upstream_n));
    n = s->peer_addr.family != RP_ADDR_NONE ? rp_addr_put(&s->peer_addr, text) : 0;
    add_word(out, "peer", rp_str_of(text, n));
    rp_buf_addf(out, " tries=%u up=%llu down=%llu duration=", s->tries,
                (unsigned long long)s->up_bytes, (unsigned long long)s->down_bytes);
    add_seconds(out, s->start_ns, s->end_ns);
    add_word(out, "reason", rp_str_z(reason(s)));
    if (s->udp)
        rp_buf_addf(out, " datagrams_up=%llu datagrams_down=%llu",
                    (unsigned long long)rp_stream_datagrams(s, true),
                    (unsigned long long)rp_stream_datagrams(s, false));
    rp_buf_add_ch(out, '\n');
}

/* ---- JSON ------------------------------------------------------------------------------------- */

static void add_member(struct rp_buf *out, const char *key, rp_str value)
{
    rp_buf_addf(out, ",\"%s\":", key);
    if (!value.len) {
        rp_buf_add(out, RP_STR("null"));
        return;
    }
    rp_buf_add_ch(out, '"');
    rp_buf_add_json(out, value);
    rp_buf_add_ch(out, '"');
}

static void add_json(struct rp_buf *out, const struct rp_stream *s, double wall)
{
    char text[RP_ADDR_TEXT_BYTES], iso[ISO_BYTES];
    rp_clock_put_iso(iso, wall);
    rp_buf_addf(out, "{\"time\":\"%.*s\"", ISO_BYTES, iso);
    add_member(out, "remote_ip", rp_str_of(text, rp_addr_put_ip(&s->client, text)));
    add_member(out, "listener", s->serve->text);
    add_member(out, "sni", rp_str_of(s->sni, s->sni_n));
    add_member(out, "upstream", rp_str_of(s->upstream_name, s->upstream_n));
    size_t n = s->peer_addr.family != RP_ADDR_NONE ? rp_addr_put(&s->peer_addr, text) : 0;
    add_member(out, "upstream_addr", rp_str_of(text, n));
    rp_buf_addf(out, ",\"tries\":%u,\"bytes_up\":%llu,\"bytes_down\":%llu,\"duration\":", s->tries,
                (unsigned long long)s->up_bytes, (unsigned long long)s->down_bytes);
    add_seconds(out, s->start_ns, s->end_ns);
    rp_buf_addf(out, ",\"reason\":\"%s\"", reason(s));
    if (s->udp)
        rp_buf_addf(out, ",\"datagrams_up\":%llu,\"datagrams_down\":%llu",
                    (unsigned long long)rp_stream_datagrams(s, true),
                    (unsigned long long)rp_stream_datagrams(s, false));
    rp_buf_add(out, RP_STR("}\n"));
}

void rp_stream_log(struct rp_stream *s)
{
    const struct rp_conf_access_log *log = &s->conf->access;
    struct rp_buf line;
    if (!log->on || !s->proxy->access) return;
    rp_buf_init(&line, LINE_CAP_BYTES);
    double wall = rp_loop_wall(s->proxy->loop);
    if (log->format == RP_ACCESS_JSON) add_json(&line, s, wall);
    else add_combined(&line, s, wall);
    rp_access_write_line(s->proxy->access, s->proxy->conf, s->conf, rp_buf_str(&line));
    rp_buf_fini(&line);
}
