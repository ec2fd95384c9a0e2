"""How many blocks of a kernel a multiprocessor holds, from what the kernel uses: plain arithmetic.

The figures are those of the CUDA programming guide's table of technical specifications, the rules
of allocation those of the toolkit's occupancy calculator."""

import dataclasses

KIB = 1024


@dataclasses.dataclass(frozen=True)
class Architecture:
    name: str
    threads_per_sm: int
    blocks_per_sm: int
    shared_per_sm: int
    registers_per_sm: int = 65536
    registers_per_block: int = 65536
    registers_per_thread: int = 255
    threads_per_block: int = 1024
    static_shared_per_block: int = 48 * KIB
    reserved_shared: int = 1 * KIB  # of every block, by the system
    warp: int = 32
    partitions: int = 4  # of an SM, each with a quarter of the registers
    register_unit: int = 256  # registers are given to a warp in these
    shared_unit: int = 128

    @property
    def shared_per_block(self):
        """With dynamic shared memory beyond 48 KiB allowed by its attribute."""
        return self.shared_per_sm - self.reserved_shared


ARCHITECTURES = {
    80: Architecture("sm_80", 2048, 32, 164 * KIB),
    86: Architecture("sm_86", 1536, 16, 100 * KIB),
    87: Architecture("sm_87", 1536, 16, 164 * KIB),  # Jetson Orin
    89: Architecture("sm_89", 1536, 24, 100 * KIB),
    90: Architecture("sm_90", 2048, 32, 228 * KIB),
    100: Architecture("sm_100", 2048, 32, 228 * KIB),
    110: Architecture("sm_110", 1536, 24, 228 * KIB),  # Jetson Thor
    120: Architecture("sm_120", 1536, 24, 100 * KIB),
}


def round_up(n, unit):
    return -(-n // unit) * unit


def warps(arch, threads):
    return -(-threads // arch.warp)


def registers_of_warp(arch, registers):
    return round_up(registers * arch.warp, arch.register_unit)


def fits_registers(arch, threads, registers):
    """Whether a block can be launched at all: its warps count as if spread over all partitions."""
    needed = registers_of_warp(arch, registers) * round_up(warps(arch, threads), arch.partitions)
    return registers <= arch.registers_per_thread and needed <= arch.registers_per_block


def blocks_by_registers(arch, threads, registers):
    if not fits_registers(arch, threads, registers):
        return 0
    if registers == 0:
        return arch.blocks_per_sm
    warps_per_partition = (arch.registers_per_sm // arch.partitions
                           // registers_of_warp(arch, registers))
    return warps_per_partition * arch.partitions // warps(arch, threads)


def fits_shared(arch, static, dynamic):
    return (static <= arch.static_shared_per_block
            and static + dynamic <= arch.shared_per_block)


def blocks_by_shared(arch, static, dynamic):
    if not fits_shared(arch, static, dynamic):
        return 0
    return arch.shared_per_sm // round_up(static + dynamic + arch.reserved_shared,
                                          arch.shared_unit)


def blocks_by_threads(arch, threads):
    if threads > arch.threads_per_block:
        return 0
    return arch.threads_per_sm // arch.warp // warps(arch, threads)


def blocks_per_sm(arch, threads, registers, static=0, dynamic=0):
    return min(arch.blocks_per_sm, blocks_by_threads(arch, threads),
               blocks_by_registers(arch, threads, registers),
               blocks_by_shared(arch, static, dynamic))


def cooperating_blocks(arch, sms, threads, registers, static=0, dynamic=0):
    """The largest grid whose blocks are all resident, as a cooperative launch needs them."""
    return sms * blocks_per_sm(arch, threads, registers, static, dynamic)


def blocks_for(arch, total, each=0):
    """Blocks, one an SM, whose shared memory holds `total` bytes beside `each` in every block."""
    return -(-total // (arch.shared_per_block - each))
