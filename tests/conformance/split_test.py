"""A stream stopped and resumed by --state-out and --state-in is the unbroken one, for every public case."""

import struct

import numpy as np
import pytest

from conformance_test import ALL, WAYS, packed, run  # noqa: F401
from xst_tool import BIN, HOST_BIN, case_id, check

STEP = 1 if BIN == HOST_BIN else 11  # between cuts; emulators are slow


@pytest.mark.parametrize("case", ALL, ids=case_id)
def test_split_at_every_sample_changes_no_bit(case, packed, tmp_path):
    model, x = packed(case), np.load(case / "input.npy")
    half, end = tmp_path / "half.state", tmp_path / "end.state"
    whole = run(model, x, tmp_path, "--state-out", end)
    whole_end = end.read_bytes()
    columns = x.shape[1] if case.parent.name != "stream" else 1
    assert struct.unpack("<I", whole_end[:4]) == (columns,)
    for cut in range(0, len(x) + 1, STEP):
        first = run(model, x[:cut], tmp_path, "--state-out", half)
        second = run(model, x[cut:], tmp_path, "--state-in", half, "--state-out", end)
        assert first.tobytes() + second.tobytes() == whole.tobytes(), f"cut at {cut}"
        assert end.read_bytes() == whole_end, f"cut at {cut}"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[1])
@pytest.mark.parametrize("case", [c for c in ALL if c.name in ("mixed_bias_batch3", "odd_sizes", "forecaster")],
                         ids=case_id)
def test_state_moves_between_instruction_sets(case, way, packed, tmp_path):
    model, x = packed(case), np.load(case / "input.npy")
    state, cut = tmp_path / "half.state", len(x) // 2
    first = run(model, x[:cut], tmp_path, "--state-out", state, *way)
    second = run(model, x[cut:], tmp_path, "--state-in", state, "--isa", "scalar")
    check(np.concatenate([first, second]), case)
