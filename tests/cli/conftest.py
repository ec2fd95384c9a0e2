"""What the suites of the command line share."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from xst_tool import VECTORS, good, xst  # noqa: E402


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Small models by kind: bare [T,D=16], wrapped (3 named inputs), lm."""
    folder = tmp_path_factory.mktemp("models")
    cases = {"bare": "block_stack/mlstm_defaults", "wrapped": "stream/classifier", "lm": "block_stack/lm_tied",
             "columns": "block_stack/mixed_bias_batch3"}
    made = {}
    for kind, case in cases.items():
        made[kind] = folder / f"{kind}.xst"
        good("pack", VECTORS / case, "-o", made[kind])
    return made


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """packed(case) → the model file of a conformance case, packed once."""
    folder, made = tmp_path_factory.mktemp("packed"), {}

    def pack(case):
        if case not in made:
            made[case] = folder / f"{case.parent.name}-{case.name}.xst"
            good("pack", case, "-o", made[case])
        return made[case]
    return pack


@pytest.fixture(scope="session")
def inputs():
    return {"bare": np.load(VECTORS / "block_stack/mlstm_defaults/input.npy"),
            "wrapped": np.load(VECTORS / "stream/classifier/input.npy"),
            "lm": np.load(VECTORS / "block_stack/lm_tied/input.npy"),
            "columns": np.load(VECTORS / "block_stack/mixed_bias_batch3/input.npy")}


@pytest.fixture
def refused():
    """refused(args…, status=1, names=[…]) asserts a clean error that names things, and returns it."""
    def check(*args, status=1, names=(), stdin=None):
        done = xst(*args, stdin=stdin)
        text = done.stderr.decode()
        assert done.returncode == status, (args, done.returncode, text)
        assert text.startswith("xst: error: ") and text.count("xst: error:") == 1, text
        assert "expected" in text and "got" in text, text
        assert done.stdout == b"", done.stdout
        for name in names:
            assert str(name) in text, (name, text)
        return text
    return check
