/* Vector types of VF lanes as GCC/Clang vector extensions: + - * & | << >> and comparisons are the operators.
 * The including header defines VF first and the operations that need an instruction of their own after. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/half.h"

#define INLINE static inline __attribute__((always_inline))
/* Loops over a register tile must disappear for its arrays to live in registers. */
#if !defined(UNROLL)
#  define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vf __attribute__((vector_size(4 * VF)));
typedef int32_t vi __attribute__((vector_size(4 * VF)));
typedef uint32_t vu __attribute__((vector_size(4 * VF)));
typedef int16_t vs __attribute__((vector_size(4 * VF)));     /* two to a lane of vi */
typedef float vf_any __attribute__((vector_size(4 * VF), aligned(1), may_alias));
typedef int32_t vi_any __attribute__((vector_size(4 * VF), aligned(1), may_alias));

INLINE vf vf_load(const void *p) { return *(const vf_any *)p; }
INLINE void vf_store(void *p, vf a) { *(vf_any *)p = a; }
INLINE vi vi_load(const void *p) { return *(const vi_any *)p; }
INLINE void vi_store(void *p, vi a) { *(vi_any *)p = a; }
INLINE vf vi_to_vf(vi a) { return __builtin_convertvector(a, vf); }
INLINE vf vf_select(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
INLINE vf vf_abs(vf a) { return (vf)((vi)a & 0x7fffffff); }
