"""The ECG model: an official xLSTMBlockStack between a linear encoder and a linear head.

Rows of the head, in normalised units z = (x - mean) / std: for each horizon h the mean of
z[t+h] - z[t] and its log variance, then the logit of `beat`.
"""

import math
import pathlib

import numpy as np
import torch
import yaml
from dacite import Config, from_dict
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from xlstm import xLSTMBlockStack, xLSTMBlockStackConfig

RATE_HZ = 360
HORIZONS = {"next": 1, "ahead_11ms": 4, "ahead_50ms": 18}  # samples
LOG_VARIANCE = (-12.0, 4.0)


def mlstm_chunkwise(queries, keys, values, igate_preact, fgate_preact, eps=1e-6, **_):
    """The package's mLSTM over a whole sequence in chunks, linear in its length.

    Equals `mLSTMCell.step` from a fresh state (m = 0). queries, keys, values [B, NH, S, DH], gates
    [B, NH, S, 1]; returns [B, NH, S, DH].
    """
    B, NH, S, DH = queries.shape
    chunk = 32 if S <= 4096 else 128
    pad = -S % chunk
    split = lambda x: F.pad(x, (0, 0, 0, pad)).unflatten(2, (-1, chunk))
    q, k, v = split(queries), split(keys) / math.sqrt(DH), split(values)  # [B, NH, N, L, DH]
    i = split(igate_preact)[..., 0]  # [B, NH, N, L]
    b = split(F.logsigmoid(fgate_preact))[..., 0].cumsum(-1)

    # the state that enters each chunk: sums over the earlier chunks, weighted in log space
    to_end = i + b[..., -1:] - b
    m_chunk = to_end.amax(-1)  # [B, NH, N]
    weighted = k * torch.exp(to_end - m_chunk[..., None])[..., None]
    kv, ks = weighted.transpose(-1, -2) @ v, weighted.sum(-2)
    total = b[..., -1].double().cumsum(-1)
    before = F.pad(total, (1, -1))  # decay up to the start of each chunk
    decay = (before[..., :, None] - total[..., None, :]).to(q.dtype) + m_chunk[..., None, :]
    N = decay.shape[-1]
    earlier = torch.ones(N, N, dtype=torch.bool, device=q.device).tril(-1)
    decay = decay.masked_fill(~earlier, -math.inf)
    m_in = torch.maximum(decay.amax(-1), before.to(q.dtype))  # [B, NH, N]
    weight = torch.exp(decay - m_in[..., None])
    C = torch.einsum("bhij,bhjde->bhide", weight, kv)
    n = torch.einsum("bhij,bhjd->bhid", weight, ks)

    within = torch.ones(chunk, chunk, dtype=torch.bool, device=q.device).tril()
    log_d = (b[..., :, None] - b[..., None, :] + i[..., None, :]).masked_fill(~within, -math.inf)
    m_inter = b + m_in[..., None]
    m = torch.maximum(log_d.amax(-1), m_inter)[..., None]  # [B, NH, N, L, 1]
    scores = (q @ k.transpose(-1, -2)) * torch.exp(log_d - m)
    q_inter = q * torch.exp(m_inter[..., None] - m)
    numerator = scores @ v + q_inter @ C
    denominator = scores.sum(-1, keepdim=True) + q_inter @ n[..., None]
    h = numerator / (torch.maximum(denominator.abs(), torch.exp(-m)) + eps)
    return h.flatten(2, 3)[:, :, :S]


def stack_config(dim, blocks, slstm_at, heads):
    """The nested configuration of the package. The step has no use for `context_length`."""
    return {
        "mlstm_block": {
            "mlstm": {"conv1d_kernel_size": 4, "qkv_proj_blocksize": 4, "num_heads": heads}
        },
        "slstm_block": {
            "slstm": {"backend": "vanilla", "num_heads": heads, "conv1d_kernel_size": 4},
            "feedforward": {"proj_factor": 1.3, "act_fn": "gelu"},
        },
        "context_length": 1024,
        "num_blocks": blocks,
        "embedding_dim": dim,
        "slstm_at": slstm_at,
    }


def stream_section(mean, std, warmup):
    outputs = [
        {"gaussian": name, "horizon": h, "of": "ecg", "residual": True}
        for name, h in HORIZONS.items()
    ]
    return {
        "rate_hz": RATE_HZ,
        "inputs": [{"name": "ecg", "unit": "mV", "mean": mean, "std": std, "missing": "hold"}],
        "encoder": "linear",
        "head": "linear",
        "outputs": outputs + [{"surprise": "surprise", "of": "next"}, {"sigmoid": "beat"}],
        "warmup": warmup,
    }


class EcgModel(nn.Module):
    """config: as `stack_config`. slstm_backend `cuda` (training on a GPU) or `vanilla`."""

    def __init__(self, config, slstm_backend="vanilla", dropout=0.0):
        super().__init__()
        self.config = config
        slstm = dict(config["slstm_block"]["slstm"], backend=slstm_backend, dtype="float32")
        official = dict(
            config, dropout=dropout, slstm_block=dict(config["slstm_block"], slstm=slstm)
        )
        self.backbone = xLSTMBlockStack(
            from_dict(xLSTMBlockStackConfig, official, config=Config(strict=True))
        )
        for block in self.backbone.blocks:
            if hasattr(block.xlstm, "mlstm_cell"):
                block.xlstm.mlstm_cell.backend_fn = mlstm_chunkwise
        dim = config["embedding_dim"]
        self.encoder = nn.Linear(1, dim)
        self.head = nn.Linear(dim, 2 * len(HORIZONS) + 1)

    def forward(self, z):
        """z [B, T] normalised samples; returns the head's rows [B, T, R]."""
        return self.head(self.backbone(self.encoder(z[..., None])))

    def official_state_dict(self):
        """Tensors under the names of the package (the stack behind `backbone.`), the sLSTM in the
        layout of its vanilla backend."""
        tensors = self.state_dict()
        for i, block in enumerate(self.backbone.blocks):
            cell = getattr(block.xlstm, "slstm_cell", None)
            if cell is not None and cell.config.backend == "cuda":
                name = f"backbone.blocks.{i}.xlstm.slstm_cell."
                heads, dim = cell.config.num_heads, cell.config.head_dim
                r = tensors[name + "_recurrent_kernel_"].reshape(heads, dim, 4, dim)
                tensors[name + "_recurrent_kernel_"] = r.permute(0, 2, 3, 1).reshape(
                    heads, 4 * dim, dim
                )
                bias = tensors[name + "_bias_"].reshape(heads, 4, dim)
                tensors[name + "_bias_"] = bias.permute(1, 0, 2).reshape(-1)
        return {k: v.detach().float().cpu().contiguous() for k, v in tensors.items()}

    def save(self, folder, stream):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.official_state_dict(), folder / "weights.safetensors")
        text = yaml.safe_dump(
            {"model": "block_stack", "config": self.config, "stream": stream}, sort_keys=False
        )
        (folder / "config.yaml").write_text(text)


def load(folder):
    """(EcgModel with the vanilla sLSTM, stream section) of a saved folder."""
    folder = pathlib.Path(folder)
    description = yaml.safe_load((folder / "config.yaml").read_text())
    model = EcgModel(description["config"])
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    return model.eval(), description["stream"]


def values(rows, x, stream):
    """The output columns of `xst run`: rows [T, R] of the head, x [T] in mV -> float32 [T, 8]."""
    mean, std = stream["inputs"][0]["mean"], stream["inputs"][0]["std"]
    z = (x - mean) / std
    columns = []
    for k in range(len(HORIZONS)):
        log_variance = np.clip(rows[:, 2 * k + 1], *LOG_VARIANCE)
        columns += [(rows[:, 2 * k] + z) * std + mean, np.exp(log_variance / 2) * std]
    surprise = np.full(len(x), np.nan)
    s, predicted = np.clip(rows[:-1, 1], *LOG_VARIANCE), rows[:-1, 0] + z[:-1]
    surprise[1:] = 0.5 * (np.log(2 * np.pi) + s + (z[1:] - predicted) ** 2 / np.exp(s))
    columns += [surprise, 1 / (1 + np.exp(-rows[:, -1]))]
    return np.stack(columns, 1).astype(np.float32)


@torch.no_grad()
def step_through(model, x, stream):
    """The head's rows by the package's float32 `step`, one sample at a time: x [T] in mV -> [T, R]."""
    entry = stream["inputs"][0]
    z = torch.tensor((x - entry["mean"]) / entry["std"], dtype=torch.float32)
    rows, state = np.empty((len(x), model.head.out_features), np.float32), None
    for t in range(len(x)):
        y, state = model.backbone.step(model.encoder(z[t].view(1, 1, 1)), state)
        rows[t] = model.head(y)[0, 0].numpy()
    return rows
