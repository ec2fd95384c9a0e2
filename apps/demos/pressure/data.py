"""The recording, its parts and the anomalies that are put into it. NumPy only."""

import pathlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
RATE_HZ = 250
TRAIN_END, TEST_BEGIN = 3000, 4100  # samples; between them thresholds are set
HORIZONS = {"next": 1, "ahead_100ms": 25}  # samples
BEAT = 183  # samples, the median
LEAD = 1300  # samples in front of an anomaly: a breath of six beats, and more
LENGTH = LEAD + 700
KINDS = ("early beat", "dropped beat", "weak beat", "damped line", "drift", "stuck sensor")


def read():
    """(pressure [T] in mmHg, the archive's mark of its anomaly [T])."""
    table = np.loadtxt(HERE / "pressure.csv", delimiter=",", skiprows=1)
    return table[:, 1], table[:, 2] > 0


def feet(x):
    """Where beats begin: the lowest sample between one upstroke and the next."""
    s = np.convolve(x, np.ones(9) / 9, "same")
    near = np.lib.stride_tricks.sliding_window_view(s, 121)
    lowest = np.flatnonzero(s[60:-60] == near.min(1)) + 60
    return lowest[np.diff(lowest, prepend=-BEAT) > BEAT // 2]  # once, where several are as low


def fade(n, edge):
    """0 to 1 in `edge` samples, 1, and back to 0, smoothly."""
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 1) / (edge + 1))
    return np.concatenate([ramp, np.ones(n - 2 * edge), ramp[::-1]])


def put(kind, x, foot, nexts):
    """(x with one anomaly in the beat that begins at `foot`, where it begins, where it ends); `nexts` are the feet
    behind. No kind jumps, but for the stuck sensor when it comes back."""
    y = x.copy()
    if kind == "early beat":  # the last 15 % of the beat are missing
        a, b = nexts[0] - 28, nexts[0]
        y = np.concatenate([x[:a], x[b:] + (x[a] - x[b]) * np.clip(1 - np.arange(len(x) - b) / 60, 0, 1)])
        return y, a, a + 60
    if kind == "dropped beat":  # the pressure runs off instead of rising
        a, b = nexts[0], nexts[1]
        y[a:b] = x[a] + (x[b] - x[a]) * np.arange(b - a) / (b - a) - 4 * fade(b - a, (b - a) // 2)
        return y, a, b
    if kind == "weak beat":  # 70 % of the pulse
        a, b = foot, nexts[0]
        floor = x[a] + (x[b] - x[a]) * np.arange(b - a) / (b - a)
        y[a:b] = floor + 0.7 * (x[a:b] - floor)
        return y, a, b
    if kind == "damped line":  # a clot or a bubble: two beats behind a low pass
        a, b = foot, nexts[1]
        window = np.hanning(63)
        smooth = np.convolve(np.pad(x, 31, "edge"), window / window.sum(), "valid")
        f = fade(b - a, 40)
        y[a:b] = f * smooth[a:b] + (1 - f) * x[a:b]
        return y, a, b
    if kind == "drift":  # the transducer is moved: 6 mmHg up within a beat, and back
        a, b = foot + 60, foot + 60 + 3 * BEAT
        y[a:b] += 6 * fade(b - a, BEAT)
        return y, a, b
    assert kind == "stuck sensor"
    a, b = foot + 130, foot + 160  # on the slow way down
    y[a:b] = x[a]
    return y, a, b


def cases(x):
    """(kind of each, x [N, LENGTH], begin [N], end [N]): every kind in every beat of the test part that is far enough
    from its ends and two beats behind the recording's own anomaly."""
    own = np.flatnonzero(read()[1])
    all_feet = feet(x)
    kinds, columns, begins, ends = [], [], [], []
    for k, foot in enumerate(all_feet[:-4]):
        start = foot - LEAD
        if foot < max(TEST_BEGIN, own[-1] + 2 * BEAT) or start + LENGTH + BEAT > len(x):
            continue
        for kind in KINDS:
            y, a, b = put(kind, x[start:], foot - start, all_feet[k + 1 : k + 3] - start)
            kinds.append(kind)
            columns.append(y[:LENGTH])
            begins.append(a)
            ends.append(b)
    return np.array(kinds), np.array(columns), np.array(begins), np.array(ends)
