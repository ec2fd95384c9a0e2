#!/usr/bin/env python3
"""Trains the motion model on train.csv; test.csv is never read.

train.py --out model          the committed recipe
train.py --folds 4            instead cross-validates the arguments on the training cases

Run it by tests/venv, or with torch, xlstm, dacite, safetensors, NumPy and PyYAML.
"""

import argparse
import copy
import json
import pathlib
import sys
import time

import numpy as np
import torch
from torch.nn import functional as F

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from training import adamw, descend, schedule  # noqa: E402
from wrapped import Wrapped, stack_config, use_fast_cells  # noqa: E402

import data  # noqa: E402

SEEN = (10, 25, 50, 100)  # samples after which cross-validation looks at the answer


def stream_section(mean, std):
    return {
        "rate_hz": data.RATE_HZ,
        "inputs": [
            {"name": name, "mean": round(float(m), 3), "std": round(float(s), 3), "missing": "hold"}
            for name, m, s in zip(data.CHANNELS, mean, std)
        ],
        "encoder": "linear",
        "head": "linear",
        "outputs": [{"softmax": data.CLASSES}],
        "warmup": 10,
    }


def sample(rng, z, classes, batch, length):
    """Sequences in which the activity changes: pieces of 20 to 100 samples of random cases, slightly stretched and
    scaled. (z [B, T, 6], class [B, T], samples since the change [B, T])."""
    out = np.empty((batch, length, z.shape[2]), np.float32)
    label, age = np.empty((batch, length), int), np.empty((batch, length), int)
    for b in range(batch):
        t = 0
        while t < length:
            case, stretch = rng.integers(len(z)), np.exp(rng.uniform(-0.1, 0.1))
            n = min(rng.integers(20, 101), length - t, int(data.LENGTH / stretch))
            start = rng.uniform(0, data.LENGTH - 1 - (n - 1) * stretch) if n > 1 else 0
            at = np.clip(start + stretch * np.arange(n), 0, data.LENGTH - 1)
            for c in range(z.shape[2]):
                out[b, t : t + n, c] = np.interp(at, np.arange(data.LENGTH), z[case, :, c])
            out[b, t : t + n] *= np.exp(rng.normal(0, 0.1, z.shape[2]))
            label[b, t : t + n], age[b, t : t + n] = classes[case], np.arange(n)
            t += n
    out += rng.normal(0, 0.02, out.shape)
    return torch.from_numpy(out), torch.from_numpy(label), torch.from_numpy(age)


def train(args, x, classes):
    """(averaged model, stream section) of some cases."""
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    mean, std = x.mean((0, 1)).round(3), x.std((0, 1)).round(3)
    z = (x - mean) / std
    model = Wrapped(stack_config(args.dim, args.blocks, args.slstm_at, args.heads, 256), len(data.CHANNELS),
                    len(data.CLASSES), args.dropout)
    use_fast_cells(model)
    average = copy.deepcopy(model).eval()  # exponential moving average of the weights
    use_fast_cells(average)
    optimizer = adamw(model, args.lr, args.weight_decay)
    began = time.time()
    for step in range(args.steps):
        inputs, label, age = sample(rng, z, classes, args.batch, args.window)
        # The first half second behind a change says little.
        weight = torch.where(age < 5, 0.2, 1.0)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), label.flatten(), reduction="none", label_smoothing=0.05)
        loss = (loss * weight.flatten()).sum() / weight.sum()
        rate = schedule(args.lr, step, 50, step / args.steps)
        descend(loss, model, average, optimizer, rate, args.ema, step)
        if step % 100 == 0:
            print(f"step {step} loss {float(loss):.4f} {time.time() - began:.0f} s", flush=True)
    return average, stream_section(mean, std)


@torch.no_grad()
def score(model, stream, x, classes):
    """After SEEN samples of each case, from a fresh state: accuracy of the last sample's answer, of the largest mean
    probability, and cross-entropy of the last sample."""
    mean = np.array([i["mean"] for i in stream["inputs"]], np.float32)
    std = np.array([i["std"] for i in stream["inputs"]], np.float32)
    rows, label = model(torch.from_numpy((x - mean) / std)), torch.from_numpy(classes)
    accuracy = lambda values: float((values.argmax(-1) == label).double().mean())
    return {
        n: (
            accuracy(rows[:, n - 1]),
            accuracy(rows[:, :n].softmax(-1).mean(1)),
            float(F.cross_entropy(rows[:, n - 1], label)),
        )
        for n in SEEN
    }


def cross_validate(args, x, classes):
    """The mean over folds, each with as many cases of every class."""
    fold = np.empty(len(x), int)
    order = np.random.default_rng(args.seed).permutation(len(x))
    for c in range(len(data.CLASSES)):
        mine = order[classes[order] == c]
        fold[mine] = np.arange(len(mine)) % args.folds
    scores = []
    for k in range(args.folds):
        model, stream = train(args, x[fold != k], classes[fold != k])
        scores.append(score(model, stream, x[fold == k], classes[fold == k]))
        print("fold", k, scores[-1], flush=True)
    return {n: tuple(np.mean([s[n] for s in scores], 0).tolist()) for n in SEEN}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--out", type=pathlib.Path, help="the model's folder")
    add("--folds", type=int, help="cross-validate")
    add("--seed", type=int, default=0)
    add("--steps", type=int, default=200)
    add("--batch", type=int, default=12)
    add("--window", type=int, default=128, help="samples")
    add("--lr", type=float, default=4e-3)
    add("--weight-decay", type=float, default=0.05)
    add("--dropout", type=float, default=0.1)
    add("--ema", type=float, default=0.99)
    add("--dim", type=int, default=24)
    add("--heads", type=int, default=2)
    add("--blocks", type=int, default=2)
    add("--slstm-at", type=int, nargs="*", default=[1])
    add("--threads", type=int, default=2)
    args = parser.parse_args()
    if (args.out is None) == (args.folds is None):
        parser.error("arguments: expected --out or --folds")

    torch.set_num_threads(args.threads)
    x, classes = data.read("train")
    if args.folds:
        print(json.dumps({"cross-validation": cross_validate(args, x, classes)}))
        return
    model, stream = train(args, x, classes)
    model.save(args.out, stream)
    record = {
        "arguments": {k: str(v) for k, v in vars(args).items() if k not in ("out", "folds", "threads")},
        "torch": torch.__version__,
        "parameters": model.parameter_count(),
        "training part": score(model, stream, x, classes),
    }
    (args.out / "training.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
