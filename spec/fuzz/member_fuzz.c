/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of members' lines: what is taken is written as it was read, and a set of such lines is read
 * whole.
 */
#include "proxy/conf.h"
#include "proxy/member.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(rp_str line)
{
    struct rp_member m, again;
    struct rp_buf out;
    rp_str key, value;
    uint32_t n = 0;
    if (memchr(line.ptr, '\n', line.len) || rp_member_parse(line, &m) != RP_OK) return;
    RP_CHECK(m.name.len > 0 && m.name.ptr >= line.ptr);
    RP_CHECK(m.name.ptr + m.name.len <= line.ptr + line.len);
    RP_CHECK(m.weight >= 1 && m.weight <= RP_MEMBER_WEIGHT_MOST && m.tier < RP_CONF_TIERS);
    for (rp_str rest = m.meta; rp_member_pair(&rest, &key, &value); n++)
        RP_CHECK(rp_member_is_text(key) && rp_member_is_text(value));
    RP_CHECK(n == m.meta_n && n <= RP_MEMBER_META_MOST);
    rp_buf_init(&out, 2 * line.len + 256);
    rp_member_put(&out, &m);
    rp_str text = rp_buf_str(&out), rest = text;
    RP_CHECK(rp_member_next(&rest, &again) && rest.len == 0);
    RP_CHECK(rp_str_eq(again.name, m.name) && again.gone == m.gone && again.weak == m.weak);
    RP_CHECK(again.weight == m.weight && again.tier == m.tier && again.max_conns == m.max_conns);
    RP_CHECK(rp_str_eq(again.zone, m.zone) && rp_str_eq(again.identity, m.identity));
    RP_CHECK(rp_str_eq(again.meta, m.meta) && again.meta_n == m.meta_n);
    rp_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rp_member m;
    uint32_t lines, n = 0;
    rp_str text = rp_str_of((const char *)data, size), rest = text;
    if (size == 0) return 0;
    rp_err e = rp_member_check(text, &lines);
    while (rp_member_next(&rest, &m)) n++;
    RP_CHECK(e != RP_OK || n == lines);
    check_line(rp_str_head(text, rp_str_find(text, '\n', 0)));
    return 0;
}
