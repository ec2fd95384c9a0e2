"""Live modules taken apart: which family, which configuration, which tensors, and how to run them step by step."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import _config, _forward, _stream, _tirex
from ._errors import ExportError, Status
from ._inspect import check_layers, check_wrapper, forget_classes, refuse, type_name

MANY_PARAMETERS = 1 << 26  # from here on no float64 copy is made
KINDS = {
    "xlstm.xlstm_block_stack.xLSTMBlockStack": "block_stack",
    "xlstm.xlstm_lm_model.xLSTMLMModel": "lm",
    "xlstm.xlstm_large.model.xLSTMLarge": "large",
    "tirex.models.tirex.TiRexZero": "tirex",
}
WRAPPERS = {  # what holds a module and computes the same: where, and which of its methods it replaces itself
    "torch.nn.parallel.data_parallel.DataParallel": ("module", frozenset[str]()),
    "torch.nn.parallel.distributed.DistributedDataParallel": ("module", frozenset[str]()),
    "torch._dynamo.eval_frame.OptimizedModule": ("_orig_mod", frozenset(("forward", "_forward", "dynamo_ctx"))),
}
CUDA_CELL = "xlstm.blocks.slstm.cell.sLSTMCell_cuda"
BACKEND = "mlstm_kernels.torch.backend_module.mLSTMBackend"
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
    """What data parallelism and compilation have wrapped, and nothing else."""
    while type_name(type(module)) in WRAPPERS:
        inner, own = WRAPPERS[type_name(type(module))]
        check_wrapper(module, own)
        module = getattr(module, inner)
    return module


def tensors_of(module: Any, inside: str = "") -> dict[str, Any]:
    """The state dict on the CPU, every tensor its own memory; `inside`: where the module is, for messages."""
    import torch

    tensors = {}
    for name, tensor in module.state_dict().items():
        if not isinstance(tensor, torch.Tensor):
            raise refuse(f"{inside}{name}", "a tensor", type(tensor).__name__)
        if tensor.is_meta:
            raise refuse(f"{inside}{name}", "a tensor with values", "one on the meta device")
        if tensor.layout != torch.strided or not tensor.is_floating_point():
            owner = type_name(type(module.get_submodule(name.rpartition(".")[0])))
            raise refuse(f"{inside}{name}", "a dense floating point tensor",
                         f"{tensor.dtype} {tensor.layout} in {owner}")
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
        x = self.as_tensor(module, probe)
        y = step_through(module, x)
        _forward.compare_with_steps(module, x, y)
        return y

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
                if type_name(type(cell)) == CUDA_CELL:
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
        """A copy of the module, as it is, on kernels that any device has; a training configuration keeps no state. Of a
        module too large for another, on the same memory."""
        made = module if self.exact else sharing_copy(module)
        made.config.return_last_states = True
        for parent in list(made.modules()):
            if self.exact and hasattr(parent, "force_float32_reductions"):
                parent.force_float32_reductions = False
            for name, part in list(parent.named_children()):
                if hasattr(part, "step_kernel_fn"):
                    setattr(parent, name, self._native_backend(part))
        return made.eval()

    def _native_backend(self, backend: Any) -> Any:
        kind = type(backend)
        if type_name(kind) != BACKEND:
            raise refuse("", f"kernels of a {BACKEND}", type_name(kind))
        own, made = vars(backend), vars(kind(backend.config))
        for name, value in made.items():
            if callable(value) and _bound(own.get(name)) != _bound(value):
                raise refuse(f"mlstm_backend.{name}", "what its configuration says", repr(own.get(name)))
        double = {"inference_state_dtype": "float64"} if self.exact else {}
        return kind(dataclasses.replace(backend.config, **NATIVE_KERNELS, **double))


def sharing_copy(module: Any) -> Any:
    """A copy with the same tensors."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})


def _bound(value: Any) -> Any:
    """A function and what it is bound to, in a form that can be compared."""
    if not isinstance(value, functools.partial):
        return value
    return value.func, tuple(map(_bound, value.args)), {name: _bound(bound) for name, bound in value.keywords.items()}


class TirexSource(Source):
    def __init__(self, module: Any, family: str, fields: dict[str, Any] | None = None) -> None:
        super().__init__(module, family, fields)
        self.exact = True  # only a copy can run without its rounding to bfloat16
        _tirex.check(module, int(module.config.input_patch_size))

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
            if type_name(type(part)) == _tirex.CELL:
                part.backend = "torch"
                part._impl_torch = _tirex.unrounded(part)
        return module._forward_model(self.as_tensor(module, probe)[None])[0].double().cpu().numpy()


class WrappedSource(Source):
    """A block stack between linear maps, all found by type: what comes first in forward is the encoder."""

    def __init__(self, root: Any, stack: Any, stream: dict[str, Any], fields: dict[str, Any] | None) -> None:
        from ._wrapped import take_apart

        _stream.check(stream)
        self.stream, self.root = stream, root
        self.encoder, self.head = take_apart(root, stack, stream)
        self.module, self.family = stack, "block_stack"
        self.fields = fields if fields is not None else self.derive()
        self.exact = _parameters(root) < MANY_PARAMETERS
        names = {id(part): f"{name}." for name, part in root.named_modules() if name}
        self.tensors = {f"backbone.{n}": t for n, t in tensors_of(stack, names.get(id(stack), "")).items()}
        for prefix, linear in (("encoder", self.encoder), ("head", self.head)):
            if linear is not None:
                self.tensors.update({f"{prefix}.{name}": t for name, t in tensors_of(linear, names[id(linear)]).items()})

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
    forget_classes()
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
