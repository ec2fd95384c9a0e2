"""Arrays: read and written in place, converted, refused."""

import tracemalloc

import numpy as np
import pytest
import xlstm_stream as xst
from conftest import same


def test_out_is_written_in_place_and_returned(models, inputs):
    m, x = models["bare"], inputs["bare"]
    session, fresh = xst.Session(m), xst.Session(m)
    out = np.full(m.output_width, 7, np.float32)
    address = out.__array_interface__["data"][0]
    assert session.step(x[0], out=out) is out and session.step(x[1], out) is out
    assert out.__array_interface__["data"][0] == address
    fresh.step(x[0])
    assert same(out, fresh.step(x[1]))
    many = np.full((len(x), m.output_width), 7, np.float32)
    view = many[2:12]
    fresh.reset()
    assert fresh.forward(x[:10], out=view) is view
    assert (many[:2] == 7).all() and (many[12:] == 7).all() and not (view == 7).any()


def peak(call):
    """Bytes that Python and NumPy allocate at most during a call."""
    tracemalloc.start()
    call()
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return used


def test_float32_arrays_are_read_and_written_in_place(models):
    m, steps = models["bare"], 4000
    x, out = np.zeros((steps, 16), np.float32), np.empty((steps, 16), np.float32)
    session = xst.Session(m)
    session.forward(x, out)
    assert peak(lambda: session.forward(x, out)) < 2000
    assert peak(lambda: session.forward(x)) in range(out.nbytes, out.nbytes + 2000)
    assert peak(lambda: session.forward(x.astype(np.float64), out)) > x.nbytes

    def loop(row=x[0], y=out[0]):
        for _ in range(100):
            session.step(row, y)
    assert peak(loop) < 500


def test_other_types_and_layouts_are_converted(models, inputs):
    m, x = models["bare"], inputs["bare"]
    expected = xst.Session(m).forward(x)
    for other in (x.tolist(), np.asfortranarray(x), np.repeat(x, 2, 0)[::2], x.astype(">f4"), tuple(map(tuple, x))):
        assert same(xst.Session(m).forward(other), expected)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert same(xst.Session(m).forward(frozen), expected)
    torch = pytest.importorskip("torch")
    assert same(xst.Session(m).forward(torch.from_numpy(x)), expected)


def test_output_over_its_own_input_is_the_same(models, inputs):
    m, x = models["bare"], inputs["bare"]
    expected = xst.Session(m).forward(x)
    shared = x.copy()
    assert xst.Session(m).forward(shared, out=shared) is shared and same(shared, expected)
    memory = np.zeros((len(x) + 1, m.input_width), np.float32)
    memory[:-1] = x
    assert same(xst.Session(m).forward(memory[:-1], out=memory[1:]), expected)


@pytest.mark.parametrize("call, kind, words", [
    (lambda s, n: s.step(np.zeros(n + 1, np.float32)), ValueError, ["x", "expected shape (16,)", "got (17,)"]),
    (lambda s, n: s.step(np.zeros((1, n), np.float32)), ValueError, ["(16,)", "got (1, 16)"]),
    (lambda s, n: s.step(0.5), ValueError, ["(16,)", "()"]),
    (lambda s, n: s.forward(np.zeros(n, np.float32)), ValueError, ["(T, 16)", "got (16,)"]),
    (lambda s, n: s.step(np.zeros(n, complex)), TypeError, ["float32 values", "complex128"]),
    (lambda s, n: s.step(["a"] * n), TypeError, ["float32 values", "list"]),
    (lambda s, n: s.step(None), TypeError, ["float32 values", "NoneType"]),
    (lambda s, n: s.step(np.zeros(n, "datetime64[s]")), TypeError, ["datetime64"]),
    (lambda s, n: s.step([[1], [2, 3]]), TypeError, ["list"]),
    (lambda s, n: s.step(np.zeros(n), out=np.zeros(n)), TypeError, ["out", "writable C-contiguous float32", "float64"]),
    (lambda s, n: s.step(np.zeros(n), out=[0.0] * n), TypeError, ["out", "list"]),
    (lambda s, n: s.step(np.zeros(n), out=np.zeros(n + 1, np.float32)), ValueError, ["out", "(16,)", "(17,)"]),
    (lambda s, n: s.step(np.zeros(n), out=np.zeros(2 * n, np.float32)[::2]), ValueError, ["out", "strides"]),
    (lambda s, n: s.step(np.zeros(n), out=np.broadcast_to(np.float32(0), n)), ValueError, ["out", "got"]),
    (lambda s, n: s.forward(np.zeros((3, n)), out=np.zeros((2, n), np.float32)), ValueError, ["out", "(3, 16)"]),
    (lambda s, n: s.forward(np.zeros((3, n)), last=True), xst.ArgumentError, ["last", "tokens"]),
    (lambda s, n: s.load(b""), xst.DataError, ["expected"]),
    (lambda s, n: s.load("text"), TypeError, ["bytes-like"]),
    (lambda s, n: s.load(s.save()[:-1]), xst.DataError, ["expected"]),
])
def test_a_wrong_array_is_refused_and_changes_nothing(call, kind, words, models):
    session = xst.Session(models["bare"])
    session.step(np.ones(16, np.float32))
    before = session.save()
    with pytest.raises(kind) as caught:
        call(session, 16)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert session.save() == before and session.steps == 1
