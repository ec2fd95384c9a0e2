#!/usr/bin/env python3
"""Trains a model of the two tasks with the official xlstm package and writes its folder.

    train.py parity_xlstm01 --seeds 0 1 2 3 --out models/parity_xlstm01

The seeds are trained side by side, on a GPU as CUDA graphs. The validation set, which is neither training nor test,
chooses the seed and the step whose weights are kept.
"""

import argparse
import json
import math
import pathlib
import time

import numpy as np
import torch
from torch.nn import functional as F

import data
import model as models

BATCH = {"parity": 256, "recall": 64}
WEIGHT_DECAY = 0.1
BLOCK = 50  # batches that travel to the device together


def draw(task, rng):
    if task == "parity":
        return data.parity(rng, BATCH[task], *data.PARITY_TRAINED)
    return data.recall(rng, BATCH[task], data.RECALL_TRAINED, rng.integers(4, data.RECALL_PAIRS + 1))


def validation_set(task):
    rng = np.random.default_rng(2023)
    if task == "parity":
        return data.parity(rng, 1024, *data.PARITY_VALIDATED)
    return data.recall(rng, 256, data.RECALL_VALIDATED, data.RECALL_PAIRS)


def put(arrays, device):
    return [torch.from_numpy(array).to(device) for array in arrays]


class Run:
    """The training of one seed. What `step` reads lies in place, so that a CUDA graph can hold it."""

    def __init__(self, name, seed, device, cell):
        self.task, self.seed, self.device = data.task_of(name), seed, device
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.model = models.build(models.config_of(name))
        self.model.reset_parameters()
        self.model.to(device)
        models.use_fast_slstm(self.model, cell)
        graph = device == "cuda"
        decayed, others = self.model.get_weight_decay_optim_groups()
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": WEIGHT_DECAY, "lr": self.rate()},
                {"params": others, "weight_decay": 0.0, "lr": self.rate()},
            ],
            capturable=graph,
        )
        self.loss = torch.zeros((), device=device)  # summed over steps
        self.block, self.used = None, BLOCK
        self.tokens, self.targets = put(draw(self.task, self.rng), device)
        self.stream, self.graph = None, None
        self.best, self.record = None, None
        if graph:
            self.capture()

    def rate(self):
        return torch.zeros((), device=self.device) if self.device == "cuda" else 0.0

    def step(self):
        logits = self.model(self.tokens)
        loss = F.cross_entropy(logits.flatten(0, 1), self.targets.flatten(), ignore_index=data.IGNORED)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.loss += loss.detach()

    def capture(self):
        self.stream = torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(3):  # at rate 0: they compile and allocate
                self.step()
        self.stream.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.step()
        self.loss.zero_()

    def advance(self, rate):
        """One step on fresh data; on a GPU it is only enqueued."""
        if self.used == BLOCK:
            drawn = [np.stack(arrays) for arrays in zip(*(draw(self.task, self.rng) for _ in range(BLOCK)))]
            if self.graph:
                self.stream.synchronize()  # it may still read the last block
            self.block, self.used = put(drawn, self.device), 0
        if self.graph:
            with torch.cuda.stream(self.stream):
                self.fill(rate)
                self.graph.replay()
        else:
            self.fill(rate)
            self.step()

    def fill(self, rate):
        for static, block in zip((self.tokens, self.targets), self.block):
            static.copy_(block[self.used])
        self.used += 1
        for group in self.optimizer.param_groups:
            if self.graph:
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    @torch.no_grad()
    def validate(self, tokens, targets, step):
        """Keeps the weights if they are the best so far; the mean training loss since the last call."""
        if self.stream:
            self.stream.synchronize()
        asked = targets != data.IGNORED
        logits = self.model(tokens)[asked]
        record = {
            "step": step,
            "accuracy": float((logits.argmax(-1) == targets[asked]).double().mean()),
            "entropy": float(F.cross_entropy(logits, targets[asked])),
        }
        if self.record is None or better(record, self.record):
            self.record = record
            self.best = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
        loss = float(self.loss)
        self.loss.zero_()
        return record, loss


def better(a, b):
    return (a["accuracy"], -a["entropy"]) > (b["accuracy"], -b["entropy"])


def train(args):
    """The runs, each with its best weights, and the number of steps."""
    cell = torch.compile(models.slstm_cell, dynamic=False) if args.device == "cuda" else models.slstm_cell
    runs = [Run(args.name, seed, args.device, cell) for seed in args.seeds]
    validation = put(validation_set(data.task_of(args.name)), args.device)
    began, step, progress, checked = time.time(), 0, 0.0, 0
    while progress < 1:
        rate = args.lr * min(1, 10 * progress) * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * progress)))
        for run in runs:
            run.advance(rate)
        step += 1
        progress = max(step / args.steps, (time.time() - began) / args.max_seconds)
        if step % args.check_every == 0 or progress >= 1:
            for run in runs:
                record, loss = run.validate(*validation, step)
                print(
                    f"{args.name} seed {run.seed} step {step} loss {loss / (step - checked):.4f} "
                    f"validation {record['accuracy']:.4f} {record['entropy']:.5f} {time.time() - began:.0f} s",
                    flush=True,
                )
            checked = step
    return runs, step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("name", choices=models.SLSTM_AT)
    add("--out", type=pathlib.Path, required=True)
    add("--seeds", type=int, nargs="+", default=[0])
    add("--steps", type=int, default=20000)
    add("--max-seconds", type=float, default=math.inf, help="shortens the schedule to end by then")
    add("--lr", type=float, default=1e-3)
    add("--check-every", type=int, default=500, help="steps between validations")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    began = time.time()
    runs, steps = train(args)
    best = runs[0]
    for run in runs[1:]:
        if better(run.record, best.record):
            best = run
    models.save(args.out, models.config_of(args.name), best.best)
    record = {
        "arguments": {key: str(value) for key, value in vars(args).items() if key != "out"},
        "torch": torch.__version__,
        "steps": steps,
        "seconds": round(time.time() - began),
        "validation": {run.seed: run.record for run in runs},
        "kept": best.seed,
    }
    (args.out / "training.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
