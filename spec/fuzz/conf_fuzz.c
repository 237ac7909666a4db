/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of the texts that the configuration's builder reads: the first byte of a line chooses what
 * it is, the rest is the text. Whatever is said, it is taken or refused with words, and what was
 * taken can be frozen or is refused with words.
 */
#include "proxy/conf.h"

enum { LINES = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct rp_conf *c;
    uint32_t upstream, stream, host, route;
};

static void begin(struct fuzz *f)
{
    struct rp_conf_error e = {0};
    rp_err err = rp_conf_add_upstream(f->c, RP_STR("u"), &f->upstream, &e);
    if (err == RP_OK) err = rp_conf_add_stream(f->c, &f->stream);
    if (err == RP_OK) err = rp_conf_add_host(f->c, false, &f->host);
    if (err == RP_OK)
        err = rp_conf_add_route(f->c, f->host, RP_STR(""), RP_STR("/a/{id}"), false, &f->route, &e);
    RP_CHECK(err == RP_OK);
}

static void check_words(rp_err err, const struct rp_conf_error *e)
{
    RP_CHECK(err <= RP_OK);
    RP_CHECK(memchr(e->text, 0, sizeof e->text));
    RP_CHECK(err == RP_OK || e->code == err || e->code == RP_OK);
}

static void add_line(struct fuzz *f, rp_str line)
{
    struct rp_conf_error e = {0};
    struct rp_conf *c = f->c;
    rp_str text = rp_str_from(line, 1);
    size_t blank = rp_str_find(text, ' ', 0);
    rp_str name = rp_str_head(text, blank);
    rp_str value = rp_str_from(text, RP_MIN(blank + 1, text.len));
    uint32_t index;
    rp_err err = RP_OK;
    switch (line.ptr[0]) {
    case 'l': err = rp_conf_add_listener(c, text, false, &index, &e); break;
    case 's': err = rp_conf_add_stream_listener(c, f->stream, text, &index, &e); break;
    case 't': err = rp_conf_add_trust(c, text, &e); break;
    case 'p': err = rp_conf_add_peer(c, f->upstream, text, 1, false, &e); break;
    case 'h': err = rp_conf_add_host_name(c, f->host, text, &e); break;
    case 'n':
        err = rp_conf_add_stream_rule(c, f->stream, RP_STREAM_SNI, text, f->upstream, &e);
        break;
    case 'a':
        err = rp_conf_add_stream_rule(c, f->stream, RP_STREAM_ALPN, text, f->upstream, &e);
        break;
    case 'e': err = rp_conf_add_edit(c, f->route, RP_EDIT_SET, true, name, value, &e); break;
    case 'c':
        err = rp_conf_add_cond(c, f->route, RP_COND_SOURCE, RP_COND_IN, false, name, value, &e);
        break;
    case 'x':
        err = rp_conf_add_cond(c, f->route, RP_COND_HEADER, RP_COND_REGEX, false, name, value, &e);
        break;
    case 'w': err = rp_conf_add_page(c, RP_LEVEL_ROUTE, f->route, name, value, value, &e); break;
    case 'r': err = rp_conf_set_route_text(c, f->route, name, value); break;
    case 'T': err = rp_conf_set_text(c, name, value); break;
    default: break;
    }
    check_words(err, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {.c = rp_conf_new(1)};
    struct rp_conf_error e = {0};
    rp_str rest = rp_str_of((const char *)data, size);
    begin(&f);
    for (int i = 0; i < LINES && rest.len; i++) {
        size_t end = rp_str_find(rest, '\n', 0);
        if (end > 0) add_line(&f, rp_str_head(rest, end));
        rest = rp_str_from(rest, RP_MIN(end + 1, rest.len));
    }
    if (rp_conf_freeze(f.c, &e) != RP_OK) RP_CHECK(e.code < 0 && e.text[0]);
    rp_conf_free(&f.c);
    return 0;
}
