"""The rewrite that peers are made from is the official step: the conformance case in float64, one stream and several."""

import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from peer_worker import CASE, official  # noqa: E402


def test_reproduces_the_case():
    import torch
    from functional import FunctionalStack

    config, weights, _ = official()
    stack = FunctionalStack({name: w.double() for name, w in weights.items()}, config)
    expected = np.load(CASE / "expected.npy")
    x = torch.from_numpy(np.load(CASE / "input.npy")).double()
    for streams in (1, 3):
        states = stack.fresh(streams)
        for row, target in zip(x, expected):
            y, *states = stack(row.expand(streams, -1), *states)
            assert np.abs(y.numpy() - target).max() <= 1e-7 * np.abs(expected).max()
