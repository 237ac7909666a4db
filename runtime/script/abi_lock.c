/* SPDX-License-Identifier: MIT
 *
 * abi_lock: locks that hold for all workers (an entry of a shared store, with a lease), and seats of
 * semaphores of one worker. Both are holds: whoever has them may die anywhere.
 */
#include "script/vm.h"

/* ---- locks ---------------------------------------------------------------------------------- */

struct lock {
    struct rp_hold hold; /* first */
    struct rp_dict *dict;
    double fence;
    uint16_t key_n;
    char key[RP_DICT_KEY_MOST];
};

static const double LEASE_MOST = 1e9;

static rp_ms now_ms(void)
{
    return rp_clock_mono_ns() / 1000000;
}

static rp_ms lease_end(rp_ms now, double seconds)
{
    return now + RP_MAX((rp_ms)(RP_MIN(seconds, LEASE_MOST) * 1000), (rp_ms)1);
}

static rp_err relock(const struct lock *l, rp_ms until_ms, rp_ms now)
{
    return rp_dict_relock(l->dict, rp_str_of(l->key, l->key_n), l->fence, until_ms, now);
}

static void unlock(struct rp_hold *hold)
{
    struct lock *l = (struct lock *)(void *)hold;
    (void)relock(l, 0, now_ms()); /* what cannot be given back ends with its lease */
    rp_free(l);
}

rp_err rp_abi_lock(struct rp_host_face *f, struct rp_dict *d, const char *key, size_t n,
                   double lease)
{
    rp_ms now = now_ms(), wait = 0;
    double fence = 0;
    if (n == 0 || n > RP_DICT_KEY_MOST || !(lease > 0)) return RP_E_INVALID;
    if (!rp_vm_of(f)->current) return RP_E_PHASE;
    rp_err e = rp_dict_lock(d, rp_str_of(key, n), lease_end(now, lease), now, &fence, &wait);
    f->number = e == RP_AGAIN ? (double)wait / 1000 : fence;
    if (e != RP_OK) return e;
    struct lock *l = rp_alloc(sizeof *l);
    l->dict = d;
    l->fence = fence;
    l->key_n = (uint16_t)n;
    memcpy(l->key, key, n);
    e = rp_hold_open(rp_vm_of(f), &l->hold, RP_HOLD_LOCK, unlock);
    if (e != RP_OK) unlock(&l->hold);
    else f->handle = rp_hold_handle(&l->hold);
    return e;
}

static struct lock *find_lock(struct rp_host_face *f, double handle)
{
    return (struct lock *)(void *)rp_hold_find(rp_vm_of(f), handle, RP_HOLD_LOCK);
}

rp_err rp_abi_lock_renew(struct rp_host_face *f, double handle, double lease)
{
    const struct lock *l = find_lock(f, handle);
    rp_ms now = now_ms();
    if (!l) return RP_E_STALE;
    return lease > 0 ? relock(l, lease_end(now, lease), now) : RP_E_INVALID;
}

rp_err rp_abi_lock_release(struct rp_host_face *f, double handle)
{
    struct lock *l = find_lock(f, handle);
    if (!l) return RP_E_STALE;
    rp_err e = relock(l, 0, now_ms());
    rp_hold_close(&l->hold);
    return e;
}

/* ---- semaphores ----------------------------------------------------------------------------- */

struct seat {
    struct rp_hold hold; /* first */
    struct rp_sem *sem;
    struct seat *next, *prev; /* in the queue */
    double task;              /* that waits */
    bool seated;
};

/* A seat that is given back goes to the head of the queue at once, so nobody overtakes. */
struct rp_sem {
    uint32_t refs; /* Lua's, and one for each seat */
    uint32_t limit, taken, waiting, waiting_most;
    struct seat *head, *tail;
};

struct rp_sem *rp_abi_sem_new(double limit, double waiting)
{
    struct rp_sem *sem = rp_alloc(sizeof *sem);
    sem->refs = 1;
    sem->limit = (uint32_t)RP_MIN(limit, 1e9);
    sem->waiting_most = (uint32_t)RP_MIN(waiting, 1e9);
    return sem;
}

void rp_abi_sem_free(struct rp_sem *sem)
{
    if (--sem->refs == 0) rp_free(sem);
}

static void enqueue(struct rp_sem *sem, struct seat *s)
{
    s->prev = sem->tail;
    if (sem->tail) sem->tail->next = s;
    else sem->head = s;
    sem->tail = s;
    sem->waiting++;
}

static void dequeue(struct rp_sem *sem, struct seat *s)
{
    if (s->prev) s->prev->next = s->next;
    else sem->head = s->next;
    if (s->next) s->next->prev = s->prev;
    else sem->tail = s->prev;
    s->next = s->prev = NULL;
    sem->waiting--;
}

static void leave(struct rp_hold *hold)
{
    struct seat *s = (struct seat *)(void *)hold;
    struct rp_sem *sem = s->sem;
    if (!s->seated) {
        dequeue(sem, s);
    } else if (sem->head) {
        struct seat *heir = sem->head;
        dequeue(sem, heir);
        heir->seated = true;
        rp_abi_task_wake(&heir->hold.host->face, heir->task);
    } else {
        sem->taken--;
    }
    rp_free(s);
    rp_abi_sem_free(sem);
}

rp_err rp_abi_sem_enter(struct rp_host_face *f, struct rp_sem *sem)
{
    bool free_seat = sem->taken < sem->limit;
    if (!free_seat && sem->waiting >= sem->waiting_most) return RP_E_BUSY;
    struct seat *s = rp_alloc(sizeof *s);
    rp_err e = rp_hold_open(rp_vm_of(f), &s->hold, RP_HOLD_SEAT, leave);
    if (e != RP_OK) {
        rp_free(s);
        return e;
    }
    s->sem = sem;
    s->seated = free_seat;
    s->task = rp_abi_task_self(f);
    sem->refs++;
    f->handle = rp_hold_handle(&s->hold);
    if (free_seat) sem->taken++;
    else enqueue(sem, s);
    return free_seat ? RP_OK : RP_AGAIN;
}

static struct seat *find_seat(struct rp_host_face *f, double handle)
{
    return (struct seat *)(void *)rp_hold_find(rp_vm_of(f), handle, RP_HOLD_SEAT);
}

bool rp_abi_sem_is_seated(struct rp_host_face *f, double handle)
{
    const struct seat *s = find_seat(f, handle);
    return s && s->seated;
}

rp_err rp_abi_sem_leave(struct rp_host_face *f, double handle)
{
    struct seat *s = find_seat(f, handle);
    if (!s) return RP_E_STALE;
    rp_hold_close(&s->hold);
    return RP_OK;
}

double rp_abi_sem_count(const struct rp_sem *sem, bool waiting)
{
    return waiting ? sem->waiting : sem->taken;
}
