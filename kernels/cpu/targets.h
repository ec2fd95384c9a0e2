// Which Highway targets this library compiles; included before foreach_target.h by every op.
#pragma once

// Every op is compiled twice: over a frame of floats, and of doubles (XST_WIDE).
#ifdef XST_WIDE
#define XST_ARITHMETIC wide
#else
#define XST_ARITHMETIC single
#endif

// 32-bit ARM: NEON where the compiler's flags have it, and without vectors of doubles.
#if defined(__arm__) && (defined(XST_WIDE) || !defined(__ARM_NEON)) && \
    !defined(HWY_COMPILE_ONLY_SCALAR)
#define HWY_COMPILE_ONLY_SCALAR
#endif

// The fallback is truly one lane on every compiler.
#define HWY_BROKEN_EMU128 1
#if defined(XST_MINIMAL)
// The best target of the compiler's flags, or HWY_COMPILE_ONLY_SCALAR; not the machine's.
#if !defined(HWY_COMPILE_ONLY_SCALAR)
#define HWY_COMPILE_ONLY_STATIC
#endif
#else
// The fallback is kept beside the vector targets, for `--isa scalar`.
#define HWY_COMPILE_ALL_ATTAINABLE
#endif
// No assertions, debug build or not: nothing here aborts, and libhwy is not linked.
#define HWY_IS_DEBUG_BUILD 0
// Not needed, so not asked of the machine.
#define HWY_DISABLE_PCLMUL_AES
#define HWY_DISABLE_F16C
#define HWY_DISABLED_TARGETS                                                              \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | \
   HWY_RVV | HWY_PPC8 | HWY_WASM | HWY_WASM_EMU256)
