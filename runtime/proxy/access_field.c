/* SPDX-License-Identifier: MIT
 *
 * access_field: see access_field.h.
 */
#include "proxy/access_field.h"

#include "base/buf.h"
#include "http/field.h"
#include "http/token.h"
#include "proxy/access.h"

enum { LABEL_MAX_BYTES = 4096 };

static const char *const NAMES[] = {
#define A(id, name, doc) [RP_ACCESS_##id] = name,
#include "proxy/access.tbl"
#undef A
};

static const struct {
    const char *prefix;
    uint8_t kind;
} FAMILIES[] = {
    {"request.", RP_ACCESS_REQUEST_HEADER},
    {"response.", RP_ACCESS_RESPONSE_HEADER},
    {"ctx.", RP_ACCESS_CTX},
};

const char *const rp_access_default_fields[] = {
    "time",   "id",    "remote_ip", "method",   "host",          "uri",        "protocol",
    "status", "bytes", "duration",  "upstream", "upstream_time", "user_agent", "referer",
};
_Static_assert(RP_COUNT(rp_access_default_fields) == RP_ACCESS_DEFAULT_FIELDS, "count them");

/* Kind and key of a name; false: no such field. */
static bool find(rp_str name, struct rp_access_field *out)
{
    for (size_t i = 0; i < RP_COUNT(NAMES); i++) {
        if (!rp_str_eq(name, rp_str_z(NAMES[i]))) continue;
        out->kind = (uint8_t)i;
        return true;
    }
    for (size_t i = 0; i < RP_COUNT(FAMILIES); i++) {
        rp_str prefix = rp_str_z(FAMILIES[i].prefix);
        if (!rp_str_starts(name, prefix)) continue;
        out->kind = FAMILIES[i].kind;
        out->key = rp_str_from(name, prefix.len);
        if (out->kind == RP_ACCESS_CTX) return out->key.len > 0;
        out->header = rp_token_header(out->key.ptr, out->key.len);
        return rp_field_is_name(out->key);
    }
    return false;
}

bool rp_access_is_field(rp_str name)
{
    struct rp_access_field field = {0};
    return find(name, &field);
}

rp_err rp_access_field_make(struct rp_arena *a, rp_str name, struct rp_access_field *out)
{
    struct rp_buf label;
    *out = (struct rp_access_field){.name = rp_arena_copy(a, name)};
    if (!out->name.ptr) return RP_E_CAP;
    if (!find(out->name, out)) return RP_E_NOT_FOUND;
    rp_buf_init(&label, LABEL_MAX_BYTES);
    rp_buf_add(&label, RP_STR(",\""));
    rp_buf_add_json(&label, name);
    rp_buf_add(&label, RP_STR("\":"));
    if (!label.failed) out->label = rp_arena_copy(a, rp_buf_str(&label));
    rp_buf_fini(&label);
    return out->label.ptr ? RP_OK : RP_E_CAP;
}
