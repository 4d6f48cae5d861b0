/* Threads under WebAssembly. The host starts them (a Web Worker is one); memory.atomic.wait and notify are the futex. A
 * build without shared memory has one thread: its locks are always free and nothing ever waits. */
#if defined(__wasm__)
#  include "base/thread.h"

#  if defined(__wasm_atomics__)
/* Not inlined: the baseline compiler of V8 11 (node 20) loses a local that lives across the instruction and is
 * its address. */
static __attribute__((noinline)) void wait_ns(_Atomic uint32_t *address, uint32_t expected, int64_t ns) {
  __builtin_wasm_memory_atomic_wait32((int *)(uintptr_t)address, (int)expected, ns);
}
static void wake(_Atomic uint32_t *address, uint32_t count) {
  __builtin_wasm_memory_atomic_notify((int *)(uintptr_t)address, count);
}
#  else
static void wait_ns(_Atomic uint32_t *address, uint32_t expected, int64_t ns) {
  (void)address, (void)expected, (void)ns;
}
static void wake(_Atomic uint32_t *address, uint32_t count) { (void)address, (void)count; }
#  endif

/* The mutex of Drepper, "Futexes Are Tricky" (2011), section 6, second form. */
void tern__mutex_init(tern__mutex *mutex) { atomic_init(&mutex->state, 0); }
void tern__mutex_deinit(tern__mutex *mutex) { (void)mutex; }
void tern__mutex_lock(tern__mutex *mutex) {
  uint32_t seen = 0;
  if (atomic_compare_exchange_strong(&mutex->state, &seen, 1)) return;
  if (seen != 2) seen = atomic_exchange(&mutex->state, 2);
  while (seen) {
    wait_ns(&mutex->state, 2, -1);
    seen = atomic_exchange(&mutex->state, 2);
  }
}
void tern__mutex_unlock(tern__mutex *mutex) {
  if (atomic_exchange(&mutex->state, 0) == 2) wake(&mutex->state, 1);
}

void tern__cond_init(tern__cond *cond) { atomic_init(&cond->changes, 0); }
void tern__cond_deinit(tern__cond *cond) { (void)cond; }
void tern__cond_broadcast(tern__cond *cond) {
  atomic_fetch_add(&cond->changes, 1);
  wake(&cond->changes, UINT32_MAX);
}

bool tern__cond_wait_for(tern__cond *cond, tern__mutex *mutex, int64_t timeout_ms) {
  uint32_t seen = atomic_load(&cond->changes);
  tern__mutex_unlock(mutex);
  wait_ns(&cond->changes, seen, timeout_ms < 0 ? -1 : timeout_ms * 1000000);
  tern__mutex_lock(mutex);
  return atomic_load(&cond->changes) != seen;
}
void tern__cond_wait(tern__cond *cond, tern__mutex *mutex) { (void)tern__cond_wait_for(cond, mutex, -1); }

/* Called by the host on the new thread. */
__attribute__((export_name("tern__thread_main"))) void tern__thread_main(tern__thread *thread) {
  thread->fn(thread->arg);
  atomic_store(&thread->done, 1);
  wake(&thread->done, 1);
}

tern_status tern__thread_start(tern__thread *thread, void *(*fn)(void *), void *arg) {
  thread->fn = fn, thread->arg = arg;
  atomic_store(&thread->done, 0);
  if (tern__host_thread(thread)) return TERN_OK;
  return tern__fail(TERN_STATUS_UNSUPPORTED, "the page gives no (further) thread; use the calls that run on the "
                                             "caller's thread, or fewer threads");
}

void tern__thread_join(tern__thread *thread) {
  while (!atomic_load(&thread->done)) wait_ns(&thread->done, 0, -1);
}

void tern__wait_address(_Atomic uint32_t *address, uint32_t expected) { wait_ns(address, expected, -1); }
void tern__wake_address(_Atomic uint32_t *address) { wake(address, UINT32_MAX); }

int32_t tern__this_cpu(void) { return -1; }
bool tern__leave_cpus(const int32_t *cpus, int32_t n) { return (void)cpus, (void)n, false; }

uint64_t tern__now_ns(void) { return (uint64_t)(tern__host_now() * 1e6); }
int32_t tern__online_cpus(void) {
  int32_t n = tern__host_cpus();
  return n > 1 ? n : 1;
}
#endif
