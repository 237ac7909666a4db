/* SPDX-License-Identifier: MIT
 *
 * lookup: see lookup.h; looking. Making is lookup_make.c.
 */
#include "base/mem.h"
#include "shm/lookup_in.h"

enum {
    LINE = 64,
    HEAD = 512,
    LEAST = 16 * 1024, /* bytes of an image */
    TRIES = 8,         /* images would have to be made faster than they are looked at */
    DOMAIN_MOST = 253, /* RFC 1035 §2.3.4, without the root's dot */
};

_Static_assert(sizeof(struct rp_lookup_head) <= HEAD, "images start on a line");
_Static_assert(sizeof(struct rp_lookup_image) <= LINE, "");

rp_err rp_lookup_new(struct rp_zone *z, struct rp_lookup **out)
{
    size_t bytes = z->bytes - RP_ZONE_HEAD_BYTES;
    size_t room = bytes > HEAD ? ((bytes - HEAD) / 2) & ~(size_t)(LINE - 1) : 0;
    void *base;
    bool fresh;
    if (room < LEAST) return RP_E_INVALID;
    rp_err e = rp_zone_part(z, RP_STR("set1"), bytes, &base, &fresh);
    if (e != RP_OK) return e;
    struct rp_lookup_head *head = base;
    if (fresh && !rp_lock_make(&head->lock)) return RP_E_OS;
    struct rp_lookup *l = rp_alloc(sizeof *l);
    char *first = (char *)base + HEAD;
    *l = (struct rp_lookup){.head = head, .images = {first, first + room}, .room = room};
    *out = l;
    return RP_OK;
}

void rp_lookup_free(struct rp_lookup **l)
{
    rp_free(*l);
    *l = NULL;
}

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

bool rp_lookup_is(const struct rp_lookup *l, const struct rp_lookup_id *id)
{
    return load(&l->head->version) != 0 && memcmp(&l->head->id, id, sizeof *id) == 0;
}

bool rp_lookup_is_bad(const struct rp_lookup *l, const struct rp_lookup_id *id)
{
    return memcmp(&l->head->bad, id, sizeof *id) == 0;
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* The next part: n items of `size` bytes; NULL when they do not fit. */
static void *part(char *base, size_t room, size_t *at, uint64_t n, size_t size)
{
    size_t from = (*at + RP_LOOKUP_ALIGN - 1) & ~(size_t)(RP_LOOKUP_ALIGN - 1);
    if (from > room || n > (room - from) / size) return NULL;
    *at = from + (size_t)n * size;
    return base + from;
}

bool rp_lookup_divide(char *base, size_t room, const struct rp_lookup_image *image,
                      struct rp_lookup_parts *out)
{
    size_t at = LINE;
    uint64_t index_n = image->indexed ? RP_LOOKUP_INDEX_N : 0;
    out->index = part(base, room, &at, index_n, sizeof(uint32_t));
    out->start4 = part(base, room, &at, image->ip4_n, sizeof(uint32_t));
    out->owner4 = part(base, room, &at, image->ip4_n, sizeof(uint32_t));
    out->start6 = part(base, room, &at, image->ip6_n, sizeof(struct rp_lookup_start6));
    out->owner6 = part(base, room, &at, image->ip6_n, sizeof(uint32_t));
    out->slots = part(base, room, &at, image->slots_n, sizeof(uint32_t));
    out->entries = part(base, room, &at, image->entries_n, sizeof(struct rp_lookup_entry));
    out->bytes = part(base, room, &at, image->bytes_n, 1);
    out->whole = at;
    return out->index && out->start4 && out->owner4 && out->start6 && out->owner6 && out->slots &&
           out->entries && out->bytes && (image->slots_n & (image->slots_n - 1)) == 0;
}

/* An image as one look sees it: numbers are copied, so that what is checked is what is used. */
struct sight {
    struct rp_lookup_image image;
    struct rp_lookup_parts parts;
};

static const struct rp_lookup_entry *entry_at(const struct sight *s, uint32_t i,
                                              struct rp_lookup_entry *copy)
{
    if (i < 1 || i > s->image.entries_n) return NULL;
    *copy = s->parts.entries[i - 1];
    return copy;
}

static rp_err give(const struct sight *s, const struct rp_lookup_entry *e, size_t key_n,
                   struct rp_lookup_hit *hit)
{
    uint64_t from = (uint64_t)e->at + key_n;
    if (from + e->value_n > s->image.bytes_n) return RP_E_NOT_FOUND;
    hit->n = e->key_n;
    hit->value_n = e->value_n;
    memcpy(hit->value, s->parts.bytes + from, e->value_n);
    return RP_OK;
}

/* ---- the ways to look ------------------------------------------------------------------------ */

/* The last start that is not greater; -1: none. */
static int64_t search4(const struct sight *s, uint32_t n)
{
    uint32_t low = 0, high = s->image.ip4_n;
    if (s->image.indexed) {
        /* index[p]: how many starts are below p << 16 */
        low = RP_MIN(s->parts.index[n >> 16], high);
        high = RP_MIN(s->parts.index[(n >> 16) + 1], high);
    }
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (s->parts.start4[mid] <= n) low = mid + 1;
        else high = mid;
    }
    return (int64_t)low - 1;
}

static int64_t search6(const struct sight *s, uint64_t high64, uint64_t low64)
{
    uint32_t low = 0, high = s->image.ip6_n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        struct rp_lookup_start6 at = s->parts.start6[mid];
        if (at.high < high64 || (at.high == high64 && at.low <= low64)) low = mid + 1;
        else high = mid;
    }
    return (int64_t)low - 1;
}

static uint64_t number(const uint8_t *p, size_t n)
{
    uint64_t out = 0;
    for (size_t i = 0; i < n; i++) out = out << 8 | p[i];
    return out;
}

static rp_err look_net(const struct sight *s, rp_str ip, struct rp_lookup_hit *hit)
{
    const uint8_t *p = (const uint8_t *)ip.ptr;
    uint64_t high = number(p, 8), low = number(p + 8, 8);
    struct rp_lookup_entry copy;
    uint32_t owner = 0;
    if (s->image.type != RP_LOOKUP_NETS) return RP_E_NOT_FOUND;
    bool is_ip4 = high == 0 && low >> 32 == 0xffff;
    int64_t at = is_ip4 ? search4(s, (uint32_t)low) : search6(s, high, low);
    if (at >= 0) owner = is_ip4 ? s->parts.owner4[at] : s->parts.owner6[at];
    const struct rp_lookup_entry *e = entry_at(s, owner, &copy);
    return e ? give(s, e, 0, hit) : RP_E_NOT_FOUND;
}

static rp_err find_text(const struct sight *s, rp_str key, struct rp_lookup_hit *hit)
{
    uint32_t mask = s->image.slots_n - 1;
    uint32_t slot = (uint32_t)rp_hash_keyed(&s->image.key, key);
    struct rp_lookup_entry copy;
    for (uint32_t n = 0; n < s->image.slots_n; n++) {
        const struct rp_lookup_entry *e = entry_at(s, s->parts.slots[(slot + n) & mask], &copy);
        if (!e) return RP_E_NOT_FOUND;
        if (e->key_n != key.len || (uint64_t)e->at + key.len > s->image.bytes_n) continue;
        if (memcmp(s->parts.bytes + e->at, key.ptr, key.len) == 0) return give(s, e, key.len, hit);
    }
    return RP_E_NOT_FOUND;
}

static rp_err look_text(const struct sight *s, rp_str key, struct rp_lookup_hit *hit)
{
    return s->image.type == RP_LOOKUP_TEXTS ? find_text(s, key, hit) : RP_E_NOT_FOUND;
}

/* The name itself, then what is behind each of its dots: the longest entry wins. */
static rp_err look_domain(const struct sight *s, rp_str name, struct rp_lookup_hit *hit)
{
    if (s->image.type != RP_LOOKUP_DOMAINS) return RP_E_NOT_FOUND;
    while (name.len > 0) {
        rp_err e = find_text(s, name, hit);
        if (e != RP_E_NOT_FOUND) return e;
        size_t dot = rp_str_find(name, '.', 0);
        if (dot == name.len) break;
        name = rp_str_from(name, dot + 1);
    }
    return RP_E_NOT_FOUND;
}

/* ---- a look ---------------------------------------------------------------------------------- */

typedef rp_err (*look_fn)(const struct sight *s, rp_str key, struct rp_lookup_hit *hit);

/* The image that is read now. *seq: for `is_whole` afterwards. */
static rp_err see(const struct rp_lookup *l, struct sight *s, uint32_t *which, uint64_t *seq)
{
    if (load(&l->head->version) == 0) return RP_E_NOT_FOUND;
    *which = __atomic_load_n(&l->head->active, __ATOMIC_ACQUIRE) & 1;
    *seq = load(&l->head->seq[*which]);
    if (*seq & 1) return RP_E_BUSY;
    memcpy(&s->image, l->images[*which], sizeof s->image);
    return rp_lookup_divide(l->images[*which], l->room, &s->image, &s->parts) ? RP_OK : RP_E_BUSY;
}

static bool is_whole(const struct rp_lookup *l, uint32_t which, uint64_t seq)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&l->head->seq[which], __ATOMIC_RELAXED) == seq;
}

static rp_err look(const struct rp_lookup *l, look_fn fn, rp_str key, struct rp_lookup_hit *hit)
{
    for (int i = 0; i < TRIES; i++) {
        struct sight s;
        uint32_t which;
        uint64_t seq;
        rp_err e = see(l, &s, &which, &seq);
        if (e == RP_E_NOT_FOUND) return e;
        if (e != RP_OK) continue;
        e = fn(&s, key, hit);
        if (is_whole(l, which, seq)) return e;
    }
    return RP_E_BUSY;
}

rp_err rp_lookup_net(const struct rp_lookup *l, const uint8_t ip[16], struct rp_lookup_hit *hit)
{
    return look(l, look_net, rp_str_of((const char *)ip, 16), hit);
}

rp_err rp_lookup_text(const struct rp_lookup *l, rp_str key, struct rp_lookup_hit *hit)
{
    return key.len <= RP_LOOKUP_KEY_MOST ? look(l, look_text, key, hit) : RP_E_NOT_FOUND;
}

rp_err rp_lookup_domain(const struct rp_lookup *l, rp_str name, struct rp_lookup_hit *hit)
{
    char lower[DOMAIN_MOST];
    if (name.len > 0 && name.ptr[name.len - 1] == '.') name.len--; /* the root's */
    if (name.len == 0 || name.len > sizeof lower) return RP_E_NOT_FOUND;
    for (size_t i = 0; i < name.len; i++) lower[i] = rp_lower(name.ptr[i]);
    return look(l, look_domain, rp_str_of(lower, name.len), hit);
}

rp_err rp_lookup_line(const struct rp_lookup *l, uint32_t i, uint64_t *version, char *out,
                      uint32_t *out_n)
{
    struct sight s;
    struct rp_lookup_entry copy;
    uint32_t which;
    uint64_t seq, now = load(&l->head->version);
    if (*version == 0) *version = now;
    if (*version != now) return RP_E_BUSY;
    rp_err e = see(l, &s, &which, &seq);
    if (e != RP_OK) return e;
    const struct rp_lookup_entry *one = entry_at(&s, i + 1, &copy);
    if (!one || s.image.type != RP_LOOKUP_LINES) return RP_E_NOT_FOUND;
    if (one->key_n > RP_LOOKUP_LINE_MOST || (uint64_t)one->at + one->key_n > s.image.bytes_n)
        return RP_E_BUSY;
    memcpy(out, s.parts.bytes + one->at, one->key_n);
    *out_n = one->key_n;
    return is_whole(l, which, seq) && load(&l->head->version) == now ? RP_OK : RP_E_BUSY;
}

void rp_lookup_stats(const struct rp_lookup *l, struct rp_lookup_stats *out)
{
    struct sight s;
    uint32_t which;
    uint64_t seq;
    *out = (struct rp_lookup_stats){.version = load(&l->head->version), .room = l->room};
    if (see(l, &s, &which, &seq) != RP_OK) return;
    out->entries = s.image.entries_n;
    out->bytes = s.parts.whole;
    out->made_s = load(&l->head->made_s);
}
