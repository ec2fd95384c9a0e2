"""Model and Session: results, snapshots, threads, misuse."""

import ctypes
import gc
import os
import struct
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import xlstm_stream as xst
from conftest import CASES, agree, same
from xst_tool import BIN, VECTORS, check, good


@pytest.mark.parametrize("kind", ["bare", "other", "lm", "readme", "wrapped", "classifier"])
def test_step_and_forward_pass_the_case(kind, models, inputs):
    case = VECTORS / CASES[kind]
    session, x = xst.Session(models[kind]), inputs[kind]
    stepped = np.stack([session.step(row) for row in x])
    assert session.steps == len(x)
    session.reset()
    forward = session.forward(x)
    assert forward.dtype == np.float32 and agree(models[kind], forward, stepped)
    expected = np.load(case / "expected.npy")
    check(stepped, case, expected=expected if expected.ndim == 2 else expected[:, 0])


def test_a_model_says_what_it_is(models, files):
    m = models["wrapped"]
    assert m.family == "block_stack" and m.dtype == "f32" and not m.tokens and m.vocabulary == 0
    assert (m.input_width, m.output_width) == (len(m.inputs), len(m.outputs))
    assert [name for name, _ in m.inputs] == m.input_names and [u for _, u in m.outputs] == m.output_units
    assert m.rate_hz > 0 and m.file_bytes == files["wrapped"].stat().st_size
    assert len(m.arch_hash) == len(m.source_hash) == 32 and m.file_hash
    assert "stream:" in m.config_yaml and m.device == "cpu" and m.isa in xst.available_isas()
    lm = models["lm"]
    assert lm.tokens and lm.family == "lm" and lm.vocabulary == lm.output_width and lm.inputs == []
    assert "lm" in repr(lm) and "closed" not in repr(lm)
    probe = m.verify()
    assert probe.passed and probe.error <= probe.bound and np.isnan(probe.error_framework) and probe.steps == 16


def test_a_model_opens_from_a_path_text_bytes_and_other_devices(files, inputs):
    x = inputs["bare"]
    opened = [xst.Model(files["bare"]), xst.Model(str(files["bare"])), xst.Model(files["bare"].read_bytes()),
              xst.Model(memoryview(bytearray(files["bare"].read_bytes())))]
    outputs = [xst.Session(m).forward(x) for m in opened]
    assert all(same(outputs[0], y) for y in outputs[1:])
    reference = xst.Session(xst.Model(files["bare"], device="reference")).forward(x)
    assert np.abs(outputs[0] - reference).max() < 1e-5
    scalar = xst.Model(files["bare"], isa="scalar", arithmetic="single", check_full=True)
    assert scalar.isa == "scalar" and scalar.arithmetic != opened[0].arithmetic


@pytest.mark.parametrize("make, kind, code, words", [
    (lambda f: xst.Model("absent.xst"), xst.DataError, 200, "absent.xst"),
    (lambda f: xst.Model(b"no model"), xst.DataError, None, "model in memory"),
    (lambda f: xst.Model(f["bare"].read_bytes()[:-1]), xst.DataError, None, "expected"),
    (lambda f: xst.Model(f["bare"], device="gpu"), xst.ArgumentError, 100, "gpu"),
    (lambda f: xst.Model(f["bare"], device="cuda:77"), xst.MachineError, 301, "cuda:77"),
    (lambda f: xst.Model(f["bare"], isa="neon" if os.uname().machine == "x86_64" else "avx2"), xst.MachineError, 302, ""),
    (lambda f: xst.Model(f["bare"], device="reference", isa="scalar"), xst.ArgumentError, 100, "isa"),
    (lambda f: xst.Model(f["bare"], arithmetic="half"), xst.ArgumentError, 100, "half"),
    (lambda f: xst.Model(3), TypeError, None, "int"),
    (lambda f: xst.Forecaster(xst.Model(f["bare"])), xst.ArgumentError, 100, ""),
    (lambda f: xst.Lanes(xst.Model(f["bare"]), 0), xst.ArgumentError, 100, ""),
    (lambda f: xst.Sampler(10, top_p=2.0), xst.ArgumentError, 100, "top_p"),
    (lambda f: xst.Lanes(xst.Model(f["bare"]), -1), xst.ArgumentError, 100, "capacity: expected 1 to 4294967295, got -1"),
    (lambda f: xst.Lanes(xst.Model(f["bare"]), "2"), TypeError, None, "capacity: expected an int, got str"),
    (lambda f: xst.Sampler(-3), xst.ArgumentError, 100, "vocabulary: expected 1 to 4294967295, got -3"),
    (lambda f: xst.Sampler(10, top_k=-1), xst.ArgumentError, 100, "top_k: expected 0 to"),
    (lambda f: xst.Sampler(10, seed=2**70), xst.ArgumentError, 100, f"got {2**70}"),
    (lambda f: xst.Sampler(10, seed=1.5), TypeError, None, "seed: expected an int, got float"),
    (lambda f: xst.pack(VECTORS / CASES["bare"], f["bare"].parent / "p.xst", probe=[[1.0]]), xst.Error, None, "expected"),
    (lambda f: xst.pack(VECTORS / CASES["bare"], f["bare"].parent / "p.xst", probe=[1.0]), TypeError, None,
     "probe: expected int64 token ids, got"),
    (lambda f: xst.pack(VECTORS / CASES["bare"], f["bare"].parent / "p.xst", probe=[[1, 2], [3]]), TypeError, None,
     "probe: expected an array, got list"),
    (lambda f: xst.pack(VECTORS / CASES["bare"], f["bare"].parent / "p.xst", probe="x"), (TypeError, ValueError), None,
     "probe: expected"),
    (lambda f: xst.Session(3), TypeError, None, ""),
    (lambda f: xst.Session(None), TypeError, None, ""),
])
def test_what_cannot_be_made_says_why(make, kind, code, words, files):
    with pytest.raises(kind) as caught:
        make(files)
    assert words in str(caught.value)
    if code:
        assert caught.value.code == code == int(caught.value.status)


def test_errors_have_the_texts_of_the_command_line(files, tmp_path):
    from xst_tool import xst as tool
    bad = tmp_path / "bad.xst"
    data = bytearray(files["bare"].read_bytes())
    data[100] ^= 1
    bad.write_bytes(data)
    with pytest.raises(xst.DataError) as caught:
        xst.Model(bad)
    assert tool("inspect", bad).stderr.decode() == f"xst: error: {caught.value}\n"
    assert isinstance(caught.value, xst.Error) and caught.value.status is xst.Status.corrupt


def test_tokens(models, inputs):
    m, tokens = models["lm"], inputs["lm"]
    expected = xst.Session(m).forward(tokens)
    session = xst.Session(m)
    kinds = (int, np.int64, np.int32, np.uint8, np.array, lambda t: np.array(int(t)))
    for i, token in enumerate(tokens[:6]):
        assert same(session.step(kinds[i](token)), expected[i])
    assert same(xst.Session(m).forward(tokens.tolist()), expected)
    assert same(xst.Session(m).forward(tokens.astype(np.int32)), expected)
    assert same(xst.Session(m).forward(tokens, last=True), expected[-1])
    out = np.empty(m.output_width, np.float32)
    assert xst.Session(m).forward(tokens, out=out, last=True) is out and same(out, expected[-1])
    before = session.save()
    for bad, kind in ((-1, ValueError), (m.vocabulary, ValueError), (1 << 70, ValueError), (1.0, TypeError), ("1", TypeError)):
        with pytest.raises(kind, match="x: expected"):
            session.step(bad)
        with pytest.raises((kind, TypeError), match="x: expected"):
            session.forward([1, bad])
    for large in (1 << 70, -(1 << 70), np.uint64(2**63 + 1), np.array(2**64 - 1, np.uint64)):
        with pytest.raises(xst.ArgumentError, match=f"^x: expected .*token ids.*, got {int(large)}$"):
            session.step(large)
    with pytest.raises(xst.ArgumentError, match=f"^x: expected int64 token ids, got {2**63 + 1}$"):
        session.forward(np.array([1, 2**63 + 1], np.uint64))
    assert same(xst.Session(m).forward(tokens.astype(np.uint64)), expected)
    with pytest.raises(ValueError, match="at least one"):
        session.forward([], last=True)
    assert session.save() == before


def test_missing_values_and_quality(models, inputs):
    m, x = models["wrapped"], inputs["wrapped"]
    session = xst.Session(m)
    session.step(np.where(np.isfinite(x[0]), x[0], 0))
    assert session.quality & xst.Quality.reset
    session.step(np.full(m.input_width, np.nan))
    assert session.quality & xst.Quality.held and not session.quality & xst.Quality.reset
    bare = xst.Session(models["bare"])
    assert np.isfinite(bare.step(np.full(16, 1e38))).all() and bare.quality & xst.Quality.held


def test_save_load_clone_reset(models, inputs):
    m, x = models["bare"], inputs["bare"]
    expected = xst.Session(m).forward(x)
    session = xst.Session(m)
    session.forward(x[:10])
    snapshot, twin = session.save(), session.clone()
    assert len(snapshot) == m.snapshot_bytes and isinstance(snapshot, bytes)
    assert same(session.forward(x[10:]), expected[10:]) and same(twin.forward(x[10:]), expected[10:])
    assert twin.model is m and twin.steps == len(x)
    for bytes_like in (snapshot, bytearray(snapshot), memoryview(snapshot)):
        other = xst.Session(m)
        other.load(bytes_like)
        assert other.steps == 10 and same(other.forward(x[10:]), expected[10:])
    session.reset()
    assert session.steps == 0 and same(session.forward(x), expected)
    with pytest.raises(xst.DataError) as caught:
        xst.Session(models["other"]).load(snapshot)
    assert caught.value.status is xst.Status.other_model


def test_other_weights_need_a_word(models, files, inputs, tmp_path):
    from safetensors.numpy import load_file, save_file
    case = VECTORS / CASES["bare"]
    weights = load_file(case / "weights.safetensors")
    save_file({k: v * np.float32(1.01) for k, v in weights.items()}, tmp_path / "weights.safetensors")
    xst.pack(tmp_path / "weights.safetensors", tmp_path / "m.xst", config=case / "config.yaml")
    other, snapshot = xst.Session(xst.Model(tmp_path / "m.xst")), xst.Session(models["bare"]).save()
    with pytest.raises(xst.DataError, match="weights"):
        other.load(snapshot)
    other.load(snapshot, allow_other_weights=True)


def stepped(session, x):
    return np.stack([session.step(row) for row in x])


class CSession:
    """A session of libxst.so on the same file, through nothing but the C interface."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(BIN.parent / "lib/libxst.so")
        self.lib.xst_last_error.restype = ctypes.c_char_p
        self.model, self.session = ctypes.c_void_p(), ctypes.c_void_p()
        self.good("xst_model_open", str(path).encode(), None, ctypes.byref(self.model))
        self.good("xst_session_create", self.model, ctypes.byref(self.session))
        self.lib.xst_model_destroy(self.model)

    def good(self, name, *args):
        assert getattr(self.lib, name)(*args) == 0, self.lib.xst_last_error()

    def load(self, snapshot):
        self.good("xst_session_load", self.session, snapshot, ctypes.c_size_t(len(snapshot)), 0)

    def save(self, size):
        out = ctypes.create_string_buffer(size)
        self.good("xst_session_save", self.session, out, ctypes.c_size_t(size))
        return out.raw

    def step(self, x):
        y, pointer = np.empty_like(x), ctypes.POINTER(ctypes.c_float)
        x = np.ascontiguousarray(x)
        self.good("xst_session_step", self.session, x.ctypes.data_as(pointer), ctypes.c_size_t(x.size),
                  y.ctypes.data_as(pointer), ctypes.c_size_t(y.size))
        return y

    def close(self):
        self.lib.xst_session_destroy(self.session)


def test_a_snapshot_goes_through_c_and_the_command_line_and_back(files, models, inputs, tmp_path):
    """5 steps here, 5 in C, 12 by `xst run`, 3 in C, the rest here: the same bits as in one session."""
    m, x = models["bare"], inputs["bare"]
    expected = stepped(xst.Session(m), x)
    session, c = xst.Session(m), CSession(files["bare"])
    assert same(stepped(session, x[:5]), expected[:5])
    c.load(session.save())
    assert same(stepped(c, x[5:10]), expected[5:10])
    (tmp_path / "in.state").write_bytes(struct.pack("<I", 1) + c.save(m.snapshot_bytes))
    np.save(tmp_path / "x.npy", x[10:22])
    good("run", files["bare"], "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", "--state-in",
         tmp_path / "in.state", "--state-out", tmp_path / "out.state")
    assert same(np.load(tmp_path / "y.npy"), expected[10:22])
    c.load((tmp_path / "out.state").read_bytes()[4:])
    assert same(stepped(c, x[22:25]), expected[22:25])
    back = xst.Session(m)
    back.load(c.save(m.snapshot_bytes))
    c.close()
    assert back.steps == 25 and same(stepped(back, x[25:]), expected[25:])


def test_ten_threads_with_a_session_each_are_bit_equal(models, inputs):
    m = models["readme"]
    x = np.random.default_rng(1).standard_normal((300, m.input_width), np.float32)
    expected, outputs, failed = stepped(xst.Session(m), x), [None] * 10, []

    def work(i):
        try:
            session = xst.Session(m)
            outputs[i] = np.stack([session.step(row) for row in x])
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed and all(same(y, expected) for y in outputs)


def test_forward_releases_the_gil_and_a_second_thread_is_told(models):
    m = models["readme"]
    session, x = xst.Session(m), np.zeros((30000, m.input_width), np.float32)
    counted, errors = 0, []
    worker = threading.Thread(target=lambda: session.forward(x))
    worker.start()
    while worker.is_alive():
        counted += 1  # only runs while forward lets others have the GIL
        for call in (lambda: session.step(x[0]), session.reset, session.save, session.clone, session.close):
            try:
                call()
            except RuntimeError as error:
                errors.append(str(error))
    worker.join()
    assert counted > 20
    assert errors and set(errors) == {"session: expected one thread at a time, got a call while another one runs"}
    fresh = xst.Session(m)
    if not session.closed and session.steps == len(x):  # nothing got between: the state is what it should be
        fresh.forward(x)
        assert fresh.save() == session.save()


def test_closed_objects_say_so(files, inputs):
    with xst.Model(files["bare"]) as m, xst.Session(m) as session:
        session.step(inputs["bare"][0])
        m.close()
        assert m.closed and not session.closed
        session.step(inputs["bare"][1])  # a stream keeps what it steps
        for use in (lambda: m.family, m.verify, lambda: xst.Session(m), lambda: xst.Lanes(m, 1)):
            with pytest.raises(RuntimeError, match="closed"):
                use()
    assert session.closed and "closed" in repr(m)
    m.close()
    session.close()
    x = np.zeros(16, np.float32)
    for use in (lambda: session.step(x), lambda: session.forward(x[None]), session.reset, session.save, session.clone,
                lambda: session.load(b""), lambda: session.quality, lambda: session.steps):
        with pytest.raises(RuntimeError, match="closed"):
            use()


def test_what_a_session_returns_outlives_it(files, inputs):
    model = xst.Model(files["bare"])
    session = xst.Session(model)
    expected = session.step(inputs["bare"][0]).copy()
    session.reset()
    y, snapshot = session.step(inputs["bare"][0]), session.save()
    del session, model
    gc.collect()
    assert same(y, expected) and len(snapshot) > 0


class Holder(xst.Model):
    """A model that holds its streams, which hold it."""

    def __init__(self, path, kind):
        super().__init__(path)
        self.stream = kind(self)


@pytest.mark.parametrize("file, kind", [("bare", xst.Session), ("bare", lambda m: xst.Session(m).clone()),
                                        ("bare", lambda m: xst.Lanes(m, 2)), ("tirex", xst.Forecaster)])
def test_cycles_are_collected(file, kind, files):
    holder = Holder(files[file], kind)
    held = weakref.ref(holder), weakref.ref(holder.stream)
    gc.collect()
    assert held[0]() is holder and held[1]().model is holder
    del holder
    gc.collect()
    assert held[0]() is None and held[1]() is None


def test_what_is_left_at_the_end_is_no_warning(files):
    code = "import sys, xlstm_stream as x; m = x.Model(sys.argv[1]); m2 = [x.Session(m)]; m2.append(m2); sys.kept = m2"
    done = subprocess.run([sys.executable, "-c", code, files["bare"]], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_everything_can_be_referred_to_weakly(models):
    made = [models["bare"], xst.Session(models["bare"]), xst.Lanes(models["bare"], 1), xst.Forecaster(models["tirex"]),
            xst.Sampler(3)]
    assert [weakref.ref(thing)() is thing for thing in made] == [True] * 5
