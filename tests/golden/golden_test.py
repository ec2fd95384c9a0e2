"""Files of every released format version, family and dtype open for ever, and mean what they meant."""

import json
import pathlib
import struct
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from xst_tool import good, isas, xst  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
MODELS = sorted(HERE.glob("v*/*.xst"))
BARE = [m for m in MODELS if not m.name.startswith("tirex")]
WAYS = [("--isa", isa) for isa in isas()] + [("--device", "reference")]


def name_of(model):
    return model.stem.rsplit("-", 1)[0]


def is_close(output, expected):
    assert output.shape == expected.shape and output.dtype == np.float32
    assert (np.isnan(output) == np.isnan(expected)).all()
    error = np.nanmax(np.abs(output.astype(np.float64) - expected))
    assert error <= 1e-5 * np.nanmax(np.abs(expected)), error


@pytest.fixture(params=MODELS, ids=lambda m: f"{m.parent.name}/{m.stem}")
def model(request):
    return request.param


@pytest.fixture(params=BARE, ids=lambda m: f"{m.parent.name}/{m.stem}")
def stepped(request):
    return request.param


def test_every_family_and_dtype_is_there():
    found = {(about["family"], about["wrapped"], about["dtype"])
             for about in (json.loads(m.with_suffix(".json").read_text()) for m in MODELS)}
    kinds = [("block_stack", False), ("block_stack", True), ("lm", False), ("large", False), ("tirex", False)]
    assert found == {(*kind, dtype) for kind in kinds for dtype in ("f32", "i16", "bf16", "i8")}


def test_version_in_the_file(model):
    assert struct.unpack_from("<4sHH", model.read_bytes()) == (b"XST1", int(model.parent.name[1:]), 0)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_proves_itself(model, device):
    good("verify", model, "--device", device)


def test_says_the_same_of_itself(model):
    lasting = json.loads(model.with_suffix(".json").read_text())
    now = json.loads(good("inspect", model, "--json"))
    assert {key: now.get(key) for key in lasting} == lasting


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w[1])
def test_gives_the_same_outputs(model, way, tmp_path):
    x, y = model.parent / f"{name_of(model)}.input.npy", tmp_path / "y.npy"
    expected = np.load(model.with_suffix(".expected.npy"))
    if name_of(model) == "tirex":
        good("forecast", model, "--input", x, "--horizon", expected.shape[1], "--output", y, *way)
    else:
        good("run", model, "--input", x, "--output", y, *way)
    is_close(np.load(y), expected)


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w[1])
def test_resumes_the_golden_snapshot(stepped, way, tmp_path):
    x = np.load(stepped.parent / f"{name_of(stepped)}.input.npy")
    np.save(tmp_path / "x.npy", x[len(x) // 2:])
    state = stepped.parent / f"{name_of(stepped)}.state"
    good("run", stepped, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", "--state-in", state, *way)
    is_close(np.load(tmp_path / "y.npy"), np.load(stepped.with_suffix(".resumed.npy")))


@pytest.mark.parametrize("state", sorted(HERE.glob("v*/*.state")), ids=lambda s: s.stem)
def test_snapshots_are_written_as_they_were(state, tmp_path):
    """Header and length byte for byte, values within what arithmetic differs."""
    x = np.load(state.with_suffix(".input.npy"))
    np.save(tmp_path / "x.npy", x[:len(x) // 2])
    good("run", state.parent / f"{state.stem}-f32.xst", "--input", tmp_path / "x.npy",
         "--output", tmp_path / "y.npy", "--state-out", tmp_path / "state")
    golden, now = state.read_bytes(), (tmp_path / "state").read_bytes()
    head = 4 + 56  # the count of the file, the header of its one snapshot
    assert len(now) == len(golden) and now[:head] == golden[:head]
    assert golden[4:12] == b"XSTS\x01\x00\x00\x00"
    is_close(*(np.frombuffer(s[head:-8], "<f4") for s in (now, golden)))


def test_another_version_is_refused(tmp_path):
    old = bytearray(MODELS[0].read_bytes())
    old[4:8] = struct.pack("<HH", 0, 1)
    (tmp_path / "old.xst").write_bytes(old)
    done = xst("verify", tmp_path / "old.xst")
    assert done.returncode == 1 and b"xst: error: " in done.stderr
