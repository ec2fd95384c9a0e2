#!/usr/bin/env python3
"""Scores the motion model and simple baselines on test.csv, which neither training nor the choice of settings has seen;
the mean probability was added as an answer after it was seen.

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
SEEN = (10, 25, 50, 100)  # samples


def pack(xst, folder, model, dtype="f32"):
    subprocess.run([xst, "pack", folder, "-o", model, "--dtype", dtype], check=True, stdout=subprocess.DEVNULL)


def fresh(xst, model, x):
    """Every case x [N, T, 6] through a stream of its own -> probabilities [N, T, 4]."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = pathlib.Path(folder, "x.npy"), pathlib.Path(folder, "y.npy")
        np.save(source, np.ascontiguousarray(x.swapaxes(0, 1)))
        subprocess.run([xst, "run", model, "--input", source, "--output", result], check=True)
        return np.load(result).swapaxes(0, 1)


def one_stream(xst, model):
    """test.csv as it is, one case behind the other, never reset -> probabilities [N, T, 4]."""
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder, "y.npy")
        subprocess.run([xst, "run", model, "--input", HERE / "test.csv", "--output", result], check=True)
        return np.load(result).reshape(-1, data.LENGTH, len(data.CLASSES))


def last_samples(train_x, train_y, x, window):
    """The baseline of the stream: logistic regression on mean and std of the last `window` samples, over all cases of x
    one behind the other -> classes [N, T]."""
    pieces = [train_x[:, a : a + window] for a in range(0, data.LENGTH - window + 1, 5)]
    classify = baselines.Logistic(
        np.concatenate([baselines.features(p) for p in pieces]), np.tile(train_y, len(pieces)), len(data.CLASSES)
    )
    flat = x.reshape(-1, x.shape[2])
    answers = [classify(baselines.features(flat[None, max(0, n + 1 - window) : n + 1]))[0] for n in range(len(flat))]
    return np.array(answers).reshape(x.shape[:2])


def interval(right, n, z=1.96):
    """95 % Wilson interval of a proportion."""
    p = right / n
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


def exact_p(ours, theirs):
    """Two-sided exact McNemar test of two columns of right and wrong: how likely a difference as large is by chance."""
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    n, fewer = only_ours + only_theirs, min(only_ours, only_theirs)
    choose, total = 1, 0
    for k in range(fewer + 1):
        total += choose
        choose = choose * (n - k) // (k + 1)
    return min(1.0, 2 * total / 2**n)


def settled(answers, y):
    """Samples of each case until the answer is right and stays so; LENGTH if it is wrong at the end."""
    wrong = answers != y[:, None]
    return np.where(wrong.any(1), data.LENGTH - wrong[:, ::-1].argmax(1), 0)


def evaluate(xst=XST, folder=HERE / "model", dtype="f32"):
    """({name: right [N] after each of SEEN, from a fresh state}, {name: answers [N, T] of the one stream}, classes)."""
    train_x, train_y = data.read("train")
    x, y = data.read("test")
    with tempfile.TemporaryDirectory() as scratch:
        model = pathlib.Path(scratch, "motion.xst")
        pack(xst, folder, model, dtype)
        alone, stream = fresh(xst, model, x), one_stream(xst, model)
    cases = {
        "this model, the last sample's answer": [alone[:, n - 1].argmax(1) == y for n in SEEN],
        "this model, mean probability": [alone[:, :n].mean(1).argmax(1) == y for n in SEEN],
    }
    for n in SEEN:
        for name, answers in baselines.all_answers(train_x, train_y, x[:, :n], len(data.CLASSES)).items():
            cases.setdefault(name, []).append(answers == y)
    streams = {"this model": stream.argmax(2)}
    for window in (10, 25, 50):
        name = f"logistic regression, last {window} samples"
        streams[name] = last_samples(train_x, train_y, x, window)
    return cases, streams, y


def report(cases, streams, y):
    def cell(right):
        low, high = interval(right.sum(), len(right))
        return f"{right.mean():.3f} ({low:.2f} to {high:.2f})"

    print("| right after … samples of a case |", " | ".join(map(str, SEEN)), "|")
    print("|" + "---|" * (len(SEEN) + 1))
    for name, right in cases.items():
        print("|", " | ".join([name, *map(cell, right)]), "|")
    print("\n| one stream: right … samples behind a change |", " | ".join(map(str, SEEN)), end="")
    print(" | all samples | settled after, median and 90 % |")
    print("|" + "---|" * (len(SEEN) + 3))
    for name, answers in streams.items():
        right = answers == y[:, None]
        until = settled(answers, y)
        cells = [cell(right[:, n - 1]) for n in SEEN] + [f"{right.mean():.3f}"]
        print("|", " | ".join([name, *cells]), f"| {np.median(until):.0f}, {np.quantile(until, 0.9):.0f} |")
    last, mean, *others = cases
    for ours in (last, mean):
        print(f"\nExact McNemar p, {ours} against:")
        for name in others:
            print(f"{name}:", ", ".join(f"{exact_p(a, b):.4f}" for a, b in zip(cases[ours], cases[name])))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--xst", default=XST, type=pathlib.Path)
    parser.add_argument("--model", default=HERE / "model", type=pathlib.Path)
    parser.add_argument("--dtype", default="f32", help="of the packed weights")
    args = parser.parse_args()
    report(*evaluate(args.xst, args.model, args.dtype))


if __name__ == "__main__":
    main()
