/* SPDX-License-Identifier: MIT
 *
 * route_pattern: see route_pattern.h.
 *
 *   pattern = "*" / "~" regex / 1*( "/" segment ) ; segment = literal / "{" name "}"
 *   the last segment may be "*" or "{" name "*}"
 *
 * Literals are brought into the normal form of paths (http/uri.h), so what is written "/caf\xc3\xa9"
 * or "/%63af%c3%a9" matches what clients send.
 */
#include "proxy/route_pattern.h"

#include "base/regex.h"
#include "http/chars.h"
#include "http/uri.h"
#include "proxy/conf_build.h"
#include "proxy/route.h"

enum { NAME_MAX_BYTES = 64 };

struct maker {
    struct rp_arena *keep, *draft;
    struct rp_route_pattern *p;
    struct rp_conf_error *e;
    rp_str text;
};

static rp_err bad(struct maker *m, const char *what)
{
    return rp_conf_fail(m->e, RP_E_INVALID, "pattern \"%.*s\": %s", RP_STR_ARG(m->text), what);
}

/* ---- params ------------------------------------------------------------------------------- */

static bool is_name(rp_str s)
{
    if (s.len == 0 || s.len > NAME_MAX_BYTES || rp_chars_is(s.ptr[0], RP_CH_DIGIT)) return false;
    for (size_t i = 0; i < s.len; i++) {
        char ch = rp_lower(s.ptr[i]);
        if (!(ch >= 'a' && ch <= 'z') && ch != '_' && !rp_chars_is(ch, RP_CH_DIGIT)) return false;
    }
    return true;
}

static rp_err add_name(struct maker *m, rp_str name)
{
    struct rp_route_pattern *p = m->p;
    if (!is_name(name)) return bad(m, "a parameter's name is a word of letters, digits and _");
    for (uint32_t i = 0; i < p->names_n; i++)
        if (rp_str_eq(p->names[i], name)) return bad(m, "a parameter's name stands there twice");
    if (p->names_n == RP_ROUTE_PARAMS) return bad(m, "more than 16 parameters");
    rp_str *names = rp_conf_grow(m->keep, p->names, p->names_n, sizeof *names);
    if (!names) return rp_conf_full(m->e);
    p->names = names;
    p->names[p->names_n++] = name;
    return RP_OK;
}

/* ---- literals ------------------------------------------------------------------------------- */

static size_t count_slashes(rp_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += s.ptr[i] == '/';
    return n;
}

/* What no URI may hold is written as %xx first: then rp_uri_normalize takes it. */
static rp_err escape(struct maker *m, rp_str s, rp_str *out)
{
    static const char hex[] = "0123456789ABCDEF";
    char *to = rp_arena_alloc(m->draft, s.len * 3);
    if (!to) return rp_conf_full(m->e);
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t byte = (uint8_t)s.ptr[i];
        if (byte == '?' || byte == '#') return bad(m, "a path holds no ? and no #");
        if (byte < 0x20 || byte == 0x7f) return bad(m, "a path holds no control bytes");
        if (byte == '%' || rp_chars_is((char)byte, RP_CH_PATH | RP_CH_LOOSE)) {
            to[n++] = (char)byte;
            continue;
        }
        to[n++] = '%';
        to[n++] = hex[byte >> 4];
        to[n++] = hex[byte & 15];
    }
    *out = rp_str_of(to, n);
    return RP_OK;
}

/* s starts with '/'. */
static rp_err add_literal(struct maker *m, rp_str s)
{
    struct rp_route_pattern *p = m->p;
    rp_str escaped, normal;
    rp_err e = escape(m, s, &escaped);
    if (e != RP_OK) return e;
    e = rp_uri_normalize(m->draft, escaped, &normal);
    if (e == RP_E_CAP) return rp_conf_full(m->e);
    if (e != RP_OK || count_slashes(normal) != count_slashes(s))
        return bad(m, "a path holds no //, no . and .. segments and no broken %xx");
    rp_str *literals = rp_conf_grow(m->draft, p->literals, p->literals_n, sizeof *literals);
    if (!literals) return rp_conf_full(m->e);
    p->literals = literals;
    p->literals[p->literals_n++] = normal;
    return RP_OK;
}

/* ---- segments ------------------------------------------------------------------------------- */

static const char USE_REGEX[] = "\"*\" stands alone at the end, as in \"/a/*\"; for anything else "
                                "write a regex, as in \"~^/a/[^/]+\\.jpg$\"";

/* s is a whole segment "{name}" or "{name*}"; last: nothing follows it. */
static rp_err add_param(struct maker *m, rp_str s, bool last)
{
    rp_str name = rp_str_of(s.ptr + 1, s.len - 2);
    bool rest = name.len > 0 && name.ptr[name.len - 1] == '*';
    if (rest && !last) return bad(m, "{name*} takes the rest of the path: it comes last");
    if (rest) {
        name.len--;
        m->p->kind = RP_ROUTE_WILD;
        m->p->rest_named = true;
    }
    return add_name(m, name);
}

/* Walk the segments; a run of literal ones goes in as one piece when a param or the end comes. */
static rp_err add_segments(struct maker *m)
{
    rp_str text = m->text;
    size_t run = 0, at = 1;
    for (;;) {
        size_t end = rp_str_find(text, '/', at);
        rp_str segment = rp_str_of(text.ptr + at, end - at);
        bool last = end == text.len;
        bool star = segment.len == 1 && segment.ptr[0] == '*';
        bool param =
            segment.len > 2 && segment.ptr[0] == '{' && segment.ptr[segment.len - 1] == '}';
        rp_err e = RP_OK;
        if (star && last) {
            m->p->kind = RP_ROUTE_WILD;
        } else if (!param) {
            if (rp_str_find(segment, '*', 0) < segment.len) return bad(m, USE_REGEX);
            if (rp_str_find(segment, '{', 0) < segment.len ||
                rp_str_find(segment, '}', 0) < segment.len)
                return bad(m, "a {param} is a whole segment, as in \"/a/{id}/b\"; for parts of one "
                              "write a regex");
        }
        if (star || param) {
            e = add_literal(m, rp_str_of(text.ptr + run, at - run));
            if (e == RP_OK && param) e = add_param(m, segment, last);
            run = end;
        } else if (last) {
            e = add_literal(m, rp_str_of(text.ptr + run, end - run));
        }
        if (e != RP_OK || last) return e;
        at = end + 1;
    }
}

/* ---- regexes ------------------------------------------------------------------------------- */

/* Length of one group head that names the group, "(?<", "(?P<" or "(?'", at s; 0: none. */
static size_t named_group_head(rp_str s)
{
    if (rp_str_starts(s, RP_STR("(?P<"))) return 4;
    if (rp_str_starts(s, RP_STR("(?<")) || rp_str_starts(s, RP_STR("(?'"))) return 3;
    return 0;
}

static rp_err add_groups(struct maker *m, rp_str source)
{
    struct rp_route_regex *re = m->p->regex;
    re->groups = rp_arena_zalloc(m->keep, RP_ROUTE_PARAMS * sizeof *re->groups);
    if (!re->groups) return rp_conf_full(m->e);
    for (size_t i = 0; i < source.len; i++) {
        if (source.ptr[i] == '\\') i++; /* whatever it escapes */
        if (i >= source.len || source.ptr[i] != '(') continue;
        size_t start = i + named_group_head(rp_str_from(source, i)), end = start;
        while (end < source.len && end - start <= NAME_MAX_BYTES && source.ptr[end] != '>' &&
               source.ptr[end] != '\'')
            end++;
        rp_str name = rp_str_of(source.ptr + start, end - start);
        if (start == i || !is_name(name)) continue; /* look-behind is "(?<=" or "(?<!" */
        unsigned group = rp_regex_group_find(re->regex, name);
        if (group == 0) continue; /* it stood inside [ ] */
        rp_err e = add_name(m, name);
        if (e != RP_OK) return e;
        re->groups[re->groups_n++] = group;
        re->spans_n = RP_MAX(re->spans_n, group + 1);
    }
    return RP_OK;
}

/* Offset after the set that starts at s[at] == '['. */
static size_t skip_set(rp_str s, size_t at)
{
    at++;
    if (at < s.len && s.ptr[at] == '^') at++;
    if (at < s.len && s.ptr[at] == ']') at++; /* first in its set: itself */
    for (; at < s.len && s.ptr[at] != ']'; at++) {
        if (s.ptr[at] == '\\') at++;
        else if (s.ptr[at] == '[' && at + 1 < s.len && s.ptr[at + 1] == ':')
            at = rp_str_find(s, ']', at); /* [:alpha:] */
    }
    return at + 1;
}

/* Does "|" stand outside of groups? Then the text before it is not common to all matches. Quoting
 * by \Q and comments are not followed: with those the answer is a cautious yes. */
static bool has_alternatives(rp_str s)
{
    int depth = 0;
    bool odd = false, bar = false;
    for (size_t i = 0; i < s.len;) {
        char ch = s.ptr[i];
        if (ch == '[') {
            i = skip_set(s, i);
            continue;
        }
        if (ch == '\\') odd |= i + 1 < s.len && s.ptr[i + 1] == 'Q';
        odd |= ch == '#';
        depth += (ch == '(') - (ch == ')');
        bar |= ch == '|' && depth <= 0;
        i += ch == '\\' ? 2 : 1;
    }
    return bar || (odd && rp_str_find(s, '|', 0) < s.len);
}

/* The folder that every match lies in: "/a/" for "^/a/b[0-9]", "/" when unsure. Only bytes that
 * stand for themselves count, and a quantifier makes the byte before it optional; cutting at the
 * last slash takes care of that too. */
static rp_str literal_folder(rp_str source)
{
    size_t n = 1, slash = 1;
    if (!rp_str_starts(source, RP_STR("^/")) || has_alternatives(source)) return RP_STR("/");
    while (1 + n < source.len) {
        char ch = source.ptr[1 + n], after = 2 + n < source.len ? source.ptr[2 + n] : '\0';
        bool plain = rp_chars_is(ch, RP_CH_UNRESERVED) && ch != '.';
        if (ch != '/' && !plain) break;
        if (after == '?' || after == '*' || after == '{') break;
        n++;
        if (ch == '/') slash = n;
    }
    return rp_str_of(source.ptr + 1, slash);
}

static void free_regex(void *regex)
{
    struct rp_regex *re = regex;
    rp_regex_free(&re);
}

static rp_err compile(struct maker *m, rp_str source)
{
    struct rp_regex_fault fault = {0};
    struct rp_route_regex *re = rp_arena_zalloc(m->keep, sizeof *re);
    if (!re) return rp_conf_full(m->e);
    m->p->regex = re;
    if (rp_regex_compile(source, 0, &re->regex, &fault) != RP_OK)
        return rp_conf_fail(m->e, RP_E_INVALID, "pattern \"%.*s\": at byte %zu: %s",
                            RP_STR_ARG(m->text), fault.at + 1, fault.text);
    if (rp_arena_defer(m->keep, free_regex, re->regex) == RP_OK) return RP_OK;
    rp_regex_free(&re->regex);
    return rp_conf_full(m->e);
}

static rp_err add_regex(struct maker *m)
{
    rp_str source = rp_str_from(m->text, 1);
    m->p->kind = RP_ROUTE_REGEX;
    if (source.len > 1 && source.ptr[0] == '^' && rp_chars_is(source.ptr[1], RP_CH_UNRESERVED) &&
        source.ptr[1] != '.')
        return bad(m, "a path starts with a slash: write \"~^/...\"");
    rp_err e = compile(m, source);
    if (e == RP_OK) e = add_groups(m, source);
    return e == RP_OK ? add_literal(m, literal_folder(source)) : e;
}

rp_err rp_route_pattern_make(struct rp_arena *keep, struct rp_arena *draft, rp_str text,
                             struct rp_route_pattern **out, struct rp_conf_error *e)
{
    struct maker m = {keep, draft, rp_arena_zalloc(draft, sizeof *m.p), e,
                      rp_arena_copy(keep, text)};
    if (!m.p || !m.text.ptr) return rp_conf_full(e);
    m.p->text = m.text;
    *out = m.p;
    if (text.len > RP_ROUTE_PATTERN_MAX)
        return rp_conf_fail(e, RP_E_INVALID, "a pattern is longer than 4096 bytes");
    if (text.len == 1 && text.ptr[0] == '*') {
        m.p->kind = RP_ROUTE_STAR;
        return RP_OK;
    }
    if (count_slashes(text) > RP_ROUTE_SEGMENTS_MAX) return bad(&m, "more than 64 segments");
    if (text.len > 0 && text.ptr[0] == '~') return add_regex(&m);
    if (text.len == 0 || text.ptr[0] != '/')
        return bad(&m, "a path pattern starts with / (a regex with ~)");
    return add_segments(&m);
}
