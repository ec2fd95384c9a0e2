"""The command line on a CUDA device: every case and weight type, states that move, forecasts. Skipped, loudly, without one."""

import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from xst_tool import case_id, cases, check, good, xst  # noqa: E402

ALL = cases("block_stack", "stream", "large")
CUDA = ("--device", "cuda:0")


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """The model file of a case in a weight type, packed once."""
    folder, models = tmp_path_factory.mktemp("packed"), {}

    def pack(case, dtype="f32"):
        path = folder / f"{case.parent.name}-{case.name}-{dtype}.xst"
        if path not in models:
            good("pack", case, "-o", path, "--dtype", dtype)
            models[path] = True
        return path

    return pack


@pytest.fixture(scope="session", autouse=True)
def device(packed):
    probe = xst("verify", packed(cases("block_stack")[0]), *CUDA)
    why = probe.stderr.decode()
    if "expected one this" in why:
        pytest.exit("no CUDA device: " + why.strip(), returncode=77)
    assert probe.returncode == 0, why


def run(model, x, tmp_path, *options):
    target = tmp_path / "y.npy"
    good("run", model, "--input", x, "--output", target, *options)
    return np.load(target)


@pytest.mark.parametrize("mode", ["step", "forward"])
@pytest.mark.parametrize("case", ALL, ids=case_id)
def test_case_is_within_the_rule(case, mode, packed, tmp_path):
    check(run(packed(case), case / "input.npy", tmp_path, "--mode", mode, *CUDA), case, mode)


@pytest.mark.parametrize("dtype", ["i16", "bf16", "i8"])
@pytest.mark.parametrize("case", ALL, ids=case_id)
def test_small_types_are_exact_on_the_weights_they_store(case, dtype, packed, tmp_path):
    model = packed(case, dtype)
    expected = run(model, case / "input.npy", tmp_path, "--device", "reference")
    for mode in ("step", "forward"):
        check(run(model, case / "input.npy", tmp_path, "--mode", mode, *CUDA), case, expected=expected)
    good("verify", model, *CUDA)


@pytest.mark.parametrize("case", ALL, ids=case_id)
def test_states_move_to_the_device_and_back(case, packed, tmp_path):
    model, x = packed(case), np.load(case / "input.npy")
    parts = np.array_split(x, 3)
    out, state = [], ()
    for i, (part, where) in enumerate(zip(parts, [("--device", "cpu"), CUDA, ("--device", "cpu")])):
        np.save(tmp_path / "part.npy", part)
        after = tmp_path / f"state{i}"
        out.append(run(model, tmp_path / "part.npy", tmp_path, *where, *state, "--state-out", after))
        state = ("--state-in", after)
    check(np.concatenate(out), case)


@pytest.mark.parametrize("case", cases("tirex"), ids=case_id)
def test_forecasts_are_those_of_the_cpu(case, packed, tmp_path):
    model = packed(case)
    here, there = tmp_path / "cpu.npy", tmp_path / "cuda.npy"
    for path, where in [(here, ()), (there, CUDA)]:
        good("forecast", model, "--input", case / "input.npy", "--horizon", 40, "--output", path, *where)
    a, b = np.load(here), np.load(there)
    assert (np.isnan(a) == np.isnan(b)).all()
    assert np.nanmax(np.abs(a - b)) <= 2e-5 * np.nanmax(np.abs(a))


def test_generated_tokens_are_those_of_the_cpu(packed):
    model = packed(next(c for c in ALL if c.name == "01_single_defaults"))
    args = ("generate", model, "--prompt", "1,2,3", "--max-tokens", 20)
    assert good(*args, *CUDA) == good(*args)


def test_bench_prints_one_flat_object(packed):
    import json
    model = packed(next(c for c in ALL if c.name == "readme_config"))
    for more in ((), ("--resident",), ("--streams", 5), ("--streams", 3, "--forward", 20)):
        figures = json.loads(good("bench", model, *CUDA, "--steps", 20, "--json", *more))
        assert figures["device"] == "cuda:0" and figures["isa"].startswith("sm_")
        assert figures["p50_us"] > 0 and figures["stream_steps_per_s"] > 0
        assert not any(isinstance(v, (dict, list)) for v in figures.values())
