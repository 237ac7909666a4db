/* SPDX-License-Identifier: MIT
 *
 * lookup_make: making an image. Entries are gathered in heap memory, at most as much as an image
 * may have; laying out writes the image that is not read. A death anywhere leaves the other one,
 * and an odd `seq` that nobody looks behind.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "shm/lookup_in.h"

typedef unsigned __int128 u128;

enum {
    FIRST = 1024,
    STACK = 130 /* nets that may lie in one another: prefixes of 0 to 128 bits */
};

struct net {
    u128 start;
    uint32_t entry; /* from 1, in the order of the file */
    uint8_t bits;
    bool dropped;
};

struct rp_lookup_maker {
    struct rp_lookup *lookup;
    enum rp_lookup_type type;
    struct net *nets;
    struct rp_lookup_entry *entries;
    char *bytes;
    uint32_t n, room, ip4_n;
    size_t bytes_n, bytes_room;
};

rp_err rp_lookup_begin(struct rp_lookup *l, enum rp_lookup_type type, struct rp_lookup_maker **out)
{
    rp_err e = rp_lock_try(&l->head->lock);
    if (e == RP_E_BUSY) return RP_AGAIN;
    if (e == RP_END) e = rp_lock_mend(&l->head->lock); /* nothing is to be put in order */
    if (e != RP_OK) return e;
    struct rp_lookup_maker *m = rp_alloc(sizeof *m);
    *m = (struct rp_lookup_maker){.lookup = l, .type = type};
    *out = m;
    return RP_OK;
}

void rp_lookup_drop(struct rp_lookup_maker **m, const struct rp_lookup_id *bad)
{
    if (!*m) return;
    if (bad) (*m)->lookup->head->bad = *bad; /* torn by a death: it is tried once more */
    rp_lock_leave(&(*m)->lookup->head->lock);
    rp_free((*m)->nets);
    rp_free((*m)->entries);
    rp_free((*m)->bytes);
    rp_free(*m);
    *m = NULL;
}

/* ---- gathering ------------------------------------------------------------------------------- */

static rp_err grow(struct rp_lookup_maker *m, size_t more)
{
    if (m->n >= m->lookup->room / sizeof *m->entries) return RP_E_CAP;
    if (m->bytes_n + more > m->lookup->room || m->bytes_n + more > UINT32_MAX) return RP_E_CAP;
    if (m->n == m->room) {
        m->room = m->room ? m->room * 2 : FIRST;
        m->entries = rp_realloc(m->entries, m->room * sizeof *m->entries);
        if (m->type == RP_LOOKUP_NETS) m->nets = rp_realloc(m->nets, m->room * sizeof *m->nets);
    }
    if (m->bytes_n + more > m->bytes_room) {
        m->bytes_room = RP_MAX(m->bytes_room * 2, m->bytes_n + more + FIRST);
        m->bytes = rp_realloc(m->bytes, m->bytes_room);
    }
    return RP_OK;
}

static void put_bytes(struct rp_lookup_maker *m, rp_str s)
{
    if (s.len) memcpy(m->bytes + m->bytes_n, s.ptr, s.len);
    m->bytes_n += s.len;
}

static u128 mask_of(unsigned bits)
{
    return bits == 0 ? 0 : ~(u128)0 << (128 - bits);
}

static bool is_ip4(const struct net *net)
{
    return net->bits >= 96 && net->start >> 32 == 0xffff;
}

rp_err rp_lookup_add_net(struct rp_lookup_maker *m, const uint8_t ip[16], uint32_t bits,
                         rp_str value)
{
    u128 n = 0;
    if (value.len > RP_LOOKUP_VALUE_MOST || bits > 128 || m->type != RP_LOOKUP_NETS)
        return RP_E_INVALID;
    rp_err e = grow(m, value.len);
    if (e != RP_OK) return e;
    for (size_t i = 0; i < 16; i++) n = n << 8 | ip[i];
    m->entries[m->n] = (struct rp_lookup_entry){
        .at = (uint32_t)m->bytes_n, .key_n = (uint16_t)bits, .value_n = (uint8_t)value.len};
    m->nets[m->n] =
        (struct net){.start = n & mask_of(bits), .entry = m->n + 1, .bits = (uint8_t)bits};
    put_bytes(m, value);
    m->n++;
    return RP_OK;
}

rp_err rp_lookup_add_text(struct rp_lookup_maker *m, rp_str key, rp_str value)
{
    size_t most =
        m->type == RP_LOOKUP_LINES ? (size_t)RP_LOOKUP_LINE_MOST : (size_t)RP_LOOKUP_KEY_MOST;
    if (key.len == 0 || key.len > most || value.len > RP_LOOKUP_VALUE_MOST) return RP_E_INVALID;
    if (m->type == RP_LOOKUP_NETS) return RP_E_INVALID;
    rp_err e = grow(m, key.len + value.len);
    if (e != RP_OK) return e;
    m->entries[m->n++] = (struct rp_lookup_entry){
        .at = (uint32_t)m->bytes_n, .key_n = (uint16_t)key.len, .value_n = (uint8_t)value.len};
    put_bytes(m, key);
    put_bytes(m, value);
    return RP_OK;
}

/* ---- nets as starts -------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const struct net *x = a, *y = b;
    if (x->start != y->start) return x->start > y->start ? 1 : -1;
    if (x->bits != y->bits) return x->bits > y->bits ? 1 : -1;
    return x->entry > y->entry ? 1 : -1;
}

/* Starts of one family, as they come: written when there is somewhere to, counted in any case. */
struct starts {
    const struct rp_lookup_parts *to; /* NULL: count */
    bool ip4;
    uint32_t n, last_owner;
    u128 last;
};

static void put_owner(struct starts *s, uint32_t owner)
{
    if (!s->to) return;
    if (s->ip4) s->to->owner4[s->n - 1] = owner;
    else s->to->owner6[s->n - 1] = owner;
}

/* From `start` on it is `owner`. Starts never go back; of two that are equal the later one
 * counts. */
static void emit(struct starts *s, u128 start, uint32_t owner)
{
    if (s->n > 0 && s->last == start) {
        put_owner(s, owner);
    } else {
        if (s->to && s->ip4) s->to->start4[s->n] = (uint32_t)start;
        if (s->to && !s->ip4)
            s->to->start6[s->n] =
                (struct rp_lookup_start6){(uint64_t)(start >> 64), (uint64_t)start};
        s->n++;
        put_owner(s, owner);
    }
    s->last = start;
    s->last_owner = owner;
}

static u128 last_of(const struct net *net)
{
    return net->start | ~mask_of(net->bits);
}

/* Leave the nets that end before `start`: behind each it is again the one around it. */
static void leave(struct starts *s, const struct net **stack, uint32_t *depth, const u128 *start,
                  u128 end)
{
    while (*depth > 0 && (!start || last_of(stack[*depth - 1]) < *start)) {
        u128 last = last_of(stack[--*depth]);
        if (last == end) continue; /* nothing is behind it */
        emit(s, last + 1, *depth > 0 ? stack[*depth - 1]->entry : 0);
    }
}

static void sweep(const struct rp_lookup_maker *m, struct starts *s)
{
    const struct net *stack[STACK];
    uint32_t depth = 0;
    u128 end = s->ip4 ? ((u128)0xffff << 32 | UINT32_MAX) : ~(u128)0;
    for (uint32_t i = 0; i < m->n; i++) {
        const struct net *net = &m->nets[i];
        if (net->dropped || is_ip4(net) != s->ip4) continue;
        leave(s, stack, &depth, &net->start, end);
        emit(s, net->start, net->entry);
        if (depth < STACK) stack[depth++] = net;
    }
    leave(s, stack, &depth, NULL, end);
}

/* The same net twice: the later line counts. */
static void sort_nets(struct rp_lookup_maker *m)
{
    if (m->n) qsort(m->nets, m->n, sizeof *m->nets, compare);
    for (uint32_t i = 1; i < m->n; i++)
        if (m->nets[i].start == m->nets[i - 1].start && m->nets[i].bits == m->nets[i - 1].bits)
            m->nets[i - 1].dropped = true;
}

static void index_starts(const struct rp_lookup_parts *to, uint32_t n)
{
    uint32_t at = 0;
    for (uint32_t p = 0; p < RP_LOOKUP_INDEX_N; p++) {
        while (at < n && (uint64_t)to->start4[at] < (uint64_t)p << 16) at++;
        to->index[p] = at;
    }
}

/* ---- texts by hash --------------------------------------------------------------------------- */

static uint32_t slots_for(uint32_t n)
{
    uint64_t slots = 16;
    while (slots < (uint64_t)n * 3 / 2 + 1) slots *= 2;
    return slots <= UINT32_MAX / 2 ? (uint32_t)slots : 0;
}

static rp_str key_of(const struct rp_lookup_parts *to, const struct rp_lookup_entry *e)
{
    return rp_str_of(to->bytes + e->at, e->key_n);
}

/* The same text twice: the later line counts. */
static void put_in_slot(const struct rp_lookup_parts *to, const struct rp_lookup_image *image,
                        uint32_t i)
{
    rp_str key = key_of(to, &to->entries[i]);
    uint32_t slot = (uint32_t)rp_hash_keyed(&image->key, key);
    for (;; slot++) {
        uint32_t *here = &to->slots[slot & (image->slots_n - 1)];
        if (*here == 0 || rp_str_eq(key_of(to, &to->entries[*here - 1]), key)) {
            *here = i + 1;
            return;
        }
    }
}

/* ---- laying out ------------------------------------------------------------------------------ */

static struct rp_lookup_image measure(struct rp_lookup_maker *m)
{
    struct rp_lookup_image image = {.type = m->type, .entries_n = m->n, .bytes_n = m->bytes_n};
    if (m->type == RP_LOOKUP_NETS) {
        struct starts ip4 = {.ip4 = true}, ip6 = {.ip4 = false};
        sort_nets(m);
        sweep(m, &ip4);
        sweep(m, &ip6);
        image.ip4_n = ip4.n;
        image.ip6_n = ip6.n;
        image.indexed = ip4.n >= RP_LOOKUP_INDEX_FROM;
    } else if (m->type != RP_LOOKUP_LINES) {
        image.slots_n = slots_for(m->n);
        rp_hash_key_draw(&image.key);
    }
    return image;
}

static void lay_out(struct rp_lookup_maker *m, const struct rp_lookup_image *image,
                    const struct rp_lookup_parts *to)
{
    if (m->n) memcpy(to->entries, m->entries, sizeof *m->entries * m->n);
    if (m->bytes_n) memcpy(to->bytes, m->bytes, m->bytes_n);
    if (m->type == RP_LOOKUP_NETS) {
        struct starts ip4 = {.to = to, .ip4 = true}, ip6 = {.to = to};
        sweep(m, &ip4);
        sweep(m, &ip6);
        if (image->indexed) index_starts(to, image->ip4_n);
    } else if (image->slots_n) {
        memset(to->slots, 0, sizeof *to->slots * image->slots_n);
        for (uint32_t i = 0; i < m->n; i++) put_in_slot(to, image, i);
    }
}

static void store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

rp_err rp_lookup_publish(struct rp_lookup_maker **m, const struct rp_lookup_id *id, uint64_t now_s)
{
    struct rp_lookup *l = (*m)->lookup;
    struct rp_lookup_head *head = l->head;
    struct rp_lookup_image image = measure(*m);
    struct rp_lookup_parts parts;
    uint32_t next = head->version == 0 ? 0 : (head->active & 1) ^ 1;
    bool fits = ((*m)->type == RP_LOOKUP_NETS || (*m)->type == RP_LOOKUP_LINES || image.slots_n) &&
                rp_lookup_divide(l->images[next], l->room, &image, &parts);
    if (fits) {
        store(&head->seq[next], head->seq[next] | 1);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* nothing of it is seen before */
        memcpy(l->images[next], &image, sizeof image);
        lay_out(*m, &image, &parts);
        store(&head->seq[next], head->seq[next] + 1);
        __atomic_store_n(&head->active, next, __ATOMIC_SEQ_CST);
        head->id = *id;
        store(&head->made_s, now_s);
        store(&head->version, head->version + 1);
    }
    rp_lookup_drop(m, fits ? NULL : id);
    return fits ? RP_OK : RP_E_CAP;
}
