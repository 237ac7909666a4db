/* SPDX-License-Identifier: MIT
 *
 * lock: mutexes in shared memory. The kernel releases one whose holder dies, and tells who comes
 * next; nobody waits long for a holder that does not run.
 */
#ifndef RP_SHM_LOCK_H
#define RP_SHM_LOCK_H

#include <pthread.h>

#include "base/err.h"

/* Master only, in fresh memory. */
bool rp_lock_make(pthread_mutex_t *lock);
/* ret   RP_OK; RP_END: taken, and the holder before died inside: put in order what it guards, then
 *       rp_lock_mend; RP_E_BUSY: held for longer than 200 ms */
RP_MUST rp_err rp_lock_take(pthread_mutex_t *lock);
/* The same without waiting. */
RP_MUST rp_err rp_lock_try(pthread_mutex_t *lock);
RP_MUST rp_err rp_lock_mend(pthread_mutex_t *lock); /* RP_E_BUSY: it can never be taken again */
void rp_lock_leave(pthread_mutex_t *lock);

#endif
