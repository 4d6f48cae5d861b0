/* Submits and waits. A ticket is the value of a timeline semaphore, or, on devices without, a number that a
 * fence stands for. One queue: work ends in the order in which it was submitted, as far as fences and
 * semaphores tell. */
#include "vulkan/vk_device.h"

#include "base/array.h"

#include <stdio.h>

/* A wait that ends soon is cheaper spent looking than sleeping: being woken costs 80 to 120 microseconds of the 720
 * that a step of decoding takes on an H200. So a wait sleeps until shortly before work like the last one would be done,
 * and looks from there on. */
enum {
  SPIN_NS = 50000,       /* at least, also where nothing is known */
  SPIN_MOST_NS = 1000000 /* before the expected end */
};

tern_status tern__vk_queue_init(tern__gpu_device *device) {
  tern_status status = TERN_OK;
  tern__vk_queue *q = &device->queue;
  device->vk.vkGetDeviceQueue(device->handle, device->features.family, 0, &q->handle);
  if (!device->features.timeline) return TERN_OK;
  VkSemaphoreTypeCreateInfo type = {VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO, NULL,
                                    VK_SEMAPHORE_TYPE_TIMELINE, 0};
  VkSemaphoreCreateInfo info = {VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, &type, 0};
  VkResult result = device->vk.vkCreateSemaphore(device->handle, &info, NULL, &q->timeline);
  if (result < 0) q->timeline = VK_NULL_HANDLE;
  TERN_VK_TRY(result, "vkCreateSemaphore");
cleanup:
  return status;
}

void tern__vk_queue_deinit(tern__gpu_device *device) {
  tern__vk_queue *q = &device->queue;
  if (q->timeline) device->vk.vkDestroySemaphore(device->handle, q->timeline, NULL);
  for (size_t i = 0; i < tern__array_count(q->flights); i++)
    device->vk.vkDestroyFence(device->handle, q->flights[i].fence, NULL);
  TERN_ARRAY_FREE(device->alloc, q->flights);
}

static void complete(tern__vk_queue *q, uint64_t ticket) {
  uint64_t known = atomic_load(&q->completed);
  while (known < ticket && !atomic_compare_exchange_weak(&q->completed, &known, ticket)) {}
}

/* ---- fences ---- */

/* A fence that is not in use, made if need be. The queue is locked. */
static tern_status free_flight(tern__gpu_device *device, tern__vk_flight **out) {
  tern_status status = TERN_OK;
  tern__vk_queue *q = &device->queue;
  for (size_t i = 0; i < tern__array_count(q->flights); i++) {
    tern__vk_flight *f = &q->flights[i];
    if (f->ticket && (f->ticket > atomic_load(&q->completed) || f->waiters)) continue;
    if (f->ticket) TERN_VK_TRY(device->vk.vkResetFences(device->handle, 1, &f->fence), "vkResetFences");
    f->ticket = 0;
    *out = f;
    return TERN_OK;
  }
  TERN_ARRAY_RESERVE(device->alloc, q->flights, 1);
  VkFenceCreateInfo info = {VK_STRUCTURE_TYPE_FENCE_CREATE_INFO, NULL, 0};
  VkFence fence;
  TERN_VK_TRY(device->vk.vkCreateFence(device->handle, &info, NULL, &fence), "vkCreateFence");
  TERN_ARRAY_PUT(q->flights, (tern__vk_flight){fence, 0, 0});
  *out = &q->flights[tern__array_count(q->flights) - 1];
cleanup:
  return status;
}

/* The earliest flight that ends no sooner than `ticket`: its end is that of all before. The queue is locked.
 */
static tern__vk_flight *flight_of(tern__vk_queue *q, uint64_t ticket) {
  tern__vk_flight *best = NULL;
  for (size_t i = 0; i < tern__array_count(q->flights); i++) {
    tern__vk_flight *f = &q->flights[i];
    if (f->ticket >= ticket && (!best || f->ticket < best->ticket)) best = f;
  }
  return best;
}

static VkResult wait_fence(tern__gpu_device *device, uint64_t ticket, uint64_t timeout_ns) {
  tern__vk_queue *q = &device->queue;
  VkResult result = VK_SUCCESS;
  tern__mutex_lock(&q->lock);
  tern__vk_flight *f = atomic_load(&q->completed) < ticket ? flight_of(q, ticket) : NULL;
  if (f) {
    size_t index = (size_t)(f - q->flights); /* the array may move meanwhile */
    VkFence fence = f->fence;
    uint64_t ends = f->ticket;
    f->waiters++;
    tern__mutex_unlock(&q->lock);
    result = timeout_ns ? device->vk.vkWaitForFences(device->handle, 1, &fence, VK_TRUE, timeout_ns)
                        : device->vk.vkGetFenceStatus(device->handle, fence);
    tern__mutex_lock(&q->lock);
    q->flights[index].waiters--;
    if (result == VK_SUCCESS) complete(q, ends);
  }
  tern__mutex_unlock(&q->lock);
  return result;
}

/* ---- both ---- */

/* VK_SUCCESS: `ticket` is done; VK_NOT_READY or VK_TIMEOUT: not yet. */
static VkResult look(tern__gpu_device *device, uint64_t ticket) {
  tern__vk_queue *q = &device->queue;
  if (!q->timeline) return wait_fence(device, ticket, 0);
  uint64_t value = 0;
  VkResult result = device->vk.vkGetSemaphoreCounterValue(device->handle, q->timeline, &value);
  if (result < 0) return result;
  /* A lost device may show any value. */
  if (value <= ticket + ((uint64_t)1 << 32)) complete(q, value);
  return value >= ticket ? VK_SUCCESS : VK_NOT_READY;
}

static VkResult block(tern__gpu_device *device, uint64_t ticket, uint64_t timeout_ns) {
  tern__vk_queue *q = &device->queue;
  if (!q->timeline) return wait_fence(device, ticket, timeout_ns);
  VkSemaphoreWaitInfo info = {VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, NULL, 0, 1, &q->timeline, &ticket};
  VkResult result = device->vk.vkWaitSemaphores(device->handle, &info, timeout_ns);
  if (result == VK_SUCCESS) complete(q, ticket);
  return result;
}

bool tern__vk_idle(tern__gpu_device *device) {
  tern__vk_queue *q = &device->queue;
  tern__mutex_lock(&q->lock);
  uint64_t last = q->submitted;
  tern__mutex_unlock(&q->lock);
  return atomic_load(&q->completed) >= last || look(device, last) == VK_SUCCESS;
}

tern_status tern__vk_queue_submit(tern__gpu_device *device, VkCommandBuffer commands, uint64_t *ticket) {
  tern_status status = TERN_OK;
  tern__vk_queue *q = &device->queue;
  tern__vk_flight *flight = NULL;
  tern__mutex_lock(&q->lock);
  uint64_t next = q->submitted + 1;
  VkTimelineSemaphoreSubmitInfo value = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                         .signalSemaphoreValueCount = 1,
                                         .pSignalSemaphoreValues = &next};
  VkSubmitInfo info = {
      .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &commands};
  if (q->timeline)
    info.pNext = &value, info.signalSemaphoreCount = 1, info.pSignalSemaphores = &q->timeline;
  else
    TERN_TRY(free_flight(device, &flight));
  TERN_VK_TRY(device->vk.vkQueueSubmit(q->handle, 1, &info, flight ? flight->fence : VK_NULL_HANDLE),
              "vkQueueSubmit");
  if (flight) flight->ticket = next;
  *ticket = q->submitted = next;
  atomic_store(&q->begun_ns[next & 1], tern__now_ns());
cleanup:
  tern__mutex_unlock(&q->lock);
  return status;
}

/* When the work of a ticket began, as far as is known. What was submitted ahead of need, and has one submit behind it,
 * began when the work before it ended. */
static uint64_t begin_of(const tern__vk_queue *q, uint64_t ticket, uint64_t last) {
  uint64_t begun = atomic_load(&q->begun_ns[last & 1]), ended = atomic_load(&q->ended_ns);
  if (ticket + 1 != last) return begun;
  begun = atomic_load(&q->begun_ns[ticket & 1]);
  return begun > ended ? begun : ended;
}

/* Sleeps as long as the work will surely take, if it takes what the last one took; *spin is how long it is worth
 * looking then. */
static VkResult sleep_first(tern__gpu_device *device, uint64_t ticket, uint64_t begun, uint64_t timeout_ns,
                            uint64_t *spin) {
  VkResult result = VK_NOT_READY;
  uint64_t end = begun + atomic_load(&device->queue.took_ns), now = tern__now_ns();
  if (end > now + SPIN_MOST_NS && end - SPIN_MOST_NS - now < timeout_ns) {
    result = block(device, ticket, end - SPIN_MOST_NS - now);
    if (result == VK_TIMEOUT) result = VK_NOT_READY;
    now = tern__now_ns();
  }
  *spin = SPIN_NS + (end <= now ? 0 : end - now < SPIN_MOST_NS ? end - now : SPIN_MOST_NS);
  return result;
}

tern_status tern__vk_wait(tern__gpu_device *device, uint64_t ticket, uint64_t timeout_ns) {
  tern_status status = TERN_OK;
  tern__vk_queue *q = &device->queue;
  TERN_TRY(tern__vk_alive(device));
  if (atomic_load(&q->completed) >= ticket) return TERN_OK;
  tern__mutex_lock(&q->lock);
  uint64_t last = q->submitted;
  tern__mutex_unlock(&q->lock);
  if (ticket > last)
    TERN_FAIL(TERN_STATUS_INVALID_ARGUMENT, "%s: a wait for work that was never submitted", device->name);
  VkResult result = look(device, ticket);
  if (result == VK_SUCCESS) return TERN_OK;
  uint64_t begun = begin_of(q, ticket, last), start = tern__now_ns(), spin = 0;
  /* The CPU that would spin is the one that a software device computes with. */
  if (!device->info.software) {
    result = sleep_first(device, ticket, begun, timeout_ns, &spin);
    spin += tern__now_ns() - start;
    if (spin > timeout_ns) spin = timeout_ns;
  }
  while (result >= 0 && result != VK_SUCCESS && tern__now_ns() - start < spin) {
    tern__cpu_relax();
    result = look(device, ticket);
  }
  uint64_t spent = tern__now_ns() - start;
  if (result >= 0 && result != VK_SUCCESS && timeout_ns > spent)
    result = block(device, ticket, timeout_ns - spent);
  if (result == VK_SUCCESS) {
    uint64_t now = tern__now_ns();
    atomic_store(&q->ended_ns, now);
    if (ticket + 1 >= last) atomic_store(&q->took_ns, now - begun);
  }
  TERN_VK_TRY(result, "waiting for submitted work");
  if (result != VK_SUCCESS)
    TERN_FAIL(TERN_STATUS_TIMEOUT, "%s: submitted work was not done within %.1f ms", device->name,
              (double)timeout_ns * 1e-6);
cleanup:
  return status;
}

void tern__vk_settle(tern__gpu_device *device, uint64_t ticket) {
  tern__vk_queue *q = &device->queue;
  char before[512];
  if (!ticket) return;
  snprintf(before, sizeof before, "%s", tern_last_error()); /* this is cleaning up: what failed first counts */
  tern_status status = tern__vk_wait(device, ticket, UINT64_MAX);
  if (status == TERN_OK) return;
  tern__error_set(before);
  /* Vulkan promises that these return, on a lost device at once. */
  tern__mutex_lock(&q->lock);
  if (device->vk.vkQueueWaitIdle(q->handle) < 0) (void)device->vk.vkDeviceWaitIdle(device->handle);
  tern__mutex_unlock(&q->lock);
}
