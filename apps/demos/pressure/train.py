#!/usr/bin/env python3
"""Trains the forecaster on the first 12 s of pressure.csv, which hold no anomaly; nothing behind them is read.

train.py --out model                  the committed recipe
train.py --train-to 2300 --out DIR    keeps samples 2300 to 3000 for validation and reports on them

Run it by tests/venv, or with torch, xlstm, dacite, safetensors, NumPy and PyYAML.
"""

import argparse
import copy
import json
import math
import pathlib
import sys
import time

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from training import adamw, descend, schedule  # noqa: E402
from wrapped import Wrapped, stack_config, use_fast_cells  # noqa: E402

import data  # noqa: E402

LOG_VARIANCE = (-12.0, 4.0)
START = (-9.0, -3.0)  # log variances before training
FRESH = 200  # samples of a window that count little: the deployed state is seldom fresh


def stream_section(mean, std):
    outputs = []
    for name, h in data.HORIZONS.items():
        outputs.append({"gaussian": name, "horizon": h, "of": "pressure", "residual": True})
    outputs += [{"surprise": "surprise", "of": "next"}, {"surprise": "surprise_100ms", "of": "ahead_100ms"}]
    return {
        "rate_hz": data.RATE_HZ,
        "inputs": [{"name": "pressure", "unit": "mmHg", "mean": mean, "std": std, "missing": "hold"}],
        "encoder": "linear",
        "head": "linear",
        "outputs": outputs,
        "warmup": 1100,
    }


def sample(rng, z, batch, length):
    """Windows of z, some a little scaled and shifted: [B, length + the longest horizon]."""
    n = length + max(data.HORIZONS.values())
    begins = rng.integers(0, len(z) - n + 1, batch)
    x = np.stack([z[b : b + n] for b in begins])
    on = rng.random((batch, 1)) < 0.5
    gain, offset = np.exp(on * rng.normal(0, 0.02, (batch, 1))), on * rng.normal(0, 0.05, (batch, 1))
    return torch.from_numpy((x * gain + offset).astype(np.float32))


def gaussians(rows, z):
    """(log variance, squared error) of every horizon: rows [B, T, 4], z [B, at least T + horizon]."""
    T = rows.shape[1]
    for k, h in enumerate(data.HORIZONS.values()):
        usable = min(T, z.shape[1] - h)
        s = rows[:, :usable, 2 * k + 1].clamp(*LOG_VARIANCE)
        yield s, (z[:, h : h + usable] - z[:, :usable] - rows[:, :usable, 2 * k]) ** 2


def loss_of(rows, z, beta):
    """beta-NLL of the Gaussians (Seitzer et al. 2022)."""
    weight = torch.ones(rows.shape[1])
    weight[:FRESH] = 0.1
    weight = weight / weight.sum()
    total, errors = 0.0, []
    for (s, error2), start in zip(gaussians(rows, z), START):
        nll = 0.5 * (s - start + error2 * torch.exp(-s))
        total = total + (nll * torch.exp(beta * (s.detach() - start)) * weight).sum(1).mean()
        errors.append(float(error2[:, FRESH:].mean().sqrt()))
    return total, errors


def train(args, x):
    """(averaged model, stream section)."""
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    mean, std = round(float(x.mean()), 2), round(float(x.std()), 2)
    z = (x - mean) / std
    model = Wrapped(stack_config(args.dim, args.blocks, args.slstm_at, args.heads, 1024), 1, 4)
    with torch.no_grad():
        model.head.weight.mul_(0.1)
        model.head.bias.copy_(torch.tensor([0, START[0], 0, START[1]]))
    use_fast_cells(model)
    average = copy.deepcopy(model).eval()  # exponential moving average of the weights
    use_fast_cells(average)
    optimizer = adamw(model, args.lr, args.weight_decay)
    began, step, progress = time.time(), 0, 0.0
    while progress < 1:
        progress = max(step / args.steps, (time.time() - began) / args.max_seconds)
        inputs = sample(rng, z, args.batch, args.window)
        loss, errors = loss_of(model(inputs[:, : args.window, None]), inputs, args.beta)
        descend(loss, model, average, optimizer, schedule(args.lr, step, 50, progress), args.ema, step)
        if step % 50 == 0:
            shown = " ".join(f"{e * std:.4f}" for e in errors)
            print(f"step {step} loss {float(loss):.4f} RMSE {shown} mmHg {time.time() - began:.0f} s", flush=True)
        step += 1
    return average, stream_section(mean, std), step


@torch.no_grad()
def score(model, stream, x, begin):
    """RMSE in mmHg and mean surprise in nat of every horizon from sample `begin` on; the stream starts at 0."""
    entry = stream["inputs"][0]
    z = torch.tensor((x - entry["mean"]) / entry["std"], dtype=torch.float32)[None]
    result = {}
    for (name, h), (s, error2) in zip(data.HORIZONS.items(), gaussians(model(z[..., None]), z)):
        s, error2 = s[0, begin - h :], error2[0, begin - h :]
        surprise = 0.5 * (math.log(2 * math.pi) + s + error2 * torch.exp(-s))
        result[name] = {"rmse": float(error2.mean().sqrt()) * entry["std"], "surprise": float(surprise.mean()),
                        "largest_surprise": float(surprise.max())}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--out", type=pathlib.Path, required=True, help="the model's folder")
    add("--train-to", type=int, default=data.TRAIN_END, help="train on [0, this) samples")
    add("--seed", type=int, default=0)
    add("--steps", type=int, default=600)
    add("--max-seconds", type=float, default=math.inf, help="shortens the schedule to end by then")
    add("--batch", type=int, default=4)
    add("--window", type=int, default=700, help="samples")
    add("--lr", type=float, default=4e-3)
    add("--weight-decay", type=float, default=0.05)
    add("--ema", type=float, default=0.99)
    add("--beta", type=float, default=0.8)
    add("--dim", type=int, default=24)
    add("--heads", type=int, default=2)
    add("--blocks", type=int, default=2)
    add("--slstm-at", type=int, nargs="*", default=[0])
    add("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    x = data.read()[0][: data.TRAIN_END]
    model, stream, steps = train(args, x[: args.train_to])
    held_out = args.train_to < data.TRAIN_END
    part, begin = ("validation", args.train_to) if held_out else ("training part", 1100)
    result = score(model, stream, x, begin)
    print(part, result)
    model.save(args.out, stream)
    record = {
        "arguments": {k: str(v) for k, v in vars(args).items() if k not in ("out", "threads")},
        "torch": torch.__version__,
        "parameters": model.parameter_count(),
        "steps": steps,
        part: result,
    }
    (args.out / "training.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
