"""The two synthetic tasks. NumPy only; every array follows from its seed.

A set is (tokens, targets), both int64 [count, T]: at the places where `targets` is not IGNORED the
model's largest logit should be the target.
"""

import numpy as np

IGNORED = -1

# Parity (experiments/parity_*.yaml of the xlstm repository). Lengths count the answer.
PARITY_TRAINED = (3, 40)
PARITY_VALIDATED = (40, 256)
PARITY_TESTED = (16, 40, 64, 128, 192, 256)

# Multi-query associative recall (Arora et al. 2023): token 0, then 127 keys, then 128 values.
RECALL_VOCABULARY = 256
RECALL_PAIRS = 32
RECALL_TRAINED = 128
RECALL_VALIDATED = 256
RECALL_TESTED = (128, 256, 512)


def parity(rng, count, shortest, longest):
    """Words of `shortest` to `longest` symbols: bits, written 1 and 2, then one answer: 1 if the
    number of 2s is even, else 2. It is asked at the last bit; zeros follow."""
    lengths = rng.integers(shortest, longest + 1, (count, 1))
    place = np.arange(longest - 1)
    tokens = np.where(place < lengths - 1, rng.integers(1, 3, (count, longest - 1)), 0)
    answer = (tokens == 2).sum(1, keepdims=True) % 2 + 1
    return tokens, np.where(place == lengths - 2, answer, IGNORED)


def recall(rng, count, length, pairs):
    """`pairs` different keys, each followed by its value; then every key once more, where its value
    is asked. These queries lie at even distances behind the pairs, d of them with a probability
    that falls as d^-0.99, and random tokens fill the gaps."""
    half = RECALL_VOCABULARY // 2
    draw = lambda choices: rng.random((count, choices)).argsort(1)[:, :pairs]
    keys, values = 1 + draw(half - 1), half + draw(half)
    tokens = rng.integers(0, RECALL_VOCABULARY, (count, length))
    tokens[:, 0 : 2 * pairs : 2], tokens[:, 1 : 2 * pairs : 2] = keys, values

    slots = np.arange(1, (length - 2 * pairs) // 2 + 1)
    # The largest of log p + Gumbel noise: a draw without replacement with probabilities p.
    drawn = (rng.gumbel(size=(count, len(slots))) - 0.99 * np.log(slots)).argsort(1)[:, -pairs:]
    queries = 2 * pairs + 2 * drawn
    np.put_along_axis(tokens, queries, keys, 1)
    targets = np.full((count, length), IGNORED)
    np.put_along_axis(targets, queries, values, 1)
    return tokens, targets


def task_of(name):
    return name.split("_")[0]


def test_lengths(task):
    return {"parity": PARITY_TESTED, "recall": RECALL_TESTED}[task]


def test_set(task, length, count):
    """Held-out sequences of one length; no other set of this folder has their seed."""
    rng = np.random.default_rng([2024, length])
    if task == "parity":
        return parity(rng, count, length, length)
    return recall(rng, count, length, RECALL_PAIRS)
