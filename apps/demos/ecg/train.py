#!/usr/bin/env python3
"""Trains the ECG model on the first four minutes of ecg.csv; the last minute is never read.

train.py --out model                      the committed recipe (on a GPU: minutes)
train.py --train-to 200 --out DIR         keeps 200 to 240 s for validation and reports on it
train.py --predict OUT.npy --out model    no training: the outputs of a saved model for the whole
                                          recording, by the package's float32 step
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
import yaml
from scipy import signal
from torch.nn import functional as F

import evaluate
from model import (
    HORIZONS,
    LOG_VARIANCE,
    RATE_HZ,
    EcgModel,
    load,
    stack_config,
    step_through,
    stream_section,
    values,
)

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from training import adamw, descend, schedule  # noqa: E402

TRAINING_END = evaluate.TEST_FROM_S * RATE_HZ
BUMP_S = 0.012  # standard deviation of the beat target around R + delay
# squared errors of AR(32) in normalised units, which put the horizons on one scale
SCALE = torch.tensor([0.0018, 0.072, 0.5])
MAX_HORIZON = max(HORIZONS.values())


class Windows:
    """Random augmented windows of the training part, made on the device."""

    def __init__(self, x, beats_s, mean, std, delay_s, device):
        signals, targets, self.starts = [], [], []
        for stretch in (0.92, 0.94, 0.96, 0.98, 1, 1, 1, 1.02, 1.04, 1.06, 1.08):
            n = round(len(x) * stretch)
            trend = np.linspace(x[0], x[-1], len(x))  # the FFT wants equal ends
            y = x if stretch == 1 else signal.resample(x - trend, n) + np.linspace(x[0], x[-1], n)
            t = np.arange(n)[:, None] / RATE_HZ
            centre = beats_s[None, :] * stretch + delay_s
            near = np.abs(t - centre).min(1)
            self.starts.append((sum(map(len, signals)), n))
            signals.append((y - mean) / std)
            targets.append(np.exp(-0.5 * (near / BUMP_S) ** 2))
        put = lambda parts: torch.tensor(np.concatenate(parts), dtype=torch.float32, device=device)
        self.z, self.beat, self.mean, self.std = put(signals), put(targets), mean, std
        self.device = device

    def sample(self, batch, length, generator):
        """z [B, length + MAX_HORIZON], beat [B, length]."""
        rand = lambda *shape: torch.rand(*shape, generator=generator)
        which = torch.randint(len(self.starts), (batch,), generator=generator).tolist()
        starts = torch.tensor(
            [
                self.starts[k][0] + int(u * (self.starts[k][1] - length - MAX_HORIZON))
                for k, u in zip(which, rand(batch).tolist())
            ]
        )
        index = starts[:, None] + torch.arange(length + MAX_HORIZON)
        index = index.to(self.device)
        z, beat = self.z[index], self.beat[index[:, :length]]

        on = lambda p: (rand(batch, 1) < p).float()
        gain = torch.exp(on(0.7) * (math.log(0.7) + rand(batch, 1) * math.log(2.0)))
        offset = on(0.5) * (rand(batch, 1) - 0.5) / self.std
        wander = on(0.4) * 0.3 * rand(batch, 1) / self.std
        frequency, phase = 0.05 + 0.45 * rand(batch, 1), 2 * math.pi * rand(batch, 1)
        t = torch.arange(length + MAX_HORIZON)[None] / RATE_HZ
        drift = offset + wander * torch.sin(2 * math.pi * frequency * t + phase)
        return z * gain.to(self.device) + drift.to(self.device), beat


def loss_of(rows, z, beat, burn_in, beta):
    """Mean over the window of: beta-NLL of the Gaussians (Seitzer et al. 2022), plus the beat's
    cross-entropy. The first `burn_in` samples, where the state is still fresh, count a tenth."""
    T = rows.shape[1]
    weight = torch.ones(T, device=rows.device)
    weight[:burn_in] = 0.1
    weight = weight / weight.sum()
    total, parts = 0.0, []
    for k, h in enumerate(HORIZONS.values()):
        s = rows[..., 2 * k + 1].clamp(*LOG_VARIANCE)
        error2 = (z[:, h : h + T] - z[:, :T] - rows[..., 2 * k]) ** 2
        scale = float(SCALE[k])
        nll = 0.5 * (s - math.log(scale) + error2 * torch.exp(-s))
        loss = (nll * (torch.exp(s.detach()) / scale) ** beta * weight).sum(1).mean()
        total, parts = total + loss, parts + [loss.detach()]
    bce = F.binary_cross_entropy_with_logits(rows[..., -1], beat, reduction="none")
    bce = (bce * weight).sum(1).mean()
    return total + 8 * bce, parts + [bce.detach()]


def tune_rule(p, reference, delay_s, from_s, to_s):
    """The constants of `detect_beats` with the best F1 in the range; among equals the quickest, then
    the threshold in the middle."""
    best = None
    for release in (0.95, 0.8):
        tried = []
        for threshold in np.arange(0.10, 0.86, 0.05):
            rule = {
                "threshold": round(float(threshold), 2),
                "release": release,
                "refractory_s": 0.2,
                "delay_s": delay_s,
            }
            b = evaluate.beat_scores(reference, evaluate.detect_beats(p, **rule), from_s, to_s)
            tried.append((b["f1"], rule))
        top = max(f1 for f1, _ in tried)
        good = [rule for f1, rule in tried if f1 == top]
        if best is None or top > best[0]:
            best = top, good[len(good) // 2]
    return best[1]


@torch.no_grad()
def outputs(model, x, stream):
    """The model's output columns over all of x in one pass from a fresh state."""
    entry = stream["inputs"][0]
    device = next(model.parameters()).device
    z = torch.tensor((x - entry["mean"]) / entry["std"], dtype=torch.float32, device=device)
    return values(model(z[None])[0].cpu().numpy(), x, stream)


def train(args, x, beats_s, check=None):
    """(averaged model, stream section, beat delay in s); `check` sees the three now and then."""
    device = torch.device(args.device)
    backend = args.slstm_backend or ("cuda" if device.type == "cuda" else "vanilla")
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    end = round(args.train_to * RATE_HZ)
    mean, std = round(float(x[:end].mean()), 3), round(float(x[:end].std()), 3)
    delay_s = round(args.delay * RATE_HZ) / RATE_HZ
    windows = Windows(x[:end], beats_s[beats_s < args.train_to], mean, std, delay_s, device)
    stream = stream_section(mean, std, args.burn_in)
    config = stack_config(args.dim, args.blocks, args.slstm_at, args.heads)
    model = EcgModel(config, backend, args.dropout).to(device)
    with torch.no_grad():  # start from persistence with the errors of AR(32)
        model.head.weight.mul_(0.1)
        model.head.bias.zero_()
        model.head.bias[1:6:2] = torch.log(SCALE).to(device)
        model.head.bias[-1] = -3.0
    average = copy.deepcopy(model).eval()  # exponential moving average of the weights
    optimizer = adamw(model, args.lr, args.weight_decay)
    print(
        f"{sum(p.numel() for p in model.parameters())} parameters, mean {mean}, std {std}",
        flush=True,
    )

    began, step, progress = time.time(), 0, 0.0
    while progress < 1:
        progress = max(step / args.steps, (time.time() - began) / args.max_seconds)
        z, beat = windows.sample(args.batch, args.window, generator)
        loss, parts = loss_of(model(z[:, : args.window]), z, beat, args.burn_in, args.beta)
        rate = schedule(args.lr, step, 200, progress)
        descend(loss, model, average, optimizer, rate, args.ema, step)
        if step % 100 == 0:
            shown = " ".join(f"{float(p):.4f}" for p in parts)
            print(
                f"step {step} loss {float(loss):.4f} ({shown}) {time.time() - began:.1f} s",
                flush=True,
            )
        step += 1
        if check and step % args.check_every == 0:
            check(average, stream, delay_s)
    print(f"{step} steps in {time.time() - began:.0f} s", flush=True)
    return average, stream, delay_s


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, required=True, help="the model's folder")
    add("--predict", type=pathlib.Path)
    add("--train-to", type=float, default=240.0, help="train on [0, this) seconds")
    add("--seed", type=int, default=0)
    add("--steps", type=int, default=2700)
    add("--max-seconds", type=float, default=math.inf, help="shortens the schedule to end by then")
    add("--batch", type=int, default=32)
    add("--window", type=int, default=768, help="samples")
    add("--burn-in", type=int, default=128, help="samples")
    add("--lr", type=float, default=2e-3)
    add("--weight-decay", type=float, default=0.05)
    add("--dropout", type=float, default=0.1)
    add("--ema", type=float, default=0.998)
    add("--beta", type=float, default=0.8)
    add("--delay", type=float, default=0.06, help="seconds from R to the beat output's peak")
    add("--dim", type=int, default=64)
    add("--heads", type=int, default=4)
    add("--blocks", type=int, default=6)
    add("--slstm-at", type=int, nargs="*", default=[1, 4])
    add("--check-every", type=int, default=500, help="steps between validations")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--slstm-backend", choices=["cuda", "vanilla"])
    args = parser.parse_args()

    x = evaluate.read_column(HERE / "ecg.csv", "ecg")
    beats_s = evaluate.read_column(HERE / "beats.csv", "t")
    if args.predict:
        torch.set_num_threads(1)
        model, stream = load(args.out)
        np.save(args.predict, values(step_through(model, x, stream), x, stream))
        return

    x, beats_s = x[:TRAINING_END], beats_s[beats_s < evaluate.TEST_FROM_S]
    held_out = args.train_to < evaluate.TEST_FROM_S
    part, score_from = ("validation", args.train_to) if held_out else ("training part", 60)

    def score(model, stream, delay_s):
        predictions = outputs(model, x, stream)
        rule = tune_rule(predictions[:, -1], beats_s, delay_s, 60, evaluate.TEST_FROM_S)
        result = evaluate.scores(x, beats_s, predictions, rule, score_from, evaluate.TEST_FROM_S)
        print(part, rule)
        evaluate.report(result)
        return rule, result

    model, stream, delay_s = train(args, x, beats_s, score if held_out else None)
    rule, result = score(model, stream, delay_s)
    model.save(args.out, stream)
    (args.out / "beats.yaml").write_text(yaml.safe_dump(rule, sort_keys=False))
    arguments = {k: str(v) for k, v in vars(args).items() if k not in ("out", "predict")}
    record = json.dumps({"arguments": arguments, part: result}, indent=1, default=float)
    (args.out / "training.json").write_text(record + "\n")


if __name__ == "__main__":
    main()
