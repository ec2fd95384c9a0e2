#!/usr/bin/env python3
"""Turns TiRex' Lightning checkpoint into a folder that `xst pack` reads: config.yaml and weights.safetensors.

pip install torch safetensors pyyaml
apps/examples/tirex_ckpt.py model.ckpt tirex && xst pack tirex -o tirex.xst

A `forecast:` section in config.yaml, written by hand, says when a daemon forecasts; without one it does after every
patch, for the next patch.
"""

import argparse
import pathlib
import sys

import safetensors.torch
import torch
import yaml

MODEL = {"input_patch_size": int, "output_patch_size": int, "quantiles": lambda q: [float(v) for v in q],
         "input_ff_dim": int}
BLOCKS = {"num_blocks": int, "embedding_dim": int, "num_heads": int, "ffn_proj_factor": float}


def read(path, trust):
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except Exception as error:  # whatever an unpickler makes of a file
        why = str(error).partition("\n")[0] or type(error).__name__
        sys.exit(f"{path}: expected a PyTorch checkpoint of tensors and plain values, got: {why} (PyTorch 1.13 cannot "
                 "tell plain numbers from code: --trust accepts both)")


def config_of(hyper):
    model, blocks = hyper["model_config"], hyper["model_config"]["block_kwargs"]
    config = {key: kind(model[key]) for key, kind in MODEL.items()}
    config["block_kwargs"] = {key: kind(blocks[key]) for key, kind in BLOCKS.items()
                              if key in blocks or key != "ffn_proj_factor"}
    return {"model": "tirex", "config": {"model_config": config, "train_ctx_len": int(hyper["train_ctx_len"])}}


def weights_of(state):
    weights = {name.replace("block_stack.", ""): tensor.to(torch.float32, copy=True).contiguous()
               for name, tensor in state.items()}
    if len(weights) < len(state):
        raise ValueError("two tensors of one name")
    return weights


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="model.ckpt")
    parser.add_argument("folder", type=pathlib.Path, help="where to write, made if it is missing")
    parser.add_argument("--trust", action="store_true", help="unpickle everything: the file may run any code")
    args = parser.parse_args()
    checkpoint = read(args.checkpoint, args.trust)
    try:
        config, weights = config_of(checkpoint["hyper_parameters"]), weights_of(checkpoint["state_dict"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        sys.exit(f"{args.checkpoint}: expected hyper_parameters and state_dict of a TiRex model, got: {error!r}")
    args.folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(weights, args.folder / "weights.safetensors")
    (args.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    print(f"{args.folder}: {len(weights)} tensors, {sum(w.numel() for w in weights.values())} parameters")


if __name__ == "__main__":
    main()
