"""Whether a module computes what its official classes say: no hooks, no patches, no foreign layers."""

from __future__ import annotations

import functools
import os
import sys
import types
from typing import Any

from ._errors import ExportError, Status

# Packages whose layers are known, and the PyTorch layers that their models and a wrapper may hold.
OFFICIAL = ("xlstm", "mlstm_kernels", "tirex")
TORCH_LAYERS = {
    "Linear", "Embedding", "Identity", "Dropout", "SiLU", "Sigmoid", "Conv1d", "ModuleList", "ModuleDict", "Sequential",
}
# What may not even be another function of the package.
METHODS = {"forward": ("forward", "_forward_unimplemented"), "step": ("step",)}


def refuse(name: str, expected: str, got: str) -> ExportError:
    return ExportError(f"{name or 'module'}: expected {expected}, got {got}", Status.tensor_mismatch)


def type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def package_of(kind: Any) -> str:
    return (getattr(kind, "__module__", None) or "").partition(".")[0]


def _folders(package: str) -> list[str]:
    paths = getattr(sys.modules.get(package), "__path__", [])  # several of a namespace package
    return [os.path.realpath(path) + os.sep for path in paths]


def _is_of(code: types.CodeType, *packages: str) -> bool:
    file = os.path.realpath(code.co_filename)
    return any(file.startswith(folder) for package in packages for folder in _folders(package))


def _where(function: Any) -> str:
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    return f"{name} of {code.co_filename}:{code.co_firstlineno}" if code else name


def check_layers(root: Any, trusted: frozenset[int] = frozenset(), judged: frozenset[str] = frozenset()) -> None:
    """Refuses, with the reason, what forward would do beyond its official classes. What the caller judges by its
    outputs instead: `trusted`, ids of modules whose class is a user's own; `judged`, names of functions of a cell."""
    import torch

    _patched.cache_clear()  # a patch may come and go between two exports
    hooks = torch.nn.modules.module
    for kind in ("_global_forward_hooks", "_global_forward_pre_hooks"):
        if getattr(hooks, kind, None):
            raise refuse("torch.nn.Module", "no global forward hooks", "some")
    for name, module in root.named_modules():
        _check_hooks(name, module)
        if id(module) not in trusted:
            _check_type(name, module)
            _check_class(type(module), name)
        _check_instance(name, module, id(module) in trusted, judged)


def _check_hooks(name: str, module: Any) -> None:
    if getattr(module, "parametrizations", None):
        tensors = ", ".join(module.parametrizations)
        raise refuse(name, "plain parameters (torch.nn.utils.parametrize.remove_parametrizations)",
                     f"a parametrization of {tensors}")
    for attribute, what in (("_forward_pre_hooks", "forward pre-hook"), ("_forward_hooks", "forward hook")):
        for hook in getattr(module, attribute, {}).values():
            kind = type(hook).__name__
            if kind in ("WeightNorm", "SpectralNorm"):
                raise refuse(name, "plain parameters (remove weight or spectral norm first)", kind)
            raise refuse(name, "no forward hooks, which a file cannot hold", f"the {what} {_where(hook)}")


def _check_type(name: str, module: Any) -> None:
    kind = type(module)
    if package_of(kind) in OFFICIAL:
        return
    if kind.__module__.startswith("torch.nn.modules.") and kind.__name__ in TORCH_LAYERS:
        return
    raise refuse(name, f"layers of {', '.join(OFFICIAL)} and linear maps around them", type_name(kind))


@functools.lru_cache(maxsize=None)
def _patched(kind: type) -> str:
    """What of a class is not its own; empty if nothing."""
    for part in kind.__mro__:
        package = package_of(part)
        if package not in (*OFFICIAL, "torch"):
            continue
        for attribute, value in vars(part).items():
            function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            code = getattr(function, "__code__", None)
            if code is None or code.co_filename.startswith("<"):
                continue
            renamed = attribute in METHODS and function.__qualname__.rpartition(".")[2] not in METHODS[attribute]
            if renamed or not _is_of(code, package, "torch"):
                return f"{part.__name__}.{attribute} replaced by {_where(function)}"
    return ""


def _check_class(kind: type, name: str) -> None:
    patch = _patched(kind)
    if patch:
        raise refuse(name, f"the methods of {type_name(kind)}", patch)


def _check_instance(name: str, module: Any, trusted: bool, judged: frozenset[str]) -> None:
    import torch

    for attribute, value in vars(module).items():
        if value is None or isinstance(value, (torch.nn.Module, torch.Tensor, type)) or not callable(value):
            continue
        if hasattr(type(module), attribute):
            raise refuse(name, f"the {attribute} of {type_name(type(module))}",
                         f"{_where(value)} in its place")
        function = value
        while isinstance(function, functools.partial):
            function = function.func
        code = getattr(function, "__code__", None)
        known = _is_of(code, *OFFICIAL, "torch") if code else package_of(function) in (*OFFICIAL, "torch")
        if not trusted and not known and attribute not in judged:
            raise refuse(f"{name}.{attribute}", "a function of the package", _where(function))
