"""An official xLSTMBlockStack between a linear encoder and a linear head: what a `stream:` section describes."""

import pathlib

import torch
import yaml
from dacite import Config, from_dict
from safetensors.torch import load_file, save_file
from torch import nn
from xlstm import xLSTMBlockStack, xLSTMBlockStackConfig

from ecg.model import mlstm_chunkwise


def stack_config(dim, blocks, slstm_at, heads, context):
    """The nested configuration of the package. `context` bounds a training window; the step has no use for it."""
    return {
        "mlstm_block": {"mlstm": {"conv1d_kernel_size": 4, "qkv_proj_blocksize": 4, "num_heads": heads}},
        "slstm_block": {
            "slstm": {"backend": "vanilla", "num_heads": 1, "conv1d_kernel_size": 4},
            "feedforward": {"proj_factor": 1.3, "act_fn": "gelu"},
        },
        "context_length": context,
        "num_blocks": blocks,
        "embedding_dim": dim,
        "slstm_at": slstm_at,
    }


@torch.jit.script
def slstm_steps(x, weight, y, c, n):
    """The package's sLSTM of one head from a fresh state: x [S, B, 4H] with the bias, in the order i, f, z, o -> y
    [S + 1, B, H]. No gradient goes through the stabiliser m, on which the output does not depend."""
    m, ys = torch.full_like(n, -float("inf")), [y]
    for now in x.unbind(0):
        i, f, z, o = (now + y @ weight).chunk(4, -1)
        kept = m + torch.nn.functional.logsigmoid(f)
        m = torch.maximum(i, kept).detach()
        i, f = torch.exp(i - m), torch.exp(kept - m)
        c, n = f * c + i * torch.tanh(z), f * n + i
        y = torch.sigmoid(o) * c / n
        ys.append(y)
    return torch.stack(ys)


def use_fast_cells(model):
    """Lets the package's cells train through functions that give the same in less time: `slstm_steps` for its sLSTMs
    of one head, the ECG demo's chunks for its mLSTMs."""
    for block in model.backbone.blocks:
        if hasattr(block.xlstm, "mlstm_cell"):
            block.xlstm.mlstm_cell.backend_fn = mlstm_chunkwise
            continue
        layer = block.xlstm.slstm_cell
        assert layer.config.num_heads == 1
        layer._impl = lambda training, x, state, layer=layer: slstm_steps(
            x + layer._bias_, layer._recurrent_kernel_[0].t(), *state[:3]
        )[None]


class Wrapped(nn.Module):
    """config: as `stack_config`."""

    def __init__(self, config, inputs, rows, dropout=0.0):
        super().__init__()
        self.config = config
        official = dict(config, dropout=dropout)
        self.backbone = xLSTMBlockStack(from_dict(xLSTMBlockStackConfig, official, config=Config(strict=True)))
        self.encoder = nn.Linear(inputs, config["embedding_dim"])
        self.head = nn.Linear(config["embedding_dim"], rows)

    def forward(self, z):
        """z [B, T, inputs] normalised samples; returns the head's rows [B, T, R]."""
        return self.head(self.backbone(self.encoder(z)))

    def parameter_count(self):
        return sum(p.numel() for p in self.parameters())

    def save(self, folder, stream):
        """A folder for `xst pack`."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {k: v.detach().float().contiguous() for k, v in self.state_dict().items()}
        save_file(tensors, folder / "weights.safetensors")
        description = {"model": "block_stack", "config": self.config, "stream": stream}
        (folder / "config.yaml").write_text(yaml.safe_dump(description, sort_keys=False))


def load(folder):
    """(model, stream section) of a saved folder."""
    folder = pathlib.Path(folder)
    description = yaml.safe_load((folder / "config.yaml").read_text())
    tensors = load_file(folder / "weights.safetensors")
    model = Wrapped(description["config"], tensors["encoder.weight"].shape[1], len(tensors["head.bias"]))
    model.load_state_dict(tensors)
    return model.eval(), description["stream"]


@torch.no_grad()
def step_through(model, z):
    """The head's rows by the package's float32 `step`: z [B, T, inputs] -> [B, T, R]."""
    state, rows = None, []
    for now in z.split(1, 1):
        y, state = model.backbone.step(model.encoder(now), state)
        rows.append(model.head(y))
    return torch.cat(rows, 1)
