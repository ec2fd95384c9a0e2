#!/usr/bin/env python3
"""Scores the models of this folder on the held-out sequences of data.py, stepped by `xst run`.

    evaluate.py [--torch] [--xst XST] [--dtype f32] [NAME…]

With --torch also by the official package's float32 `step`, which needs xlstm and dacite beside PyTorch
(`tests/venv` has them); then the last column counts the answers in which the two differ. Prints a Markdown table.
"""

import argparse
import pathlib
import subprocess
import tempfile

import numpy as np

import data

HERE = pathlib.Path(__file__).resolve().parent
XST = HERE.parents[2] / "build/release/bin/xst"
NAMES = ("parity_xlstm01", "parity_xlstm10", "parity_xlstm11", "recall_xlstm10")
COUNT = {"parity": 1024, "recall": 256}  # sequences of each length


def pack(xst, folder, model, dtype="f32"):
    subprocess.run([xst, "pack", folder, "-o", model, "--dtype", dtype], check=True, stdout=subprocess.DEVNULL)


def xst_logits(xst, model, tokens):
    """tokens [N, T] through a packed model -> float32 [N, T, V]."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = pathlib.Path(folder, "tokens.npy"), pathlib.Path(folder, "logits.npy")
        np.save(source, np.ascontiguousarray(tokens.T))
        subprocess.run([xst, "run", model, "--input", source, "--output", result], check=True)
        return np.load(result).swapaxes(0, 1)


def torch_logits(folder, tokens):
    """The same by the official package."""
    import torch

    import model as models

    official, state, logits = models.load(folder), None, []
    with torch.no_grad():
        for now in torch.from_numpy(tokens).split(1, 1):
            y, state = official.step(now, state)
            logits.append(y.numpy())
    return np.concatenate(logits, 1)


def answers(logits, targets):
    """(the model's answer, the right one) wherever one is asked."""
    asked = targets != data.IGNORED
    return logits[asked].argmax(-1), targets[asked]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--xst", default=XST, type=pathlib.Path)
    parser.add_argument("--dtype", default="f32", help="of the packed weights")
    args = parser.parse_args()

    columns = ["model", "length", "answers"] + args.torch * ["PyTorch"] + ["xst"] + args.torch * ["differ"]
    print("|", " | ".join(columns), "|")
    print("|" + "---|" * len(columns))
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names:
            packed = pathlib.Path(folder, name + ".xst")
            pack(args.xst, HERE / "models" / name, packed, args.dtype)
            task = data.task_of(name)
            for length in data.test_lengths(task):
                tokens, targets = data.test_set(task, length, COUNT[task])
                ours, right = answers(xst_logits(args.xst, packed, tokens), targets)
                row = [name, length, len(right)]
                if args.torch:
                    theirs, _ = answers(torch_logits(HERE / "models" / name, tokens), targets)
                    row.append(f"{(theirs == right).mean():.4f}")
                row.append(f"{(ours == right).mean():.4f}")
                if args.torch:
                    row.append((ours != theirs).sum())
                print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main()
