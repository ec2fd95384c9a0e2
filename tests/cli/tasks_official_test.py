"""The models of apps/demos/tasks give the official package's answers, beyond the training length."""

import pathlib
import sys

import numpy as np
import pytest

from xst_tool import BIN

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "apps/demos/tasks"))
import data  # noqa: E402
import evaluate  # noqa: E402


@pytest.mark.parametrize("name", evaluate.NAMES)
def test_answers_are_the_official_ones(name, tmp_path):
    task = data.task_of(name)
    tokens, targets = data.test_set(task, data.test_lengths(task)[-1], {"parity": 128, "recall": 16}[task])
    folder = evaluate.HERE / "models" / name
    evaluate.pack(BIN / "xst", folder, tmp_path / "m.xst")
    ours, theirs = evaluate.xst_logits(BIN / "xst", tmp_path / "m.xst", tokens), evaluate.torch_logits(folder, tokens)
    assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max()

    # Answers may differ only where rounding decides.
    best = np.sort(theirs[targets != data.IGNORED], -1)
    tie = best[:, -1] - best[:, -2] <= 2 * np.abs(ours - theirs).max()
    differ = evaluate.answers(ours, targets)[0] != evaluate.answers(theirs, targets)[0]
    assert not (differ & ~tie).any()
    assert tie.mean() < 0.02
