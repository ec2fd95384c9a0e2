#!/usr/bin/env python3
"""Scores predictions for ecg.csv on its last minute, which no training sees.

    evaluate.py PREDICTIONS [--json FILE]

PREDICTIONS is what `xst run` writes: .npy float32 [T, 8] or .csv with a header, columns next,
next.sigma, ahead_11ms, ahead_11ms.sigma, ahead_50ms, ahead_50ms.sigma, surprise, beat.
Needs NumPy and PyYAML.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import yaml

HERE = pathlib.Path(__file__).resolve().parent
RATE_HZ = 360
COLUMNS = [
    "next",
    "next.sigma",
    "ahead_11ms",
    "ahead_11ms.sigma",
    "ahead_50ms",
    "ahead_50ms.sigma",
    "surprise",
    "beat",
]
HORIZONS = {"next": 1, "ahead_11ms": 4, "ahead_50ms": 18}  # samples
TEST_FROM_S = 240
TOLERANCE_S = 0.050
AR_ORDER = 32


def detect_beats(p, threshold, release, refractory_s, delay_s, rate_hz=RATE_HZ):
    """The on-line beat rule: one pass, no look-ahead. p [T] probabilities.

    Follow the maximum of p while p >= threshold, starting no sooner than `refractory_s` after the
    last beat's maximum. The first sample below release * maximum declares the beat; its R time is
    the time of the maximum less `delay_s`, the delay the network was trained with.
    Returns [(R time in s, time of the declaration in s)].
    """
    beats, best, best_n, last_n = [], 0.0, 0, -np.inf
    for n, value in enumerate(p):
        if value >= threshold and value > best and n - last_n >= refractory_s * rate_hz:
            best, best_n = value, n
        elif best > 0 and value < release * best:
            beats.append((best_n / rate_hz - delay_s, n / rate_hz))
            best, last_n = 0.0, best_n
    return beats


def match(reference, found, tolerance_s=TOLERANCE_S):
    """[(i, j)]: reference beat i is found as j; nearest pairs first, each used once."""
    pairs = [
        (abs(r - f), i, j)
        for i, r in enumerate(reference)
        for j, f in enumerate(found)
        if abs(r - f) <= tolerance_s
    ]
    used_i, used_j, out = set(), set(), []
    for _, i, j in sorted(pairs):
        if i not in used_i and j not in used_j:
            used_i.add(i)
            used_j.add(j)
            out.append((i, j))
    return out


def f1_interval(tp, errors, z=1.96):
    """95 % Wilson interval of q = tp / (tp + fp + fn), carried to F1 = 2q / (1 + q)."""
    n = tp + errors
    q = tp / n
    centre, half = q + z * z / (2 * n), z * np.sqrt(q * (1 - q) / n + z * z / (4 * n * n))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def beat_scores(reference, beats, from_s, to_s):
    """Counts in [from_s, to_s); a pair belongs where its reference beat lies."""
    reference, found = np.asarray(reference).tolist(), [r for r, _ in beats]
    pairs = match(reference, found)
    matched_j = {j for _, j in pairs}
    inside = lambda t: from_s <= t < to_s
    hits = [(i, j) for i, j in pairs if inside(reference[i])]
    tp = len(hits)
    fn = sum(inside(r) for r in reference) - tp
    fp = sum(inside(f) for j, f in enumerate(found) if j not in matched_j)
    delays = np.array([beats[j][1] - reference[i] for i, j in hits]) if hits else np.array([np.nan])
    errors = np.array([found[j] - reference[i] for i, j in hits]) if hits else np.array([np.nan])
    return {
        "beats": tp + fn,
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "f1": 2 * tp / max(1, 2 * tp + fp + fn),
        "f1_interval": f1_interval(tp, fp + fn) if tp else (0.0, 1.0),
        "precision": tp / max(1, tp + fp),
        "recall": tp / max(1, tp + fn),
        "delay_median_ms": 1e3 * np.median(delays),
        "delay_p95_ms": 1e3 * np.quantile(delays, 0.95),
        "time_error_p95_ms": 1e3 * np.quantile(np.abs(errors), 0.95),
    }


def autoregression(x, h, fit_to):
    """Least-squares AR(32) aimed at sample t + h, fitted on x[:fit_to]; predictions at every t."""
    lags = np.stack(
        [np.r_[np.full(k, x[0]), x[: len(x) - k]] for k in range(AR_ORDER)] + [np.ones(len(x))], 1
    )
    rows = slice(AR_ORDER, fit_to - h)
    w = np.linalg.lstsq(lags[rows], x[rows.start + h : fit_to], rcond=None)[0]
    return lags @ w


def read_predictions(path):
    if path.suffix == ".npy":
        out = np.load(path)
    else:
        with open(path) as f:
            header = f.readline().strip().split(",")
        skip = [k for k, name in enumerate(header) if name in COLUMNS]
        if [header[k] for k in skip] != COLUMNS:
            sys.exit(f"{path}: expected the columns {','.join(COLUMNS)}, got {','.join(header)}")
        out = np.genfromtxt(path, delimiter=",", skip_header=1, usecols=skip)
    if out.ndim == 3 and out.shape[1] == 1:
        out = out[:, 0]
    if out.ndim != 2 or out.shape[1] != len(COLUMNS):
        sys.exit(f"{path}: expected [T, {len(COLUMNS)}], got {list(out.shape)}")
    return out.astype(np.float64)


def read_column(path, name):
    with open(path) as f:
        header = f.readline().strip().split(",")
    return np.genfromtxt(path, delimiter=",", skip_header=1, usecols=header.index(name))


def scores(x, reference, predictions, rule, from_s=TEST_FROM_S, to_s=None):
    """All figures over the samples (targets) in [from_s, to_s)."""
    first, last = round(from_s * RATE_HZ), len(x) if to_s is None else round(to_s * RATE_HZ)
    column = {name: predictions[:, k] for k, name in enumerate(COLUMNS)}
    fit_to = round(TEST_FROM_S * RATE_HZ)
    rms = lambda e: float(np.sqrt(np.mean(np.square(e))))
    result = {"forecast": {}}
    for name, h in HORIZONS.items():
        target, now = x[first:last], slice(first - h, last - h)
        error = target - column[name][now]
        inside = [
            float(np.mean(np.abs(error) <= k * column[name + ".sigma"][now])) for k in (1, 1.645, 2)
        ]
        result["forecast"][name] = {
            "horizon_ms": 1e3 * h / RATE_HZ,
            "rmse": rms(error),
            "rmse_ar32": rms(target - autoregression(x, h, fit_to)[now]),
            "rmse_persistence": rms(target - x[now]),
            "coverage": inside,
        }
    result["surprise_mean_nll"] = float(np.nanmean(column["surprise"][first:last]))
    beats = detect_beats(column["beat"], **rule)
    result["beats"] = beat_scores(reference, beats, from_s, last / RATE_HZ)
    return result


def report(result):
    print("horizon    RMSE/mV  AR(32)  persistence   within 1 sigma  1.645 sigma  2 sigma")
    for name, r in result["forecast"].items():
        c = r["coverage"]
        print(
            f"{r['horizon_ms']:5.1f} ms   {r['rmse']:.4f}  {r['rmse_ar32']:.4f}  {r['rmse_persistence']:.4f}"
            f"        {c[0]:.3f}           {c[1]:.3f}        {c[2]:.3f}"
        )
    print("a calibrated Gaussian                          0.683           0.900        0.954")
    print(f"mean surprise (normalised units): {result['surprise_mean_nll']:.3f} nat")
    b = result["beats"]
    print(
        f"beats: {b['beats']}, found {b['tp']}, missed {b['fn']}, false {b['fp']}; at +-{1e3 * TOLERANCE_S:.0f} ms "
        f"F1 {b['f1']:.4f} (95 % {b['f1_interval'][0]:.4f} to {b['f1_interval'][1]:.4f}), "
        f"precision {b['precision']:.4f}, recall {b['recall']:.4f}"
    )
    print(
        f"R time error p95 {b['time_error_p95_ms']:.1f} ms; from R to detection: median "
        f"{b['delay_median_ms']:.0f} ms, p95 {b['delay_p95_ms']:.0f} ms"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("predictions", type=pathlib.Path)
    parser.add_argument("--recording", type=pathlib.Path, default=HERE / "ecg.csv")
    parser.add_argument("--labels", type=pathlib.Path, default=HERE / "beats.csv")
    parser.add_argument("--rule", type=pathlib.Path, default=HERE / "model" / "beats.yaml")
    parser.add_argument("--json", type=pathlib.Path, help="also write the figures here")
    args = parser.parse_args()

    x, predictions = read_column(args.recording, "ecg"), read_predictions(args.predictions)
    if len(predictions) != len(x):
        sys.exit(
            f"{args.predictions}: expected {len(x)} rows, one per sample of {args.recording}, "
            f"got {len(predictions)}"
        )
    rule = yaml.safe_load(args.rule.read_text())
    result = scores(x, read_column(args.labels, "t"), predictions, rule)
    report(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
