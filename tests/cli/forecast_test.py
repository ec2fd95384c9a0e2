"""`xst forecast`: the public TiRex cases, series alone and together, defaults of the model, and what it must refuse."""

import io
import json

import numpy as np
import pytest

from xst_tool import case_id, cases, good, isas

TIREX = cases("tirex")
WAYS = [("--isa", "scalar"), ("--isa", isas()[-1]), ("--device", "reference")]
SMALL, SHORT = TIREX


@pytest.fixture
def forecast(packed, tmp_path):
    """forecast(case, array, options…) → quantiles."""
    def call(case, x, *options):
        np.save(tmp_path / "x.npy", x)
        good("forecast", packed(case), "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", *options)
        return np.load(tmp_path / "y.npy")
    return call


def series(case):
    return np.load(case / "input.npy")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[1])
@pytest.mark.parametrize("case", TIREX, ids=case_id)
def test_case_is_within_tolerance(case, way, packed, tmp_path):
    want = np.load(case / "expected.npy")
    good("forecast", packed(case), "--input", case / "input.npy", "--output", tmp_path / "y.npy",
         "--horizon", want.shape[1], *way)
    got = np.load(tmp_path / "y.npy")
    assert got.shape == want.shape and got.dtype == np.float32
    missing = np.isnan(want)
    assert (np.isnan(got) == missing).all()
    error = np.abs(got.astype(np.float64) - want)[~missing].max()
    # The contract is 1e-4; a loss of precision on the way there should be seen long before.
    assert error <= 2e-6 * np.abs(want[~missing]).max()


@pytest.mark.parametrize("dtype", ["f32", "i16", "bf16", "i8"])
@pytest.mark.parametrize("case", TIREX, ids=case_id)
def test_types_are_exact_on_the_weights_they_store(case, dtype, tmp_path):
    small, weights, full = tmp_path / "small.xst", tmp_path / "weights.safetensors", tmp_path / "full.xst"
    good("pack", case, "-o", small, "--dtype", dtype)
    good("unpack", small, "-o", weights)
    good("pack", weights, "--config", case / "config.yaml", "-o", full)

    def forecast(model, *way):
        good("forecast", model, "--input", case / "input.npy", "--output", tmp_path / "y.npy", *way)
        return np.load(tmp_path / "y.npy")

    want = forecast(full, "--device", "reference").astype(np.float64)
    for way in WAYS:
        assert np.abs(forecast(small, *way) - want).max() <= 2e-6 * np.abs(want).max()
    official = np.abs(want - np.load(case / "expected.npy")).max() / np.abs(want).max()
    assert official <= {"f32": 2e-6, "i16": 1e-3, "bf16": 0.1, "i8": 0.3}[dtype]


@pytest.mark.parametrize("case", TIREX, ids=case_id)
def test_series_alone_are_series_together(case, forecast):
    x = series(case)
    together = forecast(case, x)
    for b in range(len(x)):
        alone = forecast(case, x[b])
        assert alone.shape == (1, *together.shape[1:])
        assert alone.tobytes() == together[b].tobytes()


def test_horizon_and_rollout_are_the_models_unless_said(forecast):
    x = series(SMALL)
    default = forecast(SMALL, x)
    assert default.shape == (2, 24, 9)  # the packed prediction_length
    assert forecast(SMALL, x, "--horizon", 24, "--rollout", 1).tobytes() == default.tobytes()
    assert forecast(SMALL, x, "--horizon", 5).tobytes() == default[:, :5].tobytes()
    three = forecast(SMALL, x, "--rollout", 3)
    assert three[:, :8].tobytes() == default[:, :8].tobytes()
    assert np.abs(three - default)[:, 8:].max() > 1e-3
    assert forecast(SMALL, x, "--rollout", 9).tobytes() == three.tobytes()


def test_only_the_last_context_counts_and_missing_is_missing(forecast):
    x = series(SMALL)[:1]
    long = np.concatenate([np.full((1, 100), 1e6, np.float32), np.resize(x, (1, 64))], 1)
    assert forecast(SMALL, long).tobytes() == forecast(SMALL, long[:, -64:]).tobytes()
    padded = np.concatenate([np.full((1, 7), np.nan, np.float32), x[:, :40]], 1)
    assert forecast(SMALL, padded).tobytes() == forecast(SMALL, x[:, :40]).tobytes()
    bad = x.copy()
    bad[0, 3:6] = [np.inf, -np.inf, 2e30]
    gone = x.copy()
    gone[0, 3:6] = np.nan
    assert forecast(SMALL, bad).tobytes() == forecast(SMALL, gone).tobytes()


def test_nothing_forecasts_something_finite(forecast):
    nothing = forecast(SMALL, np.full((1, 50), np.nan, np.float32))
    assert np.isfinite(nothing).all() and np.ptp(nothing) > 0
    assert forecast(SMALL, np.empty((1, 0), np.float32)).tobytes() == nothing.tobytes()
    assert forecast(SMALL, np.empty((0, 50), np.float32)).shape == (0, 24, 9)


def test_pipes_carry_npy(packed, forecast):
    stdin = io.BytesIO()
    np.save(stdin, series(SMALL))
    out = good("forecast", packed(SMALL), "--input", "-", "--output", "-", stdin=stdin.getvalue())
    assert np.load(io.BytesIO(out)).tobytes() == forecast(SMALL, series(SMALL)).tobytes()


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("case", TIREX, ids=case_id)
def test_the_probe_verifies(case, device, packed):
    assert b"verified" in good("verify", packed(case), "--device", device)


def test_the_model_says_what_it_is(packed):
    info = json.loads(good("inspect", packed(SMALL), "--json"))
    assert info["family"] == "tirex"
    figures = json.loads(good("bench", packed(SMALL), "--steps", 50, "--json"))  # a step is a patch
    assert figures["p50_us"] > 0


def test_other_commands_and_models_are_2(packed, models, refused, tmp_path):
    out = tmp_path / "y.npy"
    refused("run", packed(SMALL), "--input", SMALL / "input.npy", "--output", out, status=2, names=["forecast"])
    refused("generate", packed(SMALL), "--prompt", "1", "--max-tokens", "1", status=2, names=["tirex"])
    for kind in ("bare", "wrapped", "lm"):
        refused("forecast", models[kind], "--input", SMALL / "input.npy", "--output", out, status=2,
                names=["tirex", "xst run"])
    assert not out.exists()


@pytest.mark.parametrize("args", [
    ["--input", "x.npy"], ["--output", "y.npy"], ["--input", "x.csv", "--output", "y.npy"],
    ["--input", "x.npy", "--output", "y.csv"], ["--input", "x", "--output", "y.npy"],
    ["--input", "x.npy", "--output", "y.npy", "--horizon", "0"],
    ["--input", "x.npy", "--output", "y.npy", "--horizon", "-1"],
    ["--input", "x.npy", "--output", "y.npy", "--horizon", "1.5"],
    ["--input", "x.npy", "--output", "y.npy", "--horizon", "99999999999"],
    ["--input", "x.npy", "--output", "y.npy", "--rollout", "0"],
    ["--input", "x.npy", "--output", "y.npy", "--isa", "scalar", "--device", "reference"],
], ids=" ".join)
def test_bad_usage_is_2(args, packed, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", series(SMALL))
    refused("forecast", packed(SMALL), *args, status=2)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.parametrize("array", [
    np.zeros((2, 50), np.int64), np.zeros((2, 50, 1), np.float32), np.zeros((), np.float32),
    np.zeros((2, 50), np.float64),
], ids=["int64", "3 axes", "0 axes", "float64"])
def test_bad_series_are_1(array, packed, refused, tmp_path):
    np.save(tmp_path / "x.npy", array)
    refused("forecast", packed(SMALL), "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy",
            names=["x.npy"])
    assert not (tmp_path / "y.npy").exists()


def test_a_claim_of_endless_series_is_1(packed, refused, tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976, 0), }"
    header += b" " * (64 - (10 + len(header) + 1) % 64) + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused("forecast", packed(SMALL), "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")


def test_missing_files_are_1_and_named(packed, refused, tmp_path):
    refused("forecast", packed(SMALL), "--input", tmp_path / "gone.npy", "--output", tmp_path / "y.npy",
            names=["gone.npy"])
    refused("forecast", "gone.xst", "--input", SMALL / "input.npy", "--output", tmp_path / "y.npy", names=["gone.xst"])
    refused("forecast", packed(SMALL), "--input", SMALL / "input.npy", "--output", tmp_path / "no/y.npy",
            names=["no/y.npy"])
