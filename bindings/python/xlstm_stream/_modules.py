"""Live modules taken apart: which family, which configuration, which tensors, and how to run them step by step."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import _config, _stream
from ._errors import ExportError, Status
from ._inspect import check_layers, refuse, type_name

MANY_PARAMETERS = 1 << 26  # from here on no float64 copy is made
KINDS = {
    "xlstm.xlstm_block_stack.xLSTMBlockStack": "block_stack",
    "xlstm.xlstm_lm_model.xLSTMLMModel": "lm",
    "xlstm.xlstm_large.model.xLSTMLarge": "large",
    "tirex.models.tirex.TiRexZero": "tirex",
}
NATIVE_KERNELS = {
    "mode": "inference",
    "return_last_states": True,
    "chunkwise_kernel": "chunkwise--native_autograd",
    "sequence_kernel": "native_sequence__native",
    "step_kernel": "native",
}


def kind_of(module: Any) -> str:
    """The family of an official module, also of a subclass; empty for others."""
    return next((KINDS[type_name(c)] for c in type(module).__mro__ if type_name(c) in KINDS), "")


def unwrapped(module: Any) -> Any:
    """What data parallelism and compilation have wrapped."""
    while type(module).__name__ in ("DataParallel", "DistributedDataParallel", "OptimizedModule"):
        module = getattr(module, "_orig_mod", None) or module.module
    return module


def tensors_of(module: Any) -> dict[str, Any]:
    """The state dict on the CPU, every tensor its own memory."""
    tensors = {}
    for name, tensor in module.state_dict().items():
        if tensor.is_meta:
            raise refuse(name, "a tensor with values", "one on the meta device")
        if tensor.is_sparse or not tensor.is_floating_point():
            raise refuse(name, "a dense floating point tensor", f"{tensor.dtype} {tensor.layout}")
        tensors[name] = tensor.detach().to("cpu", copy=True).contiguous()
    return tensors


def _parameters(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


class Source:
    """An official module. `fields` go under `config:`, `tensors` into the safetensors file."""

    stream: dict[str, Any] | None = None

    def __init__(self, module: Any, family: str, fields: dict[str, Any] | None = None) -> None:
        check_layers(module)
        self.module, self.family = module, family
        self.fields = fields if fields is not None else self.derive()
        self.exact = _parameters(module) < MANY_PARAMETERS
        self.tensors = tensors_of(module)

    def derive(self) -> dict[str, Any]:
        return _config.plain(self.module.config)

    @property
    def precision(self) -> str:
        return "float64" if self.exact else str(next(self.module.parameters()).dtype).removeprefix("torch.")

    def relative_bound(self) -> float:
        """Of the largest output: what the reference on the same weights may be off by."""
        return {"float64": 2e-6, "float32": 1e-3}.get(self.precision, 5e-2)

    def default_probe(self, rng: np.random.Generator) -> np.ndarray:
        steps = 16 if self.exact else 2
        if self.family in ("lm", "large"):
            return rng.integers(0, int(self.fields["vocab_size"]), steps)
        return rng.standard_normal((steps, self.fields.get("embedding_dim", 128)), np.float32)

    def run(self, probe: np.ndarray) -> np.ndarray:
        """The module's own outputs for a probe, [T, width]."""
        import torch

        module = double_copy(self.module) if self.exact else self.module
        with torch.no_grad(), evaluated(module):
            return self.steps(module, probe)

    def steps(self, module: Any, probe: np.ndarray) -> np.ndarray:
        return step_through(module, self.as_tensor(module, probe))

    def as_tensor(self, module: Any, probe: np.ndarray) -> Any:
        import torch

        like = next(module.parameters())
        x = torch.from_numpy(np.ascontiguousarray(probe))
        return x.to(like.device) if probe.ndim == 1 else x.to(like.device, like.dtype)


@contextlib.contextmanager
def evaluated(module: Any) -> Iterator[None]:
    """Eval mode, and afterwards every part as it was."""
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


def double_copy(module: Any) -> Any:
    """The module in float64 on the CPU, its weights first rounded to float32, as the file has them."""
    import torch

    with torch.no_grad():
        made = copy.deepcopy(module).to("cpu").float()
        for parent in list(made.modules()):
            for name, cell in list(parent.named_children()):
                if type(cell).__name__ == "sLSTMCell_cuda":
                    setattr(parent, name, _vanilla(cell))
        return made.double()


def _vanilla(cell: Any) -> Any:
    """The cell that runs on any device and rounds nothing, with the weights of a cuda one."""
    from xlstm.blocks.slstm.cell import sLSTMCell_vanilla

    made = sLSTMCell_vanilla(dataclasses.replace(cell.config, backend="vanilla"))
    kernel, bias = cell._recurrent_kernel_, cell._bias_
    made._recurrent_kernel_.copy_(made._recurrent_kernel_ext2int(cell._recurrent_kernel_int2ext(kernel)))
    made._bias_.copy_(made._bias_ext2int(cell._bias_int2ext(bias)))
    return made


def step_through(module: Any, x: Any) -> np.ndarray:
    """`step` of a block stack or language model, row by row."""
    rows, state = [], None
    for now in x:
        y, state = module.step(now.reshape(1, 1, *now.shape), state)
        rows.append(y.reshape(-1).double().cpu().numpy())
    return np.stack(rows)


class LargeSource(Source):
    def steps(self, module: Any, probe: np.ndarray) -> np.ndarray:
        runner = self._native(module)
        rows, state = [], None
        for token in self.as_tensor(module, probe):
            logits, state = runner(token.reshape(1, 1), state)
            rows.append(logits.reshape(-1).double().cpu().numpy())
        return np.stack(rows)

    def _native(self, module: Any) -> Any:
        """The same model on kernels that any device has; a training configuration keeps no state."""
        import torch

        double = {"inference_state_dtype": "float64", "norm_reduction_force_float32": False}
        config = dataclasses.replace(module.config, **NATIVE_KERNELS, **(double if self.exact else {}))
        if self.exact:
            made = type(module)(config).double()
            made.load_state_dict(module.state_dict())
        else:  # on the same memory
            with torch.device("meta"):  # type: ignore[attr-defined]
                made = type(module)(config)
            made.load_state_dict(module.state_dict(), assign=True)
        return made.eval()


class TirexSource(Source):
    def __init__(self, module: Any, family: str, fields: dict[str, Any] | None = None) -> None:
        super().__init__(module, family, fields)
        self.exact = True  # only a copy can run without its rounding to bfloat16

    def derive(self) -> dict[str, Any]:
        fields = _config.plain(self.module.config)
        if fields.pop("nan_mask_value", 0) != 0:
            raise refuse("config", "nan_mask_value 0", "another")
        context = fields.pop("train_ctx_len", None)
        if context is None:
            raise refuse("config", "train_ctx_len", "none")
        return {"model_config": fields, "train_ctx_len": context}

    def relative_bound(self) -> float:
        return 1e-5  # its norms compute in float32 whatever they are given

    def default_probe(self, rng: np.random.Generator) -> np.ndarray:
        patch = int(self.fields["model_config"]["input_patch_size"])
        z = rng.standard_normal((16, patch), np.float32)
        return np.concatenate([z, np.ones_like(z)], 1)

    def steps(self, module: Any, probe: np.ndarray) -> np.ndarray:
        for part in module.modules():
            if type(part).__name__ == "sLSTMCell":
                part.backend = "torch"
                part._impl_torch = _unrounded(part)
        return module._forward_model(self.as_tensor(module, probe)[None])[0].double().cpu().numpy()


def _unrounded(cell: Any) -> Any:
    """The cell's loop around its own pointwise function, without the rounding of each step to bfloat16."""
    import torch

    def run(x: Any, state: Any) -> Any:
        heads, gates, width = cell.config.num_heads, cell.config.num_gates, cell.config.head_dim
        bias = cell._bias_.reshape(heads, gates, width).transpose(0, 1).reshape(-1)
        states, outputs = list(state.unbind(0)), []
        for now in x.reshape(x.shape[0], x.shape[1], -1):
            y = states[0].reshape(-1, heads, 1, width)
            recurrent = (y @ cell._recurrent_kernel_).reshape(-1, heads, gates, width).transpose(1, 2)
            pointwise = type(cell).__init__.__globals__["sLSTMCellTorch"].slstm_forward_pointwise
            states = pointwise(now, recurrent.reshape(len(now), -1), bias, states)
            outputs.append(states[0])
        return torch.stack(outputs), torch.stack(states)

    return run


class WrappedSource(Source):
    """A block stack between linear maps, all found by type: what comes first in forward is the encoder."""

    def __init__(self, root: Any, stack: Any, stream: dict[str, Any], fields: dict[str, Any] | None) -> None:
        from ._wrapped import take_apart

        self.stream, self.root = stream, root
        self.encoder, self.head = take_apart(root, stack, stream)
        self.module, self.family = stack, "block_stack"
        self.fields = fields if fields is not None else self.derive()
        self.exact = _parameters(root) < MANY_PARAMETERS
        self.tensors = {f"backbone.{name}": tensor for name, tensor in tensors_of(stack).items()}
        for prefix, linear in (("encoder", self.encoder), ("head", self.head)):
            if linear is not None:
                self.tensors.update({f"{prefix}.{name}": t for name, t in tensors_of(linear).items()})

    def default_probe(self, rng: np.random.Generator) -> np.ndarray:
        assert self.stream is not None
        mean, std = ([float(i.get(key, key == "std")) for i in self.stream["inputs"]] for key in ("mean", "std"))
        x = rng.standard_normal((16 if self.exact else 2, len(mean)))
        return (x * std + mean).astype(np.float32)

    def run(self, probe: np.ndarray) -> np.ndarray:
        from ._wrapped import run

        assert self.stream is not None
        return run(self, probe)


def open_module(module: Any, stream: dict[str, Any] | None, fields: dict[str, Any] | None) -> Source:
    """The source of any module that export() takes."""
    module = unwrapped(module)
    family = kind_of(module)
    if family == "block_stack" and stream is not None:
        return WrappedSource(module, module, stream, fields)
    if family:
        if stream is not None:
            raise ExportError(f"stream: expected it around an xLSTMBlockStack, got {type(module).__name__}",
                              Status.invalid_config)
        return {"large": LargeSource, "tirex": TirexSource}.get(family, Source)(module, family, fields)
    found = [part for part in module.modules() if kind_of(part)]
    stacks = [part for part in found if kind_of(part) == "block_stack"]
    if len(stacks) != 1 or len(found) != 1:
        got = ", ".join(type(part).__name__ for part in found) or "none of them"
        raise refuse("", f"one of {', '.join(k.rpartition('.')[2] for k in KINDS)}, or a module around one "
                     "xLSTMBlockStack", f"{type_name(type(module))} with {got}")
    if stream is None:
        raise ExportError(f"stream: expected what is around the xLSTMBlockStack of {type_name(type(module))} (inputs, "
                          "outputs), got none", Status.invalid_config)
    return WrappedSource(module, stacks[0], stream, fields)
