/* The device's queue: submits, tickets, waits. */
#ifndef TERN_VK_QUEUE_H
#define TERN_VK_QUEUE_H

#include "base/thread.h"
#include "gpu/gpu_device.h"
#include "vulkan/vk_loader.h"

/* A submit that is not known to be done; only where there are no timeline semaphores. */
typedef struct tern__vk_flight {
  VkFence fence;
  uint64_t ticket;             /* 0 = the fence is free */
  uint32_t waiters;            /* threads in vkWaitForFences: it must not be reset */
} tern__vk_flight;

typedef struct tern__vk_queue {
  tern__mutex lock;
  VkQueue handle;
  VkSemaphore timeline;        /* its value is the last finished ticket; none = fences */
  uint64_t submitted;          /* the last ticket given out */
  _Atomic uint64_t completed;  /* every ticket up to it is done */
  _Atomic uint64_t begun_ns[2]; /* when the last two submits were, by their tickets' last bit */
  _Atomic uint64_t ended_ns;   /* when a wait last saw work end */
  _Atomic uint64_t took_ns;    /* from its beginning to its end, what was last waited for */
  tern__vk_flight *flights;    /* array; without a timeline */
} tern__vk_queue;

tern_status tern__vk_queue_init(tern__gpu_device *device);
void tern__vk_queue_deinit(tern__gpu_device *device); /* waits for all work */

tern_status tern__vk_queue_submit(tern__gpu_device *device, VkCommandBuffer commands, uint64_t *ticket);
/* As tern__gpu_api.wait. */
tern_status tern__vk_wait(tern__gpu_device *device, uint64_t ticket, uint64_t timeout_ns);
/* Before memory or commands that `ticket` uses are destroyed: waits for it whatever happens, also on a lost
 * device. */
void tern__vk_settle(tern__gpu_device *device, uint64_t ticket);
/* True if all submitted work is done; does not wait. */
bool tern__vk_idle(tern__gpu_device *device);

#endif
