/* SPDX-License-Identifier: MIT
 *
 * multipart: see multipart.h.
 *
 * START -> AFTER -> HEAD -> BODY -> AFTER -> HEAD .. or -> END -> OVER; BROKEN from anywhere. Data
 * is given out as soon as it cannot be the beginning of a delimiter any more.
 */
#include "http/multipart.h"

#include "http/chars.h"

enum state { START, HEAD, BODY, AFTER, END, OVER, BROKEN };

enum { HELD_MOST = 16 << 20 };

/* ---- the boundary ---------------------------------------------------------------------------- */

static bool is_token_char(char ch)
{
    return rp_chars_is(ch, RP_CH_TOKEN);
}

static bool is_boundary_char(char ch)
{
    return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
           (ch && strchr("'()+_,-./:=? ", ch));
}

static bool is_boundary(rp_str s)
{
    if (s.len == 0 || s.len > RP_MULTIPART_BOUNDARY_MOST || s.ptr[s.len - 1] == ' ') return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_boundary_char(s.ptr[i])) return false;
    return true;
}

/* A parameter "; name=value" of a field: name and value (unquoted into `room`, as long as rest) are
 * taken off. In quotes only \" is an escape: browsers send other backslashes as they are.
 * ret   RP_OK; RP_END: no more; RP_E_INVALID */
static rp_err next_param(rp_str *rest, rp_str *name, rp_str *value, char *room)
{
    *rest = rp_str_trim(*rest);
    if (rest->len == 0) return RP_END;
    if (rest->ptr[0] != ';') return RP_E_INVALID;
    *rest = rp_str_trim(rp_str_from(*rest, 1));
    size_t n = 0, out = 0, at;
    while (n < rest->len && is_token_char(rest->ptr[n])) n++;
    *name = rp_str_head(*rest, n);
    if (n == 0 || n == rest->len || rest->ptr[n] != '=') return RP_E_INVALID;
    *rest = rp_str_from(*rest, n + 1);
    if (rest->len == 0) return RP_E_INVALID;
    if (rest->ptr[0] != '"') {
        for (at = 0; at < rest->len && is_token_char(rest->ptr[at]); at++) {}
        *value = rp_str_head(*rest, at);
        *rest = rp_str_from(*rest, at);
        return at > 0 ? RP_OK : RP_E_INVALID;
    }
    for (at = 1; at < rest->len && rest->ptr[at] != '"'; at++) {
        if (rest->ptr[at] == '\\' && at + 1 < rest->len && rest->ptr[at + 1] == '"') at++;
        room[out++] = rest->ptr[at];
    }
    if (at == rest->len) return RP_E_INVALID;
    *value = rp_str_of(room, out);
    *rest = rp_str_from(*rest, at + 1);
    return RP_OK;
}

rp_err rp_multipart_boundary(rp_str content_type, char out[RP_MULTIPART_BOUNDARY_MOST], size_t *n)
{
    rp_str rest = content_type, name, value;
    char room[1024];
    rp_err e;
    *n = 0;
    size_t end = rp_str_find(rest, ';', 0);
    if (content_type.len > sizeof room) return RP_E_INVALID;
    if (!rp_str_ieq(rp_str_trim(rp_str_head(rest, end)), RP_STR("multipart/form-data")))
        return RP_E_INVALID;
    rest = rp_str_from(rest, end);
    while ((e = next_param(&rest, &name, &value, room)) == RP_OK) {
        if (!rp_str_ieq(name, RP_STR("boundary"))) continue;
        if (*n > 0 || !is_boundary(value)) return RP_E_INVALID;
        memcpy(out, value.ptr, value.len);
        *n = value.len;
    }
    return e == RP_END && *n > 0 ? RP_OK : RP_E_INVALID;
}

rp_err rp_multipart_init(struct rp_multipart *m, rp_str boundary, uint32_t parts_most)
{
    *m = (struct rp_multipart){.parts_most = parts_most};
    rp_buf_init(&m->held, HELD_MOST);
    if (!is_boundary(boundary)) return RP_E_INVALID;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary.ptr, boundary.len);
    m->delimiter_n = 4 + boundary.len;
    return RP_OK;
}

void rp_multipart_fini(struct rp_multipart *m)
{
    rp_buf_fini(&m->held);
}

rp_err rp_multipart_feed(struct rp_multipart *m, rp_str bytes)
{
    if (m->state == BROKEN) return RP_E_INVALID;
    rp_buf_consume(&m->held, m->at);
    m->at = 0;
    if (bytes.len > HELD_MOST - m->held.len) return RP_E_TOO_BIG;
    rp_buf_add(&m->held, bytes);
    return m->held.failed ? RP_E_TOO_BIG : RP_OK;
}

/* ---- the header of a part -------------------------------------------------------------------- */

/* Control bytes other than a tab, and the NUL above all, have no place in a header. */
static bool is_clean(rp_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (((unsigned char)s.ptr[i] < 0x20 && s.ptr[i] != '\t') || s.ptr[i] == 0x7f) return false;
    return true;
}

/* What was unquoted lies where it came from: it is not longer. */
static rp_err read_disposition(struct rp_multipart *m, rp_str value)
{
    size_t end = rp_str_find(value, ';', 0);
    rp_str rest = rp_str_from(value, end), name, text;
    bool has_name = false;
    rp_err e;
    if (!rp_str_ieq(rp_str_trim(rp_str_head(value, end)), RP_STR("form-data"))) return RP_E_INVALID;
    for (;;) {
        /* The value's own bytes, behind its quote: reading is always ahead of writing. */
        size_t equals = rp_str_find(rest, '=', 0);
        char *room = (char *)(uintptr_t)(rest.ptr + RP_MIN(equals + 1, rest.len));
        e = next_param(&rest, &name, &text, room);
        if (e != RP_OK) break;
        if (rp_str_ieq(name, RP_STR("name"))) {
            if (has_name) return RP_E_INVALID;
            has_name = true;
            m->name = text;
        } else if (rp_str_ieq(name, RP_STR("filename"))) {
            if (m->has_filename) return RP_E_INVALID;
            m->has_filename = true;
            m->filename = text;
        } else {
            return RP_E_INVALID; /* filename* above all */
        }
    }
    return e == RP_END && has_name ? RP_OK : RP_E_INVALID;
}

static rp_err read_line(struct rp_multipart *m, rp_str line, bool *disposed)
{
    size_t colon = rp_str_find(line, ':', 0);
    rp_str name = rp_str_head(line, colon);
    if (colon == 0 || colon == line.len || !is_clean(line)) return RP_E_INVALID;
    for (size_t i = 0; i < name.len; i++)
        if (!is_token_char(name.ptr[i])) return RP_E_INVALID; /* also folded lines */
    rp_str value = rp_str_trim(rp_str_from(line, colon + 1));
    if (rp_str_ieq(name, RP_STR("content-disposition"))) {
        if (*disposed) return RP_E_INVALID;
        *disposed = true;
        return read_disposition(m, value);
    }
    if (rp_str_ieq(name, RP_STR("content-type"))) {
        if (m->type.len) return RP_E_INVALID;
        m->type = value;
    }
    /* RFC 7578 §4.7: deprecated; whoever decodes it sees other bytes than we do. */
    if (rp_str_ieq(name, RP_STR("content-transfer-encoding"))) return RP_E_INVALID;
    return RP_OK;
}

static size_t find_bytes(rp_str s, const char *what, size_t n)
{
    const char *p = s.len >= n ? memmem(s.ptr, s.len, what, n) : NULL;
    return p ? (size_t)(p - s.ptr) : s.len;
}

/* The header, with its empty line, is all there: `head` is without the last two CRLF. */
static rp_err read_head(struct rp_multipart *m, rp_str head)
{
    bool disposed = false;
    uint32_t n = 0;
    m->name = m->filename = m->type = RP_STR_NONE;
    m->has_filename = false;
    for (bool more = true; more;) {
        size_t end = find_bytes(head, "\r\n", 2);
        more = end < head.len;
        if (++n > RP_MULTIPART_LINES_MOST) return RP_E_TOO_BIG;
        rp_err e = read_line(m, rp_str_head(head, end), &disposed);
        if (e != RP_OK) return e;
        head = rp_str_from(head, more ? end + 2 : end);
    }
    return disposed ? RP_OK : RP_E_INVALID;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static rp_str rest_of(const struct rp_multipart *m)
{
    rp_str all = rp_buf_str(&m->held);
    return m->at < all.len ? rp_str_from(all, m->at) : RP_STR("");
}

static rp_err step_start(struct rp_multipart *m)
{
    rp_str rest = rest_of(m), first = rp_str_of(m->delimiter + 2, m->delimiter_n - 2);
    size_t n = RP_MIN(rest.len, first.len);
    if (memcmp(rest.ptr, first.ptr, n) != 0) return RP_E_INVALID;
    if (n < first.len) return RP_AGAIN;
    m->at += n;
    m->state = AFTER;
    return RP_OK;
}

/* Behind a delimiter. */
static rp_err step_after(struct rp_multipart *m)
{
    rp_str rest = rest_of(m);
    if (rest.len < 2) return RP_AGAIN;
    if (memcmp(rest.ptr, "\r\n", 2) == 0) m->state = HEAD;
    else if (memcmp(rest.ptr, "--", 2) == 0) m->state = END;
    else return RP_E_INVALID;
    m->at += 2;
    return RP_OK;
}

static rp_err step_head(struct rp_multipart *m)
{
    rp_str rest = rest_of(m);
    size_t end = find_bytes(rest, "\r\n\r\n", 4);
    if (RP_MIN(end, rest.len) > RP_MULTIPART_HEAD_MOST) return RP_E_TOO_BIG;
    if (end == rest.len) return RP_AGAIN;
    if (m->parts_n == m->parts_most) return RP_E_CAP;
    m->parts_n++;
    rp_err e = read_head(m, rp_str_head(rest, end));
    if (e != RP_OK) return e;
    m->at += end + 4;
    m->state = BODY;
    return RP_OK;
}

static rp_err step_body(struct rp_multipart *m, enum rp_multipart_event *event)
{
    rp_str rest = rest_of(m);
    size_t at = find_bytes(rest, m->delimiter, m->delimiter_n);
    bool found = at < rest.len;
    if (!found) {
        /* All but what may begin a delimiter. */
        size_t keep = RP_MIN(rest.len, m->delimiter_n - 1);
        while (keep > 0 && memcmp(rest.ptr + rest.len - keep, m->delimiter, keep) != 0) keep--;
        at = rest.len - keep;
    }
    if (at > 0) {
        m->data = rp_str_head(rest, at);
        m->at += at;
        *event = RP_MULTIPART_DATA;
        return RP_OK;
    }
    if (!found) return RP_AGAIN;
    m->at += m->delimiter_n;
    m->state = AFTER;
    *event = RP_MULTIPART_END;
    return RP_OK;
}

/* Behind the last delimiter: nothing, or one CRLF. */
static rp_err step_end(struct rp_multipart *m, enum rp_multipart_event *event)
{
    rp_str rest = rest_of(m);
    if (rest.len > 2 || memcmp("\r\n", rest.ptr, rest.len) != 0) return RP_E_INVALID;
    *event = RP_MULTIPART_DONE;
    m->state = OVER;
    return RP_OK;
}

static rp_err step(struct rp_multipart *m, enum rp_multipart_event *event, bool *given)
{
    switch ((enum state)m->state) {
    case START: return step_start(m);
    case AFTER: return step_after(m);
    case HEAD: {
        rp_err e = step_head(m);
        *event = RP_MULTIPART_PART;
        *given = e == RP_OK;
        return e;
    }
    case BODY: *given = true; return step_body(m, event);
    case END: *given = true; return step_end(m, event);
    case OVER: {
        rp_str rest = rest_of(m); /* the CRLF may come later */
        bool fine = rest.len <= 2 && memcmp("\r\n", rest.ptr, rest.len) == 0;
        return fine ? RP_END : RP_E_INVALID;
    }
    case BROKEN: break;
    }
    return RP_E_INVALID;
}

rp_err rp_multipart_next(struct rp_multipart *m, enum rp_multipart_event *event)
{
    rp_err e = RP_OK;
    bool given = false;
    while (e == RP_OK && !given) e = step(m, event, &given);
    if (e < 0) m->state = BROKEN;
    return e;
}
