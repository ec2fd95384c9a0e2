"""Live modules of the official packages for the public cases, on Debian's PyTorch 1.13."""

import contextlib
import functools
import json
import sys
import types

import dacite
import numpy as np
import torch
import yaml
from safetensors.torch import load_file
from torch import nn
from xlstm import xLSTMBlockStack, xLSTMBlockStackConfig, xLSTMLMModel, xLSTMLMModelConfig
from xst_tool import VECTORS


class _Anything(types.ModuleType):
    """A module that TiRex imports for what a forecast does not need."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@contextlib.contextmanager
def newer_torch():
    """What the packages of 2025 use of PyTorch 2 while they are imported: `@no_grad` without a call, torch.amp.custom_*."""
    real = torch.no_grad

    class no_grad(real):  # noqa: N801
        def __new__(cls, function=None):
            return real()(function) if callable(function) else super().__new__(cls)

    def custom(decorator):
        def made(function=None, *, device_type=None, **options):
            bound = functools.partial(decorator, **options)
            return bound if function is None else bound(function)
        return made

    if torch.__version__.startswith("1."):
        torch.no_grad = no_grad
        torch.amp.custom_fwd = custom(torch.cuda.amp.custom_fwd)
        torch.amp.custom_bwd = custom(torch.cuda.amp.custom_bwd)
    try:
        yield
    finally:
        torch.no_grad = real


def _import_tirex():
    for name in ("sklearn", "sklearn.base", "sklearn.ensemble", "sklearn.linear_model", "sklearn.metrics",
                 "sklearn.model_selection", "joblib", "pandas", "huggingface_hub", "tqdm", "datasets"):
        try:
            __import__(name)
        except ImportError:
            sys.modules[name] = _Anything(name)
    with newer_torch():
        from tirex.models.tirex import TiRexZero
    return TiRexZero


def describe(case):
    return yaml.safe_load((case / "config.yaml").read_text())


def strict(kind, fields):
    return dacite.from_dict(kind, fields, config=dacite.Config(strict=True))


def vanilla(tensors, heads):
    """sLSTM weights in the layout of the backend that runs on a CPU."""
    made = dict(tensors)
    for name, w in tensors.items():
        if name.endswith("_recurrent_kernel_"):
            made[name] = w.transpose(1, 2).contiguous()
        elif name.endswith("slstm_cell._bias_"):
            made[name] = w.reshape(heads, 4, -1).transpose(0, 1).reshape(-1).contiguous()
    return made


def stack(fields, tensors, kind=xLSTMBlockStack, config_kind=xLSTMBlockStackConfig):
    """A block stack or language model of nested fields and tensors in either layout."""
    fields = {key: value for key, value in fields.items()}
    slstm = fields.get("slstm_block") and fields["slstm_block"].get("slstm") or {}
    if fields.get("slstm_block") is not None:
        fields["slstm_block"] = dict(fields["slstm_block"], slstm=dict(slstm, backend="vanilla"))
        if slstm.get("backend", "cuda") == "cuda":
            tensors = vanilla(tensors, slstm.get("num_heads", 4))
    module = kind(strict(config_kind, fields))
    if getattr(module.config, "tie_weights", False):
        one = next(n for n in ("token_embedding.weight", "lm_head.weight") if n in tensors)
        tensors = dict(tensors, **{n: tensors[one] for n in ("token_embedding.weight", "lm_head.weight")})
    module.load_state_dict(tensors)
    return module


class Wrapper(nn.Module):
    """Names that say nothing, registered in another order than they are called."""

    def __init__(self, body, out_features, in_features):
        super().__init__()
        dim = body.config.embedding_dim
        if out_features:
            self.alpha = nn.Linear(dim, out_features)
        self.beta = body
        if in_features:
            self.gamma = nn.Linear(in_features, dim)

    def forward(self, z):
        e = self.gamma(z) if hasattr(self, "gamma") else z
        y = self.beta(e)
        return self.alpha(y) if hasattr(self, "alpha") else y


def wrapped(case):
    """(module, stream section) of a case with a `stream:` section."""
    description, tensors = describe(case), load_file(case / "weights.safetensors")
    bare = {n.removeprefix("backbone."): t for n, t in tensors.items() if n.startswith("backbone.")}
    body = stack(description["config"], bare)
    encoder, head = (tensors.get(f"{part}.weight") for part in ("encoder", "head"))
    module = Wrapper(body, None if head is None else len(head), None if encoder is None else encoder.shape[1])
    for linear, part in ((getattr(module, "gamma", None), "encoder"), (getattr(module, "alpha", None), "head")):
        if linear is None:
            continue
        linear.weight.data = tensors[f"{part}.weight"]
        linear.bias = nn.Parameter(tensors[f"{part}.bias"]) if f"{part}.bias" in tensors else None
    return module, description["stream"]


def large(case):
    with newer_torch():
        from xlstm.xlstm_large.model import xLSTMLarge, xLSTMLargeConfig
    if (case / "config.yaml").exists():
        fields = describe(case)["config"]
    else:
        known = xLSTMLargeConfig.__dataclass_fields__
        hub = json.loads((case / "config.json").read_text())
        fields = {k: v for k, v in hub.items() if k in known}
        fields.setdefault("embedding_dim", hub.get("hidden_size"))
        fields.setdefault("num_blocks", hub.get("num_hidden_layers"))
    kernels = dict(chunkwise_kernel="chunkwise--native_autograd", sequence_kernel="native_sequence__native",
                   step_kernel="native", mode="inference", return_last_states=True)
    module = xLSTMLarge(xLSTMLargeConfig(**dict(fields, **kernels)))
    tensors = {}
    for file in sorted(case.glob("*.safetensors")):
        tensors.update(load_file(file))
    names = {"backbone.embeddings.weight": "embedding.weight"}
    module.load_state_dict({names.get(n, n): t.float() for n, t in tensors.items()})
    return module


def tirex(case):
    fields = describe(case)["config"]
    module = _import_tirex()("torch", fields["model_config"], fields["train_ctx_len"])
    module.load_state_dict(load_file(case / "weights.safetensors"))
    return module


def live(case):
    """(module, arguments of export, probe) of any public case: the first column of its input."""
    x = np.load(case / "input.npy")
    suite = case.parent.name
    if suite == "stream":
        module, section = wrapped(case)
        return module, {"stream": section}, x
    if suite == "large":
        return large(case), {}, x[:, 0]
    if suite == "tirex":
        return tirex(case), {"forecast": {"every": 8, "horizon": 24}}, None
    description, tensors = describe(case), load_file(case / "weights.safetensors")
    kinds = (xLSTMLMModel, xLSTMLMModelConfig) if description["model"] == "lm" else ()
    return stack(description["config"], tensors, *kinds), {}, np.ascontiguousarray(x[:, 0])


def stack_of(name="mlstm_defaults"):
    """The stack or language model of a case of block_stack/."""
    return live(VECTORS / "block_stack" / name)[0]


def both_kinds():
    """A stack with both kinds of block and a feed-forward."""
    return stack_of("mixed_bias_batch3")
