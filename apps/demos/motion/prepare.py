#!/usr/bin/env python3
"""Makes train.csv and test.csv from the BasicMotions files that PyPI's aeon ships.

    pip download --no-deps aeon==1.6.0
    prepare.py aeon-1.6.0-py3-none-any.whl
"""

import pathlib
import sys
import zipfile

import numpy as np

from data import CHANNELS, CLASSES, RATE_HZ

HERE = pathlib.Path(__file__).resolve().parent
SEED = 7


def read_ts(text):
    """(fields [N][6][100] as written, names of the classes [N]) of a .ts file."""
    cases, labels = [], []
    for line in text.splitlines():
        if line and line[0] not in "#@":
            *channels, label = line.split(":")
            cases.append([channel.split(",") for channel in channels])
            labels.append(label.strip().lower())
    return cases, labels


def main():
    wheel = zipfile.ZipFile(sys.argv[1])
    for split in ("train", "test"):
        name = f"aeon/datasets/data/BasicMotions/BasicMotions_{split.upper()}.ts"
        cases, labels = read_ts(wheel.read(name).decode("utf-8"))
        # The test cases are the live show: in an order in which the activity changes.
        order = range(len(cases))
        if split == "test":
            order = np.random.default_rng(SEED).permutation(len(cases))
        rows, t = [",".join(["t", *CHANNELS, "activity"])], 0
        for case in order:
            for values in zip(*cases[case], strict=True):
                rows.append(",".join([f"{t / RATE_HZ:.1f}", *values, str(CLASSES.index(labels[case]))]))
                t += 1
        (HERE / f"{split}.csv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
