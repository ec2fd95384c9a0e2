"""What the suites of the Python package share: models packed once, by the kind of their input."""

import os
import pathlib
import sys
import warnings

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("XST_BIN_DIR", str(ROOT / "build/release/bin"))
os.environ.setdefault("XST_TEST_DATA", str(ROOT / "tests/vectors"))
sys.path.insert(0, str(ROOT / "tests/support"))
warnings.filterwarnings("ignore", message="nn.functional.sigmoid is deprecated")

import xlstm_stream as xst  # noqa: E402
from xst_tool import VECTORS  # noqa: E402

CASES = {"bare": "block_stack/mlstm_defaults", "other": "block_stack/slstm_defaults", "wrapped": "stream/forecaster",
         "classifier": "stream/classifier", "lm": "block_stack/lm_tied", "tirex": "tirex/01_small",
         "readme": "block_stack/readme_config"}


def same(a, b):
    return np.array_equal(a, b, equal_nan=True)


def agree(model, a, b):
    """forward() of a larger float32 model adds up in another order than steps do."""
    if model.parameters <= 131072:
        return same(a, b)
    return np.allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max(), equal_nan=True)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for kind, case in CASES.items():
        xst.pack(VECTORS / case, folder / f"{kind}.xst")
    return {kind: folder / f"{kind}.xst" for kind in CASES}


@pytest.fixture(scope="session")
def models(files):
    return {kind: xst.Model(path) for kind, path in files.items()}


@pytest.fixture(scope="session")
def inputs():
    """The first column of each case's input: (T, width) float32 or (T,) int64."""
    made = {}
    for kind, case in CASES.items():
        x = np.load(VECTORS / case / "input.npy")
        made[kind] = np.ascontiguousarray(x if kind in ("wrapped", "classifier", "tirex") else x[:, 0])
    return made
