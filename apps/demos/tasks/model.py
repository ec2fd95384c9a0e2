"""The models: official xLSTMLMModels of two blocks of dimension 64."""

import pathlib

import torch
import yaml
from dacite import Config, from_dict
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from xlstm import xLSTMLMModel, xLSTMLMModelConfig

import data

SLSTM_AT = {"parity_xlstm01": [0, 1], "parity_xlstm10": [], "parity_xlstm11": [1], "recall_xlstm10": []}


def config_of(name):
    """The nested configuration of the package; for parity that of its YAML file of this name."""
    parity = data.task_of(name) == "parity"
    return {
        "mlstm_block": {"mlstm": {"num_heads": 1}},
        "slstm_block": {"slstm": {"backend": "vanilla", "num_heads": 1}},
        "slstm_at": SLSTM_AT[name],
        "num_blocks": 2,
        "embedding_dim": 64,
        "context_length": 256 if parity else 512,
        "vocab_size": 3 if parity else data.RECALL_VOCABULARY,
    }


def build(config):
    return xLSTMLMModel(from_dict(xLSTMLMModelConfig, config, config=Config(strict=True)))


def save(folder, config, tensors):
    """A folder for `xst pack` and `load`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "weights.safetensors")
    text = yaml.safe_dump({"model": "lm", "config": config}, sort_keys=False)
    (folder / "config.yaml").write_text(text)


def load(folder):
    folder = pathlib.Path(folder)
    model = build(yaml.safe_load((folder / "config.yaml").read_text())["config"])
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    return model.eval()


def slstm_cell(x, recurrent, c, n, m):
    """One step of one head after its matrix products: x, recurrent [B, 4H] in the order i, f, z, o
    -> y, c, n, m [B, H]. The output does not depend on the stabiliser m, so no gradient needs to go through it."""
    i, f, z, o = (x + recurrent).chunk(4, -1)
    kept = m + F.logsigmoid(f)
    m = torch.maximum(i, kept).detach()
    i, f = torch.exp(i - m), torch.exp(kept - m)
    c, n = f * c + i * torch.tanh(z), f * n + i
    return torch.sigmoid(o) * c / n, c, n, m


def use_fast_slstm(model, cell=slstm_cell):
    """Lets the package's sLSTMs of one head run through `cell`, in a form that a CUDA graph can hold (the package's
    asks in every step whether it is the first). Parameters and results stay the same."""

    def outputs(layer, x, state):
        """x [S, B, 4H] -> [1, S + 1, B, H], the first for the fresh state."""
        assert layer.config.num_heads == 1
        y, c, n, m = (*state[:3], torch.full_like(state[3], -torch.inf))
        weight, ys = layer._recurrent_kernel_[0].t(), [y]
        for now in (x + layer._bias_).unbind(0):
            y, c, n, m = cell(now, y @ weight, c, n, m)
            ys.append(y)
        return torch.stack(ys)[None]

    for block in model.xlstm_block_stack.blocks:
        layer = getattr(block.xlstm, "slstm_cell", None)
        if layer is not None:
            layer._impl = lambda training, x, state, layer=layer: outputs(layer, x, state)
