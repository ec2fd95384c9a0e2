"""Calls the built `xst` and knows the conformance cases and their rule (vectors/README.md)."""

import os
import pathlib
import re
import subprocess

import numpy as np

BIN = pathlib.Path(os.environ["XST_BIN_DIR"])
HOST_BIN = pathlib.Path(os.environ.get("XST_HOST_BIN_DIR", BIN))  # models may be packed on another machine
VECTORS = pathlib.Path(os.environ["XST_TEST_DATA"])


def xst(*args, stdin=None, timeout=120):
    """The finished process; stdin bytes or none, stdout and stderr as bytes."""
    folder = HOST_BIN if args and args[0] in ("pack", "unpack") else BIN
    return subprocess.run([folder / "xst", *map(str, args)], input=stdin, capture_output=True, timeout=timeout)


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
    """The instruction sets that this CPU, or the emulated one, has and the tool must offer."""
    if "XST_ISAS" in os.environ:
        return os.environ["XST_ISAS"].split()
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


def config_of(case):
    """The configuration file of a case: YAML, or a hub checkpoint's JSON."""
    yaml = case / "config.yaml"
    return yaml if yaml.exists() else case / "config.json"


def tolerance(case):
    """The rule: 4 times the official float32 error, at least 2e-6 of the largest output and what the case suggests."""
    expected = np.load(case / "expected.npy").astype(np.float64)
    own = np.nanmax(np.abs(np.load(case / "official_f32.npy") - expected))
    about = case / "case.yaml"
    suggested = re.search(r"^suggested_abs_tolerance_f32: (\S+)$", about.read_text(), re.M) if about.exists() else None
    return max(4 * own, 2e-6 * np.nanmax(np.abs(expected)), float(suggested[1]) if suggested else 0)


def check(output, case, mode="step", expected=None):
    """Asserts the rule for a case's output, against `expected` in place of the case's own if given."""
    limit = tolerance(case)
    forward = case / "forward_f32.npy"
    if expected is None:
        expected = np.load(case / "expected.npy")
        if mode == "forward" and forward.exists():
            limit = max(limit, np.nanmax(np.abs(np.load(forward).astype(np.float64) - expected)))
    assert output.shape == expected.shape and output.dtype == np.float32
    missing = np.isnan(expected)
    assert (np.isnan(output) == missing).all(), "undefined values in other places"
    assert np.isfinite(output[~missing]).all()
    error = np.max(np.abs(output.astype(np.float64)[~missing] - expected[~missing]))
    assert error <= limit, f"error {error:.3g}, tolerance {limit:.3g}"
