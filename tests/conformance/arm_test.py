"""On emulated CPUs of several generations: the same bits, and nothing said about what a CPU lacks."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from xst_tool import BIN, VECTORS, check, good, xst  # noqa: E402

CASE = VECTORS / "block_stack/readme_config"
# Raspberry Pi 3, 4 and 5 (the first two without AES, which qemu cannot take away), and all qemu has.
CPUS = {"aarch64": ["cortex-a53", "cortex-a72", "cortex-a76", "max"], "armhf": ["cortex-a7", "cortex-a15", "max"]}
MACHINE = os.environ["XST_MACHINE"]


@pytest.mark.parametrize("dtype", ["f32", "i16", "bf16", "i8"])
def test_every_cpu_gives_the_same_bits_and_no_warning(dtype, tmp_path, monkeypatch):
    model, outputs = tmp_path / "m.xst", set()
    good("pack", CASE, "-o", model, "--dtype", dtype)
    for cpu in CPUS[MACHINE]:
        monkeypatch.setenv("QEMU_CPU", cpu)
        for mode in ("step", "forward"):
            y = tmp_path / f"{mode}.npy"
            done = xst("run", model, "--input", CASE / "input.npy", "--output", y, "--mode", mode, "--isa", "neon")
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), cpu
        if dtype == "f32":
            check(np.load(tmp_path / "step.npy"), CASE)
        outputs.add((tmp_path / "step.npy").read_bytes() + (tmp_path / "forward.npy").read_bytes())
    assert len(outputs) == 1


def test_no_instruction_wants_aes():
    """It runs where AES is missing because no such instruction is in it."""
    tools = {"aarch64": "aarch64-linux-gnu", "armhf": "arm-linux-gnueabihf"}[MACHINE]
    program = BIN.parent / "bin/xst"
    listing = subprocess.run([f"{tools}-objdump", "-d", "--no-show-raw-insn", program],
                             check=True, capture_output=True, text=True).stdout
    assert re.search(r"\tv?(fma|fmla)", listing)  # it is the code
    assert re.findall(r"\t((?:aes|sha\d)\w*(?:\.\w+)?|pmull2?|vmull\.p64)\t", listing) == []
    needed = subprocess.run([f"{tools}-readelf", "-d", program], check=True, capture_output=True, text=True).stdout
    assert "libhwy" not in needed
