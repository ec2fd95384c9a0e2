// Trouble on device 0, made on purpose.
#pragma once

#include <cstddef>

namespace xst::test {

// Runs a kernel that traps: from then on every call of this process to the device fails, as when it
// disappears.
bool TrapDevice();

// Allocates the device's memory but about `leave` bytes; null if that was not possible.
void* TakeDeviceMemory(size_t leave);
void GiveDeviceMemory(void* taken);

}  // namespace xst::test
