/* SPDX-License-Identifier: MIT
 *
 * Fuzzer of what the master reads from processes that ran the site's code: the boot plan and the
 * bundle of sources. What is taken lies within the input, and a bundle is saved as it was loaded.
 */
#include "process/plan.h"
#include "script/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(rp_str s, rp_str all)
{
    if (s.len == 0) return;
    RP_CHECK(s.ptr >= all.ptr && s.ptr + s.len <= all.ptr + all.len);
}

static void check_text(rp_str s, rp_str all)
{
    check_inside(s, all);
    for (size_t i = 0; i < s.len; i++) RP_CHECK((unsigned char)s.ptr[i] >= 0x20);
}

static void check_bundle(rp_str flat)
{
    struct rp_bundle *b = NULL;
    struct rp_buf again;
    rp_str bytes;
    rp_err e = rp_bundle_load(flat, &b);
    RP_CHECK(e == RP_OK || e == RP_E_INVALID);
    if (e != RP_OK) return;
    RP_CHECK(!rp_bundle_collects(b));
    e = rp_bundle_read(b, rp_bundle_site(b), &bytes);
    RP_CHECK(e == RP_OK || e == RP_E_NOT_FOUND || e == RP_E_INVALID);
    rp_buf_init(&again, RP_PLAN_BYTES_MOST);
    if (rp_bundle_save(b, &again) == RP_OK) {
        struct rp_bundle *same = NULL;
        e = rp_bundle_load(rp_buf_str(&again), &same);
        RP_CHECK(e == RP_OK && rp_str_eq(rp_bundle_site(b), rp_bundle_site(same)));
        rp_bundle_free(&same);
    }
    rp_buf_fini(&again);
    rp_bundle_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rp_str all = rp_str_of((const char *)data, size);
    struct rp_plan *p = NULL;
    rp_err e = rp_plan_load(all, &p);
    RP_CHECK(e == RP_OK || e == RP_E_INVALID);
    check_bundle(all);
    if (e != RP_OK) return 0;
    RP_CHECK(p->workers >= 1 && p->workers <= RP_PLAN_WORKERS_MOST);
    RP_CHECK(p->error_log_file < p->files_n || p->error_log_file == RP_PLAN_NO_FILE);
    check_text(p->user, all);
    check_text(p->pid_file, all);
    for (uint32_t i = 0; i < p->listeners_n; i++) {
        char text[RP_ADDR_TEXT_BYTES];
        check_text(p->listeners[i].text, all);
        RP_CHECK(rp_addr_put(&p->listeners[i].addr, text) < sizeof text);
    }
    for (uint32_t i = 0; i < p->files_n; i++) check_text(p->files[i], all);
    for (uint32_t i = 0; i < p->zones_n; i++) {
        check_text(p->zones[i].name, all);
        RP_CHECK(p->zones[i].kind >= 1 && p->zones[i].kind <= 7);
    }
    RP_CHECK(p->watched_n <= RP_PLAN_WATCHED_MOST);
    for (uint32_t i = 0; i < p->watched_n; i++) check_text(p->watched[i].path, all);
    check_inside(p->bundle, all);
    check_bundle(p->bundle);
    rp_plan_free(&p);
    return 0;
}
