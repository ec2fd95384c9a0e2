// What the machine has besides the instruction set of its table.
#pragma once

namespace xst::kernels {

// AVX512-VNNI: integer products of bytes and of 16 bits, summed in one instruction.
bool HasAvx512Vnni();

// SDOT of 64-bit ARM: integer products of bytes, summed in one instruction.
bool HasDotProduct();

}  // namespace xst::kernels
