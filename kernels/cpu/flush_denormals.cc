#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace xst::kernels {
namespace {

#if defined(__x86_64__)
constexpr uint64_t kFlush = 0x8040;  // MXCSR: FTZ, DAZ
uint64_t ReadMode() { return _mm_getcsr(); }
void WriteMode(uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
constexpr uint64_t kFlush = uint64_t{1} << 24;  // FPCR: FZ
uint64_t ReadMode() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void WriteMode(uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#elif defined(__arm__) && defined(__ARM_FP)
constexpr uint64_t kFlush = uint64_t{1} << 24;  // FPSCR: FZ
uint64_t ReadMode() {
  uint32_t mode;
  asm volatile("vmrs %0, fpscr" : "=r"(mode));
  return mode;
}
void WriteMode(uint64_t mode) {
  asm volatile("vmsr fpscr, %0" : : "r"(static_cast<uint32_t>(mode)));
}
#else
#error "FlushDenormals: no floating-point mode known for this architecture"
#endif

}  // namespace

FlushDenormals::FlushDenormals() : saved_(ReadMode()) { WriteMode(saved_ | kFlush); }
FlushDenormals::~FlushDenormals() { WriteMode(saved_); }

}  // namespace xst::kernels
