"""What the suites of every engine share: the model, its samples, and the run that nobody interrupts."""

import os
import pathlib
import subprocess
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("XST_BIN_DIR", ROOT / "build/release/bin"))
PATIENCE_S = 300  # with what does not get on; never what is measured


def wait(done, what):
    begin = time.monotonic()
    while not done():
        assert time.monotonic() < begin + PATIENCE_S, f"expected {what} in {PATIENCE_S} s, got none"
        time.sleep(0.02)


def pack(folder, case="stream/forecaster"):
    model = pathlib.Path(folder) / "m.xst"
    subprocess.run([BIN / "xst", "pack", ROOT / "tests/vectors" / case, "-o", model], check=True, capture_output=True)
    return model


def samples(random, n):
    """(n, 1) of a signal that is never the same, some of them missing."""
    x = random.standard_normal((n, 1), np.float32)
    x[random.random(n) < 0.02] = np.nan
    return x


def uninterrupted(model, x):
    """What `xst run`, another program of the same library, makes of it in one go."""
    folder = pathlib.Path(model).parent
    np.save(folder / "x.npy", x)
    subprocess.run([BIN / "xst", "run", model, "--input", folder / "x.npy", "--output", folder / "y.npy"], check=True,
                   capture_output=True)
    return np.load(folder / "y.npy")
