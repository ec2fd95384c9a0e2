"""The models of apps/demos/motion and pressure give what the official package's step gives."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from xst_tool import BIN

DEMOS = pathlib.Path(__file__).resolve().parents[2] / "apps/demos"
sys.path.insert(0, str(DEMOS))
from wrapped import load, step_through  # noqa: E402


def ours(folder, x, tmp_path):
    subprocess.run([BIN / "xst", "pack", folder, "-o", tmp_path / "m.xst"], check=True)
    source, result = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(source, x)
    subprocess.run([BIN / "xst", "run", tmp_path / "m.xst", "--input", source, "--output", result], check=True)
    return np.load(result)


def theirs(folder, x):
    """(the head's rows [T, R], normalised inputs, of the first input mean and std) by the package."""
    model, stream = load(folder)
    mean, std = (np.array([i[key] for i in stream["inputs"]], np.float32) for key in ("mean", "std"))
    z = (x - mean) / std
    return step_through(model, torch.from_numpy(z)[None])[0].numpy(), z, mean[0], std[0]


@pytest.mark.parametrize("name, csv, columns", [("motion", "test.csv", range(1, 7)), ("pressure", "pressure.csv", [1])])
def test_outputs_are_the_official_ones(name, csv, columns, tmp_path):
    x = np.loadtxt(DEMOS / name / csv, delimiter=",", skiprows=1, dtype=np.float32, usecols=columns, max_rows=500,
                   ndmin=2)
    y = ours(DEMOS / name / "model", x, tmp_path)
    rows, z, mean, std = theirs(DEMOS / name / "model", x)
    if name == "motion":
        expected = torch.from_numpy(rows).softmax(-1).numpy()
    else:
        expected = np.stack([column for k in (0, 2) for column in
                             ((rows[:, k] + z[:, 0]) * std + mean, np.exp(rows[:, k + 1].clip(-12, 4) / 2) * std)], 1)
        y = y[:, :4]
    assert np.abs(y - expected).max() <= 1e-4 * np.abs(expected).max()
