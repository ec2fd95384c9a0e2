# Cross-builds for 32-bit ARM with NEON and Debian's compiler; programs run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(CMAKE_C_COMPILER arm-linux-gnueabihf-gcc)
set(CMAKE_CXX_COMPILER arm-linux-gnueabihf-g++)
# NEON with fused multiply-add: Cortex-A5, A7, A15 and all of ARMv8. Highway knows it by a name that
# GCC does not define, and wants a type of 16-bit floats.
set(CMAKE_C_FLAGS_INIT "-mfpu=neon-vfpv4")
set(CMAKE_CXX_FLAGS_INIT "-mfpu=neon-vfpv4 -mfp16-format=ieee -D__ARM_VFPV4__")
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-arm;-L;/usr/arm-linux-gnueabihf")
set(CMAKE_LIBRARY_ARCHITECTURE arm-linux-gnueabihf)
include(${CMAKE_CURRENT_LIST_DIR}/sysroot.cmake)
