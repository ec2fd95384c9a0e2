"""Random models of the official package, as folders that `xst pack` reads.

A case is drawn from a seed: configuration (keys set or left to their defaults), parameters, inputs,
the package's float64 step as the truth, and what float32 costs on this case.
"""

import copy
import random

import dacite
import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from xlstm import xLSTMBlockStack, xLSTMBlockStackConfig

STEPS = 24
ACTIVATIONS = ["gelu", "relu", "relu^2", "sigmoid", "swish", "selu"]


def draw_config(rng):
    """The nested configuration; the official constructor may still refuse it."""
    dim = rng.choice([3, 8, 12, 15, 16, 24, 32, 40, 64, 72])
    blocks = rng.randint(1, 4)
    config = {"embedding_dim": dim, "num_blocks": blocks, "context_length": STEPS}

    def maybe(target, key, values, chance=0.5):
        if rng.random() < chance:
            target[key] = rng.choice(values)

    mlstm = {}
    maybe(mlstm, "num_heads", [1, 2, 3, 4, 8], 0.8)
    maybe(mlstm, "conv1d_kernel_size", [1, 2, 3, 4, 5, 7])
    maybe(mlstm, "qkv_proj_blocksize", [1, 2, 3, 4, 6, 8, 16, 24], 0.7)
    maybe(mlstm, "proj_factor", [0.7, 1.0, 1.1, 1.5, 2.0, 2.5])
    maybe(mlstm, "round_proj_up_to_multiple_of", [1, 8, 16, 64], 0.7)
    maybe(mlstm, "round_proj_up_dim_up", [True, False], 0.3)

    slstm = {"num_heads": rng.choice([h for h in (1, 2, 3, 4, 5, 8) if dim % h == 0]),
             "backend": rng.choice(["cuda", "vanilla"])}
    maybe(slstm, "conv1d_kernel_size", [0, 1, 2, 4, 6])
    maybe(slstm, "group_norm_weight", [True, False], 0.3)
    maybe(slstm, "function", ["slstm", "lstm"], 0.4)
    feedforward = {}
    maybe(feedforward, "proj_factor", [0.8, 1.3, 2.0])
    maybe(feedforward, "act_fn", ACTIVATIONS, 0.8)
    maybe(feedforward, "bias", [True, False])
    maybe(feedforward, "round_proj_up_to_multiple_of", [1, 8, 64], 0.7)
    slstm_block = {"slstm": slstm}
    maybe(slstm_block, "feedforward", [None, feedforward, feedforward], 0.8)

    kind = rng.choice(["mlstm", "slstm", "both", "both"])
    if kind != "slstm":
        config["mlstm_block"] = {"mlstm": mlstm} if rng.random() < 0.9 else {}
    if kind != "mlstm":
        config["slstm_block"] = slstm_block
    if kind == "slstm":
        config["slstm_at"] = "all"
    elif kind == "both":
        chosen = rng.sample(range(blocks), rng.randint(1, blocks))
        config["slstm_at"] = [b - blocks if rng.random() < 0.2 else b for b in chosen]
    maybe(config, "add_post_blocks_norm", [True, False], 0.4)
    maybe(config, "bias", [True, False])
    return config


def inner_dimension_is_zero(config):
    """True where rounding leaves the mLSTM nothing: the package notices in use, we when packing."""
    mlstm = config.get("mlstm_block", {}).get("mlstm", {})
    multiple = mlstm.get("round_proj_up_to_multiple_of", 64)
    rounded_up = mlstm.get("round_proj_up_dim_up", True)
    return not rounded_up and mlstm.get("proj_factor", 2.0) * config["embedding_dim"] < multiple


def build(config):
    """The official module, with the sLSTM cell that runs on a CPU."""
    config = copy.deepcopy(config)
    if "slstm_block" in config:
        config["slstm_block"]["slstm"]["backend"] = "vanilla"
    return xLSTMBlockStack(dacite.from_dict(xLSTMBlockStackConfig, config)).eval()


def randomise(stack, generator, gain):
    """Every parameter random, so that no term can be left out unnoticed."""
    def normal(shape):
        return torch.randn(shape, generator=generator)

    for name, p in stack.named_parameters():
        if "norm" in name:
            p.copy_(0.3 * normal(p.shape))
        elif name.endswith("fgate.bias"):
            p.copy_(2.0 + 2.0 * normal(p.shape))
        elif p.dim() == 1 or "_bias_" in name:
            p.copy_(0.5 * normal(p.shape))
        else:
            p.copy_(gain * normal(p.shape) / p.shape[-1] ** 0.5)


def stored_weights(stack, config):
    """The state dict in the layout that `backend` of the configuration names."""
    weights = {k: v.clone().contiguous() for k, v in stack.state_dict().items()}
    slstm = config.get("slstm_block", {}).get("slstm", {})
    if slstm.get("backend") == "cuda":
        for name, w in weights.items():
            if name.endswith("_recurrent_kernel_"):
                weights[name] = w.transpose(1, 2).contiguous()
            elif name.endswith("slstm_cell._bias_"):
                heads = slstm["num_heads"]
                weights[name] = w.reshape(4, heads, -1).transpose(0, 1).reshape(-1).contiguous()
    return weights


def step_loop(stack, inputs):
    rows, state = [], None
    for x in inputs:
        y, state = stack.step(x[:, None], state)
        rows.append(y[:, 0])
    return torch.stack(rows).double().numpy()


class Case:
    """config, inputs (T, B, D) float32, expected (T, B, D) float64, tolerance by the rule."""

    def __init__(self, seed):
        rng = random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        torch.set_grad_enabled(False)
        while True:
            self.config = draw_config(rng)
            if inner_dimension_is_zero(self.config):
                continue
            shape = (STEPS, rng.randint(1, 3), self.config["embedding_dim"])
            self.inputs = torch.randn(shape, generator=generator)
            try:
                self.stack = build(self.config)
                randomise(self.stack, generator, rng.choice([0.5, 1.0, 1.5]))
                if self.judge(generator):
                    return
            except (AssertionError, ValueError, RuntimeError, ZeroDivisionError):
                pass  # a configuration that the package refuses, some of them in the first step

    def judge(self, generator):
        """Sets expected and tolerance; false where float32 itself is too far off to tell."""
        exact = copy.deepcopy(self.stack).double()
        self.expected = step_loop(exact, self.inputs.double())
        disturbed = copy.deepcopy(self.stack)
        for p in disturbed.parameters():
            p.mul_(1 + (torch.rand(p.shape, generator=generator) - 0.5) * 2.0**-23)
        own = max(np.abs(step_loop(s, self.inputs) - self.expected).max()
                  for s in (self.stack, disturbed))
        largest = np.abs(self.expected).max()
        self.tolerance = max(4 * own, 2e-6 * largest)
        return np.isfinite(self.expected).all() and own <= 2e-5 * largest

    def write(self, folder):
        (folder / "config.yaml").write_text(
            yaml.safe_dump({"model": "block_stack", "config": self.config}))
        save_file(stored_weights(self.stack, self.config), str(folder / "weights.safetensors"))
        np.save(folder / "input.npy", self.inputs.numpy())
