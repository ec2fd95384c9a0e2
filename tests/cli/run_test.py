"""`xst run`: formats, shapes, pipes, states, and everything it must refuse."""

import io
import os
import struct

import numpy as np
import pytest

from xst_tool import good, xst

NAMES = {"wrapped": ["a0", "a1", "a2"]}


@pytest.fixture
def run(models, tmp_path):
    """run(kind, array, options…) → output array, by .npy files."""
    def call(kind, x, *options):
        np.save(tmp_path / "in.npy", x)
        good("run", models[kind], "--input", tmp_path / "in.npy", "--output", tmp_path / "out.npy", *options)
        return np.load(tmp_path / "out.npy")
    return call


def csv(x, names, extra=None):
    """CSV text; floats as they read back, NaN as an empty field."""
    rows = [",".join(names)]
    for row in x:
        rows.append(",".join("" if np.isnan(v) else repr(float(v)) for v in row))
    return ("\n".join(rows) + "\n").encode()


def read_csv(data):
    lines = data.decode().splitlines()
    return lines[0].split(","), np.genfromtxt(io.BytesIO(b"\n".join(l.encode() for l in lines[1:])),
                                              delimiter=",", dtype=np.float64, ndmin=2).astype(np.float32)


def same(a, b):
    return a.shape == b.shape and np.array_equal(a.astype(np.float32), b.astype(np.float32), equal_nan=True)


def test_leading_shape_is_kept(run, inputs):
    x = inputs["bare"]
    whole = run("bare", x)
    assert whole.shape == x.shape and whole.dtype == np.float32
    assert same(run("bare", x[:, 0]), whole[:, 0])
    tokens = inputs["lm"]
    logits = run("lm", tokens)
    assert logits.shape == (*tokens.shape, 40)
    assert same(run("lm", np.ascontiguousarray(tokens[:, 1])), logits[:, 1])
    w = inputs["wrapped"]
    assert same(run("wrapped", np.stack([w, w[::-1]], 1))[:, 0], run("wrapped", w))


@pytest.mark.parametrize("kind", ["bare", "wrapped", "lm"])
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_no_bit(kind, threads, run, inputs):
    assert run(kind, inputs[kind], "--device", f"cpu:{threads}").tobytes() == run(kind, inputs[kind]).tobytes()


def test_a_number_of_threads_beyond_reason_is_refused(models, tmp_path):
    done = xst("run", models["bare"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy",
               "--device", "cpu:65")
    assert done.returncode == 1 and b"expected 1 to 64 threads, got 65" in done.stderr


@pytest.mark.parametrize("kind", ["bare", "wrapped", "lm"])
@pytest.mark.parametrize("mode", ["step", "forward"])
def test_no_steps_give_no_outputs(kind, mode, run, inputs):
    out = run(kind, inputs[kind][:0], "--mode", mode)
    assert out.shape[:-1] == inputs[kind][:0].shape[:1 if kind == "wrapped" else 2] and out.size == 0


def test_csv_is_the_same_as_npy(run, models, inputs, tmp_path):
    x, y = inputs["bare"][:, 0], run("bare", inputs["bare"][:, 0])
    (tmp_path / "x.csv").write_bytes(csv(x, [f"c{i}" for i in range(16)]))
    good("run", models["bare"], "--input", tmp_path / "x.csv", "--output", tmp_path / "y.csv")
    header, values = read_csv((tmp_path / "y.csv").read_bytes())
    assert header == [f"y{i}" for i in range(16)] and same(values, y)
    good("run", models["bare"], "--input", tmp_path / "x.csv", "--output", tmp_path / "y.npy")
    assert same(np.load(tmp_path / "y.npy"), y)


def test_csv_columns_of_a_wrapped_model_go_by_name(run, models, inputs):
    x = inputs["wrapped"]
    y = run("wrapped", x)
    t = np.arange(len(x))[:, None] / 100
    shuffled = np.concatenate([t, x[:, [2, 0, 1]], 0 * t], 1)
    out = good("run", models["wrapped"], "--input", "-", "--output", "-",
               stdin=csv(shuffled, ["t", "a2", "a0", "a1", "note"]))
    header, values = read_csv(out)
    assert len(header) == 5 and "y0" not in header and same(values, y)
    out = good("run", models["wrapped"], "--input", "-", "--output", "-", stdin=csv(x, ["u", "v", "w"]))
    assert same(read_csv(out)[1], y)


def test_tokens_from_csv(run, models, inputs):
    tokens = np.ascontiguousarray(inputs["lm"][:, 0])
    out = good("run", models["lm"], "--input", "-", "--output", "-", stdin=csv(tokens[:, None], ["token"]))
    assert same(read_csv(out)[1], run("lm", tokens))


def test_npy_through_pipes(run, models, inputs):
    x, text = inputs["bare"], io.BytesIO()
    np.save(text, x)
    out = good("run", models["bare"], "--input", "-", "--output", "-", "--format", "npy", stdin=text.getvalue())
    assert same(np.load(io.BytesIO(out)), run("bare", x))


def test_other_npy_versions(run, models, inputs, tmp_path):
    x = inputs["bare"]
    with open(tmp_path / "v2.npy", "wb") as f:
        np.lib.format.write_array(f, x, version=(2, 0))
    good("run", models["bare"], "--input", tmp_path / "v2.npy", "--output", tmp_path / "y.npy")
    assert same(np.load(tmp_path / "y.npy"), run("bare", x))


def test_missing_values_of_a_wrapped_model_are_its_affair(run, inputs):
    x = inputs["wrapped"].copy()
    x[5] = np.nan
    x[6, 1] = np.inf
    assert np.isfinite(run("wrapped", x)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e31])
def test_a_bare_model_refuses_what_is_not_finite(value, models, inputs, refused, tmp_path):
    x = inputs["columns"].copy()
    x[3, 1, 5] = value
    np.save(tmp_path / "x.npy", x)
    refused("run", models["columns"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy",
            names=["x.npy", "[3, 1, 5]"])
    refused("run", models["bare"], "--input", "-", "--output", tmp_path / "y.npy",
            stdin=csv(np.where(np.arange(32).reshape(2, 16) == 20, value, 0.5), map(str, map("c{}".format, range(16)))),
            names=["[1, 4]"])
    assert os.listdir(tmp_path) == ["x.npy"]


@pytest.mark.parametrize("kind,x,names", [
    ("bare", np.zeros((4, 15), np.float32), ["[T, 16]", "[4, 15]"]),
    ("bare", np.zeros((4, 1, 17), np.float32), ["[4, 1, 17]"]),
    ("bare", np.zeros(16, np.float32), ["[16]"]),
    ("bare", np.zeros((2, 2, 2, 16), np.float32), ["[2, 2, 2, 16]"]),
    ("bare", np.float32(3), ["[]"]),
    ("bare", np.zeros((4, 16), np.int64), ["float32", "int64"]),
    ("bare", np.zeros((4, 16), np.float64), ["<f4", "<f8"]),
    ("bare", np.zeros((4, 16), ">f4"), ["<f4", ">f4"]),
    ("bare", np.zeros((4, 16), np.int32), ["<i4"]),
    ("bare", np.asfortranarray(np.zeros((4, 16), np.float32)), ["order"]),
    ("wrapped", np.zeros((4, 2), np.float32), ["[T, 3]"]),
    ("lm", np.zeros((4, 1), np.float32), ["int64"]),
    ("lm", np.zeros((4, 1, 1), np.int64), ["[T]"]),
    ("lm", np.array([1, 40]), ["40", "[1]"]),
    ("lm", np.array([[1, 2], [3, -1]]), ["-1", "[1, 1]"]),
])
def test_arrays_that_do_not_fit(kind, x, names, models, refused, tmp_path):
    np.save(tmp_path / "x.npy", x)
    refused("run", models[kind], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy",
            names=["x.npy", *names])
    assert os.listdir(tmp_path) == ["x.npy"]


def npy_bytes(header, data=b""):
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize("content", [
    b"", b"\x93NUMPY", b"not an array at all",
    npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 16), }\n", b"\0" * 255),
    npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 16), }\n", b"\0" * 257),
    npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 16), }\n", b"\0" * 256),
    npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 16), }\n", b"\0" * 256),
    npy_bytes("{'descr': '<f4', 'shape': (4, 16), }\n", b"\0" * 256),
    npy_bytes("{'descr': '|O', 'fortran_order': False, 'shape': (4, 16), }\n", b"\0" * 256),
    b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x09\x00\x00\x00",
])
def test_bytes_that_are_no_array(content, models, refused, tmp_path):
    (tmp_path / "x.npy").write_bytes(content)
    refused("run", models["bare"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", names=["x.npy"])
    assert os.listdir(tmp_path) == ["x.npy"]


@pytest.mark.parametrize("kind,text,names", [
    ("wrapped", "", []),
    ("wrapped", "a0,a1,a2\n1,2,three\n", ["three"]),
    ("wrapped", "a0,a1,a2\n1,2\n", ["3"]),
    ("wrapped", "a0,a1,a2\n1,2,3,4\n", ["3"]),
    ("wrapped", "a0,a1\n1,2\n", ["a0,a1,a2", "a0,a1"]),
    ("wrapped", "t,x,y,z\n0,1,2,3\n", ["a0,a1,a2"]),
    ("wrapped", "a0,a0,a1,a2\n1,2,3,4\n", ["a0"]),
    ("bare", "a,b\n1,2\n", ["16"]),
    ("lm", "token\n1.5\n", ["1.5"]),
    ("lm", "token\n\n3\n", ["nan"]),
    ("lm", "token\nnan\n", ["nan"]),
    ("lm", "token\n99\n", ["99"]),
    ("lm", "a,b\n1,2\n", []),
])
def test_csv_that_does_not_fit(kind, text, names, models, refused, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    refused("run", models[kind], "--input", tmp_path / "x.csv", "--output", tmp_path / "y.csv",
            names=["x.csv", *names])
    assert os.listdir(tmp_path) == ["x.csv"]


def test_csv_holds_one_column_of_steps(models, inputs, refused, tmp_path):
    np.save(tmp_path / "x.npy", inputs["columns"])
    refused("run", models["columns"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.csv", names=["y.csv"])
    assert os.listdir(tmp_path) == ["x.npy"]


@pytest.fixture
def state(models, inputs, tmp_path):
    """Three columns of input and their state file."""
    np.save(tmp_path / "x.npy", inputs["columns"])
    good("run", models["columns"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy",
         "--state-out", tmp_path / "s")
    os.remove(tmp_path / "y.npy")
    return tmp_path / "s"


def test_a_state_file_is_a_count_and_snapshots(state, models):
    import json
    data = state.read_bytes()
    assert struct.unpack("<I", data[:4]) == (3,)
    snapshot = json.loads(good("inspect", models["columns"], "--json"))["snapshot_bytes"]
    assert len(data) == 4 + 3 * snapshot


def test_state_in_and_out_may_be_one_file(state, models, inputs, tmp_path, run):
    x = inputs["columns"]
    good("run", models["columns"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy",
         "--state-in", state, "--state-out", state)
    assert same(np.load(tmp_path / "y.npy"), run("columns", np.concatenate([x, x]))[len(x):])


def test_states_that_do_not_fit(state, models, inputs, refused, tmp_path):
    whole = state.read_bytes()
    one, size = tmp_path / "one.npy", (len(whole) - 4) // 3
    np.save(one, inputs["columns"][:, :1])
    flipped = bytearray(whole)
    flipped[4 + 2 * size + 100] ^= 1
    for content, source in ((whole, one), (b"", "x"), (whole[:3], "x"), (whole[:-1], "x"), (whole + b"0", "x"),
                            (struct.pack("<I", 2) + whole[4:4 + 2 * size], "x"),
                            (struct.pack("<I", 1 << 31) + whole[4:], "x"), (bytes(flipped), "x")):
        (tmp_path / "bad").write_bytes(content)
        refused("run", models["columns"], "--input", tmp_path / "x.npy" if source == "x" else source,
                "--output", tmp_path / "y.npy", "--state-in", tmp_path / "bad", "--state-out", tmp_path / "new",
                names=["bad"])
    refused("run", models["columns"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy",
            "--state-in", tmp_path / "gone", names=["gone"])
    assert sorted(os.listdir(tmp_path)) == ["bad", "one.npy", "s", "x.npy"]


def test_old_outputs_survive_a_failure(models, inputs, refused, tmp_path):
    np.save(tmp_path / "x.npy", inputs["bare"][:, :, :3])
    (tmp_path / "y.npy").write_bytes(b"old")
    refused("run", models["bare"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert (tmp_path / "y.npy").read_bytes() == b"old"


def test_outputs_that_cannot_be_written(models, inputs, refused, tmp_path):
    np.save(tmp_path / "x.npy", inputs["bare"])
    common = ["run", models["bare"], "--input", tmp_path / "x.npy"]
    refused(*common, "--output", tmp_path / "no" / "y.npy", names=["no/y.npy"])
    refused(*common, "--output", tmp_path / "y.npy", "--state-out", tmp_path / "no" / "s", names=["no/s"])
    refused(*common, "--output", tmp_path / "y.npy", "--state-out", "/dev/full", names=["/dev/full"])
    refused(*common, "--output", tmp_path / "no" / "y.npy", "--state-out", tmp_path / "s")
    assert os.listdir(tmp_path) == ["x.npy"]


def test_no_steps_cannot_claim_columns_without_end(models, inputs, refused, tmp_path):
    width = inputs["bare"].shape[-1]
    (tmp_path / "x.npy").write_bytes(npy_bytes(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, %d, %d), }" % (1 << 36, width)))
    refused("run", models["bare"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", names=["columns"])
    assert os.listdir(tmp_path) == ["x.npy"]


def test_output_and_states_are_two_files(models, inputs, tmp_path):
    np.save(tmp_path / "x.npy", inputs["bare"])
    done = xst("run", models["bare"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy",
               "--state-out", tmp_path / "y.npy")
    assert done.returncode == 2 and b"--state-out" in done.stderr
    assert os.listdir(tmp_path) == ["x.npy"]
