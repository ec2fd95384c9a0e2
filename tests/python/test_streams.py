"""Lanes, Forecaster, Sampler and generate()."""

import numpy as np
import pytest
import xlstm_stream as xst
from conftest import CASES, same
from xst_tool import VECTORS, good


def test_lanes_are_sessions(models, inputs):
    m, x = models["bare"], inputs["bare"]
    expected = xst.Session(m).forward(x)
    with xst.Lanes(m, 3) as lanes:
        assert [lanes.attach() for _ in range(4)] == [0, 1, 2, None] and lanes.attached == lanes.capacity == 3
        lanes.detach(1)
        mask, rows = np.array([True, False, True]), np.zeros((3, 16), np.float32)
        for t in range(5):
            rows[0], rows[2] = x[t], x[t + 1]
            y = lanes.step(mask, rows)
            assert same(y[0], expected[t]) and np.isnan(y[1]).all()
        out = np.full((3, 16), 7, np.float32)
        assert lanes.step([1, 0, 0], np.tile(x[5], (3, 1)), out) is out
        assert same(out[0], expected[5]) and (out[1:] == 7).all() and lanes.steps(0) == 6 and lanes.steps(2) == 5
        session = xst.Session(m)
        session.load(lanes.save(0))
        assert same(session.forward(x[6:]), expected[6:])
        assert lanes.attach() == 1
        lanes.load(1, lanes.save(0))
        tail = np.zeros((3, len(x) - 6, 16), np.float32)
        tail[1] = x[6:]
        y = lanes.forward(np.array([False, True, False]), tail)
        assert same(y[1], expected[6:]) and np.isnan(y[0]).all()
        lanes.reset(1)
        assert lanes.steps(1) == 0 and lanes.quality(1) == 0
        lanes.detach(2)
        for call in (lanes.detach, lanes.reset, lanes.save, lambda lane: lanes.load(lane, b"")):
            for lane in (2, 3, -1, 1 << 40, 1 << 70):
                with pytest.raises(xst.ArgumentError, match=f"^lane: expected one that is attached, got {lane}$"):
                    call(lane)
            with pytest.raises(TypeError, match="^lane: expected an int, got float$"):
                call(1.0)
        assert lanes.steps(2) == lanes.steps(-1) == lanes.quality(1 << 70) == 0 and lanes.steps(np.int64(0)) == 6
        for step in (lanes.step, lambda mask, x: lanes.forward(mask, x[:, None])):
            with pytest.raises(xst.ArgumentError, match="^lane: expected one that is attached, got 2$"):
                step([1, 0, 1], rows)
        assert lanes.steps(0) == 6
        for mask, kind in (([0, 0, 1], xst.ArgumentError), ([1, 0], ValueError), ([0.5, 0, 0], TypeError)):
            with pytest.raises(kind):
                lanes.step(mask, rows)
    with pytest.raises(RuntimeError, match="closed"):
        lanes.attach()


def test_lanes_of_tokens(models, inputs):
    m, tokens = models["lm"], inputs["lm"]
    expected = xst.Session(m).forward(tokens)
    lanes = xst.Lanes(m, 2)
    lanes.attach(), lanes.attach()
    y = lanes.step([True, True], [tokens[0], tokens[1]])
    assert same(y[0], expected[0])
    assert same(lanes.forward([True, False], np.stack([tokens[1:], tokens[1:]]))[0], expected[1:])
    for bad in (-1, m.vocabulary):
        with pytest.raises(xst.ArgumentError, match=f"^x: expected token ids from 0 to {m.vocabulary - 1}, got {bad}$"):
            lanes.step([True, True], [0, bad])
        with pytest.raises(xst.ArgumentError, match=f"got {bad}$"):
            lanes.forward([False, True], [[bad, 0], [0, bad]])
    assert not np.isnan(lanes.step([True, False], [0, -1])[0]).any()  # what is not stepped is not read


def test_forecasts(models, inputs):
    case = VECTORS / CASES["tirex"]
    x, expected = inputs["tirex"], np.load(case / "expected.npy")
    rollout = int(dict(line.strip().split(": ") for line in (case / "config.yaml").read_text().splitlines()
                       if line.strip().startswith("max_accelerated")).get("max_accelerated_rollout_steps", 1))
    with xst.Forecaster(models["tirex"]) as forecaster:
        for series, y in zip(x, expected):
            got = forecaster.forecast(series, len(y), rollout)
            assert got.shape == y.shape == (len(y), len(forecaster.quantiles))
            assert np.abs(got - y).max() <= 1e-4 * np.abs(expected).max()
            out = np.empty_like(got)
            assert forecaster.forecast(series, len(y), rollout, out=out) is out and same(out, got)
        for sample in x[0]:
            forecaster.push(sample)
        assert forecaster.samples == x.shape[1] and forecaster.due
        pushed = forecaster.forecast()
        assert same(pushed, forecaster.forecast(x[0], forecaster.horizon, forecaster.rollout))
        other = xst.Forecaster(models["tirex"])
        other.load(forecaster.save())
        assert same(other.forecast(), pushed)
        with pytest.raises(ValueError):
            forecaster.forecast(horizon=3)
        with pytest.raises(ValueError):
            forecaster.forecast(x)
        for name in ("horizon", "rollout"):
            for bad in (0, -1, 1 << 40, 1 << 70):
                with pytest.raises(xst.ArgumentError, match=f"^{name}: expected 1 to 4294967295, got {bad}$"):
                    forecaster.forecast(x[0], **{name: bad})
            for bad in ("3", 3.0):
                with pytest.raises(TypeError, match=f"^{name}: expected an int, got {type(bad).__name__}$"):
                    forecaster.forecast(x[0], **{name: bad})
        assert same(forecaster.forecast(x[0], np.int64(3)), forecaster.forecast(x[0], 3))


def test_generation_is_that_of_the_command_line(files, models):
    prompt = [1, 2, 3]
    for options, flags in (({}, []), ({"temperature": 0.8, "seed": 5}, ["--temperature", "0.8", "--seed", "5"]),
                           ({"top_k": 4, "top_p": 0.9, "seed": 9}, ["--top-k", "4", "--top-p", "0.9", "--seed", "9"])):
        lines = good("generate", files["lm"], "--prompt", "1,2,3", "--max-tokens", "20", *flags).decode().split()
        assert list(xst.generate(xst.Session(models["lm"]), prompt, 20, **options)) == list(map(int, lines))
    first = next(xst.generate(xst.Session(models["lm"]), prompt, 20))
    assert list(xst.generate(xst.Session(models["lm"]), prompt, 20, stop={first})) == [first]
    with pytest.raises(xst.ArgumentError, match="prompt"):
        xst.generate(xst.Session(models["lm"]), [], 3)
    sampler = xst.Sampler(4)
    assert sampler.next([0, 3, 1, 3]) == 1
    with pytest.raises(xst.ArgumentError, match="finite"):
        sampler.next([0, np.nan, 1, 3])
    with pytest.raises(ValueError, match=r"\(4,\)"):
        sampler.next([0, 1])
