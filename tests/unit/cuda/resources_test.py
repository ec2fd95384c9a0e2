"""What the kernels use on each architecture they are built for, against what a multiprocessor has:
the part of a Jetson that can be checked without one. Prints the table; `pytest -s` shows it.

XST_CUDA_LIBRARY: the built device code (a library, an object or a folder of them)."""

import os
import pathlib
import re
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
KERNELS = HERE.parents[2] / "kernels" / "cuda"
sys.path.insert(0, str(HERE))

import fatbin  # noqa: E402
import occupancy  # noqa: E402
from occupancy import ARCHITECTURES, KIB  # noqa: E402

JETSON = (87, 110)

# The threads of a kernel that declares no __launch_bounds__ (ThreadsFor of lane.cuh).
THREADS = 256

# Local memory of a thread that is no loss: nothing but a few registers of the largest tiles, and in
# kernels that run once a model more.
STACK = 64
STACK_ONCE = 1024
ONCE = re.compile(r"(Pack|Repack)\w+")
# Several streams at once of a Large model, where one reading of the weights is worth more.
STACK_WIDE = 768
WIDE = re.compile(r"GemvKernel<\w+, \d, (1, 8|3, [24])>")
# One stream's, whose registers are capped so that the mLSTM cell fits beside it.
STACK_CAPPED = 96
CAPPED = re.compile(r"GemvKernel<\w+, 2, 1, 1>")

# Dynamic shared memory: the source that declares it, its kernels, and the most that a launch asks
# for: bytes, or what the device allows where the launcher asks the device.
DEVICE = None
DYNAMIC_SHARED = {
    "gemv.cuh": ("GemvKernel", DEVICE),
    "linear_tokens.cuh": ("LinearTokensKernel", DEVICE),
    "mlstm_chunks.cu": ("GatesKernel", 48 * KIB),
    "mlstm_lanes.cuh": ("MlstmCoreKernel", 96 * KIB),
    "mlstm_lanes_cluster.cuh": ("MlstmClusterKernel", 96 * KIB),
    "on_chip_kernel.cuh": ("OnChipKernel", DEVICE),
    "sequence_linear.cu": ("SequenceLinearKernel", DEVICE),
    "sequence_mlstm.cu": ("ChunkKernel", DEVICE),
    "sequence_mlstm_fast.cu": ("FastKernel", DEVICE),
    "sequence_mlstm_steps.cuh": ("StepsKernel", DEVICE),
    "sequence_qkv.cu": ("QkvKernel", DEVICE),
    "sequence_qkv_fours.cuh": ("FoursKernel", DEVICE),
    "sequence_slstm.cu": ("(Block|Any)ScanKernel", DEVICE),
    "sequence_slstm_front.cu": ("FrontKernel", DEVICE),
    "slstm_input_tokens.cuh": ("SlstmInputTokensKernel", DEVICE),
    "slstm_lanes.cuh": ("SlstmLayerKernel", DEVICE),
}


def dynamic_shared(kernel, name):
    arch = ARCHITECTURES[kernel.arch]
    for pattern, most in DYNAMIC_SHARED.values():
        if re.match(pattern + r"\b", name):
            if most is DEVICE:
                return arch.shared_per_block - kernel.static_shared
            return most(kernel.arch) if callable(most) else most
    return 0


def library():
    path = os.environ.get("XST_CUDA_LIBRARY")
    if not path:
        pytest.skip("NOT TESTED: XST_CUDA_LIBRARY names no device code")
    return path


@pytest.fixture(scope="module")
def kernels():
    """[(kernel, name)] of every architecture."""
    found = fatbin.kernels_of(library())
    assert found, "no device code in XST_CUDA_LIBRARY"
    names = fatbin.readable(k.symbol for k in found)
    return [(k, names[k.symbol]) for k in found]


def of(kernels, arch):
    chosen = sorted(((k, name) for k, name in kernels if k.arch == arch), key=lambda p: p[1])
    if not chosen:
        pytest.skip(f"NOT TESTED: no device code for sm_{arch} was built")
    return chosen


def threads_of(kernel):
    return kernel.max_threads or THREADS


def test_every_architecture_is_known(kernels):
    assert {k.arch for k, _ in kernels} <= set(ARCHITECTURES)


def test_every_architecture_has_every_kernel(kernels):
    by_arch = {}
    for kernel, name in kernels:
        by_arch.setdefault(kernel.arch, set()).add(name)
    # Bodies for clusters exist from sm_90 on.
    common = {arch: {n for n in names if "Cluster" not in n} for arch, names in by_arch.items()}
    for arch, names in common.items():
        assert names == common[min(common)], f"sm_{arch}"


@pytest.mark.parametrize("number", sorted(ARCHITECTURES))
def test_table(kernels, number):
    arch = ARCHITECTURES[number]
    chosen = of(kernels, number)
    print(f"\n{arch.name:70} {'threads':>7} {'regs':>5} {'stack':>5} {'static':>7} "
          f"{'dynamic':>8} {'blocks/SM':>9} {'warps':>6}")
    for kernel, name in chosen:
        threads, dynamic = threads_of(kernel), dynamic_shared(kernel, name)
        blocks = occupancy.blocks_per_sm(arch, threads, kernel.registers, kernel.static_shared,
                                         dynamic)  # the fewest: with the most dynamic memory
        print(f"  {name[:68]:68} {threads:7} {kernel.registers:5} {kernel.stack:5} "
              f"{kernel.static_shared:7} {dynamic:8} {blocks:9} "
              f"{blocks * occupancy.warps(arch, threads):6}")


@pytest.mark.parametrize("number", sorted(ARCHITECTURES))
def test_registers_fit(kernels, number):
    arch = ARCHITECTURES[number]
    bad = [(name, threads_of(k), k.registers) for k, name in of(kernels, number)
           if not occupancy.fits_registers(arch, threads_of(k), k.registers)]
    assert not bad


@pytest.mark.parametrize("number", sorted(ARCHITECTURES))
def test_shared_memory_fits(kernels, number):
    arch = ARCHITECTURES[number]
    bad = [(name, k.static_shared, dynamic_shared(k, name)) for k, name in of(kernels, number)
           if not occupancy.fits_shared(arch, k.static_shared, dynamic_shared(k, name))]
    assert not bad


@pytest.mark.parametrize("number", JETSON)
def test_nothing_spills(kernels, number):
    def most(name):
        kinds = ((ONCE, STACK_ONCE), (WIDE, STACK_WIDE), (CAPPED, STACK_CAPPED))
        return next((stack for kind, stack in kinds if kind.match(name)), STACK)

    bad = [(name, k.stack) for k, name in of(kernels, number) if k.stack > most(name)]
    assert not bad


@pytest.mark.parametrize("number", JETSON)
def test_every_kernel_can_run(kernels, number):
    arch = ARCHITECTURES[number]
    bad = [name for k, name in of(kernels, number)
           if occupancy.blocks_per_sm(arch, threads_of(k), k.registers, k.static_shared,
                                      dynamic_shared(k, name)) < 1]
    assert not bad


# Orin Nano and NX have 8 multiprocessors, AGX Orin 16, AGX Thor 20.
@pytest.mark.parametrize("number, sms", [(87, 8), (87, 16), (110, 20)])
def test_blocks_that_cooperate(kernels, number, sms):
    arch = ARCHITECTURES[number]
    # One block may take all shared memory of a multiprocessor; then registers and threads must not
    # stand in the way of it.
    chosen = [(k, name) for k, name in of(kernels, number)
              if name.startswith("OnChipKernel") and "GridExchange" in name]
    assert chosen, "no on-chip kernel whose blocks are a grid"
    print()
    for kernel, name in chosen:
        most = arch.shared_per_block - kernel.static_shared
        blocks = occupancy.cooperating_blocks(arch, sms, threads_of(kernel), kernel.registers,
                                              kernel.static_shared, most)
        print(f"  {name}: {blocks} blocks of {sms} {arch.name} multiprocessors cooperate, "
              f"{blocks * most / 1e6:.2f} MB on the chip")
        assert blocks == sms


def test_dynamic_shared_memory_is_listed():
    """Every source that declares any is in the table above, and nothing else is."""
    declaring = {path.name for path in KERNELS.glob("*.cu*")
                 if "extern __shared__" in path.read_text()}
    assert declaring == set(DYNAMIC_SHARED)


def test_dynamic_kernels_exist(kernels):
    names = {name for _, name in kernels}
    built = {source for source in DYNAMIC_SHARED
             if any(re.match(DYNAMIC_SHARED[source][0] + r"\b", name) for name in names)}
    missing = {source for source in DYNAMIC_SHARED if source not in built}
    assert not missing


# The arithmetic itself.

# (sm, threads, registers, static, dynamic, blocks an SM) by the occupancy calculator of CUDA 13.0
# (cuda_occupancy.h).
CALCULATED = [
    (87, 256, 255, 0, 0, 1), (87, 256, 64, 0, 0, 4), (87, 1024, 64, 0, 0, 1),
    (87, 1024, 65, 0, 0, 0), (87, 512, 128, 1024, 0, 1), (87, 32, 32, 0, 0, 16),
    (87, 512, 64, 0, 100000, 1), (87, 384, 168, 0, 70000, 1), (87, 96, 33, 5000, 0, 16),
    (87, 128, 40, 1, 0, 12), (87, 256, 128, 0, 166912, 1), (87, 160, 72, 0, 0, 5),
    (90, 256, 255, 0, 0, 1), (90, 256, 64, 0, 0, 4), (90, 1024, 64, 0, 0, 1),
    (90, 1024, 65, 0, 0, 0), (90, 512, 128, 1024, 0, 1), (90, 32, 32, 0, 0, 32),
    (90, 512, 64, 0, 100000, 2), (90, 384, 168, 0, 70000, 1), (90, 96, 33, 5000, 0, 16),
    (90, 128, 40, 1, 0, 12), (90, 256, 128, 0, 166912, 1), (90, 160, 72, 0, 0, 5),
    (110, 256, 255, 0, 0, 1), (110, 256, 64, 0, 0, 4), (110, 1024, 64, 0, 0, 1),
    (110, 1024, 65, 0, 0, 0), (110, 512, 128, 1024, 0, 1), (110, 32, 32, 0, 0, 24),
    (110, 512, 64, 0, 100000, 2), (110, 384, 168, 0, 70000, 1), (110, 96, 33, 5000, 0, 16),
    (110, 128, 40, 1, 0, 12), (110, 256, 128, 0, 166912, 1), (110, 160, 72, 0, 0, 5),
]


@pytest.mark.parametrize("sm, threads, registers, static, dynamic, expected", CALCULATED)
def test_blocks_per_sm(sm, threads, registers, static, dynamic, expected):
    assert occupancy.blocks_per_sm(ARCHITECTURES[sm], threads, registers, static,
                                   dynamic) == expected


def test_limits():
    orin, hopper, thor = (ARCHITECTURES[n] for n in (87, 90, 110))
    assert orin.shared_per_block == 163 * KIB
    assert hopper.shared_per_block == thor.shared_per_block == 227 * KIB
    assert occupancy.fits_shared(orin, 0, 163 * KIB)
    assert not occupancy.fits_shared(orin, 1, 163 * KIB)
    assert not occupancy.fits_shared(hopper, 48 * KIB + 1, 0)
    assert occupancy.fits_registers(orin, 256, 255)
    assert not occupancy.fits_registers(orin, 32, 256)
    # Five warps count as eight: a block of them is refused long before its registers are all used.
    assert occupancy.fits_registers(orin, 160, 255)
    assert not occupancy.fits_registers(orin, 288, 255)


def test_readme_model_on_an_orin():
    """764,848 weights and 430 kB of state in shared memory, one block a multiprocessor: f32 is too
    much for any Orin, 16 bits fit its 16 multiprocessors, and 8 of them hold not even 8 bits."""
    orin = ARCHITECTURES[87]
    assert occupancy.cooperating_blocks(orin, 16, 256, 128, 0, orin.shared_per_block) == 16
    assert occupancy.cooperating_blocks(orin, 8, 256, 128, 0, orin.shared_per_block) == 8
    weights, state, exchanged = 764_848, 430_000, 20_000
    assert occupancy.blocks_for(orin, 4 * weights + state, exchanged) == 24
    assert occupancy.blocks_for(orin, 2 * weights + state, exchanged) == 14
    assert occupancy.blocks_for(orin, weights + state, exchanged) == 9
