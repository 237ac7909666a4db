/* SPDX-License-Identifier: MIT
 *
 * lookup_fuzz: the files of sets: any lines make a set or an error; what is in the file is found,
 * and networks agree with net/cidr, which was written for itself.
 *
 * The first byte is the type, the rest the file.
 */
#include "base/check.h"
#include "base/mem.h"
#include "net/addr.h"
#include "script/lookup_line.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct rp_zone *zone;
static struct rp_lookup *set;

static void open_set(void)
{
    if (set) return;
    RP_CHECK(rp_zone_new(RP_STR("fuzz"), 1 << 20, &zone) == RP_OK);
    RP_CHECK(rp_lookup_new(zone, &set) == RP_OK);
}

static rp_err add_all(struct rp_lookup_maker *m, enum rp_lookup_type type, rp_str text)
{
    rp_err e = RP_OK;
    while (text.len > 0 && e == RP_OK) {
        size_t end = rp_str_find(text, '\n', 0);
        e = rp_lookup_line_add(m, type, rp_str_head(text, end));
        text = rp_str_from(text, RP_MIN(end + 1, text.len));
    }
    return e;
}

/* Each word of the file: is it found when the model has it? */
static void check_nets(rp_str text, struct rp_cidr_set *model)
{
    while (text.len > 0) {
        size_t end = 0;
        struct rp_lookup_hit hit;
        struct rp_addr a;
        while (end < text.len && !strchr("\n\r \t/#;", text.ptr[end])) end++;
        if (rp_addr_parse_ip(rp_str_head(text, end), &a) == RP_OK && !a.scope) {
            rp_err e = rp_lookup_net(set, a.ip, &hit);
            RP_CHECK((e == RP_OK) == rp_cidr_set_has(model, &a));
            RP_CHECK(e == RP_OK || e == RP_E_NOT_FOUND);
        }
        text = rp_str_from(text, RP_MIN(end + 1, text.len));
    }
}

static void model_nets(rp_str text, struct rp_cidr_set *model)
{
    while (text.len > 0) {
        size_t end = rp_str_find(text, '\n', 0), word = 0;
        rp_str line = rp_str_trim(rp_str_head(text, end));
        while (word < line.len && !strchr("\r \t#;", line.ptr[word])) word++;
        (void)rp_cidr_set_add(model, rp_str_head(line, word)); /* comments are no networks */
        text = rp_str_from(text, RP_MIN(end + 1, text.len));
    }
}

static void check_texts(rp_str text)
{
    while (text.len > 0) {
        struct rp_lookup_hit hit;
        size_t end = rp_str_find(text, '\n', 0);
        rp_str line = rp_str_head(text, end);
        if (rp_str_ends(line, RP_STR("\r"))) line.len--;
        rp_str key = rp_str_head(line, rp_str_find(line, '\t', 0));
        if (key.len > 0 && line.ptr[0] != '#') RP_CHECK(rp_lookup_text(set, key, &hit) == RP_OK);
        text = rp_str_from(text, RP_MIN(end + 1, text.len));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct rp_lookup_maker *m;
    struct rp_lookup_id id = {.type = 1};
    struct rp_lookup_hit hit;
    if (n == 0 || n > 65536) return 0;
    open_set();
    enum rp_lookup_type type = (enum rp_lookup_type)(RP_LOOKUP_NETS + data[0] % 4);
    rp_str text = rp_str_of((const char *)data + 1, n - 1);
    RP_CHECK(rp_lookup_begin(set, type, &m) == RP_OK);
    if (add_all(m, type, text) != RP_OK) {
        rp_lookup_drop(&m, NULL);
        return 0;
    }
    if (rp_lookup_publish(&m, &id, 1) != RP_OK) return 0;
    if (type == RP_LOOKUP_TEXTS) check_texts(text);
    (void)rp_lookup_domain(set, rp_str_head(text, RP_MIN(text.len, (size_t)300)), &hit);
    if (type == RP_LOOKUP_NETS) {
        struct rp_arena arena;
        rp_arena_init(&arena, NULL, 0, 1 << 26);
        struct rp_cidr_set *model = rp_cidr_set_make(&arena, 65536);
        model_nets(text, model);
        check_nets(text, model);
        rp_arena_reset(&arena);
    }
    return 0;
}
