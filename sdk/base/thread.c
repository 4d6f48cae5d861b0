/* pthreads and futex (WebAssembly: thread_wasm.c), and the cancel token, which is the same everywhere. */

#include "base/thread.h"

tern_status tern__cancel_check(const tern_cancel *cancel, const char *doing) {
  return tern__cancelled(cancel) ? tern__fail(TERN_STATUS_CANCELLED, "cancelled while %s", doing) : TERN_OK;
}

tern_status tern_cancel_create(tern_cancel **out) {
  if (!out) return tern__fail(TERN_STATUS_INVALID_ARGUMENT, "tern_cancel_create: out is NULL");
  /* Owned by no runtime, so it comes from the C library's heap. */
  tern__alloc heap;
  tern__alloc_init(&heap, NULL, 0);
  tern_cancel *cancel = tern__calloc(&heap, 1, sizeof *cancel);
  *out = cancel;
  return cancel ? TERN_OK : tern__fail(TERN_STATUS_OUT_OF_MEMORY, "out of memory for a cancel token");
}
void tern_cancel_set(tern_cancel *cancel) { if (cancel) atomic_store(&cancel->set, 1); }
void tern_cancel_reset(tern_cancel *cancel) { if (cancel) atomic_store(&cancel->set, 0); }
void tern_cancel_destroy(tern_cancel *cancel) {
  tern__alloc heap;
  tern__alloc_init(&heap, NULL, 0);
  tern__free(&heap, cancel);
}

#if !defined(__wasm__)
#  include <errno.h>
#  include <limits.h>
#  include <sched.h>
#  include <stdlib.h>
#  include <time.h>
#  if defined(__linux__)
#    include <linux/futex.h>
#    include <sys/syscall.h>
#    include <unistd.h>
#  endif

void tern__mutex_init(tern__mutex *mutex) { pthread_mutex_init(&mutex->m, NULL); }
void tern__mutex_deinit(tern__mutex *mutex) { pthread_mutex_destroy(&mutex->m); }
void tern__mutex_lock(tern__mutex *mutex) { pthread_mutex_lock(&mutex->m); }
void tern__mutex_unlock(tern__mutex *mutex) { pthread_mutex_unlock(&mutex->m); }

void tern__cond_init(tern__cond *cond) {
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
#  if defined(__linux__)
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#  endif
  pthread_cond_init(&cond->c, &attr);
  pthread_condattr_destroy(&attr);
}
void tern__cond_deinit(tern__cond *cond) { pthread_cond_destroy(&cond->c); }
void tern__cond_wait(tern__cond *cond, tern__mutex *mutex) { pthread_cond_wait(&cond->c, &mutex->m); }
void tern__cond_broadcast(tern__cond *cond) { pthread_cond_broadcast(&cond->c); }

bool tern__cond_wait_for(tern__cond *cond, tern__mutex *mutex, int64_t timeout_ms) {
  struct timespec t;
#  if defined(__linux__)
  clock_gettime(CLOCK_MONOTONIC, &t);
#  else
  clock_gettime(CLOCK_REALTIME, &t);
#  endif
  t.tv_sec += timeout_ms / 1000;
  t.tv_nsec += (timeout_ms % 1000) * 1000000;
  if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
  return pthread_cond_timedwait(&cond->c, &mutex->m, &t) != ETIMEDOUT;
}

tern_status tern__thread_start(tern__thread *thread, void *(*fn)(void *), void *arg) {
  int error = pthread_create(&thread->t, NULL, fn, arg);
  return error ? tern__fail(TERN_STATUS_OUT_OF_MEMORY, "cannot start a thread (error %d); use fewer threads", error)
               : TERN_OK;
}

void tern__thread_join(tern__thread *thread) { pthread_join(thread->t, NULL); }

#  if defined(__linux__)
void tern__wait_address(_Atomic uint32_t *address, uint32_t expected) {
  syscall(SYS_futex, (uint32_t *)address, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}
void tern__wake_address(_Atomic uint32_t *address) {
  syscall(SYS_futex, (uint32_t *)address, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
#  else
/* Without a futex: short sleeps. Correct, and idle cost stays small. */
void tern__wait_address(_Atomic uint32_t *address, uint32_t expected) {
  if (atomic_load(address) != expected) return;
  struct timespec t = {0, 500000};
  nanosleep(&t, NULL);
}
void tern__wake_address(_Atomic uint32_t *address) { (void)address; }
#  endif

#  if defined(__linux__)
int32_t tern__this_cpu(void) { return sched_getcpu(); }

bool tern__leave_cpus(const int32_t *cpus, int32_t n) {
  cpu_set_t may, some;
  if (sched_getaffinity(0, sizeof may, &may) != 0) return false;
  some = may;
  for (int32_t i = 0; i < n; i++)
    if (cpus[i] >= 0 && cpus[i] < CPU_SETSIZE) CPU_CLR((size_t)cpus[i], &some);
  if (CPU_COUNT(&some) == 0 || sched_setaffinity(0, sizeof some, &some) != 0) return false;
  sched_setaffinity(0, sizeof may, &may);
  return true;
}
#  else
int32_t tern__this_cpu(void) { return -1; }
bool tern__leave_cpus(const int32_t *cpus, int32_t n) { return (void)cpus, (void)n, false; }
#  endif

uint64_t tern__now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int32_t tern__online_cpus(void) {
#  if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    int n = CPU_COUNT(&set);
    if (n > 0) return n;
  }
#  endif
  return 1;
}
#endif
