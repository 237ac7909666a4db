/* SPDX-License-Identifier: MIT
 *
 * multipart_fuzz: the reader on any bytes, whole and cut into pieces: both see the same parts, and
 * what was given out never has a delimiter in it.
 *
 * The first byte says how it is cut, the first line is a Content-Type, the rest is the body.
 */
#include "base/check.h"
#include "http/multipart.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
    struct rp_buf all; /* names, data and ends, told apart */
    rp_err e;
};

static void note(struct seen *s, const struct rp_multipart *m, enum rp_multipart_event event)
{
    switch (event) {
    case RP_MULTIPART_PART:
        RP_CHECK(m->name.len <= RP_MULTIPART_HEAD_MOST);
        rp_buf_add_ch(&s->all, 1);
        rp_buf_add(&s->all, m->name);
        rp_buf_add_ch(&s->all, m->has_filename ? 2 : 3);
        rp_buf_add(&s->all, m->filename);
        rp_buf_add_ch(&s->all, 4);
        break;
    case RP_MULTIPART_DATA:
        RP_CHECK(m->data.len > 0);
        rp_buf_add(&s->all, m->data);
        break;
    case RP_MULTIPART_END: rp_buf_add_ch(&s->all, 5); break;
    case RP_MULTIPART_DONE: rp_buf_add_ch(&s->all, 6); break;
    }
}

static void read_all(rp_str boundary, rp_str body, size_t step, struct seen *s)
{
    struct rp_multipart m;
    rp_buf_init(&s->all, 1 << 24);
    s->e = rp_multipart_init(&m, boundary, 20);
    do {
        rp_str piece = rp_str_head(body, RP_MIN(step, body.len));
        body = rp_str_from(body, piece.len);
        if (s->e >= 0) s->e = rp_multipart_feed(&m, piece);
        enum rp_multipart_event event;
        while (s->e >= 0 && (s->e = rp_multipart_next(&m, &event)) == RP_OK) note(s, &m, event);
    } while (body.len > 0 && s->e >= 0);
    rp_multipart_fini(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char boundary[RP_MULTIPART_BOUNDARY_MOST];
    size_t boundary_n;
    if (n < 2) return 0;
    rp_str in = rp_str_of((const char *)data + 1, n - 1);
    size_t end = rp_str_find(in, '\n', 0);
    rp_str type = rp_str_head(in, end), body = rp_str_from(in, RP_MIN(end + 1, in.len));
    if (rp_multipart_boundary(type, boundary, &boundary_n) != RP_OK) return 0;
    RP_CHECK(boundary_n > 0 && boundary_n <= RP_MULTIPART_BOUNDARY_MOST);
    struct seen whole, cut;
    read_all(rp_str_of(boundary, boundary_n), body, body.len + 1, &whole);
    read_all(rp_str_of(boundary, boundary_n), body, (size_t)data[0] % 32 + 1, &cut);
    /* Broken at the same place; what came before may have been given out in part. */
    RP_CHECK((whole.e < 0) == (cut.e < 0));
    if (whole.e >= 0) RP_CHECK(rp_str_eq(rp_buf_str(&whole.all), rp_buf_str(&cut.all)));
    rp_buf_fini(&whole.all);
    rp_buf_fini(&cut.all);
    return 0;
}
