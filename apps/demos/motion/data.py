"""The recordings: 40 + 40 cases of 100 samples. NumPy only."""

import pathlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
CHANNELS = ["acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"]
CLASSES = ["standing", "running", "walking", "badminton"]
RATE_HZ = 10
LENGTH = 100  # samples of a case


def read(split):
    """(x [N, 100, 6] float32, class [N]) of `train` or `test`, in the order of the file."""
    table = np.loadtxt(HERE / f"{split}.csv", delimiter=",", skiprows=1, dtype=np.float32)
    cases = table.reshape(-1, LENGTH, table.shape[1])
    return cases[:, :, 1:-1], cases[:, 0, -1].astype(int)
