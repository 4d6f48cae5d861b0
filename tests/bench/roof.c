/* What this machine can do at best, and whether it is itself at the moment: the roof that compare.py holds figures to.
 * roofs.py builds it for the processor that it runs on and keeps it open; one request a line, one JSON object back:
 *
 *   peaks N         multiply-adds of registers on 1 and on N threads, GOPS (2 each), by element and instruction
 *   read N BYTES    GB/s of N threads that read BYTES over and over, each its own part; 0: more than the caches hold
 *   probe N         a few milliseconds: what N threads multiply alone and together (on one core's two hardware threads
 *                   they halve each other), and a read from memory
 *
 * Threads are pinned, one to each processor that this process may use. A tool: it exits on any error. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { MAX_THREADS = 64, SAMPLES = 5, REGISTERS = 12, PROBE_WINDOWS = 8 };

static int processors[MAX_THREADS], n_processors;

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, int n) {
  qsort(values, (size_t)n, sizeof *values, by_value);
  return values[n / 2];
}

/* ---- multiply-adds: REGISTERS sums that need nothing of one another, so that latency does not count ---- */

#define TWELVE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define DECLARE(i) vector sum##i = zero;
#define KEEP(i) __asm__ volatile("" : : REGISTER(sum##i));
#ifdef __x86_64__
#define REGISTER "v"
#else
#define REGISTER "w"
#endif
/* One kernel: `rounds` times TWELVE of the instruction text, whose operands are %0 (sum), %1 and %2. */
#define KERNEL(name, type, text)                                        \
  static void name(long rounds) {                                       \
    typedef type vector;                                                \
    vector zero, x, y, spare;                                           \
    memset(&zero, 0, sizeof zero), x = y = spare = zero;                \
    TWELVE(DECLARE)                                                     \
    for (long r = 0; r < rounds; r++) {                                 \
      TWELVE(text)                                                      \
    }                                                                   \
    TWELVE(KEEP)                                                        \
    (void)spare;                                                        \
  }
#define X86(i, name) __asm__ volatile(name " %2, %1, %0" : "+v"(sum##i) : "v"(x), "v"(y));
#define ARM(i, name, a, b) __asm__ volatile(name " %0." a ", %1." b ", %2." b : "+w"(sum##i) : "w"(x), "w"(y));

#ifdef __AVX512F__
#define FMA_512(i) X86(i, "vfmadd231ps")
KERNEL(fma_512, __m512, FMA_512)
#endif
#ifdef __FMA__
#define FMA_256(i) X86(i, "vfmadd231ps")
KERNEL(fma_256, __m256, FMA_256)
#endif
#ifdef __AVX512BF16__
#define BF16_512(i) X86(i, "vdpbf16ps")
KERNEL(bf16_512, __m512, BF16_512)
#endif
#ifdef __AVX512VNNI__
#define VNNI_512(i) X86(i, "vpdpbusd")
KERNEL(vnni_512, __m512i, VNNI_512)
#endif
#ifdef __AVXVNNI__
#define VNNI_256(i) X86(i, "%{vex%} vpdpbusd")
KERNEL(vnni_256, __m256i, VNNI_256)
#endif
#ifdef __AVX2__
/* Sums of 16 bits, which a kernel has to widen now and then: a bound that none reaches. */
#define MADDUBS(i)                                                                                \
  __asm__ volatile("vpmaddubsw %2, %1, %0" : "=v"(spare) : "v"(x), "v"(y));                       \
  __asm__ volatile("vpaddw %1, %0, %0" : "+v"(sum##i) : "v"(spare));
KERNEL(maddubs_256, __m256i, MADDUBS)
#endif
#ifdef __aarch64__
#define FMLA(i) ARM(i, "fmla", "4s", "4s")
KERNEL(fmla, float32x4_t, FMLA)
#define SMLAL(i) ARM(i, "smlal", "4s", "4h")
KERNEL(smlal, int32x4_t, SMLAL)
#ifdef __ARM_FEATURE_DOTPROD
#define SDOT(i) ARM(i, "sdot", "4s", "16b")
KERNEL(sdot, int32x4_t, SDOT)
#endif
#ifdef __ARM_FEATURE_MATMUL_INT8
#define SMMLA(i) ARM(i, "smmla", "4s", "16b")
KERNEL(smmla, int32x4_t, SMMLA)
#endif
#ifdef __ARM_FEATURE_BF16_VECTOR_ARITHMETIC
#define BFMMLA(i) ARM(i, "bfmmla", "4s", "8h")
KERNEL(bfmmla, float32x4_t, BFMMLA)
#endif
#endif

typedef struct peak {
  const char *element, *instruction;
  void (*run)(long rounds);
  int multiply_adds; /* an instruction (of maddubs: a pair) */
} peak;

static const peak peaks[] = {
#ifdef __AVX512VNNI__
    {"int8", "AVX-512 VNNI", vnni_512, 64},
#endif
#ifdef __AVXVNNI__
    {"int8", "AVX-VNNI", vnni_256, 32},
#endif
#ifdef __AVX2__
    {"int8", "AVX2", maddubs_256, 32},
#endif
#ifdef __AVX512BF16__
    {"bf16", "AVX-512 BF16", bf16_512, 32},
#endif
#ifdef __AVX512F__
    {"f32", "AVX-512", fma_512, 16},
#endif
#ifdef __FMA__
    {"f32", "AVX2", fma_256, 8},
#endif
#ifdef __ARM_FEATURE_MATMUL_INT8
    {"int8", "i8mm", smmla, 32},
#endif
#ifdef __ARM_FEATURE_DOTPROD
    {"int8", "dotprod", sdot, 16},
#endif
#ifdef __ARM_FEATURE_BF16_VECTOR_ARITHMETIC
    {"bf16", "bf16", bfmmla, 16},
#endif
#ifdef __aarch64__
    {"int8", "NEON", smlal, 4},
    {"f32", "NEON", fmla, 4},
#endif
};
enum { N_PEAKS = sizeof peaks / sizeof *peaks };

/* ---- threads ---- */

typedef struct job job;
struct job {
  void (*run)(job *j, int thread);
  int n_threads, first; /* the processor of thread 0 */
  atomic_int ready;
  double time[MAX_THREADS]; /* of each thread */
  const peak *peak;
  long rounds;
  const uint8_t *data;
  size_t bytes;
};
typedef struct worker { job *job; int thread; } worker;

static void *work(void *arg) {
  worker *w = arg;
  job *j = w->job;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processors[(j->first + w->thread) % n_processors], &set);
  sched_setaffinity(0, sizeof set, &set);
  atomic_fetch_add(&j->ready, 1);
  while (atomic_load(&j->ready) < j->n_threads) sched_yield();
  double begin = seconds();
  j->run(j, w->thread);
  j->time[w->thread] = seconds() - begin;
  return NULL;
}

/* Until the last thread is done; the time is its own. */
static double run_job(job *j) {
  pthread_t threads[MAX_THREADS];
  worker workers[MAX_THREADS];
  double longest = 0;
  atomic_store(&j->ready, 0);
  for (int i = 0; i < j->n_threads; i++) {
    workers[i] = (worker){j, i};
    if (pthread_create(&threads[i], NULL, work, &workers[i])) exit(1);
  }
  for (int i = 0; i < j->n_threads; i++) {
    pthread_join(threads[i], NULL);
    if (j->time[i] > longest) longest = j->time[i];
  }
  return longest;
}

static void run_peak(job *j, int thread) { (void)thread, j->peak->run(j->rounds); }

static double peak_gops(const peak *p, int n_threads, int first, double for_seconds, int samples) {
  double rates[SAMPLES];
  job j = {.run = run_peak, .peak = p, .n_threads = n_threads, .first = first};
  /* As many rounds as fit, by a clock of 2 GHz and one instruction a cycle: the right order is enough. */
  j.rounds = (long)(for_seconds * 2e9 / REGISTERS);
  double operations = 2.0 * p->multiply_adds * REGISTERS * (double)j.rounds * 1e-9;
  for (int s = 0; s < samples; s++) {
    run_job(&j);
    rates[s] = 0;
    for (int i = 0; i < n_threads; i++) rates[s] += operations / j.time[i];
  }
  return median(rates, samples);
}

/* ---- reading ---- */

static uint8_t *buffer;
static size_t buffer_bytes, window;

/* Some times what the caches hold, as far as a quarter of the free memory allows; at least `wanted`, if that does. */
static void need_buffer(size_t wanted) {
  long cache = sysconf(_SC_LEVEL3_CACHE_SIZE), pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  size_t free_bytes = pages > 0 && page > 0 ? (size_t)pages * (size_t)page / 4 : (size_t)1 << 28;
  size_t size = cache > 0 ? 4 * (size_t)cache : (size_t)1 << 28;
  if (size < (size_t)1 << 28) size = (size_t)1 << 28;
  if (size < wanted) size = wanted;
  if (size > free_bytes + buffer_bytes) size = free_bytes + buffer_bytes;
  size = size / (1 << 21) * (1 << 21);
  if (size <= buffer_bytes) return;
  if (buffer) munmap(buffer, buffer_bytes);
  buffer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffer == MAP_FAILED) exit(1);
#ifdef MADV_HUGEPAGE
  madvise(buffer, size, MADV_HUGEPAGE);
#endif
  memset(buffer, 1, size);
  buffer_bytes = size;
}

static void run_read(job *j, int thread) {
  typedef uint64_t wide __attribute__((vector_size(64)));
  size_t part = j->bytes / (size_t)j->n_threads / 256 * 4; /* vectors of a thread */
  const wide *data = (const wide *)(const void *)j->data + (size_t)thread * part;
  wide a = {0}, b = a, c = a, d = a;
  for (long r = 0; r < j->rounds; r++)
    for (size_t i = 0; i < part; i += 4) a |= data[i], b |= data[i + 1], c |= data[i + 2], d |= data[i + 3];
  a |= b | c | d;
  __asm__ volatile("" : : "m"(a));
}

static double read_gbps(int n_threads, const uint8_t *data, size_t bytes, int samples) {
  double rates[SAMPLES];
  bytes = bytes / ((size_t)n_threads * 256) * ((size_t)n_threads * 256);
  job j = {.run = run_read, .n_threads = n_threads, .data = data, .bytes = bytes};
  j.rounds = 1 + (long)(((size_t)1 << 28) / bytes);
  if (samples == 1) j.rounds = 1;
  for (int s = 0; s < samples; s++) rates[s] = (double)bytes * (double)j.rounds * 1e-9 / run_job(&j);
  return median(rates, samples);
}

/* ---- requests ---- */

static const peak *find_peak(const char *element) {
  for (int i = 0; i < N_PEAKS; i++)
    if (!strcmp(peaks[i].element, element)) return &peaks[i];
  return NULL;
}

static void answer_peaks(int n) {
  printf("{\"threads\":%d,\"peaks\":[", n);
  for (int i = 0; i < N_PEAKS; i++)
    printf("%s{\"element\":\"%s\",\"instruction\":\"%s\",\"gops_1\":%.1f,\"gops\":%.1f}", i ? "," : "",
           peaks[i].element, peaks[i].instruction, peak_gops(&peaks[i], 1, 0, 0.004, SAMPLES),
           peak_gops(&peaks[i], n, 0, 0.004, SAMPLES));
  puts("]}");
}

static void answer_read(int n, size_t bytes) {
  need_buffer(bytes);
  size_t size = bytes && bytes < buffer_bytes ? bytes : buffer_bytes;
  double one = read_gbps(1, buffer, size, SAMPLES), all = read_gbps(n, buffer, size, SAMPLES);
  printf("{\"threads\":%d,\"bytes\":%zu,\"whole\":%s,\"gbps_1\":%.2f,\"gbps\":%.2f}\n", n, size,
         size >= bytes ? "true" : "false", one, all);
}

static void answer_probe(int n) {
  const peak *p = find_peak("f32");
  double alone[MAX_THREADS], shares[SAMPLES];
  if (!p) exit(1);
  need_buffer(0);
  for (int s = 0; s < SAMPLES; s++) {
    double apart = 0;
    for (int i = 0; i < n; i++) apart += alone[i] = peak_gops(p, 1, i, 0.0005, 1);
    shares[s] = peak_gops(p, n, 0, 0.0005, 1) / apart;
  }
  /* A part that has not been read for a while, so that no cache has it. */
  size_t part = buffer_bytes / PROBE_WINDOWS;
  double gbps = read_gbps(n, buffer + window++ % PROBE_WINDOWS * part, part, 1);
  printf("{\"threads\":%d,\"together\":%.3f,\"gbps\":%.2f,\"alone_gops\":[", n, median(shares, SAMPLES), gbps);
  for (int i = 0; i < n; i++) printf("%s%.1f", i ? "," : "", alone[i]);
  puts("]}");
}

int main(void) {
  cpu_set_t set;
  char line[128], what[16];
  if (sched_getaffinity(0, sizeof set, &set)) return 1;
  for (int i = 0; i < CPU_SETSIZE && n_processors < MAX_THREADS; i++)
    if (CPU_ISSET(i, &set)) processors[n_processors++] = i;
  while (fgets(line, sizeof line, stdin)) {
    int n = 0;
    size_t bytes = 0;
    if (sscanf(line, "%15s %d %zu", what, &n, &bytes) < 2 || n < 1) return 2;
    if (n > n_processors) n = n_processors;
    if (!strcmp(what, "peaks")) answer_peaks(n);
    else if (!strcmp(what, "read")) answer_read(n, bytes);
    else if (!strcmp(what, "probe")) answer_probe(n);
    else return 2;
    fflush(stdout);
  }
  return 0;
}
