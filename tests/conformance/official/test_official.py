"""`xst pack` and `xst run` against the official package on models drawn at random."""

import os
import pathlib
import subprocess

import numpy as np
import pytest
from random_case import Case

XST = pathlib.Path(os.environ["XST_BIN_DIR"]) / "xst"
CASES = int(os.environ.get("XST_OFFICIAL_CASES", "40"))


def isas():
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    found = ["scalar"]
    if "avx2" in flags:
        found.append("avx2")
    if "avx512bw" in flags and "avx512dq" in flags and "avx512vl" in flags:
        found.append("avx512")
    return found


def xst(*arguments):
    done = subprocess.run([str(a) for a in (XST, *arguments)], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("seed", range(CASES))
def test_random_model(seed, tmp_path):
    case = Case(seed)
    case.write(tmp_path)
    model = tmp_path / "m.xst"
    xst("pack", tmp_path, "-o", model)
    xst("verify", model)
    for isa in isas():
        for mode in ("step", "forward"):
            out = tmp_path / f"{isa}_{mode}.npy"
            xst("run", model, "--input", tmp_path / "input.npy", "--output", out, "--isa", isa,
                "--mode", mode)
            y = np.load(out)
            assert y.shape == case.expected.shape and y.dtype == np.float32
            error = np.abs(y - case.expected).max()
            assert error <= case.tolerance, (
                f"{isa} {mode}: expected an error of at most {case.tolerance:.3g}, got "
                f"{error:.3g}; config {case.config}")
