/* SPDX-License-Identifier: MIT
 *
 * zone: memfd, seals, the part directory.
 *
 * What comes from shared memory is checked before it is used as an offset: a worker gone wild may
 * have written anywhere, and the master must survive reading it.
 */
#include "shm/zone.h"

#include "base/fault.h"
#include "base/mem.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    PART_ALIGN = 64,      /* a cache line */
    HUGE_LEAST = 4 << 20, /* below it the processor's table of pages holds most of a zone */
};
#define ZONE_MAGIC UINT64_C(0x31656e6f5a707872) /* "rxpZone1" */
#define ZONE_BYTES_MAX (UINT64_C(1) << 40)      /* 1 TB: a size beyond is a mistake */
#define ZONE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

_Static_assert(sizeof(struct rp_zone_head) <= RP_ZONE_HEAD_BYTES, "the head has one page");

static bool is_name(rp_str name)
{
    return name.len > 0 && name.len < RP_ZONE_NAME_BYTES && !memchr(name.ptr, 0, name.len);
}

static bool name_is(const char text[RP_ZONE_NAME_BYTES], rp_str name)
{
    return strnlen(text, RP_ZONE_NAME_BYTES) == name.len && memcmp(text, name.ptr, name.len) == 0;
}

/* ------------------------------------------------------------------ life */

static rp_err map(int fd, size_t bytes, struct rp_zone **out)
{
    void *base =
        RP_SYS_OR(mmap, MAP_FAILED, mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    if (base == MAP_FAILED) return RP_E_OS;
    struct rp_zone *z = rp_alloc(sizeof *z);
    *z = (struct rp_zone){.head = base, .bytes = bytes, .fd = fd};
    *out = z;
    return RP_OK;
}

static bool size_and_seal(int fd, size_t bytes)
{
    return RP_SYS(ftruncate, ftruncate(fd, (off_t)bytes)) == 0 &&
           RP_SYS(seal, fcntl(fd, F_ADD_SEALS, ZONE_SEALS)) == 0;
}

rp_err rp_zone_new(rp_str name, size_t bytes, struct rp_zone **out)
{
    if (!is_name(name)) return RP_E_INVALID;
    if (bytes > ZONE_BYTES_MAX) return RP_E_TOO_BIG;
    bytes = (RP_ZONE_HEAD_BYTES + bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
    char text[RP_ZONE_NAME_BYTES] = {0};
    memcpy(text, name.ptr, name.len);
    int fd = RP_SYS(memfd, memfd_create(text, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd < 0) return RP_E_OS;
    rp_err e = size_and_seal(fd, bytes) ? map(fd, bytes, out) : RP_E_OS;
    if (e != RP_OK) {
        close(fd);
        return e;
    }
    struct rp_zone_head *head = (*out)->head;
    head->magic = ZONE_MAGIC;
    head->version = RP_ZONE_VERSION;
    head->bytes = bytes;
    head->used = RP_ZONE_HEAD_BYTES;
    memcpy(head->name, text, sizeof text);
    return RP_OK;
}

static bool is_head(const struct rp_zone_head *head, size_t bytes)
{
    return head->magic == ZONE_MAGIC && head->version == RP_ZONE_VERSION && head->bytes == bytes &&
           head->used >= RP_ZONE_HEAD_BYTES && head->used <= bytes &&
           head->part_n <= RP_ZONE_PARTS_MAX;
}

rp_err rp_zone_adopt(int fd, struct rp_zone **out)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return RP_E_OS;
    if (!S_ISREG(st.st_mode) || st.st_size < RP_ZONE_HEAD_BYTES) return RP_E_INVALID;
    int seals = fcntl(fd, F_GET_SEALS); /* fails on files that know no seals */
    if (seals < 0 || (seals & ZONE_SEALS) != ZONE_SEALS) return RP_E_INVALID;
    struct rp_zone *z;
    rp_err e = map(fd, (size_t)st.st_size, &z);
    if (e != RP_OK) return e;
    if (!is_head(z->head, z->bytes)) {
        z->fd = -1; /* stays the caller's */
        rp_zone_free(&z);
        return RP_E_INVALID;
    }
    *out = z;
    return RP_OK;
}

rp_err rp_zone_again(const struct rp_zone *z, struct rp_zone **out)
{
    int fd = RP_SYS(dup, fcntl(z->fd, F_DUPFD_CLOEXEC, 3));
    if (fd < 0) return RP_E_OS;
    rp_err e = rp_zone_adopt(fd, out);
    if (e != RP_OK) close(fd);
    return e;
}

void rp_zone_free(struct rp_zone **z)
{
    struct rp_zone *old = *z;
    if (!old) return;
    munmap(old->head, old->bytes);
    if (old->fd >= 0) close(old->fd);
    rp_free(old);
    *z = NULL;
}

void rp_zone_wish_huge(const struct rp_zone *z)
{
    if (z->bytes < HUGE_LEAST) return;
    (void)madvise(z->head, z->bytes, MADV_HUGEPAGE); /* a kernel without them says EINVAL */
}

rp_str rp_zone_name(const struct rp_zone *z)
{
    return rp_str_of(z->head->name, strnlen(z->head->name, RP_ZONE_NAME_BYTES));
}

/* ------------------------------------------------------------------ parts */

size_t rp_zone_left(const struct rp_zone *z)
{
    uint64_t used = z->head->used;
    if (z->head->part_n >= RP_ZONE_PARTS_MAX || used > z->bytes) return 0;
    return (z->bytes - (size_t)used) & ~(size_t)(PART_ALIGN - 1);
}

static struct rp_zone_part *part_find(const struct rp_zone *z, rp_str name)
{
    uint32_t n = RP_MIN(z->head->part_n, (uint32_t)RP_ZONE_PARTS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        if (name_is(z->head->parts[i].name, name)) return &z->head->parts[i];
    }
    return NULL;
}

static bool part_is_sane(const struct rp_zone *z, const struct rp_zone_part *part)
{
    return part->at >= RP_ZONE_HEAD_BYTES && part->at % PART_ALIGN == 0 && part->at <= z->bytes &&
           part->bytes <= z->bytes - part->at;
}

static struct rp_zone_part *part_make(struct rp_zone *z, rp_str name, size_t bytes)
{
    struct rp_zone_head *head = z->head;
    struct rp_zone_part *part = &head->parts[head->part_n];
    memcpy(part->name, name.ptr, name.len);
    part->at = head->used;
    part->bytes = bytes;
    head->used += (bytes + PART_ALIGN - 1) & ~(uint64_t)(PART_ALIGN - 1);
    head->part_n++;
    return part;
}

rp_err rp_zone_part(struct rp_zone *z, rp_str name, size_t bytes, void **ptr, bool *fresh)
{
    if (!is_name(name) || bytes == 0) return RP_E_INVALID;
    struct rp_zone_part *part = part_find(z, name);
    *fresh = !part;
    if (part) {
        if (part->bytes != bytes || !part_is_sane(z, part)) return RP_E_INVALID;
    } else {
        if (bytes > rp_zone_left(z)) return RP_E_CAP;
        part = part_make(z, name, bytes);
    }
    *ptr = (char *)z->head + part->at;
    return RP_OK;
}

uint32_t rp_zone_fit(size_t bytes, uint32_t most, size_t (*bytes_for)(uint32_t n))
{
    uint32_t low = 0, high = most;
    while (low < high) {
        uint32_t mid = low + (high - low + 1) / 2;
        if (bytes_for(mid) <= bytes) low = mid;
        else high = mid - 1;
    }
    return low;
}
