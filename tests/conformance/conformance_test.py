"""Every public case by `xst pack` and `xst run`, as a user would: both modes, every instruction set, the reference
device; columns alone and together; weights out and in again."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from xst_tool import case_id, cases, check, config_of, good, isas, xst  # noqa: E402

ALL = cases("block_stack", "stream", "large")
WAYS = [("--isa", isa) for isa in isas()] + [("--device", "reference")]


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """The model file of a case, packed once."""
    folder, models = tmp_path_factory.mktemp("packed"), {}

    def pack(case):
        if case not in models:
            path = folder / f"{case.parent.name}-{case.name}.xst"
            good("pack", case, "-o", path)
            models[case] = path
        return models[case]

    return pack


def run(model, x, tmp_path, *options):
    """Output bytes and array for an input array or file."""
    source, target = tmp_path / "x.npy", tmp_path / "y.npy"
    if isinstance(x, np.ndarray):
        np.save(source, x)
    else:
        source = x
    good("run", model, "--input", source, "--output", target, *options)
    return np.load(target)


@pytest.mark.parametrize("mode", ["step", "forward"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[1])
@pytest.mark.parametrize("case", ALL, ids=case_id)
def test_case_is_within_the_rule(case, way, mode, packed, tmp_path):
    check(run(packed(case), case / "input.npy", tmp_path, "--mode", mode, *way), case, mode)


@pytest.mark.parametrize("case", ALL, ids=case_id)
def test_best_instruction_set_is_the_default(case, packed, tmp_path):
    default = run(packed(case), case / "input.npy", tmp_path)
    named = run(packed(case), case / "input.npy", tmp_path, "--isa", isas()[-1])
    assert default.tobytes() == named.tobytes()


@pytest.mark.parametrize("case", [c for c in cases("block_stack", "large") if np.load(c / "input.npy").shape[1] > 1],
                         ids=case_id)
def test_columns_alone_are_the_columns_together(case, packed, tmp_path):
    model, x = packed(case), np.load(case / "input.npy")
    together = run(model, x, tmp_path)
    for b in range(x.shape[1]):
        alone = run(model, np.ascontiguousarray(x[:, b]), tmp_path)
        assert alone.shape == together[:, b].shape
        assert alone.tobytes() == together[:, b].tobytes()


@pytest.mark.parametrize("case", ALL, ids=case_id)
def test_unpacked_weights_pack_to_the_same_model(case, packed, tmp_path):
    weights, again = tmp_path / "weights.safetensors", tmp_path / "again.xst"
    good("unpack", packed(case), "-o", weights)
    good("pack", weights, "--config", config_of(case), "-o", again)
    assert run(again, case / "input.npy", tmp_path).tobytes() == \
        run(packed(case), case / "input.npy", tmp_path).tobytes()


@pytest.mark.parametrize("dtype", ["i16", "bf16", "i8"])
@pytest.mark.parametrize("case", ALL, ids=case_id)
def test_small_types_are_exact_on_the_weights_they_store(case, dtype, tmp_path):
    small, weights, full = tmp_path / "small.xst", tmp_path / "weights.safetensors", tmp_path / "full.xst"
    good("pack", case, "-o", small, "--dtype", dtype)
    good("unpack", small, "-o", weights)
    good("pack", weights, "--config", config_of(case), "-o", full)
    expected = run(full, case / "input.npy", tmp_path, "--device", "reference")
    for way in WAYS:
        for mode in ("step", "forward"):
            check(run(small, case / "input.npy", tmp_path, "--mode", mode, *way), case, expected=expected)
    good("verify", small)


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("case", ALL, ids=case_id)
def test_probe_verifies(case, device, packed):
    text = good("verify", packed(case), "--device", device).decode()
    assert "verified" in text and "bound" in text


def test_states_of_another_model_are_refused(packed, tmp_path):
    by_name = {case.name: case for case in ALL}
    state = tmp_path / "s"
    run(packed(by_name["mlstm_defaults"]), by_name["mlstm_defaults"] / "input.npy", tmp_path, "--state-out", state)
    other = by_name["slstm_defaults"]
    done = xst("run", packed(other), "--input", other / "input.npy", "--output", tmp_path / "z.npy",
               "--state-in", state)
    assert done.returncode == 1 and str(state).encode() in done.stderr
    assert not (tmp_path / "z.npy").exists()
