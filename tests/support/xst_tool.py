"""Calls the built `xst` and knows the conformance cases and their rule (vectors/README.md)."""

import os
import pathlib
import subprocess

import numpy as np

BIN = pathlib.Path(os.environ["XST_BIN_DIR"])
VECTORS = pathlib.Path(os.environ["XST_TEST_DATA"])


def xst(*args, stdin=None, timeout=120):
    """The finished process; stdin bytes or none, stdout and stderr as bytes."""
    return subprocess.run([BIN / "xst", *map(str, args)], input=stdin, capture_output=True, timeout=timeout)


def good(*args, stdin=None, timeout=120):
    """Standard output of a call that must succeed."""
    done = xst(*args, stdin=stdin, timeout=timeout)
    assert done.returncode == 0, (args, done.returncode, done.stderr.decode())
    assert b"error" not in done.stderr, done.stderr.decode()
    return done.stdout


def cases(*suites):
    """Folders of cases in order."""
    return [case for suite in suites for case in sorted((VECTORS / suite).iterdir()) if case.is_dir()]


def case_id(case):
    return f"{case.parent.name}/{case.name}"


def isas():
    """The instruction sets that this CPU has and the tool must offer."""
    flags = set()
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith(("flags", "Features")):
                flags |= set(line.split(":", 1)[1].split())
    found = ["scalar"]
    if {"avx2", "fma", "bmi2", "f16c"} <= flags:
        found.append("avx2")
    if {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        found.append("avx512")
    if "asimd" in flags:
        found.append("neon")
    return found


def check(output, case, mode="step"):
    """Asserts the rule for a case's output."""
    expected = np.load(case / "expected.npy")
    assert output.shape == expected.shape and output.dtype == np.float32
    missing = np.isnan(expected)
    assert (np.isnan(output) == missing).all(), "undefined values in other places"
    assert np.isfinite(output[~missing]).all()

    def largest(array):
        return np.max(np.abs(array.astype(np.float64)[~missing] - expected[~missing]))

    limit = max(4 * largest(np.load(case / "official_f32.npy")), 2e-6 * np.max(np.abs(expected[~missing])))
    forward = case / "forward_f32.npy"
    if mode == "forward" and forward.exists():
        limit = max(limit, largest(np.load(forward)))
    error = largest(output)
    assert error <= limit, f"error {error:.3g}, tolerance {limit:.3g}"
