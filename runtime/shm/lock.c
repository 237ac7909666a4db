/* SPDX-License-Identifier: MIT
 *
 * lock: see lock.h.
 */
#include "shm/lock.h"

#include <errno.h>
#include <time.h>

/* Inside a lock are microseconds: who holds it for so long does not run. */
static const long WAIT_NS = 200 * 1000 * 1000;

bool rp_lock_make(pthread_mutex_t *lock)
{
    pthread_mutexattr_t how;
    if (pthread_mutexattr_init(&how) != 0) return false;
    bool made = pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED) == 0 &&
                pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST) == 0 &&
                pthread_mutex_init(lock, &how) == 0;
    (void)pthread_mutexattr_destroy(&how); /* never fails */
    return made;
}

static int wait_for(pthread_mutex_t *lock)
{
    struct timespec until;
    if (clock_gettime(CLOCK_REALTIME, &until) != 0) return EBUSY;
    until.tv_nsec += WAIT_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return pthread_mutex_timedlock(lock, &until);
}

static rp_err answer(int e)
{
    if (e == EOWNERDEAD) return RP_END;
    return e == 0 ? RP_OK : RP_E_BUSY;
}

rp_err rp_lock_try(pthread_mutex_t *lock)
{
    return answer(pthread_mutex_trylock(lock));
}

rp_err rp_lock_take(pthread_mutex_t *lock)
{
    int e = pthread_mutex_trylock(lock);
    return answer(e == EBUSY ? wait_for(lock) : e);
}

rp_err rp_lock_mend(pthread_mutex_t *lock)
{
    return pthread_mutex_consistent(lock) == 0 ? RP_OK : RP_E_BUSY;
}

void rp_lock_leave(pthread_mutex_t *lock)
{
    (void)pthread_mutex_unlock(lock); /* fails only when it is not ours */
}
