#!/usr/bin/env python3
"""Scores the detectors on the test part of pressure.csv, which neither training nor thresholds have seen.

    evaluate.py [--xst XST] [--model FOLDER] [--dtype f32]

The model is stepped by `xst run`. Prints Markdown tables. NumPy only.
"""

import argparse
import pathlib
import subprocess
import tempfile

import numpy as np

import baselines
import data

HERE = pathlib.Path(__file__).resolve().parent
XST = HERE.parents[2] / "build/release/bin/xst"
COLUMNS = ["next", "next.sigma", "ahead_100ms", "ahead_100ms.sigma", "surprise", "surprise_100ms"]
GRACE = 60  # samples behind an anomaly in which an alarm is still its
MARGIN = 0.2  # of a threshold over the largest score of the calibration part, in parts of its distance to the median


class Stream:
    """A packed model behind `xst run`."""

    def __init__(self, xst, folder, scratch, dtype="f32"):
        self.xst, self.scratch, self.model = xst, pathlib.Path(scratch), pathlib.Path(scratch, "pressure.xst")
        subprocess.run([xst, "pack", folder, "-o", self.model, "--dtype", dtype], check=True, stdout=subprocess.DEVNULL)

    def run(self, x):
        """x [N, T] in mmHg, a fresh stream each -> [N, T, 6]."""
        source, result = self.scratch / "x.npy", self.scratch / "y.npy"
        np.save(source, np.ascontiguousarray(x.T[:, :, None], np.float32))
        subprocess.run([self.xst, "run", self.model, "--input", source, "--output", result], check=True)
        return np.load(result).swapaxes(0, 1).astype(float)

    def scores(self):
        """As a detector of baselines.py; what is not yet there (NaN) raises nothing."""
        last = {}

        def column(name):
            def score(x):
                if last.get("x") is not x:
                    last.update(x=x, y=self.run(x))
                return np.nan_to_num(last["y"][:, :, COLUMNS.index(name)], nan=-np.inf)

            return score

        return [column("surprise"), column("surprise_100ms")]


def threshold(score):
    """From the scores of the calibration part."""
    return score.max() + MARGIN * (score.max() - np.median(score))


def judge(detector, x, own, kinds, columns, begins, ends):
    """What a detector finds: thresholds, the archive's anomaly, false alarms and every kind."""
    calibration = slice(data.TRAIN_END, data.TEST_BEGIN)
    whole, thresholds = x[None], []
    alarm = np.zeros(len(x), bool)
    for score in detector:
        s = score(whole)[0]
        thresholds.append(threshold(s[calibration]))
        alarm |= s > thresholds[-1]
    place = np.flatnonzero(own)
    mine = slice(place[0], place[-1] + 1 + GRACE)
    hits = np.flatnonzero(alarm[mine])
    rest = alarm.copy()
    rest[place[0] : place[-1] + 1 + 2 * data.BEAT] = False  # in the wake of the anomaly nothing counts
    rest = rest[data.TEST_BEGIN :]
    result = {
        "thresholds": thresholds,
        "own": int(hits[0]) if len(hits) else None,
        "false": int((np.diff(rest.astype(int), prepend=0) > 0).sum()),
        "found": {},
        "delay": {},
    }
    alarms = np.zeros(columns.shape, bool)
    for score, limit in zip(detector, thresholds):
        alarms |= score(columns) > limit
    for kind in data.KINDS:
        delays = []
        for n in np.flatnonzero(kinds == kind):
            hits = np.flatnonzero(alarms[n, begins[n] : ends[n] + GRACE])
            delays.append(hits[0] if len(hits) else np.inf)
        found = np.isfinite(delays)
        result["found"][kind] = (int(found.sum()), len(delays))
        result["delay"][kind] = float(np.median(np.array(delays)[found])) if found.any() else None
    return result


def forecasts(stream, x):
    """RMSE in mmHg on the test part less two beats from the archive's anomaly on: {name: [of every horizon]}."""
    own = np.flatnonzero(data.read()[1])
    counts = np.arange(len(x)) >= data.TEST_BEGIN
    counts[own[0] : own[-1] + 2 * data.BEAT] = False
    y, train = stream.run(x[None])[0], x[: data.TRAIN_END]
    result = {"this model": [], "AR(16)": [], "AR(64)": [], "persistence": [], "inside 1 / 2 sigma": []}
    for name, h in data.HORIZONS.items():
        at = np.flatnonzero(counts)
        mean, sigma = (y[at - h, COLUMNS.index(name + part)] for part in ("", ".sigma"))
        rmse = lambda p: float(np.sqrt(((x[at] - p) ** 2).mean()))
        result["this model"].append(rmse(mean))
        for order in (16, 64):
            ahead = baselines.Autoregression(train, order, h).forecast(x[None])[0]
            result[f"AR({order})"].append(rmse(ahead[at - h]))
        result["persistence"].append(rmse(x[at - h]))
        off = np.abs(x[at] - mean) / sigma
        result["inside 1 / 2 sigma"].append(((off < 1).mean(), (off < 2).mean()))
    return result


def evaluate(xst=XST, folder=HERE / "model", dtype="f32"):
    """(forecasts, {detector: what it finds})."""
    x, own = data.read()
    cases = data.cases(x)
    with tempfile.TemporaryDirectory() as scratch:
        stream = Stream(xst, folder, scratch, dtype)
        detectors = {"this model, surprise 1 and 25 samples ahead": stream.scores()}
        detectors.update(baselines.all_detectors(x[: data.TRAIN_END]))
        return forecasts(stream, x), {name: judge(d, x, own, *cases) for name, d in detectors.items()}


def report(ahead, found):
    print("| RMSE in mmHg | 4 ms ahead | 100 ms ahead |\n|---|---|---|")
    for name, values in ahead.items():
        texts = [" / ".join(f"{v:.3f}" for v in np.atleast_1d(value)) for value in values]
        print("|", " | ".join([name, *texts]), "|")
    print("\n| detector | archive's anomaly | false alarms |", " | ".join(data.KINDS), "| all |")
    print("|---|---|---|" + "---|" * (len(data.KINDS) + 1))
    for name, r in found.items():
        own = "missed" if r["own"] is None else f"after {r['own'] + 1} samples"
        cells = []
        for kind in data.KINDS:
            n, of = r["found"][kind]
            late = "" if r["delay"][kind] is None else f", {1000 * r['delay'][kind] / data.RATE_HZ:.0f} ms"
            cells.append(f"{n} of {of}{late}")
        n, of = np.sum(list(r["found"].values()), 0)
        print("|", " | ".join([name, own, str(r["false"]), *cells, f"{n} of {of}"]), "|")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--xst", default=XST, type=pathlib.Path)
    parser.add_argument("--model", default=HERE / "model", type=pathlib.Path)
    parser.add_argument("--dtype", default="f32", help="of the packed weights")
    args = parser.parse_args()
    ahead, found = evaluate(args.xst, args.model, args.dtype)
    report(ahead, found)
    model = next(iter(found.values()))
    print("\nThresholds of the model:", ", ".join(f"{t:.2f}" for t in model["thresholds"]))


if __name__ == "__main__":
    main()
