/* SPDX-License-Identifier: MIT
 *
 * keyring: secret keys that all workers share and that change with time: the next one, the one in
 * use, the one before. One writer (the master), any number of readers, no lock.
 *
 * The next key is there a whole period before it is used, so a reader that is late to hear of a
 * rotation still knows every key that anybody uses.
 */
#ifndef RP_SHM_KEYRING_H
#define RP_SHM_KEYRING_H

#include "shm/zone.h"

enum { RP_KEYRING_KEYS = 3, RP_KEYRING_KEY_BYTES = 80 };

struct rp_keyring;

/* Lay out with fresh keys (or, in an adopted zone, find again) in a part of that name.
 * ret   RP_OK; as rp_zone_part */
RP_MUST rp_err rp_keyring_new(struct rp_zone *z, rp_str part, struct rp_keyring **out);
void rp_keyring_free(struct rp_keyring **k); /* this process's handle; the zone keeps the keys */
size_t rp_keyring_bytes(void);               /* of the zone */
/* The next key comes into use, a fresh one is the next, the oldest is gone. Master only. */
void rp_keyring_rotate(struct rp_keyring *k);
/* Copy the keys: next, in use, before. *version is that of the last copy (0: none); false and no copy
 * when nothing changed since, or while it changes. */
bool rp_keyring_read(const struct rp_keyring *k, uint64_t *version,
                     uint8_t out[RP_KEYRING_KEYS][RP_KEYRING_KEY_BYTES]);

#endif
