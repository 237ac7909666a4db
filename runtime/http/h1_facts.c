/* SPDX-License-Identifier: MIT
 *
 * h1_facts: the decisions that smuggling attacks aim at, in one place.
 *
 * Rule of the file: where two readers of the same bytes could disagree about where a message ends
 * or whom it is for, the message is refused, although RFC 9112 sometimes lets a recipient repair
 * it. */
#include "http/h1_facts.h"
#include "http/chars.h"

enum {
    OPTIONS_MAX = 32, /* connection options: real senders name 1 to 3; bounds the removal walk */
    LENGTH_DIGITS_MAX = 19, /* of INT64_MAX, so that sums of lengths cannot overflow */
};

_Static_assert(RP_H_HOST <= RP_H1_FACTS_LAST && RP_H_CONNECTION <= RP_H1_FACTS_LAST &&
                   RP_H_CONTENT_LENGTH <= RP_H1_FACTS_LAST &&
                   RP_H_TRANSFER_ENCODING <= RP_H1_FACTS_LAST && RP_H_TE <= RP_H1_FACTS_LAST &&
                   RP_H_UPGRADE <= RP_H1_FACTS_LAST,
               "the fields that decide come first in token.tbl");

/* ------------------------------------------------------------------ framing fields */

/* RFC 9110 §8.6: 1*DIGIT. A list of equal values MAY be folded into one (RFC 9112 §6.3); refused,
 * as is a second line, because a reader that takes the first or last one of "5, 50" exists. */
static rp_err note_length(struct rp_h1_facts *f, struct rp_msg *m, rp_str v)
{
    uint64_t value = 0;
    if (f->length || v.len == 0 || v.len > LENGTH_DIGITS_MAX) return RP_E_H1_FRAMING;
    for (const char *p = v.ptr, *end = p + v.len; p < end; p++) {
        unsigned digit = (uint8_t)*p - (unsigned)'0';
        if (digit > 9) return RP_E_H1_FRAMING;
        value = value * 10 + digit;
    }
    if (value > INT64_MAX) return RP_E_H1_FRAMING;
    f->length = true;
    m->content_length = value;
    return RP_OK;
}

/* Why is this coding list not "chunked" alone? 501 when it is well formed and ends in chunked, but
 * asks for a coding we do not speak (RFC 9112 §6.1: SHOULD); 400 for everything else. */
static RP_COLD rp_err refuse_coding(rp_str rest)
{
    rp_str item, last = RP_STR("");
    unsigned codings = 0;
    while (rp_str_list_next(&rest, &item)) {
        if (rp_str_ieq(last, RP_STR("chunked"))) return RP_E_H1_FRAMING; /* not the final one */
        size_t n = rp_str_find(item, ';', 0);
        if (n == 0 || !rp_chars_all(rp_str_trim(rp_str_head(item, n)), RP_CH_TOKEN))
            return RP_E_H1_FRAMING;
        last = item;
        codings++;
    }
    return codings > 1 && rp_str_ieq(last, RP_STR("chunked")) ? RP_E_H1_CODING : RP_E_H1_FRAMING;
}

static rp_err note_coding(struct rp_h1_facts *f, rp_str v)
{
    if (f->coding) return RP_E_H1_FRAMING; /* "chunked" twice, or split over lines */
    f->coding = true;
    return rp_str_ieq(v, RP_STR("chunked")) ? RP_OK : refuse_coding(v);
}

/* ------------------------------------------------------------------ connection fields */

static void note_option(struct rp_h1_facts *f, struct rp_msg *m, rp_str option)
{
    if (rp_str_ieq(option, RP_STR("keep-alive"))) f->keep_alive = true;
    else if (rp_str_ieq(option, RP_STR("close"))) f->close = true;
    else if (rp_str_ieq(option, RP_STR("upgrade"))) f->upgrade = true;
    else if (!rp_str_ieq(option, RP_STR("te"))) m->conn_options = true;
}

/* RFC 9110 §7.6.1. Elements that are no tokens name nothing and are passed over. */
static RP_COLD rp_err note_options(struct rp_h1_facts *f, struct rp_msg *m, rp_str v)
{
    rp_str item;
    while (rp_str_list_next(&v, &item)) {
        if (++f->options_n > OPTIONS_MAX) return RP_E_H1_FIELD;
        note_option(f, m, item);
    }
    return RP_OK;
}

static rp_err note_connection(struct rp_h1_facts *f, struct rp_msg *m, rp_str v)
{
    /* What nearly every sender says: no list walk. */
    if (rp_str_eq(v, RP_STR("keep-alive")) || rp_str_eq(v, RP_STR("Keep-Alive"))) {
        f->keep_alive = true;
        return RP_OK;
    }
    return note_options(f, m, v);
}

/* Apart, so that the usual fields cost no frame. */
RP_APART static rp_err note_seldom(struct rp_h1_facts *f, struct rp_msg *m, uint16_t id, rp_str v)
{
    switch (id) {
    case RP_H_TRANSFER_ENCODING: return note_coding(f, v);
    case RP_H_UPGRADE: f->upgrade_field = v.len > 0; return RP_OK;
    case RP_H_TE: m->te_trailers |= rp_str_list_has(v, RP_STR("trailers")); return RP_OK;
    /* RFC 9110 §10.1.1: other expectations MAY be answered 417; they are left to the upstream. */
    case RP_H_EXPECT:
        f->expect_continue |= rp_str_list_has(v, RP_STR("100-continue"));
        return RP_OK;
    default: return RP_OK;
    }
}

rp_err rp_h1_facts_note(struct rp_h1_facts *f, struct rp_msg *m, const struct rp_field *field)
{
    rp_str v = rp_str_of(field->value, field->value_n);
    switch (field->id) {
    case RP_H_HOST:
        f->host_at = (uint16_t)(field - m->fields);
        f->hosts_n = f->hosts_n ? 2 : 1;
        return RP_OK;
    case RP_H_CONTENT_LENGTH: return note_length(f, m, v);
    case RP_H_CONNECTION: return note_connection(f, m, v);
    default: return note_seldom(f, m, field->id, v);
    }
}

/* ------------------------------------------------------------------ request */

/* The target's authority takes the place of what the field says, an authority or nothing. */
static RP_COLD rp_err rewrite_host(const struct rp_msg *m, struct rp_field *field)
{
    rp_str sent = rp_field_value(field), host;
    uint16_t port;
    rp_err e = sent.len ? rp_uri_parse_authority(sent, &host, &port) : RP_OK;
    if (e != RP_OK) return e;
    field->value = m->uri.authority.ptr;
    field->value_n = (uint32_t)m->uri.authority.len;
    return RP_OK;
}

/* RFC 9112 §3.2: a 1.1 request without exactly one valid Host MUST get 400. §3.2.2: a target with
 * an authority replaces it, and what is forwarded MUST carry the target's; the field is rewritten
 * here, so that no later reader sees the two disagree. An empty Host is legal only for targets
 * without authority that an origin server would answer itself; a proxy cannot route it: refused. */
static inline rp_err decide_host(const struct rp_h1_facts *f, struct rp_msg *m)
{
    bool from_target = m->uri.host.len > 0;
    if (from_target) {
        m->host = m->uri.host;
        m->port = m->uri.port;
    }
    if (f->hosts_n != 1) return f->hosts_n == 0 && m->version == 10 ? RP_OK : RP_E_H1_HOST;
    struct rp_field *field = &m->fields[f->host_at];
    if (RP_UNLIKELY(from_target)) return rewrite_host(m, field);
    rp_str sent = rp_str_of(field->value, field->value_n);
    return rp_uri_parse_authority_within(sent, f->end, &m->host, &m->port);
}

/* RFC 9112 §9.3 */
static bool persists(const struct rp_h1_facts *f, uint8_t version)
{
    return !f->close && (version >= 11 || f->keep_alive);
}

/* RFC 9112 §6.1: a message with both is to be treated as an attack: SHOULD be handled as an error.
 * A coding in a 1.0 message: MUST be treated as faulty framing. */
static inline bool framing_is_faulty(const struct rp_h1_facts *f, const struct rp_msg *m)
{
    return f->coding && (f->length || m->version < 11);
}

rp_err rp_h1_facts_request(const struct rp_h1_facts *f, struct rp_msg *m)
{
    if (framing_is_faulty(f, m)) return RP_E_H1_FRAMING;
    m->framing = f->coding ? RP_BODY_CHUNKED : f->length ? RP_BODY_LENGTH : RP_BODY_NONE;
    bool has_content = f->coding || (f->length && m->content_length > 0);
    /* RFC 9110 §9.3.6: CONNECT has no content, and the tunnel's bytes must not be taken for some.
     * §9.3.8: a client MUST NOT send content in a TRACE, so a server may not look for it. */
    if ((m->method == RP_M_CONNECT || m->method == RP_M_TRACE) && has_content)
        return RP_E_H1_FRAMING;
    m->keepalive = persists(f, m->version);
    /* RFC 9110 §7.8: MUST ignore Upgrade in a 1.0 request. */
    m->upgrade = f->upgrade && f->upgrade_field && m->version >= 11;
    /* RFC 9110 §10.1.1: MUST ignore 100-continue of a 1.0 client; without content it means nothing.
     */
    m->expect_continue = f->expect_continue && m->version >= 11 && has_content;
    return decide_host(f, m);
}

/* ------------------------------------------------------------------ response */

/* RFC 9112 §6.3, in its order. */
rp_err rp_h1_facts_response(const struct rp_h1_facts *f, struct rp_msg *m, uint8_t method)
{
    if (framing_is_faulty(f, m)) return RP_E_H1_FRAMING;
    bool has_length = f->length && m->content_length > 0;
    m->keepalive = persists(f, m->version);
    m->upgrade = f->upgrade && f->upgrade_field;
    if (m->status < 200) {
        /* RFC 9110 §8.6, RFC 9112 §6.1: MUST NOT have them; bytes would precede the final response.
         */
        if (has_length || f->coding) return RP_E_H1_FRAMING;
        m->framing = RP_BODY_NONE;
    } else if (method == RP_M_CONNECT && m->status < 300) {
        m->framing = RP_BODY_CLOSE; /* a tunnel; MUST ignore Content-Length and Transfer-Encoding */
    } else if (method == RP_M_HEAD || m->status == 304) {
        m->framing = RP_BODY_NONE; /* the fields say what a GET would have brought */
    } else if (m->status == 204) {
        m->framing = RP_BODY_NONE;
        if (has_length || f->coding) m->keepalive = false; /* it may send that body all the same */
    } else if (f->coding) {
        m->framing = RP_BODY_CHUNKED;
    } else {
        m->framing = f->length ? RP_BODY_LENGTH : RP_BODY_CLOSE;
    }
    if (m->framing == RP_BODY_CLOSE) m->keepalive = false;
    return RP_OK;
}
