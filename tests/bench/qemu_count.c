/* A plugin for QEMU's user-mode emulation: writes the number of instructions that the program ran to the file that its
 * argument names (`-plugin file=qemu_count.so,to=FILE`). Distributions ship QEMU with plugins switched on, but neither
 * these nor the header: the interface, version 1, is declared here. A block of code that is entered counts whole. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct qemu_plugin_tb;
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*cb)(uint64_t id, struct qemu_plugin_tb *tb));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
/* operation 0: *into += value whenever the block is entered */
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int operation, void *into, uint64_t value);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*cb)(uint64_t id, void *user), void *user);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static uint64_t executed;
static char path[4096];

static void translated(uint64_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(tb, 0, &executed, qemu_plugin_tb_n_insns(tb));
}

static void ended(uint64_t id, void *user) {
  (void)id, (void)user;
  FILE *f = fopen(path, "w");
  if (!f) return;
  fprintf(f, "%llu\n", (unsigned long long)executed);
  fclose(f);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++)
    if (!strncmp(argv[i], "to=", 3)) snprintf(path, sizeof path, "%s", argv[i] + 3);
  if (!path[0]) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
