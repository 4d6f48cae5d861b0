/* Threads, locks, waiting on an address, a clock: the port layer. */
#ifndef TERN_BASE_THREAD_H
#define TERN_BASE_THREAD_H

#include "base/memory.h"

#include <stdatomic.h>

#if defined(__wasm__)
#  include "base/host_wasm.h"
typedef struct tern__mutex { _Atomic uint32_t state; } tern__mutex; /* 0 free, 1 taken, 2 taken and waited for */
typedef struct tern__cond { _Atomic uint32_t changes; } tern__cond;
typedef struct tern__thread { _Atomic uint32_t done; void *(*fn)(void *); void *arg; } tern__thread;
#else
#  include <pthread.h>
typedef struct tern__mutex { pthread_mutex_t m; } tern__mutex;
typedef struct tern__cond { pthread_cond_t c; } tern__cond;
typedef struct tern__thread { pthread_t t; } tern__thread;
#endif

void tern__mutex_init(tern__mutex *mutex);
void tern__mutex_deinit(tern__mutex *mutex);
void tern__mutex_lock(tern__mutex *mutex);
void tern__mutex_unlock(tern__mutex *mutex);
void tern__cond_init(tern__cond *cond);
void tern__cond_deinit(tern__cond *cond);
void tern__cond_wait(tern__cond *cond, tern__mutex *mutex);
/* False when timeout_ms passed first. */
bool tern__cond_wait_for(tern__cond *cond, tern__mutex *mutex, int64_t timeout_ms);
void tern__cond_broadcast(tern__cond *cond);

tern_status tern__thread_start(tern__thread *thread, void *(*fn)(void *), void *arg);
void tern__thread_join(tern__thread *thread);

/* Sleeps while *address == expected (may return early); wakes all sleepers on address. */
void tern__wait_address(_Atomic uint32_t *address, uint32_t expected);
void tern__wake_address(_Atomic uint32_t *address);

/* The CPU that this thread is on now; -1: the system does not tell. */
int32_t tern__this_cpu(void);
/* Moves this thread off these CPUs, if it may use another; where it may run stays as it was. False: it did not move. */
bool tern__leave_cpus(const int32_t *cpus, int32_t n);

uint64_t tern__now_ns(void);
int32_t tern__online_cpus(void); /* usable by this process, at least 1 */

static inline void tern__cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#elif defined(__wasm_atomics__)
  atomic_thread_fence(memory_order_seq_cst); /* some ten nanoseconds, in which a core's other thread works */
#endif
}

/* A run is cancelled by its own token or by the one that this token follows. */
struct tern_cancel { _Atomic int32_t set; const struct tern_cancel *parent; };
static inline bool tern__cancelled(const tern_cancel *cancel) {
  for (; cancel; cancel = cancel->parent) {
    if (atomic_load_explicit(&((tern_cancel *)(uintptr_t)cancel)->set, memory_order_relaxed)) return true;
#if defined(__wasm__)
    if (tern__host_cancelled(cancel)) return true;
#endif
  }
  return false;
}
/* CANCELLED, saying "cancelled while <doing>", or OK. */
tern_status tern__cancel_check(const tern_cancel *cancel, const char *doing);

#endif
