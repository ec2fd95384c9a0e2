"""The models of apps/demos/tasks, stepped by `xst run` on held-out sequences: what each has learnt and what not."""

import pathlib
import sys

import numpy as np
import pytest

from xst_tool import BIN

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "apps/demos/tasks"))
import data  # noqa: E402
import evaluate  # noqa: E402


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    for name in evaluate.NAMES:
        evaluate.pack(BIN / "xst", evaluate.HERE / "models" / name, folder / f"{name}.xst")
    return folder


def accuracy(packed, name, length, count):
    tokens, targets = data.test_set(data.task_of(name), length, count)
    answer, right = evaluate.answers(evaluate.xst_logits(BIN / "xst", packed / f"{name}.xst", tokens), targets)
    return (answer == right).mean()


@pytest.mark.parametrize("name", ["parity_xlstm01", "parity_xlstm11"])
@pytest.mark.parametrize("length", [40, 128, 256])
def test_an_slstm_has_learnt_parity_at_any_length(packed, name, length):
    assert accuracy(packed, name, length, 256) >= 0.99


@pytest.mark.parametrize("length, least, most", [(16, 0.99, 1), (128, 0.4, 0.6), (256, 0.4, 0.6)])
def test_mlstms_guess_parity_beyond_what_they_were_trained_on(packed, length, least, most):
    assert least <= accuracy(packed, "parity_xlstm10", length, 256) <= most


@pytest.mark.parametrize("length", [128, 256, 512])
def test_mlstms_recall(packed, length):
    assert accuracy(packed, "recall_xlstm10", length, 32) >= 0.99


def test_parity_is_what_it_says():
    tokens, targets = data.parity(np.random.default_rng(5), 200, 3, 20)
    lengths = set()
    for word, target in zip(tokens.tolist(), targets.tolist()):
        bits = word[: word.index(0)] if 0 in word else word
        asked = len(bits) - 1
        assert set(bits) <= {1, 2} and not any(word[len(bits) :])
        expected = [data.IGNORED] * len(word)
        expected[asked] = 2 if bits.count(2) % 2 else 1
        assert target == expected
        lengths.add(len(bits) + 1)
    assert lengths == set(range(3, 21))


def test_recall_is_what_it_says():
    tokens, targets = data.recall(np.random.default_rng(5), 50, 96, 16)
    distances = []
    for sequence, target in zip(tokens.tolist(), targets.tolist()):
        keys, values = sequence[0:32:2], sequence[1:32:2]
        assert len(set(keys)) == len(set(values)) == 16 and 1 <= min(keys) and max(keys) < 128 <= min(values)
        asked = [t for t, value in enumerate(target) if value != data.IGNORED]
        assert all(t >= 32 and t % 2 == 0 and target[t] == dict(zip(keys, values))[sequence[t]] for t in asked)
        assert sorted(sequence[t] for t in asked) == sorted(keys)
        distances += [t - 32 for t in asked]
    assert np.median(distances) < 24, "queries come early"
    assert max(distances) > 56


def test_a_set_follows_from_its_length():
    for task, length in (("parity", 64), ("recall", 128)):
        first, again = (data.test_set(task, length, 8) for _ in range(2))
        assert all((a == b).all() for a, b in zip(first, again))
        assert (data.test_set(task, length + 2, 8)[0][:, :length // 2] != first[0][:, :length // 2]).any()
