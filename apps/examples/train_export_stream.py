#!/usr/bin/env python3
"""Trains an xLSTM for two minutes, exports it and steps it sample by sample. Reads like a notebook, cell by cell.

    pip install torch xlstm matplotlib ./bindings/python
    apps/examples/train_export_stream.py --out example      # example/pulse.xst, example/pulse.png

The task: a pulse whose rate drifts, and now and then a beat comes too early. The model says what comes 50 ms later and
how sure it is; its surprise marks the early beats, although it was never shown one.
"""

import argparse
import math
import pathlib
import time

import numpy as np
import torch
from torch import nn
from xlstm import mLSTMBlockConfig, mLSTMLayerConfig, xLSTMBlockStack, xLSTMBlockStackConfig

import xlstm_stream

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("example"), help="folder of model and picture")
parser.add_argument("--seconds", type=float, default=90, help="of training")
args = parser.parse_args()
args.out.mkdir(parents=True, exist_ok=True)

# %% The sensor: 100 Hz, volts. Beats of a wandering rate, an offset, noise; `early` is the chance that one comes early.

RATE, HORIZON, LENGTH = 100, 5, 128
MEAN, STD = 1.62, 0.27


def record(rng, samples, early):
    """(volts [samples], sample numbers at which an early beat begins)"""
    phase, rate, begun, volts = rng.random(), rng.uniform(0.9, 1.6), [], np.empty(samples, np.float32)
    for t in range(samples):
        rate = np.clip(rate + 0.01 * rng.standard_normal(), 0.8, 1.8)
        before, phase = phase, phase + rate / RATE
        if before < 0.72 <= phase and rng.random() < early:
            begun.append(t)
            phase = 0
        phase %= 1
        pulse = math.exp(-(((phase - 0.25) / 0.07) ** 2)) + 0.35 * math.exp(-(((phase - 0.55) / 0.1) ** 2))
        volts[t] = 1.5 + 0.8 * pulse + 0.015 * rng.standard_normal()
    return volts, begun


# %% The model: two mLSTM blocks, which train fast on a CPU, between two linear maps. It sees z = (volts - MEAN) / STD.


class Forecaster(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.embed = nn.Linear(1, dim)
        self.stack = xLSTMBlockStack(xLSTMBlockStackConfig(
            mlstm_block=mLSTMBlockConfig(mlstm=mLSTMLayerConfig(num_heads=2)), context_length=LENGTH, num_blocks=2,
            embedding_dim=dim))
        self.predict = nn.Linear(dim, 2)

    def forward(self, z):
        """z [B, T, 1] -> mean and log variance of z[t + HORIZON] - z[t], [B, T, 2]"""
        return self.predict(self.stack(self.embed(z)))


# %% Training: Gaussian likelihood of what came, on records without an early beat.

torch.manual_seed(0)
torch.set_num_threads(1)
rng = np.random.default_rng(0)
data = torch.from_numpy(np.stack([record(rng, 1000, early=0)[0] for _ in range(48)]))
data = (data - MEAN) / STD
model = Forecaster()
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
started, step, progress = time.time(), 0, 0.0
while progress < 1:
    progress = min(1, (time.time() - started) / args.seconds)
    for group in optimizer.param_groups:
        group["lr"] = 4e-3 * min(1, (step + 1) / 20) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
    rows = torch.from_numpy(rng.integers(0, len(data), 16))
    first = rng.integers(0, data.shape[1] - LENGTH - HORIZON)
    window = data[rows, first : first + LENGTH + HORIZON]
    z, target = window[:, :LENGTH], window[:, HORIZON:] - window[:, :LENGTH]
    mean, log_variance = model(z[..., None]).unbind(-1)
    log_variance = log_variance.clamp(-12, 4)
    loss = (log_variance + (target - mean) ** 2 / log_variance.exp())[:, LENGTH // 4 :].mean() / 2
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 200 == 0:
        print(f"step {step:4d}  {time.time() - started:5.0f} s  loss {loss.item():.3f}", flush=True)
    step += 1

# %% Export: the constants of the sensor go into the file; the file proves that it is this module.

stream = {
    "rate_hz": RATE,
    "inputs": [{"name": "pulse", "unit": "V", "mean": MEAN, "std": STD, "missing": "hold"}],
    "outputs": [{"gaussian": "ahead", "of": "pulse", "horizon": HORIZON, "residual": True, "unit": "V"},
                {"surprise": "surprise", "of": "ahead"}],
    "warmup": RATE,
}
report = xlstm_stream.export(model, args.out / "pulse.xst", stream=stream)
print(report)

# %% Stream: a new record with early beats, one sample at a time. No PyTorch from here on.

volts, begun = record(np.random.default_rng(7), 1500, early=0.15)
values, spent = np.empty((len(volts), 3), np.float32), []
with xlstm_stream.Model(args.out / "pulse.xst") as opened, xlstm_stream.Session(opened) as session:
    print(opened, [f"{name} {unit}".strip() for name, unit in opened.outputs])
    for t, sample in enumerate(volts):
        began = time.perf_counter()
        session.step([sample], out=values[t])
        spent.append(time.perf_counter() - began)
ahead, sigma, surprise = values.T
late = np.arange(RATE, len(volts) - HORIZON)
error = np.sqrt(np.mean((ahead[late] - volts[late + HORIZON]) ** 2))
hold = np.sqrt(np.mean((volts[late] - volts[late + HORIZON]) ** 2))
print(f"median step {np.median(spent) * 1e6:.1f} us; {HORIZON * 1000 // RATE} ms ahead: RMSE {error:.3f} V, "
      f"holding the last value {hold:.3f} V")

# %% Plot

import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

seconds = np.arange(len(volts)) / RATE
then = seconds + HORIZON / RATE
figure, (top, bottom) = plt.subplots(2, 1, figsize=(11, 6), sharex=True, gridspec_kw={"height_ratios": [2, 1]})
top.fill_between(then, ahead - 2 * sigma, ahead + 2 * sigma, color="tab:orange", alpha=0.3, linewidth=0, label="±2σ")
top.plot(then, ahead, color="tab:orange", linewidth=1.2, label=f"predicted {HORIZON * 1000 // RATE} ms before")
top.plot(seconds, volts, color="black", linewidth=0.9, label="measured")
top.set_ylabel("V")
top.legend(loc="upper right", ncols=3)
top.set_title(f"xLSTM of {report.parameters} parameters; blue: a beat came early")
bottom.plot(seconds, surprise, color="tab:red", linewidth=0.9)
bottom.set_ylabel("surprise, nats")
bottom.set_xlabel("s")
for axis in (top, bottom):
    for beat in begun:
        axis.axvspan(beat / RATE, beat / RATE + 0.4, color="tab:blue", alpha=0.12, linewidth=0)
top.set_xlim(1, seconds[-1])
figure.tight_layout()
figure.savefig(args.out / "pulse.png", dpi=110)
print(args.out / "pulse.png")
